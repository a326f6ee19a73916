//! Secrets: lists, details, and what is stored. No answer holds private material: [`v1::Instance`] cannot.

use std::collections::BTreeSet;

use api::v1;
use axum::extract::State;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use engine::vault::{self, Attested, Incoming};
use serde::Deserialize;
use store::model::{finding, secret, target};
use zeroize::Zeroizing;

use super::{
    Answer,
    body::{Asked, Json, Name, Secretive},
    convert,
    gate::{Call, Caller, Scope, Shared},
    json,
    limits::{PARTS_SHOWN, VERSIONS_SHOWN},
    openapi::Done,
    page::{Cursor, Paging},
    problem::Problem,
    read::{self, Names},
    reason,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    team: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

pub(crate) async fn list(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<Query>) -> Answer<v1::Page<v1::Secret>> {
    let paging = Paging::new("secrets", q.after.as_deref(), q.limit)?;
    let work = move |call: &Call| {
        let filter = secret::Filter { team: q.team, margin_before: None, after: paging.pair(), limit: paging.limit };
        let rows = call.read(|tx| Ok(secret::by_margin(tx, &filter)?))?;
        paging.page(&rows, |s| Cursor(s.margin_at, s.id.0, String::new()), |s| Ok(convert::secret(s, call.tick.now)))
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

pub(crate) async fn show(State(shared): State<Shared>, caller: Caller, Name(name): Name) -> Answer<v1::SecretDetail> {
    shared.run(caller, Scope::Store, move |_, call| detail(call, &name)).await.map(json)
}

fn detail(call: &Call, name: &str) -> Result<v1::SecretDetail, Problem> {
    let now = call.tick.now;
    call.read(|tx| {
        let s = secret::by_name(tx, name)?.ok_or_else(|| Problem::not_found("secret", name))?;
        let keyed: BTreeSet<i64> = read::keyed_instances(tx, s.id)?.into_iter().collect();
        let mut versions = Vec::new();
        for v in secret::versions(tx, s.id, VERSIONS_SHOWN)? {
            let instances = secret::instances(tx, s.id, Some(v.number))?;
            let shown = instances.iter().map(|i| convert::instance(i, keyed.contains(&i.id) && !i.key_type.is_empty())).collect();
            versions.push(convert::version(&v, shown));
        }
        let mut target_list = Vec::new();
        for (_, t) in target::by_margin(tx, Some(s.id), None, PARTS_SHOWN)? {
            let team = engine::assess::team_of(tx, &t.team, &t.service, Some(&s))?;
            target_list.push(convert::target(&t, &s.name, team, now));
        }
        let mut names = Names::default();
        let mut finding_list = Vec::new();
        for f in finding::list(tx, Some(s.id), None, PARTS_SHOWN)? {
            finding_list.push(convert::finding(&f, Some(s.name.clone()), names.target(tx, f.target)?));
        }
        Ok(v1::SecretDetail { secret: convert::secret(&s, now), versions, target_list, finding_list })
    })
}

pub(crate) async fn import(
    State(shared): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Secretive(body): Secretive<v1::Import>,
) -> Answer<v1::Stored> {
    reason(&body.reason)?;
    let instances = body.instances.into_iter().map(incoming).collect::<Result<Vec<_>, _>>()?;
    let (accept_change, roots, why, dry_run) = (body.accept_change, body.roots, body.reason, body.dry_run);
    shared
        .run(caller, Scope::Secret(name.clone()), move |permitted, call| {
            let engine = call.engine();
            let import = vault::Import { name: &name, instances, accept_change, roots, reason: &why, dry_run };
            let prepared = engine.prepare(import, &call.tick)?;
            if dry_run {
                return Ok(convert::stored(engine.preview(&prepared), false));
            }
            let stored = engine.store_all(&[prepared], &mut call.random(), &permitted.actor(), &call.tick)?;
            let stored = stored.into_iter().next().ok_or_else(|| Problem::internal(&"an import stored nothing"))?;
            Ok(convert::stored(stored, true))
        })
        .await
        .map(json)
}

fn incoming(i: v1::ImportInstance) -> Result<Incoming, Problem> {
    // Taken over before anything can fail, so that they are wiped whatever happens.
    let (chain, key, password) = (Zeroizing::new(i.chain), i.key.map(Zeroizing::new), i.password.map(Zeroizing::new));
    if !(1..=api::fleet::MAX_NAME_BYTES).contains(&i.scope.len()) || !api::fleet::is_name(&i.scope) {
        let detail = format!("{} is no scope: write all, a region, or a node", pki::text::escape(&i.scope));
        return Err(Problem::unprocessable("bad-scope", detail));
    }
    Ok(Incoming {
        scope: i.scope,
        chain: std::mem::take(&mut *bytes("chain", &chain)?),
        key: key.map(|k| bytes("key", &k)).transpose()?,
        password,
    })
}

fn bytes(field: &str, text: &str) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let decoded = STANDARD.decode(text).map(Zeroizing::new);
    // The decoder's own words would name bytes of the secret.
    decoded.map_err(|_| Problem::unprocessable("bad-base64", format!("{field} is no base64 (RFC 4648 §4, padded)")))
}

pub(crate) async fn put_opaque(
    State(shared): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Secretive(body): Secretive<v1::PutOpaque>,
) -> Answer<v1::Stored> {
    let value = Zeroizing::new(body.value);
    reason(&body.reason)?;
    let value = bytes("value", &value)?;
    let expires = body.expires_at.as_deref().map(|t| convert::time("expires_at", t)).transpose()?;
    let why = body.reason;
    shared
        .run(caller, Scope::Secret(name.clone()), move |permitted, call| {
            let engine = call.engine();
            let stored = engine.put_opaque(&name, &value, expires, &why, &mut call.random(), &permitted.actor(), &call.tick)?;
            call.keep_delivery_keys();
            Ok(convert::stored(stored, true))
        })
        .await
        .map(json)
}

pub(crate) async fn attest(State(shared): State<Shared>, caller: Caller, Name(name): Name, Json(body): Json<v1::Attest>) -> Answer<Done> {
    reason(&body.reason)?;
    if body.reason.trim().is_empty() {
        return Err(Problem::unprocessable("reason-missing", "an attestation needs a reason: how do you know?"));
    }
    let what = match (body.version, body.expires_at.as_deref()) {
        (Some(version), None) => Attested::Version(version),
        (None, Some(end)) => Attested::Expires(convert::time("expires_at", end)?),
        _ => return Err(Problem::unprocessable("bad-body", "say either `version` (opaque secrets) or `expires_at` (tracked ones)")),
    };
    shared
        .run(caller, Scope::Secret(name.clone()), move |permitted, call| {
            call.engine().attest(&name, what, &body.reason, &permitted.actor(), &call.tick)?;
            Ok(Done {})
        })
        .await
        .map(json)
}

pub(crate) async fn retire(State(shared): State<Shared>, caller: Caller, Name(name): Name, Json(body): Json<v1::Reason>) -> Answer<Done> {
    reason(&body.reason)?;
    shared
        .run(caller, Scope::Secret(name.clone()), move |permitted, call| {
            call.engine().retire_secret(&name, &body.reason, &permitted.actor(), &call.tick)?;
            Ok(Done {})
        })
        .await
        .map(json)
}
