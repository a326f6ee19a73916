//! A CA's directory, and the account that we have there (RFC 8555 §7.1.1 to §7.3).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{Account, RevocationReason, RevocationRequest};
use outbound::{Method, Request};
use pki::text::escape;
use pki::{Certificate, PrivateKey, Time};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::Deserialize;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::wire::{Cached, Notes, Wire};

/// How often one request is signed again because of its nonce; the library tries three times within each. RFC 8555 §6.5 sets no limit.
const NONCE_ROUNDS: usize = 8;
/// The first line of stored credentials.
const FORM: &str = "perennial-acme-account/1";

/// Does something again while nothing but the nonce is wrong (RFC 8555 §6.5.1): such a request was not acted on.
macro_rules! again {
    ($once:expr) => {{
        let mut round = 1;
        loop {
            match $once.await {
                Err(error) if round < $crate::account::nonce_rounds() && $crate::account::bad_nonce(&error) => round += 1,
                other => break other,
            }
        }
    }};
}
pub(crate) use again;

pub(crate) const fn nonce_rounds() -> usize {
    NONCE_ROUNDS
}

pub(crate) fn bad_nonce(error: &instant_acme::Error) -> bool {
    matches!(error, instant_acme::Error::Api(problem) if crate::error::code_of(problem) == "badNonce")
}

/// One ACME CA, by its directory. Cheap to clone; clones share what the directory says.
#[derive(Clone)]
pub struct Ca {
    directory: String,
    client: outbound::Client,
    cached: Cached,
    announced: Announced,
}

/// The challenges that the CA was told about lately, by token. Some CAs leave them pending while they look, and look once more each time
/// that they are told; what proved a name may be gone by then.
pub(crate) type Announced = Arc<Mutex<BTreeMap<String, Instant>>>;

/// What a directory says of its CA (RFC 8555 §7.1.1). Texts are escaped, URLs to be asked are not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The terms that having an account agrees to.
    pub terms: Option<String>,
    /// An account needs a binding (RFC 8555 §7.3.4).
    pub binding_required: bool,
    /// Profiles by name, each with what it is.
    pub profiles: BTreeMap<String, String>,
    /// Where renewal information is (RFC 9773 §4), if the CA has it.
    pub renewal_info: Option<String>,
    /// Whether it revokes.
    pub revokes: bool,
}

/// What binds an account to one that somebody has with the CA otherwise (RFC 8555 §7.3.4).
pub struct Binding {
    pub(crate) key_id: String,
    pub(crate) key: Zeroizing<Vec<u8>>,
}

/// An account with a CA and its key. The key is sealed by whoever keeps these bytes, and cannot be printed.
pub struct Credentials {
    directory: String,
    account: String,
    key: PrivateKey,
}

impl Binding {
    /// A binding by its key identifier and its MAC key, in base64url as CAs hand it out; padding and the common alphabet are taken too.
    ///
    /// # Errors
    /// [`Error::Setup`] if the key is not base64.
    pub fn parse(key_id: &str, key: &str) -> Result<Self, Error> {
        let text: Zeroizing<String> = Zeroizing::new(
            key.trim()
                .trim_end_matches('=')
                .chars()
                .map(|c| {
                    if c == '+' {
                        '-'
                    } else if c == '/' {
                        '_'
                    } else {
                        c
                    }
                })
                .collect(),
        );
        let key = BASE64_URL_SAFE_NO_PAD.decode(text.as_bytes()).map(Zeroizing::new);
        let key = key.map_err(|_| Error::Setup("the external account's MAC key is not base64url".into()))?;
        if key.is_empty() {
            return Err(Error::Setup("the external account's MAC key is empty".into()));
        }
        Ok(Binding { key_id: key_id.to_owned(), key })
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Binding({})", escape(&self.key_id))
    }
}

impl Credentials {
    /// The bytes to seal: directory, account and key.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let head = [FORM, "\n", &self.directory, "\n", &self.account, "\n"];
        let key = self.key.expose_pkcs8();
        let mut bytes = Zeroizing::new(Vec::with_capacity(head.iter().map(|part| part.len()).sum::<usize>() + key.len()));
        for part in head {
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.extend_from_slice(key);
        bytes
    }

    /// An account whose parts are kept apart: at `directory`, by its URL, with its key.
    #[must_use]
    pub fn new(directory: impl Into<String>, account: impl Into<String>, key: PrivateKey) -> Self {
        Credentials { directory: directory.into(), account: account.into(), key }
    }

    /// Reads what [`Credentials::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Setup`] if it is something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let wrong = || Error::Setup("these bytes are no ACME account".into());
        let mut parts = bytes.splitn(4, |byte| *byte == b'\n');
        let mut text = || std::str::from_utf8(parts.next()?).ok();
        if text() != Some(FORM) {
            return Err(wrong());
        }
        let (directory, account) = (text().ok_or_else(wrong)?.to_owned(), text().ok_or_else(wrong)?.to_owned());
        let key = PrivateKey::from_der(parts.next().ok_or_else(wrong)?).map_err(|_| wrong())?;
        Ok(Credentials { directory, account, key })
    }

    /// The directory that the account is at.
    #[must_use]
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// The account's URL, which is its name (RFC 8555 §7.3).
    #[must_use]
    pub fn account(&self) -> &str {
        &self.account
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", escape(&self.account))
    }
}

/// An account at work: one step's conversation.
pub(crate) struct Session {
    pub(crate) account: Account,
    pub(crate) wire: Wire,
    pub(crate) announced: Announced,
}

impl Session {
    pub(crate) fn failed(&self, doing: &str, error: instant_acme::Error, now: Time) -> Error {
        Error::of(doing, error, &self.wire.notes(), now)
    }
}

/// A directory as it is written (RFC 8555 §9.7.5); what is not needed is not read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Written {
    pub(crate) new_account: String,
    pub(crate) new_nonce: String,
    revoke_cert: Option<String>,
    renewal_info: Option<String>,
    #[serde(default)]
    pub(crate) meta: Meta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Meta {
    terms_of_service: Option<String>,
    pub(crate) external_account_required: bool,
    profiles: BTreeMap<String, String>,
}

impl Ca {
    /// The CA behind `directory`, spoken to through `client`, whose roots and guard apply.
    #[must_use]
    pub fn new(directory: impl Into<String>, client: outbound::Client) -> Self {
        Ca { directory: directory.into(), client, cached: Cached::default(), announced: Announced::default() }
    }

    pub(crate) fn wire(&self) -> Wire {
        Wire {
            client: self.client.clone(),
            directory: self.directory.clone(),
            cached: self.cached.clone(),
            notes: Arc::new(Mutex::new(Notes::default())),
        }
    }

    /// What the directory says.
    ///
    /// # Errors
    /// It cannot be fetched, or is no directory.
    pub async fn facts(&self, now: Time) -> Result<Facts, Error> {
        let written = Box::pin(self.directory(&self.wire(), now)).await?;
        Ok(Facts {
            terms: written.meta.terms_of_service.map(|text| escape(&text)),
            binding_required: written.meta.external_account_required,
            profiles: written.meta.profiles.iter().map(|(name, text)| (escape(name), escape(text))).collect(),
            renewal_info: written.renewal_info,
            revokes: written.revoke_cert.is_some(),
        })
    }

    pub(crate) fn credentials(&self, account: &str, key: PrivateKey) -> Result<Credentials, Error> {
        if account.is_empty() || !account.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::later("the CA gave the account a URL that is none", 900));
        }
        Ok(Credentials { directory: self.directory.clone(), account: account.to_owned(), key })
    }

    /// What the directory says, as it is written.
    pub(crate) async fn directory(&self, wire: &Wire, now: Time) -> Result<Written, Error> {
        const DOING: &str = "reading the CA's directory";
        let response = wire.ask(Request::new(Method::GET, &self.directory)).await;
        let failed = |error| Error::of(DOING, error, &wire.notes(), now);
        let response = response.map_err(|error| failed(instant_acme::Error::Other(Box::new(error))))?;
        if !response.status.is_success() {
            return Err(Error::later(format!("{DOING}: the answer has status {}: {}", response.status, wire.notes().shown()), 300));
        }
        serde_json::from_slice(&response.body).map_err(|error| failed(error.into()))
    }

    pub(crate) async fn session(&self, credentials: &Credentials, now: Time) -> Result<Session, Error> {
        if credentials.directory != self.directory {
            let (here, there) = (escape(&self.directory), escape(&credentials.directory));
            return Err(Error::Setup(format!("the account belongs to the directory {there}, not to {here}")));
        }
        let wire = self.wire();
        let key = PrivatePkcs8KeyDer::from(credentials.key.expose_pkcs8());
        let builder = Account::builder_with_http(Box::new(wire.clone()));
        let account = Box::pin(builder.from_parts(credentials.account.clone(), key, self.directory.clone())).await;
        let account = account.map_err(|error| Error::of("reading the CA's directory", error, &wire.notes(), now))?;
        Ok(Session { account, wire, announced: self.announced.clone() })
    }

    /// Revokes a certificate that this account was given (RFC 8555 §7.6). One that is revoked already is done too.
    ///
    /// # Errors
    /// The CA does not revoke it.
    pub async fn revoke(&self, credentials: &Credentials, certificate: &Certificate, reason: Reason, now: Time) -> Result<(), Error> {
        let session = Box::pin(self.session(credentials, now)).await?;
        let der = CertificateDer::from(certificate.der());
        let request = RevocationRequest { certificate: &der, reason: Some(reason.spoken()) };
        match again!(Box::pin(session.account.revoke(&request))) {
            Ok(()) => Ok(()),
            Err(instant_acme::Error::Api(problem)) if crate::error::code_of(&problem) == "alreadyRevoked" => Ok(()),
            Err(error) => Err(session.failed("revoking a certificate", error, now)),
        }
    }

    /// Forgets what the directory said.
    pub fn forget(&self) {
        *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ca({})", escape(&self.directory))
    }
}

/// Why a certificate is revoked, of the reasons that a subscriber may give (RFC 5280 §5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No reason is said.
    Unspecified,
    /// The private key was seen by somebody else.
    KeyCompromise,
    /// Another one is in its place.
    Superseded,
    /// What it was for is no more.
    CessationOfOperation,
}

impl Reason {
    fn spoken(self) -> RevocationReason {
        match self {
            Reason::Unspecified => RevocationReason::Unspecified,
            Reason::KeyCompromise => RevocationReason::KeyCompromise,
            Reason::Superseded => RevocationReason::Superseded,
            Reason::CessationOfOperation => RevocationReason::CessationOfOperation,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pki::KeyType;

    #[test]
    fn credentials_come_back_and_cannot_be_printed() {
        let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        let (spki, pkcs8) = (key.spki_fingerprint(), hex(key.expose_pkcs8()));
        let credentials = Credentials { directory: "https://ca/dir".into(), account: "https://ca/acct/1".into(), key };
        let bytes = credentials.to_bytes();
        let back = Credentials::from_bytes(&bytes).unwrap();
        assert_eq!((back.directory(), back.account(), back.key.spki_fingerprint()), ("https://ca/dir", "https://ca/acct/1", spki));
        let shown = format!("{back:?} {:?}", Binding::parse("kid", "c2VjcmV0").unwrap());
        assert_eq!(shown, "Credentials(https://ca/acct/1) Binding(kid)");
        assert!(!shown.contains(&pkcs8[..16]));
        for wrong in [&b""[..], b"x", b"perennial-acme-account/1\na\nb", b"perennial-acme-account/1\na\nb\nc", &bytes[..bytes.len() - 1]] {
            assert!(matches!(Credentials::from_bytes(wrong), Err(Error::Setup(_))));
        }
    }

    #[test]
    fn a_mac_key_is_taken_as_cas_write_it() {
        for text in ["-_8", "-_8=", "+/8=", " +/8 \n"] {
            assert_eq!(&**Binding::parse("kid", text).unwrap().key, [0xfb, 0xff], "{text}");
        }
        for text in ["", "===", "a b", "ä"] {
            assert!(Binding::parse("kid", text).is_err(), "{text}");
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }
}
