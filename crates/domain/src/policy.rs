//! The policy arithmetic: pure functions of lifetimes, in whole seconds.
//!
//! `L = notAfter − notBefore + 1 s` (RFC 5280 §4.1.2.5 includes both ends); `remaining = served-until − now`.

use crate::{Span, Time, words::word};

word!(
    /// What a certificate is to those who rely on it; it decides how early we must know.
    Class {
        /// An end-entity certificate of a running service.
        Leaf = "leaf",
        /// A CA of our own: replacing it means touching every relying party.
        PrivateCa = "private-ca",
        /// A root that clients hold.
        TrustAnchor = "trust-anchor",
        /// A certificate inside a shipped product.
        Embedded = "embedded",
        /// A public CA's intermediate follows the leaf: the next renewal replaces it.
        PublicIntermediate = "public-intermediate",
    }
);

/// When people hear of it: remaining time below which there is a notice, and below which there is an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// A notice below this.
    pub notice: Span,
    /// An incident below this.
    pub incident: Span,
}

impl Thresholds {
    /// The thresholds of a class for a certificate that lives `lifetime`.
    pub fn of(class: Class, lifetime: Span) -> Thresholds {
        let (notice, incident) = match class {
            Class::Leaf | Class::PublicIntermediate => (Span::days(180), Span::days(90)),
            Class::PrivateCa | Class::TrustAnchor | Class::Embedded => (Span::days(730), Span::days(365)),
        };
        Thresholds { notice: notice.min(part(lifetime, 2)), incident: incident.min(part(lifetime, 4)) }
    }

    /// The thresholds of a leaf: below `min(180 d, L/2)` and `min(90 d, L/4)`.
    pub fn for_leaf(lifetime: Span) -> Thresholds {
        Thresholds::of(Class::Leaf, lifetime)
    }

    /// How many rungs the ladder of notices has, from the notice threshold down to just above the incident.
    pub const RUNGS: u8 = 4;

    /// The remaining time below which rung `n` (0-based) is reached.
    pub fn rung_remaining(&self, n: u8) -> Span {
        let width = self.notice.as_secs().saturating_sub(self.incident.as_secs()).max(0);
        Span::seconds(self.notice.as_secs() - width / i64::from(Self::RUNGS) * i64::from(n))
    }

    /// The deepest rung reached with this much time remaining; `None` while there is no need to tell anybody.
    ///
    /// A threshold belongs to the quiet side: with exactly `notice` remaining nobody is told.
    pub fn rung(&self, remaining: Span) -> Option<u8> {
        (0..Self::RUNGS).rev().find(|n| remaining < self.rung_remaining(*n))
    }

    /// Where a remaining time stands.
    pub fn level(&self, remaining: Span) -> Level {
        if remaining < self.incident {
            Level::Incident
        } else if remaining < self.notice {
            Level::Notice
        } else {
            Level::Info
        }
    }
}

word!(
    /// What a finding asks for.
    Level {
        /// Worth knowing; nobody is told.
        Info = "info",
        /// The owner is told.
        Notice = "notice",
        /// Tracked as service-impacting until production proves otherwise.
        Incident = "incident",
    }
);

/// What a team may change, per policy or per secret; absent means computed from the lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What the certificate is to those who rely on it.
    pub class: Class,
    /// Own notice threshold.
    pub notice: Option<Span>,
    /// Own incident threshold.
    pub incident: Option<Span>,
    /// Own interval between observations.
    pub interval: Option<Span>,
    /// Own limit for going unobserved.
    pub unobserved_after: Option<Span>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { class: Class::Leaf, notice: None, incident: None, interval: None, unobserved_after: None }
    }
}

impl Policy {
    /// The thresholds that apply to the leaf.
    pub fn thresholds(&self, lifetime: Span) -> Thresholds {
        let computed = Thresholds::of(self.class, lifetime);
        Thresholds { notice: self.notice.unwrap_or(computed.notice), incident: self.incident.unwrap_or(computed.incident) }
    }

    /// How often a target is looked at: `min(1 h, L/20)`, not below 10 s.
    pub fn interval(&self, lifetime: Span) -> Span {
        self.interval.unwrap_or_else(|| Span::hours(1).min(part(lifetime, 20))).max(SHORTEST_INTERVAL)
    }

    /// For how long a target may go without a successful observation before that is an incident of its own: half of the incident
    /// threshold, so that silence is heard while there is still time to act, and never more than the weekly sweep.
    pub fn unobserved_after(&self, lifetime: Span) -> Span {
        let computed = part(self.thresholds(lifetime).incident, 2).min(Span::days(7));
        self.unobserved_after.unwrap_or(computed).max(Span::seconds(self.interval(lifetime).as_secs().saturating_mul(3)))
    }
}

/// The lower bound of the observation interval.
pub const SHORTEST_INTERVAL: Span = Span::seconds(10);

/// Remaining time at which an automatic renewal is due without renewal information from the CA: `L/3` (`L/2` if `L < 10 d`), kept
/// between `I + min(L/15, 24 d)` and 180 d.
pub fn renewal_due(lifetime: Span) -> Span {
    let share = if lifetime < Span::days(10) { 2 } else { 3 };
    let least = Thresholds::for_leaf(lifetime).incident + part(lifetime, 15).min(Span::days(24));
    part(lifetime, share).max(least).min(Span::days(180))
}

/// Remaining time at which an automatic renewal that nobody observed becomes a notice: `min(L/20, 18 d)` after it was due.
pub fn renewal_overdue(lifetime: Span) -> Span {
    renewal_due(lifetime) - part(lifetime, 20).min(Span::days(18))
}

/// For how long an acknowledgement quiets: `clamp(runway/4, 30 min, 7 d)`.
pub fn acknowledged_for(runway: Span) -> Span {
    part(runway, 4).max(Span::minutes(30)).min(Span::days(7))
}

/// How long an incident waits for an acknowledgement before the escalation contact hears of it: `clamp(runway/8, 15 min, 1 d)`.
pub fn escalates_after(runway: Span) -> Span {
    part(runway, 8).max(Span::minutes(15)).min(Span::days(1))
}

/// What the critical path counts as until a drill has proven it.
pub const UNPROVEN_PATH: Span = Span::hours(12);

/// The least time that whoever is woken has left.
pub const LEAST_NOTICE: Span = Span::hours(1);

/// The remaining time below which somebody is woken.
///
/// `critical_path` is the p95 of the fastest path that a drill has proven; until one was measured it counts as 12 h, so that twice
/// of it is a day. However fast the path is, whoever is woken still has to come, look and decide: it is never less than [`LEAST_NOTICE`].
pub fn wakes_below(critical_path: Option<Span>) -> Span {
    Span::seconds(critical_path.unwrap_or(UNPROVEN_PATH).as_secs().saturating_mul(2)).max(LEAST_NOTICE)
}

/// Whether somebody is woken: what is served is already broken, or the time to act is short.
pub fn wakes(broken: bool, remaining: Span, critical_path: Option<Span>) -> bool {
    broken || remaining < wakes_below(critical_path)
}

/// How many fresh handshakes without the old certificate close something at an address.
///
/// With 30 of them, a tenth of stale machines behind a shared address is found with 1 − 0.9³⁰ = 96 %.
pub const fn evidence_needed(backends: crate::words::Backends) -> u32 {
    match backends {
        crate::words::Backends::Shared => 30,
        crate::words::Backends::Direct => 1,
    }
}

/// Time left, where 9999-12-31T23:59:59Z means that there is no end (RFC 5280 §4.1.2.5).
pub fn remaining(until: Time, now: Time) -> Span {
    if until >= Time::NO_EXPIRY { Span::seconds(i64::MAX / 4) } else { until - now }
}

fn part(span: Span, n: i64) -> Span {
    Span::seconds(span.as_secs() / n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn the_table_of_the_design() {
        // (lifetime, notice, incident, renewal due, notice if not observed)
        for (life, n, i, due, overdue) in [
            ("365d", "180 d", "90 d", "121 d 16 h", "103 d 16 h"),
            ("200d", "100 d", "50 d", "66 d 16 h", "56 d 16 h"),
            ("100d", "50 d", "25 d", "33 d 8 h", "28 d 8 h"),
            ("90d", "45 d", "22 d 12 h", "30 d", "25 d 12 h"),
            ("47d", "23 d 12 h", "11 d 18 h", "15 d 16 h", "13 d 7 h 36 min"),
            ("160h", "80 h", "40 h", "80 h", "72 h"),
            ("24h", "12 h", "6 h", "12 h", "10 h 48 min"),
        ] {
            let life = Span::parse(life).expect("a span");
            let t = Thresholds::for_leaf(life);
            let want = |s: &str| Span::parse(&s.replace(" ", "").replace("min", "m")).expect("a span");
            assert_eq!(t.notice, want(n), "{life} notice");
            assert_eq!(t.incident, want(i), "{life} incident");
            assert_eq!(renewal_due(life), want(due), "{life} due");
            assert_eq!(renewal_overdue(life), want(overdue), "{life} overdue");
        }
    }

    #[test]
    fn a_threshold_has_one_meaning_at_minus_one_zero_and_plus_one_second() {
        for lifetime in ["365d", "200d", "100d", "90d", "47d", "160h", "24h"] {
            let lifetime = Span::parse(lifetime).expect("a span");
            let t = Thresholds::for_leaf(lifetime);
            let s = |n: i64| Span::seconds(n);
            for (remaining, level) in [
                (t.notice + s(1), Level::Info),
                (t.notice, Level::Info),
                (t.notice - s(1), Level::Notice),
                (t.incident + s(1), Level::Notice),
                (t.incident, Level::Notice),
                (t.incident - s(1), Level::Incident),
                (s(-1), Level::Incident),
            ] {
                assert_eq!(t.level(remaining), level, "{lifetime}: {remaining}");
            }
            // A renewal is due, and overdue, while there is still more than an incident's time.
            assert!(t.incident < renewal_overdue(lifetime) && renewal_overdue(lifetime) < renewal_due(lifetime), "{lifetime}");
        }
    }

    #[test]
    fn the_ladder_goes_down_and_ends_at_the_incident() {
        let t = Thresholds::for_leaf(Span::days(365));
        assert_eq!(t.rung(Span::days(180)), None);
        assert_eq!(t.rung(Span::days(180) - Span::seconds(1)), Some(0));
        assert_eq!(t.rung(Span::days(100)), Some(3));
        assert_eq!(t.rung(Span::days(10)), Some(3));
        let remaining: alloc::vec::Vec<_> = (0..4).map(|n| format!("{}", t.rung_remaining(n))).collect();
        assert_eq!(remaining.join(", "), "180 d, 157 d 12 h, 135 d, 112 d 12 h");
    }

    #[test]
    fn intervals_and_quiet_times() {
        let p = Policy::default();
        assert_eq!(p.interval(Span::days(365)), Span::hours(1));
        assert_eq!(p.interval(Span::hours(2)), Span::minutes(6));
        assert_eq!(p.interval(Span::seconds(60)), Span::seconds(10));
        assert_eq!(acknowledged_for(Span::days(90)), Span::days(7));
        assert_eq!(acknowledged_for(Span::hours(8)), Span::hours(2));
        assert_eq!(acknowledged_for(Span::seconds(-5)), Span::minutes(30));
        assert!(wakes(false, Span::hours(24) - Span::seconds(1), None));
        assert!(!wakes(false, Span::hours(24), None));
        assert!(wakes(true, Span::days(300), None));
        assert!(!wakes(false, Span::hours(24), Some(Span::hours(1))));
        // A canary that was there in half a minute leaves nobody with a minute.
        assert!(wakes(false, LEAST_NOTICE - Span::seconds(1), Some(Span::seconds(30))));
    }

    #[test]
    fn there_is_no_end_in_9999() {
        let now = Time::from_unix(0);
        assert_eq!(Thresholds::for_leaf(Span::days(365)).level(remaining(Time::NO_EXPIRY, now)), Level::Info);
    }
}
