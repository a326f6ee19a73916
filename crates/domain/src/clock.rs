//! Whether the clock is believed. Closings and mass actions wait for a clock that is; openings are grouped while it is not.

use crate::{Span, Time};
use alloc::{format, string::String, vec::Vec};

/// How far two clocks may be apart.
pub const TOLERANCE: Span = Span::seconds(30);
/// How long a store may have slept before a start that nobody vouches for is doubted: a clock that is years ahead looks just like
/// a long sleep.
pub const LONGEST_SLEEP: Span = Span::days(30);

/// What is known about the clock; what nobody said is no evidence against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// What the operating system says about synchronisation.
    pub synchronised: Option<bool>,
    /// How far the clock that only counts, and cannot be set, is ahead of ours since both were compared last.
    pub counted_ahead: Span,
    /// How far an independent witness is ahead of us: the database server, or a web server's `Date`.
    pub witness_ahead: Option<Span>,
    /// A person compared the clock with another one since the start.
    pub confirmed: bool,
    /// How long the store had slept when this server started, by its clock; none once somebody vouched for that clock.
    pub slept: Option<Span>,
    /// The latest time that the store has recorded.
    pub high_water: Option<Time>,
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Belief {
    /// Go on.
    Believed,
    /// Hold what cannot be undone; each reason is a sentence.
    Doubted(Vec<String>),
}

impl Belief {
    /// Whether it is believed.
    pub fn is_believed(&self) -> bool {
        *self == Belief::Believed
    }
}

/// Whether two clocks that are so far apart say the same.
pub fn agrees(ahead: Span) -> bool {
    ahead <= TOLERANCE && ahead >= Span::seconds(-TOLERANCE.as_secs())
}

/// Weighs the evidence at `now`.
///
/// Somebody who looked at another clock, a person or a witness, outweighs a system that has not synchronised (yet) and a long
/// sleep; a person outweighs a witness as well, which may be the one that is wrong. Nobody outweighs a jump or what is recorded:
/// those end when they were settled (by a new comparison; by setting the mark back).
pub fn believe(evidence: &Evidence, now: Time) -> Belief {
    let mut doubts = Vec::new();
    let vouched = evidence.confirmed || evidence.witness_ahead.is_some_and(agrees);
    if evidence.synchronised == Some(false) && !vouched {
        doubts.push(String::from("the operating system says that its clock is not synchronised"));
    }
    if !agrees(evidence.counted_ahead) {
        doubts.push(jump(evidence.counted_ahead));
    }
    if let Some(ahead) = evidence.witness_ahead
        && !agrees(ahead)
        && !evidence.confirmed
    {
        doubts.push(apart("an independent witness", ahead));
    }
    if let Some(slept) = evidence.slept
        && slept > LONGEST_SLEEP
        && !vouched
    {
        doubts.push(format!("the clock is {slept} after the last time that this store has recorded, and nobody vouches for it"));
    }
    if let Some(high) = evidence.high_water
        && now < high - TOLERANCE
    {
        doubts.push(format!("the clock is {} behind what this store has already recorded", high - now));
    }
    if doubts.is_empty() { Belief::Believed } else { Belief::Doubted(doubts) }
}

fn jump(counted_ahead: Span) -> String {
    let (by, way) = magnitude(counted_ahead, "back", "ahead");
    format!("the clock jumped {by} {way} while the server ran")
}

fn apart(who: &str, ahead: Span) -> String {
    let (by, way) = magnitude(ahead, "ahead of", "behind");
    format!("{who} is {by} {way} this clock")
}

fn magnitude(span: Span, positive: &'static str, negative: &'static str) -> (Span, &'static str) {
    if span.as_secs() < 0 { (Span::seconds(span.as_secs().saturating_neg()), negative) } else { (span, positive) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_doubt() {
        let now = Time::from_unix(2_000_000_000);
        let quiet = Evidence {
            synchronised: None,
            counted_ahead: Span::seconds(0),
            witness_ahead: None,
            confirmed: false,
            slept: None,
            high_water: Some(now),
        };
        let check = |e: Evidence, expected: &[&str]| match believe(&e, now) {
            Belief::Believed => assert!(expected.is_empty(), "{e:?}"),
            Belief::Doubted(reasons) => {
                assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
                for (reason, part) in reasons.iter().zip(expected) {
                    assert!(reason.contains(part), "{reason}");
                }
            }
        };
        check(quiet, &[]);
        check(Evidence { synchronised: Some(true), witness_ahead: Some(Span::seconds(30)), ..quiet }, &[]);
        check(Evidence { high_water: None, ..quiet }, &[]);

        let unsynchronised = Evidence { synchronised: Some(false), ..quiet };
        check(unsynchronised, &["not synchronised"]);
        check(Evidence { witness_ahead: Some(Span::seconds(-30)), ..unsynchronised }, &[]);
        check(Evidence { confirmed: true, ..unsynchronised }, &[]);
        check(
            Evidence { witness_ahead: Some(Span::seconds(31)), ..unsynchronised },
            &["not synchronised", "witness is 31 s ahead of this clock"],
        );

        check(Evidence { witness_ahead: Some(Span::seconds(-31)), ..quiet }, &["witness is 31 s behind this clock"]);
        check(Evidence { witness_ahead: Some(Span::hours(1)), confirmed: true, ..quiet }, &[]);

        check(Evidence { counted_ahead: Span::seconds(30), ..quiet }, &[]);
        check(Evidence { counted_ahead: Span::seconds(31), confirmed: true, ..quiet }, &["jumped 31 s back"]);
        check(Evidence { counted_ahead: Span::days(-3653), ..quiet }, &["jumped 3653 d ahead"]);

        check(Evidence { slept: Some(Span::days(30)), ..quiet }, &[]);
        let long = Evidence { slept: Some(Span::days(31)), ..quiet };
        check(long, &["31 d after the last time"]);
        check(Evidence { witness_ahead: Some(Span::seconds(3)), ..long }, &[]);
        check(Evidence { confirmed: true, ..long }, &[]);

        check(Evidence { high_water: Some(now + Span::seconds(30)), ..quiet }, &[]);
        check(Evidence { high_water: Some(now + Span::seconds(31)), confirmed: true, ..quiet }, &["31 s behind what this store"]);
    }
}
