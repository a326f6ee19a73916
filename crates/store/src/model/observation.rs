//! The latest observation of each combination, every change of them, and the chains that were presented.

use super::{fingerprint, word};
use crate::{Result, Row, StoreError, Tx, Value};
use domain::{
    Fingerprint, Time,
    observation::{Change, Failing, Failure, Record, Sighting},
    words::{Blame, Combination, CombinationId, Method, Offer, TargetId},
};

const COLUMNS: &str = "id, address, vantage, server_name, offer, method, last_at, good_at, good_chain, good_leaf, others, \
     streak, streak_since, failing_since, failures, blame, retry, detail, expires_at, protocol, cipher";

/// An observation as stored: the record that the rules look at, and what people like to know besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// What the rules look at.
    pub record: Record,
    /// The TLS version negotiated at the latest success.
    pub protocol: String,
    /// The cipher suite negotiated at the latest success.
    pub cipher: String,
}

fn sighting(r: &Row, first: usize) -> Result<Option<Sighting>> {
    Ok(match (r.opt_time(first)?, fingerprint(r, first + 1)?, fingerprint(r, first + 2)?) {
        (Some(at), Some(chain), Some(leaf)) => Some(Sighting { at, chain, leaf }),
        _ => None,
    })
}

/// Other sightings as one column.
fn others_column(others: &[Sighting]) -> String {
    others.iter().map(|o| format!("{} {} {}\n", o.at.unix(), o.chain, o.leaf)).collect()
}

fn others(text: &str) -> Result<Vec<Sighting>> {
    let one = |line: &str| {
        let mut parts = line.split(' ');
        let at = parts.next()?.parse().ok()?;
        let mut fingerprint = || Fingerprint::parse(parts.next()?).ok();
        Some(Sighting { at: Time::from_unix(at), chain: fingerprint()?, leaf: fingerprint()? })
    };
    let bad = || StoreError::Corrupt { what: format!("the sightings {text:?}") };
    text.lines().map(|line| one(line).ok_or_else(bad)).collect()
}

/// Other chains that were seen after `now` were seen now ([`super::future`]).
pub(super) fn bring_back(tx: &mut Tx<'_>, now: Time) -> Result<u64> {
    let mut changed = 0;
    for row in tx.query("SELECT id, others FROM observation WHERE others <> '' ORDER BY id", &[])? {
        let mut seen = others(row.text(1)?)?;
        if seen.iter().all(|o| o.at <= now) {
            continue;
        }
        seen.iter_mut().for_each(|o| o.at = o.at.min(now));
        let params = [row.int(0)?.into(), others_column(&seen).into()];
        changed += tx.execute("UPDATE observation SET others = $2 WHERE id = $1", &params)?;
    }
    Ok(changed)
}

fn from_row(r: &Row) -> Result<Observation> {
    let failing = match r.opt_time(13)? {
        Some(since) => Some(Failing {
            since,
            count: u32::try_from(r.int(14)?).unwrap_or(u32::MAX),
            last: Failure { blame: word(r, 15, Blame::parse)?, retry: r.bool(16)?, detail: r.text(17)?.into() },
        }),
        None => None,
    };
    Ok(Observation {
        record: Record {
            id: CombinationId(r.int(0)?),
            combination: Combination {
                address: r.text(1)?.into(),
                vantage: r.text(2)?.into(),
                server_name: r.text(3)?.into(),
                offer: word(r, 4, Offer::parse)?,
                method: word(r, 5, Method::parse)?,
            },
            last_at: r.time(6)?,
            good: sighting(r, 7)?,
            others: others(r.text(10)?)?,
            streak: u32::try_from(r.int(11)?).unwrap_or(u32::MAX),
            streak_since: r.time(12)?,
            failing,
            expires_at: r.opt_time(18)?,
        },
        protocol: r.text(19)?.into(),
        cipher: r.text(20)?.into(),
    })
}

/// The observations of a target.
pub fn of_target(tx: &mut Tx<'_>, target: TargetId) -> Result<Vec<Observation>> {
    let sql = format!("SELECT {COLUMNS} FROM observation WHERE target_id = $1 ORDER BY id");
    tx.query(&sql, &[target.0.into()])?.iter().map(from_row).collect()
}

/// Writes an observation: a new one, or over the latest one of its combination.
pub fn put(tx: &mut Tx<'_>, target: TargetId, o: &Observation) -> Result<()> {
    let r = &o.record;
    let c = &r.combination;
    let seen = |s: Option<Sighting>| -> [Value; 3] {
        match s {
            Some(s) => [s.at.into(), (*s.chain.as_bytes()).into(), (*s.leaf.as_bytes()).into()],
            None => [Value::Null, Value::Null, Value::Null],
        }
    };
    let [good_at, good_chain, good_leaf] = seen(r.good);
    let f = r.failing.as_ref();
    tx.execute(
        "INSERT INTO observation (id, target_id, address, vantage, server_name, offer, method, last_at, good_at, good_chain, good_leaf, \
         others, streak, streak_since, failing_since, failures, blame, retry, detail, expires_at, protocol, \
         cipher) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22) \
         ON CONFLICT (id) DO UPDATE SET last_at=excluded.last_at, good_at=excluded.good_at, good_chain=excluded.good_chain, \
         good_leaf=excluded.good_leaf, others=excluded.others, \
         streak=excluded.streak, streak_since=excluded.streak_since, failing_since=excluded.failing_since, failures=excluded.failures, \
         blame=excluded.blame, retry=excluded.retry, detail=excluded.detail, expires_at=excluded.expires_at, \
         protocol=excluded.protocol, cipher=excluded.cipher",
        &[
            r.id.0.into(),
            target.0.into(),
            (&c.address).into(),
            (&c.vantage).into(),
            (&c.server_name).into(),
            c.offer.as_str().into(),
            c.method.as_str().into(),
            r.last_at.into(),
            good_at,
            good_chain,
            good_leaf,
            others_column(&r.others).into(),
            r.streak.into(),
            r.streak_since.into(),
            f.map(|f| f.since).into(),
            f.map_or(0, |f| f.count).into(),
            f.map_or("", |f| f.last.blame.as_str()).into(),
            f.is_some_and(|f| f.last.retry).into(),
            f.map_or("", |f| f.last.detail.as_str()).into(),
            r.expires_at.into(),
            (&o.protocol).into(),
            (&o.cipher).into(),
        ],
    )?;
    Ok(())
}

/// Asks for evidence anew at every combination of a target: a line was opened at `at` ([`Record::ask_again`]).
pub fn ask_again(tx: &mut Tx<'_>, target: TargetId, at: Time) -> Result<()> {
    tx.execute("UPDATE observation SET streak = 0, streak_since = $2 WHERE target_id = $1", &[target.0.into(), at.into()])?;
    Ok(())
}

/// Forgets a combination; its history stays.
pub fn forget(tx: &mut Tx<'_>, id: CombinationId) -> Result<()> {
    tx.execute("DELETE FROM observation WHERE id = $1", &[id.0.into()])?;
    Ok(())
}

/// Where something was observed of a target: for what is not dialled, its paths.
pub fn places(tx: &mut Tx<'_>, target: TargetId, limit: i64) -> Result<Vec<String>> {
    let sql = "SELECT DISTINCT address FROM observation WHERE target_id = $1 AND address <> '' ORDER BY address LIMIT $2";
    tx.query(sql, &[target.0.into(), limit.into()])?.iter().map(|r| Ok(r.text(0)?.to_owned())).collect()
}

/// The word of a change; [`Change::None`] is not kept.
pub fn change_word(change: Change) -> &'static str {
    match change {
        Change::None => "none",
        Change::First => "first",
        Change::Chain => "chain",
        Change::Failed => "failed",
        Change::Recovered => "recovered",
    }
}

/// Adds a change to the history.
pub fn insert_change(tx: &mut Tx<'_>, target: TargetId, o: &Observation, change: Change) -> Result<()> {
    let id = tx.next_id("observation_change")?;
    let r = &o.record;
    let good = if r.failing.is_none() { r.good } else { None };
    tx.execute(
        "INSERT INTO observation_change (id, observation_id, target_id, at, change, chain, leaf, detail) VALUES ($1,$2,$3,$4,$5,$6,$7,$8)",
        &[
            id.into(),
            r.id.0.into(),
            target.0.into(),
            r.last_at.into(),
            change_word(change).into(),
            good.map(|g| *g.chain.as_bytes()).into(),
            good.map(|g| *g.leaf.as_bytes()).into(),
            r.failing.as_ref().map_or("", |f| f.last.detail.as_str()).into(),
        ],
    )?;
    Ok(())
}

/// One line of a target's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRow {
    /// Its number.
    pub id: i64,
    /// Of which combination.
    pub observation: i64,
    /// When.
    pub at: Time,
    /// [`change_word`].
    pub change: String,
    /// What was presented since then.
    pub leaf: Option<Fingerprint>,
    /// Or why nothing was.
    pub detail: String,
}

/// A target's history, the newest first.
pub fn changes(tx: &mut Tx<'_>, target: TargetId, before: Option<i64>, limit: i64) -> Result<Vec<ChangeRow>> {
    let sql = "SELECT id, observation_id, at, change, leaf, detail FROM observation_change WHERE target_id = $1 AND id < $2 \
               ORDER BY id DESC LIMIT $3";
    tx.query(sql, &[target.0.into(), before.unwrap_or(i64::MAX).into(), limit.into()])?
        .iter()
        .map(|r| {
            Ok(ChangeRow {
                id: r.int(0)?,
                observation: r.int(1)?,
                at: r.time(2)?,
                change: r.text(3)?.into(),
                leaf: fingerprint(r, 4)?,
                detail: r.text(5)?.into(),
            })
        })
        .collect()
}

/// Keeps a presented chain, once.
pub fn keep_chain(tx: &mut Tx<'_>, hash: &Fingerprint, leaf: &Fingerprint, der: &[u8], now: Time) -> Result<()> {
    tx.execute(
        // What is not named any more is let go of after a while: that it was presented again is noted, so that nobody does so now.
        "INSERT INTO chain (hash, leaf, der, first_seen, kept_at) VALUES ($1, $2, $3, $4, $4) \
         ON CONFLICT (hash) DO UPDATE SET kept_at = excluded.kept_at WHERE chain.kept_at < excluded.kept_at - 86400",
        &[(*hash.as_bytes()).into(), (*leaf.as_bytes()).into(), der.into(), now.into()],
    )?;
    Ok(())
}

/// A presented chain, concatenated DER.
pub fn chain(tx: &mut Tx<'_>, hash: &Fingerprint) -> Result<Option<Vec<u8>>> {
    tx.query_opt("SELECT der FROM chain WHERE hash = $1", &[(*hash.as_bytes()).into()])?.map(|r| Ok(r.bytes(0)?.to_vec())).transpose()
}
