//! A release: a build with dates, and by when it must be built so that what production serves does not end first.
//!
//! [`assess`](assess::assess) says what the rules say about one release, [`train`] in which order releases leave, [`cadence`] whether they
//! leave often enough.

pub mod assess;
pub mod cadence;
pub mod train;

use crate::{Span, Time, finding::End, target::Served, words::word};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

pub use crate::words::ReleaseId;

/// How long a release takes from built to observed, until [`ENOUGH`] were measured.
pub const DEFAULT_LEAD: Span = Span::days(14);
/// How many measured spans are enough to go by.
pub const ENOUGH: usize = 5;
/// How many of them are looked at, the newest.
pub const LEAD_SAMPLES: usize = 50;

word!(
    /// What is said of a release, or of its stage in one region.
    Status {
        /// It has a date.
        Planned = "planned",
        /// The build exists.
        Built = "built",
        /// It is on its way to production.
        Deploying = "deploying",
        /// Somebody says that it is in production. That is a claim: only observation shows it.
        Deployed = "deployed",
        /// It has a later date than it had.
        Delayed = "delayed",
        /// It will not happen.
        Cancelled = "cancelled",
    }
);

/// Its way into one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The region.
    pub region: String,
    /// When it is planned there, where that is known.
    pub planned_at: Option<Time>,
    /// What is said of it.
    pub status: Status,
    /// Since when that is said.
    pub changed_at: Time,
}

/// A build with dates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its number.
    pub id: ReleaseId,
    /// The service that it belongs to.
    pub service: String,
    /// What its builders call it; unique for the service.
    pub build: String,
    /// The train that it rides, empty for none.
    pub train: String,
    /// Its place among those that wait for the same train; the least goes first.
    pub place: i64,
    /// What is said of it.
    pub status: Status,
    /// When it was created.
    pub created_at: Time,
    /// It is not to be built before then: a train before this one leaves without it.
    pub earliest_at: Time,
    /// When it is planned to be built.
    pub planned_at: Time,
    /// As it was planned first.
    pub first_planned_at: Time,
    /// When it was built.
    pub built_at: Option<Time>,
    /// Since when it is said to be deployed.
    pub deployed_at: Option<Time>,
    /// When everything that it carries had been observed in production for the first time.
    pub observed_at: Option<Time>,
    /// When nothing is waited for any more: deployed and observed everywhere, or cancelled.
    pub ended_at: Option<Time>,
    /// Its way through the regions, in the order of their names.
    pub stages: Vec<Stage>,
}

impl Release {
    /// `release/12`: the subject of what is said and journaled of it.
    pub fn subject(&self) -> String {
        format!("release/{}", self.id)
    }

    /// For people: its number, service and build, escaped.
    pub fn title(&self) -> String {
        format!("release {} ({} {})", self.id, pki::text::escape(&self.service), pki::text::escape(&self.build))
    }

    /// When it was built, or is to be. What was built and delayed afterwards counts as if it were built on its new date.
    pub fn builds_at(&self) -> Time {
        match (self.status, self.built_at) {
            (Status::Delayed, _) | (_, None) => self.planned_at,
            (_, Some(built)) => built,
        }
    }

    /// Whether it is still to be built, or held back: then it is so now at the earliest, whatever the plan says.
    pub fn builds_from_now(&self) -> bool {
        self.built_at.is_none() || self.status == Status::Delayed
    }

    /// Whether it waits for its train: neither built nor over.
    pub fn waits(&self) -> bool {
        matches!(self.status, Status::Planned | Status::Delayed) && self.built_at.is_none() && self.ended_at.is_none()
    }
}

/// Why a change is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Stable, for machines.
    pub code: &'static str,
    /// What is wrong and what to do next.
    pub problem: String,
}

/// Whether a release may change to a status.
///
/// Planned → built → deploying → deployed; delayed until it is deployed; cancelled until it has ended. Saying the same again is allowed
/// (except a delay, which is another one each time): who repeats a call that got no answer must not be refused.
///
/// # Errors
/// `release-ended`, `release-cancelled`, `release-built`, `release-deployed` or `release-not-built`.
pub fn change(release: &Release, to: Status) -> Result<(), Refused> {
    use Status::{Built, Cancelled, Delayed, Deployed, Deploying, Planned};
    let refused = |code, problem: String| Err(Refused { code, problem: format!("{} {problem}", release.title()) });
    let built = release.built_at.is_some();
    match (release.status, to) {
        (Cancelled, Cancelled) => Ok(()),
        (Cancelled, _) => refused("release-cancelled", "was cancelled; create another one: perennial release create".to_string()),
        (Deployed, Deployed) => Ok(()),
        (_, _) if release.ended_at.is_some() => {
            refused("release-ended", "was deployed and observed; there is nothing left to change".to_string())
        }
        (_, Cancelled) => Ok(()),
        (Deployed, _) => refused("release-deployed", format!("is deployed, so it cannot become {to}; cancel it if that is not so")),
        (_, Planned) if built => refused("release-built", "was built; delay it, or give its stages other dates".to_string()),
        (_, Deploying | Deployed) if !built => {
            refused("release-not-built", format!("cannot become {to} before it was built: perennial release built {}", release.id))
        }
        (Deploying, Built) => refused("release-deploying", "is on its way to production already".to_string()),
        (Planned | Built | Deploying | Delayed, Planned | Built | Deploying | Deployed | Delayed) => Ok(()),
    }
}

/// How long releases of a service take from built to observed: the nearest-rank p95 of the newest [`LEAD_SAMPLES`] measured spans
/// (`samples` has the newest first), [`DEFAULT_LEAD`] until there are [`ENOUGH`].
pub fn lead(samples: &[Span]) -> Span {
    let mut newest: Vec<Span> = samples.iter().copied().take(LEAD_SAMPLES).collect();
    if newest.len() < ENOUGH {
        return DEFAULT_LEAD;
    }
    newest.sort_unstable();
    // The smallest value that at least 95 of 100 do not exceed: rank ⌈95 n / 100⌉, counted from 1.
    let rank = (newest.len() * 95).div_ceil(100);
    newest.get(rank.saturating_sub(1)).copied().unwrap_or(DEFAULT_LEAD)
}

/// When a release reaches a region: on the stage's date where one is planned, else its lead time after it was built or is to be.
pub fn arrives_at(release: &Release, region: &str, lead: Span) -> Time {
    let stage = release.stages.iter().find(|s| s.region == region && s.status != Status::Cancelled);
    stage.and_then(|s| s.planned_at).unwrap_or(release.builds_at() + lead)
}

/// What the production targets of a secret serve, as far as a release that replaces it must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serves {
    /// The worst served-until over them.
    pub served: Served,
    /// The end with the least margin over them.
    pub worst: Option<End>,
}

/// By when a release must be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deadline {
    /// Nobody can say: what it would replace was never observed. Sorted worst.
    Undated,
    /// At once: what is served is broken already.
    Now,
    /// By then.
    By(Time),
    /// Never: what is served has no end.
    Never,
}

/// By when what replaces this must be built, before the calendar is asked: `served-until − max(I, 2 × lead)`, where `I` is the incident
/// threshold of what ends.
pub fn deadline(serves: &Serves, lead: Span) -> Deadline {
    let twice = Span::seconds(lead.as_secs().saturating_mul(2));
    // The minimum over all ends of `end − max(I, 2 × lead)` is that of `end − I` and of `end − 2 × lead`, and both are kept by index.
    let by_margin = serves.worst.filter(|w| w.until < Time::NO_EXPIRY).map(|w| w.until - w.thresholds.incident);
    match serves.served {
        Served::Unknown => Deadline::Undated,
        Served::Broken => Deadline::Now,
        Served::Until(until) => {
            let by_lead = (until < Time::NO_EXPIRY).then(|| until - twice);
            [by_margin, by_lead].into_iter().flatten().min().map_or(Deadline::Never, Deadline::By)
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Fingerprint, policy::Thresholds};

    pub(crate) fn release(status: Status, built: bool) -> Release {
        let at = Time::from_unix(1_000_000);
        Release {
            id: ReleaseId(12),
            service: "storage".into(),
            build: "2013.1".into(),
            train: String::new(),
            place: 0,
            status,
            created_at: at,
            earliest_at: at,
            planned_at: at + Span::days(1),
            first_planned_at: at + Span::days(1),
            built_at: built.then_some(at + Span::days(2)),
            deployed_at: None,
            observed_at: None,
            ended_at: None,
            stages: Vec::new(),
        }
    }

    #[test]
    fn which_change_is_allowed() {
        use Status::{Built, Cancelled, Delayed, Deployed, Deploying, Planned};
        let columns = [Planned, Built, Deploying, Deployed, Delayed, Cancelled];
        let (nb, b, d, dg, c) = (
            Some("release-not-built"),
            Some("release-built"),
            Some("release-deployed"),
            Some("release-deploying"),
            Some("release-cancelled"),
        );
        for (from, built, wanted) in [
            (Planned, false, [None, None, nb, nb, None, None]),
            (Built, true, [b, None, None, None, None, None]),
            (Deploying, true, [b, dg, None, None, None, None]),
            (Deployed, true, [d, d, d, None, d, None]),
            (Delayed, false, [None, None, nb, nb, None, None]),
            (Delayed, true, [b, None, None, None, None, None]),
            (Cancelled, false, [c, c, c, c, c, None]),
        ] {
            for (to, wanted) in columns.iter().zip(wanted) {
                assert_eq!(change(&release(from, built), *to).err().map(|r| r.code), wanted, "{from} → {to}, built: {built}");
            }
        }
        let ended = Release { ended_at: Some(Time::from_unix(2_000_000)), ..release(Deployed, true) };
        assert_eq!(change(&ended, Cancelled).err().map(|r| r.code), Some("release-ended"));
        assert_eq!(change(&ended, Deployed), Ok(()), "said again");
    }

    #[test]
    fn lead_is_the_nearest_rank_of_the_newest() {
        let days = |all: &[i64]| lead(&all.iter().map(|d| Span::days(*d)).collect::<Vec<_>>());
        for (samples, wanted) in [
            (&[][..], DEFAULT_LEAD),
            (&[1, 1, 1, 1], DEFAULT_LEAD),
            (&[1, 2, 3, 4, 5], Span::days(5)),
            (&[5, 4, 3, 2, 1], Span::days(5)),
            (&[0, 0, 0, 0, 0], Span::ZERO),
        ] {
            assert_eq!(days(samples), wanted, "{samples:?}");
        }
        let twenty: Vec<i64> = (1..=20).collect();
        assert_eq!(days(&twenty), Span::days(19), "rank 19 of 20");
        // Fifty of 3 d before a hundred of 90 d: what is older than the newest fifty counts no more.
        let mut many = alloc::vec![3; 50];
        many.extend([90; 100]);
        assert_eq!(days(&many), Span::days(3));
        // Two of fifty are beyond rank 48, three are not.
        for (slow, wanted) in [(2, 3), (3, 90)] {
            let mut some = alloc::vec![90; slow];
            some.extend(alloc::vec![3; 50 - slow]);
            assert_eq!(days(&some), Span::days(wanted), "{slow} slow ones");
        }
    }

    pub(crate) fn serves(until: Time, lifetime: Span) -> Serves {
        let end = End { about: Fingerprint::from_bytes([7; 32]), position: 0, until, thresholds: Thresholds::for_leaf(lifetime), lifetime };
        Serves { served: Served::Until(until), worst: Some(end) }
    }

    #[test]
    fn the_deadline_is_the_earlier_of_threshold_and_lead() {
        let t = |s: &str| Time::parse(s).expect("a time");
        let until = t("2013-02-22T20:29:53Z");
        // A one-year certificate: 90 days, unless releases take longer than 45.
        assert_eq!(deadline(&serves(until, Span::days(365)), Span::days(14)), Deadline::By(t("2012-11-24T20:29:53Z")));
        assert_eq!(deadline(&serves(until, Span::days(365)), Span::days(46)), Deadline::By(until - Span::days(92)));
        // 47 days: the threshold is 11 d 18 h, twice the default lead is longer.
        assert_eq!(deadline(&serves(until, Span::days(47)), Span::days(14)), Deadline::By(until - Span::days(28)));
        // The intermediate ends later, but has the larger threshold.
        let mut both = serves(until, Span::days(47));
        both.worst = serves(until + Span::days(30), Span::days(365)).worst;
        assert_eq!(deadline(&both, Span::days(14)), Deadline::By(until - Span::days(60)));
        // 29 February is a day like any other for subtraction.
        let leap = t("2012-05-29T00:00:00Z");
        assert_eq!(deadline(&serves(leap, Span::days(365)), Span::days(14)), Deadline::By(t("2012-02-29T00:00:00Z")));
        let none = |served| Serves { served, worst: None };
        assert_eq!(deadline(&none(Served::Unknown), DEFAULT_LEAD), Deadline::Undated);
        assert_eq!(deadline(&none(Served::Broken), DEFAULT_LEAD), Deadline::Now);
        assert_eq!(deadline(&none(Served::Until(Time::NO_EXPIRY)), DEFAULT_LEAD), Deadline::Never);
        assert!(Deadline::Undated < Deadline::Now && Deadline::Now < Deadline::By(until) && Deadline::By(until) < Deadline::Never);
    }

    #[test]
    fn a_release_arrives_with_its_stage_or_its_lead() {
        let mut r = release(Status::Planned, false);
        assert_eq!(arrives_at(&r, "eu", Span::days(14)), r.planned_at + Span::days(14));
        r.stages.push(Stage {
            region: "eu".into(),
            planned_at: Some(r.planned_at + Span::days(3)),
            status: Status::Planned,
            changed_at: r.created_at,
        });
        assert_eq!(arrives_at(&r, "eu", Span::days(14)), r.planned_at + Span::days(3));
        assert_eq!(arrives_at(&r, "us", Span::days(14)), r.planned_at + Span::days(14));
        r.stages[0].status = Status::Cancelled;
        assert_eq!(arrives_at(&r, "eu", Span::days(14)), r.planned_at + Span::days(14));
        let built = release(Status::Built, true);
        assert_eq!(arrives_at(&built, "eu", Span::days(14)), Time::from_unix(1_000_000) + Span::days(16));
        let delayed = release(Status::Delayed, true);
        assert_eq!(arrives_at(&delayed, "eu", Span::days(14)), delayed.planned_at + Span::days(14), "built, and held back since");
    }
}
