//! What is planned by: calendars, trains, partition rules. What is wrong with them is said before anything is written.

use super::Apply;
use crate::{Result, loops};
use api::fleet::{self, Fleet, MAX_PROBLEMS};
use domain::{
    Span, Time,
    calendar::{Calendar, CalendarError, Freeze, Train, When},
};
use std::collections::BTreeMap;
use store::{
    Tx,
    model::{
        calendar,
        inventory::{CALENDAR, PARTITION, ROLLOUT_POLICY, TRAIN},
    },
};

/// What releases and services are planned by; a change of one wakes all of them.
const PLANNED_BY: [&str; 5] = ["service", "region", "calendar", "train", "partition"];

/// Wakes whatever is planned by calendars, trains, services and partition rules: every release that has not ended, every service.
pub fn wake_plans(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    Ok(calendar::wake_plans(tx, loops::RELEASE, loops::SERVICE, now)?)
}

/// Appends what is wrong with rules, windows and zones: what only who evaluates them can tell. Each begins with its path.
pub(super) fn problems(fleet: &Fleet, now: Time, problems: &mut Vec<String>) {
    let mut known = BTreeMap::new();
    for (i, declared) in fleet.calendars.iter().enumerate() {
        if problems.len() >= MAX_PROBLEMS {
            return;
        }
        // What has no form was said already, and has no place in a list of freezes; the others keep theirs.
        let (places, freezes): (Vec<usize>, Vec<Freeze>) =
            declared.freezes.iter().enumerate().filter_map(|(n, f)| Some((n, freeze(f)?))).unzip();
        let wrong = Calendar::problems(&declared.zone, &freezes);
        for CalendarError { freeze, key, message } in &wrong {
            let place = freeze.and_then(|n| places.get(n)).map(|n| format!(".freeze[{n}]")).unwrap_or_default();
            let path = format!("calendar[{i}]{place}.{key}: ");
            // A freeze that ends before it begins was found by its form.
            if !problems.iter().any(|p| p.starts_with(&path)) {
                problems.push(path + message);
            }
        }
        if let Ok(calendar) = Calendar::parse(&declared.zone, &freezes) {
            if calendar.latest_open(now).is_none() && calendar.next_open(now).is_none() {
                problems.push(format!(
                    "calendar[{i}]: it was frozen all the time for ten years and will be for ten more; nothing could ever ship"
                ));
            }
            known.insert(declared.name.as_str(), calendar);
        }
    }
    for (i, declared) in fleet.trains.iter().enumerate() {
        if problems.len() >= MAX_PROBLEMS {
            return;
        }
        match Train::parse(&declared.start.to_string(), &declared.rule, declared.capacity) {
            Err(e) => problems.push(format!("train[{i}].{}: {}", e.key, e.message)),
            Ok(train) => {
                let of = declared.calendar.as_ref().map(|name| known.get(name.as_str()));
                let open = Calendar::open();
                // A calendar that is wrong itself says so; its trains are judged when it is right.
                let calendar = of.unwrap_or(Some(&open));
                if calendar.is_some_and(|c| train.departures(c, Time::EPOCH, 1).is_empty()) {
                    problems
                        .push(format!("train[{i}].rule: every departure lies in a freeze of its calendar; write days on which it is open"));
                }
            }
        }
    }
    crate::rollouts::problems(&fleet.rollout_policies, problems);
    problems.truncate(MAX_PROBLEMS);
}

/// A freeze as the rules read it; none where its form says nothing.
fn freeze(f: &fleet::Freeze) -> Option<Freeze> {
    let when = match (f.from, &f.weekly, f.start, f.lasts, &f.rule) {
        (Some(from), None, None, None, None) => When::Range { from: from.to_string(), until: f.until.map(|u| u.to_string()) },
        (None, Some(window), None, None, None) => When::Weekly(window.clone()),
        (None, None, Some(start), Some(lasts), Some(rule)) => {
            When::Recurring { start: start.to_string(), lasts: Span::seconds(lasts.as_secs()), rule: rule.clone() }
        }
        _ => return None,
    };
    Some(Freeze { why: f.why.clone(), when })
}

impl Apply<'_> {
    pub(super) fn planning(&mut self, tx: &mut Tx<'_>, fleet: &Fleet) -> Result<()> {
        let name = |n: &Option<String>| n.clone().unwrap_or_default();
        let calendars = fleet.calendars.iter().map(|c| (c.name.clone(), vec![(&c.zone).into(), json(&c.freezes).into()]));
        self.table(tx, CALENDAR, calendars.collect())?;
        let trains = fleet.trains.iter().map(|t| {
            let values = vec![name(&t.calendar).into(), t.start.to_string().into(), (&t.rule).into(), i64::from(t.capacity).into()];
            (t.name.clone(), values)
        });
        self.table(tx, TRAIN, trains.collect())?;
        // The name is the row's; what is kept is what it asks for.
        let partitions =
            fleet.partitions.iter().map(|p| (p.name.clone(), vec![json(&fleet::Partition { name: String::new(), ..p.clone() }).into()]));
        self.table(tx, PARTITION, partitions.collect())?;
        let rollouts = fleet
            .rollout_policies
            .iter()
            .map(|p| (p.name.clone(), vec![json(&fleet::RolloutPolicy { name: String::new(), ..p.clone() }).into()]));
        self.table(tx, ROLLOUT_POLICY, rollouts.collect())?;
        let changed = self.changes.iter().any(|c| c.what != "left-over" && PLANNED_BY.contains(&c.kind));
        if self.writes && changed {
            wake_plans(tx, self.now)?;
            crate::releases::plan_all(tx, self.now)?;
        }
        Ok(())
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
