//! What the end-to-end tests share: the program as a process, peers as processes, certificates, and waiting with a deadline.
//!
//! Every test has its own folder and its own ports, and what it started ends with it.

pub(crate) mod database;
pub(crate) mod https;
pub(crate) mod listener;
pub(crate) mod nginx;
pub(crate) mod paper;
pub(crate) mod pebble;
pub(crate) mod process;
pub(crate) mod world;

pub(crate) use database::Kind;
pub(crate) use paper::Paper;
pub(crate) use world::World;

use std::{
    fmt::Debug,
    io::Write,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use pki::Time;

/// `1`: a missing peer fails the test instead of skipping it.
const REQUIRE: &str = "PERENNIAL_REQUIRE_PEERS";

/// The time of this machine, as the server reads it.
#[expect(clippy::disallowed_methods, reason = "a server that runs cannot be given another time")]
pub(crate) fn now() -> Time {
    Time::from_unix(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap())
}

#[expect(clippy::disallowed_methods, reason = "a deadline of a test")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// Asks until there is an answer, and fails with what was asked last when there is none in time.
pub(crate) fn wait<T, E: Debug>(seconds: u64, what: &str, mut ask: impl FnMut() -> Result<T, E>) -> T {
    let end = instant() + Duration::from_secs(seconds);
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(last) if instant() >= end => panic!("not within {seconds} s: {what}; last: {last:#?}"),
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// `Ok` where it is so, else what is there instead.
pub(crate) fn so<T: Debug>(it_is: bool, instead: T) -> Result<(), T> {
    if it_is { Ok(()) } else { Err(instead) }
}

/// Says that a test did not run; written past the capture of the test runner, which keeps what a passing test prints.
pub(crate) fn skipped(what: &str) {
    assert!(std::env::var_os(REQUIRE).is_none_or(|value| value != "1"), "{REQUIRE}=1, but skipped {what}");
    std::io::stderr().write_all(format!("SKIPPED {what}\n").as_bytes()).unwrap();
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Lcg(pub(crate) u64);

impl Lcg {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        // Knuth's MMIX constants; the low bits are poor, so the high ones are used.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}
