//! An internal CA as this product makes it: a root with path length 1, and issuing CAs below it with path length 0 and name constraints.
//! Whoever holds the root's key does this: the store where the root is kept there, and an operator's own machine where it is put away.

use crate::certificate::Certificate;
use crate::csr::{self, Csr, Rules};
use crate::issue::{AuthorityTemplate, Constraints, IssueError, Issuer, Subtree};
use crate::key::PrivateKey;
use crate::san::San;
use crate::text::escape;
use crate::time::{Span, Time};

/// How long a root lives.
pub const ROOT_LIFETIME: Span = Span::days(3650);
/// How long an issuing CA lives.
pub const ISSUING_LIFETIME: Span = Span::days(1095);
/// A CA begins so long before it was made: clocks of those who check it may be behind.
pub const BACKDATED: Span = Span::minutes(5);
/// Most subtrees of names that one CA is limited to.
pub const MOST_PERMITTED: usize = 100;

/// Why no CA was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaError {
    /// It is to be limited by something that limits nothing.
    #[error("{0} limits nothing; write example.internal, 10.0.0.0/8 or spiffe://trust.domain")]
    Permitted(String),
    /// It is to be limited by nothing at all.
    #[error("a CA without limits is not made; name what it may certify: example.internal, 10.0.0.0/8 or spiffe://trust.domain")]
    Unlimited,
    /// It is to be limited to too much.
    #[error("a CA is limited to at most {MOST_PERMITTED} subtrees of names")]
    TooMany,
    /// The request is none, or is not what a CA asks for.
    #[error("{0}")]
    Request(String),
    /// What would be signed is not.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

/// Randomness of the cryptographic library: serial numbers, salts and initialisation vectors of whoever has no other source.
///
/// # Errors
/// The library's generator fails.
pub fn random(buffer: &mut [u8]) -> Result<(), IssueError> {
    aws_lc_rs::rand::fill(buffer).map_err(|_| IssueError::Sign(crate::sign::SignError))
}

/// A root for an issuer, signed by its own key.
///
/// # Errors
/// The name is too long, or the key does not sign.
pub fn root(issuer: &str, key: &PrivateKey, serial: [u8; 16], now: Time) -> Result<Certificate, CaError> {
    let template = AuthorityTemplate {
        common_name: &format!("{issuer} root CA"),
        organization: None,
        not_before: now - BACKDATED,
        not_after: now + ROOT_LIFETIME,
        serial,
        path_length: Some(1),
        constraints: &Constraints::default(),
        crl: None,
    };
    Ok(crate::issue::root(key, &template)?)
}

/// What a root signs for an issuing CA. It outlives the root by nothing.
///
/// # Errors
/// See [`CaError`].
pub fn issuing(
    root_key: &PrivateKey,
    root: &Certificate,
    subject: &str,
    request: &[u8],
    permitted: &[String],
    serial: [u8; 16],
    now: Time,
) -> Result<Certificate, CaError> {
    let issuer = Issuer::new(root.clone(), root_key)?;
    let csr = Csr::parse(request).map_err(|e| CaError::Request(e.to_string()))?;
    let rules = Rules { common_names: &[subject], ..Rules::default() };
    let sentences = |problems: Vec<csr::CsrProblem>| problems.into_iter().map(|p| p.detail).collect::<Vec<_>>().join("; ");
    let checked = csr::check(&csr, &rules).map_err(|problems| CaError::Request(sentences(problems)))?;
    let permitted = subtrees(permitted)?;
    if permitted.is_empty() {
        return Err(CaError::Unlimited);
    }
    let constraints = Constraints::only(permitted);
    let template = AuthorityTemplate {
        common_name: subject,
        organization: None,
        not_before: (now - BACKDATED).max(root.not_before()),
        not_after: (now + ISSUING_LIFETIME).min(root.not_after()),
        serial,
        path_length: Some(0),
        constraints: &constraints,
        crl: None,
    };
    let linted = issuer.rehearse(issuer.prepare_authority(&checked, &template)?)?;
    Ok(issuer.sign(&linted)?)
}

/// What a CA may certify, from what people write.
///
/// # Errors
/// Something that is no name, no network and no trust domain, or too much of it.
pub fn subtrees(permitted: &[String]) -> Result<Vec<Subtree>, CaError> {
    if permitted.len() > MOST_PERMITTED {
        return Err(CaError::TooMany);
    }
    permitted.iter().map(|text| subtree(text).ok_or_else(|| CaError::Permitted(escape(text)))).collect()
}

fn subtree(text: &str) -> Option<Subtree> {
    if let Some(domain) = text.strip_prefix("spiffe://") {
        return San::dns(domain).is_ok().then(|| Subtree::Uri(domain.to_owned()));
    }
    if let Some((address, length)) = text.split_once('/') {
        let address: std::net::IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        return Some(Subtree::Ip(address, length.parse().ok().filter(|n| *n <= most)?));
    }
    San::dns(text).is_ok().then(|| Subtree::Dns(text.to_ascii_lowercase()))
}
