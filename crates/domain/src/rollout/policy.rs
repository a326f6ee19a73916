//! By which waves a version goes out, how much of a service is touched at once, and for how long each wave is watched.

use super::plan::What;
use crate::{Span, words::word};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// What policies are called that nobody wrote down.
pub const STANDARD: &str = "standard";
/// The shorter one.
pub const CRITICAL: &str = "critical";
/// Most waves of a policy.
pub const MAX_WAVES: usize = 20;
/// The longest soak of a wave.
pub const LONGEST_SOAK: Span = Span::days(14);
/// The longest soak of a critical policy's wave: an emergency that waits for an hour is none.
pub const LONGEST_CRITICAL_SOAK: Span = Span::minutes(15);
/// The longest patience of a critical policy: a target that nobody sees holds an emergency up for so long.
pub const LONGEST_CRITICAL_PATIENCE: Span = Span::hours(1);
/// Most of a wave that may be quarantined, in percent.
pub const MOST_QUARANTINED: u32 = 50;
/// What may be quarantined where nobody says otherwise, in percent of a wave.
pub const QUARANTINED: u32 = 2;
/// From so many targets on one of a wave may always be left behind, where the policy lets any be: a share that rounds down to nothing would let
/// one dead node stop everybody.
pub const ONE_OF: usize = 10;

word!(
    /// Which targets a wave takes, of those that no wave before it took.
    Scope {
        /// Those whose nodes are all canaries.
        Canary = "canary",
        /// One stamp of the first region.
        Stamp = "stamp",
        /// What is left of the first region.
        Region = "region",
        /// What is left, a region after the other: as many waves as there are regions.
        Rest = "rest",
        /// All that is left, at once.
        All = "all",
    }
);

/// One wave of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// What it takes.
    pub of: Scope,
    /// The most of the service's targets that may be on their way at once, in percent; one always may.
    pub share: u32,
    /// For how long it is watched after its last target was observed.
    pub soak: Span,
}

/// A rollout policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// The waves, in order; the last one takes all that is left.
    pub waves: Vec<Rule>,
    /// Regions in the order in which they are taken; those that are not named follow by name.
    pub regions: Vec<String>,
    /// How much of a wave may be quarantined, in percent ([`allowed`]).
    pub quarantine: u32,
    /// How long a target may stay unobserved after its nodes were told, before it counts as dead.
    pub patience: Span,
    /// Whether it is rolled back by rule.
    pub roll_back: bool,
}

/// How many of a wave of `size` targets may be left behind, or fail, before the rollout stops: `percent`, rounded down, and one of [`ONE_OF`]
/// or more; no canary ever, and nobody where `percent` is 0.
pub fn allowed(what: What, size: usize, percent: u32) -> usize {
    if what == What::Canary || percent == 0 {
        return 0;
    }
    let share = size.saturating_mul(percent as usize) / 100;
    if size >= ONE_OF { share.max(1) } else { share }
}

impl Policy {
    /// The policy of renewals: canaries, a stamp, a region, then a region after the other.
    pub fn standard() -> Policy {
        Policy {
            name: STANDARD.to_string(),
            waves: [(Scope::Canary, 10, 60), (Scope::Stamp, 10, 60), (Scope::Region, 10, 240), (Scope::Rest, 25, 60)]
                .map(|(of, share, soak)| Rule { of, share, soak: Span::minutes(soak) })
                .to_vec(),
            regions: Vec::new(),
            quarantine: QUARANTINED,
            patience: Span::minutes(30),
            roll_back: true,
        }
    }

    /// The policy of emergencies: canaries for two minutes, a region for two, then all that is left at once.
    pub fn critical() -> Policy {
        Policy {
            name: CRITICAL.to_string(),
            waves: [(Scope::Canary, 100, 2), (Scope::Region, 100, 2), (Scope::All, 100, 0)]
                .map(|(of, share, soak)| Rule { of, share, soak: Span::minutes(soak) })
                .to_vec(),
            regions: Vec::new(),
            quarantine: QUARANTINED,
            patience: Span::minutes(5),
            roll_back: true,
        }
    }

    /// What is wrong with it, one sentence each; `critical` where it is to be used in emergencies.
    pub fn problems(&self, critical: bool) -> Vec<String> {
        let mut problems = Vec::new();
        if self.waves.is_empty() || self.waves.len() > MAX_WAVES {
            problems.push(format!("a policy has 1 to {MAX_WAVES} waves, not {}", self.waves.len()));
        }
        if let Some(last) = self.waves.last()
            && !matches!(last.of, Scope::Rest | Scope::All)
        {
            problems.push(format!("the last wave is {}, and what it leaves would never be reached: end with rest or all", last.of));
        }
        let ends = self.waves.iter().take(self.waves.len().saturating_sub(1)).filter(|r| matches!(r.of, Scope::Rest | Scope::All));
        for rule in ends {
            problems.push(format!("nothing is left after the wave {}: it can only be the last", rule.of));
        }
        for rule in &self.waves {
            if rule.share == 0 || rule.share > 100 {
                problems.push(format!("the share of the wave {} is {} percent; it is 1 to 100", rule.of, rule.share));
            }
            let longest = if critical { LONGEST_CRITICAL_SOAK } else { LONGEST_SOAK };
            if rule.soak < Span::ZERO || rule.soak > longest {
                let which = if critical { "a critical policy" } else { "a policy" };
                problems.push(format!("the wave {} soaks for {}; in {which} that is at most {longest}", rule.of, rule.soak));
            }
        }
        if self.quarantine > MOST_QUARANTINED {
            problems.push(format!("{} percent may be quarantined; that is at most {MOST_QUARANTINED}", self.quarantine));
        }
        let longest = if critical { LONGEST_CRITICAL_PATIENCE } else { LONGEST_SOAK };
        if self.patience < Span::seconds(1) || self.patience > longest {
            let which = if critical { " of a critical policy" } else { "" };
            problems.push(format!("the patience{which} of {} is not between 1 s and {longest}", self.patience));
        }
        problems
    }
}
