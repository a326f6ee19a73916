//! What a scenario file says (`docs/scenarios.md`).

use domain::{Span, Time};
use serde::{Deserialize, Deserializer};

/// Longest scenario file, in bytes.
pub const MAX_FILE_BYTES: usize = 4 << 20;
/// Most targets of one scenario.
pub const MAX_TARGETS: usize = 100_000;

/// Where a scenario file is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// A story, and what must come of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is about.
    pub scenario: About,
    /// What happened without anybody who reacts.
    pub outage: Outage,
    /// Who issues.
    #[serde(default)]
    pub ca: Vec<Ca>,
    /// What is issued.
    #[serde(default)]
    pub certificate: Vec<Leaf>,
    /// Where it is served.
    #[serde(default)]
    pub spread: Vec<Spread>,
    /// What happens by itself.
    #[serde(default)]
    pub event: Vec<Event>,
    /// What people do when they are told.
    #[serde(default)]
    pub reaction: Vec<Reaction>,
    /// What must be told.
    #[serde(default)]
    pub expect: Vec<Expect>,
    /// What must never be told.
    #[serde(default)]
    pub never: Vec<Told>,
}

/// What a scenario is about, and the inventory that the store knows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// One word.
    pub id: String,
    /// One line.
    pub title: String,
    /// The class of the root cause.
    pub class: String,
    /// Where the facts come from.
    #[serde(default)]
    pub sources: Vec<String>,
    /// When the store begins to watch.
    #[serde(deserialize_with = "time")]
    pub begins: Time,
    /// When the history ends.
    #[serde(deserialize_with = "time")]
    pub ends: Time,
    /// How often the world is looked at while nothing happens.
    #[serde(deserialize_with = "span")]
    pub pace: Span,
    /// A `fleet.toml`: teams, regions, services, trains, secrets. Targets come from `[[spread]]`, private roots from `[[ca]]`.
    pub inventory: String,
}

/// What the control must show.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// When the first client was turned away.
    #[serde(deserialize_with = "time")]
    pub at: Time,
    /// How exactly that is known.
    #[serde(deserialize_with = "span")]
    pub within: Span,
    /// Which part of the targets, at the worst, in percent.
    pub reach_percent: u64,
    /// What passing means.
    pub catchable: Catchable,
    /// How long before it the first signal must come.
    #[serde(deserialize_with = "span")]
    pub lead: Span,
    /// What is said of its reach, for the table.
    pub impact: String,
}

/// What passing means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Catchable {
    /// It does not happen.
    Yes,
    /// It is stopped before it is deployed, or at the first target.
    Canary,
    /// Every target is observed on its replacement in time.
    Deadline,
    /// It is seen at once, and nothing wrong is done.
    No,
}

/// A certificate authority.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ca {
    /// Its name, and its certificate's.
    pub name: String,
    /// Who signed it; a root if nobody.
    pub signed_by: Option<String>,
    /// For a root: every client trusts it. Else those trust it whose target names it.
    #[serde(default)]
    pub public: bool,
    /// From when it is valid.
    #[serde(deserialize_with = "time")]
    pub from: Time,
    /// Until when.
    #[serde(deserialize_with = "time")]
    pub until: Time,
}

/// A leaf.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    /// What the scenario calls it.
    pub name: String,
    /// Who signs it.
    pub ca: String,
    /// Its names.
    pub names: Vec<String>,
    /// From when it is valid.
    #[serde(deserialize_with = "time")]
    pub from: Time,
    /// Until when.
    #[serde(deserialize_with = "time")]
    pub until: Time,
    /// The CAs whose certificates are sent along; those up to the root, without it, if absent.
    pub sends: Option<Vec<String>>,
}

/// So many targets in each of so many stamps of each region.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// The secret that must be live there; also the beginning of their names.
    pub secret: String,
    /// Regions; each must be in the inventory.
    pub regions: Vec<String>,
    /// Stamps of each region, which are declared here.
    #[serde(default)]
    pub stamps: u32,
    /// Targets of each stamp, or of each region without stamps.
    #[serde(default = "one")]
    pub targets: u32,
    /// The host name of each: `{region}`, `{stamp}` and `{n}` are filled in.
    pub host: String,
    /// The service that they belong to.
    pub service: Option<String>,
    /// The private root that clients trust, by the name of its CA; the public ones if absent.
    pub roots: Option<String>,
    /// The certificate that they serve when the story begins.
    pub serves: String,
}

/// Something that happens by itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When.
    #[serde(deserialize_with = "time")]
    pub at: Time,
    /// What.
    #[serde(rename = "do")]
    pub act: Act,
}

/// What somebody does, or what befalls the world.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// A version is stored.
    Store {
        /// Of which secret.
        secret: String,
        /// Which certificate.
        certificate: String,
    },
    /// Targets begin to serve a certificate.
    Serve {
        /// Of which secret.
        secret: String,
        /// Which certificate.
        certificate: String,
        /// In which regions; all if absent.
        regions: Option<Vec<String>>,
        /// Which part of them, in percent, the first by name; all if absent.
        percent: Option<u64>,
    },
    /// Targets answer nothing.
    Silence {
        /// Of which secret.
        secret: String,
        /// In which regions; all if absent.
        regions: Option<Vec<String>>,
    },
    /// A release is created.
    Release {
        /// Whose.
        service: String,
        /// What its builders call it.
        build: String,
        /// When it is to be built; with the service's train if absent.
        #[serde(default, deserialize_with = "maybe_time")]
        planned: Option<Time>,
        /// The secrets whose newest version people say that it carries.
        #[serde(default)]
        carries: Vec<String>,
        /// The certificates that a scan of its build finds.
        #[serde(default)]
        scanned: Vec<String>,
        /// The release of the same service that it overtakes.
        before: Option<String>,
    },
    /// A release is put off.
    Delay {
        /// Whose.
        service: String,
        /// Which.
        build: String,
        /// To when.
        #[serde(deserialize_with = "time")]
        to: Time,
    },
    /// A release is said to be built, on its way, or deployed.
    Status {
        /// Whose.
        service: String,
        /// Which.
        build: String,
        /// What is said.
        is: Said,
    },
    /// A team's contacts take nothing any more, or again.
    Channel {
        /// Whose.
        team: String,
        /// Whether they take anything.
        works: bool,
    },
}

/// What is said of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// It is built.
    Built,
    /// It is on its way.
    Deploying,
    /// It is deployed.
    Deployed,
    /// It will not be.
    Cancelled,
}

/// What people do, once, when they are first told; in the control they do not.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reaction {
    /// To what.
    pub to: Told,
    /// How long it takes them.
    #[serde(deserialize_with = "span")]
    pub after: Span,
    /// What they do.
    #[serde(rename = "do")]
    pub acts: Vec<Act>,
}

/// Something that is told. What is absent may be anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// The rule.
    pub code: Option<String>,
    /// `notice`, `incident-opened`, …
    pub kind: Option<String>,
    /// To whom.
    pub team: Option<String>,
    /// The secret that it is about.
    pub secret: Option<String>,
    /// Whether somebody is woken.
    pub page: Option<bool>,
}

/// Something that must be told, and when.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// What.
    pub told: Told,
    /// Not before then.
    #[serde(default, deserialize_with = "maybe_time")]
    pub not_before: Option<Time>,
    /// At the latest then.
    #[serde(deserialize_with = "time")]
    pub by: Time,
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Scenario, Problem> {
        if text.len() > MAX_FILE_BYTES {
            let message = format!("the file has {} bytes, more than {MAX_FILE_BYTES}", text.len());
            return Err(Problem { line: 1, column: 1, message });
        }
        let scenario: Scenario = toml::from_str(text).map_err(|error| {
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            Problem { line, column, message: error.message().replace('\n', "; ") }
        })?;
        match scenario.contradiction() {
            None => Ok(scenario),
            // Where a word stands twice, its first place is told: near enough to find it.
            Some((word, message)) => {
                let (line, column) = position(text, text.find(&format!("\"{word}\"")).unwrap_or(0));
                Err(Problem { line, column, message })
            }
        }
    }

    /// What does not fit together: the word that is wrong, and why.
    fn contradiction(&self) -> Option<(&str, String)> {
        let about = &self.scenario;
        if about.begins >= about.ends {
            return Some((&about.id, String::from("`begins` must be before `ends`")));
        }
        if about.pace <= Span::ZERO {
            return Some((&about.id, String::from("`pace` must be longer than nothing")));
        }
        if self.outage.reach_percent > 100 {
            return Some((&about.id, String::from("`reach_percent` is at most 100")));
        }
        let ca = |name: &str| self.ca.iter().any(|ca| ca.name == name);
        for (n, it) in self.ca.iter().enumerate() {
            if let Some(by) = it.signed_by.as_deref().filter(|by| !self.ca[..n].iter().any(|ca| ca.name == **by)) {
                return Some((by, format!("no [[ca]] above `{}` is called `{by}`", it.name)));
            }
            if self.ca[..n].iter().any(|other| other.name == it.name) {
                return Some((&it.name, format!("two [[ca]] are called `{}`", it.name)));
            }
        }
        for (n, it) in self.certificate.iter().enumerate() {
            if self.certificate[..n].iter().any(|other| other.name == it.name) {
                return Some((&it.name, format!("two [[certificate]] are called `{}`", it.name)));
            }
            let unknown = std::iter::once(&it.ca).chain(it.sends.iter().flatten()).find(|name| !ca(name));
            if let Some(name) = unknown {
                return Some((name, format!("no [[ca]] is called `{name}`")));
            }
        }
        for it in &self.spread {
            if let Some(name) = it.roots.as_deref().filter(|name| !ca(name)) {
                return Some((name, format!("no [[ca]] is called `{name}`")));
            }
        }
        if self.targets() > MAX_TARGETS {
            return Some((&about.id, format!("{} targets are more than {MAX_TARGETS}", self.targets())));
        }
        let acts = self.event.iter().map(|e| &e.act).chain(self.reaction.iter().flat_map(|r| &r.acts));
        let named = acts.flat_map(Act::certificates).chain(self.spread.iter().map(|s| s.serves.as_str()));
        for name in named {
            if !self.certificate.iter().any(|c| c.name == name) {
                return Some((name, format!("no [[certificate]] is called `{name}`")));
            }
        }
        for told in self.told() {
            if let Some(code) = told.code.as_deref().filter(|code| domain::finding::Code::parse(code).is_none()) {
                return Some((code, format!("`{code}` is no rule; docs/scenarios.md lists them")));
            }
            let is_kind = |kind: &&str| serde_json::from_value::<engine::message::Kind>((*kind).into()).is_ok();
            if let Some(kind) = told.kind.as_deref().filter(|kind| !is_kind(kind)) {
                return Some((kind, format!("`{kind}` is no kind of message; docs/scenarios.md lists them")));
            }
        }
        None
    }

    /// Everything that is said of what is told.
    pub(crate) fn told(&self) -> impl Iterator<Item = &Told> {
        self.reaction.iter().map(|r| &r.to).chain(self.expect.iter().map(|e| &e.told)).chain(&self.never)
    }

    /// How many targets it has.
    pub fn targets(&self) -> usize {
        self.spread.iter().map(|s| s.regions.len() * (s.stamps.max(1) * s.targets) as usize).sum()
    }
}

impl Act {
    fn certificates(&self) -> Vec<&str> {
        match self {
            Act::Store { certificate, .. } | Act::Serve { certificate, .. } => vec![certificate],
            Act::Release { scanned, .. } => scanned.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    (before.matches('\n').count() + 1, before.chars().rev().take_while(|c| *c != '\n').count() + 1)
}

const fn one() -> u32 {
    1
}

fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Time, D::Error> {
    let text = String::deserialize(from)?;
    Time::parse(&text).map_err(|error| serde::de::Error::custom(format!("`{text}`: {error}")))
}

fn maybe_time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Time>, D::Error> {
    time(from).map(Some)
}

fn span<'de, D: Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
    let text = String::deserialize(from)?;
    Span::parse(&text).map_err(|error| serde::de::Error::custom(format!("`{text}`: {error}")))
}
