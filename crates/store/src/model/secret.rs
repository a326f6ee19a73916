//! Secrets, their versions and instances, and what is sealed.

use super::{fingerprint, list, list_column, served, served_columns, word};
use crate::{Result, Row, StoreError, Tx, Value};
use domain::{
    Fingerprint, Span, Time,
    target::Served,
    words::{Kind, Management, Renewal, SecretId},
};
use std::collections::{BTreeMap, BTreeSet};

/// A secret as stored. It holds names and dates; private material lies elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its number.
    pub id: SecretId,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Who renews it.
    pub management: Management,
    /// Whether renewals happen by themselves.
    pub renewal: Renewal,
    /// Whether it rides releases.
    pub release_bound: bool,
    /// Its owner, empty for none.
    pub team: String,
    /// What it is for, empty for none.
    pub service: String,
    /// Its policy, empty for the computed one.
    pub policy: String,
    /// Own notice threshold in seconds.
    pub override_notice: Option<i64>,
    /// Own incident threshold in seconds.
    pub override_incident: Option<i64>,
    /// Why.
    pub override_reason: String,
    /// Names that are expected (external).
    pub names: Vec<String>,
    /// Issuers that are expected (external).
    pub issuers: Vec<String>,
    /// How its issuer validates, such as `dns-01`; empty where nobody said.
    pub validation: String,
    /// Who answers the DNS questions of that, empty where nobody said.
    pub dns_provider: String,
    /// The end of an opaque or tracked secret.
    pub expires_at: Option<Time>,
    /// When it was declared or first stored.
    pub declared_at: Time,
    /// Whether the inventory file names it.
    pub declared: bool,
    /// Whether its last rotation was observed to complete unaided.
    pub completed_unaided: bool,
    /// The number of its newest version, 0 for none.
    pub newest_version: i64,
    /// When it left the inventory.
    pub retired_at: Option<Time>,
    /// The standing.
    pub served: Served,
    /// Now + margin, as a moment: the incident threshold of the worst end; sorts the worst first.
    pub margin_at: i64,
    /// Targets bound to it.
    pub target_count: i64,
    /// Findings at notice level or above.
    pub open_findings: i64,
    /// When it was last assessed.
    pub assessed_at: Option<Time>,
    /// Who answers for it, as last derived; empty for nobody.
    pub owner: String,
    /// Required combinations of its targets that show what they should, as last assessed.
    pub current: i64,
    /// Required combinations of its targets.
    pub required: i64,
}

const COLUMNS: &str = "id, name, kind, management, renewal, release_bound, team, service, policy, override_notice, override_incident, \
     override_reason, names, issuers, expires_at, declared_at, declared, completed_unaided, newest_version, retired_at, served_kind, \
     served_until, margin_at, target_count, open_findings, assessed_at, owner, current, required, validation, dns_provider";

fn from_row(r: &Row) -> Result<Secret> {
    Ok(Secret {
        id: SecretId(r.int(0)?),
        name: r.text(1)?.into(),
        kind: word(r, 2, Kind::parse)?,
        management: word(r, 3, Management::parse)?,
        renewal: word(r, 4, Renewal::parse)?,
        release_bound: r.bool(5)?,
        team: r.text(6)?.into(),
        service: r.text(7)?.into(),
        policy: r.text(8)?.into(),
        override_notice: r.opt_int(9)?,
        override_incident: r.opt_int(10)?,
        override_reason: r.text(11)?.into(),
        names: list(r.text(12)?)?,
        issuers: list(r.text(13)?)?,
        expires_at: r.opt_time(14)?,
        declared_at: r.time(15)?,
        declared: r.bool(16)?,
        completed_unaided: r.bool(17)?,
        newest_version: r.int(18)?,
        retired_at: r.opt_time(19)?,
        served: served(r.int(20)?, r.opt_int(21)?),
        margin_at: r.int(22)?,
        target_count: r.int(23)?,
        open_findings: r.int(24)?,
        assessed_at: r.opt_time(25)?,
        owner: r.text(26)?.into(),
        current: r.int(27)?,
        required: r.int(28)?,
        validation: r.text(29)?.into(),
        dns_provider: r.text(30)?.into(),
    })
}

/// Takes the secret's row: whoever changes it or what hangs on it starts here.
pub fn lock(tx: &mut Tx<'_>, id: SecretId) -> Result<Option<Secret>> {
    let sql = format!("UPDATE secret SET generation = generation + 1 WHERE id = $1 RETURNING {COLUMNS}");
    tx.query_opt(&sql, &[id.0.into()])?.as_ref().map(from_row).transpose()
}

/// One secret.
pub fn get(tx: &mut Tx<'_>, id: SecretId) -> Result<Option<Secret>> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM secret WHERE id = $1"), &[id.0.into()])?.as_ref().map(from_row).transpose()
}

/// One secret, by name.
pub fn by_name(tx: &mut Tx<'_>, name: &str) -> Result<Option<Secret>> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM secret WHERE name = $1"), &[name.into()])?.as_ref().map(from_row).transpose()
}

/// What a list of secrets is cut down to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those that this team answers for.
    pub team: Option<String>,
    /// Only those whose margin ends before this moment.
    pub margin_before: Option<i64>,
    /// Continue behind this (margin, id).
    pub after: Option<(i64, i64)>,
    /// At most so many.
    pub limit: i64,
}

/// Secrets that are not retired, the least margin first, in pages.
pub fn by_margin(tx: &mut Tx<'_>, filter: &Filter) -> Result<Vec<Secret>> {
    let (margin, id) = filter.after.unwrap_or((i64::MIN, i64::MIN));
    let before = filter.margin_before.unwrap_or(i64::MAX);
    // The row comparison follows the index; retired ones are few and skipped on the way.
    let team = if filter.team.is_some() { "AND owner = $5" } else { "" };
    let sql = format!(
        "SELECT {COLUMNS} FROM secret WHERE (margin_at, id) > ($1, $2) AND margin_at < $3 AND retired_at IS NULL {team} \
         ORDER BY margin_at, id LIMIT $4"
    );
    let mut params: Vec<Value> = vec![margin.into(), id.into(), before.into(), filter.limit.into()];
    params.extend(filter.team.as_ref().map(Value::from));
    tx.query(&sql, &params)?.iter().map(from_row).collect()
}

/// Secrets in the order of their numbers, retired ones too: the sweep's way, which trusts no index but the key.
pub fn page(tx: &mut Tx<'_>, after: SecretId, limit: i64) -> Result<Vec<Secret>> {
    let sql = format!("SELECT {COLUMNS} FROM secret WHERE id > $1 ORDER BY id LIMIT $2");
    tx.query(&sql, &[after.0.into(), limit.into()])?.iter().map(from_row).collect()
}

/// Creates a secret; its number comes from [`Tx::next_id`].
pub fn insert(tx: &mut Tx<'_>, s: &Secret) -> Result<()> {
    let (kind, until) = served_columns(s.served);
    tx.execute(
        &format!(
            "INSERT INTO secret ({COLUMNS}, generation) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,\
             $21,$22,$23,$24,$25,$26,$27,$28,$29,$30,$31,0)"
        ),
        &[
            s.id.0.into(),
            (&s.name).into(),
            s.kind.as_str().into(),
            s.management.as_str().into(),
            s.renewal.as_str().into(),
            s.release_bound.into(),
            (&s.team).into(),
            (&s.service).into(),
            (&s.policy).into(),
            s.override_notice.into(),
            s.override_incident.into(),
            (&s.override_reason).into(),
            list_column(&s.names).into(),
            list_column(&s.issuers).into(),
            s.expires_at.into(),
            s.declared_at.into(),
            s.declared.into(),
            s.completed_unaided.into(),
            s.newest_version.into(),
            s.retired_at.into(),
            kind.into(),
            until.into(),
            s.margin_at.into(),
            s.target_count.into(),
            s.open_findings.into(),
            s.assessed_at.into(),
            (&s.owner).into(),
            s.current.into(),
            s.required.into(),
            (&s.validation).into(),
            (&s.dns_provider).into(),
        ],
    )?;
    tx.count(super::SECRETS, i64::from(s.retired_at.is_none()))
}

/// Writes what the inventory says; the standing is left alone.
pub fn update_declaration(tx: &mut Tx<'_>, s: &Secret) -> Result<()> {
    let stood = tx.query_opt("SELECT 1 FROM secret WHERE id = $1 AND retired_at IS NULL", &[s.id.0.into()])?.is_some();
    tx.count(super::SECRETS, i64::from(s.retired_at.is_none()) - i64::from(stood))?;
    tx.execute(
        "UPDATE secret SET kind=$2, management=$3, renewal=$4, release_bound=$5, team=$6, service=$7, policy=$8, override_notice=$9, \
         override_incident=$10, override_reason=$11, names=$12, issuers=$13, expires_at=$14, declared=$15, retired_at=$16, \
         newest_version=$17, completed_unaided=$18, validation=$19, dns_provider=$20, generation = generation + 1 WHERE id=$1",
        &[
            s.id.0.into(),
            s.kind.as_str().into(),
            s.management.as_str().into(),
            s.renewal.as_str().into(),
            s.release_bound.into(),
            (&s.team).into(),
            (&s.service).into(),
            (&s.policy).into(),
            s.override_notice.into(),
            s.override_incident.into(),
            (&s.override_reason).into(),
            list_column(&s.names).into(),
            list_column(&s.issuers).into(),
            s.expires_at.into(),
            s.declared.into(),
            s.retired_at.into(),
            s.newest_version.into(),
            s.completed_unaided.into(),
            (&s.validation).into(),
            (&s.dns_provider).into(),
        ],
    )?;
    Ok(())
}

/// What an assessment writes down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessed {
    /// Until when all of production serves.
    pub served: Served,
    /// The place in lists.
    pub margin_at: i64,
    /// Targets bound to it.
    pub target_count: i64,
    /// Findings at notice level or above.
    pub open_findings: i64,
    /// Who answers for it.
    pub owner: String,
    /// Required combinations of its targets that show what they should.
    pub current: i64,
    /// Required combinations of its targets.
    pub required: i64,
}

/// Writes the standing.
pub fn update_standing(tx: &mut Tx<'_>, id: SecretId, a: &Assessed, now: Time) -> Result<()> {
    let (kind, until) = served_columns(a.served);
    tx.execute(
        "UPDATE secret SET served_kind=$2, served_until=$3, margin_at=$4, target_count=$5, open_findings=$6, assessed_at=$7, owner=$8, \
         current=$9, required=$10 WHERE id=$1",
        &[
            id.0.into(),
            kind.into(),
            until.into(),
            a.margin_at.into(),
            a.target_count.into(),
            a.open_findings.into(),
            now.into(),
            (&a.owner).into(),
            a.current.into(),
            a.required.into(),
        ],
    )?;
    Ok(())
}

/// Somebody says that this end holds in production: evidence for what cannot be looked at.
pub fn attest(tx: &mut Tx<'_>, id: SecretId, expires_at: Option<Time>, now: Time) -> Result<()> {
    tx.execute(
        "UPDATE secret SET expires_at = $2, attested_at = $3, generation = generation + 1 WHERE id = $1",
        &[id.0.into(), expires_at.into(), now.into()],
    )?;
    Ok(())
}

/// When that was last said.
pub fn attested_at(tx: &mut Tx<'_>, id: SecretId) -> Result<Option<Time>> {
    tx.query_one("SELECT attested_at FROM secret WHERE id = $1", &[id.0.into()])?.opt_time(0)
}

/// One immutable step of a secret's line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its number within the secret, from 1.
    pub number: i64,
    /// When it was stored.
    pub stored_at: Time,
    /// By whom.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The end of an opaque version.
    pub expires_at: Option<Time>,
}

/// Adds a version.
pub fn insert_version(tx: &mut Tx<'_>, secret: SecretId, v: &Version) -> Result<()> {
    let id = tx.next_id("version")?;
    insert_version_as(tx, id, secret, v)
}

/// Adds a version whose number in the table was taken before: many at once cost one round.
pub fn insert_version_as(tx: &mut Tx<'_>, id: i64, secret: SecretId, v: &Version) -> Result<()> {
    tx.execute(
        "INSERT INTO version (id, secret_id, number, stored_at, actor, reason, expires_at) VALUES ($1,$2,$3,$4,$5,$6,$7)",
        &[id.into(), secret.0.into(), v.number.into(), v.stored_at.into(), (&v.actor).into(), (&v.reason).into(), v.expires_at.into()],
    )?;
    Ok(())
}

/// The versions of a secret, the newest first.
pub fn versions(tx: &mut Tx<'_>, secret: SecretId, limit: i64) -> Result<Vec<Version>> {
    let sql = "SELECT number, stored_at, actor, reason, expires_at FROM version WHERE secret_id = $1 ORDER BY number DESC LIMIT $2";
    tx.query(sql, &[secret.0.into(), limit.into()])?
        .iter()
        .map(|r| {
            Ok(Version {
                number: r.int(0)?,
                stored_at: r.time(1)?,
                actor: r.text(2)?.into(),
                reason: r.text(3)?.into(),
                expires_at: r.opt_time(4)?,
            })
        })
        .collect()
}

/// One certificate of a version. The type cannot hold a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its number.
    pub id: i64,
    /// Of which secret.
    pub secret: SecretId,
    /// Of which version.
    pub version: i64,
    /// `all`, a region, or a node.
    pub scope: String,
    /// `rsa`, `ecdsa`, `ed25519`, or empty for opaque bytes.
    pub key_type: String,
    /// SHA-256 of the leaf.
    pub leaf: Fingerprint,
    /// SHA-256 of its public key.
    pub key: Fingerprint,
    /// Valid from.
    pub not_before: Time,
    /// Valid until, inclusive as in the certificate.
    pub not_after: Time,
    /// Escaped.
    pub subject: String,
    /// Escaped.
    pub issuer: String,
    /// The chain, concatenated DER, leaf first.
    pub chain: Vec<u8>,
}

const INSTANCE: &str = "id, secret_id, version, scope, key_type, leaf, key_fingerprint, not_before, not_after, subject, issuer, chain";

fn instance(r: &Row) -> Result<Instance> {
    let none = || StoreError::Corrupt { what: "an instance without a fingerprint".into() };
    Ok(Instance {
        id: r.int(0)?,
        secret: SecretId(r.int(1)?),
        version: r.int(2)?,
        scope: r.text(3)?.into(),
        key_type: r.text(4)?.into(),
        leaf: fingerprint(r, 5)?.ok_or_else(none)?,
        key: fingerprint(r, 6)?.ok_or_else(none)?,
        not_before: r.time(7)?,
        not_after: r.time(8)?,
        subject: r.text(9)?.into(),
        issuer: r.text(10)?.into(),
        chain: r.bytes(11)?.to_vec(),
    })
}

/// Adds an instance.
pub fn insert_instance(tx: &mut Tx<'_>, i: &Instance) -> Result<()> {
    tx.execute(
        &format!("INSERT INTO instance ({INSTANCE}) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12)"),
        &[
            i.id.into(),
            i.secret.0.into(),
            i.version.into(),
            (&i.scope).into(),
            (&i.key_type).into(),
            (*i.leaf.as_bytes()).into(),
            (*i.key.as_bytes()).into(),
            i.not_before.into(),
            i.not_after.into(),
            (&i.subject).into(),
            (&i.issuer).into(),
            i.chain.clone().into(),
        ],
    )?;
    Ok(())
}

/// Beginning and end of the certificate of a version that ends first: a version may have one for each of very many nodes.
pub fn first_end(tx: &mut Tx<'_>, secret: SecretId, version: i64) -> Result<Option<(Time, Time)>> {
    let sql = "SELECT not_before, not_after FROM instance WHERE secret_id = $1 AND version = $2 AND key_type <> '' \
               ORDER BY not_after, id LIMIT 1";
    tx.query_opt(sql, &[secret.0.into(), version.into()])?.map(|r| Ok((r.time(0)?, r.time(1)?))).transpose()
}

/// Takes an instance out of a version, with what is sealed of it: another one takes its place.
pub fn remove_instance(tx: &mut Tx<'_>, secret: SecretId, version: i64, scope: &str, key_type: &str) -> Result<Option<Instance>> {
    let sql = format!("SELECT {INSTANCE} FROM instance WHERE secret_id = $1 AND version = $2 AND scope = $3 AND key_type = $4");
    let Some(row) = tx.query_opt(&sql, &[secret.0.into(), version.into(), scope.into(), key_type.into()])? else { return Ok(None) };
    let found = instance(&row)?;
    tx.execute("DELETE FROM sealed WHERE instance_id = $1", &[found.id.into()])?;
    tx.execute("DELETE FROM instance WHERE id = $1", &[found.id.into()])?;
    Ok(Some(found))
}

/// The instances of a secret; of one version, or of all of them.
pub fn instances(tx: &mut Tx<'_>, secret: SecretId, version: Option<i64>) -> Result<Vec<Instance>> {
    let (only, params) = match version {
        Some(v) => ("AND version = CAST($2 AS BIGINT)", vec![secret.0.into(), v.into()]),
        None => ("", vec![secret.0.into()]),
    };
    let sql = format!("SELECT {INSTANCE} FROM instance WHERE secret_id = CAST($1 AS BIGINT) {only} ORDER BY version DESC, scope, key_type");
    tx.query(&sql, &params)?.iter().map(instance).collect()
}

/// The instances of a version that have one of these scopes.
pub fn instances_of(tx: &mut Tx<'_>, secret: SecretId, version: i64, scopes: &[&str]) -> Result<Vec<Instance>> {
    let mut params = vec![secret.0.into(), version.into()];
    let places = super::places(&mut params, scopes);
    let sql =
        format!("SELECT {INSTANCE} FROM instance WHERE secret_id = $1 AND version = $2 AND scope IN ({places}) ORDER BY scope, key_type");
    tx.query(&sql, &params)?.iter().map(instance).collect()
}

/// The leaves of a version, in their order.
pub fn leaves_of(tx: &mut Tx<'_>, secret: SecretId, version: i64) -> Result<Vec<Fingerprint>> {
    let sql = "SELECT DISTINCT leaf FROM instance WHERE secret_id = $1 AND version = $2 AND key_type <> '' ORDER BY leaf";
    let leaf = |r: &Row| fingerprint(r, 0)?.ok_or_else(|| StoreError::Corrupt { what: String::from("an instance without a leaf") });
    tx.query(sql, &[secret.0.into(), version.into()])?.iter().map(leaf).collect()
}

/// From when until when the certificates of a version are valid that have one of these scopes, or of any where none is named; each span
/// once, what ends first is first.
pub fn validities(tx: &mut Tx<'_>, secret: SecretId, version: i64, scopes: &[&str]) -> Result<Vec<(Time, Time)>> {
    let mut params = vec![secret.0.into(), version.into()];
    let only = if scopes.is_empty() { String::new() } else { format!("AND scope IN ({})", super::places(&mut params, scopes)) };
    let sql = format!(
        "SELECT DISTINCT not_before, not_after FROM instance WHERE secret_id = $1 AND version = $2 AND key_type <> '' {only} \
         ORDER BY not_after, not_before"
    );
    tx.query(&sql, &params)?.iter().map(|r| Ok((r.time(0)?, r.time(1)?))).collect()
}

/// Whether a secret has a version, with instances or without.
pub fn has_version(tx: &mut Tx<'_>, secret: SecretId, number: i64) -> Result<bool> {
    let sql = "SELECT number FROM version WHERE secret_id = $1 AND number = $2";
    Ok(tx.query_opt(sql, &[secret.0.into(), number.into()])?.is_some())
}

/// Secrets of a service that ride its releases, in the order of their numbers.
pub fn release_bound(tx: &mut Tx<'_>, service: &str, after: SecretId, limit: i64) -> Result<Vec<Secret>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM secret WHERE service = $1 AND release_bound = 1 AND retired_at IS NULL AND id > $2 ORDER BY id LIMIT $3"
    );
    tx.query(&sql, &[service.into(), after.0.into(), limit.into()])?.iter().map(from_row).collect()
}

/// Wakes a loop for every secret of a service that rides its releases.
pub fn wake_release_bound(tx: &mut Tx<'_>, service: &str, loop_name: &str, at: Time) -> Result<u64> {
    tx.execute(
        "INSERT INTO timer (loop, subject, due_at, wakes, claimed_until, claimed_by, fence) \
         SELECT $1, id, $3, 1, 0, '', 0 FROM secret WHERE service = $2 AND release_bound = 1 AND retired_at IS NULL ORDER BY id \
         ON CONFLICT (loop, subject) DO UPDATE SET wakes = timer.wakes + 1, \
         due_at = CASE WHEN timer.due_at < excluded.due_at THEN timer.due_at ELSE excluded.due_at END",
        &[loop_name.into(), service.into(), at.into()],
    )
}

/// The shortest `notAfter − notBefore + 1 s` among the certificates of a version.
pub fn shortest_life(tx: &mut Tx<'_>, secret: SecretId, version: i64) -> Result<Option<Span>> {
    let sql = "SELECT MIN(not_after - not_before) FROM instance WHERE secret_id = $1 AND version = $2 AND key_type <> ''";
    let shortest = tx.query_one(sql, &[secret.0.into(), version.into()])?.opt_int(0)?;
    Ok(shortest.map(|s| Span::seconds(s + 1)))
}

/// Instances in the order of their numbers, for the sweep.
pub fn instances_page(tx: &mut Tx<'_>, after: i64, limit: i64) -> Result<Vec<Instance>> {
    let sql = format!("SELECT {INSTANCE} FROM instance WHERE id > $1 ORDER BY id LIMIT $2");
    tx.query(&sql, &[after.into(), limit.into()])?.iter().map(instance).collect()
}

/// Whose a leaf is: (secret, its name, version), the newest version first.
pub fn known_leaf(tx: &mut Tx<'_>, leaf: &Fingerprint) -> Result<Vec<(SecretId, String, i64)>> {
    // The first eight bytes are what the index holds.
    let sql = "SELECT i.secret_id, s.name, i.version FROM instance i JOIN secret s ON s.id = i.secret_id \
               WHERE substr(i.leaf, 1, 8) = $2 AND i.leaf = $1 ORDER BY i.version DESC, i.secret_id LIMIT 16";
    let bytes = leaf.as_bytes();
    let rows = tx.query(sql, &[(*bytes).into(), bytes[..8].into()])?;
    rows.iter().map(|r| Ok((SecretId(r.int(0)?), r.text(1)?.into(), r.int(2)?))).collect()
}

/// Secrets between two numbers that share a key with another one, whatever their version: [`sharing_key`] says more of each.
pub fn sharing_between(tx: &mut Tx<'_>, first: SecretId, last: SecretId) -> Result<BTreeSet<SecretId>> {
    let sql = "SELECT DISTINCT i.secret_id FROM instance i JOIN instance o \
               ON substr(o.key_fingerprint, 1, 8) = substr(i.key_fingerprint, 1, 8) AND o.key_fingerprint = i.key_fingerprint AND o.id <> i.id \
               WHERE i.secret_id >= $1 AND i.secret_id <= $2 AND i.key_type <> '' AND o.secret_id <> i.secret_id ORDER BY i.secret_id";
    tx.query(sql, &[first.0.into(), last.0.into()])?.iter().map(|r| Ok(SecretId(r.int(0)?))).collect()
}

/// Other secrets that hold a key of this secret's newest version.
pub fn sharing_key(tx: &mut Tx<'_>, secret: SecretId, newest: i64) -> Result<Vec<String>> {
    let sql = "SELECT DISTINCT s.name FROM instance i JOIN instance o \
               ON substr(o.key_fingerprint, 1, 8) = substr(i.key_fingerprint, 1, 8) AND o.key_fingerprint = i.key_fingerprint AND o.secret_id <> i.secret_id \
               JOIN secret s ON s.id = o.secret_id WHERE i.secret_id = CAST($1 AS BIGINT) AND i.version = CAST($2 AS BIGINT) AND i.key_type <> '' \
               AND s.retired_at IS NULL ORDER BY s.name LIMIT 10";
    tx.query(sql, &[secret.0.into(), newest.into()])?.iter().map(|r| Ok(r.text(0)?.into())).collect()
}

/// A line of "what ends soon".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The instance.
    pub id: i64,
    /// Its secret.
    pub secret: String,
    /// Version number.
    pub version: i64,
    /// `all`, a region, or a node.
    pub scope: String,
    /// Its end.
    pub not_after: Time,
    /// SHA-256 of the leaf.
    pub leaf: Fingerprint,
}

/// Stored instances that end before a moment, the earliest first, behind `after` = (not_after, id).
pub fn ending(tx: &mut Tx<'_>, before: Time, after: Option<(i64, i64)>, limit: i64) -> Result<Vec<Ending>> {
    let (a, b) = after.unwrap_or((i64::MIN, i64::MIN));
    let sql = "SELECT i.id, s.name, i.version, i.scope, i.not_after, i.leaf FROM instance i JOIN secret s ON s.id = i.secret_id \
               WHERE (i.not_after, i.id) > ($1, $2) AND i.not_after < $3 ORDER BY i.not_after, i.id LIMIT $4";
    tx.query(sql, &[a.into(), b.into(), before.into(), limit.into()])?
        .iter()
        .map(|r| {
            Ok(Ending {
                id: r.int(0)?,
                secret: r.text(1)?.into(),
                version: r.int(2)?,
                scope: r.text(3)?.into(),
                not_after: r.time(4)?,
                leaf: fingerprint(r, 5)?.ok_or_else(|| StoreError::Corrupt { what: "an instance without a leaf".into() })?,
            })
        })
        .collect()
}

/// The number of a week: `year × 100 + ISO week`.
pub fn week_number(t: Time) -> i64 {
    let (year, week) = t.iso_week();
    i64::from(year) * 100 + i64::from(week)
}

/// Changes of the counts of instances per region and week, collected for a transaction: a week is one row for very many.
#[derive(Debug, Default)]
pub struct Expiries(BTreeMap<(String, i64), i64>);

impl Expiries {
    /// So many more instances of a region end then.
    pub fn count(&mut self, region: &str, not_after: Time, by: i64) {
        *self.0.entry((region.to_owned(), week_number(not_after))).or_default() += by;
    }

    /// Writes them, in the order of their keys, so that two transactions never wait for each other.
    pub fn write(self, tx: &mut Tx<'_>) -> Result<()> {
        for ((region, week), n) in self.0 {
            tx.execute(
                "INSERT INTO expiry_rollup (region, week, n) VALUES ($1, $2, $3) \
                 ON CONFLICT (region, week) DO UPDATE SET n = expiry_rollup.n + excluded.n",
                &[region.into(), week.into(), n.into()],
            )?;
        }
        Ok(())
    }
}

/// How many instances end per region and week, within weeks.
pub fn expiry_counts(tx: &mut Tx<'_>, from: i64, to: i64) -> Result<Vec<(String, i64, i64)>> {
    let sql = "SELECT region, week, n FROM expiry_rollup WHERE week >= $1 AND week <= $2 AND n <> 0 ORDER BY region, week";
    tx.query(sql, &[from.into(), to.into()])?.iter().map(|r| Ok((r.text(0)?.into(), r.int(1)?, r.int(2)?))).collect()
}

/// What is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Of which instance.
    pub instance: i64,
    /// What the bytes are for; bound into the seal.
    pub purpose: String,
    /// Which key-encryption key wraps the data key.
    pub kek: String,
    /// The wrapped data key.
    pub wrapped: Vec<u8>,
    /// The sealed bytes.
    pub ciphertext: Vec<u8>,
}

/// Adds sealed bytes.
pub fn insert_sealed(tx: &mut Tx<'_>, s: &Sealed) -> Result<()> {
    tx.execute(
        "INSERT INTO sealed (instance_id, purpose, kek_id, wrapped, ciphertext) VALUES ($1,$2,$3,$4,$5)",
        &[s.instance.into(), (&s.purpose).into(), (&s.kek).into(), s.wrapped.clone().into(), s.ciphertext.clone().into()],
    )?;
    Ok(())
}

/// The sealed bytes of an instance.
pub fn sealed(tx: &mut Tx<'_>, instance: i64) -> Result<Option<Sealed>> {
    tx.query_opt("SELECT instance_id, purpose, kek_id, wrapped, ciphertext FROM sealed WHERE instance_id = $1", &[instance.into()])?
        .map(|r| sealed_row(&r))
        .transpose()
}

fn sealed_row(r: &Row) -> Result<Sealed> {
    Ok(Sealed {
        instance: r.int(0)?,
        purpose: r.text(1)?.into(),
        kek: r.text(2)?.into(),
        wrapped: r.bytes(3)?.to_vec(),
        ciphertext: r.bytes(4)?.to_vec(),
    })
}

/// Where a sealed row lives, and its wrapped data key: all that a rotation of the KEK needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// The instance.
    pub instance: i64,
    /// Its secret.
    pub secret: SecretId,
    /// Its version.
    pub version: i64,
    /// The row; `ciphertext` is left empty.
    pub sealed: Sealed,
}

/// Data keys that another KEK than `kek` wraps, in pages.
pub fn wrapped_by_others(tx: &mut Tx<'_>, kek: &str, after: i64, limit: i64) -> Result<Vec<Wrapped>> {
    // What belongs to no certificate of a secret is bound to whose key it is, and to no version.
    let sql = "SELECT e.instance_id, e.purpose, e.kek_id, e.wrapped, COALESCE(i.secret_id, h.subject), COALESCE(i.version, 0) \
               FROM sealed e LEFT JOIN instance i ON i.id = e.instance_id LEFT JOIN held_key h ON h.id = e.instance_id \
               WHERE e.kek_id <> $1 AND e.instance_id > $2 AND COALESCE(i.id, h.id) IS NOT NULL ORDER BY e.instance_id LIMIT $3";
    tx.query(sql, &[kek.into(), after.into(), limit.into()])?
        .iter()
        .map(|r| {
            Ok(Wrapped {
                instance: r.int(0)?,
                secret: SecretId(r.int(4)?),
                version: r.int(5)?,
                sealed: Sealed {
                    instance: r.int(0)?,
                    purpose: r.text(1)?.into(),
                    kek: r.text(2)?.into(),
                    wrapped: r.bytes(3)?.to_vec(),
                    ciphertext: Vec::new(),
                },
            })
        })
        .collect()
}

/// Puts a data key under another KEK; the sealed bytes stay as they are.
pub fn rewrap(tx: &mut Tx<'_>, instance: i64, from: &str, to: &str, wrapped: Vec<u8>) -> Result<bool> {
    let sql = "UPDATE sealed SET kek_id = $3, wrapped = $4 WHERE instance_id = $1 AND kek_id = $2";
    Ok(tx.execute(sql, &[instance.into(), from.into(), to.into(), wrapped.into()])? == 1)
}

/// A key-encryption key, as far as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kek {
    /// Its number.
    pub id: String,
    /// Provider, parameters and check, as text.
    pub record: String,
    /// Whether new data keys go under it.
    pub current: bool,
}

/// All key-encryption keys, the current one first.
pub fn keks(tx: &mut Tx<'_>) -> Result<Vec<Kek>> {
    tx.query("SELECT id, record, current FROM kek ORDER BY current DESC, id", &[])?
        .iter()
        .map(|r| Ok(Kek { id: r.text(0)?.into(), record: r.text(1)?.into(), current: r.bool(2)? }))
        .collect()
}

/// Adds a key-encryption key and makes it the current one.
pub fn insert_kek(tx: &mut Tx<'_>, id: &str, record: &str, now: Time) -> Result<()> {
    tx.execute("UPDATE kek SET current = 0 WHERE current <> 0", &[])?;
    tx.execute("INSERT INTO kek (id, record, current, created_at) VALUES ($1, $2, 1, $3)", &[id.into(), record.into(), now.into()])?;
    Ok(())
}

/// Whether a key-encryption key is the current one, and keeps it so until this transaction ends.
pub fn take_current_kek(tx: &mut Tx<'_>, id: &str) -> Result<bool> {
    Ok(tx.execute("UPDATE kek SET current = 1 WHERE id = $1 AND current = 1", &[id.into()])? == 1)
}

/// A key-encryption key that another one opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// What it opens.
    pub id: String,
    /// What opens it.
    pub opened_by: String,
    /// The record, as text.
    pub record: String,
}

/// Lets one key-encryption key open another, until [`end_bridges`].
pub fn put_bridge(tx: &mut Tx<'_>, b: &Bridge) -> Result<()> {
    let sql = "INSERT INTO kek_bridge (id, opened_by, record) VALUES ($1, $2, $3) \
               ON CONFLICT (id, opened_by) DO UPDATE SET record = excluded.record";
    tx.execute(sql, &[(&b.id).into(), (&b.opened_by).into(), (&b.record).into()])?;
    Ok(())
}

/// All of them.
pub fn bridges(tx: &mut Tx<'_>) -> Result<Vec<Bridge>> {
    tx.query("SELECT id, opened_by, record FROM kek_bridge ORDER BY id, opened_by", &[])?
        .iter()
        .map(|r| Ok(Bridge { id: r.text(0)?.into(), opened_by: r.text(1)?.into(), record: r.text(2)?.into() }))
        .collect()
}

/// Forgets every bridge to or from a key-encryption key that is gone.
pub fn end_bridges(tx: &mut Tx<'_>) -> Result<u64> {
    let gone = "NOT IN (SELECT id FROM kek)";
    tx.execute(&format!("DELETE FROM kek_bridge WHERE id {gone} OR opened_by {gone}"), &[])
}

/// Forgets a key-encryption key under which nothing lies any more.
pub fn delete_kek(tx: &mut Tx<'_>, id: &str) -> Result<u64> {
    tx.execute("DELETE FROM kek WHERE id = $1 AND current = 0 AND NOT EXISTS (SELECT 1 FROM sealed WHERE kek_id = $1)", &[id.into()])
}
