//! What was decided and cannot be undone by deciding again: retiring, pruning, forcing a change, restoring.
//!
//! An intent has a content (what exactly is to be done, to what as it stands now), the hash of that content, and a number of approvals
//! that it needs. That number is one everywhere, so the person who asks is the one who approves, and the deed stands in the very
//! transaction that journals the intent. A rule of two persons needs a place where an intent waits for the second, who approves the
//! hash; nothing of what is journaled changes by that.

use domain::Fingerprint;
use serde_json::{Value, json};
use store::{Actor, Tx, journal::Entry};

/// How many people have to approve. One for now.
pub const APPROVALS: u64 = 1;

/// Something that is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Intent {
    what: &'static str,
    subject: String,
    content: Value,
}

impl Intent {
    /// To do `what` (`retire`, `prune`, `force`, `restore`) to a subject such as `target/www`, as `content` says.
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
        let body = json!({
            "what": self.what,
            "hash": self.hash().to_string(),
            "content": self.content,
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
