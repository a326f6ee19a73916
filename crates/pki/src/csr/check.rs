//! What stands against a request, all of it at once.

use std::collections::BTreeSet;
use std::fmt;

use super::{Csr, weak};
use crate::algorithm::{Curve, KeyKind, MIN_RSA_BITS};
use crate::certificate::SignatureProblem;
use crate::fingerprint::Fingerprint;
use crate::key::KeyType;
use crate::san::San;

/// Against what a request is held. Everything that is not said to be permitted is refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules<'a> {
    /// The names that the certificate may have. A wildcard permits itself, not what it covers.
    pub permitted: &'a [San],
    /// What the common name may be besides one of `permitted`. It is never copied, but a request that says another name than it
    /// will get is a mistake of somebody.
    pub common_names: &'a [&'a str],
    /// Keys that no certificate is made for here: those of the authorities themselves.
    pub issuer_keys: &'a [Fingerprint],
    /// Keys that are known to be in other hands, by their SubjectPublicKeyInfo: Debian's of 2008, those that leaked, those of revoked certificates.
    pub known_keys: Option<&'a BTreeSet<Fingerprint>>,
    /// The kind of key that the certificate is to have; any good one if `None`.
    pub key_type: Option<KeyType>,
}

/// A request against which nothing stands: only [`check`] makes it. What may be taken from it is a public key and names.
#[derive(Clone, Debug)]
pub struct Checked {
    spki: Box<[u8]>,
    key: KeyKind,
    asked: Vec<San>,
    permitted: Vec<San>,
}

impl Checked {
    /// The names that it asked for, all of them permitted; each once.
    #[must_use]
    pub fn asked(&self) -> &[San] {
        &self.asked
    }

    /// The names that were permitted, asked for or not; each once.
    #[must_use]
    pub fn permitted(&self) -> &[San] {
        &self.permitted
    }

    /// The public key.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// Its kind.
    #[must_use]
    pub const fn key(&self) -> &KeyKind {
        &self.key
    }
}

/// What kind of thing stands against a request. Stable; meant for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CsrCode {
    /// The signature was not made by the key in the request.
    BadSignature,
    /// The signature uses SHA-1, or something else that is not accepted.
    WeakSignature,
    /// It asks to be a CA.
    AsksToBeCa,
    /// A name that cannot stand in a certificate.
    BadName,
    /// A name that was not permitted.
    NameNotPermitted,
    /// A kind of key, or a curve, that is not issued for.
    UnsupportedKey,
    /// Another kind of key than was to be had.
    WrongKeyType,
    /// The key is too short or badly made.
    WeakKey,
    /// The key is written in another way than the standards say.
    OddKeyEncoding,
    /// The key is known to be in other hands.
    KnownKey,
    /// The key is that of an authority.
    IssuerKey,
}

impl CsrCode {
    /// The code in words that never change.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadSignature => "csr-bad-signature",
            Self::WeakSignature => "csr-weak-signature",
            Self::AsksToBeCa => "csr-asks-to-be-ca",
            Self::BadName => "csr-bad-name",
            Self::NameNotPermitted => "csr-name-not-permitted",
            Self::UnsupportedKey => "csr-unsupported-key",
            Self::WrongKeyType => "csr-wrong-key-type",
            Self::WeakKey => "csr-weak-key",
            Self::OddKeyEncoding => "csr-odd-key-encoding",
            Self::KnownKey => "csr-known-key",
            Self::IssuerKey => "csr-issuer-key",
        }
    }
}

impl fmt::Display for CsrCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that stands against a request, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct CsrProblem {
    /// For programs.
    pub code: CsrCode,
    /// For people; escaped.
    pub detail: String,
}

/// Holds a request against the rules. Its extensions are not looked at again after this.
///
/// # Errors
/// All problems, each code once.
pub fn check(csr: &Csr, rules: &Rules<'_>) -> Result<Checked, Vec<CsrProblem>> {
    let mut problems = Vec::new();
    let mut found = |code, detail: String| problems.push(CsrProblem { code, detail });

    match csr.check_signature() {
        Ok(()) => {}
        // A key that the verifier does not take says nothing of the signature; the key is refused below.
        Err(SignatureProblem::Invalid) if !weak::is_verifiable(&csr.key, csr.spki_der()) => {}
        Err(SignatureProblem::Invalid) => found(
            CsrCode::BadSignature,
            "the request's signature was not made by the key in it; make the request again with the key that is to be certified".into(),
        ),
        // Where it is the key that is not accepted, that is said below.
        Err(SignatureProblem::Unsupported) if csr.weak_signature() || is_supported(&csr.key) => found(
            CsrCode::WeakSignature,
            "the request's signature algorithm is not accepted for its key; sign it with SHA-256 or longer".into(),
        ),
        Err(SignatureProblem::Unsupported) => {}
    }
    if csr.asks_to_be_ca {
        found(CsrCode::AsksToBeCa, "the request asks to be an authority (basicConstraints or keyUsage); none is made by a request".into());
    }
    names(csr, rules, &mut found);
    key(csr, rules, &mut found);

    if !problems.is_empty() {
        problems.sort_by_key(|problem| problem.code);
        return Err(problems);
    }
    Ok(Checked { spki: csr.spki_der().into(), key: csr.key.clone(), asked: once_each(&csr.names), permitted: once_each(rules.permitted) })
}

fn once_each(names: &[San]) -> Vec<San> {
    let mut seen = BTreeSet::new();
    names.iter().filter(|name| seen.insert(*name)).cloned().collect()
}

fn names(csr: &Csr, rules: &Rules<'_>, found: &mut impl FnMut(CsrCode, String)) {
    if !csr.unusable.is_empty() {
        found(CsrCode::BadName, format!("not a name for a certificate: {}", list(&csr.unusable, "; ")));
    }
    let permitted: BTreeSet<&San> = rules.permitted.iter().collect();
    let mut foreign: Vec<String> = csr.names.iter().filter(|name| !permitted.contains(name)).map(ToString::to_string).collect();
    for text in &csr.common_names {
        let is_permitted = San::parse(text).is_ok_and(|name| permitted.contains(&name)) || rules.common_names.contains(&text.as_str());
        if !is_permitted {
            foreign.push(format!("{} (the common name)", crate::text::escape(text)));
        }
    }
    if !foreign.is_empty() {
        let permitted: Vec<String> = rules.permitted.iter().take(SHOWN + 1).map(ToString::to_string).collect();
        let permitted = if permitted.is_empty() { "none".into() } else { list(&permitted, ", ") };
        found(CsrCode::NameNotPermitted, format!("not permitted: {}; permitted: {permitted}", list(&foreign, ", ")));
    }
}

fn is_supported(key: &KeyKind) -> bool {
    matches!(key, KeyKind::Rsa { .. } | KeyKind::Ed25519 | KeyKind::Ecdsa { curve: Curve::P256 | Curve::P384 | Curve::P521 })
}

fn key(csr: &Csr, rules: &Rules<'_>, found: &mut impl FnMut(CsrCode, String)) {
    let (kind, spki) = (&csr.key, csr.spki_der());
    if !is_supported(kind) {
        let known = "use ECDSA on P-256, P-384 or P-521, RSA of 2048 bits or more, or Ed25519";
        found(
            CsrCode::UnsupportedKey,
            format!("the key is of kind {}, which is not issued for; {known}", crate::text::escape(&kind.to_string())),
        );
    } else if !weak::is_canonical(kind, spki) {
        found(CsrCode::OddKeyEncoding, format!("the {kind} key is not written as the standards say (RFC 3279, RFC 5480, RFC 8410)"));
    }
    if let KeyKind::Rsa { bits } = kind {
        if *bits < MIN_RSA_BITS {
            found(CsrCode::WeakKey, format!("the RSA key has {bits} bits, fewer than {MIN_RSA_BITS}"));
        } else if let Some(problem) = weak::rsa_problem(spki) {
            found(CsrCode::WeakKey, format!("the RSA key {problem}; make another one with current software"));
        }
    }
    if let Some(wanted) = rules.key_type.filter(|wanted| !wanted.makes(kind)) {
        found(CsrCode::WrongKeyType, format!("the key is {kind}, and {wanted} is to be had"));
    }
    if rules.issuer_keys.is_empty() && rules.known_keys.is_none() {
        return;
    }
    let fingerprint = csr.spki_fingerprint();
    if rules.issuer_keys.contains(&fingerprint) {
        found(CsrCode::IssuerKey, "the key is that of an authority; whoever made this request holds a CA's private key".into());
    }
    if rules.known_keys.is_some_and(|known| known.contains(&fingerprint)) {
        found(CsrCode::KnownKey, format!("the key {fingerprint} is known to be in other hands; make another one"));
    }
}

/// Most entries of a list that are shown.
const SHOWN: usize = 20;

fn list(all: &[String], separator: &str) -> String {
    let mut text = all.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(separator);
    if all.len() > SHOWN {
        text.push_str(&format!(" and {} more", all.len() - SHOWN));
    }
    text
}
