//! The door to the clock, and what the store's clock says of ours.

use std::time::{SystemTime, UNIX_EPOCH};

use pki::Time;

/// What this node takes for now.
#[must_use]
pub fn now() -> Time {
    #[allow(clippy::disallowed_methods)] // the one place of the agent that may
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Time::from_unix(i64::try_from(since).unwrap_or(i64::MAX))
}

/// How far this node is ahead of the store, in seconds, if the store said what its clock shows.
#[must_use]
pub fn ahead(own: Time, store: &str) -> Option<i64> {
    Time::parse(store).ok().map(|store| own.unix() - store.unix())
}

/// A sentence where the clock is further off than is borne.
#[must_use]
pub fn doubt(ahead: Option<i64>) -> Option<String> {
    let ahead = ahead.filter(|ahead| ahead.unsigned_abs() > api::agent::CLOCK_TOLERANCE)?;
    let way = if ahead > 0 { "ahead of" } else { "behind" };
    Some(format!(
        "this node's clock is {} s {way} the store's; set it, or certificates look not yet valid or expired",
        ahead.unsigned_abs()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_seconds_are_borne() {
        let own = Time::from_unix(1_000_000_000);
        for (store, said) in [
            ("2001-09-09T01:46:40Z", None),
            ("2001-09-09T01:46:10Z", None),
            ("2001-09-09T01:46:09Z", Some("31 s ahead")),
            ("2001-09-09T01:47:11Z", Some("31 s behind")),
            ("nonsense", None),
        ] {
            let doubt = doubt(ahead(own, store));
            assert_eq!(doubt.is_some(), said.is_some(), "{store}");
            assert!(said.is_none_or(|part| doubt.as_deref().unwrap_or_default().contains(part)), "{doubt:?}");
        }
    }
}
