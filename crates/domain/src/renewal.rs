//! When a certificate is renewed: by policy or by the issuer's suggestion (RFC 9773), inside a maintenance window where there is one,
//! and never at the price of its end. The moment is a function of identity, never drawn again.

use crate::{
    Span, Time,
    calendar::Calendar,
    issuing::identity,
    policy::{Thresholds, renewal_due, renewal_overdue},
};
use alloc::string::String;

/// Everything that the moment depends on.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// What it is: secret and issuer.
    pub identity: &'a [&'a str],
    /// When the newest version was stored.
    pub stored_at: Time,
    /// When the one before it was stored.
    pub before: Option<Time>,
    /// The beginning of its certificate that ends first.
    pub not_before: Time,
    /// The end of that certificate, inclusive as in the certificate.
    pub not_after: Time,
    /// The window that the issuer suggests.
    pub suggested: Option<(Time, Time)>,
    /// The maintenance window, as a calendar that is frozen *outside* of it.
    pub window: Option<&'a Calendar>,
}

/// When, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// When it is renewed.
    pub at: Time,
    /// By what.
    pub by: By,
    /// Whether it could not wait for, or lies outside of, the maintenance window.
    pub outside_window: bool,
}

/// By what a renewal is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The share of its lifetime that is left.
    Policy,
    /// The issuer's suggestion.
    Suggestion,
}

/// The jitter brings a renewal forward by at most one part in so many of the lifetime.
const JITTER_PART: i64 = 60;
/// What an issuer suggests moves the next renewal no closer to the last one than one part in so many of the lifetime, or a day: an
/// issuer that answers with the past each time must not be asked in circles.
const REST_PART: i64 = 8;
/// Where the version before lived for less than half of the lifetime, which policy alone never asks for, the next one lives for a third,
/// whatever the issuer suggests: one that is in a hurry once means it, one that always is has a clock or a mind that is wrong.
const REST_AGAIN_PART: i64 = 3;
/// A suggested window may be this wide; a wider one is malformed.
const WIDEST_SUGGESTION: Span = Span::days(400);

/// When a certificate is renewed.
pub fn due(ask: &Ask<'_>) -> Due {
    let lifetime = ask.not_after - ask.not_before + Span::seconds(1);
    // The first second at which it is of no use.
    let end = ask.not_after;
    let dice = identity(ask.identity);
    let part = |n: i64| lifetime.as_secs() / n;
    let least = Thresholds::for_leaf(lifetime).incident + Span::seconds(part(15)).min(Span::days(24));
    let (wish, by) = match ask.suggested.filter(|(from, until)| from < until && *until - *from <= WIDEST_SUGGESTION) {
        Some((from, until)) => {
            let within = (dice % (until - from).as_secs().max(1) as u64) as i64;
            let again = Span::seconds(part(REST_AGAIN_PART));
            let hurried = ask.before.is_some_and(|before| ask.stored_at - before < Span::seconds(part(2)));
            let rest = if hurried { again } else { Span::seconds(part(REST_PART)).min(Span::days(1)) };
            ((from + Span::seconds(within)).max(ask.stored_at + rest).min(end - least), By::Suggestion)
        }
        None => {
            let jitter = (dice % part(JITTER_PART).max(1) as u64) as i64;
            (end - renewal_due(lifetime) - Span::seconds(jitter), By::Policy)
        }
    };
    let Some(window) = ask.window else { return Due { at: wish, by, outside_window: false } };
    let within = |t: &Time| !window.is_frozen(*t);
    // Later only as far as nobody is told that it is overdue; else earlier, though not before the certificate was stored.
    let limit = end - renewal_overdue(lifetime);
    let later = window.next_open(wish).filter(|t| *t <= limit);
    let earlier = || window.latest_open(wish).filter(|t| *t > ask.stored_at);
    match later.or_else(earlier).filter(within) {
        Some(at) => Due { at, by, outside_window: false },
        None => Due { at: wish, by, outside_window: true },
    }
}

/// Why the next try waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// Failures in a row, this one included: at least 1.
    pub failures: i64,
    /// How long the issuer asked us to wait.
    pub retry_after: Option<Span>,
    /// How much the certificate in use still lives.
    pub remaining: Span,
}

/// The first pause after a failure.
const FIRST_PAUSE: Span = Span::minutes(1);
/// The longest one that we choose ourselves.
const LONGEST_PAUSE: Span = Span::hours(6);
/// The longest one that an issuer may ask for: beyond it, it is asked again nevertheless.
pub const LONGEST_RETRY_AFTER: Span = Span::days(1);
/// A failure is told when so many came in a row.
pub const TOLD_AFTER: i64 = 3;
/// The fallback is asked when so many came in a row.
pub const FALLBACK_AFTER: i64 = 4;

/// How long to wait after a failure: doubled each time, spread by identity, capped; what the issuer asked for is obeyed up to a day, and
/// nothing waits for longer than a quarter of what is left.
pub fn pause(failed: &Failed, identity_of: &[&str]) -> Span {
    let doubled = FIRST_PAUSE.as_secs() << failed.failures.clamp(1, 12).wrapping_sub(1);
    let base = doubled.min(LONGEST_PAUSE.as_secs());
    // Up to a quarter more, so that what failed together does not come back together.
    let own = base + (identity(identity_of) % (base as u64 / 4).max(1)) as i64;
    let asked = failed.retry_after.map_or(0, |r| r.as_secs().clamp(0, LONGEST_RETRY_AFTER.as_secs()));
    let least = FIRST_PAUSE.as_secs();
    Span::seconds(own.max(asked).min((failed.remaining.as_secs() / 4).max(least)))
}

/// For so long an issuer is known to fail after its last failure; then it is asked again before those that it fell behind.
pub const FAILING_FOR: Span = Span::hours(6);

/// Whether an issuer fails now: several times in a row, and lately.
pub fn is_failing(failures: i64, failed_at: Option<Time>, now: Time) -> bool {
    failures >= FALLBACK_AFTER && failed_at.is_some_and(|at| now - at < FAILING_FOR)
}

/// Until when a certificate that ends at `end` leaves an issuer alone that asked for it at `said`: nothing waits for longer than a quarter of
/// what was left then.
pub fn heeded(until: Time, said: Option<Time>, end: Option<Time>) -> Time {
    match (said, end) {
        (Some(said), Some(end)) => until.min(said + Span::seconds(((end - said).as_secs() / 4).max(FIRST_PAUSE.as_secs()))),
        _ => until,
    }
}

/// Why a renewal is in trouble, in the words of the finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What went wrong last, escaped.
    pub detail: String,
    /// Failures in a row.
    pub failures: i64,
    /// Since when.
    pub since: Time,
    /// Whether trying again is of no use before somebody acts.
    pub terminal: bool,
}

impl Trouble {
    /// Whether people hear of it: a terminal error at once, others when they come again.
    pub fn is_told(&self) -> bool {
        self.terminal || self.failures >= TOLD_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::{Freeze, When};
    use alloc::{collections::BTreeSet, format};

    fn at(text: &str) -> Time {
        Time::parse(text).expect("a time")
    }

    fn ask(life: Span) -> Ask<'static> {
        let not_before = at("2028-01-15T00:00:00Z");
        Ask {
            identity: &["www", "eu-ca"],
            stored_at: not_before,
            before: None,
            not_before,
            not_after: not_before + life - Span::seconds(1),
            suggested: None,
            window: None,
        }
    }

    #[test]
    fn by_policy_at_the_share_that_is_left_and_never_drawn_again() {
        for life in ["365d", "200d", "100d", "90d", "47d", "160h", "24h"] {
            let life = Span::parse(life).expect("a span");
            let a = ask(life);
            let it = due(&a);
            assert_eq!((it, it.by), (due(&a), By::Policy));
            let left = a.not_after - it.at;
            assert!(
                left >= renewal_due(life) && left < renewal_due(life) + Span::seconds(life.as_secs() / JITTER_PART + 1),
                "{life}: {left}"
            );
        }
        let moments: BTreeSet<i64> = (0..100)
            .map(|n| {
                let name = format!("s{n}");
                due(&Ask { identity: &[&name], ..ask(Span::days(90)) }).at.unix() / 3600
            })
            .collect();
        assert!(moments.len() > 20, "what was issued together is not renewed together: {}", moments.len());
    }

    #[test]
    fn a_suggestion_is_followed_within_bounds() {
        let a = ask(Span::days(90));
        let (begins, end) = (a.not_before, a.not_after);
        let with = |from, until| due(&Ask { suggested: Some((from, until)), ..a });
        let it = with(begins + Span::days(50), begins + Span::days(52));
        assert_eq!(it.by, By::Suggestion);
        assert!(it.at >= begins + Span::days(50) && it.at < begins + Span::days(52));
        // In the past: at once, but an answer that is always in the past is no hot loop.
        assert_eq!(with(begins - Span::days(9), begins - Span::days(8)).at, a.stored_at + Span::days(1));
        // Always in the past, also of the version before: it is asked for thrice in a lifetime, not daily.
        let hurried =
            Ask { before: Some(a.stored_at - Span::days(1)), suggested: Some((begins - Span::days(9), begins - Span::days(8))), ..a };
        assert_eq!(due(&hurried).at, a.stored_at + Span::days(30));
        let calm = Ask { before: Some(a.stored_at - Span::days(60)), ..hurried };
        assert_eq!(due(&calm).at, a.stored_at + Span::days(1));
        // Beyond the end: not at the price of expiry.
        let late = with(end + Span::days(1), end + Span::days(2)).at;
        assert_eq!(late, end - (Thresholds::for_leaf(Span::days(90)).incident + Span::days(6)));
        // Turned round, empty, or absurdly wide: as if nothing was said.
        for (from, until) in [(end, begins), (begins, begins), (begins, begins + Span::days(5000))] {
            assert_eq!(with(from, until), due(&a), "{from} to {until}");
        }
    }

    #[test]
    fn inside_the_window_and_never_at_the_price_of_expiry() {
        // Frozen outside of Tuesday, 09:00 to 17:00.
        let outside = |weekly: &str| {
            let freeze = Freeze { why: "not maintenance".into(), when: When::Weekly(weekly.into()) };
            Calendar::parse("Europe/Dublin", &[freeze]).expect("a calendar")
        };
        let tuesday = outside("tue 17:00 - tue 09:00");
        for n in 0..100 {
            let name = format!("s{n}");
            let base = Ask { identity: &[&name], ..ask(Span::days(90)) };
            let it = due(&Ask { window: Some(&tuesday), ..base });
            assert!(!it.outside_window && !tuesday.is_frozen(it.at), "{name}: {}", it.at);
            assert!(it.at <= base.not_after - renewal_overdue(Span::days(90)));
        }
        // A certificate of a day has no Tuesday before it: it does not wait for one.
        let day = ask(Span::hours(24));
        let it = due(&Ask { window: Some(&tuesday), ..day });
        assert_eq!((it.at, it.outside_window), (due(&day).at, true));
    }

    #[test]
    fn an_issuer_fails_lately_or_not_at_all() {
        let now = at("2028-01-15T00:00:00Z");
        for (failures, ago, failing) in [(3, 0, false), (4, 0, true), (4, 21_599, true), (4, 21_600, false), (400, 21_600, false)] {
            assert_eq!(is_failing(failures, Some(now - Span::seconds(ago)), now), failing, "{failures} failures, {ago} s ago");
        }
        assert!(!is_failing(4, None, now));
    }

    #[test]
    fn nothing_waits_for_longer_than_a_quarter_of_what_is_left() {
        let now = at("2028-01-15T00:00:00Z");
        let until = |left: Option<Span>| heeded(now + Span::days(1), Some(now), left.map(|l| now + l)) - now;
        assert_eq!(until(Some(Span::days(30))), Span::days(1));
        assert_eq!(until(Some(Span::hours(8))), Span::hours(2));
        assert_eq!(until(Some(Span::seconds(-9))), Span::minutes(1));
        assert_eq!(until(None), Span::days(1), "nothing is served that could end");
    }

    #[test]
    fn pauses_double_obey_and_end() {
        let p = |failures, retry_after: Option<Span>, remaining| pause(&Failed { failures, retry_after, remaining }, &["a"]).as_secs();
        let far = Span::days(30);
        assert!((60..76).contains(&p(1, None, far)));
        assert!((120..151).contains(&p(2, None, far)));
        assert!((21_600..27_001).contains(&p(12, None, far)));
        assert_eq!(p(50, None, far), p(12, None, far));
        assert_eq!(p(1, Some(Span::hours(5)), far), 5 * 3600);
        // 429 with an absurd Retry-After: a day, not a year.
        assert_eq!(p(1, Some(Span::days(400)), far), 86_400);
        assert_eq!(p(1, Some(Span::days(400)), Span::hours(8)), 7_200, "a quarter of what is left");
        assert_eq!(p(9, None, Span::seconds(-5)), 60);
        assert!((60..76).contains(&p(1, Some(Span::seconds(-7)), far)));
    }
}
