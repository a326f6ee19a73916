//! The engine against a real database and a scripted network: what a fleet goes through, in simulated time.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod clock;
mod delivery;
mod drills;
mod fleet_2013;
mod forecast;
mod intents;
mod issuing;
mod laws;
mod looks;
mod nodes;
mod notices;
mod orders;
mod partition;
mod paths;
mod plan_2013;
mod planned_by;
mod releases;
mod retiring;
mod revocations;
mod rollouts;
mod rules;
mod sweeps;
mod vault;
mod world;
