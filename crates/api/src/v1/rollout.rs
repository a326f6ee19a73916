//! Versions on their way, and what must be replaced by a deadline.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A rollout as shown in lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rollout {
    /// Its number.
    pub id: i64,
    /// The secret.
    pub secret: String,
    /// The version that goes out.
    pub version: i64,
    /// What its targets served when it began; absent where that is unknown.
    pub from_version: Option<i64>,
    /// `ordinary`, `critical`, `drill` or `rollback`.
    pub kind: String,
    /// `waiting`, `running`, `done`, `rolled-back` or `superseded`.
    pub state: String,
    /// Whether somebody, or a rule, stopped it.
    pub halted: bool,
    /// Targets in all of its waves.
    pub targets: i64,
    /// Those whose nodes were told.
    pub begun: i64,
    /// Those that were observed serving the version.
    pub observed: i64,
    /// Those that were left behind as open lines.
    pub left_behind: i64,
    /// The wave that began last.
    pub wave: Option<String>,
    /// What it waits for, or what became of it, in words.
    pub says: String,
    /// Whether nothing but a person gets it further: it is halted or waits for somebody, left targets behind, or was taken back and nothing newer
    /// is on its way.
    pub needs_a_person: bool,
    /// When it was asked for.
    pub created_at: String,
    /// When it ended.
    pub ended_at: Option<String>,
}

/// A rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RolloutDetail {
    /// As in lists.
    #[serde(flatten)]
    pub rollout: Rollout,
    /// Why it was started.
    pub reason: String,
    /// By whom.
    pub actor: String,
    /// When it began.
    pub begun_at: Option<String>,
    /// Who stopped it.
    pub halted_by: Option<String>,
    /// Why.
    pub halted_reason: Option<String>,
    /// Since when.
    pub halted_at: Option<String>,
    /// The policy that it goes by.
    pub policy: String,
    /// SHA-256 of its current plan.
    pub plan: Option<String>,
    /// Its waves, in order.
    pub waves: Vec<RolloutWave>,
    /// What it waits for.
    pub waits: Vec<RolloutWaits>,
    /// How many more reasons there are.
    pub more_waits: i64,
    /// Names of targets that were left behind, some of them where there are many.
    pub left_behind_targets: Vec<String>,
    /// The revocation that asked for it.
    pub revocation: Option<i64>,
    /// The rollout that it takes back.
    pub takes_back: Option<i64>,
    /// The rollout that takes it back.
    pub taken_back_by: Option<i64>,
}

/// A wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RolloutWave {
    /// Which, in words.
    pub title: String,
    /// `canary`, `stamp`, `region`, `all` or `others`.
    pub what: String,
    /// The most of the service's targets that may be on their way at once, in per cent.
    pub share_percent: u32,
    /// For how long it is watched, in seconds.
    pub soak_seconds: i64,
    /// Its targets.
    pub targets: i64,
    /// Those whose nodes were told.
    pub begun: i64,
    /// Those that were observed serving the version.
    pub observed: i64,
    /// Those that were left behind.
    pub left_behind: i64,
}

/// One reason to wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RolloutWaits {
    /// Stable.
    pub code: String,
    /// The target that it is about.
    pub target: Option<String>,
    /// When time alone ends it, or makes something else of it.
    pub until: Option<String>,
    /// The sentence.
    pub text: String,
}

/// `POST /v1/secrets/{name}/rollouts`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRollout {
    /// Which version; the newest if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `POST /v1/rollouts/{id}/resume`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeRollout {
    /// Also past incidents that began at its targets, and past dead ones that may not be left behind.
    #[serde(default)]
    pub despite: bool,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `POST /v1/revocations`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRevocation {
    /// A text that the issuer of a certificate contains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Leaves, by the SHA-256 of the certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
    /// Secrets: every certificate of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// By when everything is to be replaced; this or `within_seconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// In how many seconds, by the server's clock, everything is to be replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_seconds: Option<i64>,
    /// Only say what it would be about.
    #[serde(default)]
    pub dry_run: bool,
    /// Why.
    pub reason: String,
}

/// A revocation as shown in lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Revocation {
    /// Its number; 0 where it was only tried.
    pub id: i64,
    /// What it was asked for.
    pub asked: Vec<String>,
    /// By when everything is to be replaced.
    pub deadline: String,
    /// Why.
    pub reason: String,
    /// Who said so.
    pub actor: String,
    /// When.
    pub created_at: String,
    /// When every target was observed without what is to be replaced, or when it was withdrawn.
    pub ended_at: Option<String>,
    /// Who withdrew it.
    pub withdrawn_by: Option<String>,
    /// Why.
    pub withdrawn_for: Option<String>,
}

/// A revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevocationDetail {
    /// As in lists.
    #[serde(flatten)]
    pub revocation: Revocation,
    /// How many certificates it is about.
    pub certificates: i64,
    /// Its incident, once a target was assessed.
    pub incident: Option<i64>,
    /// How many secrets it is about.
    pub secrets_total: i64,
    /// How many of them are replaced.
    pub secrets_replaced: i64,
    /// The first of its secrets, in the order of risk; the rest: `/v1/revocations/{id}/secrets`.
    pub secrets: Vec<RevokedSecret>,
}

/// What became of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevokedSecret {
    /// Its name.
    pub name: String,
    /// The rollout that brings its replacement.
    pub rollout: Option<i64>,
    /// What is waited for, or what became of it.
    pub detail: String,
    /// When every target of it was observed on its replacement.
    pub done_at: Option<String>,
    /// How many targets still serve what is to be replaced.
    pub still_serving: i64,
    /// Some of them.
    pub targets: Vec<String>,
}
