//! A finding as a line: for programs and for people.

use std::fmt::Display;

use artifact::{Finding, KeyState, What};
use pki::Time;
use serde::{Serialize, Serializer};

use super::scan::Accepted;

/// How a finding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// A certificate within its dates.
    Ok,
    /// One that begins later; a build may be ahead of its time.
    NotYetValid,
    /// A private key that is protected.
    EncryptedKey,
    /// Worth knowing.
    Note,
    /// A certificate that is over.
    Expired,
    /// A private key that whoever has the build has.
    ClearKey,
    /// Something that was not looked into, or is not what it pretends to be.
    Problem,
}

impl Standing {
    pub(super) const ALL: [Standing; 7] =
        [Self::Ok, Self::NotYetValid, Self::EncryptedKey, Self::Note, Self::Expired, Self::ClearKey, Self::Problem];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotYetValid => "not-yet-valid",
            Self::EncryptedKey => "encrypted-key",
            Self::Note => "note",
            Self::Expired => "expired",
            Self::ClearKey => "clear-key",
            Self::Problem => "problem",
        }
    }

    fn is_bad(self) -> bool {
        matches!(self, Self::Expired | Self::ClearKey | Self::Problem)
    }
}

/// A finding, held against the time and what was accepted.
pub(super) struct Judged<'f> {
    finding: &'f Finding,
    now: Time,
    pub(super) standing: Standing,
    pub(super) accepted: bool,
}

impl Judged<'_> {
    /// True if the scan ends with 1 because of it.
    pub(super) fn is_bad(&self) -> bool {
        self.standing.is_bad() && !self.accepted
    }
}

/// Says how a finding stands at this time.
pub(super) fn judge<'f>(finding: &'f Finding, now: Time, accepted: &[Accepted]) -> Judged<'f> {
    let (standing, names) = match &finding.what {
        What::Certificate(certificate) => {
            // A guardian treats the last second as already over.
            let standing = if certificate.not_after() != Time::NO_EXPIRY && now >= certificate.not_after() {
                Standing::Expired
            } else if now < certificate.not_before() {
                Standing::NotYetValid
            } else {
                Standing::Ok
            };
            (standing, vec![Accepted::Thing(certificate.fingerprint()), Accepted::Thing(certificate.spki_fingerprint())])
        }
        What::PrivateKey(key) => {
            let standing = if key.state == KeyState::Clear { Standing::ClearKey } else { Standing::EncryptedKey };
            (standing, key.spki_fingerprint.map(Accepted::Thing).into_iter().collect())
        }
        What::Problem(problem) => {
            (if problem.code.counts() { Standing::Problem } else { Standing::Note }, vec![Accepted::Problem(problem.code)])
        }
    };
    let accepted = standing.is_bad() && names.iter().any(|name| accepted.contains(name));
    Judged { finding, now, standing, accepted }
}

/// The object of one line. Fields may be added; none is ever renamed, and absent facts are null.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    kind: &'static str,
    form: Option<&'static str>,
    standing: &'static str,
    finding: bool,
    accepted: bool,
    fingerprint_sha256: Option<Shown<pki::Fingerprint>>,
    spki_sha256: Option<Shown<pki::Fingerprint>>,
    subject: Option<&'a str>,
    issuer: Option<&'a str>,
    names: Option<Names<'a>>,
    serial: Option<String>,
    not_before: Option<Shown<Time>>,
    not_after: Option<Shown<Time>>,
    remaining_seconds: Option<i64>,
    is_ca: Option<bool>,
    private_key: Option<&'static str>,
    key: Option<Shown<&'a pki::KeyKind>>,
    key_format: Option<&'a str>,
    alias: Option<&'a str>,
    offset: Option<u64>,
    layer: Option<Layer<'a>>,
    problem: Option<Problem<'a>>,
    detail: Option<&'a str>,
    at: Shown<Time>,
}

#[derive(Serialize)]
struct Layer<'a> {
    number: usize,
    of: usize,
    image: Option<&'a str>,
}

#[derive(Serialize)]
struct Problem<'a> {
    code: &'static str,
    detail: &'a str,
}

/// Serialised as it is displayed.
struct Shown<T>(T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Escaped, each as text.
struct Names<'a>(&'a [pki::Name]);

impl Serialize for Names<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Shown))
    }
}

/// A JSON object and a line end.
pub(super) fn json(judged: &Judged<'_>) -> String {
    let finding = judged.finding;
    let (certificate, key, problem) = match &finding.what {
        What::Certificate(certificate) => (Some(certificate), None, None),
        What::PrivateKey(key) => (None, Some(key), None),
        What::Problem(problem) => (None, None, Some(problem)),
    };
    let line = Line {
        path: &finding.path,
        kind: match &finding.what {
            What::Certificate(_) => "certificate",
            What::PrivateKey(_) => "private-key",
            What::Problem(_) => "problem",
        },
        form: finding.form.map(artifact::Form::as_str),
        standing: judged.standing.as_str(),
        finding: judged.is_bad(),
        accepted: judged.accepted,
        fingerprint_sha256: certificate.map(|found| Shown(found.fingerprint())),
        spki_sha256: certificate.map(pki::Certificate::spki_fingerprint).or(key.and_then(|key| key.spki_fingerprint)).map(Shown),
        subject: certificate.map(pki::Certificate::subject),
        issuer: certificate.map(pki::Certificate::issuer),
        names: certificate.map(|found| Names(found.names())),
        serial: certificate.map(pki::Certificate::serial),
        not_before: certificate.map(|found| Shown(found.not_before())),
        not_after: certificate.map(|found| Shown(found.not_after())),
        remaining_seconds: certificate.map(|found| (found.not_after() - judged.now).as_secs()),
        is_ca: certificate.map(pki::Certificate::is_ca),
        private_key: key.map(|key| match key.state {
            KeyState::Clear => "clear",
            KeyState::Encrypted => "encrypted",
        }),
        key: certificate.map(pki::Certificate::key).or(key.and_then(|key| key.kind.as_ref())).map(Shown),
        key_format: key.map(|key| key.format.as_str()),
        alias: finding.alias.as_deref(),
        offset: finding.offset,
        layer: finding.layer.as_ref().map(|layer| Layer { number: layer.number, of: layer.of, image: layer.image.as_deref() }),
        problem: problem.map(|problem| Problem { code: problem.code.as_str(), detail: &problem.detail }),
        detail: key.and_then(|key| key.detail.as_deref()),
        at: Shown(judged.now),
    };
    // Nothing in it can fail: no maps, and only text.
    let mut text = serde_json::to_string(&line).unwrap_or_default();
    text.push('\n');
    text
}

/// A line for people: how it stands, where it is, what it is, until when.
pub(super) fn readable(judged: &Judged<'_>, colours: bool) -> String {
    let finding = judged.finding;
    let colour = match judged.standing {
        _ if !colours => None,
        _ if judged.accepted => Some("2"),
        Standing::Ok | Standing::EncryptedKey | Standing::NotYetValid => Some("32"),
        Standing::Note => Some("33"),
        Standing::Expired | Standing::ClearKey | Standing::Problem => Some("31"),
    };
    let word = format!("{:<13}", judged.standing.as_str());
    let word = colour.map_or(word.clone(), |colour| format!("\u{1b}[{colour}m{word}\u{1b}[0m"));
    let what = match &finding.what {
        What::Certificate(certificate) => {
            let name = match (certificate.subject(), certificate.names().first()) {
                ("", Some(name)) => name.to_string(),
                ("", None) => format!("serial {}", certificate.serial()),
                (subject, _) => subject.to_owned(),
            };
            format!("{name}, {}", when(certificate, judged.now))
        }
        What::PrivateKey(key) => {
            let state = match key.state {
                KeyState::Clear => "private key in the clear",
                KeyState::Encrypted => "private key, encrypted",
            };
            let kind = key.kind.as_ref().map(|kind| format!(", {kind}")).unwrap_or_default();
            let detail = key.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
            format!("{state} ({}{kind}){detail}", key.format)
        }
        What::Problem(problem) => format!("{} [{}]", problem.detail, problem.code.as_str()),
    };
    let alias = finding.alias.as_ref().map(|alias| format!(", alias {alias}")).unwrap_or_default();
    let layer = finding.layer.as_ref().map(|layer| {
        let image = layer.image.as_ref().map(|image| format!(" of {image}")).unwrap_or_default();
        format!(", layer {} of {}{image}", layer.number, layer.of)
    });
    let accepted = if judged.accepted { ", accepted" } else { "" };
    format!("{word} {}: {what}{alias}{}{accepted}\n", finding.path, layer.unwrap_or_default())
}

/// "expires 2027-02-22T20:29:53Z, in 91 d"
fn when(certificate: &pki::Certificate, now: Time) -> String {
    let until = certificate.not_after();
    if until == Time::NO_EXPIRY {
        return "never expires".into();
    }
    if now >= until {
        return format!("expired {until}, {} ago", now - until);
    }
    if now < certificate.not_before() {
        return format!("valid from {}, in {}", certificate.not_before(), certificate.not_before() - now);
    }
    format!("expires {until}, in {}", until - now)
}
