//! When to look at a target again.

use crate::{
    Span, Time,
    delivery::spread,
    observation::Record,
    policy::{self, Policy},
    target::{ASSUMED_LIFETIME, Standing},
    words::{Offer, Target, TargetState},
};

/// Everything is looked at at least this often.
pub const AT_LEAST: Span = Span::days(7);
/// Offers other than the ordinary one are looked at this often, and before closing.
pub const OTHER_OFFERS: Span = Span::hours(24);
/// The first pause after a failure.
pub const RETRY: Span = Span::seconds(15);
/// The rest between two rounds of fresh handshakes that outlive an old certificate.
pub const BURST_PAUSE: Span = Span::seconds(1);

/// When the target is due again, after a look at `now`.
///
/// `waiting` says that a line of an incident waits for evidence.
pub fn next_look(target: &Target, standing: &Standing, records: &[Record], policy: &Policy, waiting: bool, now: Time) -> Option<Time> {
    let interval = policy.interval(standing.lifetime.unwrap_or(ASSUMED_LIFETIME)).min(AT_LEAST);
    if target.state == TargetState::Retired {
        // Still dialled until what it served then has ended (law 2).
        return target.retired.as_ref().filter(|r| now < r.until).map(|_| now + interval);
    }
    let others = || records.iter().filter(|r| r.failing.is_none()).flat_map(|r| &r.others);
    if others().next().is_some() {
        // An address that keeps answering with both is not knocked at thirty times a second until somebody mends it.
        let flapping = others().any(|o| now < o.at + FLAPPING);
        return Some(now + if flapping { FLAP_PAUSE.min(interval) } else { BURST_PAUSE });
    }
    let failures = records.iter().filter_map(|r| r.failing.as_ref()).map(|f| f.count).min_by_key(|c| *c);
    let soon = match failures {
        Some(count) => {
            let pause = RETRY.as_secs().saturating_mul(1_i64 << count.min(12));
            Span::seconds(pause).min(interval)
        }
        // Everything answered, and what was seen is only too young or too little to prove anything: nearly there.
        None if waiting && (standing.settled_since.is_some() || records.iter().any(|r| r.streak < evidence(target))) => BURST_PAUSE,
        None if waiting => RETRY.min(interval),
        None => interval,
    };
    let step = soon.max(Span::seconds(1));
    // The first round is spread by identity, so that ten thousand new targets do not stay in step for ever.
    let first = records.iter().all(|r| r.streak <= 1 && r.failing.is_none());
    let early = if first { spread(target.id.0, step.as_secs() / 4) } else { 0 };
    Some(now + step - Span::seconds(early))
}

/// Whether an offer is due at this look.
pub fn offer_due(offer: Offer, last_at: Option<Time>, waiting: bool, now: Time) -> bool {
    offer == Offer::All || waiting || last_at.is_none_or(|at| now >= at + OTHER_OFFERS)
}

/// How many fresh handshakes a combination needs at this look: one, or what outlives other certificates and lets a line close that
/// waits for evidence.
pub fn handshakes(record: &Record, needed: u32, waiting: bool) -> u32 {
    if waiting || !record.others.is_empty() { needed.saturating_sub(record.streak).max(1) } else { 1 }
}

/// Another certificate that was seen within this time was seen in this very round.
const FLAPPING: Span = Span::seconds(5);
/// The rest after a round that saw both.
pub const FLAP_PAUSE: Span = Span::minutes(1);

/// How long a leased look may take before another server takes it over.
pub const LEASE: Span = Span::minutes(2);

/// How many handshakes close something at this target. What is not dialled is read where it lies: there is no other behind it.
pub fn evidence(target: &Target) -> u32 {
    if target.authority.is_empty() { 1 } else { policy::evidence_needed(target.backends) }
}
