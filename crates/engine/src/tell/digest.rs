//! Notices that say the same of many secrets are told together: a bulk import must not end in one message per certificate.
//!
//! Only what has no date is collected: that a secret has no owner, or that nothing says where it is used. Each secret gets its own
//! notice, at once, with its weekly reminder; the message about all of them follows within [`COLLECT`].

use crate::{
    Engine, Result, Tick,
    message::{Kind, Message},
    rules, tell,
};
use domain::{Span, Time, finding::Code, schedule, secret::Telling};
use serde_json::json;
use store::{
    Tx,
    journal::Entry,
    model::{notice, secret},
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
    (Code::NoTarget, "with nothing that says where it is used", "declare a target for each, or retire it: perennial apply"),
];

/// Whether notices of a rule are told together.
pub(crate) fn collects(code: Code) -> bool {
    RULES.iter().any(|(c, _, _)| *c == code)
}

/// Writes a notice down for the next digest.
pub(crate) fn collect(tx: &mut Tx<'_>, s: &secret::Secret, telling: &Telling, team: &str, now: Time) -> Result<()> {
    tx.turn(LOOP)?;
    tell::note(tx, s, telling, team, now)?;
    Ok(timer::set_earlier(tx, LOOP, 0, now + COLLECT)?)
}

impl Engine {
    /// Tells what was collected, where that is due: one message per team and rule. Says how many messages.
    pub fn digest_once(&self, tick: &Tick) -> Result<usize> {
        let now = tick.now;
        if self.store.read(|tx| timer::get(tx, LOOP, 0))?.is_none_or(|due| due > now) {
            return Ok(0);
        }
        // Who collects holds the turn until its commit: whatever was collected under a lower number is there.
        let (from, to) = self.store.write(&rules(), now, |tx| {
            tx.turn(LOOP)?;
            notice::digested(tx)
        })?;
        // Counted by a reader: many notices take a while, and nobody who writes waits for it.
        let groups = self.store.read(|tx| {
            let mut groups = Vec::new();
            for (code, what, next_step) in RULES {
                groups.extend(notice::groups(tx, code.as_str(), from, to, NAMED)?.into_iter().map(|g| (code, what, next_step, g)));
            }
            Ok(groups)
        })?;
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
    let more = if more > 0 { format!(", and {more} more: perennial notice list") } else { String::new() };
    let mut teams = vec![group.team.clone()];
    if group.again {
        teams.extend(tell::escalation_of(tx, &group.team)?);
    }
    let plural = if group.count == 1 { "secret" } else { "secrets" };
    let title = format!("{} {plural} {what}: {}{more}", group.count, names.join(", "));
    let subject = format!("{}/notices/{}/{code}", tell::prefix(tx)?, pki::text::escape(&group.team));
    let message = Message {
        teams: teams.clone(),
        code: code.to_string(),
        next_step: next_step.into(),
        ..Message::new(Kind::Notice, subject, title, now)
    };
    for team in &teams {
        tell::send(tx, team, &message, now)?;
    }
    let body = json!({ "code": code.as_str(), "secrets": group.count, "first": names, "team": group.team, "escalate": group.again });
    Ok(tx.journal(Entry::new("notice.sent", format!("team/{}", group.team), "", &body))?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::vault::blank;
    use domain::words::{Kind, SecretId};
    use store::{Store, model::outbox};

    fn stored(engine: &Engine, ids: std::ops::Range<i64>, tick: &Tick) {
        let write = |tx: &mut Tx<'_>| {
            for id in ids.clone() {
                secret::insert(tx, &blank(SecretId(id), &format!("s{id}"), Kind::Certificate, tick.now))?;
                timer::set(tx, crate::loops::SECRET, id, tick.now)?;
            }
            Ok(())
        };
        engine.store.write(&rules(), tick.now, write).unwrap();
    }

    /// Titles of the messages that went into the outbox so far, the oldest first.
    fn titles(engine: &Engine) -> Vec<String> {
        let all = engine.store.read(|tx| outbox::outbox(tx, None, 100)).unwrap();
        all.iter().rev().map(|o| serde_json::from_str::<Message>(&o.message).unwrap().title).collect()
    }

    #[test]
    fn many_secrets_that_nobody_owns_are_one_message_and_each_has_its_notice() {
        let start = Time::from_unix(1_800_000_000);
        let engine = Engine::new(Store::open("sqlite::memory:", start, || [7; 16]).unwrap(), "test", Vec::new());
        let round = |now| while engine.secrets_once(&Tick::at(now)).unwrap() > 0 {};

        stored(&engine, 1..301, &Tick::at(start));
        round(start);
        round(start + COLLECT - Span::seconds(1));
        assert_eq!(titles(&engine), [""; 0], "they wait for others");
        let notices = engine.store.read(|tx| notice::list(tx, None, 1000)).unwrap();
        assert_eq!(notices.len(), 600, "each secret has a notice of each rule");

        round(start + COLLECT);
        let told = titles(&engine);
        assert_eq!(told.len(), 2);
        assert!(told[0].starts_with("300 secrets without an owner: s1, s2, "), "{}", told[0]);
        assert!(told[1].starts_with("300 secrets with nothing that says"), "{}", told[1]);
        assert!(told[0].ends_with("s20, and 280 more: perennial notice list"), "{}", told[0]);

        round(start + COLLECT + COLLECT);
        assert_eq!(titles(&engine).len(), 2, "nothing is told twice");

        let later = start + Span::hours(1);
        stored(&engine, 301..302, &Tick::at(later));
        round(later);
        round(later + COLLECT);
        assert_eq!(titles(&engine)[2..], ["1 secret without an owner: s301", "1 secret with nothing that says where it is used: s301"]);

        // A week later those that stay are told again, in one message.
        let week = start + domain::told::REMIND_AFTER;
        round(week);
        round(week + COLLECT);
        let again = titles(&engine);
        assert_eq!(again.len(), 6);
        assert!(again[4].starts_with("300 secrets without an owner"), "{}", again[4]);
    }
}
