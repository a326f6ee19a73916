//! Speaks ACME and DNS updates: orders in, chains out; decides nothing, keeps nothing.
//!
//! A [`Ca`] is one directory (RFC 8555 §7.1.1), spoken to through the guarded client that it is given. With an account's
//! [`Credentials`] it takes an order one bounded step further each time that [`Ca::advance`] is called, and says what is
//! awaited and when to come back. Whoever calls keeps the order's URL before the next step, so a crash anywhere is followed by
//! the same call with the same URL; nothing else has to be remembered.
//!
//! - [`Solver`]: how a name is proven: [`http::Responder`] (RFC 8555 §8.3), [`tls::Responder`] (RFC 8737), [`dns::Updater`]
//!   (RFC 8555 §8.4 by RFC 2136 with RFC 8945), [`hook::Hook`] (a program of the operator's).
//! - [`ari`]: when the CA would like a renewal (RFC 9773).
//! - [`patience`]: how long somebody who asks for patience gets it.
//!
//! **Never here:** a clock (`now` is an argument), stored state, a loop that waits for a CA, a key that can be printed, an
//! answer that is believed because of who sent it: what a CA hands out is checked against what was asked for.

mod account;
pub mod ari;
mod authorise;
mod chain;
mod challenge;
mod error;
mod order;
pub mod patience;
mod register;
mod wire;

pub use account::{Binding, Ca, Credentials, Facts};
pub use challenge::{Proof, Solver, dns, hook, http, tls};
pub use error::{Error, NameProblem, Refusal, Whose};
pub use order::{Issued, MAX_NAMES, Placed, Step, Wanted};
