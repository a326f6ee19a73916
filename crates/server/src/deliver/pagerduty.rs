//! PagerDuty Events API v2: one alert per `dedup_key`, triggered, acknowledged, resolved.

use outbound::Request;
use pki::fingerprint::Fingerprint;
use pki::text::escape;
use serde_json::{Map, Value, json};

use super::message::{Kind, Message, Severity};
use super::text::{bounded, event as event_type, facts, started, targets};
use super::{ContactError, post_json};

/// Where events go, in the US service region.
pub const EVENTS_URL: &str = "https://events.pagerduty.com/v2/enqueue";

/// Its service regions.
pub(super) const HOSTS: [&str; 2] = ["events.pagerduty.com", "events.eu.pagerduty.com"];

/// The API's limits, in characters.
const MAX_SUMMARY: usize = 1024;
const MAX_DEDUP_KEY: usize = 255;
/// Length of an integration key.
const ROUTING_KEY_LENGTH: usize = 32;

pub(super) fn request(url: &str, message: &Message, routing_key: &str) -> Result<Request, ContactError> {
    let key = routing_key.trim();
    if key.len() != ROUTING_KEY_LENGTH || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(ContactError::malformed(
            "PagerDuty's routing key has 32 letters and digits; take it from the service's Events API v2 integration",
        ));
    }
    Ok(post_json(url, &event(message, key)))
}

fn event(message: &Message, routing_key: &str) -> Value {
    let action = match message.kind {
        Kind::IncidentAcknowledged => "acknowledge",
        Kind::IncidentResolved | Kind::IncidentRetired => "resolve",
        Kind::Notice | Kind::IncidentOpened | Kind::IncidentUpdated | Kind::Test => "trigger",
    };
    // PagerDuty wakes people by severity, so what need not wake anybody is an error at most.
    let severity = match (message.page, message.severity) {
        (true, _) => "critical",
        (false, Severity::Critical) => "error",
        (false, Severity::Warning) => "warning",
        (false, Severity::Info) => "info",
    };
    let mut payload = json!({
        "summary": bounded(&escape(&message.title), MAX_SUMMARY),
        "severity": severity,
        "source": message.secret.as_deref().map_or_else(|| "perennial".into(), escape),
        "timestamp": started(message).to_string(),
        "class": event_type(message),
        "custom_details": details(message),
    });
    if let Some(service) = message.services.first() {
        payload["group"] = escape(service).into();
    }
    json!({
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": dedup_key(&message.subject),
        "client": "Perennial",
        "payload": payload,
    })
}

/// The subject itself as long as it is short and plain; otherwise its fingerprint, so that two never fall together.
fn dedup_key(subject: &str) -> String {
    let plain = !subject.is_empty() && subject.len() <= MAX_DEDUP_KEY && subject.bytes().all(|byte| byte.is_ascii_graphic());
    if plain { subject.to_owned() } else { Fingerprint::of(subject.as_bytes()).to_string() }
}

fn details(message: &Message) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("team".into(), escape(&message.team).into());
    out.insert("target_count".into(), message.target_count.into());
    out.insert("targets".into(), targets(message).into());
    for (name, value) in facts(message) {
        out.insert(name.into(), value.into());
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::deliver::sample::{self, pretty};

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn events() {
        insta::assert_snapshot!("pagerduty_trigger", pretty(&event(&sample::incident(), KEY)));
        insta::assert_snapshot!("pagerduty_hostile", pretty(&event(&sample::hostile(), KEY)));
    }

    #[test]
    fn actions_and_severities() {
        let of = |kind, severity, page| {
            let event = event(&Message { kind, severity, page, ..sample::incident() }, KEY);
            (event["event_action"].clone(), event["payload"]["severity"].clone())
        };
        for (kind, severity, page, expected) in [
            (Kind::IncidentOpened, Severity::Critical, true, ("trigger", "critical")),
            (Kind::IncidentOpened, Severity::Critical, false, ("trigger", "error")),
            (Kind::IncidentUpdated, Severity::Warning, true, ("trigger", "critical")),
            (Kind::Notice, Severity::Warning, false, ("trigger", "warning")),
            (Kind::IncidentAcknowledged, Severity::Info, false, ("acknowledge", "info")),
            (Kind::IncidentResolved, Severity::Info, false, ("resolve", "info")),
            (Kind::IncidentRetired, Severity::Info, false, ("resolve", "info")),
        ] {
            assert_eq!(of(kind, severity, page), (expected.0.into(), expected.1.into()), "{kind:?}");
        }
    }

    #[test]
    fn the_key_of_a_subject_is_stable_and_fits() {
        assert_eq!(dedup_key("certificate:ab12"), "certificate:ab12");
        let long = "x".repeat(256);
        assert_eq!(dedup_key(&long).len(), 64);
        assert_ne!(dedup_key(&long), dedup_key(&format!("{long}y")));
        assert_ne!(dedup_key("a b"), dedup_key("a\u{a0}b"));
        assert_eq!(dedup_key(&"y".repeat(255)), "y".repeat(255));
    }

    #[test]
    fn a_summary_fits() {
        let message = Message { title: "\u{202e}".repeat(5000), ..sample::incident() };
        let event = event(&message, KEY);
        assert_eq!(event["payload"]["summary"].as_str().unwrap().chars().count(), MAX_SUMMARY);
    }

    #[test]
    fn keys_that_are_none() {
        for key in ["", "short", "0123456789abcdef0123456789abcde!"] {
            assert!(request(EVENTS_URL, &sample::test(), key).is_err(), "{key}");
        }
        assert!(request(EVENTS_URL, &sample::test(), &format!("{KEY}\n")).is_ok());
    }
}
