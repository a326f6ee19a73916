//! When a drill is due, when it is overdue, and for how long what it proved is believed.

use super::{Kind, Phase};
use crate::{Span, Time, policy::UNPROVEN_PATH};
use alloc::vec::Vec;

/// A drill that failed is tried again after this long at the earliest: it costs a certificate, and somebody has to repair something first.
pub const RETRY_AFTER: Span = Span::days(1);
/// The shortest grace.
pub const LEAST_GRACE: Span = Span::hours(1);
/// The longest grace.
pub const MOST_GRACE: Span = Span::days(7);

/// How much later than planned a drill may pass before that is a finding: a quarter of its interval.
pub fn grace(every: Span) -> Span {
    Span::seconds(every.as_secs() / 4).max(LEAST_GRACE).min(MOST_GRACE)
}

/// What is known of a drill's past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// Since when it is in the inventory.
    pub declared_at: Time,
    /// When it last passed.
    pub passed_at: Option<Time>,
    /// When it last ended, however it did.
    pub ended_at: Option<Time>,
    /// Whether one is on its way.
    pub running: bool,
}

impl Past {
    /// From when its interval is counted: nothing that failed puts it off.
    fn basis(&self) -> Time {
        self.passed_at.map_or(self.declared_at, |p| p.max(self.declared_at))
    }

    /// When it starts next by itself; none while one is on its way.
    pub fn due_at(&self, every: Span) -> Option<Time> {
        let retry = self.ended_at.filter(|e| self.passed_at.is_none_or(|p| *e > p)).map(|e| e + RETRY_AFTER.min(every));
        let due = self.basis() + every;
        (!self.running).then(|| retry.map_or(due, |r| r.max(due)))
    }

    /// From when on it is overdue.
    pub fn overdue_at(&self, every: Span) -> Time {
        self.basis() + every + grace(every)
    }
}

/// What one drill says of the way to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// What was rehearsed.
    pub kind: Kind,
    /// How it ended.
    pub phase: Phase,
    /// When it ended.
    pub ended_at: Time,
    /// The p95 of the whole way, where it was measured.
    pub p95: Option<Span>,
    /// How often that drill is due.
    pub every: Span,
}

/// What is looked at of the past, at most.
pub const REMEMBERED: Span = Span::days(366);

impl Run {
    /// Until when its result is believed: until it is overdue.
    pub fn believed_until(&self) -> Time {
        self.ended_at + self.every + grace(self.every)
    }
}

/// The critical path to a service, and until when that is believed; `drills` has the runs of each drill that reached it, the newest first.
///
/// The latest rotation of a drill proves it by its p95 if it passed; one that failed takes away what was proven there before, and so does
/// time. Where several drills prove it, the slowest counts. Unknown counts as [`UNPROVEN_PATH`], and where more than that was measured, as
/// what was measured: it is never shorter than what was measured.
pub fn critical_path(drills: &[Vec<Run>], now: Time) -> Option<(Span, Time)> {
    let ended = |runs: &[Run]| runs.iter().find(|r| r.kind == Kind::Rotation && matches!(r.phase, Phase::Passed | Phase::Failed)).copied();
    let latest: Vec<Run> = drills.iter().filter_map(|runs| ended(runs)).filter(|r| now < r.ended_at + REMEMBERED).collect();
    let fresh = |r: &&Run| now < r.believed_until();
    let refuted = latest.iter().filter(fresh).any(|r| r.phase == Phase::Failed);
    let proven = latest.iter().filter(fresh).filter(|r| r.phase == Phase::Passed && !refuted);
    // What took longer than what unknown counts as is remembered, however it ended.
    let slow = latest.iter().filter(|r| r.p95.is_some_and(|p| p > UNPROVEN_PATH));
    let p95 = proven.clone().chain(slow).filter_map(|r| r.p95).max()?;
    Some((p95, proven.map(Run::believed_until).min().unwrap_or(Time::NO_EXPIRY)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const DAY: i64 = 86_400;

    fn at(n: i64) -> Time {
        Time::from_unix(n)
    }

    #[test]
    fn grace_is_a_quarter_within_limits() {
        for (every, want) in [("1h", "1h"), ("4h", "1h"), ("8h", "2h"), ("28d", "7d"), ("366d", "7d")] {
            assert_eq!(grace(Span::parse(every).expect("a span")), Span::parse(want).expect("a span"), "{every}");
        }
    }

    #[test]
    fn due_and_overdue_to_the_second() {
        let every = Span::days(28);
        let past = |passed: Option<i64>, ended: Option<i64>| Past {
            declared_at: at(0),
            passed_at: passed.map(at),
            ended_at: ended.map(at),
            running: false,
        };
        for (past, due, overdue) in [
            (past(None, None), 28 * DAY, 35 * DAY),
            (past(Some(DAY), Some(DAY)), 29 * DAY, 36 * DAY),
            // What failed puts nothing off; it is tried again a day later, not sooner than planned.
            (past(Some(DAY), Some(2 * DAY)), 29 * DAY, 36 * DAY),
            (past(Some(DAY), Some(29 * DAY + 5)), 30 * DAY + 5, 36 * DAY),
            (past(None, Some(28 * DAY)), 29 * DAY, 35 * DAY),
        ] {
            assert_eq!(past.due_at(every), Some(at(due)), "{past:?}");
            assert_eq!(past.overdue_at(every), at(overdue), "{past:?}");
        }
        assert_eq!(Past { running: true, ..past(None, None) }.due_at(every), None);
        // A drill that is declared again begins anew.
        let again = Past { declared_at: at(100 * DAY), ..past(Some(DAY), Some(DAY)) };
        assert_eq!(again.due_at(every), Some(at(128 * DAY)));
    }

    fn run(phase: Phase, ended: i64, p95: Option<i64>) -> Run {
        Run { kind: Kind::Rotation, phase, ended_at: at(ended), p95: p95.map(Span::seconds), every: Span::days(28) }
    }

    #[test]
    fn a_proof_holds_until_its_second_and_no_failure_after_it() {
        use Phase::{Aborted, Failed, Passed};
        let half_a_day = 12 * 3600;
        for (runs, now, want) in [
            (&[][..], 0, None),
            (&[run(Passed, 0, Some(600))], 35 * DAY - 1, Some(600)),
            (&[run(Passed, 0, Some(600))], 35 * DAY, None),
            (&[run(Passed, 0, Some(600))], 35 * DAY + 1, None),
            (&[run(Failed, 9, Some(60)), run(Passed, 0, Some(600))], 10, None),
            (&[run(Aborted, 9, None), run(Passed, 0, Some(600))], 10, Some(600)),
            (&[run(Passed, 20, Some(600)), run(Failed, 9, Some(99_999))], 30, Some(600)),
            // Never shorter than what was measured.
            (&[run(Failed, 9, Some(half_a_day + 1)), run(Passed, 0, Some(600))], 10, Some(half_a_day + 1)),
            (&[run(Failed, 9, Some(half_a_day)), run(Passed, 0, Some(600))], 10, None),
            (&[run(Passed, 0, Some(half_a_day + 1))], 99 * DAY, Some(half_a_day + 1)),
            (&[run(Passed, 0, None)], 1, None),
        ] {
            let got = critical_path(&[runs.to_vec()], at(now)).map(|(p, _)| p.as_secs());
            assert_eq!(got, want, "{runs:?} {now}");
        }
        let other = Run { kind: Kind::NodeDown, ..run(Passed, 5, Some(1)) };
        assert_eq!(critical_path(&[vec![other]], at(6)), None, "only a rotation proves the path");
    }

    #[test]
    fn of_several_drills_the_slowest_counts_and_one_that_failed_takes_all_away() {
        use Phase::{Failed, Passed};
        let path = |drills: &[Vec<Run>], now| critical_path(drills, at(now)).map(|(p, until)| (p.as_secs(), until.unix()));
        let canary = || vec![run(Passed, 0, Some(20))];
        assert_eq!(path(&[canary(), vec![run(Passed, 9, Some(2400))]], 10), Some((2400, 35 * DAY)));
        assert_eq!(path(&[canary(), vec![run(Failed, 9, Some(2400))]], 10), None);
        // What is overdue proves nothing and refutes nothing.
        assert_eq!(path(&[vec![run(Passed, DAY, Some(20))], vec![run(Failed, 0, None)]], 35 * DAY), Some((20, 36 * DAY)));
    }
}
