//! When to try again to tell somebody.

use crate::{Span, Time};

/// The first pause after a failed delivery.
pub const FIRST_PAUSE: Span = Span::seconds(5);
/// The longest pause: a receiver that is back is told within this time.
pub const LONGEST_PAUSE: Span = Span::minutes(15);
/// After this many failed attempts the failure is a finding of its own, and others hear of the message; it is still tried.
pub const REPORT_AFTER: u32 = 8;
/// A message is tried for this long. What it says is then told by reminders, or was never read in time.
pub const GIVE_UP_AFTER: Span = Span::days(7);
/// A message that ended undelivered is a finding of the store for this long.
pub const REPORTED_FOR: Span = Span::days(7);

/// What becomes of a message after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is tried again then.
    Again(Time),
    /// It was tried for long enough.
    GiveUp,
}

/// What becomes of a message that was written at `created_at` and failed `attempts` times (at least once).
///
/// Time alone gives nothing up: a clock that jumps, or a server that stood still for a week, must have tried it in earnest.
pub fn after_failure(created_at: Time, attempts: u32, wish: Option<Span>, identity: i64, now: Time) -> Fate {
    if now >= created_at + GIVE_UP_AFTER && attempts > REPORT_AFTER {
        Fate::GiveUp
    } else {
        Fate::Again(next_attempt(attempts, wish, identity, now))
    }
}

/// When a delivery that failed `attempts` times (at least once) is tried again.
///
/// The pause doubles; a receiver's own wish (`Retry-After`) is honoured as far as the longest pause. The jitter is a function of
/// the message's identity, so that polling again does not draw it again.
pub fn next_attempt(attempts: u32, wish: Option<Span>, identity: i64, now: Time) -> Time {
    let doubled = FIRST_PAUSE.as_secs().saturating_mul(1_i64 << attempts.saturating_sub(1).min(20));
    let pause = doubled.min(LONGEST_PAUSE.as_secs()).max(wish.map_or(0, Span::as_secs)).min(LONGEST_PAUSE.as_secs());
    now + Span::seconds(pause + spread(identity, pause / 4))
}

/// A number in `0..=width` that depends on the identity alone.
pub fn spread(identity: i64, width: i64) -> i64 {
    // SplitMix64's finaliser: every bit of the identity reaches every bit of the result.
    let mut z = (identity as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    if width <= 0 { 0 } else { (z % (width as u64 + 1)) as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_tried_for_a_week_and_in_earnest() {
        let made = Time::from_unix(1_000_000);
        let end = made + GIVE_UP_AFTER;
        let s = Span::seconds(1);
        for (now, attempts, gives_up) in [
            (made, 1, false),
            (end - s, 700, false),
            (end, 700, true),
            (end + s, REPORT_AFTER, false),
            (end + s, REPORT_AFTER + 1, true),
            (end + Span::days(100), 1, false),
        ] {
            assert_eq!(after_failure(made, attempts, None, 7, now) == Fate::GiveUp, gives_up, "{now} {attempts}");
        }
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_listen_to_the_receiver() {
        let now = Time::from_unix(0);
        let pause = |attempts, wish: Option<i64>| next_attempt(attempts, wish.map(Span::seconds), 7, now).unix();
        for (attempts, wish, least, most) in [
            (1, None, 5, 6),
            (2, None, 10, 12),
            (3, None, 20, 25),
            (30, None, 900, 1125),
            (1, Some(60), 60, 75),
            (1, Some(1 << 40), 900, 1125),
        ] {
            let got = pause(attempts, wish);
            assert!((least..=most).contains(&got), "{attempts} {wish:?}: {got}");
            assert_eq!(got, pause(attempts, wish), "drawn once");
        }
    }
}
