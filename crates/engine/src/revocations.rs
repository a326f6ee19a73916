//! What must be replaced by a deadline: an issuer revokes, or a key has leaked. One incident over all of it, whose lines close on
//! observation alone; each secret is replaced in the order of risk, by a new version and a critical rollout.

use crate::{
    Engine, Error, Result, Tick,
    assess::team_of,
    concern,
    intent::Intent,
    issuing, judge, loops,
    rollouts::{self, Begin},
    rules,
};
use domain::{
    Fingerprint, Span, Time,
    concern::Concern,
    finding::{Code, Subject},
    issuing::KeysAt,
    policy::Level,
    rollout::Kind,
    schedule,
    target::Served,
    words::{Management, SecretId},
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use store::{
    Actor, Tx,
    journal::Entry,
    model::{
        incident, issuance,
        revocation::{self, Affected, Revocation},
        rollout, secret, target,
    },
    timer,
};

/// Most certificates that one revocation is opened over.
pub const MAX_LEAVES: usize = 100_000;
/// Most names that are asked for.
pub const MAX_ASKED: usize = 1000;
/// The longest time until a deadline.
pub const FURTHEST: Span = Span::days(90);
/// How many stored certificates are looked at in one piece.
const PAGE: i64 = 1000;
/// How many revocations one round looks at.
const BATCH: i64 = 10;
/// A revocation that waits is looked at again after this long at the latest.
const AT_LEAST: Span = Span::minutes(10);
/// How many targets a sentence names.
const NAMED: i64 = 5;

/// What is to be replaced. What is asked for several times counts once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ask {
    /// A text that the issuer of a certificate contains.
    pub issuer: Option<String>,
    /// Leaves, by their fingerprints.
    pub certificates: Vec<Fingerprint>,
    /// Secrets: every certificate of them.
    pub secrets: Vec<String>,
    /// By when.
    pub deadline: Option<Time>,
}

/// A revocation with what became of its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    /// As stored.
    pub revocation: Revocation,
    /// How many certificates it is about.
    pub certificates: i64,
    /// Its incident, once a target was assessed.
    pub incident: Option<i64>,
    /// Its secrets in the order of risk: name, what became of it, targets that still serve what is to be replaced, and some of their names.
    pub secrets: Vec<(String, Affected, i64, Vec<String>)>,
}

impl Engine {
    /// Opens a revocation: from the next assessment on, whoever serves one of its certificates is a line of one incident. It is an
    /// intent.
    ///
    /// # Errors
    /// `bad-revocation`, `nothing-affected`, no such secret, or there is no reason.
    pub fn open_revocation(&self, ask: &Ask, reason: &str, actor: &Actor, tick: &Tick) -> Result<i64> {
        if reason.trim().is_empty() {
            return Err(Error::refused("reason-missing", "this needs a reason: --reason \"…\""));
        }
        let bad = |problem: String| Error::refused("bad-revocation", problem);
        let deadline = ask.deadline.ok_or_else(|| bad(String::from("by when is everything to be replaced? --deadline 24h")))?;
        if deadline <= tick.now || deadline > tick.now + FURTHEST {
            return Err(bad(format!("the deadline {deadline} is not within {FURTHEST} from now")));
        }
        if ask.issuer.as_ref().is_some_and(|i| i.trim().is_empty()) {
            return Err(bad(String::from("an issuer is at least a letter of its name")));
        }
        if ask.certificates.len() + ask.secrets.len() > MAX_ASKED {
            return Err(bad(format!("at most {MAX_ASKED} certificates and secrets are named; name the issuer instead")));
        }
        self.store.try_write(actor, tick.now, |tx| {
            let leaves = leaves(tx, ask)?;
            if leaves.is_empty() {
                let problem = "no certificate that is stored, or that a target was seen serving, is one of these: perennial cert list";
                return Err(Error::refused("nothing-affected", problem));
            }
            if leaves.len() > MAX_LEAVES {
                return Err(bad(format!("{} certificates are affected, more than {MAX_LEAVES}; open several", leaves.len())));
            }
            open(tx, ask, deadline, &leaves, reason, actor, tick)
        })
    }

    /// Does what is due with revocations. Says how many there were.
    pub fn revocations_once(&self, tick: &Tick) -> Result<usize> {
        let now = tick.now;
        let claims =
            self.store.write(&rules(), now, |tx| timer::claim(tx, loops::REVOCATION, now, &self.holder, schedule::LEASE, BATCH))?;
        for claim in &claims {
            self.store.try_write(&rules(), now, |tx| {
                let next = one(tx, claim.subject, tick)?;
                timer::done(tx, loops::REVOCATION, claim, next)?;
                Ok::<_, Error>(())
            })?;
        }
        Ok(claims.len())
    }
}

/// What people are shown of a revocation.
///
/// # Errors
/// There is no such revocation.
pub fn detail(tx: &mut Tx<'_>, id: i64) -> Result<Detail> {
    let r = revocation::get(tx, id)?.ok_or_else(|| Error::not_found("revocation", &id.to_string()))?;
    let mut secrets = Vec::new();
    for a in revocation::affected(tx, id)? {
        let name = secret::get(tx, a.secret)?.map(|s| s.name).unwrap_or_default();
        let (n, names) = revocation::still_serving(tx, id, a.secret, NAMED)?;
        secrets.push((name, a, n, names));
    }
    let incident = incident::latest_of(tx, &Subject::Revocation(id).to_string())?.map(|i| i.facts.id.0);
    Ok(Detail { certificates: revocation::leaves(tx, id)?.len() as i64, incident, secrets, revocation: r })
}

type Leaves = BTreeMap<Fingerprint, (SecretId, i64)>;

/// The leaves that are meant, and whose they are: of what is stored, and of what others renew by what was seen.
fn leaves(tx: &mut Tx<'_>, ask: &Ask) -> Result<Leaves> {
    let mut found = Leaves::new();
    let mut secrets = BTreeSet::new();
    for name in &ask.secrets {
        secrets.insert(secret::by_name(tx, name)?.ok_or_else(|| Error::not_found("secret", name))?.id);
    }
    let certificates: BTreeSet<&Fingerprint> = ask.certificates.iter().collect();
    let meant = |leaf: &Fingerprint, secret: SecretId, issuer: &str| {
        certificates.contains(leaf) || secrets.contains(&secret) || ask.issuer.as_ref().is_some_and(|i| issuer.contains(i.as_str()))
    };
    let mut after = 0;
    loop {
        let page = secret::instances_page(tx, after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.id;
        for i in page.iter().filter(|i| !i.key_type.is_empty() && meant(&i.leaf, i.secret, &i.issuer)) {
            found.insert(i.leaf, (i.secret, i.version));
        }
    }
    for (secret, leaf, der) in revocation::observed(tx)? {
        if found.contains_key(&leaf) {
            continue;
        }
        let issuer = judge::parse_chain(&der).first().map(|c| c.issuer().to_owned()).unwrap_or_default();
        if meant(&leaf, secret, &issuer) {
            found.insert(leaf, (secret, 0));
        }
    }
    Ok(found)
}

fn open(tx: &mut Tx<'_>, ask: &Ask, deadline: Time, leaves: &Leaves, reason: &str, actor: &Actor, tick: &Tick) -> Result<i64> {
    let id = tx.next_id("revocation")?;
    let mut asked: Vec<String> = ask.issuer.iter().map(|i| format!("issuer {i}")).collect();
    asked.extend(ask.certificates.iter().map(|c| format!("certificate {c}")));
    asked.extend(ask.secrets.iter().map(|s| format!("secret {s}")));
    let row = Revocation {
        id,
        asked: asked.clone(),
        deadline_at: deadline,
        reason: reason.to_owned(),
        actor: format!("{}/{}", actor.issuer, actor.subject),
        created_at: tick.now,
        ended_at: None,
    };
    revocation::insert(tx, &row)?;
    for (leaf, (secret, version)) in leaves {
        revocation::insert_leaf(tx, id, leaf, *secret, *version)?;
    }
    let affected: BTreeSet<SecretId> = leaves.values().map(|(secret, _)| *secret).collect();
    // The deadline is one for all; then how much of production hangs on it, then until when it would serve.
    let mut order = Vec::new();
    for secret in &affected {
        let totals = target::aggregate(tx, *secret)?;
        let until = match target::ends(tx, *secret)?.served {
            Served::Until(t) => t.unix(),
            _ => i64::MIN,
        };
        order.push((std::cmp::Reverse(totals.production), until, *secret));
    }
    order.sort();
    for (place, (_, _, id_of)) in order.iter().enumerate() {
        let Some(s) = secret::get(tx, *id_of)? else { continue };
        let a = Affected { secret: s.id, place: place as i64, version: s.newest_version, rollout: 0, detail: String::new(), done_at: None };
        revocation::put_affected(tx, id, &a)?;
        target::wake_all(tx, s.id, loops::TARGET, tick.now)?;
    }
    let hash = Fingerprint::of(leaves.keys().map(ToString::to_string).collect::<Vec<_>>().join("\n").as_bytes());
    let content = json!({ "asked": asked.iter().take(100).collect::<Vec<_>>(), "deadline": deadline.to_string(), "certificates": leaves.len(),
        "leaves": hash.to_string(), "secrets": affected.len() });
    Intent::new("revocation", subject(id), content).approved(tx, reason, actor)?;
    timer::set(tx, loops::REVOCATION, id, tick.now)?;
    Ok(id)
}

fn subject(id: i64) -> String {
    format!("revocation/{id}")
}

/// One step of a revocation. Says when to look again.
fn one(tx: &mut Tx<'_>, id: i64, tick: &Tick) -> Result<Option<Time>> {
    let Some(r) = revocation::lock(tx, id)?.filter(|r| r.ended_at.is_none()) else { return Ok(None) };
    let (mut concerns, mut open) = (Vec::new(), 0);
    for a in revocation::affected(tx, id)? {
        let Some(s) = secret::lock(tx, a.secret)? else { continue };
        let now = if a.done_at.is_some() { a.clone() } else { replace(tx, &r, &s, &a, tick)? };
        if now != a {
            revocation::put_affected(tx, id, &now)?;
            let body = json!({ "secret": s.name, "rollout": now.rollout, "done": now.done_at.is_some() });
            tx.journal(Entry::new("revocation.secret", subject(id), &now.detail, &body))?;
        }
        if now.done_at.is_some() {
            continue;
        }
        open += 1;
        if now.rollout == 0 {
            concerns.push(Concern {
                code: Code::Revoked,
                about: s.name.clone(),
                level: Level::Notice,
                teams: vec![team_of(tx, "", "", Some(&s))?],
                until: Some(r.deadline_at),
                detail: format!("{} must be replaced by {}, and no replacement is on its way: {}", s.name, r.deadline_at, now.detail),
                next_step: format!("perennial revocation show {id} says what is waited for"),
                once: false,
            });
        }
    }
    let again = concern::replace(tx, &subject(id), &concerns, tick.now)?;
    if open == 0 {
        revocation::end(tx, id, tick.now)?;
        tx.journal(Entry::new("revocation.ended", subject(id), "every target was observed on its replacement", &json!({})))?;
        return Ok(None);
    }
    Ok(Some(again.map_or(tick.now + AT_LEAST, |a| a.min(tick.now + AT_LEAST))))
}

/// What becomes of one secret: seen replaced, on its way, to be issued, or waiting for a person.
fn replace(tx: &mut Tx<'_>, r: &Revocation, s: &secret::Secret, a: &Affected, tick: &Tick) -> Result<Affected> {
    let waits = |rollout: i64, detail: String| Affected { rollout, detail, ..a.clone() };
    let replacement = s.newest_version > a.version && revocation::of_version(tx, s.id, s.newest_version)?.is_none();
    let external = s.management == Management::External;
    if s.retired_at.is_some() || seen(tx, r, s, replacement)? {
        let detail = if s.retired_at.is_some() { "it left the inventory" } else { "every target was observed on its replacement" };
        return Ok(Affected { detail: detail.into(), done_at: Some(tick.now), ..a.clone() });
    }
    if external {
        return Ok(waits(0, String::from("somebody else renews it; tell them, and it is seen when they have")));
    }
    if !replacement {
        return issue(tx, r, s, a, tick);
    }
    if !rollout::placed(tx, s.id)?.iter().any(|p| p.nodes > 0) {
        let detail = format!("version {} is stored; no agent is known, so a release or a person has to bring it", s.newest_version);
        return Ok(waits(0, detail));
    }
    if !tick.clock.is_believed() {
        return Ok(waits(a.rollout, String::from("the clock is not believed, so nothing is sent out until it is")));
    }
    let ask = Begin { secret: s.id, version: s.newest_version, kind: Kind::Critical, reason: &r.reason, revocation: r.id };
    // Where the same version is out already, its rollout is the one: what it left behind stays an open line here too.
    let there = rollout::of_secret(tx, s.id, 20)?
        .into_iter()
        .find(|o| o.version == s.newest_version && o.revocation == r.id && (o.state.is_open() || o.state == domain::rollout::State::Done));
    if let Some(there) = there {
        return Ok(waits(there.id.0, format!("rollout {} brings version {}", there.id, s.newest_version)));
    }
    match rollouts::begin(tx, &ask, &rules(), tick) {
        Ok(id) => Ok(waits(id.0, format!("rollout {id} brings version {}", s.newest_version))),
        Err(Error::Refused(no)) => Ok(waits(0, no.problems.join("; "))),
        Err(other) => Err(other),
    }
}

/// A new version, where somebody issues without a person.
fn issue(tx: &mut Tx<'_>, r: &Revocation, s: &secret::Secret, a: &Affected, tick: &Tick) -> Result<Affected> {
    let waits = |detail: String| Ok(Affected { rollout: 0, detail, ..a.clone() });
    let issuance = issuance::get(tx, s.id)?.filter(|i| !i.issued_by.is_empty());
    match issuance {
        Some(i) if i.keys == KeysAt::Node => {
            let reason = format!("revocation {}: {}", r.id, r.reason);
            match issuing::announce_version(tx, s.id, &reason, &rules(), tick) {
                Ok(version) => waits(format!("version {version} was announced; its nodes ask for their certificates")),
                Err(Error::Refused(no)) => waits(no.problems.join("; ")),
                Err(other) => Err(other),
            }
        }
        // Asked once: how it goes from there is the renewal's to say.
        Some(_) if a.detail.is_empty() => match issuing::renew_wanted(tx, s, &format!("revocation {}: {}", r.id, r.reason), &rules(), tick)
        {
            Ok(intent) => waits(format!("its issuer is asked for a new one (intent {intent})")),
            Err(Error::Refused(no)) => waits(no.problems.join("; ")),
            Err(other) => Err(other),
        },
        Some(_) => waits(a.detail.clone()),
        None => waits(format!("nobody issues it by itself; store a replacement: perennial cert import {}", s.name)),
    }
}

/// Whether every target was observed without what is to be replaced. Nothing that was not looked at since counts.
fn seen(tx: &mut Tx<'_>, r: &Revocation, s: &secret::Secret, replacement: bool) -> Result<bool> {
    let (serving, _) = revocation::still_serving(tx, r.id, s.id, 0)?;
    if serving > 0 {
        return Ok(false);
    }
    let leaves: BTreeSet<Fingerprint> = revocation::leaves(tx, r.id)?.into_iter().filter(|l| l.1 == s.id).map(|l| l.0).collect();
    revocation::all_replaced(tx, s.id, r.created_at, &leaves, replacement).map_err(Into::into)
}
