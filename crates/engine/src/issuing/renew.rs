//! Renewal: when it is due it is decided and written down, and then done by reading that back, however often it breaks off between.
//!
//! Keys that are born on nodes: a version is announced, and the nodes bring their requests. Keys that are born in the store: what each
//! scope needs is signed, and the version is stored when all of it is there.

use super::{
    announce,
    choose::{Choice, choose},
    desk::{Job, is_signed},
    node::chain_of,
    orders, plan,
    prepare::{self, Want, declared},
};
use crate::{Engine, Error, Refusal, Result, Tick, intent::Intent, loops, ports::Entropy, rules, vault};
use domain::{
    Span, Time,
    issuing::{IssuerKind, KeysAt},
    renewal::{self, Ask, Failed},
    schedule,
    words::{Kind, Management, Renewal, SecretId},
};
use pki::{Certificate, PrivateKey, csr};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use store::{
    Actor, Tx,
    journal::Entry,
    meta,
    model::{
        authority, held,
        intent::{self, Intent as Row},
        issuance, secret, target,
    },
    timer::{self, Claim},
};

/// What an intent asks for.
pub const RENEW: &str = "renew";
/// How many secrets one round looks at.
const BATCH: i64 = 200;
/// When a sealed store, or a clock that is not believed, is tried again.
const LATER: Span = Span::minutes(1);
/// How long after it was intended something is finished that a crash left behind.
const LEFT_BEHIND: Span = Span::minutes(2);

/// A secret whose row is taken is renewed now, whatever its policy says. Whoever asks again has it tried again now.
pub(crate) fn wanted(tx: &mut Tx<'_>, s: &secret::Secret, reason: &str, actor: &Actor, tick: &Tick) -> Result<i64> {
    let (_, i) = declared(tx, s.id)?;
    check_renewable(s)?;
    if let Some(open) = intent::open_for(tx, RENEW, &subject(s))? {
        let mut state = issuance::renewal(tx, s.id)?.unwrap_or_else(|| issuance::Renewal::fresh(s.id, s.newest_version));
        (state.terminal, state.intent) = (false, open.id);
        issuance::put_renewal(tx, &state)?;
        timer::set(tx, loops::RENEW, s.id.0, tick.now)?;
        return Ok(open.id);
    }
    let id = commit(tx, s, &i, reason, actor, tick.now)?;
    timer::set(tx, loops::RENEW, s.id.0, tick.now)?;
    Ok(id)
}

impl Engine {
    /// Looks at the secrets that may be due, and goes on with those that are. Says how many there were.
    ///
    /// # Errors
    /// What the database says. What goes wrong with one secret is written down with it.
    pub fn renew_once(&self, random: &mut Entropy<'_>, tick: &Tick) -> Result<usize> {
        if self.is_open() {
            match self.finish_intended(LEFT_BEHIND, tick) {
                Err(error) if error.is_of_the_database() => return Err(error),
                Err(error) => tracing::error!(%error, "what a crash left behind is not finished; renewals go on"),
                Ok(_) => {}
            }
        }
        let claims =
            self.store.write(&rules(), tick.now, |tx| timer::claim(tx, loops::RENEW, tick.now, &self.holder, schedule::LEASE, BATCH))?;
        for claim in &claims {
            let done = self.renew_one(claim, random, tick);
            self.left_for_later(loops::RENEW, claim, done, tick)?;
        }
        Ok(claims.len())
    }

    fn renew_one(&self, claim: &Claim, random: &mut Entropy<'_>, tick: &Tick) -> Result<()> {
        let id = SecretId(claim.subject);
        let next = match self.decide(id, tick)? {
            Step::Rests(next) => next,
            Step::Acts(row) => match self.act(id, &row, random, tick) {
                Ok(next) => next,
                Err(Error::Sealed) => Some(tick.now + LATER),
                Err(error @ Error::Store(_)) => return Err(error),
                Err(error) => Some(self.failed(id, &error, tick)?),
            },
        };
        self.store.write(&rules(), tick.now, |tx| timer::done(tx, loops::RENEW, claim, next))?;
        Ok(())
    }

    /// A person wants a secret renewed now.
    ///
    /// # Errors
    /// No such secret, nobody is declared to issue it, or its renewal is under way.
    pub fn renew_secret(&self, name: &str, reason: &str, actor: &Actor, tick: &Tick) -> Result<i64> {
        self.store.try_write(actor, tick.now, |tx| {
            let s = secret::by_name(tx, name)?.ok_or_else(|| Error::not_found("secret", name))?;
            let s = secret::lock(tx, s.id)?.ok_or_else(|| Error::not_found("secret", name))?;
            wanted(tx, &s, reason, actor, tick)
        })
    }

    /// Whether a secret is due, or under way; what is due is written down here.
    fn decide(&self, id: SecretId, tick: &Tick) -> Result<Step> {
        let now = tick.now;
        self.store.try_write(&rules(), now, |tx| {
            let Some(s) = secret::lock(tx, id)? else { return Ok(Step::Rests(None)) };
            let open = intent::open_for(tx, RENEW, &subject(&s))?;
            let issuance = issuance::get(tx, id)?.filter(|i| !i.issued_by.is_empty());
            let (Some(i), true) = (issuance, check_renewable(&s).is_ok()) else {
                orders::end_open(tx, id, None, "nobody issues it any more", now)?;
                if let Some(open) = open {
                    intent::drop_one(tx, open.id, now)?;
                    tx.journal(Entry::new("renewal.dropped", subject(&s), "nobody issues it any more", &json!({ "intent": open.id })))?;
                }
                return Ok(Step::Rests(None));
            };
            let mut state = issuance::renewal(tx, id)?.unwrap_or_else(|| issuance::Renewal::fresh(id, s.newest_version));
            if state.version != s.newest_version && open.is_none() {
                state = issuance::Renewal::fresh(id, s.newest_version);
                issuance::put_renewal(tx, &state)?;
                timer::set_earlier(tx, loops::SECRET, id.0, now)?;
            }
            if let Some(open) = open {
                return Ok(Step::Acts(Box::new(open)));
            }
            // An alert drill lets it run out, and wakes this when it does no longer.
            if s.renewal != Renewal::Automatic || store::model::drill::holds(tx, id)? {
                return Ok(Step::Rests(None));
            }
            let due = due(tx, &s, &i, &state)?;
            if state.due_at != due {
                state.due_at = due;
                issuance::put_renewal(tx, &state)?;
            }
            let Some(due) = due else { return Ok(Step::Rests(None)) };
            if due > now {
                // What the issuer suggests meanwhile wakes this.
                return Ok(Step::Rests(Some(due)));
            }
            if !tick.clock.is_believed() {
                // A clock that is wrong must not renew everything.
                return Ok(Step::Rests(Some(now + LATER)));
            }
            commit(tx, &s, &i, &format!("its renewal was due {due}"), &rules(), now)?;
            match intent::open_for(tx, RENEW, &subject(&s))? {
                Some(row) => Ok(Step::Acts(Box::new(row))),
                None => Ok(Step::Rests(Some(now + LATER))),
            }
        })
    }

    /// Goes on with what was decided. Says when to look again.
    fn act(&self, id: SecretId, row: &Row, random: &mut Entropy<'_>, tick: &Tick) -> Result<Option<Time>> {
        let content: Value = serde_json::from_str(&row.content).unwrap_or_default();
        let number = content["version"].as_i64().unwrap_or(0);
        let (s, i) = self.store.try_read(|tx| declared(tx, id))?;
        if s.newest_version >= number {
            // It was done, or somebody stored another version meanwhile.
            return self.over(id, row, tick);
        }
        if i.keys == KeysAt::Node {
            self.store.try_write(&rules(), tick.now, |tx| {
                let s = secret::lock(tx, id)?.ok_or_else(|| Error::not_found("secret", &s.name))?;
                if s.newest_version + 1 == number {
                    announce::announce(tx, id, &row.reason, &rules(), tick)?;
                    plan::keep(tx, &s, number)?;
                }
                close(tx, &s, row, tick.now)
            })?;
            return Ok(Some(tick.now + Span::seconds(1)));
        }
        let choice = self.choice(&s, &i, "", tick)?;
        // What was ordered is not asked for again: that nobody may be asked now holds back nothing that has come.
        let ordered = self.store.read(|tx| orders::is_under_way(tx, id, number, row.id))?;
        if !ordered && let Some(then) = self.waits(&choice, id, tick)? {
            return Ok(Some(then));
        }
        if ordered || choice.issuer.kind == IssuerKind::Acme {
            return orders::for_store(self, &s, &i, &choice.issuer, number, row, random, tick);
        }
        let scopes = self.store.try_read(|tx| plan::scopes(tx, &s))?;
        for scope in &scopes {
            let have = self.store.try_write(&rules(), tick.now, |tx| {
                plan::keep(tx, &s, number)?;
                let have = authority::issued_for(tx, id, number, 1000)?.into_iter().find(|r| r.scope == *scope && usable(r));
                Ok::<_, Error>(have)
            })?;
            let want = if have.is_some() {
                None
            } else {
                // A region's certificate comes from the region's own issuer. One that answers later has no part in a version that is
                // stored as a whole.
                let of_region = self.store.try_read(|tx| {
                    let all = choose(tx, &i, if scope == "all" { "" } else { scope }, tick.now)?;
                    Ok::<_, Error>(all.into_iter().find(|c| c.issuer.kind == IssuerKind::Internal))
                })?;
                let by = of_region.unwrap_or_else(|| choice.clone());
                if let Some(then) = self.waits(&by, id, tick)? {
                    return Ok(Some(then));
                }
                Some(self.store.try_read(|tx| Want::read(tx, s.clone(), i.clone(), by.clone(), number, scope, scope))?)
            };
            match (have, want) {
                (Some(row), _) if is_signed(&row) => {}
                (Some(row), _) => {
                    self.finish_one(&row, tick)?;
                }
                (None, None) => {}
                (None, Some(want)) => {
                    let key = PrivateKey::generate(prepare::key_type(i.key_type)).map_err(|e| Error::Outside(e.to_string()))?;
                    let request = csr::build(&key, None, &prepare::sans(&s, &i)?).map_err(|e| Error::Outside(e.to_string()))?;
                    let ready = self.ready(&want, &request, random, tick.now)?;
                    self.sign(Job { ready, key: Some(key) }, random, tick)?;
                }
            }
        }
        let mut parts = Vec::with_capacity(scopes.len());
        for scope in &scopes {
            let found = self.store.try_read(|tx| {
                let row = authority::issued_for(tx, id, number, 1000)?.into_iter().find(|r| r.scope == *scope && is_signed(r));
                row.map(|r| Ok::<_, Error>((r.key, chain_of(tx, &r)?))).transpose()
            })?;
            let Some((key, chain)) = found else { return Ok(Some(tick.now + LATER)) };
            parts.push(Part { scope: scope.clone(), key, chain });
        }
        self.store_version(id, number, &parts, row, random, tick)?;
        Ok(Some(tick.now + Span::seconds(1)))
    }

    /// Stores a version whose keys are held: each key moves from where it was held into the version, in one transaction.
    pub(crate) fn store_version(
        &self,
        id: SecretId,
        number: i64,
        parts: &[Part],
        row: &Row,
        random: &mut Entropy<'_>,
        tick: &Tick,
    ) -> Result<()> {
        let held = self.store.read(|tx| held::of(tx, vault::REQUEST_KEY, id.0, 1000))?;
        let mut ready = Vec::with_capacity(parts.len());
        for part in parts {
            let of = held.iter().find(|h| h.fingerprint == part.key);
            let of = of.ok_or_else(|| Error::not_found("held key for scope", &part.scope))?;
            let mut chain = Vec::with_capacity(part.chain.len());
            for der in &part.chain {
                chain.push(Certificate::parse(der.clone()).map_err(|e| Error::refused("bad-certificate", e.to_string()))?);
            }
            ready.push((part.scope.as_str(), of.id, self.open_held(of.id)?, chain));
        }
        self.store.try_write(&rules(), tick.now, |tx| {
            let sealer = self.sealer(tx)?;
            let store_id = meta::identity(tx)?.store_id;
            let s = secret::lock(tx, id)?.ok_or_else(|| Error::not_found("secret", &id.to_string()))?;
            if s.newest_version + 1 != number {
                return close(tx, &s, row, tick.now);
            }
            announce::announce(tx, id, &row.reason, &rules(), tick)?;
            let s = secret::Secret { newest_version: number, ..s };
            for (scope, held_id, key, chain) in &ready {
                let c = announce::Certificate { secret: id, version: number, scope, chain };
                let instance = announce::instance(tx, &c, &row.reason, tick)?;
                let place = vault::place(&store_id, id, number, instance, vault::PRIVATE_KEY)?;
                let sealed = sealer.seal(&place, key.expose_pkcs8(), random)?;
                vault::put_sealed(tx, instance, vault::PRIVATE_KEY, sealed)?;
                held::remove(tx, *held_id)?;
            }
            target::wake_all(tx, id, loops::TARGET, tick.now)?;
            close(tx, &s, row, tick.now)
        })
    }

    /// The intent is not needed any more.
    fn over(&self, id: SecretId, row: &Row, tick: &Tick) -> Result<Option<Time>> {
        self.store.try_write(&rules(), tick.now, |tx| {
            let s = secret::lock(tx, id)?.ok_or_else(|| Error::not_found("secret", &id.to_string()))?;
            orders::end_open(tx, id, Some(row.id), "another version was stored meanwhile", tick.now)?;
            close(tx, &s, row, tick.now)
        })?;
        Ok(Some(tick.now + Span::seconds(1)))
    }

    /// Who is asked first.
    fn choice(&self, s: &secret::Secret, i: &issuance::Issuance, region: &str, tick: &Tick) -> Result<Choice> {
        let choice = self.store.try_read(|tx| Ok::<_, Error>(choose(tx, i, region, tick.now)?.into_iter().next()))?;
        choice.ok_or_else(|| Error::refused("no-issuer", format!("nobody issues {}", s.name)))
    }

    /// Until when an issuer is waited for, without a failure; written down.
    fn waits(&self, choice: &Choice, id: SecretId, tick: &Tick) -> Result<Option<Time>> {
        let Some(then) = choice.not_before else { return Ok(None) };
        let detail = format!("{} is not asked before {then}: its budget is used up, or it asked us to wait", choice.issuer.name);
        self.store.try_write(&rules(), tick.now, |tx| {
            let mut state = issuance::renewal(tx, id)?.unwrap_or_else(|| issuance::Renewal::fresh(id, 0));
            state.detail = detail.clone();
            Ok::<_, Error>(issuance::put_renewal(tx, &state)?)
        })?;
        Ok(Some(then))
    }

    /// Writes down that it failed. Says when it is tried again.
    pub(crate) fn failed(&self, id: SecretId, error: &Error, tick: &Tick) -> Result<Time> {
        let (terminal, detail) = match error {
            Error::Refused(Refusal { code, problems }) => (!["busy", "changed-meanwhile"].contains(code), problems.join("; ")),
            other => (matches!(other, Error::NotFound { .. }), other.to_string()),
        };
        self.store.try_write(&rules(), tick.now, |tx| trouble(tx, id, terminal, &detail, None, tick.now))
    }
}

/// One certificate of a version whose key is held.
pub(crate) struct Part {
    pub(crate) scope: String,
    pub(crate) key: domain::Fingerprint,
    pub(crate) chain: Vec<Vec<u8>>,
}

enum Step {
    /// Nothing to do until then.
    Rests(Option<Time>),
    /// This is to be done.
    Acts(Box<Row>),
}

/// Remembers a failure, which the secret's owner hears of; says when it is tried again.
pub(crate) fn trouble(tx: &mut Tx<'_>, id: SecretId, terminal: bool, detail: &str, retry_after: Option<Span>, now: Time) -> Result<Time> {
    let s = secret::lock(tx, id)?.ok_or_else(|| Error::not_found("secret", &id.to_string()))?;
    let mut state = issuance::renewal(tx, id)?.unwrap_or_else(|| issuance::Renewal::fresh(id, s.newest_version));
    state.failures += 1;
    state.failing_since = state.failing_since.or(Some(now));
    state.terminal |= terminal;
    state.detail = detail.to_owned();
    issuance::put_renewal(tx, &state)?;
    let remaining = secret::first_end(tx, id, s.newest_version)?.map_or(Span::days(1), |(_, end)| end - now);
    let pause = renewal::pause(&Failed { failures: state.failures, retry_after, remaining }, &[&s.name]);
    timer::set_earlier(tx, loops::SECRET, id.0, now)?;
    let body = json!({ "failures": state.failures, "terminal": terminal, "detail": detail, "again_at": (now + pause).to_string() });
    tx.journal(Entry::new("renewal.failed", subject(&s), "", &body))?;
    Ok(now + pause)
}

/// The intent is done, and the renewal begins anew with the version that there is now.
fn close(tx: &mut Tx<'_>, s: &secret::Secret, row: &Row, now: Time) -> Result<()> {
    intent::done(tx, row.id, now)?;
    let newest = secret::get(tx, s.id)?.map_or(s.newest_version, |s| s.newest_version);
    issuance::put_renewal(tx, &issuance::Renewal::fresh(s.id, newest))?;
    timer::set_earlier(tx, loops::SECRET, s.id.0, now)?;
    timer::set_earlier(tx, loops::RENEW, s.id.0, now)?;
    tx.journal(Entry::new("renewal.done", subject(s), "", &json!({ "intent": row.id, "version": newest })))?;
    Ok(())
}

/// Writes the intent down.
fn commit(tx: &mut Tx<'_>, s: &secret::Secret, i: &issuance::Issuance, reason: &str, by: &Actor, now: Time) -> Result<i64> {
    let content = json!({ "secret": s.name, "version": s.newest_version + 1, "keys": i.keys.as_str(), "issued_by": i.issued_by });
    Intent::new(RENEW, subject(s), content.clone()).kept(tx, &content, reason, by, now)?;
    let id = intent::open_for(tx, RENEW, &subject(s))?.map_or(0, |r| r.id);
    let mut state = issuance::renewal(tx, s.id)?.unwrap_or_else(|| issuance::Renewal::fresh(s.id, s.newest_version));
    state.intent = id;
    issuance::put_renewal(tx, &state)?;
    Ok(id)
}

/// When a secret is due: at once where it has no version, never where its newest one waits for its nodes.
fn due(tx: &mut Tx<'_>, s: &secret::Secret, i: &issuance::Issuance, state: &issuance::Renewal) -> Result<Option<Time>> {
    if s.newest_version == 0 {
        return Ok(Some(s.declared_at));
    }
    let mut versions = secret::versions(tx, s.id, 2)?.into_iter();
    let Some(version) = versions.next() else { return Ok(None) };
    let Some((not_before, not_after)) = secret::first_end(tx, s.id, s.newest_version)? else { return Ok(None) };
    let window = i.window()?;
    let issuer = i.issued_by.first().map_or("", String::as_str);
    let ask = Ask {
        identity: &[&s.name, issuer],
        stored_at: version.stored_at,
        before: versions.next().map(|v| v.stored_at),
        not_before,
        not_after,
        suggested: state.suggested,
        window: window.as_ref(),
    };
    Ok(Some(renewal::due(&ask).at))
}

fn usable(row: &authority::Issued) -> bool {
    row.state != domain::issuing::IssuedState::Ended && row.revoked_at.is_none()
}

fn check_renewable(s: &secret::Secret) -> Result<()> {
    if s.kind == Kind::Certificate && s.management == Management::Managed && s.retired_at.is_none() {
        return Ok(());
    }
    Err(Error::refused("wrong-kind", format!("{} is no certificate that the store renews", s.name)))
}

pub(crate) fn subject(s: &secret::Secret) -> String {
    format!("secret/{}", s.name)
}

/// The scopes of a version, each once.
pub(crate) fn distinct(scopes: Vec<String>) -> Vec<String> {
    scopes.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}
