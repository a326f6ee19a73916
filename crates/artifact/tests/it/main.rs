//! One binary for all integration tests of the crate.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod containers;
mod hostile;
mod images;
mod leaves;
mod random;
mod support;
