//! What a look at a target is on real sockets, through the probe.

use crate::clock::Door;
use domain::{
    observation::Failure,
    words::{Blame, Offer},
};
use engine::{
    look::MOST_ADDRESSES,
    ports::{Attempt, Look, Seen, Shown},
};
use probe::{Dialer, Target};
use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};
use tokio::task::JoinSet;

/// Addresses of one target that are dialled at the same time.
const AT_ONCE: usize = 16;

/// Dials.
pub struct Sockets {
    dialer: Dialer,
    door: Arc<Door>,
}

impl Sockets {
    /// Sockets on the runtime of whoever looks.
    pub fn new(dialer: Dialer, door: Arc<Door>) -> Sockets {
        Sockets { dialer, door }
    }

    /// Looks at every address of a target with every offer.
    pub async fn look(&self, look: Look) -> Seen {
        let Some(protocol) = probe::Protocol::parse(&look.protocol) else {
            let failure = local(format!("{} is no protocol that is spoken here", pki::text::escape(&look.protocol)));
            return Seen { target: look.target, at: self.door.now(), resolved: Err(failure), attempts: Vec::new() };
        };
        let target = Arc::new(Target {
            host: look.host.trim_matches(['[', ']']).to_owned(),
            port: look.port,
            server_name: (!look.server_name.is_empty()).then(|| look.server_name.clone()),
            protocol,
            address: None,
        });
        let mut sockets = BTreeSet::new();
        let resolved = match self.dialer.resolve(&target).await {
            // More addresses than are ever dialled: the rest is not healthy, it is unknown, and that is a failure.
            Ok(r) if r.beyond > 0 => Err(r.beyond_failure().map_or_else(|| local("too many addresses".into()), failure)),
            Ok(r) => {
                sockets.extend(r.addresses.iter().map(|a| SocketAddr::new(*a, look.port)));
                Ok(sockets.iter().map(ToString::to_string).collect())
            }
            Err(e) => Err(failure(e)),
        };
        let sockets = dialled(sockets, &look.also);

        // Side by side: two hundred dead addresses one after the other would take longer than anybody waits.
        let (mut waiting, mut running, mut done) = (sockets.into_iter(), JoinSet::new(), Vec::new());
        loop {
            while running.len() < AT_ONCE {
                let Some(socket) = waiting.next() else { break };
                let (dialer, door, target) = (self.dialer.clone(), self.door.clone(), target.clone());
                let (offers, unnamed, handshakes) = (look.offers.clone(), look.unnamed.clone(), look.handshakes.max(1));
                running.spawn(async move {
                    let mut attempts = dial(&dialer, &door, &target, socket, &offers, handshakes).await;
                    if !unnamed.is_empty() {
                        let nameless = target.without_name(socket.ip());
                        let more = dial(&dialer, &door, &nameless, socket, &unnamed, handshakes).await;
                        attempts.extend(more.into_iter().map(|a| Attempt { unnamed: true, ..a }));
                    }
                    (socket, attempts)
                });
            }
            match running.join_next().await {
                Some(Ok(of_address)) => done.push(of_address),
                // A defect must not look like an address that nobody asked about.
                Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Some(Err(_)) => {}
                None => break,
            }
        }
        done.sort_by_key(|(socket, _)| *socket);
        let attempts = done.into_iter().flat_map(|(_, attempts)| attempts).collect();
        Seen { target: look.target, at: self.door.now(), resolved, attempts }
    }
}

/// What is dialled: what was resolved and what is known besides. Where that is too much, what is known alone, and no more of it than the limit:
/// what is beyond is not taken in, and the look has to end within its lease.
fn dialled(resolved: BTreeSet<SocketAddr>, also: &[String]) -> BTreeSet<SocketAddr> {
    let known: BTreeSet<SocketAddr> = also.iter().filter_map(|a| a.parse().ok()).take(MOST_ADDRESSES).collect();
    let all: BTreeSet<SocketAddr> = resolved.union(&known).copied().collect();
    if all.len() > MOST_ADDRESSES { known } else { all }
}

/// One after the other, as a server behind one address would see ordinary clients come.
async fn dial(dialer: &Dialer, door: &Door, target: &Target, socket: SocketAddr, offers: &[Offer], handshakes: u32) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    for offer in offers {
        for _ in 0..handshakes {
            let attempt = dialer.dial(target, socket.ip(), offer_of(*offer)).await;
            let result = match attempt.result {
                Ok(p) => Ok(Shown { chain: p.chain, protocol: p.protocol.into(), cipher: p.cipher.into() }),
                Err(e) => Err(failure(e)),
            };
            let failed = result.is_err();
            attempts.push(Attempt { address: socket.to_string(), offer: *offer, unnamed: false, at: door.now(), result });
            if failed {
                // Nothing is proven by knocking thirty times on a closed door.
                break;
            }
        }
    }
    attempts
}

fn offer_of(offer: Offer) -> probe::Offer {
    match offer {
        Offer::All => probe::Offer::All,
        Offer::Rsa => probe::Offer::RsaOnly,
        Offer::Ecdsa => probe::Offer::EcdsaOnly,
        Offer::Ed25519 => probe::Offer::Ed25519Only,
    }
}

fn local(detail: String) -> Failure {
    Failure { blame: Blame::Local, retry: false, detail }
}

fn failure(f: probe::Failure) -> Failure {
    Failure {
        blame: Blame::parse(f.blame.as_str()).unwrap_or(Blame::Peer),
        retry: f.retry,
        detail: format!("{}: {}", f.phase.as_str(), f.detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_dials_no_more_than_its_limit() {
        let block = |n: u8| (0..=255).map(move |i| SocketAddr::from(([198, 51, n, i], 443)));
        let texts = |n: u8| block(n).map(|a| a.to_string()).collect::<Vec<String>>();
        let check = |resolved: BTreeSet<SocketAddr>, also: &[String], expected: BTreeSet<SocketAddr>| {
            assert_eq!(dialled(resolved, also), expected, "{also:?}");
        };
        check(block(1).take(3).collect(), &texts(2)[..2], block(1).take(3).chain(block(2).take(2)).collect());
        check(block(1).collect(), &texts(1), block(1).collect());
        check(block(1).collect(), &texts(2)[..2], block(2).take(2).collect());
        check(BTreeSet::new(), &[texts(1), texts(2)].concat(), block(1).collect());
    }
}
