//! The store as a whole: sweeps, the journal, copies.

use api::v1;
use axum::{extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::json as body;
use store::{
    journal::{self, Entry, Head},
    model::sweep as rows,
};

use super::{
    Answer,
    body::{Asked, Json},
    convert,
    findings::Paged,
    gate::{Call, Caller, Scope, Shared},
    json,
    limits::SWEEPS_SHOWN,
    openapi::{BackedUp, Backup},
    page::Cursor,
    permission::Permitted,
    problem::Problem,
    read,
};

pub(crate) async fn sweep(State(shared): State<Shared>, caller: Caller) -> Answer<v1::Sweep> {
    let work = |permitted: &Permitted, call: &Call| {
        let done = call.engine().sweep_once(true, &permitted.actor(), &call.tick)?;
        let busy = || Problem::new(StatusCode::CONFLICT, "sweep-under-way", "another sweep is under way; look at it with GET /v1/sweeps");
        Ok(convert::sweep(&done.ok_or_else(busy)?))
    };
    shared.run(caller, Scope::Store, work).await.map(json)
}

pub(crate) async fn sweeps(State(shared): State<Shared>, caller: Caller) -> Answer<Vec<v1::Sweep>> {
    let work = |call: &Call| call.read(|tx| Ok(rows::list(tx, SWEEPS_SHOWN)?.iter().map(convert::sweep).collect()));
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

pub(crate) async fn audit(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<Paged>) -> Answer<v1::Page<v1::AuditEntry>> {
    let paging = q.paging("audit")?;
    let work = move |call: &Call| {
        let rows = call.read(|tx| Ok(read::journal(tx, paging.pair(), paging.limit)?))?;
        paging.page(&rows, |e| Cursor(e.epoch, e.seq, String::new()), |e| Ok(e.clone()))
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Noted {
    head: Option<String>,
}

/// `GET /v1/audit/verify`. Only a head that was noted elsewhere shows that the end was not cut off.
pub(crate) async fn verify(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<Noted>) -> Answer<v1::AuditReport> {
    let bad = || Problem::bad("bad-query", "head is what an earlier verification gave: epoch:seq:hash");
    let noted = q.head.map(|text| head(&text).ok_or_else(bad)).transpose()?;
    let work = move |call: &Call| {
        let report = call.read(|tx| Ok(journal::verify(tx, noted.as_slice())?))?;
        let mut faults: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
        let untold = report.problem_count.saturating_sub(faults.len() as u64);
        if untold > 0 {
            faults.push(format!("and {untold} more"));
        }
        let hash = domain::Fingerprint::from_bytes(report.head.hash);
        Ok(v1::AuditReport {
            intact: faults.is_empty(),
            entries: report.entries,
            epochs: report.head.epoch.unsigned_abs(),
            faults,
            head: format!("{}:{}:{hash}", report.head.epoch, report.head.seq),
        })
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

fn head(text: &str) -> Option<Head> {
    let mut parts = text.splitn(3, ':');
    let (epoch, seq) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let hash = *domain::Fingerprint::parse(parts.next()?).ok()?.as_bytes();
    Some(Head { epoch, seq, hash })
}

/// `POST /v1/backup`: a copy into the server's own directory. It holds sealed bytes only.
pub(crate) async fn backup(State(shared): State<Shared>, caller: Caller, Json(wanted): Json<Backup>) -> Answer<BackedUp> {
    let work = move |permitted: &Permitted, call: &Call| {
        let now = call.tick.now;
        let Some(folder) = &call.shared.app.data_dir else {
            let detail = "this server has no data directory; a PostgreSQL database is backed up with its own tool, pg_dump";
            return Err(Problem::new(StatusCode::CONFLICT, "no-data-directory", detail));
        };
        let name = wanted.path.unwrap_or_else(|| format!("perennial-{}.backup.db", now.to_string().replace(':', "")));
        if !is_file_name(&name) {
            let detail = format!("{} is no plain file name; the copy goes into the server's data directory", pki::text::escape(&name));
            return Err(Problem::unprocessable("bad-path", detail));
        }
        let file = folder.join(&name);
        if file.exists() {
            return Err(Problem::new(StatusCode::CONFLICT, "file-exists", format!("{name} exists already; name a new file")));
        }
        let engine = call.engine();
        engine.store().backup(&file).map_err(|e| match e {
            store::StoreError::Other { what } => Problem::new(StatusCode::CONFLICT, "no-backup", what),
            other => other.into(),
        })?;
        let entry = Entry::new("store.backed-up", "store", "", &body!({ "file": name }));
        engine.store().write(&permitted.actor(), now, |tx| tx.journal(entry.clone()))?;
        Ok(BackedUp { file: file.display().to_string() })
    };
    shared.run(caller, Scope::Store, work).await.map(json)
}

/// No folders, no dots in front, nothing of the database itself.
fn is_file_name(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    plain
        && !name.is_empty()
        && name.len() <= 200
        && !name.starts_with('.')
        && !name.contains("..")
        && !name.ends_with("-wal")
        && !name.ends_with("-shm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_backups() {
        for (name, good) in [
            ("a.db", true),
            ("perennial-2026-11-22T193857Z.backup.db", true),
            ("", false),
            ("../a", false),
            ("a/b", false),
            ("/etc/passwd", false),
            (".hidden", false),
            ("a..b", false),
            ("a\\b", false),
            ("a.db-wal", false),
        ] {
            assert_eq!(is_file_name(name), good, "{name}");
        }
    }

    #[test]
    fn heads_as_they_were_given() {
        let hash = "ab".repeat(32);
        assert_eq!(head(&format!("1:7:{hash}")), Some(Head { epoch: 1, seq: 7, hash: [0xab; 32] }));
        for text in ["", "1:7", "1:7:ab", "x:7:00"] {
            assert_eq!(head(text), None, "{text}");
        }
    }
}
