//! Requests to issuers outside: kept with everything that they need, taken one step at a time through the port, and resumed after any
//! restart from where the issuer keeps them.

use super::{
    Answer, announce,
    choose::choose,
    node::ASK_AGAIN,
    prepare::{self, declared},
    renew::{Part, trouble},
};
use crate::{
    Engine, Error, Result, Tick,
    held::hold,
    loops,
    ports::{self, Entropy, Ordered},
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
    model::{intent, issuance, order, secret},
    timer::{self, Claim},
};
use zeroize::Zeroizing;

/// How many orders one round takes.
const BATCH: i64 = 20;
/// How long after it was issued an issuer is first asked when a certificate should be renewed.
const FIRST_SUGGESTION: Span = Span::minutes(10);
/// When an order is looked at again that waits for nothing that has a time.
const LATER: Span = Span::minutes(1);
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
            let failures = engine.store.read(|tx| issuance::issuer_state(tx, &o.issuer))?.failures;
            let pause = renewal::pause(&Failed { failures, retry_after: None, remaining: Span::days(30) }, &[node]);
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
        let region = super::region_of(tx, node)?;
        let choice = choose(tx, &i, &region, tick.now)?.into_iter().find(|c| c.issuer.kind == IssuerKind::Acme);
        let choice = choice.ok_or_else(|| Error::refused("no-issuer", format!("nobody issues {}", s.name)))?;
        let new = new_order(tx, &s, &choice.issuer.name, version, node, 0, request, key, 0, tick.now)?;
        timer::set(tx, loops::ORDER, new.id, choice.not_before.unwrap_or(tick.now))?;
        Ok(Answer::Pending { retry_after: ASK_AGAIN, what: format!("{} is asked", choice.issuer.name) })
    })
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
    let before = secret::instances(tx, s.id, Some(s.newest_version))?;
    let replaced = before.iter().find(|i| i.scope == scope).or(before.first());
    let replaces = replaced
        .and_then(|i| crate::judge::parse_chain(&i.chain).into_iter().next())
        .and_then(|c| c.acme_id().map(|id| id.encode()))
        .unwrap_or_default();
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
        let mut ready: Vec<(Claim, order::Order)> = Vec::new();
        let mut asks = Vec::new();
        for claim in claims.iter().copied() {
            match self.ask(claim.subject, random, tick) {
                Ok(Asked::Now(o, ask)) => {
                    ready.push((claim, *o));
                    asks.push(*ask);
                }
                Ok(Asked::Later(next)) => {
                    self.store.write(&rules(), tick.now, |tx| timer::done(tx, loops::ORDER, &claim, next))?;
                }
                Err(Error::Sealed) => {
                    self.store.write(&rules(), tick.now, |tx| timer::done(tx, loops::ORDER, &claim, Some(tick.now + LATER)))?;
                }
                Err(Error::Store(e)) => return Err(Error::Store(e)),
                Err(error) => self.answered(&claim, None, error.to_string(), random, tick)?,
            }
        }
        if !asks.is_empty() {
            let answers = authority.order(&asks, tick.now);
            drop(asks);
            for ((claim, o), answer) in ready.into_iter().zip(answers) {
                self.answered(&claim, Some((o, answer)), String::new(), random, tick)?;
            }
        }
        Ok(claims.len())
    }

    /// Everything that an order needs, opened for one call.
    fn ask(&self, id: i64, random: &mut Entropy<'_>, tick: &Tick) -> Result<Asked> {
        let found = self.store.try_read(|tx| {
            let Some(o) = order::get(tx, id)?.filter(|o| o.state == OrderState::Open) else { return Ok(None) };
            let issuer = issuance::issuer(tx, &o.issuer)?;
            let state = issuance::issuer_state(tx, &o.issuer)?;
            let room = match issuer.as_ref().and_then(|i| i.budget).filter(|_| o.placed_at.is_none()) {
                Some((orders, window)) => {
                    let (placed, oldest) = order::placed_since(tx, &o.issuer, tick.now - window)?;
                    if placed >= orders { oldest.map(|t| t + window) } else { None }
                }
                None => None,
            };
            Ok::<_, Error>(Some((o, issuer, state, room)))
        })?;
        let Some((mut o, issuer, state, room)) = found else { return Ok(Asked::Later(None)) };
        let issuer = issuer.ok_or_else(|| Error::not_found("issuer", &o.issuer))?;
        let wait = state.not_before.filter(|_| o.url.is_empty()).into_iter().chain(room).max().filter(|t| *t > tick.now);
        if let Some(then) = wait {
            return Ok(Asked::Later(Some(then)));
        }
        let mut declared: api::fleet::Issuer =
            serde_json::from_str(&issuer.settings).map_err(|e| Error::refused("damaged", format!("issuer {}: {e}", o.issuer)))?;
        declared.name.clone_from(&issuer.name);
        let directory = declared.directory.clone().unwrap_or_default();
        let account = self.account(&issuer.name, &directory, random, tick)?;
        let open = |name: &Option<String>| -> Result<Option<Zeroizing<String>>> {
            name.as_ref().map(|n| self.open_newest(n).map(|(_, _, text)| text)).transpose()
        };
        let roots = declared.roots.as_ref().map(|name| self.store.try_read(|tx| vault::roots_pem(tx, name))).transpose()?;
        let ask = Ordered {
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
            since: o.created_at,
            issuer: declared,
        };
        // What a budget counts is written before it goes out: a crash may count one too many, and never one too few.
        if o.placed_at.is_none() {
            o.placed_at = Some(tick.now);
            self.store.write(&rules(), tick.now, |tx| order::put(tx, &o))?;
        }
        Ok(Asked::Now(Box::new(o), Box::new(ask)))
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
    fn answered(
        &self,
        claim: &Claim,
        answer: Option<(order::Order, ports::Answered)>,
        broken: String,
        _random: &mut Entropy<'_>,
        tick: &Tick,
    ) -> Result<()> {
        let now = tick.now;
        self.store.try_write(&rules(), now, |tx| {
            let Some(mut o) = order::get(tx, claim.subject)? else { return Ok(()) };
            let s = secret::lock(tx, o.secret)?.ok_or_else(|| Error::not_found("secret", &o.secret.to_string()))?;
            o.attempts += 1;
            o.tried_at = Some(now);
            let said = match &answer {
                Some((_, a)) => {
                    o.url.clone_from(&a.url);
                    if let Some(known) = issuance::account(tx, &o.issuer)?.filter(|k| k.url != a.account && !a.account.is_empty()) {
                        issuance::put_account(tx, &o.issuer, &issuance::Account { url: a.account.clone(), ..known })?;
                    }
                    a.answer.clone()
                }
                None => ports::Answer::Failed { terminal: true, detail: broken.clone(), problems: Vec::new(), retry_after: None },
            };
            let mut next = None;
            match said {
                ports::Answer::Issued(chain) => match fits(&o, &chain, now) {
                    Ok(parsed) => {
                        o.chain = chain.concat();
                        o.state = OrderState::Issued;
                        o.done_at = Some(now);
                        o.detail = String::new();
                        if o.held == 0 {
                            let c = announce::Certificate { secret: o.secret, version: o.version, scope: &o.scope, chain: &parsed };
                            announce::instance(tx, &c, &format!("issued by {}", o.issuer), tick)?;
                        }
                        issuance::put_issuer_state(tx, &o.issuer, &issuance::IssuerState::default())?;
                        timer::set(tx, loops::RENEW, o.secret.0, now)?;
                        timer::set(tx, loops::ARI, o.secret.0, now + FIRST_SUGGESTION)?;
                        let body =
                            json!({ "order": o.id, "issuer": o.issuer, "leaf": parsed[0].fingerprint().to_string(), "scope": o.scope });
                        tx.journal(Entry::new("order.issued", format!("secret/{}", s.name), "", &body))?;
                    }
                    Err(why) => next = self.order_failed(tx, &mut o, &s, true, &why, &[], None, now)?,
                },
                ports::Answer::Pending { retry_after, what } => {
                    o.detail = what;
                    if now - o.created_at > GIVEN_UP_AFTER {
                        let why = format!("{} did not answer for {GIVEN_UP_AFTER}: {}", o.issuer, o.detail);
                        next = self.order_failed(tx, &mut o, &s, false, &why, &[], None, now)?;
                    } else {
                        // Processing for an hour is no failure; it is asked ever more rarely.
                        let pause = renewal::pause(
                            &Failed { failures: o.attempts.min(6), retry_after: None, remaining: Span::days(30) },
                            &[&s.name],
                        );
                        let least =
                            retry_after.map_or(pause.min(Span::minutes(15)), |r| r.max(Span::seconds(1)).min(renewal::LONGEST_RETRY_AFTER));
                        next = Some(now + least);
                    }
                }
                ports::Answer::Failed { terminal, detail, problems, retry_after } => {
                    next = self.order_failed(tx, &mut o, &s, terminal, &detail, &problems, retry_after, now)?;
                }
            }
            order::put(tx, &o)?;
            timer::done(tx, loops::ORDER, claim, next)?;
            Ok(())
        })
    }

    /// An order did not work out: it is tried again later, or ended so that the renewal makes another one, elsewhere where that helps.
    #[expect(clippy::too_many_arguments, reason = "each is asked for by name at its calls")]
    fn order_failed(
        &self,
        tx: &mut store::Tx<'_>,
        o: &mut order::Order,
        s: &secret::Secret,
        terminal: bool,
        detail: &str,
        problems: &[(String, String)],
        retry_after: Option<Span>,
        now: Time,
    ) -> Result<Option<Time>> {
        // A failing name of a shared certificate is said by its name.
        let named: Vec<String> = problems.iter().map(|(name, what)| format!("{name}: {what}")).collect();
        let told =
            if named.is_empty() { format!("{}: {detail}", o.issuer) } else { format!("{}: {detail} ({})", o.issuer, named.join("; ")) };
        o.detail = told.clone();
        o.problems = problems.to_vec();
        let mut state = issuance::issuer_state(tx, &o.issuer)?;
        state.failures += 1;
        state.failing_since = state.failing_since.or(Some(now));
        state.detail = told.clone();
        let again = trouble(tx, o.secret, terminal, &told, retry_after, now)?;
        if let Some(asked) = retry_after {
            state.not_before = Some(now + asked.min(renewal::LONGEST_RETRY_AFTER));
        }
        issuance::put_issuer_state(tx, &o.issuer, &state)?;
        // What was refused, or failed several times, is not asked for again in the same words: the next order may go to another issuer.
        // Steps that only had to wait are no failures.
        let failures = issuance::renewal(tx, o.secret)?.map_or(0, |r| r.failures);
        if terminal || failures >= FALLBACK_AFTER {
            o.state = OrderState::Failed;
            o.done_at = Some(now);
            if o.held != 0 {
                store::model::held::remove(tx, o.held)?;
                o.held = 0;
            }
            timer::set(tx, loops::RENEW, o.secret.0, again)?;
            let body = json!({ "order": o.id, "issuer": o.issuer, "detail": told, "problems": problems });
            tx.journal(Entry::new("order.failed", format!("secret/{}", s.name), "", &body))?;
            return Ok(None);
        }
        Ok(Some(again))
    }
}

enum Asked {
    Now(Box<order::Order>, Box<Ordered>),
    Later(Option<Time>),
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
