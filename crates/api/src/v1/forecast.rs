//! What breaks if all goes as planned, and what production hangs on besides its certificates.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/forecast`: breaks before `until`, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Forecast {
    /// Breaks before then.
    pub until: String,
    /// Production targets that were looked at.
    pub production: u64,
    /// Those that break before `until`, the broken ones too.
    pub breaking: u64,
    /// Those that are broken now.
    pub broken: u64,
    /// The first break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// Production targets that were never observed: nobody can say.
    pub unknown: u64,
    /// The names of the first of these.
    #[serde(default)]
    pub unknown_first: Vec<String>,
    /// Targets that are not production, of all secrets; left out. Absent where only some were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<u64>,
    /// One for each target, unless they were asked for together.
    #[serde(default)]
    pub targets: Vec<Break>,
    /// One for each certificate, date and rescue, where `grouped` was asked for.
    #[serde(default)]
    pub groups: Vec<BreakGroup>,
    /// Where the next page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A target that breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Break {
    /// Its name.
    pub target: String,
    /// Its secret.
    pub secret: String,
    /// Its service, or its secret's.
    pub service: String,
    /// Its region, empty for none.
    pub region: String,
    /// Its stamp, empty for none.
    pub stamp: String,
    /// When; now for what is broken.
    pub breaks_at: String,
    /// Whether it is broken now.
    pub broken: bool,
    /// SHA-256 of the certificate that ends then; absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Its place in the chain, 0 for the leaf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// The number of the last release that saves it before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rests_on: Option<i64>,
    /// What would have saved it; absent where nothing is planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescue: Option<Missed>,
}

/// A release that would have saved a target, and does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Missed {
    /// Its number.
    pub release: i64,
    /// `SERVICE/BUILD`.
    pub name: String,
    /// When it arrives, or was to.
    pub arrives_at: String,
    /// How much later than the break; absent where it was to have arrived and was not observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_seconds: Option<i64>,
}

/// Targets that break at one second because of one certificate, with the same rescue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BreakGroup {
    /// When; now for what is broken.
    pub breaks_at: String,
    /// Whether they are broken now.
    pub broken: bool,
    /// SHA-256 of the certificate that ends then; absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Its place in the chain, 0 for the leaf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// How many targets.
    pub targets: u64,
    /// Their share of the production that was looked at, in hundredths of a percent, rounded down.
    pub share_basis_points: u64,
    /// Their regions; an empty name stands for none.
    pub regions: Vec<String>,
    /// How many secrets they belong to.
    pub secrets: u64,
    /// The names of the first of these.
    pub first_secrets: Vec<String>,
    /// The names of the first targets.
    pub first_targets: Vec<String>,
    /// What would have saved them; absent where nothing is planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescue: Option<Missed>,
}

/// `GET /v1/spof`: what is single besides certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SinglePoints {
    /// Production targets.
    pub production: u64,
    /// That on which the most hangs first.
    pub items: Vec<SinglePoint>,
    /// How many more there are, on which less hangs.
    pub more: u64,
}

/// One thing on which all of production, or all of a service, hangs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SinglePoint {
    /// `issuer`, `root`, `organisation`, `validation`, `dns-provider`, `contact`, `vantage` or `region`.
    pub kind: String,
    /// Its name; `unknown` where `unknown` is set.
    pub what: String,
    /// Whether nobody knows it, so that it may be single.
    pub unknown: bool,
    /// How many production targets hang on it.
    pub targets: u64,
    /// Of how many.
    pub of: u64,
    /// The services of which everything hangs on it.
    pub services: Vec<String>,
    /// The sentence.
    pub detail: String,
    /// What to do about it.
    pub next_step: String,
}
