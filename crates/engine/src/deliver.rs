//! The loop that empties the outbox: at least once, in order per subject and contact, tried again over restarts.

use crate::{
    Engine, Error, Result, Tick,
    ports::{Parcel, Post, Posted},
    rules,
};
use domain::{Span, delivery};
use serde_json::json;
use store::{journal::Entry, model::notice};

/// How many messages one round sends.
pub const BATCH: i64 = 64;
/// For how long a message is put off while it is being sent.
const LEASE: Span = Span::minutes(2);

impl Engine {
    /// Sends what is due. Says how many messages were tried.
    pub fn deliver_once(&self, post: &dyn Post, tick: &Tick) -> Result<usize> {
        let due = self.store.write(&rules(), tick.now, |tx| notice::claim(tx, tick.now, tick.now + LEASE, BATCH))?;
        let mut parcels = Vec::new();
        let mut locked = Vec::new();
        for o in &due {
            match self.secret_for(&o.channel) {
                Ok(secret) => parcels.push(Parcel { id: o.id, channel: o.channel.clone(), message: o.message.clone(), secret }),
                Err(e) => locked.push((o.id, Posted::Retry(None, format!("the contact's secret cannot be used: {e}")))),
            }
        }
        let ids: Vec<i64> = parcels.iter().map(|p| p.id).collect();
        let posted = if parcels.is_empty() { Vec::new() } else { post.post(&parcels, tick.now) };
        for (id, outcome) in ids.into_iter().zip(posted).chain(locked) {
            let Some(o) = due.iter().find(|o| o.id == id) else { continue };
            self.store.write(&rules(), tick.now, |tx| {
                let attempts = u32::try_from(o.attempts).unwrap_or(u32::MAX);
                let (ok, state, due_at, detail) = match &outcome {
                    Posted::Delivered(detail) => (true, "delivered", tick.now, detail),
                    Posted::Refused(detail) => (false, "refused", tick.now, detail),
                    Posted::Retry(wish, detail) => {
                        (false, "waiting", delivery::next_attempt(attempts, wish.map(Span::seconds), id, tick.now), detail)
                    }
                };
                notice::attempted(tx, o, ok, state, due_at, &pki::text::escape(detail), tick.now)?;
                // A receiver that will never take it, or has not for a long time, is told to people in the journal and by a finding.
                if state == "refused" || (!ok && attempts == delivery::REPORT_AFTER) {
                    let body = json!({ "outbox": id, "team": o.team, "attempts": attempts, "detail": pki::text::escape(detail) });
                    tx.journal(Entry::new("delivery.failed", format!("team/{}", o.team), "", &body))?;
                }
                Ok(())
            })?;
        }
        Ok(due.len())
    }

    /// The secret that a contact needs, opened for one parcel.
    fn secret_for(&self, channel: &str) -> Result<Option<zeroize::Zeroizing<String>>> {
        let contact: serde_json::Value = serde_json::from_str(channel).map_err(|e| Error::Outside(format!("a contact: {e}")))?;
        let name = contact.get("signing_secret").or_else(|| contact.get("routing_key")).and_then(|v| v.as_str());
        name.map(|n| self.open_opaque(n)).transpose()
    }
}
