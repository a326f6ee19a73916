//! Whether a fleet makes sense: references lead somewhere, names are unique, thresholds are in order.
//!
//! One pass per list over hash tables, so 100,000 targets take a fraction of a second. The tables are
//! only asked, never walked: the order of problems is that of the fleet.

mod drills;
mod issuing;
mod nodes;
mod planning;
mod rollout;
mod targets;
mod trust;

use std::collections::HashMap;

use super::model::{Fleet, Management, Policy, Secret, SecretKind};
use super::place::Path;
use super::values::{Period, check_certificate_name, quoted};
use super::{
    MAX_INTERVAL_SECONDS, MAX_ISSUERS, MAX_LIST, MAX_NAME_BYTES, MAX_OTHERS, MAX_PLANNED, MAX_PROBLEMS, MAX_SECRETS, MAX_TARGETS,
    MAX_TEXT_BYTES, MIN_INTERVAL_SECONDS, Problem,
};
use drills::drills;
use issuing::issuing;
use planning::planning;
use targets::target;
pub(super) use trust::pem;
use trust::{roots, teams};

/// Checks all that can be checked without knowing the time.
///
/// # Errors
/// Every problem, in the order of the fleet, at most [`MAX_PROBLEMS`].
pub fn validate(fleet: &Fleet) -> Result<(), Vec<Problem>> {
    outcome(all(fleet, None))
}

/// Checks what a server accepts: as [`validate`], with moments held against `now` (Unix seconds), and
/// no file left that only the sender could read.
///
/// # Errors
/// As [`validate`].
pub fn validate_received(fleet: &Fleet, now: i64) -> Result<(), Vec<Problem>> {
    let mut problems = all(fleet, Some(now));
    for (index, roots) in fleet.roots.iter().enumerate() {
        if roots.file.is_some() {
            let message = "a path says nothing to a server; send the certificates themselves as pem".to_owned();
            problems.push(Problem::form(Path::item("roots", index).key("file"), message));
        }
    }
    problems.truncate(MAX_PROBLEMS);
    outcome(problems)
}

fn outcome(mut problems: Vec<Problem>) -> Result<(), Vec<Problem>> {
    problems.truncate(MAX_PROBLEMS);
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Whether a text can be the name of something in a fleet: letters, digits and `. _ - : @ + *`, at most
/// [`MAX_NAME_BYTES`], so that names stay readable in addresses, labels and logs.
pub fn is_name(text: &str) -> bool {
    let ordinary = |b: u8| b.is_ascii_alphanumeric() || b"._-:@+*".contains(&b);
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && text.bytes().all(ordinary)
}

pub(super) fn all(fleet: &Fleet, now: Option<i64>) -> Vec<Problem> {
    let mut check = Check { problems: Vec::new() };
    let c = &mut check;
    let names = Names {
        teams: c.index("team", MAX_OTHERS, fleet.teams.iter().map(|x| x.name.as_str())),
        services: c.index("service", MAX_OTHERS, fleet.services.iter().map(|x| x.name.as_str())),
        regions: c.index("region", MAX_OTHERS, fleet.regions.iter().map(|x| x.name.as_str())),
        stamps: c.index("stamp", MAX_OTHERS, fleet.stamps.iter().map(|x| x.name.as_str())),
        vantages: c.index("vantage", MAX_OTHERS, fleet.vantages.iter().map(|x| x.name.as_str())),
        roots: c.index("roots", MAX_OTHERS, fleet.roots.iter().map(|x| x.name.as_str())),
        policies: c.index("policy", MAX_OTHERS, fleet.policies.iter().map(|x| x.name.as_str())),
        calendars: c.index("calendar", MAX_PLANNED, fleet.calendars.iter().map(|x| x.name.as_str())),
        trains: c.index("train", MAX_PLANNED, fleet.trains.iter().map(|x| x.name.as_str())),
        rollout_policies: c.index("rollout_policy", MAX_PLANNED, fleet.rollout_policies.iter().map(|x| x.name.as_str())),
        partitions: c.index("partition", MAX_PLANNED, fleet.partitions.iter().map(|x| x.name.as_str())),
        issuers: c.index("issuer", MAX_ISSUERS, fleet.issuers.iter().map(|x| x.name.as_str())),
        secrets: c.index("secret", MAX_SECRETS, fleet.secrets.iter().map(|x| x.name.as_str())),
        nodes: c.index("node", MAX_OTHERS, fleet.nodes.iter().map(|x| x.name.as_str())),
    };
    c.index("drill", MAX_PLANNED, fleet.drills.iter().map(|x| x.name.as_str()));
    c.index("target", MAX_TARGETS, fleet.targets.iter().map(|x| x.name.as_str()));
    if let Some(owner) = &fleet.fleet.default_owner {
        c.refer(owner, "team", &names.teams, || Path::default().key("fleet").key("default_owner"));
    }
    teams(c, fleet, &names);
    for (i, service) in fleet.services.iter().enumerate() {
        c.refer(&service.team, "team", &names.teams, || Path::item("service", i).key("team"));
    }
    for (i, stamp) in fleet.stamps.iter().enumerate() {
        c.refer(&stamp.region, "region", &names.regions, || Path::item("stamp", i).key("region"));
    }
    roots(c, fleet);
    for (i, p) in fleet.policies.iter().enumerate() {
        policy(c, p, &|| Path::item("policy", i));
    }
    planning(c, fleet, &names);
    issuing(c, fleet, &names);
    rollout::rollouts(c, fleet, &names);
    for (i, s) in fleet.secrets.iter().enumerate() {
        secret(c, fleet, &names, s, &|| Path::item("secret", i));
    }
    for (i, n) in fleet.nodes.iter().enumerate() {
        nodes::node(c, fleet, &names, n, &|| Path::item("node", i));
    }
    let has = nodes::has(fleet);
    for (i, t) in fleet.targets.iter().enumerate() {
        nodes::behind(c, &names, &has, t, &|| Path::item("target", i));
        target(c, fleet, &names, t, now, &|| Path::item("target", i));
    }
    drills(c, fleet, &names);
    check.problems
}

type Index<'f> = HashMap<&'f str, usize>;

struct Names<'f> {
    teams: Index<'f>,
    services: Index<'f>,
    regions: Index<'f>,
    stamps: Index<'f>,
    vantages: Index<'f>,
    roots: Index<'f>,
    policies: Index<'f>,
    calendars: Index<'f>,
    trains: Index<'f>,
    partitions: Index<'f>,
    issuers: Index<'f>,
    rollout_policies: Index<'f>,
    secrets: Index<'f>,
    nodes: Index<'f>,
}

struct Check {
    problems: Vec<Problem>,
}

impl Check {
    fn say(&mut self, path: Path, message: impl Into<String>) {
        self.problems.push(Problem::form(path, message.into()));
    }

    fn index<'f>(&mut self, list: &str, most: usize, names: impl ExactSizeIterator<Item = &'f str>) -> Index<'f> {
        let mut index = Index::with_capacity(names.len().min(most));
        if names.len() > most {
            self.say(Path::default().key(list), format!("more than {most} of them; split the fleet"));
        }
        for (at, name) in names.enumerate().take(most) {
            let path = || Path::item(list, at).key("name");
            if !is_name(name) {
                let why = if name.is_empty() {
                    "a name is needed".to_owned()
                } else if name.len() > MAX_NAME_BYTES {
                    format!("a name has at most {MAX_NAME_BYTES} characters")
                } else {
                    format!("{} is not a name; use letters, digits and . _ - : @ + *", quoted(name))
                };
                self.say(path(), why);
            } else if let Some(first) = index.get(name) {
                let see = Some(Path::item(list, *first).key("name"));
                let message = format!("there is another {list} {}; choose a different name", quoted(name));
                self.problems.push(Problem { see, ..Problem::form(path(), message) });
            } else {
                index.insert(name, at);
            }
        }
        index
    }

    fn refer(&mut self, name: &str, list: &str, index: &Index<'_>, path: impl Fn() -> Path) -> Option<usize> {
        let found = index.get(name).copied();
        if found.is_none() {
            self.say(path(), format!("no {list} is called {}; declare it with [[{list}]] or correct the name", quoted(name)));
        }
        found
    }

    fn refer_if(&mut self, name: Option<&String>, list: &str, index: &Index<'_>, path: impl Fn() -> Path) -> Option<usize> {
        name.and_then(|name| self.refer(name, list, index, path))
    }

    /// A list without repetition and of bounded length.
    fn distinct<T: std::hash::Hash + Eq>(&mut self, items: &[T], path: &dyn Fn() -> Path) {
        if items.len() > MAX_LIST {
            self.say(path(), format!("more than {MAX_LIST} items"));
            return;
        }
        let mut seen: HashMap<&T, usize> = HashMap::new();
        if items.len() < 2 {
            return;
        }
        for (at, item) in items.iter().enumerate() {
            if let Some(first) = seen.insert(item, at) {
                let see = Some(path().index(first));
                self.problems.push(Problem { see, ..Problem::form(path().index(at), "said twice; leave one out".into()) });
            }
        }
    }
}

fn in_order(c: &mut Check, notice: Option<Period>, incident: Option<Period>, path: &dyn Fn() -> Path) {
    if let (Some(notice), Some(incident)) = (notice, incident)
        && notice <= incident
    {
        c.say(path(), format!("notice ({notice}) must come before incident ({incident}): make notice the longer one"));
    }
}

fn policy(c: &mut Check, p: &Policy, at: &dyn Fn() -> Path) {
    in_order(c, p.notice, p.incident, &|| at().key("notice"));
    if let Some(interval) = p.interval
        && !(MIN_INTERVAL_SECONDS..=MAX_INTERVAL_SECONDS).contains(&interval.as_secs())
    {
        c.say(at().key("interval"), format!("targets are observed every 10s to every 7d, not every {interval}"));
    }
    if let (Some(silence), Some(interval)) = (p.unobserved_after, p.interval)
        && silence <= interval
    {
        let message = format!("unobserved_after ({silence}) must be longer than interval ({interval}), or every pause is a finding");
        c.say(at().key("unobserved_after"), message);
    }
}

fn secret(c: &mut Check, fleet: &Fleet, names: &Names<'_>, s: &Secret, at: &dyn Fn() -> Path) {
    c.refer_if(s.team.as_ref(), "team", &names.teams, || at().key("team"));
    c.refer_if(s.service.as_ref(), "service", &names.services, || at().key("service"));
    let policy = c.refer_if(s.policy.as_ref(), "policy", &names.policies, || at().key("policy"));
    if let Some(o) = &s.overrides {
        let key = |key: &str| at().key("override").key(key);
        if o.reason.trim().is_empty() || o.reason.len() > MAX_TEXT_BYTES {
            c.say(key("reason"), "an override needs a reason; say why this secret differs");
        }
        if o.notice.is_none() && o.incident.is_none() {
            c.say(at().key("override"), "nothing is overridden; add notice or incident, or leave the override out");
        }
        // What is not overridden comes from the policy, so the two are judged together.
        let policy = policy.and_then(|i| fleet.policies.get(i));
        let notice = o.notice.or(policy.and_then(|p| p.notice));
        let incident = o.incident.or(policy.and_then(|p| p.incident));
        in_order(c, notice, incident, &|| key(if o.notice.is_some() { "notice" } else { "incident" }));
    }
    let is_certificate = s.kind == SecretKind::Certificate;
    if !is_certificate && !s.names.is_empty() {
        c.say(at().key("names"), "only a certificate covers names; leave them out");
    }
    if is_certificate && s.expires.is_some() {
        c.say(at().key("expires"), "a certificate says itself when it ends; leave expires out");
    }
    let expects_issuers = is_certificate && s.management == Management::External;
    if !s.issuers.is_empty() && !expects_issuers {
        c.say(at().key("issuers"), "issuers are expected of external certificates; leave them out or say management = \"external\"");
    }
    c.distinct(&s.names, &|| at().key("names"));
    c.distinct(&s.issuers, &|| at().key("issuers"));
    for (i, name) in s.names.iter().enumerate().take(MAX_LIST) {
        if let Err(e) = check_certificate_name(name) {
            c.say(at().key("names").index(i), e.to_string());
        }
    }
    for (i, issuer) in s.issuers.iter().enumerate().take(MAX_LIST) {
        if issuer.trim().is_empty() || issuer.len() > MAX_TEXT_BYTES || issuer.contains(char::is_control) {
            c.say(at().key("issuers").index(i), "not an issuer; write its subject as `perennial scan` shows it");
        }
    }
}
