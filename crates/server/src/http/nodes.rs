//! Nodes, as people see them: lists, details, and who may speak for one. What agents ask has a listener of its own.

use api::{agent, v1};
use axum::extract::State;
use domain::{Span, Time};
use engine::nodes::{Invited, SILENT_AFTER};
use serde::Deserialize;
use store::{
    Tx,
    model::{
        concern,
        identity::{self, Ended},
        node, secret,
    },
};

use super::{
    Answer,
    body::{Asked, Json, Name},
    convert,
    gate::{Call, Caller, Scope, Shared},
    json,
    limits::PARTS_SHOWN,
    openapi::Done,
    page::{Cursor, Paging},
    problem::Problem,
    reason,
};

/// For how long the right to join lasts, where nothing is said.
const VALID: Span = Span::hours(1);
/// Certificates of a node that are shown.
const CERTIFICATES_SHOWN: i64 = 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    region: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

pub(crate) async fn list(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<Query>) -> Answer<v1::Page<v1::Node>> {
    let paging = Paging::new("nodes", q.after.as_deref(), q.limit)?;
    let work = move |call: &Call| {
        call.read(|tx| {
            let after = paging.after.as_ref().map_or("", |c| &c.2);
            let rows = node::page(tx, q.region.as_deref().unwrap_or_default(), after, paging.limit)?;
            paging.page(
                &rows,
                |n| Cursor(0, 0, n.name.clone()),
                |n| {
                    let installs = node::installs(tx, n.id)?;
                    Ok(shown(n, &installs, call.tick.now))
                },
            )
        })
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

fn maybe(at: Option<Time>) -> Option<String> {
    at.map(|t| t.to_string())
}

fn shown(n: &node::Node, installs: &[node::Install], now: Time) -> v1::Node {
    let count = |of: &dyn Fn(&&node::Install) -> bool| installs.iter().filter(|i| of(i)).count() as u64;
    let state = match n.joined_at.filter(|_| n.is_joined()) {
        _ if n.cloned_at.is_some() => "cloned",
        Some(joined) if n.seen_at.unwrap_or(joined).max(joined) + SILENT_AFTER <= now => "silent",
        Some(_) => "joined",
        None if n.revoked_at.is_some() => "revoked",
        None => "declared",
    };
    v1::Node {
        name: n.name.clone(),
        region: n.region.clone(),
        stamp: Some(n.stamp.clone()).filter(|s| !s.is_empty()),
        canary: n.canary,
        state: state.to_owned(),
        generation: n.generation,
        acted: n.acted,
        secrets: installs.len() as u64,
        installed: count(&|i| i.installed_at.is_some()),
        failed: count(&|i| i.failed_at.is_some()),
        seen_at: maybe(n.seen_at),
        joined_at: maybe(n.joined_at),
        agent: Some(n.agent.clone()).filter(|a| !a.is_empty()),
        clock_off_seconds: n.clock_off,
    }
}

pub(crate) async fn show(State(shared): State<Shared>, caller: Caller, Name(name): Name) -> Answer<v1::NodeDetail> {
    let work = move |call: &Call| {
        call.read(|tx| {
            let n = node::by_name(tx, &name)?.filter(|n| n.retired_at.is_none()).ok_or_else(|| Problem::not_found("node", &name))?;
            let now = call.tick.now;
            let rows = node::installs(tx, n.id)?;
            let mut installs = rows.iter().map(|i| install(tx, i)).collect::<Result<Vec<_>, _>>()?;
            installs.sort_by(|a, b| a.secret.cmp(&b.secret));
            let certificates = identity::certificates(tx, n.id, CERTIFICATES_SHOWN)?;
            let concerns = concern::of(tx, &format!("node/{name}"))?;
            let standing = concerns.iter().filter(|c| c.gone_at.is_none()).take(usize::try_from(PARTS_SHOWN).unwrap_or_default());
            Ok(v1::NodeDetail {
                node: shown(&n, &rows, now),
                installs,
                certificates: certificates.iter().map(|c| certificate(c, now)).collect(),
                cloned: n.cloned_at.map(|_| n.cloned.clone()),
                invited_until: maybe(identity::token_until(tx, n.id, now)?),
                findings: standing.map(convert::concern).collect(),
            })
        })
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

fn install(tx: &mut Tx<'_>, i: &node::Install) -> Result<v1::NodeInstall, Problem> {
    Ok(v1::NodeInstall {
        secret: secret::get(tx, i.secret)?.map_or_else(|| i.secret.to_string(), |s| s.name),
        version: i.version,
        generation: i.generation,
        rollout: i.rollout.map(|r| r.0),
        has: i.has,
        state: i.state.clone(),
        detail: pki::text::escape(&i.detail),
        attempts: i.attempts,
        leaf: i.leaf.map(|l| l.to_string()),
        desired_at: maybe(i.desired_at),
        told_at: maybe(i.told_at),
        fetched_at: maybe(i.fetched_at),
        installed_at: maybe(i.installed_at),
        failed_at: maybe(i.failed_at),
    })
}

fn certificate(c: &identity::Certificate, now: Time) -> v1::NodeCertificate {
    let state = match c.ended {
        Some((_, Ended::Superseded)) => "superseded",
        Some((_, Ended::Revoked)) => "revoked",
        None if c.not_after <= now => "expired",
        None => "good",
    };
    v1::NodeCertificate {
        serial: c.serial.clone(),
        fingerprint: c.fingerprint.to_string(),
        not_after: c.not_after.to_string(),
        state: state.to_owned(),
        used_at: maybe(c.used_at),
    }
}

pub(crate) async fn invite(
    State(shared): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Json(body): Json<v1::Invite>,
) -> Answer<v1::Invited> {
    let valid = valid(body.valid.as_deref())?;
    let work = move |permitted: &super::permission::Permitted, call: &Call| {
        let entrance = entrance(call)?;
        let made = call.engine().invite(&name, valid, None, &mut call.random(), &permitted.actor(), &call.tick)?;
        Ok(invited(&name, &entrance, &made))
    };
    shared.run(caller, Scope::Store, work).await.map(json)
}

pub(crate) async fn rejoin(
    State(shared): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Json(body): Json<v1::Rejoin>,
) -> Answer<v1::Invited> {
    reason(&body.reason)?;
    let valid = valid(body.valid.as_deref())?;
    let work = move |permitted: &super::permission::Permitted, call: &Call| {
        let entrance = entrance(call)?;
        let made = call.engine().invite(&name, valid, Some(&body.reason), &mut call.random(), &permitted.actor(), &call.tick)?;
        Ok(invited(&name, &entrance, &made))
    };
    shared.run(caller, Scope::Store, work).await.map(json)
}

fn valid(text: Option<&str>) -> Result<Span, Problem> {
    let Some(text) = text else { return Ok(VALID) };
    Span::parse(text).map_err(|e| Problem::unprocessable("bad-validity", format!("valid: {e}")))
}

fn entrance(call: &Call) -> Result<crate::agents::Entrance, Problem> {
    call.shared.app.agents.clone().ok_or_else(|| {
        let detail = "this server lets no agents in; start it with --listen-agents ADDR, or ask one that does";
        Problem::new(axum::http::StatusCode::CONFLICT, "no-agents-here", detail)
    })
}

fn invited(name: &str, entrance: &crate::agents::Entrance, made: &Invited) -> v1::Invited {
    let invitation =
        agent::Invitation { ca: entrance.ca.clone(), token: agent::Token(made.token.to_string()), store: entrance.address.clone() };
    v1::Invited { node: name.to_owned(), join: invitation.expose(), expires_at: made.expires_at.to_string() }
}

pub(crate) async fn revoke(State(shared): State<Shared>, caller: Caller, Name(name): Name, Json(body): Json<v1::Reason>) -> Answer<Done> {
    reason(&body.reason)?;
    shared
        .run(caller, Scope::Store, move |permitted, call| {
            call.engine().revoke_node(&name, &body.reason, &permitted.actor(), &call.tick)?;
            Ok(Done {})
        })
        .await
        .map(json)
}

pub(crate) async fn readmit(State(shared): State<Shared>, caller: Caller, Json(body): Json<v1::Reason>) -> Answer<v1::Readmitted> {
    reason(&body.reason)?;
    shared
        .run(caller, Scope::Store, move |permitted, call| {
            let certificates = call.engine().readmit_nodes(&body.reason, &permitted.actor(), &call.tick)?;
            Ok(v1::Readmitted { certificates })
        })
        .await
        .map(json)
}

pub(crate) async fn manifest_key(State(shared): State<Shared>, caller: Caller) -> Answer<v1::ManifestKey> {
    let work = move |call: &Call| Ok(key_shown(call.engine().manifest_key_state()?));
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

pub(crate) async fn replace_manifest_key(
    State(shared): State<Shared>,
    caller: Caller,
    Json(body): Json<v1::ReplaceManifestKey>,
) -> Answer<v1::ManifestKey> {
    reason(&body.reason)?;
    shared
        .run(caller, Scope::Store, move |permitted, call| {
            let (engine, actor) = (call.engine(), permitted.actor());
            let state = if body.finish {
                engine.finish_manifest_key(&body.reason, &actor, &call.tick)
            } else {
                engine.announce_manifest_key(&body.reason, &mut call.random(), &actor, &call.tick)
            };
            Ok(key_shown(state?))
        })
        .await
        .map(json)
}

fn key_shown(k: engine::nodes::ManifestKey) -> v1::ManifestKey {
    v1::ManifestKey {
        key: k.key.map(|f| f.to_string()),
        next: k.next.map(|(f, _)| f.to_string()),
        announced_at: k.next.map(|(_, at)| at.to_string()),
        answer_until: k.next.map(|(_, at)| (at + engine::nodes::ANSWER_WITHIN).to_string()),
        waits_for: k.waits,
        waiting: k.waiting.unsigned_abs(),
    }
}

pub(crate) async fn manifest(State(shared): State<Shared>, caller: Caller, Name(name): Name) -> Answer<v1::NodeManifest> {
    let work = move |call: &Call| {
        let (signed, material) = call.engine().manifest_of(&name)?;
        let material = material.into_iter().map(|m| v1::NodeMaterial {
            secret: m.secret,
            version: m.version,
            chains: m.pairs.into_iter().map(|p| p.chain).collect(),
        });
        Ok(v1::NodeManifest { payload: signed.payload, signature: signed.signature, material: material.collect() })
    };
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}
