//! What is asked of the rows of releases.

use domain::{
    Fingerprint, Span, Time,
    release::{Deadline, LEAD_SAMPLES, Release, Stage, Status},
    words::{ReleaseId, SecretId},
};
use store::{
    Store, Tx,
    model::{
        release::{self, Item, What, queue_key},
        secret,
    },
    timer,
};

use crate::{
    harness::{Database, NOW, write},
    model::blank,
};

const LOOP: &str = "release";

fn a_release(tx: &mut Tx<'_>, build: &str, train: &str) -> Release {
    Release {
        id: ReleaseId(tx.next_id("release").unwrap()),
        service: "storage".into(),
        build: build.into(),
        train: train.into(),
        place: 0,
        status: Status::Planned,
        created_at: NOW,
        earliest_at: NOW,
        planned_at: NOW + Span::days(7),
        first_planned_at: NOW + Span::days(7),
        built_at: None,
        deployed_at: None,
        observed_at: None,
        ended_at: None,
        stages: Vec::new(),
    }
}

fn an_item(tx: &mut Tx<'_>, release: ReleaseId, what: What, secret: i64, version: i64, path: &str) -> Item {
    Item {
        id: tx.next_id("release_item").unwrap(),
        release,
        what,
        secret: (secret > 0).then_some(SecretId(secret)),
        version,
        leaf: Some(Fingerprint::from_bytes([7; 32])),
        not_after: Some(NOW + Span::days(90)),
        subject: "CN=x".into(),
        path: path.into(),
        added_at: NOW,
        observed_at: None,
        waited: false,
    }
}

fn create(store: &Store, builds: &[&str], train: &str) -> Vec<Release> {
    store
        .write(&store::Actor::new("test", "t"), NOW, |tx| {
            let all: Vec<Release> = builds.iter().map(|b| a_release(tx, b, train)).collect();
            all.iter().try_for_each(|r| release::insert(tx, r))?;
            Ok(all)
        })
        .unwrap()
}

pub(crate) fn a_release_comes_back_as_it_was(database: &Database) {
    let store = database.open();
    let mut r = create(&store, &["1"], "")[0].clone();
    r.stages.push(Stage { region: "eu".into(), planned_at: Some(NOW + Span::days(9)), status: Status::Planned, changed_at: NOW });
    write(&store, |tx| release::put_stage(tx, r.id, &r.stages[0]));
    let read = || store.read(|tx| release::get(tx, r.id)).unwrap().unwrap();
    assert_eq!(read().facts, r);
    r.status = Status::Delayed;
    (r.train, r.place, r.earliest_at, r.planned_at) = ("t".into(), 4, NOW + Span::days(8), NOW + Span::days(14));
    (r.built_at, r.deployed_at, r.observed_at) = (Some(NOW), Some(NOW + Span::days(1)), Some(NOW + Span::days(2)));
    r.stages[0].status = Status::Deployed;
    write(&store, |tx| {
        assert_eq!(release::lock(tx, r.id)?.unwrap().facts.build, "1");
        release::put_stage(tx, r.id, &r.stages[0])?;
        release::update(tx, &r)
    });
    assert_eq!(read().facts, r);
    write(&store, |tx| release::update_standing(tx, r.id, Deadline::By(NOW), Some(NOW), "because", NOW));
    let s = read();
    assert_eq!((s.urgency, s.ship_by, s.reason.as_str(), s.assessed_at), (NOW.unix(), Some(NOW), "because", Some(NOW)));
    assert_eq!(store.read(|tx| release::by_build(tx, "storage", "1")).unwrap(), Some(s));
    assert_eq!(store.read(|tx| release::by_build(tx, "storage", "2")).unwrap(), None);
}

pub(crate) fn the_queue_has_the_undated_first_and_what_carries_nothing_last(database: &Database) {
    let store = database.open();
    let all = create(&store, &["nothing", "late", "undated", "early", "broken", "nothing too", "ended"], "t");
    let other = create(&store, &["elsewhere"], "");
    let by = |days| Deadline::By(NOW + Span::days(days));
    let deadlines = [Deadline::Never, by(30), Deadline::Undated, by(3), Deadline::Now, Deadline::Never, by(1)];
    write(&store, |tx| {
        for ((r, d), place) in all.iter().zip(deadlines).zip(1..) {
            release::put_place(tx, r.id, place)?;
            release::update_standing(tx, r.id, d, None, "", NOW)?;
        }
        release::update_standing(tx, other[0].id, by(2), None, "", NOW)?;
        release::update(tx, &Release { ended_at: Some(NOW), ..all[6].clone() })
    });
    let pages = |train: Option<&str>| {
        let (mut after, mut builds) = (None, Vec::new());
        loop {
            let page = store.read(|tx| release::queue(tx, train, None, after, 2)).unwrap();
            let Some(last) = page.last() else { return builds };
            after = Some(queue_key(last));
            builds.extend(page.iter().map(|s| s.facts.build.clone()));
        }
    };
    assert_eq!(pages(Some("t")), ["undated", "broken", "early", "late", "nothing", "nothing too"]);
    assert_eq!(pages(None), ["undated", "broken", "elsewhere", "early", "late", "nothing", "nothing too"]);
    let waiting = store.read(|tx| release::waiting(tx, "t", 3)).unwrap();
    assert_eq!(waiting.iter().map(|w| w.facts.build.as_str()).collect::<Vec<_>>(), ["nothing", "late", "undated"], "by place");
    let listed = |service: Option<&str>, before| store.read(|tx| release::list(tx, service, before, 3)).unwrap();
    let builds = |l: Vec<release::Stored>| l.iter().map(|s| s.facts.build.clone()).collect::<Vec<_>>();
    assert_eq!(builds(listed(None, None)), ["elsewhere", "ended", "nothing too"]);
    assert_eq!(builds(listed(Some("storage"), Some(all[2].id))), ["late", "nothing"]);
    assert_eq!(builds(listed(Some("other"), None)), [""; 0]);
}

pub(crate) fn what_is_carried_is_what_production_still_waits_for(database: &Database) {
    let store = database.open();
    let all = create(&store, &["1", "2", "3", "4"], "");
    write(&store, |tx| {
        secret::insert(tx, &blank(5))?;
        secret::insert(tx, &secret::Secret { retired_at: Some(NOW), ..blank(6) })?;
        for (r, days) in all.iter().zip([9, 8, 7, 6]) {
            release::update(tx, &Release { planned_at: NOW + Span::days(days), ..r.clone() })?;
        }
        for (r, what, secret, version, path) in [
            (0, What::Version, 5, 2, "a"),
            (0, What::Version, 5, 2, "b"),
            (1, What::Version, 5, 2, "a"),
            (2, What::Older, 5, 1, "a"),
            (3, What::Version, 5, 2, "a"),
            (0, What::Unknown, 0, 0, "c"),
            (0, What::Key, 0, 0, "e"),
            (0, What::Key, 0, 0, "d"),
            (1, What::Version, 6, 1, ""),
        ] {
            let item = an_item(tx, all[r].id, what, secret, version, path);
            release::insert_item(tx, &item)?;
            assert_eq!(release::items(tx, all[r].id, item.id - 1, 1)?, [item]);
        }
        release::update(tx, &Release { status: Status::Cancelled, ended_at: Some(NOW), ..all[3].clone() })
    });
    let i = |n: usize| secret::Instance {
        id: n as i64 + 1,
        secret: SecretId(5),
        version: 2,
        scope: ["all", "eu"][n].into(),
        key_type: "rsa".into(),
        leaf: Fingerprint::from_bytes([n as u8; 32]),
        key: Fingerprint::from_bytes([9; 32]),
        not_before: NOW,
        not_after: NOW + Span::days(100 + n as i64),
        subject: String::new(),
        issuer: String::new(),
        chain: Vec::new(),
    };
    write(&store, |tx| (0..2).try_for_each(|n| secret::insert_instance(tx, &i(n))));
    let carried = |secret| {
        let all = store.read(|tx| release::carried(tx, SecretId(secret))).unwrap();
        all.iter().map(|c| (c.release.facts.build.clone(), c.version, c.ends.len())).collect::<Vec<_>>()
    };
    let of = |b: &str, version, ends| (b.to_owned(), version, ends);
    assert_eq!(carried(5), [of("2", 2, 2), of("1", 2, 2), of("3", 1, 0)], "the newest version first, then what is planned first");
    assert_eq!(
        store.read(|tx| release::carried(tx, SecretId(5))).unwrap()[0].ends,
        [("all".to_owned(), NOW + Span::days(100)), ("eu".to_owned(), NOW + Span::days(101))]
    );
    assert_eq!((carried(6).len(), carried(0).len()), (1, 0));
    let carries = |r: usize| store.read(|tx| release::carries(tx, all[r].id)).unwrap();
    assert_eq!(carries(0).len(), 1, "once, wherever it lies");
    assert_eq!((carries(0)[0].older, carries(2)[0].older), (false, true));
    let who: Vec<_> = carries(1).into_iter().map(|c| (c.name, c.newest, c.kept)).collect();
    assert_eq!(who, [("s5".to_owned(), 1, true), ("s6".to_owned(), 1, false)]);
    let keys = store.read(|tx| release::finds(tx, all[0].id, What::Key, 1)).unwrap();
    assert_eq!(keys, (2, vec![("d".to_owned(), "CN=x".to_owned())]));

    write(&store, |tx| release::observed(tx, all[1].id, SecretId(5), 2, Some(NOW), true));
    assert_eq!(carried(5), [of("1", 2, 2), of("3", 1, 0)]);
    assert_eq!((carries(1)[0].observed_at, carries(1)[0].waited), (Some(NOW), true));
    write(&store, |tx| release::observed(tx, all[1].id, SecretId(5), 2, None, true));
    assert_eq!(carried(5).len(), 3, "it went back");

    // Woken is who carries it and has not ended.
    write(&store, |tx| release::wake_carriers(tx, SecretId(5), LOOP, NOW).map(|_| ()));
    let claims = store.write(&store::Actor::new("test", "t"), NOW, |tx| timer::claim(tx, LOOP, NOW, "h", Span::minutes(1), 10)).unwrap();
    assert_eq!(claims.iter().map(|c| c.subject).collect::<Vec<_>>(), all[..3].iter().map(|r| r.id.0).collect::<Vec<_>>());
}

pub(crate) fn lead_samples_are_the_newest(database: &Database) {
    let store = database.open();
    let names: Vec<String> = (0..LEAD_SAMPLES + 10).map(|n| n.to_string()).collect();
    let all = create(&store, &names.iter().map(String::as_str).collect::<Vec<_>>(), "");
    let at = |n: usize| NOW + Span::days(n as i64);
    write(&store, |tx| {
        for (n, r) in all.iter().enumerate() {
            let deployed_at: Option<Time> = (n % 2 == 0).then(|| at(n));
            release::update(tx, &Release { observed_at: Some(at(n)), deployed_at, ..r.clone() })?;
            if n != LEAD_SAMPLES + 5 {
                release::put_lead(tx, r.id, Span::hours(n as i64))?;
            }
        }
        Ok(())
    });
    let samples = store.read(|tx| release::lead_samples(tx, "storage")).unwrap();
    assert_eq!((samples.len(), samples[0]), (LEAD_SAMPLES, Span::hours(LEAD_SAMPLES as i64 + 9)));
    assert!(!samples.contains(&Span::hours(LEAD_SAMPLES as i64 + 5)), "one without a span is none");
    assert_eq!(store.read(|tx| release::lead_samples(tx, "other")).unwrap(), []);
    assert_eq!(store.read(|tx| release::deployments(tx, "storage", 2)).unwrap(), [at(LEAD_SAMPLES + 8), at(LEAD_SAMPLES + 6)]);
}
