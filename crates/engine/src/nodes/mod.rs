//! Nodes: what each is to have, and who may speak for it.
//!
//! What a node is to have is decided by [`desire`] alone: its row says so, its manifest repeats it, signed, and its agent can ask for
//! nothing else. A generation only goes forward; going back to an older version is a new one. What an agent says is a claim: it makes
//! others look, and closes nothing.

mod assess;
mod authority;
mod given;
mod identity;
mod manifest;
mod material;
mod report;
mod rotate;

use crate::{Error, Result, Tick, loops};
use domain::{
    Time,
    words::{NodeId, RolloutId, SecretId},
};
use serde_json::json;
use store::{
    Tx,
    journal::Entry,
    model::{drill, node, rollout, secret},
    timer,
};

pub use assess::{CLOCK_TOLERANCE, SILENT_AFTER};
pub use authority::IDENTITY;
pub use given::GIVEN;
pub(crate) use given::given;
pub use identity::{Agent, CHANGE_OVER, COME_BACK, Invited, LONGEST_INVITATION, ROOTS_KEPT};
pub use manifest::{Ask, Polled};
pub use material::Supplied;
pub use report::HEARD_AGAIN;
pub use rotate::{ANSWER_WITHIN, ManifestKey};

/// [`api::agent::Fault::StaleReload`], in its word.
const STALE_RELOAD: &str = "stale-reload";

/// This node is to have this version from now on. Says the generation of the node's manifest that says so; the same again is the same
/// generation. Journaled, and whoever waits for the manifest looks again once this transaction is committed.
///
/// # Errors
/// There is no such node, or it is not to have this secret at all; `version-revoked`, or `version-too-old` for one below its incident
/// threshold.
pub fn desire(tx: &mut Tx<'_>, node: NodeId, secret: SecretId, version: i64, rollout: Option<RolloutId>, tick: &Tick) -> Result<i64> {
    // A rehearsal may want this very version to be installed without a reload.
    let fault = if drill::is_stale(tx, node, secret, version)? { STALE_RELOAD } else { "" };
    desire_with(tx, node, secret, version, rollout, fault, tick)
}

/// As [`desire`], with a rehearsal of a fault in the words of [`api::agent::Fault`]; empty for none.
///
/// # Errors
/// As [`desire`].
pub fn desire_with(
    tx: &mut Tx<'_>,
    node: NodeId,
    secret: SecretId,
    version: i64,
    rollout: Option<RolloutId>,
    fault: &str,
    tick: &Tick,
) -> Result<i64> {
    let n = node::lock(tx, node)?.ok_or_else(|| Error::not_found("node", &node.to_string()))?;
    if n.retired_at.is_some() {
        return Err(Error::refused("node-retired", format!("node {} left the inventory", n.name)));
    }
    let s = secret::get(tx, secret)?.ok_or_else(|| Error::not_found("secret", &secret.to_string()))?;
    let Some(before) = node::install(tx, node, secret)? else {
        let problem = format!("node {} is not to have {}; add it to the node's secrets in the inventory", n.name, s.name);
        return Err(Error::refused("not-to-have", problem));
    };
    if before.version == version && before.fault == fault {
        if rollout.is_some() && before.rollout != rollout {
            node::put_install(tx, &node::Install { rollout, ..before.clone() })?;
        }
        return Ok(before.generation);
    }
    allowed(tx, &s, version, &[&n.name, &n.region, "all"], tick.now)?;
    let generation = node::advance(tx, node, tick.now)?;
    // What the agent said about the files stays until it says something else; the times are about this version.
    let after = node::Install {
        version,
        generation,
        rollout,
        fault: fault.into(),
        desired_at: Some(tick.now),
        told_at: None,
        fetched_at: None,
        installed_at: None,
        failed_at: None,
        attempts: 0,
        detail: String::new(),
        ..before.clone()
    };
    node::put_install(tx, &after)?;
    timer::set_earlier(tx, loops::NODE, node.0, tick.now)?;
    for cut in drill::faults_at(tx, node)?.iter().filter(|f| f.secret != secret) {
        // A rehearsal that cuts the node off makes way for it.
        timer::set_earlier(tx, loops::DRILL_RUN, cut.run, tick.now)?;
    }
    let body = json!({ "secret": s.name, "version": version, "before": before.version, "generation": generation,
        "rollout": rollout.map(|r| r.0), "fault": fault });
    tx.journal(Entry::new("node.desired", subject(&n.name), "", &body))?;
    Ok(generation)
}

/// Whether a version may be put on a node whose certificates have one of these scopes.
fn allowed(tx: &mut Tx<'_>, s: &secret::Secret, version: i64, scopes: &[&str], now: Time) -> Result<()> {
    if !secret::has_version(tx, s.id, version)? {
        return Err(Error::not_found("version", &format!("{version} of {}", s.name)));
    }
    crate::rollouts::not_revoked(tx, s, version, scopes)?;
    crate::rollouts::not_too_old(tx, s, version, scopes, now)
}

/// Decides for what nothing was decided yet: a node that is new gets what its region has, or else the newest version. What stands
/// against that leaves it undecided.
pub(crate) fn adopt(tx: &mut Tx<'_>, n: &node::Node, tick: &Tick) -> Result<()> {
    for i in node::installs(tx, n.id)?.into_iter().filter(|i| i.version == 0) {
        let Some(s) = secret::get(tx, i.secret)? else { continue };
        if s.newest_version == 0 {
            continue;
        }
        let version = version_for(tx, n, &s)?;
        match desire(tx, n.id, i.secret, version, None, tick) {
            Ok(_) | Err(Error::Refused(_) | Error::NotFound { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

/// The version that a node is to have which has none yet. One that is on its way comes to it by its wave, like to everybody: until that has
/// begun it gets what was served before. Else the newest one that an agent of its region says it has, else the newest that a node there is
/// to have, else the newest of all.
fn version_for(tx: &mut Tx<'_>, n: &node::Node, s: &secret::Secret) -> Result<i64> {
    let open = rollout::open_of(tx, s.id)?;
    for r in open.iter().rev() {
        if r.takes_back != 0 || rollout::is_told(tx, r.id, n.id)? {
            return Ok(r.version);
        }
    }
    if let Some(r) = open.iter().find(|r| r.from_version > 0) {
        return Ok(r.from_version);
    }
    let mut there = node::versions_in(tx, s.id, &n.region)?;
    there.retain(|(version, _)| open.iter().all(|r| r.version != *version));
    let said = there.iter().find(|(_, installed)| *installed > 0).or(there.first()).map(|(version, _)| *version);
    Ok(said.unwrap_or(s.newest_version))
}

/// An identity that exists twice gets no key, no certificate and no renewal before somebody says which one it is.
fn is_cloned(name: &str) -> Error {
    let problem = format!("node {name} exists twice; end the copy, then: perennial node rejoin {name} --reason \"…\"");
    Error::refused("agent-cloned", problem)
}

/// A certificate that has run out is good for its renewal alone.
fn has_expired() -> Error {
    Error::refused("agent-expired", "this certificate has run out; renew it first")
}

/// How journal, findings and messages call a node.
pub(crate) fn subject(name: &str) -> String {
    format!("node/{name}")
}

/// Whoever leaves the inventory is nobody any more, and nothing stands about it.
pub(crate) fn retired(tx: &mut Tx<'_>, id: NodeId, now: Time) -> Result<()> {
    let Some(n) = node::lock(tx, id)? else { return Ok(()) };
    let revoked = store::model::identity::revoke_all(tx, id, now)?;
    store::model::identity::end_tokens(tx, id, now)?;
    node::put(tx, &node::Node { retired_at: Some(now), revoked_at: n.key.map(|_| now), key: None, ..n.clone() })?;
    node::advance(tx, id, now)?;
    crate::concern::replace(tx, &subject(&n.name), &[], now)?;
    tx.journal(Entry::new("node.retired", subject(&n.name), "", &json!({ "certificates": revoked })))?;
    Ok(())
}
