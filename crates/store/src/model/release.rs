//! Releases, their stages, what they carry, and how long those before them took.

use super::{NO_MARGIN, UNKNOWN_MARGIN, fingerprint, word};
use crate::{Result, Row, Tx, Value};
use domain::{
    Fingerprint, Span, Time,
    release::{Deadline, LEAD_SAMPLES, Release, Stage, Status},
    words::{ReleaseId, SecretId},
};

/// What something in a build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// What was a secret's newest version when the build was looked at.
    Version,
    /// A stored version that was not the newest then.
    Older,
    /// A certificate that the store does not hold.
    Unknown,
    /// A private key in the clear.
    Key,
}

impl What {
    /// The word that people, SQL and the API see.
    pub const fn as_str(self) -> &'static str {
        match self {
            What::Version => "version",
            What::Older => "older",
            What::Unknown => "unknown",
            What::Key => "key",
        }
    }

    /// What a word stands for.
    pub fn parse(text: &str) -> Option<What> {
        [What::Version, What::Older, What::Unknown, What::Key].into_iter().find(|w| w.as_str() == text)
    }
}

/// A release as stored, with what was last said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// What the rules need of it.
    pub facts: Release,
    /// Its place in the queue, the least first: [`urgency`].
    pub urgency: i64,
    /// By when it must be built; none where nobody can say, or nothing hangs on it.
    pub ship_by: Option<Time>,
    /// What that rests on, as a sentence.
    pub reason: String,
    /// When it was last assessed.
    pub assessed_at: Option<Time>,
}

/// The place of a deadline in the queue.
pub fn urgency(deadline: Deadline) -> i64 {
    match deadline {
        Deadline::Undated => UNKNOWN_MARGIN,
        Deadline::Now => UNKNOWN_MARGIN + 1,
        Deadline::By(t) => t.unix(),
        Deadline::Never => NO_MARGIN,
    }
}

const COLUMNS: &str = "id, service, build, train, place, status, created_at, earliest_at, planned_at, first_planned_at, built_at, \
     deployed_at, observed_at, ended_at, urgency, ship_by, reason, assessed_at";

fn from_row(r: &Row) -> Result<Stored> {
    Ok(Stored {
        facts: Release {
            id: ReleaseId(r.int(0)?),
            service: r.text(1)?.into(),
            build: r.text(2)?.into(),
            train: r.text(3)?.into(),
            place: r.int(4)?,
            status: word(r, 5, Status::parse)?,
            created_at: r.time(6)?,
            earliest_at: r.time(7)?,
            planned_at: r.time(8)?,
            first_planned_at: r.time(9)?,
            built_at: r.opt_time(10)?,
            deployed_at: r.opt_time(11)?,
            observed_at: r.opt_time(12)?,
            ended_at: r.opt_time(13)?,
            stages: Vec::new(),
        },
        urgency: r.int(14)?,
        ship_by: r.opt_time(15)?,
        reason: r.text(16)?.into(),
        assessed_at: r.opt_time(17)?,
    })
}

fn with_stages(tx: &mut Tx<'_>, rows: Vec<Row>) -> Result<Vec<Stored>> {
    let mut all = rows.iter().map(from_row).collect::<Result<Vec<_>>>()?;
    for one in &mut all {
        one.facts.stages = stages(tx, one.facts.id)?;
    }
    Ok(all)
}

/// Takes the release's row: whoever changes it or what hangs on it starts here.
pub fn lock(tx: &mut Tx<'_>, id: ReleaseId) -> Result<Option<Stored>> {
    let sql = format!("UPDATE release SET generation = generation + 1 WHERE id = $1 RETURNING {COLUMNS}");
    let rows = tx.query(&sql, &[id.0.into()])?;
    Ok(with_stages(tx, rows)?.pop())
}

/// One release.
pub fn get(tx: &mut Tx<'_>, id: ReleaseId) -> Result<Option<Stored>> {
    let rows = tx.query(&format!("SELECT {COLUMNS} FROM release WHERE id = $1"), &[id.0.into()])?;
    Ok(with_stages(tx, rows)?.pop())
}

/// One release, by what its builders call it.
pub fn by_build(tx: &mut Tx<'_>, service: &str, build: &str) -> Result<Option<Stored>> {
    let sql = format!("SELECT {COLUMNS} FROM release WHERE service = $1 AND build = $2");
    let rows = tx.query(&sql, &[service.into(), build.into()])?;
    Ok(with_stages(tx, rows)?.pop())
}

/// Creates a release; its number comes from [`Tx::next_id`].
pub fn insert(tx: &mut Tx<'_>, r: &Release) -> Result<()> {
    tx.execute(
        &format!("INSERT INTO release ({COLUMNS}, generation) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,NULL,'',NULL,0)"),
        &[
            r.id.0.into(),
            (&r.service).into(),
            (&r.build).into(),
            (&r.train).into(),
            r.place.into(),
            r.status.as_str().into(),
            r.created_at.into(),
            r.earliest_at.into(),
            r.planned_at.into(),
            r.first_planned_at.into(),
            r.built_at.into(),
            r.deployed_at.into(),
            r.observed_at.into(),
            r.ended_at.into(),
            NO_MARGIN.into(),
        ],
    )?;
    for stage in &r.stages {
        put_stage(tx, r.id, stage)?;
    }
    Ok(())
}

/// Writes what may change of a release whose row is taken, besides its stages.
pub fn update(tx: &mut Tx<'_>, r: &Release) -> Result<()> {
    tx.execute(
        "UPDATE release SET train=$2, place=$3, status=$4, earliest_at=$5, planned_at=$6, built_at=$7, deployed_at=$8, observed_at=$9, \
         ended_at=$10 WHERE id=$1",
        &[
            r.id.0.into(),
            (&r.train).into(),
            r.place.into(),
            r.status.as_str().into(),
            r.earliest_at.into(),
            r.planned_at.into(),
            r.built_at.into(),
            r.deployed_at.into(),
            r.observed_at.into(),
            r.ended_at.into(),
        ],
    )?;
    if r.ended_at.is_some() {
        tx.execute("UPDATE release_item SET open = 0 WHERE release_id = $1 AND open = 1", &[r.id.0.into()])?;
    }
    Ok(())
}

/// Writes what the rules said of a release.
pub fn update_standing(tx: &mut Tx<'_>, id: ReleaseId, deadline: Deadline, ship_by: Option<Time>, reason: &str, now: Time) -> Result<()> {
    tx.execute(
        "UPDATE release SET urgency=$2, ship_by=$3, reason=$4, assessed_at=$5 WHERE id=$1",
        &[id.0.into(), urgency(deadline).into(), ship_by.into(), reason.into(), now.into()],
    )?;
    Ok(())
}

/// Writes as what a release that is being created was planned first.
pub fn set_first_plan(tx: &mut Tx<'_>, id: ReleaseId, at: Time) -> Result<()> {
    tx.execute("UPDATE release SET first_planned_at = $2 WHERE id = $1", &[id.0.into(), at.into()])?;
    Ok(())
}

/// Writes the place of a release among those that wait for its train, where it is another one.
pub fn put_place(tx: &mut Tx<'_>, id: ReleaseId, place: i64) -> Result<()> {
    tx.execute("UPDATE release SET place = $2 WHERE id = $1 AND place <> $2", &[id.0.into(), place.into()])?;
    Ok(())
}

/// The stages of a release, in the order of their regions.
pub fn stages(tx: &mut Tx<'_>, id: ReleaseId) -> Result<Vec<Stage>> {
    let sql = "SELECT region, planned_at, status, changed_at FROM release_stage WHERE release_id = $1 ORDER BY region";
    let stage = |r: &Row| {
        Ok(Stage { region: r.text(0)?.into(), planned_at: r.opt_time(1)?, status: word(r, 2, Status::parse)?, changed_at: r.time(3)? })
    };
    tx.query(sql, &[id.0.into()])?.iter().map(stage).collect()
}

/// Writes a stage.
pub fn put_stage(tx: &mut Tx<'_>, id: ReleaseId, s: &Stage) -> Result<()> {
    tx.execute(
        "INSERT INTO release_stage (release_id, region, planned_at, status, changed_at) VALUES ($1,$2,$3,$4,$5) \
         ON CONFLICT (release_id, region) DO UPDATE SET planned_at=excluded.planned_at, status=excluded.status, \
         changed_at=excluded.changed_at",
        &[id.0.into(), (&s.region).into(), s.planned_at.into(), s.status.as_str().into(), s.changed_at.into()],
    )?;
    Ok(())
}

/// Something in a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its number.
    pub id: i64,
    /// Of which release.
    pub release: ReleaseId,
    /// What it is.
    pub what: What,
    /// Of which secret, where it is one of ours.
    pub secret: Option<SecretId>,
    /// Which version of it, 0 for none.
    pub version: i64,
    /// SHA-256 of the certificate, where it is one.
    pub leaf: Option<Fingerprint>,
    /// When that ends.
    pub not_after: Option<Time>,
    /// Its subject, escaped.
    pub subject: String,
    /// Where in the build, escaped; empty where a person said so.
    pub path: String,
    /// When it was added.
    pub added_at: Time,
    /// Since when every production target was seen serving it, or what came after it.
    pub observed_at: Option<Time>,
    /// Whether production had to wait for it after it was built.
    pub waited: bool,
}

const ITEM: &str = "id, release_id, what, secret_id, version, leaf, not_after, subject, path, added_at, observed_at, waited";

fn item(r: &Row) -> Result<Item> {
    let secret = r.int(3)?;
    Ok(Item {
        id: r.int(0)?,
        release: ReleaseId(r.int(1)?),
        what: word(r, 2, What::parse)?,
        secret: (secret != 0).then_some(SecretId(secret)),
        version: r.int(4)?,
        leaf: fingerprint(r, 5)?,
        not_after: r.opt_time(6)?,
        subject: r.text(7)?.into(),
        path: r.text(8)?.into(),
        added_at: r.time(9)?,
        observed_at: r.opt_time(10)?,
        waited: r.bool(11)?,
    })
}

/// What a release carries, in the order in which it was added, behind `after`.
pub fn items(tx: &mut Tx<'_>, id: ReleaseId, after: i64, limit: i64) -> Result<Vec<Item>> {
    let sql = format!("SELECT {ITEM} FROM release_item WHERE release_id = $1 AND id > $2 ORDER BY id LIMIT $3");
    tx.query(&sql, &[id.0.into(), after.into(), limit.into()])?.iter().map(item).collect()
}

/// Adds an item of a release that has not ended; its number comes from [`Tx::next_ids`].
pub fn insert_item(tx: &mut Tx<'_>, i: &Item) -> Result<()> {
    tx.execute(
        &format!("INSERT INTO release_item ({ITEM}, open) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,1)"),
        &[
            i.id.into(),
            i.release.0.into(),
            i.what.as_str().into(),
            i.secret.map_or(0, |s| s.0).into(),
            i.version.into(),
            i.leaf.map(|l| Value::from(*l.as_bytes())).unwrap_or(Value::Null),
            i.not_after.into(),
            (&i.subject).into(),
            (&i.path).into(),
            i.added_at.into(),
            i.observed_at.into(),
            i.waited.into(),
        ],
    )?;
    Ok(())
}

/// Removes an item.
pub fn delete_item(tx: &mut Tx<'_>, id: i64) -> Result<()> {
    tx.execute("DELETE FROM release_item WHERE id = $1", &[id.into()])?;
    Ok(())
}

/// One version of one secret that a release carries, wherever in the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carry {
    /// The secret.
    pub secret: SecretId,
    /// Its name.
    pub name: String,
    /// Its own owner, empty for its service's.
    pub team: String,
    /// Its service, empty for none.
    pub service: String,
    /// The newest stored version.
    pub newest: i64,
    /// Whether it is still kept: nobody waits for a secret that left the inventory.
    pub kept: bool,
    /// Which version.
    pub version: i64,
    /// Whether a newer one was stored already when the build was looked at.
    pub older: bool,
    /// Since when every production target was seen serving it, or what came after it.
    pub observed_at: Option<Time>,
    /// Whether production had to wait for it after it was built.
    pub waited: bool,
}

/// The versions of stored secrets that a release carries, by secret, the newest first.
pub fn carries(tx: &mut Tx<'_>, id: ReleaseId) -> Result<Vec<Carry>> {
    let sql = "SELECT i.secret_id, i.version, CAST(MAX(CASE WHEN i.what = 'older' THEN 1 ELSE 0 END) AS BIGINT), \
               COUNT(*) - COUNT(i.observed_at), MAX(i.observed_at), MAX(i.waited), s.name, s.team, s.service, s.newest_version, \
               CAST(CASE WHEN s.retired_at IS NULL THEN 1 ELSE 0 END AS BIGINT) \
               FROM release_item i JOIN secret s ON s.id = i.secret_id WHERE i.release_id = $1 AND i.secret_id <> 0 \
               GROUP BY i.secret_id, i.version, s.name, s.team, s.service, s.newest_version, s.retired_at \
               ORDER BY i.secret_id, i.version DESC";
    let carry = |r: &Row| {
        let seen = r.int(3)? == 0;
        Ok(Carry {
            secret: SecretId(r.int(0)?),
            version: r.int(1)?,
            older: r.bool(2)?,
            observed_at: if seen { r.opt_time(4)? } else { None },
            waited: r.bool(5)?,
            name: r.text(6)?.into(),
            team: r.text(7)?.into(),
            service: r.text(8)?.into(),
            newest: r.int(9)?,
            kept: r.bool(10)?,
        })
    };
    tx.query(sql, &[id.0.into()])?.iter().map(carry).collect()
}

/// Subjects of releases of a service before `id` that have ended and of which something still stands.
pub fn replaced(tx: &mut Tx<'_>, service: &str, id: ReleaseId) -> Result<Vec<String>> {
    let sql = "SELECT DISTINCT c.subject FROM release r JOIN concern c ON c.subject = 'release/' || CAST(r.id AS TEXT) AND c.gone_at IS NULL \
               WHERE r.service = $1 AND r.id < $2 AND r.ended_at IS NOT NULL ORDER BY c.subject";
    tx.query(sql, &[service.into(), id.0.into()])?.iter().map(|r| Ok(r.text(0)?.to_owned())).collect()
}

/// How many different things of a kind a build carries, and where the first of them lie: path and subject.
pub fn finds(tx: &mut Tx<'_>, id: ReleaseId, what: What, limit: i64) -> Result<(i64, Vec<(String, String)>)> {
    let count = tx
        .query_one("SELECT COUNT(*) FROM release_item WHERE release_id = $1 AND what = $2", &[id.0.into(), what.as_str().into()])?
        .int(0)?;
    if count == 0 {
        return Ok((0, Vec::new()));
    }
    let sql = "SELECT path, subject FROM release_item WHERE release_id = $1 AND what = $2 ORDER BY path, id LIMIT $3";
    let rows = tx.query(sql, &[id.0.into(), what.as_str().into(), limit.into()])?;
    let first = rows.iter().map(|r| Ok((r.text(0)?.to_owned(), r.text(1)?.to_owned()))).collect::<Result<_>>()?;
    Ok((count, first))
}

/// Writes whether production shows a version that a release carries, and whether it had to wait for it.
pub fn observed(tx: &mut Tx<'_>, id: ReleaseId, secret: SecretId, version: i64, at: Option<Time>, waited: bool) -> Result<()> {
    tx.execute(
        "UPDATE release_item SET observed_at = $4, waited = $5 WHERE release_id = $1 AND secret_id = $2 AND version = $3",
        &[id.0.into(), secret.0.into(), version.into(), at.into(), waited.into()],
    )?;
    Ok(())
}

/// Releases that wait for a train, in the order of their places; without their stages.
pub fn waiting(tx: &mut Tx<'_>, train: &str, limit: i64) -> Result<Vec<Stored>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM release WHERE train = $1 AND ended_at IS NULL AND built_at IS NULL AND status IN ('planned', 'delayed') \
         ORDER BY place, id LIMIT $2"
    );
    tx.query(&sql, &[train.into(), limit.into()])?.iter().map(from_row).collect()
}

/// Trains for which somebody waits, in the order of their names.
pub fn trains(tx: &mut Tx<'_>) -> Result<Vec<String>> {
    let sql = "SELECT DISTINCT train FROM release WHERE ended_at IS NULL AND train <> '' ORDER BY train";
    tx.query(sql, &[])?.iter().map(|r| Ok(r.text(0)?.into())).collect()
}

/// Where a page of the queue ended: urgency, place, number.
pub type QueueKey = (i64, i64, i64);

/// Where a release stands in the queue.
pub fn queue_key(s: &Stored) -> QueueKey {
    (s.urgency, s.facts.place, s.facts.id.0)
}

/// Releases that have not ended, of one train or service or all, in the order in which they should ship, behind `after`: those of which nobody can
/// say by when, then by their deadline, and those on which nothing hangs last, as they stand.
pub fn queue(tx: &mut Tx<'_>, train: Option<&str>, service: Option<&str>, after: Option<QueueKey>, limit: i64) -> Result<Vec<Stored>> {
    let (urgency, place, id) = after.unwrap_or((i64::MIN, i64::MIN, i64::MIN));
    let of = match (train, service) {
        (Some(_), None) => "AND train = $5",
        (None, Some(_)) => "AND service = $5",
        (Some(_), Some(_)) => "AND train = $5 AND service = $6",
        (None, None) => "",
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM release WHERE ended_at IS NULL {of} AND (urgency, place, id) > ($1, $2, $3) ORDER BY urgency, place, id LIMIT $4"
    );
    let mut params: Vec<Value> = vec![urgency.into(), place.into(), id.into(), limit.into()];
    params.extend(train.map(Value::from));
    params.extend(service.map(Value::from));
    let rows = tx.query(&sql, &params)?;
    with_stages(tx, rows)
}

/// Releases, of one service or all, the newest first, before `before`.
pub fn list(tx: &mut Tx<'_>, service: Option<&str>, before: Option<ReleaseId>, limit: i64) -> Result<Vec<Stored>> {
    let of = if service.is_some() { "AND service = $3" } else { "" };
    let sql = format!("SELECT {COLUMNS} FROM release WHERE id < $1 {of} ORDER BY id DESC LIMIT $2");
    let mut params: Vec<Value> = vec![before.map_or(i64::MAX, |b| b.0).into(), limit.into()];
    params.extend(service.map(Value::from));
    let rows = tx.query(&sql, &params)?;
    with_stages(tx, rows)
}

/// What a release that has not ended brings for a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The release.
    pub release: Stored,
    /// Which version it carries.
    pub version: i64,
    /// The end of each instance of that version, with its scope: `all`, a region, or a node.
    pub ends: Vec<(String, Time)>,
}

/// Releases that have not ended and carry a version of a secret that production was not seen serving yet; the newest version first,
/// and of one version the release that is planned first.
pub fn carried(tx: &mut Tx<'_>, secret: SecretId) -> Result<Vec<Carried>> {
    let sql = "SELECT i.release_id, i.version FROM release_item i JOIN release r ON r.id = i.release_id \
               WHERE i.secret_id = $1 AND i.secret_id <> 0 AND i.open = 1 AND i.observed_at IS NULL AND i.version > 0 \
               GROUP BY i.release_id, i.version, r.planned_at ORDER BY i.version DESC, r.planned_at, i.release_id";
    let mut all: Vec<Carried> = Vec::new();
    for row in tx.query(sql, &[secret.0.into()])? {
        let version = row.int(1)?;
        let Some(release) = get(tx, ReleaseId(row.int(0)?))? else { continue };
        let ends = match all.iter().find(|c| c.version == version) {
            Some(same) => same.ends.clone(),
            None => ends(tx, secret, version)?,
        };
        all.push(Carried { release, version, ends });
    }
    Ok(all)
}

fn ends(tx: &mut Tx<'_>, secret: SecretId, version: i64) -> Result<Vec<(String, Time)>> {
    let sql = "SELECT scope, not_after FROM instance WHERE secret_id = $1 AND version = $2 AND key_type <> '' ORDER BY scope, key_type, id";
    tx.query(sql, &[secret.0.into(), version.into()])?.iter().map(|r| Ok((r.text(0)?.to_owned(), r.time(1)?))).collect()
}

/// Wakes a loop for every release that has not ended and carries a secret.
pub fn wake_carriers(tx: &mut Tx<'_>, secret: SecretId, loop_name: &str, at: Time) -> Result<u64> {
    tx.execute(
        "INSERT INTO timer (loop, subject, due_at, wakes, claimed_until, claimed_by, fence) \
         SELECT $1, release_id, $3, 1, 0, '', 0 FROM (SELECT DISTINCT release_id FROM release_item \
         WHERE secret_id = $2 AND open = 1 AND secret_id <> 0) carriers ORDER BY release_id \
         ON CONFLICT (loop, subject) DO UPDATE SET wakes = timer.wakes + 1, \
         due_at = CASE WHEN timer.due_at < excluded.due_at THEN timer.due_at ELSE excluded.due_at END",
        &[loop_name.into(), secret.0.into(), at.into()],
    )
}

/// Wakes a loop for every secret of which a release carries something: what is planned for it has changed.
pub fn wake_carried(tx: &mut Tx<'_>, id: ReleaseId, loop_name: &str, at: Time) -> Result<u64> {
    wake_secrets(tx, "release_id = $2 AND secret_id <> 0", id.0.into(), loop_name, at)
}

/// Wakes a loop for every secret of which a release of a service carries something that has not ended: how long releases take there
/// has changed.
pub fn wake_carried_for(tx: &mut Tx<'_>, service: &str, loop_name: &str, at: Time) -> Result<u64> {
    let of = "open = 1 AND secret_id <> 0 AND release_id IN (SELECT id FROM release WHERE service = $2 AND ended_at IS NULL)";
    wake_secrets(tx, of, service.into(), loop_name, at)
}

fn wake_secrets(tx: &mut Tx<'_>, of: &str, whose: Value, loop_name: &str, at: Time) -> Result<u64> {
    let sql = format!(
        "INSERT INTO timer (loop, subject, due_at, wakes, claimed_until, claimed_by, fence) \
         SELECT $1, secret_id, $3, 1, 0, '', 0 FROM (SELECT DISTINCT secret_id FROM release_item WHERE {of}) carried ORDER BY secret_id \
         ON CONFLICT (loop, subject) DO UPDATE SET wakes = timer.wakes + 1, \
         due_at = CASE WHEN timer.due_at < excluded.due_at THEN timer.due_at ELSE excluded.due_at END"
    );
    tx.execute(&sql, &[loop_name.into(), whose, at.into()])
}

/// Writes how long a release took from built to observed.
pub fn put_lead(tx: &mut Tx<'_>, id: ReleaseId, lead: Span) -> Result<()> {
    tx.execute("UPDATE release SET lead = $2 WHERE id = $1", &[id.0.into(), lead.as_secs().into()])?;
    Ok(())
}

/// How long the latest releases of a service took from built to observed, the newest first, [`LEAD_SAMPLES`] at most.
pub fn lead_samples(tx: &mut Tx<'_>, service: &str) -> Result<Vec<Span>> {
    let sql = "SELECT lead FROM release WHERE service = $1 AND lead IS NOT NULL ORDER BY observed_at DESC, id DESC LIMIT $2";
    let limit = LEAD_SAMPLES as i64;
    tx.query(sql, &[service.into(), limit.into()])?.iter().map(|r| Ok(Span::seconds(r.int(0)?))).collect()
}

/// When the latest releases of a service were said to be deployed, the newest first.
pub fn deployments(tx: &mut Tx<'_>, service: &str, limit: i64) -> Result<Vec<Time>> {
    let sql = "SELECT deployed_at FROM release WHERE service = $1 AND deployed_at IS NOT NULL ORDER BY deployed_at DESC, id DESC LIMIT $2";
    tx.query(sql, &[service.into(), limit.into()])?.iter().map(|r| r.time(0)).collect()
}
