//! Issuing certificates: every step gives a value that only it can make, and only the last one of them can be signed.
//!
//! ```text
//! csr::check(csr, &rules)                        → Checked    may be certified: a public key and permitted names
//!   → issuer.prepare(&checked, &template)        → Prepared   the bytes that would be signed (TBSCertificate)
//!   → issuer.rehearse(prepared)                  → Linted     signed with a throw-away key, read back, linted: nothing at warning or above
//!   → store linted.tbs()                                      what will be signed is stored before it is signed
//!   → issuer.sign(linted)                        → Certificate
//! ```
//!
//! After a crash between the last two, `issuer.take_up(tbs)` lints the stored bytes again and gives the `Linted` back. The certificate's
//! TBSCertificate is those bytes exactly: issuer, identifiers and serial number are the real ones from the beginning, and the signature of the
//! rehearsal, which is thrown away, is the only thing that differs.
//!
//! Of a request nothing gets into a certificate but its public key and names that were permitted. Times and serial numbers come from the
//! caller. Signatures draw their randomness inside the cryptographic library; the throw-away key is made once for an [`Issuer`].

mod authority;
mod constraints;
mod tbs;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use crate::algorithm::KeyKind;
use crate::certificate::{Certificate, ParseError};
use crate::csr::Checked;
use crate::der::Writer;
use crate::fingerprint::Fingerprint;
use crate::key::PrivateKey;
use crate::lint::{self, Finding, Severity};
use crate::san::San;
use crate::sign::{SignError, Signer};
use crate::time::Time;

pub use authority::{AuthorityTemplate, root};
pub use constraints::{Constraints, Subtree};
pub(crate) use tbs::{
    AUTHORITY_USAGE, Basic, CLIENT_AUTH, DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, SERVER_AUTH, Tbs, authority_key_identifier, extension,
    generalized, key_identifier, put_time, subject,
};

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// TLS servers: extended key usage serverAuth.
    Server,
    /// TLS clients: clientAuth.
    Client,
    /// Both.
    Both,
    /// An X509-SVID: exactly one URI, a SPIFFE identity; for servers and clients.
    Spiffe,
}

impl Profile {
    /// "server", "client", "both" or "spiffe".
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Both => "both",
            Self::Spiffe => "spiffe",
        }
    }

    /// The profile with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Server, Self::Client, Self::Both, Self::Spiffe].into_iter().find(|profile| profile.as_str() == text)
    }

    const fn is_for_servers(self) -> bool {
        !matches!(self, Self::Client)
    }

    const fn is_for_clients(self) -> bool {
        !matches!(self, Self::Server)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which of the permitted names a certificate gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// All that were permitted, in their order: the policy alone says.
    Permitted,
    /// Those that were asked for; all that were permitted if none was.
    Asked,
}

/// What the policy says of a certificate.
#[derive(Clone, Copy, Debug)]
pub struct Template<'a> {
    /// What it is for.
    pub profile: Profile,
    /// Its names.
    pub names: Names,
    /// A common name for what still looks there: the first DNS name or address that has at most 64 characters. Without it, or where there is
    /// no such name, the subject is empty.
    pub common_name: bool,
    /// First second of validity.
    pub not_before: Time,
    /// Last second of validity.
    pub not_after: Time,
    /// 128 random bits (RFC 5280 §4.1.2.2); not all zero.
    pub serial: [u8; 16],
    /// Where the issuer's CRL is fetched, if it has one.
    pub crl: Option<&'a str>,
    /// Dotted identifiers of certificate policies.
    pub policies: &'a [&'a str],
}

/// Why nothing was issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// A certificate and key that do not make an issuer.
    #[error("{subject} cannot issue certificates: {problem}")]
    NoIssuer {
        /// Its subject, escaped.
        subject: String,
        /// What is missing.
        problem: &'static str,
    },
    /// The policy asks for something that the profile does not have.
    #[error("the certificate cannot be made as asked: {0}")]
    Template(String),
    /// The rehearsed certificate has findings at warning or above; all findings are here.
    #[error("the certificate was rehearsed and is not issued: {}", sentences(.0))]
    Lint(Vec<Finding>),
    /// The rehearsed certificate belongs to another issuer.
    #[error("the certificate was rehearsed by another issuer")]
    OtherIssuer,
    /// What was built cannot be read.
    #[error("what was built is no certificate that we read: {0}")]
    Parse(#[from] ParseError),
    /// The key does not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

fn sentences(findings: &[Finding]) -> String {
    let grave = findings.iter().filter(|finding| finding.severity >= Severity::Warning);
    grave.map(|finding| format!("{} ({})", finding.detail, finding.code)).collect::<Vec<_>>().join("; ")
}

/// An authority that issues: its certificate, its key ready to sign, and a key that is thrown away with it.
pub struct Issuer {
    certificate: Certificate,
    signer: Signer,
    rehearsal: Signer,
    algorithm: Vec<u8>,
    key_identifier: Vec<u8>,
    context: lint::Context,
}

/// Bytes that would be signed. Nobody looked at them yet.
#[derive(Clone, Debug)]
pub struct Prepared {
    tbs: Vec<u8>,
}

/// Bytes that may be signed: [`Issuer::rehearse`] and [`Issuer::take_up`] alone make it, after a lint without a finding at warning or above.
#[derive(Clone, Debug)]
pub struct Linted {
    rehearsed: Certificate,
    tbs: Range<usize>,
    issuer: Fingerprint,
    findings: Vec<Finding>,
}

impl Prepared {
    /// The TBSCertificate, DER.
    #[must_use]
    pub fn tbs(&self) -> &[u8] {
        &self.tbs
    }
}

impl Linted {
    /// The TBSCertificate, DER: what is to be stored before it is signed, and what will be signed.
    #[must_use]
    pub fn tbs(&self) -> &[u8] {
        &self.rehearsed.der()[self.tbs.clone()]
    }

    /// The certificate as it was rehearsed: everything in it is real except the signature, which nobody accepts.
    #[must_use]
    pub fn rehearsed(&self) -> &Certificate {
        &self.rehearsed
    }

    /// What the lint remarked, below warning.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

impl Issuer {
    /// Takes up an authority: its certificate, wherever it was made, and its key. Makes the throw-away key, which is slow for RSA.
    ///
    /// # Errors
    /// [`IssueError::NoIssuer`]: the key does not fit, it is no CA, may not sign certificates, or has no key identifier.
    pub fn new(certificate: Certificate, key: &PrivateKey) -> Result<Self, IssueError> {
        let refuse = |problem| Err(IssueError::NoIssuer { subject: certificate.subject().to_owned(), problem });
        if !key.fits(&certificate) {
            return refuse("the key is not its key");
        }
        if !certificate.is_ca() {
            return refuse("it is no CA certificate");
        }
        if !certificate.key_usage().is_some_and(|usage| usage.allows("keyCertSign")) {
            return refuse("its keyUsage does not allow keyCertSign");
        }
        let Some(context) = lint::Context::of(&certificate) else {
            return refuse("its extensions cannot be read");
        };
        let Some(key_identifier) = context.key_identifier().map(<[u8]>::to_vec) else {
            return refuse("it has no subject key identifier (RFC 5280 §4.2.1.2)");
        };
        let signer = Signer::new(key)?;
        let rehearsal = signer.throw_away()?;
        Ok(Self { algorithm: signer.algorithm(), certificate, signer, rehearsal, key_identifier, context })
    }

    /// Its own certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Encodes what would be signed, from the policy, and of the request only the public key and permitted names.
    ///
    /// # Errors
    /// [`IssueError::Template`]: no names, or not those that the profile asks for; a serial number of zero; a policy identifier that is none.
    pub fn prepare(&self, checked: &Checked, template: &Template<'_>) -> Result<Prepared, IssueError> {
        let refuse = |problem: &str| Err(IssueError::Template(problem.into()));
        let names = match template.names {
            Names::Asked if !checked.asked().is_empty() => checked.asked(),
            Names::Asked | Names::Permitted => checked.permitted(),
        };
        if names.is_empty() {
            return refuse("it has no name");
        }
        if template.serial == [0; 16] {
            return refuse("its serial number is zero; 128 random bits are");
        }
        if template.profile == Profile::Spiffe && names.iter().filter_map(San::as_uri).count() != 1 {
            return refuse("an X509-SVID has exactly one URI (X509-SVID §2)");
        }
        if template.profile == Profile::Spiffe && !names.iter().any(San::is_spiffe) {
            return refuse("the URI of an X509-SVID is a SPIFFE identity");
        }
        let policies = template.policies.iter().map(|policy| tbs::object_identifier(policy)).collect::<Option<Vec<_>>>();
        let Some(policies) = policies else {
            return refuse("a certificate policy is not a dotted object identifier");
        };
        let common_name = if template.common_name { short_name(names) } else { None };
        // RSA keys may be used to transport keys with TLS 1.2's older suites; nothing else signs and transports.
        let transports = template.profile.is_for_servers() && matches!(checked.key(), KeyKind::Rsa { .. });
        let mut usages: Vec<&[u8]> = Vec::with_capacity(2);
        if template.profile.is_for_servers() {
            usages.push(&tbs::SERVER_AUTH);
        }
        if template.profile.is_for_clients() {
            usages.push(&tbs::CLIENT_AUTH);
        }
        let mut encoded = Writer::with_capacity(64 * names.len());
        names.iter().for_each(|name| name.write(&mut encoded));
        let tbs = Tbs {
            serial: &template.serial,
            algorithm: &self.algorithm,
            issuer: self.certificate.subject_der(),
            not_before: template.not_before,
            not_after: template.not_after,
            subject: &subject(common_name.as_deref(), None),
            spki: checked.spki_der(),
            basic: Basic::Leaf,
            key_usage: DIGITAL_SIGNATURE | if transports { KEY_ENCIPHERMENT } else { 0 },
            usages: &usages,
            authority_key_identifier: Some(&self.key_identifier),
            names: &encoded.into_bytes(),
            constraints: None,
            policies: &policies,
            crl: template.crl,
            more: &[],
        };
        Ok(Prepared { tbs: tbs.encode() })
    }

    /// Signs it with the throw-away key, reads the result back, and lints it.
    ///
    /// # Errors
    /// [`IssueError::Lint`] with all findings, if one is at warning or above; [`IssueError::Parse`] if it cannot be read back.
    pub fn rehearse(&self, prepared: Prepared) -> Result<Linted, IssueError> {
        self.take_up(&prepared.tbs)
    }

    /// The same for bytes that were stored, so that what was intended can be acted on after a crash.
    ///
    /// # Errors
    /// As [`Issuer::rehearse`]: stored bytes are not believed.
    pub fn take_up(&self, tbs: &[u8]) -> Result<Linted, IssueError> {
        linted(self.rehearsal.signed(tbs)?, &self.context, self.certificate.fingerprint())
    }

    /// Signs.
    ///
    /// # Errors
    /// [`IssueError::OtherIssuer`]; a key that fails.
    pub fn sign(&self, linted: &Linted) -> Result<Certificate, IssueError> {
        if linted.issuer != self.certificate.fingerprint() {
            return Err(IssueError::OtherIssuer);
        }
        Ok(Certificate::parse(self.signer.signed(linted.tbs())?)?)
    }

    pub(crate) fn signer(&self) -> &Signer {
        &self.signer
    }

    pub(crate) fn key_identifier(&self) -> &[u8] {
        &self.key_identifier
    }
}

/// Reads and lints what was signed for rehearsal.
fn linted(signed: Vec<u8>, context: &lint::Context, issuer: Fingerprint) -> Result<Linted, IssueError> {
    let rehearsed = Certificate::parse(signed)?;
    let findings = lint::certificate(&rehearsed, Some(context));
    if findings.iter().any(|finding| finding.severity >= Severity::Warning) {
        return Err(IssueError::Lint(findings));
    }
    let (tbs, _, _) = rehearsed.signed_parts().ok_or(ParseError::NotDer("its structure is broken"))?;
    let tbs = crate::certificate::range_within(rehearsed.der(), tbs);
    Ok(Linted { tbs, rehearsed, issuer, findings })
}

/// The identifier that this authority gives its key.
pub(crate) fn subject_key_identifier(authority: &Certificate) -> Option<Vec<u8>> {
    lint::Context::of(authority)?.key_identifier().map(<[u8]>::to_vec)
}

/// The first name that may be a common name.
fn short_name(names: &[San]) -> Option<Cow<'_, str>> {
    names.iter().find_map(|name| match (name.as_dns(), name.as_ip()) {
        (Some(dns), _) if dns.len() <= crate::csr::MAX_COMMON_NAME => Some(dns.into()),
        (_, Some(address)) => Some(address.to_string().into()),
        _ => None,
    })
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}
