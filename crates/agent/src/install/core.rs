//! What is done next at one place of one secret: a function of what was done and what came of it.
//!
//! ```text
//!            ┌────────────────────── wanted ──────────────────────┐
//! Settled ───┴→ Stage ─→ Switch ─→ Reload ─→ Look ─→ Settled (good = goal)
//!                 │         │         │        │
//!                 │         └────┬────┴────────┘ failed, and readers may see the new files
//!                 │              ▼
//!                 │          BackStage ─→ BackSwitch ─→ BackReload ─→ BackLook ─→ Settled (failed, good is in place)
//!                 └ failed: readers see what they saw before ─────────────────→ Settled (failed)
//! ```
//!
//! What readers could see is written down before it is done ([`Record::must_be_written`]), and every act may be done twice. So whatever stopped
//! the agent, it reads the phase and acts on it: recovering is the same code as going on.

use std::time::Duration;

use pki::Time;
use serde::{Deserialize, Serialize};

use crate::pace;

/// The first wait after a failed install.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest wait between two tries.
const MOST_WAIT: Duration = Duration::from_secs(3600);

/// What is to lie at the place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goal {
    /// The version.
    pub version: i64,
    /// Its leaf, SHA-256 in hexadecimal.
    pub leaf: String,
    /// The generation at which the node was told to have it. Goals of an earlier one are not taken.
    pub generation: i64,
    /// A rehearsed fault: nothing is reloaded.
    #[serde(default)]
    pub stale_reload: bool,
}

impl Goal {
    /// A generation of the store's as one number that only goes forward: a restored store begins another life and may count anew.
    #[must_use]
    pub fn generation(epoch: i64, since: i64) -> i64 {
        epoch.saturating_mul(1 << 40).saturating_add(since)
    }
}

/// What lies at the place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lies {
    /// Its version; 0 for what lay there before the agent came.
    pub version: i64,
    /// Its leaf, where it can be read.
    pub leaf: Option<String>,
    /// The folder beside the place that holds its files.
    pub label: String,
    /// Whether the agent's own look saw it served.
    pub seen: bool,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing is under way.
    #[default]
    Settled,
    /// The goal's files are written aside and verified. Readers see what they saw.
    Stage,
    /// The one switch. Readers see the old files or the new ones.
    Switch,
    /// Readers see the new files; whoever keeps them in memory is told.
    Reload,
    /// The new certificate is looked for at the node's own port.
    Look,
    /// The last good files are made sure of.
    BackStage,
    /// The switch back.
    BackSwitch,
    /// Whoever keeps them in memory is told.
    BackReload,
    /// The last good certificate is looked for.
    BackLook,
}

/// Why the last try did not end as wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// What went wrong first.
    pub reason: String,
    /// Whether the last good version is known to be in place, and served where that was looked at.
    pub good_in_place: bool,
}

/// What is remembered of one place. Lies in the state folder; everything that a restart needs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Record {
    /// The highest generation of a goal that was taken.
    pub generation: i64,
    /// The last that was made to work, or lay here before the agent came.
    pub good: Option<Lies>,
    /// What is under way, or was tried last.
    pub goal: Option<Goal>,
    /// The folder that holds the goal's files, once they are staged.
    pub staged: Option<String>,
    /// What readers of the files see, as far as that is known.
    pub lies: Option<Lies>,
    /// How far it is.
    pub phase: Phase,
    /// Why it goes back, while it does; why the last try failed, after it.
    pub failed: Option<Failed>,
    /// Tries of this goal that failed.
    pub attempts: u32,
    /// When the next one may begin (Unix seconds).
    pub not_before: i64,
    /// When the last try ended (Unix seconds).
    pub at: i64,
}

/// What came of an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The files lie aside, under this label, and are what they should be.
    Staged(String),
    /// It was done.
    Done,
    /// The certificate was seen; or nothing is configured to look at.
    Looked {
        /// Whether there was a look.
        seen: bool,
    },
    /// It was not done.
    Failed {
        /// Why.
        reason: String,
        /// Whether readers may see other files now than before the try began.
        changed: bool,
    },
}

impl Record {
    /// Begins to work for a goal, if that is called for. Says whether there is something to do now.
    ///
    /// `whole` says whether what should lie at the place does: what people changed by hand is put right.
    pub fn want(&mut self, goal: &Goal, whole: bool, now: Time) -> bool {
        if self.phase != Phase::Settled {
            return true;
        }
        if goal.generation < self.generation {
            return false;
        }
        let same = self.goal.as_ref() == Some(goal);
        let done = self.failed.is_none() && self.good.as_ref().is_some_and(|good| good.version == goal.version && is(good, goal));
        if done && whole {
            // A new generation for what is here already is settled by knowing it.
            self.generation = goal.generation;
            self.goal = Some(goal.clone());
            return false;
        }
        if same && self.failed.is_some() && now.unix() < self.not_before {
            return false;
        }
        if !same {
            (self.attempts, self.not_before) = (0, 0);
        }
        self.generation = goal.generation;
        self.goal = Some(goal.clone());
        self.phase = Phase::Stage;
        true
    }

    /// Goes on after an act. `who` is the node, by which waits are spread.
    #[must_use]
    pub fn after(mut self, event: Event, who: &str, now: Time) -> Record {
        use Phase as P;
        let goal_lies = |record: &Record| {
            let (goal, label) = (record.goal.as_ref()?, record.staged.clone()?);
            Some(Lies { version: goal.version, leaf: Some(goal.leaf.clone()), label, seen: false })
        };
        match (self.phase, event) {
            (P::Settled, _) => {}
            (P::Stage, Event::Staged(label)) => {
                self.staged = Some(label);
                self.phase = P::Switch;
            }
            (P::Switch, Event::Done) => {
                self.lies = goal_lies(&self);
                self.phase = P::Reload;
            }
            (P::Reload, Event::Done) => self.phase = P::Look,
            (P::Look, Event::Looked { seen }) => {
                self.good = goal_lies(&self).map(|lies| Lies { seen, ..lies });
                self.lies = self.good.clone();
                self.settle(None, who, now);
            }
            (P::BackStage, Event::Staged(label)) => {
                if let Some(good) = &mut self.good {
                    good.label = label;
                }
                self.phase = P::BackSwitch;
            }
            (P::BackSwitch, Event::Done) => {
                self.lies = self.good.clone();
                self.phase = P::BackReload;
            }
            (P::BackReload, Event::Done) => self.phase = P::BackLook,
            (P::BackLook, Event::Looked { .. }) => {
                let reason = self.reason();
                self.settle(Some(Failed { reason, good_in_place: true }), who, now);
            }
            (P::Stage, Event::Failed { reason, changed: false }) => {
                let good_in_place = self.good.is_some();
                self.settle(Some(Failed { reason, good_in_place }), who, now);
            }
            (P::Switch, Event::Failed { reason, changed: false }) => {
                let good_in_place = self.good.is_some();
                self.settle(Some(Failed { reason, good_in_place }), who, now);
            }
            (P::Stage | P::Switch | P::Reload | P::Look, Event::Failed { reason, .. }) => {
                let another = self.good.as_ref().is_some_and(|good| self.goal.as_ref().is_none_or(|goal| !is(good, goal)));
                let failed = Failed { reason, good_in_place: false };
                if another {
                    self.failed = Some(failed);
                    self.phase = P::BackStage;
                } else {
                    // There is nothing better to put there.
                    self.settle(Some(failed), who, now);
                }
            }
            (P::BackStage | P::BackSwitch | P::BackReload | P::BackLook, Event::Failed { reason, .. }) => {
                let reason = format!("{}; putting the last good version back: {reason}", self.reason());
                self.settle(Some(Failed { reason, good_in_place: false }), who, now);
            }
            // An answer to another question: the same is asked again.
            (_, _) => {}
        }
        self
    }

    fn reason(&self) -> String {
        self.failed.as_ref().map_or_else(String::new, |failed| failed.reason.clone())
    }

    fn settle(&mut self, failed: Option<Failed>, who: &str, now: Time) {
        self.phase = Phase::Settled;
        self.staged = None;
        self.at = now.unix();
        (self.attempts, self.not_before) = match failed {
            None => (0, 0),
            Some(_) => {
                let attempts = self.attempts.saturating_add(1);
                let wait = pace::delay(who, attempts, FIRST_WAIT, MOST_WAIT).as_secs().max(1);
                (attempts, now.unix().saturating_add(i64::try_from(wait).unwrap_or(i64::MAX)))
            }
        };
        self.failed = failed;
    }

    /// Whether the next act may only begin when this is on the disk: it changes what readers see, or there is none. What lies between may
    /// be done again from there: staging what is staged, reloading what was reloaded, looking once more.
    #[must_use]
    pub fn must_be_written(&self) -> bool {
        matches!(self.phase, Phase::Switch | Phase::BackSwitch | Phase::Settled)
    }

    /// When time alone gives it something to do (Unix seconds).
    #[must_use]
    pub fn next(&self) -> Option<i64> {
        match self.phase {
            Phase::Settled => self.failed.as_ref().map(|_| self.not_before),
            // Only whoever could not write the journal leaves it so, and knows when to try again.
            _ => None,
        }
    }
}

/// Whether this is the goal's certificate.
fn is(lies: &Lies, goal: &Goal) -> bool {
    lies.version == goal.version && lies.leaf.as_deref() == Some(goal.leaf.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn goal(version: i64, generation: i64) -> Goal {
        Goal { version, leaf: format!("leaf-{version}"), generation, stale_reload: false }
    }

    fn at(seconds: i64) -> Time {
        Time::from_unix(seconds)
    }

    fn ok(record: &Record) -> Event {
        match record.phase {
            Phase::Stage | Phase::BackStage => Event::Staged(format!("label-{}", record.goal.as_ref().unwrap().version)),
            Phase::Look | Phase::BackLook => Event::Looked { seen: true },
            _ => Event::Done,
        }
    }

    fn failed(changed: bool) -> Event {
        Event::Failed { reason: "no".into(), changed }
    }

    /// Runs to the end, failing at these phases.
    fn run(mut record: Record, fail: &[Phase]) -> (Record, Vec<Phase>) {
        let mut seen = Vec::new();
        while record.phase != Phase::Settled {
            seen.push(record.phase);
            let event = if fail.contains(&record.phase) { failed(record.phase != Phase::Stage) } else { ok(&record) };
            record = record.after(event, "web-1", at(1000));
            assert!(seen.len() < 20, "{seen:?}");
        }
        (record, seen)
    }

    fn installed(version: i64) -> Record {
        let mut record = Record::default();
        assert!(record.want(&goal(version, version), false, at(0)));
        run(record, &[]).0
    }

    #[test]
    fn the_way_forward() {
        let mut record = Record::default();
        assert!(record.want(&goal(1, 1), false, at(0)));
        let (mut record, seen) = run(record, &[]);
        assert_eq!(seen, [Phase::Stage, Phase::Switch, Phase::Reload, Phase::Look]);
        assert_eq!(record.good.as_ref().map(|good| (good.version, good.seen)), Some((1, true)));
        assert!(!record.want(&goal(1, 1), true, at(5)), "it is there");
        assert!(!record.want(&goal(1, 4), true, at(5)), "a new generation of the same");
        assert_eq!(record.generation, 4);
        assert!(record.want(&goal(1, 4), false, at(5)), "somebody changed the files");
    }

    #[test]
    fn generations_only_go_forward() {
        let mut record = installed(5);
        assert!(!record.want(&goal(4, 4), true, at(5)));
        assert_eq!(record, installed(5));
        // Back to an older version is a new generation.
        assert!(record.want(&goal(4, 6), true, at(5)));
        assert_eq!(run(record, &[]).0.good.unwrap().version, 4);
    }

    #[test]
    fn whatever_fails_after_the_switch_puts_the_last_good_version_back() {
        let back = [Phase::BackStage, Phase::BackSwitch, Phase::BackReload, Phase::BackLook];
        for fail in [Phase::Switch, Phase::Reload, Phase::Look] {
            let mut record = installed(1);
            record.want(&goal(2, 2), true, at(0));
            let (record, seen) = run(record, &[fail]);
            assert!(seen.ends_with(&back), "{fail:?} {seen:?}");
            assert_eq!(record.lies.as_ref().unwrap().version, 1);
            assert_eq!(record.failed, Some(Failed { reason: "no".into(), good_in_place: true }));
            for worse in back {
                let mut record = installed(1);
                record.want(&goal(2, 2), true, at(0));
                let (record, _) = run(record, &[fail, worse]);
                assert!(!record.failed.as_ref().unwrap().good_in_place, "{fail:?} {worse:?}");
            }
        }
    }

    #[test]
    fn what_fails_before_the_switch_changes_nothing() {
        for (phase, event) in [(Phase::Stage, failed(false)), (Phase::Switch, failed(false))] {
            let mut record = installed(1);
            record.want(&goal(2, 2), true, at(0));
            while record.phase != phase {
                let event = ok(&record);
                record = record.after(event, "web-1", at(0));
            }
            let record = record.after(event, "web-1", at(0));
            assert_eq!((record.phase, record.lies.as_ref().unwrap().version), (Phase::Settled, 1));
            assert!(record.failed.as_ref().unwrap().good_in_place);
        }
    }

    #[test]
    fn a_first_install_that_fails_stays_and_is_tried_again() {
        let mut record = Record::default();
        record.want(&goal(1, 1), false, at(0));
        let (mut record, seen) = run(record, &[Phase::Reload]);
        assert_eq!(seen.last(), Some(&Phase::Reload));
        assert_eq!((record.lies.as_ref().unwrap().version, record.attempts), (1, 1));
        assert!(!record.failed.as_ref().unwrap().good_in_place);
        assert!(!record.want(&goal(1, 1), true, at(1000)), "not before its time");
        let due = record.next().unwrap();
        assert!((1003..=1005).contains(&due), "{due}");
        assert!(record.want(&goal(1, 1), true, at(due)));
        let (record, _) = run(record, &[Phase::Reload]);
        assert_eq!(record.attempts, 2);
        // Something else to install is tried at once.
        let mut other = record.clone();
        assert!(other.want(&goal(2, 2), true, at(1000)));
        assert_eq!(other.attempts, 0);
    }

    #[test]
    fn an_answer_to_another_question_changes_nothing() {
        let mut record = installed(1);
        record.want(&goal(2, 2), true, at(0));
        assert_eq!(record.clone().after(Event::Looked { seen: true }, "x", at(9)), record);
        assert_eq!(record.clone().after(Event::Done, "x", at(9)), record);
    }

    #[test]
    fn every_phase_survives_the_state_folder() {
        let mut record = installed(1);
        record.want(&goal(2, 2), true, at(0));
        while record.phase != Phase::Settled {
            let text = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
            let event = if record.phase == Phase::Look { failed(true) } else { ok(&record) };
            record = record.after(event, "web-1", at(0));
        }
    }
}
