//! The paths that targets may answer with, once each, and production as a whole in columns.

use super::fingerprint;
use crate::{Result, Row, StoreError, Tx, Value};
use aws_lc_rs::digest::{Context, SHA256};
use domain::{
    Fingerprint,
    blast::{Builder, Path, Place, Snapshot},
    words::TargetId,
};
use std::collections::BTreeSet;

/// What is counted as production, of the table of targets.
const PRODUCTION: &str = "t.production = 1 AND t.state IN ('active', 'drained') AND t.retired_at IS NULL";

/// SHA-256 over the columns of a path, each with its length before it.
fn hash(p: &Path) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    let mut put = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    let above = |f: &Option<Fingerprint>| f.map_or_else(Vec::new, |f| f.as_bytes().to_vec());
    put(p.leaf.as_bytes());
    put(p.leaf_key.as_bytes());
    put(&above(&p.intermediate));
    put(&above(&p.root));
    put(p.leaf_name.as_bytes());
    put(p.issuer_name.as_bytes());
    put(p.root_name.as_bytes());
    put(&p.not_before.unix().to_be_bytes());
    put(&p.not_after.unix().to_be_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Writes which paths a target may answer with. Nothing is written where that is what is known; says whether something was.
pub fn replace(tx: &mut Tx<'_>, target: TargetId, paths: &BTreeSet<Path>) -> Result<bool> {
    let sql = "SELECT p.hash, p.id FROM target_path t JOIN path p ON p.id = t.path_id WHERE t.target_id = $1 ORDER BY p.id";
    let mut known = Vec::new();
    for r in tx.query(sql, &[target.0.into()])? {
        known.push((r.bytes(0)?.to_vec(), r.int(1)?));
    }
    // In one order, so that two targets never wait for each other.
    let wanted: std::collections::BTreeMap<[u8; 32], &Path> = paths.iter().map(|p| (hash(p), p)).collect();
    let mut changed = false;
    for (_, gone) in known.iter().filter(|(hash, _)| !wanted.keys().any(|w| w == hash.as_slice())) {
        tx.execute("DELETE FROM target_path WHERE target_id = $1 AND path_id = $2", &[target.0.into(), (*gone).into()])?;
        changed = true;
    }
    for (hash, path) in wanted.iter().filter(|(hash, _)| !known.iter().any(|(k, _)| k == hash)) {
        let id = intern(tx, hash, path)?;
        tx.execute("INSERT INTO target_path (target_id, path_id) VALUES ($1, $2)", &[target.0.into(), id.into()])?;
        changed = true;
    }
    Ok(changed)
}

/// The number of a path, which stays until this transaction ends: whoever lets go of paths waits for it.
fn intern(tx: &mut Tx<'_>, hash: &[u8; 32], p: &Path) -> Result<i64> {
    let sql = format!("SELECT id FROM path WHERE hash = $1 {}", tx.keep_row());
    if let Some(row) = tx.query_opt(&sql, &[(*hash).into()])? {
        return row.int(0);
    }
    let id = tx.next_id("path")?;
    let above = |f: Option<Fingerprint>| f.map_or(Value::Null, |f| (*f.as_bytes()).into());
    let row = tx.query_one(
        "INSERT INTO path (id, hash, leaf, leaf_key, intermediate, root, leaf_name, issuer_name, root_name, not_before, not_after) \
         VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11) ON CONFLICT (hash) DO UPDATE SET hash = excluded.hash RETURNING id",
        &[
            id.into(),
            (*hash).into(),
            (*p.leaf.as_bytes()).into(),
            (*p.leaf_key.as_bytes()).into(),
            above(p.intermediate),
            above(p.root),
            (&p.leaf_name).into(),
            (&p.issuer_name).into(),
            (&p.root_name).into(),
            p.not_before.into(),
            p.not_after.into(),
        ],
    )?;
    row.int(0)
}

/// The paths of a target.
pub fn of_target(tx: &mut Tx<'_>, target: TargetId) -> Result<Vec<Path>> {
    let sql = format!("SELECT {COLUMNS} FROM path p WHERE p.id IN (SELECT path_id FROM target_path WHERE target_id = $1) ORDER BY p.id");
    tx.query(&sql, &[target.0.into()])?.iter().map(from_row).collect()
}

/// A path by its number, for its names.
pub fn get(tx: &mut Tx<'_>, id: i64) -> Result<Option<Path>> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM path p WHERE p.id = $1"), &[id.into()])?.as_ref().map(from_row).transpose()
}

const COLUMNS: &str = "p.leaf, p.leaf_key, p.intermediate, p.root, p.leaf_name, p.issuer_name, p.root_name, p.not_before, p.not_after";

fn print(r: &Row, column: usize) -> Result<Fingerprint> {
    fingerprint(r, column)?.ok_or_else(|| StoreError::Corrupt { what: String::from("a path without a leaf") })
}

fn from_row(r: &Row) -> Result<Path> {
    Ok(Path {
        leaf: print(r, 0)?,
        leaf_key: print(r, 1)?,
        intermediate: fingerprint(r, 2)?,
        root: fingerprint(r, 3)?,
        leaf_name: r.text(4)?.into(),
        issuer_name: r.text(5)?.into(),
        root_name: r.text(6)?.into(),
        not_before: r.time(7)?,
        not_after: r.time(8)?,
    })
}

/// Production as it stands, or what of it belongs to one service: a target's own, or its secret's where it names none. Rows are
/// streamed and few columns of them kept.
pub fn snapshot(tx: &mut Tx<'_>, service: Option<&str>) -> Result<Snapshot> {
    let mut it = Builder::default();
    if service == Some("") {
        return Ok(it.finish(Vec::new()));
    }
    let params: Vec<Value> = service.iter().map(|s| Value::from(*s)).collect();
    // Which targets, in two halves for one service: each half is a walk along an index.
    let halves: &[&str] = match service {
        None => &[""],
        Some(_) => &[
            "AND t.service = $1",
            "AND t.service = '' AND t.secret_id IN (SELECT s.id FROM secret s WHERE s.service <> '' AND s.service = $1)",
        ],
    };

    let path_ids = paths(tx, &mut it, halves, &params)?;
    let owners = owners(tx, &mut it, service)?;
    for half in halves {
        let sql = format!(
            "SELECT t.id, t.secret_id, t.service, t.region, t.stamp, t.served_kind, t.served_until FROM target t \
             WHERE {PRODUCTION} {half} ORDER BY t.service, t.region, t.stamp, t.id"
        );
        tx.for_each(&sql, &params, |r| {
            let secret = r.int(1)?;
            let service = match r.text(2)? {
                "" => owners.binary_search_by_key(&secret, |(id, _)| *id).map_or(0, |n| owners[n].1),
                name => it.service(name),
            };
            let place = Place { service, region: it.region(r.text(3)?), stamp: it.stamp(r.text(4)?) };
            it.target(r.int(0)?, secret, place, super::served(r.int(5)?, r.opt_int(6)?));
            Ok(())
        })?;
    }

    let mut by_id: Vec<(i64, u32)> = it.ids().iter().zip(0..).map(|(id, n)| (*id, n)).collect();
    by_id.sort_unstable();
    let mut serves = Vec::with_capacity(by_id.len());
    let mut link = |at: &mut usize, r: &Row| -> Result<()> {
        let (target, path) = (r.int(0)?, r.int(1)?);
        while by_id.get(*at).is_some_and(|(id, _)| *id < target) {
            *at += 1;
        }
        // Rows of targets that are no production have none.
        if let (Some((id, n)), Ok(path)) = (by_id.get(*at), path_ids.binary_search(&path))
            && *id == target
        {
            serves.push((*n, path as u32));
        }
        Ok(())
    };
    for half in halves {
        let mut at = 0;
        let sql = match service {
            None => String::from("SELECT target_id, path_id FROM target_path ORDER BY target_id, path_id"),
            Some(_) => format!(
                "SELECT l.target_id, l.path_id FROM target t JOIN target_path l ON l.target_id = t.id WHERE {PRODUCTION} {half} \
                 ORDER BY l.target_id, l.path_id"
            ),
        };
        tx.for_each(&sql, &params, |r| link(&mut at, &r))?;
    }
    Ok(it.finish(serves))
}

/// Adds the paths, and says their numbers in the store, in order.
fn paths(tx: &mut Tx<'_>, it: &mut Builder, halves: &[&str], params: &[Value]) -> Result<Vec<i64>> {
    let which = match params {
        [] => String::new(),
        _ => {
            let half =
                |half: &&str| format!("SELECT l.path_id FROM target t JOIN target_path l ON l.target_id = t.id WHERE {PRODUCTION} {half}");
            format!("WHERE p.id IN ({})", halves.iter().map(half).collect::<Vec<_>>().join(" UNION "))
        }
    };
    let mut ids = Vec::new();
    let sql =
        format!("SELECT p.id, p.leaf, p.leaf_key, p.intermediate, p.root, p.not_before, p.not_after FROM path p {which} ORDER BY p.id");
    tx.for_each(&sql, params, |r| {
        ids.push(r.int(0)?);
        let prints = [Some(print(&r, 1)?), Some(print(&r, 2)?), fingerprint(&r, 3)?, fingerprint(&r, 4)?];
        it.path(r.int(0)?, prints, r.time(5)?, r.time(6)?);
        Ok(())
    })?;
    Ok(ids)
}

/// The services of secrets, for targets that name none; in the order of the secrets' numbers.
fn owners(tx: &mut Tx<'_>, it: &mut Builder, service: Option<&str>) -> Result<Vec<(i64, u32)>> {
    let mut owners = Vec::new();
    let (sql, params): (&str, &[Value]) = match service {
        None => ("SELECT service, id FROM secret WHERE service <> '' ORDER BY service, id", &[]),
        Some(name) => ("SELECT service, id FROM secret WHERE service <> '' AND service = $1 ORDER BY service, id", &[name.into()]),
    };
    tx.for_each(sql, params, |r| {
        owners.push((r.int(1)?, it.service(r.text(0)?)));
        Ok(())
    })?;
    owners.sort_unstable();
    Ok(owners)
}

const UNNAMED: &str = "NOT EXISTS (SELECT 1 FROM target_path l WHERE l.path_id = path.id)";

/// Paths behind a number that no target may answer with any more.
pub(super) fn unnamed(tx: &mut Tx<'_>, after: i64, limit: i64) -> Result<Vec<i64>> {
    let sql = format!("SELECT id FROM path WHERE id > $1 AND {UNNAMED} ORDER BY id LIMIT $2");
    tx.query(&sql, &[after.into(), limit.into()])?.iter().map(|r| r.int(0)).collect()
}

/// Forgets a path, where that still holds. Says how many.
pub(super) fn forget(tx: &mut Tx<'_>, id: i64) -> Result<u64> {
    // Taken first: who has just named it has committed by then, and the second statement sees that.
    let sql = format!("SELECT id FROM path WHERE id = $1 {}", tx.take_row());
    match tx.query_opt(&sql, &[id.into()])? {
        Some(_) => tx.execute(&format!("DELETE FROM path WHERE id = $1 AND {UNNAMED}"), &[id.into()]),
        None => Ok(0),
    }
}
