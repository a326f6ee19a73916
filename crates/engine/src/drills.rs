//! Drills: when one is due, what stands of those that failed or are overdue, and what they have proven.
//!
//! A drill that failed, or that has not passed for too long, is a finding with an owner, and only a drill that passes ends it (law 1).

mod alert;
mod begin;
mod read;
mod run;
pub mod standing;

pub use begin::Ask;
pub use read::{Declared, Path, declared, detail};

use crate::{Engine, Result, Tick, concern, loops, rules};
use domain::{
    Span, Time,
    concern::Concern,
    drill::{
        Phase,
        reason::{Reason, Why},
        schedule::{self, Past},
    },
    finding::Code,
    policy::{Level, UNPROVEN_PATH},
    schedule::LEASE,
    words::{IncidentId, NodeId, SecretId},
};
use store::{
    Tx,
    model::{
        concern::Stored,
        drill::{self, Drill, Run},
        incident, inventory, secret,
    },
    timer,
};

/// How long a drill waits for its turn, where another one is on its way in the same service.
const TURN: Span = Span::minutes(15);
/// How many drills one round looks at.
const BATCH: i64 = 100;
/// How many of a secret's rotations are looked at for what they have proven.
const LOOKED_AT: i64 = 200;
/// How many secrets of an incident are looked at; beyond that nothing counts as proven.
const MOST_SECRETS: i64 = 100;
/// The names of what nobody declared begin so; no drill of the inventory can be called that.
pub const UNDECLARED: &str = "secret/";

impl Engine {
    /// Looks at the drills that are due: starts what is, and says what is overdue. Says how many there were.
    pub fn drills_once(&self, tick: &Tick) -> Result<usize> {
        let now = tick.now;
        let claims = self.store.write(&rules(), now, |tx| timer::claim(tx, loops::DRILL, now, &self.holder, LEASE, BATCH))?;
        for claim in &claims {
            let done = self.store.try_write(&rules(), now, |tx| {
                let next = match drill::by_id(tx, claim.subject)? {
                    Some(declared) => assess(tx, &declared, tick)?,
                    None => None,
                };
                timer::done(tx, loops::DRILL, claim, next)?;
                Ok(())
            });
            self.left_for_later(loops::DRILL, claim, done, tick)?;
        }
        Ok(claims.len())
    }
}

/// The critical path to what an incident is about, as drills have proven it: the slowest of its secrets, and unknown where one is, unless
/// another took longer than what unknown counts as.
pub(crate) fn critical_path(tx: &mut Tx<'_>, id: IncidentId, now: Time) -> Result<Option<Span>> {
    let secrets = incident::open_secrets(tx, id, MOST_SECRETS + 1)?;
    let (mut slowest, mut unknown) = (None, secrets.is_empty() || secrets.len() as i64 > MOST_SECRETS);
    for secret in secrets {
        match proven(tx, secret, now)? {
            Some((path, _)) => slowest = slowest.max(Some(path)),
            None => unknown = true,
        }
    }
    Ok(slowest.filter(|s| !unknown || *s > UNPROVEN_PATH))
}

/// The critical path of a secret, and until when that is believed. A rehearsal proves the way to the targets that it reached: to those of
/// its secret, and of no other one in the same service.
pub fn proven(tx: &mut Tx<'_>, secret: SecretId, now: Time) -> Result<Option<(Span, Time)>> {
    let runs = drill::rotations(tx, secret, now - schedule::REMEMBERED, LOOKED_AT)?;
    Ok(schedule::critical_path(&runs, now))
}

/// What stands about a drill.
pub(crate) fn subject(name: &str) -> String {
    format!("drill/{name}")
}

/// Whoever leaves the inventory leaves nothing behind that stands.
pub(crate) fn retired(tx: &mut Tx<'_>, name: &str, now: Time) -> Result<()> {
    concern::replace(tx, &subject(name), &[], now)?;
    Ok(())
}

/// Something about a drill changed: it is looked at again.
pub(crate) fn wake(tx: &mut Tx<'_>, name: &str, now: Time) -> Result<()> {
    if let Some(declared) = drill::by_name(tx, name)? {
        timer::set_earlier(tx, loops::DRILL, declared.id, now)?;
    }
    Ok(())
}

fn assess(tx: &mut Tx<'_>, d: &Drill, tick: &Tick) -> Result<Option<Time>> {
    let now = tick.now;
    tx.turn(&subject(&d.name))?;
    let mut past = drill::past(tx, d)?;
    // What is begun by itself waits for a clock that is believed: one that is wrong must not rotate everything.
    if tick.clock.is_believed() && past.due_at(d.every).is_some_and(|due| due <= now) {
        begin::scheduled(tx, d, &rules(), tick)?;
        past = drill::past(tx, d)?;
    }
    let again = tell(tx, d, &past, now)?;
    let overdue = Some(past.overdue_at(d.every)).filter(|t| *t > now);
    // Who has to wait for another one asks again.
    let due = past.due_at(d.every).map(|due| if due <= now { now + TURN } else { due });
    if past.overdue_at(d.every) <= now {
        // What it proved is believed no longer.
        incident::wake_open(tx, loops::INCIDENT, now)?;
    }
    Ok(due.into_iter().chain(again).chain(overdue).min())
}

/// Says what stands about a drill that nobody declared; told once, since nothing brings it back.
pub(crate) fn tell_undeclared(tx: &mut Tx<'_>, run: &Run, now: Time) -> Result<()> {
    if run.phase == Phase::Aborted {
        return Ok(());
    }
    let secret = run.name.trim_start_matches(UNDECLARED);
    let teams = teams(tx, "", secret)?;
    let concerns: Vec<Concern> = failed(Some(run), &teams).into_iter().map(|c| Concern { once: true, ..c }).collect();
    concern::replace(tx, &subject(&run.name), &concerns, now)?;
    Ok(())
}

/// What a drill that nobody declared has proven is believed no longer, and nothing brings it back by itself.
pub(crate) fn tell_lapsed(tx: &mut Tx<'_>, run: &Run, until: Time, now: Time) -> Result<()> {
    let secret = run.name.trim_start_matches(UNDECLARED);
    let name = pki::text::escape(secret);
    let concern = Concern {
        code: Code::DrillOverdue,
        about: String::new(),
        level: Level::Notice,
        teams: teams(tx, "", secret)?,
        until: None,
        detail: format!("what drill {} proved of {name} was believed until {until}; people are woken as if nothing were proven", run.id),
        next_step: format!("run it again: perennial drill run --secret {name} --reason \"…\"; or declare it: [[drill]]"),
        once: true,
    };
    concern::replace(tx, &subject(&run.name), &[concern], now)?;
    Ok(())
}

/// A node says that the last good version of a secret is in place again: whoever rehearses that looks.
pub(crate) fn put_back(tx: &mut Tx<'_>, node: NodeId, secret: SecretId, now: Time) -> Result<()> {
    for run in drill::put_back(tx, node, secret, now)? {
        timer::set_earlier(tx, loops::DRILL_RUN, run, now)?;
    }
    Ok(())
}

/// Says what stands about a declared drill. Says when time alone changes that.
pub(crate) fn tell(tx: &mut Tx<'_>, d: &Drill, past: &Past, now: Time) -> Result<Option<Time>> {
    let (latest, _) = drill::latest(tx, &d.name)?;
    let subject = subject(&d.name);
    let stood = store::model::concern::of(tx, &subject)?;
    let teams = teams(tx, &d.team, &d.secret)?;
    let mut concerns = failed(latest.as_ref(), &teams);
    // What once was overdue is so until one passes, however rarely it is asked for from then on.
    let stands = |s: &Stored| s.code == Code::DrillOverdue && s.gone_at.is_none() && past.passed_at.is_none_or(|p| p < s.since);
    if now >= past.overdue_at(d.every) || stood.iter().any(stands) {
        concerns.push(overdue(d, past, &teams));
    }
    concern::replace(tx, &subject, &concerns, now)
}

/// What the latest drill of a name says: nothing where it passed.
pub(crate) fn failed(latest: Option<&Run>, teams: &[String]) -> Vec<Concern> {
    let Some(run) = latest else { return Vec::new() };
    let reasons = standing::reasons(&run.reasons);
    let name = pki::text::escape(&run.name);
    let shows = format!("look at it: perennial drill show {}; what is repaired is proven by the next drill alone", run.id);
    let concern = |code, about: String, detail: String| Concern {
        code,
        about,
        level: Level::Notice,
        teams: teams.to_vec(),
        until: None,
        detail,
        next_step: shows.clone(),
        once: false,
    };
    let silent = |r: &&Reason| r.why == Why::ChannelSilent;
    let mut concerns: Vec<Concern> = reasons
        .iter()
        .filter(silent)
        .map(|r| concern(Code::ChannelSilent, r.about.clone(), format!("in drill {} of {name}: {}", run.id, r.detail)))
        .collect();
    let others: Vec<String> = reasons.iter().filter(|r| !silent(r)).map(|r| r.detail.clone()).collect();
    if !others.is_empty() {
        concerns.push(concern(Code::DrillFailed, String::new(), format!("drill {} of {name} failed: {}", run.id, others.join("; "))));
    }
    concerns
}

fn overdue(d: &Drill, past: &Past, teams: &[String]) -> Concern {
    let name = pki::text::escape(&d.name);
    let since = match past.passed_at {
        Some(at) => format!("it last passed {at}"),
        None => format!("it has never passed since it was declared {}", d.declared_at),
    };
    Concern {
        code: Code::DrillOverdue,
        about: String::new(),
        level: Level::Notice,
        teams: teams.to_vec(),
        until: None,
        detail: format!("the drill {name} is to pass every {} and is overdue: {since}", d.every),
        next_step: format!("run it: perennial drill run {name} --reason \"…\""),
        once: false,
    }
}

/// Who hears of a drill: the team that it names, else whoever owns its secret.
pub(crate) fn teams(tx: &mut Tx<'_>, team: &str, secret: &str) -> Result<Vec<String>> {
    if !team.is_empty() {
        return Ok(vec![team.to_owned()]);
    }
    let owner = match secret::by_name(tx, secret)? {
        Some(s) => crate::assess::team_of(tx, "", "", Some(&s))?,
        None => inventory::setting(tx, "default_owner")?.unwrap_or_default(),
    };
    Ok(vec![owner])
}
