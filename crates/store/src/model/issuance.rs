//! How secrets are issued: as declared, and how their renewal stands; and how issuers have answered.

use super::{inventory, list, list_column, word};
use crate::{Result, Row, StoreError, Tx, Value};
use domain::{
    Span, Time,
    calendar::{Calendar, Freeze, When},
    issuing::{IssuerKind, KeyChoice, KeysAt, Profile},
    renewal::Trouble,
    words::SecretId,
};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// How a secret is issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuance {
    /// Of which secret.
    pub secret: SecretId,
    /// Issuers in the order of preference.
    pub issued_by: Vec<String>,
    /// What its certificates are for.
    pub profile: Profile,
    /// Where its keys are born.
    pub keys: KeysAt,
    /// The kind of its keys.
    pub key_type: KeyChoice,
    /// Asked of the issuer; none for what the issuer gives.
    pub lifetime: Option<Span>,
    /// Its SPIFFE ID, empty for none.
    pub spiffe_id: String,
    /// The maintenance window as declared (JSON: zone, weekly), empty for none.
    pub maintenance: String,
    /// By which policy its versions travel, empty for the computed one.
    pub rollout_policy: String,
}

const COLUMNS: &str = "secret_id, issued_by, profile, keys, key_type, lifetime, spiffe_id, maintenance, rollout_policy";

fn from_row(r: &Row) -> Result<Issuance> {
    Ok(Issuance {
        secret: SecretId(r.int(0)?),
        issued_by: list(r.text(1)?)?,
        profile: word(r, 2, Profile::parse)?,
        keys: word(r, 3, KeysAt::parse)?,
        key_type: word(r, 4, KeyChoice::parse)?,
        lifetime: r.opt_int(5)?.map(Span::seconds),
        spiffe_id: r.text(6)?.into(),
        maintenance: r.text(7)?.into(),
        rollout_policy: r.text(8)?.into(),
    })
}

/// How a secret is issued; none where the inventory says nothing of it.
pub fn get(tx: &mut Tx<'_>, secret: SecretId) -> Result<Option<Issuance>> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM issuance WHERE secret_id = $1"), &[secret.0.into()])?.as_ref().map(from_row).transpose()
}

/// Writes how a secret is issued.
pub fn put(tx: &mut Tx<'_>, i: &Issuance) -> Result<()> {
    tx.execute(
        &format!(
            "INSERT INTO issuance ({COLUMNS}) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9) ON CONFLICT (secret_id) DO UPDATE SET \
             issued_by = excluded.issued_by, profile = excluded.profile, keys = excluded.keys, key_type = excluded.key_type, \
             lifetime = excluded.lifetime, spiffe_id = excluded.spiffe_id, maintenance = excluded.maintenance, \
             rollout_policy = excluded.rollout_policy"
        ),
        &[
            i.secret.0.into(),
            list_column(&i.issued_by).into(),
            i.profile.as_str().into(),
            i.keys.as_str().into(),
            i.key_type.as_str().into(),
            i.lifetime.map(Span::as_secs).into(),
            (&i.spiffe_id).into(),
            (&i.maintenance).into(),
            (&i.rollout_policy).into(),
        ],
    )?;
    Ok(())
}

/// Wakes a loop for every secret that is renewed by itself.
pub fn wake_automatic(tx: &mut Tx<'_>, loop_name: &str, now: Time) -> Result<()> {
    let rows = "secret WHERE renewal = 'automatic' AND retired_at IS NULL \
                AND EXISTS (SELECT 1 FROM issuance WHERE issuance.secret_id = secret.id)";
    crate::timer::set_earlier_for(tx, loop_name, rows, now)
}

/// The inventory says nothing of it any more.
pub fn remove(tx: &mut Tx<'_>, secret: SecretId) -> Result<()> {
    tx.execute("DELETE FROM issuance WHERE secret_id = $1", &[secret.0.into()])?;
    Ok(())
}

/// Secrets that an issuer is asked for, in the order of their numbers.
pub fn issued_by(tx: &mut Tx<'_>, issuer: &str, after: SecretId, limit: i64) -> Result<Vec<SecretId>> {
    let quoted = format!("%{}%", Json::from(issuer));
    // Names hold neither % nor quotes; an underscore matches more and is looked at again.
    let sql = format!("SELECT {COLUMNS} FROM issuance WHERE secret_id > $1 AND issued_by LIKE $2 ORDER BY secret_id LIMIT $3");
    let all: Vec<Issuance> = tx.query(&sql, &[after.0.into(), quoted.into(), limit.into()])?.iter().map(from_row).collect::<Result<_>>()?;
    Ok(all.into_iter().filter(|i| i.issued_by.iter().any(|n| n == issuer)).map(|i| i.secret).collect())
}

impl Issuance {
    /// The maintenance window as a calendar that is frozen *outside* of it; none where there is none.
    pub fn window(&self) -> Result<Option<Calendar>> {
        if self.maintenance.is_empty() {
            return Ok(None);
        }
        let corrupt = |what: String| StoreError::Corrupt { what };
        let said: Json = serde_json::from_str(&self.maintenance).map_err(|e| corrupt(format!("a maintenance window: {e}")))?;
        let weekly = said["weekly"].as_str().unwrap_or_default();
        let (from, until) = weekly.split_once('-').ok_or_else(|| corrupt(format!("a maintenance window: {weekly}")))?;
        let window = Freeze { why: String::from("outside of the maintenance window"), when: When::Weekly(format!("{until} - {from}")) };
        let zone = said["zone"].as_str().unwrap_or("UTC");
        Ok(Some(Calendar::parse(zone, &[window]).map_err(|e| corrupt(format!("a maintenance window: {e}")))?))
    }
}

/// Whoever signs, as declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: IssuerKind,
    /// The region that prefers it, empty for none.
    pub region: String,
    /// The issuer that is asked after several failures of this one, empty for none.
    pub fallback: String,
    /// Orders in any window, and how long that is; none for no limit.
    pub budget: Option<(i64, Span)>,
    /// What only its kind needs, as the inventory file writes it (JSON).
    pub settings: String,
}

fn issuer_of(name: &str, values: &[Value]) -> Result<Issuer> {
    let [Value::Text(kind), Value::Text(region), Value::Text(fallback), Value::Int(orders), Value::Int(per), Value::Text(settings)] =
        values
    else {
        return Err(StoreError::Corrupt { what: format!("the issuer {name}") });
    };
    Ok(Issuer {
        name: name.to_owned(),
        kind: IssuerKind::parse(kind).ok_or_else(|| StoreError::Corrupt { what: format!("the kind of issuer {name}") })?,
        region: region.clone(),
        fallback: fallback.clone(),
        budget: (*orders > 0).then(|| (*orders, Span::seconds(*per))),
        settings: settings.clone(),
    })
}

/// An issuer by name; none where it is unknown or retired.
pub fn issuer(tx: &mut Tx<'_>, name: &str) -> Result<Option<Issuer>> {
    inventory::row(tx, inventory::ISSUER, name)?.map(|values| issuer_of(name, &values)).transpose()
}

/// All issuers, by name.
pub fn issuers(tx: &mut Tx<'_>) -> Result<Vec<Issuer>> {
    inventory::rows(tx, inventory::ISSUER)?.iter().map(|(name, values)| issuer_of(name, values)).collect()
}

/// How an issuer has answered lately.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IssuerState {
    /// Failures in a row.
    pub failures: i64,
    /// Since when it fails.
    pub failing_since: Option<Time>,
    /// When it failed last.
    pub failed_at: Option<Time>,
    /// Nothing is asked of it before then.
    pub not_before: Option<Time>,
    /// What it said last, escaped.
    pub detail: String,
}

/// How an issuer has answered lately.
pub fn issuer_state(tx: &mut Tx<'_>, issuer: &str) -> Result<IssuerState> {
    let sql = "SELECT failures, failing_since, failed_at, not_before, detail FROM issuer_state WHERE issuer = $1";
    let Some(r) = tx.query_opt(sql, &[issuer.into()])? else { return Ok(IssuerState::default()) };
    Ok(IssuerState {
        failures: r.int(0)?,
        failing_since: r.opt_time(1)?,
        failed_at: r.opt_time(2)?,
        not_before: r.opt_time(3)?,
        detail: r.text(4)?.into(),
    })
}

/// Remembers how an issuer answered.
pub fn put_issuer_state(tx: &mut Tx<'_>, issuer: &str, s: &IssuerState) -> Result<()> {
    tx.execute(
        "INSERT INTO issuer_state (issuer, failures, failing_since, failed_at, not_before, detail) VALUES ($1,$2,$3,$4,$5,$6) \
         ON CONFLICT (issuer) DO UPDATE SET failures = excluded.failures, failing_since = excluded.failing_since, \
         failed_at = excluded.failed_at, not_before = excluded.not_before, detail = excluded.detail",
        &[issuer.into(), s.failures.into(), s.failing_since.into(), s.failed_at.into(), s.not_before.into(), (&s.detail).into()],
    )?;
    Ok(())
}

/// How the renewal of a secret stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// Of which secret.
    pub secret: SecretId,
    /// Its newest version when this was written; another one begins anew.
    pub version: i64,
    /// When it is due, where that is known.
    pub due_at: Option<Time>,
    /// The intent under way, 0 for none.
    pub intent: i64,
    /// Failures in a row.
    pub failures: i64,
    /// Since when it fails.
    pub failing_since: Option<Time>,
    /// Whether trying again is of no use before somebody acts.
    pub terminal: bool,
    /// What went wrong last, escaped; empty for nothing.
    pub detail: String,
    /// The window that the issuer suggests (RFC 9773).
    pub suggested: Option<(Time, Time)>,
    /// Why, escaped.
    pub suggested_why: String,
    /// When it is asked again.
    pub ask_again: Option<Time>,
}

impl Renewal {
    /// Nothing has happened yet.
    pub fn fresh(secret: SecretId, version: i64) -> Renewal {
        Renewal {
            secret,
            version,
            due_at: None,
            intent: 0,
            failures: 0,
            failing_since: None,
            terminal: false,
            detail: String::new(),
            suggested: None,
            suggested_why: String::new(),
            ask_again: None,
        }
    }
}

const RENEWAL: &str =
    "secret_id, version, due_at, intent_id, failures, failing_since, terminal, detail, ari_from, ari_until, ari_why, ari_again";

/// How the renewal of a secret stands.
pub fn renewal(tx: &mut Tx<'_>, secret: SecretId) -> Result<Option<Renewal>> {
    let row = tx.query_opt(&format!("SELECT {RENEWAL} FROM renewal WHERE secret_id = $1"), &[secret.0.into()])?;
    row.map(|r| {
        Ok(Renewal {
            secret: SecretId(r.int(0)?),
            version: r.int(1)?,
            due_at: r.opt_time(2)?,
            intent: r.int(3)?,
            failures: r.int(4)?,
            failing_since: r.opt_time(5)?,
            terminal: r.bool(6)?,
            detail: r.text(7)?.into(),
            suggested: r.opt_time(8)?.zip(r.opt_time(9)?),
            suggested_why: r.text(10)?.into(),
            ask_again: r.opt_time(11)?,
        })
    })
    .transpose()
}

/// What goes wrong with the renewals of secrets between two numbers.
pub fn troubles(tx: &mut Tx<'_>, first: SecretId, last: SecretId) -> Result<BTreeMap<SecretId, Trouble>> {
    let sql = "SELECT secret_id, failures, failing_since, terminal, detail FROM renewal \
               WHERE secret_id >= $1 AND secret_id <= $2 AND failures > 0 ORDER BY secret_id";
    tx.query(sql, &[first.0.into(), last.0.into()])?
        .iter()
        .map(|r| {
            let since = r.opt_time(2)?.unwrap_or(Time::EPOCH);
            Ok((SecretId(r.int(0)?), Trouble { failures: r.int(1)?, since, terminal: r.bool(3)?, detail: r.text(4)?.into() }))
        })
        .collect()
}

/// Remembers how the renewal of a secret stands.
pub fn put_renewal(tx: &mut Tx<'_>, n: &Renewal) -> Result<()> {
    tx.execute(
        &format!(
            "INSERT INTO renewal ({RENEWAL}) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12) ON CONFLICT (secret_id) DO UPDATE SET \
             version = excluded.version, due_at = excluded.due_at, intent_id = excluded.intent_id, failures = excluded.failures, \
             failing_since = excluded.failing_since, terminal = excluded.terminal, detail = excluded.detail, \
             ari_from = excluded.ari_from, ari_until = excluded.ari_until, ari_why = excluded.ari_why, ari_again = excluded.ari_again"
        ),
        &[
            n.secret.0.into(),
            n.version.into(),
            n.due_at.into(),
            n.intent.into(),
            n.failures.into(),
            n.failing_since.into(),
            n.terminal.into(),
            (&n.detail).into(),
            n.suggested.map(|s| s.0).into(),
            n.suggested.map(|s| s.1).into(),
            (&n.suggested_why).into(),
            n.ask_again.into(),
        ],
    )?;
    Ok(())
}

/// When a certificate of a version is to end, by a plan that divides production up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedEnd {
    /// notAfter, inclusive.
    pub not_after: Time,
    /// By which intent.
    pub intent: i64,
}

/// Remembers when a certificate of a version is to end.
pub fn put_planned_end(tx: &mut Tx<'_>, secret: SecretId, version: i64, scope: &str, p: PlannedEnd) -> Result<()> {
    tx.execute(
        "INSERT INTO planned_end (secret_id, version, scope, not_after, intent_id) VALUES ($1,$2,$3,$4,$5) \
         ON CONFLICT (secret_id, version, scope) DO UPDATE SET not_after = excluded.not_after, intent_id = excluded.intent_id",
        &[secret.0.into(), version.into(), scope.into(), p.not_after.into(), p.intent.into()],
    )?;
    Ok(())
}

/// Deletes what was planned for versions before the last but one.
pub fn prune_planned(tx: &mut Tx<'_>, limit: i64) -> Result<u64> {
    tx.execute(
        "DELETE FROM planned_end WHERE (secret_id, version, scope) IN (SELECT p.secret_id, p.version, p.scope FROM planned_end p \
         JOIN secret s ON s.id = p.secret_id WHERE p.version < s.newest_version - 1 ORDER BY p.secret_id, p.version, p.scope LIMIT $1)",
        &[limit.into()],
    )
}

/// The planned ends of a version for some scopes, by scope.
pub fn planned_ends(tx: &mut Tx<'_>, secret: SecretId, version: i64, scopes: [&str; 3]) -> Result<BTreeMap<String, PlannedEnd>> {
    let sql = "SELECT scope, not_after, intent_id FROM planned_end WHERE secret_id = $1 AND version = $2 AND scope IN ($3, $4, $5) \
               ORDER BY scope";
    let [a, b, c] = scopes;
    tx.query(sql, &[secret.0.into(), version.into(), a.into(), b.into(), c.into()])?
        .iter()
        .map(|r| Ok((r.text(0)?.to_owned(), PlannedEnd { not_after: r.time(1)?, intent: r.int(2)? })))
        .collect()
}

/// When a certificate of a version is to end.
pub fn planned_end(tx: &mut Tx<'_>, secret: SecretId, version: i64, scope: &str) -> Result<Option<PlannedEnd>> {
    let sql = "SELECT not_after, intent_id FROM planned_end WHERE secret_id = $1 AND version = $2 AND scope = $3";
    let row = tx.query_opt(sql, &[secret.0.into(), version.into(), scope.into()])?;
    row.map(|r| Ok(PlannedEnd { not_after: r.time(0)?, intent: r.int(1)? })).transpose()
}

/// An account at an ACME server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The directory that it belongs to: another one needs another account.
    pub directory: String,
    /// Its held key.
    pub held: i64,
    /// Where the server keeps it, empty before it was made.
    pub url: String,
}

/// The account of an issuer.
pub fn account(tx: &mut Tx<'_>, issuer: &str) -> Result<Option<Account>> {
    let row = tx.query_opt("SELECT directory, held, url FROM acme_account WHERE issuer = $1", &[issuer.into()])?;
    row.map(|r| Ok(Account { directory: r.text(0)?.into(), held: r.int(1)?, url: r.text(2)?.into() })).transpose()
}

/// Remembers the account of an issuer.
pub fn put_account(tx: &mut Tx<'_>, issuer: &str, a: &Account) -> Result<()> {
    tx.execute(
        "INSERT INTO acme_account (issuer, directory, held, url) VALUES ($1,$2,$3,$4) ON CONFLICT (issuer) DO UPDATE SET \
         directory = excluded.directory, held = excluded.held, url = excluded.url",
        &[issuer.into(), (&a.directory).into(), a.held.into(), (&a.url).into()],
    )?;
    Ok(())
}
