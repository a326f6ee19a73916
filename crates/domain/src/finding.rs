//! What the rules say now. A finding has no life of its own: it is derived again at every assessment.

use crate::{
    Fingerprint, Span, Time,
    policy::{Level, Thresholds},
    words::{SecretId, TargetId, word},
};
use alloc::{
    format,
    string::{String, ToString},
};
use core::fmt;

word!(
    /// The rules, by the word that people and machines see; stable for ever.
    Code {
        /// The served leaf comes to its end.
        LeafExpiring = "leaf-expiring",
        /// Something above the served leaf comes to its end first.
        PathExpiring = "path-expiring",
        /// What is served has expired and is still in use.
        Expired = "expired",
        /// What is served belongs to an older version than the stored one.
        OlderVersion = "older-version",
        /// What is served is none of ours.
        NotOurs = "not-ours",
        /// Some addresses serve the new version and some do not.
        Partial = "partial",
        /// What is served does not cover the server name.
        WrongName = "wrong-name",
        /// A key type that must be served is not.
        WrongKeyType = "wrong-key-type",
        /// What is served leads to no root that must be trusted, or does not verify.
        Untrusted = "untrusted",
        /// An intermediate is missing from what is presented.
        IncompleteChain = "incomplete-chain",
        /// The path is good today and is not at a later date.
        PathBreaksLater = "path-breaks-later",
        /// The latest attempts failed.
        Unreachable = "unreachable",
        /// It was not observed for longer than allowed.
        NotObserved = "not-observed",
        /// It was never observed.
        NeverObserved = "never-observed",
        /// It was retired and still answers with the old certificate.
        CameBack = "came-back",
        /// A vantage has no route to an address, and no other vantage covers it.
        NoRoute = "no-route",
        /// Nothing says where the secret is used.
        NoTarget = "no-target",
        /// Nobody owns it.
        NoOwner = "no-owner",
        /// The same private key lies in another secret too.
        SharedKey = "shared-key",
        /// An automatic renewal did not show up in production.
        RenewalOverdue = "renewal-overdue",
        /// A renewal was tried and did not work out.
        RenewalFailed = "renewal-failed",
        /// An opaque or tracked secret comes to its end.
        SecretExpiring = "secret-expiring",
        /// The clock is not believed.
        ClockNotBelieved = "clock-not-believed",
        /// A corrective action is overdue.
        ActionOverdue = "action-overdue",
        /// The weekly sweep did not happen.
        SweepMissed = "sweep-missed",
        /// A message could not be delivered.
        Undeliverable = "undeliverable",
        /// Contacts need a key that cannot be used now.
        ContactsLocked = "contacts-locked",
        /// A release is planned later than what production serves allows.
        ReleaseLate = "release-late",
        /// Nobody can say by when a release must ship: what it would replace was never observed.
        ReleaseUndated = "release-undated",
        /// A release is said to be deployed, and production was not seen serving what it carries.
        DeployedUnobserved = "deployed-unobserved",
        /// A build carries a private key in the clear.
        KeyInBuild = "key-in-build",
        /// A build carries a certificate that has a newer version.
        CarriesOlder = "carries-older",
        /// A build carries a certificate that the store does not know.
        CarriesUnknown = "carries-unknown",
        /// A certificate is renewed too late for the time that releases take.
        CannotRideReleases = "cannot-ride-releases",
        /// Releases of a service leave further apart than its certificates allow.
        CadenceTooSlow = "cadence-too-slow",
        /// As things are planned now, production breaks earlier than it was planned before.
        ForecastBreach = "forecast-breach",
        /// One certificate is served in several regions, and a rule forbids it.
        SharedAcrossRegions = "shared-across-regions",
        /// One certificate is served by more targets than a rule allows.
        TooManyTargets = "too-many-targets",
        /// A certificate ends inside a freeze, and a rule forbids it.
        ExpiryInFreeze = "expiry-in-freeze",
        /// A certificate ends on a day on which nobody works, and a rule forbids it.
        ExpiryOnClosedDay = "expiry-on-closed-day",
        /// Two certificates of one service end closer together than a rule allows.
        ExpiriesTooClose = "expiries-too-close",
        /// One window of time takes down more of a service than a rule allows.
        WindowTooWide = "window-too-wide",
        /// A release carries an older version than a rollout has brought to production.
        TakesBack = "takes-back",
        /// A rollout cannot go on by itself: more targets are dead than may be left behind, or a rule halted it.
        RolloutStuck = "rollout-stuck",
        /// A rollout was taken back.
        RolledBack = "rolled-back",
        /// A target was left behind by a rollout and was not observed serving its version since.
        LeftBehind = "left-behind",
        /// What is served must be replaced before its deadline, or was to be: it is revoked, or will be.
        Revoked = "revoked",
        /// An agent says that it could not install what its node is to have.
        InstallFailed = "install-failed",
        /// Nothing was heard of an agent for too long.
        NodeSilent = "node-silent",
        /// One identity of a node was seen in two places.
        NodeCloned = "node-cloned",
        /// A node's clock differs from the store's.
        NodeClock = "node-clock",
        /// A drill has not passed for longer than it should.
        DrillOverdue = "drill-overdue",
        /// The latest drill failed.
        DrillFailed = "drill-failed",
        /// A channel did not take the page of an alert drill.
        ChannelSilent = "channel-silent",
    }
);

/// What an incident would be about. Findings with the same subject are lines of the same incident.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The certificate that ends, wherever it is served: a thousand targets are one incident.
    Certificate(Fingerprint),
    /// What is served, and what is wrong with it other than its end.
    Served(Fingerprint, Code),
    /// Everything of a secret that is silent, or that concerns the secret itself.
    Secret(SecretId, Code),
    /// A target without a secret.
    Target(TargetId, Code),
    /// Everything that must be replaced by one deadline, whichever certificates those are.
    Revocation(i64),
    /// The first findings of an adoption.
    Baseline(String),
    /// The store itself.
    Store(Code),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Certificate(fp) => write!(f, "certificate/{fp}"),
            Subject::Served(fp, code) => write!(f, "served/{fp}/{code}"),
            Subject::Secret(id, code) => write!(f, "secret/{id}/{code}"),
            Subject::Target(id, code) => write!(f, "target/{id}/{code}"),
            Subject::Revocation(id) => write!(f, "revocation/{id}"),
            Subject::Baseline(name) => write!(f, "baseline/{name}"),
            Subject::Store(code) => write!(f, "store/{code}"),
        }
    }
}

/// One thing that the rules say about a target or a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which rule.
    pub code: Code,
    /// What it asks for.
    pub level: Level,
    /// What an incident of it would be about.
    pub subject: Subject,
    /// Whether somebody's service is already broken by it.
    pub broken: bool,
    /// The certificate that it is about.
    pub about: Option<Fingerprint>,
    /// Since when, where that is known.
    pub since: Option<Time>,
    /// When it becomes an outage, where that is known.
    pub until: Option<Time>,
    /// The end that it is about, where it is about one: what the ladder of notices follows.
    pub end: Option<End>,
    /// The sentence that people read; names and texts in it are escaped.
    pub detail: String,
}

impl Finding {
    /// A finding of which no more than this is known.
    pub fn new(code: Code, level: Level, subject: Subject, detail: String) -> Finding {
        Finding { code, level, subject, broken: false, about: None, since: None, until: None, end: None, detail }
    }

    /// What tells two findings of one target apart over time.
    pub fn key(&self) -> String {
        match self.about {
            // The end of a certificate is one thing before and after it has come: time alone proves nothing.
            Some(fp) if matches!(self.code, Code::LeafExpiring | Code::PathExpiring | Code::Expired) => format!("end/{fp}"),
            Some(fp) => format!("{}/{fp}", self.code),
            None => self.code.to_string(),
        }
    }
}

/// The end of one certificate of a path, and when people must hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Which certificate.
    pub about: Fingerprint,
    /// 0 is the leaf.
    pub position: usize,
    /// The first second at which it is of no use (design §5: exclusive).
    pub until: Time,
    /// Its thresholds.
    pub thresholds: Thresholds,
    /// `notAfter − notBefore + 1 s` of that certificate.
    pub lifetime: Span,
}

impl End {
    /// Time left.
    pub fn remaining(&self, now: Time) -> Span {
        crate::policy::remaining(self.until, now)
    }

    /// Time left until the incident: what lists are sorted by.
    pub fn margin(&self, now: Time) -> Span {
        self.remaining(now) - self.thresholds.incident
    }
}
