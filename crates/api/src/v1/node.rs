//! Nodes: machines with an agent.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::plan::PlanFinding;

/// A machine with an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub region: String,
    /// Where it is, more precisely.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<String>,
    /// Whether it is among the first to get something new.
    pub canary: bool,
    /// `declared` (it has not joined yet), `joined`, `silent`, `cloned` or `revoked`.
    pub state: String,
    /// The number of its manifest.
    pub generation: i64,
    /// The generation that its agent said it acts on.
    pub acted: i64,
    /// How many secrets it is to have.
    pub secrets: u64,
    /// Of how many of them its agent says that they are installed.
    pub installed: u64,
    /// Of how many of them its agent says that it could not.
    pub failed: u64,
    /// When its agent was last heard of, to some minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<String>,
    /// When it joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined_at: Option<String>,
    /// Its agent's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// By how many seconds its clock is ahead of the store's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_off_seconds: Option<i64>,
}

/// A node with what it is to have, and who speaks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeDetail {
    /// The node.
    pub node: Node,
    /// What it is to have, in the order of the secrets' names.
    pub installs: Vec<NodeInstall>,
    /// Certificates that its agent lives or lived on, the latest first.
    pub certificates: Vec<NodeCertificate>,
    /// How it shows that its identity exists twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloned: Option<String>,
    /// Until when somebody may join in its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invited_until: Option<String>,
    /// What the rules say about it.
    pub findings: Vec<PlanFinding>,
}

/// One secret on a node: what it is to have, and what its agent says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeInstall {
    /// The secret.
    pub secret: String,
    /// The version that the node is to have; 0 while nothing was decided.
    pub version: i64,
    /// The generation of the node's manifest that said so first.
    pub generation: i64,
    /// The rollout that decided it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<i64>,
    /// The version that lies in the files, as the agent says; 0 for none.
    pub has: i64,
    /// How far it is, in the agent's word; empty before its first.
    pub state: String,
    /// What went wrong, or what is waited for.
    pub detail: String,
    /// How often it was tried since it last succeeded.
    pub attempts: i64,
    /// The leaf that lies in the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf: Option<String>,
    /// When it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_at: Option<String>,
    /// When the manifest that says so went out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_at: Option<String>,
    /// When certificate or key went out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched_at: Option<String>,
    /// When the agent said that it is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed_at: Option<String>,
    /// Since when the agent says that it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<String>,
}

/// A certificate that an agent lives on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeCertificate {
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// SHA-256 of it.
    pub fingerprint: String,
    /// When it runs out.
    pub not_after: String,
    /// `good`, `expired`, `superseded` or `revoked`.
    pub state: String,
    /// When it was first presented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<String>,
}

/// `POST /v1/nodes/{name}/join-token`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// For how long it is good, such as `1h`; an hour where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "1h")]
    pub valid: Option<String>,
}

/// `POST /v1/nodes/{name}/rejoin`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rejoin {
    /// Why.
    pub reason: String,
    /// As in [`Invite`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "1h")]
    pub valid: Option<String>,
}

/// The right to join once. It is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Invited {
    /// The node.
    pub node: String,
    /// The one string that the agent takes; whoever has it can join in the node's name.
    pub join: String,
    /// When it ends.
    pub expires_at: String,
}

impl std::fmt::Debug for Invited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invited").field("node", &self.node).field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// How many agents go on living on certificates of an earlier life of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readmitted {
    /// Certificates that are good again.
    pub certificates: u64,
}

/// How the key that signs manifests stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManifestKey {
    /// SHA-256 of its public half, lower-case hexadecimal; absent before the first node joined.
    pub key: Option<String>,
    /// The one that takes its place once every agent has said that it knows it.
    pub next: Option<String>,
    /// Since when that is announced.
    pub announced_at: Option<String>,
    /// From when on a person may go on without those who have not answered.
    pub answer_until: Option<String>,
    /// The first nodes that have not answered.
    pub waits_for: Vec<String>,
    /// How many there are.
    pub waiting: u64,
}

/// `POST /v1/manifest-key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplaceManifestKey {
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Not to announce another key, but to go on with the announced one although some have not answered in their time.
    #[serde(default)]
    pub finish: bool,
}

/// A node's manifest as the store signed it, to be carried by hand; no key is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeManifest {
    /// Base64 of the signed bytes.
    pub payload: String,
    /// Their signature, base64.
    pub signature: String,
    /// The chains of what it names, where there are any.
    pub material: Vec<NodeMaterial>,
}

/// The chains of one secret for a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeMaterial {
    /// The secret.
    pub secret: String,
    /// Its version.
    pub version: i64,
    /// One for each key type: DER, base64, leaf first.
    pub chains: Vec<Vec<String>>,
}
