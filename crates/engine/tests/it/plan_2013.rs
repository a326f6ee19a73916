//! What would have been known on 2013-01-07, the day on which the new certificates were stored and put into a release: that the
//! release was late already, when production would break, how wide, and how to divide it up.

use crate::world::{Ca, World, person, t};
use domain::{Span, Time, blast::NARROW_WINDOW, forecast::Breaks};
use engine::{
    blast::{Kind, Question},
    forecast::{Ask, Forecast},
    partition::Wanted,
    releases::{Found, New, Thing, When},
};
use std::collections::BTreeSet;

/// The three names, and the seconds at which their certificates ended.
const SERVED: [(&str, &str); 3] = [("blob", "2013-02-22T20:29:53Z"), ("queue", "2013-02-22T20:31:22Z"), ("table", "2013-02-22T20:32:52Z")];
const REGIONS: [&str; 8] = ["us-north", "us-south", "us-east", "us-west", "eu-north", "eu-west", "asia-east", "asia-southeast"];
const STAMPS: usize = 4;
const STORED: &str = "2013-01-07T00:00:00Z";

fn fleet(ca: &Ca) -> String {
    let mut toml = format!(
        "[fleet]\ndefault_owner = \"managers\"\n\
         [[team]]\nname = \"storage\"\nescalation = \"managers\"\ncontacts = [{{ channel = \"log\" }}]\n\
         [[team]]\nname = \"secrets\"\ncontacts = [{{ channel = \"log\" }}]\n\
         [[team]]\nname = \"managers\"\ncontacts = [{{ channel = \"log\" }}]\n\
         [[calendar]]\nname = \"pacific\"\nzone = \"America/Los_Angeles\"\n\
         [[train]]\nname = \"storage-monthly\"\ncalendar = \"pacific\"\nstart = \"2013-01-22T10:00\"\nrule = \"FREQ=WEEKLY;INTERVAL=3\"\n\
         [[service]]\nname = \"storage\"\nteam = \"storage\"\ncalendar = \"pacific\"\ntrain = \"storage-monthly\"\n\
         [[roots]]\nname = \"corp\"\npem = \"\"\"\n{}\"\"\"\n",
        ca.roots()
    );
    for region in REGIONS {
        toml += &format!("[[region]]\nname = \"{region}\"\n");
        for stamp in 0..STAMPS {
            toml += &format!("[[stamp]]\nname = \"{region}-{stamp}\"\nregion = \"{region}\"\n");
        }
    }
    for (name, _) in SERVED {
        toml += &format!(
            "[[secret]]\nname = \"{name}\"\nkind = \"certificate\"\nteam = \"secrets\"\nservice = \"storage\"\nrelease_bound = true\n"
        );
        for region in REGIONS {
            for stamp in 0..STAMPS {
                toml += &format!(
                    "[[target]]\nname = \"{name}-{region}-{stamp}\"\nsecret = \"{name}\"\n\
                     endpoint = \"tls://{region}-{stamp}.{name}.example:443\"\nregion = \"{region}\"\nstamp = \"{region}-{stamp}\"\n\
                     service = \"storage\"\nroots = \"corp\"\nbackends = \"direct\"\noffers = [\"all\"]\n"
                );
            }
        }
    }
    toml
}

/// A name's certificate of a year that ends at `expiry`.
fn until(ca: &Ca, name: &str, expiry: Time) -> (Vec<pki::Certificate>, pki::PrivateKey) {
    ca.leaf(&[&format!("*.{name}.example")], expiry - Span::days(365) + Span::seconds(1), expiry)
}

#[test]
fn on_the_day_of_the_renewal_everything_was_known() {
    let mut w = World::new(t("2013-01-06T00:00:00Z"));
    let ca = Ca::new(t("2008-01-01T00:00:00Z"), t("2030-01-01T00:00:00Z"));
    let old: Vec<_> = SERVED.iter().map(|(name, expiry)| until(&ca, name, t(expiry))).collect();
    for (s, (name, _)) in SERVED.iter().enumerate() {
        for (r, region) in REGIONS.iter().enumerate() {
            for stamp in 0..STAMPS {
                let address = format!("10.{s}.{r}.{stamp}:443");
                w.net.name(&format!("{region}-{stamp}.{name}.example"), &[&address]);
                w.net.serves(&address, &old[s].0);
            }
        }
    }
    w.apply(&fleet(&ca));
    for ((name, _), (chain, key)) in SERVED.iter().zip(&old) {
        w.store(name, chain, key).unwrap();
    }
    w.settle();

    // 2013-01-07: the owner stores what is new, and somebody plans a release. Nobody says what it carries: its build is looked into.
    w.now = t(STORED);
    let mut found = Vec::new();
    for (name, _) in SERVED {
        let (chain, key) = until(&ca, name, t("2014-01-06T12:00:00Z"));
        w.store(name, &chain, &key).unwrap();
        found.push(Found {
            thing: Thing::Certificate {
                fingerprint: chain[0].fingerprint(),
                subject: chain[0].subject().to_owned(),
                not_after: Some(chain[0].not_after()),
            },
            path: format!("storage.tar.gz!etc/tls/{name}.pem"),
        });
    }
    let release = w.engine.create_release(&new("2013.1"), &person(), &w.tick()).unwrap().stored.facts.id;
    w.engine.carry(release, &found, "scanned", &person(), &w.tick()).unwrap();
    w.settle();

    // That day: by when it had to be built, that it is late, and both owners hear of it.
    let it = w.engine.release(release, &w.tick()).unwrap();
    assert_eq!(
        it.carries.iter().map(|(name, version, _)| (name.as_str(), *version)).collect::<Vec<_>>(),
        [("blob", 2), ("queue", 2), ("table", 2)]
    );
    assert_eq!(it.stored.ship_by, Some(t("2012-11-24T20:29:53Z")), "90 days before the first end: {}", it.stored.reason);
    assert_eq!(it.stored.facts.planned_at, t("2013-01-22T18:00:00Z"), "ten in the morning at the Pacific");
    assert_eq!(it.slack, Some(t("2012-11-24T20:29:53Z") - t("2013-01-22T18:00:00Z")));
    assert!(it.slack.unwrap() < Span::ZERO && it.late);
    assert_eq!(told(&w, "release-late"), ["secrets", "storage"]);

    // As planned it arrives in time: late by the rules, and production would have been saved.
    assert_eq!(broken_before_spring(&w).totals.breaking, 0);

    // A week later another release is put before it. It rides the next train, and both owners hear of it that day.
    w.run_until(t("2013-01-14T00:00:00Z"), Span::days(1));
    let heard = told(&w, "release-late").len();
    let urgent = New {
        when: Some(When::Train { name: None, before: Some(release), earliest: None }),
        reason: "a feature that somebody waits for",
        ..new("2013.0-feature")
    };
    w.engine.create_release(&urgent, &person(), &w.tick()).unwrap();
    w.settle();
    let it = w.engine.release(release, &w.tick()).unwrap();
    assert_eq!(it.stored.facts.planned_at, t("2013-02-12T18:00:00Z"), "three weeks later");
    assert!(told(&w, "release-late").len() >= heard + 2, "{:?}", told(&w, "release-late"));
    assert!(told(&w, "forecast-breach").contains(&"secrets".to_owned()), "{:?}", w.notices());
    let first = &w.engine.release_queue(Some("storage-monthly"), None, None, 10, &w.tick()).unwrap()[0];
    assert_eq!(first.stored.facts.id, release, "it should ship first");

    // Now the forecast names the second, the three names and all regions, and what would have saved them.
    let forecast = broken_before_spring(&w);
    assert_eq!((forecast.totals.breaking, forecast.totals.first), (96, Some(t("2013-02-22T20:29:53Z"))));
    let names: Vec<_> = forecast.groups.iter().flat_map(|g| g.secrets.1.iter().map(|s| s.to_string())).collect();
    assert_eq!(names, ["blob", "queue", "table"]);
    for ((_, expiry), group) in SERVED.iter().zip(&forecast.groups) {
        assert_eq!(group.breaks, Breaks::At(t(expiry)));
        assert_eq!(group.regions.iter().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(REGIONS));
        let missed = group.missed.as_ref().expect("a release that comes too late");
        assert_eq!((missed.release, missed.arrives_at), (release.0, t("2013-02-26T18:00:00Z")));
    }

    // How wide: all of the service, in all regions, within 179 seconds.
    let asked = Question { service: Some("storage".into()), kind: Some(Kind::Window(NARROW_WINDOW)), limit: 10, ..Question::default() };
    let (totals, windows) = w.engine.blast(&asked, &w.tick()).unwrap();
    let widest = &windows[0];
    assert_eq!(widest.falls, Some((t("2013-02-22T20:29:53Z"), t("2013-02-22T20:32:52Z"))));
    assert_eq!(widest.falls.map(|(first, last)| last - first), Some(Span::seconds(179)));
    assert_eq!((widest.reach.targets, widest.reach.regions, widest.reach.stamps), (96, 8, 32));
    assert_eq!(totals.targets, 96, "which is all there is: {totals:?}");

    // And how to divide it up: no window takes a tenth of it, and no certificate lives in two regions.
    let wanted = Wanted { service: Some("storage".into()), ..Wanted::default() };
    let plan = w.engine.partition(&wanted, &w.tick()).unwrap();
    let proposal = &plan.services[0].proposal;
    assert_eq!((proposal.before.worst, proposal.before.across_regions), (96, 3));
    assert!(proposal.after.worst * 10 < 96 && proposal.after.across_regions == 0 && proposal.short.is_none(), "{:?}", proposal.after);
    assert_eq!(plan.services[0].certificates.iter().map(|c| c.targets.len()).sum::<usize>(), 96, "each target has one");
    let recorded = w.engine.apply_partition(&wanted, &plan.hash, "after the outage", &person(), &w.tick()).unwrap();
    assert_eq!(recorded, plan.services[0].certificates.len());
}

fn new(build: &str) -> New<'_> {
    New { service: "storage", build, when: None, carries: &[], stages: &[], reason: "planned" }
}

/// Who was told under a code.
fn told(w: &World, code: &str) -> Vec<String> {
    let mut teams: Vec<_> = w.notices().into_iter().filter(|n| n.code == code).map(|n| n.team).collect();
    teams.sort();
    teams
}

fn broken_before_spring(w: &World) -> Forecast {
    let ask = Ask { until: Some(t("2013-03-20T00:00:00Z")), grouped: true, limit: 100, ..Ask::default() };
    w.engine.forecast(&ask, &w.tick()).unwrap()
}
