//! What vantages, agents and people saw. A vantage speaks for itself alone, and only of targets that are looked at from there.

use std::net::SocketAddr;

use api::v1;
use axum::extract::State;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{
    Time,
    observation::Failure,
    words::{Blame, Method, Offer, TargetId},
};
use engine::{
    LOCAL,
    look::{BATCH, MOST_ATTEMPTS},
    ports::{Attempt, Seen, Shown},
};
use serde::Deserialize;
use store::model::target;

use super::{
    Answer,
    body::{Asked, Json},
    convert,
    gate::{Call, Caller, Scope, Shared},
    json,
    limits::{CERTIFICATE_BYTES, CHAIN_CERTIFICATES, REPORT_ADDRESSES, TEXT_BYTES, WORK_AGAIN},
    openapi::Done,
    permission::Permitted,
    problem::Problem,
    text,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    limit: Option<i64>,
}

pub(crate) async fn work(State(shared): State<Shared>, caller: Caller, Asked(q): Asked<Batch>) -> Answer<v1::Work> {
    let limit = q.limit.unwrap_or(BATCH);
    if !(1..=BATCH).contains(&limit) {
        return Err(Problem::bad("bad-query", format!("limit is {limit}; it can be 1 to {BATCH}")));
    }
    let work = move |permitted: &Permitted, call: &Call| {
        let vantage = permitted.vantage().ok_or_else(Problem::unauthenticated)?;
        let looks: Vec<v1::Look> = call.engine().hand_out(vantage, limit, &call.tick)?.into_iter().map(convert::look).collect();
        let full = i64::try_from(looks.len()).is_ok_and(|n| n >= limit);
        Ok(v1::Work { looks, again_after_seconds: if full { 0 } else { WORK_AGAIN } })
    };
    shared.run(caller, Scope::Store, work).await.map(json)
}

pub(crate) async fn report(State(shared): State<Shared>, caller: Caller, Json(report): Json<v1::Report>) -> Answer<Done> {
    let Some(method) = Method::parse(&report.method) else {
        let all = Method::ALL.iter().map(|m| m.as_str()).collect::<Vec<_>>().join(", ");
        let detail = format!("{} is no method; possible are {all}", pki::text::escape(&report.method));
        return Err(Problem::unprocessable("bad-method", detail));
    };
    let id = match (report.target, report.target_name.clone()) {
        (Some(id), None) => id,
        (None, Some(name)) => shared.blocking(move |call| id_of(call, &name)).await?,
        _ => return Err(Problem::unprocessable("bad-target", "say either `target` (its number) or `target_name`")),
    };
    let expires_at = report.expires_at.as_deref().map(|t| convert::time("expires_at", t)).transpose()?;
    let seen = seen(report, TargetId(id))?;
    let work = move |permitted: &Permitted, call: &Call| {
        match method {
            Method::Dialled => {
                let vantage = permitted.vantage().ok_or_else(Problem::unauthenticated)?;
                call.engine().report(vantage, &seen, &permitted.actor(), &call.tick)?;
            }
            _ => told(seen, method, expires_at, permitted, call)?,
        }
        Ok(Done {})
    };
    shared.run(caller, Scope::Seen(id, method), work).await.map(json)
}

fn id_of(call: &Call, name: &str) -> Result<i64, Problem> {
    let found = call.read(|tx| Ok(target::by_name(tx, name)?))?;
    Ok(found.ok_or_else(|| Problem::not_found("target", name))?.facts.id.0)
}

/// What an agent read, a relying server saw, or a person says.
fn told(mut seen: Seen, method: Method, expires_at: Option<Time>, permitted: &Permitted, call: &Call) -> Result<(), Problem> {
    let now = call.tick.now;
    match (method, expires_at) {
        (Method::Attested, None) => {
            let detail = "what a person says ends: give `expires_at`, after which somebody has to look again";
            return Err(Problem::unprocessable("expiry-missing", detail));
        }
        (_, Some(end)) if end <= now => {
            return Err(Problem::unprocessable("bad-time", format!("expires_at: it would have ended already, {end}")));
        }
        _ => {}
    }
    if seen.resolved.is_err() {
        return Err(Problem::unprocessable("bad-report", "only who dials resolves names; leave `unresolved` out"));
    }
    // Nobody has seen the future.
    seen.at = seen.at.min(now);
    for attempt in &mut seen.attempts {
        attempt.at = attempt.at.min(now);
    }
    call.engine().take_in(LOCAL, &seen, method, expires_at, &permitted.actor(), &call.tick)?;
    Ok(())
}

fn seen(report: v1::Report, target: TargetId) -> Result<Seen, Problem> {
    let at = convert::time("at", &report.at)?;
    if report.resolved.len() > REPORT_ADDRESSES || report.attempts.len() > MOST_ATTEMPTS {
        let detail = format!("a report brings at most {REPORT_ADDRESSES} addresses and {MOST_ATTEMPTS} attempts");
        return Err(Problem::unprocessable("too-many-attempts", detail));
    }
    let dialled = report.method == Method::Dialled.as_str();
    let resolved = match report.unresolved {
        Some(f) => Err(failure(f)?),
        None => Ok(report.resolved.into_iter().map(|a| address(a, dialled)).collect::<Result<_, _>>()?),
    };
    let attempts = report.attempts.into_iter().map(|a| attempt(a, at, dialled)).collect::<Result<_, _>>()?;
    Ok(Seen { target, at, resolved, attempts })
}

/// What is dialled is `ip:port`; what is read is a path.
fn address(address: String, dialled: bool) -> Result<String, Problem> {
    let bad = |detail: &str| Problem::unprocessable("bad-address", format!("{} {detail}", pki::text::escape(&address)));
    if dialled {
        // One way to write an address, or one endpoint would be two combinations.
        return address.parse::<SocketAddr>().map(|a| a.to_string()).map_err(|_| bad("is not ip:port"));
    }
    if address.is_empty() || address.len() > TEXT_BYTES || address.chars().any(char::is_control) {
        return Err(bad("is no path"));
    }
    Ok(address)
}

fn attempt(a: v1::Attempt, at: Time, dialled: bool) -> Result<Attempt, Problem> {
    let offer = Offer::parse(&a.offer).ok_or_else(|| {
        Problem::unprocessable(
            "bad-offer",
            format!("{} is no offer; possible are all, rsa, ecdsa and ed25519", pki::text::escape(&a.offer)),
        )
    })?;
    let bounded = |field: &str, value: &str| text(field, value, 200).map(|()| pki::text::escape(value));
    let result = match a.failure {
        Some(f) => Err(failure(f)?),
        None => Ok(Shown { chain: chain(&a.chain)?, protocol: bounded("protocol", &a.protocol)?, cipher: bounded("cipher", &a.cipher)? }),
    };
    Ok(Attempt { address: address(a.address, dialled)?, offer, unnamed: a.unnamed, at, result })
}

fn chain(texts: &[String]) -> Result<Vec<Vec<u8>>, Problem> {
    let bad = |detail: String| Problem::unprocessable("bad-chain", detail);
    if texts.len() > CHAIN_CERTIFICATES {
        return Err(bad(format!("a chain has at most {CHAIN_CERTIFICATES} certificates, this one {}", texts.len())));
    }
    let one = |text: &String| {
        let der = STANDARD.decode(text).map_err(|_| bad(String::from("a certificate of the chain is no base64")))?;
        if der.is_empty() || der.len() > CERTIFICATE_BYTES {
            return Err(bad(format!("a certificate of the chain has {} bytes; 1 to {CERTIFICATE_BYTES} are taken", der.len())));
        }
        Ok(der)
    };
    texts.iter().map(one).collect()
}

fn failure(f: v1::Failure) -> Result<Failure, Problem> {
    text("detail", &f.detail, TEXT_BYTES)?;
    let blame = Blame::parse(&f.blame).ok_or_else(|| {
        let all = Blame::ALL.iter().map(|b| b.as_str()).collect::<Vec<_>>().join(", ");
        Problem::unprocessable("bad-blame", format!("{} is nobody to blame; possible are {all}", pki::text::escape(&f.blame)))
    })?;
    Ok(Failure { blame, retry: f.retry, detail: pki::text::escape(&f.detail) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_form() {
        for (text, dialled, expected) in [
            ("192.0.2.1:443", true, Some("192.0.2.1:443")),
            ("[2001:DB8::0:1]:443", true, Some("[2001:db8::1]:443")),
            ("example.com:443", true, None),
            ("", true, None),
            ("/etc/tls/a.pem", false, Some("/etc/tls/a.pem")),
            ("", false, None),
            ("/a\u{1b}[31m", false, None),
        ] {
            assert_eq!(address(text.into(), dialled).ok().as_deref(), expected, "{text}");
        }
    }
}
