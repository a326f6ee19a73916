//! `fleet.toml`: the inventory as people write it, and as it travels in JSON.
//!
//! [`parse`] is for text and reports every problem at once with line and column; [`validate_received`]
//! is for a [`Fleet`] that came over the wire and reports the same problems with their paths. Both are
//! linear in the size of the file. Nothing here knows a certificate: whether a threshold makes sense
//! for a lifetime is for the rules to say.

mod check;
mod drills;
mod issuing;
mod model;
mod nodes;
mod place;
mod planning;
mod read;
pub mod rollout;
mod values;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use toml::de::DeTable;

pub use check::{is_name, validate, validate_received};
pub use drills::{Drill, DrillKind};
pub use issuing::{Budget, Challenge, DnsUpdate, Issuer, IssuerKind, KeyChoice, KeysAt, Maintenance, Profile, TsigAlgorithm};
pub use model::{
    Backends, Class, Contact, Fleet, KeyType, Management, Offer, Override, Policy, Region, Renewal, RootSet, Secret, SecretKind, Service,
    Settings, Stamp, Target, TargetKind, TargetState, Team, Vantage,
};
pub use nodes::Node;
pub use place::Path;
pub use planning::{Calendar, Freeze, Partition, Train};
pub use rollout::{RolloutPolicy, Wave, WaveOf};
pub use values::{
    Civil, Day, Endpoint, MAX_HOST_BYTES, MAX_PERIOD_SECONDS, Moment, Period, Protocol, ValueError, check_certificate_name, check_dns_name,
    check_host,
};
pub use write::{Notes, write, write_with_notes};

/// The vantage that exists without being declared: the server itself.
pub const LOCAL_VANTAGE: &str = "local";
/// Largest fleet file, in bytes.
pub const MAX_FILE_BYTES: usize = 64 * 1024 * 1024;
/// Most targets in one file.
pub const MAX_TARGETS: usize = 1_000_000;
/// Most secrets in one file.
pub const MAX_SECRETS: usize = 1_000_000;
/// Most teams, and most services, regions, stamps, vantages, root sets, policies and nodes of each kind.
pub const MAX_OTHERS: usize = 100_000;
/// Most calendars, and most trains, partitions and drills.
pub const MAX_PLANNED: usize = 1_000;
/// The roots of an internal CA are the set with this and its issuer's name.
pub const CA_ROOTS: &str = "perennial-ca-";
/// Most issuers.
pub const MAX_ISSUERS: usize = 1_000;
/// Most issuers of one secret, and most contacts of one issuer.
pub const MAX_PREFERRED: usize = 16;
/// Shortest and longest life that can be asked of an issuer, in seconds: an hour, and ten years.
pub const LIFETIME_SECONDS: std::ops::RangeInclusive<i64> = 3_600..=3_660 * 86_400;
/// Most freezes of a calendar.
pub const MAX_FREEZES: usize = 100;
/// Most freezes of all calendars together.
pub const MAX_ALL_FREEZES: usize = 10_000;
/// Most secrets of one node: as many as a manifest names.
pub const MAX_NODE_SECRETS: usize = crate::agent::MOST_INSTALLS;
/// Most contacts of a team.
pub const MAX_CONTACTS: usize = 32;
/// Most items of a list inside a secret or a target: names, issuers, vantages.
pub const MAX_LIST: usize = 10_000;
/// Longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 200;
/// Longest free text: an issuer, an address, a reason, a path, in bytes.
pub const MAX_TEXT_BYTES: usize = 4_096;
/// Largest PEM text of one root set, in bytes.
pub const MAX_PEM_BYTES: usize = 4 * 1024 * 1024;
/// Most problems that are reported at once.
pub const MAX_PROBLEMS: usize = 1_000;
/// Shortest interval between two observations, in seconds.
pub const MIN_INTERVAL_SECONDS: i64 = 10;
/// Longest interval between two observations, in seconds: everything is looked at every 7 d.
pub const MAX_INTERVAL_SECONDS: i64 = 7 * 86_400;
/// Longest time that a target may stay drained, in seconds.
pub const MAX_DRAINED_SECONDS: i64 = 30 * 86_400;

/// One problem of a fleet file, at a place in its text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct FleetError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, and what to do next.
    pub message: String,
}

/// One problem of a fleet, wherever it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, such as `target[3].secret`; indexes count from 0.
    pub path: Path,
    /// What is wrong, and what to do next.
    pub message: String,
    /// The other place that this one clashes with.
    pub see: Option<Path>,
    about: About,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Key,
    Value,
}

impl Problem {
    fn form(path: Path, message: String) -> Problem {
        Problem { path, message, see: None, about: About::Value }
    }

    fn unknown_key(path: Path, message: String) -> Problem {
        Problem { path, message, see: None, about: About::Key }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        match &self.see {
            Some(other) => write!(f, " (see {other})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// Parses a fleet file and checks all that can be checked without knowing the time.
///
/// # Errors
/// Every problem, in the order of the text, at most [`MAX_PROBLEMS`] and one line that says so.
pub fn parse(text: &str) -> Result<Fleet, Vec<FleetError>> {
    parse_with(text, None)
}

/// Like [`parse`], and holds moments against `now` (Unix seconds): a target cannot be drained for more
/// than [`MAX_DRAINED_SECONDS`], nor until a moment that has passed.
///
/// # Errors
/// As [`parse`].
pub fn parse_at(text: &str, now: i64) -> Result<Fleet, Vec<FleetError>> {
    parse_with(text, Some(now))
}

fn parse_with(text: &str, now: Option<i64>) -> Result<Fleet, Vec<FleetError>> {
    if text.len() > MAX_FILE_BYTES {
        let message = format!("the file has {} bytes, more than {MAX_FILE_BYTES}; split the fleet", text.len());
        return Err(vec![FleetError { line: 1, column: 1, message }]);
    }
    let lines = place::Lines::new(text);
    let (root, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        // A tree with holes would only produce more noise; form and meaning are checked on whole trees.
        let errors = syntax.iter().map(|e| {
            let (line, column) = lines.position(e.span().map_or(0, |s| s.start));
            FleetError { line, column, message: format!("not valid TOML: {}", e.message().replace('\n', "; ")) }
        });
        return Err(in_order(errors.collect()));
    }
    let mut problems = Vec::new();
    let fleet = read::fleet(root.get_ref(), &mut problems);
    let malformed: BTreeSet<Path> = problems.iter().map(|p| p.path.clone()).collect();
    // What could not be read was replaced by a default; complaining about the default helps nobody.
    // Nor does complaining about a whole table because of it; what lies inside a path follows it in the set.
    let understood = |path: &Path| malformed.range(path..).next().is_none_or(|m| !m.lies_in(path));
    let meant = check::all(&fleet, now).into_iter().filter(|p| understood(&p.path));
    problems.extend(meant);
    if problems.is_empty() {
        return Ok(fleet);
    }
    let mut first_at: BTreeMap<Path, FleetError> = BTreeMap::new();
    for problem in problems {
        let offset = place::locate(root.get_ref(), &problem.path, problem.about == About::Key).start;
        let (line, column) = lines.position(offset);
        let mut message = problem.message;
        if let Some(other) = &problem.see {
            let (line, _) = lines.position(place::locate(root.get_ref(), other, false).start);
            message.push_str(&format!(" (see line {line})"));
        }
        first_at.entry(problem.path).or_insert(FleetError { line, column, message });
    }
    Err(in_order(first_at.into_values().collect()))
}

fn in_order(mut errors: Vec<FleetError>) -> Vec<FleetError> {
    errors.sort();
    errors.dedup();
    if errors.len() > MAX_PROBLEMS {
        let more = errors.len() - MAX_PROBLEMS;
        errors.truncate(MAX_PROBLEMS);
        if let Some(last) = errors.last().cloned() {
            errors.push(FleetError { message: format!("and {more} more problems; solve these first"), ..last });
        }
    }
    errors
}

/// Reads every root set's `file` into its `pem`; `read` gets the path as it was written and answers
/// with the file's text, or with why it could not be read.
///
/// # Errors
/// One problem for each file that could not be read or does not hold certificates.
pub fn resolve_files(fleet: &mut Fleet, mut read: impl FnMut(&str) -> Result<String, String>) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    for (index, roots) in fleet.roots.iter_mut().enumerate() {
        let Some(file) = &roots.file else { continue };
        let outcome = read(file)
            .map_err(|why| format!("cannot read {}: {why}; paths are relative to the fleet file", values::quoted(file)))
            .and_then(|pem| check::pem(&pem).map(|()| pem));
        match outcome {
            Ok(pem) => {
                roots.pem = Some(pem);
                roots.file = None;
            }
            Err(message) => problems.push(Problem::form(Path::item("roots", index).key("file"), message)),
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

#[cfg(test)]
mod tests;
