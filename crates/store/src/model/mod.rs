//! The tables of the product, one module per subject. Each function is one statement or a few that belong together; what to do
//! with the rows is decided elsewhere.

pub mod authority;
pub mod calendar;
pub mod concern;
pub mod delivery_key;
pub mod drill;
pub mod finding;
pub mod forecast;
pub mod future;
pub mod held;
pub mod identity;
pub mod incident;
pub mod intent;
pub mod inventory;
pub mod issuance;
pub mod node;
pub mod notice;
pub mod observation;
pub mod order;
pub mod outbox;
pub mod path;
pub mod prune;
pub mod recount;
pub mod release;
pub mod revocation;
pub mod rollout;
pub mod secret;
pub mod spof;
pub mod sweep;
pub mod target;
pub mod token;

use crate::{Result, Row, StoreError};
use domain::{Fingerprint, Time, target::Served};

/// Secrets that are not retired, as [`crate::Tx::counted`] knows them.
pub const SECRETS: &str = "stands/secret";
/// Targets that are not retired, as [`crate::Tx::counted`] knows them.
pub const TARGETS: &str = "stands/target";

/// The place of what is unknown in every list: before everything that is known.
pub const UNKNOWN_MARGIN: i64 = i64::MIN / 4;
/// The place of what has no end: behind everything else.
pub const NO_MARGIN: i64 = i64::MAX / 4;

/// Served-until as two columns.
pub fn served_columns(served: Served) -> (i64, Option<i64>) {
    match served {
        Served::Unknown => (0, None),
        Served::Broken => (1, None),
        Served::Until(t) => (2, Some(t.unix())),
    }
}

/// Served-until from two columns.
pub fn served(kind: i64, until: Option<i64>) -> Served {
    match (kind, until) {
        (2, Some(t)) => Served::Until(Time::from_unix(t)),
        (1, _) => Served::Broken,
        _ => Served::Unknown,
    }
}

pub(crate) fn fingerprint(row: &Row, column: usize) -> Result<Option<Fingerprint>> {
    row.opt_bytes(column)?
        .map(|b| {
            b.try_into()
                .map(Fingerprint::from_bytes)
                .map_err(|_| StoreError::Corrupt { what: format!("a fingerprint of {} bytes", b.len()) })
        })
        .transpose()
}

pub(crate) fn word<T>(row: &Row, column: usize, parse: impl Fn(&str) -> Option<T>) -> Result<T> {
    let text = row.text(column)?;
    parse(text).ok_or_else(|| StoreError::Corrupt { what: format!("the word {text:?} in column {column}") })
}

pub(crate) fn list(text: &str) -> Result<Vec<String>> {
    serde_json::from_str(text).map_err(|e| StoreError::Corrupt { what: format!("a list of texts: {e}") })
}

/// Adds texts to the parameters of a statement; says their places, as they stand in a list.
pub(crate) fn places(params: &mut Vec<crate::Value>, texts: &[&str]) -> String {
    let mut places = String::new();
    for text in texts {
        params.push((*text).into());
        places += &format!("{}${}", if places.is_empty() { "" } else { "," }, params.len());
    }
    places
}

/// A list of texts as one column.
pub fn list_column(list: &[String]) -> String {
    serde_json::to_string(list).unwrap_or_else(|_| String::from("[]"))
}
