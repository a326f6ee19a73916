//! From a target to what every one of its addresses presented.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rustls::ClientConfig;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    failure::{Blame, Failure, Phase},
    handshake::{Presented, handshake},
    limits::{Limits, Phases, RATE_PER_ADDRESS},
    pace::Pace,
    resolve::{Overrides, Resolved, resolve},
    starttls,
    target::{Protocol, Target},
    tls::{Offer, config},
    wire::Wire,
};

/// How many addresses of one target [`Dialer::look`] dials at the same time.
const LOOK_AT_ONCE: usize = 32;

/// What a [`Dialer`] is made from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Time limits.
    pub phases: Phases,
    /// Size limits.
    pub limits: Limits,
    /// Dials per second to one destination address; 0 is unlimited.
    pub rate_per_address: u32,
    /// Names that are not looked up.
    pub overrides: Overrides,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            phases: Phases::default(),
            limits: Limits::default(),
            rate_per_address: RATE_PER_ADDRESS,
            overrides: Overrides::default(),
        }
    }
}

/// One dial of one address.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// What was dialled; `None` when it did not come to an address.
    pub address: Option<SocketAddr>,
    /// How long it took, waiting for its turn excluded.
    pub elapsed: Duration,
    /// What was presented, or why nothing was.
    pub result: Result<Presented, Failure>,
}

/// Dials. Cheap to clone; all clones share the rate per address.
#[derive(Clone)]
pub struct Dialer(Arc<Shared>);

struct Shared {
    settings: Settings,
    pace: Pace,
    all: Arc<ClientConfig>,
    rsa: Arc<ClientConfig>,
    ecdsa: Arc<ClientConfig>,
    ed25519: Arc<ClientConfig>,
}

impl Dialer {
    /// Makes a dialer.
    ///
    /// # Errors
    /// When the TLS library refuses the configuration.
    pub fn new(settings: Settings) -> Result<Dialer, Failure> {
        let make = |offer| config(offer).map_err(|error| Failure::new(Phase::Handshake, Blame::Local, false, error.to_string()));
        Ok(Dialer(Arc::new(Shared {
            pace: Pace::new(settings.rate_per_address),
            settings,
            all: make(Offer::All)?,
            rsa: make(Offer::RsaOnly)?,
            ecdsa: make(Offer::EcdsaOnly)?,
            ed25519: make(Offer::Ed25519Only)?,
        })))
    }

    /// All addresses of a target: the pinned one, or all that its name has.
    ///
    /// # Errors
    /// A [`Phase::Resolve`] failure.
    pub async fn resolve(&self, target: &Target) -> Result<Resolved, Failure> {
        match target.address {
            Some(address) => Ok(Resolved { addresses: vec![address], beyond: 0 }),
            None => resolve(&target.host, &self.0.settings.overrides, self.0.settings.phases.resolve).await,
        }
    }

    /// Dials one address of a target.
    pub async fn dial(&self, target: &Target, address: IpAddr, offer: Offer) -> Attempt {
        self.0.pace.turn(address).await;
        let start = Instant::now();
        let socket = SocketAddr::new(address, target.port);
        let result = self.attempt(target, socket, offer).await;
        Attempt { address: Some(socket), elapsed: Instant::now() - start, result }
    }

    /// Dials every address of a target, and reports in the order of the addresses. What was not dialled (the name does not resolve,
    /// or has more addresses than are ever dialled) is an attempt without address.
    pub async fn look(&self, target: &Target, offer: Offer) -> Vec<Attempt> {
        let resolved = match self.resolve(target).await {
            Ok(resolved) => resolved,
            Err(failure) => return vec![Attempt::undialled(failure)],
        };
        let mut attempts = Vec::with_capacity(resolved.addresses.len() + 1);
        let mut waiting = resolved.addresses.iter().copied();
        let mut running = JoinSet::new();
        let mut start = |running: &mut JoinSet<Attempt>| {
            if let Some(address) = waiting.next() {
                let (dialer, target) = (self.clone(), target.clone());
                running.spawn(async move { dialer.dial(&target, address, offer).await });
            }
        };
        for _ in 0..LOOK_AT_ONCE {
            start(&mut running);
        }
        while let Some(done) = running.join_next().await {
            attempts.push(done.unwrap_or_else(|error| {
                Attempt::undialled(Failure::new(Phase::Connect, Blame::Local, true, format!("the dial was lost: {error}")))
            }));
            start(&mut running);
        }
        attempts.sort_by_key(|attempt| attempt.address);
        attempts.extend(resolved.beyond_failure().map(Attempt::undialled));
        attempts
    }

    async fn attempt(&self, target: &Target, address: SocketAddr, offer: Offer) -> Result<Presented, Failure> {
        let Settings { phases, limits, .. } = &self.0.settings;
        let name = target.tls_name()?;
        let stream = match timeout(phases.connect, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Failure::io(Phase::Connect, &error)),
            Err(_) => {
                let detail = format!("no answer to the connection request within {} s", phases.connect.as_secs_f32());
                return Err(Failure::new(Phase::Connect, Blame::Network, true, detail));
            }
        };
        let mut wire = Wire::new(stream, *limits);
        if target.protocol != Protocol::Tls {
            // Boxed: few dials need it, and all of them would carry its size.
            let upgrade = Box::pin(starttls::upgrade(&mut wire, target));
            match timeout(phases.starttls, upgrade).await {
                Ok(done) => done?,
                Err(_) => return Err(starttls::silent(&wire, phases.starttls)),
            }
        }
        let config = match offer {
            Offer::All => &self.0.all,
            Offer::RsaOnly => &self.0.rsa,
            Offer::EcdsaOnly => &self.0.ecdsa,
            Offer::Ed25519Only => &self.0.ed25519,
        };
        handshake(&mut wire, config, name, phases.handshake, phases.close).await
    }
}

impl Attempt {
    /// An attempt that did not come to an address.
    pub fn undialled(failure: Failure) -> Attempt {
        Attempt { address: None, elapsed: Duration::ZERO, result: Err(failure) }
    }
}
