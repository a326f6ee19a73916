//! Rules that forbid: each breach stands about its service, is told at once to the team that owns it, weekly while it stands, and is
//! gone when production was observed otherwise.

use crate::world::{Ca, World, person, t};
use domain::{Span, Time};
use engine::partition::Wanted;
use store::model::{concern, intent, path};

const NOW: &str = "2026-03-02T09:00:00Z";

struct Stage {
    w: World,
    ca: Ca,
    rules: String,
}

/// Where a target is, which address it has, and which certificate it serves until when.
type Serves<'a> = (&'a str, &'a str, usize, &'a str);

impl Stage {
    fn new(rules: &str) -> Stage {
        let ca = Ca::new(t("2020-01-01T00:00:00Z"), t("2060-01-01T00:00:00Z"));
        Stage { w: World::new(t(NOW)), ca, rules: rules.to_owned() }
    }

    fn fleet(&self, targets: &[Serves<'_>]) -> String {
        let mut text = format!(
            "[[team]]\nname = \"web\"\ncontacts = [{{ channel = \"log\" }}]\n[[roots]]\nname = \"corp\"\npem = \"\"\"\n{}\"\"\"\n\
             [[calendar]]\nname = \"cal\"\nzone = \"UTC\"\n[[calendar.freeze]]\nwhy = \"year\\u009Bend\"\nfrom = \"2026-12-15\"\nuntil = \"2027-01-04\"\n\
             [[partition]]\nname = \"strict\"\n{}\n[[service]]\nname = \"storage\"\nteam = \"web\"\ncalendar = \"cal\"\npartition = \"strict\"\n\
             [[region]]\nname = \"eu\"\n[[region]]\nname = \"us\"\n\
             [[secret]]\nname = \"blob\"\nkind = \"certificate\"\nmanagement = \"external\"\nservice = \"storage\"\n",
            self.ca.roots(),
            self.rules
        );
        for (name, region, _, _) in targets {
            text += &format!(
                "[[target]]\nname = \"{name}\"\nsecret = \"blob\"\nroots = \"corp\"\nbackends = \"direct\"\nregion = \"{region}\"\n\
                 endpoint = \"tls://{name}.example:443\"\n"
            );
        }
        text
    }

    /// Puts it in place; equal numbers are one certificate.
    fn serves(&mut self, targets: &[Serves<'_>]) {
        let mut made = std::collections::BTreeMap::new();
        for (n, (name, _, number, until)) in targets.iter().enumerate() {
            let names: Vec<String> = targets.iter().map(|(name, ..)| format!("{name}.example")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let until = t(until);
            let chain = made.entry(*number).or_insert_with(|| self.ca.leaf(&names, until - Span::days(365), until).0);
            let address = format!("192.0.2.{}:443", n + 1);
            self.w.net.name(&format!("{name}.example"), &[&address]);
            self.w.net.serves(&address, chain);
        }
    }

    fn apply(&self, targets: &[Serves<'_>]) {
        let fleet = api::fleet::parse(&self.fleet(targets)).unwrap();
        self.w.engine.apply(&fleet, &engine::inventory::Options::default(), &person(), &self.w.tick()).unwrap();
    }

    fn run(&mut self, span: Span) {
        self.w.run_until(self.w.now + span, Span::minutes(5));
    }

    /// What stands about the service.
    fn stands(&self) -> Vec<concern::Stored> {
        let all = self.w.engine.store().read(|tx| concern::of(tx, "service/storage")).unwrap();
        all.into_iter().filter(|c| c.gone_at.is_none()).collect()
    }

    fn codes(&self) -> Vec<String> {
        let mut codes: Vec<String> = self.stands().iter().map(|c| c.code.to_string()).collect();
        codes.dedup();
        codes
    }

    fn told(&self, code: &str) -> usize {
        self.w.notices().iter().filter(|n| n.code == code && n.team == "web").count()
    }
}

#[test]
fn each_rule_forbids_what_it_says_and_nothing_else() {
    // Mondays, at nine.
    let apart: &[Serves] = &[("a", "eu", 1, "2026-09-07T09:00:00Z"), ("b", "us", 2, "2026-10-05T09:00:00Z")];
    let shared: &[Serves] = &[("a", "eu", 1, "2026-09-07T09:00:00Z"), ("b", "us", 1, "2026-09-07T09:00:00Z")];
    let same_region: &[Serves] = &[("a", "eu", 1, "2026-09-07T09:00:00Z"), ("b", "eu", 1, "2026-09-07T09:00:00Z")];
    let frozen: &[Serves] = &[("a", "eu", 1, "2026-12-21T09:00:00Z"), ("b", "us", 2, "2026-10-05T09:00:00Z")];
    let saturday: &[Serves] = &[("a", "eu", 1, "2026-09-05T09:00:00Z"), ("b", "us", 2, "2026-10-05T09:00:00Z")];
    let close: &[Serves] = &[("a", "eu", 1, "2026-09-07T09:00:00Z"), ("b", "us", 2, "2026-09-09T08:59:59Z")];
    let not_close: &[Serves] = &[("a", "eu", 1, "2026-09-07T09:00:00Z"), ("b", "us", 2, "2026-09-09T09:00:00Z")];
    let day = "max_share_percent = 50";
    for (rules, serves, code) in [
        ("one_region_per_certificate = true", shared, Some("shared-across-regions")),
        ("one_region_per_certificate = true", same_region, None),
        ("one_region_per_certificate = true", apart, None),
        ("max_targets_per_certificate = 1", same_region, Some("too-many-targets")),
        ("max_targets_per_certificate = 2", same_region, None),
        ("no_expiry_in_freeze = true", frozen, Some("expiry-in-freeze")),
        ("no_expiry_in_freeze = true", apart, None),
        ("no_expiry_on = [\"sat\", \"sun\"]", saturday, Some("expiry-on-closed-day")),
        ("no_expiry_on = [\"2026-09-07\"]", apart, Some("expiry-on-closed-day")),
        ("no_expiry_on = [\"tue\", \"2026-09-08\"]", apart, None),
        ("min_days_between = 2", close, Some("expiries-too-close")),
        ("min_days_between = 2", not_close, None),
        (day, shared, Some("window-too-wide")),
        (day, apart, None),
        ("max_share_percent = 50\nwindow = \"48h\"", close, Some("window-too-wide")),
        ("max_share_percent = 50\nwindow = \"47h\"", close, None),
        ("max_share_percent = 100", shared, None),
    ] {
        let mut s = Stage::new(rules);
        s.serves(serves);
        s.apply(serves);
        s.run(Span::minutes(10));
        assert_eq!(s.codes(), code.map(str::to_owned).into_iter().collect::<Vec<_>>(), "{rules} {serves:?}: {:?}", s.stands());
        if let Some(code) = code {
            assert!(s.told(code) >= 1, "{rules}: {:?}", s.w.notices());
            let it = &s.stands()[0];
            assert_eq!(it.teams, ["web"]);
            assert!(it.detail.starts_with("storage: ") && it.next_step.contains("perennial partition --service storage"), "{it:?}");
            assert!(!it.detail.contains('\u{9b}'), "names are escaped: {}", it.detail);
            assert!(it.until.is_some_and(|u| u > s.w.now));
        }
    }
}

#[test]
fn a_breach_is_told_weekly_and_gone_when_it_was_observed_otherwise() {
    let shared: &[Serves] = &[("a", "eu", 1, "2026-09-07T09:00:00Z"), ("b", "us", 1, "2026-09-07T09:00:00Z")];
    let apart: &[Serves] = &[("a", "eu", 1, "2026-09-07T09:00:00Z"), ("b", "us", 2, "2026-10-05T09:00:00Z")];
    let mut s = Stage::new("one_region_per_certificate = true");
    s.serves(shared);
    s.apply(shared);
    s.run(Span::minutes(10));
    assert_eq!(s.told("shared-across-regions"), 1);
    s.w.run_until(s.w.now + Span::days(6), Span::hours(3));
    assert_eq!(s.told("shared-across-regions"), 1);
    s.w.run_until(s.w.now + Span::days(2), Span::hours(3));
    assert_eq!(s.told("shared-across-regions"), 2, "weekly");
    // Nothing that is stored, and no plan, ends it.
    let wanted = Wanted { service: Some("storage".into()), ..Wanted::default() };
    let plan = s.w.engine.partition(&wanted, &s.w.tick()).unwrap();
    let n = s.w.engine.apply_partition(&wanted, &plan.hash, "two regions", &person(), &s.w.tick()).unwrap();
    assert_eq!(n, 2);
    s.w.run_until(s.w.now + Span::hours(3), Span::hours(1));
    assert_eq!(s.codes(), ["shared-across-regions"]);
    s.serves(apart);
    s.w.run_until(s.w.now + Span::days(1), Span::hours(1));
    assert_eq!(s.codes(), Vec::<String>::new());
}

#[test]
fn more_breaches_than_anybody_reads_are_told_in_one_sentence() {
    let names: Vec<String> = (0..30).map(|n| format!("t{n}")).collect();
    // All on Mondays.
    let days: Vec<String> =
        (0..30i64).map(|n| (t("2026-06-01T09:00:00Z") + Span::days(7 * (n / 2)) + Span::seconds(n)).to_string()).collect();
    let serves: Vec<Serves> = names.iter().zip(&days).enumerate().map(|(n, (name, day))| (name.as_str(), "eu", n, day.as_str())).collect();
    let mut s = Stage::new("no_expiry_on = [\"mon\"]");
    s.serves(&serves);
    s.apply(&serves);
    s.run(Span::minutes(10));
    let stands = s.stands();
    assert_eq!(stands.len(), engine::partition::MOST_TOLD + 1);
    assert!(stands.iter().any(|c| c.detail.contains("in 10 more ways")), "{:?}", stands.last());
}

#[test]
fn a_plan_is_what_was_looked_at_or_nothing_and_another_service_changes_nothing_of_it() {
    let serves: Vec<(String, String)> = (0..20).map(|n| (format!("t{n}"), if n % 2 == 0 { "eu" } else { "us" }.to_owned())).collect();
    let serves: Vec<Serves> = serves.iter().map(|(n, r)| (n.as_str(), r.as_str(), 1, "2026-09-07T09:00:00Z")).collect();
    let mut s = Stage::new("max_share_percent = 10");
    s.serves(&serves);
    s.apply(&serves);
    s.run(Span::minutes(5));
    let (all, one) = (Wanted::default(), Wanted { service: Some("storage".into()), ..Wanted::default() });
    let plan = s.w.engine.partition(&one, &s.w.tick()).unwrap();
    let [service] = &plan.services[..] else { panic!("{plan:?}") };
    assert_eq!((service.proposal.before.worst, service.proposal.before.across_regions), (20, 1));
    assert!(service.proposal.after.worst <= 2 && service.proposal.short.is_none(), "{:?}", service.proposal.after);
    let ends: Vec<Time> = service.certificates.iter().map(|c| c.planned.not_after).collect();
    assert!(ends.iter().all(|e| !(t("2026-12-15T00:00:00Z")..t("2027-01-04T00:00:00Z")).contains(e)), "the service's calendar: {ends:?}");
    let covered: Vec<&String> = service.certificates.iter().flat_map(|c| &c.names).collect();
    assert_eq!(covered.len(), 20, "each covers what its targets are asked for: {covered:?}");

    // Another service with targets of its own.
    let more = s.fleet(&serves)
        + "[[service]]\nname = \"web\"\nteam = \"web\"\n[[secret]]\nname = \"www\"\nkind = \"certificate\"\nservice = \"web\"\n\
           [[target]]\nname = \"www\"\nsecret = \"www\"\nroots = \"corp\"\nendpoint = \"tls://t1.example:443\"\n";
    let fleet = api::fleet::parse(&more).unwrap();
    s.w.engine.apply(&fleet, &engine::inventory::Options::default(), &person(), &s.w.tick()).unwrap();
    s.run(Span::minutes(5));
    assert_eq!(s.w.engine.partition(&one, &s.w.tick()).unwrap(), plan, "what another service does changes nothing");
    let both = s.w.engine.partition(&all, &s.w.tick()).unwrap();
    assert_eq!(both.services.iter().find(|p| p.service == "storage"), Some(service));

    let apply = |w: &World, hash, why: &str| w.engine.apply_partition(&one, hash, why, &person(), &w.tick());
    let other = domain::Fingerprint::of(b"other");
    assert!(apply(&s.w, &other, "x").unwrap_err().to_string().contains("perennial partition"));
    assert!(apply(&s.w, &plan.hash, " ").unwrap_err().to_string().contains("--reason"));
    for round in 1..=2usize {
        assert_eq!(apply(&s.w, &plan.hash, "no window above a tenth").unwrap(), service.certificates.len());
        let count = |state| s.w.engine.store().read(|tx| intent::list(tx, Some(state), None, 1000)).unwrap().len();
        assert_eq!((count("open"), count("superseded")), (service.certificates.len(), (round - 1) * service.certificates.len()));
    }
    for (share, window) in [(Some(0), None), (Some(101), None), (None, Some(Span::seconds(59))), (None, Some(Span::days(91)))] {
        let bad = Wanted { max_share: share, window, ..one.clone() };
        assert!(s.w.engine.partition(&bad, &s.w.tick()).is_err(), "{bad:?}");
    }
    let snapshot = s.w.engine.store().read(|tx| path::snapshot(tx, Some("web"))).unwrap();
    assert_eq!(snapshot.len(), 1);
}
