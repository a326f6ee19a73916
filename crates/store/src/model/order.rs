//! Requests to issuers, and requests that people carry to a CA.

use super::{fingerprint, list, list_column, word};
use crate::{Result, Row, StoreError, Tx, Value};
use domain::{
    Fingerprint, Span, Time,
    issuing::{OrderState, RequestState},
    words::SecretId,
};

/// One request to an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its number.
    pub id: i64,
    /// Who is asked.
    pub issuer: String,
    /// For which secret.
    pub secret: SecretId,
    /// For which announced version; 0 where its answer becomes a version.
    pub version: i64,
    /// `all`, a region, or a node.
    pub scope: String,
    /// By which intent, 0 for none.
    pub intent: i64,
    /// How far it is.
    pub state: OrderState,
    /// PKCS#10, DER.
    pub csr: Vec<u8>,
    /// SHA-256 of its public key.
    pub key: Fingerprint,
    /// Its held key, 0 where it lies on a node.
    pub held: i64,
    /// Names that are asked for.
    pub names: Vec<String>,
    /// The certificate that it takes over from (RFC 9773 §5), empty for none.
    pub replaces: String,
    /// Where the issuer keeps it, empty before it was placed.
    pub url: String,
    /// The answer: concatenated DER, leaf first.
    pub chain: Vec<u8>,
    /// How often it was tried.
    pub attempts: i64,
    /// Failures in a row, its own.
    pub failures: i64,
    /// When it was made.
    pub created_at: Time,
    /// When it first went out: what a budget counts.
    pub placed_at: Option<Time>,
    /// When it was last tried.
    pub tried_at: Option<Time>,
    /// When it was over.
    pub done_at: Option<Time>,
    /// What is waited for, or what went wrong, escaped.
    pub detail: String,
    /// What each name failed of: (name, what), escaped.
    pub problems: Vec<(String, String)>,
}

const COLUMNS: &str = "id, issuer, secret_id, version, scope, intent_id, state, csr, key, held, names, replaces, url, chain, attempts, \
     created_at, placed_at, tried_at, done_at, detail, problems, failures";

fn print(r: &Row, column: usize) -> Result<Fingerprint> {
    fingerprint(r, column)?.ok_or_else(|| StoreError::Corrupt { what: String::from("an order without a key") })
}

fn from_row(r: &Row) -> Result<Order> {
    let problems = serde_json::from_str(r.text(20)?).map_err(|e| StoreError::Corrupt { what: format!("the problems of an order: {e}") })?;
    Ok(Order {
        id: r.int(0)?,
        issuer: r.text(1)?.into(),
        secret: SecretId(r.int(2)?),
        version: r.int(3)?,
        scope: r.text(4)?.into(),
        intent: r.int(5)?,
        state: word(r, 6, OrderState::parse)?,
        csr: r.bytes(7)?.to_vec(),
        key: print(r, 8)?,
        held: r.int(9)?,
        names: list(r.text(10)?)?,
        replaces: r.text(11)?.into(),
        url: r.text(12)?.into(),
        chain: r.bytes(13)?.to_vec(),
        attempts: r.int(14)?,
        created_at: r.time(15)?,
        placed_at: r.opt_time(16)?,
        tried_at: r.opt_time(17)?,
        done_at: r.opt_time(18)?,
        detail: r.text(19)?.into(),
        problems,
        failures: r.int(21)?,
    })
}

fn values(o: &Order) -> Vec<Value> {
    vec![
        o.id.into(),
        (&o.issuer).into(),
        o.secret.0.into(),
        o.version.into(),
        (&o.scope).into(),
        o.intent.into(),
        o.state.as_str().into(),
        o.csr.clone().into(),
        (*o.key.as_bytes()).into(),
        o.held.into(),
        list_column(&o.names).into(),
        (&o.replaces).into(),
        (&o.url).into(),
        o.chain.clone().into(),
        o.attempts.into(),
        o.created_at.into(),
        o.placed_at.into(),
        o.tried_at.into(),
        o.done_at.into(),
        (&o.detail).into(),
        serde_json::to_string(&o.problems).unwrap_or_else(|_| String::from("[]")).into(),
        o.failures.into(),
    ]
}

/// Writes an order, new or changed.
pub fn put(tx: &mut Tx<'_>, o: &Order) -> Result<()> {
    tx.execute(
        &format!(
            "INSERT INTO signing_order ({COLUMNS}) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22) \
             ON CONFLICT (id) DO UPDATE SET issuer = excluded.issuer, version = excluded.version, state = excluded.state, \
             replaces = excluded.replaces, url = excluded.url, chain = excluded.chain, attempts = excluded.attempts, held = excluded.held, \
             placed_at = excluded.placed_at, tried_at = excluded.tried_at, done_at = excluded.done_at, detail = excluded.detail, \
             problems = excluded.problems, failures = excluded.failures"
        ),
        &values(o),
    )?;
    Ok(())
}

/// One by its number.
pub fn get(tx: &mut Tx<'_>, id: i64) -> Result<Option<Order>> {
    tx.query_opt(&format!("SELECT {COLUMNS} FROM signing_order WHERE id = $1"), &[id.into()])?.as_ref().map(from_row).transpose()
}

/// The orders of a secret, the newest first.
pub fn of_secret(tx: &mut Tx<'_>, secret: SecretId, limit: i64) -> Result<Vec<Order>> {
    let sql = format!("SELECT {COLUMNS} FROM signing_order WHERE secret_id = $1 ORDER BY id DESC LIMIT $2");
    tx.query(&sql, &[secret.0.into(), limit.into()])?.iter().map(from_row).collect()
}

/// The latest order for exactly this: the same key asks again.
pub fn of_key(tx: &mut Tx<'_>, secret: SecretId, version: i64, scope: &str, key: &Fingerprint) -> Result<Option<Order>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM signing_order WHERE secret_id = $1 AND version = $2 AND scope = $3 AND key = $4 ORDER BY id DESC LIMIT 1"
    );
    let params = [secret.0.into(), version.into(), scope.into(), (*key.as_bytes()).into()];
    tx.query_opt(&sql, &params)?.as_ref().map(from_row).transpose()
}

/// The orders of a secret that are open, the oldest first.
pub fn open_of(tx: &mut Tx<'_>, secret: SecretId, limit: i64) -> Result<Vec<Order>> {
    let sql = format!("SELECT {COLUMNS} FROM signing_order WHERE secret_id = $1 AND state = 'open' ORDER BY id LIMIT $2");
    tx.query(&sql, &[secret.0.into(), limit.into()])?.iter().map(from_row).collect()
}

/// Deletes orders that were over before a moment, `keep` ago, or before the widest window of a budget where that lies further back: nobody
/// counts them any more. What an issuer answered for the newest version of a secret stays: it is asked about, and asked for again.
pub fn prune(tx: &mut Tx<'_>, before: Time, keep: Span, limit: i64) -> Result<u64> {
    let widest = tx.query_one("SELECT COALESCE(MAX(per), 0) FROM issuer", &[])?.int(0)?;
    let before = before.min(before + keep - Span::seconds(widest));
    tx.execute(
        "DELETE FROM signing_order WHERE id IN (SELECT o.id FROM signing_order o WHERE o.done_at < $1 AND o.state <> 'open' AND NOT \
         (o.state = 'issued' AND o.version >= COALESCE((SELECT s.newest_version FROM secret s WHERE s.id = o.secret_id), o.version + 1)) \
         ORDER BY o.done_at, o.id LIMIT $2)",
        &[before.into(), limit.into()],
    )
}

/// Deletes requests that were answered or dropped before a moment.
pub fn prune_requests(tx: &mut Tx<'_>, before: Time, limit: i64) -> Result<u64> {
    tx.execute(
        "DELETE FROM hand_request WHERE id IN (SELECT q.id FROM hand_request q WHERE q.done_at < $1 AND q.state <> 'open' \
         ORDER BY q.done_at, q.id LIMIT $2)",
        &[before.into(), limit.into()],
    )
}

/// Public keys (SHA-256) for which a certificate was asked for exactly this since a moment, of any issuer; in order, at most so many.
pub fn keys_since(tx: &mut Tx<'_>, secret: SecretId, version: i64, scope: &str, since: Time, limit: i64) -> Result<Vec<Fingerprint>> {
    let sql = "SELECT key FROM issued WHERE secret_id = $1 AND secret_id <> 0 AND version = $2 AND scope = $3 AND intended_at > $4 \
               UNION SELECT key FROM signing_order WHERE secret_id = $1 AND version = $2 AND scope = $3 AND created_at > $4 \
               ORDER BY key LIMIT $5";
    let params = [secret.0.into(), version.into(), scope.into(), since.into(), limit.into()];
    tx.query(sql, &params)?.iter().filter_map(|r| fingerprint(r, 0).transpose()).collect()
}

/// How many orders went to an issuer since a moment, and when the oldest of them did.
pub fn placed_since(tx: &mut Tx<'_>, issuer: &str, since: Time) -> Result<(i64, Option<Time>)> {
    let sql = "SELECT COUNT(*), MIN(placed_at) FROM signing_order WHERE issuer = $1 AND placed_at IS NOT NULL AND placed_at > $2";
    let r = tx.query_one(sql, &[issuer.into(), since.into()])?;
    Ok((r.int(0)?, r.opt_time(1)?))
}

/// A request that a person carries to a CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its number.
    pub id: i64,
    /// For which secret.
    pub secret: SecretId,
    /// `all`, a region, or a node.
    pub scope: String,
    /// Names that are asked for.
    pub names: Vec<String>,
    /// PKCS#10, DER.
    pub csr: Vec<u8>,
    /// SHA-256 of its public key.
    pub key: Fingerprint,
    /// Its held key; 0 once it moved into a version or was dropped.
    pub held: i64,
    /// How it stands.
    pub state: RequestState,
    /// The version that its answer became, 0 for none.
    pub version: i64,
    /// Who asked.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub created_at: Time,
    /// When it was over.
    pub done_at: Option<Time>,
}

const REQUEST: &str = "id, secret_id, scope, names, csr, key, held, state, version, actor, reason, created_at, done_at";

fn request_row(r: &Row) -> Result<Request> {
    Ok(Request {
        id: r.int(0)?,
        secret: SecretId(r.int(1)?),
        scope: r.text(2)?.into(),
        names: list(r.text(3)?)?,
        csr: r.bytes(4)?.to_vec(),
        key: print(r, 5)?,
        held: r.int(6)?,
        state: word(r, 7, RequestState::parse)?,
        version: r.int(8)?,
        actor: r.text(9)?.into(),
        reason: r.text(10)?.into(),
        created_at: r.time(11)?,
        done_at: r.opt_time(12)?,
    })
}

/// Writes a request, new or changed.
pub fn put_request(tx: &mut Tx<'_>, q: &Request) -> Result<()> {
    tx.execute(
        &format!(
            "INSERT INTO hand_request ({REQUEST}) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13) ON CONFLICT (id) DO UPDATE SET \
             held = excluded.held, state = excluded.state, version = excluded.version, done_at = excluded.done_at"
        ),
        &[
            q.id.into(),
            q.secret.0.into(),
            (&q.scope).into(),
            list_column(&q.names).into(),
            q.csr.clone().into(),
            (*q.key.as_bytes()).into(),
            q.held.into(),
            q.state.as_str().into(),
            q.version.into(),
            (&q.actor).into(),
            (&q.reason).into(),
            q.created_at.into(),
            q.done_at.into(),
        ],
    )?;
    Ok(())
}

/// The requests of a secret, the newest first.
pub fn requests(tx: &mut Tx<'_>, secret: SecretId, limit: i64) -> Result<Vec<Request>> {
    let sql = format!("SELECT {REQUEST} FROM hand_request WHERE secret_id = $1 ORDER BY id DESC LIMIT $2");
    tx.query(&sql, &[secret.0.into(), limit.into()])?.iter().map(request_row).collect()
}

/// The requests of a secret that wait for their answer, the oldest first.
pub fn open_requests(tx: &mut Tx<'_>, secret: SecretId, limit: i64) -> Result<Vec<Request>> {
    let sql = format!("SELECT {REQUEST} FROM hand_request WHERE secret_id = $1 AND state = 'open' ORDER BY id LIMIT $2");
    tx.query(&sql, &[secret.0.into(), limit.into()])?.iter().map(request_row).collect()
}
