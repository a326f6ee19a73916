//! The door: the one place where the clock is read, and where it is doubted.

use domain::{
    Span, Time,
    clock::{Evidence, TOLERANCE, believe},
};
use engine::Tick;
use std::{
    sync::{Mutex, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// systemd-timesyncd writes this file once the clock was synchronised; without it nobody says anything.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";

/// Reads the clock, and holds it against the monotonic one and against what the store has recorded.
pub struct Door {
    anchor: Mutex<Anchor>,
}

struct Anchor {
    wall: Time,
    monotonic: Instant,
    high_water: Option<Time>,
}

/// The time, unjudged.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub fn wall() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

#[expect(clippy::disallowed_methods, reason = "this is the door")]
fn monotonic() -> Instant {
    Instant::now()
}

impl Door {
    /// A door whose clock is believed now, unless it is behind what the store has recorded.
    pub fn new(high_water: Option<Time>) -> Door {
        Door { anchor: Mutex::new(Anchor { wall: wall(), monotonic: monotonic(), high_water }) }
    }

    /// Now, and whether it is believed.
    ///
    /// A clock that jumps while the server runs differs from the monotonic one, which cannot, until it comes back or a person
    /// confirms it. In between the time goes on as it did before the jump: looks, timers and what is written down must not be ten
    /// years away from everything else when the clock is right again.
    pub fn tick(&self) -> Tick {
        let wall = wall();
        let anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        weigh(&anchor, wall, monotonic())
    }

    /// The time of [`Door::tick`].
    pub fn now(&self) -> Time {
        self.tick().now
    }

    /// A person says that the clock is right now.
    pub fn confirm(&self) {
        let mut anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        *anchor = Anchor { wall: wall(), monotonic: monotonic(), high_water: None };
    }
}

fn weigh(anchor: &Anchor, wall: Time, monotonic: Instant) -> Tick {
    let elapsed = monotonic.saturating_duration_since(anchor.monotonic).as_secs();
    let expected = anchor.wall + Span::seconds(i64::try_from(elapsed).unwrap_or(i64::MAX));
    let ahead = expected - wall;
    let evidence = Evidence {
        synchronised: std::path::Path::new(SYNCHRONISED).exists().then_some(true),
        witness_ahead: Some(ahead),
        high_water: anchor.high_water,
    };
    let jumped = ahead > TOLERANCE || ahead < Span::seconds(-TOLERANCE.as_secs());
    Tick { now: if jumped { expected } else { wall }, clock: believe(&evidence, wall) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_jump_is_doubted_and_time_goes_on_until_the_clock_is_back() {
        let start = Time::from_unix(1_800_000_000);
        let begun = monotonic();
        let anchor = Anchor { wall: start, monotonic: begun, high_water: Some(start) };
        let check = |wall_ahead: Span, believed: bool, now: Time| {
            let tick = weigh(&anchor, start + Span::seconds(100) + wall_ahead, begun + Duration::from_secs(100));
            assert_eq!((tick.clock.is_believed(), tick.now), (believed, now), "{wall_ahead}");
        };
        let expected = start + Span::seconds(100);
        check(Span::seconds(0), true, expected);
        check(Span::seconds(30), true, expected + Span::seconds(30));
        check(Span::seconds(31), false, expected);
        check(Span::seconds(-31), false, expected);
        check(Span::hours(-1), false, expected);
        check(Span::days(3653), false, expected);
    }

    #[test]
    fn a_start_behind_what_was_recorded_is_doubted() {
        let (start, begun) = (Time::from_unix(1_800_000_000), monotonic());
        let anchor = Anchor { wall: start, monotonic: begun, high_water: Some(start + Span::hours(1)) };
        let tick = weigh(&anchor, start, begun);
        assert!(!tick.clock.is_believed());
        assert_eq!(tick.now, start);
    }
}
