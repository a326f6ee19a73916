//! Every decision of Perennial, as pure functions of values and `now`.
//!
//! The crate is `no_std`, so the compiler itself forbids a clock, the environment, threads and unordered maps. Nothing here is
//! serialisable: how a value is stored is the store's business, how it travels is the API's.
//!
//! Read [`policy`] for the arithmetic, [`observation`] for what one look at production adds to what was known,
//! [`target`] and [`secret`] for what the rules say about one of each, and [`incident`] for what is kept of it.
#![no_std]
extern crate alloc;

pub mod blast;
pub mod calendar;
pub mod clock;
pub mod concern;
pub mod delivery;
pub mod drill;
pub mod finding;
pub mod forecast;
pub mod incident;
pub mod issuing;
pub mod ladder;
pub mod observation;
pub mod partition;
pub mod policy;
pub mod release;
pub mod renewal;
pub mod required;
pub mod rollout;
pub mod schedule;
pub mod secret;
pub mod spof;
pub mod target;
pub mod told;
pub mod words;

pub use pki::{Fingerprint, Span, Time};
