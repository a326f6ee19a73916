//! The order of a chain: leaf first, each certificate followed by the one that signed it.

use crate::certificate::{Certificate, SignatureProblem};
use crate::key::PrivateKey;

/// Why a list of certificates is not a chain. Subjects are escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainProblem {
    /// There is nothing.
    #[error("there is no certificate")]
    Empty,
    /// The issuer of a certificate is not in the list, although others follow.
    #[error("the certificate of {issuer} is missing: it should follow {subject} (position {position}), but {found} does")]
    Missing {
        /// Whose issuer is missing.
        subject: String,
        /// Where that is, from 0.
        position: usize,
        /// The missing one.
        issuer: String,
        /// What stands there instead.
        found: String,
    },
    /// The issuer of a certificate is in the list, but not next.
    #[error("the chain is out of order: {issuer} should follow {subject} (position {position}), but stands at position {at}")]
    Disordered {
        /// Whose issuer is elsewhere.
        subject: String,
        /// Where that is, from 0.
        position: usize,
        /// The one that should follow.
        issuer: String,
        /// Where it stands.
        at: usize,
    },
    /// The names fit but the signature does not: a certificate of an older or newer key of the issuer.
    #[error("{subject} (position {position}) was not signed by the certificate of {issuer} that follows it: {problem}")]
    BadSignature {
        /// Whose signature fails.
        subject: String,
        /// Where that is, from 0.
        position: usize,
        /// The issuer whose key does not verify it.
        issuer: String,
        /// How it fails.
        problem: SignatureProblem,
    },
}

/// Checks that each certificate is followed by its issuer, by name and signature. The root may be
/// absent; whether the last certificate leads anywhere is for [`crate::path`] to say.
///
/// # Errors
/// The first place at which it breaks.
pub fn check_chain(chain: &[Certificate]) -> Result<(), ChainProblem> {
    check(chain, Certificate::check_signature)
}

/// The same by names alone, which costs no signature.
///
/// # Errors
/// The first place at which it breaks.
pub fn check_order(chain: &[Certificate]) -> Result<(), ChainProblem> {
    check(chain, |_, _| Ok(()))
}

fn check(
    chain: &[Certificate],
    signed_by: impl Fn(&Certificate, &Certificate) -> Result<(), SignatureProblem>,
) -> Result<(), ChainProblem> {
    if chain.is_empty() {
        return Err(ChainProblem::Empty);
    }
    for (position, pair) in chain.windows(2).enumerate() {
        let [certificate, next] = pair else { continue };
        let is_next = certificate.issuer_der() == next.subject_der() && certificate != next;
        let problem = match signed_by(certificate, next) {
            Ok(()) if is_next => continue,
            problem => problem.err(),
        };
        let subject = certificate.subject().to_owned();
        let issuer = certificate.issuer().to_owned();
        // The right one may just stand elsewhere; two may have one name.
        let elsewhere = chain.iter().position(|other| {
            let named = other.subject_der() == certificate.issuer_der() && other != certificate && other != next;
            named && signed_by(certificate, other).is_ok()
        });
        return Err(match (elsewhere, problem) {
            (Some(at), _) => ChainProblem::Disordered { subject, position, issuer, at },
            (None, Some(problem)) if is_next => ChainProblem::BadSignature { subject, position, issuer, problem },
            (None, _) => ChainProblem::Missing { subject, position, issuer, found: next.subject().to_owned() },
        });
    }
    Ok(())
}

/// A list of certificates put in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sorted {
    /// Leaf first, then issuers as far as names and signatures lead.
    pub chain: Vec<Certificate>,
    /// What is not part of that chain, in the order given; duplicates are dropped.
    pub superfluous: Vec<Certificate>,
}

/// Finds the leaf (the certificate of `key` if given, else one that issued none of the others, CAs
/// last) and follows its issuers.
#[must_use]
pub fn sort_chain(certificates: &[Certificate], key: Option<&PrivateKey>) -> Sorted {
    let mut rest: Vec<Certificate> = Vec::with_capacity(certificates.len());
    for certificate in certificates {
        if !rest.contains(certificate) {
            rest.push(certificate.clone());
        }
    }
    let issued_none = |leaf: &Certificate| !rest.iter().any(|other| other != leaf && other.issuer_der() == leaf.subject_der());
    let leaf = key
        .and_then(|key| rest.iter().position(|certificate| key.fits(certificate)))
        .or_else(|| rest.iter().position(|certificate| !certificate.is_ca() && issued_none(certificate)))
        .or_else(|| rest.iter().position(|certificate| !certificate.is_ca()))
        .or_else(|| rest.iter().position(issued_none))
        .unwrap_or(0);
    let mut sorted = Sorted::default();
    if rest.is_empty() {
        return sorted;
    }
    let mut last = rest.remove(leaf);
    loop {
        let found = rest.iter().position(|issuer| issuer.subject_der() == last.issuer_der() && last.check_signature(issuer).is_ok());
        match found {
            Some(next) => sorted.chain.push(std::mem::replace(&mut last, rest.remove(next))),
            None => break,
        }
    }
    sorted.chain.push(last);
    sorted.superfluous = rest;
    sorted
}
