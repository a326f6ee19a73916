//! A CA's directory, and the account that we have there (RFC 8555 §7.1.1 to §7.3).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::Account;
use outbound::{Method, Request};
use pki::text::escape;
use pki::{PrivateKey, Time};
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde::Deserialize;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::wire::{Cached, Notes, Wire};

/// How often one request is signed again because of its nonce; the library tries three times within each. RFC 8555 §6.5 sets no limit.
const NONCE_ROUNDS: usize = 8;
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
    written: Announced,
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

/// An account with a CA and its key, which cannot be printed.
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
    /// An account whose parts are kept apart: at `directory`, by its URL, with its key.
    #[must_use]
    pub fn new(directory: impl Into<String>, account: impl Into<String>, key: PrivateKey) -> Self {
        Credentials { directory: directory.into(), account: account.into(), key }
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
    /// The records that were written lately, by the challenge's token.
    pub(crate) written: Announced,
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
    /// The CA behind `directory`, spoken to through `client`, whose roots and guard apply. An order is many small requests one after the other:
    /// they share a connection.
    #[must_use]
    pub fn new(directory: impl Into<String>, client: outbound::Client) -> Self {
        Ca {
            directory: directory.into(),
            client: client.keeping_alive(),
            cached: Cached::default(),
            announced: Announced::default(),
            written: Announced::default(),
        }
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
        Ok(Session { account, wire, announced: self.announced.clone(), written: self.written.clone() })
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ca({})", escape(&self.directory))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pki::KeyType;

    #[test]
    fn credentials_cannot_be_printed() {
        let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        let pkcs8 = hex(key.expose_pkcs8());
        let credentials = Credentials::new("https://ca/dir", "https://ca/acct/1", key);
        let shown = format!("{credentials:?} {:?}", Binding::parse("kid", "c2VjcmV0").unwrap());
        assert_eq!(shown, "Credentials(https://ca/acct/1) Binding(kid)");
        assert!(!shown.contains(&pkcs8[..16]));
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
