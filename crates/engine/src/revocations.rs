//! What must be replaced by a deadline: an issuer revokes, or a key has leaked. One incident over all of it, whose lines close on
//! observation alone; each secret is replaced in the order of risk, by a new version and a critical rollout.

use crate::{
    Engine, Error, Result, Tick,
    assess::team_of,
    concern,
    intent::{Intent, needs_a_reason},
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
    rollout::{Kind, State},
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
/// How many secrets of one are gone through in a transaction.
const AT_ONCE: i64 = 50;
/// For how many secrets of one issuers are asked at once. The riskiest go first, also where a budget is too small for all.
pub const ASKED_AT_ONCE: usize = 50;
/// When it is looked at again while issuers are at work.
const ISSUING: Span = Span::seconds(5);
/// How many of its secrets are shown with a revocation; the rest comes in pages.
pub const SHOWN: i64 = 100;
/// How many versions of a secret are looked through for one that may replace what is revoked.
const MOST_VERSIONS: i64 = 50;
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
    /// How many secrets it has, and how many of them are replaced.
    pub count: (i64, i64),
    /// The first [`SHOWN`] of its secrets, in the order of risk.
    pub secrets: Vec<One>,
}

/// A secret of a revocation: its name, what became of it, how many targets still serve what is to be replaced, and some of their names.
pub type One = (String, Affected, i64, Vec<String>);

impl Engine {
    /// Opens a revocation: from the next assessment on, whoever serves one of its certificates is a line of one incident. It is an
    /// intent. With `dry_run` nothing is kept, and its number is 0.
    ///
    /// # Errors
    /// `bad-revocation`, `nothing-affected`, no such secret, or there is no reason.
    pub fn open_revocation(&self, ask: &Ask, dry_run: bool, reason: &str, actor: &Actor, tick: &Tick) -> Result<Detail> {
        needs_a_reason(reason)?;
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
        let mut tried = None;
        let opened = self.store.try_write(actor, tick.now, |tx| {
            let leaves = leaves(tx, ask)?;
            if leaves.is_empty() {
                let problem = "no certificate that is stored, or that a target was seen serving, is one of these: perennial cert list";
                return Err(Error::refused("nothing-affected", problem));
            }
            if leaves.len() > MAX_LEAVES {
                return Err(bad(format!("{} certificates are affected, more than {MAX_LEAVES}; open several", leaves.len())));
            }
            let id = open(tx, ask, deadline, &leaves, reason, actor, tick)?;
            let mut opened = detail(tx, id)?;
            if dry_run {
                opened.revocation.id = 0;
                tried = Some(opened);
                // An error is what takes everything back.
                return Err(Error::Outside(String::from("it was only tried")));
            }
            Ok(opened)
        });
        match tried {
            Some(tried) => Ok(tried),
            None => opened,
        }
    }

    /// Withdraws a revocation that was a mistake: its certificates are good again, and its incident ends with the next observations. What was
    /// replaced stays so, and rollouts that are on their way go on. It is an intent.
    ///
    /// # Errors
    /// No such revocation, it is over, or there is no reason.
    pub fn withdraw_revocation(&self, id: i64, reason: &str, actor: &Actor, tick: &Tick) -> Result<()> {
        needs_a_reason(reason)?;
        self.store.try_write(actor, tick.now, |tx| {
            let r = revocation::lock(tx, id)?.ok_or_else(|| Error::not_found("revocation", &id.to_string()))?;
            if let Some(ended) = r.ended_at {
                return Err(Error::refused("revocation-ended", format!("revocation {id} is over since {ended}")));
            }
            let (secrets, replaced) = revocation::count_affected(tx, id)?;
            let content = json!({ "asked": r.asked.iter().take(100).collect::<Vec<_>>(), "secrets": secrets, "replaced": replaced });
            Intent::new("withdrawal", subject(id), content).approved(tx, reason, actor)?;
            revocation::withdraw(tx, id, &format!("{}/{}", actor.issuer, actor.subject), reason, tick.now)?;
            concern::replace(tx, &subject(id), &[], tick.now)?;
            let mut after = None;
            loop {
                let page = revocation::affected(tx, id, false, after, PAGE)?;
                let Some(last) = page.last() else { break };
                after = Some(last.place);
                for a in &page {
                    target::wake_all(tx, a.secret, loops::TARGET, tick.now)?;
                }
            }
            timer::clear(tx, loops::REVOCATION, id)?;
            tx.journal(Entry::new("revocation.withdrawn", subject(id), reason, &json!({ "secrets": secrets, "replaced": replaced })))?;
            Ok(())
        })
    }

    /// Does what is due with revocations. Says how many there were.
    pub fn revocations_once(&self, tick: &Tick) -> Result<usize> {
        let now = tick.now;
        let claims =
            self.store.write(&rules(), now, |tx| timer::claim(tx, loops::REVOCATION, now, &self.holder, schedule::LEASE, BATCH))?;
        for claim in &claims {
            let done = self.revocation_step(claim, tick);
            self.left_for_later(loops::REVOCATION, claim, done, tick)?;
        }
        Ok(claims.len())
    }

    /// Goes through the secrets of one that are still to be replaced, some at a time.
    fn revocation_step(&self, claim: &timer::Claim, tick: &Tick) -> Result<()> {
        let id = claim.subject;
        let mut pass = Pass::default();
        loop {
            let (more, went) = self.store.try_write(&rules(), tick.now, |tx| {
                // A transaction may be tried again: what it adds is kept when it is committed.
                let mut pass = pass.clone();
                let more = some(tx, id, &mut pass, tick)?;
                Ok::<_, Error>((more, pass))
            })?;
            pass = went;
            if !more {
                break;
            }
        }
        self.store.try_write(&rules(), tick.now, |tx| {
            let next = finish(tx, id, &pass, tick)?;
            timer::done(tx, loops::REVOCATION, claim, next)?;
            Ok(())
        })
    }
}

/// What people are shown of a revocation.
///
/// # Errors
/// There is no such revocation.
pub fn detail(tx: &mut Tx<'_>, id: i64) -> Result<Detail> {
    let r = revocation::get(tx, id)?.ok_or_else(|| Error::not_found("revocation", &id.to_string()))?;
    let secrets = secrets(tx, id, None, SHOWN)?;
    let incident = incident::latest_of(tx, &Subject::Revocation(id).to_string())?.map(|i| i.facts.id.0);
    let (certificates, count) = (revocation::count_leaves(tx, id)?, revocation::count_affected(tx, id)?);
    Ok(Detail { certificates, incident, count, secrets, revocation: r })
}

/// Secrets of a revocation behind a place, in the order of risk.
///
/// # Errors
/// What the database says.
pub fn secrets(tx: &mut Tx<'_>, id: i64, after: Option<i64>, limit: i64) -> Result<Vec<One>> {
    let mut all = Vec::new();
    for a in revocation::affected(tx, id, false, after, limit)? {
        let name = secret::get(tx, a.secret)?.map(|s| s.name).unwrap_or_default();
        let (n, names) = revocation::still_serving(tx, id, a.secret, NAMED)?;
        all.push((name, a, n, names));
    }
    Ok(all)
}

/// A leaf may be of several secrets, and of several versions of one.
type Leaves = BTreeMap<Fingerprint, BTreeSet<(SecretId, i64)>>;

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
            found.entry(i.leaf).or_default().insert((i.secret, i.version));
        }
    }
    for (secret, leaf, der) in revocation::observed(tx)? {
        if found.get(&leaf).is_some_and(|of| of.iter().any(|(s, _)| *s == secret)) {
            continue;
        }
        let issuer = judge::parse_chain(&der).first().map(|c| c.issuer().to_owned()).unwrap_or_default();
        if meant(&leaf, secret, &issuer) {
            found.entry(leaf).or_default().insert((secret, 0));
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
        withdrawn_by: String::new(),
        withdrawn_for: String::new(),
    };
    revocation::insert(tx, &row)?;
    for (leaf, of) in leaves {
        for (secret, version) in of {
            revocation::insert_leaf(tx, id, leaf, *secret, *version)?;
        }
    }
    let affected: BTreeSet<SecretId> = leaves.values().flatten().map(|(secret, _)| *secret).collect();
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
        let a = Affected {
            secret: s.id,
            place: place as i64,
            version: s.newest_version,
            rollout: 0,
            detail: String::new(),
            asked_at: None,
            done_at: None,
        };
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

/// What one pass over the secrets of a revocation has come to.
#[derive(Debug, Clone, Default)]
struct Pass {
    /// The place of the last secret that was gone through.
    after: Option<i64>,
    /// How many are still to be replaced.
    open: usize,
    /// For how many issuers are at work.
    asked: usize,
    /// What is to be said.
    concerns: Vec<Concern>,
}

/// Goes through the next secrets that are still to be replaced. Says whether there may be more.
fn some(tx: &mut Tx<'_>, id: i64, pass: &mut Pass, tick: &Tick) -> Result<bool> {
    let Some(r) = revocation::lock(tx, id)?.filter(|r| r.ended_at.is_none()) else { return Ok(false) };
    let page = revocation::affected(tx, id, true, pass.after, AT_ONCE)?;
    // Whoever takes several rows does so in one order.
    let mut rows: BTreeMap<SecretId, Option<secret::Secret>> = page.iter().map(|a| (a.secret, None)).collect();
    for (secret, row) in &mut rows {
        *row = secret::lock(tx, *secret)?;
    }
    for a in &page {
        pass.after = Some(a.place);
        let Some(s) = rows.get(&a.secret).and_then(Option::as_ref) else { continue };
        let now = replace(tx, &r, s, a, pass, tick)?;
        if now != *a {
            revocation::put_affected(tx, id, &now)?;
            let body = json!({ "secret": s.name, "rollout": now.rollout, "done": now.done_at.is_some() });
            tx.journal(Entry::new("revocation.secret", subject(id), &now.detail, &body))?;
        }
        if now.done_at.is_some() {
            continue;
        }
        pass.open += 1;
        if now.rollout == 0 {
            pass.concerns.push(Concern {
                code: Code::Revoked,
                about: s.name.clone(),
                level: Level::Notice,
                teams: vec![team_of(tx, "", "", Some(s))?],
                until: Some(r.deadline_at),
                detail: format!("{} must be replaced by {}, and no replacement is on its way: {}", s.name, r.deadline_at, now.detail),
                next_step: format!("perennial revocation show {id} says what is waited for"),
                once: false,
            });
        }
    }
    Ok(page.len() as i64 == AT_ONCE)
}

/// Says what stands about a revocation, and ends it where nothing does. Says when to look again.
fn finish(tx: &mut Tx<'_>, id: i64, pass: &Pass, tick: &Tick) -> Result<Option<Time>> {
    if revocation::lock(tx, id)?.is_none_or(|r| r.ended_at.is_some()) {
        return Ok(None);
    }
    let again = concern::replace(tx, &subject(id), &pass.concerns, tick.now)?;
    // A target of another secret may answer with one of its certificates.
    if pass.open == 0 && revocation::open_lines(tx, id)? == 0 {
        revocation::end(tx, id, tick.now)?;
        tx.journal(Entry::new("revocation.ended", subject(id), "every target was observed on its replacement", &json!({})))?;
        return Ok(None);
    }
    let most = tick.now + if pass.asked > 0 { ISSUING } else { AT_LEAST };
    Ok(Some(again.map_or(most, |a| a.min(most))))
}

/// The newest version that may replace what is revoked: newer than all of that, and not of any revocation itself.
fn replacement_of(tx: &mut Tx<'_>, s: &secret::Secret) -> Result<Option<i64>> {
    let revoked = revocation::newest_revoked(tx, s.id)?;
    for v in secret::versions(tx, s.id, MOST_VERSIONS)?.into_iter().filter(|v| v.number > revoked) {
        if revocation::of_version(tx, s.id, v.number)?.is_none() {
            return Ok(Some(v.number));
        }
    }
    Ok(None)
}

/// What becomes of one secret: seen replaced, on its way, to be issued, or waiting for a person.
fn replace(tx: &mut Tx<'_>, r: &Revocation, s: &secret::Secret, a: &Affected, pass: &mut Pass, tick: &Tick) -> Result<Affected> {
    let waits = |rollout: i64, detail: String| Affected { rollout, detail, ..a.clone() };
    let replacement = replacement_of(tx, s)?;
    if s.retired_at.is_some() || seen(tx, r, s, replacement.is_some())? {
        let detail = if s.retired_at.is_some() { "it left the inventory" } else { "every target was observed on its replacement" };
        return Ok(Affected { detail: detail.into(), done_at: Some(tick.now), ..a.clone() });
    }
    if s.management == Management::External {
        return Ok(waits(0, String::from("somebody else renews it; tell them, and it is seen when they have")));
    }
    let Some(version) = replacement else { return issue(tx, r, s, a, pass, tick) };
    if !rollout::placed(tx, s.id)?.iter().any(|p| p.nodes > 0) {
        return Ok(waits(0, format!("version {version} is stored; no agent is known, so a release or a person has to bring it")));
    }
    if !tick.clock.is_believed() {
        return Ok(waits(a.rollout, String::from("the clock is not believed, so nothing is sent out until it is")));
    }
    // Where the same version is out already, its rollout is the one: what it left behind stays an open line here too.
    let latest = rollout::of_secret(tx, s.id, 20)?.into_iter().find(|o| o.version == version && o.kind != Kind::Rollback);
    if let Some(o) = latest {
        let ours = o.revocation == r.id;
        if o.state == State::RolledBack {
            let detail = format!(
                "rollout {} of version {version} was taken back: {}; store a newer version, or start it again: perennial rollout critical {}",
                o.id, o.said, s.name
            );
            return Ok(waits(0, detail));
        }
        if (ours && (o.state.is_open() || o.state == State::Done)) || (o.kind == Kind::Critical && o.state.is_open()) {
            return Ok(waits(o.id.0, format!("rollout {} brings version {version}", o.id)));
        }
    }
    let ask = Begin { secret: s.id, version, kind: Kind::Critical, reason: &r.reason, revocation: r.id };
    match rollouts::begin(tx, &ask, &rules(), tick) {
        Ok(id) => Ok(waits(id.0, format!("rollout {id} brings version {version}"))),
        Err(Error::Refused(no)) => Ok(waits(0, no.problems.join("; "))),
        Err(other) => Err(other),
    }
}

/// A new version, where somebody issues without a person: some at a time, in the order of risk.
fn issue(tx: &mut Tx<'_>, r: &Revocation, s: &secret::Secret, a: &Affected, pass: &mut Pass, tick: &Tick) -> Result<Affected> {
    let waits = |detail: String| Ok(Affected { rollout: 0, detail, ..a.clone() });
    let Some(i) = issuance::get(tx, s.id)?.filter(|i| !i.issued_by.is_empty()) else {
        return waits(format!("nobody issues it by itself; store a replacement: perennial cert import {}", s.name));
    };
    let reason = format!("revocation {}: {}", r.id, r.reason);
    if i.keys == KeysAt::Node {
        if issuing::cannot_ask(tx, s.id, tick.now)? {
            return waits(String::from("none of its issuers can be asked now: perennial issuer list"));
        }
        return match issuing::announce_version(tx, s.id, &reason, &rules(), tick) {
            Ok(version) => waits(format!("version {version} was announced; its nodes ask for their certificates")),
            Err(Error::Refused(no)) => waits(no.problems.join("; ")),
            Err(other) => Err(other),
        };
    }
    if a.asked_at.is_some() {
        // Asked once: how it goes from there is the renewal's to say. What fails there holds nobody else up.
        let fails = issuance::renewal(tx, s.id)?.is_some_and(|n| n.terminal || n.failures > 0);
        pass.asked += usize::from(!fails);
        return Ok(a.clone());
    }
    if pass.asked >= ASKED_AT_ONCE {
        return waits(format!("it is asked for when one of the {ASKED_AT_ONCE} before it, which are at greater risk, has its new version"));
    }
    match issuing::renew_wanted(tx, s, &reason, &rules(), tick) {
        Ok(intent) => {
            pass.asked += 1;
            // What is due for longer is done first: in the order of risk.
            timer::set(tx, loops::RENEW, s.id.0, tick.now - Span::seconds((ASKED_AT_ONCE + 1 - pass.asked) as i64))?;
            Ok(Affected {
                asked_at: Some(tick.now),
                rollout: 0,
                detail: format!("its issuer is asked for a new one (intent {intent})"),
                ..a.clone()
            })
        }
        Err(Error::Refused(no)) => waits(no.problems.join("; ")),
        Err(other) => Err(other),
    }
}

/// Whether every target was observed without what is to be replaced. Nothing that was not looked at since counts.
fn seen(tx: &mut Tx<'_>, r: &Revocation, s: &secret::Secret, replacement: bool) -> Result<bool> {
    let (serving, _) = revocation::still_serving(tx, r.id, s.id, 0)?;
    if serving > 0 {
        return Ok(false);
    }
    let leaves = revocation::leaves_of(tx, r.id, s.id)?;
    revocation::all_replaced(tx, s.id, r.created_at, &leaves, replacement).map_err(Into::into)
}
