//! What travels between the store and the agents on nodes: JSON over HTTP/1.1, under the agent's own certificate.
//!
//! Binary values are standard base64 (RFC 4648 §4), times RFC 3339 in UTC, fingerprints SHA-256 in hexadecimal. [`Material`] is the one
//! type of this crate that can hold a private key; no route that people can call answers with it.

use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The first contact: a single-use token and a request for a certificate, without a certificate. `POST`, [`Join`] → [`Joined`].
pub const JOIN: &str = "/agent/v1/join";
/// A new certificate for the same identity. `POST`, [`Renew`] → [`Renewed`].
pub const RENEW: &str = "/agent/v1/renew";
/// What the node is to have. `GET`, with `?after=GENERATION&wait=SECONDS&instance=START`; 200 with a [`SignedManifest`], or 204 when nothing
/// newer came within the wait. `instance` is as in [`Join`], in letters and digits, and may be left out.
pub const MANIFEST: &str = "/agent/v1/manifest";
/// A request for a key that was born on the node. `POST`, [`Request`] → [`Material`] without key, or 202 with a [`Pending`].
pub const REQUEST: &str = "/agent/v1/request";
/// Chain and, where keys are kept in the store, the key of one secret. `POST`, [`Fetch`] → [`Material`].
pub const FETCH: &str = "/agent/v1/fetch";
/// What became of it on the node: a claim. `POST`, [`Report`] → [`Taken`].
pub const REPORT: &str = "/agent/v1/report";

/// The longest wait for a manifest that the store grants, in seconds; it answers earlier with what it has.
pub const MOST_WAIT: u64 = 60;
/// Most installs of one node.
pub const MOST_INSTALLS: usize = 1000;
/// How far a node's clock may be off before that is a finding, in seconds.
pub const CLOCK_TOLERANCE: u64 = 30;

/// What a person carries from the store to a node: where the store is, whom to believe there, and the right to join once.
///
/// As text `perennial-join-1:CA:TOKEN@HOST:PORT`. At the first contact the agent believes no root of its machine: the chain that the store
/// presents must hold the certificate with this fingerprint (so the store sends its authority along), and lead to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// SHA-256 of the authority's certificate (DER), lower-case hexadecimal.
    pub ca: String,
    /// The right to join.
    pub token: Token,
    /// `host:port` of the agents' door.
    pub store: String,
}

/// How an [`Invitation`] begins.
const INVITATION: &str = "perennial-join-1:";
/// Longest text of one, in bytes.
const MAX_INVITATION: usize = 1024;

/// A text that is no [`Invitation`]; it is not repeated, since it may hold a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no join string: {0}; it reads perennial-join-1:CA:TOKEN@HOST:PORT, and `perennial node join-token` on the store's side prints it"
)]
pub struct NoInvitation(&'static str);

impl Invitation {
    /// The text. Whoever reads it can join.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("{INVITATION}{}:{}@{}", self.ca, self.token.0, self.store)
    }
}

impl std::str::FromStr for Invitation {
    type Err = NoInvitation;

    fn from_str(text: &str) -> Result<Self, NoInvitation> {
        let text = text.trim();
        if text.len() > MAX_INVITATION {
            return Err(NoInvitation("it is too long"));
        }
        let rest = text.strip_prefix(INVITATION).ok_or(NoInvitation("it begins with something else"))?;
        let (ca, rest) = rest.split_once(':').ok_or(NoInvitation("it has no token"))?;
        if ca.len() != 64 || !ca.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(NoInvitation("the authority's fingerprint is not 64 lower-case hexadecimal digits"));
        }
        let (token, store) = rest.split_once('@').ok_or(NoInvitation("it names no host"))?;
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'=')) {
            return Err(NoInvitation("the token is not one"));
        }
        let port = store.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none_or(|port| port == 0) || store.contains(['/', '@', ' ', '?', '#']) {
            return Err(NoInvitation("after the token stands HOST:PORT"));
        }
        Ok(Invitation { ca: ca.to_owned(), token: Token(token.to_owned()), store: store.to_owned() })
    }
}

/// `POST /agent/v1/join`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The single-use token.
    pub token: Token,
    /// A request for a certificate (PKCS#10, DER, base64) signed by the key that the agent will live on.
    pub csr: String,
    /// What the node's clock says.
    pub clock: String,
    /// The agent's version.
    pub agent: String,
    /// Differs for every start and every copy of an agent's folder that runs: how a clone is told from a restart.
    pub instance: String,
}

/// The answer to a join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The node that the token was made for.
    pub node: String,
    /// Which store this is.
    pub store: String,
    /// Which life of it.
    pub epoch: i64,
    /// What the agent lives on from now on.
    pub identity: Renewed,
    /// The public half of the key that signs manifests (SubjectPublicKeyInfo, DER, base64).
    pub manifest_key: String,
}

/// `POST /agent/v1/renew`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// A request (PKCS#10, DER, base64), by the same key or a new one.
    pub csr: String,
    /// What the node's clock says.
    pub clock: String,
    /// As in [`Join`].
    pub instance: String,
}

/// A certificate that an agent lives on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// DER, base64, leaf first.
    pub chain: Vec<String>,
    /// What the agent trusts the store by from now on (PEM).
    pub roots: String,
    /// What the store's clock says.
    pub clock: String,
}

/// A manifest as it was signed. The bytes of `payload` are a [`Manifest`] in JSON; they are verified before they are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedManifest {
    /// Base64 of the signed bytes.
    pub payload: String,
    /// Ed25519 over `"perennial/manifest/1\0"` and the payload's bytes, base64.
    pub signature: String,
}

/// What a signature over a manifest begins with, so that it can never be one over anything else.
pub const MANIFEST_CONTEXT: &[u8] = b"perennial/manifest/1\0";

/// What one node is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Which store says so.
    pub store: String,
    /// Which life of it. An earlier one than the agent has seen is refused.
    pub epoch: i64,
    /// For which node.
    pub node: String,
    /// Only goes forward: whatever changes, also a step back to an older version, is a new generation.
    pub generation: i64,
    /// When it was made.
    pub issued_at: String,
    /// What the node is to have, in the order of the secrets' names.
    pub installs: Vec<Install>,
    /// The public half of the key that will sign later manifests, where that changes (SubjectPublicKeyInfo, DER, base64). From here on the
    /// agent believes both, and from the first manifest on that is signed by it, this one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_key: Option<String>,
}

/// One secret that a node is to have. Where its files lie and what is reloaded is the node's own configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Install {
    /// The secret's name.
    pub secret: String,
    /// Its version.
    pub version: i64,
    /// Where the key comes from.
    pub keys: Keys,
    /// For a key that is born on the node: `ecdsa-p256`, `ecdsa-p384`, `rsa-2048`, `rsa-3072` or `ed25519`.
    pub key_type: String,
    /// Names that the certificate must cover.
    pub names: Vec<String>,
    /// Leaves that may be installed; empty while the key of this version is not born yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaves: Vec<String>,
    /// The generation at which this node was told to have this version.
    pub since: i64,
    /// A rehearsal of a fault: the agent does as if this had happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// Where a private key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keys {
    /// Born on the node: the request goes up and the chain comes down.
    Node,
    /// Kept in the store, and sent.
    Store,
}

/// What a drill makes go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The files change and nothing is reloaded, so the old certificate is served on.
    StaleReload,
}

/// `POST /agent/v1/request`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The secret.
    pub secret: String,
    /// The version that the manifest names.
    pub version: i64,
    /// The generation of that manifest.
    pub generation: i64,
    /// PKCS#10, DER, base64.
    pub csr: String,
    /// As in [`Join`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// The certificate is not there yet; the same request brings it later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Not before so many seconds.
    pub retry_after: u64,
    /// What is waited for.
    pub detail: String,
}

/// `POST /agent/v1/fetch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    /// The secret.
    pub secret: String,
    /// The version that the manifest names.
    pub version: i64,
    /// The generation of that manifest. A key is opened for this node and this generation only.
    pub generation: i64,
    /// As in [`Join`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// What is installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Material {
    /// The secret.
    pub secret: String,
    /// Its version.
    pub version: i64,
    /// One for each key type.
    pub pairs: Vec<Pair>,
}

/// A chain and perhaps its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// DER, base64, leaf first.
    pub chain: Vec<String>,
    /// PKCS#8, DER, base64; absent where the key was born on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyText>,
}

/// `POST /agent/v1/report`: what the agent claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The generation that the agent acts on.
    pub generation: i64,
    /// As in [`Join`].
    pub instance: String,
    /// The agent's version.
    pub agent: String,
    /// What the node's clock says.
    pub clock: String,
    /// One for each secret of the node.
    pub installs: Vec<InstallReport>,
}

/// How one secret stands on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstallReport {
    /// The secret.
    pub secret: String,
    /// The version that lies in the files; 0 for none.
    pub version: i64,
    /// How far it is.
    pub state: InstallState,
    /// The leaf that lies in the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf: Option<String>,
    /// What went wrong, or what is waited for; for people.
    #[serde(default)]
    pub detail: String,
    /// How often it was tried since it last succeeded.
    #[serde(default)]
    pub attempts: u32,
    /// When that was.
    pub at: String,
}

/// How far an install is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstallState {
    /// Nothing on the node is configured for this secret.
    Unconfigured,
    /// The certificate or key is on its way.
    Fetching,
    /// The files are in place, what uses them was reloaded, and the agent's own look saw the new certificate.
    Installed,
    /// The files are in place and what uses them was reloaded; no look is configured.
    Unseen,
    /// It failed, and the last good version is in place again.
    RolledBack,
    /// It failed, and it is not known what is served.
    Failed,
}

/// The answer to a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// What the store's clock says.
    pub clock: String,
}

/// A single-use token. It does not print itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A private key in base64. It does not print itself, and is wiped when it goes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct KeyText(pub String);

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(…)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn join_strings() {
        let ca = "a".repeat(64);
        let check = |text: String, expected: Result<&str, &str>| match (text.parse::<Invitation>(), expected) {
            (Ok(one), Ok(store)) => {
                assert_eq!(one.store, store);
                assert_eq!(one.expose(), text.trim());
                assert!(!format!("{one:?}").contains("secret"));
            }
            (Err(error), Err(part)) => {
                let said = error.to_string();
                assert!(said.contains(part) && !said.contains("secret"), "{said}");
            }
            (got, _) => panic!("{text}: {got:?}"),
        };
        check(format!("perennial-join-1:{ca}:secret_-.=@store.example:8201\n"), Ok("store.example:8201"));
        check(format!("perennial-join-1:{ca}:secret@[2001:db8::1]:8201"), Ok("[2001:db8::1]:8201"));
        check(format!("perennial-join-2:{ca}:secret@store.example:8201"), Err("begins"));
        check("perennial-join-1:aa:secret@store.example:8201".into(), Err("64"));
        check(format!("perennial-join-1:{ca}:secret"), Err("no host"));
        check(format!("perennial-join-1:{ca}:@store.example:8201"), Err("token"));
        check(format!("perennial-join-1:{ca}:secret@store.example"), Err("HOST:PORT"));
        check(format!("perennial-join-1:{ca}:secret@store.example:0"), Err("HOST:PORT"));
        check(format!("perennial-join-1:{ca}:secret@https://store.example:8201/"), Err("HOST:PORT"));
        check("x".repeat(5000), Err("long"));
    }
}
