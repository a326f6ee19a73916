//! Drives the engine: sockets, HTTP, the clock.
