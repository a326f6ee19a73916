//! The loops and the ports to the outside; no runtime, no sockets, no clock.
//!
//! Every loop has one shape, and only its driver sleeps:
//!
//! ```text
//! run_once(tick):  take the subject's row → load it → decide (domain, pure) → commit state + journal + outbox + next due → act
//! ```
//!
//! A *target* is assessed in the transaction that takes its observations in ([`look`], [`assess`]); that wakes its *secret*
//! ([`secrets`]), which tells owners; an *incident* goes its own way ([`incidents`]). The [`sweep`] trusts none of this and looks
//! at everything. [`vault`] stores versions under the key that [`keys`] holds.

pub mod assess;
pub mod blast;
mod concern;
pub mod deliver;
mod delivery_keys;
pub mod drills;
mod error;
pub mod forecast;
mod held;
pub mod housekeeping;
pub mod incidents;
pub mod intent;
pub mod inventory;
pub mod issuing;
pub mod judge;
pub mod keys;
mod later;
pub mod look;
pub mod message;
pub mod nodes;
pub mod own;
pub mod partition;
pub mod ports;
pub mod releases;
mod retire;
pub mod revocations;
pub mod rollouts;
pub mod secrets;
pub mod services;
pub mod spof;
pub mod sweep;
pub mod tell;
pub mod vault;

pub use error::{Error, Refusal, Result};

use domain::{Time, clock::Belief};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use store::{Actor, Store};

/// What every step is given: the time, read once at the door, and whether it is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick {
    /// Now.
    pub now: Time,
    /// Whether the clock is believed.
    pub clock: Belief,
}

impl Tick {
    /// A moment on a clock that is believed.
    pub fn at(now: Time) -> Tick {
        Tick { now, clock: Belief::Believed }
    }
}

/// The names of the loops, as the timers know them.
pub mod loops {
    /// Look at a target from the vantage of the server itself.
    pub const OBSERVE: &str = "observe/local";
    /// Time alone changed what the rules say about a target.
    pub const TARGET: &str = "target";
    /// Something about a secret changed.
    pub const SECRET: &str = "secret";
    /// An incident goes its way.
    pub const INCIDENT: &str = "incident";
    /// A corrective action is due.
    pub const ACTION: &str = "action";
    /// Something that a release is planned by changed; the subject is the release's number.
    pub const RELEASE: &str = "release";
    /// Something that a service is planned by changed; the subject is the service's number.
    pub const SERVICE: &str = "service";

    /// Whether a secret is to be renewed; the subject is the secret's number.
    pub const RENEW: &str = "renew";
    /// A request to an issuer is due; the subject is the order's number.
    pub const ORDER: &str = "order";
    /// An issuer is asked when a certificate should be renewed; the subject is the secret's number.
    pub const ARI: &str = "ari";
    /// The list of what an authority revoked is due; the subject is the authority's number.
    pub const CRL: &str = "crl";
    /// Something about a node changed; the subject is the node's number.
    pub const NODE: &str = "node";
    /// A drill of the inventory may be due or overdue; the subject is its number.
    pub const DRILL: &str = "drill";
    /// A rehearsal goes its way; the subject is its number.
    pub const DRILL_RUN: &str = "drill-run";

    /// A version is on its way; the subject is the rollout's number.
    pub const ROLLOUT: &str = "rollout";
    /// Something must be replaced by a deadline; the subject is the revocation's number.
    pub const REVOCATION: &str = "revocation";

    /// Look at a target from a named vantage.
    pub fn observe(vantage: &str) -> String {
        format!("observe/{vantage}")
    }
}

/// The vantage of the server itself.
pub const LOCAL: &str = "local";

/// The engine: a store, a judge of chains, and the vault. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) store: Store,
    pub(crate) judge: Arc<judge::Judge>,
    pub(crate) vault: Arc<Mutex<keys::State>>,
    /// Held while data keys move.
    pub(crate) rotating: Arc<Mutex<()>>,
    /// Opens this server's copies of what contacts name, whether the store is sealed or not.
    pub(crate) delivery: Arc<Mutex<Option<envelope::Keeper>>>,
    /// Who holds leases in the name of this process.
    pub(crate) holder: Arc<str>,
    /// Internal CAs that are ready to sign; empty while the store is sealed.
    pub(crate) signers: Arc<Mutex<BTreeMap<i64, Arc<pki::issue::Issuer>>>>,
    /// Where those wait who want a certificate.
    pub(crate) desk: Arc<issuing::Desk>,
}

impl Engine {
    /// An engine over an open store. `holder` tells this process from the others on the same database; `system_roots` are what
    /// targets without own roots are judged by (DER).
    pub fn new(store: Store, holder: &str, system_roots: Vec<Vec<u8>>) -> Engine {
        Engine {
            store,
            judge: Arc::new(judge::Judge::new(system_roots)),
            vault: Arc::new(Mutex::new(keys::State::Sealed)),
            rotating: Arc::default(),
            delivery: Arc::default(),
            holder: holder.into(),
            signers: Arc::default(),
            desk: Arc::default(),
        }
    }

    /// The store, for reading.
    pub fn store(&self) -> &Store {
        &self.store
    }
}

/// The actor of what the rules decide.
pub fn rules() -> Actor {
    Actor::new("perennial", "rules")
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
