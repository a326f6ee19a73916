//! What people are shown of drills.

use super::{proven, subject, teams};
use crate::{Error, Result};
use domain::{
    Span, Time,
    drill::{Kind, Phase, schedule::Past},
};
use store::{
    Tx,
    model::{
        concern::{self, Stored},
        drill::{self, Drill, Run},
    },
};

/// A drill of the inventory with how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// As declared.
    pub drill: Drill,
    /// Who hears of it.
    pub team: String,
    /// When it passed and ended.
    pub past: Past,
    /// Its latest run.
    pub latest: Option<Run>,
    /// `running`, `overdue`, `failed`, `never-passed` or `passed`.
    pub standing: &'static str,
    /// What the rules say of it.
    pub concerns: Vec<Stored>,
}

/// The drills of the inventory behind a name, with how they stand.
///
/// # Errors
/// The database.
pub fn declared(tx: &mut Tx<'_>, after: &str, limit: i64, now: Time) -> Result<Vec<Declared>> {
    let mut all = Vec::new();
    for d in drill::declared(tx, after, limit)? {
        let past = drill::past(tx, &d)?;
        let latest = drill::runs(tx, Some(&d.name), None, 1)?.into_iter().next();
        let (ended, _) = drill::latest(tx, &d.name)?;
        let concerns: Vec<Stored> = concern::of(tx, &subject(&d.name))?.into_iter().filter(|c| c.gone_at.is_none()).collect();
        let standing = match () {
            () if past.running => "running",
            () if now >= past.overdue_at(d.every) => "overdue",
            () if ended.is_some_and(|r| r.phase == Phase::Failed) => "failed",
            () if past.passed_at.is_none() => "never-passed",
            () => "passed",
        };
        let team = teams(tx, &d.team, &d.secret)?.into_iter().next().unwrap_or_default();
        all.push(Declared { team, past, latest, standing, concerns, drill: d });
    }
    Ok(all)
}

/// The critical path of a secret that is believed at a service, and until when; none where nothing is proven.
pub type Path = (String, Option<(Span, Time)>);

/// One run, and the critical path that is believed at the services that it reached.
///
/// # Errors
/// There is no such run.
pub fn detail(tx: &mut Tx<'_>, id: i64, now: Time) -> Result<(Run, Vec<Path>)> {
    let run = drill::get(tx, id)?.ok_or_else(|| Error::not_found("drill run", &id.to_string()))?;
    let mut paths = Vec::new();
    if run.kind == Kind::Rotation {
        let path = proven(tx, run.secret, now)?;
        paths.extend(drill::reached_by(tx, id)?.into_iter().map(|service| (service, path)));
    }
    Ok((run, paths))
}
