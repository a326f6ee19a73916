//! What services and releases are planned by, as the rules get it back.

use domain::{Span, calendar::Calendar};
use store::{
    Value,
    model::{calendar, inventory},
    timer,
};

use crate::harness::{Database, NOW, write};

pub(crate) fn plans_come_back_and_keep_their_numbers(database: &Database) {
    let store = database.open();
    let text = |values: &[&str]| values.iter().map(|v| Value::from(*v)).collect::<Vec<_>>();
    write(&store, |tx| {
        let freezes = r#"[{"why":"Christmas","from":"2026-12-15","until":"2027-01-04"},{"why":"weekend","weekly":"fri 16:00 - mon 08:00"},
            {"why":"month end","start":"2026-01-31T00:00","lasts":"2d","rule":"FREQ=MONTHLY;BYMONTHDAY=-1"}]"#;
        inventory::put(tx, inventory::CALENDAR, "eu", text(&["Europe/Dublin", freezes]))?;
        inventory::put(tx, inventory::CALENDAR, "odd", text(&["Europe/Dublin", r#"[{"why":"nothing"}]"#]))?;
        let train = [text(&["eu", "2026-01-06T10:00", "FREQ=WEEKLY"]), vec![Value::Int(3)]].concat();
        inventory::put(tx, inventory::TRAIN, "weekly", train)?;
        inventory::put(tx, inventory::PARTITION, "strict", text(&[r#"{"min_days_between":2,"window":"3m"}"#]))?;
        inventory::put(tx, inventory::REGION, "eu", text(&["[]"]))?;
        inventory::put(tx, inventory::REGION, "us", text(&[r#"["eu"]"#]))?;
        for name in ["b", "a"] {
            inventory::put(tx, inventory::SERVICE, name, text(&["core", "eu", "weekly", "strict"]))?;
        }
        Ok(())
    });
    let eu = write(&store, |tx| calendar::calendar(tx, "eu"));
    assert!(eu.has_freezes() && eu != Calendar::open());
    assert!(store.read(|tx| calendar::calendar(tx, "odd")).unwrap_err().to_string().contains("freeze"));
    let (train, of) = write(&store, |tx| calendar::train(tx, "weekly")).unwrap();
    assert_eq!((train.capacity(), of), (3, eu));
    let rules = write(&store, |tx| calendar::partition_rules(tx, "strict")).unwrap();
    assert_eq!((rules.min_days_between, rules.window()), (Some(2), Span::minutes(3)));
    assert_eq!(write(&store, calendar::regions), [("eu".into(), vec![]), ("us".into(), vec!["eu".to_owned()])]);

    let numbers = |store: &store::Store| -> Vec<(String, i64)> {
        write(store, |tx| calendar::services(tx, 0, 9)).into_iter().map(|s| (s.name, s.id)).collect()
    };
    let before = numbers(&store);
    let names: Vec<&str> = before.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["b", "a"], "in the order of their numbers");
    let b = before[0].1;
    write(&store, |tx| inventory::retire(tx, inventory::SERVICE, "b", NOW));
    assert_eq!(numbers(&store), before[1..]);
    assert_eq!(write(&store, |tx| calendar::service(tx, "b")), None);
    assert_eq!(write(&store, |tx| calendar::service_by_id(tx, b)), None);
    // Only what stands is woken, and never later than it was due.
    write(&store, |tx| {
        timer::set(tx, "service", before[1].1, NOW - Span::hours(1))?;
        calendar::wake_plans(tx, "release", "service", NOW)
    });
    assert_eq!(write(&store, |tx| timer::get(tx, "service", b)), None);
    assert_eq!(write(&store, |tx| timer::get(tx, "service", before[1].1)), Some(NOW - Span::hours(1)));
    write(&store, |tx| inventory::put(tx, inventory::SERVICE, "b", text(&["ops", "", "", ""])));
    assert_eq!(numbers(&store), before, "what comes back has its number again");
    assert_eq!(write(&store, |tx| calendar::service_by_id(tx, b)).unwrap().team, "ops");
    write(&store, |tx| calendar::wake_plans(tx, "release", "service", NOW));
    assert_eq!(write(&store, |tx| timer::get(tx, "service", b)), Some(NOW));
}
