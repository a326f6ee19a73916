//! Targets and their addresses.

use super::{fingerprint, list, list_column, served, served_columns, word};
use crate::{Result, Row, StoreError, Tx, Value, timer};
use domain::{
    Fingerprint, Span, Time,
    finding::{End, Subject},
    policy::{Level, Thresholds},
    required::Address,
    secret::Targets,
    target::{Served, Standing},
    words::{Backends, KeyType, Offer, Retired, SecretId, TargetId, TargetState},
};
use std::collections::{BTreeMap, BTreeSet};

/// A target as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What the rules need of it.
    pub facts: domain::words::Target,
    /// Its secret.
    pub secret: SecretId,
    /// `endpoint`, `install` or `artifact`.
    pub kind: String,
    /// `tls`, `smtp`, …
    pub protocol: String,
    /// The name that is resolved, or an address.
    pub host: String,
    /// The port.
    pub port: i64,
    /// Its stamp, empty for none.
    pub stamp: String,
    /// Its service, empty for none.
    pub service: String,
    /// Its own owner, empty for the secret's.
    pub team: String,
    /// Private roots, empty for the system's.
    pub roots: String,
    /// Vantages that can only raise.
    pub optional_vantages: Vec<String>,
    /// Whether the server name is checked against the certificate.
    pub check_name: bool,
    /// When it left the inventory.
    pub retired_at: Option<Time>,
    /// The standing.
    pub served: Served,
    /// The end with the least margin.
    pub worst: Option<End>,
    /// Required combinations that show what they should.
    pub current: i64,
    /// Required combinations.
    pub required: i64,
    /// The oldest version that some required combination shows, 0 for none.
    pub shows: i64,
    /// The highest level among its findings.
    pub level: Level,
    /// When it was last looked at.
    pub observed_at: Option<Time>,
}

const COLUMNS: &str = "id, name, secret_id, kind, protocol, host, port, server_name, region, stamp, service, team, state, drained_until, \
     production, backends, roots, vantages, optional_vantages, offers, check_name, baseline, baseline_until, declared_at, retired_at, \
     served_kind, served_until, worst_about, worst_position, worst_until, worst_notice, worst_incident, current, required, level, \
     observed_at, names_without_sni, key_types, required_since, retired_until, retired_leaves, worst_lifetime, shows";
/// How many of them there are.
const COLUMN_COUNT: usize = 43;

fn from_row(r: &Row) -> Result<Target> {
    let baseline = r.text(21)?;
    let baseline = r.opt_time(22)?.filter(|_| !baseline.is_empty()).map(|until| (baseline.to_owned(), until));
    Ok(Target {
        facts: domain::words::Target {
            id: TargetId(r.int(0)?),
            name: r.text(1)?.into(),
            declared_at: r.time(23)?,
            state: word(r, 12, TargetState::parse)?,
            drained_until: r.opt_time(13)?,
            production: r.bool(14)?,
            backends: word(r, 15, Backends::parse)?,
            server_name: r.text(7)?.into(),
            region: r.text(8)?.into(),
            required_vantages: list(r.text(17)?)?,
            offers: list(r.text(19)?)?.iter().filter_map(|o| Offer::parse(o)).collect(),
            authority: if r.text(3)? == "endpoint" { authority(r.text(5)?, r.int(6)?) } else { String::new() },
            names_without_sni: r.bool(36)?,
            key_types: list(r.text(37)?)?.iter().filter_map(|k| KeyType::parse(k)).collect(),
            required_since: times(r.text(38)?)?,
            retired: match r.opt_time(39)? {
                Some(until) => {
                    Some(Retired { until, leaves: list(r.text(40)?)?.iter().filter_map(|l| Fingerprint::parse(l).ok()).collect() })
                }
                None => None,
            },
            baseline,
        },
        secret: SecretId(r.int(2)?),
        kind: r.text(3)?.into(),
        protocol: r.text(4)?.into(),
        host: r.text(5)?.into(),
        port: r.int(6)?,
        stamp: r.text(9)?.into(),
        service: r.text(10)?.into(),
        team: r.text(11)?.into(),
        roots: r.text(16)?.into(),
        optional_vantages: list(r.text(18)?)?,
        check_name: r.bool(20)?,
        retired_at: r.opt_time(24)?,
        served: served(r.int(25)?, r.opt_int(26)?),
        worst: end(r, 27, 41)?,
        current: r.int(32)?,
        required: r.int(33)?,
        shows: r.int(42)?,
        level: word(r, 34, Level::parse)?,
        observed_at: r.opt_time(35)?,
    })
}

/// `host:port`, as [`domain::words::Target::authority`] wants it.
pub fn authority(host: &str, port: i64) -> String {
    let bare = host.trim_matches(['[', ']']);
    if bare.contains(':') { format!("[{bare}]:{port}") } else { format!("{bare}:{port}") }
}

fn times(text: &str) -> Result<BTreeMap<String, Time>> {
    let parsed: BTreeMap<String, i64> =
        serde_json::from_str(text).map_err(|e| StoreError::Corrupt { what: format!("times by name: {e}") })?;
    Ok(parsed.into_iter().map(|(name, at)| (name, Time::from_unix(at))).collect())
}

fn times_column(times: &BTreeMap<String, Time>) -> String {
    let map: serde_json::Map<String, serde_json::Value> = times.iter().map(|(name, at)| (name.clone(), at.unix().into())).collect();
    serde_json::Value::from(map).to_string()
}

/// What is required since a moment that lies after `now` is required since now ([`super::future`]).
pub(super) fn bring_back(tx: &mut Tx<'_>, now: Time) -> Result<u64> {
    let mut changed = 0;
    for row in tx.query("SELECT id, required_since FROM target WHERE required_since <> '{}' ORDER BY id", &[])? {
        let mut since = times(row.text(1)?)?;
        if since.values().all(|at| *at <= now) {
            continue;
        }
        since.values_mut().for_each(|at| *at = (*at).min(now));
        let params = [row.int(0)?.into(), times_column(&since).into()];
        changed += tx.execute("UPDATE target SET required_since = $2 WHERE id = $1", &params)?;
    }
    Ok(changed)
}

/// An end in five columns that follow each other, and its lifetime in another.
pub(super) fn end(r: &Row, first: usize, lifetime: usize) -> Result<Option<End>> {
    Ok(match (fingerprint(r, first)?, r.opt_int(first + 2)?) {
        (Some(about), Some(until)) => Some(End {
            about,
            position: r.opt_int(first + 1)?.unwrap_or(0) as usize,
            until: Time::from_unix(until),
            thresholds: Thresholds {
                notice: Span::seconds(r.opt_int(first + 3)?.unwrap_or(0)),
                incident: Span::seconds(r.opt_int(first + 4)?.unwrap_or(0)),
            },
            lifetime: Span::seconds(r.opt_int(lifetime)?.unwrap_or(0)),
        }),
        _ => None,
    })
}

/// Takes the target's row: whoever changes it or what hangs on it starts here.
pub fn lock(tx: &mut Tx<'_>, id: TargetId) -> Result<Option<Target>> {
    let sql = format!("UPDATE target SET generation = generation + 1 WHERE id = $1 RETURNING {COLUMNS}");
    tx.query_opt(&sql, &[id.0.into()])?.as_ref().map(from_row).transpose()
}

/// One target.
pub fn get(tx: &mut Tx<'_>, id: TargetId) -> Result<Option<Target>> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM target WHERE id = $1"), &[id.0.into()])?.as_ref().map(from_row).transpose()
}

/// One target, by name.
pub fn by_name(tx: &mut Tx<'_>, name: &str) -> Result<Option<Target>> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM target WHERE name = $1"), &[name.into()])?.as_ref().map(from_row).transpose()
}

/// Targets, the least margin first, of one secret or of all, behind `after` = (margin, id).
pub fn by_margin(tx: &mut Tx<'_>, secret: Option<SecretId>, after: Option<(i64, i64)>, limit: i64) -> Result<Vec<(i64, Target)>> {
    let (a, b) = after.unwrap_or((i64::MIN, i64::MIN));
    let of = if secret.is_some() { "AND secret_id = $4" } else { "" };
    let sql = format!(
        "SELECT {COLUMNS}, margin_at FROM target WHERE (margin_at, id) > ($1, $2) AND retired_at IS NULL {of} ORDER BY margin_at, id LIMIT $3"
    );
    let mut params: Vec<Value> = vec![a.into(), b.into(), limit.into()];
    params.extend(secret.map(|s| Value::from(s.0)));
    tx.query(&sql, &params)?.iter().map(|r| Ok((r.int(COLUMN_COUNT)?, from_row(r)?))).collect()
}

/// Targets in the order of their numbers.
pub fn page(tx: &mut Tx<'_>, after: TargetId, limit: i64) -> Result<Vec<Target>> {
    let sql = format!("SELECT {COLUMNS} FROM target WHERE id > $1 ORDER BY id LIMIT $2");
    tx.query(&sql, &[after.0.into(), limit.into()])?.iter().map(from_row).collect()
}

/// The numbers of a secret's targets.
pub fn ids_of(tx: &mut Tx<'_>, secret: SecretId) -> Result<Vec<TargetId>> {
    let sql = "SELECT id FROM target WHERE secret_id = $1 ORDER BY id";
    tx.query(sql, &[secret.0.into()])?.iter().map(|r| Ok(TargetId(r.int(0)?))).collect()
}

/// The server names of a secret's targets: what its certificate must cover.
pub fn server_names(tx: &mut Tx<'_>, secret: SecretId, limit: i64) -> Result<Vec<String>> {
    let sql = "SELECT DISTINCT server_name FROM target WHERE secret_id = $1 AND retired_at IS NULL AND check_name = 1 \
               AND server_name <> '' ORDER BY server_name LIMIT $2";
    tx.query(sql, &[secret.0.into(), limit.into()])?.iter().map(|r| Ok(r.text(0)?.into())).collect()
}

/// Creates a target or writes what the inventory says of it; the standing is left alone.
pub fn put(tx: &mut Tx<'_>, t: &Target) -> Result<()> {
    let f = &t.facts;
    let offers: Vec<String> = f.offers.iter().map(|o| o.as_str().to_owned()).collect();
    let key_types: Vec<String> = f.key_types.iter().map(|k| k.as_str().to_owned()).collect();
    let since = times_column(&f.required_since);
    let leaves: Vec<String> = f.retired.iter().flat_map(|r| &r.leaves).map(ToString::to_string).collect();
    let (baseline, until) = f.baseline.clone().map_or((String::new(), None), |(name, until)| (name, Some(until)));
    let stored = share(tx, f.id)?;
    let (current, required) = stored.map_or((0, 0), |(s, _)| (s.current, s.required));
    let production = i64::from(f.production && matches!(f.state, TargetState::Active | TargetState::Drained));
    let is = Share { secret: t.secret.0, production, current, required };
    tally(tx, stored.filter(|(_, counts)| *counts).map(|(s, _)| s), t.retired_at.is_none().then_some(is))?;
    tx.execute(
        "INSERT INTO target (id, name, secret_id, kind, protocol, host, port, server_name, region, stamp, service, team, state, \
         drained_until, production, backends, roots, vantages, optional_vantages, offers, check_name, baseline, baseline_until, \
         declared_at, generation, retired_at, served_kind, margin_at, current, required, level, \
         names_without_sni, key_types, required_since, retired_until, retired_leaves) \
         VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23,$24,0,$25,0,$26,0,0,'info', \
         $27,$28,$29,$30,$31) \
         ON CONFLICT (id) DO UPDATE SET secret_id=excluded.secret_id, kind=excluded.kind, protocol=excluded.protocol, \
         host=excluded.host, port=excluded.port, server_name=excluded.server_name, region=excluded.region, stamp=excluded.stamp, \
         service=excluded.service, team=excluded.team, state=excluded.state, drained_until=excluded.drained_until, \
         production=excluded.production, backends=excluded.backends, roots=excluded.roots, vantages=excluded.vantages, \
         optional_vantages=excluded.optional_vantages, offers=excluded.offers, check_name=excluded.check_name, \
         baseline=excluded.baseline, baseline_until=excluded.baseline_until, retired_at=excluded.retired_at, \
         declared_at=excluded.declared_at, names_without_sni=excluded.names_without_sni, key_types=excluded.key_types, \
         required_since=excluded.required_since, retired_until=excluded.retired_until, retired_leaves=excluded.retired_leaves, \
         generation = target.generation + 1",
        &[
            f.id.0.into(),
            (&f.name).into(),
            t.secret.0.into(),
            (&t.kind).into(),
            (&t.protocol).into(),
            (&t.host).into(),
            t.port.into(),
            (&f.server_name).into(),
            (&f.region).into(),
            (&t.stamp).into(),
            (&t.service).into(),
            (&t.team).into(),
            f.state.as_str().into(),
            f.drained_until.into(),
            f.production.into(),
            f.backends.as_str().into(),
            (&t.roots).into(),
            list_column(&f.required_vantages).into(),
            list_column(&t.optional_vantages).into(),
            list_column(&offers).into(),
            t.check_name.into(),
            baseline.into(),
            until.into(),
            f.declared_at.into(),
            t.retired_at.into(),
            super::UNKNOWN_MARGIN.into(),
            f.names_without_sni.into(),
            list_column(&key_types).into(),
            since.into(),
            f.retired.as_ref().map(|r| r.until).into(),
            list_column(&leaves).into(),
        ],
    )?;
    Ok(())
}

/// Whether a secret's runway is taken over a target, in SQL as in [`Targets::production`].
pub(super) const PRODUCTION: &str = "production = 1 AND state IN ('active', 'drained')";

/// What a target that is not retired adds to the counts of its secret.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Share {
    secret: i64,
    production: i64,
    current: i64,
    required: i64,
}

/// What a target as stored would add, and whether it does.
fn share(tx: &mut Tx<'_>, id: TargetId) -> Result<Option<(Share, bool)>> {
    let sql =
        format!("SELECT secret_id, CASE WHEN {PRODUCTION} THEN 1 ELSE 0 END, current, required, retired_at FROM target WHERE id = $1");
    let Some(r) = tx.query_opt(&sql, &[id.0.into()])? else { return Ok(None) };
    let share = Share { secret: r.int(0)?, production: r.int(1)?, current: r.int(2)?, required: r.int(3)? };
    Ok(Some((share, r.opt_int(4)?.is_none())))
}

/// Keeps the counts of targets that are not retired: of their secrets, and of all of them.
fn tally(tx: &mut Tx<'_>, was: Option<Share>, is: Option<Share>) -> Result<()> {
    if was == is {
        return Ok(());
    }
    let mut changes = BTreeMap::<i64, [i64; 4]>::new();
    for (share, by) in [(was, -1), (is, 1)] {
        if let Some(s) = share {
            let change = changes.entry(s.secret).or_default();
            for (sum, part) in change.iter_mut().zip([1, s.production, s.current, s.required]) {
                *sum += by * part;
            }
        }
    }
    for (secret, [n, production, current, required]) in changes {
        tx.execute(
            "INSERT INTO target_tally (secret_id, n, production, current, required) VALUES ($1,$2,$3,$4,$5) ON CONFLICT (secret_id) \
             DO UPDATE SET n = target_tally.n + excluded.n, production = target_tally.production + excluded.production, \
             current = target_tally.current + excluded.current, required = target_tally.required + excluded.required",
            &[secret.into(), n.into(), production.into(), current.into(), required.into()],
        )?;
    }
    tx.count(super::TARGETS, i64::from(is.is_some()) - i64::from(was.is_some()))
}

/// Writes the standing.
pub fn update_standing(tx: &mut Tx<'_>, id: TargetId, s: &Standing, margin_at: i64, observed_at: Option<Time>) -> Result<()> {
    let (kind, until) = served_columns(s.served);
    let level = s.findings.iter().map(|f| f.level).max().unwrap_or(Level::Info);
    let worst = s.worst;
    if let Some((was, true)) = share(tx, id)? {
        tally(tx, Some(was), Some(Share { current: s.current.into(), required: s.required.into(), ..was }))?;
    }
    tx.execute(
        "UPDATE target SET served_kind=$2, served_until=$3, worst_about=$4, worst_position=$5, worst_until=$6, worst_notice=$7, \
         worst_incident=$8, margin_at=$9, lifetime=$10, current=$11, required=$12, level=$13, observed_at=$14, \
         worst_lifetime=$15, shows=$16, ends_about=$17, ends_position=$18, ends_lifetime=$19 WHERE id=$1",
        &[
            id.0.into(),
            kind.into(),
            until.into(),
            worst.map(|w| *w.about.as_bytes()).map(Value::from).unwrap_or(Value::Null),
            worst.map(|w| w.position as i64).into(),
            worst.map(|w| w.until).into(),
            worst.map(|w| w.thresholds.notice.as_secs()).into(),
            worst.map(|w| w.thresholds.incident.as_secs()).into(),
            margin_at.into(),
            s.lifetime.map(|l| l.as_secs()).into(),
            i64::from(s.current).into(),
            i64::from(s.required).into(),
            level.as_str().into(),
            observed_at.into(),
            worst.map(|w| w.lifetime.as_secs()).into(),
            s.shows.into(),
            s.ends.map(|e| *e.about.as_bytes()).map_or(Value::Null, Value::from),
            s.ends.map(|e| e.position as i64).into(),
            s.ends.map(|e| e.lifetime.as_secs()).into(),
        ],
    )?;
    Ok(())
}

/// What the targets of a secret add up to. Each part is the first entry of an index or a count that is kept.
pub fn aggregate(tx: &mut Tx<'_>, secret: SecretId) -> Result<Targets> {
    let ends = ends(tx, secret)?;
    let findings = super::finding::tallies(tx, secret)?;
    if ends.count == 0 {
        // The common case of what was only stored: nothing is served, and no target ends.
        return Ok(Targets { findings, ..no_targets() });
    }
    Ok(Targets { ends: super::finding::endings(tx, secret)?, findings, ..ends })
}

/// Of what the targets of a secret add up to, how many there are and until when they serve; the rest is left empty.
pub fn ends(tx: &mut Tx<'_>, secret: SecretId) -> Result<Targets> {
    let id = || [Value::from(secret.0)];
    let counts = tx.query_opt("SELECT n, production FROM target_tally WHERE secret_id = $1", &id())?;
    let (count, production) = counts.map_or(Ok((0, 0)), |r| Ok::<_, crate::StoreError>((r.int(0)?, r.int(1)?)))?;
    if count == 0 {
        return Ok(no_targets());
    }
    let first = tx.query_opt(
        &format!(
            "SELECT served_kind, served_until FROM target WHERE secret_id = $1 AND {PRODUCTION} AND retired_at IS NULL \
             ORDER BY served_kind, served_until, id LIMIT 1"
        ),
        &id(),
    )?;
    let place = format!("CASE WHEN {PRODUCTION} THEN 0 ELSE 1 END");
    let worst = tx.query_opt(
        &format!(
            "SELECT worst_about, worst_position, worst_until, worst_notice, worst_incident, worst_lifetime FROM target WHERE secret_id = $1 \
             AND retired_at IS NULL AND worst_until IS NOT NULL ORDER BY ({place}), (worst_until - worst_incident), id LIMIT 1"
        ),
        &id(),
    )?;
    Ok(Targets {
        count: count as u64,
        production: production as u64,
        served: match first {
            Some(r) => served(r.int(0)?, r.opt_int(1)?),
            None => Served::Unknown,
        },
        worst: worst.map(|r| end(&r, 0, 5)).transpose()?.flatten(),
        ..no_targets()
    })
}

/// How many required combinations of a secret's targets show what they should, and of how many.
pub fn currency(tx: &mut Tx<'_>, secret: SecretId) -> Result<(i64, i64)> {
    let row = tx.query_opt("SELECT current, required FROM target_tally WHERE secret_id = $1", &[secret.0.into()])?;
    row.map_or(Ok((0, 0)), |r| Ok((r.int(0)?, r.int(1)?)))
}

/// What a secret without targets has.
pub fn no_targets() -> Targets {
    Targets { count: 0, production: 0, served: Served::Unknown, worst: None, ends: Vec::new(), findings: Vec::new() }
}

/// Targets of a secret of which a finding is about a certificate, the least margin first.
pub fn serving(tx: &mut Tx<'_>, secret: SecretId, about: &Fingerprint, limit: i64) -> Result<Vec<Target>> {
    let subject = Subject::Certificate(*about).to_string();
    let sql = format!(
        "SELECT {COLUMNS} FROM target WHERE secret_id = CAST($1 AS BIGINT) AND retired_at IS NULL AND id IN (SELECT target_id FROM finding \
         WHERE secret_id = CAST($1 AS BIGINT) AND subject = $2 AND target_id <> 0) ORDER BY margin_at, id LIMIT CAST($3 AS BIGINT)"
    );
    tx.query(&sql, &[secret.0.into(), subject.into(), limit.into()])?.iter().map(from_row).collect()
}

/// Whether a secret has targets, and each of them was seen to show what it should from everywhere.
pub fn all_current(tx: &mut Tx<'_>, secret: SecretId) -> Result<bool> {
    let row = tx.query_one(
        "SELECT EXISTS (SELECT 1 FROM target_tally WHERE secret_id = $1 AND n > 0) AND NOT EXISTS \
         (SELECT 1 FROM target WHERE secret_id = $1 AND retired_at IS NULL AND (required = 0 OR current <> required))",
        &[secret.0.into()],
    )?;
    row.bool(0)
}

/// Production targets of a secret that do not show a version or a later one everywhere: how many, counted up to `limit`, and the names
/// of the first of them. The first entries of an index.
pub fn not_showing(tx: &mut Tx<'_>, secret: SecretId, version: i64, limit: i64, named: i64) -> Result<(i64, Vec<String>)> {
    let of = format!("FROM target WHERE secret_id = $1 AND {PRODUCTION} AND retired_at IS NULL AND shows < $2");
    let params = |limit: i64| [Value::from(secret.0), version.into(), limit.into()];
    let sql = format!("SELECT COUNT(*) FROM (SELECT 1 {of} LIMIT $3) behind");
    let count = tx.query_one(&sql, &params(limit))?.int(0)?;
    if count == 0 || named == 0 {
        return Ok((count, Vec::new()));
    }
    let rows = tx.query(&format!("SELECT name {of} ORDER BY shows, id LIMIT $3"), &params(named))?;
    Ok((count, rows.iter().map(|r| Ok(r.text(0)?.to_owned())).collect::<Result<_>>()?))
}

/// Secrets between two numbers for which [`aggregate`] says more than [`no_targets`].
pub fn aggregated_between(tx: &mut Tx<'_>, first: SecretId, last: SecretId) -> Result<BTreeSet<SecretId>> {
    let sql = "SELECT secret_id FROM target_tally WHERE secret_id >= $1 AND secret_id <= $2 AND n > 0 \
               UNION SELECT secret_id FROM finding_tally WHERE secret_id >= $1 AND secret_id <= $2 ORDER BY 1";
    tx.query(sql, &[first.0.into(), last.0.into()])?.iter().map(|r| Ok(SecretId(r.int(0)?))).collect()
}

/// What a target is called, and what it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// The server name that is asked for, empty for none.
    pub server_name: String,
    /// The name or address that is dialled.
    pub host: String,
}

/// The names of targets, in the order of the names.
pub fn names(tx: &mut Tx<'_>, ids: &[i64]) -> Result<Vec<Named>> {
    let mut all = Vec::with_capacity(ids.len());
    for id in ids {
        if let Some(r) = tx.query_opt("SELECT name, server_name, host FROM target WHERE id = $1", &[(*id).into()])? {
            all.push(Named { name: r.text(0)?.into(), server_name: r.text(1)?.into(), host: r.text(2)?.into() });
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// The addresses of a target, for every vantage.
pub fn addresses(tx: &mut Tx<'_>, id: TargetId) -> Result<Vec<Address>> {
    let sql = "SELECT vantage, address, first_seen, left_at FROM address WHERE target_id = $1 ORDER BY vantage, address";
    let one =
        |r: &Row| Ok(Address { vantage: r.text(0)?.into(), address: r.text(1)?.into(), first_seen: r.time(2)?, left_at: r.opt_time(3)? });
    tx.query(sql, &[id.0.into()])?.iter().map(one).collect()
}

/// Writes to what the name resolves now for one vantage. What it no longer resolves to is kept for a while, and then forgotten with
/// what was observed there from that vantage.
pub fn put_addresses(tx: &mut Tx<'_>, id: TargetId, vantage: &str, resolved: &[String], forget_before: Time, now: Time) -> Result<()> {
    for known in addresses(tx, id)?.into_iter().filter(|a| a.vantage == vantage) {
        let key: [Value; 3] = [id.0.into(), vantage.into(), known.address.as_str().into()];
        let [target, from, address] = key.clone();
        match (resolved.contains(&known.address), known.left_at) {
            (true, Some(_)) => {
                tx.execute("UPDATE address SET left_at = NULL WHERE target_id = $1 AND vantage = $2 AND address = $3", &key)?;
            }
            (false, None) => {
                tx.execute(
                    "UPDATE address SET left_at = $4 WHERE target_id = $1 AND vantage = $2 AND address = $3",
                    &[target, from, address, now.into()],
                )?;
            }
            (false, Some(at)) if at < forget_before => {
                tx.execute("DELETE FROM address WHERE target_id = $1 AND vantage = $2 AND address = $3", &key)?;
                tx.execute("DELETE FROM observation WHERE target_id = $1 AND vantage = $2 AND address = $3", &key)?;
            }
            _ => {}
        }
    }
    for address in resolved {
        tx.execute(
            "INSERT INTO address (target_id, vantage, address, first_seen) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (target_id, vantage, address) DO NOTHING",
            &[id.0.into(), vantage.into(), address.into(), now.into()],
        )?;
    }
    Ok(())
}

/// Forgets what a vantage knew of a target: nobody asks it any more.
pub fn forget_vantage(tx: &mut Tx<'_>, id: TargetId, vantage: &str) -> Result<()> {
    for table in ["address", "observation"] {
        tx.execute(&format!("DELETE FROM {table} WHERE target_id = $1 AND vantage = $2"), &[id.0.into(), vantage.into()])?;
    }
    Ok(())
}

/// Leaves that a version has for these scopes, each with its scope. A version may have one for each of very many nodes.
pub fn leaves(tx: &mut Tx<'_>, secret: SecretId, version: i64, scopes: &[&str]) -> Result<Vec<(String, Fingerprint)>> {
    let mut params = vec![secret.0.into(), version.into()];
    let places = super::places(&mut params, scopes);
    let sql = format!(
        "SELECT scope, leaf FROM instance WHERE secret_id = $1 AND version = $2 AND scope IN ({places}) AND key_type <> '' ORDER BY id"
    );
    tx.query(&sql, &params)?
        .iter()
        .map(|r| Ok((r.text(0)?.to_owned(), fingerprint(r, 1)?.unwrap_or(Fingerprint::from_bytes([0; 32])))))
        .collect()
}

/// Wakes a loop for every target of a secret.
pub fn wake_all(tx: &mut Tx<'_>, secret: SecretId, loop_name: &str, at: Time) -> Result<u64> {
    tx.execute(
        "INSERT INTO timer (loop, subject, due_at, wakes, claimed_until, claimed_by, fence) \
         SELECT $1, id, $3, 1, 0, '', 0 FROM target WHERE secret_id = $2 ORDER BY id \
         ON CONFLICT (loop, subject) DO UPDATE SET wakes = timer.wakes + 1, \
         due_at = CASE WHEN timer.due_at < excluded.due_at THEN timer.due_at ELSE excluded.due_at END",
        &[loop_name.into(), secret.0.into(), at.into()],
    )
}

/// Wakes whoever looks at the targets of a secret: for endpoints the loop of each vantage, for the rest `others`.
pub fn wake_observers(tx: &mut Tx<'_>, secret: SecretId, observe: impl Fn(&str) -> String, others: &str, at: Time) -> Result<()> {
    let sql = "SELECT DISTINCT kind, vantages, optional_vantages FROM target WHERE secret_id = $1 AND retired_at IS NULL \
               ORDER BY kind, vantages, optional_vantages";
    // A hundred thousand targets share a few ways in which they are looked at.
    for way in tx.query(sql, &[secret.0.into()])? {
        let (kind, required, optional) = (way.text(0)?, way.text(1)?, way.text(2)?);
        let loops: Vec<String> = match kind {
            "endpoint" => list(required)?.iter().chain(&list(optional)?).map(|v| observe(v)).collect(),
            _ => vec![others.to_owned()],
        };
        for name in loops {
            tx.execute(
                "INSERT INTO timer (loop, subject, due_at, wakes, claimed_until, claimed_by, fence) \
                 SELECT $1, id, $3, 1, 0, '', 0 FROM target WHERE secret_id = $2 AND retired_at IS NULL AND kind = $4 AND vantages = $5 \
                 AND optional_vantages = $6 ORDER BY id \
                 ON CONFLICT (loop, subject) DO UPDATE SET wakes = timer.wakes + 1, \
                 due_at = CASE WHEN timer.due_at < excluded.due_at THEN timer.due_at ELSE excluded.due_at END",
                &[name.into(), secret.0.into(), at.into(), kind.into(), required.into(), optional.into()],
            )?;
        }
    }
    Ok(())
}

/// Wakes a loop for every secret and another for every target: something that all of them stand under has changed.
pub fn wake_the_fleet(tx: &mut Tx<'_>, secrets: &str, targets: &str, at: Time) -> Result<()> {
    timer::set_earlier_for(tx, secrets, "secret WHERE retired_at IS NULL", at)?;
    timer::set_earlier_for(tx, targets, "target WHERE retired_at IS NULL", at)
}
