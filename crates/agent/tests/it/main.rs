//! The agent against a store that speaks the same words over real TLS, real disks, and real servers.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod disk;
mod kill;
mod life;
mod peers;
mod program;
mod programs;
mod store;
