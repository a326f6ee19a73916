//! Nodes: machines with an agent, and what each is to have.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A machine with an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Unique among nodes, and among regions: certificates are made for a node or for a region.
    pub name: String,
    /// Where it is.
    pub region: String,
    /// Where it is, more precisely.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<String>,
    /// Whether it is among the first to get something new.
    #[serde(default)]
    pub canary: bool,
    /// What it is to have; its agent can ask for nothing else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}
