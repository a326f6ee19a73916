//! From a dial to a report: what is served, whether it verifies, and where it stands by policy.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::policy::{Level, Thresholds};
use pki::{Certificate, Fingerprint, PathError, PathErrorCode, Span, Time, Verifier};
use probe::{Attempt, Blame, Dialer, Failure, Offer, Presented};

use super::source::Item;

/// Where a target stands, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Verifies, and for longer than the policy's notice threshold.
    Ok,
    /// Verifies, below the notice threshold.
    Notice,
    /// Verifies, below the incident threshold.
    Incident,
    /// Something on the path has expired.
    Expired,
    /// Does not verify for another reason.
    Invalid,
    /// Nothing was presented.
    Unreachable,
}

impl Standing {
    pub(super) const ALL: [Standing; 6] =
        [Standing::Ok, Standing::Notice, Standing::Incident, Standing::Expired, Standing::Invalid, Standing::Unreachable];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Standing::Ok => "ok",
            Standing::Notice => "notice",
            Standing::Incident => "incident",
            Standing::Expired => "expired",
            Standing::Invalid => "invalid",
            Standing::Unreachable => "unreachable",
        }
    }
}

/// What one address of one target turned out to be.
pub(super) struct Report {
    pub(super) item: Item,
    pub(super) address: Option<SocketAddr>,
    pub(super) elapsed: Duration,
    pub(super) now: Time,
    pub(super) standing: Standing,
    pub(super) result: Result<Served, Trouble>,
}

/// What was presented, and what it is worth.
pub(super) struct Served {
    pub(super) protocol: &'static str,
    pub(super) cipher: &'static str,
    pub(super) group: &'static str,
    pub(super) client_certificate_asked: bool,
    /// What went wrong after the chain was proven.
    pub(super) aftermath: Option<Failure>,
    pub(super) leaf: Certificate,
    /// The leaf, and what was sent with it.
    pub(super) chain: Vec<Link>,
    pub(super) verified: Result<(), PathError>,
    /// When clients stop accepting what is served, if any does now.
    pub(super) served_until: Option<Time>,
    /// The certificate that sets the end, if it is not the leaf.
    pub(super) limited_by: Option<Fingerprint>,
}

/// One certificate as presented; what cannot be read is kept as what it is.
pub(super) enum Link {
    Certificate(Certificate),
    Unreadable(Fingerprint, String),
}

/// Nothing usable was presented.
pub(super) struct Trouble {
    pub(super) phase: &'static str,
    pub(super) blame: Blame,
    pub(super) retry: bool,
    pub(super) detail: String,
}

/// Everything that a judgement needs.
#[derive(Clone)]
pub(super) struct Judge(Arc<Basis>);

struct Basis {
    dialer: Dialer,
    verifier: Arc<Verifier>,
    now: Time,
    offer: Offer,
    /// Certificates above leaves are few and come again and again.
    parsed: Mutex<HashMap<Fingerprint, Certificate>>,
    /// Chains that verify for a name, until when.
    good: Mutex<HashMap<Fingerprint, Time>>,
}

/// So many good chains are remembered; then it starts anew.
const REMEMBERED: usize = 50_000;

/// So many certificates above leaves are kept parsed; then it starts anew.
const KEPT: usize = 512;

impl Judge {
    pub(super) fn new(dialer: Dialer, verifier: Arc<Verifier>, now: Time, offer: Offer) -> Judge {
        Judge(Arc::new(Basis { dialer, verifier, now, offer, parsed: Mutex::default(), good: Mutex::default() }))
    }

    /// Dials an item with an address; one without is resolved, and its addresses are the further items.
    pub(super) async fn look(&self, item: Item) -> (Option<Report>, Vec<Item>) {
        if let Some(address) = item.address {
            let attempt = self.0.dialer.dial(&item.target, address, self.0.offer).await;
            return (Some(self.0.report(item, attempt)), Vec::new());
        }
        match self.0.dialer.resolve(&item.target).await {
            Err(failure) => (Some(self.0.report(item, Attempt::undialled(failure))), Vec::new()),
            Ok(resolved) => {
                let beyond = resolved.beyond_failure().map(|failure| self.0.report(item.clone(), Attempt::undialled(failure)));
                let pinned = |address| Item { address: Some(address), ..item.clone() };
                (beyond, resolved.addresses.into_iter().map(pinned).collect())
            }
        }
    }
}

impl Basis {
    fn report(&self, item: Item, attempt: Attempt) -> Report {
        let name = item.target.server_name.as_deref().unwrap_or(&item.target.host);
        let result = match attempt.result {
            Ok(presented) => self.assess(presented, name),
            Err(failure) => {
                Err(Trouble { phase: failure.phase.as_str(), blame: failure.blame, retry: failure.retry, detail: failure.detail })
            }
        };
        let standing = result.as_ref().map_or(Standing::Unreachable, |served| standing(served, self.now));
        Report { item, address: attempt.address, elapsed: attempt.elapsed, now: self.now, standing, result }
    }

    /// Reads and verifies what was presented. A certificate above the leaf that cannot be read counts as not sent.
    fn assess(&self, presented: Presented, name: &str) -> Result<Served, Trouble> {
        let mut ders = presented.chain.into_iter();
        let leaf = ders.next().ok_or_else(|| "no certificate was presented".to_owned());
        let leaf = leaf.and_then(|der| Certificate::parse(der).map_err(|error| error.to_string())).map_err(|why| {
            let detail = format!("the presented certificate cannot be read: {why}");
            Trouble { phase: "certificate", blame: Blame::Peer, retry: false, detail }
        })?;
        let chain: Vec<Link> = std::iter::once(Link::Certificate(leaf.clone())).chain(ders.map(|der| self.above(der))).collect();
        let readable: Vec<Certificate> = chain.iter().filter_map(Link::certificate).cloned().collect();
        let (verified, served_until, limited_by) = self.verify(&readable, name);
        Ok(Served {
            protocol: presented.protocol,
            cipher: presented.cipher,
            group: presented.group,
            client_certificate_asked: presented.client_certificate_asked,
            aftermath: presented.aftermath,
            chain,
            verified,
            served_until,
            limited_by,
            leaf,
        })
    }

    /// The verdict, when it ends, and what ends it if that is not the leaf. All of a scan is judged at one moment, so what was found good
    /// for a chain and a name stays good; only that, and only where the leaf ends first, is remembered: 40 bytes for each.
    fn verify(&self, chain: &[Certificate], name: &str) -> (Result<(), PathError>, Option<Time>, Option<Fingerprint>) {
        let mut key = Vec::with_capacity(32 * chain.len() + name.len());
        chain.iter().for_each(|certificate| key.extend_from_slice(certificate.fingerprint().as_bytes()));
        key.extend_from_slice(name.as_bytes());
        let key = Fingerprint::of(&key);
        let good = || self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = good().get(&key) {
            return (Ok(()), Some(*until), None);
        }
        let outlook = self.verifier.outlook(chain, Some(name), self.now, &[]);
        let leaf = chain.first().map(Certificate::fingerprint);
        let until = outlook.best_until.map(|(until, ..)| until);
        let limited_by = outlook.best_until.map(|(_, limiting, _)| limiting).filter(|limiting| Some(*limiting) != leaf);
        if let (Ok(_), Some(until), None) = (&outlook.now, until, limited_by) {
            let mut good = good();
            if good.len() >= REMEMBERED {
                good.clear();
            }
            good.insert(key, until);
        }
        (outlook.now.map(drop), until, limited_by)
    }

    /// Reads a certificate above the leaf, or remembers it.
    fn above(&self, der: Vec<u8>) -> Link {
        let fingerprint = Fingerprint::of(&der);
        let kept = || self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept().get(&fingerprint) {
            return Link::Certificate(known.clone());
        }
        match Certificate::parse(der) {
            Ok(certificate) => {
                let mut kept = kept();
                if kept.len() >= KEPT {
                    kept.clear();
                }
                kept.insert(fingerprint, certificate.clone());
                Link::Certificate(certificate)
            }
            Err(error) => Link::Unreadable(fingerprint, error.to_string()),
        }
    }
}

impl Link {
    /// The certificate, if it can be read.
    pub(super) fn certificate(&self) -> Option<&Certificate> {
        match self {
            Link::Certificate(certificate) => Some(certificate),
            Link::Unreadable(..) => None,
        }
    }
}

/// Policy, by the thresholds of the leaf; an intermediate or root that ends sooner counts by them too.
fn standing(served: &Served, now: Time) -> Standing {
    match (&served.verified, served.served_until) {
        (Err(error), _) if error.code == PathErrorCode::Expired => Standing::Expired,
        (Err(_), _) | (Ok(()), None) => Standing::Invalid,
        // As a guardian, the last second does not count (RFC 5280 §4.1.2.5 calls it valid; OpenSSL refuses at it).
        (Ok(()), Some(until)) if until - now <= Span::seconds(0) => Standing::Expired,
        (Ok(()), Some(until)) => match Thresholds::for_leaf(served.leaf.lifetime()).level(until - now) {
            Level::Incident => Standing::Incident,
            Level::Notice => Standing::Notice,
            Level::Info => Standing::Ok,
        },
    }
}
