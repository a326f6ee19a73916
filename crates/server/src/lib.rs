//! Drives the engine: sockets, HTTP, the clock.

pub mod deliver;
