//! A rollout: a version on its way to its targets, in waves, each of which is held until production was observed serving it.
//!
//! [`plan`] says which target belongs to which wave, [`decide`] what happens next, [`reason`] what is waited for. Nothing here closes
//! anything: a target counts as served when the standing that came from its observations says so, and a report of an agent is a claim.

pub mod decide;
pub mod plan;
pub mod policy;
pub mod reason;

#[cfg(test)]
mod tests;

use crate::words::word;

pub use crate::words::RolloutId;
pub use decide::{Cause, Decision, decide};
pub use plan::{Placed, Plan, Wave};
pub use policy::Policy;
pub use reason::Reason;

word!(
    /// Why a version is on its way.
    Kind {
        /// A renewal, step by step.
        Ordinary = "ordinary",
        /// An emergency: shorter soaks, wider waves, the same path.
        Critical = "critical",
        /// A rehearsal of the emergency.
        Drill = "drill",
        /// A step back to the version before.
        Rollback = "rollback",
    }
);

impl Kind {
    /// Whether it goes by the shorter policy.
    pub fn is_critical(self) -> bool {
        matches!(self, Kind::Critical | Kind::Drill)
    }

    /// Whether it waits for nothing that the other one has half-way: an emergency does not, a rehearsal overtakes nobody.
    pub fn overtakes(self, other: Kind) -> bool {
        self == Kind::Critical && other != Kind::Critical
    }
}

word!(
    /// Where a rollout is.
    State {
        /// Another one of the same secret is under way and has to come to a point at which it can be left.
        Waiting = "waiting",
        /// Its waves are going out.
        Running = "running",
        /// Every target was observed, except those that were quarantined and stay open lines.
        Done = "done",
        /// It went wrong; another rollout takes its targets back.
        RolledBack = "rolled-back",
        /// A newer version is on its way instead.
        Superseded = "superseded",
    }
);

impl State {
    /// Whether it still has something to do.
    pub fn is_open(self) -> bool {
        matches!(self, State::Waiting | State::Running)
    }
}
