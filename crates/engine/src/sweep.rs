//! The weekly sweep over everything stored. It trusts no index and no schedule: it walks keys in pages, parses what is stored
//! again, counts what is counted again, computes when each thing is due, and compares that with what is kept.

mod targets;

use crate::{Engine, Result, Tick, judge, loops, rules, secrets};
use domain::{
    Span, Time,
    finding::{Code, Finding, Subject},
    policy::Level,
    words::{IncidentId, SecretId},
};
use serde_json::json;
use std::collections::BTreeSet;
use store::{
    Actor,
    journal::Entry,
    lease,
    model::{issuance, recount, secret, sweep},
    timer,
};

/// How often everything stored is looked at.
pub const EVERY: Span = Span::days(7);
/// A sweep that is later than this did not happen.
pub const MISSED_AFTER: Span = Span::days(8);
/// Rows in one page.
const PAGE: i64 = 2000;
/// Sentences that a report keeps.
const REPORT_LINES: usize = 200;
/// For how long the sweep's lease is taken at a time.
const LEASE: Span = Span::minutes(5);

impl Engine {
    /// Sweeps where a sweep is due, or at once where `now_please`. `None` where there was nothing to do.
    pub fn sweep_once(&self, now_please: bool, actor: &Actor, tick: &Tick) -> Result<Option<sweep::Sweep>> {
        let last = self.store.read(|tx| sweep::list(tx, 1))?.into_iter().next();
        let due = match &last {
            None => true,
            Some(s) if s.finished_at.is_none() => true,
            Some(s) => now_please || tick.now >= s.started_at + EVERY,
        };
        if !due {
            return Ok(None);
        }
        let Some(fence) = self.store.write(&rules(), tick.now, |tx| lease::acquire(tx, "sweep", &self.holder, tick.now, LEASE))? else {
            return Ok(None);
        };
        let mut it = match last {
            // A sweep that a crash interrupted goes on where it was.
            Some(s) if s.finished_at.is_none() => s,
            _ => {
                let fresh = |id| sweep::Sweep {
                    id,
                    started_at: tick.now,
                    finished_at: None,
                    cursor: i64::MIN,
                    secrets: 0,
                    instances: 0,
                    targets: 0,
                    missed: 0,
                    report: String::new(),
                };
                self.store.write(actor, tick.now, |tx| {
                    let it = fresh(tx.next_id("sweep")?);
                    sweep::put(tx, &it)?;
                    Ok(it)
                })?
            }
        };
        let mut report: Vec<String> = it.report.lines().map(str::to_owned).collect();
        self.sweep_secrets(&mut it, &mut report, tick)?;
        self.sweep_instances(&mut it, &mut report)?;
        self.sweep_targets(&mut it, &mut report, tick)?;
        self.sweep_counts(&mut it, &mut report, tick)?;
        it.finished_at = Some(tick.now);
        it.report = report.join("\n");
        self.store.write(actor, tick.now, |tx| {
            sweep::put(tx, &it)?;
            lease::release(tx, "sweep", fence)?;
            let body = json!({ "secrets": it.secrets, "instances": it.instances, "targets": it.targets, "missed": it.missed });
            tx.journal(Entry::new("sweep.finished", "store", "", &body))
        })?;
        Ok(Some(it))
    }

    /// Each secret: what the rules say now against what was said, and when time changes it against the timer.
    fn sweep_secrets(&self, it: &mut sweep::Sweep, report: &mut Vec<String>, tick: &Tick) -> Result<()> {
        let mut after = SecretId(it.cursor);
        loop {
            let (page, wrong, miscounted) = self.store.try_read(|tx| {
                let page = secret::page(tx, after, PAGE)?;
                let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok((page, Vec::new(), BTreeSet::new())) };
                let miscounted = recount::miscounted_secrets(tx, first.id, last.id)?;
                let due = sweep::due_between(tx, loops::SECRET, first.id.0, last.id.0)?;
                let standings = secrets::stand_all(tx, &page, tick.now)?;
                let mut wrong = Vec::new();
                for (s, standing) in page.iter().zip(standings).filter(|(s, _)| s.retired_at.is_none()) {
                    let due = due.get(&s.id.0).copied();
                    if let Some(what) = missed(due, standing.next, !standing.tell.is_empty(), tick.now) {
                        wrong.push((s.id, format!("secret {}: {what}", s.name)));
                    }
                }
                Ok::<_, crate::Error>((page, wrong, miscounted))
            })?;
            let Some(last) = page.last() else { return Ok(()) };
            for s in page.iter().filter(|s| miscounted.contains(&s.id)) {
                note(it, report, format!("secret {}: what is kept as counts of its targets is not what they add up to", s.name));
            }
            if !miscounted.is_empty() {
                self.store.write(&rules(), tick.now, |tx| {
                    miscounted.iter().try_for_each(|id| {
                        recount::recount_secret(tx, *id)?;
                        timer::set_earlier(tx, loops::SECRET, id.0, tick.now)
                    })
                })?;
            }
            after = last.id;
            it.secrets += page.len() as i64;
            it.cursor = after.0;
            self.mend(it, report, loops::SECRET, wrong.into_iter().map(|(id, text)| (id.0, text)).collect(), tick)?;
        }
    }

    /// Each stored certificate, parsed again: the columns that lists and counts use must say what the bytes say.
    fn sweep_instances(&self, it: &mut sweep::Sweep, report: &mut Vec<String>) -> Result<()> {
        let mut after = i64::MIN;
        loop {
            let page = self.store.read(|tx| secret::instances_page(tx, after, PAGE))?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id;
            it.instances += page.len() as i64;
            for i in page.iter().filter(|i| !i.key_type.is_empty()) {
                let leaf = judge::split_der(&i.chain).into_iter().next().and_then(|d| pki::Certificate::parse(d).ok());
                let fits = leaf.is_some_and(|l| l.fingerprint() == i.leaf && l.not_after() == i.not_after);
                if !fits {
                    note(
                        it,
                        report,
                        format!("instance {} of secret {}: the stored columns differ from the stored certificate", i.id, i.secret),
                    );
                }
            }
        }
    }

    /// Counts of lines and of everything, counted again.
    fn sweep_counts(&self, it: &mut sweep::Sweep, report: &mut Vec<String>, tick: &Tick) -> Result<()> {
        let mut after = IncidentId(i64::MIN);
        while let (Some(last), wrong) = self.store.read(|tx| recount::miscounted_incidents(tx, after, PAGE))? {
            after = last;
            for id in &wrong {
                note(it, report, format!("incident {id}: what is kept as counts of its lines is not what they add up to"));
            }
            if !wrong.is_empty() {
                self.store.write(&rules(), tick.now, |tx| {
                    wrong.iter().try_for_each(|id| {
                        recount::recount_incident(tx, *id)?;
                        timer::set_earlier(tx, loops::INCIDENT, id.0, tick.now)
                    })
                })?;
            }
        }
        if self.store.write(&rules(), tick.now, recount::recount_all)? {
            note(it, report, String::from("the store: the numbers of all secrets and targets were not what there is"));
        }
        // Whether a renewal is due is looked at again for each, whatever its timer says.
        self.store.write(&rules(), tick.now, |tx| issuance::wake_automatic(tx, loops::RENEW, tick.now))?;
        Ok(())
    }

    /// Wakes what the schedule had missed, and keeps the cursor.
    fn mend(&self, it: &mut sweep::Sweep, report: &mut Vec<String>, loop_name: &str, wrong: Vec<(i64, String)>, tick: &Tick) -> Result<()> {
        let nothing = wrong.is_empty();
        let ids: Vec<i64> = wrong.iter().map(|(id, _)| *id).collect();
        for (_, text) in wrong {
            note(it, report, text);
        }
        if nothing && it.secrets % (PAGE * 50) != 0 {
            return Ok(());
        }
        it.report = report.join("\n");
        Ok(self.store.write(&rules(), tick.now, |tx| {
            for id in &ids {
                timer::set_earlier(tx, loop_name, *id, tick.now)?;
            }
            sweep::put(tx, it)
        })?)
    }

    /// A sweep that did not happen is itself a finding.
    pub fn sweep_finding(&self, tick: &Tick) -> Result<Option<Finding>> {
        let last = self.store.read(|tx| sweep::list(tx, 2))?.into_iter().find_map(|s| s.finished_at);
        let created = self.store.read(store::meta::identity)?.created_at;
        let since: Time = last.unwrap_or(created);
        Ok((tick.now >= since + MISSED_AFTER).then(|| {
            let detail = format!("the last sweep over everything stored ended {since}; one is due every {EVERY}");
            let subject = Subject::Store(Code::SweepMissed);
            Finding { since: Some(since), ..Finding::new(Code::SweepMissed, Level::Notice, subject, detail) }
        }))
    }
}

fn note(it: &mut sweep::Sweep, report: &mut Vec<String>, text: String) {
    it.missed += 1;
    if report.len() < REPORT_LINES {
        report.push(pki::text::escape(&text));
    }
}

/// What is wrong with a timer, in words.
fn missed(due: Option<Time>, next: Option<Time>, must_tell: bool, now: Time) -> Option<String> {
    let soon = due.is_some_and(|d| d <= now);
    match (must_tell, next) {
        (true, _) if !soon => Some(String::from("its owner should have been told and nothing was due")),
        (false, Some(n)) if due.is_none_or(|d| d > n) => Some(format!("the answer changes {n} and nothing was due then")),
        _ => None,
    }
}
