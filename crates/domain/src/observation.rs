//! What one look at production adds to what was known about a combination.
//!
//! The store keeps one [`Record`] per combination and every [`Change`]. A record remembers the *other* certificates that were
//! seen until enough handshakes in a row have shown none of them: behind a shared address one good answer proves little.

use crate::{
    Fingerprint, Time,
    words::{Blame, Combination, CombinationId},
};
use alloc::{string::String, vec::Vec};

/// What an attempt brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A chain was presented and possession of its key was proven.
    Presented {
        /// SHA-256 over the presented chain.
        chain: Fingerprint,
        /// The certificate in front of it.
        leaf: Fingerprint,
    },
    /// Nothing usable was presented.
    Failed(Failure),
}

/// Why nothing was presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Who is to blame.
    pub blame: Blame,
    /// Whether trying again may help without anybody doing something.
    pub retry: bool,
    /// What happened, in words.
    pub detail: String,
}

/// A chain, and when it was last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// When.
    pub at: Time,
    /// SHA-256 over the presented chain.
    pub chain: Fingerprint,
    /// The certificate in front of it.
    pub leaf: Fingerprint,
}

/// A run of failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// Since when.
    pub since: Time,
    /// How many in a row.
    pub count: u32,
    /// The latest one.
    pub last: Failure,
}

/// Different chains that a record remembers; beyond these the ones seen longest ago are forgotten.
pub const MOST_OTHERS: usize = 8;

/// What is known about one combination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number, for evidence.
    pub id: CombinationId,
    /// Which one.
    pub combination: Combination,
    /// The latest attempt.
    pub last_at: Time,
    /// The latest success.
    pub good: Option<Sighting>,
    /// Different chains that were seen before it, until the streak has outlived them; at most [`MOST_OTHERS`].
    pub others: Vec<Sighting>,
    /// How many successes in a row showed the chain of `good`, since evidence was last asked for.
    pub streak: u32,
    /// Since when that is counted.
    pub streak_since: Time,
    /// The failures since the latest success.
    pub failing: Option<Failing>,
    /// When an attestation ends.
    pub expires_at: Option<Time>,
}

/// What is worth keeping for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// As before.
    None,
    /// The first look.
    First,
    /// Another chain than the last time.
    Chain,
    /// It had answered before.
    Failed,
    /// It answers again.
    Recovered,
}

impl Record {
    /// A combination that nobody has looked at.
    pub fn new(id: CombinationId, combination: Combination) -> Record {
        let never = Time::from_unix(0);
        Record {
            id,
            combination,
            last_at: never,
            good: None,
            others: Vec::new(),
            streak: 0,
            streak_since: never,
            failing: None,
            expires_at: None,
        }
    }

    /// Takes one attempt in. `needed` is the length of a streak that outlives another certificate.
    ///
    /// Reports may arrive late or twice (a vantage that was cut off): what is not newer than what is known changes nothing.
    pub fn observe(&mut self, outcome: &Outcome, at: Time, needed: u32) -> Change {
        let first = self.good.is_none() && self.failing.is_none();
        if at < self.last_at {
            return Change::None;
        }
        self.last_at = at;
        match outcome {
            Outcome::Presented { chain, leaf } => {
                let seen = Sighting { at, chain: *chain, leaf: *leaf };
                let recovered = self.failing.take().is_some();
                let before = self.good.replace(seen);
                let chain_changed = before.is_some_and(|b| b.chain != seen.chain);
                match before {
                    Some(b) if b.chain == seen.chain => self.streak = self.streak.saturating_add(1),
                    _ => {
                        self.others.retain(|o| o.chain != seen.chain);
                        self.others.extend(before);
                        if self.others.len() > MOST_OTHERS {
                            self.others.remove(0);
                        }
                        self.streak = 1;
                        self.streak_since = at;
                    }
                }
                if self.streak >= needed {
                    self.others.clear();
                }
                match (first, chain_changed, recovered) {
                    (true, ..) => Change::First,
                    (_, true, _) => Change::Chain,
                    (.., true) => Change::Recovered,
                    _ => Change::None,
                }
            }
            Outcome::Failed(failure) => {
                let before = self.failing.take();
                let change = match (&before, first) {
                    (None, true) => Change::First,
                    (None, false) => Change::Failed,
                    (Some(_), _) => Change::None,
                };
                self.failing = Some(match before {
                    Some(f) => Failing { count: f.count.saturating_add(1), last: failure.clone(), ..f },
                    None => Failing { since: at, count: 1, last: failure.clone() },
                });
                change
            }
        }
    }

    /// Every certificate that this combination may still be answering with.
    pub fn may_serve(&self) -> impl Iterator<Item = Sighting> {
        self.good.into_iter().chain(self.others.iter().copied())
    }

    /// Whether the latest attempt succeeded, and nothing else than what it showed was seen of late.
    pub fn steady(&self) -> bool {
        self.good.is_some() && self.others.is_empty() && self.failing.is_none()
    }

    /// Whether it is steady, and `needed` handshakes since evidence was last asked for say so.
    pub fn settled(&self, needed: u32) -> bool {
        self.steady() && self.streak >= needed
    }

    /// Asks for evidence anew: a line was opened at `at`, and what was seen before says nothing about its end.
    pub fn ask_again(&mut self, at: Time) {
        self.streak = 0;
        self.streak_since = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{Method, Offer};

    fn fp(n: u8) -> Fingerprint {
        Fingerprint::from_bytes([n; 32])
    }
    fn shows(n: u8) -> Outcome {
        Outcome::Presented { chain: fp(n), leaf: fp(n) }
    }
    fn fails() -> Outcome {
        Outcome::Failed(Failure { blame: Blame::Network, retry: true, detail: "connection refused".into() })
    }
    fn record() -> Record {
        Record::new(
            CombinationId(1),
            Combination {
                address: "192.0.2.1:443".into(),
                vantage: "local".into(),
                server_name: "a.example".into(),
                offer: Offer::All,
                method: Method::Dialled,
            },
        )
    }
    fn at(n: i64) -> Time {
        Time::from_unix(1_000_000 + n)
    }

    #[test]
    fn an_old_certificate_behind_a_shared_address_is_outlived_only_by_thirty_in_a_row() {
        let mut r = record();
        assert_eq!(r.observe(&shows(1), at(0), 30), Change::First);
        assert!(r.steady() && !r.settled(30), "there was nothing before it, and one handshake proves nothing");
        assert_eq!(r.observe(&shows(2), at(1), 30), Change::Chain);
        for n in 2..=29 {
            assert_eq!(r.observe(&shows(2), at(n), 30), Change::None);
            assert!(!r.settled(30), "{n} handshakes are not enough");
        }
        r.observe(&shows(2), at(30), 30);
        assert_eq!(r.streak, 30);
        assert!(r.settled(30));
        r.ask_again(at(40));
        assert!(r.steady() && !r.settled(30) && !r.settled(1), "what was seen before the question is no answer");
        for n in 0..30 {
            assert!(!r.settled(30));
            r.observe(&shows(2), at(41 + n), 30);
        }
        assert_eq!((r.settled(30), r.streak_since), (true, at(40)));
    }

    #[test]
    fn two_strangers_that_take_turns_are_both_remembered() {
        let mut r = record();
        for n in 0..20 {
            r.observe(&shows(1), at(3 * n), 30);
            r.observe(&shows(if n % 2 == 0 { 2 } else { 3 }), at(3 * n + 1), 30);
            r.observe(&shows(1), at(3 * n + 2), 30);
            let mut seen: Vec<u8> = r.may_serve().map(|s| s.leaf.as_bytes()[0]).collect();
            seen.sort_unstable();
            assert_eq!(seen, if n == 0 { &[1, 2][..] } else { &[1, 2, 3] }, "round {n}");
            assert!(!r.settled(30));
        }
        // More strangers than are remembered: the ones seen last stay.
        for n in 10..30 {
            r.observe(&shows(n), at(100 + i64::from(n)), 30);
        }
        assert_eq!(r.others.len(), MOST_OTHERS);
        assert_eq!(r.others.iter().map(|o| o.leaf).min(), Some(fp(21)));
    }

    #[test]
    fn one_stale_answer_begins_the_count_again() {
        let mut r = record();
        r.observe(&shows(1), at(0), 30);
        for n in 1..=29 {
            r.observe(&shows(2), at(n), 30);
        }
        r.observe(&shows(1), at(30), 30);
        assert_eq!((r.streak, r.others.iter().map(|o| o.leaf).collect()), (1, alloc::vec![fp(2)]));
        assert_eq!(r.may_serve().count(), 2);
    }

    #[test]
    fn silence_forgets_nothing() {
        let mut r = record();
        r.observe(&shows(1), at(0), 1);
        assert_eq!(r.observe(&fails(), at(1), 1), Change::Failed);
        assert_eq!(r.observe(&fails(), at(2), 1), Change::None);
        assert_eq!(r.good.map(|g| g.leaf), Some(fp(1)));
        assert_eq!(r.failing.as_ref().map(|f| (f.since, f.count)), Some((at(1), 2)));
        assert_eq!(r.observe(&shows(1), at(3), 1), Change::Recovered);
    }

    #[test]
    fn a_late_report_changes_nothing() {
        let mut r = record();
        r.observe(&shows(2), at(10), 1);
        let before = r.clone();
        assert_eq!(r.observe(&shows(1), at(9), 1), Change::None);
        assert_eq!(r, before);
    }
}
