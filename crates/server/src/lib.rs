//! Drives the engine: sockets, HTTP, the clock.

mod accept;
pub mod agents;
pub mod authority;
pub mod clock;
pub mod deliver;
pub mod drive;
pub mod http;
pub mod network;
pub mod post;
pub mod restore;
pub mod run;
pub mod tls;
mod witness;
