//! What is known of an alert drill: the incident that the certificate opened, and whether every channel took its page.

use crate::{Result, Tick, tell};
use domain::{
    Span, Time,
    drill::alert::{Channel, Opened, Seen},
    finding::Code,
    incident::State,
    words::IncidentId,
};
use std::collections::BTreeSet;
use store::{
    Tx,
    model::{
        drill::{self, Run},
        incident,
        secret::Secret,
    },
};

/// What the incident is about that a certificate opens by running out; whatever else happens to it is nothing of the drill's.
const RUNS_OUT: [Code; 3] = [Code::LeafExpiring, Code::PathExpiring, Code::Expired];
/// How long a certificate is waited for whose end nobody knows.
const UNKNOWN_END: Span = Span::days(1);

/// Reads it. The incident that it waits for, and when it paged, are kept with the run.
pub(super) fn seen(tx: &mut Tx<'_>, run: &mut Run, s: &Secret, tick: &Tick) -> Result<Seen> {
    if run.incident == 0 {
        run.incident = drill::incident_since(tx, s.id, run.started_at, &RUNS_OUT)?.map_or(0, |i| i.0);
    }
    let it = incident::get(tx, IncidentId(run.incident))?;
    if run.noticed_at.is_none() && it.as_ref().is_some_and(|i| i.facts.page) {
        run.noticed_at = Some(tick.now);
        drill::put(tx, run)?;
    }
    let ends_at = drill::tally(tx, s.id)?.ends_at.or(it.as_ref().and_then(|i| i.facts.until));
    let mut channels = Vec::new();
    if let Some(it) = &it {
        let mut teams: BTreeSet<String> = it.teams.iter().cloned().collect();
        for team in &it.teams {
            teams.extend(tell::escalation_of(tx, team)?);
        }
        for team in teams {
            channels.extend(of_team(tx, it.facts.id, &team, run.started_at)?);
        }
    }
    Ok(Seen {
        phase: run.phase,
        runs_out_at: ends_at.unwrap_or(run.started_at + UNKNOWN_END),
        within: run.within,
        incident: it.map(|i| Opened {
            id: i.facts.id.0,
            paged_at: run.noticed_at,
            escalated: i.facts.escalated,
            acknowledged_at: i.acknowledged_at.filter(|at| *at >= run.started_at),
            resolved: matches!(i.facts.state, State::Resolved | State::Reviewed),
            over: !i.facts.state.is_open(),
        }),
        replaced: run.version > 0 && s.newest_version > run.version,
        channels,
        lifted_at: run.lifted_at,
    })
}

fn of_team(tx: &mut Tx<'_>, incident: IncidentId, team: &str, since: Time) -> Result<Vec<Channel>> {
    let mut channels: Vec<Channel> = Vec::new();
    for contact in tell::contacts(tx, team)? {
        let (taken_at, detail) = drill::taken(tx, incident, team, &contact, since)?;
        // Two of a kind are told apart by their place; an address may be a secret.
        let kind = tell::channel_of(&contact);
        let before = channels.iter().filter(|c| c.contact.split(' ').next() == Some(kind.as_str())).count();
        let contact = if before == 0 { kind } else { format!("{kind} {}", before + 1) };
        channels.push(Channel { team: team.to_owned(), contact, taken_at, detail: pki::text::escape(&detail) });
    }
    Ok(channels)
}
