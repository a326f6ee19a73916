//! The report on single points of failure besides certificates.

use crate::{Engine, Result, tell};
use domain::spof::{Facts, Line, Team, assess};
use std::collections::BTreeMap;
use store::{
    Value,
    model::{calendar, inventory, spof},
};

/// Most lines that are told; those on which less hangs are counted.
pub const MOST: usize = 1000;

/// What is single.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Production targets.
    pub production: u64,
    /// That on which the most hangs first, at most [`MOST`].
    pub lines: Vec<Line>,
    /// How many lines are left out.
    pub more: usize,
}

impl Engine {
    /// What all of production, or all of a service, hangs on.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn single_points(&self) -> Result<Report> {
        let facts = self.store.try_read(|tx| {
            let mut teams = BTreeMap::new();
            for (name, values) in inventory::rows(tx, inventory::TEAM)? {
                let escalates = matches!(values.get(1), Some(Value::Text(e)) if !e.is_empty() && *e != name);
                let channels = tell::contacts(tx, &name)?.iter().map(|c| tell::channel_of(c)).collect();
                teams.insert(name, Team { channels, escalates });
            }
            let needs = calendar::regions(tx)?.into_iter().map(|(region, needs)| (region, needs.into_iter().collect())).collect();
            Ok::<_, crate::Error>(Facts { alike: spof::alike(tx)?, under: spof::under(tx)?, teams, needs })
        })?;
        let mut lines = assess(&facts);
        let more = lines.len().saturating_sub(MOST);
        lines.truncate(MOST);
        Ok(Report { production: facts.alike.iter().map(|a| a.targets).sum(), lines, more })
    }
}
