//! One binary for all integration tests of the crate.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod caches;
mod certificate;
mod import;
mod load;
mod path;
mod support;
