//! The nouns that the rules speak of. Each has one meaning; `docs/` and the pages use the same words.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};
use core::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A named, owned line of versions.
    SecretId
);
id!(
    /// A place where a version must be live.
    TargetId
);
id!(
    /// What is kept of a finding that must not be forgotten.
    IncidentId
);
id!(
    /// A build with dates.
    ReleaseId
);
id!(
    /// A machine with an agent.
    NodeId
);
id!(
    /// The staged way of a version to its targets.
    RolloutId
);
id!(
    /// One (target, address, vantage, server name, offer, method); observations are stored under it.
    CombinationId
);

macro_rules! word {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word that people, SQL and the API see.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }

            /// The value that a word stands for.
            pub fn parse(text: &str) -> Option<$name> {
                match text { $($text => Some($name::$variant),)+ _ => None }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use word;

word!(
    /// What a secret is.
    Kind {
        /// Certificates with their keys.
        Certificate = "certificate",
        /// Bytes that we do not understand, perhaps with an expiry.
        Opaque = "opaque",
        /// We hold no bytes, only its expiry and evidence: a root, a CRL, a vendor's certificate.
        Tracked = "tracked",
    }
);

word!(
    /// Who renews it.
    Management {
        /// The store: what is served is compared with the stored instances.
        Managed = "managed",
        /// Somebody else: names and issuers are expected instead of fingerprints.
        External = "external",
    }
);

word!(
    /// Whether a renewal happens by itself.
    Renewal {
        /// A person starts it.
        ByHand = "by-hand",
        /// An issuer and a way to the node exist that need no person.
        Automatic = "automatic",
    }
);

word!(
    /// What becomes of a target's observations.
    TargetState {
        /// Counts in full.
        Active = "active",
        /// Observed, outside runway; must be current before it is promoted.
        Standby = "standby",
        /// Mutes *unreachable* only, for at most 30 days and never past served-until.
        Drained = "drained",
        /// Left the inventory; still dialled until its served-until.
        Retired = "retired",
    }
);

word!(
    /// What stands behind an address.
    Backends {
        /// One address, many machines (a load balancer): one handshake proves little.
        Shared = "shared",
        /// The address is the machine.
        Direct = "direct",
    }
);

word!(
    /// Which certificate of a dual setup a handshake asks for.
    Offer {
        /// What a current client offers.
        All = "all",
        /// Only RSA signatures are accepted.
        Rsa = "rsa",
        /// Only ECDSA signatures are accepted.
        Ecdsa = "ecdsa",
        /// Only Ed25519 signatures are accepted.
        Ed25519 = "ed25519",
    }
);

word!(
    /// What kind of key a certificate is for.
    KeyType {
        /// RSA.
        Rsa = "rsa",
        /// ECDSA.
        Ecdsa = "ecdsa",
        /// Ed25519.
        Ed25519 = "ed25519",
    }
);

impl KeyType {
    /// The offer that only a certificate with such a key answers.
    pub const fn offer(self) -> Offer {
        match self {
            KeyType::Rsa => Offer::Rsa,
            KeyType::Ecdsa => Offer::Ecdsa,
            KeyType::Ed25519 => Offer::Ed25519,
        }
    }
}

word!(
    /// How an observation came about.
    Method {
        /// A fresh handshake with the target.
        Dialled = "dialled",
        /// A relying server saw the client certificate.
        PeerSeen = "peer-seen",
        /// Read on the node, independently of whatever installed it.
        AgentRead = "agent-read",
        /// A person says so, and it expires.
        Attested = "attested",
    }
);

word!(
    /// Who is to blame for a failed observation.
    Blame {
        /// The name did not resolve.
        Dns = "dns",
        /// The way there.
        Network = "network",
        /// The target misbehaved.
        Peer = "peer",
        /// The target speaks TLS, but not one that we accept.
        Tls = "tls",
        /// This vantage: no route, no sockets left.
        Local = "local",
        /// One of our own limits.
        Limits = "limits",
    }
);

/// One required or optional way to look at a target.
///
/// A target is *every* address from every required vantage for every required offer (law 3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Combination {
    /// `ip:port` for what is dialled (`host:port` where the name did not resolve), a path for what is read, empty for what is
    /// attested.
    pub address: String,
    /// From where.
    pub vantage: String,
    /// The server name sent, empty for none.
    pub server_name: String,
    /// Which certificate was asked for.
    pub offer: Offer,
    /// How.
    pub method: Method,
}

/// How a target left the inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    /// Until when it is still dialled.
    pub until: crate::Time,
    /// The certificates that it may have answered with then, or should have, where nothing was observed.
    pub leaves: BTreeSet<crate::Fingerprint>,
}

impl Retired {
    /// A target that leaves the inventory at `now`: `seen` is what it may have answered with and when each of these ends, where that
    /// can be read; `expected` is what it should have served, for one that nobody ever saw.
    ///
    /// It is dialled until the last of what was seen has ended (law 2), or for [`AFTER_RETIRING`] where nobody knows.
    pub fn at(
        now: crate::Time,
        seen: &[(crate::Fingerprint, Option<crate::Time>)],
        expected: impl FnOnce() -> BTreeSet<crate::Fingerprint>,
    ) -> Retired {
        let until = seen.iter().filter_map(|(_, end)| *end).max().filter(|end| *end < crate::Time::NO_EXPIRY);
        let leaves: BTreeSet<_> = seen.iter().map(|(leaf, _)| *leaf).collect();
        Retired { until: until.unwrap_or(now + AFTER_RETIRING), leaves: if leaves.is_empty() { expected() } else { leaves } }
    }
}

/// For how long a target is looked at after it was retired, where nobody knows until when it would have served.
pub const AFTER_RETIRING: crate::Span = crate::Span::days(30);

/// The facts about a target that its rules need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its number.
    pub id: TargetId,
    /// Its name in the inventory.
    pub name: String,
    /// Since when it is in the inventory.
    pub declared_at: crate::Time,
    /// What becomes of its observations.
    pub state: TargetState,
    /// Until when it is drained, where it is.
    pub drained_until: Option<crate::Time>,
    /// Whether it counts for runway.
    pub production: bool,
    /// What stands behind its addresses.
    pub backends: Backends,
    /// The server name that is sent and checked; empty for none.
    pub server_name: String,
    /// Its region, empty for none.
    pub region: String,
    /// Vantages that must be green.
    pub required_vantages: Vec<String>,
    /// Offers that must be green.
    pub offers: Vec<Offer>,
    /// `host:port`: stands for the addresses of a vantage for which the name never resolved; empty for what is not dialled.
    pub authority: String,
    /// Whether the answer to a client that names nothing must be green too.
    pub names_without_sni: bool,
    /// Key types that must be served; empty for whatever comes.
    pub key_types: Vec<KeyType>,
    /// Since when a vantage, an offer or a server name is required, where that is later than `declared_at`
    /// ([`crate::required::since`]).
    pub required_since: BTreeMap<String, crate::Time>,
    /// How it left the inventory, where it did.
    pub retired: Option<Retired>,
    /// The adoption whose first findings go to one baseline incident, and until when.
    pub baseline: Option<(String, crate::Time)>,
}
