//! Composing what is told, and putting it into the outbox in the transaction that decided it.

pub mod digest;

use crate::{
    Result,
    message::{Kind, Message, Place, Severity},
    releases,
};
use domain::{
    Time,
    finding::{Code, Finding, Subject},
    incident::{Incident as Facts, State},
    policy,
    secret::Telling,
    target::Served,
    words::IncidentId,
};
use std::collections::BTreeSet;
use store::{
    Tx,
    model::{incident, inventory, notice, observation, outbox, secret, target},
};

/// How many targets a message names.
const TARGETS_SHOWN: i64 = 20;
/// What a message says while no release is known to carry the fix.
const NO_RELEASE: &str = "no release is known to carry it";

/// What happened to an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Opened, or opened again.
    Opened,
    /// More lines, more urgent, or nobody reacted.
    Updated,
    /// Somebody looks after it.
    Acknowledged,
    /// Proven to be gone.
    Resolved,
    /// Taken out of the inventory.
    Retired,
    /// One of its corrective actions is overdue.
    ActionOverdue,
}

/// Served-until for people.
pub fn served_text(served: Served) -> String {
    match served {
        Served::Unknown => String::from("unknown"),
        Served::Broken => String::from("broken"),
        Served::Until(t) => t.to_string(),
    }
}

/// A new incident for a subject, without lines yet.
pub fn new_incident(
    id: IncidentId,
    subject: &Subject,
    f: &Finding,
    secret_name: &str,
    repeats: Option<IncidentId>,
    now: Time,
) -> incident::Incident {
    let whose = if secret_name.is_empty() { String::from("a target without a secret") } else { pki::text::escape(secret_name) };
    let title = match subject {
        Subject::Revocation(id) => format!("certificates that must be replaced by a deadline (revocation {id})"),
        Subject::Baseline(name) => format!("what was already bad when {} was adopted", pki::text::escape(name)),
        Subject::Store(code) => format!("the store: {code}"),
        // A title outlives the day on which it was written: it says when, and never how long until then.
        _ => match (f.code, f.until) {
            (Code::LeafExpiring, Some(until)) => format!("{whose}: the served leaf expires {until}"),
            (Code::PathExpiring, Some(until)) => format!("{whose}: a certificate above the served leaf expires {until}"),
            (Code::Expired, Some(until)) => format!("{whose}: expired {until} and still in use"),
            (Code::SecretExpiring, Some(until)) => format!("{whose}: expires {until}"),
            _ => format!("{whose}: {}", f.detail),
        },
    };
    incident::Incident {
        facts: Facts {
            id,
            subject: subject.to_string(),
            state: State::Opened,
            opened_at: now,
            quiet_until: None,
            told_at: now,
            escalated: false,
            page: false,
            broken: f.broken,
            until: f.until,
            open_lines: 0,
            proven_lines: 0,
            retired_lines: 0,
        },
        code: f.code,
        title,
        acknowledged_by: String::new(),
        acknowledged_at: None,
        mitigated_at: None,
        ended_at: None,
        teams: Vec::new(),
        services: Vec::new(),
        repeats,
        root_cause: None,
        own_cause: String::new(),
        review: String::new(),
        reviewed_at: None,
        changed: false,
        answered: Vec::new(),
    }
}

/// Tells every team concerned about an incident; that it is over, everybody who was ever told of it.
pub fn incident(tx: &mut Tx<'_>, it: &incident::Incident, news: News, now: Time) -> Result<()> {
    let mut teams = it.teams.clone();
    if teams.is_empty() {
        teams.extend(inventory::setting(tx, "default_owner")?);
    }
    if matches!(news, News::Resolved | News::Retired) {
        let told = outbox::teams_told(tx, it.facts.id)?;
        teams.extend(told.into_iter().filter(|t| !it.teams.contains(t)).collect::<std::collections::BTreeSet<_>>());
        teams.dedup();
    }
    incident_to(tx, it, news, &teams, now)
}

/// Tells some teams about an incident.
pub fn incident_to(tx: &mut Tx<'_>, it: &incident::Incident, news: News, teams: &[String], now: Time) -> Result<()> {
    let f = &it.facts;
    let only_open = matches!(news, News::Opened | News::Updated | News::Acknowledged);
    let lines = incident::lines(tx, f.id, only_open, 0, TARGETS_SHOWN)?;
    let (mut places, mut regions, mut evidence) = (Vec::new(), Vec::new(), Vec::new());
    let mut secret_name = None;
    let mut should_be = None;
    let mut release = None;
    for line in &lines {
        if secret_name.is_none()
            && let Some(s) = secret::get(tx, line.secret)?
        {
            should_be = (s.newest_version > 0).then(|| format!("version {}", s.newest_version));
            release = releases::fix(tx, s.id, now)?;
            secret_name = Some(s.name);
        }
        if !line.evidence.is_empty() && !evidence.contains(&line.evidence) {
            evidence.push(line.evidence.clone());
        }
        let Some(id) = line.target else { continue };
        let Some(t) = target::get(tx, id)? else { continue };
        if !t.facts.region.is_empty() && !regions.contains(&t.facts.region) {
            regions.push(t.facts.region.clone());
        }
        places.push(Place { address: addresses(tx, &t)?, target: t.facts.name, region: t.facts.region, detail: line.detail.clone() });
    }
    let (kind, verb, next_step) = match news {
        News::Opened => (Kind::IncidentOpened, "", "put the right certificate where it is served; only observing it there closes this"),
        News::Updated => (Kind::IncidentUpdated, "still open: ", "acknowledge it, and put the right certificate where it is served"),
        News::Acknowledged => (Kind::IncidentAcknowledged, "acknowledged: ", "put the right certificate where it is served"),
        News::Resolved => (Kind::IncidentResolved, "resolved: ", "write down the root cause: perennial incident review"),
        News::ActionOverdue => (Kind::Notice, "", "do it, or agree on another date"),
        News::Retired if places.is_empty() => {
            (Kind::IncidentRetired, "retired: ", "nothing looks at it any more; if it is still used, declare it again: perennial apply")
        }
        News::Retired => (Kind::IncidentRetired, "retired: ", "what was retired is still looked at until it has ended"),
    };
    let severity = if f.page || f.broken { Severity::Critical } else { Severity::Warning };
    let loud = if it.repeats.is_some() { "REPEAT: " } else { "" };
    let message = Message {
        severity,
        page: f.page && only_open,
        teams: it.teams.clone(),
        services: it.services.clone(),
        regions,
        code: it.code.to_string(),
        incident: Some(f.id.0),
        repeats: it.repeats.map(|r| r.0),
        secret: secret_name.map(|s| pki::text::escape(&s)),
        target_count: if only_open { f.open_lines } else { f.proven_lines + f.retired_lines },
        targets: places,
        served: lines.first().and_then(|l| l.about).map(|a| a.to_string()),
        should_be,
        since: Some(f.opened_at.to_string()),
        served_until: f.until.map(|t| t.to_string()),
        remaining_seconds: f.until.map(|t| policy::remaining(t, now).as_secs()),
        release: release.unwrap_or_else(|| NO_RELEASE.into()),
        next_step: next_step.into(),
        evidence,
        started_unix: f.opened_at.unix(),
        ..Message::new(kind, format!("{}/incident/{}", prefix(tx)?, f.id), format!("{loud}{verb}{}", it.title), now)
    };
    for team in teams {
        send(tx, team, &message, now)?;
    }
    Ok(())
}

/// Tells the owner of a secret, and its escalation contact where the rules say so.
pub fn notice(tx: &mut Tx<'_>, s: &secret::Secret, telling: &Telling, team: &str, now: Time) -> Result<()> {
    let worst = match &telling.about {
        // Of a break that is far away no target says anything yet.
        Some(about) if telling.code != Code::ForecastBreach => target::serving(tx, s.id, about, TARGETS_SHOWN)?,
        _ => target::by_margin(tx, Some(s.id), None, TARGETS_SHOWN)?.into_iter().map(|(_, t)| t).collect(),
    };
    let mut places = Vec::new();
    let mut regions = Vec::new();
    let mut behind = false;
    for t in worst {
        behind |= t.current < t.required;
        if !t.facts.region.is_empty() && !regions.contains(&t.facts.region) {
            regions.push(t.facts.region.clone());
        }
        places.push(Place {
            address: addresses(tx, &t)?,
            target: t.facts.name,
            region: t.facts.region,
            detail: format!("serves until {}", served_text(t.served)),
        });
    }
    let versions = secret::versions(tx, s.id, 1)?;
    let release = releases::fix(tx, s.id, now)?.unwrap_or_else(|| NO_RELEASE.into());
    let release = match versions.first() {
        Some(v) if telling.rung.is_some() && behind => {
            format!("version {} has been stored since {} and production does not serve it; {release}", v.number, v.stored_at)
        }
        _ => release,
    };
    let mut teams = vec![team.to_owned()];
    if telling.escalate {
        teams.extend(escalation_of(tx, team)?);
    }
    let (name, code) = (pki::text::escape(&s.name), telling.code);
    let message = Message {
        teams: teams.clone(),
        services: if s.service.is_empty() { Vec::new() } else { vec![s.service.clone()] },
        regions,
        code: code.to_string(),
        secret: Some(name.clone()),
        targets: places,
        target_count: telling.targets,
        served: telling.about.map(|a| a.to_string()),
        should_be: versions.first().map(|v| format!("version {}", v.number)),
        served_until: telling.until.map(|t| t.to_string()),
        remaining_seconds: telling.until.map(|t| policy::remaining(t, now).as_secs()),
        release,
        next_step: String::from("renew it where it is served; a new version in the store changes nothing"),
        ..Message::new(Kind::Notice, format!("{}/notice/{name}/{code}", prefix(tx)?), format!("{name}: {}", telling.detail), now)
    };
    for team in &teams {
        send(tx, team, &message, now)?;
    }
    note(tx, s, telling, team, now)
}

/// Who hears of it where a team does not react, or cannot be reached.
pub(crate) fn escalation_of(tx: &mut Tx<'_>, team: &str) -> store::Result<Option<String>> {
    let escalation = inventory::contacts(tx, team)?.map(|(_, escalation)| escalation);
    Ok(escalation.filter(|e| !e.is_empty() && e != team))
}

/// Writes down that the owner of a secret was told, or will be with others.
pub(crate) fn note(tx: &mut Tx<'_>, s: &secret::Secret, telling: &Telling, team: &str, now: Time) -> Result<()> {
    let id = tx.next_id("notice")?;
    let row = notice::Notice {
        id,
        secret: s.id,
        key: telling.key.clone(),
        code: telling.code.to_string(),
        rung: telling.rung.map(i64::from),
        again: telling.again,
        team: team.to_owned(),
        at: now,
        until: telling.until,
        detail: telling.detail.clone(),
        ended_at: None,
    };
    Ok(notice::insert(tx, &row)?)
}

/// What tells the subjects of this life of this store from those of others.
pub(crate) fn prefix(tx: &mut Tx<'_>) -> store::Result<String> {
    let own = store::meta::identity(tx)?;
    Ok(format!("{}.{}", own.store_id.get(..8).unwrap_or(&own.store_id), own.epoch))
}

/// The contact that everybody has: the server's log.
pub(crate) const LOG: &str = "{\"channel\":\"log\"}";

/// The contacts of a team, as JSON. A team without contacts, or that is no more, is told in the log.
pub(crate) fn contacts(tx: &mut Tx<'_>, team: &str) -> Result<Vec<String>> {
    let all = inventory::contacts(tx, team)?.map(|c| c.0).unwrap_or_default();
    let all: Vec<serde_json::Value> = serde_json::from_str(&all).unwrap_or_default();
    Ok(if all.is_empty() { vec![LOG.to_owned()] } else { all.iter().map(ToString::to_string).collect() })
}

/// Puts a message into the outbox, once per contact of the team.
pub fn send(tx: &mut Tx<'_>, team: &str, message: &Message, now: Time) -> Result<()> {
    for contact in contacts(tx, team)? {
        send_to(tx, team, &contact, message, now)?;
    }
    Ok(())
}

/// Puts a message into the outbox for one contact, in the place of those that wait there and that it makes needless.
pub(crate) fn send_to(tx: &mut Tx<'_>, team: &str, contact: &str, message: &Message, now: Time) -> Result<()> {
    let line = line(&message.subject, contact);
    // Two teams may share a contact: each is told.
    for earlier in outbox::waiting_in_line(tx, &line)?.into_iter().filter(|e| e.team == team) {
        let before = serde_json::from_str::<Message>(&earlier.message);
        if before.is_ok_and(|before| message.supersedes(&before)) {
            outbox::close(tx, earlier.id, outbox::SUPERSEDED, now)?;
        }
    }
    let message = Message { team: team.to_owned(), ..message.clone() };
    put(tx, &line, team, contact, &message, now)
}

/// What is told to one contact about one subject.
pub(crate) fn line(subject: &str, contact: &str) -> String {
    format!("{subject}|{contact}")
}

fn put(tx: &mut Tx<'_>, line: &str, team: &str, channel: &str, message: &Message, now: Time) -> Result<()> {
    let body = serde_json::to_string(message).map_err(|e| crate::Error::Outside(format!("a message could not be written: {e}")))?;
    outbox::send(tx, &outbox::New { line, team, channel, message: &body, incident: message.incident.map(IncidentId) }, now)?;
    Ok(())
}

/// Ends the lines of what is told instead of somebody who cannot be reached: it is not told instead a second time.
const INSTEAD: &str = "|instead";

/// Somebody cannot be reached: who hears of it instead is told what they would have been, and why. These are the contacts of the
/// team's escalation contact, and the log.
pub(crate) fn instead(tx: &mut Tx<'_>, o: &outbox::Outgoing, why: &str, now: Time) -> Result<()> {
    let Ok(message) = serde_json::from_str::<Message>(&o.message) else { return Ok(()) };
    if o.line.ends_with(INSTEAD) || o.channel == LOG {
        return Ok(());
    }
    let to = channel_of(&o.channel);
    let title = format!("{} (told to you because {} of team {} cannot be reached: {why})", message.title, to, pki::text::escape(&o.team));
    let message = Message { title, ..message };
    let mut places = vec![(o.team.clone(), LOG.to_owned())];
    if let Some(escalation) = escalation_of(tx, &o.team)? {
        places.extend(contacts(tx, &escalation)?.into_iter().map(|c| (escalation.clone(), c)));
    }
    places.retain(|(_, contact)| *contact != o.channel);
    places.dedup_by(|a, b| a.1 == b.1);
    for (team, contact) in places {
        let message = Message { team: team.clone(), ..message.clone() };
        put(tx, &format!("{}{INSTEAD}", line(&message.subject, &contact)), &team, &contact, &message, now)?;
    }
    Ok(())
}

/// A contact in words: its channel alone, since its address may be a secret.
pub(crate) fn channel_of(contact: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(contact).unwrap_or_default();
    pki::text::escape(value.get("channel").and_then(|c| c.as_str()).unwrap_or("a contact"))
}

/// Where a target is: addresses of whichever vantage, or paths, a few of them.
fn addresses(tx: &mut Tx<'_>, t: &target::Target) -> store::Result<String> {
    const SHOWN: usize = 5;
    let known: BTreeSet<String> = if t.facts.authority.is_empty() {
        observation::places(tx, t.facts.id, SHOWN as i64)?.iter().map(|p| pki::text::escape(p)).collect()
    } else {
        target::addresses(tx, t.facts.id)?.into_iter().filter(|a| a.left_at.is_none()).map(|a| a.address).collect()
    };
    Ok(if known.is_empty() {
        pki::text::escape(if t.facts.authority.is_empty() { &t.facts.name } else { &t.facts.authority })
    } else {
        known.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ")
    })
}
