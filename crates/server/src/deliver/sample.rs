//! Messages for tests.
#![allow(clippy::unwrap_used)]

use pki::Time;

use super::{Kind, Message, Place, Severity};

pub(super) fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

fn unix(text: &str) -> i64 {
    Time::parse(text).unwrap().unix()
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

/// Two targets in front of an expiry, with everything said.
pub(crate) fn incident() -> Message {
    Message {
        kind: Kind::IncidentOpened,
        subject: "incident/42".into(),
        title: "REPEAT: blob-wildcard: 2 of 3 targets serve a certificate that ends in 46 d".into(),
        severity: Severity::Critical,
        page: true,
        team: "storage".into(),
        teams: texts(&["storage", "edge"]),
        services: texts(&["blob"]),
        regions: texts(&["north", "south"]),
        code: "leaf-expiring".into(),
        incident: Some(42),
        repeats: Some(17),
        secret: Some("blob-wildcard".into()),
        targets: vec![
            Place {
                target: "blob-north".into(),
                address: "192.0.2.7:443".into(),
                region: "north".into(),
                detail: "serves 5b1f… until 2013-02-22T20:29:53Z".into(),
            },
            Place {
                target: "blob-south".into(),
                address: "[2001:db8::7]:443".into(),
                region: "south".into(),
                detail: "unreachable".into(),
            },
        ],
        target_count: 2,
        served: Some("5b1f".repeat(16)),
        should_be: Some("version 8".into()),
        since: Some("2013-01-07T10:00:00Z".into()),
        served_until: Some("2013-02-22T20:29:53Z".into()),
        remaining_seconds: Some(46 * 86_400),
        release: "storage-2013-02, due 2013-02-01T00:00:00Z".into(),
        next_step: "put the right certificate where it is served".into(),
        evidence: Vec::new(),
        at: "2013-01-07T20:29:53Z".into(),
        at_unix: unix("2013-01-07T20:29:53Z"),
        started_unix: unix("2013-01-07T10:00:00Z"),
    }
}

/// The same, over: quiet, and with its evidence.
pub(super) fn resolved() -> Message {
    Message {
        kind: Kind::IncidentResolved,
        title: "resolved: blob-wildcard".into(),
        severity: Severity::Warning,
        page: false,
        served_until: None,
        remaining_seconds: None,
        evidence: texts(&["1001", "1002"]),
        at: "2013-01-09T20:29:53Z".into(),
        at_unix: unix("2013-01-09T20:29:53Z"),
        ..incident()
    }
}

/// More targets than are listed, and already over.
pub(super) fn many() -> Message {
    let mut message = incident();
    message.targets = vec![message.targets[0].clone(); 25];
    message.target_count = 1000;
    message.remaining_seconds = Some(-3 * 3600);
    message.teams = (0..12).map(|n| format!("team-{n}")).collect();
    message
}

/// What an attacker would put into a certificate or a configuration.
pub(super) fn hostile() -> Message {
    let evil = "\u{1b}]0;x\u{7}<script>alert(1)</script>\r\n\u{202e}\"\\{{ .Labels }}\u{200b}";
    let place = Place { target: evil.into(), address: evil.into(), region: evil.into(), detail: evil.into() };
    Message {
        title: format!("{evil}{}", "long ".repeat(400)),
        subject: evil.into(),
        team: evil.into(),
        teams: texts(&[evil]),
        services: texts(&[evil]),
        regions: texts(&[evil]),
        code: evil.into(),
        secret: Some(evil.into()),
        targets: vec![place],
        target_count: 1,
        served: Some(evil.into()),
        should_be: Some(evil.into()),
        since: Some(evil.into()),
        served_until: Some(evil.into()),
        release: evil.into(),
        next_step: evil.into(),
        evidence: texts(&[evil]),
        at: evil.into(),
        ..incident()
    }
}

/// Somebody tries a channel: no certificate is concerned.
pub(super) fn test() -> Message {
    Message {
        kind: Kind::Test,
        subject: "test/storage".into(),
        title: "This is a test of the channel".into(),
        severity: Severity::Info,
        page: false,
        team: "storage".into(),
        teams: texts(&["storage"]),
        services: Vec::new(),
        regions: Vec::new(),
        code: "test".into(),
        incident: None,
        repeats: None,
        secret: None,
        targets: Vec::new(),
        target_count: 0,
        served: None,
        should_be: None,
        since: None,
        served_until: None,
        remaining_seconds: None,
        release: String::new(),
        next_step: "nothing".into(),
        evidence: Vec::new(),
        at: "2013-01-07T20:29:53Z".into(),
        at_unix: unix("2013-01-07T20:29:53Z"),
        started_unix: unix("2013-01-07T20:29:53Z"),
    }
}
