//! What comes in lists, as rows.

use api::v1::{
    AuditEntry, Ending, Finding, Incident, Intent, Node, Notice, PlanFinding, Reach, Release, ReleaseItem, Secret, Sweep, Target, Token,
    WeekCount,
};
use pki::{Span, Time};
use serde::de::DeserializeOwned;

use super::table::Column::{Left, Right};
use super::{Cell, Column, Paint, moment, served, share};

/// Something that comes in lists.
pub(crate) trait Listed: DeserializeOwned {
    /// The headings.
    const COLUMNS: &'static [Column];

    /// One cell for each heading.
    fn row(&self, now: Time) -> Vec<Cell>;

    /// Whether somebody has to do something about it.
    fn is_due(&self) -> bool {
        false
    }
}

impl Listed for Secret {
    const COLUMNS: &'static [Column] =
        &[Left("NAME"), Left("KIND"), Left("VERSION"), Left("SERVED UNTIL"), Right("TARGETS"), Left("OWNER"), Right("FINDINGS")];

    fn row(&self, now: Time) -> Vec<Cell> {
        let version = match self.newest_version {
            0 => "-".to_owned(),
            number => number.to_string(),
        };
        vec![
            Cell::new(&self.name),
            Cell::new(&format!("{} {}", self.management, self.kind)),
            Cell::new(&version),
            until(self, now),
            Cell::number(self.targets),
            owner(&self.team),
            Cell::number(self.findings),
        ]
    }
}

impl Listed for Node {
    const COLUMNS: &'static [Column] = &[
        Left("NAME"),
        Left("REGION"),
        Left("STAMP"),
        Left("STATE"),
        Right("GENERATION"),
        Right("ACTS ON"),
        Right("INSTALLED"),
        Right("FAILED"),
        Left("HEARD OF"),
    ];

    fn row(&self, now: Time) -> Vec<Cell> {
        let failed = if self.failed > 0 { Paint::Bad } else { Paint::Plain };
        vec![
            Cell::new(&if self.canary { format!("{} (canary)", self.name) } else { self.name.clone() }),
            Cell::new(&self.region),
            Cell::maybe(self.stamp.as_deref()),
            crate::command::node::state(self),
            Cell::number(self.generation),
            Cell::number(self.acted),
            Cell::new(&format!("{} of {}", self.installed, self.secrets)),
            Cell::painted(&self.failed.to_string(), failed),
            Cell::new(&self.seen_at.as_deref().map_or_else(|| String::from("-"), |at| moment(at, now))),
        ]
    }

    fn is_due(&self) -> bool {
        self.failed > 0 || matches!(self.state.as_str(), "silent" | "cloned")
    }
}

/// A secret by what is left of it.
#[derive(serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct Runway {
    pub(crate) secret: Secret,
}

impl Listed for Runway {
    const COLUMNS: &'static [Column] =
        &[Left("NAME"), Left("SERVED UNTIL"), Right("MARGIN"), Left("CURRENT"), Left("OWNER"), Right("FINDINGS")];

    fn row(&self, now: Time) -> Vec<Cell> {
        let margin = match self.secret.margin_seconds {
            Some(seconds) => Cell::painted(&Span::seconds(seconds).to_string(), paint(&self.secret)),
            None => Cell::new(""),
        };
        let secret = &self.secret;
        vec![
            Cell::new(&secret.name),
            until(secret, now),
            margin,
            Cell::new(&if secret.targets > 0 { format!("{} of {}", secret.current, secret.required) } else { String::new() }),
            owner(&secret.team),
            Cell::number(secret.findings),
        ]
    }

    fn is_due(&self) -> bool {
        paint(&self.secret) == Paint::Bad
    }
}

/// Bad: broken, below the incident's threshold, or never seen although something should serve it.
fn paint(secret: &Secret) -> Paint {
    let blind = secret.served_until == "unknown" && secret.targets > 0;
    match secret.margin_seconds {
        _ if secret.served_until == "broken" || blind => Paint::Bad,
        Some(seconds) if seconds < 0 => Paint::Bad,
        _ if secret.findings > 0 => Paint::Notice,
        _ => Paint::Plain,
    }
}

fn until(secret: &Secret, now: Time) -> Cell {
    if secret.retired_at.is_some() {
        return Cell::painted("retired", Paint::Faint);
    }
    let text = match secret.served_until.as_str() {
        "unknown" if secret.targets == 0 => "no targets".to_owned(),
        other => served(other, now),
    };
    Cell::painted(&text, paint(secret))
}

fn owner(team: &str) -> Cell {
    if team.is_empty() { Cell::painted("nobody", Paint::Bad) } else { Cell::new(team) }
}

impl Listed for Target {
    const COLUMNS: &'static [Column] = &[
        Left("NAME"),
        Left("SECRET"),
        Left("ENDPOINT"),
        Left("STATE"),
        Left("CURRENT"),
        Left("SERVED UNTIL"),
        Left("LEVEL"),
        Left("LOOKED AT"),
    ];

    fn row(&self, now: Time) -> Vec<Cell> {
        let paint = Paint::of_level(&self.level);
        vec![
            Cell::new(&self.name),
            Cell::new(&self.secret),
            Cell::new(&self.endpoint),
            Cell::new(&self.state),
            Cell::new(&format!("{} of {}", self.current, self.required)),
            Cell::painted(&served(&self.served_until, now), paint),
            Cell::painted(&self.level, paint),
            Cell::new(&self.observed_at.as_deref().map(|at| moment(at, now)).unwrap_or_default()),
        ]
    }
}

impl Listed for Finding {
    const COLUMNS: &'static [Column] = &[Left("LEVEL"), Left("CODE"), Left("SECRET"), Left("TARGET"), Left("UNTIL"), Left("DETAIL")];

    fn row(&self, now: Time) -> Vec<Cell> {
        vec![
            Cell::painted(&self.level, Paint::of_level(&self.level)),
            Cell::new(&self.code),
            Cell::maybe(self.secret.as_deref()),
            Cell::maybe(self.target.as_deref()),
            Cell::new(&if self.broken { "broken now".to_owned() } else { optional(self.until.as_deref(), now) }),
            Cell::new(&self.detail),
        ]
    }

    fn is_due(&self) -> bool {
        self.level != "info"
    }
}

/// What the rules say, about whatever it may be: of both lists.
#[derive(serde::Deserialize)]
pub(crate) struct Found {
    level: String,
    code: String,
    #[serde(default)]
    subject: String,
    secret: Option<String>,
    target: Option<String>,
    #[serde(default)]
    broken: bool,
    until: Option<String>,
    detail: String,
}

impl Listed for Found {
    const COLUMNS: &'static [Column] = &[Left("LEVEL"), Left("CODE"), Left("SUBJECT"), Left("UNTIL"), Left("DETAIL")];

    fn row(&self, now: Time) -> Vec<Cell> {
        let subject = match (&self.target, &self.secret) {
            (Some(target), Some(secret)) => format!("target/{target} of {secret}"),
            (None, Some(secret)) => format!("secret/{secret}"),
            _ => self.subject.clone(),
        };
        vec![
            Cell::painted(&self.level, Paint::of_level(&self.level)),
            Cell::new(&self.code),
            Cell::new(&subject),
            Cell::new(&if self.broken { "broken now".to_owned() } else { optional(self.until.as_deref(), now) }),
            Cell::new(&self.detail),
        ]
    }

    fn is_due(&self) -> bool {
        self.level != "info"
    }
}

impl Listed for PlanFinding {
    const COLUMNS: &'static [Column] = &[Left("LEVEL"), Left("CODE"), Left("UNTIL"), Left("DETAIL"), Left("NEXT")];

    fn row(&self, now: Time) -> Vec<Cell> {
        vec![
            Cell::painted(&self.level, Paint::of_level(&self.level)),
            Cell::new(&self.code),
            Cell::new(&optional(self.until.as_deref(), now)),
            Cell::new(&self.detail),
            Cell::new(&self.next_step),
        ]
    }

    fn is_due(&self) -> bool {
        self.level != "info"
    }
}

/// "31 d left", "20 d late", or why neither can be said.
pub(crate) fn slack(release: &Release) -> Cell {
    let left = release.slack_seconds.map(|seconds| match seconds {
        0.. => format!("{} left", Span::seconds(seconds)),
        _ => format!("{} late", Span::seconds(seconds.saturating_neg())),
    });
    match (release.verdict.as_str(), left) {
        ("late", left) => Cell::painted(&left.unwrap_or_else(|| "late".to_owned()), Paint::Bad),
        ("undated", left) => Cell::painted(&left.map_or("unknown".to_owned(), |left| format!("{left}, or less")), Paint::Bad),
        (_, left) => Cell::maybe(left.as_deref()),
    }
}

impl Listed for Release {
    const COLUMNS: &'static [Column] =
        &[Right("ID"), Left("SERVICE"), Left("BUILD"), Left("STATUS"), Left("TRAIN"), Left("PLANNED"), Left("SHIP BY"), Left("SLACK")];

    fn row(&self, now: Time) -> Vec<Cell> {
        vec![
            Cell::number(self.id),
            Cell::new(&self.service),
            Cell::new(&self.build),
            Cell::new(&self.status),
            Cell::maybe(self.train.as_deref()),
            Cell::new(&optional(self.planned_at.as_deref(), now)),
            Cell::new(&optional(self.ship_by.as_deref(), now)),
            slack(self),
        ]
    }
}

/// A release by the order in which it should ship.
#[derive(serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct Queued(Release);

impl Listed for Queued {
    const COLUMNS: &'static [Column] =
        &[Right("ID"), Left("SERVICE"), Left("BUILD"), Left("STATUS"), Left("PLANNED"), Left("SHIP BY"), Left("SLACK"), Left("BECAUSE")];

    fn row(&self, now: Time) -> Vec<Cell> {
        let release = &self.0;
        vec![
            Cell::number(release.id),
            Cell::new(&release.service),
            Cell::new(&release.build),
            Cell::new(&release.status),
            Cell::new(&release.planned_at.as_deref().map_or("no departure left".to_owned(), |at| moment(at, now))),
            Cell::new(&optional(release.ship_by.as_deref(), now)),
            slack(release),
            Cell::new(&release.reason),
        ]
    }

    fn is_due(&self) -> bool {
        matches!(self.0.verdict.as_str(), "late" | "undated")
    }
}

impl Listed for ReleaseItem {
    const COLUMNS: &'static [Column] =
        &[Left("WHAT"), Left("SECRET"), Left("VERSION"), Left("SUBJECT"), Left("ENDS"), Left("PATH"), Left("SHA-256")];

    fn row(&self, now: Time) -> Vec<Cell> {
        let paint = match self.what.as_str() {
            "key" => Paint::Bad,
            "older" => Paint::Notice,
            _ => Paint::Plain,
        };
        vec![
            Cell::painted(&self.what, paint),
            Cell::maybe(self.secret.as_deref()),
            Cell::maybe(self.version.map(|version| version.to_string()).as_deref()),
            Cell::new(&self.subject),
            Cell::new(&optional(self.not_after.as_deref(), now)),
            Cell::new(&self.path),
            Cell::maybe(self.fingerprint_sha256.as_deref()),
        ]
    }
}

impl Listed for Incident {
    const COLUMNS: &'static [Column] =
        &[Right("ID"), Left("STATE"), Left("UNTIL"), Left("OPEN"), Left("TEAMS"), Left("OPENED"), Left("TITLE")];

    fn row(&self, now: Time) -> Vec<Cell> {
        let open = ["opened", "acknowledged", "mitigated"].contains(&self.state.as_str());
        let paint = match (open, self.state.as_str()) {
            (true, "opened") => Paint::Bad,
            (true, _) => Paint::Notice,
            (false, _) => Paint::Faint,
        };
        let lines = self.open_lines + self.proven_lines + self.retired_lines;
        let title = match self.repeats {
            Some(earlier) => format!("{} (REPEATS {earlier})", self.title),
            None => self.title.clone(),
        };
        vec![
            Cell::number(self.id),
            Cell::painted(&self.state, paint),
            Cell::new(&optional(self.until.as_deref().filter(|_| open), now)),
            Cell::new(&format!("{} of {lines}", self.open_lines)),
            Cell::new(&self.teams.join(" ")),
            Cell::new(&moment(&self.opened_at, now)),
            Cell::new(&title),
        ]
    }

    fn is_due(&self) -> bool {
        ["opened", "acknowledged", "mitigated"].contains(&self.state.as_str())
    }
}

impl Listed for Notice {
    const COLUMNS: &'static [Column] =
        &[Right("ID"), Left("AT"), Left("TEAM"), Left("SECRET"), Left("CODE"), Left("UNTIL"), Left("DETAIL")];

    fn row(&self, now: Time) -> Vec<Cell> {
        vec![
            Cell::number(self.id),
            Cell::new(&moment(&self.at, now)),
            owner(&self.team),
            Cell::new(&self.secret),
            Cell::new(&self.code),
            Cell::new(&optional(self.until.as_deref(), now)),
            Cell::new(&self.detail),
        ]
    }
}

impl Listed for Ending {
    const COLUMNS: &'static [Column] = &[Left("NOT AFTER"), Left("SECRET"), Right("VERSION"), Left("SCOPE"), Left("SHA-256")];

    fn row(&self, now: Time) -> Vec<Cell> {
        vec![
            Cell::new(&moment(&self.not_after, now)),
            Cell::new(&self.secret),
            Cell::number(self.version),
            Cell::new(&self.scope),
            Cell::new(&self.fingerprint_sha256),
        ]
    }
}

impl Listed for WeekCount {
    const COLUMNS: &'static [Column] = &[Left("WEEK"), Left("REGION"), Right("CERTIFICATES")];

    fn row(&self, _: Time) -> Vec<Cell> {
        vec![Cell::new(&self.week), Cell::new(&self.region), Cell::number(self.count)]
    }
}

impl Listed for AuditEntry {
    const COLUMNS: &'static [Column] = &[Left("ENTRY"), Left("AT"), Left("ACTOR"), Left("ACTION"), Left("SUBJECT"), Left("REASON")];

    fn row(&self, now: Time) -> Vec<Cell> {
        vec![
            Cell::new(&format!("{}:{}", self.epoch, self.seq)),
            Cell::new(&moment(&self.at, now)),
            Cell::new(&self.actor),
            Cell::new(&self.action),
            Cell::new(&self.subject),
            Cell::new(&self.reason),
        ]
    }
}

impl Listed for Token {
    const COLUMNS: &'static [Column] = &[Right("ID"), Left("NAME"), Left("ROLE"), Left("FOR"), Left("CREATED"), Left("ENDS")];

    fn row(&self, now: Time) -> Vec<Cell> {
        let scope = self.vantage.clone().unwrap_or_else(|| [&self.teams[..], &self.services].concat().join(" "));
        let ends = match (&self.revoked_at, &self.expires_at) {
            (Some(at), _) => Cell::painted(&format!("revoked {}", moment(at, now)), Paint::Faint),
            (None, at) => Cell::new(&optional(at.as_deref(), now)),
        };
        vec![
            Cell::number(self.id),
            Cell::new(&self.name),
            Cell::new(&self.role),
            Cell::new(&scope),
            Cell::new(&moment(&self.created_at, now)),
            ends,
        ]
    }
}

impl Listed for Sweep {
    const COLUMNS: &'static [Column] =
        &[Right("ID"), Left("STARTED"), Left("ENDED"), Right("SECRETS"), Right("INSTANCES"), Right("TARGETS"), Right("MISSED")];

    fn row(&self, now: Time) -> Vec<Cell> {
        let missed = if self.missed > 0 { Paint::Bad } else { Paint::Plain };
        vec![
            Cell::number(self.id),
            Cell::new(&moment(&self.started_at, now)),
            Cell::new(&optional(self.finished_at.as_deref(), now)),
            Cell::number(self.secrets),
            Cell::number(self.instances),
            Cell::number(self.targets),
            Cell::painted(&self.missed.to_string(), missed),
        ]
    }
}

fn optional(at: Option<&str>, now: Time) -> String {
    at.map(|at| moment(at, now)).unwrap_or_default()
}

impl Listed for Reach {
    const COLUMNS: &'static [Column] = &[
        Left("BY"),
        Left("WHAT"),
        Left("ENDS"),
        Right("SHARE"),
        Right("TARGETS"),
        Right("SERVICES"),
        Right("REGIONS"),
        Right("STAMPS"),
        Left("SHA-256"),
    ];

    fn row(&self, now: Time) -> Vec<Cell> {
        let last = self.last.as_deref().zip(self.from.as_deref());
        let within = last.and_then(|(last, from)| Some(Time::parse(last).ok()? - Time::parse(from).ok()?));
        let what = match within {
            Some(within) if within.as_secs() > 0 => format!("all within {within}"),
            Some(_) => String::from("all at once"),
            None => self.name.clone(),
        };
        let ends = self.from.as_deref().or(self.not_after.as_deref());
        vec![
            Cell::new(&self.window.as_ref().map_or_else(|| self.by.clone(), |w| format!("{} of {w}", self.by))),
            Cell::new(&what),
            Cell::new(&optional(ends, now)),
            Cell::new(&share(self.share_per_mille, self.targets)),
            Cell::number(self.targets.into()),
            Cell::number(self.services.into()),
            Cell::number(self.regions.into()),
            Cell::number(self.stamps.into()),
            Cell::maybe(self.fingerprint_sha256.as_deref()),
        ]
    }
}

impl Listed for Intent {
    const COLUMNS: &'static [Column] =
        &[Right("ID"), Left("WHAT"), Left("SUBJECT"), Left("STATE"), Left("DECIDED"), Left("BY"), Left("REASON")];

    fn row(&self, now: Time) -> Vec<Cell> {
        let paint = if self.state == "open" { Paint::Notice } else { Paint::Faint };
        vec![
            Cell::number(self.id),
            Cell::new(&self.what),
            Cell::new(&self.subject),
            Cell::painted(&self.state, paint),
            Cell::new(&moment(&self.created_at, now)),
            Cell::new(&self.approved_by),
            Cell::new(&self.reason),
        ]
    }
}
