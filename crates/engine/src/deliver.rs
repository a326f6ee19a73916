//! The loop that empties the outbox: at least once, in order per subject and contact, tried again over restarts, and not for ever.
//!
//! A message ends as delivered, or with a reason that somebody hears of: refused by its receiver, tried for a week, its contact gone
//! from the inventory (then those who are there now are told), or made needless by a later one ([`Message::supersedes`]).
//!
//! [`Message::supersedes`]: crate::message::Message::supersedes

use crate::{
    Engine, Error, Result, Tick,
    ports::{Parcel, Post, Posted},
    rules, tell,
};
use domain::{
    Span,
    delivery::{self, Fate},
};
use serde_json::json;
use std::collections::BTreeMap;
use store::{
    Tx,
    journal::Entry,
    model::{
        inventory,
        outbox::{self, Outgoing},
    },
};

/// How many messages one round sends.
pub const BATCH: i64 = 64;
/// For how long a message is put off while it is being sent.
const LEASE: Span = Span::minutes(2);

/// How an attempt ended.
enum Attempt {
    /// As the post says.
    Posted(Posted),
    /// Its contact needs a key that cannot be used now.
    Locked(String),
}

impl Engine {
    /// Sends what is due. Says how many messages were tried.
    pub fn deliver_once(&self, post: &dyn Post, tick: &Tick) -> Result<usize> {
        let due = self.store.write(&rules(), tick.now, |tx| outbox::claim(tx, tick.now, tick.now + LEASE, BATCH))?;
        if due.is_empty() {
            return Ok(0);
        }
        let (due, removed) = self.store.try_read(|tx| still_there(tx, &due))?;
        for o in &removed {
            self.store.try_write(&rules(), tick.now, |tx| contact_removed(tx, o, tick))?;
        }
        let (mut parcels, mut attempts) = (Vec::new(), Vec::new());
        for o in &due {
            match self.secret_for(&o.channel) {
                Ok(secret) => parcels.push(Parcel { id: o.id, channel: o.channel.clone(), message: o.message.clone(), secret }),
                Err(e) => attempts.push((o.id, Attempt::Locked(format!("the contact's secret cannot be used: {e}")))),
            }
        }
        let ids: Vec<i64> = parcels.iter().map(|p| p.id).collect();
        let posted = if parcels.is_empty() { Vec::new() } else { post.post(&parcels, tick.now) };
        attempts.extend(ids.into_iter().zip(posted.into_iter().map(Attempt::Posted)));
        for (id, attempt) in attempts {
            let Some(o) = due.iter().find(|o| o.id == id) else { continue };
            self.store.try_write(&rules(), tick.now, |tx| attempted(tx, o, &attempt, tick))?;
        }
        Ok(due.len() + removed.len())
    }

    /// The secret that a contact needs, opened for one parcel.
    fn secret_for(&self, channel: &str) -> Result<Option<zeroize::Zeroizing<String>>> {
        let contact: serde_json::Value = serde_json::from_str(channel).map_err(|e| Error::Outside(format!("a contact: {e}")))?;
        secret_named(&contact).map(|n| self.open_for_delivery(n)).transpose()
    }
}

/// The secret that a contact names.
pub(crate) fn secret_named(contact: &serde_json::Value) -> Option<&str> {
    contact.get("signing_secret").or_else(|| contact.get("routing_key")).and_then(|v| v.as_str())
}

/// Messages whose contact is still one of its team, and those whose is not.
fn still_there(tx: &mut Tx<'_>, due: &[Outgoing]) -> Result<(Vec<Outgoing>, Vec<Outgoing>)> {
    let mut known: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let (mut there, mut gone) = (Vec::new(), Vec::new());
    for o in due {
        if !known.contains_key(o.team.as_str()) {
            known.insert(&o.team, tell::contacts(tx, &o.team)?);
        }
        // The log is nobody's contact and everybody's.
        let is = o.channel == tell::LOG || known.get(o.team.as_str()).is_some_and(|all| all.contains(&o.channel));
        if is { there.push(o.clone()) } else { gone.push(o.clone()) }
    }
    Ok((there, gone))
}

/// Nobody reads there any more. Who is there now hears what has not been told, so that a contact that was put right loses nothing.
fn contact_removed(tx: &mut Tx<'_>, o: &Outgoing, tick: &Tick) -> Result<()> {
    outbox::attempted(tx, o, false, outbox::CONTACT_REMOVED, tick.now, "undeliverable: the contact was removed", tick.now)?;
    let team = match inventory::contacts(tx, &o.team)? {
        Some(_) => o.team.clone(),
        None => inventory::setting(tx, "default_owner")?.unwrap_or_default(),
    };
    let mut told = 0;
    if let Ok(message) = serde_json::from_str::<crate::message::Message>(&o.message) {
        for contact in tell::contacts(tx, &team)? {
            if !outbox::was_sent(tx, &tell::line(&message.subject, &contact), &o.message)? {
                tell::send_to(tx, &team, &contact, &message, tick.now)?;
                told += 1;
            }
        }
    }
    let body = json!({ "outbox": o.id, "team": o.team, "channel": tell::channel_of(&o.channel), "attempts": o.attempts,
        "told_instead": told });
    Ok(tx.journal(Entry::new("delivery.undeliverable", format!("team/{}", o.team), "the contact was removed", &body))?)
}

/// Writes down one attempt and what becomes of the message; who must hear of a failure is told in the same transaction.
fn attempted(tx: &mut Tx<'_>, o: &Outgoing, attempt: &Attempt, tick: &Tick) -> Result<()> {
    let attempts = u32::try_from(o.attempts).unwrap_or(u32::MAX);
    let fate = |wish: Option<i64>| delivery::after_failure(o.created_at, attempts, wish.map(Span::seconds), o.id, tick.now);
    let (state, due_at, detail) = match attempt {
        Attempt::Posted(Posted::Delivered(detail)) => (outbox::DELIVERED, tick.now, detail),
        Attempt::Posted(Posted::Refused(detail)) => (outbox::REFUSED, tick.now, detail),
        Attempt::Posted(Posted::Retry(wish, detail)) => match fate(*wish) {
            Fate::Again(at) => (outbox::WAITING, at, detail),
            Fate::GiveUp => (outbox::UNDELIVERABLE, tick.now, detail),
        },
        Attempt::Locked(detail) => match fate(None) {
            Fate::Again(at) => (outbox::WAITING, at, detail),
            Fate::GiveUp => (outbox::UNDELIVERABLE, tick.now, detail),
        },
    };
    let detail = pki::text::escape(detail);
    outbox::attempted(tx, o, state == outbox::DELIVERED, state, due_at, &detail, tick.now)?;
    // A key that is not there will not come by trying; a receiver may be back in a minute.
    let heard = match (state, attempt) {
        (outbox::REFUSED, _) => true,
        (outbox::WAITING, Attempt::Locked(_)) => attempts == 1,
        (outbox::WAITING, _) => attempts == delivery::REPORT_AFTER,
        _ => false,
    };
    if heard {
        tell::instead(tx, o, &detail, tick.now)?;
    }
    if heard || state == outbox::UNDELIVERABLE {
        let what = if state == outbox::UNDELIVERABLE { "delivery.undeliverable" } else { "delivery.failed" };
        let body =
            json!({ "outbox": o.id, "team": o.team, "channel": tell::channel_of(&o.channel), "attempts": attempts, "detail": detail });
        tx.journal(Entry::new(what, format!("team/{}", o.team), "", &body))?;
    }
    Ok(())
}
