//! What travels between server, agent and people: versioned data and nothing else.

pub mod fleet;
pub mod v1;
