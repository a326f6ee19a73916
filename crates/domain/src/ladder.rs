//! The ladder of notices: each certificate that ends has rungs of its own, from the notice threshold down to the incident.
//!
//! An RSA leaf beside an ECDSA leaf, the certificate of one region beside another's, an intermediate above them: each is a subject,
//! and a rung acts once per (subject, rung, served-until).

use crate::{
    Fingerprint, Span, Time,
    finding::End,
    policy::{self, Thresholds},
};
use alloc::{
    format,
    string::{String, ToString},
};

/// The end of one certificate, and how many targets of a secret wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The end.
    pub end: End,
    /// Targets that serve the certificate.
    pub targets: u64,
    /// Whether one of them is no standby: then an incident is opened below the threshold.
    pub active: bool,
}

/// A rung that only standby targets reach: below the incident threshold, where nothing of production opens an incident.
pub const STANDBY_RUNG: u8 = Thresholds::RUNGS;

impl Ending {
    /// The deepest rung that was reached; `None` where there is no need for a notice.
    pub fn rung(&self, now: Time) -> Option<u8> {
        let left = self.end.remaining(now);
        match left < self.end.thresholds.incident {
            false => self.end.thresholds.rung(left),
            // From here on the incident is told instead, or what has expired by its own finding.
            true => (!self.active && left > Span::seconds(0)).then_some(STANDBY_RUNG),
        }
    }

    /// Moments at which time alone changes what is said about it.
    pub fn turns(&self) -> impl Iterator<Item = Time> {
        let end = self.end;
        let overdue = (end.position == 0).then(|| policy::renewal_overdue(end.lifetime));
        let rungs = (0..Thresholds::RUNGS).map(move |n| end.thresholds.rung_remaining(n));
        // A threshold belongs to the quiet side: one second less remaining is where it acts.
        let below = rungs.chain([end.thresholds.incident]).chain(overdue).map(move |left| end.until - left + Span::seconds(1));
        below.chain([end.until])
    }

    /// Whether its automatic renewal is overdue: due some time ago, and still served.
    pub fn overdue(&self, now: Time) -> bool {
        self.end.position == 0 && self.end.remaining(now) < policy::renewal_overdue(self.end.lifetime)
    }

    /// The key of a rung: told once, and never again for this end.
    pub fn key(&self, rung: u8) -> String {
        format!("ladder/{rung}/{}", self.stem())
    }

    /// What the keys of all its rungs end in.
    pub fn stem(&self) -> String {
        format!("{}/{}", self.end.until, self.about().map_or_else(|| String::from("own"), |a| a.to_string()))
    }

    /// The certificate; none for the end of an opaque or tracked secret, of which no certificate is known.
    pub fn about(&self) -> Option<Fingerprint> {
        (self.end.about != NO_CERTIFICATE).then_some(self.end.about)
    }

    /// The sentence, for a secret with so many targets.
    pub fn sentence(&self, now: Time, of: u64) -> String {
        let (until, left) = (self.end.until, self.end.remaining(now));
        let some = if self.targets < of { format!(", on {} of {of} targets", self.targets) } else { String::new() };
        if self.about().is_some() && !self.active {
            format!("standby serves until {until}, in {left}{some}, and must be current before it is promoted")
        } else {
            format!("production serves until {until}, in {left}{some}")
        }
    }
}

/// Whether a key is one of this ladder's.
pub fn is_key(key: &str) -> bool {
    key.starts_with("ladder/")
}

/// Stands where there is no certificate.
pub const NO_CERTIFICATE: Fingerprint = Fingerprint::from_bytes([0; 32]);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn ending(lifetime: Span, active: bool) -> Ending {
        let end = End {
            about: Fingerprint::from_bytes([7; 32]),
            position: 0,
            until: Time::from_unix(2_000_000_000),
            thresholds: Thresholds::for_leaf(lifetime),
            lifetime,
        };
        Ending { end, targets: 1, active }
    }

    #[test]
    fn every_rung_of_every_lifetime_has_one_meaning_to_the_second() {
        for lifetime in ["365d", "200d", "100d", "90d", "47d", "160h", "24h"] {
            let it = ending(Span::parse(lifetime).expect("a span"), true);
            let at = |left: Span, plus: i64| it.rung(it.end.until - left + Span::seconds(plus));
            for n in 0..Thresholds::RUNGS {
                let left = it.end.thresholds.rung_remaining(n);
                let above = n.checked_sub(1);
                let got = (at(left, -1), at(left, 0), at(left, 1));
                assert_eq!(got, (above, above, Some(n)), "{lifetime} rung {n}");
            }
            let incident = it.end.thresholds.incident;
            assert_eq!((at(incident, 0), at(incident, 1)), (Some(3), None), "{lifetime}: then the incident is told");
        }
    }

    #[test]
    fn standby_has_one_rung_more_and_no_incident() {
        let it = ending(Span::days(365), false);
        let at = |left: Span| it.rung(it.end.until - left);
        assert_eq!(at(Span::days(90)), Some(3));
        assert_eq!(at(Span::days(90) - Span::seconds(1)), Some(STANDBY_RUNG));
        assert_eq!(at(Span::seconds(1)), Some(STANDBY_RUNG));
        assert_eq!(at(Span::seconds(0)), None);
    }

    #[test]
    fn nothing_changes_between_two_turns() {
        for (lifetime, active) in [(Span::days(365), true), (Span::days(365), false), (Span::hours(24), true)] {
            let it = ending(lifetime, active);
            let mut turns: Vec<Time> = it.turns().collect();
            turns.sort();
            let says = |at: Time| (it.rung(at), it.overdue(at));
            for pair in turns.windows(2).filter(|p| p[1] > p[0]) {
                assert_eq!(says(pair[0]), says(pair[1] - Span::seconds(1)), "{lifetime} between {} and {}", pair[0], pair[1]);
            }
        }
    }
}
