//! Rehearsals: what is declared, what is on its way, and what it took.

use super::word;
use crate::{Result, Row, Tx, Value, timer};
use domain::{
    Span, Time,
    drill::{
        Kind, MOST_WITHIN, Phase,
        schedule::{Past, Run as Ended},
    },
    finding::Code,
    words::{IncidentId, NodeId, SecretId, TargetId},
};
use std::collections::{BTreeMap, BTreeSet};

/// A drill of the inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drill {
    /// Its number, by which timers know it.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// The secret that it uses, by name.
    pub secret: String,
    /// What is rehearsed.
    pub kind: Kind,
    /// How often it has to pass.
    pub every: Span,
    /// Within which time it has to be over.
    pub within: Span,
    /// Who hears of it; empty for whoever owns the secret.
    pub team: String,
    /// The node that fails, empty for none.
    pub node: String,
    /// The region that is cut off, empty for none.
    pub region: String,
    /// Since when it is in the inventory.
    pub declared_at: Time,
}

const DRILL: &str = "id, name, secret, kind, every, within, team, node, region, declared_at";

fn drill(r: &Row) -> Result<Drill> {
    Ok(Drill {
        id: r.int(0)?,
        name: r.text(1)?.into(),
        secret: r.text(2)?.into(),
        kind: word(r, 3, Kind::parse)?,
        every: Span::seconds(r.int(4)?),
        within: Span::seconds(r.int(5)?),
        team: r.text(6)?.into(),
        node: r.text(7)?.into(),
        region: r.text(8)?.into(),
        declared_at: r.opt_time(9)?.unwrap_or(Time::EPOCH),
    })
}

/// Remembers since when drills are declared that are so for the first time, or again; those that left begin anew when they come back.
pub fn date(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    tx.execute("UPDATE drill SET declared_at = NULL WHERE retired_at IS NOT NULL AND declared_at IS NOT NULL", &[])?;
    tx.execute("UPDATE drill SET declared_at = $1 WHERE retired_at IS NULL AND declared_at IS NULL", &[now.into()])?;
    Ok(())
}

/// A drill of the inventory by name.
pub fn by_name(tx: &mut Tx<'_>, name: &str) -> Result<Option<Drill>> {
    let sql = format!("SELECT {DRILL} FROM drill WHERE name = $1 AND retired_at IS NULL");
    tx.query_opt(&sql, &[name.into()])?.as_ref().map(drill).transpose()
}

/// A drill of the inventory by its number.
pub fn by_id(tx: &mut Tx<'_>, id: i64) -> Result<Option<Drill>> {
    let sql = format!("SELECT {DRILL} FROM drill WHERE id = $1 AND retired_at IS NULL");
    tx.query_opt(&sql, &[id.into()])?.as_ref().map(drill).transpose()
}

/// Drills of the inventory in the order of their names, behind `after`.
pub fn declared(tx: &mut Tx<'_>, after: &str, limit: i64) -> Result<Vec<Drill>> {
    let sql = format!("SELECT {DRILL} FROM drill WHERE name > $1 AND retired_at IS NULL ORDER BY name LIMIT $2");
    tx.query(&sql, &[after.into(), limit.into()])?.iter().map(drill).collect()
}

/// Whether the inventory names a secret as what an alert drill lets run out.
pub fn is_declared_canary(tx: &mut Tx<'_>, secret: &str) -> Result<bool> {
    let sql = "SELECT id FROM drill WHERE secret = $1 AND kind = $2 AND retired_at IS NULL ORDER BY id LIMIT 1";
    Ok(tx.query_opt(sql, &[secret.into(), Kind::Alert.as_str().into()])?.is_some())
}

/// Wakes a loop for every drill of the inventory.
pub fn wake_all(tx: &mut Tx<'_>, drills: &str, at: Time) -> Result<()> {
    timer::set_earlier_for(tx, drills, "drill WHERE retired_at IS NULL", at)
}

/// One rehearsal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its number.
    pub id: i64,
    /// The drill that it belongs to, or `secret/NAME` for one that nobody declared.
    pub name: String,
    /// The secret that it uses.
    pub secret: SecretId,
    /// In which service; `secret/NAME` for a secret without one.
    pub service: String,
    /// What is rehearsed.
    pub kind: Kind,
    /// The node that fails, empty for none.
    pub node: String,
    /// The region that is cut off, empty for none.
    pub region: String,
    /// How often the drill has to pass.
    pub every: Span,
    /// Within which time it has to be over.
    pub within: Span,
    /// Who asked for it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Where it is.
    pub phase: Phase,
    /// What is waited for, by its word; empty once it is over.
    pub awaits: String,
    /// The sentence of that.
    pub detail: String,
    /// When it was noticed that a certificate is to be replaced.
    pub started_at: Time,
    /// The version, 0 before it is known.
    pub version: i64,
    /// When the version existed.
    pub issued_at: Option<Time>,
    /// The newest of its rollouts, 0 for none yet.
    pub rollout: i64,
    /// The incident of an alert drill, 0 for none yet.
    pub incident: i64,
    /// Since when something is made to go wrong.
    pub fault_at: Option<Time>,
    /// When what had to come of it was seen.
    pub noticed_at: Option<Time>,
    /// When it was lifted.
    pub lifted_at: Option<Time>,
    /// When it was over.
    pub ended_at: Option<Time>,
    /// Why it failed (JSON).
    pub reasons: String,
    /// Targets that were observed.
    pub observed: i64,
    /// Targets that were left behind as dead.
    pub quarantined: i64,
    /// Targets that were not observed.
    pub left: i64,
    /// The whole way, in seconds: half of the targets took no longer.
    pub p50: Option<i64>,
    /// 95 of 100 took no longer.
    pub p95: Option<i64>,
    /// None took longer.
    pub max: Option<i64>,
    /// Each step, in all and by wave (JSON).
    pub steps: String,
}

const RUN: &str = "id, name, secret_id, service, kind, node, region, every, within, actor, reason, phase, awaits, detail, started_at, \
                   version, issued_at, rollout_id, incident_id, fault_at, noticed_at, lifted_at, ended_at, reasons, observed, quarantined, \
                   left_over, p50, p95, max, steps";

fn run(r: &Row) -> Result<Run> {
    Ok(Run {
        id: r.int(0)?,
        name: r.text(1)?.into(),
        secret: SecretId(r.int(2)?),
        service: r.text(3)?.into(),
        kind: word(r, 4, Kind::parse)?,
        node: r.text(5)?.into(),
        region: r.text(6)?.into(),
        every: Span::seconds(r.int(7)?),
        within: Span::seconds(r.int(8)?),
        actor: r.text(9)?.into(),
        reason: r.text(10)?.into(),
        phase: word(r, 11, Phase::parse)?,
        awaits: r.text(12)?.into(),
        detail: r.text(13)?.into(),
        started_at: r.time(14)?,
        version: r.int(15)?,
        issued_at: r.opt_time(16)?,
        rollout: r.int(17)?,
        incident: r.int(18)?,
        fault_at: r.opt_time(19)?,
        noticed_at: r.opt_time(20)?,
        lifted_at: r.opt_time(21)?,
        ended_at: r.opt_time(22)?,
        reasons: r.text(23)?.into(),
        observed: r.int(24)?,
        quarantined: r.int(25)?,
        left: r.int(26)?,
        p50: r.opt_int(27)?,
        p95: r.opt_int(28)?,
        max: r.opt_int(29)?,
        steps: r.text(30)?.into(),
    })
}

/// Writes a new run. One that is open in the same service refuses it: whoever calls has looked, in the turn of that service.
pub fn insert(tx: &mut Tx<'_>, r: &Run) -> Result<()> {
    let places: String = (1..=32).map(|n| format!("${n}")).collect::<Vec<_>>().join(",");
    tx.execute(&format!("INSERT INTO drill_run ({RUN}, generation) VALUES ({places})"), &values(r, 1))?;
    Ok(())
}

/// Writes a run back that was taken by [`lock`].
pub fn put(tx: &mut Tx<'_>, r: &Run) -> Result<()> {
    let sets: String = RUN.split(", ").enumerate().skip(1).map(|(n, c)| format!("{c} = ${}", n + 1)).collect::<Vec<_>>().join(", ");
    let mut all = values(r, 0);
    all.pop();
    tx.execute(&format!("UPDATE drill_run SET {sets} WHERE id = $1"), &all)?;
    Ok(())
}

fn values(r: &Run, generation: i64) -> Vec<Value> {
    vec![
        r.id.into(),
        (&r.name).into(),
        r.secret.0.into(),
        (&r.service).into(),
        r.kind.as_str().into(),
        (&r.node).into(),
        (&r.region).into(),
        r.every.as_secs().into(),
        r.within.as_secs().into(),
        (&r.actor).into(),
        (&r.reason).into(),
        r.phase.as_str().into(),
        (&r.awaits).into(),
        (&r.detail).into(),
        r.started_at.into(),
        r.version.into(),
        r.issued_at.into(),
        r.rollout.into(),
        r.incident.into(),
        r.fault_at.into(),
        r.noticed_at.into(),
        r.lifted_at.into(),
        r.ended_at.into(),
        (&r.reasons).into(),
        r.observed.into(),
        r.quarantined.into(),
        r.left.into(),
        r.p50.into(),
        r.p95.into(),
        r.max.into(),
        (&r.steps).into(),
        generation.into(),
    ]
}

/// Takes a run for a change of it.
pub fn lock(tx: &mut Tx<'_>, id: i64) -> Result<Option<Run>> {
    let sql = format!("UPDATE drill_run SET generation = generation + 1 WHERE id = $1 RETURNING {RUN}");
    tx.query_opt(&sql, &[id.into()])?.as_ref().map(run).transpose()
}

/// One run by its number.
pub fn get(tx: &mut Tx<'_>, id: i64) -> Result<Option<Run>> {
    tx.query_opt(&format!("SELECT {RUN} FROM drill_run WHERE id = $1"), &[id.into()])?.as_ref().map(run).transpose()
}

/// Runs of a drill below a number, the newest first; of all drills where no name is given.
pub fn runs(tx: &mut Tx<'_>, name: Option<&str>, below: Option<i64>, limit: i64) -> Result<Vec<Run>> {
    let of = name.map_or("", |_| "AND name = $3");
    let mut params: Vec<Value> = vec![below.unwrap_or(i64::MAX).into(), limit.into()];
    params.extend(name.map(Value::from));
    tx.query(&format!("SELECT {RUN} FROM drill_run WHERE id < $1 {of} ORDER BY id DESC LIMIT $2"), &params)?.iter().map(run).collect()
}

/// The run that is on its way in a service.
pub fn open_in(tx: &mut Tx<'_>, service: &str) -> Result<Option<Run>> {
    let sql = format!("SELECT {RUN} FROM drill_run WHERE service = $1 AND ended_at IS NULL");
    tx.query_opt(&sql, &[service.into()])?.as_ref().map(run).transpose()
}

/// The run that is on its way with a secret.
pub fn open_of(tx: &mut Tx<'_>, secret: SecretId) -> Result<Option<Run>> {
    let sql = format!("SELECT {RUN} FROM drill_run WHERE secret_id = $1 AND ended_at IS NULL ORDER BY id DESC LIMIT 1");
    tx.query_opt(&sql, &[secret.0.into()])?.as_ref().map(run).transpose()
}

/// The run that is on its way under a name.
pub fn open_by_name(tx: &mut Tx<'_>, name: &str) -> Result<Option<Run>> {
    let sql = format!("SELECT {RUN} FROM drill_run WHERE name = $1 AND ended_at IS NULL ORDER BY id DESC LIMIT 1");
    tx.query_opt(&sql, &[name.into()])?.as_ref().map(run).transpose()
}

/// Whether a rehearsal has asked for a version of a secret, and will bring it out itself.
pub fn issuing(tx: &mut Tx<'_>, secret: SecretId) -> Result<bool> {
    let sql = "SELECT id FROM drill_run WHERE secret_id = $1 AND kind <> $2 AND phase = $3 AND ended_at IS NULL ORDER BY id LIMIT 1";
    let params = [secret.0.into(), Kind::Alert.as_str().into(), Phase::Issuing.as_str().into()];
    Ok(tx.query_opt(sql, &params)?.is_some())
}

/// Whether an alert drill holds the renewal of a secret back.
pub fn holds(tx: &mut Tx<'_>, secret: SecretId) -> Result<bool> {
    let sql = "SELECT id FROM drill_run WHERE secret_id = $1 AND kind = $2 AND ended_at IS NULL AND lifted_at IS NULL ORDER BY id LIMIT 1";
    Ok(tx.query_opt(sql, &[secret.0.into(), Kind::Alert.as_str().into()])?.is_some())
}

/// The latest run of a name that is over, and the latest that passed; none of both where none was.
pub fn latest(tx: &mut Tx<'_>, name: &str) -> Result<(Option<Run>, Option<Run>)> {
    let mut one = |of: &str| {
        let sql = format!("SELECT {RUN} FROM drill_run WHERE name = $1 AND ended_at IS NOT NULL {of} ORDER BY id DESC LIMIT 1");
        tx.query_opt(&sql, &[name.into()])?.as_ref().map(run).transpose()
    };
    Ok((one("AND phase <> 'aborted'")?, one("AND phase = 'passed'")?))
}

/// What is known of a drill's past.
pub fn past(tx: &mut Tx<'_>, d: &Drill) -> Result<Past> {
    let (ended, passed) = latest(tx, &d.name)?;
    let running = open_by_name(tx, &d.name)?.is_some();
    Ok(Past { declared_at: d.declared_at, passed_at: passed.and_then(|r| r.ended_at), ended_at: ended.and_then(|r| r.ended_at), running })
}

/// A rotation reaches these services.
pub fn reaches(tx: &mut Tx<'_>, run: i64, services: &[String]) -> Result<()> {
    for service in services {
        tx.execute("INSERT INTO drill_reach (service, run_id) VALUES ($1, $2) ON CONFLICT DO NOTHING", &[service.into(), run.into()])?;
    }
    Ok(())
}

/// The services that a rotation reached.
pub fn reached_by(tx: &mut Tx<'_>, run: i64) -> Result<Vec<String>> {
    let sql = "SELECT service FROM drill_reach WHERE run_id = $1 ORDER BY service";
    tx.query(sql, &[run.into()])?.iter().map(|r| Ok(r.text(0)?.to_owned())).collect()
}

/// The rotations of a secret that are over, by drill, each with the newest first; of the last few.
pub fn rotations(tx: &mut Tx<'_>, secret: SecretId, since: Time, limit: i64) -> Result<Vec<Vec<Ended>>> {
    let sql = "SELECT name, kind, phase, ended_at, p95, every FROM drill_run \
               WHERE secret_id = $1 AND kind = $2 AND ended_at >= $3 ORDER BY id DESC LIMIT $4";
    let mut by_name: BTreeMap<String, Vec<Ended>> = BTreeMap::new();
    for r in tx.query(sql, &[secret.0.into(), Kind::Rotation.as_str().into(), since.into(), limit.into()])? {
        by_name.entry(r.text(0)?.to_owned()).or_default().push(Ended {
            kind: word(&r, 1, Kind::parse)?,
            phase: word(&r, 2, Phase::parse)?,
            ended_at: r.time(3)?,
            p95: r.opt_int(4)?.map(Span::seconds),
            every: Span::seconds(r.int(5)?),
        });
    }
    Ok(by_name.into_values().collect())
}

/// Something that is made to go wrong at a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The run that does it.
    pub run: i64,
    /// The node.
    pub node: NodeId,
    /// The secret that it is about.
    pub secret: SecretId,
    /// What: the kind of drill.
    pub kind: Kind,
    /// Since when.
    pub since: Time,
    /// When the node said that the last good version is in place again.
    pub put_back_at: Option<Time>,
}

const FAULT: &str = "run_id, node_id, secret_id, fault, since, put_back_at";

fn fault(r: &Row) -> Result<Fault> {
    Ok(Fault {
        run: r.int(0)?,
        node: NodeId(r.int(1)?),
        secret: SecretId(r.int(2)?),
        kind: word(r, 3, Kind::parse)?,
        since: r.time(4)?,
        put_back_at: r.opt_time(5)?,
    })
}

/// Makes something go wrong at a node.
pub fn set_fault(tx: &mut Tx<'_>, f: &Fault) -> Result<()> {
    tx.execute(
        "INSERT INTO drill_fault (run_id, node_id, secret_id, fault, since) VALUES ($1,$2,$3,$4,$5) ON CONFLICT DO NOTHING",
        &[f.run.into(), f.node.0.into(), f.secret.0.into(), f.kind.as_str().into(), f.since.into()],
    )?;
    Ok(())
}

/// What is made to go wrong at a node now.
pub fn faults_at(tx: &mut Tx<'_>, node: NodeId) -> Result<Vec<Fault>> {
    let sql = format!("SELECT {FAULT} FROM drill_fault WHERE node_id = $1 ORDER BY run_id");
    tx.query(&sql, &[node.0.into()])?.iter().map(fault).collect()
}

/// What a run makes go wrong now, in the order of the nodes.
pub fn faults_of(tx: &mut Tx<'_>, run: i64) -> Result<Vec<Fault>> {
    let sql = format!("SELECT {FAULT} FROM drill_fault WHERE run_id = $1 ORDER BY node_id");
    tx.query(&sql, &[run.into()])?.iter().map(fault).collect()
}

/// A node says that the last good version of a secret is in place again. Says which runs waited for that.
pub fn put_back(tx: &mut Tx<'_>, node: NodeId, secret: SecretId, now: Time) -> Result<Vec<i64>> {
    let sql = "UPDATE drill_fault SET put_back_at = $4 WHERE node_id = $1 AND secret_id = $2 AND fault = $3 AND put_back_at IS NULL \
               RETURNING run_id";
    let params = [node.0.into(), secret.0.into(), Kind::StaleReload.as_str().into(), now.into()];
    let mut runs: Vec<i64> = tx.query(sql, &params)?.iter().map(|r| r.int(0)).collect::<Result<_>>()?;
    runs.sort_unstable();
    Ok(runs)
}

/// The targets behind what a run makes go wrong now, each with whether all of its nodes there have put the last good version back.
pub fn hit(tx: &mut Tx<'_>, run: i64) -> Result<BTreeMap<TargetId, bool>> {
    let sql = "SELECT n.target_id, MIN(CASE WHEN f.put_back_at IS NULL THEN 0 ELSE 1 END) FROM drill_fault f \
               JOIN target_node n ON n.node_id = f.node_id JOIN target t ON t.id = n.target_id \
               WHERE f.run_id = $1 AND t.secret_id = f.secret_id AND t.retired_at IS NULL GROUP BY n.target_id ORDER BY n.target_id";
    tx.query(sql, &[run.into()])?.iter().map(|r| Ok((TargetId(r.int(0)?), r.int(1)? == 1))).collect()
}

/// The nodes that are cut off now, as if they were down, each from which secrets. Whatever happens to the drill, none is for longer than any
/// may take.
pub fn cut_off(tx: &mut Tx<'_>, now: Time) -> Result<BTreeSet<(NodeId, SecretId)>> {
    let sql = "SELECT DISTINCT node_id, secret_id FROM drill_fault WHERE fault <> $1 AND since > $2 ORDER BY node_id, secret_id";
    let params = [Kind::StaleReload.as_str().into(), (now - MOST_WITHIN).into()];
    tx.query(sql, &params)?.iter().map(|r| Ok((NodeId(r.int(0)?), SecretId(r.int(1)?)))).collect()
}

/// A node that a run cut off and another secret of which it is to have another version since, both by name.
pub fn holds_up(tx: &mut Tx<'_>, run: i64) -> Result<Option<(String, String)>> {
    let sql = "SELECT n.name, s.name FROM drill_fault f JOIN node_secret i ON i.node_id = f.node_id AND i.secret_id <> f.secret_id \
               JOIN node n ON n.id = f.node_id JOIN secret s ON s.id = i.secret_id \
               WHERE f.run_id = $1 AND f.fault <> $2 AND i.desired_at >= f.since ORDER BY f.node_id, i.secret_id LIMIT 1";
    let row = tx.query_opt(sql, &[run.into(), Kind::StaleReload.as_str().into()])?;
    row.map(|r| Ok((r.text(0)?.into(), r.text(1)?.into()))).transpose()
}

/// Whether a node is to install a version of a secret as if its reload did nothing.
pub fn is_stale(tx: &mut Tx<'_>, node: NodeId, secret: SecretId, version: i64) -> Result<bool> {
    let sql = "SELECT f.run_id FROM drill_fault f JOIN drill_run r ON r.id = f.run_id \
               WHERE f.node_id = $1 AND f.secret_id = $2 AND f.fault = $3 AND r.version = $4 ORDER BY f.run_id LIMIT 1";
    let params = [node.0.into(), secret.0.into(), Kind::StaleReload.as_str().into(), version.into()];
    Ok(tx.query_opt(sql, &params)?.is_some())
}

/// Where the targets of a secret stand, as far as a drill asks before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// How many there are.
    pub targets: i64,
    /// Of these: production, in whichever state.
    pub production: i64,
    /// Of these: not observed on what they should serve.
    pub behind: i64,
    /// The moment at which the first of them falls below its incident threshold, as lists are sorted by it.
    pub margin_at: i64,
    /// The first end of what is served.
    pub ends_at: Option<Time>,
}

/// Adds up where the targets of a secret stand.
pub fn tally(tx: &mut Tx<'_>, secret: SecretId) -> Result<Tally> {
    let sql = "SELECT COUNT(*), COUNT(CASE WHEN production = 1 THEN 1 END), COUNT(CASE WHEN required = 0 OR current <> required THEN 1 END), \
               MIN(margin_at), MIN(CASE WHEN served_kind = 2 THEN served_until END) FROM target WHERE secret_id = $1 AND retired_at IS NULL";
    let r = tx.query_one(sql, &[secret.0.into()])?;
    Ok(Tally {
        targets: r.int(0)?,
        production: r.int(1)?,
        behind: r.int(2)?,
        margin_at: r.opt_int(3)?.unwrap_or(super::UNKNOWN_MARGIN),
        ends_at: r.opt_time(4)?,
    })
}

/// The services of a secret's production targets: a target's own, else the secret's.
pub fn services_of(tx: &mut Tx<'_>, secret: SecretId) -> Result<Vec<String>> {
    let sql = "SELECT DISTINCT CASE WHEN t.service = '' THEN s.service ELSE t.service END AS of FROM target t \
               JOIN secret s ON s.id = t.secret_id WHERE t.secret_id = $1 AND t.production = 1 AND t.retired_at IS NULL ORDER BY of";
    let all = tx.query(sql, &[secret.0.into()])?;
    all.iter().map(|r| Ok(r.text(0)?.to_owned())).filter(|s| !matches!(s, Ok(name) if name.is_empty())).collect()
}

/// The first incident that has an open line of a secret, at whichever of its targets, that was opened at `since` or later; for one of these
/// reasons, where any are named.
pub fn incident_since(tx: &mut Tx<'_>, secret: SecretId, since: Time, codes: &[Code]) -> Result<Option<IncidentId>> {
    let places: Vec<String> = (3..3 + codes.len()).map(|n| format!("${n}")).collect();
    let of = if codes.is_empty() { String::new() } else { format!("AND code IN ({})", places.join(", ")) };
    let sql = format!("SELECT MIN(incident_id) FROM incident_line WHERE secret_id = $1 AND closed_at IS NULL AND opened_at >= $2 {of}");
    let mut params: Vec<Value> = vec![secret.0.into(), since.into()];
    params.extend(codes.iter().map(|c| c.as_str().into()));
    Ok(tx.query_one(&sql, &params)?.opt_int(0)?.map(IncidentId))
}

/// When a contact took a message of an incident that pages, and what came of the latest attempt where it did not; nothing of before `since`.
pub fn taken(tx: &mut Tx<'_>, incident: IncidentId, team: &str, channel: &str, since: Time) -> Result<(Option<Time>, String)> {
    let params = || [Value::from(incident.0), team.into(), channel.into(), since.into()];
    let sql = "SELECT MIN(done_at) FROM outbox WHERE incident_id = $1 AND team = $2 AND channel = $3 AND created_at >= $4 \
               AND state = 'delivered' AND message LIKE '%\"page\":true%'";
    let taken = tx.query_one(sql, &params())?.opt_time(0)?;
    let sql = "SELECT d.detail FROM delivery d JOIN outbox o ON o.id = d.outbox_id WHERE o.incident_id = $1 AND o.team = $2 \
               AND o.channel = $3 AND o.created_at >= $4 ORDER BY d.id DESC LIMIT 1";
    let latest = tx.query_opt(sql, &params())?.map(|r| Ok::<_, crate::StoreError>(r.text(0)?.to_owned())).transpose()?;
    Ok((taken, latest.unwrap_or_default()))
}

/// Wakes a loop for the runs that something concerns: those on their way with a secret.
pub fn wake_open(tx: &mut Tx<'_>, runs: &str, secret: SecretId, at: Time) -> Result<()> {
    if let Some(run) = open_of(tx, secret)? {
        timer::set_earlier(tx, runs, run.id, at)?;
    }
    Ok(())
}

/// Lifts what a run makes go wrong.
pub fn lift(tx: &mut Tx<'_>, run: i64) -> Result<()> {
    tx.execute("DELETE FROM drill_fault WHERE run_id = $1", &[run.into()])?;
    Ok(())
}
