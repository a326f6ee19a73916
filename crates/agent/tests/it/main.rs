//! The agent against a store that speaks the same words over real TLS, real disks, and real servers.

mod disk;
mod kill;
mod life;
mod peers;
mod program;
mod programs;
mod store;
