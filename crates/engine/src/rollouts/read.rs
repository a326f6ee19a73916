//! What people are shown of a rollout.

use super::view;
use crate::{Error, Result};
use domain::{
    Span, Time,
    rollout::{State, plan::What},
    words::RolloutId,
};
use serde_json::Value;
use store::{
    StoreError, Tx,
    model::{
        rollout::{self, Count, Rollout},
        secret,
    },
};

/// A rollout with its waves and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    /// As stored.
    pub rollout: Rollout,
    /// The secret's name.
    pub secret: String,
    /// Its waves, in order.
    pub waves: Vec<WaveDetail>,
    /// What it waits for.
    pub waits: Vec<Waits>,
    /// How many targets were left behind, and the names of some.
    pub left_behind: (i64, Vec<String>),
    /// The rollout that takes it back, where one does.
    pub taken_back_by: Option<RolloutId>,
    /// Whether nothing but a person gets it further.
    pub needs_a_person: bool,
}

/// One wave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaveDetail {
    /// "canary", "stamp eu-1", "region eu".
    pub title: String,
    /// What it is.
    pub what: What,
    /// The most of the service's targets that may be on their way at once, in percent.
    pub share: u32,
    /// For how long it is watched.
    pub soak: Span,
    /// What became of its targets.
    pub count: Count,
}

/// One reason to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waits {
    /// Stable, for machines.
    pub code: String,
    /// The target that it is about.
    pub target: Option<String>,
    /// When time alone ends it.
    pub until: Option<Time>,
    /// The sentence.
    pub text: String,
    /// Whether nothing but a person ends it.
    pub needs_a_person: bool,
}

/// How many targets that were left behind are named.
const NAMED: usize = 100;

/// What people are shown of a rollout.
///
/// # Errors
/// No such rollout.
pub fn detail(tx: &mut Tx<'_>, id: RolloutId) -> Result<Detail> {
    let r = rollout::get(tx, id)?.ok_or_else(|| Error::not_found("rollout", &id.to_string()))?;
    detail_of(tx, r)
}

/// The same of a row that was read.
///
/// # Errors
/// What the database says.
pub fn detail_of(tx: &mut Tx<'_>, r: Rollout) -> Result<Detail> {
    let id = r.id;
    let name = secret::get(tx, r.secret)?.map(|s| s.name).unwrap_or_default();
    let mut waves = Vec::new();
    if let Some(hash) = r.plan {
        let counts = rollout::counts(tx, id)?;
        let count = |at: usize| counts.iter().find(|(wave, _)| *wave == at as i64).map(|(_, c)| *c).unwrap_or_default();
        let planned = view::waves(&rollout::plan(tx, id, &hash)?.1)?;
        waves.extend(planned.iter().enumerate().map(|(at, w)| WaveDetail {
            title: w.title(),
            what: w.what,
            share: w.share,
            soak: w.soak,
            count: count(at),
        }));
    }
    let behind = rollout::left_behind(tx, id)?;
    let some = behind.iter().take(NAMED).cloned().collect();
    let taken_back_by = rollout::taken_back_by(tx, id)?;
    let waits = waits(&r)?;
    let stuck = r.state.is_open() && (r.halted_at.is_some() || waits.iter().any(|w| w.needs_a_person));
    // Nobody waits for what was taken back once something newer began.
    let latest = |o: &Rollout| o.id == id || o.takes_back == id.0;
    let needs_a_person =
        stuck || !behind.is_empty() || (r.state == State::RolledBack && rollout::of_secret(tx, r.secret, 1)?.first().is_some_and(latest));
    Ok(Detail { secret: name, waves, waits, left_behind: (behind.len() as i64, some), taken_back_by, needs_a_person, rollout: r })
}

/// What each of its waves is.
pub(crate) fn kinds(tx: &mut Tx<'_>, r: &Rollout) -> Result<Vec<What>> {
    let Some(hash) = r.plan else { return Ok(Vec::new()) };
    Ok(view::waves(&rollout::plan(tx, r.id, &hash)?.1)?.iter().map(|w| w.what).collect())
}

/// What a rollout waits for, as it was kept.
pub(crate) fn waits(r: &Rollout) -> Result<Vec<Waits>> {
    let corrupt = || StoreError::Corrupt { what: format!("what rollout {} waits for", r.id) };
    let all: Vec<Value> = serde_json::from_str(&r.reasons).map_err(|_| corrupt())?;
    let one = |v: &Value| {
        Some(Waits {
            code: v["code"].as_str()?.to_owned(),
            target: v["target"].as_str().map(str::to_owned),
            until: v["until"].as_i64().map(Time::from_unix),
            text: v["text"].as_str()?.to_owned(),
            needs_a_person: v["person"].as_bool().unwrap_or(false),
        })
    };
    Ok(all.iter().map(one).collect::<Option<Vec<_>>>().ok_or_else(corrupt)?)
}
