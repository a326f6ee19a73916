//! Issuers, internal CAs, requests by hand, renewals and revocations. No answer holds private material.

use api::v1;
use axum::{extract::State, http::header, response::IntoResponse};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{
    Time,
    issuing::{IssuerKind, Reason},
};
use engine::issuing::{NewAuthority, NewRequest};
use store::model::{authority, issuance, order, secret};

use super::{
    Answer,
    body::{Json, Name, NameAndId},
    convert,
    gate::{Call, Caller, Scope, Shared},
    json,
    limits::PARTS_SHOWN,
    openapi::Done,
    problem::Problem,
    reason,
};

/// Longest list of names, or of subtrees, in a body.
const MOST_NAMES: usize = 1_000;

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(std::str::from_utf8(line).unwrap_or_default());
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

pub(crate) async fn issuers(State(shared): State<Shared>, caller: Caller) -> Answer<Vec<v1::IssuerStanding>> {
    shared.run(caller, Scope::Store, |_, call| standings(call)).await.map(json)
}

fn standings(call: &Call) -> Result<Vec<v1::IssuerStanding>, Problem> {
    let now = call.tick.now;
    let some = |t: String| (!t.is_empty()).then_some(t);
    call.read(|tx| {
        let mut all = Vec::new();
        for i in issuance::issuers(tx)? {
            let state = issuance::issuer_state(tx, &i.name)?;
            let budget = match i.budget {
                Some((orders, window)) => {
                    let placed = order::placed_since(tx, &i.name, now - window)?.0;
                    Some(v1::BudgetStanding { orders, window_seconds: window.as_secs(), placed })
                }
                None => None,
            };
            let current = if i.kind == IssuerKind::Internal { authority::current(tx, &i.name)? } else { None };
            let missing = i.kind == IssuerKind::Internal && current.is_none();
            let detail = if missing { format!("it has no CA yet: perennial ca create {}", i.name) } else { state.detail };
            all.push(v1::IssuerStanding {
                kind: i.kind.to_string(),
                region: some(i.region),
                fallback: some(i.fallback),
                budget,
                failures: state.failures,
                failing_since: state.failing_since.map(|t| t.to_string()),
                not_before: state.not_before.filter(|t| *t > now).map(|t| t.to_string()),
                detail,
                ends: current.map(|c| c.not_after.to_string()),
                name: i.name,
            });
        }
        Ok(all)
    })
}

pub(crate) async fn authorities(State(shared): State<Shared>, caller: Caller, Name(name): Name) -> Answer<Vec<v1::CaCertificate>> {
    shared
        .run(caller, Scope::Store, move |_, call| {
            call.read(|tx| {
                issuance::issuer(tx, &name)?.ok_or_else(|| Problem::not_found("issuer", &name))?;
                let mut all = Vec::new();
                for a in authority::of_issuer(tx, &name)? {
                    let list = authority::crl(tx, a.id)?;
                    all.push(shown(&a, list.map(|c| c.next_update)));
                }
                Ok(all)
            })
        })
        .await
        .map(json)
}

fn shown(a: &authority::Authority, crl: Option<Time>) -> v1::CaCertificate {
    let there = !a.certificate.is_empty();
    let if_there = |text: String| if there { text } else { String::new() };
    v1::CaCertificate {
        id: a.id,
        issuer: a.issuer.clone(),
        role: a.role.to_string(),
        state: a.state.to_string(),
        subject: a.subject.clone(),
        fingerprint_sha256: if_there(a.fingerprint.to_string()),
        permitted: a.permitted.clone(),
        not_before: if_there(a.not_before.to_string()),
        not_after: if_there(a.not_after.to_string()),
        pem: there.then(|| pem("CERTIFICATE", &a.certificate)),
        csr: (!a.csr.is_empty()).then(|| pem("CERTIFICATE REQUEST", &a.csr)),
        crl_next_update: crl.map(|t| t.to_string()),
    }
}

pub(crate) async fn request_ca(
    State(shared): State<Shared>,
    caller: Caller,
    Name(issuer): Name,
    Json(body): Json<v1::NewCa>,
) -> Answer<v1::RequestedCa> {
    reason(&body.reason)?;
    if body.permitted.len() > MOST_NAMES {
        return Err(Problem::unprocessable("bad-names", format!("at most {MOST_NAMES} subtrees of names")));
    }
    shared
        .run(caller, Scope::Store, move |permitted, call| {
            let engine = call.engine();
            if body.drop {
                engine.drop_authority_request(&issuer, &body.reason, &permitted.actor(), &call.tick)?;
                let none = String::new;
                return Ok(v1::RequestedCa { id: 0, subject: none(), csr: none(), permitted: Vec::new(), done: false });
            }
            let new = NewAuthority { issuer, permitted: body.permitted, keep_root: body.keep_root, reason: body.reason };
            let made = engine.request_authority(&new, &mut call.random(), &permitted.actor(), &call.tick)?;
            let csr = pem("CERTIFICATE REQUEST", &made.csr);
            Ok(v1::RequestedCa { id: made.id, subject: made.subject, csr, permitted: made.permitted, done: made.done })
        })
        .await
        .map(json)
}

pub(crate) async fn answer_ca(
    State(shared): State<Shared>,
    caller: Caller,
    Name(issuer): Name,
    Json(body): Json<v1::CaAnswer>,
) -> Answer<v1::CaCertificate> {
    reason(&body.reason)?;
    let loaded = pki::load(body.chain.as_bytes(), None, pki::Limits::default())
        .map_err(|e| Problem::unprocessable("bad-certificate", format!("chain: {e}")))?;
    if !loaded.keys.is_empty() {
        return Err(Problem::unprocessable("key-in-chain", "the chain holds a private key; a root's key stays where it was put away"));
    }
    shared
        .run(caller, Scope::Store, move |permitted, call| {
            let a = call.engine().answer_authority(&issuer, &loaded.certificates, &body.reason, &permitted.actor(), &call.tick)?;
            Ok(shown(&a, None))
        })
        .await
        .map(json)
}

pub(crate) async fn requests(State(shared): State<Shared>, caller: Caller, Name(name): Name) -> Answer<Vec<v1::CertRequest>> {
    shared
        .run(caller, Scope::Store, move |_, call| {
            call.read(|tx| {
                let s = secret::by_name(tx, &name)?.ok_or_else(|| Problem::not_found("secret", &name))?;
                Ok(order::requests(tx, s.id, PARTS_SHOWN)?.iter().map(|q| request_shown(q, &name)).collect())
            })
        })
        .await
        .map(json)
}

fn request_shown(q: &order::Request, name: &str) -> v1::CertRequest {
    v1::CertRequest {
        id: q.id,
        secret: name.to_owned(),
        scope: q.scope.clone(),
        names: q.names.clone(),
        csr: pem("CERTIFICATE REQUEST", &q.csr),
        state: q.state.to_string(),
        version: (q.version > 0).then_some(q.version),
        actor: q.actor.clone(),
        created_at: q.created_at.to_string(),
    }
}

pub(crate) async fn request(
    State(shared): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Json(body): Json<v1::NewCertRequest>,
) -> Answer<v1::CertRequest> {
    reason(&body.reason)?;
    if body.names.len() > MOST_NAMES {
        return Err(Problem::unprocessable("bad-names", format!("a request has at most {MOST_NAMES} names")));
    }
    let scope = body.scope.unwrap_or_default();
    if !scope.is_empty() && !api::fleet::is_name(&scope) {
        return Err(Problem::unprocessable(
            "bad-scope",
            format!("{} is no scope: write all, a region, or a node", pki::text::escape(&scope)),
        ));
    }
    shared
        .run(caller, Scope::Secret(name.clone()), move |permitted, call| {
            let new = NewRequest { secret: name.clone(), names: body.names, scope, reason: body.reason };
            let made = call.engine().request_by_hand(&new, &mut call.random(), &permitted.actor(), &call.tick)?;
            Ok(request_shown(&made, &name))
        })
        .await
        .map(json)
}

pub(crate) async fn answer(
    State(shared): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Json(body): Json<v1::CertAnswer>,
) -> Answer<v1::Stored> {
    reason(&body.reason)?;
    let chain =
        STANDARD.decode(&body.chain).map_err(|_| Problem::unprocessable("bad-base64", "chain is no base64 (RFC 4648 §4, padded)"))?;
    shared
        .run(caller, Scope::Secret(name.clone()), move |permitted, call| {
            let stored = call.engine().answer_by_hand(
                &name,
                &chain,
                body.roots,
                body.accept_change,
                &body.reason,
                &mut call.random(),
                &permitted.actor(),
                &call.tick,
            )?;
            Ok(convert::stored(stored, true))
        })
        .await
        .map(json)
}

pub(crate) async fn drop_request(
    State(shared): State<Shared>,
    caller: Caller,
    NameAndId(name, id): NameAndId,
    Json(body): Json<v1::Reason>,
) -> Answer<Done> {
    reason(&body.reason)?;
    shared
        .run(caller, Scope::Secret(name.clone()), move |permitted, call| {
            call.engine().drop_request(&name, id, &body.reason, &permitted.actor(), &call.tick)?;
            Ok(Done {})
        })
        .await
        .map(json)
}

pub(crate) async fn renew(
    State(shared): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Json(body): Json<v1::Reason>,
) -> Answer<v1::Renewing> {
    reason(&body.reason)?;
    shared
        .run(caller, Scope::Secret(name.clone()), move |permitted, call| {
            let intent = call.engine().renew_secret(&name, &body.reason, &permitted.actor(), &call.tick)?;
            Ok(v1::Renewing { intent })
        })
        .await
        .map(json)
}

pub(crate) async fn revoke(
    State(shared): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Json(body): Json<v1::Revoke>,
) -> Answer<v1::Revoked> {
    reason(&body.why)?;
    let Some(said) = Reason::parse(&body.reason) else {
        let all: Vec<&str> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        return Err(Problem::unprocessable("bad-reason", format!("reason can be {}", all.join(", "))));
    };
    shared
        .run(caller, Scope::Secret(name.clone()), move |permitted, call| {
            let revoked = call.engine().revoke(&name, body.version, said, &body.why, &permitted.actor(), &call.tick)?;
            Ok(v1::Revoked { revoked })
        })
        .await
        .map(json)
}

pub(crate) async fn crl(State(shared): State<Shared>, Name(issuer): Name) -> Result<impl IntoResponse, Problem> {
    list(shared, issuer, None).await
}

pub(crate) async fn crl_of(State(shared): State<Shared>, NameAndId(issuer, id): NameAndId) -> Result<impl IntoResponse, Problem> {
    list(shared, issuer, Some(id)).await
}

/// RFC 5280 §4.2.1.13: DER, as `application/pkix-crl` (RFC 2585 §4.2).
async fn list(shared: Shared, issuer: String, id: Option<i64>) -> Result<impl IntoResponse, Problem> {
    let list = shared.blocking(move |call| Ok(call.engine().crl(&issuer, id)?)).await?;
    Ok(([(header::CONTENT_TYPE, "application/pkix-crl")], list.der))
}
