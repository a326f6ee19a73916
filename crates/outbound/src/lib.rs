//! The only HTTP client: whatever leaves by HTTP leaves here, and it dials no inside address that was not allowed by name.
//!
//! A store of certificates sits where attackers want to send requests from: it reaches every network, and people with
//! few rights give it URLs. So the [`Client`]
//!
//! - resolves names itself, judges every *address*, and dials the very address that it judged, which leaves no gap for a
//!   name that answers differently the second time;
//! - refuses what is not global unicast ([`inside`]), in all its disguises (IPv4 in IPv6, NAT64, `http://2130706433/`),
//!   unless the host name in the URL is on the [`Allow`] list;
//! - speaks HTTPS only, except to allowed names; knows no proxies and no environment variables; follows no redirects,
//!   because a redirect is somebody else's URL;
//! - gives every phase a time and the answer a size, and says on failure who is to blame and whether to try again.
//!
//! **Never here:** a clock, stored state, a second attempt. Whether to retry is the caller's decision; a request that met nobody on a
//! [kept](Client::keeping_alive) connection is still the first one.

mod body;
mod client;
mod destination;
mod error;
mod first_contact;
mod guard;
mod kept;
mod message;
mod policy;

pub use client::{Client, Identity};
pub use error::{Blame, Error, Phase};
pub use guard::inside;
pub use message::{Answer, MAX_RETRY_AFTER, Request, Response, retry_after};
pub use policy::{Allow, DEFAULT_MAX_RESPONSE, Policy, Timeouts, roots_from_pem};

pub use bytes::Bytes;
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
