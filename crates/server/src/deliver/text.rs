//! A message in words, for people.

use pki::text::escape;
use pki::{Span, Time};

use super::message::{Message, Place};

/// How many targets are listed; the others are counted.
pub(super) const MAX_TARGETS: usize = 20;
/// How many items of any other list are shown.
const MAX_ITEMS: usize = 10;

/// The facts as name and value, in the order in which they are read; without the targets. Names are part of what receivers
/// build on: Alertmanager's annotations, PagerDuty's details.
pub(super) fn facts(message: &Message) -> Vec<(&'static str, String)> {
    let text = |value: &Option<String>| value.as_deref().map(escape).unwrap_or_default();
    let number = |value: Option<i64>| value.map(|number| number.to_string()).unwrap_or_default();
    [
        ("code", escape(&message.code)),
        ("incident", number(message.incident)),
        ("repeats", number(message.repeats)),
        ("secret", text(&message.secret)),
        ("owner", list(&message.teams)),
        ("services", list(&message.services)),
        ("regions", list(&message.regions)),
        ("served", text(&message.served)),
        ("should_be", text(&message.should_be)),
        ("since", text(&message.since)),
        ("runway", message.remaining_seconds.map(runway).unwrap_or_default()),
        ("served_until", text(&message.served_until)),
        ("release", escape(&message.release)),
        ("next_step", escape(&message.next_step)),
        ("evidence", list(&message.evidence)),
        ("at", escape(&message.at)),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .collect()
}

/// One line per target, and one for those that are not listed.
pub(super) fn targets(message: &Message) -> Vec<String> {
    let mut lines: Vec<String> = message.targets.iter().take(MAX_TARGETS).map(target).collect();
    let more = message.target_count.saturating_sub(lines.len() as u64);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

/// The whole message on one line, as `name="value"`.
pub(super) fn line(id: &str, message: &Message) -> String {
    let quoted = |value: &str| format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
    let mut out = format!(
        "{} severity={} page={} id={} subject={} team={} title={}",
        event(message),
        severity(message),
        message.page,
        quoted(&escape(id)),
        quoted(&escape(&message.subject)),
        quoted(&escape(&message.team)),
        quoted(&escape(&message.title)),
    );
    let targets = targets(message).into_iter().map(|line| ("target", line));
    for (name, value) in facts(message).into_iter().chain(targets) {
        out.push_str(&format!(" {name}={}", quoted(&value)));
    }
    out
}

/// The type of an event, as receivers see it.
pub(super) fn event(message: &Message) -> &'static str {
    use super::message::Kind;
    match message.kind {
        Kind::Notice => "notice",
        Kind::IncidentOpened => "incident.opened",
        Kind::IncidentUpdated => "incident.updated",
        Kind::IncidentAcknowledged => "incident.acknowledged",
        Kind::IncidentResolved => "incident.resolved",
        Kind::IncidentRetired => "incident.retired",
        Kind::Test => "test",
    }
}

/// The word for how bad it is, as receivers see it.
pub(super) fn severity(message: &Message) -> &'static str {
    use super::message::Severity;
    match message.severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

/// When the subject of a message began.
pub(super) fn started(message: &Message) -> Time {
    Time::from_unix(message.started_unix)
}

/// `text`, at most `most` characters long.
pub(super) fn bounded(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(most.saturating_sub(1)).collect();
    out.push('…');
    out
}

fn target(place: &Place) -> String {
    let part = |before: &str, text: &str, after: &str| match text {
        "" => String::new(),
        text => format!("{before}{}{after}", escape(text)),
    };
    format!(
        "{}{}{}{}",
        escape(&place.target),
        part(" (", &place.region, ")"),
        part(" at ", &place.address, ""),
        part(": ", &place.detail, "")
    )
}

fn runway(seconds: i64) -> String {
    let left = Span::seconds(seconds);
    if seconds < 0 { format!("over for {}", Span::seconds(0) - left) } else { left.to_string() }
}

fn list(all: &[String]) -> String {
    let shown: Vec<String> = all.iter().take(MAX_ITEMS).map(|item| escape(item)).collect();
    match all.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::sample;

    #[test]
    fn every_fact_is_in_the_line() {
        let lines = [sample::incident(), sample::many(), sample::hostile(), sample::test()].map(|message| line("7", &message));
        insta::assert_snapshot!("log", lines.join("\n"));
    }

    #[test]
    fn a_line_is_one_line_of_visible_text() {
        let line = line("7\n8", &sample::hostile());
        assert!(!line.chars().any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)), "{line}");
        assert!(line.len() < 20_000, "{} bytes", line.len());
    }

    #[test]
    fn bounds() {
        for (text, most, expected) in [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("äöüß", 4, "äöüß"), ("äöüßé", 4, "äöü…"), ("", 0, "")]
        {
            assert_eq!(bounded(text, most), expected);
        }
    }
}
