//! The simulated world: the product's own engine and store over a simulated clock, network, post and people.
//!
//! A [`Scenario`] says what the world does by itself, how people react to what they are told, what must be seen and by when. Every
//! scenario has two histories ([`replay`]): one in which people react, and a *control* in which they do not. The control must show the
//! outage that the scenario is about, at its time and reach; one that shows none proves nothing and fails.
//!
//! Nothing here decides what a certificate is worth, when somebody is told, or when an incident ends: the engine does. What production
//! *is* (whether its clients are served) is asked of [`pki::Verifier`], as a client would. One seed is one history: no clock, no
//! randomness, no thread, no map without order.

mod certificates;
pub mod corpus;
mod detector;
mod history;
mod inventory;
mod network;
mod people;
pub mod scenario;
pub mod verdict;

pub use detector::Detector;
pub use history::History;
pub use people::Signal;
pub use scenario::{Problem, Scenario};
pub use verdict::{Verdict, replay};

use std::collections::BTreeSet;

/// How a scenario is replayed.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What keys and identities are made from. The same seed is the same history.
    pub seed: u64,
    /// Detectors that are blind: what they would have told reaches nobody.
    pub without: BTreeSet<Detector>,
}

/// Why a scenario cannot be replayed. What it shows is no error, but a [`Verdict`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be carried out as written.
    #[error("{0}")]
    Scenario(String),
    /// A certificate of it cannot be made.
    #[error("certificate `{0}` cannot be made: {1}")]
    Certificate(String, pki::build::BuildError),
    /// The engine refuses what the scenario does.
    #[error("{at}: {what}: {error}")]
    Refused {
        /// When.
        at: domain::Time,
        /// What was tried.
        what: String,
        /// What the engine says.
        error: Box<engine::Error>,
    },
    /// The loops found no end at one moment.
    #[error("the loops do not come to rest at {0}")]
    Restless(domain::Time),
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
