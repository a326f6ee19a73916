//! One binary for all integration tests of the crate.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod caches;
mod certificate;
mod csr;
mod import;
mod issue;
mod load;
mod path;
mod peers;
mod support;
