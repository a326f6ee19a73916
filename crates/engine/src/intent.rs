//! What was decided and cannot be undone by deciding again: retiring, pruning, forcing a change, restoring; and what is decided now and
//! done later: issuing what a plan asks for.
//!
//! An intent has a content (what exactly is to be done, to what as it stands now), the hash of that content, and a number of approvals
//! that it needs. That number is one everywhere, so the person who asks is the one who approves, and the deed stands in the very
//! transaction that journals the intent. A rule of two persons needs a place where an intent waits for the second, who approves the
//! hash; nothing of what is journaled changes by that.

use domain::{Fingerprint, Time};
use serde_json::{Value, json};
use store::{Actor, Tx, journal::Entry, model::intent};

/// How many people have to approve. One for now.
pub const APPROVALS: u64 = 1;

/// Something that is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Intent {
    what: &'static str,
    subject: String,
    content: Value,
}

/// What is decided on purpose is decided for a reason.
///
/// # Errors
/// `reason-missing`.
pub(crate) fn needs_a_reason(reason: &str) -> crate::Result<()> {
    if reason.trim().is_empty() {
        return Err(crate::Error::refused("reason-missing", "this needs a reason: --reason \"…\""));
    }
    Ok(())
}

impl Intent {
    /// To do `what` (`retire`, `prune`, `force`, `restore`, `issue`) to a subject such as `target/www`, as `content` says.
    pub fn new(what: &'static str, subject: impl Into<String>, content: Value) -> Intent {
        Intent { what, subject: subject.into(), content }
    }

    /// SHA-256 of what, subject and content, as JSON with sorted keys and without spaces.
    pub fn hash(&self) -> Fingerprint {
        let text = json!({ "content": self.content, "subject": self.subject, "what": self.what }).to_string();
        pki::Fingerprint::of(text.as_bytes())
    }

    /// Journals that `by` decided it, in the transaction that does it.
    ///
    /// # Errors
    /// The entry is over a limit of the journal.
    pub fn approved(&self, tx: &mut Tx<'_>, reason: &str, by: &Actor) -> store::Result<()> {
        self.journaled(tx, &self.content, reason, by)
    }

    /// Journals that `by` decided it and keeps it, open, for whoever does it later. Of its content the journal says what `shown` has; the
    /// hash binds all of it.
    ///
    /// # Errors
    /// The entry is over a limit of the journal, or one is open for the same subject.
    pub fn kept(&self, tx: &mut Tx<'_>, shown: &Value, reason: &str, by: &Actor, now: Time) -> store::Result<()> {
        let row = intent::Intent {
            id: tx.next_id("intent")?,
            what: self.what.to_owned(),
            subject: self.subject.clone(),
            content: self.content.to_string(),
            hash: self.hash(),
            approvals: APPROVALS as i64,
            approved_by: format!("{}/{}", by.issuer, by.subject),
            reason: reason.to_owned(),
            state: String::from("open"),
            created_at: now,
            done_at: None,
        };
        intent::insert(tx, &row)?;
        self.journaled(tx, shown, reason, by)
    }

    fn journaled(&self, tx: &mut Tx<'_>, shown: &Value, reason: &str, by: &Actor) -> store::Result<()> {
        let body = json!({
            "what": self.what,
            "hash": self.hash().to_string(),
            "content": shown,
            "approvals_required": APPROVALS,
            "approved_by": [format!("{}/{}", by.issuer, by.subject)],
        });
        tx.journal(Entry::new("intent.approved", &self.subject, reason, &body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_binds_everything_and_no_order() {
        let hash = |what, subject: &str, content| Intent::new(what, subject, content).hash();
        let it = hash("retire", "target/a", json!({ "id": 1, "served_until": "2027" }));
        assert_eq!(it, hash("retire", "target/a", json!({ "served_until": "2027", "id": 1 })));
        assert_ne!(it, hash("prune", "target/a", json!({ "id": 1, "served_until": "2027" })));
        assert_ne!(it, hash("retire", "target/b", json!({ "id": 1, "served_until": "2027" })));
        assert_ne!(it, hash("retire", "target/a", json!({ "id": 1, "served_until": "2028" })));
        assert_eq!(
            hash("retire", "target/a", json!({})).to_string(),
            pki::Fingerprint::of(br#"{"content":{},"subject":"target/a","what":"retire"}"#).to_string(),
            "whoever reads the journal can make it again"
        );
    }
}
