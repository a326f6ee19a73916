//! The door to the clock.

use std::time::{SystemTime, UNIX_EPOCH};

use pki::Time;

/// What this machine takes for now. Read once by each command, and by a vantage when a look ends.
pub(crate) fn now() -> Time {
    #[allow(clippy::disallowed_methods)] // the one place of these commands that may
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Time::from_unix(i64::try_from(since).unwrap_or(i64::MAX))
}
