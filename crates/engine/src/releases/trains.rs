//! Which departure each release that waits for a train rides.

use super::{MAX_WAITING, difference, turn_of};
use crate::{Error, Result, loops};
use domain::{
    Time,
    release::{
        Release,
        train::{Waiting, plan as seats},
    },
    words::ReleaseId,
};
use store::{
    Tx,
    journal::Entry,
    model::{calendar, release},
    timer,
};

/// How many departures are looked at: those for everybody who waits, and more for those that may not go yet.
const DEPARTURES: usize = 2 * MAX_WAITING as usize;

/// Puts a release whose row is taken into the line of a train, and plans everybody there anew.
pub(super) fn board(tx: &mut Tx<'_>, r: &mut Release, train: &str, before: Option<ReleaseId>, now: Time) -> Result<()> {
    tx.turn(&turn_of(train))?;
    let name = pki::text::escape(train);
    if calendar::train(tx, train)?.is_none() {
        return Err(Error::refused("unknown-train", format!("there is no train {name}; declare it: perennial apply")));
    }
    let mut line: Vec<ReleaseId> = release::waiting(tx, train, MAX_WAITING + 1)?.iter().map(|w| w.facts.id).collect();
    line.retain(|id| *id != r.id);
    if line.len() as i64 >= MAX_WAITING {
        return Err(Error::refused(
            "train-is-full",
            format!("{MAX_WAITING} releases wait for the train {name}; build or cancel some of them"),
        ));
    }
    let at = match before {
        None => line.len(),
        Some(other) => line.iter().position(|id| *id == other).ok_or_else(|| {
            Error::refused("not-in-train", format!("release {other} does not wait for the train {name}: perennial release queue"))
        })?,
    };
    line.insert(at, r.id);
    r.train = train.to_owned();
    release::update(tx, r)?;
    for (place, id) in (1i64..).zip(&line) {
        release::put_place(tx, *id, place)?;
    }
    plan(tx, train, now)?;
    super::reread(tx, r)?;
    seated(r)
}

/// Refuses what a train has no departure left for.
pub(super) fn seated(r: &Release) -> Result<()> {
    if r.planned_at.is_no_expiry() {
        let name = pki::text::escape(&r.train);
        return Err(Error::refused("train-ends", format!("the train {name} has no departure left at or after {}", r.earliest_at)));
    }
    Ok(())
}

/// Plans everybody who waits for any train: trains or calendars have changed.
pub(crate) fn plan_all(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    for train in release::trains(tx)? {
        tx.turn(&turn_of(&train))?;
        plan(tx, &train, now)?;
    }
    Ok(())
}

/// Plans everybody who waits for a train, in the transaction that holds its turn; wakes whose date moved. Whom no departure is left for
/// is planned for never.
pub(crate) fn plan(tx: &mut Tx<'_>, train: &str, now: Time) -> Result<()> {
    let line = release::waiting(tx, train, MAX_WAITING + 1)?;
    let waiting: Vec<Waiting> = line.iter().map(|w| Waiting { id: w.facts.id, earliest: w.facts.earliest_at }).collect();
    let planned = match calendar::train(tx, train)? {
        Some((rule, calendar)) => seats(&rule.departures(&calendar, now, DEPARTURES), rule.capacity(), &waiting),
        // It left the inventory, and leaves no more.
        None => seats(&[], 0, &waiting),
    };
    // Rows are taken in the order of their numbers, as everywhere.
    let mut moves: Vec<_> = line
        .iter()
        .zip(planned)
        .map(|(w, (id, at))| (w.facts.planned_at, id, at.unwrap_or(Time::NO_EXPIRY)))
        .filter(|(was, _, at)| was != at)
        .map(|(_, id, at)| (id, at))
        .collect();
    moves.sort_unstable();
    for (id, at) in moves {
        let Some(stored) = release::lock(tx, id)? else { continue };
        let moved = Release { planned_at: at, ..stored.facts.clone() };
        release::update(tx, &moved)?;
        tx.journal(Entry::new("release.moved", moved.subject(), "its train was planned anew", &difference(&stored.facts, &moved)))?;
        timer::set_earlier(tx, loops::RELEASE, id.0, now)?;
        release::wake_carried(tx, id, loops::SECRET, now)?;
    }
    Ok(())
}
