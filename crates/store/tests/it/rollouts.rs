//! Versions on their way, what became of each target, and what must be replaced by a deadline.

use domain::{
    Fingerprint, Span,
    finding::{Code, Finding, Subject},
    policy::Level,
    rollout::{Kind, State},
    words::{NodeId, RolloutId, SecretId, TargetId},
};
use std::collections::BTreeSet;
use store::{
    Store, StoreError, Tx,
    model::{
        finding, node,
        order::{self, Order},
        prune,
        revocation::{self, Affected, Revocation},
        rollout::{self, Count, Rollout},
        secret, target,
    },
    timer,
};

use crate::{
    harness::{Database, NOW, actor, write},
    model::{a_target, blank},
};

const WWW: SecretId = SecretId(1);

fn print(n: u8) -> Fingerprint {
    Fingerprint::from_bytes([n; 32])
}

fn a_rollout(id: i64, version: i64, state: State) -> Rollout {
    Rollout {
        id: RolloutId(id),
        secret: WWW,
        version,
        from_version: 0,
        kind: Kind::Ordinary,
        state,
        policy: "{}".into(),
        plan: None,
        wave: None,
        wave_at: None,
        reason: "because".into(),
        actor: "local/tester".into(),
        created_at: NOW,
        begun_at: None,
        ended_at: (!state.is_open()).then_some(NOW),
        halted_by: String::new(),
        halted_reason: String::new(),
        halted_at: None,
        revocation: 0,
        takes_back: 0,
        said: String::new(),
        reasons: "[]".into(),
        more: 0,
        decided_at: None,
    }
}

fn instance(tx: &mut Tx<'_>, secret: SecretId, version: i64, scope: &str, leaf: Fingerprint) -> store::Result<()> {
    let row = secret::Instance {
        id: tx.next_id("instance")?,
        secret,
        version,
        scope: scope.into(),
        key_type: "ecdsa".into(),
        leaf,
        key: leaf,
        not_before: NOW,
        not_after: NOW + Span::days(90 + version),
        subject: String::new(),
        issuer: String::new(),
        chain: Vec::new(),
    };
    secret::insert_instance(tx, &row)
}

/// Three targets of one secret: two with a node each, and one that nobody carries anything to.
fn fleet(store: &Store) {
    write(store, |tx| {
        secret::insert(tx, &blank(1))?;
        for id in 1..=3 {
            target::put(tx, &a_target(id, 1))?;
        }
        for (id, region) in [(1, "eu"), (2, "us")] {
            node::insert(tx, &node::Node { region: region.into(), ..node::Node::new(NodeId(id), &format!("n{id}"), NOW) })?;
            node::put_install(tx, &node::Install { version: 1, ..node::Install::new(NodeId(id), WWW) })?;
            node::put_of_target(tx, TargetId(id), &[NodeId(id)])?;
        }
        Ok(())
    });
}

fn shows(tx: &mut Tx<'_>, target: i64, version: i64) -> store::Result<()> {
    tx.execute("UPDATE target SET shows = $2 WHERE id = $1", &[target.into(), version.into()])?;
    Ok(())
}

pub(crate) fn a_rollout_comes_back_as_it_was(database: &Database) {
    let store = database.open();
    fleet(&store);
    let first = a_rollout(1, 2, State::Running);
    write(&store, |tx| rollout::insert(tx, &first));
    let twice = store.write(&actor(), NOW, |tx| rollout::insert(tx, &a_rollout(2, 3, State::Running)));
    assert!(matches!(twice, Err(StoreError::Conflict { .. })), "one at a time is on its way: {twice:?}");
    write(&store, |tx| rollout::insert(tx, &a_rollout(3, 3, State::Waiting)));
    // A plan becomes current where its parent is.
    let plans = write(&store, |tx| {
        Ok([
            rollout::put_plan(tx, first.id, None, print(1), "[]", NOW)?,
            rollout::put_plan(tx, first.id, None, print(2), "[]", NOW)?,
            rollout::put_plan(tx, first.id, Some(print(9)), print(2), "[]", NOW)?,
            rollout::put_plan(tx, first.id, Some(print(1)), print(2), "[1]", NOW)?,
        ])
    });
    assert_eq!(plans, [true, false, false, true]);
    assert_eq!(write(&store, |tx| rollout::plan(tx, first.id, &print(2))), (Some(print(1)), "[1]".into()));
    let changed = Rollout {
        from_version: 1,
        plan: Some(print(2)),
        wave: Some(1),
        wave_at: Some(NOW),
        begun_at: Some(NOW),
        halted_by: "ann".into(),
        halted_reason: "look".into(),
        halted_at: Some(NOW),
        said: "halted".into(),
        reasons: r#"[{"code":"halted"}]"#.into(),
        more: 2,
        decided_at: Some(NOW),
        ..first.clone()
    };
    write(&store, |tx| rollout::put(tx, &changed));
    assert_eq!(write(&store, |tx| rollout::lock(tx, first.id)), Some(changed.clone()));
    let numbers = |all: Vec<Rollout>| all.iter().map(|r| r.id.0).collect::<Vec<_>>();
    assert_eq!(numbers(write(&store, |tx| rollout::open_of(tx, WWW))), [1, 3]);
    write(&store, |tx| rollout::put(tx, &Rollout { state: State::RolledBack, ended_at: Some(NOW), ..changed.clone() }));
    write(&store, |tx| rollout::insert(tx, &Rollout { takes_back: 1, kind: Kind::Rollback, ..a_rollout(4, 1, State::Running) }));
    assert_eq!(numbers(write(&store, |tx| rollout::of_secret(tx, WWW, 2))), [4, 3]);
    assert_eq!(numbers(write(&store, |tx| rollout::page(tx, false, Some(RolloutId(4)), 9))), [3, 1]);
    assert_eq!(numbers(write(&store, |tx| rollout::page(tx, true, None, 9))), [4, 3]);
    assert_eq!(write(&store, |tx| rollout::taken_back_by(tx, RolloutId(1))), Some(RolloutId(4)));
    assert_eq!(write(&store, |tx| rollout::taken_back_by(tx, RolloutId(3))), None);
}

pub(crate) fn what_became_of_each_target(database: &Database) {
    let store = database.open();
    fleet(&store);
    let id = RolloutId(1);
    write(&store, |tx| {
        rollout::insert(tx, &a_rollout(1, 2, State::Running))?;
        for (target, wave) in [(1, 0), (2, 1), (3, 2)] {
            rollout::put_part(tx, id, TargetId(target), wave, 0)?;
        }
        rollout::mark(tx, id, TargetId(1), Some(NOW), Some(NOW), None)?;
        rollout::mark(tx, id, TargetId(2), Some(NOW), None, Some(NOW))?;
        rollout::excuse(tx, id, &[TargetId(2)], NOW)
    });
    let parts = write(&store, |tx| rollout::parts(tx, id));
    let of = |n: usize| (parts[n].target.0, parts[n].begun_at, parts[n].observed_at, parts[n].quarantined_at, parts[n].excused_at);
    let at = Some(NOW);
    assert_eq!([of(0), of(1), of(2)], [(1, at, at, None, None), (2, at, None, at, at), (3, None, None, None, None)]);
    assert_eq!(parts[0].vantages, ["local"]);
    assert_eq!(write(&store, |tx| rollout::counts(tx, id))[1], (1, Count { targets: 1, begun: 1, observed: 0, left_behind: 1 }));
    let placed = write(&store, |tx| rollout::placed(tx, WWW));
    let of: Vec<_> = placed.iter().map(|p| (p.id.0, p.region.as_str(), p.nodes)).collect();
    assert_eq!(of, [(1, "eu", 1), (2, "us", 1), (3, "", 0)], "a target stands where its nodes do");
    assert_eq!(write(&store, |tx| rollout::service_size(tx, WWW, "")), 3);

    // Who carries it there, and who may have it.
    let nodes = write(&store, |tx| rollout::nodes_of(tx, id, WWW, 1, &BTreeSet::from([TargetId(1), TargetId(2)])));
    assert_eq!(nodes.iter().map(|c| (c.name.as_str(), c.region.as_str())).collect::<Vec<_>>(), [("n2", "us")]);
    assert_eq!(write(&store, |tx| rollout::carriers(tx, id, WWW)).len(), 2);
    write(&store, |tx| {
        instance(tx, WWW, 2, "n1", print(1))?;
        instance(tx, WWW, 2, "us", print(2))?;
        order::put(tx, &an_order(1, "n9", "open"))?;
        order::put(tx, &an_order(2, "n1", "issued"))
    });
    let issued = write(&store, |tx| rollout::issued(tx, WWW, 2));
    assert_eq!(issued.scopes.into_iter().collect::<Vec<_>>(), [("n1".to_owned(), Some(NOW + Span::hours(1))), ("us".to_owned(), None)]);
    assert_eq!(issued.asked, BTreeSet::from(["n9".to_owned()]));
    assert_eq!(write(&store, |tx| secret::leaves_of(tx, WWW, 2)), [print(1), print(2)]);
    assert_eq!(write(&store, |tx| secret::validities(tx, WWW, 2, &[])), [(NOW, NOW + Span::days(92))]);
    assert_eq!(write(&store, |tx| secret::validities(tx, WWW, 2, &["n7", "all"])), []);

    // What most of those with agents show is first.
    write(&store, |tx| {
        shows(tx, 1, 1)?;
        shows(tx, 2, 1)?;
        shows(tx, 3, 2)
    });
    assert_eq!(write(&store, |tx| rollout::shown(tx, WWW)), [1, 2]);
    write(&store, |tx| shows(tx, 1, 3));
    assert_eq!(write(&store, |tx| rollout::shown(tx, WWW)), [3, 1, 2]);

    // What is not answered, and whether once is all.
    let silent = Finding {
        since: at,
        ..Finding::new(Code::Unreachable, Level::Info, Subject::Target(TargetId(2), Code::Unreachable), "reset".into())
    };
    write(&store, |tx| finding::replace(tx, WWW, Some(TargetId(2)), std::slice::from_ref(&silent)));
    let said = write(&store, |tx| rollout::silences(tx, id));
    assert_eq!(said.iter().map(|s| (s.target.0, s.level, s.since)).collect::<Vec<_>>(), [(2, Level::Info, at)]);
    assert_eq!(write(&store, |tx| rollout::lines(tx, id, WWW, 2)), []);

    // Who wakes whom.
    let due = || write(&store, |tx| timer::get(tx, "rollout", 1));
    write(&store, |tx| rollout::wake(tx, TargetId(9), "rollout", NOW));
    assert_eq!(due(), None);
    write(&store, |tx| rollout::wake(tx, TargetId(3), "rollout", NOW + Span::hours(1)));
    write(&store, |tx| rollout::wake_by_node(tx, NodeId(2), "rollout", NOW));
    assert_eq!(due(), at);
    assert_eq!(write(&store, |tx| rollout::brought(tx, WWW)), Some((2, id)));
    assert_eq!(write(&store, |tx| rollout::left_behind(tx, id)), ["t2"]);
    write(&store, |tx| rollout::forget_left_behind(tx, WWW, id, false));
    assert_eq!(write(&store, |tx| rollout::left_behind(tx, id)), ["t2"]);
    write(&store, |tx| rollout::forget_left_behind(tx, WWW, RolloutId(2), false));
    assert_eq!(write(&store, |tx| rollout::left_behind(tx, id)), [""; 0]);
    // What is old and has a successor is let go of; one that was taken back is none.
    let old = |tx: &mut Tx<'_>, state| {
        rollout::put(tx, &Rollout { state: State::Done, ended_at: at, ..a_rollout(1, 2, State::Done) })?;
        rollout::insert(tx, &a_rollout(5 + i64::from(state == State::Done), 3, state))?;
        prune::rollout_targets(tx, NOW + Span::seconds(1), 2)
    };
    assert_eq!(write(&store, |tx| old(tx, State::RolledBack)), 0);
    assert_eq!(write(&store, |tx| old(tx, State::Done)), 2);
    assert_eq!(write(&store, |tx| prune::rollout_targets(tx, NOW, 9)), 0);
    write(&store, |tx| rollout::put_part(tx, id, TargetId(1), 0, 0));
    write(&store, |tx| rollout::drop_part(tx, id, TargetId(3)));
    assert_eq!(write(&store, |tx| rollout::parts(tx, id)).len(), 1);
}

fn an_order(id: i64, scope: &str, state: &str) -> Order {
    Order {
        id,
        issuer: "public".into(),
        secret: WWW,
        version: 2,
        scope: scope.into(),
        intent: 0,
        state: domain::issuing::OrderState::parse(state).unwrap(),
        csr: Vec::new(),
        key: print(9),
        held: 0,
        names: Vec::new(),
        replaces: String::new(),
        url: String::new(),
        chain: Vec::new(),
        attempts: 0,
        failures: 0,
        created_at: NOW,
        placed_at: None,
        tried_at: None,
        done_at: (state == "issued").then_some(NOW + Span::hours(1)),
        detail: String::new(),
        problems: Vec::new(),
    }
}

pub(crate) fn what_must_be_replaced_and_what_became_of_it(database: &Database) {
    let store = database.open();
    let (www, copy) = (WWW, SecretId(2));
    let open = |id: i64, hours| Revocation {
        id,
        asked: vec!["issuer Example CA".into(), "secret www".into()],
        deadline_at: NOW + Span::hours(hours),
        reason: "their notice".into(),
        actor: "local/tester".into(),
        created_at: NOW,
        ended_at: None,
        withdrawn_by: String::new(),
        withdrawn_for: String::new(),
    };
    write(&store, |tx| {
        for id in 1..=2 {
            secret::insert(tx, &blank(id))?;
        }
        revocation::insert(tx, &open(1, 24))?;
        revocation::insert(tx, &open(2, 2))?;
        // The same leaf is of two secrets, and of two versions of one.
        for (secret, version) in [(www, 1), (www, 2), (copy, 1), (copy, 1)] {
            revocation::insert_leaf(tx, 1, &print(1), secret, version)?;
        }
        revocation::insert_leaf(tx, 1, &print(2), www, 2)?;
        revocation::insert_leaf(tx, 2, &print(1), copy, 0)?;
        instance(tx, copy, 7, "all", print(1))?;
        instance(tx, copy, 8, "all", print(3))
    });
    assert_eq!(write(&store, |tx| revocation::get(tx, 1)), Some(open(1, 24)));
    assert_eq!(write(&store, |tx| revocation::page(tx, Some(2), 9)).len(), 1);
    assert_eq!(
        write(&store, |tx| revocation::leaves(tx, 1)),
        [(print(1), www, 1), (print(1), www, 2), (print(2), www, 2), (print(1), copy, 1)]
    );
    assert_eq!(write(&store, |tx| revocation::leaves_of(tx, 1, www)), BTreeSet::from([print(1), print(2)]));
    assert_eq!(write(&store, |tx| revocation::count_leaves(tx, 1)), 2);
    let of_leaf = || write(&store, |tx| revocation::of_leaf(tx, &print(1))).into_iter().map(|r| r.0).collect::<Vec<_>>();
    assert_eq!(of_leaf(), [2, 1], "the earliest deadline first, each once");
    let of = |secret, version| write(&store, |tx| revocation::of_version(tx, secret, version));
    assert_eq!((of(www, 2), of(www, 3), of(copy, 7), of(copy, 8)), (Some(1), None, Some(1), None), "by its number or by its leaf");
    assert_eq!(write(&store, |tx| revocation::newest_revoked(tx, www)), 2);

    let affected = |secret, place| Affected {
        secret: SecretId(secret),
        place,
        version: 1,
        rollout: 0,
        detail: String::new(),
        asked_at: None,
        done_at: None,
    };
    let done = Affected { rollout: 4, detail: "seen".into(), asked_at: Some(NOW), done_at: Some(NOW), ..affected(2, 0) };
    write(&store, |tx| {
        for (secret, place) in [(2, 0), (1, 1), (3, 2)] {
            revocation::put_affected(tx, 1, &affected(secret, place))?;
        }
        revocation::put_affected(tx, 1, &done)
    });
    let page = |only_open, after, limit| write(&store, |tx| revocation::affected(tx, 1, only_open, after, limit));
    assert_eq!(page(false, None, 9), [done, affected(1, 1), affected(3, 2)]);
    assert_eq!(page(true, None, 1), [affected(1, 1)]);
    assert_eq!(page(true, Some(1), 9), [affected(3, 2)]);
    assert_eq!(write(&store, |tx| revocation::count_affected(tx, 1)), (3, 1));
    assert_eq!(write(&store, |tx| revocation::still_serving(tx, 1, www, 5)), (0, Vec::new()));
    assert_eq!(write(&store, |tx| revocation::open_lines(tx, 1)), 0);
    assert_eq!(write(&store, revocation::observed), []);
    assert!(write(&store, |tx| revocation::all_replaced(tx, www, NOW, &BTreeSet::new(), true)), "no target is left");
    write(&store, |tx| revocation::wake(tx, www, "revocation", NOW));
    assert_eq!(write(&store, |tx| timer::get(tx, "revocation", 1)), Some(NOW));

    // Withdrawn, nothing of it stands any more.
    write(&store, |tx| revocation::withdraw(tx, 1, "local/ann", "not ours", NOW));
    let after = write(&store, |tx| revocation::lock(tx, 1)).unwrap();
    assert_eq!((after.ended_at, after.withdrawn_by.as_str(), after.withdrawn_for.as_str()), (Some(NOW), "local/ann", "not ours"));
    assert_eq!((of_leaf(), of(www, 2), of(copy, 7)), (vec![2], None, Some(2)));
    assert_eq!(write(&store, |tx| revocation::newest_revoked(tx, www)), 0);
    write(&store, |tx| revocation::end(tx, 2, NOW));
    assert_eq!(of_leaf(), [2], "what is over stays revoked");
}
