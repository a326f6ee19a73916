//! What is kept of rehearsals, and what is asked of it.

use domain::{
    Span,
    drill::{Kind, Phase, schedule::critical_path},
    finding::Code,
    words::{IncidentId, NodeId, SecretId, TargetId},
};
use store::{
    StoreError, Tx, Value,
    model::{
        drill::{self, Fault, Run},
        incident, inventory,
    },
};

use crate::harness::{Database, NOW, actor, write};

fn a_run(tx: &mut Tx<'_>, name: &str, service: &str) -> Run {
    Run {
        id: tx.next_id("drill_run").unwrap(),
        name: name.into(),
        secret: SecretId(7),
        service: service.into(),
        kind: Kind::Rotation,
        node: String::new(),
        region: String::new(),
        every: Span::days(30),
        within: Span::minutes(60),
        actor: "local/tester".into(),
        reason: "because".into(),
        phase: Phase::Asked,
        awaits: "version".into(),
        detail: "a new version was asked for".into(),
        started_at: NOW,
        version: 0,
        issued_at: None,
        rollout: 0,
        incident: 0,
        fault_at: None,
        noticed_at: None,
        lifted_at: None,
        ended_at: None,
        reasons: "[]".into(),
        observed: 0,
        quarantined: 0,
        left: 0,
        p50: None,
        p95: None,
        max: None,
        steps: "{}".into(),
    }
}

fn declare(tx: &mut Tx<'_>, name: &str, kind: &str) -> store::Result<()> {
    let text = |t: &str| Value::from(t);
    let values = vec![text("www"), text(kind), 86_400.into(), 3_600.into(), text("core"), text(""), text("")];
    inventory::put(tx, inventory::DRILL, name, values)
}

pub(crate) fn a_run_comes_back_as_it_was(database: &Database) {
    let store = database.open();
    let first = write(&store, |tx| {
        let run = a_run(tx, "monthly", "web");
        drill::insert(tx, &run)?;
        Ok(run)
    });
    assert_eq!(write(&store, |tx| drill::get(tx, first.id)), Some(first.clone()));
    assert_eq!(write(&store, |tx| drill::open_in(tx, "web")), Some(first.clone()));
    assert_eq!(write(&store, |tx| drill::open_of(tx, SecretId(7))), Some(first.clone()));
    assert_eq!(write(&store, |tx| drill::open_by_name(tx, "monthly")), Some(first.clone()));
    // Whoever looked and was overtaken is refused by the database itself.
    let twice = store.write(&actor(), NOW, |tx| {
        let run = a_run(tx, "other", "web");
        drill::insert(tx, &run)
    });
    assert!(matches!(twice, Err(StoreError::Conflict { .. })), "{twice:?}");
    let over = Run {
        phase: Phase::Passed,
        awaits: String::new(),
        version: 3,
        issued_at: Some(NOW + Span::seconds(1)),
        rollout: 9,
        incident: 4,
        fault_at: Some(NOW + Span::seconds(2)),
        noticed_at: Some(NOW + Span::seconds(3)),
        lifted_at: Some(NOW + Span::seconds(4)),
        ended_at: Some(NOW + Span::minutes(5)),
        reasons: r#"[{"why":"too-slow"}]"#.into(),
        observed: 10,
        quarantined: 1,
        left: 2,
        p50: Some(20),
        p95: Some(200),
        max: Some(300),
        steps: r#"{"all":{}}"#.into(),
        ..first.clone()
    };
    write(&store, |tx| {
        assert_eq!(drill::lock(tx, first.id)?, Some(first.clone()));
        drill::put(tx, &over)
    });
    assert_eq!(write(&store, |tx| drill::get(tx, first.id)), Some(over.clone()));
    assert_eq!(write(&store, |tx| drill::open_in(tx, "web")), None);
    let second = write(&store, |tx| {
        let run = Run { kind: Kind::Alert, ..a_run(tx, "monthly", "web") };
        drill::insert(tx, &run)?;
        Ok(run)
    });
    let numbers = |runs: Vec<Run>| runs.iter().map(|r| r.id).collect::<Vec<_>>();
    assert_eq!(numbers(write(&store, |tx| drill::runs(tx, Some("monthly"), None, 9))), [second.id, first.id]);
    assert_eq!(numbers(write(&store, |tx| drill::runs(tx, None, Some(second.id), 9))), [first.id]);
    assert_eq!(numbers(write(&store, |tx| drill::runs(tx, Some("other"), None, 9))), [0; 0]);
    assert!(write(&store, |tx| drill::holds(tx, SecretId(7))), "an alert drill holds the renewal back");
    write(&store, |tx| drill::put(tx, &Run { lifted_at: Some(NOW), ..second.clone() }));
    assert!(!write(&store, |tx| drill::holds(tx, SecretId(7))));
}

pub(crate) fn the_past_of_a_drill_is_counted_from_its_declaration(database: &Database) {
    let store = database.open();
    write(&store, |tx| {
        declare(tx, "b", "rotation")?;
        declare(tx, "a", "alert")?;
        drill::date(tx, NOW)
    });
    let names: Vec<String> = write(&store, |tx| drill::declared(tx, "", 9)).into_iter().map(|d| d.name).collect();
    assert_eq!(names, ["a", "b"]);
    let b = write(&store, |tx| drill::by_name(tx, "b")).unwrap();
    assert_eq!((b.kind, b.every, b.within, b.declared_at), (Kind::Rotation, Span::days(1), Span::hours(1), NOW));
    assert_eq!(write(&store, |tx| drill::by_id(tx, b.id)), Some(b.clone()));
    assert!(write(&store, |tx| drill::is_declared_canary(tx, "www")));
    let past = write(&store, |tx| drill::past(tx, &b));
    assert_eq!((past.passed_at, past.ended_at, past.running), (None, None, false));
    for (phase, minutes) in [(Phase::Passed, 5), (Phase::Failed, 6), (Phase::Aborted, 7)] {
        write(&store, |tx| {
            let run = a_run(tx, "b", "web");
            drill::insert(tx, &run)?;
            drill::put(tx, &Run { phase, ended_at: Some(NOW + Span::minutes(minutes)), ..run })
        });
    }
    let past = write(&store, |tx| drill::past(tx, &b));
    assert_eq!(
        (past.passed_at, past.ended_at),
        (Some(NOW + Span::minutes(5)), Some(NOW + Span::minutes(6))),
        "what was ended by hand proves nothing"
    );
    // What left and comes back begins anew, under its number.
    let later = NOW + Span::days(9);
    write(&store, |tx| {
        inventory::retire(tx, inventory::DRILL, "b", NOW)?;
        inventory::retire(tx, inventory::DRILL, "a", NOW)?;
        drill::date(tx, NOW)
    });
    assert_eq!(write(&store, |tx| drill::by_name(tx, "b")), None);
    assert!(!write(&store, |tx| drill::is_declared_canary(tx, "www")));
    write(&store, |tx| {
        declare(tx, "b", "rotation")?;
        drill::date(tx, later)
    });
    let again = write(&store, |tx| drill::by_name(tx, "b")).unwrap();
    assert_eq!((again.id, again.declared_at), (b.id, later));
}

pub(crate) fn what_a_rotation_reached_and_what_is_made_to_fail(database: &Database) {
    let store = database.open();
    for (name, p95) in [("canary", 20), ("fleet", 600)] {
        write(&store, |tx| {
            let run = a_run(tx, name, name);
            drill::insert(tx, &run)?;
            drill::reaches(tx, run.id, &["web".into(), "api".into(), "web".into()])?;
            drill::put(tx, &Run { phase: Phase::Passed, ended_at: Some(NOW), p95: Some(p95), ..run })
        });
    }
    assert_eq!(write(&store, |tx| drill::reached_by(tx, 1)), ["api", "web"]);
    let path = |secret, since| {
        let runs = write(&store, |tx| drill::rotations(tx, SecretId(secret), since, 9));
        critical_path(&runs, NOW).map(|(p95, _)| p95.as_secs())
    };
    assert_eq!(path(7, NOW), Some(600));
    assert_eq!(path(8, NOW), None, "what was not rotated is not proven, whichever service it belongs to");
    assert_eq!(path(7, NOW + Span::seconds(1)), None);

    let line = |id: i64, incident, code| incident::Line {
        id,
        incident: IncidentId(incident),
        secret: SecretId(7),
        target: Some(TargetId(1)),
        key: format!("key {id}"),
        code,
        about: None,
        until: None,
        broken: false,
        detail: String::new(),
        opened_at: NOW,
        closed_at: None,
        how: String::new(),
        evidence: String::new(),
    };
    write(&store, |tx| {
        incident::put_line(tx, &line(1, 3, Code::Unreachable))?;
        incident::put_line(tx, &line(2, 4, Code::LeafExpiring))
    });
    let since = |at, codes: &[Code]| write(&store, |tx| drill::incident_since(tx, SecretId(7), at, codes)).map(|i| i.0);
    assert_eq!(since(NOW, &[]), Some(3));
    assert_eq!(since(NOW, &[Code::LeafExpiring, Code::Expired]), Some(4), "whatever else happens to it is nothing of the drill's");
    assert_eq!(since(NOW + Span::seconds(1), &[Code::LeafExpiring]), None);
    assert_eq!(write(&store, |tx| incident::open_secrets(tx, IncidentId(4), 9)), [SecretId(7)]);

    let fault = |run, node| Fault { run, node: NodeId(node), secret: SecretId(7), kind: Kind::NodeDown, since: NOW, put_back_at: None };
    write(&store, |tx| {
        for f in [fault(1, 5), fault(1, 4), fault(1, 5), fault(2, 5)] {
            drill::set_fault(tx, &f)?;
        }
        Ok(())
    });
    assert_eq!(write(&store, |tx| drill::faults_of(tx, 1)), [fault(1, 4), fault(1, 5)]);
    assert_eq!(write(&store, |tx| drill::faults_at(tx, NodeId(5))), [fault(1, 5), fault(2, 5)]);
    let cut = |at| write(&store, |tx| drill::cut_off(tx, at)).into_iter().map(|(n, s)| (n.0, s.0)).collect::<Vec<_>>();
    assert_eq!(cut(NOW), [(4, 7), (5, 7)]);
    assert_eq!(cut(NOW + Span::days(1)), [], "whatever became of the drill");
    write(&store, |tx| drill::lift(tx, 1));
    assert_eq!(write(&store, |tx| drill::faults_at(tx, NodeId(5))), [fault(2, 5)]);
    // A claim counts once, and only for what was made to go stale.
    assert_eq!(write(&store, |tx| drill::put_back(tx, NodeId(5), SecretId(7), NOW)), [0i64; 0]);
    let stale = write(&store, |tx| {
        let run = Run { kind: Kind::StaleReload, version: 3, ..a_run(tx, "stale", "mail") };
        drill::insert(tx, &run)?;
        drill::set_fault(tx, &Fault { kind: Kind::StaleReload, run: run.id, ..fault(0, 6) })?;
        Ok(run.id)
    });
    let is_stale = |version| write(&store, |tx| drill::is_stale(tx, NodeId(6), SecretId(7), version));
    assert_eq!((is_stale(3), is_stale(2)), (true, false), "going back is not rehearsed");
    assert!(!cut(NOW).contains(&(6, 7)));
    assert_eq!(write(&store, |tx| drill::put_back(tx, NodeId(6), SecretId(7), NOW)), [stale]);
    assert_eq!(write(&store, |tx| drill::put_back(tx, NodeId(6), SecretId(7), NOW)), [0i64; 0]);
}
