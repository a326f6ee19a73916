//! The door: the one place where the clock is read, and where it is doubted.

use domain::{
    Span, Time,
    clock::{Evidence, agrees, believe},
};
use engine::Tick;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// systemd-timesyncd makes this folder when it starts …
const TIMESYNC: &str = "/run/systemd/timesync";
/// … and this file in it when it has synchronised the clock for the first time since boot. Other daemons leave nothing that can
/// be read without asking them, so with them nothing is known.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";
/// How long what a witness said counts: in this time the clock that counts drifts by less than 4 s (500 ppm at worst).
const FRESH: Duration = Duration::from_secs(2 * 3600);

/// Reads the clock, and holds it against the one that only counts, against witnesses, and against what the store has recorded.
pub struct Door {
    state: Mutex<State>,
}

struct State {
    /// The clock and the counting one, read at the same moment.
    wall: Time,
    counted: Duration,
    high_water: Option<Time>,
    slept: Option<Span>,
    confirmed: bool,
    synchronised: fn() -> Option<bool>,
    /// What each witness said last: its time, and when by the clock that counts.
    witnesses: BTreeMap<String, (Time, Duration)>,
}

/// The time, unjudged.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub fn wall() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Time since boot, including the time that the machine was suspended: a suspend is no jump.
#[cfg(target_os = "linux")]
fn counted() -> Duration {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(at.tv_sec).unwrap_or(0), u32::try_from(at.tv_nsec).unwrap_or(0))
}

/// Time since the first call. Elsewhere than on Linux it may stand still while the machine is suspended, and a suspend looks like
/// a jump until a witness or a person says otherwise.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::disallowed_methods, reason = "this is the door")]
fn counted() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

fn synchronised() -> Option<bool> {
    match (Path::new(TIMESYNC).exists(), Path::new(SYNCHRONISED).exists()) {
        (_, true) => Some(true),
        (true, false) => Some(false),
        (false, false) => None,
    }
}

impl Door {
    /// A door whose clock is compared with `high_water`, the latest time that the store has recorded, as it starts.
    pub fn new(high_water: Option<Time>) -> Door {
        let (wall, counted) = (wall(), counted());
        let slept = high_water.map(|high| wall - high);
        let state = State { wall, counted, high_water, slept, confirmed: false, synchronised, witnesses: BTreeMap::new() };
        Door { state: Mutex::new(state) }
    }

    /// Now, and whether it is believed.
    ///
    /// A clock that jumps while the server runs differs from the one that counts, which cannot, until it comes back, a witness
    /// agrees with it, or a person confirms it. In between the time goes on as it did before the jump: looks, timers and what is
    /// written down must not be ten years away from everything else when the clock is right again.
    pub fn tick(&self) -> Tick {
        let wall = wall();
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.weigh(wall, counted())
    }

    /// The time of [`Door::tick`].
    pub fn now(&self) -> Time {
        self.tick().now
    }

    /// A person says that the clock is right now. What the store has recorded is set back by whoever calls this.
    pub fn confirm(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.confirm(wall(), counted());
    }

    /// A witness said which time it is, just now.
    pub fn witness(&self, who: &str, time: Time) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.witness(who, time, wall(), counted());
    }
}

impl State {
    fn weigh(&self, wall: Time, counted: Duration) -> Tick {
        let expected = self.wall + span(counted.saturating_sub(self.counted));
        let counted_ahead = expected - wall;
        let evidence = Evidence {
            synchronised: (self.synchronised)(),
            counted_ahead,
            witness_ahead: self.witness_ahead(wall, counted),
            confirmed: self.confirmed,
            slept: self.slept,
            high_water: self.high_water,
        };
        Tick { now: if agrees(counted_ahead) { wall } else { expected }, clock: believe(&evidence, wall) }
    }

    /// How far the witness that is closest to us is ahead: one that is broken must not outvote one that agrees.
    fn witness_ahead(&self, wall: Time, counted: Duration) -> Option<Span> {
        let fresh = self.witnesses.values().filter(|(_, at)| counted.saturating_sub(*at) <= FRESH);
        fresh.map(|(time, at)| *time + span(counted.saturating_sub(*at)) - wall).min_by_key(|ahead| ahead.as_secs().saturating_abs())
    }

    fn witness(&mut self, who: &str, time: Time, wall: Time, counted: Duration) {
        self.witnesses.insert(who.to_owned(), (time, counted));
        if self.witness_ahead(wall, counted).is_some_and(agrees) {
            // From here on both clocks are compared anew, and no person is needed to overrule a witness.
            (self.wall, self.counted) = (wall, counted);
            self.slept = None;
            self.confirmed = false;
        }
    }

    fn confirm(&mut self, wall: Time, counted: Duration) {
        (self.wall, self.counted) = (wall, counted);
        self.high_water = None;
        self.slept = None;
        self.confirmed = true;
    }
}

fn span(duration: Duration) -> Span {
    Span::seconds(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_unix(1_800_000_000);
    const BOOTED: Duration = Duration::from_secs(5_000);

    fn state() -> State {
        State {
            wall: START,
            counted: BOOTED,
            high_water: Some(START),
            slept: Some(Span::seconds(0)),
            confirmed: false,
            synchronised: || None,
            witnesses: BTreeMap::new(),
        }
    }

    /// So long after the start by the clock that counts, with the clock so far ahead of that.
    fn weigh(state: &State, after: Span, ahead: Span) -> (bool, Time) {
        let tick = state.weigh(START + after + ahead, later(after));
        (tick.clock.is_believed(), tick.now)
    }

    fn later(after: Span) -> Duration {
        BOOTED + Duration::from_secs(after.as_secs().unsigned_abs())
    }

    #[test]
    fn a_jump_is_doubted_and_time_goes_on_until_the_clock_is_back() {
        let after = Span::seconds(100);
        let check = |ahead: Span, believed: bool, now: Time| assert_eq!(weigh(&state(), after, ahead), (believed, now), "{ahead}");
        let expected = START + after;
        check(Span::seconds(0), true, expected);
        check(Span::seconds(30), true, expected + Span::seconds(30));
        check(Span::seconds(31), false, expected);
        check(Span::seconds(-31), false, expected);
        check(Span::hours(-1), false, expected);
        check(Span::days(3653), false, expected);
    }

    #[test]
    fn the_clock_that_counts_goes_on_while_the_machine_is_suspended() {
        // Both went on for a night. (What CLOCK_MONOTONIC would have told, less, was taken for a jump.)
        assert_eq!(weigh(&state(), Span::hours(9), Span::seconds(0)), (true, START + Span::hours(9)));
        let (first, second) = (counted(), counted());
        assert!(second >= first);
        #[cfg(target_os = "linux")]
        {
            let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
            let uptime: u64 = text.split('.').next().and_then(|s| s.parse().ok()).unwrap_or_default();
            assert!(counted().as_secs().abs_diff(uptime) <= 1, "{uptime}: /proc/uptime counts through suspend (proc(5))");
        }
    }

    #[test]
    fn a_start_behind_what_was_recorded_is_doubted() {
        let state = State { high_water: Some(START + Span::hours(1)), ..state() };
        assert_eq!(weigh(&state, Span::seconds(0), Span::seconds(0)), (false, START));
    }

    #[test]
    fn a_start_far_ahead_is_doubted_until_somebody_vouches_for_it() {
        let still = (Span::seconds(60), Span::seconds(0));
        let slept = |days| State { slept: Some(Span::days(days)), ..state() };
        assert!(weigh(&slept(30), still.0, still.1).0);
        assert!(!weigh(&slept(31), still.0, still.1).0);
        let mut by_witness = slept(31);
        by_witness.witness("w", START, START, BOOTED);
        assert!(weigh(&by_witness, still.0, still.1).0);
        // And for good: what vouched was asked about the start.
        assert!(weigh(&by_witness, Span::hours(5), still.1).0);
        let mut by_person = slept(31);
        by_person.confirm(START, BOOTED);
        assert!(weigh(&by_person, still.0, still.1).0);
    }

    #[test]
    fn a_witness_is_believed_about_a_jump_and_no_longer_than_it_is_fresh() {
        let mut it = state();
        let (hour, none) = (Span::hours(1), Span::seconds(0));
        // The clock was an hour behind at the start, which nobody noticed until a witness came.
        it.witness("w", START + hour, START, BOOTED);
        assert_eq!(weigh(&it, none, none), (false, START));
        // Something set it right: a jump, and the witness agrees with what is there now.
        assert!(!weigh(&it, none, hour).0);
        it.witness("w", START + hour, START + hour, BOOTED);
        assert_eq!(weigh(&it, none, hour), (true, START + hour));
        // It counts on from there.
        assert!(!weigh(&it, Span::minutes(10), none).0);

        let mut it = state();
        it.witness("w", START + hour, START, BOOTED);
        assert!(!weigh(&it, Span::hours(2), none).0);
        assert!(weigh(&it, Span::hours(2) + Span::seconds(1), none).0, "what it said two hours ago is no evidence any more");
    }

    #[test]
    fn a_broken_witness_outvotes_nobody() {
        let mut it = state();
        let none = Span::seconds(0);
        it.witness("broken", START + Span::days(400), START, BOOTED);
        assert!(!weigh(&it, none, none).0);
        it.witness("right", START, START, BOOTED);
        assert!(weigh(&it, none, none).0);
        // Alone it is overruled by a person, until the clock and a witness agree again.
        let mut it = state();
        it.witness("broken", START + Span::days(400), START, BOOTED);
        it.confirm(START, BOOTED);
        assert!(weigh(&it, none, none).0);
        it.witness("broken", START + Span::days(400), START, BOOTED);
        assert!(weigh(&it, none, none).0);
        it.witness("broken", START, START, BOOTED);
        it.witness("broken", START + Span::days(400), START, BOOTED);
        assert!(!weigh(&it, none, none).0);
    }

    #[test]
    fn a_system_that_says_it_is_not_synchronised_is_doubted() {
        let mut it = State { synchronised: || Some(false), ..state() };
        let none = Span::seconds(0);
        assert!(!weigh(&it, none, none).0);
        it.confirm(START, BOOTED);
        assert!(weigh(&it, none, none).0);
    }
}
