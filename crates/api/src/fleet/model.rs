//! What a fleet file declares. The words are those of the product everywhere: in the file, in JSON, in
//! the database and on the pages.
//!
//! The structs hold what was written, with defaults filled in; what has to be computed from a
//! certificate (thresholds, intervals) stays absent.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::drills::Drill;
use super::issuing::{Issuer, KeyChoice, KeysAt, Maintenance, Profile};
use super::nodes::Node;
use super::planning::{Calendar, Partition, Train};
use super::rollout::RolloutPolicy;
use super::values::{Day, Endpoint, Moment, Period};

/// A whole inventory: who owns what, where it runs, and where it must be seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fleet {
    /// Settings of the whole file.
    pub fleet: Settings,
    /// Teams, who are told.
    #[serde(rename = "team", skip_serializing_if = "Vec::is_empty")]
    pub teams: Vec<Team>,
    /// Services, what secrets and targets are for.
    #[serde(rename = "service", skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    /// Regions.
    #[serde(rename = "region", skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<Region>,
    /// Stamps, the deployment units inside regions.
    #[serde(rename = "stamp", skip_serializing_if = "Vec::is_empty")]
    pub stamps: Vec<Stamp>,
    /// Vantages, from where targets are dialled. `local` exists without being declared.
    #[serde(rename = "vantage", skip_serializing_if = "Vec::is_empty")]
    pub vantages: Vec<Vantage>,
    /// Named sets of private roots.
    #[serde(rename = "roots", skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<RootSet>,
    /// Policies, by name.
    #[serde(rename = "policy", skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Policy>,
    /// Calendars: when nothing ships.
    #[serde(rename = "calendar", skip_serializing_if = "Vec::is_empty")]
    pub calendars: Vec<Calendar>,
    /// Trains: when releases leave.
    #[serde(rename = "train", skip_serializing_if = "Vec::is_empty")]
    pub trains: Vec<Train>,
    /// Partitions: how certificates may be shared, and when they may end.
    #[serde(rename = "partition", skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<Partition>,
    /// Issuers: who signs.
    #[serde(rename = "issuer", skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<Issuer>,
    /// Rollout policies: by which waves new versions go out.
    #[serde(rename = "rollout_policy", skip_serializing_if = "Vec::is_empty")]
    pub rollout_policies: Vec<RolloutPolicy>,
    /// Secrets.
    #[serde(rename = "secret", skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    /// Nodes: machines with an agent.
    #[serde(rename = "node", skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<Node>,
    /// Targets.
    #[serde(rename = "target", skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// Drills: what is rehearsed.
    #[serde(rename = "drill", skip_serializing_if = "Vec::is_empty")]
    pub drills: Vec<Drill>,
}

/// `[fleet]`: settings of the whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The team that owns whatever names no owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_owner: Option<String>,
    /// The day on which this fleet was adopted. What is bad on the first look goes to one incident.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "2026-11-22")]
    pub baseline: Option<Day>,
}

/// Who owns, and how they are reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Team {
    /// Unique among teams.
    pub name: String,
    /// The team that is told when nothing is seen to improve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalation: Option<String>,
    /// At least one way to tell the team.
    pub contacts: Vec<Contact>,
}

/// One way to tell a team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "channel", rename_all = "lowercase", deny_unknown_fields)]
pub enum Contact {
    /// The server's own log.
    Log {},
    /// An HTTPS webhook, signed as in Standard Webhooks.
    Webhook {
        /// An `https://` address.
        url: String,
        /// The opaque secret that holds the signing key; unsigned if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signing_secret: Option<String>,
    },
    /// An Alertmanager, API v2.
    Alertmanager {
        /// Base address; `http://` is possible.
        url: String,
    },
    /// PagerDuty Events API v2.
    Pagerduty {
        /// The opaque secret that holds the routing key.
        routing_key: String,
        /// Another address than the public one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
    },
}

/// What secrets and targets are for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Unique among services.
    pub name: String,
    /// The owning team.
    pub team: String,
    /// When it ships nothing; always open if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<String>,
    /// The train that its releases ride if they say nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// How its certificates may be shared, and when they may end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
}

/// A part of the world that fails alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// Unique among regions.
    pub name: String,
    /// Regions that it cannot work without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
}

/// One deployment unit inside a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// Unique among stamps.
    pub name: String,
    /// The region that it lies in.
    pub region: String,
}

/// From where targets are dialled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Vantage {
    /// Unique among vantages; `local` is the server itself.
    pub name: String,
    /// Whether the vantage may be required by targets; an optional one can only raise.
    #[serde(default = "yes")]
    pub required: bool,
}

/// A named set of private roots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RootSet {
    /// Unique among root sets.
    pub name: String,
    /// Certificates as PEM. Either this or `file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pem: Option<String>,
    /// A path relative to the fleet file, which the client reads into `pem` before it sends anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// Thresholds and intervals. What is absent is computed from the certificate's lifetime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Unique among policies.
    pub name: String,
    /// What kind of certificate it is made for.
    pub class: Class,
    /// Notices begin below this much runway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "180d")]
    pub notice: Option<Period>,
    /// An incident opens below this much runway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "90d")]
    pub incident: Option<Period>,
    /// How often targets are observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "1h")]
    pub interval: Option<Period>,
    /// Silence longer than this is a finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "1d")]
    pub unobserved_after: Option<Period>,
}

/// The kinds of certificates that thresholds distinguish.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// An end-entity certificate.
    #[default]
    Leaf,
    /// A private CA.
    PrivateCa,
    /// A root that clients hold.
    TrustAnchor,
    /// A certificate inside a shipped product.
    Embedded,
    /// An intermediate of a public CA; it follows the leaf.
    PublicIntermediate,
}

/// A named, owned line of versions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// Unique among secrets.
    pub name: String,
    /// What it is.
    pub kind: SecretKind,
    /// The owning team; else the service's, else the default owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Who renews it.
    #[serde(default)]
    pub management: Management,
    /// How it is renewed.
    #[serde(default)]
    pub renewal: Renewal,
    /// Whether a new version reaches production only inside a release.
    #[serde(default)]
    pub release_bound: bool,
    /// The policy that applies; else the computed thresholds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Thresholds of this secret alone, with a reason.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Override>,
    /// Names that the certificate is expected to cover.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Issuers that are expected, for external certificates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<String>,
    /// How its issuer validates, such as `dns-01`: what its renewal depends on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "dns-01")]
    pub validation: Option<String>,
    /// Who answers the DNS questions of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_provider: Option<String>,
    /// When it ends, for `opaque` and `tracked` secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Moment>,
    /// Issuers in the order of preference; the one of a node's own region goes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issued_by: Vec<String>,
    /// What the certificate is for; `server` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Where its keys are born; `node` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeysAt>,
    /// The kind of its keys; `ecdsa-p256` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_type: Option<KeyChoice>,
    /// How long it is to live; 90 d if absent, or as an ACME issuer gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "90d")]
    pub lifetime: Option<Period>,
    /// Its identity, for `profile = "spiffe"` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "spiffe://example.org/storage/front")]
    pub spiffe_id: Option<String>,
    /// When it is renewed, if that can wait so long; at any time if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Maintenance>,
    /// The rollout policy by which its versions travel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
}

/// What a secret is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecretKind {
    /// Certificates with their chains, and perhaps keys.
    #[default]
    Certificate,
    /// Bytes, perhaps with an end.
    Opaque,
    /// Nothing is held but an end and evidence: a root, a CRL, a vendor's certificate.
    Tracked,
}

/// Who renews a secret.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Management {
    /// The store: fingerprints are expected.
    #[default]
    Managed,
    /// Somebody else: names and issuers are expected.
    External,
}

/// How a secret is renewed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Renewal {
    /// A person does it.
    #[default]
    ByHand,
    /// A machine does it.
    Automatic,
}

/// Thresholds of one secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// As in a policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "120d")]
    pub notice: Option<Period>,
    /// As in a policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "60d")]
    pub incident: Option<Period>,
    /// Why this secret differs; goes to the journal.
    pub reason: String,
}

/// A place where a version must be live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Unique among targets.
    pub name: String,
    /// The secret that must be live here.
    pub secret: String,
    /// What kind of place it is.
    #[serde(default)]
    pub kind: TargetKind,
    /// Where it is dialled; for `kind = "endpoint"` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "tls://www.example.com:443")]
    pub endpoint: Option<Endpoint>,
    /// The name that is asked for (RFC 6066 §3); the endpoint's host if absent and a DNS name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Whether the answer to a client that names nothing is judged too: it is looked at besides, and must be as good as the one
    /// to a client that names the server (the same names, a path, the newest version).
    #[serde(default)]
    pub names_without_sni: bool,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Where it is, more precisely.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<String>,
    /// What it is for; else as its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Who owns it; else as its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Whether it counts.
    #[serde(default)]
    pub state: TargetState,
    /// Until when *unreachable* is muted; for `state = "drained"` alone, at most 30 d ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub drained_until: Option<Moment>,
    /// Whether it is production.
    #[serde(default = "yes")]
    pub production: bool,
    /// What one handshake proves.
    #[serde(default)]
    pub backends: Backends,
    /// The root set that its clients trust; the system's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<String>,
    /// Vantages that must be green.
    #[serde(default = "local_vantage")]
    pub vantages: Vec<String>,
    /// Vantages that can only raise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub optional_vantages: Vec<String>,
    /// What the client offers; each must be answered rightly.
    #[serde(default = "every_offer")]
    pub offers: Vec<Offer>,
    /// Key types that must be served: each is looked at with an offer that accepts no other, besides `offers`. Whatever the secret
    /// holds if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_types: Vec<KeyType>,
    /// The nodes that stand behind it; none known if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
}

impl Default for Target {
    fn default() -> Target {
        Target {
            name: String::new(),
            secret: String::new(),
            kind: TargetKind::default(),
            endpoint: None,
            server_name: None,
            names_without_sni: false,
            region: None,
            stamp: None,
            service: None,
            team: None,
            state: TargetState::default(),
            drained_until: None,
            production: true,
            backends: Backends::default(),
            roots: None,
            vantages: local_vantage(),
            optional_vantages: Vec::new(),
            offers: every_offer(),
            key_types: Vec::new(),
            nodes: Vec::new(),
        }
    }
}

/// What kind of place a target is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// It is dialled.
    #[default]
    Endpoint,
    /// Files on a node.
    Install,
    /// Something that was shipped.
    Artifact,
}

/// Whether a target counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetState {
    /// It counts.
    #[default]
    Active,
    /// Observed, outside runway; must be current before it is promoted.
    Standby,
    /// *Unreachable* is muted for a while.
    Drained,
}

/// What one handshake at an address proves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backends {
    /// Several servers behind one address: closing takes many handshakes.
    #[default]
    Shared,
    /// The address is the server: one handshake per address.
    Direct,
}

/// What a client offers in its hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Offer {
    /// Every signature scheme.
    All,
    /// RSA alone.
    Rsa,
    /// ECDSA alone.
    Ecdsa,
}

/// The key types that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// RSA.
    Rsa,
    /// ECDSA on a NIST curve.
    Ecdsa,
    /// Ed25519.
    Ed25519,
}

fn yes() -> bool {
    true
}

fn local_vantage() -> Vec<String> {
    vec![super::LOCAL_VANTAGE.to_owned()]
}

fn every_offer() -> Vec<Offer> {
    vec![Offer::All]
}
