//! The rate per destination address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// Above this many remembered addresses, those that are owed nothing any more are forgotten.
const FORGET_ABOVE: usize = 1024;

/// Hands out turns, evenly spaced per address, with a quarter of a second's worth allowed at once.
///
/// Only addresses that were dialled within the last moment are remembered, so memory follows the rate and not the number of targets.
pub(crate) struct Pace {
    interval: Duration,
    burst: Duration,
    turns: Mutex<Turns>,
}

struct Turns {
    next: HashMap<IpAddr, Instant>,
    forget_above: usize,
}

impl Pace {
    /// `rate` per second; 0 means as fast as it goes.
    pub(crate) fn new(rate: u32) -> Pace {
        let interval = if rate == 0 { Duration::ZERO } else { Duration::from_secs(1) / rate };
        let turns = Turns { next: HashMap::new(), forget_above: FORGET_ABOVE };
        Pace { interval, burst: interval * (rate / 4), turns: Mutex::new(turns) }
    }

    /// Returns when it is this caller's turn at `address`.
    pub(crate) async fn turn(&self, address: IpAddr) {
        if self.interval.is_zero() {
            return;
        }
        let now = Instant::now();
        let at = self.reserve(address, now);
        if at > now {
            sleep_until(at).await;
        }
    }

    fn reserve(&self, address: IpAddr, now: Instant) -> Instant {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.next.len() > turns.forget_above {
            turns.next.retain(|_, next| *next > now);
            turns.forget_above = FORGET_ABOVE.max(turns.next.len() * 2);
        }
        let next = turns.next.entry(address).or_insert(now);
        let turn = (*next).max(now);
        *next = turn + self.interval;
        turn.checked_sub(self.burst).map_or(now, |early| early.max(now))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::net::Ipv4Addr;

    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(0x7f00_0000 + n))
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_holds_the_rate_and_one_burst() {
        let pace = Pace::new(400);
        let start = Instant::now();
        for _ in 0..500 {
            pace.turn(address(1)).await;
        }
        // 100 at once, then 400 evenly: the 500th turn comes when the second is full.
        let took = Instant::now() - start;
        assert!((Duration::from_millis(990)..=Duration::from_millis(1010)).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_does_not_wait_for_another() {
        let pace = Pace::new(1);
        let start = Instant::now();
        for n in 0..100 {
            pace.turn(address(n)).await;
        }
        assert_eq!(Instant::now(), start);
    }

    #[tokio::test(start_paused = true)]
    async fn unlimited_never_waits_and_remembers_nothing() {
        let pace = Pace::new(0);
        let start = Instant::now();
        for _ in 0..10_000 {
            pace.turn(address(1)).await;
        }
        assert_eq!(Instant::now(), start);
        assert!(pace.turns.lock().unwrap().next.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn memory_follows_the_rate_not_the_number_of_addresses() {
        let pace = Pace::new(400);
        for n in 0..100_000 {
            pace.turn(address(n)).await;
            if n % 10 == 0 {
                tokio::time::advance(Duration::from_millis(1)).await;
            }
        }
        assert!(pace.turns.lock().unwrap().next.len() <= FORGET_ABOVE + 1);
    }
}
