//! Issuing: what is decided, stored, then signed, and then stored as a version of a secret.
//!
//! A *version* may begin without certificates: it is announced, and each node behind it brings the request for a key that was born
//! there. Storing or announcing changes no runway: only what production is observed to serve does.

mod announce;
mod authority;
mod choose;
mod crl;
mod desk;
mod hand;
mod node;
mod orders;
mod plan;
mod prepare;
mod renew;
mod suggest;

pub(crate) use announce::announce as announce_version;
pub use announce::{Certificate, instance};
pub(crate) use authority::wake_issued_by;
pub use authority::{CA, NewAuthority, Requested};
pub(crate) use choose::cannot_ask;
pub use crl::{EVERY, GOOD_FOR};
pub use desk::{BATCH, Desk, MOST_WAITING};
pub use hand::{MOST_OPEN, NewRequest};
pub(crate) use prepare::LEAKED;
pub use renew::RENEW;
pub(crate) use renew::wanted as renew_wanted;

use domain::Span;
use store::Tx;

/// The answer to a request for a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// DER, leaf first.
    Issued(Vec<Vec<u8>>),
    /// It is not there yet; the same request brings it later.
    Pending {
        /// Not before this long.
        retry_after: Span,
        /// What is waited for.
        what: String,
    },
}

/// The region of a node, empty where it is not known.
fn region_of(tx: &mut Tx<'_>, node: &str) -> store::Result<String> {
    Ok(store::model::node::by_name(tx, node)?.map(|n| n.region).unwrap_or_default())
}
