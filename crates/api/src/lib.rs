//! What travels between server, agent and people: versioned data and nothing else.

pub mod agent;
pub mod fleet;
pub mod v1;
