//! The program as people meet it: real processes, real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod adopted;
mod agents;
mod architecture;
mod builds;
mod clocks;
mod demo;
mod drills;
mod exits;
mod harness;
mod hostile;
mod issuing;
mod kill;
mod messages;
mod nights;
mod ordered;
mod planning;
mod reach;
mod regions;
mod release;
mod scan;
mod sealed;
mod shared;
mod story;
mod together;
mod vantages;
