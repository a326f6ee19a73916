//! Who is asked: the issuers of a secret in the order in which they are tried now.

use crate::{Error, Result};
use domain::{Time, issuing::IssuerKind, renewal::FALLBACK_AFTER};
use store::{
    Tx,
    model::{
        authority,
        issuance::{self, Issuance, Issuer},
        order,
    },
};

/// Somebody who may be asked, and from when on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) issuer: Issuer,
    /// Not before then: Retry-After, backoff, or a budget that is used up.
    pub(crate) not_before: Option<Time>,
}

/// Who of a secret's issuers is asked for a region: the region's own first, then in the order of preference, then what these fall back
/// on. Who failed several times in a row stands behind those who did not; who can never answer is left out.
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
    let (mut good, mut failing, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for issuer in all {
        if issuer.kind == IssuerKind::Internal {
            match authority::current(tx, &issuer.name)? {
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
        let budget = room(tx, &issuer, now)?;
        let not_before = state.not_before.into_iter().chain(budget).max().filter(|t| *t > now);
        let choice = Choice { issuer, not_before };
        if state.failures >= FALLBACK_AFTER || budget.is_some() { failing.push(choice) } else { good.push(choice) }
    }
    good.append(&mut failing);
    if good.is_empty() {
        let why = if missing.is_empty() {
            String::from("no issuer is declared for it; add issued_by to the inventory")
        } else {
            missing.join("; ")
        };
        return Err(Error::refused("no-issuer", why));
    }
    Ok(good)
}

/// When an issuer's budget has room again; none where it has room now.
fn room(tx: &mut Tx<'_>, issuer: &Issuer, now: Time) -> Result<Option<Time>> {
    let Some((orders, window)) = issuer.budget else { return Ok(None) };
    let (placed, oldest) = order::placed_since(tx, &issuer.name, now - window)?;
    Ok(if placed >= orders { oldest.map(|t| t + window) } else { None })
}
