//! How long somebody who asks for patience gets it.
//!
//! A CA's Retry-After is obeyed, because whoever does not is blocked; but a mistake in it must not silence renewals for ten
//! years, nor make us knock without end. So it is held between two limits, and what was changed is said.

use pki::Time;
use pki::text::escape;

/// The shortest wait, in seconds: no loop is hotter than this.
pub const LEAST: i64 = 1;
/// The longest wait that a CA gets for one request, in seconds. Limits of public CAs that last longer are asked about daily.
pub const MOST: i64 = 86_400;
/// The longest time between two questions about an order that the CA still works on, in seconds.
pub const MOST_BETWEEN: i64 = 600;

/// A wait, and why it is not the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Seconds, between [`LEAST`] and [`MOST`].
    pub seconds: i64,
    /// What was changed, in words.
    pub note: Option<String>,
}

/// What a Retry-After header (RFC 9110 §10.2.3) asks for; `None` where there is none or it says nothing that is a time.
#[must_use]
pub fn asked(header: Option<&str>, now: Time) -> Option<Wait> {
    let text = header?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits that do not fit are a very long time.
        let seconds: i64 = text.parse().unwrap_or(i64::MAX);
        return Some(held(seconds, &format!("{} s", escape(text))));
    }
    if let Ok(date) = httpdate::parse_http_date(text) {
        let date = match date.duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |s| -s),
        };
        return Some(held(date.saturating_sub(now.unix()), &escape(text)));
    }
    None
}

fn held(seconds: i64, asked: &str) -> Wait {
    let kept = seconds.clamp(LEAST, MOST);
    let note = (kept != seconds && seconds != 0).then(|| format!("it asked to wait for {asked}; {kept} s are kept"));
    Wait { seconds: kept, note }
}

/// When to look again at something that the CA works on since `since`: soon at first, then less and less often.
#[must_use]
pub fn interval(since: Time, now: Time) -> i64 {
    (now.unix().saturating_sub(since.unix()) / 4).clamp(LEAST, MOST_BETWEEN)
}

/// The wait for an order: what the CA asks for, else the interval; never longer than [`MOST_BETWEEN`].
#[must_use]
pub fn for_order(header: Option<&str>, since: Time, now: Time) -> Wait {
    match asked(header, now) {
        Some(wait) if wait.seconds > MOST_BETWEEN => {
            let note = format!("the CA asked to wait for {} s or more; it is asked again after {MOST_BETWEEN} s", wait.seconds);
            Wait { seconds: MOST_BETWEEN, note: Some(note) }
        }
        Some(wait) => wait,
        None => Wait { seconds: interval(since, now), note: None },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_asked_for_is_held_between_two_limits_and_said() {
        // 2026-11-28T10:00:00Z
        let now = Time::parse("2026-11-28T10:00:00Z").unwrap();
        for (header, seconds, said) in [
            ("0", Some(1), ""),
            ("30", Some(30), ""),
            (" 30 ", Some(30), ""),
            ("86400", Some(86_400), ""),
            ("315360000", Some(86_400), "315360000 s; 86400 s are kept"),
            ("99999999999999999999999999", Some(86_400), "86400 s are kept"),
            ("-5", None, ""),
            ("+5", None, ""),
            ("1.5", None, ""),
            ("soon", None, ""),
            ("", None, ""),
            ("Sat, 28 Nov 2026 10:02:00 GMT", Some(120), ""),
            ("Sat, 28 Nov 2026 09:02:00 GMT", Some(1), "1 s are kept"),
            ("Wed, 21 Oct 2065 07:28:00 GMT", Some(86_400), "21 Oct 2065"),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(1), "1 s are kept"),
        ] {
            let wait = asked(Some(header), now);
            assert_eq!(wait.as_ref().map(|w| w.seconds), seconds, "{header}");
            let note = wait.and_then(|w| w.note).unwrap_or_default();
            assert!(note.contains(said) && note.is_empty() == said.is_empty(), "{header}: {note}");
        }
        assert_eq!(asked(None, now), None);
    }

    #[test]
    fn an_order_that_takes_an_hour_is_asked_about_less_and_less_often() {
        let since = Time::from_unix(1_000);
        let (mut at, mut questions) = (since, 0);
        while at.unix() < since.unix() + 3600 {
            at = Time::from_unix(at.unix() + interval(since, at));
            questions += 1;
        }
        assert!((20..60).contains(&questions), "{questions}");
        assert_eq!(interval(since, Time::from_unix(0)), LEAST);
        assert_eq!(interval(since, Time::from_unix(i64::MAX)), MOST_BETWEEN);
        assert_eq!(for_order(Some("315360000"), since, at).seconds, MOST_BETWEEN);
    }
}
