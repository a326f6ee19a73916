//! The probe against real sockets: servers that behave, servers that do not, and real peers where they are installed.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod addresses;
mod hostile;
mod installed;
mod peers;
mod presented;
mod programs;
mod starttls;
mod upgrades;
