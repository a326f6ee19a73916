//! Whether releases of a service leave often enough for the certificates that ride them.
//!
//! A renewal that is due and whose release must be built by its ship-by leaves a window between the two. Where two departures lie
//! further apart than that, one of them must be hit, and whoever misses it is late.

use crate::{Span, concern::Concern, finding::Code, policy};
use alloc::{format, string::String, vec::Vec};

/// How many deployments show how far apart releases are, where no train says so.
pub const ENOUGH_DEPLOYED: usize = 5;

/// How far apart releases of a service leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// As its train is planned for the coming year: the widest gap, none where somebody would wait for ever.
    Train {
        /// Its name.
        name: String,
        /// The widest gap.
        widest: Option<Span>,
    },
    /// As it was deployed: the widest gap between deployments, of so many.
    Measured {
        /// The widest gap.
        widest: Span,
        /// How many deployments.
        of: usize,
    },
}

/// A certificate that rides releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The secret's name, escaped.
    pub name: String,
    /// Who answers for it, empty for nobody.
    pub owner: String,
    /// `notAfter − notBefore + 1 s`.
    pub lifetime: Span,
    /// Its incident threshold.
    pub incident: Span,
}

impl Bound {
    /// From the moment at which its renewal is due to its ship-by; negative where it cannot ride releases at all.
    pub fn window(&self, lead: Span) -> Span {
        policy::renewal_due(self.lifetime) - self.incident.max(twice(lead))
    }
}

fn twice(lead: Span) -> Span {
    Span::seconds(lead.as_secs().saturating_mul(2))
}

/// Whether a certificate is renewed too late for the time that releases take: twice their lead exceeds what is left when it is due.
pub fn cannot_ride(lifetime: Span, lead: Span) -> bool {
    twice(lead) > policy::renewal_due(lifetime)
}

/// How far apart deployments were (the newest first); none where there are too few to tell.
pub fn measured(deployed: &[crate::Time]) -> Option<Gap> {
    if deployed.len() < ENOUGH_DEPLOYED {
        return None;
    }
    let widest = deployed.windows(2).filter_map(|w| Some(*w.first()? - *w.last()?)).max()?;
    Some(Gap::Measured { widest, of: deployed.len() })
}

/// What the rules say: nothing, or that releases leave too far apart for some of the certificates.
pub fn assess(service: &str, owner: &str, gap: Option<&Gap>, lead: Span, bound: &[Bound]) -> Option<Concern> {
    let gap = gap?;
    let widest = match gap {
        Gap::Train { widest, .. } => *widest,
        Gap::Measured { widest, .. } => Some(*widest),
    };
    let mut tight: Vec<&Bound> = bound.iter().filter(|b| widest.is_none_or(|w| w > b.window(lead))).collect();
    tight.sort_by_key(|b| (b.window(lead), &b.name));
    let first = tight.first()?;
    let how = match gap {
        Gap::Train { name, widest: Some(w) } => format!("the train {} leaves up to {w} apart in the coming year", pki::text::escape(name)),
        Gap::Train { name, widest: None } => format!("the train {} has a last departure", pki::text::escape(name)),
        Gap::Measured { widest, of } => format!("its latest {of} releases were deployed up to {widest} apart"),
    };
    let window = first.window(lead);
    let window = if window > Span::ZERO {
        format!("{window} lie between the day on which its renewal is due and the day by which its release must be built")
    } else {
        String::from("its release would have to be built before its renewal is due")
    };
    let more = tight.len().saturating_sub(1);
    let more = if more > 0 { format!("; so it is for {more} more") } else { String::new() };
    let mut teams: Vec<String> = tight.iter().map(|b| b.owner.clone()).chain([owner.into()]).filter(|t| !t.is_empty()).collect();
    teams.sort();
    teams.dedup();
    Some(Concern {
        code: Code::CadenceTooSlow,
        about: String::new(),
        level: policy::Level::Notice,
        teams,
        until: None,
        detail: format!(
            "releases of {} leave too far apart for {}, which lives {}: {how}, and {window} (releases take {lead}){more}",
            pki::text::escape(service),
            first.name,
            first.lifetime
        ),
        next_step: String::from("let its train leave more often, shorten the way of a release, or renew it by another way"),
        once: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Time;
    use alloc::vec;

    fn bound(lifetime: &str) -> Bound {
        let lifetime = Span::parse(lifetime).expect("a span");
        Bound { name: "blob".into(), owner: "security".into(), lifetime, incident: policy::Thresholds::for_leaf(lifetime).incident }
    }

    #[test]
    fn a_gap_has_one_meaning_to_the_second() {
        for (lifetime, lead, window) in [
            // 121 d 16 h at which it is due, less 90 d.
            ("365d", "14d", "760h"),
            // Twice the lead is more than the threshold.
            ("365d", "50d", "520h"),
            // 15 d 16 h, less 11 d 18 h.
            ("47d", "1d", "94h"),
            ("160h", "1h", "40h"),
        ] {
            let (b, lead) = (bound(lifetime), Span::parse(lead).expect("a span"));
            let window = Span::parse(window).expect("a span");
            assert_eq!(b.window(lead), window, "{lifetime}");
            for (more, slow) in [(-1, false), (0, false), (1, true)] {
                let gap = Gap::Measured { widest: window + Span::seconds(more), of: 5 };
                let said = assess("storage", "storage", Some(&gap), lead, core::slice::from_ref(&b));
                assert_eq!(said.is_some(), slow, "{lifetime} {more}");
                assert_eq!(said.map(|c| c.teams), slow.then(|| vec!["security".into(), "storage".into()]));
            }
        }
        // 2 × 14 d is more than the 15 d 16 h at which it is due.
        assert!(bound("47d").window(Span::days(14)) < Span::ZERO);
        assert!(assess("s", "", Some(&Gap::Measured { widest: Span::seconds(1), of: 5 }), Span::days(14), &[bound("47d")]).is_some());
        assert_eq!(assess("s", "", None, Span::days(14), &[bound("47d")]), None, "nobody knows how far apart");
        assert_eq!(assess("s", "", Some(&Gap::Train { name: "t".into(), widest: None }), Span::days(1), &[]), None, "nothing rides");
        assert!(assess("s", "", Some(&Gap::Train { name: "t".into(), widest: None }), Span::days(1), &[bound("365d")]).is_some());
    }

    #[test]
    fn who_cannot_ride_to_the_second() {
        for lifetime in ["365d", "47d", "160h", "24h"] {
            let lifetime = Span::parse(lifetime).expect("a span");
            let half = Span::seconds(policy::renewal_due(lifetime).as_secs() / 2);
            assert_eq!([-1, 0, 1].map(|s| cannot_ride(lifetime, half + Span::seconds(s))), [false, false, true], "{lifetime}");
        }
    }

    #[test]
    fn what_was_deployed_shows_how_far_apart() {
        let days = |all: &[i64]| measured(&all.iter().map(|d| Time::from_unix(d * 86_400)).collect::<Vec<_>>());
        assert_eq!(days(&[40, 30, 20, 10]), None);
        assert_eq!(days(&[50, 40, 30, 20, 10]), Some(Gap::Measured { widest: Span::days(10), of: 5 }));
        assert_eq!(days(&[90, 40, 30, 20, 10]), Some(Gap::Measured { widest: Span::days(50), of: 5 }));
    }
}
