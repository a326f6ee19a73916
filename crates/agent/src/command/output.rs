//! What people and scripts see.

use std::io::Write as _;

use agent::{Config, Standing, clock, manifest, observe::Seen, standing, state::State};
use pki::{Certificate, Span, Time};
use serde::Serialize;

use super::{Exit, Stop};

/// A store that was silent for so long is worth a word.
const SILENT: Span = Span::minutes(10);

#[derive(Serialize)]
struct Status<'a> {
    node: &'a str,
    store: &'a str,
    address: &'a str,
    generation: i64,
    identity_until: Option<String>,
    answered_at: Option<String>,
    failure: Option<&'a str>,
    clock_ahead: Option<i64>,
    protection: &'a str,
    installs: &'a [Standing],
}

/// All that this node knows of itself.
pub(super) fn status(state: &State, config: &Config, now: Time, json: bool) -> Result<Exit, Stop> {
    let identity = state.identity()?.ok_or(agent::Error::NotJoined)?;
    let known = state.known()?.ok_or(agent::Error::NotJoined)?;
    let contact = state.contact()?;
    let manifest = manifest::resume(&known);
    let all = standing::of(state, config, manifest.as_ref(), |secret| contact.waits.get(secret).cloned())?;
    let until = agent::state::leaf(&identity).as_ref().map(Certificate::not_after);
    let answered = contact.answered_at.map(Time::from_unix);
    let doubt = clock::doubt(contact.ahead);
    let ended = until.is_none_or(|until| until <= now);
    let protection = state.protection()?;
    let mut out = std::io::stdout().lock();
    if json {
        let status = Status {
            node: &identity.node,
            store: &identity.store,
            address: &identity.address,
            generation: known.generation,
            identity_until: until.map(|until| until.to_string()),
            answered_at: answered.map(|at| at.to_string()),
            failure: contact.failure.as_deref(),
            clock_ahead: contact.ahead,
            protection: &protection,
            installs: &all,
        };
        writeln!(out, "{}", serde_json::to_string(&status).map_err(std::io::Error::other)?)?;
    } else {
        writeln!(out, "node        {} of store {} at {}", identity.node, identity.store, identity.address)?;
        writeln!(out, "generation  {}", known.generation)?;
        match until {
            Some(until) => writeln!(out, "identity    until {until}, {}", left(until, now))?,
            None => writeln!(out, "identity    cannot be read; join again")?,
        }
        match answered {
            Some(at) => writeln!(out, "store       answered {at}, {} ago", span((now - at).as_secs()))?,
            None => writeln!(out, "store       has not answered yet")?,
        }
        if let Some(failure) = &contact.failure {
            writeln!(out, "            {failure}")?;
        }
        if let Some(doubt) = &doubt {
            writeln!(out, "clock       {doubt}")?;
        }
        writeln!(out, "keys        {protection}")?;
        lines(&mut out, &all)?;
    }
    let silent = contact.failure.is_some() && answered.is_none_or(|at| now - at > SILENT);
    Ok(if all.iter().all(Standing::is_settled) && doubt.is_none() && !silent && !ended { Exit::Ok } else { Exit::Due })
}

/// How each place stands.
pub(super) fn standing(all: &[Standing], json: bool) -> Result<(), Stop> {
    let mut out = std::io::stdout().lock();
    if json {
        for one in all {
            writeln!(out, "{}", serde_json::to_string(one).map_err(std::io::Error::other)?)?;
        }
        return Ok(());
    }
    lines(&mut out, all)
}

fn lines(out: &mut impl std::io::Write, all: &[Standing]) -> Result<(), Stop> {
    for one in all {
        let state = serde_json::to_value(one.state).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        let lies = if one.version > 0 { format!("version {}", one.version) } else { "no version of the store".to_owned() };
        let wanted = if one.version == one.wanted { String::new() } else { format!(", version {} is wanted", one.wanted) };
        writeln!(out, "{}  {}  {state}: {lies}{wanted}", one.secret, if one.place.is_empty() { "-" } else { &one.place })?;
        if !one.detail.is_empty() {
            let tries = if one.attempts > 0 { format!(" (try {})", one.attempts) } else { String::new() };
            writeln!(out, "    {}{tries}", one.detail)?;
        }
    }
    if all.is_empty() {
        writeln!(out, "nothing is to be installed on this node")?;
    }
    Ok(())
}

/// What is installed and what listens.
pub(super) fn seen(all: &[Seen], now: Time, json: bool) -> Result<(), Stop> {
    let mut out = std::io::stdout().lock();
    for one in all {
        if json {
            writeln!(out, "{}", serde_json::to_string(one).map_err(std::io::Error::other)?)?;
            continue;
        }
        let secret = one.secret.as_ref().map(|secret| format!("  secret {secret}")).unwrap_or_default();
        match (&one.leaf, &one.failure) {
            (Some(leaf), _) => {
                let until = Time::parse(&leaf.not_after).map(|until| left(until, now)).unwrap_or_default();
                writeln!(out, "{}{secret}  {}  expires {}, {until}", one.place, leaf.subject, leaf.not_after)?;
            }
            (None, failure) => writeln!(out, "{}{secret}  {}", one.place, failure.as_deref().unwrap_or("no certificate"))?,
        }
    }
    Ok(())
}

fn left(until: Time, now: Time) -> String {
    let seconds = (until - now).as_secs();
    if seconds > 0 { format!("in {}", span(seconds)) } else { format!("{} ago", span(seconds.saturating_neg())) }
}

fn span(seconds: i64) -> String {
    match seconds {
        86_400.. => format!("{} d", seconds / 86_400),
        3_600.. => format!("{} h", seconds / 3_600),
        60.. => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}
