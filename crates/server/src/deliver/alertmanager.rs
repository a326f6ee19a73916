//! Alertmanager's API v2: an alert is its labels, so they must not change while it stands.

use outbound::Request;
use pki::text::escape;
use pki::{Span, Time};
use serde_json::{Map, Value, json};

use super::message::{Kind, Message, Severity};
use super::text::{bounded, event, facts, severity, started, targets};
use super::{Attempt, post_json};

/// How long an alert stands without being posted again: after that Alertmanager takes it for resolved, so this is also how
/// long a dead watcher goes unnoticed there.
pub const ALERT_TTL: Span = Span::minutes(15);
/// How often an alert that stands is posted again; two of three posts may fail.
pub const ALERT_REPEAT: Span = Span::minutes(5);

/// The longest value of an annotation, in characters: receivers behind Alertmanager cut at a few thousand.
const MAX_ANNOTATION: usize = 4000;

pub(super) fn request(url: &str, attempt: Attempt<'_>) -> Request {
    let url = format!("{}/api/v2/alerts", url.trim_end_matches('/'));
    post_json(&url, &alerts(attempt))
}

/// One alert while it stands. When it is over, it is ended under every severity that it may have had: severity and page are
/// labels, because people route by them, and the message that ends an incident does not carry those that it fired with. Ending
/// what never fired does nothing.
fn alerts(attempt: Attempt<'_>) -> Value {
    let Attempt { message, firing, now, .. } = attempt;
    if firing {
        return json!([alert(message, now + ALERT_TTL)]);
    }
    let mut faces = vec![(message.severity, message.page)];
    if name(message.kind) == INCIDENT {
        for face in [(Severity::Critical, true), (Severity::Critical, false), (Severity::Warning, false)] {
            if !faces.contains(&face) {
                faces.push(face);
            }
        }
    }
    let ended = |(severity, page)| alert(&Message { severity, page, ..message.clone() }, now);
    faces.into_iter().map(ended).collect()
}

fn alert(message: &Message, ends: Time) -> Value {
    let started = started(message);
    json!({
        "labels": labels(message),
        "annotations": annotations(message),
        "startsAt": started.to_string(),
        // Alertmanager refuses an end before the start, which a clock that was set back could give.
        "endsAt": ends.max(started).to_string(),
    })
}

const INCIDENT: &str = "PerennialIncident";

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Notice => "PerennialNotice",
        Kind::Test => "PerennialTest",
        Kind::IncidentOpened | Kind::IncidentUpdated | Kind::IncidentAcknowledged | Kind::IncidentResolved | Kind::IncidentRetired => {
            INCIDENT
        }
    }
}

/// Nothing of the certificate is in them: no serial, no date, no fingerprint. A renewal leaves the alert what it is. Nor is
/// what may change while an incident stands: its lines, and with them its secrets, services and regions; these are annotations.
fn labels(message: &Message) -> Map<String, Value> {
    let secret = message.secret.as_deref().filter(|_| message.kind == Kind::Notice);
    [
        ("alertname", name(message.kind).to_owned()),
        ("subject", escape(&message.subject)),
        ("code", escape(&message.code)),
        ("secret", secret.map(escape).unwrap_or_default()),
        ("team", escape(&message.team)),
        ("severity", severity(message).to_owned()),
        ("page", if message.page { "true" } else { "false" }.to_owned()),
    ]
    .into_iter()
    // Alertmanager takes an empty label for none.
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| (name.to_owned(), Value::from(value)))
    .collect()
}

fn annotations(message: &Message) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("summary".into(), escape(&message.title).into());
    out.insert("event".into(), event(message).into());
    for (name, value) in facts(message) {
        out.insert(name.into(), value.into());
    }
    let targets = targets(message);
    if !targets.is_empty() {
        out.insert("targets".into(), bounded(&targets.join("\n"), MAX_ANNOTATION).into());
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::deliver::sample::{self, pretty};

    fn attempt(message: &Message, firing: bool, now: Time) -> Attempt<'_> {
        Attempt { id: "7", message, firing, now }
    }

    #[test]
    fn alerts_as_posted() {
        let now = Time::from_unix(sample::incident().at_unix) + Span::minutes(5);
        let of = |message: &Message, firing| pretty(&alerts(attempt(message, firing, now)));
        insta::assert_snapshot!("alertmanager_firing", of(&sample::incident(), true));
        insta::assert_snapshot!("alertmanager_resolved", of(&sample::resolved(), false));
        insta::assert_snapshot!("alertmanager_hostile", of(&sample::hostile(), true));
    }

    #[test]
    fn labels_stay_over_a_renewal() {
        let before = sample::incident();
        let mut after = Message { kind: Kind::IncidentUpdated, title: "it goes on".into(), ..before.clone() };
        after.at_unix += 3 * 86_400;
        after.served = None;
        after.should_be = Some("version 9".into());
        after.served_until = None;
        after.remaining_seconds = None;
        after.targets.clear();
        after.regions.clear();
        after.services.push("more".into());
        after.secret = Some("another secret under the same intermediate".into());
        assert_eq!(labels(&before), labels(&after));
    }

    #[test]
    fn the_end_reaches_every_face_that_fired() {
        let resolved = sample::resolved();
        let ended = alerts(attempt(&resolved, false, Time::from_unix(resolved.at_unix)));
        let ended = ended.as_array().unwrap();
        for (severity, page) in [(Severity::Critical, true), (Severity::Critical, false), (Severity::Warning, false)] {
            let fired = labels(&Message { severity, page, ..sample::incident() });
            let found = ended.iter().filter(|alert| alert["labels"] == Value::Object(fired.clone())).count();
            assert_eq!(found, 1, "{severity:?} {page}");
        }
    }

    #[test]
    fn an_end_is_never_before_its_start() {
        let message = sample::incident();
        let now = started(&message) - Span::days(1);
        for firing in [true, false] {
            let alerts = alerts(attempt(&message, firing, now));
            assert_eq!(alerts[0]["endsAt"], alerts[0]["startsAt"], "{firing}");
        }
    }

    #[test]
    fn the_url() {
        let message = sample::test();
        for (base, url) in [
            ("http://am:9093/", "http://am:9093/api/v2/alerts"),
            ("https://am.example.com/prefix", "https://am.example.com/prefix/api/v2/alerts"),
        ] {
            assert_eq!(request(base, attempt(&message, true, Time::from_unix(0))).url, url);
        }
    }
}
