//! A report as a line: for programs and for people.

use std::{io::Write as _, net::SocketAddr};

use pki::{Certificate, Time};
use serde::{Serialize, Serializer};

use super::judge::{Link, Report, Served, Standing, Trouble};

/// The object of one line. Fields may be added; none is ever renamed, and absent facts are null.
#[derive(Serialize)]
struct Line<'a> {
    target: &'a str,
    address: Option<SocketAddr>,
    ok: bool,
    error: Option<Error<'a>>,
    standing: &'static str,
    not_before: Option<Instant>,
    not_after: Option<Instant>,
    remaining_seconds: Option<i64>,
    earliest_not_after: Option<Instant>,
    served_until: Option<Instant>,
    fingerprint_sha256: Option<Shown<pki::Fingerprint>>,
    subject: Option<&'a str>,
    issuer: Option<&'a str>,
    names: Option<Names<'a>>,
    verified: bool,
    verify_error: Option<VerifyError<'a>>,
    protocol: Option<&'static str>,
    cipher: Option<&'static str>,
    group: Option<&'static str>,
    client_certificate_asked: Option<bool>,
    note: Option<String>,
    elapsed_ms: u64,
    at: Instant,
    chain: Vec<Facts<'a>>,
}

#[derive(Serialize)]
struct Error<'a> {
    blame: &'static str,
    retry: bool,
    phase: &'static str,
    detail: &'a str,
}

#[derive(Serialize)]
struct VerifyError<'a> {
    code: &'static str,
    detail: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Facts<'a> {
    Readable {
        fingerprint_sha256: Shown<pki::Fingerprint>,
        subject: &'a str,
        issuer: &'a str,
        names: Names<'a>,
        serial: String,
        not_before: Instant,
        not_after: Instant,
        remaining_seconds: i64,
        key: Shown<&'a pki::KeyKind>,
        signature_algorithm: &'a str,
        is_ca: bool,
    },
    Unreadable {
        fingerprint_sha256: Shown<pki::Fingerprint>,
        unreadable: &'a str,
    },
}

/// RFC 3339 in UTC.
type Instant = Shown<Time>;

/// Serialised as it is displayed.
struct Shown<T>(T);

impl<T: std::fmt::Display> Serialize for Shown<T> {
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

/// Appends a JSON object and a line end.
pub(super) fn json(report: &Report, out: &mut Vec<u8>) {
    let served = report.result.as_ref().ok();
    let leaf = served.map(|served| &served.leaf);
    let line = Line {
        target: &report.item.text,
        address: report.address,
        ok: served.is_some(),
        error: report.result.as_ref().err().map(|Trouble { phase, blame, retry, detail }| Error {
            blame: blame.as_str(),
            retry: *retry,
            phase,
            detail,
        }),
        standing: report.standing.as_str(),
        not_before: leaf.map(|leaf| Shown(leaf.not_before())),
        not_after: leaf.map(|leaf| Shown(leaf.not_after())),
        remaining_seconds: leaf.map(|leaf| (leaf.not_after() - report.now).as_secs()),
        earliest_not_after: served.and_then(earliest).map(Shown),
        served_until: served.and_then(|served| served.served_until).map(Shown),
        fingerprint_sha256: leaf.map(|leaf| Shown(leaf.fingerprint())),
        subject: leaf.map(Certificate::subject),
        issuer: leaf.map(Certificate::issuer),
        names: leaf.map(|leaf| Names(leaf.names())),
        verified: served.is_some_and(|served| served.verified.is_ok()),
        verify_error: served
            .and_then(|served| served.verified.as_ref().err())
            .map(|error| VerifyError { code: code(error.code), detail: &error.detail }),
        protocol: served.map(|served| served.protocol),
        cipher: served.map(|served| served.cipher),
        group: served.map(|served| served.group),
        client_certificate_asked: served.map(|served| served.client_certificate_asked),
        note: served.and_then(|served| served.aftermath.as_ref()).map(ToString::to_string),
        elapsed_ms: u64::try_from(report.elapsed.as_millis()).unwrap_or(u64::MAX),
        at: Shown(report.now),
        chain: served.map_or_else(Vec::new, |served| served.chain.iter().map(|link| facts(link, report.now)).collect()),
    };
    // Writing to memory cannot fail, and nothing in a line is a map with keys that are not text.
    if serde_json::to_writer(&mut *out, &line).is_ok() {
        out.push(b'\n');
    }
}

/// The smallest notAfter of all that was sent.
fn earliest(served: &Served) -> Option<Time> {
    served.chain.iter().filter_map(Link::certificate).map(Certificate::not_after).min()
}

fn facts(link: &Link, now: Time) -> Facts<'_> {
    match link {
        Link::Certificate(certificate) => Facts::Readable {
            fingerprint_sha256: Shown(certificate.fingerprint()),
            subject: certificate.subject(),
            issuer: certificate.issuer(),
            names: Names(certificate.names()),
            serial: certificate.serial(),
            not_before: Shown(certificate.not_before()),
            not_after: Shown(certificate.not_after()),
            remaining_seconds: (certificate.not_after() - now).as_secs(),
            key: Shown(certificate.key()),
            signature_algorithm: certificate.signature_algorithm(),
            is_ca: certificate.is_ca(),
        },
        Link::Unreadable(fingerprint, why) => Facts::Unreadable { fingerprint_sha256: Shown(*fingerprint), unreadable: why },
    }
}

fn code(code: pki::PathErrorCode) -> &'static str {
    use pki::PathErrorCode as C;
    match code {
        C::UntrustedRoot => "untrusted-root",
        C::IncompleteChain => "incomplete-chain",
        C::Expired => "expired",
        C::NotYetValid => "not-yet-valid",
        C::WrongName => "wrong-name",
        C::BadSignature => "bad-signature",
        C::Constraint => "constraint",
        C::Revoked => "revoked",
        C::Weak => "weak",
        C::Malformed => "malformed",
    }
}

/// Appends a line for people: standing, target, address, until when, and what is wrong. Foreign text has been escaped where it was read.
pub(super) fn readable(report: &Report, colours: bool, out: &mut Vec<u8>) {
    let target = pki::text::escape(&report.item.text);
    let address = report.address.map_or_else(|| "-".to_owned(), |address| address.ip().to_string());
    let (on, off) = if colours { (colour(report.standing), "\x1b[0m") } else { ("", "") };
    // Writing to memory cannot fail.
    let _ = write!(out, "{on}{:<11}{off} {target:<32} {address:<15} ", report.standing.as_str());
    let _ = match &report.result {
        Ok(served) => write_served(served, report, out),
        Err(trouble) => {
            let again = if trouble.retry { "; may pass" } else { "" };
            writeln!(out, "{}: {} ({}{again})", trouble.phase, trouble.detail, trouble.blame)
        }
    };
}

fn write_served(served: &Served, report: &Report, out: &mut Vec<u8>) -> std::io::Result<()> {
    let end = served.leaf.not_after();
    let left = end - report.now;
    if left.as_secs() > 0 {
        write!(out, "expires {}, in {}", zoned(end), left)?;
    } else {
        write!(out, "EXPIRED {}, {} ago", zoned(end), report.now - end)?;
    }
    write!(out, "  {}", served.leaf.subject())?;
    if let Err(error) = &served.verified {
        write!(out, "  ({}: {})", code(error.code), error.detail)?;
    }
    if let (Some(by), Some(until)) = (served.limited_by, served.served_until) {
        let who =
            served.chain.iter().filter_map(Link::certificate).find(|certificate| certificate.fingerprint() == by).map(Certificate::subject);
        write!(out, "  (breaks sooner, {}, with {})", zoned(until), who.unwrap_or("its root"))?;
    }
    if let Some(note) = &served.aftermath {
        write!(out, "  (then {note})")?;
    }
    writeln!(out)
}

/// "2027-02-22 20:29:53Z": the same instant as in JSON, with a space that people read more easily.
fn zoned(time: Time) -> String {
    time.to_string().replacen('T', " ", 1)
}

fn colour(standing: Standing) -> &'static str {
    match standing {
        Standing::Ok => "\x1b[32m",
        Standing::Notice => "\x1b[33m",
        Standing::Incident | Standing::Expired | Standing::Invalid | Standing::Unreachable => "\x1b[31m",
    }
}
