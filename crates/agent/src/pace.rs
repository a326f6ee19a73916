//! How long to wait before trying again: doubling, bounded, and spread by who waits.
//!
//! The spread is a function of identity, never drawn: ten thousand agents that lost their store at the same second come back over the whole
//! interval, and one agent that restarts does not come back earlier.

use std::time::Duration;

use pki::Fingerprint;

/// The wait after the `attempts`-th failure in a row (from 1): `first` doubled each time, at most `most`, of which the last half is spread.
#[must_use]
pub(crate) fn delay(who: &str, attempts: u32, first: Duration, most: Duration) -> Duration {
    let full = first.saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1).min(20))).min(most);
    let hash = Fingerprint::of(format!("{who}\0{attempts}").as_bytes());
    let share = hash.as_bytes().first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    let half = full / 2;
    let millis = u64::try_from(half.as_millis()).unwrap_or(u64::MAX);
    half + Duration::from_millis(millis.saturating_mul(u64::from(share)) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_are_bounded_and_differ_by_who_waits() {
        let (first, most) = (Duration::from_secs(1), Duration::from_secs(300));
        let of = |who: &str, attempts| delay(who, attempts, first, most);
        for attempts in [1, 2, 5, 9, 40, u32::MAX] {
            let full = first.saturating_mul(2_u32.saturating_pow(attempts.min(30) - 1)).min(most);
            assert!(of("web-1", attempts) >= full / 2 && of("web-1", attempts) <= full, "{attempts}");
            assert_eq!(of("web-1", attempts), of("web-1", attempts));
        }
        // A thousand agents come back over the whole half, not in a burst: no tenth of it holds more than a fifth of them.
        let mut tenths = [0; 10];
        for number in 0..1000 {
            let wait = of(&format!("node-{number}"), 30);
            let tenth = (wait - most / 2).as_millis() * 10 / (most / 2).as_millis();
            tenths[usize::try_from(tenth.min(9)).unwrap_or(9)] += 1;
        }
        assert!(tenths.iter().all(|count| (20..200).contains(count)), "{tenths:?}");
    }
}
