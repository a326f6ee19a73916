//! A break that enters the forecast: somebody must hear of it at once, months before any threshold.

use super::{Breaks, Outlook};
use crate::{Fingerprint, Span, Time, finding::Code};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// A region's first forecasts come as its targets are observed one after the other: for this long, or until all of them were, an
/// earlier break is no news.
pub const SETTLES_WITHIN: Span = Span::days(1);

/// What is remembered of a secret in one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// When it breaks; none where it does not as far as anybody can see.
    pub breaks_at: Option<Time>,
    /// Because of which certificate.
    pub about: Option<Fingerprint>,
    /// Its place in the chain.
    pub position: Option<usize>,
    /// The release that the answer rests on.
    pub rests_on: Option<i64>,
    /// Until when the worst target there was observed to serve.
    pub served_until: Option<Time>,
    /// Since when there is a forecast.
    pub first_at: Time,
    /// Whether a target there was never observed.
    pub unknown: bool,
    /// The breach that stands.
    pub breach: Option<Breach>,
    /// When time alone changes the answer.
    pub next: Option<Time>,
}

/// A break that is earlier than it was planned before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// What was planned before; none where nothing was to break.
    pub instead_of: Option<Time>,
    /// What would have saved it, as a sentence.
    pub rescue: String,
}

/// The forecast of a secret in one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// The first break there.
    pub outlook: Outlook,
    /// Until when the worst target there was observed to serve.
    pub served_until: Option<Time>,
    /// Whether a target there was never observed.
    pub unknown: bool,
    /// Whether the secret is renewed automatically and rides no releases, proven or not: that a renewal is under way or overdue has
    /// a finding of its own.
    pub self_renewing: bool,
}

/// What is remembered from now on.
pub fn remember(before: Option<&Remembered>, is: &Region, now: Time) -> Remembered {
    let breaks_at = match is.outlook.breaks {
        // Since when it is broken does not move.
        Breaks::Now => Some(before.and_then(|b| b.breaks_at).filter(|t| *t <= now).unwrap_or(now)),
        other => other.at(now),
    };
    let same = |b: &Remembered| (b.breaks_at, b.about) == (breaks_at, is.outlook.about);
    let breach = match before {
        Some(b) if enters(b, is, breaks_at, now) => Some(Breach { instead_of: b.breaks_at, rescue: rescue(&is.outlook) }),
        // It stands until the forecast is another one.
        Some(b) if same(b) => b.breach.as_ref().map(|old| Breach { rescue: rescue(&is.outlook), ..old.clone() }),
        _ => None,
    };
    Remembered {
        breaks_at,
        about: is.outlook.about,
        position: is.outlook.position,
        rests_on: is.outlook.rests_on,
        served_until: is.served_until,
        first_at: before.map_or(now, |b| b.first_at),
        unknown: is.unknown,
        breach,
        next: is.outlook.next,
    }
}

/// Whether the break is news: earlier than before, because of a plan or an observation.
fn enters(b: &Remembered, is: &Region, breaks_at: Option<Time>, now: Time) -> bool {
    let far = |t: Option<Time>| t.unwrap_or(Time::NO_EXPIRY);
    let settled = !b.unknown || now >= b.first_at + SETTLES_WITHIN;
    let served_less = far(is.served_until) < far(b.served_until);
    // What is broken has an incident.
    is.outlook.breaks != Breaks::Now && settled && far(breaks_at) < far(b.breaks_at) && (served_less || !is.self_renewing)
}

/// What would have saved it, as a sentence.
pub fn rescue(outlook: &Outlook) -> String {
    match &outlook.missed {
        None => String::from("nothing is planned that would save it"),
        Some(m) => match m.late {
            Some(late) => format!("release {} arrives {}, {late} too late", m.name, m.arrives_at),
            None => format!("release {} was to arrive {} and was not observed", m.name, m.arrives_at),
        },
    }
}

/// The certificate's place in words.
pub fn place(position: Option<usize>) -> &'static str {
    match position {
        Some(0) => "the leaf",
        Some(_) => "a certificate above the leaf",
        None => "a certificate that is not known",
    }
}

/// A breach of a secret, over all of its regions: what its owner is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered {
    /// Names the certificate and the date, so that each is told once.
    pub key: String,
    /// The certificate.
    pub about: Option<Fingerprint>,
    /// When production breaks.
    pub until: Time,
    /// How many targets serve it now, where that is known.
    pub targets: u64,
    /// The sentence.
    pub detail: String,
}

/// The breaches that stand, those of one certificate and date together, in the order of their keys.
pub fn standing(regions: &[(String, Remembered)]) -> Vec<Entered> {
    let mut all: Vec<(Entered, Vec<String>, &Breach, Option<usize>)> = Vec::new();
    for (region, r) in regions {
        let (Some(breach), Some(until)) = (&r.breach, r.breaks_at) else { continue };
        let name = if region.is_empty() { String::from("no region") } else { pki::text::escape(region).to_string() };
        let about = r.about.map_or_else(|| String::from("unknown"), |a| a.to_string());
        let key = format!("{}/{about}/{until}", Code::ForecastBreach);
        match all.iter_mut().find(|(e, ..)| e.key == key) {
            Some((_, regions, ..)) => regions.push(name),
            None => {
                all.push((Entered { key, about: r.about, until, targets: 0, detail: String::new() }, alloc::vec![name], breach, r.position))
            }
        }
    }
    all.sort_by(|a, b| a.0.key.cmp(&b.0.key));
    let with_sentence = |(e, regions, breach, position): (Entered, Vec<String>, &Breach, Option<usize>)| {
        let before = match breach.instead_of {
            Some(t) => format!("{t} was planned before"),
            None => String::from("nothing was to break before"),
        };
        let (until, place, places) = (e.until, place(position), shown(&regions));
        let detail =
            format!("as things are planned now, production breaks {until} in {places}, when {place} ends; {before}; {}", breach.rescue);
        Entered { detail, ..e }
    };
    all.into_iter().map(with_sentence).collect()
}

/// Most regions that a sentence names.
const SHOWN: usize = 10;

fn shown(regions: &[String]) -> String {
    match regions.len() {
        n if n > SHOWN => format!("{} and {} more regions", regions[..SHOWN].join(", "), n - SHOWN),
        _ => regions.join(", "),
    }
}
