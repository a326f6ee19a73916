//! Notices that say the same of many secrets are told together: a bulk import must not end in one message per certificate.
//!
//! Only what has no date is collected: that a secret has no owner, or that nothing says where it is used. Each secret gets its own
//! notice, at once, with its weekly reminder; the message about all of them follows within [`COLLECT`].

use crate::{
    Engine, Result, Tick,
    message::{Kind, Message, Severity},
    rules, tell,
};
use domain::{Span, Time, finding::Code, schedule, secret::Telling};
use serde_json::json;
use store::{
    Tx,
    journal::Entry,
    model::{inventory, notice, secret},
    timer,
};

/// The loop's name, as the timers know it; its subject is always 0.
pub const LOOP: &str = "digest";
/// How long the first of them waits for others.
pub const COLLECT: Span = Span::minutes(10);
/// How many secrets a message names.
const NAMED: i64 = 20;

/// The rules whose notices are told together, in words for many and for the one who can help.
const RULES: [(Code, &str, &str); 2] = [
    (Code::NoOwner, "without an owner", "name a team for each in the inventory file, or a default owner: perennial apply"),
    (Code::NoTarget, "with nothing that says where they are used", "declare a target for each, or retire it: perennial apply"),
];

/// Whether notices of a rule are told together.
pub(crate) fn collects(code: Code) -> bool {
    RULES.iter().any(|(c, _, _)| *c == code)
}

/// Writes a notice down for the next digest.
pub(crate) fn collect(tx: &mut Tx<'_>, s: &secret::Secret, telling: &Telling, team: &str, now: Time) -> Result<()> {
    tell::note(tx, s, telling, team, now)?;
    Ok(timer::set_earlier(tx, LOOP, 0, now + COLLECT)?)
}

impl Engine {
    /// Tells what was collected, where that is due: one message per team and rule. Says how many messages.
    pub fn digest_once(&self, tick: &Tick) -> Result<usize> {
        let now = tick.now;
        // Counted by a reader: many notices take a while, and nobody who writes waits for it.
        let collected = self.store.read(|tx| {
            if timer::get(tx, LOOP, 0)?.is_none_or(|due| due > now) {
                return Ok(None);
            }
            let (from, to) = notice::digested(tx)?;
            let mut groups = Vec::new();
            for (code, what, next_step) in RULES {
                groups.extend(notice::groups(tx, code.as_str(), from, to, NAMED)?.into_iter().map(|g| (code, what, next_step, g)));
            }
            Ok(Some((from, to, groups)))
        })?;
        let Some((from, to, groups)) = collected else { return Ok(0) };
        self.store.try_write(&rules(), now, |tx| {
            let Some(claim) = timer::claim(tx, LOOP, now, &self.holder, schedule::LEASE, 1)?.pop() else { return Ok(0) };
            let mine = notice::set_digested(tx, from, to)?;
            for (code, what, next_step, group) in groups.iter().filter(|_| mine) {
                send(tx, *code, what, next_step, group, now)?;
            }
            // What came while these were counted waits for others again.
            let more = notice::digested(tx)?.1 > to;
            timer::done(tx, LOOP, &claim, more.then_some(now + COLLECT))?;
            Ok(if mine { groups.len() } else { 0 })
        })
    }
}

fn send(tx: &mut Tx<'_>, code: Code, what: &str, next_step: &str, group: &notice::Group, now: Time) -> Result<()> {
    let names: Vec<String> = group.secrets.iter().map(|n| pki::text::escape(n)).collect();
    let more = group.count - names.len() as i64;
    let more = if more > 0 { format!(", and {more} more: perennial notice") } else { String::new() };
    let mut teams = vec![group.team.clone()];
    if group.again
        && let Some((_, escalation)) = inventory::contacts(tx, &group.team)?
        && !escalation.is_empty()
        && escalation != group.team
    {
        teams.push(escalation);
    }
    let plural = if group.count == 1 { "secret" } else { "secrets" };
    let message = Message {
        kind: Kind::Notice,
        subject: format!("{}/notices/{}/{code}", tell::prefix(tx)?, pki::text::escape(&group.team)),
        title: format!("{} {plural} {what}: {}{more}", group.count, names.join(", ")),
        severity: Severity::Warning,
        page: false,
        team: String::new(),
        teams: teams.clone(),
        services: Vec::new(),
        regions: Vec::new(),
        code: code.to_string(),
        incident: None,
        repeats: None,
        secret: None,
        targets: Vec::new(),
        target_count: 0,
        served: None,
        should_be: None,
        since: None,
        served_until: None,
        remaining_seconds: None,
        release: String::new(),
        next_step: next_step.into(),
        evidence: Vec::new(),
        at: now.to_string(),
        at_unix: now.unix(),
        started_unix: now.unix(),
    };
    for team in &teams {
        tell::send(tx, team, &message, now)?;
    }
    let body = json!({ "code": code.as_str(), "secrets": group.count, "first": names, "team": group.team, "escalate": group.again });
    Ok(tx.journal(Entry::new("notice.sent", format!("team/{}", group.team), "", &body))?)
}
