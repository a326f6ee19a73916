//! The schema, brought forward one numbered file at a time; never back.

use aws_lc_rs::digest::{SHA256, digest};
use domain::Time;

use crate::{Result, Store, StoreError, Tx};

/// Every migration in order; number = position + 1. A released file never changes: its checksum is in every database.
const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_base", include_str!("../migrations/0001_base.sql")),
    ("0002_model", include_str!("../migrations/0002_model.sql")),
    ("0003_plan", include_str!("../migrations/0003_plan.sql")),
    ("0004_issuing", include_str!("../migrations/0004_issuing.sql")),
    ("0005_nodes", include_str!("../migrations/0005_nodes.sql")),
    ("0006_rollout", include_str!("../migrations/0006_rollout.sql")),
    ("0007_drill", include_str!("../migrations/0007_drill.sql")),
    ("0008_issuing_ages", include_str!("../migrations/0008_issuing_ages.sql")),
    ("0009_waves", include_str!("../migrations/0009_waves.sql")),
];

/// Key of the advisory lock that lets one process at a time change the schema ("perennia" in ASCII).
const LOCK: i64 = 0x7065_7265_6e6e_6961;

/// Applies what is missing, each file in a transaction of its own.
pub(crate) fn run(store: &Store, now: Time) -> Result<()> {
    while step(store, now, MIGRATIONS)? {}
    Ok(())
}

/// Applies the next file; false when none is missing.
fn step(store: &Store, now: Time, migrations: &[(&str, &str)]) -> Result<bool> {
    let mut tx = store.begin_write()?;
    if tx.is_postgres() {
        tx.query("SELECT CAST(pg_advisory_xact_lock($1) AS TEXT)", &[LOCK.into()])?;
    }
    let table = "CREATE TABLE IF NOT EXISTS schema_migration (
        number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum BLOB NOT NULL, applied_at INTEGER NOT NULL);";
    let table = dialect(table, tx.is_postgres());
    tx.batch(&table)?;
    let applied = tx.query("SELECT number, name, checksum FROM schema_migration ORDER BY number", &[])?;
    let supported = migrations.len() as i64;
    let found = applied.last().map_or(Ok(0), |row| row.int(0))?;
    if found > supported {
        return Err(StoreError::Newer { found, supported });
    }
    for (position, row) in applied.iter().enumerate() {
        let (name, sql) = migrations[position];
        if row.int(0)? != position as i64 + 1 || row.bytes(2)? != checksum(sql) {
            return Err(StoreError::corrupt(format!(
                "its schema step {} ({}) is not the {name} that this program applied",
                row.int(0)?,
                row.text(1)?
            )));
        }
    }
    let Some((name, sql)) = migrations.get(applied.len()) else {
        tx.finish()?;
        return Ok(false);
    };
    apply(&mut tx, applied.len() as i64 + 1, name, sql, now)?;
    tx.finish()?;
    tracing::info!(step = name, "database schema brought forward");
    Ok(true)
}

fn apply(tx: &mut Tx<'_>, number: i64, name: &str, sql: &str, now: Time) -> Result<()> {
    let text = dialect(sql, tx.is_postgres());
    tx.batch(&text).map_err(|error| match error {
        StoreError::Other { what } => StoreError::other(format!("schema step {name}: {what}")),
        other => other,
    })?;
    tx.execute(
        "INSERT INTO schema_migration (number, name, checksum, applied_at) VALUES ($1, $2, $3, $4)",
        &[number.into(), name.into(), checksum(sql).into(), now.into()],
    )?;
    Ok(())
}

fn checksum(sql: &str) -> Vec<u8> {
    digest(&SHA256, sql.as_bytes()).as_ref().to_vec()
}

/// The text of a schema in the words of one database.
///
/// SQLite gets STRICT tables, or a wrong type would pass there and fail in production. PostgreSQL gets its names for the three
/// types, text that compares byte by byte as SQLite's does, and a sequence for `id`. WITHOUT ROWID is for SQLite alone.
fn dialect(sql: &str, postgres: bool) -> String {
    let mut out = String::with_capacity(sql.len() + 256);
    for statement in statements(sql) {
        let mut text = statement.trim().to_owned();
        if text.is_empty() {
            continue;
        }
        if text.to_ascii_uppercase().starts_with("CREATE TABLE") {
            let rowid = text.ends_with("WITHOUT ROWID");
            let bare = text.trim_end_matches("WITHOUT ROWID").trim_end().to_owned();
            text = match (postgres, rowid) {
                (true, _) => bare,
                (false, true) => format!("{bare} STRICT, WITHOUT ROWID"),
                (false, false) => format!("{bare} STRICT"),
            };
        }
        out.push_str(&if postgres { types(&text) } else { text });
        out.push_str(";\n");
    }
    out
}

/// Statements without their semicolons and comments.
fn statements(sql: &str) -> Vec<String> {
    let mut statements = vec![String::new()];
    let mut quote = None;
    let mut rest = sql.chars().peekable();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (None, '-') if rest.peek() == Some(&'-') => {
                for skipped in rest.by_ref() {
                    if skipped == '\n' {
                        break;
                    }
                }
                last(&mut statements).push('\n');
                continue;
            }
            (None, ';') => {
                statements.push(String::new());
                continue;
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        last(&mut statements).push(c);
    }
    statements
}

fn last(statements: &mut Vec<String>) -> &mut String {
    if statements.is_empty() {
        statements.push(String::new());
    }
    let end = statements.len() - 1;
    &mut statements[end]
}

/// Replaces the type names outside of quotes.
fn types(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len() + 64);
    let (mut word, mut before) = (String::new(), String::new());
    let mut quote = None;
    for c in sql.chars().chain(std::iter::once(' ')) {
        if quote.is_none() && (c.is_ascii_alphanumeric() || c == '_') {
            word.push(c);
            continue;
        }
        out.push_str(match word.as_str() {
            // Makes the sequence that `Tx::next_id` takes numbers from.
            "INTEGER" if before == "id" => "BIGSERIAL",
            "INTEGER" => "BIGINT",
            "TEXT" => "TEXT COLLATE \"C\"",
            "BLOB" => "BYTEA",
            other => other,
        });
        if !word.is_empty() {
            before = std::mem::take(&mut word);
        }
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if open == c => quote = None,
            _ => {}
        }
        out.push(c);
    }
    out.pop();
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn one_text_becomes_two_dialects() {
        let sql = "-- a comment; with TEXT\nCREATE TABLE a (id INTEGER PRIMARY KEY, t TEXT DEFAULT 'TEXT; --', b BLOB);\n\
                   CREATE TABLE b (a_id INTEGER PRIMARY KEY) WITHOUT ROWID;\nCREATE INDEX i ON a (t);";
        assert_eq!(
            dialect(sql, false),
            "CREATE TABLE a (id INTEGER PRIMARY KEY, t TEXT DEFAULT 'TEXT; --', b BLOB) STRICT;\n\
             CREATE TABLE b (a_id INTEGER PRIMARY KEY) STRICT, WITHOUT ROWID;\nCREATE INDEX i ON a (t);\n"
        );
        assert_eq!(
            dialect(sql, true),
            "CREATE TABLE a (id BIGSERIAL PRIMARY KEY, t TEXT COLLATE \"C\" DEFAULT 'TEXT; --', b BYTEA);\n\
             CREATE TABLE b (a_id BIGINT PRIMARY KEY);\nCREATE INDEX i ON a (t);\n"
        );
    }

    #[test]
    fn migrations_are_numbered_by_their_names() {
        for (position, (name, _)) in MIGRATIONS.iter().enumerate() {
            assert!(name.starts_with(&format!("{:04}_", position + 1)), "{name} stands at position {position}");
        }
    }
}
