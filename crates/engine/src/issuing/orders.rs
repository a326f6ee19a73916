//! Requests to issuers outside: kept with everything that they need, taken one step at a time through the port, and resumed after any
//! restart from where the issuer keeps them.

use super::{
    Answer, announce,
    choose::{choose, end, room},
    node::ASK_AGAIN,
    prepare::{self, declared},
    renew::{Part, trouble},
};
use crate::{
    Engine, Error, Result, Tick,
    held::hold,
    loops,
    ports::{self, Entropy, Fault, Ordered},
    rules, vault,
};
use domain::{
    Span, Time,
    issuing::{IssuerKind, OrderState},
    renewal::{self, FALLBACK_AFTER, Failed},
    schedule,
    words::SecretId,
};
use pki::{Certificate, KeyType, PrivateKey, csr, csr::Csr};
use serde_json::json;
use store::{
    journal::Entry,
    model::{held, intent, issuance, order, secret},
    timer::{self, Claim},
};
use zeroize::Zeroizing;

/// How many orders one round takes.
const BATCH: i64 = 20;
/// How long after it was issued an issuer is first asked when a certificate should be renewed.
const FIRST_SUGGESTION: Span = Span::minutes(10);
/// When an order is looked at again that waits for nothing that has a time.
const LATER: Span = Span::minutes(1);
/// How long an issuer is left alone that wants that and does not say for how long.
const LIMITED: Span = Span::hours(1);
/// How much is left where nothing says how much.
const UNKNOWN_REMAINS: Span = Span::days(30);
/// Most open orders of a secret that are ended in one transaction.
const MOST_OPEN: i64 = 10_000;
/// An order that was not answered for so long is given up, and a new one is made.
const GIVEN_UP_AFTER: Span = Span::days(7);

/// A node asks: an order is made where there is none, and its answer given where there is one.
pub(super) fn for_node(engine: &Engine, node: &str, id: SecretId, version: i64, request: &[u8], tick: &Tick) -> Result<Answer> {
    let csr = Csr::parse(request).map_err(|e| Error::refused("bad-request", e.to_string()))?;
    let key = csr.spki_fingerprint();
    let known = engine.store.read(|tx| order::of_key(tx, id, version, node, &key))?;
    if let Some(o) = known.filter(|o| o.state != OrderState::Ended) {
        if o.state == OrderState::Issued {
            return Ok(Answer::Issued(split(&o.chain)));
        }
        if o.state == OrderState::Failed {
            // A node asks every few seconds, and what failed is not asked for again at that pace.
            let (failures, end) = engine.store.try_read(|tx| {
                let failures = issuance::renewal(tx, id)?.map_or(1, |r| r.failures);
                Ok::<_, Error>((failures, end(tx, id)?))
            })?;
            let remaining = end.map_or(UNKNOWN_REMAINS, |end| end - tick.now);
            let pause = renewal::pause(&Failed { failures, retry_after: None, remaining }, &[node]);
            let then = o.done_at.unwrap_or(o.created_at) + pause;
            if then > tick.now {
                return Ok(Answer::Pending { retry_after: then - tick.now, what: o.detail });
            }
            return ask_anew(engine, node, id, version, request, &csr, tick);
        }
        let what = if o.detail.is_empty() { format!("{} works on it", o.issuer) } else { o.detail };
        return Ok(Answer::Pending { retry_after: ASK_AGAIN, what });
    }
    ask_anew(engine, node, id, version, request, &csr, tick)
}

fn ask_anew(engine: &Engine, node: &str, id: SecretId, version: i64, request: &[u8], csr: &Csr, tick: &Tick) -> Result<Answer> {
    let key = csr.spki_fingerprint();
    let (s, i) = engine.store.try_read(|tx| declared(tx, id))?;
    let permitted = prepare::sans(&s, &i)?;
    let rules_of = csr::Rules { permitted: &permitted, key_type: Some(prepare::key_type(i.key_type)), ..csr::Rules::default() };
    csr::check(csr, &rules_of).map_err(|problems| {
        Error::Refused(crate::Refusal { code: "bad-request", problems: problems.into_iter().map(|p| p.detail).collect() })
    })?;
    engine.store.try_write(&rules(), tick.now, |tx| {
        prepare::not_leaked(tx, &key)?;
        let region = super::region_of(tx, node)?;
        let choice = choose(tx, &i, &region, tick.now)?.into_iter().find(|c| c.issuer.kind == IssuerKind::Acme);
        let choice = choice.ok_or_else(|| Error::refused("no-issuer", format!("nobody issues {}", s.name)))?;
        let new = new_order(tx, &s, &choice.issuer.name, version, node, 0, request, key, 0, tick.now)?;
        timer::set(tx, loops::ORDER, new.id, choice.not_before.unwrap_or(tick.now))?;
        Ok(Answer::Pending { retry_after: ASK_AGAIN, what: format!("{} is asked", choice.issuer.name) })
    })
}

/// Whether an order of an intent is open, or has come and is not stored.
pub(super) fn is_under_way(tx: &mut store::Tx<'_>, id: SecretId, number: i64, intent: i64) -> store::Result<bool> {
    let ours = |o: &order::Order| o.version == number && o.intent == intent;
    let waits = |o: &order::Order| matches!(o.state, OrderState::Open | OrderState::Issued);
    Ok(order::of_secret(tx, id, 20)?.iter().find(|o| ours(o)).is_some_and(waits))
}

/// A renewal asks whose key is born in the store. Says when the renewal looks again.
#[expect(clippy::too_many_arguments, reason = "each is asked for by name at its one call")]
pub(super) fn for_store(
    engine: &Engine,
    s: &secret::Secret,
    i: &issuance::Issuance,
    issuer: &issuance::Issuer,
    number: i64,
    row: &intent::Intent,
    random: &mut Entropy<'_>,
    tick: &Tick,
) -> Result<Option<Time>> {
    let open = engine.store.read(|tx| order::of_secret(tx, s.id, 20))?.into_iter().find(|o| o.version == number && o.intent == row.id);
    match open {
        Some(o) if o.state == OrderState::Open => return Ok(None),
        Some(o) if o.state == OrderState::Issued => {
            let part = Part { scope: String::from("all"), key: o.key, chain: split(&o.chain) };
            engine.store_version(s.id, number, &[part], row, random, tick)?;
            return Ok(Some(tick.now + Span::seconds(1)));
        }
        _ => {}
    }
    let key = PrivateKey::generate(prepare::key_type(i.key_type)).map_err(|e| Error::Outside(e.to_string()))?;
    let request = csr::build(&key, None, &prepare::sans(s, i)?).map_err(|e| Error::Outside(e.to_string()))?;
    engine.store.try_write(&rules(), tick.now, |tx| {
        let sealer = engine.sealer(tx)?;
        let held = hold(tx, &sealer, vault::REQUEST_KEY, s.id.0, &key, random, tick.now)?;
        let new = new_order(tx, s, &issuer.name, number, "all", row.id, &request, key.spki_fingerprint(), held, tick.now)?;
        timer::set(tx, loops::ORDER, new.id, tick.now)?;
        Ok::<_, Error>(())
    })?;
    // The order wakes the renewal when it is over.
    Ok(None)
}

#[expect(clippy::too_many_arguments, reason = "each is asked for by name at its two calls")]
fn new_order(
    tx: &mut store::Tx<'_>,
    s: &secret::Secret,
    issuer: &str,
    version: i64,
    scope: &str,
    intent: i64,
    request: &[u8],
    key: domain::Fingerprint,
    held: i64,
    now: Time,
) -> Result<order::Order> {
    // RFC 9773 §5: a CA refuses to replace what it did not issue to this account. What this one takes over from is the certificate of the
    // version before, for the same place, where the same issuer gave it to us.
    let mut replaces = String::new();
    for i in secret::instances_of(tx, s.id, version - 1, &[scope])? {
        let by = order::of_key(tx, s.id, i.version, scope, &i.key)?;
        if by.is_some_and(|o| o.state == OrderState::Issued && o.issuer == issuer) {
            let leaf = crate::judge::parse_chain(&i.chain).into_iter().next();
            replaces = leaf.and_then(|c| c.acme_id().map(|id| id.encode())).unwrap_or_default();
        }
    }
    let new = order::Order {
        id: tx.next_id("signing_order")?,
        issuer: issuer.to_owned(),
        secret: s.id,
        version,
        scope: scope.to_owned(),
        intent,
        state: OrderState::Open,
        csr: request.to_vec(),
        key,
        held,
        names: s.names.clone(),
        replaces,
        url: String::new(),
        chain: Vec::new(),
        attempts: 0,
        failures: 0,
        created_at: now,
        placed_at: None,
        tried_at: None,
        done_at: None,
        detail: String::new(),
        problems: Vec::new(),
    };
    order::put(tx, &new)?;
    let body = json!({ "order": new.id, "issuer": issuer, "version": version, "scope": scope, "names": s.names });
    tx.journal(Entry::new("order.made", format!("secret/{}", s.name), "", &body))?;
    Ok(new)
}

impl Engine {
    /// Takes the orders that are due one step further. Says how many there were.
    ///
    /// # Errors
    /// What the database says. A sealed store asks nobody, since the account's key cannot be used.
    pub fn orders_once(&self, authority: &dyn ports::Authority, random: &mut Entropy<'_>, tick: &Tick) -> Result<usize> {
        let claims =
            self.store.write(&rules(), tick.now, |tx| timer::claim(tx, loops::ORDER, tick.now, &self.holder, schedule::LEASE, BATCH))?;
        let mut ready: Vec<Option<(Claim, order::Order)>> = Vec::new();
        let mut asks = Vec::new();
        for claim in claims.iter().copied() {
            match self.ask(claim.subject, random, tick) {
                Ok(Asked::Now(o, ask)) => {
                    ready.push(Some((claim, *o)));
                    asks.push(*ask);
                }
                Ok(Asked::Later(next)) => {
                    self.store.write(&rules(), tick.now, |tx| timer::done(tx, loops::ORDER, &claim, next))?;
                }
                Ok(Asked::Over(o, ask)) => {
                    authority.abandon(&ask, tick.now);
                    // Once is enough: what could not be taken back was logged, and the order runs out at the issuer.
                    let gone = order::Order { url: String::new(), ..*o };
                    self.store.write(&rules(), tick.now, |tx| {
                        order::put(tx, &gone)?;
                        timer::done(tx, loops::ORDER, &claim, None)
                    })?;
                }
                Err(Error::Sealed) => {
                    self.store.write(&rules(), tick.now, |tx| timer::done(tx, loops::ORDER, &claim, Some(tick.now + LATER)))?;
                }
                Err(error) if error.is_of_the_database() => return Err(error),
                Err(error) => {
                    let written = self.answered(&claim, None, error.to_string(), tick);
                    self.left_for_later(loops::ORDER, &claim, written, tick)?;
                }
            }
        }
        if !asks.is_empty() {
            let mut outcome = Ok(());
            authority.order(&asks, tick.now, &mut |n, answer| {
                if let Some((claim, _)) = ready.get_mut(n).and_then(Option::take)
                    && outcome.is_ok()
                {
                    let written = self.answered(&claim, Some(answer), String::new(), tick);
                    outcome = self.left_for_later(loops::ORDER, &claim, written, tick);
                }
            });
            outcome?;
        }
        Ok(claims.len())
    }

    /// Everything that an order needs, opened for one call.
    fn ask(&self, id: i64, random: &mut Entropy<'_>, tick: &Tick) -> Result<Asked> {
        let now = tick.now;
        let found = self.store.try_read(|tx| {
            let Some(o) = order::get(tx, id)?.filter(|o| match o.state {
                OrderState::Open => true,
                OrderState::Issued => false,
                OrderState::Failed | OrderState::Ended => !o.url.is_empty(),
            }) else {
                return Ok(None);
            };
            let issuer = issuance::issuer(tx, &o.issuer)?;
            let mut wait = None;
            if let Some(issuer) = issuer.as_ref().filter(|_| o.url.is_empty()) {
                let state = issuance::issuer_state(tx, &o.issuer)?;
                let asked = match state.not_before.filter(|t| *t > now) {
                    Some(until) => Some(renewal::heeded(until, state.failed_at, end(tx, o.secret)?)),
                    None => None,
                };
                let room = if o.placed_at.is_none() { room(tx, issuer, now)? } else { None };
                wait = asked.into_iter().chain(room).max().filter(|t| *t > now);
            }
            let elsewhere = wait.is_some() && free_elsewhere(tx, &o, now)?;
            Ok::<_, Error>(Some((o, issuer, wait, elsewhere)))
        })?;
        let Some((mut o, issuer, wait, elsewhere)) = found else { return Ok(Asked::Later(None)) };
        let over = o.state != OrderState::Open;
        if let (Some(then), false) = (wait, over) {
            if elsewhere {
                // It was placed nowhere, and somebody else can be asked now.
                self.store.try_write(&rules(), now, |tx| {
                    let why = format!("{} is not asked before {then}, and another issuer is free", o.issuer);
                    end_order(tx, &o, OrderState::Ended, &why, now)?;
                    Ok::<_, Error>(timer::set(tx, loops::RENEW, o.secret.0, now)?)
                })?;
                return Ok(Asked::Later(None));
            }
            return Ok(Asked::Later(Some(then)));
        }
        let Some(issuer) = issuer else {
            return if over { Ok(Asked::Later(None)) } else { Err(Error::not_found("issuer", &o.issuer)) };
        };
        let ask = self.opened(&o, &issuer, random, tick);
        if over {
            return Ok(match ask {
                Ok(ask) => Asked::Over(Box::new(o), Box::new(ask)),
                Err(Error::Sealed) => return Err(Error::Sealed),
                // What it needs is gone, and with it the way to take anything back.
                Err(_) => Asked::Later(None),
            });
        }
        let ask = ask?;
        // What a budget counts is written before it goes out: a crash may count one too many, and never one too few.
        if o.placed_at.is_none() {
            o.placed_at = Some(now);
            self.store.write(&rules(), now, |tx| order::put(tx, &o))?;
        }
        Ok(Asked::Now(Box::new(o), Box::new(ask)))
    }

    /// What the port needs for an order.
    fn opened(&self, o: &order::Order, issuer: &issuance::Issuer, random: &mut Entropy<'_>, tick: &Tick) -> Result<Ordered> {
        let mut declared: api::fleet::Issuer =
            serde_json::from_str(&issuer.settings).map_err(|e| Error::refused("damaged", format!("issuer {}: {e}", o.issuer)))?;
        declared.name.clone_from(&issuer.name);
        let directory = declared.directory.clone().unwrap_or_default();
        let account = self.account(&issuer.name, &directory, random, tick)?;
        let open = |name: &Option<String>| -> Result<Option<Zeroizing<String>>> {
            name.as_ref().map(|n| self.open_newest(n).map(|(_, _, text)| text)).transpose()
        };
        let roots = declared.roots.as_ref().map(|name| self.store.try_read(|tx| vault::roots_pem(tx, name))).transpose()?;
        Ok(Ordered {
            order: o.id,
            account_key: Zeroizing::new(self.open_held(account.held)?.expose_pkcs8().to_vec()),
            account: account.url,
            eab_key: open(&declared.eab_secret)?,
            dns_key: open(&declared.dns.as_ref().map(|d| d.key_secret.clone()))?,
            roots,
            csr: o.csr.clone(),
            names: o.names.clone(),
            replaces: o.replaces.clone(),
            url: o.url.clone(),
            since: o.placed_at.unwrap_or(o.created_at),
            issuer: declared,
        })
    }

    /// The account at a directory; its key is made when it is needed first.
    fn account(&self, issuer: &str, directory: &str, random: &mut Entropy<'_>, tick: &Tick) -> Result<issuance::Account> {
        let known = self.store.read(|tx| issuance::account(tx, issuer))?;
        if let Some(account) = known.filter(|a| a.directory == directory) {
            return Ok(account);
        }
        let key = PrivateKey::generate(KeyType::EcdsaP256).map_err(|e| Error::Outside(e.to_string()))?;
        self.store.try_write(&rules(), tick.now, |tx| {
            let sealer = self.sealer(tx)?;
            tx.turn(&format!("account {issuer}"))?;
            if let Some(account) = issuance::account(tx, issuer)?.filter(|a| a.directory == directory) {
                return Ok(account);
            }
            let held = hold(tx, &sealer, vault::ACCOUNT_KEY, 0, &key, random, tick.now)?;
            let account = issuance::Account { directory: directory.to_owned(), held, url: String::new() };
            issuance::put_account(tx, issuer, &account)?;
            let body = json!({ "directory": directory, "key": key.spki_fingerprint().to_string() });
            tx.journal(Entry::new("account.made", format!("issuer/{issuer}"), "", &body))?;
            Ok(account)
        })
    }

    /// Writes down what an issuer said, and what follows.
    fn answered(&self, claim: &Claim, answer: Option<ports::Answered>, broken: String, tick: &Tick) -> Result<()> {
        let now = tick.now;
        self.store.try_write(&rules(), now, |tx| {
            let open = order::get(tx, claim.subject)?.filter(|o| o.state == OrderState::Open);
            let Some(mut o) = open else {
                // It was ended meanwhile; what it left is taken back in the next round.
                timer::done(tx, loops::ORDER, claim, Some(now))?;
                return Ok(());
            };
            let s = secret::lock(tx, o.secret)?.ok_or_else(|| Error::not_found("secret", &o.secret.to_string()))?;
            o.attempts += 1;
            o.tried_at = Some(now);
            let said = match &answer {
                Some(a) => {
                    if o.url.is_empty() && !a.url.is_empty() {
                        o.placed_at = Some(now);
                    }
                    o.url.clone_from(&a.url);
                    if let Some(known) = issuance::account(tx, &o.issuer)?.filter(|k| k.url != a.account) {
                        issuance::put_account(tx, &o.issuer, &issuance::Account { url: a.account.clone(), ..known })?;
                    }
                    a.answer.clone()
                }
                None => ports::Answer::Failed {
                    terminal: true,
                    detail: broken.clone(),
                    problems: Vec::new(),
                    retry_after: None,
                    fault: Fault::Order,
                },
            };
            let mut next = None;
            match said {
                ports::Answer::Issued(chain) => match fits(&o, &chain, now) {
                    Ok(parsed) => {
                        o.chain = chain.concat();
                        o.state = OrderState::Issued;
                        o.done_at = Some(now);
                        o.detail = String::new();
                        o.failures = 0;
                        if o.held == 0 {
                            let c = announce::Certificate { secret: o.secret, version: o.version, scope: &o.scope, chain: &parsed };
                            announce::instance(tx, &c, &format!("issued by {}", o.issuer), tick)?;
                            recovered(tx, &o, true, now)?;
                        }
                        issuance::put_issuer_state(tx, &o.issuer, &issuance::IssuerState::default())?;
                        timer::set(tx, loops::RENEW, o.secret.0, now)?;
                        timer::set(tx, loops::ARI, o.secret.0, now + FIRST_SUGGESTION)?;
                        let body =
                            json!({ "order": o.id, "issuer": o.issuer, "leaf": parsed[0].fingerprint().to_string(), "scope": o.scope });
                        tx.journal(Entry::new("order.issued", format!("secret/{}", s.name), "", &body))?;
                    }
                    Err(why) => next = failed(tx, &mut o, Failure { terminal: true, ..Failure::of(why, Fault::Issuer) }, now)?,
                },
                ports::Answer::Pending { retry_after, what } => {
                    o.detail = what;
                    if o.failures > 0 {
                        o.failures = 0;
                        recovered(tx, &o, false, now)?;
                    }
                    if now - o.created_at > GIVEN_UP_AFTER {
                        let why = format!("did not answer for {GIVEN_UP_AFTER}: {}", o.detail);
                        next = failed(tx, &mut o, Failure { gives_up: true, ..Failure::of(why, Fault::Order) }, now)?;
                    } else {
                        // Processing for an hour is no failure; it is asked ever more rarely.
                        let pause = renewal::pause(
                            &Failed { failures: o.attempts.min(6), retry_after: None, remaining: UNKNOWN_REMAINS },
                            &[&s.name],
                        );
                        let least =
                            retry_after.map_or(pause.min(Span::minutes(15)), |r| r.max(Span::seconds(1)).min(renewal::LONGEST_RETRY_AFTER));
                        next = Some(now + least);
                    }
                }
                ports::Answer::Failed { terminal, detail, problems, retry_after, fault } => {
                    let failure = Failure { terminal, gives_up: false, detail, problems, retry_after, fault };
                    next = failed(tx, &mut o, failure, now)?;
                }
            }
            order::put(tx, &o)?;
            timer::done(tx, loops::ORDER, claim, next)?;
            Ok(())
        })
    }
}

/// What went wrong with an order.
struct Failure {
    terminal: bool,
    /// Whether it ends, though nothing speaks against another one of the same kind.
    gives_up: bool,
    detail: String,
    problems: Vec<(String, String)>,
    retry_after: Option<Span>,
    fault: Fault,
}

impl Failure {
    fn of(detail: String, fault: Fault) -> Failure {
        Failure { terminal: false, gives_up: false, detail, problems: Vec::new(), retry_after: None, fault }
    }
}

/// An order did not work out: it is tried again later, or ended so that the renewal makes another one, elsewhere where that helps.
fn failed(tx: &mut store::Tx<'_>, o: &mut order::Order, f: Failure, now: Time) -> Result<Option<Time>> {
    // A failing name of a shared certificate is said by its name.
    let named: Vec<String> = f.problems.iter().map(|(name, what)| format!("{name}: {what}")).collect();
    let detail = &f.detail;
    let told = if named.is_empty() { format!("{}: {detail}", o.issuer) } else { format!("{}: {detail} ({})", o.issuer, named.join("; ")) };
    o.failures += 1;
    o.detail = told.clone();
    o.problems.clone_from(&f.problems);
    // Only what came from the issuer itself says anything of its other orders.
    if f.fault != Fault::Order {
        let mut state = issuance::issuer_state(tx, &o.issuer)?;
        state.failed_at = Some(now);
        state.detail.clone_from(&told);
        match f.fault {
            Fault::Limit => state.not_before = Some(now + f.retry_after.unwrap_or(LIMITED).min(renewal::LONGEST_RETRY_AFTER)),
            _ => {
                state.failures += 1;
                state.failing_since = state.failing_since.or(Some(now));
            }
        }
        issuance::put_issuer_state(tx, &o.issuer, &state)?;
    }
    if f.fault == Fault::Limit && o.url.is_empty() && free_elsewhere(tx, o, now)? {
        // It was placed nowhere, and somebody else can be asked at once.
        end_order(tx, o, OrderState::Ended, &told, now)?;
        (o.state, o.held, o.done_at) = (OrderState::Ended, 0, Some(now));
        timer::set(tx, loops::RENEW, o.secret.0, now)?;
        return Ok(None);
    }
    let again = trouble(tx, o.secret, f.terminal, &told, f.retry_after, now)?;
    // What was refused is not asked for again in the same words. What failed several times is asked of somebody else where there is
    // somebody; an order that lies with the issuer is not thrown away for nobody's sake.
    let often = o.failures >= FALLBACK_AFTER && (o.url.is_empty() || free_elsewhere(tx, o, now)?);
    if !f.terminal && !f.gives_up && !often {
        return Ok(Some(again));
    }
    end_order(tx, o, OrderState::Failed, &told, now)?;
    (o.state, o.held, o.done_at) = (OrderState::Failed, 0, Some(now));
    timer::set(tx, loops::RENEW, o.secret.0, again)?;
    Ok((!o.url.is_empty()).then_some(now))
}

/// Ends an order, with the key that is held for it. What it left at the issuer is taken back in the next round.
fn end_order(tx: &mut store::Tx<'_>, o: &order::Order, state: OrderState, why: &str, now: Time) -> Result<()> {
    if o.held != 0 {
        held::remove(tx, o.held)?;
    }
    order::put(tx, &order::Order { state, held: 0, done_at: Some(now), detail: why.to_owned(), ..o.clone() })?;
    if !o.url.is_empty() {
        timer::set(tx, loops::ORDER, o.id, now)?;
    }
    let name = secret::get(tx, o.secret)?.map_or_else(|| o.secret.to_string(), |s| s.name);
    let body = json!({ "order": o.id, "issuer": o.issuer, "detail": why, "problems": o.problems });
    let action = if state == OrderState::Failed { "order.failed" } else { "order.ended" };
    tx.journal(Entry::new(action, format!("secret/{name}"), "", &body))?;
    Ok(())
}

/// Ends the orders of a renewal that nobody needs any more, or all of a secret's where none is named; the keys that are held for them go.
pub(super) fn end_open(tx: &mut store::Tx<'_>, id: SecretId, intent: Option<i64>, why: &str, now: Time) -> Result<()> {
    let open = order::open_of(tx, id, MOST_OPEN)?;
    for o in open.iter().filter(|o| intent.is_none_or(|intent| o.intent == intent)) {
        end_order(tx, o, OrderState::Ended, why, now)?;
    }
    Ok(())
}

/// Whether somebody else can be asked for what an order asks for, now and with hope.
fn free_elsewhere(tx: &mut store::Tx<'_>, o: &order::Order, now: Time) -> Result<bool> {
    let Some(i) = issuance::get(tx, o.secret)?.filter(|i| !i.issued_by.is_empty()) else { return Ok(false) };
    let region = if o.held == 0 { super::region_of(tx, &o.scope)? } else { String::new() };
    match choose(tx, &i, &region, now) {
        Ok(all) => Ok(all.iter().any(|c| c.not_before.is_none() && !c.failing && c.issuer.name != o.issuer)),
        Err(Error::Store(e)) => Err(Error::Store(e)),
        Err(_) => Ok(false),
    }
}

/// An order goes on: what failed before it is no failure in a row any more. `whole` where a certificate came.
fn recovered(tx: &mut store::Tx<'_>, o: &order::Order, whole: bool, now: Time) -> Result<()> {
    let Some(state) = issuance::renewal(tx, o.secret)?.filter(|r| r.failures > 0 && (whole || !r.terminal)) else { return Ok(()) };
    let fine = issuance::Renewal { failures: 0, failing_since: None, terminal: false, detail: String::new(), ..state };
    issuance::put_renewal(tx, &fine)?;
    timer::set_earlier(tx, loops::SECRET, o.secret.0, now)?;
    Ok(())
}

enum Asked {
    Now(Box<order::Order>, Box<Ordered>),
    Later(Option<Time>),
    /// It is over, and may have left something behind.
    Over(Box<order::Order>, Box<Ordered>),
}

/// An answer is believed only where it is for the key and the names that were asked for.
fn fits(o: &order::Order, chain: &[Vec<u8>], now: Time) -> std::result::Result<Vec<Certificate>, String> {
    let mut parsed = Vec::with_capacity(chain.len());
    for der in chain {
        parsed.push(Certificate::parse(der.clone()).map_err(|e| format!("the answer is no certificate: {e}"))?);
    }
    let Some(leaf) = parsed.first() else { return Err(String::from("the answer holds no certificate")) };
    if leaf.spki_fingerprint() != o.key {
        return Err(format!("the certificate of {} is for another key than was asked for", leaf.subject()));
    }
    let missing: Vec<&String> =
        o.names.iter().filter(|n| !leaf.covers(n) && !leaf.names().iter().any(|own| own.to_string() == **n)).collect();
    if let Some(name) = missing.first() {
        return Err(format!("the certificate does not cover {name}"));
    }
    if leaf.not_after() <= now {
        return Err(format!("the certificate ended {}", leaf.not_after()));
    }
    pki::check_chain(&parsed).map_err(|e| e.to_string())?;
    Ok(parsed)
}

/// Concatenated DER as certificates.
fn split(chain: &[u8]) -> Vec<Vec<u8>> {
    crate::judge::parse_chain(chain).iter().map(|c| c.der().to_vec()).collect()
}
