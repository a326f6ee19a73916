//! The way of an incident: urgency, escalation, closing; and what people do with it.

use crate::{
    Engine, Error, Result, Tick, drills, loops, rules,
    tell::{self, News},
};
use domain::{
    Span, Time,
    incident::{self as rule, Past, RootCause, State, Step},
    schedule,
    words::IncidentId,
};
use serde_json::json;
use store::{
    Actor, Tx,
    journal::Entry,
    model::{incident, incident::Incident, inventory},
    timer,
};

/// How many incidents one round takes.
pub const BATCH: i64 = 500;
/// Lines that came later are told together, not one by one.
pub const GATHER: Span = Span::minutes(10);

impl Engine {
    /// Moves the incidents that are due.
    pub fn incidents_once(&self, tick: &Tick) -> Result<usize> {
        let claims =
            self.store.write(&rules(), tick.now, |tx| timer::claim(tx, loops::INCIDENT, tick.now, &self.holder, schedule::LEASE, BATCH))?;
        for claim in &claims {
            self.store.try_write(&rules(), tick.now, |tx| {
                let next = step(tx, IncidentId(claim.subject), tick.now)?;
                timer::done(tx, loops::INCIDENT, claim, next)?;
                Ok::<_, Error>(())
            })?;
        }
        Ok(claims.len())
    }

    /// Corrective actions that are overdue: their owners are told, once a week while they stay.
    pub fn actions_once(&self, tick: &Tick) -> Result<usize> {
        let claims =
            self.store.write(&rules(), tick.now, |tx| timer::claim(tx, loops::ACTION, tick.now, &self.holder, schedule::LEASE, BATCH))?;
        for claim in &claims {
            self.store.try_write(&rules(), tick.now, |tx| {
                let next = overdue(tx, claim.subject, tick.now)?;
                timer::done(tx, loops::ACTION, claim, next)?;
                Ok::<_, Error>(())
            })?;
        }
        Ok(claims.len())
    }

    /// Somebody looks after it: quiet for a while, never past the runway.
    ///
    /// It quiets the teams that whoever acknowledges acts for (`None`: all). As long as another team is concerned and has not
    /// answered, that one goes on hearing of it as if nobody had.
    pub fn acknowledge(&self, id: IncidentId, acts_for: Option<&[String]>, reason: &str, actor: &Actor, tick: &Tick) -> Result<Incident> {
        self.change(id, "acknowledged", reason, actor, tick, |tx, it| {
            let quiet = rule::quiet_until(&it.facts, tick.now);
            let own: Vec<String> = it.teams.iter().filter(|t| acts_for.is_none_or(|own| own.contains(t))).cloned().collect();
            it.answered.retain(|(team, until)| !own.contains(team) && *until > tick.now);
            it.answered.extend(own.iter().map(|team| (team.clone(), quiet)));
            it.acknowledged_at = Some(tick.now);
            it.acknowledged_by = actor.subject.clone();
            if acts_for.is_some() && !hearing(it, tick.now).is_empty() {
                return tell::incident_to(tx, it, News::Acknowledged, &own, tick.now);
            }
            it.facts.quiet_until = it.answered.iter().map(|(_, until)| *until).min().or(Some(quiet));
            if it.facts.state == State::Opened {
                it.facts.state = State::Acknowledged;
            }
            it.facts.told_at = tick.now;
            tell::incident(tx, it, News::Acknowledged, tick.now)
        })
    }

    /// Users are no longer hurt. It stays open: only observation closes.
    pub fn mitigate(&self, id: IncidentId, reason: &str, actor: &Actor, tick: &Tick) -> Result<Incident> {
        self.change(id, "mitigated", reason, actor, tick, |_, it| {
            it.facts.state = State::Mitigated;
            it.mitigated_at = Some(tick.now);
            Ok(())
        })
    }

    fn change(
        &self,
        id: IncidentId,
        what: &str,
        reason: &str,
        actor: &Actor,
        tick: &Tick,
        mut f: impl FnMut(&mut Tx<'_>, &mut Incident) -> Result<()>,
    ) -> Result<Incident> {
        self.store.try_write(actor, tick.now, |tx| {
            let mut it = incident::lock(tx, id)?.ok_or_else(|| Error::not_found("incident", &id.to_string()))?;
            if !it.facts.state.is_open() {
                let problem = format!("incident {id} is {}; only an open one can be {what}", it.facts.state);
                return Err(Error::refused("incident-not-open", problem));
            }
            f(tx, &mut it)?;
            incident::put(tx, &it)?;
            timer::set_earlier(tx, loops::INCIDENT, id.0, tick.now)?;
            let answered: Vec<_> = it.answered.iter().map(|(team, until)| json!({ "team": team, "until": until.to_string() })).collect();
            let body = json!({ "state": it.facts.state.as_str(), "quiet_until": it.facts.quiet_until.map(|t| t.to_string()),
                "answered": answered });
            tx.journal(Entry::new(format!("incident.{what}"), format!("incident/{id}"), reason, &body))?;
            Ok(it)
        })
    }

    /// Writes down why it happened and what will be done. Says which earlier incident it repeats.
    pub fn review(&self, id: IncidentId, review: &Review, actor: &Actor, tick: &Tick) -> Result<Incident> {
        self.store.try_write(actor, tick.now, |tx| {
            let mut it = incident::lock(tx, id)?.ok_or_else(|| Error::not_found("incident", &id.to_string()))?;
            if it.facts.state.is_open() {
                return Err(Error::refused(
                    "incident-open",
                    format!("incident {id} is still open; production has to prove first that it is over"),
                ));
            }
            if review.cause == RootCause::Other && review.own_cause.trim().is_empty() {
                return Err(Error::refused("cause-missing", "the root cause `other` needs own words: --own-cause \"…\""));
            }
            for action in &review.actions {
                if inventory::contacts(tx, &action.owner)?.is_none() {
                    return Err(Error::not_found("team", &action.owner));
                }
            }
            it.facts.state = State::Reviewed;
            it.reviewed_at = Some(tick.now);
            it.root_cause = Some(review.cause);
            it.own_cause = review.own_cause.clone();
            it.review = review.text.clone();
            let mut touched = it.teams.clone();
            touched.extend(it.services.clone());
            let past = incident::past(tx, review.cause, it.facts.opened_at - rule::REPEATS_WITHIN, 1000)?;
            let current = Past { incident: id, opened_at: it.facts.opened_at, cause: review.cause, touched };
            if let Some(earlier) = rule::repeat_of(&current, &past) {
                it.repeats = Some(earlier);
            }
            incident::put(tx, &it)?;
            for action in &review.actions {
                let row = incident::Action {
                    id: tx.next_id("corrective_action")?,
                    incident: id,
                    what: action.what.clone(),
                    owner: action.owner.clone(),
                    due_at: action.due_at,
                    done_at: None,
                    told_at: None,
                };
                incident::put_action(tx, &row)?;
                timer::set(tx, loops::ACTION, row.id, row.due_at)?;
            }
            let body = json!({ "cause": review.cause.as_str(), "own": review.own_cause, "repeats": it.repeats.map(|r| r.0),
                "actions": review.actions.iter().map(|a| &a.what).collect::<Vec<_>>() });
            tx.journal(Entry::new("incident.reviewed", format!("incident/{id}"), "", &body))?;
            Ok(it)
        })
    }

    /// A corrective action was done.
    pub fn action_done(&self, id: i64, reason: &str, actor: &Actor, tick: &Tick) -> Result<()> {
        self.store.try_write(actor, tick.now, |tx| {
            let action = incident::action_by_id(tx, id)?.ok_or_else(|| Error::not_found("action", &id.to_string()))?;
            incident::put_action(tx, &incident::Action { done_at: Some(tick.now), ..action.clone() })?;
            timer::clear(tx, loops::ACTION, id)?;
            tx.journal(Entry::new("action.done", format!("incident/{}", action.incident), reason, &json!({ "action": id })))?;
            Ok(())
        })
    }
}

/// A review as people write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// From the fixed list.
    pub cause: RootCause,
    /// Own words for it.
    pub own_cause: String,
    /// What happened.
    pub text: String,
    /// What will be done so that it does not happen again.
    pub actions: Vec<NewAction>,
}

/// A corrective action as people write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAction {
    /// What.
    pub what: String,
    /// Which team.
    pub owner: String,
    /// By when.
    pub due_at: Time,
}

/// The teams that are not quiet at `now`.
fn hearing(it: &Incident, now: Time) -> Vec<String> {
    it.teams.iter().filter(|t| !it.answered.iter().any(|(team, until)| team == *t && *until > now)).cloned().collect()
}

fn step(tx: &mut Tx<'_>, id: IncidentId, now: Time) -> Result<Option<Time>> {
    let Some(mut it) = incident::lock(tx, id)? else { return Ok(None) };
    if !it.facts.state.is_open() {
        return Ok(None);
    }
    let lines = incident::count_lines(tx, id)?;
    let more = lines.open > it.facts.open_lines || it.changed;
    (it.facts.open_lines, it.facts.proven_lines, it.facts.retired_lines) = (lines.open, lines.proven, lines.retired);
    if lines.open > 0 {
        (it.facts.until, it.facts.broken) = (lines.until, lines.broken);
    }
    let critical_path = drills::critical_path(tx, id, now)?;
    let decided = rule::step(&it.facts, critical_path, now);
    let note = |tx: &mut Tx<'_>, what: &str, body| tx.journal(Entry::new(format!("incident.{what}"), format!("incident/{id}"), "", &body));
    let next = match decided {
        Step::Wait(next) => {
            // Lines that joined are told together after a while.
            if more && now >= it.facts.told_at + GATHER {
                it.facts.told_at = now;
                it.changed = false;
                tell::incident(tx, &it, News::Updated, now)?;
                next
            } else if more {
                it.changed = true;
                let gathered = it.facts.told_at + GATHER;
                Some(next.map_or(gathered, |n| n.min(gathered)))
            } else {
                next
            }
        }
        Step::Resolve | Step::Retire => {
            let news = if decided == Step::Resolve { News::Resolved } else { News::Retired };
            it.facts.state = if decided == Step::Resolve { State::Resolved } else { State::Retired };
            it.ended_at = Some(now);
            it.facts.quiet_until = None;
            it.answered.clear();
            note(tx, it.facts.state.as_str(), json!({ "proven": lines.proven, "retired": lines.retired }))?;
            tell::incident(tx, &it, news, now)?;
            None
        }
        Step::Page => {
            it.facts.page = true;
            it.facts.told_at = now;
            note(tx, "pages", json!({ "until": it.facts.until.map(|t| t.to_string()), "broken": it.facts.broken }))?;
            tell::incident(tx, &it, News::Updated, now)?;
            Some(now)
        }
        Step::Escalate | Step::Remind => {
            let teams = hearing(&it, now);
            escalated(tx, &mut it, teams, "", now)?;
            Some(now)
        }
    };
    // A team that acknowledged for itself alone is reminded for itself alone.
    let ended: Vec<String> = it.answered.iter().filter(|(_, until)| *until <= now).map(|(team, _)| team.clone()).collect();
    if !ended.is_empty() {
        it.answered.retain(|(_, until)| *until > now);
        if matches!(decided, Step::Wait(_)) {
            tell::incident_to(tx, &it, News::Updated, &ended, now)?;
        }
    }
    let quiet = it.answered.iter().map(|(_, until)| *until).min();
    incident::put(tx, &it)?;
    Ok(next.into_iter().chain(quiet).min())
}

/// These teams hear of it, and their escalation contacts.
fn escalated(tx: &mut Tx<'_>, it: &mut Incident, mut teams: Vec<String>, reason: &str, now: Time) -> Result<()> {
    it.facts.told_at = now;
    it.facts.escalated = true;
    tx.journal(Entry::new("incident.escalated", format!("incident/{}", it.facts.id), reason, &json!({})))?;
    for team in teams.clone() {
        teams.extend(tell::escalation_of(tx, &team)?.filter(|e| !teams.contains(e)));
    }
    tell::incident_to(tx, it, News::Updated, &teams, now)
}

/// The escalation contact of an open incident hears of it now, and not only after the usual wait; so does every team, whoever
/// acknowledged.
pub(crate) fn escalate(tx: &mut Tx<'_>, id: IncidentId, reason: &str, now: Time) -> Result<()> {
    let Some(mut it) = incident::lock(tx, id)?.filter(|i| i.facts.state.is_open()) else { return Ok(()) };
    let teams = it.teams.clone();
    escalated(tx, &mut it, teams, reason, now)?;
    incident::put(tx, &it)?;
    timer::set_earlier(tx, loops::INCIDENT, id.0, now)?;
    Ok(())
}

fn overdue(tx: &mut Tx<'_>, id: i64, now: Time) -> Result<Option<Time>> {
    let Some(action) = incident::action_by_id(tx, id)? else { return Ok(None) };
    if action.done_at.is_some() {
        return Ok(None);
    }
    let Some(it) = incident::get(tx, action.incident)? else { return Ok(None) };
    let title = format!("corrective action {id} is overdue since {}: {}", action.due_at, pki::text::escape(&action.what));
    let it = Incident { title, code: domain::finding::Code::ActionOverdue, ..it };
    tell::incident_to(tx, &it, News::ActionOverdue, std::slice::from_ref(&action.owner), now)?;
    incident::put_action(tx, &incident::Action { told_at: Some(now), ..action.clone() })?;
    let body = json!({ "action": id, "owner": action.owner, "due": action.due_at.to_string() });
    tx.journal(Entry::new("action.overdue", format!("incident/{}", action.incident), "", &body))?;
    Ok(Some(now + rule::REMIND_AFTER))
}
