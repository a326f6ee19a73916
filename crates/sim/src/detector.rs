//! Which way of seeing an outage come a rule belongs to.

use domain::finding::Code;
use std::fmt;

/// The ways, as the public record numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Detector(u8);

/// What each way watches; numbers that are missing are not used.
const WATCHES: &[(u8, &str, &[Code])] = &[
    (1, "the end of the served leaf", &[Code::LeafExpiring, Code::Expired]),
    (2, "the first end in the served chain", &[Code::PathExpiring]),
    (3, "the path at later dates, for every kind of client", &[Code::PathBreaksLater, Code::IncompleteChain, Code::Untrusted]),
    (
        4,
        "what should be served against what is",
        &[Code::OlderVersion, Code::Partial, Code::NotOurs, Code::DeployedUnobserved, Code::CameBack],
    ),
    (
        5,
        "releases against the dates by which they must ship",
        &[Code::ReleaseLate, Code::ReleaseUndated, Code::CannotRideReleases, Code::CadenceTooSlow, Code::ForecastBreach],
    ),
    (6, "renewals that did not happen", &[Code::RenewalOverdue, Code::RenewalFailed]),
    (7, "what is there and nobody knows, or owns", &[Code::NoTarget, Code::NoOwner, Code::NeverObserved, Code::SharedKey]),
    (8, "the way on which people are told", &[Code::Undeliverable, Code::ContactsLocked, Code::ChannelSilent]),
    (
        10,
        "the content of what is to be deployed",
        &[Code::WrongName, Code::WrongKeyType, Code::CarriesOlder, Code::CarriesUnknown, Code::TakesBack],
    ),
    (11, "revocations and deadlines of CAs", &[Code::Revoked]),
    (12, "the end of lists, roots and other tracked things", &[Code::SecretExpiring]),
    (14, "clocks", &[Code::ClockNotBelieved, Code::NodeClock]),
    (15, "signs of life", &[Code::Unreachable, Code::NotObserved, Code::NodeSilent, Code::NoRoute]),
];

impl Detector {
    /// Of a word as in `D5`.
    ///
    /// # Errors
    /// It names none.
    pub fn parse(text: &str) -> Result<Detector, String> {
        let number = text.strip_prefix(['D', 'd']).and_then(|n| n.parse().ok());
        let known = number.filter(|n| WATCHES.iter().any(|(known, ..)| known == n));
        known.map(Detector).ok_or_else(|| {
            let all: Vec<String> = WATCHES.iter().map(|(n, ..)| format!("D{n}")).collect();
            format!("`{text}` is no detector; there are {}", all.join(", "))
        })
    }

    /// The one that a rule belongs to.
    pub fn of(code: &str) -> Option<Detector> {
        let code = Code::parse(code)?;
        WATCHES.iter().find(|(_, _, codes)| codes.contains(&code)).map(|(n, ..)| Detector(*n))
    }

    /// What it watches.
    pub fn watches(self) -> &'static str {
        WATCHES.iter().find(|(n, ..)| *n == self.0).map_or("", |(_, what, _)| what)
    }
}

impl fmt::Display for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "D{}", self.0)
    }
}
