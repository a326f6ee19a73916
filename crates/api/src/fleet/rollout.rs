//! By which waves new versions go out.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::values::Period;

/// What rollouts are called that nobody starts but a person: a policy's name that stands for none.
pub const BY_HAND: &str = "by-hand";

/// A rollout policy: waves, each observed and watched before the next begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutPolicy {
    /// Unique among rollout policies. One that is called `standard` or `critical` takes the place of the built-in one.
    pub name: String,
    /// The waves, in order; the last one is `rest` or `all`.
    #[serde(default, rename = "wave", skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<Wave>,
    /// Regions in the order in which they are taken; those that are not named follow by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
    /// How much of a wave may be left behind as open lines, in per cent, rounded down; 2 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine_percent: Option<u32>,
    /// How long a target may stay unobserved before it counts as dead; 30m if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "30m")]
    pub patience: Option<Period>,
    /// Whether it is rolled back by rule; true if absent.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub roll_back: bool,
    /// The policy by which emergencies of the same secrets go; `critical` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<String>,
}

/// One wave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    /// Which targets it takes, of those that no wave before it took.
    pub of: WaveOf,
    /// The most of the service's targets that may be on their way at once, in per cent; 100 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_percent: Option<u32>,
    /// For how long it is watched after its last target was observed; not at all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "1h")]
    pub soak: Option<Period>,
}

/// Which targets a wave takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WaveOf {
    /// Those whose nodes are all canaries.
    Canary,
    /// One stamp of the first region.
    Stamp,
    /// What is left of the first region.
    Region,
    /// What is left, a region after the other.
    #[default]
    Rest,
    /// All that is left, at once.
    All,
}

impl WaveOf {
    /// The word for it.
    pub fn word(self) -> &'static str {
        WAVES.iter().find(|(_, of)| *of == self).map_or("", |(word, _)| word)
    }
}

pub(super) const WAVES: [(&str, WaveOf); 5] =
    [("canary", WaveOf::Canary), ("stamp", WaveOf::Stamp), ("region", WaveOf::Region), ("rest", WaveOf::Rest), ("all", WaveOf::All)];

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_true(flag: &bool) -> bool {
    *flag
}
