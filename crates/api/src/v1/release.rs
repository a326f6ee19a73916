//! Releases: builds with dates, and what they carry.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::plan::PlanFinding;

/// A build with dates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Release {
    /// Its number.
    pub id: i64,
    /// The service that it belongs to.
    pub service: String,
    /// Who answers for that.
    pub team: String,
    /// What its builders call it; unique for the service.
    pub build: String,
    /// The train that it rides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// `planned`, `built`, `deploying`, `deployed`, `delayed` or `cancelled`.
    pub status: String,
    /// When it was created.
    pub created_at: String,
    /// When it is planned to be built; absent where its train has no departure left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned_at: Option<String>,
    /// As it was planned first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_planned_at: Option<String>,
    /// When it was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built_at: Option<String>,
    /// Since when it is said to be deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployed_at: Option<String>,
    /// When production had been observed with all that it carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<String>,
    /// When nothing was waited for any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// By when it must be built; absent where nobody can say, or nothing hangs on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ship_by: Option<String>,
    /// Ship-by minus when it was built or is to be; negative: it is late already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack_seconds: Option<i64>,
    /// `late`; `undated`, where nobody can say by when it must be built; `in-time`; `carries-nothing`; or `over`.
    pub verdict: String,
    /// What that rests on, as a sentence.
    pub reason: String,
    /// Its way through the regions.
    #[serde(default)]
    pub stages: Vec<Stage>,
}

/// A release's way into one region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stage {
    /// The region.
    pub region: String,
    /// When it is planned there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned_at: Option<String>,
    /// As that of a release.
    pub status: String,
    /// Since when.
    pub changed_at: String,
}

/// A release with what it carries, and what the rules say of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseDetail {
    /// As in lists.
    #[serde(flatten)]
    pub release: Release,
    /// The stored versions that it carries.
    pub carries: Vec<CarriedVersion>,
    /// What the rules say of it.
    pub findings: Vec<PlanFinding>,
}

/// A stored version that a release carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CarriedVersion {
    /// Of which secret.
    pub secret: String,
    /// Which version.
    pub version: i64,
    /// The newest one that is stored.
    pub newest_version: i64,
    /// Since when production was seen with it, or with a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<String>,
}

/// Something in a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseItem {
    /// Its number.
    pub id: i64,
    /// `version`: the newest stored one when the build was looked at; `older`; `unknown`: a certificate that is not stored; `key`: a
    /// private key in the clear.
    pub what: String,
    /// Of which secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Which version of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// SHA-256 of the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint_sha256: Option<String>,
    /// Its subject.
    pub subject: String,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// Where in the build; empty where a person said so.
    pub path: String,
    /// Since when production was seen with it, or with what came after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<String>,
}

/// `POST /v1/releases`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRelease {
    /// The service that it belongs to.
    pub service: String,
    /// What its builders call it; unique for the service.
    pub build: String,
    /// When it is to be built.
    #[serde(flatten)]
    pub when: When,
    /// Secrets whose newest version it carries, where no scan says so.
    #[serde(default)]
    pub carries: Vec<String>,
    /// Its way through the regions.
    #[serde(default)]
    pub stages: Vec<PlannedStage>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// When a release is to be built: on a date, or with a train. Nothing at all is the next departure of the service's own train.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct When {
    /// Then, and with no train.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned_at: Option<String>,
    /// With this train.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// Before this release, which waits for the same train.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<i64>,
    /// Not before then: earlier departures leave without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
}

/// A region, and when a release is planned there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlannedStage {
    /// The region.
    pub region: String,
    /// When.
    #[serde(default)]
    pub planned_at: Option<String>,
}

/// `POST /v1/releases/{id}/plan`: another date, or another place in a train.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRelease {
    /// When it is to be built.
    #[serde(flatten)]
    pub when: When,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `POST /v1/releases/{id}/delay`: to a date, or by a length of time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DelayRelease {
    /// To this date.
    #[serde(default)]
    pub to: Option<String>,
    /// By so many seconds, counted from its planned date.
    #[serde(default)]
    pub by_seconds: Option<i64>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `POST /v1/releases/{id}/stage`: a date, a status, or both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StageRelease {
    /// In which region.
    pub region: String,
    /// When it is planned there.
    #[serde(default)]
    pub planned_at: Option<String>,
    /// As that of a release.
    #[serde(default)]
    pub status: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `POST /v1/releases/{id}/status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseIs {
    /// `built`, `deploying`, `deployed` or `cancelled`.
    pub status: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `POST /v1/releases/carry`: what a scan found in a build, as a whole. What was registered for the build before is replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CarryRelease {
    /// The service that it belongs to.
    pub service: String,
    /// What its builders call it. Its release is created where there is none yet.
    pub build: String,
    /// When it is to be built; of no account where the release exists.
    #[serde(flatten)]
    pub when: When,
    /// What was found; 10,000 things at most.
    pub found: Vec<FoundInBuild>,
}

/// A certificate or a private key in the clear, as facts: no type of this can hold a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FoundInBuild {
    /// Where: `!` stands between a container and what is in it.
    pub path: String,
    /// SHA-256 of the certificate's DER; absent for a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint_sha256: Option<String>,
    /// The certificate's subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When the certificate ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// True for a private key in the clear.
    #[serde(default, skip_serializing_if = "is_false")]
    pub private_key: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// What the store made of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Carried {
    /// Its release, with the stored versions that it carries.
    #[serde(flatten)]
    pub detail: ReleaseDetail,
    /// Whether the release was created by this.
    pub created: bool,
    /// Stored versions that were the newest ones.
    pub versions: i64,
    /// Stored versions that were not.
    pub older: i64,
    /// Certificates that are not stored.
    pub unknown: i64,
    /// Private keys in the clear.
    pub keys: i64,
}
