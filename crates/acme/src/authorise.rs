//! Proving the names of an order (RFC 8555 §7.5), and taking away what proved them.

use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::Duration;

use instant_acme::{AuthorizationStatus, ChallengeStatus, ChallengeType, Order};
use pki::Time;
use pki::text::escape;
use tokio::time::Instant;

use crate::account::{Session, again, bad_nonce, nonce_rounds};
use crate::challenge::{Proof, Solver};
use crate::error::{self, Error, NameProblem, Refusal};
use crate::order::Wanted;

const DOING: &str = "asking about the names of an order";
/// How long a CA that was told of a challenge is not told again, though it does not say that it looks.
const TOLD_AGAIN: Duration = Duration::from_secs(600);
/// How long a record that was written is not written again.
const WRITTEN_AGAIN: Duration = Duration::from_secs(600);

/// One name of an order, as the CA sees it.
struct Name {
    shown: String,
    status: AuthorizationStatus,
    /// What proves it with this solver, where the CA offers that.
    proof: Option<(Proof, ChallengeStatus)>,
    /// What the CA offers.
    offered: String,
    failed: NameProblem,
}

/// Fetches what is not fetched yet. The library drops the one at which it failed, so after a bad nonce it goes through all again, which
/// costs nothing for those that it has.
async fn fetched(session: &Session, order: &mut Order, now: Time) -> Result<(), Error> {
    let mut rounds = 0;
    'again: loop {
        let mut all = order.authorizations();
        while let Some(one) = Box::pin(all.next()).await {
            match one {
                Ok(_) => rounds = 0,
                Err(error) if bad_nonce(&error) && rounds < nonce_rounds() => {
                    rounds += 1;
                    continue 'again;
                }
                Err(error) => return Err(session.failed(DOING, error, now)),
            }
        }
        return Ok(());
    }
}

async fn names(
    session: &Session,
    order: &mut Order,
    ordered: &Wanted,
    wanted: Option<ChallengeType>,
    now: Time,
) -> Result<Vec<Name>, Error> {
    fetched(session, order, now).await?;
    let mut found = Vec::new();
    let mut all = order.authorizations();
    while let Some(one) = Box::pin(all.next()).await {
        let mut handle = one.map_err(|error| session.failed(DOING, error, now))?;
        let shown = escape(&handle.identifier().to_string());
        let bare = handle.identifier().identifier.authorized(false).to_string();
        // It becomes a path, a record, and an argument of programs: only what was ordered does.
        if !ordered.names.iter().any(|name| is_same(name, &bare)) {
            return Err(Error::refused("order-foreign-name", format!("the CA wants {shown} proven, which was not ordered")));
        }
        let status = handle.status;
        let offered = handle.challenges.iter().map(|c| kind(&c.r#type)).collect::<Vec<_>>().join(", ");
        let failed = handle.challenges.iter().find_map(|c| c.error.as_ref());
        let failed = error::of_name(shown.clone(), failed, "the CA does not say why");
        let proof = wanted.clone().and_then(|wanted| handle.challenge(wanted)).map(|c| {
            let digest = <[u8; 32]>::try_from(c.key_authorization().digest().as_ref()).unwrap_or_default();
            (Proof::new(&bare, &c.token, c.key_authorization().as_str(), c.key_authorization().dns_value(), digest), c.status)
        });
        found.push(Name { shown, status, proof, offered, failed });
    }
    Ok(found)
}

/// Puts the proofs where the CA will look, and tells it about those that are there. Says what is awaited.
pub(crate) async fn prove(
    session: &Session,
    order: &mut Order,
    ordered: &Wanted,
    solver: &Solver,
    since: Time,
    now: Time,
) -> Result<String, Error> {
    let names = names(session, order, ordered, Some(solver.challenge()), now).await?;
    dead(&names)?;
    let open = || names.iter().filter(|name| name.status == AuthorizationStatus::Pending);
    for name in open() {
        let Some((proof, _)) = &name.proof else {
            let (wanted, offered) = (kind(&solver.challenge()), &name.offered);
            let detail = format!("the CA does not offer {wanted} for {}; it offers: {offered}", name.shown);
            return Err(Error::refused("challenge-not-offered", detail));
        };
        if !proof.is_sound() {
            return Err(Error::refused("challenge-malformed", format!("the CA's challenge for {} has a token that is none", name.shown)));
        }
    }
    let proofs: Vec<&Proof> = open().filter_map(|name| name.proof.as_ref().map(|(proof, _)| proof)).collect();
    if let Err(error) = present(session, solver, &proofs, now).await {
        // Until somebody changes something nothing of it is of use; the next attempt begins again.
        if matches!(error, Error::Setup(_)) {
            let _left = solver.clear(&proofs, now).await;
            forget(session, &proofs);
        }
        return Err(error);
    }
    let told: Vec<&Proof> = open()
        .filter_map(|name| name.proof.as_ref().filter(|(_, status)| *status == ChallengeStatus::Pending).map(|(proof, _)| proof))
        .collect();
    let hidden = solver.hidden(&told, since, now).await?;
    let ready: Vec<&str> = told.iter().filter(|p| !hidden.iter().any(|(token, _)| *token == p.token)).map(|p| p.token.as_str()).collect();
    announce(session, order, solver, &ready, now).await?;
    if let Some((_, why)) = hidden.first() {
        let more = if hidden.len() > 1 { format!(" (and {} more)", hidden.len() - 1) } else { String::new() };
        return Ok(format!("the record is not everywhere yet: {why}{more}"));
    }
    let waiting: Vec<&str> = open().map(|name| name.shown.as_str()).take(4).collect();
    let more = open().count().saturating_sub(waiting.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Ok(if waiting.is_empty() { "the CA takes note".into() } else { format!("the CA looks at {}{more}", waiting.join(", ")) })
}

/// Puts in place what is not there yet. Records are written once, however many steps an order takes: a slow server of many names would
/// never be done otherwise. What was written is remembered one by one, so a step that breaks off has not written for nothing.
async fn present(session: &Session, solver: &Solver, proofs: &[&Proof], now: Time) -> Result<(), Error> {
    if !solver.is_dns() {
        return solver.present(proofs, now).await;
    }
    for proof in proofs {
        let known = {
            let mut written = session.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.retain(|_, at| at.elapsed() < WRITTEN_AGAIN);
            written.contains_key(&proof.token)
        };
        if !known {
            solver.present(&[*proof], now).await?;
            session.written.lock().unwrap_or_else(PoisonError::into_inner).insert(proof.token.clone(), Instant::now());
        }
    }
    Ok(())
}

fn forget(session: &Session, proofs: &[&Proof]) {
    let mut written = session.written.lock().unwrap_or_else(PoisonError::into_inner);
    for proof in proofs {
        written.remove(&proof.token);
    }
}

/// Whether a name of a challenge is one that was ordered, which may be wild.
fn is_same(ordered: &str, bare: &str) -> bool {
    let ordered = ordered.strip_prefix("*.").unwrap_or(ordered);
    match (ordered.parse::<IpAddr>(), bare.parse::<IpAddr>()) {
        (Ok(ours), Ok(theirs)) => ours == theirs,
        _ => ordered.eq_ignore_ascii_case(bare),
    }
}

/// Tells the CA that the challenges with these tokens can be looked at.
async fn announce(session: &Session, order: &mut Order, solver: &Solver, ready: &[&str], now: Time) -> Result<(), Error> {
    let wanted = solver.challenge();
    let known: Vec<String> = {
        let mut announced = session.announced.lock().unwrap_or_else(PoisonError::into_inner);
        announced.retain(|_, at| at.elapsed() < TOLD_AGAIN);
        announced.keys().cloned().collect()
    };
    let ready: Vec<&str> = ready.iter().copied().filter(|token| !known.iter().any(|k| k == token)).collect();
    let mut all = order.authorizations();
    while let Some(one) = Box::pin(all.next()).await {
        let mut handle = one.map_err(|error| session.failed(DOING, error, now))?;
        let shown = escape(&handle.identifier().to_string());
        let Some(mut challenge) = handle.challenge(wanted.clone()).filter(|c| ready.contains(&c.token.as_str())) else { continue };
        match again!(Box::pin(challenge.set_ready())) {
            Ok(()) => {
                let mut announced = session.announced.lock().unwrap_or_else(PoisonError::into_inner);
                announced.insert(challenge.token.clone(), Instant::now());
            }
            Err(instant_acme::Error::Api(problem)) if error::code_of(&problem) != "badNonce" && session.wire.notes().status < Some(500) => {
                // RFC 8555 §7.5.1: whoever comes too late, after a crash, finds it no longer pending; the next step sees how it ended.
                if matches!(error::code_of(&problem).as_str(), "malformed" | "conflict") {
                    continue;
                }
                match Error::of("proving a name", problem.clone().into(), &session.wire.notes(), now) {
                    Error::Refused(_) => {
                        let name = error::of_name(shown, Some(&problem), "");
                        let code = name.code.clone();
                        return Err(Error::Refused(Refusal { code, detail: "the CA refused the order".into(), names: vec![name] }));
                    }
                    other => return Err(other),
                }
            }
            Err(error) => return Err(session.failed("proving a name", error, now)),
        }
    }
    Ok(())
}

/// A name that failed ends the order, whatever the others do.
fn dead(names: &[Name]) -> Result<(), Error> {
    let failed: Vec<NameProblem> = names
        .iter()
        .filter(|name| !matches!(name.status, AuthorizationStatus::Pending | AuthorizationStatus::Valid))
        .map(|name| name.failed.clone())
        .collect();
    match failed.first() {
        None => Ok(()),
        Some(first) => {
            let code = first.code.clone();
            Err(Error::Refused(Refusal { code, detail: format!("{} of {} names failed", failed.len(), names.len()), names: failed }))
        }
    }
}

/// The names that failed.
pub(crate) async fn failures(session: &Session, order: &mut Order, ordered: &Wanted, now: Time) -> Result<Vec<NameProblem>, Error> {
    let names = names(session, order, ordered, None, now).await?;
    let failed = names.into_iter().filter(|name| !matches!(name.status, AuthorizationStatus::Pending | AuthorizationStatus::Valid));
    Ok(failed.map(|name| name.failed).collect())
}

/// Takes away what proved the names; says what it could not take away. Nothing there is as good as taken away.
pub(crate) async fn clear(
    session: &Session,
    order: &mut Order,
    ordered: &Wanted,
    solver: &Solver,
    now: Time,
) -> Result<Vec<String>, Error> {
    let names = names(session, order, ordered, Some(solver.challenge()), now).await?;
    let proofs: Vec<&Proof> = names.iter().filter_map(|n| n.proof.as_ref().map(|(proof, _)| proof)).filter(|p| p.is_sound()).collect();
    forget(session, &proofs);
    Ok(solver.clear(&proofs, now).await)
}

/// The standard's name of a kind of challenge.
fn kind(challenge: &ChallengeType) -> String {
    match challenge {
        ChallengeType::Http01 => "http-01".into(),
        ChallengeType::Dns01 => "dns-01".into(),
        ChallengeType::TlsAlpn01 => "tls-alpn-01".into(),
        ChallengeType::Unknown(other) => escape(other),
        _ => "another".into(),
    }
}
