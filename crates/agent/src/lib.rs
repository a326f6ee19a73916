//! Runs on other people's machines: installs what its store signed for its node.
//!
//! The store says *what* a node is to have; the node's own `agent.toml` says *where* it lies and what is reloaded. [`run`] is the whole
//! life of an agent: it lives on a client certificate that it renews itself, waits for a signed manifest, brings each version to its place
//! by [`install`]'s state machine, looks at its own port, and claims. It goes on without the store on what lies in its folder ([`state`]).
//!
//! This crate never links the store, the rules, or `envelope`; never takes a path or a command from the store; never acts on what is not
//! signed; never goes back a generation; and never shows its readers half of a change.

mod apply;
pub mod clock;
pub mod config;
mod error;
mod files;
pub mod install;
mod join;
mod life;
pub mod manifest;
pub mod observe;
mod pace;
mod places;
pub mod seal;
pub mod standing;
pub mod state;
mod supply;
mod wire;

use std::{path::PathBuf, sync::Arc};

use pki::Time;

pub use apply::apply;
pub use config::Config;
pub use error::Error;
pub use install::Step;
pub use join::join;
pub use life::{once, run};
pub use standing::Standing;

/// Says what time it is.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// What an agent meets in the world around it, brought by the caller.
#[derive(Clone)]
pub struct Around {
    /// The clock.
    pub now: Clock,
    /// Differs for every start ([`api::agent::Join::instance`]).
    pub instance: String,
    /// `$CREDENTIALS_DIRECTORY`, if systemd set it.
    pub credentials: Option<PathBuf>,
    /// Called at each step of an install; does nothing outside of tests.
    pub step: Step,
    /// Hears what a person should know.
    pub say: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Around {
    /// This machine's clock, an instance drawn now, and silence.
    ///
    /// # Errors
    /// No randomness.
    pub fn here() -> Result<Around, Error> {
        let mut instance = [0; 16];
        aws_lc_rs::rand::fill(&mut instance).map_err(|_| seal::SealError::Entropy)?;
        Ok(Around {
            now: Arc::new(clock::now),
            instance: hex::encode(instance),
            credentials: None,
            step: Arc::new(|_| {}),
            say: Arc::new(|_| {}),
        })
    }
}

impl std::fmt::Debug for Around {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Around").field("instance", &self.instance).finish_non_exhaustive()
    }
}
