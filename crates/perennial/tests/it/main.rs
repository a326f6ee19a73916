//! The program as people meet it: real processes, real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod architecture;
mod scan;
