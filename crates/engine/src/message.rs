//! What is told to people and machines: one value for every channel. Formatting it is the channels' business.

use domain::Time;
use serde::{Deserialize, Serialize};

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The owner must know; nothing is on fire.
    Notice,
    /// An incident was opened, or opened again.
    IncidentOpened,
    /// Something about it changed: lines, urgency, nobody reacted.
    IncidentUpdated,
    /// Somebody looks after it.
    IncidentAcknowledged,
    /// Production was observed to be well.
    IncidentResolved,
    /// What was left was taken out of the inventory.
    IncidentRetired,
    /// A person asked whether this way works.
    Test,
}

/// How bad it is; waking people is a matter of its own ([`Message::page`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// To be looked after in working hours.
    Warning,
    /// Production is hurt, or will be before working hours.
    Critical,
}

/// Everything that a message about a certificate names. All texts are escaped and bounded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// What it is about.
    pub kind: Kind,
    /// Messages of one subject belong together and are told in order; stable over a renewal.
    pub subject: String,
    /// One line for people.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// Whether somebody is to be woken.
    pub page: bool,
    /// The team that it is told to.
    pub team: String,
    /// Every team that is told.
    pub teams: Vec<String>,
    /// Every service concerned.
    pub services: Vec<String>,
    /// Every region concerned.
    pub regions: Vec<String>,
    /// The rule, as its stable code.
    pub code: String,
    /// The incident's number.
    pub incident: Option<i64>,
    /// The incident that this one repeats.
    pub repeats: Option<i64>,
    /// The secret's name.
    pub secret: Option<String>,
    /// The first targets.
    pub targets: Vec<Place>,
    /// How many targets there are in all.
    pub target_count: u64,
    /// The certificate that is served, lower-case hex SHA-256.
    pub served: Option<String>,
    /// The version that should be served.
    pub should_be: Option<String>,
    /// Since when (RFC 3339).
    pub since: Option<String>,
    /// Until when production serves (RFC 3339).
    pub served_until: Option<String>,
    /// Seconds until then, as of `at`.
    pub remaining_seconds: Option<i64>,
    /// Which release would fix it and when; says so where none is known.
    pub release: String,
    /// What to do next.
    pub next_step: String,
    /// What was decided on (numbers of observations), for closings.
    pub evidence: Vec<String>,
    /// When it was decided (RFC 3339).
    pub at: String,
    /// The same, in Unix seconds.
    pub at_unix: i64,
    /// When the incident was opened, in Unix seconds; the same as `at_unix` for notices.
    pub started_unix: i64,
}

impl Message {
    /// A message of which no more than this is known, decided at `now`; callers fill in the rest.
    pub fn new(kind: Kind, subject: String, title: String, now: Time) -> Message {
        Message {
            kind,
            subject,
            title,
            severity: Severity::Warning,
            page: false,
            team: String::new(),
            teams: Vec::new(),
            services: Vec::new(),
            regions: Vec::new(),
            code: String::new(),
            incident: None,
            repeats: None,
            secret: None,
            targets: Vec::new(),
            target_count: 0,
            served: None,
            should_be: None,
            since: None,
            served_until: None,
            remaining_seconds: None,
            release: String::new(),
            next_step: String::new(),
            evidence: Vec::new(),
            at: now.to_string(),
            at_unix: now.unix(),
            started_unix: now.unix(),
        }
    }

    /// Whether an earlier message of the same line, which was not delivered yet, needs not be told any more.
    ///
    /// That an incident was opened, and that it is over, is always told: between them the latest word is enough. A notice gives way
    /// to a later one of the same rule about the same certificate.
    pub fn supersedes(&self, earlier: &Message) -> bool {
        match earlier.kind {
            Kind::IncidentUpdated | Kind::IncidentAcknowledged => self.incident == earlier.incident,
            Kind::Notice => {
                self.kind == Kind::Notice
                    && (&self.code, &self.served, &self.incident) == (&earlier.code, &earlier.served, &earlier.incident)
            }
            Kind::IncidentOpened | Kind::IncidentResolved | Kind::IncidentRetired | Kind::Test => false,
        }
    }
}

/// One target of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its name.
    pub target: String,
    /// Its address or addresses.
    pub address: String,
    /// Its region, empty for none.
    pub region: String,
    /// What the rules say about it.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_message_makes_needless() {
        let of = |kind, served: &str| Message {
            incident: (kind != Kind::Notice).then_some(7),
            served: Some(served.into()),
            ..Message::new(kind, "s".into(), "t".into(), Time::from_unix(0))
        };
        use Kind::{
            IncidentAcknowledged as Ack, IncidentOpened as Opened, IncidentResolved as Resolved, IncidentUpdated as Updated, Notice,
        };
        for (earlier, later, wanted) in [
            (of(Updated, "a"), of(Updated, "a"), true),
            (of(Updated, "a"), of(Resolved, "a"), true),
            (of(Ack, "a"), of(Updated, "a"), true),
            (of(Opened, "a"), of(Updated, "a"), false),
            (of(Opened, "a"), of(Resolved, "a"), false),
            (of(Resolved, "a"), of(Opened, "a"), false),
            (of(Notice, "a"), of(Notice, "a"), true),
            (of(Notice, "a"), of(Notice, "b"), false),
            (of(Notice, "a"), of(Opened, "a"), false),
        ] {
            assert_eq!(later.supersedes(&earlier), wanted, "{:?} then {:?}", earlier.kind, later.kind);
        }
    }
}
