//! What the rules say about what is neither a secret nor a target: a release, a service, a certificate that many share.

use crate::{
    Span, Time,
    finding::Code,
    policy::Level,
    told::{self, Due, REMIND_AFTER, Told},
};
use alloc::{format, string::String, vec::Vec};

/// One finding about such a subject. The subject itself (`release/12`, `service/storage`) is the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concern {
    /// Which rule.
    pub code: Code,
    /// What tells two findings of one rule about one subject apart (a fingerprint, a secret's name); empty where there is only one.
    pub about: String,
    /// [`Level::Info`] is listed, [`Level::Notice`] is told as well.
    pub level: Level,
    /// Who must hear of it; nobody's goes to the default owner.
    pub teams: Vec<String>,
    /// When it becomes an outage, where that is known.
    pub until: Option<Time>,
    /// The sentence that people read; names and texts in it are escaped.
    pub detail: String,
    /// What to do next, as a sentence.
    pub next_step: String,
    /// Told once and never again while it stands; else weekly.
    pub once: bool,
}

impl Concern {
    /// What tells the findings of one subject apart over time.
    pub fn key(&self) -> String {
        if self.about.is_empty() { String::from(self.code.as_str()) } else { format!("{}/{}", self.code, self.about) }
    }
}

/// What is remembered of a concern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// [`Concern::key`].
    pub key: String,
    /// Whether it stood at the latest assessment.
    pub stands: bool,
    /// When it was told last; none where it was never.
    pub told_at: Option<Time>,
    /// The teams that heard of this episode.
    pub told: Vec<String>,
}

/// Whom to tell now, and when to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// Teams to tell now.
    pub teams: Vec<String>,
    /// Whether they were told before, and it has stood ever since.
    pub again: bool,
    /// When time alone will make it due again.
    pub next: Option<Time>,
}

/// Whom to tell of a concern at `now`. A team that became concerned later is told then; the others are reminded weekly, unless it is
/// told [once](Concern::once).
pub fn telling(concern: &Concern, before: Option<&Remembered>, now: Time) -> Telling {
    let nothing = |next| Telling { teams: Vec::new(), again: false, next };
    if concern.level < Level::Notice {
        return nothing(None);
    }
    let told: Vec<Told> = before.and_then(|b| b.told_at.map(|at| Told { key: b.key.clone(), at, stands: b.stands })).into_iter().collect();
    match told::due(&told, &concern.key(), REMIND_AFTER, now) {
        Due::Now { again: true } if concern.once => nothing(None),
        Due::Now { again } => {
            let next = (!concern.once).then_some(now + REMIND_AFTER);
            Telling { teams: concern.teams.clone(), again, next }
        }
        Due::At(then) => {
            let stands = before.is_some_and(|b| b.stands);
            let unheard = concern.teams.iter().filter(|t| stands && before.is_some_and(|b| !b.told.contains(t)));
            let next = (!concern.once || !stands).then_some(then.max(now + Span::seconds(1)));
            Telling { teams: unheard.cloned().collect(), again: false, next }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn concern(once: bool) -> Concern {
        Concern {
            code: Code::ReleaseLate,
            about: String::new(),
            level: Level::Notice,
            teams: vec!["storage".into(), "security".into()],
            until: None,
            detail: String::new(),
            next_step: String::new(),
            once,
        }
    }

    fn remembered(stands: bool, told_at: Option<Time>, told: &[&str]) -> Remembered {
        Remembered { key: "release-late".into(), stands, told_at, told: told.iter().map(|t| (*t).into()).collect() }
    }

    #[test]
    fn news_at_once_then_weekly_and_a_new_owner_when_it_becomes_one() {
        let at = Time::from_unix(1_000_000);
        let both = ["storage", "security"];
        let s = Span::seconds(1);
        for (once, before, now, teams, again) in [
            (false, None, at, 2, false),
            (false, Some(remembered(true, Some(at), &both)), at + REMIND_AFTER - s, 0, false),
            (false, Some(remembered(true, Some(at), &both)), at + REMIND_AFTER, 2, true),
            (false, Some(remembered(true, Some(at), &["storage"])), at + s, 1, false),
            (false, Some(remembered(false, Some(at), &both)), at + Span::minutes(59), 0, false),
            (false, Some(remembered(false, Some(at), &both)), at + Span::hours(1), 2, false),
            (true, None, at, 2, false),
            (true, Some(remembered(true, Some(at), &both)), at + REMIND_AFTER, 0, false),
            (true, Some(remembered(false, Some(at), &both)), at + REMIND_AFTER, 2, false),
        ] {
            let t = telling(&concern(once), before.as_ref(), now);
            assert_eq!((t.teams.len(), t.again), (teams, again), "{once} {before:?} {now}");
        }
    }

    #[test]
    fn what_is_only_listed_is_told_to_nobody() {
        let info = Concern { level: Level::Info, ..concern(false) };
        assert_eq!(telling(&info, None, Time::from_unix(0)).teams, [""; 0]);
    }
}
