//! Rollouts: versions on their way, their plans, and what became of each target.

use super::{fingerprint, list, served, word};
use crate::{Result, Row, StoreError, Tx, Value};
use domain::{
    Fingerprint, Time,
    finding::Code,
    policy::Level,
    rollout::{Kind, Placed, State},
    target::Served,
    words::{IncidentId, NodeId, RolloutId, SecretId, TargetId},
};
use std::collections::{BTreeMap, BTreeSet};

/// A rollout as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Its number.
    pub id: RolloutId,
    /// The secret.
    pub secret: SecretId,
    /// The version that goes out.
    pub version: i64,
    /// What its targets served when it began; 0 where that is unknown.
    pub from_version: i64,
    /// Why it goes out.
    pub kind: Kind,
    /// Where it is.
    pub state: State,
    /// The policy as it was when it began (JSON).
    pub policy: String,
    /// The hash of its current plan.
    pub plan: Option<Fingerprint>,
    /// The wave that began last, counted from 0.
    pub wave: Option<i64>,
    /// When that was.
    pub wave_at: Option<Time>,
    /// Why it was started.
    pub reason: String,
    /// By whom.
    pub actor: String,
    /// When it was asked for.
    pub created_at: Time,
    /// When it began.
    pub begun_at: Option<Time>,
    /// When it ended.
    pub ended_at: Option<Time>,
    /// Who stopped it, empty for nobody.
    pub halted_by: String,
    /// Why.
    pub halted_reason: String,
    /// Since when.
    pub halted_at: Option<Time>,
    /// The revocation that asked for it, 0 for none.
    pub revocation: i64,
    /// The rollout that it takes back, 0 for none.
    pub takes_back: i64,
    /// What was decided last, in words.
    pub said: String,
    /// What is waited for (JSON).
    pub reasons: String,
    /// How many reasons there are besides those that are kept.
    pub more: i64,
    /// When what is said last was said first.
    pub decided_at: Option<Time>,
}

const COLUMNS: &str = "id, secret_id, version, from_version, kind, state, policy, plan, wave, wave_at, reason, actor, created_at, begun_at, \
     ended_at, halted_by, halted_reason, halted_at, revocation_id, takes_back, said, reasons, more, decided_at";

fn from_row(r: &Row) -> Result<Rollout> {
    Ok(Rollout {
        id: RolloutId(r.int(0)?),
        secret: SecretId(r.int(1)?),
        version: r.int(2)?,
        from_version: r.int(3)?,
        kind: word(r, 4, Kind::parse)?,
        state: word(r, 5, State::parse)?,
        policy: r.text(6)?.into(),
        plan: fingerprint(r, 7)?,
        wave: r.opt_int(8)?,
        wave_at: r.opt_time(9)?,
        reason: r.text(10)?.into(),
        actor: r.text(11)?.into(),
        created_at: r.time(12)?,
        begun_at: r.opt_time(13)?,
        ended_at: r.opt_time(14)?,
        halted_by: r.text(15)?.into(),
        halted_reason: r.text(16)?.into(),
        halted_at: r.opt_time(17)?,
        revocation: r.int(18)?,
        takes_back: r.int(19)?,
        said: r.text(20)?.into(),
        reasons: r.text(21)?.into(),
        more: r.int(22)?,
        decided_at: r.opt_time(23)?,
    })
}

fn values(it: &Rollout) -> Vec<Value> {
    vec![
        it.id.0.into(),
        it.secret.0.into(),
        it.version.into(),
        it.from_version.into(),
        it.kind.as_str().into(),
        it.state.as_str().into(),
        (&it.policy).into(),
        it.plan.map(|p| *p.as_bytes()).into(),
        it.wave.into(),
        it.wave_at.into(),
        (&it.reason).into(),
        (&it.actor).into(),
        it.created_at.into(),
        it.begun_at.into(),
        it.ended_at.into(),
        (&it.halted_by).into(),
        (&it.halted_reason).into(),
        it.halted_at.into(),
        it.revocation.into(),
        it.takes_back.into(),
        (&it.said).into(),
        (&it.reasons).into(),
        it.more.into(),
        it.decided_at.into(),
    ]
}

/// Adds a rollout.
pub fn insert(tx: &mut Tx<'_>, it: &Rollout) -> Result<()> {
    let places: Vec<String> = (1..=24).map(|n| format!("${n}")).collect();
    let sql = format!("INSERT INTO rollout ({COLUMNS}, generation) VALUES ({}, 0)", places.join(","));
    tx.execute(&sql, &values(it))?;
    Ok(())
}

/// Writes a rollout whose row is taken, except its plan.
pub fn put(tx: &mut Tx<'_>, it: &Rollout) -> Result<()> {
    tx.execute(
        "UPDATE rollout SET from_version=$2, state=$3, wave=$4, wave_at=$5, begun_at=$6, ended_at=$7, halted_by=$8, halted_reason=$9, \
         halted_at=$10, said=$11, reasons=$12, more=$13, decided_at=$14, policy=$15 WHERE id = $1",
        &[
            it.id.0.into(),
            it.from_version.into(),
            it.state.as_str().into(),
            it.wave.into(),
            it.wave_at.into(),
            it.begun_at.into(),
            it.ended_at.into(),
            (&it.halted_by).into(),
            (&it.halted_reason).into(),
            it.halted_at.into(),
            (&it.said).into(),
            (&it.reasons).into(),
            it.more.into(),
            it.decided_at.into(),
            (&it.policy).into(),
        ],
    )?;
    Ok(())
}

/// Takes a rollout's row: whoever changes it or what hangs on it starts here.
pub fn lock(tx: &mut Tx<'_>, id: RolloutId) -> Result<Option<Rollout>> {
    let sql = format!("UPDATE rollout SET generation = generation + 1 WHERE id = $1 RETURNING {COLUMNS}");
    tx.query_opt(&sql, &[id.0.into()])?.as_ref().map(from_row).transpose()
}

/// A rollout.
pub fn get(tx: &mut Tx<'_>, id: RolloutId) -> Result<Option<Rollout>> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM rollout WHERE id = $1"), &[id.0.into()])?.as_ref().map(from_row).transpose()
}

/// The rollouts of a secret that have something left to do, the oldest first.
pub fn open_of(tx: &mut Tx<'_>, secret: SecretId) -> Result<Vec<Rollout>> {
    let sql = format!("SELECT {COLUMNS} FROM rollout WHERE secret_id = $1 AND ended_at IS NULL ORDER BY id");
    tx.query(&sql, &[secret.0.into()])?.iter().map(from_row).collect()
}

/// The latest rollouts of a secret.
pub fn of_secret(tx: &mut Tx<'_>, secret: SecretId, limit: i64) -> Result<Vec<Rollout>> {
    let sql = format!("SELECT {COLUMNS} FROM rollout WHERE secret_id = $1 ORDER BY id DESC LIMIT $2");
    tx.query(&sql, &[secret.0.into(), limit.into()])?.iter().map(from_row).collect()
}

/// Rollouts, the latest first, before `before`; only those that have something left to do, where that is asked.
pub fn page(tx: &mut Tx<'_>, only_open: bool, before: Option<RolloutId>, limit: i64) -> Result<Vec<Rollout>> {
    let open = if only_open { " AND ended_at IS NULL" } else { "" };
    let sql = format!("SELECT {COLUMNS} FROM rollout WHERE id < $1{open} ORDER BY id DESC LIMIT $2");
    tx.query(&sql, &[before.map_or(i64::MAX, |b| b.0).into(), limit.into()])?.iter().map(from_row).collect()
}

/// Makes a plan the current one, where its parent is. False where another one is by now; nothing is changed then.
pub fn put_plan(tx: &mut Tx<'_>, id: RolloutId, parent: Option<Fingerprint>, hash: Fingerprint, plan: &str, now: Time) -> Result<bool> {
    let moved = match parent {
        None => tx.execute("UPDATE rollout SET plan = $2 WHERE id = $1 AND plan IS NULL", &[id.0.into(), (*hash.as_bytes()).into()])?,
        Some(parent) => tx.execute(
            "UPDATE rollout SET plan = $2 WHERE id = $1 AND plan = $3",
            &[id.0.into(), (*hash.as_bytes()).into(), (*parent.as_bytes()).into()],
        )?,
    };
    if moved == 0 {
        return Ok(false);
    }
    tx.execute(
        "INSERT INTO rollout_plan (hash, rollout_id, parent, plan, created_at) VALUES ($1,$2,$3,$4,$5)",
        &[(*hash.as_bytes()).into(), id.0.into(), parent.map(|p| *p.as_bytes()).into(), plan.into(), now.into()],
    )?;
    Ok(true)
}

/// A plan as it was made: the hash of the one before it, and its waves (JSON).
pub fn plan(tx: &mut Tx<'_>, id: RolloutId, hash: &Fingerprint) -> Result<(Option<Fingerprint>, String)> {
    let sql = "SELECT parent, plan FROM rollout_plan WHERE rollout_id = $1 AND hash = $2";
    let row = tx.query_opt(sql, &[id.0.into(), (*hash.as_bytes()).into()])?;
    let row = row.ok_or_else(|| StoreError::Corrupt { what: format!("rollout {id} without its plan") })?;
    Ok((fingerprint(&row, 0)?, row.text(1)?.to_owned()))
}

/// A target in a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The target.
    pub target: TargetId,
    /// Its wave, counted from 0.
    pub wave: i64,
    /// When its nodes were told.
    pub begun_at: Option<Time>,
    /// Since when it was observed serving the version without a break.
    pub observed_at: Option<Time>,
    /// When it was left behind.
    pub quarantined_at: Option<Time>,
    /// When a person said that the rollout goes on whatever is wrong with it.
    pub excused_at: Option<Time>,
    /// The target's name.
    pub name: String,
    /// The oldest version that it shows.
    pub shows: i64,
    /// Until when it serves.
    pub served: Served,
    /// Whether it left the inventory.
    pub retired: bool,
    /// When it was last looked at.
    pub looked_at: Option<Time>,
    /// Who dials it: vantages; nobody, where it is attested or read by an agent.
    pub vantages: Vec<String>,
}

/// The targets of a rollout, wave by wave, in the order in which they are told.
pub fn parts(tx: &mut Tx<'_>, id: RolloutId) -> Result<Vec<Part>> {
    let sql = "SELECT p.target_id, p.wave, p.begun_at, p.observed_at, p.quarantined_at, t.name, t.shows, t.served_kind, t.served_until, \
               t.retired_at, t.observed_at, p.excused_at, t.kind, t.vantages, t.optional_vantages FROM rollout_target p JOIN target t ON t.id = p.target_id WHERE p.rollout_id = $1 \
               ORDER BY p.wave, p.place, p.target_id";
    let mut all = Vec::new();
    tx.for_each(sql, &[id.0.into()], |r| {
        all.push(Part {
            target: TargetId(r.int(0)?),
            wave: r.int(1)?,
            begun_at: r.opt_time(2)?,
            observed_at: r.opt_time(3)?,
            quarantined_at: r.opt_time(4)?,
            name: r.text(5)?.into(),
            shows: r.int(6)?,
            served: served(r.int(7)?, r.opt_int(8)?),
            retired: r.opt_int(9)?.is_some(),
            looked_at: r.opt_time(10)?,
            excused_at: r.opt_time(11)?,
            vantages: match r.text(12)? {
                "endpoint" => list(r.text(13)?)?.into_iter().chain(list(r.text(14)?)?).collect(),
                _ => Vec::new(),
            },
        });
        Ok(())
    })?;
    Ok(all)
}

/// Whether the wave of a target has begun behind which a node stands.
pub fn is_told(tx: &mut Tx<'_>, id: RolloutId, node: NodeId) -> Result<bool> {
    let sql = "SELECT p.target_id FROM target_node n JOIN rollout_target p ON p.target_id = n.target_id \
               WHERE n.node_id = $2 AND p.rollout_id = $1 AND p.begun_at IS NOT NULL ORDER BY p.target_id LIMIT 1";
    Ok(tx.query_opt(sql, &[id.0.into(), node.0.into()])?.is_some())
}

/// Puts a target into a wave, or into another one.
pub fn put_part(tx: &mut Tx<'_>, id: RolloutId, target: TargetId, wave: i64, place: i64) -> Result<()> {
    tx.execute(
        "INSERT INTO rollout_target (rollout_id, target_id, wave, place) VALUES ($1,$2,$3,$4) \
         ON CONFLICT (rollout_id, target_id) DO UPDATE SET wave = $3, place = $4",
        &[id.0.into(), target.0.into(), wave.into(), place.into()],
    )?;
    Ok(())
}

/// Takes a target out of a rollout: it left the inventory.
pub fn drop_part(tx: &mut Tx<'_>, id: RolloutId, target: TargetId) -> Result<()> {
    tx.execute("DELETE FROM rollout_target WHERE rollout_id = $1 AND target_id = $2", &[id.0.into(), target.0.into()])?;
    Ok(())
}

/// Writes what became of a target.
pub fn mark(
    tx: &mut Tx<'_>,
    id: RolloutId,
    target: TargetId,
    begun: Option<Time>,
    observed: Option<Time>,
    behind: Option<Time>,
) -> Result<()> {
    tx.execute(
        "UPDATE rollout_target SET begun_at = $3, observed_at = $4, quarantined_at = $5 WHERE rollout_id = $1 AND target_id = $2",
        &[id.0.into(), target.0.into(), begun.into(), observed.into(), behind.into()],
    )?;
    Ok(())
}

/// From now on what is wrong with these targets stops the rollout no more.
pub fn excuse(tx: &mut Tx<'_>, id: RolloutId, targets: &[TargetId], now: Time) -> Result<()> {
    for target in targets {
        let sql = "UPDATE rollout_target SET excused_at = $3 WHERE rollout_id = $1 AND target_id = $2";
        tx.execute(sql, &[id.0.into(), target.0.into(), now.into()])?;
    }
    Ok(())
}

/// Nobody waits any more for whom rollouts of a secret before this one left behind, nor for whom it did itself where `this` too.
pub fn forget_left_behind(tx: &mut Tx<'_>, secret: SecretId, id: RolloutId, this: bool) -> Result<()> {
    let sql = "UPDATE rollout_target SET quarantined_at = NULL WHERE quarantined_at IS NOT NULL AND rollout_id IN \
               (SELECT id FROM rollout WHERE secret_id = $1 AND (id < $2 OR ($3 = 1 AND id = $2)))";
    tx.execute(sql, &[secret.0.into(), id.0.into(), i64::from(this).into()])?;
    Ok(())
}

/// The targets of a secret and where they stand, with the nodes that carry it there.
pub fn placed(tx: &mut Tx<'_>, secret: SecretId) -> Result<Vec<Placed>> {
    // A target that does not say where it is, is where its nodes are.
    let sql = "SELECT t.id, t.region, t.stamp, COUNT(c.id), COUNT(CASE WHEN c.canary = 1 THEN 1 END), MIN(c.region), MIN(c.stamp) \
               FROM target t LEFT JOIN (SELECT tn.target_id, n.id, n.canary, n.region, n.stamp FROM target_node tn \
                 JOIN node n ON n.id = tn.node_id AND n.retired_at IS NULL \
                 JOIN node_secret s ON s.node_id = n.id AND s.secret_id = $1) c ON c.target_id = t.id \
               WHERE t.secret_id = $1 AND t.retired_at IS NULL GROUP BY t.id, t.region, t.stamp ORDER BY t.id";
    let mut all = Vec::new();
    tx.for_each(sql, &[secret.0.into()], |r| {
        let or = |own: usize, of_nodes: usize| -> Result<String> {
            let own = r.text(own)?;
            Ok(if own.is_empty() { r.opt_text(of_nodes)?.unwrap_or_default() } else { own }.to_owned())
        };
        let nodes = r.int(3)?;
        all.push(Placed {
            id: TargetId(r.int(0)?),
            region: or(1, 5)?,
            stamp: or(2, 6)?,
            canary: nodes > 0 && r.int(4)? == nodes,
            nodes: usize::try_from(nodes).unwrap_or_default(),
        });
        Ok(())
    })?;
    Ok(all)
}

/// How many targets of the same service there are; of the secret alone, where it has no service.
pub fn service_size(tx: &mut Tx<'_>, secret: SecretId, service: &str) -> Result<i64> {
    if service.is_empty() {
        return tx.query_one("SELECT COUNT(*) FROM target WHERE secret_id = $1 AND retired_at IS NULL", &[secret.0.into()])?.int(0);
    }
    let sql = "SELECT COUNT(*) FROM target t JOIN secret s ON s.id = t.secret_id WHERE t.retired_at IS NULL \
               AND (t.service = $1 OR (t.service = '' AND s.service = $1) OR t.secret_id = $2)";
    tx.query_one(sql, &[service.into(), secret.0.into()])?.int(0)
}

/// A node behind a target, and what it says of the version that it is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carrier {
    /// For which target.
    pub target: TargetId,
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its region, empty for none.
    pub region: String,
    /// When it was last heard of.
    pub seen_at: Option<Time>,
    /// By how many seconds its clock is ahead.
    pub clock_off: i64,
    /// The version that it is to have.
    pub version: i64,
    /// When that was decided.
    pub desired_at: Option<Time>,
    /// When its certificate or key went out.
    pub fetched_at: Option<Time>,
    /// When it said that it is installed.
    pub installed_at: Option<Time>,
    /// When it said that it could not.
    pub failed_at: Option<Time>,
    /// Its own word for how far it is.
    pub state: String,
    /// What it says.
    pub detail: String,
}

/// The nodes behind the targets of a rollout that were told, in the order of (target, node).
pub fn carriers(tx: &mut Tx<'_>, id: RolloutId, secret: SecretId) -> Result<Vec<Carrier>> {
    let sql = format!("{CARRIERS} WHERE p.rollout_id = $2 AND p.begun_at IS NOT NULL ORDER BY p.target_id, n.id");
    tx.query(&sql, &[secret.0.into(), id.0.into()])?.iter().map(carrier).collect()
}

/// The nodes that carry a secret to these targets of a wave of a rollout, in the order of (node, target): whoever takes their rows does so in
/// one order.
pub fn nodes_of(tx: &mut Tx<'_>, id: RolloutId, secret: SecretId, wave: i64, targets: &BTreeSet<TargetId>) -> Result<Vec<Carrier>> {
    let sql = format!("{CARRIERS} WHERE p.rollout_id = $2 AND p.wave = $3 ORDER BY n.id, p.target_id");
    let mut all = Vec::new();
    tx.for_each(&sql, &[secret.0.into(), id.0.into(), wave.into()], |r| {
        if targets.contains(&TargetId(r.int(0)?)) {
            all.push(carrier(&r)?);
        }
        Ok(())
    })?;
    Ok(all)
}

const CARRIERS: &str = "SELECT p.target_id, n.id, n.name, n.seen_at, n.clock_off, s.version, s.desired_at, s.fetched_at, s.installed_at, \
     s.failed_at, s.state, s.detail, n.region FROM rollout_target p JOIN target_node tn ON tn.target_id = p.target_id \
     JOIN node n ON n.id = tn.node_id AND n.retired_at IS NULL JOIN node_secret s ON s.node_id = n.id AND s.secret_id = $1";

fn carrier(r: &Row) -> Result<Carrier> {
    Ok(Carrier {
        target: TargetId(r.int(0)?),
        node: NodeId(r.int(1)?),
        name: r.text(2)?.into(),
        seen_at: r.opt_time(3)?,
        clock_off: r.opt_int(4)?.unwrap_or_default(),
        version: r.int(5)?,
        desired_at: r.opt_time(6)?,
        fetched_at: r.opt_time(7)?,
        installed_at: r.opt_time(8)?,
        failed_at: r.opt_time(9)?,
        state: r.text(10)?.into(),
        detail: r.text(11)?.into(),
        region: r.text(12)?.into(),
    })
}

/// An open line of an incident at a target of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The target.
    pub target: TargetId,
    /// The incident.
    pub incident: IncidentId,
    /// Which rule.
    pub code: Code,
    /// Since when.
    pub opened_at: Time,
    /// Whether something is broken by it.
    pub broken: bool,
    /// What it says.
    pub detail: String,
}

/// Open lines at targets of a rollout that were told, less those about a certificate of another version of the same secret: that is what
/// the rollout replaces. In the order of their numbers.
pub fn lines(tx: &mut Tx<'_>, id: RolloutId, secret: SecretId, version: i64) -> Result<Vec<Line>> {
    let sql = "SELECT l.target_id, l.incident_id, l.code, l.opened_at, l.broken, l.detail FROM rollout_target p \
               JOIN incident_line l ON l.target_id = p.target_id AND l.closed_at IS NULL \
               WHERE p.rollout_id = $1 AND p.begun_at IS NOT NULL AND l.opened_at >= p.begun_at AND (l.about IS NULL OR NOT EXISTS \
                 (SELECT 1 FROM instance i WHERE substr(i.leaf, 1, 8) = substr(l.about, 1, 8) AND i.leaf = l.about \
                  AND i.secret_id = $2 AND i.version <> $3)) ORDER BY l.id";
    let line = |r: &Row| -> Result<Line> {
        Ok(Line {
            target: TargetId(r.int(0)?),
            incident: IncidentId(r.int(1)?),
            code: word(r, 2, Code::parse)?,
            opened_at: r.time(3)?,
            broken: r.bool(4)?,
            detail: r.text(5)?.into(),
        })
    };
    tx.query(sql, &[id.0.into(), secret.0.into(), version.into()])?.iter().map(line).collect()
}

/// What of a rollout's targets is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// The target.
    pub target: TargetId,
    /// What it asks for: for information where a single look failed.
    pub level: Level,
    /// Since when, where known.
    pub since: Option<Time>,
    /// What is missing.
    pub detail: String,
}

/// What of the targets of a rollout that were told is not answered, in the order of (target, key).
pub fn silences(tx: &mut Tx<'_>, id: RolloutId) -> Result<Vec<Silence>> {
    let codes = [Code::Unreachable, Code::NotObserved, Code::NeverObserved, Code::NoRoute].map(|c| format!("'{c}'")).join(", ");
    let sql = format!(
        "SELECT f.target_id, f.level, f.since, f.detail FROM rollout_target p JOIN finding f ON f.target_id = p.target_id \
         WHERE p.rollout_id = $1 AND p.begun_at IS NOT NULL AND f.code IN ({codes}) ORDER BY f.target_id, f.key"
    );
    let silence = |r: &Row| -> Result<Silence> {
        Ok(Silence { target: TargetId(r.int(0)?), level: word(r, 1, Level::parse)?, since: r.opt_time(2)?, detail: r.text(3)?.to_owned() })
    };
    tx.query(&sql, &[id.0.into()])?.iter().map(silence).collect()
}

/// How many targets of a wave there are, were told, were observed, and were left behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// All of them.
    pub targets: i64,
    /// Those whose nodes were told.
    pub begun: i64,
    /// Those that were observed serving the version.
    pub observed: i64,
    /// Those that were left behind.
    pub left_behind: i64,
}

/// What became of each wave that has targets.
pub fn counts(tx: &mut Tx<'_>, id: RolloutId) -> Result<Vec<(i64, Count)>> {
    let sql = "SELECT wave, COUNT(*), COUNT(begun_at), COUNT(observed_at), COUNT(quarantined_at) FROM rollout_target \
               WHERE rollout_id = $1 GROUP BY wave ORDER BY wave";
    let count = |r: &Row| -> Result<(i64, Count)> {
        Ok((r.int(0)?, Count { targets: r.int(1)?, begun: r.int(2)?, observed: r.int(3)?, left_behind: r.int(4)? }))
    };
    tx.query(sql, &[id.0.into()])?.iter().map(count).collect()
}

/// Wakes a loop for every rollout that a target concerns: those that are on their way, and those that left it behind.
pub fn wake(tx: &mut Tx<'_>, target: TargetId, loop_name: &str, at: Time) -> Result<u64> {
    wake_where(tx, "p.target_id = $2 AND (r.ended_at IS NULL OR p.quarantined_at IS NOT NULL)", target.0, loop_name, at)
}

/// Wakes a loop for every rollout that a node concerns.
pub fn wake_by_node(tx: &mut Tx<'_>, node: NodeId, loop_name: &str, at: Time) -> Result<u64> {
    let of = "p.target_id IN (SELECT target_id FROM target_node WHERE node_id = $2) AND r.ended_at IS NULL";
    wake_where(tx, of, node.0, loop_name, at)
}

/// Wakes a loop for every rollout of a secret that has something left to do.
pub fn wake_by_secret(tx: &mut Tx<'_>, secret: SecretId, loop_name: &str, at: Time) -> Result<u64> {
    wake_where(tx, "r.secret_id = $2 AND r.ended_at IS NULL", secret.0, loop_name, at)
}

/// Wakes a loop for every rollout that has something left to do: what they are planned by has changed.
pub fn wake_open(tx: &mut Tx<'_>, loop_name: &str, at: Time) -> Result<()> {
    crate::timer::set_earlier_for(tx, loop_name, "rollout WHERE ended_at IS NULL", at)
}

fn wake_where(tx: &mut Tx<'_>, of: &'static str, whose: i64, loop_name: &str, at: Time) -> Result<u64> {
    let sql = format!(
        "INSERT INTO timer (loop, subject, due_at, wakes, claimed_until, claimed_by, fence) \
         SELECT $1, id, $3, 1, 0, '', 0 FROM (SELECT DISTINCT r.id FROM rollout r LEFT JOIN rollout_target p ON p.rollout_id = r.id \
         WHERE {of}) concerned ORDER BY id \
         ON CONFLICT (loop, subject) DO UPDATE SET wakes = timer.wakes + 1, \
         due_at = CASE WHEN timer.due_at < excluded.due_at THEN timer.due_at ELSE excluded.due_at END"
    );
    tx.execute(&sql, &[loop_name.into(), whose.into(), at.into()])
}

/// The newest version that any rollout of a secret that was not taken back has brought to a target, and that rollout; none where none has.
pub fn brought(tx: &mut Tx<'_>, secret: SecretId) -> Result<Option<(i64, RolloutId)>> {
    let sql = "SELECT version, id FROM rollout r WHERE secret_id = $1 AND state <> 'rolled-back' AND state <> 'waiting' AND EXISTS \
               (SELECT 1 FROM rollout_target p WHERE p.rollout_id = r.id AND p.begun_at IS NOT NULL) \
               ORDER BY id DESC LIMIT 1";
    tx.query_opt(sql, &[secret.0.into()])?.map(|r| Ok((r.int(0)?, RolloutId(r.int(1)?)))).transpose()
}

/// The names of the targets that a rollout left behind and that were not observed since, in the order of their numbers.
pub fn left_behind(tx: &mut Tx<'_>, id: RolloutId) -> Result<Vec<String>> {
    let sql = "SELECT t.name FROM rollout_target p JOIN target t ON t.id = p.target_id \
               WHERE p.rollout_id = $1 AND p.quarantined_at IS NOT NULL ORDER BY p.target_id";
    tx.query(sql, &[id.0.into()])?.iter().map(|r| Ok(r.text(0)?.to_owned())).collect()
}

/// For whom certificates of a version exist, and who waits for an issuer. A scope is a node's name, a region's, or "all".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Issued {
    /// What there is a certificate for; since when, where it was made for a key that was born there.
    pub scopes: BTreeMap<String, Option<Time>>,
    /// What an issuer was asked for and has not answered.
    pub asked: BTreeSet<String>,
}

/// For whom certificates of a version exist, and who waits for an issuer.
pub fn issued(tx: &mut Tx<'_>, secret: SecretId, version: i64) -> Result<Issued> {
    let params = [secret.0.into(), version.into()];
    let mut all = Issued::default();
    tx.for_each("SELECT DISTINCT scope FROM instance WHERE secret_id = $1 AND version = $2 ORDER BY scope", &params, |r| {
        all.scopes.insert(r.text(0)?.to_owned(), None);
        Ok(())
    })?;
    let made = "SELECT scope, MAX(done_at) FROM (SELECT scope, done_at FROM issued WHERE secret_id = $1 AND version = $2 AND state = 'signed' \
                UNION ALL SELECT scope, done_at FROM signing_order WHERE secret_id = $1 AND version = $2 AND state = 'issued') made \
                GROUP BY scope ORDER BY scope";
    tx.for_each(made, &params, |r| {
        if let Some(at) = all.scopes.get_mut(r.text(0)?) {
            *at = r.opt_time(1)?;
        }
        Ok(())
    })?;
    let asked = "SELECT DISTINCT scope FROM signing_order WHERE secret_id = $1 AND version = $2 AND state = 'open' ORDER BY scope";
    tx.for_each(asked, &params, |r| {
        all.asked.insert(r.text(0)?.to_owned());
        Ok(())
    })?;
    Ok(all)
}

/// The versions of a secret that its targets with agents show, what most of them show first: of as many the newest.
pub fn shown(tx: &mut Tx<'_>, secret: SecretId) -> Result<Vec<i64>> {
    let sql = "SELECT shows FROM target t WHERE secret_id = $1 AND retired_at IS NULL AND shows > 0 \
               GROUP BY shows ORDER BY COUNT((SELECT MIN(node_id) FROM target_node n WHERE n.target_id = t.id)) DESC, COUNT(*) DESC, shows DESC";
    tx.query(sql, &[secret.0.into()])?.iter().map(|r| r.int(0)).collect()
}

/// The rollout that takes another one back, where one does.
pub fn taken_back_by(tx: &mut Tx<'_>, id: RolloutId) -> Result<Option<RolloutId>> {
    let sql = "SELECT id FROM rollout WHERE takes_back = $1 AND takes_back <> 0 ORDER BY id DESC LIMIT 1";
    tx.query_opt(sql, &[id.0.into()])?.map(|r| Ok(RolloutId(r.int(0)?))).transpose()
}
