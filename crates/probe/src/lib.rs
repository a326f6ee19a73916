//! Dials and reports what was presented; judges nothing.
//!
//! An expired, self-signed or misnamed certificate is *data* here, not an error: the handshake accepts any chain and still
//! verifies the peer's signature over the handshake, so every chain in a report was presented by somebody who holds its key.
//! What the chain is worth is decided elsewhere.
//!
//! [`Dialer`] is where to begin: [`Dialer::look`] dials every address of a [`Target`], [`Dialer::dial`] one of them. Many targets
//! at once go through [`lanes::run`], where dead ones do not hold up live ones.
//!
//! This crate never reads a wall clock, never keeps a session for resumption, never presents a client certificate, and never
//! waits or reads without a limit that has a name (see [`Phases`] and [`Limits`]).

mod dial;
mod failure;
mod handshake;
pub mod lanes;
mod limits;
mod pace;
mod resolve;
mod starttls;
mod target;
mod tls;
mod wire;

pub use dial::{Attempt, Dialer, Settings};
pub use failure::{Blame, Failure, Phase};
pub use handshake::Presented;
pub use limits::{Limits, MAX_ADDRESSES, Phases, RATE_PER_ADDRESS};
pub use resolve::{Overrides, Resolved};
pub use target::{Protocol, Target, TargetError};
pub use tls::Offer;
