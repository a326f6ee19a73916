//! When production breaks if all goes as planned and nothing else happens.
//!
//! A target serves until its observed path ends. What is planned may save it: a release that carries a newer version and arrives in
//! time, or an automatic renewal that was seen to work. What was to have happened and was not observed is no plan any more: it saves
//! nothing, however often it is promised.

pub mod breach;
mod what_if;

pub use what_if::{Coming, WhatIf};

use crate::{Fingerprint, Span, Time, policy, target::Served};
use alloc::{string::String, vec::Vec};

/// What should have arrived and was not observed counts for this long, since looks and backends take their time; then no more.
pub const ARRIVAL_GRACE: Span = Span::days(1);

/// The certificate whose end it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    /// Which certificate.
    pub about: Fingerprint,
    /// 0 is the leaf.
    pub position: usize,
    /// `notAfter − notBefore + 1 s` of it.
    pub lifetime: Span,
}

/// Which version a target was seen to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// This one.
    Version(i64),
    /// Something that is not this one, which is the newest.
    NotYet(i64),
}

impl Serves {
    /// Whether a version is news for such a target, where what it serves ends at `until`.
    fn lacks(self, rescue: &Rescue, until: Time) -> bool {
        match self {
            Serves::Version(v) => rescue.version > v,
            Serves::NotYet(newest) => rescue.version >= newest || rescue.until > until,
        }
    }
}

/// What one target was last observed to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serving {
    /// Until when.
    pub served: Served,
    /// What ends then, where that is known.
    pub cause: Option<Cause>,
    /// Which version it is.
    pub version: Serves,
}

/// A release that brings a version to the region of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rescue {
    /// Its number.
    pub release: i64,
    /// `SERVICE/BUILD`, escaped.
    pub name: String,
    /// The version that it carries.
    pub version: i64,
    /// When it is planned to be observed there.
    pub arrives_at: Time,
    /// The first second at which the leaf that it brings is of no use.
    pub until: Time,
    /// That leaf.
    pub leaf: Fingerprint,
}

/// What is planned for a secret in one region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Whether it renews itself on a way that was seen to work, and rides no releases.
    pub automatic: bool,
    /// Releases, in any order.
    pub rescues: Vec<Rescue>,
}

/// When a target breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breaks {
    /// It is broken now.
    Now,
    /// At this second.
    At(Time),
    /// Not as far as anybody can see.
    Never,
    /// It was never observed, so nobody can say.
    Unknown,
}

impl Breaks {
    /// The moment; what is broken breaks now.
    pub fn at(self, now: Time) -> Option<Time> {
        match self {
            Breaks::Now => Some(now),
            Breaks::At(t) => Some(t),
            Breaks::Never | Breaks::Unknown => None,
        }
    }
}

/// A release that would have saved a target, and does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// Its number.
    pub release: i64,
    /// `SERVICE/BUILD`, escaped.
    pub name: String,
    /// When it arrives, or was to arrive.
    pub arrives_at: Time,
    /// How much later than the break that is; none for one that was to have arrived and was not observed.
    pub late: Option<Span>,
}

/// The answer for one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// When it breaks.
    pub breaks: Breaks,
    /// The certificate that ends then.
    pub about: Option<Fingerprint>,
    /// Its place in the chain: 0 is the leaf.
    pub position: Option<usize>,
    /// The last release that saves it before that.
    pub rests_on: Option<i64>,
    /// What would have saved it from this break.
    pub missed: Option<Missed>,
    /// When time alone changes the answer.
    pub next: Option<Time>,
}

/// When a target breaks if all goes as planned.
///
/// Production breaks at the very second at which what it serves ends, so that what arrives at that second is too late.
pub fn outlook(serving: &Serving, plan: &Plan, now: Time) -> Outlook {
    let cause = serving.cause;
    let mut it = Outlook {
        breaks: Breaks::Unknown,
        about: cause.map(|c| c.about),
        position: cause.map(|c| c.position),
        rests_on: None,
        missed: None,
        next: None,
    };
    let (mut until, broken) = match serving.served {
        Served::Unknown => return it,
        Served::Broken => (now, true),
        Served::Until(t) => (t, t <= now),
    };
    if !broken && until >= Time::NO_EXPIRY {
        it.breaks = Breaks::Never;
        return it;
    }
    if !broken && let Some(overdue) = cause.filter(|_| plan.automatic).and_then(|c| trusted_until(c, until)).filter(|t| now < *t) {
        (it.breaks, it.next) = (Breaks::Never, Some(overdue));
        return it;
    }

    let mut order: Vec<&Rescue> = plan.rescues.iter().collect();
    order.sort_by_key(|r| (r.arrives_at, r.version, r.release));
    let mut serves = serving.version;
    let (mut late, mut absent) = (None, None);
    for rescue in order {
        let given_up = rescue.arrives_at + ARRIVAL_GRACE;
        if !serves.lacks(rescue, until) {
            continue;
        }
        if now > given_up {
            absent.get_or_insert(rescue);
            continue;
        }
        at(&mut it.next, given_up + Span::seconds(1), now);
        let arrives = rescue.arrives_at.max(now);
        if broken || arrives >= until {
            late = Some((rescue, arrives));
            break;
        }
        // What has ended when it arrives breaks what it is brought to.
        until = rescue.until.max(arrives);
        serves = Serves::Version(rescue.version);
        (it.about, it.position, it.rests_on) = (Some(rescue.leaf), Some(0), Some(rescue.release));
        if until >= Time::NO_EXPIRY {
            break;
        }
    }
    it.breaks = match (broken, until) {
        (true, _) => Breaks::Now,
        (_, t) if t >= Time::NO_EXPIRY => Breaks::Never,
        (_, t) => Breaks::At(t),
    };
    if it.breaks != Breaks::Never {
        let miss = |r: &Rescue, late| Missed { release: r.release, name: r.name.clone(), arrives_at: r.arrives_at, late };
        it.missed = late.map(|(r, arrives)| miss(r, Some(arrives - until))).or_else(|| absent.map(|r| miss(r, None)));
        at(&mut it.next, until, now);
    }
    it
}

/// The second from which on an automatic renewal no longer counts, as it should have been observed by then; none for what stands
/// above the leaf, which it does not renew.
fn trusted_until(cause: Cause, until: Time) -> Option<Time> {
    (cause.position == 0).then(|| until - policy::renewal_overdue(cause.lifetime) + Span::seconds(1))
}

fn at(next: &mut Option<Time>, t: Time, now: Time) {
    if t > now && t < Time::NO_EXPIRY {
        *next = Some(next.map_or(t, |n| n.min(t)));
    }
}

#[cfg(test)]
mod tests;
