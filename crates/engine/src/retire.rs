//! What leaves the inventory: by hand with a reason, or pruned. It is marked, never forgotten, and nothing here says that it is resolved.

use crate::{Engine, Error, Result, Tick, assess, intent::Intent, judge::parse_chain, look::wake_vantages, loops};
use domain::{
    Span, Time,
    target::Served,
    words::{Retired, TargetState},
};
use serde_json::json;
use std::collections::BTreeSet;
use store::{
    Actor, Tx,
    journal::Entry,
    model::{NO_MARGIN, finding, incident, notice, observation, path, secret, target},
    timer,
};

/// How many of the targets that stand against retiring a secret a refusal names.
const TARGETS_SHOWN: i64 = 5;

impl Engine {
    /// Takes a target out of the inventory by hand. Its open lines end as *retired*, and it is still looked at.
    ///
    /// # Errors
    /// There is no reason, or no such target.
    pub fn retire_target(&self, name: &str, reason: &str, actor: &Actor, tick: &Tick) -> Result<()> {
        needs_a_reason(reason)?;
        self.store.try_write(actor, tick.now, |tx| {
            let found = target::by_name(tx, name)?.ok_or_else(|| Error::not_found("target", name))?;
            let Some(t) = target::lock(tx, found.facts.id)? else { return Err(Error::not_found("target", name)) };
            intent_of_target(tx, &t)?.approved(tx, reason, actor)?;
            target(tx, t, &by_hand(reason, actor), tick.now)?;
            tx.journal(Entry::new("target.retired", format!("target/{name}"), reason, &json!({})))?;
            Ok(())
        })
    }

    /// Takes a secret out of the inventory by hand, with its versions kept. Its own open lines end as *retired*: nobody looks at a secret
    /// that has no targets, so nothing is proven by that. Whoever declares or stores it again has it back.
    ///
    /// # Errors
    /// There is no reason, no such secret, or a target of it that is not retired: only looking there can tell what is still served.
    pub fn retire_secret(&self, name: &str, reason: &str, actor: &Actor, tick: &Tick) -> Result<()> {
        needs_a_reason(reason)?;
        self.store.try_write(actor, tick.now, |tx| {
            let found = secret::by_name(tx, name)?.ok_or_else(|| Error::not_found("secret", name))?;
            let Some(s) = secret::lock(tx, found.id)? else { return Err(Error::not_found("secret", name)) };
            no_targets_remain(tx, &s)?;
            intent_of_secret(tx, &s)?.approved(tx, reason, actor)?;
            // Its renewal lets go of orders and keys.
            timer::set_earlier(tx, loops::RENEW, s.id.0, tick.now)?;
            secret(tx, s, &by_hand(reason, actor), tick.now)?;
            tx.journal(Entry::new("secret.retired", format!("secret/{name}"), reason, &json!({})))?;
            Ok(())
        })
    }
}

fn needs_a_reason(reason: &str) -> Result<()> {
    if reason.trim().is_empty() {
        return Err(Error::refused("reason-missing", "retiring needs a reason: --reason \"…\""));
    }
    Ok(())
}

/// What a line closes on that nobody proved: somebody's word.
fn by_hand(reason: &str, actor: &Actor) -> String {
    format!("retired by {}/{}: {}", pki::text::escape(&actor.issuer), pki::text::escape(&actor.subject), pki::text::escape(reason))
}

fn no_targets_remain(tx: &mut Tx<'_>, s: &secret::Secret) -> Result<()> {
    let some: Vec<String> = target::by_margin(tx, Some(s.id), None, TARGETS_SHOWN)?.into_iter().map(|(_, t)| t.facts.name).collect();
    let Some(first) = some.first() else { return Ok(()) };
    let count = target::aggregate(tx, s.id)?.count.max(some.len() as u64);
    let more = if count > some.len() as u64 { ", …" } else { "" };
    let problem = format!(
        "secret {} is still used by {count} {}: {}{more}; retire what is gone first: perennial target retire {first} --reason \"…\"",
        s.name,
        if count == 1 { "target" } else { "targets" },
        some.join(", "),
    );
    Err(Error::refused("targets-remain", problem))
}

/// What is retired is the target as it stands: what it serves, and the open lines that end without evidence.
fn intent_of_target(tx: &mut Tx<'_>, t: &target::Target) -> Result<Intent> {
    let lines: Vec<i64> = incident::open_lines_of_target(tx, t.facts.id)?.iter().map(|l| l.id).collect();
    let content = json!({
        "target": t.facts.id.0,
        "secret": t.secret.0,
        "endpoint": format!("{}://{}:{}", t.protocol, t.host, t.port),
        "served": crate::tell::served_text(t.served),
        "open_lines": lines,
    });
    Ok(Intent::new("retire", format!("target/{}", t.facts.name), content))
}

/// What is retired is the secret as it stands: up to which version, until when, and the open lines that end without evidence.
fn intent_of_secret(tx: &mut Tx<'_>, s: &secret::Secret) -> Result<Intent> {
    let lines: Vec<i64> = incident::open_lines_of_secret(tx, s.id)?.iter().map(|l| l.id).collect();
    let content = json!({
        "secret": s.id.0,
        "kind": s.kind.as_str(),
        "newest_version": s.newest_version,
        "expires_at": s.expires_at.map(|t| t.to_string()),
        "open_lines": lines,
    });
    Ok(Intent::new("retire", format!("secret/{}", s.name), content))
}

/// Retires a secret whose row is taken: nothing is said of it any more, and what was said is over.
pub(crate) fn secret(tx: &mut Tx<'_>, s: secret::Secret, evidence: &str, now: Time) -> Result<()> {
    let lines = incident::open_lines_of_secret(tx, s.id)?;
    end_lines(tx, lines, evidence, now)?;
    finding::replace(tx, s.id, None, &[])?;
    notice::end_all(tx, s.id, now)?;
    let owner = s.owner.clone();
    let nothing = secret::Assessed {
        served: Served::Unknown,
        margin_at: NO_MARGIN,
        target_count: 0,
        open_findings: 0,
        owner,
        current: 0,
        required: 0,
    };
    secret::update_standing(tx, s.id, &nothing, now)?;
    // What waits for it, or rests on it, hears that it is gone.
    timer::set_earlier(tx, loops::SECRET, s.id.0, now)?;
    if s.release_bound {
        crate::services::wake(tx, &s.service, now)?;
    }
    secret::update_declaration(tx, &secret::Secret { retired_at: s.retired_at.or(Some(now)), ..s })?;
    Ok(())
}

/// Lines end without evidence, and their incidents are looked at again.
fn end_lines(tx: &mut Tx<'_>, lines: Vec<incident::Line>, evidence: &str, now: Time) -> Result<()> {
    for line in lines {
        let of = line.incident;
        incident::put_line(tx, &incident::Line { closed_at: Some(now), how: "retired".into(), evidence: evidence.into(), ..line })?;
        timer::set_earlier(tx, loops::INCIDENT, of.0, now)?;
    }
    Ok(())
}

/// Retires a target whose row is taken. It is still looked at until what it answered with has ended (law 2).
pub(crate) fn target(tx: &mut Tx<'_>, mut t: target::Target, evidence: &str, now: Time) -> Result<()> {
    let mut seen = Vec::new();
    for record in observation::of_target(tx, t.facts.id)? {
        for sighting in record.record.may_serve() {
            let leaf = observation::chain(tx, &sighting.chain)?.and_then(|der| parse_chain(&der).into_iter().next());
            seen.push((sighting.leaf, leaf.map(|l| l.not_after())));
        }
    }
    let newest = match secret::get(tx, t.secret)? {
        Some(owner) => assess::newest(tx, &owner, &t)?,
        None => None,
    };
    // Where nobody ever saw it: what it should have served is what it must not be found serving.
    t.facts.retired = Some(Retired::at(now, &seen, || newest.map(|n| n.leaves).unwrap_or_default()));
    t.facts.state = TargetState::Retired;
    t.retired_at = Some(now);
    target::put(tx, &t)?;
    path::replace(tx, t.facts.id, &BTreeSet::new())?;
    let owner = secret::get(tx, t.secret)?;
    crate::partition::wake(tx, assess::service_of(&t, owner.as_ref()), now)?;
    let lines = incident::open_lines_of_target(tx, t.facts.id)?;
    end_lines(tx, lines, evidence, now)?;
    wake_vantages(tx, &t, now + domain::policy::SHORTEST_INTERVAL + Span::seconds(1))?;
    timer::set_earlier(tx, loops::SECRET, t.secret.0, now)?;
    Ok(())
}

/// A target that was retired and still answers comes back.
pub(crate) fn come_back(tx: &mut Tx<'_>, t: &target::Target, now: Time) -> Result<()> {
    let facts = domain::words::Target { state: TargetState::Active, retired: None, ..t.facts.clone() };
    let back = target::Target { retired_at: None, facts, ..t.clone() };
    target::put(tx, &back)?;
    wake_vantages(tx, &back, now)?;
    if let Some(s) = secret::lock(tx, t.secret)? {
        let s = secret::Secret { retired_at: None, ..s };
        secret::update_declaration(tx, &s)?;
        timer::set_earlier(tx, loops::SECRET, s.id.0, now)?;
        let team = assess::team_of(tx, &t.team, &t.service, Some(&s))?;
        let telling = domain::secret::Telling {
            key: format!("came-back/{}/{now}", t.facts.name),
            code: domain::finding::Code::CameBack,
            rung: None,
            again: false,
            escalate: false,
            about: None,
            until: None,
            detail: format!("{} was retired, still answers with the certificate that it served then, and is back", t.facts.name),
            targets: 1,
        };
        crate::tell::notice(tx, &s, &telling, &team, now)?;
    }
    let reason = "it was retired and still answers with the certificate that it served then";
    tx.journal(Entry::new("target.came-back", format!("target/{}", t.facts.name), reason, &json!({})))?;
    Ok(())
}
