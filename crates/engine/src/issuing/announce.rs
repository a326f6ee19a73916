//! Versions that begin without certificates, and certificates that are added to a version.

use crate::{Engine, Error, Result, Tick, loops, vault::version};
use domain::{
    Time,
    words::{Kind, Management, SecretId},
};
use serde_json::json;
use store::{
    Actor, Tx,
    journal::Entry,
    model::{secret, target},
    timer,
};

impl Engine {
    /// A new version of a secret, without certificates yet: each node brings the request for its own. Says its number.
    ///
    /// # Errors
    /// No such secret, or none that the store renews.
    pub fn announce(&self, secret: SecretId, reason: &str, actor: &Actor, tick: &Tick) -> Result<i64> {
        self.store.try_write(actor, tick.now, |tx| announce(tx, secret, reason, actor, tick))
    }
}

/// As [`Engine::announce`], inside a transaction.
///
/// # Errors
/// As [`Engine::announce`].
pub(crate) fn announce(tx: &mut Tx<'_>, id: SecretId, reason: &str, actor: &Actor, tick: &Tick) -> Result<i64> {
    let mut s = secret::lock(tx, id)?.ok_or_else(|| Error::not_found("secret", &id.to_string()))?;
    if s.kind != Kind::Certificate || s.management == Management::External || s.retired_at.is_some() {
        let problem =
            format!("{} is declared {} and {}; a version can only be announced for a managed certificate", s.name, s.kind, s.management);
        return Err(Error::refused("wrong-kind", problem));
    }
    let number = s.newest_version + 1;
    let mut expiries = secret::Expiries::default();
    if number > 1 {
        for old in secret::instances(tx, s.id, Some(s.newest_version))? {
            expiries.count(&old.scope, old.not_after, -1);
        }
    }
    expiries.write(tx)?;
    secret::insert_version(tx, s.id, &version(number, actor, reason, None, tick.now))?;
    s.newest_version = number;
    s.completed_unaided = false;
    secret::update_declaration(tx, &s)?;
    target::wake_all(tx, s.id, loops::TARGET, tick.now)?;
    timer::set_earlier(tx, loops::SECRET, s.id.0, tick.now)?;
    timer::set_earlier(tx, loops::RENEW, s.id.0, tick.now)?;
    crate::rollouts::stored(tx, &s, actor, tick)?;
    if s.release_bound {
        crate::services::wake(tx, &s.service, tick.now)?;
    }
    tx.journal(Entry::new("secret.announced", format!("secret/{}", s.name), reason, &json!({ "version": number })))?;
    Ok(number)
}

/// A certificate that is added to a version.
#[derive(Debug, Clone, Copy)]
pub struct Certificate<'a> {
    /// Of which secret.
    pub secret: SecretId,
    /// Of which version; it exists.
    pub version: i64,
    /// `all`, a region, or a node.
    pub scope: &'a str,
    /// Leaf first.
    pub chain: &'a [pki::Certificate],
}

/// Adds a certificate to a version, in the transaction that brings it; says its instance's number. The secret's row is taken. Where one
/// of the same scope and key type was there, it takes its place: a node whose key is born again has a new certificate.
///
/// # Errors
/// No such secret or version, no certificate, or what the database refuses.
pub fn instance(tx: &mut Tx<'_>, c: &Certificate<'_>, reason: &str, tick: &Tick) -> Result<i64> {
    let s = secret::lock(tx, c.secret)?.ok_or_else(|| Error::not_found("secret", &c.secret.to_string()))?;
    let mut expiries = secret::Expiries::default();
    let id = tx.next_id("instance")?;
    add(tx, &s, c, id, &mut expiries)?;
    expiries.write(tx)?;
    touched(tx, &s, tick.now)?;
    if ["all", ""].contains(&c.scope) {
        target::wake_all(tx, s.id, loops::TARGET, tick.now)?;
    }
    let leaf = &c.chain[0];
    let body = json!({ "version": c.version, "scope": c.scope, "leaf": leaf.fingerprint().to_string(), "not_after": leaf.not_after().to_string() });
    tx.journal(Entry::new("secret.instance", format!("secret/{}", s.name), reason, &body))?;
    Ok(id)
}

/// The row of a certificate, whose secret is taken.
pub(super) fn add(tx: &mut Tx<'_>, s: &secret::Secret, c: &Certificate<'_>, id: i64, expiries: &mut secret::Expiries) -> Result<()> {
    let Some(leaf) = c.chain.first() else { return Err(Error::refused("bad-certificate", "the chain is empty")) };
    let newest = i64::from(c.version == s.newest_version);
    if let Some(before) = secret::remove_instance(tx, s.id, c.version, c.scope, leaf.key_type())? {
        expiries.count(&before.scope, before.not_after, -newest);
    }
    let row = secret::Instance {
        id,
        secret: s.id,
        version: c.version,
        scope: c.scope.to_owned(),
        key_type: leaf.key_type().into(),
        leaf: leaf.fingerprint(),
        key: leaf.spki_fingerprint(),
        not_before: leaf.not_before(),
        not_after: leaf.not_after(),
        subject: leaf.subject().into(),
        issuer: leaf.issuer().into(),
        chain: c.chain.iter().flat_map(|c| c.der().to_vec()).collect(),
    };
    secret::insert_instance(tx, &row)?;
    expiries.count(c.scope, row.not_after, newest);
    Ok(())
}

/// What hangs on a secret that got a certificate looks again. Targets are looked at by what their nodes report and by observation: a
/// version of a wildcard has a certificate for each of very many nodes.
pub(super) fn touched(tx: &mut Tx<'_>, s: &secret::Secret, now: Time) -> Result<()> {
    timer::set_earlier(tx, loops::SECRET, s.id.0, now)?;
    timer::set_earlier(tx, loops::RENEW, s.id.0, now)?;
    Ok(())
}
