//! What can go wrong, in the few kinds that callers treat differently.

use store::StoreError;

/// Short for results of the engine.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something was refused: a stable code and sentences for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Stable, for machines.
    pub code: &'static str,
    /// What is wrong, where, and what to do next; one sentence each, escaped.
    pub problems: Vec<String>,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rules do not allow it; nothing was changed.
    #[error("{}", .0.problems.join("; "))]
    Refused(Refusal),
    /// It needs a key and the store is sealed.
    #[error("the store is sealed: it observes, assesses and notifies, but this needs its key; open it with `perennial unseal`")]
    Sealed,
    /// There is no such thing.
    #[error("there is no {what} {name}")]
    NotFound {
        /// Which kind of thing.
        what: &'static str,
        /// The name that was asked for, escaped.
        name: String,
    },
    /// The outside did not answer as it should.
    #[error("{0}")]
    Outside(String),
}

impl Error {
    /// One problem with a code.
    pub fn refused(code: &'static str, problem: impl Into<String>) -> Error {
        Error::Refused(Refusal { code, problems: vec![problem.into()] })
    }

    /// Whether it concerns the database as a whole, and nothing else could be done either; else it concerns what was asked for.
    pub fn is_of_the_database(&self) -> bool {
        matches!(self, Error::Store(e) if !matches!(e, StoreError::Corrupt { .. }))
    }

    /// There is no such thing.
    pub fn not_found(what: &'static str, name: &str) -> Error {
        Error::NotFound { what, name: pki::text::escape(name) }
    }
}
