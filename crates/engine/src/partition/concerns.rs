//! Rules that forbid, as what stands about a service.

use crate::{Result, loops};
use domain::{
    Span, Time,
    blast::{Snapshot, per_mille},
    concern::Concern,
    finding::Code,
    partition::{Breach, Served, breaches},
    policy::Level,
};
use store::{
    Tx,
    model::{calendar, path},
    timer,
};

/// Breaches of one rule that are told one by one; of more there is one sentence.
pub const MOST_TOLD: usize = 20;
/// A rollout changes many targets of a service within seconds; its rules are looked at once for all of them.
const SETTLES: Span = Span::seconds(15);

/// What a target serves has changed: the rules of its service are to be looked at, where it has any.
pub(crate) fn wake(tx: &mut Tx<'_>, service: &str, now: Time) -> Result<()> {
    if let Some(service) = calendar::service(tx, service)?.filter(|s| !s.partition.is_empty()) {
        timer::set_earlier(tx, loops::SERVICE, service.id, now + SETTLES)?;
    }
    Ok(())
}

/// What of a service breaks its partition rules now, and when time alone may change that. Only its own targets are read.
pub(crate) fn concerns(tx: &mut Tx<'_>, service: &calendar::ServicePlan, now: Time) -> Result<(Vec<Concern>, Option<Time>)> {
    let Some(rules) = calendar::partition_rules(tx, &service.partition)? else { return Ok((Vec::new(), None)) };
    let calendar = calendar::calendar(tx, &service.calendar)?;
    let snapshot = path::snapshot(tx, Some(&service.name))?;
    let found = breaches(&snapshot, &rules, &calendar, now);
    let mut all = Vec::new();
    let mut of_rule: Vec<(Code, usize)> = Vec::new();
    for breach in &found {
        let code = code(breach);
        match of_rule.iter_mut().find(|(c, _)| *c == code) {
            Some((_, n)) => *n += 1,
            None => of_rule.push((code, 1)),
        }
        if of_rule.iter().any(|(c, n)| *c == code && *n > MOST_TOLD) {
            continue;
        }
        let (about, until, detail) = say(tx, &snapshot, breach)?;
        all.push(concern(service, code, about, until, detail));
    }
    for (code, n) in of_rule.into_iter().filter(|(_, n)| *n > MOST_TOLD) {
        let detail = format!("{} breaks {code} in {} more ways than the {MOST_TOLD} that are named", service.name, n - MOST_TOLD);
        all.push(concern(service, code, String::from("more"), None, detail));
    }
    // A certificate or a window that has passed breaks nothing any more.
    let next = all.iter().filter_map(|c| c.until).filter(|t| *t > now).min();
    Ok((all, next))
}

fn code(breach: &Breach) -> Code {
    match breach {
        Breach::SharedAcrossRegions { .. } => Code::SharedAcrossRegions,
        Breach::TooManyTargets { .. } => Code::TooManyTargets,
        Breach::InFreeze { .. } => Code::ExpiryInFreeze,
        Breach::OnClosedDay { .. } => Code::ExpiryOnClosedDay,
        Breach::TooClose { .. } => Code::ExpiriesTooClose,
        Breach::WindowTooWide { .. } => Code::WindowTooWide,
    }
}

/// What tells it apart, when it comes, and the sentence.
fn say(tx: &mut Tx<'_>, s: &Snapshot, breach: &Breach) -> Result<(String, Option<Time>, String)> {
    let mut name = |c: &Served| -> Result<String> {
        let name = path::get(tx, s.path_id(c.path))?.map_or_else(|| c.leaf.to_string(), |p| p.leaf_name);
        Ok(format!("{name}, which ends {} and is served by {} targets,", c.not_after, c.targets))
    };
    Ok(match breach {
        Breach::SharedAcrossRegions { certificate: c, regions } => {
            (c.leaf.to_string(), Some(c.not_after), format!("{} lives in {regions} regions", name(c)?))
        }
        Breach::TooManyTargets { certificate: c, most } => {
            (c.leaf.to_string(), Some(c.not_after), format!("{} may be served by {most} at most", name(c)?))
        }
        Breach::InFreeze { certificate: c, freeze } => {
            (c.leaf.to_string(), Some(c.not_after), format!("{} ends inside the freeze {}", name(c)?, pki::text::escape(&freeze.why)))
        }
        Breach::OnClosedDay { certificate: c, day } => {
            (c.leaf.to_string(), Some(c.not_after), format!("{} ends on {}, on which nothing may", name(c)?, pki::text::escape(day)))
        }
        Breach::TooClose { certificate: c, before, least } => {
            let detail = format!(
                "{} ends {} after another ({}); {least} must lie between them",
                name(c)?,
                c.not_after - before.not_after,
                before.leaf
            );
            (c.leaf.to_string(), Some(before.not_after), detail)
        }
        Breach::WindowTooWide { from, last, targets, of, percent } => {
            let share = per_mille(*targets, *of);
            let detail = format!(
                "{targets} of {of} targets ({}.{} %) fall between {from} and {last}; one window may take {percent} %",
                share / 10,
                share % 10
            );
            (from.to_string(), Some(*from), detail)
        }
    })
}

fn concern(service: &calendar::ServicePlan, code: Code, about: String, until: Option<Time>, detail: String) -> Concern {
    Concern {
        code,
        about,
        level: Level::Notice,
        teams: vec![service.team.clone()],
        until,
        detail: format!("{}: {detail}", service.name),
        next_step: format!("See how it could be divided up: perennial partition --service {}", service.name),
        once: false,
    }
}
