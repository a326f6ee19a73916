//! Who is asked: the issuers of a secret in the order in which they are tried now.

use crate::{Error, Result};
use domain::{
    Time,
    issuing::{AuthorityState, IssuerKind},
    renewal,
    words::SecretId,
};
use store::{
    Tx,
    model::{
        authority,
        issuance::{self, Issuance, Issuer},
        order, secret,
    },
};

/// Somebody who may be asked, and from when on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) issuer: Issuer,
    /// All certificates of an internal one, the newest first.
    pub(crate) authorities: Vec<authority::Authority>,
    /// Not before then: Retry-After, backoff, or a budget that is used up.
    pub(crate) not_before: Option<Time>,
    /// Whether it failed several times in a row, and lately.
    pub(crate) failing: bool,
}

/// Who of a secret's issuers is asked for a region: the region's own first, then in the order of preference, then what these fall back
/// on. Who failed several times in a row, and lately, stands behind those who did not, and who must wait behind those who need not; who can
/// never answer is left out.
///
/// # Errors
/// The secret has no issuer, or none that can be asked.
pub(crate) fn choose(tx: &mut Tx<'_>, i: &Issuance, region: &str, now: Time) -> Result<Vec<Choice>> {
    let mut names: Vec<String> = i.issued_by.clone();
    let mut all: Vec<Issuer> = Vec::new();
    let mut at = 0;
    while at < names.len() {
        if let Some(issuer) = issuance::issuer(tx, &names[at])? {
            if !issuer.fallback.is_empty() && !names.contains(&issuer.fallback) {
                names.push(issuer.fallback.clone());
            }
            all.push(issuer);
        }
        at += 1;
    }
    // Stable: within the same region the declared order stays.
    all.sort_by_key(|it| region.is_empty() || it.region != region);
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    let mut ends = None;
    for issuer in all {
        let mut authorities = Vec::new();
        if issuer.kind == IssuerKind::Internal {
            authorities = authority::of_issuer(tx, &issuer.name)?;
            match authorities.iter().find(|a| a.state == AuthorityState::Current) {
                Some(a) if a.not_after > now => {}
                Some(a) => {
                    missing.push(format!("the CA of {} ended {}: perennial ca renew {}", issuer.name, a.not_after, issuer.name));
                    continue;
                }
                None => {
                    missing.push(format!("{} has no CA yet: perennial ca create {}", issuer.name, issuer.name));
                    continue;
                }
            }
        }
        let state = issuance::issuer_state(tx, &issuer.name)?;
        let asked = match state.not_before.filter(|t| *t > now) {
            Some(until) => {
                let end = *ends.get_or_insert(end(tx, i.secret)?);
                Some(renewal::heeded(until, state.failed_at, end))
            }
            None => None,
        };
        let budget = room(tx, &issuer, now)?;
        let not_before = asked.into_iter().chain(budget).max().filter(|t| *t > now);
        found.push(Choice { issuer, authorities, not_before, failing: renewal::is_failing(state.failures, state.failed_at, now) });
    }
    // Stable as well; none comes before every moment.
    found.sort_by_key(|c| (c.not_before, c.failing));
    if found.is_empty() {
        let why = if missing.is_empty() {
            String::from("no issuer is declared for it; add issued_by to the inventory")
        } else {
            missing.join("; ")
        };
        return Err(Error::refused("no-issuer", why));
    }
    Ok(found)
}

/// When the certificate that a secret has now ends, if it has one.
pub(crate) fn end(tx: &mut Tx<'_>, id: SecretId) -> Result<Option<Time>> {
    let Some(s) = secret::get(tx, id)? else { return Ok(None) };
    Ok(secret::first_end(tx, id, s.newest_version)?.map(|(_, end)| end))
}

/// Whether none of a secret's issuers can be asked now: each fails, wants us to wait, or has no room in its budget or no CA.
pub(crate) fn cannot_ask(tx: &mut Tx<'_>, secret: SecretId, now: Time) -> Result<bool> {
    let Some(i) = issuance::get(tx, secret)?.filter(|i| !i.issued_by.is_empty()) else { return Ok(false) };
    let all = match choose(tx, &i, "", now) {
        Ok(all) => all,
        Err(Error::Refused(_)) => return Ok(true),
        Err(other) => return Err(other),
    };
    Ok(all.iter().all(|choice| choice.not_before.is_some() || choice.failing))
}

/// When an issuer's budget has room again; none where it has room now.
pub(crate) fn room(tx: &mut Tx<'_>, issuer: &Issuer, now: Time) -> Result<Option<Time>> {
    let Some((orders, window)) = issuer.budget else { return Ok(None) };
    if issuer.kind == IssuerKind::Internal {
        let oldest = authority::nth_newest(tx, &issuer.name, orders)?;
        return Ok(oldest.map(|t| t + window).filter(|t| *t > now));
    }
    let (placed, oldest) = order::placed_since(tx, &issuer.name, now - window)?;
    Ok(if placed >= orders { oldest.map(|t| t + window) } else { None })
}
