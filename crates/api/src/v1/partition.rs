//! How wide one expiry reaches, how a service could be divided up, and what was decided about that.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Production, and what takes the most of it down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Blast {
    /// The server's time.
    pub now: String,
    /// The one service that all of this is about; absent for all of production.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Production targets: active or drained, not retired.
    pub targets: u32,
    /// Services that have one.
    pub services: u32,
    /// Regions that have one.
    pub regions: u32,
    /// Stamps that have one.
    pub stamps: u32,
    /// Targets that were never observed: nobody knows what takes them down.
    pub unknown: u32,
    /// Targets that do not serve now.
    pub broken: u32,
    /// What was asked for; without `by` the widest of each kind, and the worst hour of the coming year.
    pub items: Vec<Reach>,
    /// Where the next page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One thing that production hangs on, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reach {
    /// `leaf`, `key`, `intermediate`, `root` or `window`.
    pub by: String,
    /// How long the window is, such as `1 d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// The certificate, or the public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint_sha256: Option<String>,
    /// Its name; of a key, that of a certificate with it.
    pub name: String,
    /// When the leaf ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// When the window's first target falls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// When its last one falls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// Targets that it takes down.
    pub targets: u32,
    /// Their share in tenths of a percent, rounded down.
    pub share_per_mille: u32,
    /// Services that it touches.
    pub services: u32,
    /// Regions that it touches.
    pub regions: u32,
    /// Stamps that it touches.
    pub stamps: u32,
    /// What it takes of each service, the largest share first; at most 20 of them.
    pub per_service: Vec<ServiceReach>,
}

/// What of one service goes down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceReach {
    /// Which; empty for targets of none.
    pub service: String,
    /// Targets of it.
    pub targets: u32,
    /// Of how many.
    pub of: u32,
    /// Their share in tenths of a percent, rounded down.
    pub share_per_mille: u32,
}

/// A plan that divides production up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Partition {
    /// The server's time.
    pub now: String,
    /// Identifies the plan: the SHA-256 of everything that it would put in place.
    pub plan: String,
    /// Certificates that it has in all.
    pub certificates: u64,
    /// How each service stands and would stand, the one that loses most at once first; at most 1000 of them.
    pub services: Vec<PartitionService>,
    /// Certificates, in the order of service and name.
    pub items: Vec<PlannedCertificate>,
    /// Where the next page of certificates begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A service, divided up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartitionService {
    /// Which.
    pub service: String,
    /// Its production targets.
    pub targets: u32,
    /// Most that one window may take, in per cent.
    pub max_share_percent: u32,
    /// How wide a window is, such as `1 d`.
    pub window: String,
    /// Certificates that are planned for it; 0 where it is as good as it gets.
    pub certificates: u64,
    /// Today.
    pub before: PartitionMeasure,
    /// When all that is planned serves.
    pub after: PartitionMeasure,
    /// Why the share is not reached, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short: Option<String>,
    /// Secrets that cannot be staggered and stay as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
}

/// How a service stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartitionMeasure {
    /// Targets that the worst window takes down.
    pub worst: u32,
    /// Their share in tenths of a percent, rounded down.
    pub worst_per_mille: u32,
    /// When that window begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_from: Option<String>,
    /// Certificates that are served in more than one region.
    pub across_regions: u32,
    /// Targets of the widest certificate.
    pub widest: u32,
    /// Certificates.
    pub certificates: u32,
    /// Ways in which the rules are broken.
    pub breaches: u32,
}

/// A certificate that there should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedCertificate {
    /// Its name: secret, region and part.
    pub name: String,
    /// The service.
    pub service: String,
    /// The secret whose certificate it takes over from.
    pub secret: String,
    /// Its only region; empty for targets of none.
    pub region: String,
    /// When it ends.
    pub not_after: String,
    /// Names that it must cover; at most 20 of them.
    pub names: Vec<String>,
    /// How many names there are.
    pub name_count: u64,
    /// Its targets; at most 20 of them.
    pub targets: Vec<String>,
    /// How many targets there are.
    pub target_count: u64,
}

/// `POST /v1/partition/apply`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyPartition {
    /// Only this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// As the plan was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_share_percent: Option<u32>,
    /// As the plan was asked for, such as `24h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// The hash of the plan that was looked at.
    pub plan: String,
    /// Why.
    pub reason: String,
}

/// What was put in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppliedPartition {
    /// Intents that are open now, one for each certificate.
    pub intents: u64,
}

/// Something that was decided and is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Intent {
    /// Its number.
    pub id: i64,
    /// What is to be done: `issue`.
    pub what: String,
    /// To what.
    pub subject: String,
    /// `open`, `done` or `superseded`.
    pub state: String,
    /// SHA-256 over what, subject and content.
    pub hash: String,
    /// How many people had to approve.
    pub approvals: i64,
    /// Who did.
    pub approved_by: String,
    /// Why.
    pub reason: String,
    /// When it was decided.
    pub created_at: String,
    /// When it was done, or another one took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_at: Option<String>,
}

/// An intent with everything that it asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IntentDetail {
    /// The intent.
    pub intent: Intent,
    /// Exactly what is to be done.
    pub content: serde_json::Value,
}
