//! Rehearsals: what is declared, what is on its way, and what it took.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::PlanFinding;

/// A drill of the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drill {
    /// Its name.
    pub name: String,
    /// The secret that it uses.
    pub secret: String,
    /// `rotation`, `alert`, `node-down`, `stale-reload` or `region-cut`.
    pub kind: String,
    /// How often it has to pass, in seconds.
    pub every_seconds: i64,
    /// Within which time it has to be over, in seconds.
    pub within_seconds: i64,
    /// Who hears when it fails or is overdue.
    pub team: String,
    /// The node that fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The region that is cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Since when it is in the inventory.
    pub declared_at: String,
    /// When it starts next by itself; absent while one is on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<String>,
    /// From when on it is overdue, or was.
    pub overdue_at: String,
    /// When it last passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_at: Option<String>,
    /// `overdue`, `failed`, `never-passed` or `passed`; `running` while one is on its way.
    pub standing: String,
    /// The latest run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<DrillRun>,
    /// What the rules say of it.
    pub findings: Vec<PlanFinding>,
}

/// One rehearsal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrillRun {
    /// Its number.
    pub id: i64,
    /// The drill that it belongs to, or `secret/NAME` for one that nobody declared.
    pub name: String,
    /// The secret that it uses.
    pub secret: String,
    /// What was rehearsed.
    pub kind: String,
    /// The node that fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The region that is cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Within which time it has to be over, in seconds.
    pub within_seconds: i64,
    /// Who asked for it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// `asked`, `issuing`, `rolling`, `recovering`, `passed`, `failed` or `aborted`.
    pub phase: String,
    /// What is waited for, by a word; absent once it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaits: Option<String>,
    /// The sentence of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When it was noticed that a certificate is to be replaced.
    pub started_at: String,
    /// The version that went out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// When that version existed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<String>,
    /// The newest of its rollouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<i64>,
    /// The incident of an alert drill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<i64>,
    /// Since when something was made to go wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault_at: Option<String>,
    /// When what had to come of it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noticed_at: Option<String>,
    /// When it was lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifted_at: Option<String>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// Why it failed.
    pub reasons: Vec<DrillReason>,
    /// Targets that were observed on the new version.
    pub observed: i64,
    /// Targets that were left behind as dead.
    pub left_behind: i64,
    /// Targets that were not observed.
    pub left: i64,
    /// From noticed to observed: half of the targets took no longer, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_seconds: Option<i64>,
    /// 95 of 100 took no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_seconds: Option<i64>,
    /// None took longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<i64>,
}

/// Why a drill failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrillReason {
    /// A word for machines.
    pub why: String,
    /// What it is about, such as a team and its channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The sentence.
    pub detail: String,
}

/// One rehearsal with its steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrillRunDetail {
    /// The rehearsal.
    pub run: DrillRun,
    /// What each step took, all targets together first, then wave by wave.
    pub steps: Vec<DrillStep>,
    /// The services that it reached, with the critical path that is believed there.
    pub paths: Vec<CriticalPath>,
}

/// What one step took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrillStep {
    /// Which wave, counted from 1; absent for all together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<u32>,
    /// `issued`, `distributed`, `installed`, `observed` or `whole`.
    pub step: String,
    /// Over how many targets.
    pub targets: u64,
    /// Half of them took no longer, in seconds.
    pub p50_seconds: i64,
    /// 95 of 100 took no longer.
    pub p95_seconds: i64,
    /// None took longer.
    pub max_seconds: i64,
}

/// The way of an emergency to a service, as drills have proven it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CriticalPath {
    /// The service.
    pub service: String,
    /// Its p95, in seconds; absent where nothing is proven, which counts as 12 h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_seconds: Option<i64>,
    /// Until when that is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// `POST /v1/drills/run`: a drill of the inventory by its `name`, or one with a `secret`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunDrill {
    /// The drill of the inventory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The secret, where no drill of the inventory is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// What is rehearsed with it; a rotation if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The node that fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The region that is cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Within which time it has to be over, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_seconds: Option<i64>,
    /// Why.
    pub reason: String,
}
