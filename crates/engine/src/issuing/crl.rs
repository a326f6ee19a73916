//! What is revoked, and the lists that say so (RFC 5280 §5). A list is made anew long before its next update is due; that one which is
//! late is a finding, since its nextUpdate is tracked like any other end.

use super::{
    authority::{CA, track},
    desk::hex,
};
use crate::{Engine, Error, Result, Tick, loops, rules};
use domain::{
    Span, Time,
    issuing::{AuthorityState, Reason},
    schedule,
};
use pki::crl::{CrlTemplate, Reason as Said, Revocation};
use serde_json::json;
use std::collections::BTreeSet;
use store::{
    Actor,
    journal::Entry,
    model::{authority, secret},
    timer,
};

/// For how long a list is good.
pub const GOOD_FOR: Span = Span::days(7);
/// A list is made anew after this long: several tries are left before the old one ends.
pub const EVERY: Span = Span::days(1);
/// When it is tried again where it could not be made.
const AGAIN: Span = Span::minutes(5);
/// Most entries of one list.
const MOST: i64 = 200_000;
/// How many certificates are revoked before the next ones are read.
const PAGE: i64 = 1_000;

impl Engine {
    /// Makes the lists that are due. Says how many.
    ///
    /// # Errors
    /// What the database says. A sealed store makes none, and tries again.
    pub fn crls_once(&self, tick: &Tick) -> Result<usize> {
        let claims =
            self.store.write(&rules(), tick.now, |tx| timer::claim(tx, loops::CRL, tick.now, &self.holder, schedule::LEASE, 100))?;
        for claim in &claims {
            let next = match self.publish(claim.subject, tick) {
                Ok(next) => next,
                Err(Error::Store(e)) => return Err(Error::Store(e)),
                Err(error) => {
                    tracing::warn!(authority = claim.subject, %error, "a list of what was revoked could not be made");
                    Some(tick.now + AGAIN)
                }
            };
            self.store.write(&rules(), tick.now, |tx| timer::done(tx, loops::CRL, claim, next))?;
        }
        Ok(claims.len())
    }

    /// One list. Says when the next one is due; none once the authority has ended.
    fn publish(&self, id: i64, tick: &Tick) -> Result<Option<Time>> {
        let now = tick.now;
        let found = self.store.try_read(|tx| {
            let Some(a) = authority::get(tx, id)? else { return Ok::<_, Error>(None) };
            let revoked = authority::revoked(tx, id, now, MOST + 1)?;
            if revoked.len() as i64 > MOST {
                let problem = format!(
                    "{MOST} certificates of {} are revoked and not expired, which is the limit of one list; renew the CA, so that what is \
                     still good moves to another one: perennial ca renew {}",
                    a.subject, a.issuer
                );
                return Err(Error::refused("list-full", problem));
            }
            Ok(Some((a, revoked)))
        })?;
        let Some((a, revoked)) = found.filter(|(a, _)| a.state != AuthorityState::Requested && a.not_after > now) else { return Ok(None) };
        let signer = self.signer(&a)?;
        let entries: Vec<Revocation> = revoked
            .into_iter()
            .map(|(serial, revoked_at, reason)| Revocation { serial, revoked_at, reason: said(&reason), invalid_since: None })
            .collect();
        // RFC 5280 §5.2.3: it only ever grows, also after a restore, where what is stored is behind what was published.
        let counted = a.crl_number.max(now.unix());
        let number = u64::try_from(counted).unwrap_or(1);
        let next_update = (now + GOOD_FOR).min(a.not_after);
        let list = signer
            .crl(&CrlTemplate { number, this_update: now, next_update, revoked: &entries })
            .map_err(|e| Error::refused("not-issued", e.to_string()))?;
        self.store.try_write(&rules(), now, |tx| {
            tx.turn(&format!("issuer {}", a.issuer))?;
            if authority::get(tx, id)?.is_none_or(|row| row.crl_number != a.crl_number) {
                // Another server made one meanwhile.
                return Ok::<_, Error>(());
            }
            let row = authority::Crl { authority: id, number: counted, der: list.der().to_vec(), this_update: now, next_update };
            authority::put_crl(tx, &row)?;
            // The first that ends of all lists that somebody may still ask for, those of former authorities too.
            let first = authority::first_next_update(tx, &a.issuer, now)?.unwrap_or(next_update);
            track(tx, &format!("{CA}{}-crl", a.issuer), first, "", now)?;
            let body = json!({ "authority": id, "number": number, "entries": entries.len(), "next_update": next_update.to_string() });
            tx.journal(Entry::new("crl.published", format!("issuer/{}", a.issuer), "", &body))?;
            Ok(())
        })?;
        Ok(Some(now + EVERY))
    }

    /// The list of an issuer's authority: of the current one where none is named.
    ///
    /// # Errors
    /// No such issuer or authority, or none was made yet.
    pub fn crl(&self, issuer: &str, id: Option<i64>) -> Result<authority::Crl> {
        self.store.try_read(|tx| {
            let a = match id {
                Some(id) => authority::get(tx, id)?.filter(|a| a.issuer == issuer),
                None => authority::current(tx, issuer)?,
            };
            let a = a.ok_or_else(|| Error::not_found("authority of issuer", issuer))?;
            authority::crl(tx, a.id)?.ok_or_else(|| Error::not_found("list of issuer", issuer))
        })
    }

    /// Revokes what the store's own CAs signed for a version of a secret, and ends what was intended for it; its lists are made at once. Says
    /// how many were revoked: what lives for a week or less carries no revocation data, and is counted and listed too, since who has the
    /// list may ask it, and since its key may not be certified again.
    ///
    /// # Errors
    /// No such secret, or nothing that was signed here.
    pub fn revoke(&self, name: &str, version: i64, reason: Reason, why: &str, actor: &Actor, tick: &Tick) -> Result<usize> {
        self.store.try_write(actor, tick.now, |tx| {
            let s = secret::by_name(tx, name)?.ok_or_else(|| Error::not_found("secret", name))?;
            let s = secret::lock(tx, s.id)?.ok_or_else(|| Error::not_found("secret", name))?;
            let (mut done, mut by, mut after) = (Vec::new(), BTreeSet::new(), 0);
            loop {
                let page = authority::usable_for(tx, s.id, version, after, PAGE)?;
                let Some(last) = page.last() else { break };
                after = last.id;
                for row in &page {
                    if authority::revoke(tx, row.id, reason.as_str(), tick.now)? {
                        done.push(hex(&row.serial));
                        by.insert(row.authority);
                    } else {
                        // A crash left it unsigned, and nobody signs it now, nor its key for anything else.
                        if reason == Reason::KeyCompromise {
                            authority::leaked(tx, &row.key, tick.now)?;
                        }
                        authority::end(tx, row.id, reason.as_str(), tick.now)?;
                    }
                }
            }
            for authority in by {
                timer::set_earlier(tx, loops::CRL, authority, tick.now)?;
            }
            if done.is_empty() && authority::issued_for(tx, s.id, version, 1)?.is_empty() {
                let problem =
                    format!("nothing of version {version} of {name} was signed by a CA of this store; revoke it where it was issued");
                return Err(Error::refused("not-issued-here", problem));
            }
            timer::set_earlier(tx, loops::SECRET, s.id.0, tick.now)?;
            let shown: Vec<&String> = done.iter().take(100).collect();
            let body = json!({ "version": version, "reason": reason.as_str(), "count": done.len(), "serials": shown });
            tx.journal(Entry::new("certificate.revoked", format!("secret/{name}"), why, &body))?;
            Ok(done.len())
        })
    }
}

fn said(reason: &str) -> Option<Said> {
    match Reason::parse(reason)? {
        Reason::Unspecified => None,
        Reason::KeyCompromise => Some(Said::KeyCompromise),
        Reason::CaCompromise => Some(Said::CaCompromise),
        Reason::AffiliationChanged => Some(Said::AffiliationChanged),
        Reason::Superseded => Some(Said::Superseded),
        Reason::CessationOfOperation => Some(Said::CessationOfOperation),
        Reason::PrivilegeWithdrawn => Some(Said::PrivilegeWithdrawn),
    }
}
