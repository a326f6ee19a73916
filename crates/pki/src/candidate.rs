//! Paths that could be: found by names alone, proven by webpki one at a time, and only on demand.
//!
//! A proof does not depend on the time of asking: webpki looks at time only to compare it with each
//! certificate's validity, and that comparison is the candidate's interval here. So a path is proven
//! once, at a moment inside its interval, and every later question about it is arithmetic.

use std::sync::OnceLock;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

use crate::cache::Cache;
use crate::certificate::Certificate;
use crate::fingerprint::Fingerprint;
use crate::path::{PathError, PathErrorCode, Purpose};
use crate::roots::{Root, Roots};
use crate::time::Time;

/// Most intermediates in one path; the limit of webpki.
pub(crate) const MAX_INTERMEDIATES: usize = 6;
/// Most complete paths that are considered for one chain.
pub(crate) const MAX_PATHS: usize = 64;
/// Most steps of the search for paths in one chain; each compares names.
pub(crate) const MAX_SEARCH_STEPS: usize = 10_000;

/// One path by names: the leaf, intermediates of the presented chain, and a root.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// Places in the presented chain, beginning with the one that issued the leaf.
    intermediates: Vec<u8>,
    root: u16,
    /// First and last second in which everything on the path is valid.
    pub(crate) from: Time,
    pub(crate) until: Time,
    /// The same without the leaf.
    pub(crate) above_from: Time,
    pub(crate) above_until: Time,
    /// Place on the path of the certificate that ends first: 0 is the leaf.
    pub(crate) limiting: usize,
    proof: OnceLock<Result<(), PathError>>,
}

/// What proving needs beside the candidate.
pub(crate) struct Context<'a> {
    pub(crate) chain: &'a [Certificate],
    pub(crate) roots: &'a Roots,
    pub(crate) purpose: Purpose,
    /// Intermediates that were proven up to a root: the key names the whole path above the leaf.
    pub(crate) proven: &'a Cache<std::sync::Arc<TrustAnchor<'static>>>,
}

/// All paths by names, those that last longest first. The flag says that limits cut the search.
pub(crate) fn search(chain: &[Certificate], roots: &Roots) -> (Vec<Candidate>, bool) {
    let mut search = Search { chain, roots, found: Vec::new(), steps: 0, cut: false };
    if let Some(leaf) = chain.first() {
        search.step(leaf, &mut Vec::new());
    }
    let Search { mut found, cut, .. } = search;
    // The order is part of the verdict: longest lasting, then shortest, then as presented.
    found.sort_by(|a, b| {
        let by_end = b.until.cmp(&a.until).then(b.above_until.cmp(&a.above_until));
        by_end.then(a.intermediates.len().cmp(&b.intermediates.len()))
    });
    (found, cut)
}

struct Search<'a> {
    chain: &'a [Certificate],
    roots: &'a Roots,
    found: Vec<Candidate>,
    steps: usize,
    cut: bool,
}

impl Search<'_> {
    fn step(&mut self, last: &Certificate, above: &mut Vec<u8>) {
        for &root in self.roots.named(last.issuer_der()) {
            if self.found.len() >= MAX_PATHS {
                self.cut = true;
                return;
            }
            self.found.extend(Candidate::new(self.chain, self.roots, above.clone(), root));
        }
        if above.len() >= MAX_INTERMEDIATES {
            return;
        }
        let chain = self.chain;
        for (place, issuer) in chain.iter().enumerate().skip(1) {
            self.steps += 1;
            if self.steps > MAX_SEARCH_STEPS {
                self.cut = true;
                return;
            }
            // A root of the set that is also presented is the end of a path, not a step of one.
            if issuer.subject_der() != last.issuer_der() || self.roots.contains(issuer) {
                continue;
            }
            // RFC 4158 §5.2: no name and key twice on a path. Presented twice counts once.
            let same = |other: &Certificate| other.subject_der() == issuer.subject_der() && other.spki_der() == issuer.spki_der();
            let repeated = chain[1..place].contains(issuer);
            let on_path = same(&chain[0]) || above.iter().any(|&i| same(&chain[usize::from(i)]));
            if repeated || on_path {
                continue;
            }
            let Ok(place) = u8::try_from(place) else { return };
            above.push(place);
            self.step(issuer, above);
            above.pop();
        }
    }
}

impl Candidate {
    fn new(chain: &[Certificate], roots: &Roots, intermediates: Vec<u8>, root: usize) -> Option<Self> {
        let mut candidate = Self {
            intermediates,
            root: u16::try_from(root).ok()?,
            from: Time::from_unix(i64::MIN),
            until: Time::NO_EXPIRY,
            above_from: Time::from_unix(i64::MIN),
            above_until: Time::NO_EXPIRY,
            limiting: 0,
            proof: OnceLock::new(),
        };
        let mut bounds = [Time::from_unix(i64::MIN), Time::NO_EXPIRY, Time::from_unix(i64::MIN), Time::NO_EXPIRY];
        let mut limiting = 0;
        for (place, certificate) in candidate.certificates(chain, roots).enumerate() {
            let (from, until) = (certificate.not_before(), certificate.not_after());
            bounds[0] = bounds[0].max(from);
            if until < bounds[1] {
                bounds[1] = until;
                limiting = place;
            }
            if place > 0 {
                bounds[2] = bounds[2].max(from);
                bounds[3] = bounds[3].min(until);
            }
        }
        [candidate.from, candidate.until, candidate.above_from, candidate.above_until] = bounds;
        candidate.limiting = limiting;
        Some(candidate)
    }

    /// The certificates of the path: leaf, intermediates, root.
    pub(crate) fn certificates<'a>(&'a self, chain: &'a [Certificate], roots: &'a Roots) -> impl Iterator<Item = &'a Certificate> {
        let intermediates = self.intermediates.iter().filter_map(|&place| chain.get(usize::from(place)));
        let root = roots.get(usize::from(self.root)).map(|root| &root.certificate);
        chain.first().into_iter().chain(intermediates).chain(root)
    }

    /// How many certificates the path has, leaf and root included.
    pub(crate) fn length(&self) -> usize {
        self.intermediates.len() + 2
    }

    /// Is everything valid at `at`?
    pub(crate) fn is_current(&self, at: Time) -> bool {
        self.from <= at && at <= self.until
    }

    /// Signatures, constraints and purposes; everything but time. Computed once.
    pub(crate) fn proof(&self, context: &Context<'_>) -> &Result<(), PathError> {
        self.proof.get_or_init(|| self.prove(context))
    }

    fn prove(&self, context: &Context<'_>) -> Result<(), PathError> {
        let Some(root) = context.roots.get(usize::from(self.root)) else {
            return Err(PathError::new(PathErrorCode::UntrustedRoot, "the root is not in the set"));
        };
        self.refuse_weak(context)?;
        // webpki cannot be asked about times before 1970, and no path that ends there matters.
        let at = self.from.max(Time::EPOCH);
        if at > self.until {
            return Err(PathError::new(PathErrorCode::Expired, "its certificates were never valid at the same time"));
        }
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.unix().unsigned_abs()));

        let leaf_der = CertificateDer::from(context.chain[0].der());
        let leaf = EndEntityCert::try_from(&leaf_der).map_err(|error| self.explain(context, &error))?;
        let above = self.intermediates.first().map(|_| self.above_key(context, root));
        if let Some(anchor) = above.and_then(|key| context.proven.get(key)) {
            let anchors = std::slice::from_ref(anchor.as_ref());
            if verify(&leaf, anchors, &[], at, context.purpose, &|path| path.intermediate_certificates().next().is_none()).is_ok() {
                return Ok(());
            }
            // Not fast, but the same words as without the cache.
        }
        let intermediates: Vec<CertificateDer<'_>> =
            self.intermediates.iter().map(|&place| CertificateDer::from(context.chain[usize::from(place)].der())).collect();
        let anchors = std::slice::from_ref(&root.anchor);
        // webpki may find a shorter way through the same certificates; the dates here are of this one.
        let is_this = |path: &webpki::VerifiedPath<'_>| path.intermediate_certificates().map(|c| c.der()).eq(intermediates.iter().cloned());
        verify(&leaf, anchors, &intermediates, at, context.purpose, &is_this).map_err(|error| self.explain(context, &error))?;
        if let Some(key) = above {
            self.remember(context, root, key, &intermediates);
        }
        Ok(())
    }

    /// Remembers the leaf's issuer as an anchor, if a leaf below it is judged alike that way: an anchor
    /// keeps the issuer's own name constraints, but not those from further above.
    fn remember(&self, context: &Context<'_>, root: &Root, key: Fingerprint, intermediates: &[CertificateDer<'_>]) {
        let constrained_above = root.certificate.has_name_constraints()
            || self.intermediates.iter().skip(1).any(|&place| context.chain[usize::from(place)].has_name_constraints());
        if constrained_above {
            return;
        }
        if let Some(anchor) = intermediates.first().and_then(|der| webpki::anchor_from_trusted_cert(der).ok()) {
            context.proven.insert(key, std::sync::Arc::new(anchor.to_owned()));
        }
    }

    /// Names the path above the leaf: purpose, every intermediate in order, root.
    fn above_key(&self, context: &Context<'_>, root: &Root) -> Fingerprint {
        let mut bytes = Vec::with_capacity(1 + 32 * (self.intermediates.len() + 1));
        bytes.push(context.purpose.tag());
        for &place in &self.intermediates {
            bytes.extend_from_slice(context.chain[usize::from(place)].fingerprint().as_bytes());
        }
        bytes.extend_from_slice(root.certificate.fingerprint().as_bytes());
        Fingerprint::of(&bytes)
    }

    /// webpki refuses the same, but with words that do not tell a person what to replace.
    fn refuse_weak(&self, context: &Context<'_>) -> Result<(), PathError> {
        let last = self.length() - 1;
        for (place, certificate) in self.certificates(context.chain, context.roots).enumerate() {
            let what = if certificate.key().is_weak() {
                format!("its key is {}", certificate.key())
            } else if place < last && certificate.has_weak_signature() {
                // A root's own signature proves nothing and is not checked.
                format!("it is signed with {}", certificate.signature_algorithm())
            } else {
                continue;
            };
            let detail = format!("{} (position {place}) is too weak: {what}", certificate.subject());
            return Err(PathError::new(PathErrorCode::Weak, detail));
        }
        Ok(())
    }

    fn explain(&self, context: &Context<'_>, error: &Error) -> PathError {
        let path: Vec<&str> = self.certificates(context.chain, context.roots).map(Certificate::subject).collect();
        let (code, what) = classify(error);
        PathError::new(code, format!("{what}, on the path {}", path.join(" ← ")))
    }
}

fn verify<'a>(
    leaf: &'a EndEntityCert<'a>,
    anchors: &'a [TrustAnchor<'a>],
    intermediates: &'a [CertificateDer<'a>],
    at: UnixTime,
    purpose: Purpose,
    is_this: &dyn Fn(&webpki::VerifiedPath<'_>) -> bool,
) -> Result<(), Error> {
    let usage = match purpose {
        Purpose::Server => KeyUsage::server_auth(),
        Purpose::Client => KeyUsage::client_auth(),
    };
    let accept = |path: &webpki::VerifiedPath<'_>| if is_this(path) { Ok(()) } else { Err(Error::UnknownIssuer) };
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, anchors, intermediates, at, usage, None, Some(&accept))?;
    Ok(())
}

fn classify(error: &Error) -> (PathErrorCode, String) {
    use PathErrorCode as Code;
    let (code, what) = match error {
        Error::UnknownIssuer => (Code::IncompleteChain, "no issuer could be found"),
        Error::CertExpired { .. } => (Code::Expired, "a certificate has expired"),
        Error::CertNotValidYet { .. } => (Code::NotYetValid, "a certificate is not yet valid"),
        Error::InvalidCertValidity => (Code::Expired, "a certificate ends before it begins"),
        Error::CertRevoked | Error::CertDistrusted => (Code::Revoked, "a certificate is revoked or its key is distrusted"),
        Error::InvalidSignatureForPublicKey => (Code::BadSignature, "a signature does not verify"),
        Error::SignatureAlgorithmMismatch => (Code::Malformed, "a certificate names two signature algorithms"),
        Error::NameConstraintViolation => (Code::Constraint, "a name is outside what an issuer may certify"),
        Error::PathLenConstraintViolated => (Code::Constraint, "more intermediates than an issuer allows"),
        Error::CaUsedAsEndEntity => (Code::Constraint, "the leaf is a CA certificate"),
        Error::EndEntityUsedAsCa => (Code::Constraint, "an issuer is no CA certificate"),
        Error::EmptyEkuExtension => (Code::Constraint, "an extended key usage is empty"),
        Error::RequiredEkuNotFoundContext(_) => (Code::Constraint, "an extended key usage does not allow this purpose"),
        Error::UnsupportedSignatureAlgorithmContext(_) | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            (Code::Weak, "a signature uses an algorithm that is not accepted")
        }
        Error::MaximumSignatureChecksExceeded
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumNameConstraintComparisonsExceeded
        | Error::MaximumPathDepthExceeded => (Code::Malformed, "checking would take more work than is allowed"),
        other => return (Code::Malformed, format!("a certificate is malformed ({other:?})")),
    };
    (code, what.to_owned())
}
