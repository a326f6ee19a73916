//! What still has to be told, and how telling it went.

use crate::{Result, Row, Tx};
use domain::{Time, words::IncidentId};

/// A message that still has to be delivered to one contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its number; also the identity that receivers see when it comes twice.
    pub id: i64,
    /// Messages of one line (subject and contact) are sent in order.
    pub line: String,
    /// To which team.
    pub team: String,
    /// The contact, as JSON.
    pub channel: String,
    /// The message, as JSON.
    pub message: String,
    /// When it was decided.
    pub created_at: Time,
    /// When it is due.
    pub due_at: Time,
    /// How often it was tried.
    pub attempts: i64,
    /// [`WAITING`], [`DELIVERED`], [`REFUSED`], [`SUPERSEDED`], [`UNDELIVERABLE`] or [`CONTACT_REMOVED`].
    pub state: String,
    /// About which incident.
    pub incident: Option<IncidentId>,
}

/// It still has to be sent.
pub const WAITING: &str = "waiting";
/// The receiver took it.
pub const DELIVERED: &str = "delivered";
/// The receiver will never take it.
pub const REFUSED: &str = "refused";
/// A later message of its line says what it would have said, and more.
pub const SUPERSEDED: &str = "superseded";
/// It was tried for as long as messages are tried.
pub const UNDELIVERABLE: &str = "undeliverable";
/// Its contact left the inventory.
pub const CONTACT_REMOVED: &str = "contact-removed";

const OUTGOING: &str = "id, line, team, channel, message, created_at, due_at, attempts, state, incident_id";

fn outgoing(r: &Row) -> Result<Outgoing> {
    Ok(Outgoing {
        id: r.int(0)?,
        line: r.text(1)?.into(),
        team: r.text(2)?.into(),
        channel: r.text(3)?.into(),
        message: r.text(4)?.into(),
        created_at: r.time(5)?,
        due_at: r.time(6)?,
        attempts: r.int(7)?,
        state: r.text(8)?.into(),
        incident: Some(r.int(9)?).filter(|i| *i != 0).map(IncidentId),
    })
}

/// A message for one contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct New<'a> {
    /// Messages of one line (subject and contact) are sent in order.
    pub line: &'a str,
    /// To which team.
    pub team: &'a str,
    /// The contact, as JSON.
    pub channel: &'a str,
    /// The message, as JSON.
    pub message: &'a str,
    /// About which incident.
    pub incident: Option<IncidentId>,
}

/// Puts a message into the outbox.
pub fn send(tx: &mut Tx<'_>, new: &New<'_>, now: Time) -> Result<i64> {
    let id = tx.next_id("outbox")?;
    tx.execute(
        "INSERT INTO outbox (id, line, team, channel, message, created_at, due_at, attempts, state, incident_id) \
         VALUES ($1,$2,$3,$4,$5,$6,$6,0,'waiting',$7)",
        &[
            id.into(),
            new.line.into(),
            new.team.into(),
            new.channel.into(),
            new.message.into(),
            now.into(),
            new.incident.map_or(0, |i| i.0).into(),
        ],
    )?;
    Ok(id)
}

/// What waits in a line, the first to be sent first.
pub fn waiting_in_line(tx: &mut Tx<'_>, line: &str) -> Result<Vec<Outgoing>> {
    let sql = format!("SELECT {OUTGOING} FROM outbox WHERE line = $1 AND state = 'waiting' ORDER BY id");
    tx.query(&sql, &[line.into()])?.iter().map(outgoing).collect()
}

/// Closes a message that waits without an attempt.
pub fn close(tx: &mut Tx<'_>, id: i64, state: &str, now: Time) -> Result<()> {
    let sql = "UPDATE outbox SET state = $2, due_at = $3, done_at = $3 WHERE id = $1 AND state = 'waiting'";
    tx.execute(sql, &[id.into(), state.into(), now.into()])?;
    Ok(())
}

/// Whether a line was ever given this very message.
pub fn was_sent(tx: &mut Tx<'_>, line: &str, message: &str) -> Result<bool> {
    let sql = "SELECT id FROM outbox WHERE line = $1 AND message = $2 ORDER BY id LIMIT 1";
    Ok(tx.query_opt(sql, &[line.into(), message.into()])?.is_some())
}

/// The teams that were told about an incident.
pub fn teams_told(tx: &mut Tx<'_>, incident: IncidentId) -> Result<Vec<String>> {
    let sql = "SELECT DISTINCT team FROM outbox WHERE incident_id = $1 ORDER BY team";
    tx.query(sql, &[incident.0.into()])?.iter().map(|r| Ok(r.text(0)?.to_owned())).collect()
}

/// Takes due messages, at most one per line and only the first of it, and puts them off until `again`, so that nobody else takes
/// them meanwhile and a crash only delays them.
pub fn claim(tx: &mut Tx<'_>, now: Time, again: Time, limit: i64) -> Result<Vec<Outgoing>> {
    let sql = format!(
        "UPDATE outbox SET due_at = $2, attempts = attempts + 1 WHERE id IN (\
         SELECT o.id FROM outbox o WHERE o.state = 'waiting' AND o.due_at <= $1 AND NOT EXISTS (\
         SELECT 1 FROM outbox e WHERE e.line = o.line AND e.state = 'waiting' AND e.id < o.id) ORDER BY o.due_at, o.id LIMIT $3 {}) \
         RETURNING {OUTGOING}",
        tx.skip_locked()
    );
    let mut due: Vec<Outgoing> = tx.query(&sql, &[now.into(), again.into(), limit.into()])?.iter().map(outgoing).collect::<Result<_>>()?;
    due.sort_by_key(|o| o.id);
    Ok(due)
}

/// Writes down one attempt, and what becomes of the message.
pub fn attempted(tx: &mut Tx<'_>, o: &Outgoing, ok: bool, state: &str, due_at: Time, detail: &str, now: Time) -> Result<()> {
    let done: Option<Time> = (state != "waiting").then_some(now);
    tx.execute(
        // A late answer to a claim that has run out says nothing about what became of the message since.
        "UPDATE outbox SET state = $2, due_at = $3, done_at = $4 WHERE id = $1 AND state = 'waiting' AND attempts = $5",
        &[o.id.into(), state.into(), due_at.into(), done.into(), o.attempts.into()],
    )?;
    let delivery = tx.next_id("delivery")?;
    tx.execute(
        "INSERT INTO delivery (id, outbox_id, at, ok, detail) VALUES ($1,$2,$3,$4,$5)",
        &[delivery.into(), o.id.into(), now.into(), ok.into(), detail.into()],
    )?;
    Ok(())
}

/// When the next message is due.
pub fn next_due(tx: &mut Tx<'_>) -> Result<Option<Time>> {
    tx.query_one("SELECT min(due_at) FROM outbox WHERE state = 'waiting'", &[])?.opt_time(0)
}

/// Messages that wait, and of those the ones that failed at least `attempts` times.
pub fn waiting(tx: &mut Tx<'_>, attempts: i64) -> Result<(i64, i64)> {
    let r = tx.query_one(
        "SELECT count(*), CAST(coalesce(sum(CASE WHEN attempts >= $1 THEN 1 ELSE 0 END), 0) AS BIGINT) FROM outbox WHERE state = 'waiting'",
        &[attempts.into()],
    )?;
    Ok((r.int(0)?, r.int(1)?))
}

/// A team with messages that do not reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// The team.
    pub team: String,
    /// Messages that are still tried.
    pub tried: i64,
    /// Messages that are not.
    pub lost: i64,
}

/// Teams with messages that failed at least `attempts` times and are still tried, or that ended undelivered since a moment.
pub fn failing(tx: &mut Tx<'_>, attempts: i64, since: Time) -> Result<Vec<Failing>> {
    // What is done was due for the last time when it was done.
    let sql = "SELECT team, CAST(sum(CASE WHEN state = 'waiting' THEN 1 ELSE 0 END) AS BIGINT), \
               CAST(sum(CASE WHEN state = 'waiting' THEN 0 ELSE 1 END) AS BIGINT) FROM outbox \
               WHERE (state = 'waiting' AND attempts >= $1) OR (state IN ('refused', 'undeliverable') AND due_at >= $2) \
               GROUP BY team ORDER BY team";
    tx.query(sql, &[attempts.into(), since.into()])?
        .iter()
        .map(|r| Ok(Failing { team: r.text(0)?.into(), tried: r.int(1)?, lost: r.int(2)? }))
        .collect()
}

/// The outbox, the newest first.
pub fn outbox(tx: &mut Tx<'_>, before: Option<i64>, limit: i64) -> Result<Vec<Outgoing>> {
    let sql = format!("SELECT {OUTGOING} FROM outbox WHERE id < $1 ORDER BY id DESC LIMIT $2");
    tx.query(&sql, &[before.unwrap_or(i64::MAX).into(), limit.into()])?.iter().map(outgoing).collect()
}

/// One attempt to tell somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// When.
    pub at: Time,
    /// Whether the receiver took it.
    pub ok: bool,
    /// What it said.
    pub detail: String,
}

/// The attempts of a message, the newest first.
pub fn deliveries(tx: &mut Tx<'_>, outbox: i64, limit: i64) -> Result<Vec<Delivery>> {
    let sql = "SELECT at, ok, detail FROM delivery WHERE outbox_id = $1 ORDER BY id DESC LIMIT $2";
    tx.query(sql, &[outbox.into(), limit.into()])?
        .iter()
        .map(|r| Ok(Delivery { at: r.time(0)?, ok: r.bool(1)?, detail: r.text(2)?.into() }))
        .collect()
}

/// The latest message of each line that begins with a text.
pub fn latest_of_lines(tx: &mut Tx<'_>, prefix: &str) -> Result<Vec<Outgoing>> {
    // Lines are compared byte by byte, so everything with the prefix lies between it and the prefix with the highest end.
    let sql = format!(
        "SELECT {OUTGOING} FROM outbox WHERE id IN (SELECT max(id) FROM outbox WHERE line >= $1 AND line < $2 GROUP BY line) ORDER BY id"
    );
    tx.query(&sql, &[prefix.into(), format!("{prefix}\u{10ffff}").into()])?.iter().map(outgoing).collect()
}
