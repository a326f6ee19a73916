//! Whether the clock is believed. Closings and mass actions wait for a clock that is; openings are grouped while it is not.

use crate::{Span, Time};
use alloc::{format, string::String, vec::Vec};

/// How far two clocks may be apart.
pub const TOLERANCE: Span = Span::seconds(30);

/// What is known about the clock; what nobody said is no evidence against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// What the operating system says about synchronisation.
    pub synchronised: Option<bool>,
    /// How far an independent witness is ahead of us: the database server, or our own monotonic clock since start.
    pub witness_ahead: Option<Span>,
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

/// Weighs the evidence at `now`.
pub fn believe(evidence: &Evidence, now: Time) -> Belief {
    let mut doubts = Vec::new();
    if evidence.synchronised == Some(false) {
        doubts.push(String::from("the operating system says that its clock is not synchronised"));
    }
    if let Some(ahead) = evidence.witness_ahead
        && (ahead > TOLERANCE || ahead < Span::seconds(-TOLERANCE.as_secs()))
    {
        doubts.push(format!("an independent clock differs by {ahead}"));
    }
    if let Some(high) = evidence.high_water
        && now < high - TOLERANCE
    {
        doubts.push(format!("the clock is {} behind what this store has already recorded", high - now));
    }
    if doubts.is_empty() { Belief::Believed } else { Belief::Doubted(doubts) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_doubt() {
        let now = Time::from_unix(2_000_000_000);
        let fine = Evidence { synchronised: Some(true), witness_ahead: Some(Span::seconds(30)), high_water: Some(now) };
        let doubts = |e: Evidence| match believe(&e, now) {
            Belief::Believed => 0,
            Belief::Doubted(reasons) => reasons.len(),
        };
        assert_eq!(doubts(fine), 0);
        assert_eq!(doubts(Evidence { synchronised: None, witness_ahead: None, high_water: None }), 0);
        assert_eq!(doubts(Evidence { synchronised: Some(false), ..fine }), 1);
        assert_eq!(doubts(Evidence { witness_ahead: Some(Span::seconds(31)), ..fine }), 1);
        assert_eq!(doubts(Evidence { witness_ahead: Some(Span::seconds(-31)), ..fine }), 1);
        assert_eq!(doubts(Evidence { high_water: Some(now + Span::seconds(30)), ..fine }), 0);
        assert_eq!(doubts(Evidence { high_water: Some(now + Span::seconds(31)), ..fine }), 1);
    }
}
