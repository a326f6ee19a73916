//! The door: the one place where the clock is read, and where it is doubted.

use domain::{
    Span, Time,
    clock::{Evidence, believe},
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

    /// Now, and whether it is believed. A clock that jumps while the server runs differs from the monotonic one from then on.
    pub fn tick(&self) -> Tick {
        let now = wall();
        let anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = monotonic().saturating_duration_since(anchor.monotonic).as_secs();
        let expected = anchor.wall + Span::seconds(i64::try_from(elapsed).unwrap_or(i64::MAX));
        let evidence = Evidence {
            synchronised: std::path::Path::new(SYNCHRONISED).exists().then_some(true),
            witness_ahead: Some(expected - now),
            high_water: anchor.high_water,
        };
        Tick { now, clock: believe(&evidence, now) }
    }

    /// A person says that the clock is right now.
    pub fn confirm(&self) {
        let mut anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        *anchor = Anchor { wall: wall(), monotonic: monotonic(), high_water: None };
    }
}
