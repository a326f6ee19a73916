//! Who owns, what it is for, where: teams, services, regions, stamps, vantages, roots and policies.
//!
//! What leaves the inventory is marked, not deleted: what was retired may still be asked for.

use crate::{Result, Tx, Value};
use domain::{
    Span, Time,
    policy::{Class, Policy},
};
use std::collections::BTreeMap;

/// A table of the inventory: a name, some columns, and when it left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Its name in SQL.
    pub name: &'static str,
    /// What one row of it is called, as in the inventory file.
    pub kind: &'static str,
    /// The columns besides `name` and `retired_at`.
    pub columns: &'static [&'static str],
    /// Whether each row has a number (`id`), by which timers know it; it keeps it for ever.
    pub numbered: bool,
}

const fn named(name: &'static str, columns: &'static [&'static str]) -> Table {
    Table { name, kind: name, columns, numbered: false }
}

/// Teams: contacts (JSON), the escalation contact's team.
pub const TEAM: Table = named("team", &["contacts", "escalation"]);
/// Services: the owning team; calendar, train and partition rules, empty for none.
pub const SERVICE: Table = Table { numbered: true, ..named("service", &["team", "calendar", "train", "partition"]) };
/// Regions: those that it cannot work without (JSON).
pub const REGION: Table = named("region", &["needs"]);
/// Stamps: the region.
pub const STAMP: Table = named("stamp", &["region"]);
/// Vantages: whether they are required.
pub const VANTAGE: Table = named("vantage", &["required"]);
/// Private roots: PEM.
pub const ROOTS: Table = named("roots", &["pem"]);
/// Policies: class and own thresholds in seconds.
pub const POLICY: Table = named("policy", &["class", "notice", "incident", "every", "unobserved_after"]);
/// Calendars: the zone, the freezes (JSON).
pub const CALENDAR: Table = named("calendar", &["zone", "freezes"]);
/// Trains: the calendar, start and rule as written, releases per departure.
pub const TRAIN: Table = named("train", &["calendar", "start", "rule", "capacity"]);
/// Partition rules (JSON).
pub const PARTITION: Table = Table { kind: "partition", ..named("partition_rule", &["rule"]) };

/// Rollout policies (JSON).
pub const ROLLOUT_POLICY: Table = Table { kind: "rollout policy", ..named("rollout_policy", &["policy"]) };
/// Issuers: kind, region, fallback, orders per window (seconds), what only their kind needs (JSON).
pub const ISSUER: Table = Table { numbered: true, ..named("issuer", &["kind", "region", "fallback", "orders", "per", "settings"]) };
/// Drills: the secret, the kind, how often and within which time (seconds), who hears of it, the node or region that fails.
pub const DRILL: Table = Table { numbered: true, ..named("drill", &["secret", "kind", "every", "within", "team", "node", "region"]) };

/// What is in a table, by name; each row's values in the order of the columns.
pub fn rows(tx: &mut Tx<'_>, table: Table) -> Result<BTreeMap<String, Vec<Value>>> {
    let columns: String = table.columns.iter().map(|c| format!(", {c}")).collect();
    let sql = format!("SELECT name{columns} FROM {} WHERE retired_at IS NULL ORDER BY name", table.name);
    tx.query(&sql, &[])?.iter().map(|r| Ok((r.text(0)?.to_owned(), r.values()[1..].to_vec()))).collect()
}

/// One row.
pub fn row(tx: &mut Tx<'_>, table: Table, name: &str) -> Result<Option<Vec<Value>>> {
    let columns: String = table.columns.iter().map(|c| format!(", {c}")).collect();
    let sql = format!("SELECT name{columns} FROM {} WHERE name = $1 AND retired_at IS NULL", table.name);
    Ok(tx.query_opt(&sql, &[name.into()])?.map(|r| r.values()[1..].to_vec()))
}

/// Writes a row; one that had left comes back.
pub fn put(tx: &mut Tx<'_>, table: Table, name: &str, values: Vec<Value>) -> Result<()> {
    let sets = |from: &dyn Fn(usize, &str) -> String| {
        table.columns.iter().enumerate().map(|(n, c)| format!(", {}", from(n, c))).collect::<String>()
    };
    let mut params = vec![name.into()];
    params.extend(values);
    let update = format!("UPDATE {} SET retired_at = NULL{} WHERE name = $1", table.name, sets(&|n, c| format!("{c} = ${}", n + 2)));
    if table.numbered && tx.execute(&update, &params)? > 0 {
        return Ok(());
    }
    let columns: String = table.columns.iter().map(|c| format!(", {c}")).collect();
    let mut places: String = (0..table.columns.len()).map(|n| format!(", ${}", n + 2)).collect();
    let mut id = "";
    if table.numbered {
        id = ", id";
        params.push(tx.next_id(table.name)?.into());
        places.push_str(&format!(", ${}", params.len()));
    }
    let sets = sets(&|_, c| format!("{c} = excluded.{c}"));
    let sql = format!(
        "INSERT INTO {} (name{columns}{id}) VALUES ($1{places}) ON CONFLICT (name) DO UPDATE SET retired_at = NULL{sets}",
        table.name
    );
    tx.execute(&sql, &params)?;
    Ok(())
}

/// Marks a row as gone.
pub fn retire(tx: &mut Tx<'_>, table: Table, name: &str, now: Time) -> Result<()> {
    tx.execute(&format!("UPDATE {} SET retired_at = $2 WHERE name = $1", table.name), &[name.into(), now.into()])?;
    Ok(())
}

/// A policy, by name; an empty name is the computed one.
pub fn policy(tx: &mut Tx<'_>, name: &str) -> Result<Policy> {
    if name.is_empty() {
        return Ok(Policy::default());
    }
    let span = |v: &Value| match v {
        Value::Int(n) => Some(Span::seconds(*n)),
        _ => None,
    };
    Ok(match row(tx, POLICY, name)?.as_deref() {
        Some([Value::Text(class), notice, incident, every, unobserved]) => Policy {
            class: Class::parse(class).unwrap_or(Class::Leaf),
            notice: span(notice),
            incident: span(incident),
            interval: span(every),
            unobserved_after: span(unobserved),
        },
        _ => Policy::default(),
    })
}

/// A team's contacts (JSON) and its escalation contact's team.
pub fn contacts(tx: &mut Tx<'_>, team: &str) -> Result<Option<(String, String)>> {
    Ok(match row(tx, TEAM, team)?.as_deref() {
        Some([Value::Text(contacts), Value::Text(escalation)]) => Some((contacts.clone(), escalation.clone())),
        _ => None,
    })
}

/// The team of a service.
pub fn service_team(tx: &mut Tx<'_>, service: &str) -> Result<Option<String>> {
    Ok(match row(tx, SERVICE, service)?.as_deref() {
        Some([Value::Text(team), ..]) => Some(team.clone()),
        _ => None,
    })
}

/// PEM of a set of private roots.
pub fn roots(tx: &mut Tx<'_>, name: &str) -> Result<Option<String>> {
    Ok(match row(tx, ROOTS, name)?.as_deref() {
        Some([Value::Text(pem)]) => Some(pem.clone()),
        _ => None,
    })
}

/// When a vantage last reported.
pub fn vantage_seen(tx: &mut Tx<'_>, name: &str, now: Time) -> Result<bool> {
    Ok(tx.execute("UPDATE vantage SET seen_at = $2 WHERE name = $1 AND retired_at IS NULL", &[name.into(), now.into()])? == 1)
}

/// A setting of the inventory file.
pub fn setting(tx: &mut Tx<'_>, name: &str) -> Result<Option<String>> {
    tx.query_opt("SELECT value FROM setting WHERE name = $1", &[name.into()])?.map(|r| Ok(r.text(0)?.to_owned())).transpose()
}

/// Writes a setting of the inventory file.
pub fn put_setting(tx: &mut Tx<'_>, name: &str, value: &str) -> Result<()> {
    tx.execute(
        "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        &[name.into(), value.into()],
    )?;
    Ok(())
}
