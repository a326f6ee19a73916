//! One step of a rollout: take its row → load → decide → commit what was decided, with journal, findings and next due.

use super::{THE_RULES, settled, subject, view};
use crate::{Engine, Error, Result, Tick, assess::team_of, concern, loops, nodes, rollouts::policy, rules};
use domain::{
    Span, Time,
    concern::Concern,
    finding::Code,
    policy::Level,
    rollout::{
        Decision, Kind, Plan, Reason, State, decide,
        decide::{Progress, View, culprits, in_the_way, note},
    },
    schedule,
    words::{RolloutId, TargetId},
};
use serde_json::json;
use std::collections::BTreeSet;
use store::{
    Actor, Tx,
    journal::Entry,
    model::{
        rollout::{self, Part, Rollout},
        secret, target,
    },
    timer,
};

/// How many rollouts one round looks at.
const BATCH: i64 = 50;
/// Most targets whose nodes are told in one transaction; the rest follow in the next.
const TOLD_AT_ONCE: usize = 500;
/// Most reasons that are kept with a rollout.
pub(super) const REASONS_KEPT: usize = 50;
/// Most names in an entry of the journal.
const NAMES_JOURNALED: usize = 50;
/// A rollout that waits is looked at again after this long at the latest.
const AT_LEAST: Span = Span::hours(6);
/// How often a target that is on its way is looked at.
const LOOK_EVERY: Span = Span::minutes(1);
/// How often a target of a wave that soaks is looked at, at least; four times in a soak that is shorter.
const WATCH_EVERY: Span = Span::minutes(5);
/// How often a target is looked at whose nodes all say that they have it, and that was not seen serving it.
const CLAIMED_EVERY: Span = Span::seconds(5);
/// How often one step decides: each time something is done the next is asked for, and nothing is done more than a few times.
const MOST_DECISIONS: usize = 16;

pub(super) fn once(engine: &Engine, tick: &Tick) -> Result<usize> {
    let now = tick.now;
    let claims = engine.store.write(&rules(), now, |tx| timer::claim(tx, loops::ROLLOUT, now, &engine.holder, schedule::LEASE, BATCH))?;
    for claim in &claims {
        let done = engine.store.try_write(&rules(), now, |tx| {
            let next = one(tx, RolloutId(claim.subject), tick)?;
            timer::done(tx, loops::ROLLOUT, claim, next)?;
            Ok::<_, Error>(())
        });
        engine.left_for_later(loops::ROLLOUT, claim, done, tick)?;
    }
    Ok(claims.len())
}

/// One step. Says when to look again.
fn one(tx: &mut Tx<'_>, id: RolloutId, tick: &Tick) -> Result<Option<Time>> {
    let Some(found) = rollout::get(tx, id)? else { return Ok(None) };
    // Rollouts of one secret are taken one at a time, in one order.
    let Some(s) = secret::lock(tx, found.secret)? else { return Ok(None) };
    let Some(mut r) = rollout::lock(tx, id)? else { return Ok(None) };
    match r.state {
        State::Waiting => {
            let before = rollout::open_of(tx, r.secret)?.into_iter().find(|o| o.id < r.id);
            if let Some(before) = before {
                say(tx, &mut r, &[Reason::Behind { rollout: before.id }], tick)?;
                timer::set_earlier(tx, loops::ROLLOUT, before.id.0, tick.now)?;
                return Ok(Some(tick.now + AT_LEAST));
            }
            start(tx, &mut r, &s, tick)?;
        }
        State::Running => {}
        State::Done | State::RolledBack | State::Superseded => return after(tx, &mut r, &s, tick),
    }
    if s.retired_at.is_some() {
        end(tx, &mut r, State::Superseded, "its secret left the inventory", tick)?;
        settled(tx, r.id, tick)?;
        return Ok(None);
    }
    let mut parts = rollout::parts(tx, r.id)?;
    if replan(tx, &mut r, &parts, tick)? {
        parts = rollout::parts(tx, r.id)?;
    }
    decided(tx, r, &s, &parts, tick)
}

/// Puts the first plan in place.
fn start(tx: &mut Tx<'_>, r: &mut Rollout, s: &secret::Secret, tick: &Tick) -> Result<()> {
    let policy = policy::parse(&r.policy)?;
    let mut placed = rollout::placed(tx, r.secret)?;
    if r.takes_back != 0 {
        // Only those who were told go back.
        let told: BTreeSet<TargetId> =
            rollout::parts(tx, RolloutId(r.takes_back))?.into_iter().filter(|p| p.begun_at.is_some()).map(|p| p.target).collect();
        placed.retain(|p| told.contains(&p.id) && p.nodes > 0);
    }
    let plan = Plan::first(r.version, &policy, &placed);
    put_plan(tx, r, &plan, tick)?;
    r.state = State::Running;
    r.begun_at = Some(tick.now);
    if r.takes_back == 0 {
        r.from_version = before(tx, r, s, tick)?;
    }
    rollout::put(tx, r)?;
    // Whoever was left behind is a target of this one.
    rollout::forget_left_behind(tx, r.secret, r.id, false)?;
    for earlier in rollout::of_secret(tx, r.secret, 20)?.into_iter().filter(|o| o.id < r.id && o.id.0 != r.takes_back) {
        settled(tx, earlier.id, tick)?;
    }
    let body = json!({ "secret": s.name, "version": r.version, "from": r.from_version, "plan": plan.hash().to_string(),
        "waves": plan.waves.iter().map(|w| json!({ "wave": w.title(), "targets": w.targets.len() })).collect::<Vec<_>>() });
    tx.journal(Entry::new("rollout.begun", subject(r.id), &r.reason, &body))?;
    Ok(())
}

/// What its targets go back to, if they have to: what most of them show, where that may still be brought anywhere; 0 where nobody knows.
fn before(tx: &mut Tx<'_>, r: &Rollout, s: &secret::Secret, tick: &Tick) -> Result<i64> {
    let older: Vec<i64> = rollout::shown(tx, r.secret)?.into_iter().filter(|v| *v < r.version).collect();
    for version in &older {
        match super::may_go_out(tx, s, *version, tick) {
            Ok(()) => return Ok(*version),
            Err(Error::Refused(_)) => {}
            Err(other) => return Err(other),
        }
    }
    // Where none may, whoever wants to go back is told why not.
    Ok(older.first().copied().unwrap_or(0))
}

/// Puts a plan in place that follows from the current one, where the inventory has other targets by now. Says whether it had.
fn replan(tx: &mut Tx<'_>, r: &mut Rollout, parts: &[Part], tick: &Tick) -> Result<bool> {
    let policy = policy::parse(&r.policy)?;
    let mut placed = rollout::placed(tx, r.secret)?;
    let current = view::plan(tx, r, parts)?;
    if r.takes_back != 0 {
        let ours: BTreeSet<TargetId> = current.targets().collect();
        placed.retain(|p| ours.contains(&p.id));
    }
    let begun = r.wave.map_or(0, |w| usize::try_from(w + 1).unwrap_or_default());
    let Some(next) = current.next(begun, &policy, &placed) else { return Ok(false) };
    let still: BTreeSet<TargetId> = next.targets().collect();
    for gone in current.targets().filter(|t| !still.contains(t)) {
        rollout::drop_part(tx, r.id, gone)?;
    }
    put_plan(tx, r, &next, tick)?;
    let body = json!({ "plan": next.hash().to_string(), "parent": next.parent.map(|p| p.to_string()), "targets": still.len() });
    tx.journal(Entry::new("rollout.planned", subject(r.id), "the inventory has other targets", &body))?;
    Ok(true)
}

fn put_plan(tx: &mut Tx<'_>, r: &mut Rollout, plan: &Plan, tick: &Tick) -> Result<()> {
    let hash = plan.hash();
    if !rollout::put_plan(tx, r.id, plan.parent, hash, &view::waves_text(plan), tick.now)? {
        return Err(Error::refused("plan-changed", format!("rollout {} has another plan by now", r.id)));
    }
    r.plan = Some(hash);
    for (wave, w) in plan.waves.iter().enumerate() {
        for (place, target) in w.targets.iter().enumerate() {
            rollout::put_part(tx, r.id, *target, wave as i64, place as i64)?;
        }
    }
    Ok(())
}

/// Decides until there is something to wait for.
fn decided(tx: &mut Tx<'_>, mut r: Rollout, s: &secret::Secret, parts: &[Part], tick: &Tick) -> Result<Option<Time>> {
    let mut view = view::load(tx, &r, s, parts, tick)?;
    let seen = note(&mut view, tick.now);
    keep(tx, &r, &view, &seen)?;
    for _ in 0..MOST_DECISIONS {
        match decide(&view, tick.now) {
            Decision::Advance { wave, targets } => {
                let all = targets.len();
                let some: Vec<TargetId> = targets.into_iter().take(TOLD_AT_ONCE).collect();
                advance(tx, &mut r, s, &mut view, parts, (wave, &some), tick)?;
                if all > some.len() && r.halted_at.is_none() {
                    rollout::put(tx, &r)?;
                    return Ok(Some(tick.now));
                }
                let seen = note(&mut view, tick.now);
                keep(tx, &r, &view, &seen)?;
            }
            Decision::Quarantine(targets) => {
                for id in &targets {
                    if let Some(t) = view.targets.get_mut(id) {
                        t.quarantined_at = Some(tick.now);
                    }
                }
                keep(tx, &r, &view, &targets)?;
                let names = names(&view, &targets);
                tx.journal(Entry::new("rollout.left-behind", subject(r.id), "", &json!({ "targets": names, "n": targets.len() })))?;
            }
            Decision::Wait(reasons, next) => {
                say(tx, &mut r, &reasons, tick)?;
                let again = concerns(tx, &r, s, &view, &reasons, tick)?;
                let look = look(tx, &r, &view, parts, &reasons, tick)?;
                let latest = tick.now + AT_LEAST;
                return Ok([next, again, look, Some(latest)].into_iter().flatten().min());
            }
            Decision::Done(open) => {
                let words =
                    if open.is_empty() { String::from("every target was observed serving it") } else { Decision::Done(open).to_string() };
                end(tx, &mut r, State::Done, &words, tick)?;
                follow(tx, &r, tick)?;
                return concerns(tx, &r, s, &view, &[], tick);
            }
            Decision::RollBack(cause) => {
                let sentence = cause.sentence();
                match take_back(tx, r.clone(), s, &sentence, &rules(), tick) {
                    Ok(_) => return Ok(Some(tick.now)),
                    Err(Error::Refused(no)) => {
                        let why = format!("{sentence}; and it cannot be taken back: {}", no.problems.join("; "));
                        halt(tx, &mut r, THE_RULES, &why, tick)?;
                        view.halted = r.halted_at.map(|at| (r.halted_by.clone(), pki::text::escape(&r.halted_reason), at));
                    }
                    Err(other) => return Err(other),
                }
            }
            Decision::GiveWay => {
                let newer = rollout::open_of(tx, r.secret)?.into_iter().rfind(|o| o.id > r.id).map_or(r.id, |o| o.id);
                supersede(tx, r, newer, tick)?;
                timer::set_earlier(tx, loops::ROLLOUT, newer.0, tick.now)?;
                return Ok(None);
            }
        }
    }
    rollout::put(tx, &r)?;
    Ok(Some(tick.now + Span::seconds(1)))
}

/// Whoever is on its way is looked at every minute, whatever its nodes say: a report may be lost; every few seconds where they say that it is
/// there. So are the first wave and the one that
/// soaks, less often, and once at the end of the soak: nobody would see them die. Says when to look again.
fn look(tx: &mut Tx<'_>, r: &Rollout, view: &View, parts: &[Part], reasons: &[Reason], tick: &Tick) -> Result<Option<Time>> {
    let soaks_until = reasons.iter().find_map(|reason| match reason {
        Reason::Soak { until, .. } | Reason::LastLook { until, .. } => Some(*until),
        _ => None,
    });
    let soak = view.wave.and_then(|w| view.plan.waves.get(w)).map_or(Span::ZERO, |w| w.soak);
    let watch = if soak > Span::ZERO { Span::seconds((soak.as_secs() / 4).max(1)).min(WATCH_EVERY) } else { WATCH_EVERY };
    let mut next = None;
    for p in parts {
        let Some(t) = view.targets.get(&p.target) else { continue };
        let current = r.wave == Some(p.wave);
        let claimed = !t.nodes.is_empty() && t.nodes.iter().all(|n| n.progress == Progress::Installed);
        let lives = t.dead_at(view.policy.patience).is_none_or(|dead| tick.now < dead);
        let every = match (t.begun_at, t.observed_at) {
            _ if t.quarantined_at.is_some() => continue,
            // A server that reloads may answer by its old worker for a moment after the agent saw the new one.
            (Some(_), None) if lives && claimed => CLAIMED_EVERY,
            (Some(_), None) if lives => LOOK_EVERY,
            // Who counts as dead may come back.
            (Some(_), None) if current => WATCH_EVERY,
            (Some(_), Some(_)) if current => watch,
            // What dies of it late dies among the first.
            (Some(_), Some(_)) if p.wave == 0 => WATCH_EVERY,
            _ => continue,
        };
        let mut due = p.looked_at.max(t.begun_at).map_or(tick.now, |at| at + every);
        let last = soaks_until.filter(|until| current && p.looked_at.is_none_or(|at| at < *until));
        // Instead of two looks in a row.
        if let Some(last) = last.filter(|last| due.max(tick.now) + every >= *last) {
            due = last;
        }
        // The last look of a soak is asked for before, so that it is there when the soak ends.
        if due <= tick.now || Some(due) == last {
            for vantage in &p.vantages {
                timer::set_earlier(tx, &loops::observe(vantage), p.target.0, due.max(tick.now))?;
            }
        }
        let due = due.max(tick.now + every.min(LOOK_EVERY));
        next = Some(next.map_or(due, |n: Time| n.min(due)));
    }
    Ok(next)
}

/// Writes what was noted of these targets.
fn keep(tx: &mut Tx<'_>, r: &Rollout, view: &View, targets: &[TargetId]) -> Result<()> {
    for id in targets {
        if let Some(t) = view.targets.get(id) {
            rollout::mark(tx, r.id, *id, t.begun_at, t.observed_at, t.quarantined_at)?;
        }
    }
    Ok(())
}

fn names(view: &View, targets: &[TargetId]) -> Vec<String> {
    targets.iter().take(NAMES_JOURNALED).filter_map(|id| view.targets.get(id)).map(|t| t.name.clone()).collect()
}

/// The nodes of these targets are told, and the targets are looked at.
fn advance(
    tx: &mut Tx<'_>,
    r: &mut Rollout,
    s: &secret::Secret,
    view: &mut View,
    parts: &[Part],
    (wave, targets): (usize, &[TargetId]),
    tick: &Tick,
) -> Result<()> {
    let new_wave = r.wave != Some(wave as i64);
    if new_wave {
        (r.wave, r.wave_at) = (Some(wave as i64), Some(tick.now));
        // A release that carries an older version would take production back from here on.
        store::model::release::wake_carriers(tx, r.secret, loops::RELEASE, tick.now)?;
        view.wave = Some(wave);
    }
    let wanted: BTreeSet<TargetId> = targets.iter().copied().collect();
    let (mut told, mut refused) = (BTreeSet::new(), None);
    // What has no node is waited for, by looking. A target of which one node was told is on its way.
    let (mut on_their_way, mut left) = (BTreeSet::new(), BTreeSet::new());
    for carrier in rollout::nodes_of(tx, r.id, r.secret, wave as i64, &wanted)? {
        if refused.is_none() && !told.contains(&carrier.node) {
            match nodes::desire(tx, carrier.node, r.secret, r.version, Some(r.id), tick) {
                Ok(_) => {
                    told.insert(carrier.node);
                }
                // It left meanwhile: what it leaves behind is seen by looking.
                Err(Error::NotFound { .. }) => continue,
                Err(Error::Refused(no)) if matches!(no.code, "node-retired" | "not-to-have") => continue,
                Err(Error::Refused(no)) => refused = Some(no.problems.join("; ")),
                Err(other) => return Err(other),
            }
        }
        let of = if told.contains(&carrier.node) { &mut on_their_way } else { &mut left };
        of.insert(carrier.target);
    }
    let begun: BTreeSet<TargetId> = wanted.iter().copied().filter(|t| on_their_way.contains(t) || !left.contains(t)).collect();
    for id in &begun {
        if let Some(t) = view.targets.get_mut(id) {
            t.begun_at = Some(tick.now);
        }
    }
    // Who shows it already is looked at in its turn; whoever is to install it says when there is something to see.
    for p in parts.iter().filter(|p| begun.contains(&p.target) && p.shows >= r.version) {
        for vantage in &p.vantages {
            timer::set_earlier(tx, &loops::observe(vantage), p.target.0, tick.now)?;
        }
    }
    let begun: Vec<TargetId> = begun.into_iter().collect();
    keep(tx, r, view, &begun)?;
    // What nodes say is read again: those that are told now have said nothing yet.
    view::said(tx, r, &mut view.targets, Some(&wanted), tick)?;
    if let Some(problem) = refused {
        halt(tx, r, THE_RULES, &problem, tick)?;
        view.halted = r.halted_at.map(|at| (r.halted_by.clone(), pki::text::escape(&r.halted_reason), at));
    }
    rollout::put(tx, r)?;
    let title = view.plan.waves.get(wave).map(domain::rollout::Wave::title).unwrap_or_default();
    let body = json!({ "secret": s.name, "version": r.version, "wave": title, "begins": new_wave, "targets": names(view, &begun),
        "n": begun.len(), "nodes": told.len() });
    tx.journal(Entry::new("rollout.advanced", subject(r.id), "", &body))?;
    Ok(())
}

/// Keeps what is waited for, since when, and journals it where the kinds of reasons changed.
fn say(tx: &mut Tx<'_>, r: &mut Rollout, reasons: &[Reason], tick: &Tick) -> Result<()> {
    // What only a person ends is never cut off.
    let mut sorted: Vec<&Reason> = reasons.iter().collect();
    sorted.sort_by_key(|reason| !reason.needs_a_person());
    let kept: Vec<_> = sorted
        .into_iter()
        .take(REASONS_KEPT)
        .map(|reason| {
            json!({ "code": reason.code(), "target": reason.target(), "until": reason.until().map(Time::unix), "text": reason.to_string(),
                "person": reason.needs_a_person() })
        })
        .collect();
    let mut codes: Vec<&str> = reasons.iter().map(Reason::code).collect();
    codes.dedup();
    codes.truncate(REASONS_KEPT);
    let said = codes.join(", ");
    if r.said != said {
        (r.said, r.decided_at) = (said, Some(tick.now));
        wake_drill(tx, r, tick)?;
    }
    r.reasons = serde_json::Value::from(kept).to_string();
    r.more = reasons.len().saturating_sub(REASONS_KEPT) as i64;
    Ok(rollout::put(tx, r)?)
}

/// Nothing more is sent out.
pub(super) fn halt(tx: &mut Tx<'_>, r: &mut Rollout, by: &str, reason: &str, tick: &Tick) -> Result<()> {
    (r.halted_by, r.halted_reason, r.halted_at) = (by.to_owned(), reason.to_owned(), Some(tick.now));
    rollout::put(tx, r)?;
    tx.journal(Entry::new("rollout.halted", subject(r.id), reason, &json!({ "by": by, "wave": r.wave })))?;
    wake_drill(tx, r, tick)
}

/// What was told to some of its nodes only, when the rules halted it, is told again: to all of them.
pub(super) fn tell_again(tx: &mut Tx<'_>, r: &Rollout) -> Result<()> {
    for c in rollout::carriers(tx, r.id, r.secret)?.iter().filter(|c| c.version != r.version) {
        rollout::mark(tx, r.id, c.target, None, None, None)?;
    }
    Ok(())
}

/// Who stands in the way of a rollout, and the names of some: for whose sake the rules halted it, or whatever a person may pass over.
pub(super) fn blocked(tx: &mut Tx<'_>, r: &Rollout, s: &secret::Secret, all: bool, tick: &Tick) -> Result<(Vec<TargetId>, Vec<String>)> {
    if r.state != State::Running {
        return Ok((Vec::new(), Vec::new()));
    }
    let parts = rollout::parts(tx, r.id)?;
    let mut view = view::load(tx, r, s, &parts, tick)?;
    note(&mut view, tick.now);
    let who = if all { in_the_way(&view, tick.now) } else { culprits(&view, tick.now) };
    let names = names(&view, &who);
    Ok((who, names))
}

fn end(tx: &mut Tx<'_>, r: &mut Rollout, state: State, words: &str, tick: &Tick) -> Result<()> {
    (r.state, r.ended_at, r.decided_at) = (state, Some(tick.now), Some(tick.now));
    (r.said, r.reasons, r.more) = (words.to_owned(), String::from("[]"), 0);
    rollout::put(tx, r)?;
    tx.journal(Entry::new(format!("rollout.{state}"), subject(r.id), words, &json!({ "version": r.version, "wave": r.wave })))?;
    wake_drill(tx, r, tick)
}

/// A rehearsal hears at once of what became of its rollout: what it makes fail is lifted before anything else is done.
fn wake_drill(tx: &mut Tx<'_>, r: &Rollout, tick: &Tick) -> Result<()> {
    if r.kind == Kind::Drill {
        store::model::drill::wake_open(tx, loops::DRILL_RUN, r.secret, tick.now)?;
    }
    Ok(())
}

/// A newer one takes its place.
pub(super) fn supersede(tx: &mut Tx<'_>, mut r: Rollout, by: RolloutId, tick: &Tick) -> Result<()> {
    end(tx, &mut r, State::Superseded, &format!("rollout {by} takes its place"), tick)?;
    rollout::forget_left_behind(tx, r.secret, r.id, true)?;
    settled(tx, r.id, tick)?;
    timer::clear(tx, loops::ROLLOUT, r.id.0)?;
    Ok(())
}

/// Whoever waits for the end of this one begins.
fn follow(tx: &mut Tx<'_>, r: &Rollout, tick: &Tick) -> Result<()> {
    rollout::wake_by_secret(tx, r.secret, loops::ROLLOUT, tick.now)?;
    Ok(())
}

/// Ends a rollout and begins the one that takes its targets back. Says which.
pub(super) fn take_back(tx: &mut Tx<'_>, mut r: Rollout, s: &secret::Secret, why: &str, actor: &Actor, tick: &Tick) -> Result<RolloutId> {
    if r.begun_at.is_none() || r.wave.is_none() {
        // Nobody was told anything.
        end(tx, &mut r, State::RolledBack, why, tick)?;
        settled(tx, r.id, tick)?;
        follow(tx, &r, tick)?;
        return Ok(r.id);
    }
    if r.from_version == 0 {
        return Err(Error::refused("no-version-before", format!("nobody knows what was served before rollout {}", r.id)));
    }
    super::may_go_out(tx, s, r.from_version, tick)?;
    if rollout::carriers(tx, r.id, r.secret)?.is_empty() {
        let problem = format!(
            "no agent is known behind any target of rollout {} that was told: a release or a person has to bring version {} back",
            r.id, r.from_version
        );
        return Err(Error::refused("nobody-carries", problem));
    }
    end(tx, &mut r, State::RolledBack, why, tick)?;
    rollout::forget_left_behind(tx, r.secret, r.id, true)?;
    let said = taken_back(tx, &r, s, why)?;
    concern::replace(tx, &subject(r.id), &[said], tick.now)?;
    let id = RolloutId(tx.next_id("rollout")?);
    let mut policy = domain::rollout::Policy::critical();
    policy.name = String::from("rollback");
    policy.waves = vec![domain::rollout::policy::Rule { of: domain::rollout::policy::Scope::All, share: 100, soak: Span::ZERO }];
    policy.roll_back = false;
    let row = Rollout {
        id,
        version: r.from_version,
        from_version: r.version,
        kind: Kind::Rollback,
        state: State::Waiting,
        policy: policy::text(&policy),
        plan: None,
        wave: None,
        wave_at: None,
        reason: why.to_owned(),
        actor: format!("{}/{}", actor.issuer, actor.subject),
        created_at: tick.now,
        begun_at: None,
        ended_at: None,
        halted_by: String::new(),
        halted_reason: String::new(),
        halted_at: None,
        takes_back: r.id.0,
        said: String::new(),
        reasons: String::from("[]"),
        more: 0,
        decided_at: None,
        ..r.clone()
    };
    rollout::insert(tx, &row)?;
    timer::set(tx, loops::ROLLOUT, id.0, tick.now)?;
    let body = json!({ "secret": s.name, "version": row.version, "kind": "rollback", "takes_back": r.id.0 });
    tx.journal(Entry::new("rollout.created", subject(id), why, &body))?;
    // What waited for the one that went wrong goes after the step back: rollouts of a secret go in the order of their numbers.
    for waiting in rollout::open_of(tx, r.secret)?.into_iter().filter(|o| o.id < id && o.state == State::Waiting) {
        let again =
            Rollout { id: RolloutId(tx.next_id("rollout")?), said: String::new(), reasons: String::from("[]"), more: 0, ..waiting.clone() };
        rollout::insert(tx, &again)?;
        supersede(tx, waiting, again.id, tick)?;
        timer::set(tx, loops::ROLLOUT, again.id.0, tick.now)?;
        let body = json!({ "secret": s.name, "version": again.version, "kind": again.kind.as_str(), "revocation": again.revocation, "behind": id.0 });
        tx.journal(Entry::new("rollout.created", subject(again.id), &again.reason, &body))?;
    }
    Ok(id)
}

/// What is said of a rollout that has ended: whoever was left behind is waited for.
fn after(tx: &mut Tx<'_>, r: &mut Rollout, s: &secret::Secret, tick: &Tick) -> Result<Option<Time>> {
    let latest = rollout::of_secret(tx, r.secret, 1)?.first().map(|l| l.id);
    if r.state != State::Done || latest != Some(r.id) {
        if r.state != State::RolledBack {
            settled(tx, r.id, tick)?;
        }
        return Ok(None);
    }
    let mut parts = rollout::parts(tx, r.id)?;
    for gone in parts.iter_mut().filter(|p| p.retired && p.quarantined_at.is_some()) {
        rollout::mark(tx, r.id, gone.target, gone.begun_at, None, None)?;
        (gone.observed_at, gone.quarantined_at) = (None, None);
    }
    let mut view = view::load(tx, r, s, &parts, tick)?;
    let seen = note(&mut view, tick.now);
    keep(tx, r, &view, &seen)?;
    concerns(tx, r, s, &view, &[], tick)
}

fn taken_back(tx: &mut Tx<'_>, r: &Rollout, s: &secret::Secret, why: &str) -> Result<Concern> {
    Ok(Concern {
        code: Code::RolledBack,
        about: String::new(),
        level: Level::Notice,
        teams: vec![team_of(tx, "", "", Some(s))?],
        until: None,
        detail: format!(
            "rollout {} of version {} of {} was taken back to version {}: {}",
            r.id,
            r.version,
            s.name,
            r.from_version,
            pki::text::escape(why)
        ),
        next_step: format!(
            "see what went wrong (perennial rollout show {}), then store or issue a newer version, or start this one again: perennial rollout start {}",
            r.id, s.name
        ),
        once: true,
    })
}

/// Keeps and tells what stands about a rollout. Says when to tell again.
fn concerns(tx: &mut Tx<'_>, r: &Rollout, s: &secret::Secret, view: &View, reasons: &[Reason], tick: &Tick) -> Result<Option<Time>> {
    let owner = team_of(tx, "", "", Some(s))?;
    let mut all = Vec::new();
    for (id, t) in view.targets.iter().filter(|(_, t)| t.quarantined_at.is_some()) {
        let stored = target::get(tx, *id)?;
        let team = match &stored {
            Some(t) => team_of(tx, &t.team, &t.service, Some(s))?,
            None => owner.clone(),
        };
        all.push(Concern {
            code: Code::LeftBehind,
            about: t.name.clone(),
            level: Level::Notice,
            teams: vec![team],
            until: t.until,
            detail: format!(
                "{} was left behind by rollout {} of version {} of {} on {}, and was not observed serving it since",
                t.name,
                r.id,
                r.version,
                s.name,
                t.quarantined_at.unwrap_or(tick.now)
            ),
            next_step: format!("bring {} back, or take it out of the inventory: perennial target retire {} --reason \"…\"", t.name, t.name),
            once: false,
        });
    }
    let stuck = reasons.iter().find(|reason| {
        matches!(reason, Reason::QuarantineExceeded { .. }) || (matches!(reason, Reason::Halted { .. }) && r.halted_by == THE_RULES)
    });
    if let Some(reason) = stuck {
        let rehearsed = if r.kind == Kind::Drill { format!(" (a rehearsal, {})", pki::text::escape(&r.reason)) } else { String::new() };
        all.push(Concern {
            code: Code::RolloutStuck,
            about: String::new(),
            level: Level::Notice,
            teams: vec![owner],
            until: view.targets.values().filter(|t| !t.serves()).filter_map(|t| t.until).min(),
            // A rehearsal makes things fail on purpose: whoever reads this takes nothing out of the inventory for it.
            detail: format!("rollout {} of version {} of {}{rehearsed} cannot go on by itself: {reason}", r.id, r.version, s.name),
            next_step: format!("perennial rollout show {} says what each target waits for", r.id),
            once: false,
        });
    }
    concern::replace(tx, &subject(r.id), &all, tick.now)
}
