//! Calendars, trains, partition rules, and what a service plans by; as declared, read into what the rules understand.
//!
//! Names that lead nowhere are not an error: what is left over of an older inventory may still name them.

use super::inventory::{self, CALENDAR, PARTITION, REGION, SERVICE, TRAIN};
use crate::{Result, StoreError, Tx, Value, timer};
use domain::{
    Span, Time,
    calendar::{Calendar, Freeze, Train, When},
    partition::Rules,
};

/// What a service is planned by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePlan {
    /// Its number, by which timers know it.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// The owning team.
    pub team: String,
    /// Its calendar, empty for one that is never frozen.
    pub calendar: String,
    /// Its train, empty for none.
    pub train: String,
    /// Its partition rules, empty for none.
    pub partition: String,
}

/// A calendar by name; one that is never frozen where the name is empty, unknown or retired.
pub fn calendar(tx: &mut Tx<'_>, name: &str) -> Result<Calendar> {
    if name.is_empty() {
        return Ok(Calendar::open());
    }
    match inventory::row(tx, CALENDAR, name)?.as_deref() {
        Some([Value::Text(zone), Value::Text(freezes)]) => {
            Calendar::parse(zone, &freezes_of(freezes)?).map_err(|e| corrupt(format!("the calendar {name}: {e}")))
        }
        _ => Ok(Calendar::open()),
    }
}

/// A train by name, with its calendar.
pub fn train(tx: &mut Tx<'_>, name: &str) -> Result<Option<(Train, Calendar)>> {
    if name.is_empty() {
        return Ok(None);
    }
    match inventory::row(tx, TRAIN, name)?.as_deref() {
        Some([Value::Text(of), Value::Text(start), Value::Text(rule), Value::Int(capacity)]) => {
            let train = Train::parse(start, rule, u32::try_from(*capacity).unwrap_or(0));
            Ok(Some((train.map_err(|e| corrupt(format!("the train {name}: {e}")))?, calendar(tx, of)?)))
        }
        _ => Ok(None),
    }
}

/// Partition rules by name.
pub fn partition_rules(tx: &mut Tx<'_>, name: &str) -> Result<Option<Rules>> {
    if name.is_empty() {
        return Ok(None);
    }
    match inventory::row(tx, PARTITION, name)?.as_deref() {
        Some([Value::Text(rule)]) => rules_of(rule).map(Some),
        _ => Ok(None),
    }
}

const SERVICE_COLUMNS: &str = "id, name, team, calendar, train, partition";

fn service_row(row: &crate::Row) -> Result<ServicePlan> {
    Ok(ServicePlan {
        id: row.int(0)?,
        name: row.text(1)?.into(),
        team: row.text(2)?.into(),
        calendar: row.text(3)?.into(),
        train: row.text(4)?.into(),
        partition: row.text(5)?.into(),
    })
}

/// A service by name.
pub fn service(tx: &mut Tx<'_>, name: &str) -> Result<Option<ServicePlan>> {
    let sql = format!("SELECT {SERVICE_COLUMNS} FROM {} WHERE name = $1 AND retired_at IS NULL", SERVICE.name);
    tx.query_opt(&sql, &[name.into()])?.as_ref().map(service_row).transpose()
}

/// A service by its number, as timers know it.
pub fn service_by_id(tx: &mut Tx<'_>, id: i64) -> Result<Option<ServicePlan>> {
    let sql = format!("SELECT {SERVICE_COLUMNS} FROM {} WHERE id = $1 AND retired_at IS NULL", SERVICE.name);
    tx.query_opt(&sql, &[id.into()])?.as_ref().map(service_row).transpose()
}

/// Services in the order of their numbers, behind `after`.
pub fn services(tx: &mut Tx<'_>, after: i64, limit: i64) -> Result<Vec<ServicePlan>> {
    let sql = format!("SELECT {SERVICE_COLUMNS} FROM {} WHERE id > $1 AND retired_at IS NULL ORDER BY id LIMIT $2", SERVICE.name);
    tx.query(&sql, &[after.into(), limit.into()])?.iter().map(service_row).collect()
}

/// Every region with those that it cannot work without, in the order of their names.
pub fn regions(tx: &mut Tx<'_>) -> Result<Vec<(String, Vec<String>)>> {
    let rows = inventory::rows(tx, REGION)?;
    rows.into_iter()
        .map(|(name, values)| match &values[..] {
            [Value::Text(needs)] => Ok((name, super::list(needs)?)),
            _ => Err(corrupt(format!("the region {name}"))),
        })
        .collect()
}

/// Wakes a loop for every release that has not ended, and another for every service: something that they are planned by has changed.
pub fn wake_plans(tx: &mut Tx<'_>, releases: &str, services: &str, at: Time) -> Result<()> {
    timer::set_earlier_for(tx, releases, "release WHERE ended_at IS NULL", at)?;
    timer::set_earlier_for(tx, services, "service WHERE retired_at IS NULL", at)
}

fn corrupt(what: String) -> StoreError {
    StoreError::Corrupt { what }
}

/// Freezes as the inventory file writes them, in JSON.
fn freezes_of(text: &str) -> Result<Vec<Freeze>> {
    let list: Vec<serde_json::Value> = serde_json::from_str(text).map_err(|e| corrupt(format!("freezes: {e}")))?;
    list.iter()
        .map(|freeze| {
            let text = |key: &str| freeze[key].as_str().map(str::to_owned);
            let when = match (text("from"), text("weekly"), text("rule")) {
                (Some(from), None, None) => When::Range { from, until: text("until") },
                (None, Some(weekly), None) => When::Weekly(weekly),
                (None, None, Some(rule)) => {
                    When::Recurring { start: text("start").unwrap_or_default(), lasts: span(&text("lasts").unwrap_or_default())?, rule }
                }
                _ => return Err(corrupt(format!("the freeze {freeze}"))),
            };
            Ok(Freeze { why: text("why").unwrap_or_default(), when })
        })
        .collect()
}

fn span(text: &str) -> Result<Span> {
    Span::parse(text).map_err(|e| corrupt(e.to_string()))
}

/// Partition rules as the inventory file writes them, in JSON.
fn rules_of(text: &str) -> Result<Rules> {
    let rule: serde_json::Value = serde_json::from_str(text).map_err(|e| corrupt(format!("partition rules: {e}")))?;
    let flag = |key: &str| rule[key].as_bool().unwrap_or(false);
    let number = |key: &str| rule[key].as_u64();
    let small = |key: &str| number(key).and_then(|n| u32::try_from(n).ok());
    let days = rule["no_expiry_on"].as_array().into_iter().flatten();
    Ok(Rules {
        one_region_per_certificate: flag("one_region_per_certificate"),
        max_targets_per_certificate: number("max_targets_per_certificate"),
        no_expiry_in_freeze: flag("no_expiry_in_freeze"),
        no_expiry_on: days.filter_map(|day| day.as_str().map(str::to_owned)).collect(),
        min_days_between: small("min_days_between"),
        max_share_percent: small("max_share_percent"),
        window: rule["window"].as_str().map(span).transpose()?,
    })
}
