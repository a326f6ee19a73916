//! Looking at production, and taking in what was seen, from wherever it was seen.

use crate::{
    Engine, Error, LOCAL, Result, Tick, assess, loops,
    ports::{Attempt, Look, Network, Seen},
    rules,
};
use domain::{
    Fingerprint, Time,
    observation::{Change, Failure, Outcome, Record},
    policy::Level,
    required::{self, AFTER_LEAVING, Address},
    schedule,
    words::{Blame, Combination, CombinationId, Method, Offer, TargetId},
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use store::{
    Actor, Tx,
    journal::Entry,
    model::{finding, incident, observation, observation::Observation, target},
    timer,
};

/// How many targets one round looks at.
pub const BATCH: i64 = 256;
/// Most handshakes with one address in one look.
pub const MOST_HANDSHAKES: u32 = 30;
/// Most addresses of one target that one vantage knows and dials, those that have left within the last day among them: a look has
/// to end within its lease, and nobody who speaks for a vantage, nor a name that changes by the minute, may make it longer.
pub const MOST_ADDRESSES: usize = 256;
/// Most attempts that one report may bring.
pub const MOST_ATTEMPTS: usize = 4096;

impl Engine {
    /// Looks at the targets that are due, all together. Says how many there were.
    pub fn observe_once(&self, network: &dyn Network, tick: &Tick) -> Result<usize> {
        let claimed = self.claim_looks(BATCH, tick)?;
        let looks: Vec<Look> = claimed.iter().filter_map(|(_, look)| look.clone()).collect();
        if claimed.is_empty() {
            return Ok(0);
        }
        let seen: BTreeMap<TargetId, Seen> = network.look(&looks).into_iter().map(|s| (s.target, s)).collect();
        for (claim, _) in &claimed {
            self.looked(claim, seen.get(&TargetId(claim.subject)), tick)?;
        }
        Ok(claimed.len())
    }

    /// Claims targets that are due, at most `limit`, with what is to be done at each; nothing at one that is over.
    pub fn claim_looks(&self, limit: i64, tick: &Tick) -> Result<Vec<(timer::Claim, Option<Look>)>> {
        let limit = limit.clamp(1, BATCH);
        let claims =
            self.store.write(&rules(), tick.now, |tx| timer::claim(tx, loops::OBSERVE, tick.now, &self.holder, schedule::LEASE, limit))?;
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let plans = self
            .store
            .read(|tx| claims.iter().map(|c| plan(tx, TargetId(c.subject), LOCAL, tick.now)).collect::<store::Result<Vec<_>>>())?;
        Ok(claims.into_iter().zip(plans).collect())
    }

    /// Takes in what was seen at a claimed target, and ends the claim.
    pub fn looked(&self, claim: &timer::Claim, seen: Option<&Seen>, tick: &Tick) -> Result<()> {
        let next = match seen {
            Some(seen) => self.take_in(LOCAL, seen, Method::Dialled, None, &rules(), &tick.later(seen.at))?,
            None => None,
        };
        self.store.write(&rules(), tick.now, |tx| timer::done(tx, loops::OBSERVE, claim, next))?;
        Ok(())
    }

    /// Hands the targets that are due at a remote vantage to it.
    pub fn hand_out(&self, vantage: &str, limit: i64, tick: &Tick) -> Result<Vec<Look>> {
        let name = loops::observe(vantage);
        let claims = self
            .store
            .write(&rules(), tick.now, |tx| timer::claim(tx, &name, tick.now, vantage, schedule::LEASE, limit.clamp(1, BATCH)))?;
        let looks = self.store.read(|tx| {
            let mut looks = Vec::new();
            for claim in &claims {
                looks.extend(plan(tx, TargetId(claim.subject), vantage, tick.now)?);
            }
            Ok(looks)
        })?;
        Ok(looks)
    }

    /// Takes in what a remote vantage saw. It speaks for itself alone: `vantage` comes from its token.
    pub fn report(&self, vantage: &str, seen: &Seen, actor: &Actor, tick: &Tick) -> Result<()> {
        if seen.attempts.len() > MOST_ATTEMPTS {
            return Err(Error::refused("too-many-attempts", format!("a report brings at most {MOST_ATTEMPTS} attempts")));
        }
        // Nobody has seen the future: a vantage whose clock is ahead is taken at our word.
        let mut seen = seen.clone();
        seen.at = seen.at.min(tick.now);
        for attempt in &mut seen.attempts {
            attempt.at = attempt.at.min(tick.now);
        }
        let next = self.take_in(vantage, &seen, Method::Dialled, None, actor, tick)?;
        self.store.write(actor, tick.now, |tx| {
            store::model::inventory::vantage_seen(tx, vantage, tick.now)?;
            // Or nothing could be due there before the lease has run out.
            timer::done_by(tx, &loops::observe(vantage), seen.target.0, vantage, next)
        })?;
        Ok(())
    }

    /// Takes observations of one target in, assesses it, and says when it is due again.
    ///
    /// One transaction: observations, changes, findings, lines of incidents, journal, and what has to be told.
    pub fn take_in(
        &self,
        vantage: &str,
        seen: &Seen,
        method: Method,
        expires_at: Option<Time>,
        actor: &Actor,
        tick: &Tick,
    ) -> Result<Option<Time>> {
        let id = seen.target;
        self.store.try_write(actor, tick.now, |tx| {
            let Some(mut target) = target::lock(tx, id)? else {
                return Err(Error::not_found("target", &id.to_string()));
            };
            target.observed_at = Some(tick.now);
            let needed = schedule::evidence(&target.facts);
            let mut known = observation::of_target(tx, id)?;
            let mut attempts: Vec<&Attempt> = seen.attempts.iter().collect();
            // Who reads or attests resolves nothing.
            if method == Method::Dialled {
                let named = seen.resolved.as_deref().unwrap_or_default().iter().chain(attempts.iter().map(|a| &a.address));
                if vantage != LOCAL && !named.into_iter().all(|a| is_of(&target, a)) {
                    // A vantage names addresses of this target, and of nothing else: others dial them too.
                    let problem = format!("a report for {} names addresses that are not ip:{}", target.facts.name, target.port);
                    return Err(Error::refused("foreign-address", problem));
                }
                match &seen.resolved {
                    Ok(resolved) if beyond(tx, id, vantage, resolved, tick.now)? => {
                        // The known ones go on, leave after their day, and make room. What is not dialled must not look well.
                        let known_there = addresses_of(tx, id, vantage, tick.now)?;
                        let kept: Vec<String> = resolved.iter().filter(|a| known_there.contains(*a)).cloned().collect();
                        target::put_addresses(tx, id, vantage, &kept, tick.now - AFTER_LEAVING, tick.now)?;
                        unresolved(tx, &target, &mut known, vantage, &too_many(), seen.at)?;
                    }
                    Ok(resolved) if !resolved.is_empty() => {
                        resolves(tx, &target, &mut known, vantage, seen.at)?;
                        target::put_addresses(tx, id, vantage, resolved, tick.now - AFTER_LEAVING, tick.now)?;
                    }
                    Ok(_) => unresolved(tx, &target, &mut known, vantage, &no_address(), seen.at)?,
                    Err(failure) => unresolved(tx, &target, &mut known, vantage, failure, seen.at)?,
                }
                let dialled = addresses_of(tx, id, vantage, tick.now)?;
                attempts.retain(|a| dialled.contains(&a.address));
            }
            for attempt in attempts {
                let combination = Combination {
                    address: attempt.address.clone(),
                    vantage: vantage.to_owned(),
                    server_name: if attempt.unnamed { String::new() } else { target.facts.server_name.clone() },
                    offer: attempt.offer,
                    method,
                };
                take_attempt(tx, &target, &mut known, combination, attempt, needed, expires_at)?;
            }
            let (standing, waiting) = assess::target(self, tx, &target, tick)?;
            let records = looked_at(tx, &target, known, vantage, tick.now)?;
            let policy = assess::policy_of(tx, &target)?;
            Ok(schedule::next_look(&target.facts, &standing, &records, &policy, waiting, tick.now))
        })
    }

    /// A claim of change: whoever has to look, looks at once.
    pub fn look_now(&self, id: TargetId, actor: &Actor, tick: &Tick) -> Result<()> {
        self.store.try_write(actor, tick.now, |tx| {
            let Some(t) = target::lock(tx, id)? else { return Err(Error::not_found("target", &id.to_string())) };
            wake_vantages(tx, &t, tick.now)?;
            tx.journal(Entry::new("target.look-now", format!("target/{}", t.facts.name), "", &json!({})))?;
            Ok(())
        })
    }

    /// Targets for which time alone changed the answer.
    pub fn targets_once(&self, tick: &Tick) -> Result<usize> {
        let claims =
            self.store.write(&rules(), tick.now, |tx| timer::claim(tx, loops::TARGET, tick.now, &self.holder, schedule::LEASE, BATCH))?;
        // A handful in one transaction: a commit costs more than an assessment.
        for some in claims.chunks(50) {
            self.store.try_write(&rules(), tick.now, |tx| {
                for claim in some {
                    let next = match target::lock(tx, TargetId(claim.subject))? {
                        Some(t) => assess::target(self, tx, &t, tick)?.0.next,
                        None => None,
                    };
                    timer::done(tx, loops::TARGET, claim, next)?;
                }
                Ok::<_, Error>(())
            })?;
        }
        Ok(claims.len())
    }
}

impl Tick {
    /// The same clock, at a later moment.
    pub fn later(&self, at: Time) -> Tick {
        Tick { now: self.now.max(at), clock: self.clock.clone() }
    }
}

/// Whether an address can be one of a target: an IP address, and the target's own port.
fn is_of(t: &target::Target, address: &str) -> bool {
    address.parse::<std::net::SocketAddr>().is_ok_and(|s| i64::from(s.port()) == t.port)
}

/// Wakes every vantage of a target.
pub(crate) fn wake_vantages(tx: &mut Tx<'_>, t: &target::Target, at: Time) -> store::Result<()> {
    if t.kind != "endpoint" {
        return timer::set_earlier(tx, loops::TARGET, t.facts.id.0, at);
    }
    for vantage in t.facts.required_vantages.iter().chain(&t.optional_vantages) {
        timer::set_earlier(tx, &loops::observe(vantage), t.facts.id.0, at)?;
    }
    Ok(())
}

/// What a look at a target has to do.
fn plan(tx: &mut Tx<'_>, id: TargetId, vantage: &str, now: Time) -> store::Result<Option<Look>> {
    let Some(t) = target::get(tx, id)? else { return Ok(None) };
    let over = t.facts.retired.as_ref().is_some_and(|r| now >= r.until);
    if t.kind != "endpoint" || over {
        return Ok(None);
    }
    let open = incident::open_lines_of_target(tx, id)?;
    let waiting = !open.is_empty() && {
        let found = finding::of_target(tx, id)?;
        open.iter().any(|line| !found.iter().any(|f| f.key == line.key && f.level == Level::Incident))
    };
    let known = observation::of_target(tx, id)?;
    let records = looked_at(tx, &t, known, vantage, now)?;
    let due = |name: &str, offer: Offer| {
        let of = || records.iter().filter(|r| r.combination.offer == offer && r.combination.server_name == name);
        let unsettled = of().any(|r| !r.others.is_empty());
        schedule::offer_due(offer, of().map(|r| r.last_at).min(), !open.is_empty() || unsettled, now)
    };
    let asks = required::asks(&t.facts);
    let of_name = |named: bool| {
        let asks = asks.iter().filter(|(name, offer)| (*name == t.facts.server_name) == named && due(name, *offer));
        asks.map(|(_, offer)| *offer).collect()
    };
    let needed = schedule::evidence(&t.facts);
    let handshakes = records.iter().map(|r| schedule::handshakes(r, needed, waiting)).max().unwrap_or(1).min(MOST_HANDSHAKES);
    Ok(Some(Look {
        target: id,
        host: t.host.clone(),
        port: u16::try_from(t.port).unwrap_or(0),
        server_name: t.facts.server_name.clone(),
        protocol: t.protocol.clone(),
        also: addresses_of(tx, id, vantage, now)?.into_iter().collect(),
        offers: of_name(true),
        unnamed: of_name(false),
        handshakes,
    }))
}

/// The addresses that a vantage looks at.
fn addresses_of(tx: &mut Tx<'_>, id: TargetId, vantage: &str, now: Time) -> store::Result<BTreeSet<String>> {
    let dialled = |a: &Address| a.vantage == vantage && a.is_dialled(now);
    Ok(target::addresses(tx, id)?.into_iter().filter(dialled).map(|a| a.address).collect())
}

/// Whether a vantage would know more addresses of a target than it may, were these added.
fn beyond(tx: &mut Tx<'_>, id: TargetId, vantage: &str, resolved: &[String], now: Time) -> store::Result<bool> {
    let mut all = addresses_of(tx, id, vantage, now)?;
    all.extend(resolved.iter().cloned());
    Ok(all.len() > MOST_ADDRESSES)
}

/// What a vantage has seen of all that it looks at, and whether the name resolves there.
fn looked_at(tx: &mut Tx<'_>, t: &target::Target, known: Vec<Observation>, vantage: &str, now: Time) -> store::Result<Vec<Record>> {
    let asks = required::asks(&t.facts);
    let dialled = addresses_of(tx, t.facts.id, vantage, now)?;
    let looked_at = |r: &Record| {
        let c = &r.combination;
        let asked = || asks.iter().any(|(name, offer)| *offer == c.offer && *name == c.server_name);
        c.vantage == vantage && (c.address == t.facts.authority || (dialled.contains(&c.address) && asked()))
    };
    Ok(known.into_iter().map(|o| o.record).filter(looked_at).collect())
}

fn take_attempt(
    tx: &mut Tx<'_>,
    target: &target::Target,
    known: &mut Vec<Observation>,
    combination: Combination,
    attempt: &Attempt,
    needed: u32,
    expires_at: Option<Time>,
) -> store::Result<()> {
    let (outcome, protocol, cipher) = match &attempt.result {
        Ok(shown) if !shown.chain.is_empty() => {
            let der = shown.chain.concat();
            let (chain, leaf) = (Fingerprint::of(&der), Fingerprint::of(&shown.chain[0]));
            observation::keep_chain(tx, &chain, &leaf, &der, attempt.at)?;
            (Outcome::Presented { chain, leaf }, Some(shown.protocol.clone()), shown.cipher.clone())
        }
        Ok(_) => {
            let detail = String::from("presented no certificate");
            (Outcome::Failed(Failure { blame: Blame::Peer, retry: true, detail }), None, String::new())
        }
        Err(failure) => (Outcome::Failed(failure.clone()), None, String::new()),
    };
    let at = match known.iter().position(|o| o.record.combination == combination) {
        Some(at) => at,
        None => {
            let id = CombinationId(tx.next_id("observation")?);
            known.push(Observation { record: Record::new(id, combination), protocol: String::new(), cipher: String::new() });
            known.len() - 1
        }
    };
    let o = &mut known[at];
    let before = o.record.good;
    let change = o.record.observe(&outcome, attempt.at, needed);
    o.record.expires_at = expires_at;
    if let Some(protocol) = protocol {
        (o.protocol, o.cipher) = (protocol, cipher);
    }
    observation::put(tx, target.facts.id, o)?;
    if change != Change::None {
        observation::insert_change(tx, target.facts.id, o, change)?;
        let body = json!({
            "address": o.record.combination.address,
            "vantage": o.record.combination.vantage,
            "offer": o.record.combination.offer.as_str(),
            "method": o.record.combination.method.as_str(),
            "change": observation::change_word(change),
            "leaf": o.record.good.filter(|_| o.record.failing.is_none()).map(|g| g.leaf.to_string()),
            "before": before.map(|b| b.leaf.to_string()),
            "failure": o.record.failing.as_ref().map(|f| f.last.detail.clone()),
        });
        tx.journal(Entry::new("target.observed", format!("target/{}", target.facts.name), "", &body))?;
    }
    Ok(())
}

/// The name did not resolve for a vantage. That is kept as one look at the name itself, which fails until it resolves again; the
/// addresses that are known are dialled on, and speak for themselves.
fn unresolved(
    tx: &mut Tx<'_>,
    target: &target::Target,
    known: &mut Vec<Observation>,
    vantage: &str,
    failure: &Failure,
    at: Time,
) -> store::Result<()> {
    let address = target.facts.authority.clone();
    let combination = Combination {
        address: address.clone(),
        vantage: vantage.to_owned(),
        server_name: target.facts.server_name.clone(),
        offer: Offer::All,
        method: Method::Dialled,
    };
    if known.iter().any(|o| o.record.combination == combination && o.record.last_at == at) {
        // Another part of the same report.
        return Ok(());
    }
    let attempt = Attempt { address, offer: Offer::All, unnamed: false, at, result: Err(failure.clone()) };
    take_attempt(tx, target, known, combination, &attempt, 1, None)
}

/// The name resolves for a vantage: what was kept of its silence goes, and its history says so.
fn resolves(tx: &mut Tx<'_>, target: &target::Target, known: &mut Vec<Observation>, vantage: &str, at: Time) -> store::Result<()> {
    let addresses = target::addresses(tx, target.facts.id)?;
    let silent = |o: &Observation| {
        o.record.combination.vantage == vantage && required::is_unresolved(&target.facts, &addresses, &o.record) && at >= o.record.last_at
    };
    for mut o in known.extract_if(.., |o| silent(o)) {
        o.record.last_at = at;
        o.record.failing = None;
        observation::insert_change(tx, target.facts.id, &o, Change::Recovered)?;
        observation::forget(tx, o.record.id)?;
        let body = json!({ "address": o.record.combination.address, "vantage": vantage, "change": "resolves" });
        tx.journal(Entry::new("target.observed", format!("target/{}", target.facts.name), "", &body))?;
    }
    Ok(())
}

fn too_many() -> Failure {
    let detail = format!("the name has resolved to more than {MOST_ADDRESSES} addresses within a day; those beyond are not looked at");
    Failure { blame: Blame::Limits, retry: false, detail }
}

fn no_address() -> Failure {
    Failure { blame: Blame::Dns, retry: true, detail: String::from("the name resolves to no address") }
}
