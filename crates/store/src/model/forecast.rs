//! What the forecast reads of targets, and what it said last.

use super::{fingerprint, served, target::PRODUCTION};
use crate::{Result, Row, Tx, Value};
use domain::{
    Fingerprint, Span, Time,
    forecast::{
        Cause,
        breach::{Breach, Remembered},
    },
    target::Served,
    words::{SecretId, TargetId},
};
use std::collections::BTreeMap;

/// A production target, as far as the forecast needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its number.
    pub id: TargetId,
    /// Its secret.
    pub secret: SecretId,
    /// Its region, empty for none.
    pub region: String,
    /// Its service, empty for the secret's.
    pub service: String,
    /// Until when it serves.
    pub served: Served,
    /// What ends then.
    pub cause: Option<Cause>,
    /// Whether each required combination shows the newest version.
    pub current: bool,
    /// The oldest version that one of them shows, 0 where that is not known.
    pub shows: i64,
}

impl Seen {
    /// Whether another target of the same secret and region was seen to serve the same.
    pub fn serves_as(&self, other: &Seen) -> bool {
        (self.secret, self.served, self.cause) == (other.secret, other.served, other.cause)
            && (self.current, self.shows) == (other.current, other.shows)
            && (&self.region, &self.service) == (&other.region, &other.service)
    }
}

const COLUMNS: &str =
    "secret_id, region, served_kind, served_until, id, service, current, required, shows, ends_about, ends_position, ends_lifetime";

fn seen(r: &Row) -> Result<Seen> {
    let cause = match (fingerprint(r, 9)?, r.opt_int(10)?) {
        (Some(about), Some(position)) => {
            Some(Cause { about, position: position as usize, lifetime: Span::seconds(r.opt_int(11)?.unwrap_or(0)) })
        }
        _ => None,
    };
    Ok(Seen {
        id: TargetId(r.int(4)?),
        secret: SecretId(r.int(0)?),
        region: r.text(1)?.into(),
        service: r.text(5)?.into(),
        served: served(r.int(2)?, r.opt_int(3)?),
        cause,
        current: r.int(7)? > 0 && r.int(6)? == r.int(7)?,
        shows: r.int(8)?,
    })
}

/// The pass over targets, from one index alone.
pub const EACH: &str = "SELECT secret_id, region, served_kind, served_until, id, service, current, required, shows, ends_about, ends_position, \
     ends_lifetime FROM target WHERE secret_id > $1 AND secret_id <= $2 AND production = 1 AND state IN ('active', 'drained') \
     AND retired_at IS NULL ORDER BY secret_id, region, served_kind, served_until, id";

/// Hands over the production targets of the secrets behind `after` and up to `last`, those of one secret after the other, from one
/// index and in bounded memory.
///
/// # Errors
/// What `each` says, or whatever the database refuses.
pub fn each_between(tx: &mut Tx<'_>, after: SecretId, last: SecretId, mut each: impl FnMut(Seen) -> Result<()>) -> Result<()> {
    tx.for_each(EACH, &[after.0.into(), last.0.into()], |r| each(seen(&r)?))
}

/// The first region of a secret behind another that has production targets.
///
/// # Errors
/// Whatever the database refuses.
pub fn region_after(tx: &mut Tx<'_>, secret: SecretId, after: Option<&str>) -> Result<Option<String>> {
    let behind = if after.is_some() { "AND region > $2" } else { "" };
    let sql = format!(
        "SELECT region FROM target WHERE secret_id = $1 AND {PRODUCTION} AND retired_at IS NULL {behind} ORDER BY region, id LIMIT 1"
    );
    let mut params: Vec<Value> = vec![secret.0.into()];
    params.extend(after.map(Value::from));
    tx.query_opt(&sql, &params)?.map(|r| Ok(r.text(0)?.to_owned())).transpose()
}

/// The target of a secret in a region that serves shortest among those of one kind: 0 never observed, 1 broken, 2 observed to serve
/// longer than until `behind`.
///
/// # Errors
/// Whatever the database refuses.
pub fn first_in_region(tx: &mut Tx<'_>, secret: SecretId, region: &str, kind: i64, behind: Time) -> Result<Option<Seen>> {
    let later = if kind == 2 { "AND served_until > $4" } else { "" };
    let sql = format!(
        "SELECT {COLUMNS} FROM target WHERE secret_id = $1 AND region = $2 AND served_kind = $3 AND {PRODUCTION} AND retired_at IS NULL \
         {later} ORDER BY served_until, id LIMIT 1"
    );
    let mut params: Vec<Value> = vec![secret.0.into(), region.into(), kind.into()];
    params.extend((kind == 2).then(|| Value::from(behind)));
    tx.query_opt(&sql, &params)?.as_ref().map(seen).transpose()
}

/// What the forecast needs of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its number.
    pub id: SecretId,
    /// Its name.
    pub name: String,
    /// Its service, empty for none.
    pub service: String,
    /// The number of its newest version, 0 for none.
    pub newest: i64,
    /// Whether it renews itself on a way that was seen to work, and rides no releases.
    pub automatic: bool,
}

/// Secrets behind a number, with their owners' facts, in the order of their numbers; retired ones too, as targets of theirs may stand.
///
/// # Errors
/// Whatever the database refuses.
pub fn owners(tx: &mut Tx<'_>, after: SecretId, limit: i64) -> Result<Vec<Owner>> {
    let sql = "SELECT id, name, service, newest_version, \
               CASE WHEN renewal = 'automatic' AND release_bound = 0 AND completed_unaided = 1 THEN 1 ELSE 0 END \
               FROM secret WHERE id > $1 ORDER BY id LIMIT $2";
    tx.query(sql, &[after.0.into(), limit.into()])?
        .iter()
        .map(|r| {
            Ok(Owner {
                id: SecretId(r.int(0)?),
                name: r.text(1)?.into(),
                service: r.text(2)?.into(),
                newest: r.int(3)?,
                automatic: r.bool(4)?,
            })
        })
        .collect()
}

/// Name and stamp of a target.
///
/// # Errors
/// Whatever the database refuses.
pub fn name_of(tx: &mut Tx<'_>, target: TargetId) -> Result<(String, String)> {
    let row = tx.query_opt("SELECT name, stamp FROM target WHERE id = $1", &[target.0.into()])?;
    row.map_or(Ok((String::new(), String::new())), |r| Ok((r.text(0)?.to_owned(), r.text(1)?.to_owned())))
}

/// How many targets count for runway, and how many that are not retired do not.
///
/// # Errors
/// Whatever the database refuses.
pub fn production(tx: &mut Tx<'_>) -> Result<(i64, i64)> {
    let sql = "SELECT CAST(COALESCE(sum(production), 0) AS BIGINT), CAST(COALESCE(sum(n), 0) AS BIGINT) FROM target_tally";
    let row = tx.query_one(sql, &[])?;
    Ok((row.int(0)?, row.int(1)? - row.int(0)?))
}

const ROW: &str = "region, breaks_at, about, position, release_id, served_until, unknown, first_at, breach, instead_of, rescue, next_at";

fn remembered(r: &Row, first: usize) -> Result<(String, Remembered)> {
    let breach = match r.bool(first + 8)? {
        true => Some(Breach { instead_of: r.opt_time(first + 9)?, rescue: r.text(first + 10)?.into() }),
        false => None,
    };
    let it = Remembered {
        breaks_at: r.opt_time(first + 1)?,
        about: fingerprint(r, first + 2)?,
        position: r.opt_int(first + 3)?.map(|p| p as usize),
        rests_on: Some(r.int(first + 4)?).filter(|id| *id != 0),
        served_until: r.opt_time(first + 5)?,
        unknown: r.bool(first + 6)?,
        first_at: r.time(first + 7)?,
        breach,
        next: r.opt_time(first + 11)?,
    };
    Ok((r.text(first)?.into(), it))
}

/// What was said of a secret last, by region.
///
/// # Errors
/// Whatever the database refuses.
pub fn of_secret(tx: &mut Tx<'_>, secret: SecretId) -> Result<Vec<(String, Remembered)>> {
    Ok(of_between(tx, secret, secret)?.remove(&secret).unwrap_or_default())
}

/// The same of the secrets between two numbers.
///
/// # Errors
/// Whatever the database refuses.
pub fn of_between(tx: &mut Tx<'_>, first: SecretId, last: SecretId) -> Result<BTreeMap<SecretId, Vec<(String, Remembered)>>> {
    let sql = format!("SELECT secret_id, {ROW} FROM forecast WHERE secret_id >= $1 AND secret_id <= $2 ORDER BY secret_id, region");
    let mut all: BTreeMap<SecretId, Vec<(String, Remembered)>> = BTreeMap::new();
    tx.for_each(&sql, &[first.0.into(), last.0.into()], |r| {
        all.entry(SecretId(r.int(0)?)).or_default().push(remembered(&r, 1)?);
        Ok(())
    })?;
    Ok(all)
}

/// Writes what is said now.
///
/// # Errors
/// Whatever the database refuses.
pub fn put(tx: &mut Tx<'_>, secret: SecretId, region: &str, it: &Remembered, now: Time) -> Result<()> {
    let breach = it.breach.as_ref();
    tx.execute(
        &format!(
            "INSERT INTO forecast (secret_id, {ROW}, assessed_at) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14) \
             ON CONFLICT (secret_id, region) DO UPDATE SET breaks_at=excluded.breaks_at, about=excluded.about, position=excluded.position, \
             release_id=excluded.release_id, served_until=excluded.served_until, unknown=excluded.unknown, first_at=excluded.first_at, \
             breach=excluded.breach, instead_of=excluded.instead_of, rescue=excluded.rescue, next_at=excluded.next_at, \
             assessed_at=excluded.assessed_at"
        ),
        &[
            secret.0.into(),
            region.into(),
            it.breaks_at.into(),
            it.about.map(|a: Fingerprint| *a.as_bytes()).map_or(Value::Null, Value::from),
            it.position.map(|p| p as i64).into(),
            it.rests_on.unwrap_or(0).into(),
            it.served_until.into(),
            it.unknown.into(),
            it.first_at.into(),
            breach.is_some().into(),
            breach.and_then(|b| b.instead_of).into(),
            breach.map_or("", |b| &b.rescue).into(),
            it.next.into(),
            now.into(),
        ],
    )?;
    Ok(())
}

/// A version of a secret that a release carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The secret.
    pub secret: SecretId,
    /// The release.
    pub release: i64,
    /// The version.
    pub version: i64,
}

/// What is still to come: as in [`super::release::carried`].
const CARRIED: &str = "FROM release_item i WHERE i.secret_id > $1 AND i.secret_id <= $2 AND i.secret_id <> 0 AND i.open = 1 \
                       AND i.observed_at IS NULL AND i.version > 0";

/// What releases that are not over carry of the secrets behind `after` and up to `last`.
///
/// # Errors
/// Whatever the database refuses.
pub fn carried_between(tx: &mut Tx<'_>, after: SecretId, last: SecretId) -> Result<Vec<Item>> {
    let sql = format!("SELECT DISTINCT i.secret_id, i.release_id, i.version {CARRIED} ORDER BY i.secret_id, i.release_id, i.version");
    tx.query(&sql, &[after.0.into(), last.0.into()])?
        .iter()
        .map(|r| Ok(Item { secret: SecretId(r.int(0)?), release: r.int(1)?, version: r.int(2)? }))
        .collect()
}

/// A leaf of a carried version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The secret.
    pub secret: SecretId,
    /// The version.
    pub version: i64,
    /// `all`, or a region.
    pub scope: String,
    /// The leaf.
    pub leaf: Fingerprint,
    /// Its end.
    pub not_after: Time,
}

/// The leaves of those versions, in the order of their numbers.
///
/// # Errors
/// Whatever the database refuses.
pub fn leaves_between(tx: &mut Tx<'_>, after: SecretId, last: SecretId) -> Result<Vec<Leaf>> {
    let sql = format!(
        "SELECT n.secret_id, n.version, n.scope, n.leaf, n.not_after FROM (SELECT DISTINCT i.secret_id, i.version {CARRIED}) AS c \
         JOIN instance n ON n.secret_id = c.secret_id AND n.version = c.version AND n.key_type <> '' ORDER BY n.id"
    );
    tx.query(&sql, &[after.0.into(), last.0.into()])?
        .iter()
        .map(|r| {
            let leaf = fingerprint(r, 3)?.ok_or_else(|| crate::StoreError::Corrupt { what: "an instance without a leaf".into() })?;
            Ok(Leaf { secret: SecretId(r.int(0)?), version: r.int(1)?, scope: r.text(2)?.into(), leaf, not_after: r.time(4)? })
        })
        .collect()
}

/// Forgets whatever was said of a secret.
///
/// # Errors
/// Whatever the database refuses.
pub fn forget_all(tx: &mut Tx<'_>, secret: SecretId) -> Result<()> {
    tx.execute("DELETE FROM forecast WHERE secret_id = $1", &[secret.0.into()])?;
    Ok(())
}

/// Forgets a region in which a secret has no production target any more that was observed.
///
/// # Errors
/// Whatever the database refuses.
pub fn forget(tx: &mut Tx<'_>, secret: SecretId, region: &str) -> Result<()> {
    tx.execute("DELETE FROM forecast WHERE secret_id = $1 AND region = $2", &[secret.0.into(), region.into()])?;
    Ok(())
}
