//! What is planned by: calendars with their freezes, trains, and partition rules.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::values::{Civil, Period};

/// When nothing ships, in the time of one zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Calendar {
    /// Unique among calendars.
    pub name: String,
    /// An IANA name, such as `Europe/Dublin`.
    #[schema(example = "Europe/Dublin")]
    pub zone: String,
    /// When nothing ships; what overlaps or touches is one freeze.
    #[serde(default, rename = "freeze", skip_serializing_if = "Vec::is_empty")]
    pub freezes: Vec<Freeze>,
}

/// A time in which nothing ships: once (`from`, `until`), every week (`weekly`), or by a rule (`start`, `lasts`, `rule`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// What people read.
    pub why: String,
    /// The first day or minute of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "2026-12-15")]
    pub from: Option<Civil>,
    /// The first day or minute after it; a freeze without one never ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "2027-01-04T08:00")]
    pub until: Option<Civil>,
    /// A window of each week; it may wrap over the week's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "fri 16:00 - mon 08:00")]
    pub weekly: Option<String>,
    /// From when on it recurs, and at which time of day it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "2026-01-31T00:00")]
    pub start: Option<Civil>,
    /// How long each is, at most 366 d; whole days are days on the wall.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "2d")]
    pub lasts: Option<Period>,
    /// A recurrence rule of whole days (RFC 5545 §3.3.10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "FREQ=MONTHLY;BYMONTHDAY=-1")]
    pub rule: Option<String>,
}

/// When releases leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Unique among trains.
    pub name: String,
    /// The calendar in whose zone it runs, and in whose freezes it does not; UTC and no freeze if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<String>,
    /// From when on it runs, and at which time of day.
    #[schema(value_type = String, example = "2026-01-06T10:00")]
    pub start: Civil,
    /// A recurrence rule of whole days (RFC 5545 §3.3.10).
    #[schema(example = "FREQ=WEEKLY;INTERVAL=4")]
    pub rule: String,
    /// Releases per departure, at least 1.
    #[serde(default = "one")]
    pub capacity: u32,
}

impl Default for Train {
    fn default() -> Train {
        Train { name: String::new(), calendar: None, start: Civil::default(), rule: String::new(), capacity: one() }
    }
}

fn one() -> u32 {
    1
}

/// How the certificates of a service may be shared, and when they may end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// Unique among partitions.
    pub name: String,
    /// No certificate is served in two regions.
    #[serde(default, skip_serializing_if = "is_false")]
    pub one_region_per_certificate: bool,
    /// Most production targets that serve one certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_targets_per_certificate: Option<u32>,
    /// Nothing ends inside a freeze of the service's calendar.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_expiry_in_freeze: bool,
    /// Nothing ends on these days of the calendar's zone: `mon` … `sun`, or `2026-12-24`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_expiry_on: Vec<String>,
    /// Days between the ends of two certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_days_between: Option<u32>,
    /// Most of the service, in per cent, that one window may take down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_share_percent: Option<u32>,
    /// How wide that window is; 24 h if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "24h")]
    pub window: Option<Period>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}
