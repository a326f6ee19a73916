//! Nodes: who they are, what they are to have, and what they say about that. Who may speak for one is in [`super::identity`].

use super::{fingerprint, list, list_column, word};
use crate::{Result, Row, StoreError, Tx, Value};
use domain::{
    Fingerprint, Time,
    issuing::KeysAt,
    words::{NodeId, RolloutId, SecretId, TargetId},
};
use std::collections::{BTreeMap, BTreeSet};

/// How often a node's manifest changed, as [`Tx::counted`] knows it: who waits for one looks at this number alone.
pub const CHANGES: &str = "node/changes";
/// Starts of an agent that are remembered besides the latest one.
pub const MOST_EARLIER: usize = 8;

/// A machine with an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub region: String,
    /// Where it is, more precisely; empty for nowhere in particular.
    pub stamp: String,
    /// Whether it is among the first to get something new.
    pub canary: bool,
    /// Since when it is in the inventory.
    pub declared_at: Time,
    /// When it left the inventory.
    pub retired_at: Option<Time>,
    /// The number of its manifest; only goes forward.
    pub generation: i64,
    /// When that last changed.
    pub changed_at: Time,
    /// SHA-256 of the public key that its agent lives on.
    pub key: Option<Fingerprint>,
    /// The life of the store in which it joined.
    pub epoch: i64,
    /// When it joined.
    pub joined_at: Option<Time>,
    /// When its identity was taken back.
    pub revoked_at: Option<Time>,
    /// The start of the agent that was heard last; empty before the first.
    pub instance: String,
    /// When that was first heard.
    pub instance_at: Option<Time>,
    /// Starts before it, with the time at which each was replaced, the latest first.
    pub earlier: Vec<(String, Time)>,
    /// When its identity was seen in two places.
    pub cloned_at: Option<Time>,
    /// How that showed.
    pub cloned: String,
    /// The agent's version.
    pub agent: String,
    /// When it was last heard of, to some minutes.
    pub seen_at: Option<Time>,
    /// When it last reported.
    pub reported_at: Option<Time>,
    /// The generation that it then acted on.
    pub acted: i64,
    /// By how many seconds its clock was ahead of the store's.
    pub clock_off: Option<i64>,
}

impl Node {
    /// One of which nothing is known but its name and place.
    pub fn new(id: NodeId, name: &str, now: Time) -> Node {
        Node {
            id,
            name: name.into(),
            region: String::new(),
            stamp: String::new(),
            canary: false,
            declared_at: now,
            retired_at: None,
            generation: 0,
            changed_at: now,
            key: None,
            epoch: 0,
            joined_at: None,
            revoked_at: None,
            instance: String::new(),
            instance_at: None,
            earlier: Vec::new(),
            cloned_at: None,
            cloned: String::new(),
            agent: String::new(),
            seen_at: None,
            reported_at: None,
            acted: 0,
            clock_off: None,
        }
    }

    /// Whether somebody may speak for it.
    pub fn is_joined(&self) -> bool {
        self.key.is_some() && self.revoked_at.is_none()
    }
}

const COLUMNS: &str = "id, name, region, stamp, canary, declared_at, retired_at, generation, changed_at, key, epoch, joined_at, revoked_at, \
     instance, instance_at, earlier, cloned_at, cloned, agent, seen_at, reported_at, acted, clock_off";

fn from_row(r: &Row) -> Result<Node> {
    Ok(Node {
        id: NodeId(r.int(0)?),
        name: r.text(1)?.into(),
        region: r.text(2)?.into(),
        stamp: r.text(3)?.into(),
        canary: r.bool(4)?,
        declared_at: r.time(5)?,
        retired_at: r.opt_time(6)?,
        generation: r.int(7)?,
        changed_at: r.time(8)?,
        key: fingerprint(r, 9)?,
        epoch: r.int(10)?,
        joined_at: r.opt_time(11)?,
        revoked_at: r.opt_time(12)?,
        instance: r.text(13)?.into(),
        instance_at: r.opt_time(14)?,
        earlier: earlier(r.text(15)?)?,
        cloned_at: r.opt_time(16)?,
        cloned: r.text(17)?.into(),
        agent: r.text(18)?.into(),
        seen_at: r.opt_time(19)?,
        reported_at: r.opt_time(20)?,
        acted: r.int(21)?,
        clock_off: r.opt_int(22)?,
    })
}

pub(super) fn earlier(text: &str) -> Result<Vec<(String, Time)>> {
    list(text)?
        .iter()
        .map(|one| {
            let parts = one.split_once(' ').and_then(|(at, instance)| Some((instance.to_owned(), Time::from_unix(at.parse().ok()?))));
            parts.ok_or_else(|| StoreError::Corrupt { what: String::from("an earlier start of an agent") })
        })
        .collect()
}

fn values(n: &Node) -> Vec<Value> {
    let earlier: Vec<String> = n.earlier.iter().take(MOST_EARLIER).map(|(instance, at)| format!("{} {instance}", at.unix())).collect();
    vec![
        n.id.0.into(),
        (&n.name).into(),
        (&n.region).into(),
        (&n.stamp).into(),
        n.canary.into(),
        n.declared_at.into(),
        n.retired_at.into(),
        n.generation.into(),
        n.changed_at.into(),
        n.key.map(|k| *k.as_bytes()).into(),
        n.epoch.into(),
        n.joined_at.into(),
        n.revoked_at.into(),
        (&n.instance).into(),
        n.instance_at.into(),
        list_column(&earlier).into(),
        n.cloned_at.into(),
        (&n.cloned).into(),
        (&n.agent).into(),
        n.seen_at.into(),
        n.reported_at.into(),
        n.acted.into(),
        n.clock_off.into(),
    ]
}

/// Adds a node.
pub fn insert(tx: &mut Tx<'_>, n: &Node) -> Result<()> {
    let places: Vec<String> = (1..=23).map(|i| format!("${i}")).collect();
    tx.execute(&format!("INSERT INTO node ({COLUMNS}) VALUES ({})", places.join(",")), &values(n))?;
    Ok(())
}

/// Writes a node whose row is taken; its generation is [`advance`]'s alone.
pub fn put(tx: &mut Tx<'_>, n: &Node) -> Result<()> {
    let mut sets = Vec::new();
    for (at, column) in COLUMNS.split(',').map(str::trim).enumerate() {
        if !matches!(column, "id" | "name" | "generation" | "changed_at") {
            sets.push(format!("{column} = ${}", at + 1));
        }
    }
    // PostgreSQL wants to see a use of every parameter.
    let sql = format!(
        "UPDATE node SET {} WHERE id = $1 AND CAST($2 AS TEXT) <> '' AND CAST($8 AS BIGINT) >= 0 AND CAST($9 AS BIGINT) IS NOT NULL",
        sets.join(", ")
    );
    tx.execute(&sql, &values(n))?;
    Ok(())
}

/// Takes the row of a node.
pub fn lock(tx: &mut Tx<'_>, id: NodeId) -> Result<Option<Node>> {
    tx.query_opt(&format!("UPDATE node SET epoch = epoch WHERE id = $1 RETURNING {COLUMNS}"), &[id.0.into()])?
        .as_ref()
        .map(from_row)
        .transpose()
}

/// A node.
pub fn get(tx: &mut Tx<'_>, id: NodeId) -> Result<Option<Node>> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM node WHERE id = $1"), &[id.0.into()])?.as_ref().map(from_row).transpose()
}

/// A node by name, retired or not.
pub fn by_name(tx: &mut Tx<'_>, name: &str) -> Result<Option<Node>> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM node WHERE name = $1"), &[name.into()])?.as_ref().map(from_row).transpose()
}

/// Nodes that are not retired, in the order of their names, behind `after`; of a region where one is named.
pub fn page(tx: &mut Tx<'_>, region: &str, after: &str, limit: i64) -> Result<Vec<Node>> {
    let sql =
        format!("SELECT {COLUMNS} FROM node WHERE name > $1 AND retired_at IS NULL AND ($2 = '' OR region = $2) ORDER BY name LIMIT $3");
    tx.query(&sql, &[after.into(), region.into(), limit.into()])?.iter().map(from_row).collect()
}

/// Nodes that are not retired, in the order of their numbers, behind `after`.
pub fn all(tx: &mut Tx<'_>, after: NodeId, limit: i64) -> Result<Vec<Node>> {
    let sql = format!("SELECT {COLUMNS} FROM node WHERE id > $1 AND retired_at IS NULL ORDER BY id LIMIT $2");
    tx.query(&sql, &[after.0.into(), limit.into()])?.iter().map(from_row).collect()
}

/// The number and generation of every node, in the order of their numbers.
pub fn generations(tx: &mut Tx<'_>) -> Result<Vec<(NodeId, i64)>> {
    let mut all = Vec::new();
    tx.for_each("SELECT id, generation FROM node ORDER BY id", &[], |r| {
        all.push((NodeId(r.int(0)?), r.int(1)?));
        Ok(())
    })?;
    Ok(all)
}

/// The next generation of a node: its manifest says something else from here on. Whoever waits for it looks again.
pub fn advance(tx: &mut Tx<'_>, id: NodeId, now: Time) -> Result<i64> {
    let sql = "UPDATE node SET generation = generation + 1, changed_at = $2 WHERE id = $1 RETURNING generation";
    let generation = tx.query_one(sql, &[id.0.into(), now.into()])?.int(0)?;
    tx.count(CHANGES, 1)?;
    Ok(generation)
}

/// The next generation of every node that has an identity: something changed that all manifests say.
pub fn advance_all(tx: &mut Tx<'_>, now: Time) -> Result<u64> {
    let sql = "UPDATE node SET generation = generation + 1, changed_at = $1 \
               WHERE key IS NOT NULL AND revoked_at IS NULL AND retired_at IS NULL";
    let all = tx.execute(sql, &[now.into()])?;
    tx.count(CHANGES, 1)?;
    Ok(all)
}

/// The names of nodes that have an identity and have not said that they act on their latest manifest, in order; and how many there are.
pub fn behind_their_manifest(tx: &mut Tx<'_>, limit: i64) -> Result<(Vec<String>, i64)> {
    let of = "FROM node WHERE key IS NOT NULL AND revoked_at IS NULL AND retired_at IS NULL AND acted < generation";
    let count = tx.query_one(&format!("SELECT COUNT(*) {of}"), &[])?.int(0)?;
    let names = tx.query(&format!("SELECT name {of} ORDER BY name LIMIT $1"), &[limit.into()])?;
    Ok((names.iter().map(|r| Ok(r.text(0)?.to_owned())).collect::<Result<_>>()?, count))
}

/// The next generation of a node, past one that its agent has seen in a life of the store that was lost.
pub fn raise(tx: &mut Tx<'_>, id: NodeId, past: i64, now: Time) -> Result<()> {
    tx.execute(
        "UPDATE node SET generation = $2, changed_at = $3 WHERE id = $1 AND generation < $2",
        &[id.0.into(), past.into(), now.into()],
    )?;
    advance(tx, id, now)?;
    Ok(())
}

/// These nodes were heard of.
pub fn seen(tx: &mut Tx<'_>, ids: &[NodeId], now: Time) -> Result<()> {
    for some in ids.chunks(MANY) {
        let mut params: Vec<Value> = vec![now.into()];
        params.extend(some.iter().map(|id| Value::from(id.0)));
        let places = (2..=params.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(",");
        let sql = format!("UPDATE node SET seen_at = $1 WHERE id IN ({places}) AND (seen_at IS NULL OR seen_at < $1)");
        tx.execute(&sql, &params)?;
    }
    Ok(())
}

/// Those among these nodes that were last heard of at or before a moment, in the order of their numbers.
pub fn heard_before(tx: &mut Tx<'_>, ids: &[NodeId], at: Time) -> Result<Vec<NodeId>> {
    let mut all = Vec::new();
    for some in ids.chunks(MANY) {
        let mut params: Vec<Value> = vec![at.into()];
        params.extend(some.iter().map(|id| Value::from(id.0)));
        let places = (2..=params.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(",");
        let sql = format!("SELECT id FROM node WHERE id IN ({places}) AND seen_at <= $1 ORDER BY id");
        tx.for_each(&sql, &params, |r| {
            all.push(NodeId(r.int(0)?));
            Ok(())
        })?;
    }
    Ok(all)
}

/// What a node is to have of one secret, and what it says about that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// The node.
    pub node: NodeId,
    /// The secret.
    pub secret: SecretId,
    /// The version that it is to have; 0 while nothing was decided.
    pub version: i64,
    /// The node's generation at which it was told so.
    pub generation: i64,
    /// The rollout that decided it.
    pub rollout: Option<RolloutId>,
    /// A rehearsal of a fault; empty for none.
    pub fault: String,
    /// When it was decided.
    pub desired_at: Option<Time>,
    /// When the manifest that names this version went out.
    pub told_at: Option<Time>,
    /// When its certificate or key went out.
    pub fetched_at: Option<Time>,
    /// When the agent said that it is installed.
    pub installed_at: Option<Time>,
    /// When the agent said that it could not; none once it could.
    pub failed_at: Option<Time>,
    /// How far it is, in the agent's word; empty before its first.
    pub state: String,
    /// The version that lies in the files.
    pub has: i64,
    /// The leaf that lies in the files.
    pub leaf: Option<Fingerprint>,
    /// How often it was tried since it last succeeded.
    pub attempts: i64,
    /// What went wrong, or what is waited for.
    pub detail: String,
}

impl Install {
    /// A secret that a node is to have, of which nothing was decided yet.
    pub fn new(node: NodeId, secret: SecretId) -> Install {
        Install {
            node,
            secret,
            version: 0,
            generation: 0,
            rollout: None,
            fault: String::new(),
            desired_at: None,
            told_at: None,
            fetched_at: None,
            installed_at: None,
            failed_at: None,
            state: String::new(),
            has: 0,
            leaf: None,
            attempts: 0,
            detail: String::new(),
        }
    }
}

const INSTALL: &str = "node_id, secret_id, version, generation, rollout_id, fault, desired_at, told_at, fetched_at, installed_at, failed_at, \
     state, has, leaf, attempts, detail";

fn install_row(r: &Row, from: usize) -> Result<Install> {
    let rollout = r.int(from + 4)?;
    Ok(Install {
        node: NodeId(r.int(from)?),
        secret: SecretId(r.int(from + 1)?),
        version: r.int(from + 2)?,
        generation: r.int(from + 3)?,
        rollout: (rollout != 0).then_some(RolloutId(rollout)),
        fault: r.text(from + 5)?.into(),
        desired_at: r.opt_time(from + 6)?,
        told_at: r.opt_time(from + 7)?,
        fetched_at: r.opt_time(from + 8)?,
        installed_at: r.opt_time(from + 9)?,
        failed_at: r.opt_time(from + 10)?,
        state: r.text(from + 11)?.into(),
        has: r.int(from + 12)?,
        leaf: fingerprint(r, from + 13)?,
        attempts: r.int(from + 14)?,
        detail: r.text(from + 15)?.into(),
    })
}

/// What a node is to have, in the order of the secrets' numbers.
pub fn installs(tx: &mut Tx<'_>, node: NodeId) -> Result<Vec<Install>> {
    let sql = format!("SELECT {INSTALL} FROM node_secret WHERE node_id = $1 ORDER BY secret_id");
    tx.query(&sql, &[node.0.into()])?.iter().map(|r| install_row(r, 0)).collect()
}

/// What a node is to have, each with the secret's name, in the order of the secrets' numbers.
pub fn named_installs(tx: &mut Tx<'_>, node: NodeId) -> Result<Vec<(Install, String)>> {
    let columns: Vec<String> = INSTALL.split(',').map(|c| format!("i.{}", c.trim())).collect();
    let sql = format!(
        "SELECT s.name, {} FROM node_secret i JOIN secret s ON s.id = i.secret_id WHERE i.node_id = $1 ORDER BY i.secret_id",
        columns.join(", ")
    );
    tx.query(&sql, &[node.0.into()])?.iter().map(|r| Ok((install_row(r, 1)?, r.text(0)?.to_owned()))).collect()
}

/// Secrets of a node by name, each with the version that it is to have.
pub type Named = BTreeMap<String, (SecretId, i64)>;

/// The secrets of every node.
pub fn secrets_of_all(tx: &mut Tx<'_>) -> Result<BTreeMap<NodeId, Named>> {
    let mut all: BTreeMap<NodeId, Named> = BTreeMap::new();
    let sql = "SELECT i.node_id, s.name, i.secret_id, i.version FROM node_secret i JOIN secret s ON s.id = i.secret_id \
               ORDER BY i.node_id, i.secret_id";
    tx.for_each(sql, &[], |r| {
        all.entry(NodeId(r.int(0)?)).or_default().insert(r.text(1)?.into(), (SecretId(r.int(2)?), r.int(3)?));
        Ok(())
    })?;
    Ok(all)
}

/// The names of the nodes behind every target, by its name.
pub fn behind_all(tx: &mut Tx<'_>) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let sql = "SELECT g.name, n.name FROM target_node t JOIN target g ON g.id = t.target_id JOIN node n ON n.id = t.node_id \
               ORDER BY t.target_id, t.node_id";
    tx.for_each(sql, &[], |r| {
        all.entry(r.text(0)?.into()).or_default().insert(r.text(1)?.into());
        Ok(())
    })?;
    Ok(all)
}

/// One of them.
pub fn install(tx: &mut Tx<'_>, node: NodeId, secret: SecretId) -> Result<Option<Install>> {
    let sql = format!("SELECT {INSTALL} FROM node_secret WHERE node_id = $1 AND secret_id = $2");
    tx.query_opt(&sql, &[node.0.into(), secret.0.into()])?.map(|r| install_row(&r, 0)).transpose()
}

/// Writes one. The node's row is taken first.
pub fn put_install(tx: &mut Tx<'_>, i: &Install) -> Result<()> {
    tx.execute(
        &format!(
            "INSERT INTO node_secret ({INSTALL}) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16) \
             ON CONFLICT (node_id, secret_id) DO UPDATE SET version=excluded.version, generation=excluded.generation, \
             rollout_id=excluded.rollout_id, fault=excluded.fault, desired_at=excluded.desired_at, told_at=excluded.told_at, \
             fetched_at=excluded.fetched_at, installed_at=excluded.installed_at, failed_at=excluded.failed_at, state=excluded.state, \
             has=excluded.has, leaf=excluded.leaf, attempts=excluded.attempts, detail=excluded.detail"
        ),
        &[
            i.node.0.into(),
            i.secret.0.into(),
            i.version.into(),
            i.generation.into(),
            i.rollout.map_or(0, |r| r.0).into(),
            (&i.fault).into(),
            i.desired_at.into(),
            i.told_at.into(),
            i.fetched_at.into(),
            i.installed_at.into(),
            i.failed_at.into(),
            (&i.state).into(),
            i.has.into(),
            i.leaf.map(|l| *l.as_bytes()).into(),
            i.attempts.into(),
            (&i.detail).into(),
        ],
    )?;
    Ok(())
}

/// A node is no longer to have a secret.
pub fn remove_install(tx: &mut Tx<'_>, node: NodeId, secret: SecretId) -> Result<()> {
    tx.execute("DELETE FROM node_secret WHERE node_id = $1 AND secret_id = $2", &[node.0.into(), secret.0.into()])?;
    Ok(())
}

/// Manifests of these generations went out.
pub fn told(tx: &mut Tx<'_>, of: &[(NodeId, i64)], now: Time) -> Result<()> {
    for some in of.chunks(MANY) {
        let mut params: Vec<Value> = vec![now.into()];
        let mut any = Vec::with_capacity(some.len());
        for (node, generation) in some {
            any.push(format!("(node_id = ${} AND generation <= ${})", params.len() + 1, params.len() + 2));
            params.extend([Value::from(node.0), Value::from(*generation)]);
        }
        let sql = format!("UPDATE node_secret SET told_at = $1 WHERE ({}) AND told_at IS NULL AND version > 0", any.join(" OR "));
        tx.execute(&sql, &params)?;
    }
    Ok(())
}

/// How a version stands on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnNode {
    /// The node's name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Its stamp.
    pub stamp: String,
    /// Whether it is a canary.
    pub canary: bool,
    /// The rest.
    pub install: Install,
}

/// Every node that is to have this version of a secret, in the order of their numbers; nodes that left the inventory are not among them.
pub fn states(tx: &mut Tx<'_>, secret: SecretId, version: i64) -> Result<Vec<OnNode>> {
    let columns: Vec<String> = INSTALL.split(',').map(|c| format!("i.{}", c.trim())).collect();
    let sql = format!(
        "SELECT n.name, n.region, n.stamp, n.canary, {} FROM node_secret i JOIN node n ON n.id = i.node_id \
         WHERE i.secret_id = $1 AND i.version = $2 AND n.retired_at IS NULL ORDER BY i.node_id",
        columns.join(", ")
    );
    let on = |r: &Row| {
        Ok(OnNode {
            name: r.text(0)?.into(),
            region: r.text(1)?.into(),
            stamp: r.text(2)?.into(),
            canary: r.bool(3)?,
            install: install_row(r, 4)?,
        })
    };
    tx.query(&sql, &[secret.0.into(), version.into()])?.iter().map(on).collect()
}

/// Versions of a secret that nodes of a region are to have, each with how many say that it is installed; the highest first.
pub fn versions_in(tx: &mut Tx<'_>, secret: SecretId, region: &str) -> Result<Vec<(i64, i64)>> {
    let sql = "SELECT i.version, CAST(SUM(CASE WHEN i.installed_at IS NULL THEN 0 ELSE 1 END) AS BIGINT) FROM node_secret i \
               JOIN node n ON n.id = i.node_id WHERE i.secret_id = $1 AND n.region = $2 AND i.version > 0 AND n.retired_at IS NULL \
               GROUP BY i.version ORDER BY i.version DESC";
    tx.query(sql, &[secret.0.into(), region.into()])?.iter().map(|r| Ok((r.int(0)?, r.int(1)?))).collect()
}

/// The numbers of the nodes that are to have a secret, whichever version.
pub fn of_secret(tx: &mut Tx<'_>, secret: SecretId) -> Result<Vec<NodeId>> {
    let sql = "SELECT i.node_id FROM node_secret i JOIN node n ON n.id = i.node_id \
               WHERE i.secret_id = $1 AND n.retired_at IS NULL ORDER BY i.node_id";
    tx.query(sql, &[secret.0.into()])?.iter().map(|r| Ok(NodeId(r.int(0)?))).collect()
}

/// The nodes that stand behind a target, in the order of their numbers.
pub fn of_target(tx: &mut Tx<'_>, target: TargetId) -> Result<Vec<Node>> {
    let columns: Vec<String> = COLUMNS.split(',').map(|c| format!("n.{}", c.trim())).collect();
    let sql = format!(
        "SELECT {} FROM target_node t JOIN node n ON n.id = t.node_id WHERE t.target_id = $1 AND n.retired_at IS NULL ORDER BY n.id",
        columns.join(", ")
    );
    tx.query(&sql, &[target.0.into()])?.iter().map(from_row).collect()
}

/// Their names alone.
pub fn names_of_target(tx: &mut Tx<'_>, target: TargetId) -> Result<Vec<String>> {
    let sql = "SELECT n.name FROM target_node t JOIN node n ON n.id = t.node_id WHERE t.target_id = $1 AND n.retired_at IS NULL \
               ORDER BY n.id";
    tx.query(sql, &[target.0.into()])?.iter().map(|r| Ok(r.text(0)?.into())).collect()
}

/// Replaces the nodes behind a target.
pub fn put_of_target(tx: &mut Tx<'_>, target: TargetId, nodes: &[NodeId]) -> Result<()> {
    tx.execute("DELETE FROM target_node WHERE target_id = $1", &[target.0.into()])?;
    for node in nodes {
        let sql = "INSERT INTO target_node (target_id, node_id) VALUES ($1, $2) ON CONFLICT (target_id, node_id) DO NOTHING";
        tx.execute(sql, &[target.0.into(), node.0.into()])?;
    }
    Ok(())
}

/// The targets of a secret behind which a node stands, in the order of their numbers.
pub fn targets_of(tx: &mut Tx<'_>, node: NodeId, secret: SecretId) -> Result<Vec<TargetId>> {
    let sql = "SELECT t.target_id FROM target_node t JOIN target g ON g.id = t.target_id \
               WHERE t.node_id = $1 AND g.secret_id = $2 AND g.retired_at IS NULL ORDER BY t.target_id";
    tx.query(sql, &[node.0.into(), secret.0.into()])?.iter().map(|r| Ok(TargetId(r.int(0)?))).collect()
}

/// Whether nodes stand behind any target of a secret.
pub fn any_behind(tx: &mut Tx<'_>, secret: SecretId) -> Result<bool> {
    let sql = "SELECT t.node_id FROM target g JOIN target_node t ON t.target_id = g.id \
               WHERE g.secret_id = $1 AND g.retired_at IS NULL ORDER BY g.id, t.node_id LIMIT 1";
    Ok(!tx.query(sql, &[secret.0.into()])?.is_empty())
}

/// What a manifest says about one secret of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The secret.
    pub secret: SecretId,
    /// Its name.
    pub name: String,
    /// The version that the node is to have.
    pub version: i64,
    /// The generation at which it was told so.
    pub since: i64,
    /// A rehearsal of a fault; empty for none.
    pub fault: String,
    /// Names that its certificate covers, as declared.
    pub names: Vec<String>,
    /// Where its keys are born, and which kind they are, where the inventory says how it is issued.
    pub issued: Option<(KeysAt, String, String)>,
    /// Its leaves: the node's own where there are any, else its region's, else those for all.
    pub leaves: Vec<Fingerprint>,
}

/// A node, as its manifest says it, with what it is to have in the order of the secrets' names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wants {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// The number of its manifest.
    pub generation: i64,
    /// When that last changed.
    pub changed_at: Time,
    /// What it is to have.
    pub installs: Vec<Wanted>,
}

/// How many nodes are asked for in one statement.
const MANY: usize = 250;

/// What these nodes are to have, in the order of their numbers.
pub fn wants(tx: &mut Tx<'_>, nodes: &[NodeId]) -> Result<Vec<Wants>> {
    let mut all = Vec::with_capacity(nodes.len());
    for some in nodes.chunks(MANY) {
        let params: Vec<Value> = some.iter().map(|n| n.0.into()).collect();
        let places = (1..=params.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(",");
        let mut of: BTreeMap<NodeId, Wants> = BTreeMap::new();
        let sql = format!("SELECT id, name, generation, changed_at FROM node WHERE id IN ({places}) ORDER BY id");
        tx.for_each(&sql, &params, |r| {
            let node = NodeId(r.int(0)?);
            let wants = Wants { node, name: r.text(1)?.into(), generation: r.int(2)?, changed_at: r.time(3)?, installs: Vec::new() };
            of.insert(node, wants);
            Ok(())
        })?;
        let leaves = leaves_of(tx, &places, &params)?;
        let sql = format!(
            "SELECT i.node_id, i.secret_id, s.name, i.version, i.generation, i.fault, s.names, h.keys, h.key_type, h.spiffe_id \
             FROM node_secret i JOIN secret s ON s.id = i.secret_id LEFT JOIN issuance h ON h.secret_id = i.secret_id \
             WHERE i.node_id IN ({places}) AND i.version > 0 ORDER BY i.node_id, s.name"
        );
        tx.for_each(&sql, &params, |r| {
            let (node, secret) = (NodeId(r.int(0)?), SecretId(r.int(1)?));
            let issued = match r.opt_text(7)? {
                Some(_) => Some((word(&r, 7, KeysAt::parse)?, r.text(8)?.to_owned(), r.text(9)?.to_owned())),
                None => None,
            };
            if let Some(wants) = of.get_mut(&node) {
                wants.installs.push(Wanted {
                    secret,
                    name: r.text(2)?.into(),
                    version: r.int(3)?,
                    since: r.int(4)?,
                    fault: r.text(5)?.into(),
                    names: list(r.text(6)?)?,
                    issued,
                    leaves: leaves.get(&(node, secret)).map(|(_, leaves)| leaves.clone()).unwrap_or_default(),
                });
            }
            Ok(())
        })?;
        all.extend(of.into_values());
    }
    Ok(all)
}

/// For each node and secret the leaves of the narrowest scope.
type Narrowest = BTreeMap<(NodeId, SecretId), (u8, Vec<Fingerprint>)>;

fn leaves_of(tx: &mut Tx<'_>, places: &str, params: &[Value]) -> Result<Narrowest> {
    let mut leaves = Narrowest::new();
    let sql = format!(
        "SELECT i.node_id, i.secret_id, CASE WHEN c.scope = n.name THEN 0 WHEN c.scope = n.region THEN 1 ELSE 2 END, c.leaf \
         FROM node_secret i JOIN node n ON n.id = i.node_id JOIN instance c ON c.secret_id = i.secret_id AND c.version = i.version \
         AND c.scope IN ('all', n.region, n.name) WHERE i.node_id IN ({places}) AND c.key_type <> '' \
         ORDER BY i.node_id, i.secret_id, 3, c.key_type"
    );
    tx.for_each(&sql, params, |r| {
        let width = u8::try_from(r.int(2)?).unwrap_or(u8::MAX);
        let of = leaves.entry((NodeId(r.int(0)?), SecretId(r.int(1)?))).or_insert((width, Vec::new()));
        if of.0 == width {
            of.1.extend(fingerprint(&r, 3)?);
        }
        Ok(())
    })?;
    Ok(leaves)
}
