//! Certificates of authorities: the root, which signs itself, and those below it.

use super::{AUTHORITY_USAGE, Basic, Constraints, IssueError, Issuer, Prepared, Tbs, key_identifier, linted, subject};
use crate::certificate::Certificate;
use crate::csr::{Checked, MAX_COMMON_NAME};
use crate::key::PrivateKey;
use crate::lint;
use crate::sign::Signer;
use crate::time::Time;

/// What an authority's certificate says.
#[derive(Clone, Copy, Debug)]
pub struct AuthorityTemplate<'a> {
    /// The common name, 1 to 64 characters.
    pub common_name: &'a str,
    /// The organization, at most 64 characters.
    pub organization: Option<&'a str>,
    /// First second of validity.
    pub not_before: Time,
    /// Last second of validity.
    pub not_after: Time,
    /// 128 random bits; not all zero.
    pub serial: [u8; 16],
    /// How many authorities may follow below: 0 for one that issues, 1 or `None` for a root.
    pub path_length: Option<u8>,
    /// What it may certify. The best place for constraints is the issuing authority: many clients ignore those of a root.
    pub constraints: &'a Constraints,
    /// Where the CRL of whoever signs this is fetched.
    pub crl: Option<&'a str>,
}

/// A root: signed by its own key, after a rehearsal like any other certificate.
///
/// # Errors
/// See [`IssueError`].
pub fn root(key: &PrivateKey, template: &AuthorityTemplate<'_>) -> Result<Certificate, IssueError> {
    let signer = Signer::new(key)?;
    let name = name(template)?;
    let identifier = key_identifier(key.spki_der());
    let tbs = tbs(template, &signer.algorithm(), &name, &name, key.spki_der(), &identifier);
    // It is its own context: what is linted is whether it fits itself.
    let rehearsed = Certificate::parse(signer.throw_away()?.signed(&tbs)?)?;
    let context = lint::Context::of(&rehearsed).ok_or_else(|| IssueError::Template("its extensions cannot be read".into()))?;
    let linted = linted(rehearsed.der().to_vec(), &context, rehearsed.fingerprint())?;
    Ok(Certificate::parse(signer.signed(linted.tbs())?)?)
}

impl Issuer {
    /// Encodes the certificate of an authority below this one. The request brings its public key and nothing else; it was checked with rules that
    /// permit no name.
    ///
    /// # Errors
    /// See [`IssueError::Template`].
    pub fn prepare_authority(&self, checked: &Checked, template: &AuthorityTemplate<'_>) -> Result<Prepared, IssueError> {
        let issuer = self.certificate.subject_der();
        let tbs = tbs(template, &self.algorithm, issuer, &name(template)?, checked.spki_der(), &self.key_identifier);
        Ok(Prepared { tbs })
    }
}

fn name(template: &AuthorityTemplate<'_>) -> Result<Vec<u8>, IssueError> {
    let fits = |text: &str| (1..=MAX_COMMON_NAME).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if !fits(template.common_name) || !template.organization.is_none_or(fits) {
        return Err(IssueError::Template("common name and organization have 1 to 64 characters, none of them a control character".into()));
    }
    if template.serial == [0; 16] {
        return Err(IssueError::Template("its serial number is zero; 128 random bits are".into()));
    }
    if let Some(problem) = template.constraints.problem() {
        return Err(IssueError::Template(format!("name constraint {problem}")));
    }
    Ok(subject(Some(template.common_name), template.organization))
}

fn tbs(template: &AuthorityTemplate<'_>, algorithm: &[u8], issuer: &[u8], name: &[u8], spki: &[u8], issuer_key: &[u8]) -> Vec<u8> {
    let tbs = Tbs {
        serial: &template.serial,
        algorithm,
        issuer,
        not_before: template.not_before,
        not_after: template.not_after,
        subject: name,
        spki,
        basic: Basic::Authority { path_length: template.path_length },
        key_usage: AUTHORITY_USAGE,
        usages: &[],
        authority_key_identifier: Some(issuer_key),
        names: &[],
        constraints: Some(template.constraints),
        policies: &[],
        crl: template.crl,
        more: &[],
    };
    tbs.encode()
}
