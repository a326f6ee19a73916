//! From presented bytes to facts: what a chain is worth to those who must be served.

use crate::lock;
use domain::{
    Fingerprint, Span, Time,
    finding::{Code, End},
    policy::{Class, Policy, Thresholds},
    target::{PathProblem, Presented},
    words::KeyType,
};
use pki::{Certificate, Limits, PathErrorCode, Purpose, Roots, Verifier};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// Later dates at which every path is tried.
pub const LATER: [Span; 3] = [Span::days(30), Span::days(90), Span::days(365)];
/// How many sets of private roots are kept ready.
const MAX_ROOT_SETS: usize = 256;
/// How many names of a certificate a sentence mentions.
const NAMES_SHOWN: usize = 5;

/// Knows the roots, and remembers what it has already verified.
pub struct Judge {
    system: Arc<Verifier>,
    private: Mutex<BTreeMap<Fingerprint, Arc<Verifier>>>,
}

/// What a target asks of a chain.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The server name that must be covered, where one is checked.
    pub name: Option<&'a str>,
    /// PEM of private roots; none for the system's.
    pub roots: Option<&'a str>,
    /// Names that are expected of an external secret.
    pub expected_names: &'a [String],
    /// The policy that applies to the leaf.
    pub policy: &'a Policy,
}

impl Judge {
    /// A judge that knows the system's roots. What does not parse among them is left out.
    pub fn new(system_roots: Vec<Vec<u8>>) -> Judge {
        let (roots, _) = Roots::lenient(system_roots);
        Judge { system: Arc::new(Verifier::new(Arc::new(roots))), private: Mutex::new(BTreeMap::new()) }
    }

    /// The verifier for a set of roots.
    pub fn verifier(&self, roots: Option<&str>) -> Arc<Verifier> {
        let Some(pem) = roots else { return self.system.clone() };
        let key = Fingerprint::of(pem.as_bytes());
        let mut sets = lock(&self.private);
        if let Some(known) = sets.get(&key) {
            return known.clone();
        }
        let certificates = pki::load(pem.as_bytes(), None, Limits::default()).map(|l| l.certificates).unwrap_or_default();
        let (roots, _) = Roots::lenient(certificates.iter().map(Certificate::der));
        let verifier = Arc::new(Verifier::new(Arc::new(roots)));
        if sets.len() >= MAX_ROOT_SETS {
            sets.pop_first();
        }
        sets.insert(key, verifier.clone());
        verifier
    }

    /// Judges a chain (concatenated DER, leaf first). `None` where the leaf itself cannot be read.
    pub fn judge(&self, der: &[u8], terms: &Terms<'_>, now: Time) -> Option<Presented> {
        let chain = parse_chain(der);
        let leaf = chain.first()?;
        let verifier = self.verifier(terms.roots);
        let outlook = verifier.outlook(&chain, None, now, &LATER);
        let lifetime = leaf.lifetime();
        let thresholds = terms.policy.thresholds(lifetime);
        let mut ends = vec![End { about: leaf.fingerprint(), position: 0, until: leaf.not_after(), thresholds, lifetime }];
        let above = end_above(&verifier, &chain, terms.roots.is_some(), thresholds, now);
        let path = match &outlook.now {
            Ok(_) => Ok(()),
            Err(e) => Err(PathProblem { code: code_of(e.code), detail: e.detail.clone() }),
        };
        let mut until = outlook.best_until.map_or(leaf.not_after(), |(t, _, _)| t);
        match (&path, above) {
            (Ok(()), above) => ends.extend(above),
            // What ended above the leaf goes on being told as what it is, and production is served until then and no longer.
            (Err(problem), _) if problem.code == Code::Expired => {
                for end in ended_above(&verifier, &chain, terms.roots.is_some(), thresholds, now) {
                    until = until.min(end.until);
                    ends.push(end);
                }
            }
            (Err(_), _) => {}
        }
        // A break that no end on the path explains: a missing intermediate for a later root, a constraint, …
        let breaks_later = match (&path, above) {
            (Ok(()), None) => outlook
                .later
                .iter()
                .find_map(|(span, r)| r.as_ref().err().map(|e| format!("the path will not validate in {span}: {}", e.detail))),
            _ => None,
        };
        let superfluous_expired = match &path {
            Ok(()) => chain[1..]
                .iter()
                .find(|c| c.not_after() <= now)
                .map(|c| format!("presents {}, which expired {} and which no path needs; remove it", c.subject(), c.not_after())),
            Err(_) => None,
        };
        Some(Presented {
            lifetime,
            issuer: leaf.issuer().to_owned(),
            names: names(leaf),
            key: KeyType::parse(leaf.key_type()),
            covers: terms.name.is_none_or(|n| leaf.covers(n)),
            lacks: terms.expected_names.iter().filter(|n| !leaf.covers(n)).map(|n| pki::text::escape(n)).collect(),
            path,
            until,
            ends,
            breaks_later,
            superfluous_expired,
            path_taken: Some(path_taken(&chain, leaf, outlook.now.as_ref().ok(), verifier.roots())),
        })
    }
}

/// What a chain hangs on: of the path that validates, the certificate above the leaf and the root. Where none does, the issuer that
/// was presented, and no root.
fn path_taken(chain: &[Certificate], leaf: &Certificate, path: Option<&pki::Path>, roots: &Roots) -> domain::blast::Path {
    let (issuer, root) = match path.map(|p| p.certificates.as_slice()) {
        Some([_, above @ .., root]) => {
            let issuer = above.first().and_then(|issuer| chain.iter().find(|c| c.fingerprint() == *issuer));
            (issuer, roots.find(*root))
        }
        _ => (chain[1..].iter().find(|c| c.subject_der() == leaf.issuer_der() && c.fingerprint() != leaf.fingerprint()), None),
    };
    domain::blast::Path {
        leaf: leaf.fingerprint(),
        leaf_key: leaf.spki_fingerprint(),
        intermediate: issuer.map(Certificate::fingerprint),
        root: root.map(Certificate::fingerprint),
        leaf_name: leaf.subject().to_owned(),
        issuer_name: leaf.issuer().to_owned(),
        root_name: root.map_or_else(String::new, |r| r.subject().to_owned()),
        not_before: leaf.not_before(),
        not_after: leaf.not_after(),
    }
}

/// The certificates of a chain as stored or presented; what does not parse ends it.
pub fn parse_chain(der: &[u8]) -> Vec<Certificate> {
    split_der(der).into_iter().map_while(|c| Certificate::parse(c).ok()).collect()
}

/// Concatenated DER cut into its parts; a broken tail is left out.
pub fn split_der(mut der: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    while let Some(len) = der_length(der) {
        let (part, rest) = der.split_at(len);
        parts.push(part.to_vec());
        der = rest;
    }
    parts
}

/// The whole length of the first DER element (X.690 §8.1.3), where all of it is there.
fn der_length(der: &[u8]) -> Option<usize> {
    let first = usize::from(*der.get(1)?);
    let (header, body) = if first < 0x80 {
        (2, first)
    } else {
        let n = first & 0x7f;
        if n == 0 || n > 4 {
            return None;
        }
        let body = der.get(2..2 + n)?.iter().fold(0usize, |len, b| (len << 8) | usize::from(*b));
        (2 + n, body)
    };
    let total = header.checked_add(body)?;
    (total <= der.len()).then_some(total)
}

/// The names of a leaf for a sentence.
pub fn names(leaf: &Certificate) -> String {
    let shown: Vec<String> = leaf.names().iter().take(NAMES_SHOWN).map(ToString::to_string).collect();
    match leaf.names().len() {
        0 => leaf.subject().to_owned(),
        n if n > NAMES_SHOWN => format!("{} and {} more", shown.join(", "), n - NAMES_SHOWN),
        _ => shown.join(", "),
    }
}

fn code_of(code: PathErrorCode) -> Code {
    match code {
        PathErrorCode::Expired => Code::Expired,
        PathErrorCode::WrongName => Code::WrongName,
        PathErrorCode::IncompleteChain => Code::IncompleteChain,
        _ => Code::Untrusted,
    }
}

/// The first end above the leaf after which no path above it is left.
///
/// Only ends of certificates on some path can break it, so it is enough to ask just after each of them: of the CA certificates
/// presented, and of the roots that could stand above them.
fn end_above(verifier: &Verifier, chain: &[Certificate], private: bool, leaf: Thresholds, now: Time) -> Option<End> {
    let candidates = candidates(verifier, chain);
    let soon: Vec<_> = candidates.into_iter().filter(|(_, c, _)| c.not_after() >= now && c.not_after() < Time::NO_EXPIRY).collect();
    // Just after the end: when verifying, notAfter itself is still inside (RFC 5280 §4.1.2.5).
    let later: Vec<Span> = soon.iter().map(|(_, c, _)| c.not_after() + Span::seconds(1) - now).collect();
    let outlook = verifier.outlook_for(chain, None, Purpose::Server, now, &later);
    outlook.now.as_ref().ok()?;
    let at = outlook.later.iter().position(|(_, verdict)| verdict.is_err())?;
    let (position, certificate, is_root) = soon.get(at)?;
    Some(end_of(*position, certificate, *is_root, private, leaf))
}

/// The ends above the leaf that have come.
fn ended_above(verifier: &Verifier, chain: &[Certificate], private: bool, leaf: Thresholds, now: Time) -> Vec<End> {
    let ended = candidates(verifier, chain).into_iter().filter(|(_, c, _)| c.not_after() <= now);
    ended.map(|(position, c, is_root)| end_of(position, &c, is_root, private, leaf)).collect()
}

/// CA certificates that were presented, and roots that could stand above them; the earliest end first.
fn candidates(verifier: &Verifier, chain: &[Certificate]) -> Vec<(usize, Certificate, bool)> {
    let presented = chain[1..].iter().enumerate().map(|(n, c)| (n + 1, c.clone(), false));
    let roots = verifier.roots();
    let above =
        roots.certificates().filter(|r| chain.iter().any(|c| c.issuer_der() == r.subject_der())).map(|r| (chain.len(), r.clone(), true));
    let mut candidates: Vec<(usize, Certificate, bool)> = presented.chain(above).collect();
    candidates.sort_by_key(|(position, c, _)| (c.not_after(), *position));
    candidates.dedup_by_key(|(_, c, _)| c.fingerprint());
    candidates
}

fn end_of(position: usize, certificate: &Certificate, is_root: bool, private: bool, leaf: Thresholds) -> End {
    let thresholds = match (private, is_root) {
        (false, _) => leaf,
        (true, false) => Thresholds::of(Class::PrivateCa, certificate.lifetime()),
        (true, true) => Thresholds::of(Class::TrustAnchor, certificate.lifetime()),
    };
    End { about: certificate.fingerprint(), position, until: certificate.not_after(), thresholds, lifetime: certificate.lifetime() }
}
