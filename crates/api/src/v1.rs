//! The data of `/v1`. Fields are only ever added; texts that come from certificates are escaped; times are RFC 3339 in UTC.

mod drill;
mod forecast;
mod issuing;
mod node;
mod partition;
mod plan;
mod release;
mod rollout;
mod token;

pub use drill::{CriticalPath, Drill, DrillReason, DrillRun, DrillRunDetail, DrillStep, RunDrill};
pub use forecast::{Break, BreakGroup, Forecast, Missed, SinglePoint, SinglePoints};
pub use issuing::{
    BudgetStanding, CaAnswer, CaCertificate, CertAnswer, CertRequest, IssuerStanding, NewCa, NewCertRequest, Renewing, RequestedCa, Revoke,
    Revoked,
};
pub use node::{
    Invite, Invited, ManifestKey, Node, NodeCertificate, NodeDetail, NodeInstall, NodeManifest, NodeMaterial, Readmitted, Rejoin,
    ReplaceManifestKey,
};
pub use partition::{
    AppliedPartition, ApplyPartition, Blast, Intent, IntentDetail, Partition, PartitionMeasure, PartitionService, PlannedCertificate,
    Reach, ServiceReach,
};
pub use plan::PlanFinding;
pub use release::{
    Carried, CarriedVersion, CarryRelease, DelayRelease, FoundInBuild, NewRelease, PlanRelease, PlannedStage, Release, ReleaseDetail,
    ReleaseIs, ReleaseItem, Stage, StageRelease, When,
};
pub use rollout::{
    NewRevocation, ResumeRollout, Revocation, RevocationDetail, RevokedSecret, Rollout, RolloutDetail, RolloutWaits, RolloutWave,
    StartRollout,
};
pub use token::{MadeToken, NewToken, Token};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A page of a list. `next` goes into `?after=`; absent on the last page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// RFC 9457. `code` is stable; `detail` is for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `about:blank`, or where the code is explained.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short text for the code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable, for machines.
    pub code: String,
    /// What is wrong, where, and what to do next.
    pub detail: String,
    /// Each problem by itself, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// How the store stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// Which store this is.
    pub store_id: String,
    /// Which life of it.
    pub epoch: i64,
    /// The server's time.
    pub now: String,
    /// Whether it can use its keys.
    pub sealed: bool,
    /// Whether it ever had one.
    pub initialised: bool,
    /// Whether the clock is believed, and if not, why.
    pub clock_doubts: Vec<String>,
    /// Secrets that are not retired.
    pub secrets: i64,
    /// Targets that are not retired.
    pub targets: i64,
    /// Open incidents.
    pub open_incidents: i64,
    /// Messages that wait to be delivered.
    pub outbox_waiting: i64,
    /// Messages that failed many times.
    pub outbox_stuck: i64,
    /// When the last sweep ended.
    pub last_sweep: Option<String>,
    /// Findings of the store itself.
    pub findings: Vec<Finding>,
}

/// A secret in lists: the least margin first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Secret {
    /// Its name.
    pub name: String,
    /// `certificate`, `opaque` or `tracked`.
    pub kind: String,
    /// `managed` or `external`.
    pub management: String,
    /// `by-hand` or `automatic`.
    pub renewal: String,
    /// Who answers for it.
    pub team: String,
    /// What it is for.
    pub service: String,
    /// The newest stored version, 0 for none.
    pub newest_version: i64,
    /// Until when production serves (`unknown`, `broken`, or a time).
    pub served_until: String,
    /// Seconds until then; absent while unknown.
    pub runway_seconds: Option<i64>,
    /// Seconds until its incident threshold; negative below it; absent while unknown or without end.
    pub margin_seconds: Option<i64>,
    /// Targets bound to it.
    pub targets: i64,
    /// Required combinations (address, vantage, offer) of its targets that show what they should.
    #[serde(default)]
    pub current: i64,
    /// Required combinations of its targets.
    #[serde(default)]
    pub required: i64,
    /// Findings at notice level or above.
    pub findings: i64,
    /// When it was retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<String>,
}

/// A secret with its versions, targets and findings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretDetail {
    /// As in lists.
    #[serde(flatten)]
    pub secret: Secret,
    /// The newest first. No private material: this type cannot hold any.
    pub versions: Vec<Version>,
    /// The first targets, the least margin first.
    pub target_list: Vec<Target>,
    /// Of the secret itself and its first targets.
    pub finding_list: Vec<Finding>,
}

/// An immutable step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// From 1.
    pub number: i64,
    /// When it was stored.
    pub stored_at: String,
    /// By whom.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The end of an opaque version.
    pub expires_at: Option<String>,
    /// Its certificates.
    pub instances: Vec<Instance>,
}

/// One certificate of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Instance {
    /// `all`, a region, or a node.
    pub scope: String,
    /// `rsa`, `ecdsa`, `ed25519`.
    pub key_type: String,
    /// SHA-256 of the leaf, lower-case hex.
    pub fingerprint_sha256: String,
    /// Subject.
    pub subject: String,
    /// Issuer.
    pub issuer: String,
    /// Valid from.
    pub not_before: String,
    /// Valid until.
    pub not_after: String,
    /// Whether its private key lies sealed in the store.
    pub has_key: bool,
}

/// A target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its secret.
    pub secret: String,
    /// `endpoint`, `install` or `artifact`.
    pub kind: String,
    /// `tls://host:443`.
    pub endpoint: String,
    /// The server name that is sent and checked.
    pub server_name: String,
    /// Where.
    pub region: String,
    /// Where, more precisely.
    pub stamp: String,
    /// Who answers for it.
    pub team: String,
    /// `active`, `standby`, `drained` or `retired`.
    pub state: String,
    /// Whether it counts for runway.
    pub production: bool,
    /// `unknown`, `broken`, or a time.
    pub served_until: String,
    /// Seconds until its incident threshold.
    pub margin_seconds: Option<i64>,
    /// Required combinations that show what they should.
    pub current: i64,
    /// Required combinations.
    pub required: i64,
    /// The highest level among its findings.
    pub level: String,
    /// When it was last looked at.
    pub observed_at: Option<String>,
}

/// A target with what was observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TargetDetail {
    /// As in lists.
    #[serde(flatten)]
    pub target: Target,
    /// The latest observation of each combination.
    pub observations: Vec<Observation>,
    /// What changed, the newest first.
    pub history: Vec<Change>,
    /// What the rules say.
    pub findings: Vec<Finding>,
}

/// The latest observation of one combination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Observation {
    /// Its number, which evidence names.
    pub id: i64,
    /// `ip:port`, or a path; `host:port` while the name does not resolve.
    pub address: String,
    /// From where.
    pub vantage: String,
    /// The server name sent; empty for none.
    pub server_name: String,
    /// `all`, `rsa`, `ecdsa` or `ed25519`.
    pub offer: String,
    /// `dialled`, `peer-seen`, `agent-read` or `attested`.
    pub method: String,
    /// The latest attempt.
    pub last_at: String,
    /// The latest success.
    pub good_at: Option<String>,
    /// What was presented then.
    pub fingerprint_sha256: Option<String>,
    /// Other certificates that it may still answer with.
    #[serde(default)]
    pub other_fingerprints_sha256: Vec<String>,
    /// Successes in a row with the same certificate, since evidence was last asked for.
    pub streak: u32,
    /// TLS version.
    pub protocol: String,
    /// Cipher suite.
    pub cipher: String,
    /// Failing since.
    pub failing_since: Option<String>,
    /// Who is to blame.
    pub blame: Option<String>,
    /// Why.
    pub error: Option<String>,
}

/// A line of a target's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// When.
    pub at: String,
    /// `first`, `chain`, `failed` or `recovered`.
    pub change: String,
    /// Of which combination.
    pub observation: i64,
    /// What was presented since then.
    pub fingerprint_sha256: Option<String>,
    /// Or why nothing was.
    pub detail: String,
}

/// What the rules say now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// The rule, a stable code.
    pub code: String,
    /// `info`, `notice` or `incident`.
    pub level: String,
    /// What it is about: `target/NAME`, `secret/NAME` or `store`.
    #[serde(default)]
    pub subject: String,
    /// Of which target; absent for a finding of the secret or the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Of which secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Whether a service is already broken by it.
    pub broken: bool,
    /// The certificate that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint_sha256: Option<String>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// When it becomes an outage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The sentence.
    pub detail: String,
}

/// An incident in lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Incident {
    /// Its number.
    pub id: i64,
    /// What it is about.
    pub subject: String,
    /// One line for people.
    pub title: String,
    /// The rule of its first line.
    pub code: String,
    /// `opened`, `acknowledged`, `mitigated`, `resolved`, `retired` or `reviewed`.
    pub state: String,
    /// Whether somebody is woken.
    pub page: bool,
    /// When it was opened.
    pub opened_at: String,
    /// Until when it is quiet.
    pub quiet_until: Option<String>,
    /// Who acknowledged it.
    pub acknowledged_by: Option<String>,
    /// The earliest end among its open lines.
    pub until: Option<String>,
    /// When it was resolved or retired.
    pub ended_at: Option<String>,
    /// Open lines.
    pub open_lines: u64,
    /// Lines that closed on evidence.
    pub proven_lines: u64,
    /// Lines that were taken out of the inventory.
    pub retired_lines: u64,
    /// Every owner concerned.
    pub teams: Vec<String>,
    /// Every service concerned.
    pub services: Vec<String>,
    /// The earlier incident that it repeats.
    pub repeats: Option<i64>,
    /// The reviewed root cause.
    pub root_cause: Option<String>,
}

/// An incident with its lines and actions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncidentDetail {
    /// As in lists.
    #[serde(flatten)]
    pub incident: Incident,
    /// The first lines.
    pub lines: Vec<Line>,
    /// Corrective actions.
    pub actions: Vec<Action>,
    /// The review's text.
    pub review: String,
}

/// One target of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Line {
    /// Its number.
    pub id: i64,
    /// Its secret.
    pub secret: String,
    /// Its target; absent for a line of the secret itself.
    pub target: Option<String>,
    /// The rule.
    pub code: String,
    /// The sentence.
    pub detail: String,
    /// Since when.
    pub opened_at: String,
    /// When it closed.
    pub closed_at: Option<String>,
    /// `observed` or `retired`.
    pub how: Option<String>,
    /// The observations that it closed on; of what was retired by hand, who did it and why.
    pub evidence: Option<String>,
}

/// A corrective action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Action {
    /// Its number.
    pub id: i64,
    /// What.
    pub what: String,
    /// Which team.
    pub owner: String,
    /// By when.
    pub due_at: String,
    /// When it was done.
    pub done_at: Option<String>,
}

/// Something that a person does, with why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `POST /v1/incidents/{id}/review`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Review {
    /// From the fixed list.
    pub cause: String,
    /// Own words for it; required for `other`.
    #[serde(default)]
    pub own_cause: String,
    /// What happened.
    pub text: String,
    /// What will be done.
    #[serde(default)]
    pub actions: Vec<NewAction>,
}

/// A corrective action to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAction {
    /// What.
    pub what: String,
    /// Which team.
    pub owner: String,
    /// By when.
    pub due_at: String,
}

/// A notice that went to an owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Notice {
    /// Its number.
    pub id: i64,
    /// About which secret.
    pub secret: String,
    /// The rule.
    pub code: String,
    /// The rung of the ladder, from 0.
    pub rung: Option<i64>,
    /// To whom.
    pub team: String,
    /// When.
    pub at: String,
    /// When it becomes an outage.
    pub until: Option<String>,
    /// The sentence.
    pub detail: String,
}

/// `POST /v1/fleet`: the inventory, and how to put it in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// The inventory.
    pub fleet: crate::fleet::Fleet,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// Retire what the file no longer names.
    #[serde(default)]
    pub prune: bool,
    /// Only if the changes have this hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}

/// What applying did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// SHA-256 of the changes.
    pub plan: String,
    /// Whether anything was written.
    pub done: bool,
    /// In the order of kinds and names.
    pub changes: Vec<InventoryChange>,
}

/// One difference between what is declared and what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InventoryChange {
    /// `add`, `change`, `retire` or `left-over`.
    pub what: String,
    /// `team`, `target`, …
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What changed.
    pub fields: Vec<FieldChange>,
}

/// One field that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldChange {
    /// Its name.
    pub field: String,
    /// How it was.
    pub before: String,
    /// How it is.
    pub after: String,
}

/// `POST /v1/secrets/{name}/versions`. Bytes are base64.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// One per scope and key type.
    pub instances: Vec<ImportInstance>,
    /// Accept changes beyond key, serial and dates.
    #[serde(default)]
    pub accept_change: bool,
    /// PEM of private roots that the chain must lead to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Only check.
    #[serde(default)]
    pub dry_run: bool,
}

/// One certificate that comes in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportInstance {
    /// `all`, a region, or a node.
    #[serde(default = "all")]
    pub scope: String,
    /// PEM, DER or PKCS#12, base64.
    pub chain: String,
    /// The private key, where it is not in `chain`, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The password of a PKCS#12 file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

fn all() -> String {
    String::from("all")
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stored {
    /// The secret.
    pub secret: String,
    /// The number of the new version.
    pub version: i64,
    /// Whether anything was written.
    pub done: bool,
    /// The leaves.
    pub instances: Vec<StoredInstance>,
    /// Against the version before.
    pub differences: Vec<Difference>,
}

/// A stored leaf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredInstance {
    /// `all`, a region, or a node.
    pub scope: String,
    /// `rsa`, `ecdsa`, `ed25519`.
    pub key_type: String,
    /// SHA-256 of the leaf.
    pub fingerprint_sha256: String,
}

/// One thing that is not as in the version before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// What changed.
    pub field: String,
    /// How it was.
    pub before: String,
    /// How it is.
    pub after: String,
    /// Whether every renewal changes it.
    pub ordinary: bool,
}

/// One line of `POST /v1/bulk` (NDJSON): an import with its secret's name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkImport {
    /// The secret.
    pub name: String,
    /// PEM, leaf first.
    pub chain_pem: String,
    /// PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_pem: Option<String>,
}

/// What a bulk import did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Bulk {
    /// Stored.
    pub stored: u64,
    /// How many lines were refused, also those that are not named below.
    #[serde(default)]
    pub refused_count: u64,
    /// Refused lines: number from 1 and why; the first 1000.
    pub refused: Vec<(u64, String)>,
}

/// `POST /v1/secrets/{name}/opaque`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutOpaque {
    /// The bytes, base64.
    pub value: String,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `POST /v1/secrets/{name}/attest`: production uses this version, or this is the end of a tracked secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Attest {
    /// For opaque secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// For tracked secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Why somebody can say so.
    pub reason: String,
}

/// `POST /v1/unseal`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Unseal {
    /// The passphrase.
    pub passphrase: String,
    /// Make the store's first key.
    #[serde(default)]
    pub init: bool,
}

/// `POST /v1/kek/rotate`: what opens the store from then on. Exactly one of them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// A new passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<String>,
    /// The content of a new key file: 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
}

/// `GET /v1/vantage/work`: what this vantage is to look at. Also the shape that reports answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Work {
    /// Targets to look at.
    pub looks: Vec<Look>,
    /// Ask again after so many seconds.
    pub again_after_seconds: u64,
}

/// One target to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Look {
    /// The target's number.
    pub target: i64,
    /// The name that is resolved, or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The server name, empty for none.
    pub server_name: String,
    /// `tls`, `smtp`, …
    pub protocol: String,
    /// Addresses to dial besides.
    pub also: Vec<String>,
    /// The offers that are due.
    pub offers: Vec<String>,
    /// The offers that are due without a server name.
    #[serde(default)]
    pub unnamed: Vec<String>,
    /// Fresh handshakes per address and offer.
    pub handshakes: u32,
}

/// `POST /v1/observations`: what a vantage, an agent or a relying server saw at one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The target: its number (from [`Look`]) or its name.
    #[serde(default)]
    pub target: Option<i64>,
    /// The target's name.
    #[serde(default)]
    pub target_name: Option<String>,
    /// `dialled` (vantages), `agent-read`, `peer-seen` or `attested`.
    pub method: String,
    /// When (RFC 3339); nobody has seen the future.
    pub at: String,
    /// To what the name resolved.
    #[serde(default)]
    pub resolved: Vec<String>,
    /// Why it did not resolve.
    #[serde(default)]
    pub unresolved: Option<Failure>,
    /// What each attempt brought.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// When an attestation ends.
    #[serde(default)]
    pub expires_at: Option<String>,
}

/// One attempt of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// `ip:port`, or a path.
    pub address: String,
    /// `all`, `rsa`, `ecdsa` or `ed25519`.
    #[serde(default = "all")]
    pub offer: String,
    /// Whether no server name was sent, as [`Look`] asks in `unnamed`.
    #[serde(default)]
    pub unnamed: bool,
    /// What was presented: DER, base64, leaf first.
    #[serde(default)]
    pub chain: Vec<String>,
    /// TLS version.
    #[serde(default)]
    pub protocol: String,
    /// Cipher suite.
    #[serde(default)]
    pub cipher: String,
    /// Or why nothing was.
    #[serde(default)]
    pub failure: Option<Failure>,
}

/// Why nothing was presented.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// `dns`, `network`, `peer`, `tls`, `local` or `limits`.
    pub blame: String,
    /// Whether trying again may help.
    pub retry: bool,
    /// In words.
    pub detail: String,
}

/// A sweep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sweep {
    /// Its number.
    pub id: i64,
    /// When it began.
    pub started_at: String,
    /// When it ended.
    pub finished_at: Option<String>,
    /// Secrets looked at.
    pub secrets: i64,
    /// Instances looked at.
    pub instances: i64,
    /// Targets looked at.
    pub targets: i64,
    /// What the schedule had missed.
    pub missed: i64,
    /// The first of these.
    pub report: Vec<String>,
}

/// A stored certificate that ends soon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ending {
    /// Its secret.
    pub secret: String,
    /// Its version.
    pub version: i64,
    /// `all`, a region, or a node.
    pub scope: String,
    /// Its end.
    pub not_after: String,
    /// SHA-256 of the leaf.
    pub fingerprint_sha256: String,
}

/// How many stored certificates end in a week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WeekCount {
    /// The region (scope).
    pub region: String,
    /// `2027-W08` (ISO 8601).
    pub week: String,
    /// How many.
    pub count: i64,
}

/// What verifying the journal found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditReport {
    /// Whether nothing was changed, removed or reordered.
    pub intact: bool,
    /// Entries read.
    pub entries: u64,
    /// Epochs seen.
    pub epochs: u64,
    /// What is wrong, and where.
    pub faults: Vec<String>,
    /// `epoch:seq:hash` of the head: write it down elsewhere, and nobody can cut the end off unseen.
    pub head: String,
}

/// An entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Life of the store.
    pub epoch: i64,
    /// Number within it.
    pub seq: i64,
    /// When.
    pub at: String,
    /// Who: `issuer/subject`.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// The details.
    pub body: serde_json::Value,
}
