//! What is checked before a certificate is stored, and how it differs from the version before.
//!
//! All problems are said at once: whoever imports at three in the morning has one try per minute.

use std::collections::BTreeSet;

use crate::algorithm::KeyKind;
use crate::certificate::Certificate;
use crate::chain::{ChainProblem, check_chain, check_order};
use crate::key::PrivateKey;
use crate::path::{MAX_CHAIN, PathError, PathErrorCode, Purpose, Verifier};
use crate::time::{Span, Time};

/// What is to be imported.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Leaf first, in order.
    pub chain: &'a [Certificate],
    /// The leaf's private key; `None` if it was born elsewhere and stays there.
    pub key: Option<&'a PrivateKey>,
    /// Private keys that were found in the chain's file beside `key`.
    pub stray_keys: usize,
    /// Where the chain must lead; `None` to check only its own order and signatures. A shared verifier
    /// makes many imports cheap.
    pub verifier: Option<&'a Verifier>,
    /// What the leaf will be used for.
    pub purpose: Purpose,
    /// The "leaf" is meant to be a CA certificate.
    pub is_ca: bool,
}

/// A candidate in which nothing is wrong.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The leaf.
    pub leaf: Certificate,
    /// The whole chain, leaf first.
    pub chain: Vec<Certificate>,
    /// What changed against the version before; empty if there was none.
    pub differences: Vec<Difference>,
}

/// One thing that is not as in the version before. Texts are escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What changed: "names", "issuer", "key", …
    pub field: &'static str,
    /// How it was.
    pub before: String,
    /// How it is.
    pub after: String,
    /// Every renewal changes key, serial and dates. Anything else must be accepted by a person.
    pub ordinary: bool,
}

/// What kind of thing stands against an import. Stable; meant for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImportCode {
    /// No certificate, or more than a chain can have.
    ChainSize,
    /// A certificate of the chain is missing.
    MissingIntermediate,
    /// The certificates are not in order.
    Disordered,
    /// A signature does not verify.
    BadSignature,
    /// The chain does not lead to a trusted root.
    Untrusted,
    /// The private key is not the leaf's.
    KeyMismatch,
    /// The chain's file holds a private key.
    StrayKey,
    /// A required name is not covered.
    NameNotCovered,
    /// A key is too weak.
    WeakKey,
    /// A signature is SHA-1 or older.
    WeakSignature,
    /// A certificate of the chain has expired.
    Expired,
    /// A certificate of the chain is not yet valid.
    NotYetValid,
    /// notAfter is before notBefore.
    NeverValid,
    /// The leaf is a CA certificate and was not meant to be, or the reverse.
    LeafIsCa,
    /// The leaf is not meant for this purpose.
    WrongPurpose,
}

/// One thing that stands against an import, in a sentence with names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ImportProblem {
    /// For programs.
    pub code: ImportCode,
    /// For people; escaped.
    pub detail: String,
}

/// Checks everything that can be checked before storing.
///
/// # Errors
/// All problems, those of the chain first.
pub fn check_import(
    candidate: Candidate<'_>,
    required_names: &[String],
    previous: Option<&Certificate>,
    now: Time,
) -> Result<Checked, Vec<ImportProblem>> {
    let chain = candidate.chain;
    let Some(leaf) = chain.first().filter(|_| chain.len() <= MAX_CHAIN) else {
        let detail = format!("the chain has {} certificates; it needs 1 to {MAX_CHAIN}", chain.len());
        return Err(vec![ImportProblem { code: ImportCode::ChainSize, detail }]);
    };
    let mut problems = Problems(Vec::new());
    let unsaid = problems.check_chain(&candidate, leaf, now);
    problems.check_key(&candidate, leaf);
    problems.check_strength(chain);
    problems.check_dates(chain, now);
    problems.check_purpose(&candidate, leaf);
    problems.check_names(leaf, required_names);
    if let Some(error) = unsaid.filter(|_| problems.0.is_empty()) {
        problems.add(ImportCode::Untrusted, error.detail);
    }
    if !problems.0.is_empty() {
        return Err(problems.0);
    }
    let differences = previous.map(|previous| differences(previous, leaf)).unwrap_or_default();
    Ok(Checked { leaf: leaf.clone(), chain: chain.to_vec(), differences })
}

struct Problems(Vec<ImportProblem>);

impl Problems {
    fn add(&mut self, code: ImportCode, detail: impl Into<String>) {
        self.0.push(ImportProblem { code, detail: detail.into() });
    }

    /// Returns what is wrong with the path if another check is expected to say it better.
    fn check_chain(&mut self, candidate: &Candidate<'_>, leaf: &Certificate, now: Time) -> Option<PathError> {
        // Dates have their own sentences below; the path is judged when the leaf is valid.
        let at = now.min(leaf.not_after()).max(leaf.not_before());
        let verdict = candidate.verifier.map(|verifier| verifier.verify(candidate.chain, None, candidate.purpose, at));
        let order = match verdict {
            // The path has proven the signatures; the order is a matter of names then.
            Some(Ok(_)) => check_order(candidate.chain),
            _ => check_chain(candidate.chain),
        };
        let broken = order.is_err();
        if let Err(problem) = order {
            let code = match problem {
                ChainProblem::Empty => ImportCode::ChainSize,
                ChainProblem::Missing { .. } => ImportCode::MissingIntermediate,
                ChainProblem::Disordered { .. } => ImportCode::Disordered,
                ChainProblem::BadSignature { .. } => ImportCode::BadSignature,
            };
            self.add(code, problem.to_string());
        }
        if let Some(Err(error)) = verdict {
            let code = match error.code {
                PathErrorCode::IncompleteChain => ImportCode::MissingIntermediate,
                // Said below with more detail, or above with better words.
                PathErrorCode::Weak | PathErrorCode::Expired | PathErrorCode::NotYetValid => return Some(error),
                PathErrorCode::BadSignature if broken => return Some(error),
                PathErrorCode::Constraint if leaf.is_ca() => return Some(error),
                PathErrorCode::BadSignature => ImportCode::BadSignature,
                _ => ImportCode::Untrusted,
            };
            self.add(code, error.detail);
        }
        None
    }

    fn check_key(&mut self, candidate: &Candidate<'_>, leaf: &Certificate) {
        if let Some(key) = candidate.key.filter(|key| !key.fits(leaf)) {
            let owner = candidate.chain.iter().find(|certificate| key.fits(certificate));
            let detail = match owner {
                Some(owner) => format!("the private key belongs to {}, not to the leaf {}", owner.subject(), leaf.subject()),
                None => {
                    format!("the {} private key is not the key of {} ({})", key.kind(), leaf.subject(), leaf.key())
                }
            };
            self.add(ImportCode::KeyMismatch, detail);
        }
        if candidate.stray_keys > 0 {
            self.add(
                ImportCode::StrayKey,
                "the chain's file also holds a private key; give the key as the key, and the certificates alone as the chain",
            );
        }
    }

    fn check_strength(&mut self, chain: &[Certificate]) {
        for (position, certificate) in chain.iter().enumerate() {
            if certificate.key().is_weak() {
                self.add(
                    ImportCode::WeakKey,
                    format!("{} (position {position}) has a weak key: {}", certificate.subject(), certificate.key()),
                );
            } else if position == 0
                && matches!(certificate.key(), KeyKind::Rsa { .. })
                && let Some(problem) = crate::csr::weak::rsa_problem(certificate.spki_der())
            {
                let detail = format!("the RSA key of {} {problem}; make another one with current software", certificate.subject());
                self.add(ImportCode::WeakKey, detail);
            }
            // A root is trusted for what it is; its own signature proves nothing.
            if certificate.has_weak_signature() && !(position > 0 && certificate.self_issued()) {
                let algorithm = certificate.signature_algorithm();
                self.add(ImportCode::WeakSignature, format!("{} (position {position}) is signed with {algorithm}", certificate.subject()));
            }
        }
    }

    fn check_dates(&mut self, chain: &[Certificate], now: Time) {
        for (position, certificate) in chain.iter().enumerate() {
            let (subject, from, until) = (certificate.subject(), certificate.not_before(), certificate.not_after());
            if certificate.lifetime() <= Span::ZERO {
                self.add(ImportCode::NeverValid, format!("{subject} (position {position}) ends {until}, before it begins {from}"));
            } else if now >= until {
                // A guardian treats notAfter as exclusive.
                self.add(ImportCode::Expired, format!("{subject} (position {position}) expired {until}, {} ago", now - until));
            } else if now < from {
                self.add(ImportCode::NotYetValid, format!("{subject} (position {position}) is valid only from {from}, in {}", from - now));
            }
        }
    }

    fn check_purpose(&mut self, candidate: &Candidate<'_>, leaf: &Certificate) {
        if leaf.is_ca() != candidate.is_ca {
            let detail = if leaf.is_ca() { "is a CA certificate, not one for a server or client" } else { "is no CA certificate" };
            self.add(ImportCode::LeafIsCa, format!("{} {detail}; is it the wrong file or the wrong order?", leaf.subject()));
        }
        let needed = match candidate.purpose {
            Purpose::Server => "serverAuth",
            Purpose::Client => "clientAuth",
        };
        let usages = leaf.extended_key_usage();
        // RFC 5280 §4.2.1.12: without the extension every purpose is allowed.
        if !usages.is_empty() && !usages.iter().any(|usage| usage == needed || usage == "anyExtendedKeyUsage") {
            let detail = format!("{} lacks the extended key usage {needed}; it has {}", leaf.subject(), shorten(usages));
            self.add(ImportCode::WrongPurpose, detail);
        }
    }

    fn check_names(&mut self, leaf: &Certificate, required: &[String]) {
        for name in required.iter().filter(|name| !leaf.covers(name)) {
            let name = crate::text::escape(name);
            self.add(ImportCode::NameNotCovered, format!("{name} is not covered; {} covers {}", leaf.subject(), names(leaf)));
        }
    }
}

/// How `after` differs from `before`, the ordinary last.
#[must_use]
pub fn differences(before: &Certificate, after: &Certificate) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut compare = |field, ordinary, changed: bool, show: &dyn Fn(&Certificate) -> String| {
        if changed {
            found.push(Difference { field, before: show(before), after: show(after), ordinary });
        }
    };
    let changed = before.subject_der() != after.subject_der();
    compare("subject", false, changed, &|c| c.subject().to_owned());
    let sorted = |c: &Certificate| c.names().iter().cloned().collect::<BTreeSet<_>>();
    compare("names", false, sorted(before) != sorted(after), &names);
    let changed = before.issuer_der() != after.issuer_der();
    compare("issuer", false, changed, &|c| c.issuer().to_owned());
    let changed = before.key() != after.key();
    compare("key type", false, changed, &|c| c.key().to_string());
    let changed = before.key_usage() != after.key_usage();
    compare("key usage", false, changed, &|c| c.key_usage().map_or_else(|| "none".into(), |usage| usage.to_string()));
    let usages = |c: &Certificate| c.extended_key_usage().iter().cloned().collect::<BTreeSet<_>>();
    compare("extended key usage", false, usages(before) != usages(after), &|c| shorten(c.extended_key_usage()));
    compare("CA", false, before.is_ca() != after.is_ca(), &|c| c.is_ca().to_string());
    let changed = is_other_lifetime(before.lifetime(), after.lifetime());
    compare("lifetime", false, changed, &|c| c.lifetime().to_string());
    let changed = before.spki_fingerprint() != after.spki_fingerprint();
    compare("key", true, changed, &|c| c.spki_fingerprint().to_string());
    compare("serial", true, before.serial() != after.serial(), &Certificate::serial);
    let changed = before.not_before() != after.not_before();
    compare("not before", true, changed, &|c| c.not_before().to_string());
    let changed = before.not_after() != after.not_after();
    compare("not after", true, changed, &|c| c.not_after().to_string());
    found
}

/// Issuers vary lifetimes by hours or days; more than a quarter is another policy.
fn is_other_lifetime(before: Span, after: Span) -> bool {
    let (short, long) = (before.min(after).as_secs(), before.max(after).as_secs());
    long.saturating_mul(4) > short.saturating_mul(5)
}

fn names(certificate: &Certificate) -> String {
    let all: Vec<String> = certificate.names().iter().take(SHOWN + 1).map(ToString::to_string).collect();
    let mut text = shorten(&all);
    if certificate.names().len() > SHOWN {
        text = format!("{text} ({} in all)", certificate.names().len());
    }
    text
}

/// Most entries of a list that are shown.
const SHOWN: usize = 20;

fn shorten(list: &[String]) -> String {
    if list.is_empty() {
        return "none".into();
    }
    let mut text = list.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if list.len() > SHOWN {
        text.push_str(", …");
    }
    text
}
