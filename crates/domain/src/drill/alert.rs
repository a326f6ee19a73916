//! An alert drill: a certificate that nobody depends on runs out, and everybody who must hear of it has to.
//!
//! Nothing is sent for the drill. The incident is the one that any certificate opens, its messages are those of any incident; the drill
//! holds the renewal back until they arrived, and lets the escalation contact hear at once instead of after the usual wait.

use super::{
    Phase,
    reason::{Awaited, Reason, Waiting, Why},
};
use crate::{Span, Time};
use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

/// How long after the certificate ran out somebody has to have been woken: looks at it, the incident, its urgency.
pub const WAKES_WITHIN: Span = Span::hours(2);

/// One way to tell a team, and whether it took the page.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Channel {
    /// The team.
    pub team: String,
    /// The contact, as people read it.
    pub contact: String,
    /// When its receiver took a message of this incident that pages.
    pub taken_at: Option<Time>,
    /// What came of the latest attempt, where it was not taken.
    pub detail: String,
}

/// The incident that the certificate opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Its number.
    pub id: i64,
    /// When somebody was woken.
    pub paged_at: Option<Time>,
    /// Whether the escalation contact heard.
    pub escalated: bool,
    /// When a person said that they look after it.
    pub acknowledged_at: Option<Time>,
    /// Whether production proved that it is over.
    pub resolved: bool,
    /// Whether it is over, however it ended.
    pub over: bool,
}

/// What is known of an alert drill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Where it is.
    pub phase: Phase,
    /// Until when the certificate is served.
    pub runs_out_at: Time,
    /// Within which time every channel has to take the page and a person to acknowledge.
    pub within: Span,
    /// The incident.
    pub incident: Option<Opened>,
    /// Whether a version was stored that is newer than the one that runs out.
    pub replaced: bool,
    /// Every channel of the owner and of its escalation contact.
    pub channels: Vec<Channel>,
    /// When the renewal was let go again.
    pub lifted_at: Option<Time>,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing; look again at that time, or when something else changes.
    Wait(Waiting, Time),
    /// Hold the renewal back.
    Hold,
    /// Let the escalation contact hear at once.
    Escalate,
    /// Everybody heard: let the renewal go.
    Lift,
    /// It is over; no reason where it passed. A renewal that is held back is let go by it.
    End(Vec<Reason>),
}

/// What comes next at `now`.
pub fn next(s: &Seen, now: Time) -> Step {
    match s.phase {
        Phase::Passed | Phase::Failed | Phase::Aborted => Step::End(Vec::new()),
        Phase::Asked | Phase::Issuing => Step::Hold,
        Phase::Rolling => running_out(s, now),
        Phase::Recovering => recovering(s, now),
    }
}

fn running_out(s: &Seen, now: Time) -> Step {
    // Whatever ended before everybody confirmed has shown nothing, and nothing is held back for it any longer.
    if let Some(over) = s.incident.filter(|i| i.over) {
        let detail = format!("incident {} ended before every channel took its page and a person acknowledged", over.id);
        return Step::End(vec![Reason::new(Why::Overtaken, detail)]);
    }
    let Some((opened, paged_at)) = s.incident.and_then(|i| Some((i, i.paged_at?))) else {
        if s.replaced {
            let detail = "a newer version was stored before the certificate ran out, so nobody is woken";
            return Step::End(vec![Reason::new(Why::Overtaken, detail)]);
        }
        let end = s.runs_out_at + WAKES_WITHIN;
        if now > end {
            let what = if s.incident.is_some() { "nobody was woken" } else { "no incident was opened" };
            return Step::End(vec![Reason::new(Why::NotPaged, format!("the certificate ran out at {}, and {what}", s.runs_out_at))]);
        }
        return Step::Wait(Waiting::new(Awaited::Page, format!("the certificate runs out at {}", s.runs_out_at)), end + Span::seconds(1));
    };
    let silent: Vec<&Channel> = s.channels.iter().filter(|c| c.taken_at.is_none()).collect();
    let end = paged_at + s.within;
    if now > end {
        return verdict(s, &opened, &silent);
    }
    if !opened.escalated {
        return Step::Escalate;
    }
    if silent.is_empty() && !s.channels.is_empty() && opened.acknowledged_at.is_some() {
        return Step::Lift;
    }
    let waiting = match silent.first() {
        Some(first) => Waiting::new(
            Awaited::Channels,
            format!("{} of {} have not taken the page, {} first", silent.len(), s.channels.len(), name(first)),
        ),
        None => Waiting::new(Awaited::Acknowledgement, format!("incident {} is to be acknowledged by a person", opened.id)),
    };
    Step::Wait(waiting, end + Span::seconds(1))
}

/// The time is over: who was not heard of in it.
fn verdict(s: &Seen, opened: &Opened, silent: &[&Channel]) -> Step {
    let mut reasons: Vec<Reason> = silent.iter().map(|c| reason(c, s.within)).collect();
    if s.channels.is_empty() {
        reasons.push(Reason::new(Why::ChannelSilent, "its owner has no contact at all"));
    }
    if opened.acknowledged_at.is_none() {
        let detail = format!("nobody acknowledged incident {} within {}", opened.id, s.within);
        reasons.push(Reason::new(Why::NotAcknowledged, detail));
    }
    // Everybody heard, and nobody looked at this drill in time: it is no less passed for that.
    if reasons.is_empty() { Step::Lift } else { Step::End(reasons) }
}

fn name(c: &Channel) -> String {
    format!("{} of {}", c.contact, c.team)
}

fn reason(c: &Channel, within: Span) -> Reason {
    let last = if c.detail.is_empty() { String::from("nothing was even tried") } else { format!("the latest attempt: {}", c.detail) };
    Reason::about(
        Why::ChannelSilent,
        format!("{}/{}", c.team, c.contact),
        format!("{} did not take the page within {within}; {last}", name(c)),
    )
}

fn recovering(s: &Seen, now: Time) -> Step {
    if s.incident.is_some_and(|i| i.resolved) {
        return Step::End(Vec::new());
    }
    let end = s.lifted_at.unwrap_or(now) + super::patience(s.within);
    if now > end {
        let detail = "the renewal was let go, and the incident is still open: the canary was not observed to be well again";
        return Step::End(vec![Reason::new(Why::NotRecovered, detail)]);
    }
    Step::Wait(Waiting::new(Awaited::Recovery, "the canary is to be observed on a new certificate".to_string()), end + Span::seconds(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn t(n: i64) -> Time {
        Time::from_unix(n)
    }

    fn channel(team: &str, taken: Option<i64>) -> Channel {
        Channel { team: team.into(), contact: "pagerduty".into(), taken_at: taken.map(t), detail: "503".into() }
    }

    fn seen(incident: Option<Opened>, channels: Vec<Channel>) -> Seen {
        Seen {
            phase: Phase::Rolling,
            runs_out_at: t(1000),
            within: Span::minutes(60),
            incident,
            replaced: false,
            channels,
            lifted_at: None,
        }
    }

    const OPENED: Opened = Opened { id: 7, paged_at: Some(t(900)), escalated: true, acknowledged_at: None, resolved: false, over: false };

    fn whys(step: &Step) -> Option<Vec<(Why, &str)>> {
        match step {
            Step::End(reasons) => Some(reasons.iter().map(|r| (r.why, r.about.as_str())).collect()),
            _ => None,
        }
    }

    #[test]
    fn it_waits_until_somebody_must_have_been_woken() {
        let last = 1000 + WAKES_WITHIN.as_secs();
        for incident in [None, Some(Opened { paged_at: None, ..OPENED })] {
            for (now, over) in [(0, false), (last, false), (last + 1, true)] {
                let step = next(&seen(incident, Vec::new()), t(now));
                assert_eq!(whys(&step), over.then(|| vec![(Why::NotPaged, "")]), "{incident:?} {now}");
            }
        }
        assert_eq!(next(&Seen { phase: Phase::Asked, ..seen(None, Vec::new()) }, t(0)), Step::Hold);
    }

    #[test]
    fn the_escalation_contact_hears_in_every_case() {
        let step = next(&seen(Some(Opened { escalated: false, acknowledged_at: Some(t(901)), ..OPENED }), Vec::new()), t(901));
        assert_eq!(step, Step::Escalate);
    }

    #[test]
    fn one_silent_channel_is_named_with_its_team_and_an_acknowledgement_is_asked_for() {
        let both = || vec![channel("storage", Some(905)), channel("security", None)];
        for (now, over) in [(900 + 3600, false), (900 + 3601, true)] {
            let want = vec![(Why::ChannelSilent, "security/pagerduty"), (Why::NotAcknowledged, "")];
            assert_eq!(whys(&next(&seen(Some(OPENED), both()), t(now))), over.then_some(want), "{now}");
        }
        let acknowledged = Opened { acknowledged_at: Some(t(950)), ..OPENED };
        // A receiver that is silent is no less silent because somebody heard elsewhere.
        let step = next(&seen(Some(acknowledged), both()), t(960));
        assert!(matches!(step, Step::Wait(Waiting { on: Awaited::Channels, .. }, _)), "{step:?}");
        let all = || vec![channel("storage", Some(905)), channel("security", Some(955))];
        assert!(matches!(next(&seen(Some(OPENED), all()), t(960)), Step::Wait(Waiting { on: Awaited::Acknowledgement, .. }, _)));
        assert_eq!(next(&seen(Some(acknowledged), all()), t(960)), Step::Lift);
        // Nobody to tell is no confirmation.
        assert_eq!(whys(&next(&seen(Some(acknowledged), Vec::new()), t(9999))), Some(vec![(Why::ChannelSilent, "")]));
    }

    #[test]
    fn an_incident_that_ended_or_a_time_that_is_over_ends_it_before_anything_else() {
        let closed = Opened { escalated: false, over: true, ..OPENED };
        for now in [901, 900 + 3601] {
            assert_eq!(whys(&next(&seen(Some(closed), Vec::new()), t(now))), Some(vec![(Why::Overtaken, "")]), "{now}");
        }
        // Nobody can be told any more once the time is over.
        let late = Opened { escalated: false, ..OPENED };
        let want = vec![(Why::ChannelSilent, "security/pagerduty"), (Why::NotAcknowledged, "")];
        assert_eq!(whys(&next(&seen(Some(late), vec![channel("security", None)]), t(900 + 3601))), Some(want));
        // Somebody brought a new one by hand: the old one will never be looked for.
        assert_eq!(whys(&next(&Seen { replaced: true, ..seen(None, Vec::new()) }, t(5))), Some(vec![(Why::Overtaken, "")]));
        assert!(
            whys(&next(&Seen { replaced: true, ..seen(Some(OPENED), Vec::new()) }, t(905))).is_none(),
            "somebody was woken: they confirm"
        );
    }

    #[test]
    fn it_is_over_when_the_canary_was_observed_to_be_well() {
        let s = |resolved| Seen {
            phase: Phase::Recovering,
            lifted_at: Some(t(2000)),
            ..seen(Some(Opened { resolved, over: resolved, ..OPENED }), Vec::new())
        };
        assert_eq!(next(&s(true), t(2001)), Step::End(Vec::new()));
        let end = 2000 + super::super::patience(Span::minutes(60)).as_secs();
        for (now, over) in [(end, false), (end + 1, true)] {
            assert_eq!(whys(&next(&s(false), t(now))), over.then(|| vec![(Why::NotRecovered, "")]), "{now}");
        }
    }
}
