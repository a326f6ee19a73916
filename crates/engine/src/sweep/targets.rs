//! The sweep over targets: each is judged again by the rules, from what is stored and nothing else, and what was said, planned and
//! opened is held against that.

use crate::{Engine, Result, Tick, assess, loops};
use domain::{
    Time,
    incident::reconcile,
    schedule::AT_LEAST,
    target::{ASSUMED_LIFETIME, Standing},
    words::TargetId,
};
use std::collections::{BTreeMap, BTreeSet};
use store::{
    Tx,
    model::{finding, incident, sweep, target},
};

/// Targets in one read: each costs a dozen questions.
const PAGE: i64 = 500;

/// When the loops are to look at the targets of a page.
type Due = BTreeMap<String, BTreeMap<i64, Time>>;
/// What is wrong, by the loop that is woken for it.
type Wrong = BTreeMap<String, Vec<(i64, String)>>;

impl Engine {
    /// Each target, of every kind.
    pub(super) fn sweep_targets(&self, it: &mut sweep::Sweep, report: &mut Vec<String>, tick: &Tick) -> Result<()> {
        let mut after = TargetId(i64::MIN);
        loop {
            // One read is one moment: what is committed together is seen together.
            let (page, wrong) = self.store.try_read(|tx| {
                let page = target::page(tx, after, PAGE)?;
                let due = due(tx, &page)?;
                let mut wrong = Wrong::new();
                for t in &page {
                    self.check(tx, t, &due, &mut wrong, tick)?;
                }
                Ok::<_, crate::Error>((page, wrong))
            })?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.facts.id;
            it.targets += page.len() as i64;
            for (name, some) in wrong {
                self.mend(it, report, &name, some, tick)?;
            }
        }
    }

    fn check(&self, tx: &mut Tx<'_>, t: &target::Target, due: &Due, wrong: &mut Wrong, tick: &Tick) -> Result<()> {
        let (id, now) = (t.facts.id.0, tick.now);
        if t.retired_at.is_some() && t.facts.retired.as_ref().is_none_or(|r| now >= r.until) {
            return Ok(());
        }
        let mut say = |loop_name: String, what: String| {
            wrong.entry(loop_name).or_default().push((id, format!("target {}: {what}", t.facts.name)));
        };
        let due_at = |loop_name: &str| due.get(loop_name).and_then(|of| of.get(&id)).copied();
        let standing = assess::stand(self, tx, t, now)?;

        if t.kind == "endpoint" {
            let policy = assess::policy_of(tx, t)?;
            let latest = now + policy.interval(standing.lifetime.unwrap_or(ASSUMED_LIFETIME)).min(AT_LEAST);
            for vantage in t.facts.required_vantages.iter().chain(&t.optional_vantages) {
                let name = loops::observe(vantage);
                match due_at(&name) {
                    None => say(name, format!("nobody was to look at it from {vantage}")),
                    Some(at) if at > latest => say(name, format!("nobody was to look at it from {vantage} before {at}")),
                    Some(at) if at + AT_LEAST < now => say(name, format!("has been due from {vantage} for a week")),
                    Some(_) => {}
                }
            }
        }

        match due_at(loops::TARGET) {
            // What is due already is about to be judged; what differs until then was not missed.
            Some(at) if at <= now && now <= at + AT_LEAST => return Ok(()),
            Some(at) if at <= now => say(loops::TARGET.into(), String::from("has been due for a week")),
            at => {
                if let Some(next) = standing.next.filter(|next| at.is_none_or(|at| at > *next)) {
                    say(loops::TARGET.into(), format!("the answer changes {next} and nothing was due then"));
                }
            }
        }
        for what in differences(tx, t, &standing, tick)? {
            say(loops::TARGET.into(), what);
        }
        Ok(())
    }
}

/// When anything is due for the targets of a page, in one question for each loop.
fn due(tx: &mut Tx<'_>, page: &[target::Target]) -> Result<Due> {
    let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(Due::new()) };
    let vantages: BTreeSet<&String> = page.iter().flat_map(|t| t.facts.required_vantages.iter().chain(&t.optional_vantages)).collect();
    let mut all = Due::new();
    for name in vantages.into_iter().map(|v| loops::observe(v)).chain([loops::TARGET.to_owned()]) {
        let of = sweep::due_between(tx, &name, first.facts.id.0, last.facts.id.0)?;
        all.insert(name, of);
    }
    Ok(all)
}

/// What was said of a target and is not so.
fn differences(tx: &mut Tx<'_>, t: &target::Target, standing: &Standing, tick: &Tick) -> Result<Vec<String>> {
    let mut all = Vec::new();
    let (current, required) = (i64::from(standing.current), i64::from(standing.required));
    if t.served != standing.served || t.worst != standing.worst {
        let text = crate::tell::served_text;
        all.push(format!("it serves until {}, and until {} was said", text(standing.served), text(t.served)));
    }
    if t.shows != standing.shows {
        all.push(format!("shows version {} at least, and was said to show version {}", standing.shows, t.shows));
    }
    if (t.current, t.required) != (current, required) {
        all.push(format!("{current} of {required} are current, and {} of {} were said to be", t.current, t.required));
    }
    let said: BTreeMap<String, _> = finding::of_target(tx, t.facts.id)?.into_iter().map(|f| (f.key, (f.level, f.subject))).collect();
    let mut wanted = BTreeMap::new();
    for f in &standing.findings {
        wanted.entry(f.key()).or_insert_with(|| (f.level, f.subject.to_string()));
    }
    for (key, found) in &wanted {
        if said.get(key) != Some(found) {
            all.push(format!("{key} ({}) was not said", found.0));
        }
    }
    for key in said.keys().filter(|key| !wanted.contains_key(*key)) {
        all.push(format!("{key} was said and is not so"));
    }
    if tick.clock.is_believed() {
        let lines: Vec<_> = incident::open_lines_of_target(tx, t.facts.id)?.iter().map(incident::open_line).collect();
        let done = reconcile(&lines, standing, t.facts.baseline.as_ref(), true, tick.now);
        all.extend(done.open.iter().map(|(_, f)| format!("no incident has a line about {}", f.key())));
        let closed = lines.iter().filter(|l| done.close.contains(&l.id));
        all.extend(closed.map(|l| format!("the line about {} should have been closed", l.key)));
    }
    Ok(all)
}
