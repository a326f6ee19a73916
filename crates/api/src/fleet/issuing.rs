//! Who signs, and how a secret is issued.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::values::Period;

/// Who signs certificates: an internal CA of the store, or a CA that speaks ACME (RFC 8555).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// Unique among issuers.
    pub name: String,
    /// What it is.
    pub kind: IssuerKind,
    /// The region that prefers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The issuer that is asked after several failures of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// How much may be asked of it; no limit if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// `internal`: where clients reach this store's lists of what was revoked, such as `http://crl.example.com/v1/crl`; certificates
    /// name no list if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl: Option<String>,
    /// `acme`: the address of its directory, `https://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "https://acme-v02.api.letsencrypt.org/directory")]
    pub directory: Option<String>,
    /// `acme`: whom the CA may write to, `mailto:` addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contact: Vec<String>,
    /// `acme`: the key identifier of an external account (RFC 8555 §7.3.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eab_key_id: Option<String>,
    /// `acme`: the opaque secret that holds the external account's MAC key (base64url).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eab_secret: Option<String>,
    /// `acme`: the profile that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// `acme`: the common name of the root whose chain is preferred, where the CA offers several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// `acme`: how names are proven; needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Challenge>,
    /// `dns-01`: where records are written (RFC 2136).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsUpdate>,
    /// `dns-01`: a program that writes them, by the name under which the server was started with it (`--dns-hook NAME=PATH`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_hook: Option<String>,
    /// `acme`: the root set that its directory is trusted by; the system's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<String>,
}

/// What an issuer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum IssuerKind {
    /// A CA of the store's own, made with `perennial ca create`.
    #[default]
    Internal,
    /// A CA that speaks ACME (RFC 8555).
    Acme,
}

/// How much may be asked of an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Orders in any window, at least 1.
    pub orders: u32,
    /// How long that window is.
    #[schema(value_type = String, example = "7d")]
    pub window: Period,
}

/// How a name is proven to an ACME CA.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Challenge {
    /// RFC 8555 §8.3.
    #[default]
    #[serde(rename = "http-01")]
    Http01,
    /// RFC 8737.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// RFC 8555 §8.4.
    #[serde(rename = "dns-01")]
    Dns01,
}

/// Where `dns-01` writes its records (RFC 2136), signed by TSIG (RFC 8945).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsUpdate {
    /// `address:port` of the primary server.
    #[schema(example = "10.0.0.1:53")]
    pub server: String,
    /// The zone that is updated.
    pub zone: String,
    /// The name of the key.
    pub key_name: String,
    /// The opaque secret that holds the key (base64).
    pub key_secret: String,
    /// How it signs.
    #[serde(default)]
    pub algorithm: TsigAlgorithm,
    /// `address:port` of the servers that are to answer with a record before the CA is told; those that the zone names, on port 53, if
    /// absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
}

/// How updates are signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TsigAlgorithm {
    /// HMAC with SHA-256.
    #[default]
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// HMAC with SHA-384.
    #[serde(rename = "hmac-sha384")]
    HmacSha384,
    /// HMAC with SHA-512.
    #[serde(rename = "hmac-sha512")]
    HmacSha512,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// TLS servers.
    #[default]
    Server,
    /// TLS clients.
    Client,
    /// Servers and clients.
    Both,
    /// An X.509-SVID of SPIFFE.
    Spiffe,
}

/// Where the private keys of a secret are born.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeysAt {
    /// On each node: the request goes up, the chain comes down.
    #[default]
    Node,
    /// In the store, and sent.
    Store,
}

/// The kind of key that is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyChoice {
    /// ECDSA on P-256.
    #[default]
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// RSA with 2048 bits.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// RSA with 3072 bits.
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    /// Ed25519.
    Ed25519,
}

/// When a secret is renewed if that can wait so long: a window of each week.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// An IANA name, such as `Europe/Dublin`; UTC if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Europe/Dublin")]
    pub zone: Option<String>,
    /// As the weekly freeze of a calendar is written; it may wrap over the week's end.
    #[schema(example = "tue 09:00 - tue 17:00")]
    pub weekly: String,
}
