//! The crate against real peers: pebble as the CA, BIND as the name server, programs as hooks; and against a CA that does what
//! no CA should, over real TLS.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod bind;
mod dns;
mod hooks;
mod hostile;
mod issued;
mod pebble;
mod process;
mod responders;
mod scripted;
mod support;
mod waits;
