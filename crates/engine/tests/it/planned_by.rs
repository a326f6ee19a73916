//! Calendars, trains and partition rules in the inventory: put in place, changed, retired, refused; and who is woken by that.

use crate::world::{World, person, t};
use domain::{Span, Time, calendar::Calendar};
use engine::{inventory::Options, loops};
use store::{
    model::{calendar, secret},
    timer,
};

const FLEET: &str = r#"
[[team]]
name = "core"
contacts = [{ channel = "log" }]
[[service]]
name = "storage"
team = "core"
calendar = "eu"
train = "monthly"
partition = "strict"
[[service]]
name = "plain"
team = "core"
[[region]]
name = "eu"
[[region]]
name = "us"
needs = ["eu"]
[[calendar]]
name = "eu"
zone = "Europe/Dublin"
[[calendar.freeze]]
why = "Christmas"
from = "2026-12-15"
until = "2027-01-04"
[[calendar.freeze]]
why = "weekend"
weekly = "fri 16:00 - mon 08:00"
[[calendar.freeze]]
why = "month end"
start = "2026-01-31T00:00"
lasts = "2d"
rule = "FREQ=MONTHLY;BYMONTHDAY=-1"
[[train]]
name = "monthly"
calendar = "eu"
start = "2026-01-06T10:00"
rule = "FREQ=WEEKLY;INTERVAL=4"
capacity = 2
[[partition]]
name = "strict"
one_region_per_certificate = true
max_targets_per_certificate = 100
no_expiry_on = ["sat", "2026-12-24"]
min_days_between = 2
max_share_percent = 20
window = "3m"
[[secret]]
name = "www"
kind = "certificate"
service = "storage"
validation = "dns-01"
dns_provider = "example-dns"
"#;

fn world() -> World {
    let w = World::new(t("2026-06-01T00:00:00Z"));
    w.apply(FLEET);
    w
}

fn due(w: &World, loop_name: &str, subject: i64) -> Option<Time> {
    w.engine.store().read(|tx| timer::get(tx, loop_name, subject)).unwrap()
}

fn refused(w: &World, text: &str) -> Vec<String> {
    let fleet = api::fleet::parse(text).unwrap();
    let options = Options { dry_run: true, ..Options::default() };
    match w.engine.apply(&fleet, &options, &person(), &w.tick()).unwrap_err() {
        engine::Error::Refused(refusal) => {
            assert_eq!(refusal.code, "bad-fleet");
            refusal.problems
        }
        other => panic!("{other}"),
    }
}

#[test]
fn what_was_declared_is_what_rules_are_asked_with() {
    let w = world();
    let store = w.engine.store();
    let at = t("2026-12-25T00:00:00Z");
    let eu = store.read(|tx| calendar::calendar(tx, "eu")).unwrap();
    assert_eq!(eu.latest_open(at), Some(t("2026-12-14T23:59:59Z")));
    assert_eq!(eu.next_open(at), Some(t("2027-01-04T08:00:00Z")));
    let (train, of) = store.read(|tx| calendar::train(tx, "monthly")).unwrap().unwrap();
    assert_eq!((train.capacity(), &of), (2, &eu));
    assert_eq!(train.departures(&of, w.now, 2), [t("2026-06-23T09:00:00Z"), t("2026-07-21T09:00:00Z")]);
    let rules = store.read(|tx| calendar::partition_rules(tx, "strict")).unwrap().unwrap();
    let wanted = domain::partition::Rules {
        one_region_per_certificate: true,
        max_targets_per_certificate: Some(100),
        no_expiry_in_freeze: false,
        no_expiry_on: vec!["sat".into(), "2026-12-24".into()],
        min_days_between: Some(2),
        max_share_percent: Some(20),
        window: Some(Span::minutes(3)),
    };
    assert_eq!(rules, wanted);
    let storage = store.read(|tx| calendar::service(tx, "storage")).unwrap().unwrap();
    assert_eq!((&*storage.team, &*storage.calendar, &*storage.train, &*storage.partition), ("core", "eu", "monthly", "strict"));
    let plain = store.read(|tx| calendar::service(tx, "plain")).unwrap().unwrap();
    assert_eq!((&*plain.calendar, &*plain.train, &*plain.partition), ("", "", ""));
    let regions = store.read(calendar::regions).unwrap();
    assert_eq!(regions, [("eu".into(), vec![]), ("us".into(), vec!["eu".to_owned()])]);
    let www = store.read(|tx| secret::by_name(tx, "www")).unwrap().unwrap();
    assert_eq!((&*www.validation, &*www.dns_provider), ("dns-01", "example-dns"));
    // Names that lead nowhere forbid nothing.
    assert_eq!(store.read(|tx| calendar::calendar(tx, "gone")).unwrap(), Calendar::open());
    assert!(store.read(|tx| calendar::train(tx, "")).unwrap().is_none());
    assert!(store.read(|tx| calendar::partition_rules(tx, "gone")).unwrap().is_none());
}

#[test]
fn twice_changes_nothing_and_a_change_names_its_field() {
    let w = world();
    let apply =
        |text: &str, options: &Options| w.engine.apply(&api::fleet::parse(text).unwrap(), options, &person(), &w.tick()).unwrap().changes;
    assert_eq!(apply(FLEET, &Options::default()), []);
    for (from, to, kind, name, field) in [
        ("until = \"2027-01-04\"", "until = \"2027-01-05\"", "calendar", "eu", "freezes"),
        ("capacity = 2", "capacity = 3", "train", "monthly", "capacity"),
        ("window = \"3m\"", "window = \"4m\"", "partition", "strict", "rule"),
        ("needs = [\"eu\"]", "", "region", "us", "needs"),
        ("train = \"monthly\"", "", "service", "storage", "train"),
        ("validation = \"dns-01\"", "validation = \"http-01\"", "secret", "www", "validation"),
        ("dns_provider = \"example-dns\"", "", "secret", "www", "dns_provider"),
    ] {
        let changes = apply(&FLEET.replace(from, to), &Options { dry_run: true, ..Options::default() });
        let [change] = &changes[..] else { panic!("{from}: {changes:?}") };
        assert_eq!((change.what, change.kind, &*change.name, &*change.fields[0].0), ("change", kind, name, field));
    }
    let without = FLEET.split_once("[[calendar]]").unwrap().0.replace("calendar = \"eu\"\ntrain = \"monthly\"\npartition = \"strict\"", "");
    let prune = Options { prune: true, dry_run: true, ..Options::default() };
    let retired: Vec<String> = apply(&without, &prune).iter().map(|c| format!("{} {} {}", c.what, c.kind, c.name)).collect();
    assert_eq!(
        retired,
        ["change service storage", "retire calendar eu", "retire train monthly", "retire partition strict", "retire secret www"]
    );
}

#[test]
fn a_service_keeps_its_number_and_hears_of_what_it_is_planned_by() {
    let mut w = world();
    let service = |w: &World, name: &str| w.engine.store().read(|tx| calendar::service(tx, name)).unwrap();
    let (storage, plain) = (service(&w, "storage").unwrap().id, service(&w, "plain").unwrap().id);
    assert_ne!(storage, plain);
    assert_eq!(w.engine.store().read(|tx| calendar::services(tx, 0, 10)).unwrap().len(), 2);
    assert_eq!(w.engine.store().read(|tx| calendar::service_by_id(tx, plain)).unwrap().unwrap().name, "plain");
    assert_eq!((due(&w, loops::SERVICE, storage), due(&w, loops::SERVICE, plain)), (Some(w.now), Some(w.now)));
    for (from, to, woken) in [
        ("capacity = 2", "capacity = 2", false),
        ("\"log\" }", "\"log\" }, { channel = \"log\" }", false),
        ("fri 16:00", "fri 17:00", true),
        ("capacity = 2", "capacity = 3", true),
        ("min_days_between = 2", "min_days_between = 3", true),
    ] {
        w.engine.store().write(&person(), w.now, |tx| timer::set(tx, loops::SERVICE, storage, w.now + Span::days(9))).unwrap();
        w.now = w.now + Span::hours(1);
        w.apply(&FLEET.replace(from, to));
        assert_eq!(due(&w, loops::SERVICE, storage) == Some(w.now), woken, "{to}");
        w.apply(FLEET);
    }
    // Left and come back: the same number, and nobody finds it meanwhile.
    let alone = "[[team]]\nname = \"core\"\ncontacts = [{ channel = \"log\" }]\n";
    let prune = Options { prune: true, ..Options::default() };
    w.engine.apply(&api::fleet::parse(alone).unwrap(), &prune, &person(), &w.tick()).unwrap();
    assert_eq!(service(&w, "storage"), None);
    w.apply(FLEET);
    assert_eq!(service(&w, "storage").unwrap().id, storage);
}

#[test]
fn every_problem_of_a_plan_at_once_with_its_path() {
    let w = world();
    let text = FLEET
        .replace("Europe/Dublin", "Europe/Dublim")
        .replace("fri 16:00 - mon 08:00", "fri 16:00")
        .replace("FREQ=MONTHLY;BYMONTHDAY=-1", "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30")
        .replace("lasts = \"2d\"", "lasts = \"367d\"")
        .replace("FREQ=WEEKLY;INTERVAL=4", "FREQ=HOURLY")
        + "[[calendar]]\nname = \"shut\"\nzone = \"UTC\"\n\
           [[calendar.freeze]]\nwhy = \"week\"\nweekly = \"mon 00:00 - fri 24:00\"\n[[calendar.freeze]]\nwhy = \"weekend\"\nweekly = \"sat 00:00 - sun 24:00\"\n\
           [[calendar]]\nname = \"short\"\nzone = \"Europe/Dublin\"\n\
           [[calendar.freeze]]\nwhy = \"skipped hour\"\nfrom = \"2026-03-29T01:10\"\nuntil = \"2026-03-29T02:05\"\n\
           [[train]]\nname = \"saturdays\"\ncalendar = \"weekends\"\nstart = \"2026-01-03T10:00\"\nrule = \"FREQ=WEEKLY\"\n\
           [[calendar]]\nname = \"weekends\"\nzone = \"UTC\"\n[[calendar.freeze]]\nwhy = \"weekend\"\nweekly = \"sat 00:00 - sun 24:00\"\n";
    let problems = refused(&w, &text);
    let wanted = [
        "calendar[0].zone: no time zone is called \"Europe/Dublim\"; did you mean \"Europe/Dublin\"?",
        "calendar[0].freeze[1].weekly: \"fri 16:00\" is not a weekly window; write it like \"fri 16:00 - mon 08:00\"",
        "calendar[0].freeze[2].lasts: a recurring freeze lasts 1s to 366d each time",
        "calendar[1]: it was frozen all the time for ten years and will be for ten more; nothing could ever ship",
        "calendar[2].freeze[0].until: it ends before it begins; until is the first day or minute after the freeze",
        "train[0].rule: FREQ=HOURLY is not supported: nothing is planned more often than daily; write FREQ=DAILY, several if need be",
        "train[1].rule: every departure lies in a freeze of its calendar; write days on which it is open",
    ];
    assert_eq!(problems, wanted);
    let rule = FLEET.replace("FREQ=MONTHLY;BYMONTHDAY=-1", "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30");
    assert_eq!(refused(&w, &rule), ["calendar[0].freeze[2].rule: it never occurs in the 100 years after its start; is there such a day?"]);
    // What never ends but has not begun is a plan like any other, and stays one afterwards.
    let never_ends = FLEET.replace("until = \"2027-01-04\"\n", "");
    w.apply(&never_ends);
    w.engine
        .apply(&api::fleet::parse(&never_ends).unwrap(), &Options::default(), &person(), &engine::Tick::at(t("2027-06-01T00:00:00Z")))
        .unwrap();
}
