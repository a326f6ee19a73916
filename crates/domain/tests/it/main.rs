//! The rules that add up whole fleets, against computations that are too slow and too simple to be wrong.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod blast;
mod drill;
mod fleet;
mod partition;
mod rollout;
