//! Does a chain lead to a trusted root, until when, and what ends it? (RFC 5280 §6, by webpki.)
//!
//! Servers send chains unordered and with certificates that nobody needs, so the answer is always about
//! the *best* path: of those valid at the moment of asking, the one that stays valid longest.

use std::fmt;
use std::sync::Arc;

use rustls_pki_types::TrustAnchor;

use crate::cache::Cache;
use crate::candidate::{Candidate, Context, search};
use crate::certificate::Certificate;
use crate::fingerprint::Fingerprint;
use crate::roots::Roots;
use crate::time::{Span, Time};

/// Most certificates that one peer may present.
pub const MAX_CHAIN: usize = 100;
/// Most bytes of all certificates that one peer may present.
pub const MAX_CHAIN_BYTES: usize = 2 * 1024 * 1024;

/// Longest `detail` of a [`PathError`], in characters.
pub const MAX_DETAIL: usize = 600;
/// Chains with more paths than this are judged each time: hostile ones must not fill the memory.
const MAX_REMEMBERED_PATHS: usize = 4;

/// What the leaf is to be used for (RFC 5280 §4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// TLS server authentication.
    Server,
    /// TLS client authentication.
    Client,
}

/// A path that verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The moment at which it ends, exclusive: the smallest notAfter on it, the root's included.
    pub ends_at: Time,
    /// The certificate with that notAfter; the one nearest to the leaf if several have it.
    pub limiting: Fingerprint,
    /// Where that certificate is on the path; 0 is the leaf.
    pub limiting_position: usize,
    /// Certificates on the path, leaf and root included.
    pub length: usize,
    /// Their fingerprints: leaf first, the root last.
    pub certificates: Vec<Fingerprint>,
}

/// What kind of thing is wrong. Stable; meant for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathErrorCode {
    /// The chain ends at an issuer that is not trusted.
    UntrustedRoot,
    /// An issuer is missing from what was presented.
    IncompleteChain,
    /// Something on every path has expired.
    Expired,
    /// Something on every path is not yet valid.
    NotYetValid,
    /// The path is good, but the leaf does not cover the name.
    WrongName,
    /// A signature does not verify.
    BadSignature,
    /// Purposes, name constraints, path lengths, or CA and leaf confused.
    Constraint,
    /// Revoked or distrusted.
    Revoked,
    /// A key or signature algorithm that is no longer accepted.
    Weak,
    /// Not as RFC 5280 says, or beyond a limit.
    Malformed,
}

/// Why a chain does not verify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct PathError {
    /// For programs.
    pub code: PathErrorCode,
    /// For people: what, where; escaped.
    pub detail: String,
}

impl PathError {
    /// Long details are cut: subjects are written by strangers, and verdicts are remembered.
    pub(crate) fn new(code: PathErrorCode, detail: impl Into<String>) -> Self {
        let mut detail: String = detail.into();
        if let Some((end, _)) = detail.char_indices().nth(MAX_DETAIL) {
            detail.truncate(end);
            detail.push('…');
        }
        detail.shrink_to_fit();
        Self { code, detail }
    }
}

/// A chain's present and future.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// The verdict now.
    pub now: Result<Path, PathError>,
    /// When clients that build the best path at every moment stop accepting the chain (exclusive),
    /// which certificate ends it, and its place on that path. `None` if no path verifies now; a wrong
    /// name does not matter here.
    pub best_until: Option<(Time, Fingerprint, usize)>,
    /// For each span asked, in the order asked: would it still verify then? A leaf that will have been
    /// renewed by then is judged at its own last moment, and the path above it at the moment asked.
    pub later: Vec<(Span, Result<(), PathError>)>,
}

/// How much a [`Verifier`] may remember. Remembering changes no verdict, only what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Chains whose paths are known; about 400 bytes each.
    pub verdicts: usize,
    /// Intermediates that were followed up to a root; about 400 bytes each.
    pub intermediates: usize,
}

impl CacheLimits {
    /// Remembers nothing: every question costs all its signatures.
    pub const NONE: CacheLimits = CacheLimits { verdicts: 0, intermediates: 0 };
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { verdicts: 32_768, intermediates: 1_024 }
    }
}

/// Verifies chains against one set of roots, and remembers what it has proven. Share it between
/// threads, or give each its own.
pub struct Verifier {
    roots: Arc<Roots>,
    verdicts: Cache<Arc<Judgement>>,
    intermediates: Cache<Arc<TrustAnchor<'static>>>,
}

/// All that there is to say about a chain, whatever the time: its candidate paths, best first.
#[derive(Debug)]
struct Judgement {
    candidates: Vec<Candidate>,
    cut: bool,
}

impl Verifier {
    /// A verifier with the default limits of memory.
    #[must_use]
    pub fn new(roots: Arc<Roots>) -> Self {
        Self::with_limits(roots, CacheLimits::default())
    }

    /// A verifier that remembers as much as `limits` says.
    #[must_use]
    pub fn with_limits(roots: Arc<Roots>, limits: CacheLimits) -> Self {
        Self { roots, verdicts: Cache::new(limits.verdicts), intermediates: Cache::new(limits.intermediates) }
    }

    /// The roots that it trusts.
    #[must_use]
    pub fn roots(&self) -> &Arc<Roots> {
        &self.roots
    }

    /// The best path of a presented chain (leaf first, the rest in any order) at `at`, inclusive of
    /// notBefore and notAfter. With `name`, the leaf must also cover it. A root that has itself
    /// expired is refused, as OpenSSL does, though RFC 5280 §6.1 would allow it.
    ///
    /// # Errors
    /// What is wrong with the path that came closest; a wrong name only if the path is good.
    pub fn verify(&self, chain: &[Certificate], name: Option<&str>, purpose: Purpose, at: Time) -> Result<Path, PathError> {
        let judgement = self.judge(chain, purpose)?;
        let path = self.path_at(&judgement, chain, purpose, at)?;
        match (name, chain.first()) {
            (Some(name), Some(leaf)) if !leaf.covers(name) => Err(wrong_name(leaf, name)),
            _ => Ok(path),
        }
    }

    /// What `verify` says now, when the chain will stop verifying, and whether it will verify at each
    /// of the `later` distances from now. For servers.
    #[must_use]
    pub fn outlook(&self, chain: &[Certificate], name: Option<&str>, now: Time, later: &[Span]) -> Outlook {
        self.outlook_for(chain, name, Purpose::Server, now, later)
    }

    /// [`Verifier::outlook`] for a purpose.
    #[must_use]
    pub fn outlook_for(&self, chain: &[Certificate], name: Option<&str>, purpose: Purpose, now: Time, later: &[Span]) -> Outlook {
        let judgement = match self.judge(chain, purpose) {
            Ok(judgement) => judgement,
            Err(error) => {
                let later = later.iter().map(|span| (*span, Err(error.clone()))).collect();
                return Outlook { now: Err(error), best_until: None, later };
            }
        };
        let verdict = self.path_at(&judgement, chain, purpose, now);
        let best_until = verdict.as_ref().ok().map(|path| self.best_until(&judgement, chain, purpose, path));
        let misnamed = chain.first().zip(name).filter(|(leaf, name)| !leaf.covers(name)).map(|(leaf, name)| wrong_name(leaf, name));
        let check = |span: &Span| {
            let result = self.later(&judgement, chain, purpose, now + *span);
            (*span, result.and_then(|()| misnamed.clone().map_or(Ok(()), Err)))
        };
        let later = later.iter().map(check).collect();
        Outlook { now: verdict.and_then(|path| misnamed.clone().map_or(Ok(path), Err)), best_until, later }
    }

    /// The judgement of a chain, remembered or new.
    fn judge(&self, chain: &[Certificate], purpose: Purpose) -> Result<Arc<Judgement>, PathError> {
        let malformed = |detail: String| Err(PathError::new(PathErrorCode::Malformed, detail));
        if chain.is_empty() {
            return malformed("no certificate was presented".into());
        }
        if chain.len() > MAX_CHAIN {
            return malformed(format!("{} certificates were presented, more than the limit of {MAX_CHAIN}", chain.len()));
        }
        let bytes: usize = chain.iter().map(|certificate| certificate.der().len()).sum();
        if bytes > MAX_CHAIN_BYTES {
            return malformed(format!("{bytes} bytes of certificates were presented, more than the limit of {MAX_CHAIN_BYTES}"));
        }
        let mut key = Vec::with_capacity(1 + 32 * chain.len());
        key.push(purpose.tag());
        for certificate in chain {
            key.extend_from_slice(certificate.fingerprint().as_bytes());
        }
        let key = Fingerprint::of(&key);
        if let Some(judgement) = self.verdicts.get(key) {
            return Ok(judgement);
        }
        let (candidates, cut) = search(chain, &self.roots);
        let judgement = Arc::new(Judgement { candidates, cut });
        if judgement.candidates.len() <= MAX_REMEMBERED_PATHS {
            self.verdicts.insert(key, Arc::clone(&judgement));
        }
        Ok(judgement)
    }

    fn context<'a>(&'a self, chain: &'a [Certificate], purpose: Purpose) -> Context<'a> {
        Context { chain, roots: &self.roots, purpose, proven: &self.intermediates }
    }

    /// The first proven candidate among those that are current: they are sorted, so it is the best.
    fn path_at(&self, judgement: &Judgement, chain: &[Certificate], purpose: Purpose, at: Time) -> Result<Path, PathError> {
        let context = self.context(chain, purpose);
        let mut failure = None;
        for candidate in judgement.candidates.iter().filter(|candidate| candidate.is_current(at)) {
            match candidate.proof(&context) {
                Ok(()) => return Ok(self.describe(candidate, chain)),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(self.explain(judgement, &context, failure, at))
    }

    fn describe(&self, candidate: &Candidate, chain: &[Certificate]) -> Path {
        let certificates: Vec<Fingerprint> = candidate.certificates(chain, &self.roots).map(Certificate::fingerprint).collect();
        Path {
            ends_at: candidate.until,
            limiting: certificates.get(candidate.limiting).copied().unwrap_or_else(|| Fingerprint::of(&[])),
            limiting_position: candidate.limiting,
            length: candidate.length(),
            certificates,
        }
    }

    /// Follows the best path, and at its end the best one then, until none is left: a cross-sign
    /// that expires does not end a chain that has another way up.
    fn best_until(&self, judgement: &Judgement, chain: &[Certificate], purpose: Purpose, first: &Path) -> (Time, Fingerprint, usize) {
        let mut best = first.clone();
        let leaf_ends = chain.first().map_or(best.ends_at, Certificate::not_after);
        // Each round ends later than the one before, at the end of another candidate.
        while best.ends_at < leaf_ends {
            match self.path_at(judgement, chain, purpose, best.ends_at + Span::seconds(1)) {
                Ok(next) if next.ends_at > best.ends_at => best = next,
                _ => break,
            }
        }
        (best.ends_at, best.limiting, best.limiting_position)
    }

    fn later(&self, judgement: &Judgement, chain: &[Certificate], purpose: Purpose, at: Time) -> Result<(), PathError> {
        let Some(leaf) = chain.first() else { return Ok(()) };
        let last = leaf.not_after() - Span::seconds(1);
        self.path_at(judgement, chain, purpose, at.min(last))?;
        if at <= last {
            return Ok(());
        }
        let context = self.context(chain, purpose);
        let above = |candidate: &&Candidate| candidate.above_from <= at && at <= candidate.above_until;
        if judgement.candidates.iter().filter(above).any(|candidate| candidate.proof(&context).is_ok()) {
            return Ok(());
        }
        let best = judgement.candidates.iter().filter(|c| c.proof(&context).is_ok()).max_by_key(|c| c.above_until);
        let ends =
            best.and_then(|candidate| candidate.certificates(chain, &self.roots).enumerate().skip(1).min_by_key(|(_, c)| c.not_after()));
        Err(match ends {
            Some((place, certificate)) => expired(certificate, place, at),
            None => PathError::new(PathErrorCode::Expired, format!("no path above the leaf is valid at {at}")),
        })
    }

    /// Says what is wrong when no candidate is both current and proven, most urgent first: the leaf's own
    /// dates, then a current path that does not verify, then a path whose dates are wrong, then no path.
    fn explain(&self, judgement: &Judgement, context: &Context<'_>, failure: Option<&PathError>, at: Time) -> PathError {
        let chain = context.chain;
        if let Some(error) = chain.first().and_then(|leaf| date_error(leaf, 0, at)) {
            return error;
        }
        if let Some(error) = failure {
            return error.clone();
        }
        // The path that would be good at another time, nearest first.
        let distance = |candidate: &Candidate| (candidate.above_from - at).max(at - candidate.above_until);
        let mut other_times: Vec<&Candidate> = judgement.candidates.iter().collect();
        other_times.sort_by_key(|candidate| distance(candidate));
        for candidate in &other_times {
            let dates = candidate.certificates(chain, &self.roots).enumerate();
            let error = dates.filter_map(|(place, certificate)| date_error(certificate, place, at)).next();
            if let (Some(error), Ok(())) = (error, candidate.proof(context)) {
                return error;
            }
        }
        if let Some(Err(error)) = other_times.first().map(|candidate| candidate.proof(context)) {
            return error.clone();
        }
        let error = self.explain_no_root(chain);
        if judgement.cut {
            return PathError::new(
                PathErrorCode::Malformed,
                format!("{}; the search was cut off: too many certificates share names", error.detail),
            );
        }
        error
    }

    /// No root has the name of any issuer on the way up. Follow the names as far as they go.
    fn explain_no_root(&self, chain: &[Certificate]) -> PathError {
        let Some(leaf) = chain.first() else {
            return PathError::new(PathErrorCode::Malformed, "no certificate was presented");
        };
        let (mut top, mut place) = (leaf, 0);
        for _ in 0..chain.len() {
            if top.self_issued() {
                break;
            }
            match chain.iter().enumerate().skip(1).find(|(_, c)| c.subject_der() == top.issuer_der()) {
                Some((next, issuer)) => (place, top) = (next, issuer),
                None => break,
            }
        }
        let (subject, issuer) = (top.subject(), top.issuer());
        if top.self_issued() {
            let what = if place == 0 { "the leaf is self-signed" } else { "the chain ends at a root that is not trusted" };
            return PathError::new(PathErrorCode::UntrustedRoot, format!("{what}: {subject}"));
        }
        if place == 0 {
            let others = if chain.len() > 1 { "the certificates sent with it are not its issuers" } else { "it was sent alone" };
            let detail = format!("the issuer of the leaf, {issuer}, was not sent and is no trusted root ({others})");
            return PathError::new(PathErrorCode::IncompleteChain, detail);
        }
        let detail = format!("the issuer of {subject} (certificate {place} as sent), {issuer}, was not sent and is no trusted root");
        PathError::new(PathErrorCode::UntrustedRoot, detail)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("roots", &self.roots.epoch()).finish_non_exhaustive()
    }
}

impl Purpose {
    /// Keeps the purposes apart in the keys of caches.
    pub(crate) const fn tag(self) -> u8 {
        match self {
            Self::Server => b's',
            Self::Client => b'c',
        }
    }
}

fn date_error(certificate: &Certificate, place: usize, at: Time) -> Option<PathError> {
    if at > certificate.not_after() {
        return Some(expired(certificate, place, at));
    }
    let from = certificate.not_before();
    (at < from).then(|| {
        let detail = format!("{} (position {place}) is valid only from {from}, in {}", certificate.subject(), from - at);
        PathError::new(PathErrorCode::NotYetValid, detail)
    })
}

fn expired(certificate: &Certificate, place: usize, at: Time) -> PathError {
    let until = certificate.not_after();
    let detail = format!("{} (position {place}) expired {until}, {} before {at}", certificate.subject(), at - until);
    PathError::new(PathErrorCode::Expired, detail)
}

fn wrong_name(leaf: &Certificate, name: &str) -> PathError {
    const SHOWN: usize = 5;
    let mut names: Vec<String> = leaf.names().iter().take(SHOWN).map(ToString::to_string).collect();
    match leaf.names().len() {
        0 => names.push("no name at all".into()),
        all if all > SHOWN => names.push(format!("{} more", all - SHOWN)),
        _ => {}
    }
    let detail = format!("{} is not covered; the certificate covers {}", crate::text::escape(name), names.join(", "));
    PathError::new(PathErrorCode::WrongName, detail)
}
