//! Commands as people type them, against a server that answers what the test says; what is seen is the contract.
//!
//! These tests are about words: what is sent, what is shown, how it ends. What a real server answers is tested with a real server.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod canned;
mod changing;
mod drills;
mod failing;
mod forecast;
mod listing;
mod looking;
mod releases;
mod rollouts;
