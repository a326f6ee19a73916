//! The agents' door: a listener of its own, TLS 1.3 alone, where an agent is who the database says by the certificate that it presents.
//!
//! Ten thousand agents wait here at a time, so a connection costs little: no layer stands around each of them, a wait holds neither a thread nor
//! a connection to the database, and what many ask at the same moment is asked of the database once ([`hub`]).

mod hub;
mod serve;
mod tls;

use crate::{
    http::peers::{AtOnce, Peers},
    run::entropy,
    tls::{OwnCertificate, TlsError},
};
use domain::words::NodeId;
use engine::{Engine, Tick};
use hub::Hub;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore},
};

/// Reads the clock, at its door.
pub type Clock = Arc<dyn Fn() -> Tick + Send + Sync>;

/// Agents that are connected at a time, where nothing is said.
pub const MOST_AGENTS: usize = 20_000;
/// Connections that one address (IPv6: one /64) may have at a time, where nothing is said: a site behind one address fits.
pub const AGENTS_PER_ADDRESS: usize = 1024;
/// Handshakes at a time, some tens of KiB each; others wait for their turn.
const HANDSHAKES: usize = 1024;
/// Connections of one address at a time that are not through their handshake; more are refused. So a few that are slow on purpose do not
/// keep the others out.
const HANDSHAKES_PER_ADDRESS: usize = 64;
/// How long a client may be silent before its handshake, which takes no turn meanwhile.
const FIRST_BYTE: Duration = Duration::from_secs(3);
/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection may be idle between two requests, and how long the head of one may take.
const IDLE: Duration = Duration::from_secs(90);
/// Connections at a time that presented no certificate by which a node may act: they can join, and nothing else.
const STRANGERS: usize = 256;
/// How many of them one address may have.
const STRANGERS_PER_ADDRESS: usize = 32;
/// How long such a connection may last.
const STRANGER_LIFE: Duration = Duration::from_secs(30);
/// Refused joins that one address is answered per minute.
const JOINS_PER_MINUTE: u32 = 30;
/// Requests of agents at a time that write, besides reports; others wait for their turn.
const WRITES: usize = 16;
/// Joins at a time; others wait for their turn.
const JOINS: usize = 4;
/// How long a request waits for its turn and its answer, besides the wait that it asks for.
const REQUEST: Duration = Duration::from_secs(30);
/// Most bytes that are held of a connection's input at a time.
const BUFFER: usize = 16 << 10;
/// Most bytes of a request to join or renew, and of one for a certificate or key.
const SMALL_BODY: usize = 256 << 10;
/// Most bytes of a report: a thousand installs with a sentence each.
const REPORT_BODY: usize = 4 << 20;
/// Bytes of bodies that are held at a time, of all agents; whoever comes then is told to come back.
const BODIES: usize = 64 << 20;
/// Reports of one node at a time.
const REPORTS_PER_NODE: usize = 2;
/// Other requests of one node at a time that have a body.
const REQUESTS_PER_NODE: usize = 16;
/// Most bytes of a body that is too large which are read away, so that the answer arrives.
const MOST_DRAINED: usize = 16 << 20;
/// Seconds after which it is worth coming back when the store is sealed.
const SEALED_RETRY: u64 = 10;
/// Longest text that is written down of what a node is refused, in bytes.
const MOST_NOTED: usize = 300;
/// Requests of one node that write, which are answered per minute: reports, renewals, requests for keys and certificates.
const WRITES_PER_MINUTE: u32 = 600;

/// What people have to know to lead an agent here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entrance {
    /// `host:port`, as agents reach it.
    pub address: String,
    /// SHA-256 of the authority's certificate, lower-case hexadecimal.
    pub ca: String,
}

/// How the door is opened.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Agents that are connected at a time.
    pub agents: usize,
    /// Connections of one address at a time.
    pub per_address: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { agents: MOST_AGENTS, per_address: AGENTS_PER_ADDRESS }
    }
}

/// What the door needs.
pub struct Parts {
    /// The engine.
    pub engine: Engine,
    /// The clock.
    pub clock: Clock,
    /// The server's own certificate.
    pub own: Arc<OwnCertificate>,
    /// How many may come in.
    pub limits: Limits,
    /// Notified after every successful write, so that others look; and listened to.
    pub wake: Arc<Notify>,
}

/// Opens the door: what is given runs until `stop` is notified.
///
/// # Errors
/// TLS cannot be set up.
pub fn open(parts: Parts, listener: TcpListener, stop: Arc<Notify>) -> Result<impl Future<Output = ()> + Send + use<>, TlsError> {
    serve::serve(Agents::new(parts), listener, stop)
}

/// What all connections share.
struct Agents {
    engine: Engine,
    clock: Clock,
    hub: Hub,
    own: Arc<OwnCertificate>,
    limits: Limits,
    joins: Peers,
    joining: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    strange_bodies: Arc<Semaphore>,
    reporting: AtOnce<NodeId>,
    requesting: AtOnce<NodeId>,
    refused: Mutex<BTreeMap<NodeId, Refusals>>,
    written: Mutex<BTreeMap<NodeId, (i64, u32)>>,
    wake: Arc<Notify>,
}

/// How often a node asked in this hour for what it is not to have.
#[derive(Debug, Clone, Copy, Default)]
struct Refusals {
    hour: i64,
    times: u32,
}

impl Refusals {
    /// Counts one. Says how often it was, where that is to be written down: the first time, the tenth, the hundredth, …
    fn count(&mut self, hour: i64) -> Option<u32> {
        if self.hour != hour {
            *self = Refusals { hour, times: 0 };
        }
        self.times = self.times.saturating_add(1);
        let mut rest = self.times;
        while rest.is_multiple_of(10) {
            rest /= 10;
        }
        (rest == 1).then_some(self.times)
    }
}

impl Agents {
    fn new(parts: Parts) -> Arc<Agents> {
        let Parts { engine, clock, own, limits, wake } = parts;
        let hub = Hub::start(engine.clone(), clock.clone(), wake.clone());
        Arc::new(Agents {
            engine,
            clock,
            hub,
            own,
            limits,
            joins: Peers::new(JOINS_PER_MINUTE),
            joining: Arc::new(Semaphore::new(JOINS)),
            writes: Arc::new(Semaphore::new(WRITES)),
            bodies: Arc::new(Semaphore::new(BODIES)),
            strange_bodies: Arc::new(Semaphore::new(STRANGERS * SMALL_BODY)),
            reporting: AtOnce::new(REPORTS_PER_NODE),
            requesting: AtOnce::new(REQUESTS_PER_NODE),
            refused: Mutex::default(),
            written: Mutex::default(),
            wake,
        })
    }

    /// Now.
    fn tick(&self) -> Tick {
        (self.clock)()
    }

    /// Randomness, as the engine takes it.
    fn random() -> impl FnMut(&mut [u8]) {
        |bytes: &mut [u8]| entropy(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_the_tenth_and_the_hundredth_are_written_down() {
        let mut refusals = Refusals::default();
        let noted: Vec<u32> = (0..2000).filter_map(|_| refusals.count(1)).collect();
        assert_eq!(noted, [1, 10, 100, 1000]);
        assert_eq!(refusals.count(2), Some(1), "and again in the next hour");
    }
}
