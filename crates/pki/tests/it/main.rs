//! One binary for all integration tests of the crate.
#![allow(clippy::unwrap_used, clippy::expect_used)]
