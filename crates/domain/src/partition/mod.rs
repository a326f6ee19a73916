//! How the certificates of a service may be shared, and when they may end.

mod rules;

pub use rules::{MAX_DAYS, Rules};
