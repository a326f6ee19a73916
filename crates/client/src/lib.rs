//! What an operator's commands do; nothing that the API cannot.

pub mod adopt;
