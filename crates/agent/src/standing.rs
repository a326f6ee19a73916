//! How each secret stands on this node: what is reported, and what `status` shows. Read from the journals alone.

use api::agent::{InstallReport, InstallState, Manifest};
use pki::Time;
use serde::Serialize;

use crate::{
    config::{Config, Install},
    error::Error,
    install::{Goal, Phase, Record},
    state::State,
};

/// How one place stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The secret.
    pub secret: String,
    /// The path that stands for the place; empty where nothing is configured.
    pub place: String,
    /// The version that is wanted; 0 for none.
    pub wanted: i64,
    /// The version that lies there; 0 for none, or for what lay there before.
    pub version: i64,
    /// Its leaf.
    pub leaf: Option<String>,
    /// How far it is.
    pub state: InstallState,
    /// What went wrong, or what is waited for.
    pub detail: String,
    /// Tries that failed.
    pub attempts: u32,
    /// When the last one ended (Unix seconds).
    pub at: i64,
}

impl Standing {
    /// Whether somebody has to do something, or it is not over yet.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self.state, InstallState::Installed | InstallState::Unseen)
    }
}

/// All places of all secrets that the manifest names. `waits` says what is waited for, by secret.
///
/// # Errors
/// A journal cannot be read.
pub fn of(
    state: &State,
    config: &Config,
    manifest: Option<&Manifest>,
    waits: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Standing>, Error> {
    let mut all = Vec::new();
    for wanted in manifest.map(|manifest| manifest.installs.as_slice()).unwrap_or_default() {
        let mut places = config.places_of(&wanted.secret).peekable();
        if places.peek().is_none() {
            let detail = format!("no [[install]] of this node's configuration names secret {}", wanted.secret);
            let unconfigured = InstallState::Unconfigured;
            all.push(Standing { detail, ..bare(&wanted.secret, "", wanted.version, unconfigured) });
        }
        for install in places {
            let record = state.record(install)?;
            let since = manifest.map_or(0, |manifest| Goal::generation(manifest.epoch, wanted.since));
            all.push(place(install, wanted.version, since, &record, waits(&wanted.secret)));
        }
    }
    Ok(all)
}

fn bare(secret: &str, place: &str, wanted: i64, state: InstallState) -> Standing {
    let (secret, place) = (secret.to_owned(), place.to_owned());
    Standing { secret, place, wanted, version: 0, leaf: None, state, detail: String::new(), attempts: 0, at: 0 }
}

fn place(install: &Install, version: i64, since: i64, record: &Record, waits: Option<String>) -> Standing {
    let is_goal = record.goal.as_ref().is_some_and(|goal| goal.version == version && goal.generation >= since);
    let seen = record.good.as_ref().is_some_and(|good| good.seen);
    let (state, detail) = match (&record.failed, record.phase) {
        _ if !is_goal => (InstallState::Fetching, waits.unwrap_or_default()),
        (Some(failed), Phase::Settled) if failed.good_in_place => (InstallState::RolledBack, failed.reason.clone()),
        (Some(failed), Phase::Settled) => (InstallState::Failed, failed.reason.clone()),
        (None, Phase::Settled) if seen => (InstallState::Installed, String::new()),
        (None, Phase::Settled) => (InstallState::Unseen, String::new()),
        (_, phase) => (InstallState::Fetching, format!("under way: {phase:?}")),
    };
    let lies = record.lies.as_ref();
    Standing {
        version: lies.map_or(0, |lies| lies.version),
        leaf: lies.and_then(|lies| lies.leaf.clone()),
        detail,
        attempts: record.attempts,
        at: record.at,
        ..bare(&install.secret, &install.place.path().display().to_string(), version, state)
    }
}

/// One line for each secret: of several places the one that is worst off speaks.
#[must_use]
pub fn reports(all: &[Standing]) -> Vec<InstallReport> {
    let rank = |state: InstallState| match state {
        InstallState::Failed => 0,
        InstallState::RolledBack => 1,
        InstallState::Unconfigured => 2,
        InstallState::Fetching => 3,
        InstallState::Unseen => 4,
        InstallState::Installed => 5,
    };
    let mut reports: Vec<InstallReport> = Vec::new();
    let mut sorted: Vec<&Standing> = all.iter().collect();
    sorted.sort_by_key(|standing| (standing.secret.as_str(), rank(standing.state), standing.place.as_str()));
    for standing in sorted {
        if reports.last().is_some_and(|last| last.secret == standing.secret) {
            continue;
        }
        let at = if standing.detail.is_empty() || standing.place.is_empty() { "" } else { standing.place.as_str() };
        let between = if at.is_empty() { "" } else { ": " };
        reports.push(InstallReport {
            secret: standing.secret.clone(),
            version: standing.version,
            state: standing.state,
            leaf: standing.leaf.clone(),
            detail: format!("{at}{between}{}", standing.detail),
            attempts: standing.attempts,
            at: Time::from_unix(standing.at).to_string(),
        });
    }
    reports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_generation_wanted_is_not_what_this_one_wants() {
        let install = crate::config::parse("[[install]]\nsecret = \"www\"\ncombined = \"/a\"").map(|config| config.installs);
        let install = install.unwrap_or_default().remove(0);
        let goal = Goal { version: 2, leaf: "l".into(), generation: Goal::generation(1, 7), stale_reload: false };
        let record = Record { goal: Some(goal), ..Record::default() };
        for (epoch, since, expected) in [(1, 7, InstallState::Unseen), (1, 8, InstallState::Fetching), (2, 1, InstallState::Fetching)] {
            let standing = place(&install, 2, Goal::generation(epoch, since), &record, None);
            assert_eq!(standing.state, expected, "life {epoch}, generation {since}");
        }
    }

    #[test]
    fn of_several_places_the_worst_speaks() {
        let one = |place: &str, state| Standing { detail: "why".into(), ..bare("www", place, 2, state) };
        let check = |states: &[InstallState], expected: InstallState| {
            let all: Vec<Standing> = states.iter().enumerate().map(|(n, state)| one(&format!("/{n}"), *state)).collect();
            let reports = reports(&all);
            assert_eq!(reports.len(), 1);
            assert_eq!(reports.first().map(|report| report.state), Some(expected));
        };
        use InstallState::{Failed, Fetching, Installed, RolledBack, Unseen};
        check(&[Installed, Installed], Installed);
        check(&[Installed, Unseen], Unseen);
        check(&[Unseen, Fetching, Installed], Fetching);
        check(&[Installed, RolledBack], RolledBack);
        check(&[RolledBack, Failed], Failed);
        let all = [one("/a", Failed), bare("zzz", "", 1, InstallState::Unconfigured)];
        assert_eq!(reports(&all).iter().map(|r| r.detail.as_str()).collect::<Vec<_>>(), ["/a: why", ""]);
    }
}
