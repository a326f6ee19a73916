//! Drills: what is rehearsed, with what, and how often.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::values::Period;

/// A rehearsal that comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Drill {
    /// Unique among drills.
    pub name: String,
    /// The secret that it uses: a canary at first, any by choice.
    pub secret: String,
    /// What is rehearsed.
    #[serde(default)]
    pub kind: DrillKind,
    /// How often it has to pass; 30 d if absent.
    #[serde(default = "every")]
    #[schema(value_type = String, example = "30d")]
    pub every: Period,
    /// Within which time the whole fleet has to be observed, or every channel to take the page; 60 min if absent.
    #[serde(default = "within")]
    #[schema(value_type = String, example = "60m")]
    pub within: Period,
    /// Who hears when it fails or is overdue; else who owns the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// The node that fails; for `node-down` and `stale-reload`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The region that is cut off; for `region-cut`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

impl Default for Drill {
    fn default() -> Drill {
        Drill {
            name: String::new(),
            secret: String::new(),
            kind: DrillKind::default(),
            every: every(),
            within: within(),
            team: None,
            node: None,
            region: None,
        }
    }
}

fn every() -> Period {
    Period::days(30)
}

fn within() -> Period {
    Period::seconds(3600)
}

/// What is rehearsed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DrillKind {
    /// A certificate is replaced everywhere by the way of an emergency.
    #[default]
    Rotation,
    /// A certificate that nobody depends on runs out, and every channel must confirm the page.
    Alert,
    /// A node is down while a version goes out.
    NodeDown,
    /// A node changes its files and goes on serving the old certificate.
    StaleReload,
    /// A region is cut off while a version goes out.
    RegionCut,
}
