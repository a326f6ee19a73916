//! Incidents, their lines, reviews and corrective actions.

use super::{fingerprint, list, list_column, word};
use crate::{Result, Row, StoreError, Tx, Value};
use domain::{
    Fingerprint, Time,
    finding::Code,
    incident::{self, OpenLine, Past, RootCause, State},
    words::{IncidentId, SecretId, TargetId},
};

/// An incident as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// What its own way needs.
    pub facts: incident::Incident,
    /// The rule of its first line.
    pub code: Code,
    /// What people read first; escaped.
    pub title: String,
    /// Who acknowledged it.
    pub acknowledged_by: String,
    /// When it was acknowledged.
    pub acknowledged_at: Option<Time>,
    /// When users were no longer hurt.
    pub mitigated_at: Option<Time>,
    /// When it was resolved or retired.
    pub ended_at: Option<Time>,
    /// Every owner concerned.
    pub teams: Vec<String>,
    /// Every service concerned.
    pub services: Vec<String>,
    /// The earlier incident that this one repeats.
    pub repeats: Option<IncidentId>,
    /// From the fixed list, where reviewed.
    pub root_cause: Option<RootCause>,
    /// Own words for it.
    pub own_cause: String,
    /// The review's text.
    pub review: String,
    /// When it was reviewed.
    pub reviewed_at: Option<Time>,
    /// Whether lines changed since people were told.
    pub changed: bool,
    /// The teams that acknowledged it, and until when each of them is quiet.
    pub answered: Vec<(String, Time)>,
}

const COLUMNS: &str = "id, subject, code, title, state, opened_at, acknowledged_at, acknowledged_by, quiet_until, mitigated_at, ended_at, \
     told_at, escalated, page, broken, until, open_lines, proven_lines, retired_lines, teams, services, repeats, root_cause, own_cause, \
     review, reviewed_at, changed, answered";

fn from_row(r: &Row) -> Result<Incident> {
    Ok(Incident {
        facts: incident::Incident {
            id: IncidentId(r.int(0)?),
            subject: r.text(1)?.into(),
            state: word(r, 4, State::parse)?,
            opened_at: r.time(5)?,
            quiet_until: r.opt_time(8)?,
            told_at: r.time(11)?,
            escalated: r.bool(12)?,
            page: r.bool(13)?,
            broken: r.bool(14)?,
            until: r.opt_time(15)?,
            open_lines: r.int(16)? as u64,
            proven_lines: r.int(17)? as u64,
            retired_lines: r.int(18)? as u64,
        },
        code: word(r, 2, Code::parse)?,
        title: r.text(3)?.into(),
        acknowledged_at: r.opt_time(6)?,
        acknowledged_by: r.text(7)?.into(),
        mitigated_at: r.opt_time(9)?,
        ended_at: r.opt_time(10)?,
        teams: list(r.text(19)?)?,
        services: list(r.text(20)?)?,
        repeats: r.opt_int(21)?.map(IncidentId),
        root_cause: RootCause::parse(r.text(22)?),
        own_cause: r.text(23)?.into(),
        review: r.text(24)?.into(),
        reviewed_at: r.opt_time(25)?,
        changed: r.bool(26)?,
        answered: answered(r.text(27)?)?,
    })
}

fn answered(text: &str) -> Result<Vec<(String, Time)>> {
    let all: Vec<(String, i64)> =
        serde_json::from_str(text).map_err(|e| StoreError::Corrupt { what: format!("who acknowledged an incident: {e}") })?;
    Ok(all.into_iter().map(|(team, until)| (team, Time::from_unix(until))).collect())
}

fn answered_column(all: &[(String, Time)]) -> String {
    let all: Vec<_> = all.iter().map(|(team, until)| (team, until.unix())).collect();
    serde_json::to_string(&all).unwrap_or_else(|_| String::from("[]"))
}

/// Takes the incident's row.
pub fn lock(tx: &mut Tx<'_>, id: IncidentId) -> Result<Option<Incident>> {
    let sql = format!("UPDATE incident SET generation = generation + 1 WHERE id = $1 RETURNING {COLUMNS}");
    tx.query_opt(&sql, &[id.0.into()])?.as_ref().map(from_row).transpose()
}

/// One incident.
pub fn get(tx: &mut Tx<'_>, id: IncidentId) -> Result<Option<Incident>> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM incident WHERE id = $1"), &[id.0.into()])?.as_ref().map(from_row).transpose()
}

/// The latest incident of a subject, open or not.
pub fn latest_of(tx: &mut Tx<'_>, subject: &str) -> Result<Option<Incident>> {
    let sql = format!("SELECT {COLUMNS} FROM incident WHERE subject = $1 ORDER BY id DESC LIMIT 1");
    tx.query_opt(&sql, &[subject.into()])?.as_ref().map(from_row).transpose()
}

/// Incidents, the newest first: those that are open, or all.
pub fn list_page(tx: &mut Tx<'_>, only_open: bool, before: Option<i64>, limit: i64) -> Result<Vec<Incident>> {
    let open = if only_open { "AND state IN ('opened', 'acknowledged', 'mitigated')" } else { "" };
    let sql = format!("SELECT {COLUMNS} FROM incident WHERE id < $1 {open} ORDER BY id DESC LIMIT $2");
    tx.query(&sql, &[before.unwrap_or(i64::MAX).into(), limit.into()])?.iter().map(from_row).collect()
}

/// Wakes a loop for every incident that is not over.
pub fn wake_open(tx: &mut Tx<'_>, loop_name: &str, at: Time) -> Result<()> {
    crate::timer::set_earlier_for(tx, loop_name, "incident WHERE ended_at IS NULL", at)
}

/// How many incidents are open.
pub fn open_count(tx: &mut Tx<'_>) -> Result<i64> {
    tx.query_one("SELECT count(*) FROM incident WHERE state IN ('opened', 'acknowledged', 'mitigated')", &[])?.int(0)
}

/// Creates an incident or writes it whole.
pub fn put(tx: &mut Tx<'_>, i: &Incident) -> Result<()> {
    let f = &i.facts;
    tx.execute(
        &format!(
            "INSERT INTO incident ({COLUMNS}, generation) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,\
             $21,$22,$23,$24,$25,$26,$27,$28,0) \
             ON CONFLICT (id) DO UPDATE SET code=excluded.code, title=excluded.title, state=excluded.state, opened_at=excluded.opened_at, \
             acknowledged_at=excluded.acknowledged_at, acknowledged_by=excluded.acknowledged_by, quiet_until=excluded.quiet_until, \
             mitigated_at=excluded.mitigated_at, ended_at=excluded.ended_at, told_at=excluded.told_at, escalated=excluded.escalated, \
             page=excluded.page, broken=excluded.broken, until=excluded.until, open_lines=excluded.open_lines, \
             proven_lines=excluded.proven_lines, retired_lines=excluded.retired_lines, teams=excluded.teams, \
             services=excluded.services, repeats=excluded.repeats, root_cause=excluded.root_cause, own_cause=excluded.own_cause, \
             review=excluded.review, reviewed_at=excluded.reviewed_at, changed=excluded.changed, answered=excluded.answered"
        ),
        &[
            f.id.0.into(),
            (&f.subject).into(),
            i.code.as_str().into(),
            (&i.title).into(),
            f.state.as_str().into(),
            f.opened_at.into(),
            i.acknowledged_at.into(),
            (&i.acknowledged_by).into(),
            f.quiet_until.into(),
            i.mitigated_at.into(),
            i.ended_at.into(),
            f.told_at.into(),
            f.escalated.into(),
            f.page.into(),
            f.broken.into(),
            f.until.into(),
            (f.open_lines as i64).into(),
            (f.proven_lines as i64).into(),
            (f.retired_lines as i64).into(),
            list_column(&i.teams).into(),
            list_column(&i.services).into(),
            i.repeats.map(|r| r.0).into(),
            i.root_cause.map_or("", RootCause::as_str).into(),
            (&i.own_cause).into(),
            (&i.review).into(),
            i.reviewed_at.into(),
            i.changed.into(),
            answered_column(&i.answered).into(),
        ],
    )?;
    Ok(())
}

/// One target (or secret) of an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number.
    pub id: i64,
    /// Of which incident.
    pub incident: IncidentId,
    /// Of which secret.
    pub secret: SecretId,
    /// Which target; none for a line of the secret itself.
    pub target: Option<TargetId>,
    /// [`domain::finding::Finding::key`].
    pub key: String,
    /// Which rule.
    pub code: Code,
    /// The certificate that it is about.
    pub about: Option<Fingerprint>,
    /// When it becomes an outage.
    pub until: Option<Time>,
    /// Whether it already is one.
    pub broken: bool,
    /// The sentence.
    pub detail: String,
    /// Since when.
    pub opened_at: Time,
    /// When it closed.
    pub closed_at: Option<Time>,
    /// `observed`, `retired`, or empty while open.
    pub how: String,
    /// What it closed on: numbers of observations.
    pub evidence: String,
}

const LINE: &str = "id, incident_id, secret_id, target_id, key, code, about, until, broken, detail, opened_at, closed_at, how, evidence";

fn line(r: &Row) -> Result<Line> {
    Ok(Line {
        id: r.int(0)?,
        incident: IncidentId(r.int(1)?),
        secret: SecretId(r.int(2)?),
        target: Some(r.int(3)?).filter(|t| *t != 0).map(TargetId),
        key: r.text(4)?.into(),
        code: word(r, 5, Code::parse)?,
        about: fingerprint(r, 6)?,
        until: r.opt_time(7)?,
        broken: r.bool(8)?,
        detail: r.text(9)?.into(),
        opened_at: r.time(10)?,
        closed_at: r.opt_time(11)?,
        how: r.text(12)?.into(),
        evidence: r.text(13)?.into(),
    })
}

/// Creates a line or writes it whole.
pub fn put_line(tx: &mut Tx<'_>, l: &Line) -> Result<()> {
    let before = tx.query_opt("SELECT how FROM incident_line WHERE id = $1", &[l.id.into()])?;
    let before = before.map(|r| r.text(0).map(str::to_owned)).transpose()?;
    if before.as_ref() != Some(&l.how) {
        for (how, by) in [(before, -1), (Some(l.how.clone()), 1)] {
            let Some(how) = how else { continue };
            tx.execute(
                "INSERT INTO incident_line_tally (incident_id, how, n) VALUES ($1,$2,$3) \
                 ON CONFLICT (incident_id, how) DO UPDATE SET n = incident_line_tally.n + excluded.n",
                &[l.incident.0.into(), how.into(), i64::into(by)],
            )?;
        }
    }
    tx.execute(
        &format!(
            "INSERT INTO incident_line ({LINE}) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14) \
             ON CONFLICT (id) DO UPDATE SET until=excluded.until, broken=excluded.broken, detail=excluded.detail, \
             closed_at=excluded.closed_at, how=excluded.how, evidence=excluded.evidence"
        ),
        &[
            l.id.into(),
            l.incident.0.into(),
            l.secret.0.into(),
            l.target.map_or(0, |t| t.0).into(),
            (&l.key).into(),
            l.code.as_str().into(),
            l.about.map(|a| *a.as_bytes()).map_or(Value::Null, Value::from),
            l.until.into(),
            l.broken.into(),
            (&l.detail).into(),
            l.opened_at.into(),
            l.closed_at.into(),
            (&l.how).into(),
            (&l.evidence).into(),
        ],
    )?;
    Ok(())
}

/// Open lines of a target, in whichever incidents they lie.
pub fn open_lines_of_target(tx: &mut Tx<'_>, target: TargetId) -> Result<Vec<Line>> {
    let sql = format!("SELECT {LINE} FROM incident_line WHERE target_id = $1 AND closed_at IS NULL ORDER BY id");
    tx.query(&sql, &[target.0.into()])?.iter().map(line).collect()
}

/// Open lines of a secret itself.
pub fn open_lines_of_secret(tx: &mut Tx<'_>, secret: SecretId) -> Result<Vec<Line>> {
    let sql = format!(
        "SELECT {LINE} FROM incident_line WHERE secret_id = CAST($1 AS BIGINT) AND target_id = 0 AND closed_at IS NULL ORDER BY id"
    );
    tx.query(&sql, &[secret.0.into()])?.iter().map(line).collect()
}

/// The secrets that open lines of an incident are about, in the order of their numbers; 0 for what is about none.
pub fn open_secrets(tx: &mut Tx<'_>, id: IncidentId, limit: i64) -> Result<Vec<SecretId>> {
    let sql = "SELECT DISTINCT secret_id FROM incident_line WHERE incident_id = $1 AND closed_at IS NULL ORDER BY secret_id LIMIT $2";
    tx.query(sql, &[id.0.into(), limit.into()])?.iter().map(|r| Ok(SecretId(r.int(0)?))).collect()
}

/// The incidents in which a line of a secret or its targets is open, in the order of their numbers.
pub fn open_of(tx: &mut Tx<'_>, secret: SecretId) -> Result<Vec<IncidentId>> {
    let sql = "SELECT DISTINCT incident_id FROM incident_line WHERE secret_id = $1 AND closed_at IS NULL ORDER BY incident_id";
    tx.query(sql, &[secret.0.into()])?.iter().map(|r| Ok(IncidentId(r.int(0)?))).collect()
}

/// Whether a line of a secret or its targets is open.
pub fn has_open_lines(tx: &mut Tx<'_>, secret: SecretId) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM incident_line WHERE secret_id = $1 AND closed_at IS NULL)";
    tx.query_one(sql, &[secret.0.into()])?.bool(0)
}

/// Whether a line of a secret or its targets was open at some time since a moment.
pub fn any_line_since(tx: &mut Tx<'_>, secret: SecretId, since: Time) -> Result<bool> {
    let sql = "SELECT id FROM incident_line WHERE secret_id = $1 AND (closed_at IS NULL OR closed_at >= $2) ORDER BY id LIMIT 1";
    Ok(tx.query_opt(sql, &[secret.0.into(), since.into()])?.is_some())
}

/// Lines of an incident, in pages; the open ones alone, or all.
pub fn lines(tx: &mut Tx<'_>, incident: IncidentId, only_open: bool, after: i64, limit: i64) -> Result<Vec<Line>> {
    let open = if only_open { "AND closed_at IS NULL" } else { "" };
    let sql = format!("SELECT {LINE} FROM incident_line WHERE incident_id = $1 AND id > $2 {open} ORDER BY id LIMIT $3");
    tx.query(&sql, &[incident.0.into(), after.into(), limit.into()])?.iter().map(line).collect()
}

/// What the lines of an incident add up to.
pub struct LineCounts {
    /// Open ones.
    pub open: u64,
    /// Closed on evidence.
    pub proven: u64,
    /// Taken out of the inventory.
    pub retired: u64,
    /// The earliest end among the open ones.
    pub until: Option<Time>,
    /// Whether an open one is already broken.
    pub broken: bool,
}

/// What the lines of an incident add up to: counts that are kept, and first entries of an index.
pub fn count_lines(tx: &mut Tx<'_>, incident: IncidentId) -> Result<LineCounts> {
    let mut counts = LineCounts { open: 0, proven: 0, retired: 0, until: None, broken: false };
    for row in tx.query("SELECT how, n FROM incident_line_tally WHERE incident_id = $1 ORDER BY how", &[incident.0.into()])? {
        let n = row.int(1)? as u64;
        match row.text(0)? {
            "" => counts.open = n,
            "observed" => counts.proven = n,
            "retired" => counts.retired = n,
            other => return Err(crate::StoreError::corrupt(format!("lines that ended as {other:?}"))),
        }
    }
    let row = tx.query_one(
        "SELECT (SELECT min(until) FROM incident_line WHERE incident_id = $1 AND closed_at IS NULL), \
         EXISTS (SELECT 1 FROM incident_line WHERE incident_id = $1 AND closed_at IS NULL AND broken = 1)",
        &[incident.0.into()],
    )?;
    Ok(LineCounts { until: row.opt_time(0)?, broken: row.bool(1)?, ..counts })
}

/// As the rules see an open line.
pub fn open_line(l: &Line) -> OpenLine {
    OpenLine { id: l.id, incident: l.incident, key: l.key.clone(), opened_at: l.opened_at }
}

/// Reviews with a root cause since a moment.
pub fn past(tx: &mut Tx<'_>, cause: RootCause, since: Time, limit: i64) -> Result<Vec<Past>> {
    let sql = "SELECT id, opened_at, teams, services FROM incident WHERE root_cause = $1 AND opened_at >= $2 ORDER BY id DESC LIMIT $3";
    tx.query(sql, &[cause.as_str().into(), since.into(), limit.into()])?
        .iter()
        .map(|r| {
            let mut touched = list(r.text(2)?)?;
            touched.extend(list(r.text(3)?)?);
            Ok(Past { incident: IncidentId(r.int(0)?), opened_at: r.time(1)?, cause, touched })
        })
        .collect()
}

/// Something that must be done so that it does not happen again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Its number.
    pub id: i64,
    /// Of which incident.
    pub incident: IncidentId,
    /// What.
    pub what: String,
    /// Which team.
    pub owner: String,
    /// By when.
    pub due_at: Time,
    /// When it was done.
    pub done_at: Option<Time>,
    /// When its owner was last told that it is overdue.
    pub told_at: Option<Time>,
}

fn action(r: &Row) -> Result<Action> {
    Ok(Action {
        id: r.int(0)?,
        incident: IncidentId(r.int(1)?),
        what: r.text(2)?.into(),
        owner: r.text(3)?.into(),
        due_at: r.time(4)?,
        done_at: r.opt_time(5)?,
        told_at: r.opt_time(6)?,
    })
}

/// Creates an action or writes it whole.
pub fn put_action(tx: &mut Tx<'_>, a: &Action) -> Result<()> {
    tx.execute(
        "INSERT INTO corrective_action (id, incident_id, what, owner, due_at, done_at, told_at) VALUES ($1,$2,$3,$4,$5,$6,$7) \
         ON CONFLICT (id) DO UPDATE SET done_at=excluded.done_at, told_at=excluded.told_at, due_at=excluded.due_at",
        &[a.id.into(), a.incident.0.into(), (&a.what).into(), (&a.owner).into(), a.due_at.into(), a.done_at.into(), a.told_at.into()],
    )?;
    Ok(())
}

/// The actions of an incident.
pub fn actions(tx: &mut Tx<'_>, incident: IncidentId) -> Result<Vec<Action>> {
    let sql = "SELECT id, incident_id, what, owner, due_at, done_at, told_at FROM corrective_action WHERE incident_id = $1 ORDER BY id";
    tx.query(sql, &[incident.0.into()])?.iter().map(action).collect()
}

/// One action.
pub fn action_by_id(tx: &mut Tx<'_>, id: i64) -> Result<Option<Action>> {
    let sql = "SELECT id, incident_id, what, owner, due_at, done_at, told_at FROM corrective_action WHERE id = $1";
    tx.query_opt(sql, &[id.into()])?.as_ref().map(action).transpose()
}
