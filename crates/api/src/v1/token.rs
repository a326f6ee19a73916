//! Who may ask.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A token as shown in lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its number.
    pub id: i64,
    /// Whose it is.
    pub name: String,
    /// `viewer`, `owner`, `admin`, `vantage` or `build`.
    pub role: String,
    /// The teams of an owner.
    pub teams: Vec<String>,
    /// The vantage that it speaks for.
    pub vantage: Option<String>,
    /// The services whose builds it speaks for.
    #[serde(default)]
    pub services: Vec<String>,
    /// When it was made.
    pub created_at: String,
    /// When it ends.
    pub expires_at: Option<String>,
    /// When it was taken back.
    pub revoked_at: Option<String>,
}

/// `POST /v1/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Whose it is.
    pub name: String,
    /// `viewer`, `owner`, `admin`, `vantage` or `build`.
    pub role: String,
    /// The teams of an owner.
    #[serde(default)]
    pub teams: Vec<String>,
    /// The vantage that it speaks for.
    #[serde(default)]
    pub vantage: Option<String>,
    /// The services whose builds it speaks for.
    #[serde(default)]
    pub services: Vec<String>,
    /// When it ends.
    #[serde(default)]
    pub expires_at: Option<String>,
}

/// The only answer that ever holds a token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MadeToken {
    /// As in lists.
    pub token: Token,
    /// Shown once.
    pub value: String,
}
