//! What the rules say about plans.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the rules say about what is neither a secret nor a target: releases, services, certificates that many share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanFinding {
    /// `release/12`, `service/storage`, …
    pub subject: String,
    /// The rule, a stable code.
    pub code: String,
    /// `info`, `notice` or `incident`.
    pub level: String,
    /// Whose it is.
    pub teams: Vec<String>,
    /// Since when it stands.
    pub since: String,
    /// When it becomes an outage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// When it was told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_at: Option<String>,
    /// The sentence.
    pub detail: String,
    /// What to do next.
    pub next_step: String,
}
