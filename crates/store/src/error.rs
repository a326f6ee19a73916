//! What can go wrong in the database, in the few kinds a caller treats differently.

/// Result of everything in this crate.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A failure of the database; the text says what failed, where, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached or is too busy; nothing was changed and the same call may be made again later.
    #[error("the database is not available: {what}; nothing was changed, try again")]
    Unavailable {
        /// What the database or the network said.
        what: String,
    },
    /// Other transactions were in the way, again and again; nothing was changed and the same call may be made again later.
    #[error("other transactions were in the way: {what}; nothing was changed, try again")]
    Contended {
        /// What the database said.
        what: String,
        /// Whether it was waited for in vain, as opposed to a deadlock, which is found at once.
        waited: bool,
    },
    /// The connection broke while COMMIT was under way: the change may or may not be there.
    #[error("it is unknown whether the change was committed: {what}; read it back before doing it again")]
    OutcomeUnknown {
        /// What the network said.
        what: String,
    },
    /// A rule of the schema forbids the change.
    #[error("{kind} violated: {constraint}")]
    Conflict {
        /// Which kind of rule.
        kind: Rule,
        /// `table.column[, table.column]` of a unique rule; what the database names of the others.
        constraint: String,
    },
    /// The disk of the database is full or fails; nothing was changed.
    #[error("the database could not write: {what}; {}", if *full { "free or add disk space, then try again" } else { "check the disk and its file system" })]
    Disk {
        /// No space left, as opposed to a failing device.
        full: bool,
        /// What the database said.
        what: String,
    },
    /// A newer program wrote this database.
    #[error(
        "the database has schema {found}, this program knows up to {supported}: install the newer perennial that wrote it, or restore a backup made before the upgrade"
    )]
    Newer {
        /// Schema of the database.
        found: i64,
        /// Newest schema this program knows.
        supported: i64,
    },
    /// What is stored cannot be what was written.
    #[error("the database is damaged: {what}; restore a backup")]
    Corrupt {
        /// What was found.
        what: String,
    },
    /// A mistake of the calling program: wrong SQL, wrong type, a limit passed.
    #[error("{what}")]
    Other {
        /// What was wrong and where.
        what: String,
    },
}

/// The rule a [`StoreError::Conflict`] broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Unique or primary key.
    Unique,
    /// Reference to a row that is not there, or that is still referred to.
    Reference,
    /// CHECK or NOT NULL.
    Check,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unique => "uniqueness",
            Self::Reference => "reference",
            Self::Check => "check",
        })
    }
}

impl StoreError {
    /// A mistake of the calling program.
    pub fn other(what: impl Into<String>) -> Self {
        Self::Other { what: what.into() }
    }

    pub(crate) fn unavailable(what: impl Into<String>) -> Self {
        Self::Unavailable { what: what.into() }
    }

    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }

    /// How often a transaction that met this is tried in all, the first time included.
    pub(crate) fn attempts(&self) -> u32 {
        match self {
            Self::Contended { waited: false, .. } => 8,
            // Each has waited for as long as a lock is waited for.
            Self::Contended { waited: true, .. } => 2,
            _ => 1,
        }
    }

    /// True for a broken unique rule: what is to be created is there already.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Conflict { kind: Rule::Unique, .. })
    }
}
