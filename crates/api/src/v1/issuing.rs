//! Issuers, internal CAs, requests by hand, revocation.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who signs, and how it has answered lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IssuerStanding {
    /// Its name.
    pub name: String,
    /// `internal` or `acme`.
    pub kind: String,
    /// The region that prefers it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The issuer that is asked after several failures of this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// Orders that are allowed in a window, and that were placed in the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetStanding>,
    /// Failures in a row.
    pub failures: i64,
    /// Since when it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<String>,
    /// Nothing is asked of it before then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// What it said last, or what is missing.
    pub detail: String,
    /// Until when it can sign, for an internal CA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<String>,
}

/// How much of a budget is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BudgetStanding {
    /// Allowed in a window.
    pub orders: i64,
    /// How long a window is, in seconds.
    pub window_seconds: i64,
    /// Placed in the last window.
    pub placed: i64,
}

/// A certificate of an internal CA. It cannot hold a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CaCertificate {
    /// Its number.
    pub id: i64,
    /// Of which issuer.
    pub issuer: String,
    /// `root` or `issuing`.
    pub role: String,
    /// `offline`, `kept`, `requested`, `current` or `former`.
    pub state: String,
    /// Its subject.
    pub subject: String,
    /// SHA-256; empty while it is requested.
    pub fingerprint_sha256: String,
    /// What it may certify; everything if empty.
    pub permitted: Vec<String>,
    /// Valid from; empty while it is requested.
    pub not_before: String,
    /// Valid until; empty while it is requested.
    pub not_after: String,
    /// PEM; absent while it is requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pem: Option<String>,
    /// The request that waits for the root (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csr: Option<String>,
    /// By when its next list of what was revoked is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl_next_update: Option<String>,
}

/// A CA, or another issuing certificate of one, that is to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCa {
    /// What it may certify: `example.internal`, `10.0.0.0/8`, `spiffe://domain`; as before if empty.
    #[serde(default)]
    pub permitted: Vec<String>,
    /// Make the root in the store and keep its key there.
    #[serde(default)]
    pub keep_root: bool,
    /// Drop the request that waits instead.
    #[serde(default)]
    pub drop: bool,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequestedCa {
    /// The issuing certificate's number.
    pub id: i64,
    /// Its common name.
    pub subject: String,
    /// The request (PEM), to be signed by the root.
    pub csr: String,
    /// What it is to be limited to.
    pub permitted: Vec<String>,
    /// Whether a root in the store signed it already.
    pub done: bool,
}

/// The root's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CaAnswer {
    /// The issuing certificate, then its root; PEM.
    pub chain: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// A request that a person carries to a CA.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCertRequest {
    /// Its names; those that are declared for the secret if empty.
    #[serde(default)]
    pub names: Vec<String>,
    /// `all`, a region, or a node.
    #[serde(default)]
    pub scope: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// A request as it stands. Its key is nowhere but in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertRequest {
    /// Its number.
    pub id: i64,
    /// For which secret.
    pub secret: String,
    /// `all`, a region, or a node.
    pub scope: String,
    /// Names that are asked for.
    pub names: Vec<String>,
    /// PEM.
    pub csr: String,
    /// `open`, `answered` or `dropped`.
    pub state: String,
    /// The version that its answer became.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Who asked.
    pub actor: String,
    /// When.
    pub created_at: String,
}

/// A CA's answer to a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CertAnswer {
    /// The certificate and what is above it: PEM, DER or PKCS#7, base64.
    pub chain: String,
    /// PEM of private roots that the chain must lead to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<String>,
    /// Accept changes beyond key, serial and dates.
    #[serde(default)]
    pub accept_change: bool,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// What is to be taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// Of which version.
    pub version: i64,
    /// RFC 5280 §5.3.1: `key-compromise`, `superseded`, …
    pub reason: String,
    /// What happened.
    #[serde(default)]
    pub why: String,
}

/// How many were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Revoked {
    /// Certificates that were not revoked before.
    pub revoked: usize,
}

/// A renewal that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Renewing {
    /// The intent that it follows.
    pub intent: i64,
}
