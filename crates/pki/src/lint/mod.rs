//! What is wrong with a certificate, before it is signed.
//!
//! Findings have a code for programs, a severity, and a sentence. What is at warning or above is not signed by [`crate::issue`].

mod extensions;
mod names;
mod view;

use std::fmt;

use crate::certificate::Certificate;
use crate::der;
use crate::issue::Constraints;
use crate::time::Time;
use view::View;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing to be done.
    Notice,
    /// Some clients, or some tools, will object.
    Warning,
    /// Against a standard.
    Error,
}

/// One thing that is wrong, or odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// For programs; never changes.
    pub code: &'static str,
    /// How grave it is.
    pub severity: Severity,
    /// For people; escaped.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.detail, self.code)
    }
}

/// What is to be known of the issuer.
#[derive(Clone, Debug)]
pub struct Context {
    subject: Vec<u8>,
    key_identifier: Option<Vec<u8>>,
    not_before: Time,
    not_after: Time,
    path_length: Option<u32>,
    constraints: Option<Constraints>,
}

impl Context {
    /// What this certificate says as an issuer; `None` if its extensions cannot be read.
    #[must_use]
    pub fn of(issuer: &Certificate) -> Option<Self> {
        let view = View::of(issuer.der())?;
        let constraints = match view.extension(30) {
            Some(extension) => Some(Constraints::read(extension.value)?),
            None => None,
        };
        Some(Self {
            subject: issuer.subject_der().to_vec(),
            key_identifier: view.subject_key_identifier().map(<[u8]>::to_vec),
            not_before: issuer.not_before(),
            not_after: issuer.not_after(),
            path_length: issuer.path_length(),
            constraints,
        })
    }

    pub(crate) fn key_identifier(&self) -> Option<&[u8]> {
        self.key_identifier.as_deref()
    }
}

/// Lints a certificate, and holds it against its issuer if that is given. What was found comes in a fixed order.
#[must_use]
pub fn certificate(certificate: &Certificate, issuer: Option<&Context>) -> Vec<Finding> {
    let mut found = Found(vec![]);
    match View::of(certificate.der()) {
        Some(view) => {
            let subject = Subject { certificate, view: &view, is_ca: certificate.is_ca() };
            fields(&subject, issuer, &mut found);
            extensions::lint(&subject, issuer, &mut found);
            names::lint(&subject, issuer, &mut found);
        }
        None => found.error("structure", "its structure or one of its extensions is broken, or it has more than 64 extensions".into()),
    }
    found.0
}

/// What is linted.
struct Subject<'a> {
    certificate: &'a Certificate,
    view: &'a View<'a>,
    is_ca: bool,
}

/// What was found so far.
struct Found(Vec<Finding>);

impl Found {
    fn notice(&mut self, code: &'static str, detail: String) {
        self.0.push(Finding { code, severity: Severity::Notice, detail });
    }

    fn warning(&mut self, code: &'static str, detail: String) {
        self.0.push(Finding { code, severity: Severity::Warning, detail });
    }

    fn error(&mut self, code: &'static str, detail: String) {
        self.0.push(Finding { code, severity: Severity::Error, detail });
    }
}

/// Everything before the extensions (RFC 5280 §4.1).
fn fields(subject: &Subject<'_>, issuer: Option<&Context>, found: &mut Found) {
    let (certificate, view) = (subject.certificate, subject.view);
    if view.version != Some(&[2]) {
        found.error("version", "it is not a certificate of version 3 (RFC 5280 §4.1.2.1)".into());
    }
    match view.serial {
        [] | [0x80..=0xff, ..] => found.error("serial-negative", "its serial number is negative (RFC 5280 §4.1.2.2)".into()),
        serial if serial.iter().all(|&octet| octet == 0) => {
            found.error("serial-zero", "its serial number is zero (RFC 5280 §4.1.2.2)".into())
        }
        serial if serial.len() > 20 => found.error("serial-long", "its serial number has more than 20 octets (RFC 5280 §4.1.2.2)".into()),
        [0, 0..=0x7f, ..] => found.error("serial-padded", "its serial number has a zero too many in front (X.690 §8.3.2)".into()),
        serial if serial.len() < 8 => {
            found.warning("serial-short", "its serial number has fewer than 64 bits, so it can be foreseen".into())
        }
        _ => {}
    }
    if view.inner_algorithm != view.outer_algorithm {
        let detail = "the signature algorithm inside is not the one outside (RFC 5280 §4.1.1.2)";
        found.error("algorithm-mismatch", detail.into());
    }
    if certificate.has_weak_signature() {
        found.error("weak-signature", format!("it is signed with {}, which can be forged", certificate.signature_algorithm()));
    }
    if certificate.key().is_weak() {
        found.error("weak-key", format!("its key, {}, is too weak", certificate.key()));
    }
    if view.unique_identifiers {
        found.error("unique-identifier", "it has a unique identifier, which authorities must not give (RFC 5280 §4.1.2.8)".into());
    }
    let (from, until) = (certificate.not_before(), certificate.not_after());
    for (name, time, element) in [("notBefore", from, view.not_before), ("notAfter", until, view.not_after)] {
        let expected = if (1950..2050).contains(&time.date().year()) { der::UTC_TIME } else { der::GENERALIZED_TIME };
        if element.tag != expected {
            let detail = format!("its {name} is not a UTCTime through 2049 and a GeneralizedTime from 2050 (RFC 5280 §4.1.2.5)");
            found.error("date-form", detail);
        }
    }
    if until < from {
        found.error("never-valid", format!("it would end at {until}, before it begins at {from}"));
    }
    if let Some(issuer) = issuer {
        if view.issuer != issuer.subject {
            found.error("issuer-mismatch", "its issuer is not the subject of whoever issues it (RFC 5280 §4.1.2.4)".into());
        }
        if until > issuer.not_after {
            found.error("outlives-issuer", format!("it would end at {until}, after its issuer, which ends at {}", issuer.not_after));
        }
        if from > issuer.not_after {
            found.error("begins-after-issuer", format!("it would begin at {from}, after its issuer has ended at {}", issuer.not_after));
        }
        if from < issuer.not_before {
            found.notice("begins-before-issuer", format!("it begins at {from}, before its issuer, which begins at {}", issuer.not_before));
        }
    }
    if view.subject == [der::SEQUENCE, 0] && subject.is_ca {
        found.error("subject-empty", "an authority has a subject (RFC 5280 §4.1.2.6)".into());
    }
    if view.issuer == [der::SEQUENCE, 0] {
        found.error("issuer-empty", "its issuer is empty (RFC 5280 §4.1.2.4)".into());
    }
}

#[cfg(test)]
mod tests;
