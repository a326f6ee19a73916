//! How the certificates of a service may be shared, and when they may end: the rules, what breaks them, and a plan that does not.

mod breach;
mod plan;
mod rules;

pub use breach::{Breach, Served, breaches};
pub use plan::{ASSUMED_LIFETIME, Ask, LONG_LIVED, MAX_SLOTS, Measure, Planned, Proposal, SHORTEST_PART, Short, measure, propose, with};
pub use rules::{MAX_DAYS, Rules};
