//! What a plan that divides production up asks of a secret: which regions have certificates of their own, and when each ends.

use super::renew::distinct;
use crate::{Result, partition::ISSUE};
use domain::Time;
use serde_json::Value;
use std::collections::BTreeMap;
use store::{
    Tx,
    model::{
        intent,
        issuance::{self, PlannedEnd},
        secret,
    },
};

/// Most intents of a service that are looked at.
const MOST: i64 = 10_000;

/// The planned ends of a secret, by scope. A certificate that is one of several of its region needs a secret of its own, with the name
/// that the plan gives it; then the plan's end is that secret's.
fn ends(tx: &mut Tx<'_>, s: &secret::Secret) -> Result<BTreeMap<String, PlannedEnd>> {
    let mut found: BTreeMap<String, Option<PlannedEnd>> = BTreeMap::new();
    if s.service.is_empty() {
        return Ok(BTreeMap::new());
    }
    for row in intent::open_under(tx, ISSUE, &format!("service/{}", s.service), MOST)? {
        let content: Value = serde_json::from_str(&row.content).unwrap_or_default();
        let Some(not_after) = content["not_after"].as_str().and_then(|t| Time::parse(t).ok()) else { continue };
        let end = PlannedEnd { not_after, intent: row.id };
        if content["certificate"].as_str() == Some(&s.name) {
            return Ok([(String::from("all"), end)].into());
        }
        if content["secret"].as_str() != Some(&s.name) {
            continue;
        }
        let region = content["region"].as_str().filter(|r| !r.is_empty()).unwrap_or("all").to_owned();
        found.entry(region).and_modify(|known| *known = None).or_insert(Some(end));
    }
    Ok(found.into_iter().filter_map(|(scope, end)| Some((scope, end?))).collect())
}

/// Keeps for a version what is planned for it; what was kept before stays.
pub(super) fn keep(tx: &mut Tx<'_>, s: &secret::Secret, version: i64) -> Result<()> {
    for (scope, end) in ends(tx, s)? {
        if issuance::planned_end(tx, s.id, version, &scope)?.is_none() {
            issuance::put_planned_end(tx, s.id, version, &scope, end)?;
        }
    }
    Ok(())
}

/// The scopes that a version needs whose keys are born in the store: one for all, and one for each region that has an end of its own.
pub(super) fn scopes(tx: &mut Tx<'_>, s: &secret::Secret) -> Result<Vec<String>> {
    let mut all: Vec<String> = ends(tx, s)?.into_keys().collect();
    // Targets of no region, and of regions that the plan says nothing of, serve the one for all.
    all.push(String::from("all"));
    Ok(distinct(all))
}
