//! The API as peers meet it: over TCP, with real certificates and a real database.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod agents;
mod auth;
mod bulk;
mod description;
mod drills;
mod hangups;
mod imports;
mod incidents;
mod leaks;
mod limits;
mod plan;
mod problems;
mod releases;
mod rollouts;
mod support;
mod vantage;
