//! The simulated network: where every target really is, what it serves, and whether a client would be served.

use crate::certificates::Certificates;
use domain::{Time, observation::Failure, words::Blame};
use engine::ports::{Attempt, Look, Network, Seen, Shown};
use pki::{Purpose, Roots, Verifier};
use std::{collections::BTreeMap, sync::Arc};

/// A target in the world.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) secret: String,
    pub(crate) region: String,
    pub(crate) host: String,
    pub(crate) address: String,
    /// The private root that its clients trust.
    pub(crate) roots: Option<String>,
    /// The certificate that it serves; nothing answers if none.
    pub(crate) serves: Option<String>,
}

/// All of them.
pub(crate) struct Net<'a> {
    pub(crate) places: Vec<Place>,
    pub(crate) now: Time,
    certificates: &'a Certificates,
    /// By host.
    at: BTreeMap<String, Vec<usize>>,
    clients: BTreeMap<Option<String>, Verifier>,
}

impl<'a> Net<'a> {
    pub(crate) fn new(places: Vec<Place>, certificates: &'a Certificates, now: Time) -> Net<'a> {
        let mut at: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (n, place) in places.iter().enumerate() {
            at.entry(place.host.clone()).or_default().push(n);
        }
        let trusting = |which: &dyn Fn(&str, bool) -> bool| {
            let trusted = certificates.roots.iter().filter(|(name, (_, public))| which(name, *public));
            let (roots, _) = Roots::lenient(trusted.map(|(_, (certificate, _))| certificate.der().to_vec()));
            Verifier::new(Arc::new(roots))
        };
        let mut clients = BTreeMap::from([(None, trusting(&|_, public| public))]);
        for place in &places {
            if let Some(root) = &place.roots {
                clients.entry(Some(root.clone())).or_insert_with(|| trusting(&|name, _| name == root));
            }
        }
        Net { places, now, certificates, at, clients }
    }

    /// The places of a secret, in some regions, the first so many percent of them by name.
    pub(crate) fn some(&mut self, secret: &str, regions: Option<&[String]>, percent: u64) -> Vec<&mut Place> {
        let among = |place: &&mut Place| place.secret == secret && regions.is_none_or(|regions| regions.contains(&place.region));
        let mut found: Vec<&mut Place> = self.places.iter_mut().filter(among).collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let keep = (found.len() as u64 * percent.min(100)).div_ceil(100);
        found.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
        found
    }

    /// How many targets turn their clients away now, in percent of all, rounded down; and how many.
    pub(crate) fn broken(&self, now: Time) -> (u64, usize) {
        let broken = self.places.iter().filter(|place| !self.serves(place, now)).count();
        let percent = broken * 100 / self.places.len().max(1);
        (percent as u64, broken)
    }

    /// Whether a client that verifies as RFC 5280 says is served.
    fn serves(&self, place: &Place, now: Time) -> bool {
        let Some(made) = place.serves.as_ref().and_then(|name| self.certificates.leaves.get(name)) else { return false };
        let Some(client) = self.clients.get(&place.roots) else { return false };
        client.verify(&made.chain, Some(&place.host), Purpose::Server, now).is_ok()
    }
}

impl Network for Net<'_> {
    fn look(&self, looks: &[Look]) -> Vec<Seen> {
        looks.iter().map(|look| self.one(look)).collect()
    }
}

impl Net<'_> {
    fn one(&self, look: &Look) -> Seen {
        let found = self.at.get(&look.host);
        let resolved: Vec<String> = found.into_iter().flatten().map(|n| self.places[*n].address.clone()).collect();
        let mut attempts = Vec::new();
        for n in found.into_iter().flatten() {
            let place = &self.places[*n];
            let asks = look.offers.iter().map(|o| (*o, false)).chain(look.unnamed.iter().map(|o| (*o, true)));
            for (offer, unnamed) in asks {
                for _ in 0..look.handshakes {
                    let result = self.answer(place);
                    let failed = result.is_err();
                    attempts.push(Attempt { address: place.address.clone(), offer, unnamed, at: self.now, result });
                    if failed {
                        break;
                    }
                }
            }
        }
        let nothing = Failure { blame: Blame::Dns, retry: true, detail: "resolve: no such name".into() };
        let resolved = if resolved.is_empty() { Err(nothing) } else { Ok(resolved) };
        Seen { target: look.target, at: self.now, resolved, attempts }
    }

    fn answer(&self, place: &Place) -> Result<Shown, Failure> {
        let silent = || Failure { blame: Blame::Network, retry: true, detail: "connect: no answer".into() };
        let made = place.serves.as_ref().and_then(|name| self.certificates.leaves.get(name)).ok_or_else(silent)?;
        Ok(Shown {
            chain: made.chain.iter().map(|c| c.der().to_vec()).collect(),
            protocol: "TLSv1.3".into(),
            cipher: "TLS13_AES_128_GCM_SHA256".into(),
        })
    }
}
