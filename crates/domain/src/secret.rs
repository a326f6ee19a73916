//! What the rules say about one secret, from the standings of its targets: runway, margin, the ladder of notices.

use crate::{
    Fingerprint, Span, Time,
    finding::{Code, End, Finding, Subject},
    forecast::breach::Entered,
    ladder::{self, Ending},
    policy::{self, Level, Thresholds},
    release::{ENOUGH, cadence::cannot_ride},
    renewal::Trouble,
    target::Served,
    told::{self, AGAIN_AFTER, Due, REMIND_AFTER, Told},
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
    /// The ends that people must hear of, each certificate once, in the order of their fingerprints.
    pub ends: Vec<Ending>,
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
    /// The releases that it rides, where it does.
    pub rides: Option<Rides>,
    /// Other secrets that hold the same private key, escaped.
    pub shares_key_with: Vec<String>,
    /// What its targets add up to.
    pub targets: Targets,
    /// Breaks that entered the forecast, in the order of their keys.
    pub breaches: Vec<Entered>,
    /// When time alone changes the forecast.
    pub forecast_next: Option<Time>,
    /// What goes wrong with its renewal.
    pub trouble: Option<Trouble>,
    /// What the owner was told before: the latest of each key that still stands, that is recent, or that is a rung of an end to come.
    pub told: Vec<Told>,
}

/// The releases that a certificate rides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rides {
    /// The service whose releases they are, escaped; empty for none.
    pub service: String,
    /// How long these take from built to observed.
    pub lead: Span,
    /// How many measured spans that rests on.
    pub measured: usize,
    /// `notAfter − notBefore + 1 s` of what is renewed next.
    pub lifetime: Span,
}

/// Something that the owner must be told now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// Each key is told once (ladder), or weekly while it stands (findings).
    pub key: String,
    /// Which rule.
    pub code: Code,
    /// The rung of the ladder, 0 the earliest.
    pub rung: Option<u8>,
    /// Whether it was told before and has stood ever since.
    pub again: bool,
    /// Whether the escalation contact hears of it too: it is told again, or half of the ladder has passed.
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
    /// Keys of notices whose finding is gone: their episode ends.
    pub over: Vec<String>,
    /// When time alone will change the answer.
    pub next: Option<Time>,
}

/// Assesses one secret.
pub fn assess(view: &View, now: Time) -> Standing {
    let mut findings = Vec::new();
    let mut next: Option<Time> = None;
    let mut at = |t: Time| {
        if t > now && t < Time::NO_EXPIRY {
            next = Some(next.map_or(t, |n| n.min(t)));
        }
    };
    let find = |code: Code, level: Level, detail: String| Finding::new(code, level, Subject::Secret(view.id, code), detail);

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

    if let Some(r) = view.rides.as_ref().filter(|r| cannot_ride(r.lifetime, r.lead)) {
        let (due, service) = (policy::renewal_due(r.lifetime), if r.service.is_empty() { "no service" } else { r.service.as_str() });
        let known = if r.measured < ENOUGH { "are taken to need" } else { "take" };
        findings.push(find(
            Code::CannotRideReleases,
            Level::Notice,
            format!(
                "cannot ride releases: it lives {}, so {due} are left when its renewal is due, and releases of {service} {known} {}, twice of which is more",
                r.lifetime, r.lead
            ),
        ));
    }

    if let Some(t) = view.trouble.as_ref().filter(|t| t.is_told()) {
        let times = if t.failures == 1 { String::from("failed") } else { format!("failed {} times", t.failures) };
        let next = if t.terminal { "; it needs somebody, then: perennial cert renew" } else { "; it is tried again" };
        let detail = format!("its renewal {times} since {}: {}{next}", t.since, t.detail);
        findings.push(Finding { since: Some(t.since), ..find(Code::RenewalFailed, Level::Notice, detail) });
    }

    // An opaque or tracked secret ends by its own date, where no target of it says more.
    let own_end = match (view.kind, view.expires) {
        (Kind::Opaque | Kind::Tracked, Some((until, known_since))) if view.targets.worst.is_none() => {
            let lifetime = until - known_since + Span::seconds(1);
            Some(End { about: ladder::NO_CERTIFICATE, position: 0, until, thresholds: view.policy.thresholds(lifetime), lifetime })
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
    let own_ending = own_end.map(|end| Ending { end, targets: 1, active: true });
    let endings: Vec<&Ending> = view.targets.ends.iter().chain(&own_ending).collect();
    let mut tell = Vec::new();
    for ending in &endings {
        ending.turns().for_each(&mut at);
        let overdue = view.renewal == Renewal::Automatic && ending.about().is_some() && ending.overdue(now);
        if overdue {
            let due = ending.end.until - policy::renewal_due(ending.end.lifetime);
            let detail = format!("its automatic renewal was due {due} and production still serves the old certificate");
            let (about, until) = (ending.about(), Some(ending.end.until));
            findings.push(Finding { about, since: Some(due), until, ..find(Code::RenewalOverdue, Level::Notice, detail) });
        }
        let Some(rung) = ending.rung(now).filter(|_| !muted(view, ending, now)) else { continue };
        let key = ending.key(rung);
        if view.told.iter().any(|t| t.key == key) {
            continue;
        }
        tell.push(Telling {
            key,
            code: if ending.end.position == 0 { Code::LeafExpiring } else { Code::PathExpiring },
            rung: Some(rung),
            again: false,
            escalate: rung >= Thresholds::RUNGS / 2,
            about: ending.about(),
            until: Some(ending.end.until),
            detail: ending.sentence(now, view.targets.count.max(1)),
            targets: ending.targets,
        });
    }

    // A break that enters the forecast is told at once, and once: its own thresholds say the rest.
    view.forecast_next.into_iter().for_each(&mut at);
    for entered in &view.breaches {
        let (about, until, detail) = (entered.about, Some(entered.until), entered.detail.clone());
        findings.push(Finding { about, until, ..find(Code::ForecastBreach, Level::Notice, detail.clone()) });
        match view.told.iter().find(|t| t.key == entered.key) {
            Some(t) if t.stands => continue,
            // It went and is back.
            Some(t) if t.at <= now && now < t.at + AGAIN_AFTER => {
                at(t.at + AGAIN_AFTER);
                continue;
            }
            _ => {}
        }
        let (key, code, targets) = (entered.key.clone(), Code::ForecastBreach, entered.targets);
        tell.push(Telling { key, code, rung: None, again: false, escalate: false, about, until, detail, targets });
    }

    // Findings at notice level are told once, and again weekly while they stay. Ends have the ladder, incidents their own way.
    let own = findings.iter().map(|f| {
        let subject = match f.about {
            Some(about) => format!("{}/{about}", f.subject),
            None => f.subject.to_string(),
        };
        Tally { subject, code: f.code, level: f.level, targets: 0, detail: f.detail.clone() }
    });
    let mut standing: Vec<String> = view.breaches.iter().map(|b| b.key.clone()).collect();
    for tally in view.targets.findings.iter().cloned().chain(own) {
        standing.push(tally.subject.clone());
        let elsewhere = matches!(tally.code, Code::LeafExpiring | Code::PathExpiring | Code::SecretExpiring | Code::ForecastBreach);
        if tally.level != Level::Notice || elsewhere {
            continue;
        }
        let again = match told::due(&view.told, &tally.subject, REMIND_AFTER, now) {
            // Told once: nothing but another way to production changes it.
            Due::Now { again: true } if tally.code == Code::CannotRideReleases => continue,
            Due::Now { again } => again,
            Due::At(then) => {
                at(then);
                continue;
            }
        };
        at(now + REMIND_AFTER);
        tell.push(Telling {
            key: tally.subject,
            code: tally.code,
            rung: None,
            again,
            escalate: again,
            about: None,
            until: None,
            detail: tally.detail,
            targets: tally.targets,
        });
    }
    let stems: Vec<String> = endings.iter().map(|e| e.stem()).collect();
    let stands = |key: &str| match ladder::is_key(key) {
        true => stems.iter().any(|stem| key.ends_with(stem.as_str())),
        false => standing.iter().any(|k| k == key),
    };
    let over = view.told.iter().filter(|t| t.stands && !stands(&t.key)).map(|t| t.key.clone()).collect();

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
    Standing { served, runway, margin, findings, tell, over, next }
}

/// Whether automatic renewal mutes the ladder of an end. An automatic issuer in front of a late release is 2013 again: only a way to
/// production that was seen to work without help mutes, only for the leaf that it renews, and only until the renewal is overdue.
fn muted(view: &View, ending: &Ending, now: Time) -> bool {
    view.renewal == Renewal::Automatic
        && !view.release_bound
        && view.completed_unaided
        && ending.about().is_some()
        && ending.end.position == 0
        && !ending.overdue(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(until: Time) -> End {
        let lifetime = Span::days(365);
        End { about: Fingerprint::from_bytes([7; 32]), position: 0, until, thresholds: Thresholds::for_leaf(lifetime), lifetime }
    }

    fn none() -> Targets {
        Targets { count: 0, production: 0, served: Served::Unknown, worst: None, ends: Vec::new(), findings: Vec::new() }
    }

    /// Tells what is to be told, and remembers it as the store does.
    fn tell(v: &mut View, now: Time) -> Vec<(Code, Option<u8>, bool)> {
        let s = assess(v, now);
        v.told.iter_mut().filter(|t| s.over.contains(&t.key)).for_each(|t| t.stands = false);
        for t in &s.tell {
            v.told.retain(|o| o.key != t.key);
            v.told.push(Told { key: t.key.clone(), at: now, stands: true });
        }
        codes(&s)
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
            rides: None,
            shares_key_with: Vec::new(),
            targets: Targets {
                count: 3,
                production: 3,
                served: Served::Until(until),
                worst: Some(end(until)),
                ends: [Ending { end: end(until), targets: 3, active: true }].into(),
                findings: Vec::new(),
            },
            breaches: Vec::new(),
            forecast_next: None,
            trouble: None,
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
                v.told.push(Told { key: t.key, at: now, stands: true });
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
        v.told.push(Told { key: s.tell[0].key.clone(), at: now, stands: true });
        assert_eq!(codes(&assess(&v, now + REMIND_AFTER - Span::seconds(1))), []);
        assert_eq!(codes(&assess(&v, now + REMIND_AFTER)), [(Code::Unreachable, None, true)]);
    }

    #[test]
    fn what_went_and_comes_back_is_told_at_once_and_does_not_escalate() {
        let mut v = view(Time::from_unix(2_000_000_000));
        let now = Time::from_unix(2_000_000_000) - Span::days(300);
        let unreachable = Tally {
            subject: "secret/1/unreachable".into(),
            code: Code::Unreachable,
            level: Level::Notice,
            targets: 1,
            detail: "connection refused".into(),
        };
        v.targets.findings.push(unreachable.clone());
        assert_eq!(tell(&mut v, now), [(Code::Unreachable, None, false)]);
        v.targets.findings.clear();
        assert_eq!(assess(&v, now + Span::hours(3)).over, ["secret/1/unreachable"]);
        assert_eq!(tell(&mut v, now + Span::hours(3)), []);
        assert_eq!(assess(&v, now + Span::hours(4)).over, [""; 0], "an episode ends once");
        v.targets.findings.push(unreachable.clone());
        assert_eq!(tell(&mut v, now + Span::days(2)), [(Code::Unreachable, None, false)], "within a week, and news all the same");
        // What becomes an incident and is a notice again has stood all the time.
        v.targets.findings[0].level = Level::Incident;
        assert_eq!(tell(&mut v, now + Span::days(3)), []);
        v.targets.findings[0].level = Level::Notice;
        assert_eq!(tell(&mut v, now + Span::days(4)), []);
        assert_eq!(tell(&mut v, now + Span::days(9)), [(Code::Unreachable, None, true)]);
    }

    #[test]
    fn each_certificate_has_rungs_of_its_own() {
        let rsa = Time::from_unix(2_000_000_000);
        let mut v = view(rsa);
        let ecdsa = End { about: Fingerprint::from_bytes([8; 32]), until: rsa + Span::days(20), ..end(rsa) };
        let above = End { about: Fingerprint::from_bytes([9; 32]), position: 1, until: rsa + Span::days(40), ..end(rsa) };
        v.targets.ends.push(Ending { end: ecdsa, targets: 3, active: true });
        v.targets.ends.push(Ending { end: above, targets: 1, active: false });
        let leaf = |rung| (Code::LeafExpiring, Some(rung), rung >= 2);
        let path = |rung| (Code::PathExpiring, Some(rung), rung >= 2);
        for (days_left, wanted) in [
            (181, &[][..]),
            (179, &[leaf(0)]),
            (159, &[leaf(0)]),
            (156, &[leaf(1)]),
            (139, &[path(0)]),
            (136, &[leaf(1)]),
            (110, &[leaf(3), leaf(2), path(1)]),
            (89, &[leaf(3), path(2)]),
            (60, &[path(3)]),
            (49, &[path(ladder::STANDBY_RUNG)]),
            (1, &[]),
        ] {
            assert_eq!(tell(&mut v, rsa - Span::days(days_left)), wanted, "{days_left} d before the first end");
            assert_eq!(tell(&mut v, rsa - Span::days(days_left)), [], "once");
        }
    }

    #[test]
    fn a_rung_acts_once_also_where_the_end_went_and_is_back() {
        let until = Time::from_unix(2_000_000_000);
        let mut v = view(until);
        assert_eq!(tell(&mut v, until - Span::days(179)), [(Code::LeafExpiring, Some(0), false)]);
        let ends = core::mem::take(&mut v.targets.ends);
        assert_eq!(assess(&v, until - Span::days(178)).over.len(), 1);
        assert_eq!(tell(&mut v, until - Span::days(178)), []);
        v.targets.ends = ends;
        assert_eq!(tell(&mut v, until - Span::days(177)), []);
    }

    #[test]
    fn the_mute_of_automatic_renewal_ends_to_the_second_when_it_is_overdue() {
        let until = Time::from_unix(2_000_000_000);
        for lifetime in ["365d", "200d", "100d", "90d", "47d", "160h", "24h"] {
            let lifetime = Span::parse(lifetime).expect("a span");
            let mut v = view(until);
            (v.renewal, v.release_bound, v.completed_unaided) = (Renewal::Automatic, false, true);
            v.targets.ends[0].end = End { thresholds: Thresholds::for_leaf(lifetime), lifetime, ..end(until) };
            let at = |plus: i64| until - policy::renewal_overdue(lifetime) + Span::seconds(plus);
            let shape = |now| assess(&v, now).tell.iter().map(|t| t.code).collect::<Vec<_>>();
            assert_eq!(shape(at(-1)), [], "{lifetime}");
            assert_eq!(shape(at(0)), [], "{lifetime}");
            assert_eq!(shape(at(1)), [Code::LeafExpiring, Code::RenewalOverdue], "{lifetime}");
            assert_eq!(assess(&v, at(0)).next, Some(at(1)), "{lifetime}: and somebody looks at that second");
            // What stands above the leaf is renewed by nobody here.
            v.targets.ends[0].end.position = 1;
            let before = assess(&v, at(0));
            assert_eq!(before.tell.iter().map(|t| t.code).collect::<Vec<_>>(), [Code::PathExpiring], "{lifetime}");
        }
    }

    #[test]
    fn a_break_that_enters_the_forecast_is_told_once_for_each_episode() {
        let until = Time::from_unix(2_000_000_000);
        let now = until - Span::days(300);
        let mut v = view(until);
        let entered = |key: &str| Entered {
            key: key.into(),
            about: Some(Fingerprint::from_bytes([7; 32])),
            until,
            targets: 3,
            detail: "as things are planned now".into(),
        };
        v.forecast_next = Some(now + Span::hours(5));
        assert_eq!(assess(&v, now).next, Some(now + Span::hours(5)));
        v.breaches.push(entered("forecast-breach/7/a"));
        let s = assess(&v, now);
        assert_eq!(s.findings.iter().map(|f| (f.code, f.level)).collect::<Vec<_>>(), [(Code::ForecastBreach, Level::Notice)]);
        assert_eq!(tell(&mut v, now), [(Code::ForecastBreach, None, false)], "half a year before any threshold");
        assert_eq!(tell(&mut v, now + Span::days(30)), [], "its thresholds say the rest");
        v.breaches[0] = entered("forecast-breach/7/b");
        assert_eq!(tell(&mut v, now + Span::days(31)), [(Code::ForecastBreach, None, false)], "another date is another breach");
        v.breaches.clear();
        assert_eq!(tell(&mut v, now + Span::days(32)), []);
        assert_eq!(assess(&v, now + Span::days(32)).over, [""; 0], "the episode has ended");
        v.breaches.push(entered("forecast-breach/7/b"));
        assert_eq!(tell(&mut v, now + Span::days(33)), [(Code::ForecastBreach, None, false)]);
        v.told[1].stands = false;
        assert_eq!(tell(&mut v, now + Span::days(33) + AGAIN_AFTER - Span::seconds(1)), []);
        assert_eq!(tell(&mut v, now + Span::days(33) + AGAIN_AFTER), [(Code::ForecastBreach, None, false)]);
    }

    #[test]
    fn a_terminal_error_of_the_issuer_is_told_at_once_and_others_when_they_come_again() {
        let until = Time::from_unix(2_000_000_000);
        let now = until - Span::days(300);
        let mut v = view(until);
        let failing = |failures, terminal| Some(Trouble { detail: "acme: a.example: no such name".into(), failures, since: now, terminal });
        v.trouble = failing(1, false);
        assert_eq!(tell(&mut v, now), []);
        v.trouble = failing(3, false);
        assert_eq!(tell(&mut v, now), [(Code::RenewalFailed, None, false)]);
        assert_eq!(tell(&mut v, now + Span::days(1)), [], "once while it stands");
        v.trouble = None;
        assert_eq!(tell(&mut v, now + Span::days(2)), []);
        v.trouble = failing(1, true);
        let s = assess(&v, now + Span::days(20));
        assert!(s.tell.iter().any(|t| t.code == Code::RenewalFailed && t.detail.contains("a.example: no such name")), "{:?}", s.tell);
    }

    #[test]
    fn an_opaque_secret_ends_by_its_own_date() {
        let until = Time::from_unix(2_000_000_000);
        let mut v = view(until);
        v.kind = Kind::Opaque;
        v.targets = none();
        v.expires = Some((until, until - Span::days(365)));
        let s = assess(&v, until - Span::days(89));
        assert_eq!(s.findings.iter().map(|f| (f.code, f.level)).collect::<Vec<_>>(), [(Code::SecretExpiring, Level::Incident)]);
        assert_eq!(s.runway, Some(Span::days(89)));
    }
}
