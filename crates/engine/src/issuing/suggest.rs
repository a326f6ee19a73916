//! What issuers suggest of the time of a renewal (RFC 9773), asked again and again while a certificate lives.

use crate::{Engine, Error, Result, Tick, judge, loops, ports, rules, vault};
use domain::{
    Span,
    issuing::{IssuerKind, OrderState},
    schedule,
    words::SecretId,
};
use serde_json::json;
use store::{
    journal::Entry,
    model::{issuance, order, secret},
    timer,
};

/// How many certificates one round asks about.
const BATCH: i64 = 50;
/// When it is asked again where the issuer does not say (RFC 9773 §4.3.3).
pub(super) const EVERY: Span = Span::hours(6);
/// No issuer is asked about a certificate more often than this, whatever it says.
const OFTEN: Span = Span::minutes(10);
/// Nor more rarely.
const RARELY: Span = Span::days(1);

impl Engine {
    /// Asks about the certificates that are due, and wakes the renewals whose moment may have changed. Says how many there were.
    ///
    /// # Errors
    /// What the database says. An issuer that does not answer changes nothing of what is known.
    pub fn suggestions_once(&self, authority: &dyn ports::Authority, tick: &Tick) -> Result<usize> {
        let now = tick.now;
        let claims = self.store.write(&rules(), now, |tx| timer::claim(tx, loops::ARI, now, &self.holder, schedule::LEASE, BATCH))?;
        let (mut asked, mut questions) = (Vec::new(), Vec::new());
        for claim in &claims {
            match self.store.try_read(|tx| question(tx, SecretId(claim.subject))) {
                Ok(Some((version, question))) => {
                    asked.push((claim, version));
                    questions.push(question);
                }
                // Nothing of an ACME issuer is newest any more.
                Ok(None) => {
                    self.store.write(&rules(), now, |tx| timer::done(tx, loops::ARI, claim, None))?;
                }
                Err(error) => self.left_for_later(loops::ARI, claim, Err(error), tick)?,
            }
        }
        if questions.is_empty() {
            return Ok(claims.len());
        }
        let answers = authority.suggest(&questions, now);
        for ((claim, version), said) in asked.into_iter().zip(answers) {
            let pause = said.retry_after.unwrap_or(EVERY).max(OFTEN).min(RARELY);
            let written = self.store.try_write(&rules(), now, |tx| {
                let id = SecretId(claim.subject);
                let Some(s) = secret::lock(tx, id)? else { return Ok(()) };
                let mut state = issuance::renewal(tx, id)?.unwrap_or_else(|| issuance::Renewal::fresh(id, s.newest_version));
                if s.newest_version == version && state.version == version {
                    // A window that has passed is said to end whenever it is asked for: what it was first is what it stays.
                    let past = |w: Option<(domain::Time, domain::Time)>| w.is_some_and(|(_, until)| until <= now);
                    let changed = said.window.is_some() && state.suggested != said.window && !(past(said.window) && past(state.suggested));
                    if changed {
                        state.suggested = said.window;
                        state.suggested_why = said.explanation.clone();
                    }
                    state.ask_again = Some(now + pause);
                    issuance::put_renewal(tx, &state)?;
                    if changed {
                        timer::set_earlier(tx, loops::RENEW, id.0, now)?;
                        let window = said.window.map(|(from, until)| json!([from.to_string(), until.to_string()]));
                        let body = json!({ "version": version, "window": window, "explanation": said.explanation });
                        tx.journal(Entry::new("renewal.suggested", format!("secret/{}", s.name), "", &body))?;
                    }
                }
                timer::done(tx, loops::ARI, claim, Some(now + pause))?;
                Ok::<_, Error>(())
            });
            self.left_for_later(loops::ARI, claim, written, tick)?;
        }
        Ok(claims.len())
    }
}

/// What is asked about a secret: its newest certificate, of the issuer that signed it.
fn question(tx: &mut store::Tx<'_>, id: SecretId) -> Result<Option<(i64, ports::Question)>> {
    let Some(s) = secret::get(tx, id)?.filter(|s| s.retired_at.is_none()) else { return Ok(None) };
    let by = order::of_secret(tx, id, 100)?.into_iter().find(|o| o.state == OrderState::Issued && o.version == s.newest_version);
    let Some(by) = by else { return Ok(None) };
    let Some(issuer) = issuance::issuer(tx, &by.issuer)?.filter(|i| i.kind == IssuerKind::Acme) else { return Ok(None) };
    let Some(certificate) = judge::parse_chain(&by.chain).first().and_then(|c| c.acme_id().map(|i| i.encode())) else { return Ok(None) };
    let mut declared: api::fleet::Issuer =
        serde_json::from_str(&issuer.settings).map_err(|e| Error::refused("damaged", format!("issuer {}: {e}", issuer.name)))?;
    declared.name = issuer.name;
    let roots = declared.roots.as_ref().map(|name| vault::roots_pem(tx, name)).transpose()?;
    Ok(Some((s.newest_version, ports::Question { issuer: declared, roots, certificate })))
}
