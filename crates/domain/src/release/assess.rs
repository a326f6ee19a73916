//! What the rules say about one release: by when it must be built, who must hear that it will not be, and what production shows of it.

use super::{Deadline, ENOUGH, Release, Serves, Status, deadline};
use crate::{
    Span, Time,
    calendar::{Calendar, Frozen},
    concern::Concern,
    finding::Code,
    policy::Level,
    target::Served,
    words::SecretId,
};
use alloc::{
    collections::BTreeSet,
    format,
    string::{String, ToString},
    vec::Vec,
};

/// For how long after "deployed" nobody is told that production does not show it yet: that is how long looking takes.
pub const GRACE_DEPLOYED: Span = Span::hours(1);
/// How many names a sentence has at most.
const NAMED: usize = 5;

/// Everything that the rules look at.
#[derive(Debug, Clone)]
pub struct View {
    /// The release.
    pub release: Release,
    /// The team of its service, empty for none.
    pub owner: String,
    /// How long its service's releases take from built to observed.
    pub lead: Span,
    /// How many measured spans that rests on.
    pub measured: usize,
    /// When its service ships nothing.
    pub calendar: Calendar,
    /// The versions of stored secrets that it carries.
    pub carries: Vec<Carries>,
    /// Private keys in the clear.
    pub keys: Finds,
    /// Certificates that the store does not know.
    pub strangers: Finds,
}

/// A version of a secret that a release carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carries {
    /// The secret.
    pub secret: SecretId,
    /// Its name, escaped.
    pub name: String,
    /// Who answers for it, empty for nobody.
    pub owner: String,
    /// Which version the build carries.
    pub version: i64,
    /// The newest stored version.
    pub newest: i64,
    /// Whether it was older than the newest already when the build was looked at.
    pub scanned_older: bool,
    /// The version that a rollout has brought to production ahead of releases, where one has.
    pub brought: Option<i64>,
    /// What its production targets serve.
    pub serves: Serves,
    /// How many of these there are.
    pub production: u64,
    /// Those that do not show this version or a later one.
    pub behind: Behind,
    /// Since when all of them show it, as far as that was known.
    pub observed_at: Option<Time>,
}

/// Targets that do not show what they should.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Behind {
    /// How many, as far as they were counted.
    pub count: u64,
    /// Whether there are more than were counted.
    pub more: bool,
    /// The names of the first of them, escaped; asked for once the release is deployed.
    pub first: Vec<String>,
}

/// Things of one kind in a build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finds {
    /// How many.
    pub count: u64,
    /// Where the first of them lie, escaped.
    pub first: Vec<String>,
}

/// What the rules say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its place in the queue.
    pub deadline: Deadline,
    /// By when it must be built; none where nobody can say, or nothing hangs on it.
    pub ship_by: Option<Time>,
    /// Ship-by minus when it was built or is to be; negative: it is late already.
    pub slack: Option<Span>,
    /// What that rests on, as a sentence.
    pub reason: String,
    /// What people must know.
    pub concerns: Vec<Concern>,
    /// What it carries and production shows everywhere.
    pub items_over: Vec<(SecretId, i64)>,
    /// Whether nothing is waited for any more.
    pub over: bool,
    /// When time alone will change the answer.
    pub next: Option<Time>,
}

impl Carries {
    /// Whether every production target was seen to show it, or what came after it. A secret that nothing in production serves was not.
    pub fn is_over(&self) -> bool {
        self.production > 0 && self.behind.count == 0 && !self.behind.more
    }
}

/// One secret's part of the answer.
struct Part<'a> {
    of: &'a Carries,
    deadline: Deadline,
    ship_by: Option<Time>,
    frozen: Option<Frozen>,
}

/// Assesses one release.
pub fn assess(view: &View, now: Time) -> Standing {
    let r = &view.release;
    let items_over: Vec<(SecretId, i64)> = view.carries.iter().filter(|c| c.is_over()).map(|c| (c.secret, c.version)).collect();
    let open: Vec<&Carries> = view.carries.iter().filter(|c| !c.is_over()).collect();
    let over = r.status == Status::Cancelled || (r.status == Status::Deployed && open.is_empty());
    if over {
        let reason = match r.status {
            Status::Cancelled => "it was cancelled",
            _ if view.carries.is_empty() => "it is deployed, and carries no certificate of ours",
            _ => "production was observed, and nothing is waited for",
        };
        // A key that anybody can read does not go away by being shipped.
        let concerns = if r.status == Status::Cancelled { Vec::new() } else { in_the_build(view) };
        let concerns = concerns.into_iter().filter(|c| c.code == Code::KeyInBuild).collect();
        return Standing {
            deadline: Deadline::Never,
            ship_by: None,
            slack: None,
            reason: reason.to_string(),
            concerns,
            items_over,
            over,
            next: None,
        };
    }
    let mut parts: Vec<Part<'_>> = open.iter().map(|c| part(c, view, now)).collect();
    parts.sort_by_key(|p| (p.deadline, p.of.secret));
    let worst = parts.first().map_or(Deadline::Never, |p| p.deadline);
    let ship_by = parts.iter().filter_map(|p| p.ship_by).min();
    // What is not built yet is built now at the earliest.
    let built = !r.builds_from_now();
    let builds_at = if built { r.builds_at() } else { r.builds_at().max(now) };
    let slack = ship_by.map(|by| by - builds_at);

    let mut next: Option<Time> = None;
    let mut at = |t: Time| {
        if t > now && t < Time::NO_EXPIRY {
            next = Some(next.map_or(t, |n| n.min(t)));
        }
    };
    let mut concerns = in_the_build(view);
    if r.status == Status::Deployed {
        let since = r.deployed_at.unwrap_or(now);
        at(since + GRACE_DEPLOYED);
        concerns.extend(open.iter().map(|c| unobserved(view, c, since, now)));
    } else {
        let late = |p: &Part<'_>| match p.deadline {
            Deadline::Now => !built || p.ship_by.is_some_and(|by| builds_at > by),
            _ => p.ship_by.is_some_and(|by| builds_at > by),
        };
        let missed: Vec<&Part<'_>> = parts.iter().filter(|p| late(p)).collect();
        if let Some(first) = missed.first() {
            concerns.push(is_late(view, &missed, first, builds_at));
        }
        let undated: Vec<&Part<'_>> = parts.iter().filter(|p| p.deadline == Deadline::Undated).collect();
        if !undated.is_empty() {
            concerns.push(is_undated(view, &undated));
        }
        // Of what is broken, or frozen for ever, the deadline is now at every second: time alone changes nothing there.
        let ahead = |p: &&Part<'_>| matches!(p.deadline, Deadline::By(_)) && (p.frozen.is_none() || p.ship_by.is_some_and(|by| by > now));
        if !built {
            parts.iter().filter(ahead).filter_map(|p| p.ship_by).for_each(|by| at(by + Span::seconds(1)));
        }
    }
    let reason = reason(view, &parts);
    Standing { deadline: worst, ship_by, slack, reason, concerns, items_over, over, next }
}

fn part<'a>(of: &'a Carries, view: &View, now: Time) -> Part<'a> {
    let deadline = deadline(&of.serves, view.lead);
    let (ship_by, frozen) = match deadline {
        Deadline::By(by) => match view.calendar.latest_open(by) {
            Some(open) if open == by => (Some(by), None),
            Some(open) => (Some(open), view.calendar.frozen(by)),
            // Frozen for longer than anybody looks back: there was no time to ship it.
            None => (Some(by.min(now)), view.calendar.frozen(by)),
        },
        Deadline::Now => (Some(now), None),
        Deadline::Undated | Deadline::Never => (None, None),
    };
    let deadline = match (deadline, ship_by) {
        (Deadline::By(_), Some(by)) => Deadline::By(by),
        (other, _) => other,
    };
    Part { of, deadline, ship_by, frozen }
}

/// What one part rests on: which secret, which targets serve until when, how long releases take, which freeze.
fn because(view: &View, p: &Part<'_>) -> String {
    let c = p.of;
    let targets = targets(&c.behind, c.production);
    let lead = if view.measured < ENOUGH {
        format!("releases of {} are taken to need {} until {ENOUGH} were measured", pki::text::escape(&view.release.service), view.lead)
    } else {
        format!("releases of {} take {} (95 % of the newest {})", pki::text::escape(&view.release.service), view.lead, view.measured)
    };
    match (c.serves.served, p.ship_by) {
        (Served::Unknown, _) if c.production == 0 => format!("nothing says where {} is used", c.name),
        (Served::Unknown, _) => {
            format!("{} was not observed everywhere in production: {targets} do not show version {}", c.name, c.version)
        }
        (Served::Broken, _) => format!("what {} serves is broken already: {targets} do not show version {}", c.name, c.version),
        (Served::Until(_), None) => format!("what {} serves has no end", c.name),
        (Served::Until(until), Some(by)) => {
            let threshold = c.serves.worst.filter(|w| w.until < Time::NO_EXPIRY);
            let threshold =
                threshold.map(|w| format!(", an incident from {} before {} on", w.thresholds.incident, w.until)).unwrap_or_default();
            let freeze = match &p.frozen {
                Some(f) => format!("; moved to before the freeze {}", pki::text::escape(&f.why)),
                None => String::new(),
            };
            format!(
                "{} is served until {until} ({targets} do not show version {}){threshold}; {lead}; must be built by {by}{freeze}",
                c.name, c.version
            )
        }
    }
}

fn reason(view: &View, parts: &[Part<'_>]) -> String {
    let Some(first) = parts.first() else {
        return String::from(if view.carries.is_empty() {
            "it carries no certificate of ours"
        } else {
            "production shows all that it carries"
        });
    };
    let more = parts.len().saturating_sub(1);
    format!("{}{}", because(view, first), if more > 0 { format!("; and {more} more certificates") } else { String::new() })
}

fn is_late(view: &View, missed: &[&Part<'_>], first: &Part<'_>, builds_at: Time) -> Concern {
    let r = &view.release;
    let by = missed.iter().filter_map(|p| p.ship_by).min().unwrap_or(builds_at);
    let late = match builds_at - by {
        late if late > Span::ZERO => format!("{late} late"),
        _ => String::from("and must be built at once"),
    };
    let when = match (!r.builds_from_now(), r.planned_at.is_no_expiry()) {
        (true, _) => format!("was built {builds_at}, {late}"),
        (_, true) => String::from("has no departure of its train left"),
        _ => format!("is planned {}, {late}", r.planned_at),
    };
    let names = names(missed.iter().map(|p| p.of.name.as_str()));
    let until = missed.iter().filter_map(|p| if let Served::Until(t) = p.of.serves.served { Some(t) } else { None }).min();
    Concern {
        // Its date is what it is about: where it is overtaken or delayed, that is news.
        about: r.planned_at.to_string(),
        until,
        detail: format!("{} carries {names} and {when}: {}", r.title(), because(view, first)),
        next_step: String::from("ship it before others or build it earlier: perennial release queue"),
        ..concern(Code::ReleaseLate, Level::Notice, teams(view, missed.iter().map(|p| p.of)))
    }
}

fn is_undated(view: &View, undated: &[&Part<'_>]) -> Concern {
    let names = names(undated.iter().map(|p| p.of.name.as_str()));
    let why = undated.first().map(|p| because(view, p)).unwrap_or_default();
    Concern {
        detail: format!("nobody can say by when {} must be built: it carries {names}, and {why}", view.release.title()),
        next_step: String::from("declare where it is used, and see to it that every target is observed: perennial target list"),
        ..concern(Code::ReleaseUndated, Level::Notice, teams(view, undated.iter().map(|p| p.of)))
    }
}

fn unobserved(view: &View, c: &Carries, since: Time, now: Time) -> Concern {
    let level = if now < since + GRACE_DEPLOYED { Level::Info } else { Level::Notice };
    let which = if c.production == 0 {
        String::from("nothing says where it is used")
    } else {
        format!("{} do not show it: {}", targets(&c.behind, c.production), first(&c.behind.first, c.behind.count, c.behind.more))
    };
    Concern {
        about: c.name.clone(),
        until: if let Served::Until(t) = c.serves.served { Some(t) } else { None },
        detail: format!(
            "{} is said to be deployed since {since}, and production was not seen serving version {} of {}: {which}",
            view.release.title(),
            c.version,
            c.name
        ),
        next_step: String::from("find out why these targets serve something else; only observing them there ends this"),
        ..concern(Code::DeployedUnobserved, level, teams(view, [c].into_iter()))
    }
}

/// What should not be in a build, whenever it ships.
fn in_the_build(view: &View) -> Vec<Concern> {
    let title = view.release.title();
    let mut found = Vec::new();
    if view.keys.count > 0 {
        let n = view.keys.count;
        found.push(Concern {
            detail: format!(
                "{title} carries {n} private {} in the clear: {}",
                if n == 1 { "key" } else { "keys" },
                first(&view.keys.first, n, false)
            ),
            next_step: String::from("take it out of the build, and renew with a new key: whoever has the build has this one"),
            ..concern(Code::KeyInBuild, Level::Notice, teams(view, view.carries.iter()))
        });
    }
    let older: Vec<&Carries> = view.carries.iter().filter(|c| c.version < c.newest).collect();
    if !older.is_empty() {
        let said: Vec<String> = older
            .iter()
            .take(NAMED)
            .map(|c| format!("version {} of {}, of which version {} is stored", c.version, c.name, c.newest))
            .collect();
        let more = older.len().saturating_sub(NAMED);
        // What was the newest when it was built may be what production waits for.
        let level = if older.iter().any(|c| c.scanned_older) { Level::Notice } else { Level::Info };
        found.push(Concern {
            detail: format!("{title} carries {}{}", said.join("; "), if more > 0 { format!("; and {more} more") } else { String::new() }),
            next_step: String::from("build it with the newest version"),
            ..concern(Code::CarriesOlder, level, teams(view, older.into_iter()))
        });
    }
    let back: Vec<&Carries> = view.carries.iter().filter(|c| c.brought.is_some_and(|b| b > c.version)).collect();
    if !back.is_empty() {
        let said = |c: &&Carries| {
            let brought = c.brought.unwrap_or_default();
            format!("version {} of {}, of which a rollout has brought version {brought} to production", c.version, c.name)
        };
        let some = back.iter().take(NAMED).map(said).collect::<Vec<_>>().join("; ");
        let more = back.len().saturating_sub(NAMED);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        found.push(Concern {
            detail: format!("{title} would take production back: it carries {some}{more}"),
            next_step: String::from("hold it, and build it with the version that production has: perennial release delay"),
            ..concern(Code::TakesBack, Level::Notice, teams(view, back.into_iter()))
        });
    }
    if view.strangers.count > 0 {
        let n = view.strangers.count;
        let what = if n == 1 { "certificate that" } else { "certificates that" };
        found.push(Concern {
            detail: format!("{title} carries {n} {what} the store does not hold: {}", first(&view.strangers.first, n, false)),
            next_step: String::from("store what production serves, so that somebody watches it: perennial cert import"),
            ..concern(Code::CarriesUnknown, Level::Info, teams(view, [].into_iter()))
        });
    }
    found
}

fn concern(code: Code, level: Level, teams: Vec<String>) -> Concern {
    let (about, detail, next_step) = (String::new(), String::new(), String::new());
    Concern { code, about, level, teams, until: None, detail, next_step, once: false }
}

/// The owner of the release, and of every certificate concerned.
fn teams<'a>(view: &View, of: impl Iterator<Item = &'a Carries>) -> Vec<String> {
    let all: BTreeSet<String> = of.map(|c| c.owner.clone()).chain([view.owner.clone()]).filter(|t| !t.is_empty()).collect();
    all.into_iter().collect()
}

fn targets(behind: &Behind, of: u64) -> String {
    let more = if behind.more { "more than " } else { "" };
    format!("{more}{} of {of} targets", behind.count)
}

fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = all.collect();
    first(&all.iter().take(NAMED).map(|n| (*n).to_string()).collect::<Vec<_>>(), all.len() as u64, false)
}

/// The first of many, and how many more there are.
fn first(shown: &[String], count: u64, uncounted: bool) -> String {
    let more = count.saturating_sub(shown.len() as u64);
    let rest = match (uncounted, more) {
        (true, _) => format!(", and more than {more} more"),
        (_, 0) => String::new(),
        _ => format!(", and {more} more"),
    };
    format!("{}{rest}", shown.join(", "))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
