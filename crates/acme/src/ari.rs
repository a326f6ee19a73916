//! When the CA would like a certificate to be renewed (RFC 9773).
//!
//! What a CA says moves a renewal, but never away from what policy needs: a window that makes no sense is no window, and the
//! caller hears why its own policy applies.

use outbound::{Method, Request};
use pki::Time;
use pki::text::escape;
use serde::Deserialize;

use crate::account::Ca;
use crate::error::Error;
use crate::patience;

/// The least and the most time until the CA is asked again, in seconds (RFC 9773 §4.3.3), and what applies where it says nothing.
const AGAIN: (i64, i64) = (60, 86_400);
const AGAIN_IF_UNSAID: i64 = 21_600;

/// What the CA suggests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// When to renew.
    pub window: Window,
    /// A page for people that says why (`explanationURL`), escaped.
    pub explanation: Option<String>,
    /// Seconds until it makes sense to ask again, within RFC 9773's limits.
    pub again: i64,
    /// What was odd about the answer, in words.
    pub note: Option<String>,
}

/// When to renew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Within this window, its end excluded.
    Within(Time, Time),
    /// At once: the window has passed.
    Now,
    /// As policy says: the CA says nothing, or nothing that makes sense.
    ByPolicy,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    suggested_window: WrittenWindow,
    #[serde(rename = "explanationURL")]
    explanation_url: Option<String>,
}

#[derive(Deserialize)]
struct WrittenWindow {
    start: String,
    end: String,
}

impl Ca {
    /// Asks when to renew the certificate with this identifier (RFC 9773 §4.1, [`pki::acme`]). An answer that makes no sense is an answer: policy applies, and the note says why.
    ///
    /// # Errors
    /// [`Error::Later`] if the CA does not answer.
    pub async fn suggestion(&self, certificate: &str, now: Time) -> Result<Suggestion, Error> {
        const DOING: &str = "asking when to renew";
        let by_policy = |note: &str| Suggestion { window: Window::ByPolicy, explanation: None, again: AGAIN.1, note: Some(note.into()) };
        let Some(base) = Box::pin(self.facts(now)).await?.renewal_info else {
            return Ok(by_policy("the CA says nothing about renewals (no renewalInfo in its directory)"));
        };
        let wire = self.wire();
        let url = format!("{}/{}", base.trim_end_matches('/'), certificate);
        let answer = wire.ask(Request::new(Method::GET, url)).await;
        let notes = wire.notes();
        let response = answer.map_err(|error| Error::of(DOING, instant_acme::Error::Other(Box::new(error)), &notes, now))?;
        if !response.status.is_success() {
            let after = patience::asked(notes.retry_after.as_deref(), now).map_or(3600, |wait| wait.seconds);
            return Err(Error::later(format!("{DOING}: the answer has status {}: {}", response.status, notes.shown()), after));
        }
        Ok(read(&response.body, notes.retry_after.as_deref(), now))
    }
}

/// Reads an answer. Whatever is wrong with it leaves the decision to policy.
#[must_use]
pub fn read(body: &[u8], retry_after: Option<&str>, now: Time) -> Suggestion {
    let wait = patience::asked(retry_after, now);
    let again = wait.as_ref().map_or(AGAIN_IF_UNSAID, |w| w.seconds).clamp(AGAIN.0, AGAIN.1);
    let held = wait.and_then(|w| w.note);
    let odd = |why: String, explanation| Suggestion { window: Window::ByPolicy, explanation, again, note: Some(why) };
    let Ok(written) = serde_json::from_slice::<Written>(body) else {
        return odd("the CA's renewal information cannot be read; policy applies".into(), None);
    };
    let explanation = written.explanation_url.map(|text| escape(&text));
    let (start, end) = (Time::parse(&written.suggested_window.start), Time::parse(&written.suggested_window.end));
    let (Ok(start), Ok(end)) = (start, end) else {
        let (start, end) = (escape(&written.suggested_window.start), escape(&written.suggested_window.end));
        return odd(format!("the CA suggests a window from `{start}` to `{end}`, which are no times; policy applies"), explanation);
    };
    if end <= start {
        return odd(format!("the CA suggests a window that ends {end}, before it begins {start}; policy applies"), explanation);
    }
    // RFC 9773 §4.2: a window in the past means at once.
    let window = if end <= now { Window::Now } else { Window::Within(start, end) };
    Suggestion { window, explanation, again, note: held }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn windows_that_make_sense_and_windows_that_do_not() {
        let now = Time::parse("2026-11-28T10:00:00Z").unwrap();
        let time = |text| Time::parse(text).unwrap();
        let check = |start: &str, end: &str, window: Window, said: &str| {
            let body = format!(r#"{{"suggestedWindow":{{"start":"{start}","end":"{end}"}},"explanationURL":"https://ca/why\u001b[31m"}}"#);
            let found = read(body.as_bytes(), None, now);
            assert_eq!(found.window, window, "{start} {end}");
            assert!(found.note.clone().unwrap_or_default().contains(said), "{found:?}");
            assert_eq!(found.explanation.as_deref(), Some("https://ca/why\\u{1b}[31m"));
        };
        let (a, b) = ("2026-12-01T00:00:00Z", "2026-12-02T00:00:00Z");
        check(a, b, Window::Within(time(a), time(b)), "");
        check("2026-11-01T00:00:00Z", b, Window::Within(time("2026-11-01T00:00:00Z"), time(b)), "");
        check("2026-12-01T00:00:00.5+01:00", b, Window::Within(time("2026-11-30T23:00:00Z"), time(b)), "");
        check("2026-11-01T00:00:00Z", "2026-11-28T10:00:00Z", Window::Now, "");
        check("1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z", Window::Now, "");
        check(b, a, Window::ByPolicy, "before it begins");
        check(a, a, Window::ByPolicy, "before it begins");
        check("soon", b, Window::ByPolicy, "no times");
        check("2026-02-29T00:00:00Z", b, Window::ByPolicy, "no times");
        for body in ["", "{}", "[]", "<html>", r#"{"suggestedWindow":null}"#, r#"{"suggestedWindow":{"start":1,"end":2}}"#] {
            let found = read(body.as_bytes(), None, now);
            assert_eq!(found.window, Window::ByPolicy, "{body}");
            assert!(found.note.unwrap().contains("policy applies"));
        }
    }

    #[test]
    fn it_is_asked_again_within_a_minute_and_a_day() {
        let now = Time::from_unix(1_800_000_000);
        for (header, again) in
            [(None, 21_600), (Some("1"), 60), (Some("7200"), 7_200), (Some("315360000"), 86_400), (Some("-5"), 21_600), (Some("x"), 21_600)]
        {
            assert_eq!(read(b"{}", header, now).again, again, "{header:?}");
        }
    }
}
