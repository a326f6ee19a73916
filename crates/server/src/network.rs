//! The engine's network port: real sockets, through the probe.

use crate::clock::Door;
use domain::{
    observation::Failure,
    words::{Blame, Offer},
};
use engine::ports::{Attempt, Look, Network, Seen, Shown};
use probe::Dialer;
use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};
use tokio::{runtime::Handle, sync::Semaphore, task::JoinSet};

/// Targets that are looked at together.
const TOGETHER: usize = 256;

/// Dials. Called from threads that may block.
pub struct Sockets {
    dialer: Dialer,
    handle: Handle,
    door: Arc<Door>,
}

impl Sockets {
    /// Sockets on a runtime.
    pub fn new(dialer: Dialer, handle: Handle, door: Arc<Door>) -> Sockets {
        Sockets { dialer, handle, door }
    }
}

impl Network for Sockets {
    fn look(&self, looks: &[Look]) -> Vec<Seen> {
        let looks = looks.to_vec();
        self.handle.block_on(look_all(&self.dialer, looks, &self.door))
    }
}

/// Looks at all of them together, and answers in their order.
async fn look_all(dialer: &Dialer, looks: Vec<Look>, door: &Arc<Door>) -> Vec<Seen> {
    let room = Arc::new(Semaphore::new(TOGETHER));
    let mut running = JoinSet::new();
    for (n, look) in looks.into_iter().enumerate() {
        let (dialer, room, door) = (dialer.clone(), room.clone(), door.clone());
        running.spawn(async move {
            let _room = room.acquire_owned().await;
            (n, one(&dialer, look, &door).await)
        });
    }
    let mut all: Vec<(usize, Seen)> = Vec::new();
    while let Some(done) = running.join_next().await {
        all.extend(done.ok());
    }
    all.sort_by_key(|(n, _)| *n);
    all.into_iter().map(|(_, seen)| seen).collect()
}

async fn one(dialer: &Dialer, look: Look, door: &Door) -> Seen {
    let Some(protocol) = probe::Protocol::parse(&look.protocol) else {
        let failure = local(format!("{} is no protocol that is spoken here", pki::text::escape(&look.protocol)));
        return Seen { target: look.target, at: door.now(), resolved: Err(failure), attempts: Vec::new() };
    };
    let target = probe::Target {
        host: look.host.trim_matches(['[', ']']).to_owned(),
        port: look.port,
        server_name: (!look.server_name.is_empty()).then(|| look.server_name.clone()),
        protocol,
        address: None,
    };
    let resolved = dialer.resolve(&target).await;
    let mut sockets = BTreeSet::new();
    let resolved = match resolved {
        // More addresses than are ever dialled: the rest is not healthy, it is unknown, and that is a failure.
        Ok(r) if r.beyond > 0 => Err(r.beyond_failure().map_or_else(|| local("too many addresses".into()), failure)),
        Ok(r) => {
            sockets.extend(r.addresses.iter().map(|a| SocketAddr::new(*a, look.port)));
            Ok(sockets.iter().map(ToString::to_string).collect())
        }
        Err(e) => Err(failure(e)),
    };
    sockets.extend(look.also.iter().filter_map(|a| a.parse::<SocketAddr>().ok()));
    let mut attempts = Vec::new();
    for socket in sockets {
        for offer in &look.offers {
            for _ in 0..look.handshakes.max(1) {
                let attempt = dialer.dial(&target, socket.ip(), offer_of(*offer)).await;
                let result = match attempt.result {
                    Ok(p) => Ok(Shown { chain: p.chain, protocol: p.protocol.into(), cipher: p.cipher.into() }),
                    Err(e) => Err(failure(e)),
                };
                let failed = result.is_err();
                attempts.push(Attempt { address: socket.to_string(), offer: *offer, at: door.now(), result });
                if failed {
                    // Nothing is proven by knocking thirty times on a closed door.
                    break;
                }
            }
        }
    }
    Seen { target: look.target, at: door.now(), resolved, attempts }
}

fn offer_of(offer: Offer) -> probe::Offer {
    match offer {
        Offer::All => probe::Offer::All,
        Offer::Rsa => probe::Offer::RsaOnly,
        Offer::Ecdsa => probe::Offer::EcdsaOnly,
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
