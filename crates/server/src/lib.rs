//! Drives the engine: sockets, HTTP, the clock.

pub mod deliver;
pub mod http;
pub mod clock;
pub mod drive;
pub mod network;
pub mod post;
pub mod restore;
pub mod run;
pub mod tls;
