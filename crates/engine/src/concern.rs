//! Keeps and tells what the rules say about releases, services and whatever else is neither a secret nor a target.

use crate::{
    Result,
    message::{Kind, Message},
    tell,
};
use domain::{
    Time,
    concern::{Concern, telling},
    policy,
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use store::{
    Tx,
    journal::Entry,
    model::{concern, inventory, notice},
};

/// Under which number notices about what is no secret are kept.
pub(crate) const PLAN: domain::words::SecretId = domain::words::SecretId(-1);

/// Replaces what is known about a subject by what the rules say now, in the transaction that decided it; tells whoever must hear of
/// it, at once. Says when time alone makes something due again.
pub(crate) fn replace(tx: &mut Tx<'_>, subject: &str, concerns: &[Concern], now: Time) -> Result<Option<Time>> {
    let before = concern::of(tx, subject)?;
    let by_key: BTreeMap<&str, &concern::Stored> = before.iter().map(|b| (b.key.as_str(), b)).collect();
    let mut stand = BTreeSet::new();
    let mut next: Option<Time> = None;
    for c in concerns {
        let owned = owned(tx, c)?;
        let (c, key) = (&owned, c.key());
        let known = by_key.get(key.as_str()).copied();
        let stood = known.filter(|k| k.gone_at.is_none());
        let todo = telling(c, known.map(concern::Stored::remembered).as_ref(), now);
        let mut told: Vec<String> = stood.map(|k| k.told.clone()).unwrap_or_default();
        let mut told_at = known.and_then(|k| k.told_at);
        if !todo.teams.is_empty() {
            tell_teams(tx, subject, c, &todo.teams, todo.again, now)?;
            told.extend(todo.teams.iter().filter(|t| !told.contains(t)).cloned().collect::<Vec<_>>());
            told_at = Some(now);
        }
        let same = stood.is_some_and(|k| {
            (k.level, &k.detail, &k.teams, k.until, k.told_at, &k.told) == (c.level, &c.detail, &c.teams, c.until, told_at, &told)
        });
        if !same {
            concern::put(tx, subject, c, stood.map_or(now, |k| k.since), told_at, &told)?;
        }
        if stood.is_none() {
            let body = json!({ "finding": key, "level": c.level.as_str(), "detail": c.detail, "until": c.until.map(|t| t.to_string()) });
            tx.journal(Entry::new("plan.finding", subject, "", &body))?;
        }
        next = match (next, todo.next) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        stand.insert(key);
    }
    for gone in before.iter().filter(|b| b.gone_at.is_none() && !stand.contains(&b.key)) {
        concern::gone(tx, subject, &gone.key, now)?;
        tx.journal(Entry::new("plan.finding.gone", subject, "", &json!({ "finding": gone.key })))?;
    }
    Ok(next)
}

/// What is nobody's is the default owner's.
fn owned(tx: &mut Tx<'_>, c: &Concern) -> Result<Concern> {
    let mut teams: Vec<String> = c.teams.iter().filter(|t| !t.is_empty()).cloned().collect();
    if teams.is_empty() {
        teams.push(inventory::setting(tx, "default_owner")?.unwrap_or_default());
    }
    teams.sort();
    teams.dedup();
    Ok(Concern { teams, ..c.clone() })
}

fn tell_teams(tx: &mut Tx<'_>, subject: &str, c: &Concern, teams: &[String], again: bool, now: Time) -> Result<()> {
    let message = Message {
        teams: c.teams.clone(),
        code: c.code.to_string(),
        served_until: c.until.map(|t| t.to_string()),
        remaining_seconds: c.until.map(|t| policy::remaining(t, now).as_secs()),
        next_step: c.next_step.clone(),
        ..Message::new(Kind::Notice, format!("{}/{subject}/{}", tell::prefix(tx)?, c.key()), c.detail.clone(), now)
    };
    for team in teams {
        tell::send(tx, team, &message, now)?;
        let row = notice::Notice {
            id: tx.next_id("notice")?,
            secret: PLAN,
            key: format!("{subject}/{}", c.key()),
            code: c.code.to_string(),
            rung: None,
            again,
            team: team.clone(),
            at: now,
            until: c.until,
            detail: c.detail.clone(),
            // What stands is in the table of concerns; this row only says that somebody was told.
            ended_at: Some(now),
        };
        notice::insert(tx, &row)?;
    }
    Ok(())
}
