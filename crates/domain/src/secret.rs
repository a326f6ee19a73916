//! What the rules say about one secret, from the standings of its targets: runway, margin, the ladder of notices.

use crate::{
    Fingerprint, Span, Time,
    finding::{Code, End, Finding, Subject},
    policy::{self, Level, Thresholds},
    target::Served,
    words::{Kind, Management, Renewal, SecretId},
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// What its targets add up to; kept by index, so that a wildcard with 100,000 targets costs no more than one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    /// Everything that is bound to it and not retired.
    pub count: u64,
    /// Production targets that are active; runway is taken over these.
    pub production: u64,
    /// The worst served-until of these.
    pub served: Served,
    /// The end with the least margin over all targets that are not retired.
    pub worst: Option<End>,
    /// The longest lifetime among what is served.
    pub lifetime: Option<Span>,
    /// Findings of its targets at notice level or above: one entry per (subject, code).
    pub findings: Vec<Tally>,
}

/// Findings of one kind, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// The subject, as text.
    pub subject: String,
    /// Which rule.
    pub code: Code,
    /// What it asks for at most.
    pub level: Level,
    /// On how many targets.
    pub targets: u64,
    /// One of the sentences.
    pub detail: String,
}

/// Everything that the rules look at.
#[derive(Debug, Clone)]
pub struct View {
    /// The secret.
    pub id: SecretId,
    /// Its kind.
    pub kind: Kind,
    /// Who renews it.
    pub management: Management,
    /// Whether renewals happen by themselves.
    pub renewal: Renewal,
    /// Whether a target of it is bound to releases.
    pub release_bound: bool,
    /// Whether its last rotation was observed to complete unaided.
    pub completed_unaided: bool,
    /// Whether somebody owns it.
    pub owned: bool,
    /// When it was declared or first stored.
    pub declared_at: Time,
    /// The policy that applies.
    pub policy: policy::Policy,
    /// The end of an opaque or tracked secret, and since when that end is known (its lifetime runs from there).
    pub expires: Option<(Time, Time)>,
    /// Other secrets that hold the same private key, escaped.
    pub shares_key_with: Vec<String>,
    /// What its targets add up to.
    pub targets: Targets,
    /// What the owner was told before.
    pub told: Vec<Told>,
}

/// A notice that went out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// About what: [`Telling::key`].
    pub key: String,
    /// When.
    pub at: Time,
}

/// Something that the owner must be told now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// Each key is told once (ladder) or at most weekly (findings).
    pub key: String,
    /// Which rule.
    pub code: Code,
    /// The rung of the ladder, 0 the earliest.
    pub rung: Option<u8>,
    /// Whether the escalation contact hears of it too: half of the ladder passed and nothing was observed to improve.
    pub escalate: bool,
    /// The certificate that it is about.
    pub about: Option<Fingerprint>,
    /// When it becomes an outage.
    pub until: Option<Time>,
    /// The sentence.
    pub detail: String,
    /// How many targets.
    pub targets: u64,
}

/// What the rules say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Until when all of production serves.
    pub served: Served,
    /// Served-until minus now, where it is known.
    pub runway: Option<Span>,
    /// Runway minus the incident threshold; what lists are sorted by.
    pub margin: Option<Span>,
    /// What the rules say about the secret itself.
    pub findings: Vec<Finding>,
    /// What the owner must be told now.
    pub tell: Vec<Telling>,
    /// When time alone will change the answer.
    pub next: Option<Time>,
}

/// A finding that stays is told again after this long.
pub const REMIND_AFTER: Span = Span::days(7);

/// Assesses one secret.
pub fn assess(view: &View, now: Time) -> Standing {
    let mut findings = Vec::new();
    let mut next: Option<Time> = None;
    let mut at = |t: Time| {
        if t > now && t < Time::NO_EXPIRY {
            next = Some(next.map_or(t, |n| n.min(t)));
        }
    };
    let find = |code: Code, level: Level, detail: String| Finding {
        code,
        level,
        subject: Subject::Secret(view.id, code),
        broken: false,
        about: None,
        since: None,
        until: None,
        detail,
    };

    if !view.owned {
        findings.push(find(Code::NoOwner, Level::Notice, "has no owner".to_string()));
    }
    if view.targets.count == 0 && view.kind == Kind::Certificate {
        findings.push(find(Code::NoTarget, Level::Notice, "is stored, and nothing says where it is used".to_string()));
    }
    if !view.shares_key_with.is_empty() {
        let others = view.shares_key_with.join(", ");
        findings.push(find(Code::SharedKey, Level::Notice, format!("its private key also lies in {others}")));
    }

    // An opaque or tracked secret ends by its own date, where no target of it says more.
    let own_end = match (view.kind, view.expires) {
        (Kind::Opaque | Kind::Tracked, Some((until, known_since))) if view.targets.worst.is_none() => {
            let thresholds = view.policy.thresholds(until - known_since + Span::seconds(1));
            Some(End { about: Fingerprint::from_bytes([0; 32]), position: 0, until, thresholds })
        }
        _ => None,
    };
    if let Some(end) = own_end {
        let remaining = end.remaining(now);
        at(end.until - end.thresholds.incident + Span::seconds(1));
        at(end.until);
        let level = end.thresholds.level(remaining);
        if level > Level::Info {
            let detail = if remaining <= Span::seconds(0) {
                format!("expired {}", end.until)
            } else {
                format!("expires {}, in {remaining}", end.until)
            };
            findings.push(Finding {
                until: Some(end.until),
                broken: remaining <= Span::seconds(0),
                ..find(Code::SecretExpiring, level, detail)
            });
        }
    }

    let worst = view.targets.worst.or(own_end);
    let mut tell = Vec::new();
    if let Some(end) = worst {
        let thresholds = end.thresholds;
        for n in 0..Thresholds::RUNGS {
            at(end.until - thresholds.rung_remaining(n) + Span::seconds(1));
        }
        at(end.until);
        let lifetime = view.targets.lifetime;
        if let (Renewal::Automatic, Some(lifetime)) = (view.renewal, lifetime) {
            let overdue = policy::renewal_overdue(lifetime);
            at(end.until - overdue + Span::seconds(1));
            if end.position == 0 && end.remaining(now) < overdue {
                let due = end.until - policy::renewal_due(lifetime);
                let detail = format!("its automatic renewal was due {due} and production still serves the old certificate");
                findings.push(Finding { since: Some(due), until: Some(end.until), ..find(Code::RenewalOverdue, Level::Notice, detail) });
            }
        }
        // An automatic issuer in front of a late release is 2013 again: only a proven way to production mutes the ladder.
        let muted = view.renewal == Renewal::Automatic
            && !view.release_bound
            && view.completed_unaided
            && end.position == 0
            && lifetime.is_some_and(|l| end.remaining(now) >= policy::renewal_overdue(l));
        if let (Some(rung), false) = (thresholds.rung(end.remaining(now)), muted) {
            let key = ladder_key(rung, end.until, end.about);
            if end.remaining(now) >= thresholds.incident && !view.told.iter().any(|t| t.key == key) {
                tell.push(Telling {
                    key,
                    code: if end.position == 0 { Code::LeafExpiring } else { Code::PathExpiring },
                    rung: Some(rung),
                    escalate: rung >= Thresholds::RUNGS / 2,
                    about: own_end.is_none().then_some(end.about),
                    until: Some(end.until),
                    detail: format!("production serves until {}, in {}", end.until, end.remaining(now)),
                    targets: view.targets.count,
                });
            }
        }
    }

    // Findings at notice level are told once, and again weekly while they stay. Ends have the ladder, incidents their own way.
    let own = findings.iter().map(|f| Tally {
        subject: f.subject.to_string(),
        code: f.code,
        level: f.level,
        targets: 0,
        detail: f.detail.clone(),
    });
    for tally in view.targets.findings.iter().cloned().chain(own) {
        let by_ladder = matches!(tally.code, Code::LeafExpiring | Code::PathExpiring | Code::SecretExpiring);
        if tally.level != Level::Notice || by_ladder {
            continue;
        }
        let key = tally.subject.clone();
        let last = view.told.iter().filter(|t| t.key == key).map(|t| t.at).max();
        if let Some(last) = last {
            at(last + REMIND_AFTER);
            if now < last + REMIND_AFTER {
                continue;
            }
        }
        at(now + REMIND_AFTER);
        tell.push(Telling {
            key,
            code: tally.code,
            rung: None,
            escalate: last.is_some(),
            about: None,
            until: None,
            detail: tally.detail,
            targets: tally.targets,
        });
    }

    let served =
        if view.targets.production == 0 { own_end.map_or(Served::Unknown, |e| Served::Until(e.until)) } else { view.targets.served };
    let runway = match served {
        Served::Until(t) => Some(policy::remaining(t, now)),
        Served::Broken => Some(Span::seconds(0)),
        Served::Unknown => None,
    };
    let margin = match (served, worst) {
        (Served::Broken, Some(end)) => Some(Span::seconds(-end.thresholds.incident.as_secs())),
        (_, Some(end)) => Some(end.margin(now)),
        (_, None) => None,
    };
    Standing { served, runway, margin, findings, tell, next }
}

/// A rung acts once per (secret, rung, served-until).
fn ladder_key(rung: u8, until: Time, about: Fingerprint) -> String {
    format!("ladder/{rung}/{until}/{about}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(until: Time) -> End {
        let thresholds = Thresholds::for_leaf(Span::days(365));
        End { about: Fingerprint::from_bytes([7; 32]), position: 0, until, thresholds }
    }

    fn view(until: Time) -> View {
        View {
            id: SecretId(1),
            kind: Kind::Certificate,
            management: Management::Managed,
            renewal: Renewal::ByHand,
            release_bound: true,
            completed_unaided: false,
            owned: true,
            declared_at: Time::from_unix(0),
            policy: policy::Policy::default(),
            expires: None,
            shares_key_with: Vec::new(),
            targets: Targets {
                count: 3,
                production: 3,
                served: Served::Until(until),
                worst: Some(end(until)),
                lifetime: Some(Span::days(365)),
                findings: Vec::new(),
            },
            told: Vec::new(),
        }
    }

    fn codes(s: &Standing) -> Vec<(Code, Option<u8>, bool)> {
        s.tell.iter().map(|t| (t.code, t.rung, t.escalate)).collect()
    }

    #[test]
    fn each_rung_is_told_once_and_a_new_version_in_the_store_changes_nothing() {
        let until = Time::parse("2013-02-22T20:29:53Z").expect("a time");
        let mut v = view(until);
        let mut told = Vec::new();
        // Hour by hour from 200 days before the end to 80 days before it: exactly the four rungs, and each only once.
        let mut now = until - Span::days(200);
        while now < until - Span::days(80) {
            let s = assess(&v, now);
            for t in s.tell {
                told.push((policy::remaining(until, now), t.rung, t.escalate));
                v.told.push(Told { key: t.key, at: now });
            }
            now = now + Span::hours(1);
        }
        let shape: Vec<_> = told.iter().map(|(left, rung, esc)| (left.as_secs() / 3600, rung.unwrap_or(9), *esc)).collect();
        assert_eq!(shape, [(4319, 0, false), (3779, 1, false), (3239, 2, true), (2699, 3, true)]);
    }

    #[test]
    fn next_is_the_second_at_which_the_answer_changes() {
        let until = Time::from_unix(2_000_000_000);
        let v = view(until);
        let mut now = until - Span::days(200);
        let s = assess(&v, now);
        assert!(s.tell.is_empty());
        now = s.next.expect("something is to come");
        assert_eq!(codes(&assess(&v, now - Span::seconds(1))), []);
        assert_eq!(codes(&assess(&v, now)), [(Code::LeafExpiring, Some(0), false)]);
    }

    #[test]
    fn automatic_renewal_mutes_only_where_the_way_is_proven() {
        let until = Time::from_unix(2_000_000_000);
        let now = until - Span::days(130);
        let case = |bound, unaided, left: Span| {
            let mut v = view(until);
            (v.renewal, v.release_bound, v.completed_unaided) = (Renewal::Automatic, bound, unaided);
            let _ = now;
            let s = assess(&v, until - left);
            s.tell.iter().map(|t| t.code).collect::<Vec<_>>()
        };
        assert_eq!(case(false, true, Span::days(130)), []);
        assert_eq!(case(true, true, Span::days(130)), [Code::LeafExpiring], "bound to releases");
        assert_eq!(case(false, false, Span::days(130)), [Code::LeafExpiring], "never seen to complete");
        assert_eq!(case(false, true, policy::renewal_overdue(Span::days(365))), []);
        assert_eq!(
            case(false, true, policy::renewal_overdue(Span::days(365)) - Span::seconds(1)),
            [Code::LeafExpiring, Code::RenewalOverdue]
        );
    }

    #[test]
    fn a_finding_is_told_once_and_weekly_while_it_stays() {
        let until = Time::from_unix(2_000_000_000);
        let mut v = view(until);
        let now = until - Span::days(300);
        v.targets.findings.push(Tally {
            subject: "secret/1/unreachable".into(),
            code: Code::Unreachable,
            level: Level::Notice,
            targets: 40,
            detail: "connection refused".into(),
        });
        let s = assess(&v, now);
        assert_eq!(codes(&s), [(Code::Unreachable, None, false)]);
        v.told.push(Told { key: s.tell[0].key.clone(), at: now });
        assert_eq!(codes(&assess(&v, now + REMIND_AFTER - Span::seconds(1))), []);
        assert_eq!(codes(&assess(&v, now + REMIND_AFTER)), [(Code::Unreachable, None, true)]);
    }

    #[test]
    fn an_opaque_secret_ends_by_its_own_date() {
        let until = Time::from_unix(2_000_000_000);
        let mut v = view(until);
        v.kind = Kind::Opaque;
        v.targets = Targets { count: 0, production: 0, served: Served::Unknown, worst: None, lifetime: None, findings: Vec::new() };
        v.expires = Some((until, until - Span::days(365)));
        let s = assess(&v, until - Span::days(89));
        assert_eq!(s.findings.iter().map(|f| (f.code, f.level)).collect::<Vec<_>>(), [(Code::SecretExpiring, Level::Incident)]);
        assert_eq!(s.runway, Some(Span::days(89)));
    }
}
