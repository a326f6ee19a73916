//! Drives the engine: sockets, HTTP, the clock.

pub mod deliver;
pub mod http;
