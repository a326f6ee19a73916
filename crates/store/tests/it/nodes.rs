//! Nodes, what they are to have, and who may speak for them.

use domain::{
    Fingerprint, Span,
    words::{NodeId, RolloutId, SecretId, TargetId},
};
use store::{
    StoreError,
    model::{
        identity::{self, Ended},
        node,
    },
};

use crate::harness::{Database, NOW, write};

fn print(n: u8) -> Fingerprint {
    Fingerprint::from_bytes([n; 32])
}

fn web(id: i64, name: &str, region: &str) -> node::Node {
    node::Node { region: region.into(), ..node::Node::new(NodeId(id), name, NOW) }
}

pub(crate) fn a_node_comes_back_as_it_was(database: &Database) {
    let store = database.open();
    let plain = web(1, "web-1", "eu");
    let full = node::Node {
        stamp: "eu-1".into(),
        canary: true,
        key: Some(print(1)),
        epoch: 3,
        joined_at: Some(NOW),
        revoked_at: Some(NOW),
        instance: "b".into(),
        instance_at: Some(NOW),
        earlier: vec![("a start".into(), NOW - Span::hours(1)), (String::new(), NOW)],
        cloned_at: Some(NOW),
        cloned: "twice".into(),
        agent: "0.1".into(),
        seen_at: Some(NOW),
        reported_at: Some(NOW),
        acted: 7,
        clock_off: Some(-31),
        ..web(2, "web-2", "us")
    };
    write(&store, |tx| {
        node::insert(tx, &plain)?;
        node::insert(tx, &full)
    });
    assert_eq!(write(&store, |tx| node::by_name(tx, "web-1")), Some(plain.clone()));
    assert_eq!(write(&store, |tx| node::lock(tx, NodeId(2))), Some(full.clone()));
    assert_eq!(store.read(|tx| tx.counted(node::CHANGES)).unwrap(), 0);
    // What is written over it leaves the generation alone, which goes forward by itself.
    assert_eq!(write(&store, |tx| node::advance(tx, NodeId(2), NOW + Span::seconds(5))), 1);
    write(&store, |tx| node::put(tx, &node::Node { key: None, ..full.clone() }));
    let after = node::Node { key: None, generation: 1, changed_at: NOW + Span::seconds(5), ..full };
    assert_eq!(write(&store, |tx| node::get(tx, NodeId(2))), Some(after));
    assert_eq!(store.read(|tx| tx.counted(node::CHANGES)).unwrap(), 1);
    assert_eq!(write(&store, node::generations), [(NodeId(1), 0), (NodeId(2), 1)]);
    let names = |region: &str, after: &str| -> Vec<String> {
        write(&store, |tx| node::page(tx, region, after, 9)).into_iter().map(|n| n.name).collect()
    };
    assert_eq!(
        (names("", ""), names("us", ""), names("", "web-1")),
        (vec!["web-1".into(), "web-2".into()], vec!["web-2".into()], vec!["web-2".into()])
    );
    write(&store, |tx| node::put(tx, &node::Node { retired_at: Some(NOW), ..plain.clone() }));
    assert_eq!(names("", ""), ["web-2"]);
    write(&store, |tx| node::seen(tx, &[NodeId(2), NodeId(9)], NOW + Span::hours(1)));
    let before = |at| write(&store, |tx| node::heard_before(tx, &[NodeId(2), NodeId(3), NodeId(9)], at));
    assert_eq!((before(NOW), before(NOW + Span::hours(1))), (vec![], vec![NodeId(2)]));
    assert_eq!(write(&store, |tx| node::get(tx, NodeId(2))).unwrap().seen_at, Some(NOW + Span::hours(1)));
    let twice = store.write(&crate::harness::actor(), NOW, |tx| node::insert(tx, &web(3, "web-2", "eu"))).unwrap_err();
    assert!(matches!(twice, StoreError::Conflict { .. }), "{twice}");
}

pub(crate) fn what_nodes_are_to_have_and_say(database: &Database) {
    let store = database.open();
    let (www, api) = (SecretId(10), SecretId(11));
    let one = node::Install {
        version: 4,
        generation: 2,
        rollout: Some(RolloutId(5)),
        fault: "stale-reload".into(),
        desired_at: Some(NOW),
        fetched_at: Some(NOW),
        installed_at: Some(NOW),
        failed_at: Some(NOW),
        state: "installed".into(),
        has: 3,
        leaf: Some(print(9)),
        attempts: 2,
        detail: "why".into(),
        ..node::Install::new(NodeId(1), www)
    };
    write(&store, |tx| {
        for n in [web(1, "web-1", "eu"), web(2, "web-2", "eu"), web(3, "web-3", "us")] {
            node::insert(tx, &n)?;
        }
        node::put_install(tx, &one)?;
        node::put_install(tx, &node::Install::new(NodeId(1), api))?;
        node::put_install(tx, &node::Install { version: 5, generation: 1, ..node::Install::new(NodeId(2), www) })?;
        node::put_install(tx, &node::Install { version: 5, generation: 3, ..node::Install::new(NodeId(3), www) })
    });
    assert_eq!(write(&store, |tx| node::installs(tx, NodeId(1))), [one.clone(), node::Install::new(NodeId(1), api)]);
    assert_eq!(write(&store, |tx| node::install(tx, NodeId(1), www)), Some(one.clone()));
    assert_eq!(write(&store, |tx| node::install(tx, NodeId(3), api)), None);
    assert_eq!(write(&store, |tx| node::of_secret(tx, www)), [NodeId(1), NodeId(2), NodeId(3)]);
    assert_eq!(write(&store, |tx| node::versions_in(tx, www, "eu")), [(5, 0), (4, 1)]);
    let on = |version| -> Vec<(String, Option<domain::Time>)> {
        write(&store, |tx| node::states(tx, www, version)).into_iter().map(|s| (s.name, s.install.told_at)).collect()
    };
    assert_eq!(on(5), [("web-2".into(), None), ("web-3".into(), None)]);
    // A manifest tells what it names, once; not what was decided after it.
    write(&store, |tx| node::told(tx, &[(NodeId(3), 2), (NodeId(2), 1)], NOW));
    write(&store, |tx| node::told(tx, &[(NodeId(2), 9)], NOW + Span::hours(1)));
    assert_eq!(on(5), [("web-2".into(), Some(NOW)), ("web-3".into(), None)]);
    write(&store, |tx| node::put_of_target(tx, TargetId(7), &[NodeId(3), NodeId(1)]));
    let behind =
        |target| -> Vec<String> { write(&store, |tx| node::of_target(tx, TargetId(target))).into_iter().map(|n| n.name).collect() };
    assert_eq!((behind(7), behind(8)), (vec!["web-1".to_owned(), "web-3".into()], vec![]));
    assert_eq!(write(&store, |tx| node::names_of_target(tx, TargetId(7))), ["web-1", "web-3"]);
    write(&store, |tx| node::put_of_target(tx, TargetId(7), &[NodeId(2)]));
    assert_eq!(behind(7), ["web-2"]);
    write(&store, |tx| node::remove_install(tx, NodeId(1), www));
    assert_eq!(write(&store, |tx| node::installs(tx, NodeId(1))).len(), 1);
}

pub(crate) fn who_may_speak_for_a_node(database: &Database) {
    let store = database.open();
    let token = |id, hash| identity::JoinToken {
        id,
        node: NodeId(1),
        hash: [hash; 32],
        created_at: NOW,
        expires_at: NOW + Span::hours(1),
        ended_at: None,
        key: None,
    };
    write(&store, |tx| {
        node::insert(tx, &web(1, "web-1", "eu"))?;
        identity::insert_token(tx, &token(1, 1))?;
        identity::insert_token(tx, &token(2, 2))
    });
    assert_eq!(write(&store, |tx| identity::lock_token(tx, 1)), Some(token(1, 1)));
    write(&store, |tx| identity::use_token(tx, 1, &print(5), NOW));
    // Whoever comes second changes nothing.
    write(&store, |tx| identity::use_token(tx, 1, &print(6), NOW + Span::seconds(1)));
    assert_eq!(write(&store, |tx| identity::token(tx, 1)).map(|t| (t.ended_at, t.key)), Some((Some(NOW), Some(print(5)))));
    assert_eq!(write(&store, |tx| identity::token_until(tx, NodeId(1), NOW)), Some(NOW + Span::hours(1)));
    assert_eq!(write(&store, |tx| identity::end_tokens(tx, NodeId(1), NOW)), 1);
    assert_eq!(write(&store, |tx| identity::token_until(tx, NodeId(1), NOW)), None);

    let certificate = |n: u8, from: i64| identity::Certificate {
        fingerprint: print(n),
        node: NodeId(1),
        key: print(100),
        serial: n.to_string(),
        epoch: 1,
        not_before: NOW + Span::days(from),
        not_after: NOW + Span::days(from + 30),
        used_at: None,
        ended: None,
    };
    let ended = |n: u8| write(&store, |tx| identity::certificate(tx, &print(n))).unwrap().ended.map(|(_, why)| why);
    write(&store, |tx| (1..=3).try_for_each(|n| identity::insert_certificate(tx, &certificate(n, i64::from(n)))));
    assert_eq!(write(&store, |tx| identity::certificate(tx, &print(2))), Some(certificate(2, 2)));
    assert_eq!(write(&store, |tx| identity::certificate(tx, &print(9))), None);
    // The second is presented: the first is superseded, and the third, whose answer may still be on its way, is not.
    write(&store, |tx| identity::first_use(tx, &certificate(2, 2), NOW));
    assert_eq!([ended(1), ended(2), ended(3)], [Some(Ended::Superseded), None, None]);
    assert_eq!(write(&store, |tx| identity::readmit(tx, 2)), 2);
    assert_eq!(write(&store, |tx| identity::revoke_all(tx, NodeId(1), NOW)), 2);
    assert_eq!([ended(1), ended(2), ended(3)], [Some(Ended::Superseded), Some(Ended::Revoked), Some(Ended::Revoked)]);
    // The latest is kept for ever: by its key an agent may come back.
    assert_eq!(write(&store, |tx| identity::prune_certificates(tx, NOW + Span::days(400), 9)), 2);
    let left: Vec<String> = write(&store, |tx| identity::certificates(tx, NodeId(1), 9)).into_iter().map(|c| c.serial).collect();
    assert_eq!(left, ["3"]);

    write(&store, |tx| {
        identity::put_root(tx, &print(1), "one\n", NOW - Span::days(1))?;
        identity::put_root(tx, &print(2), "two\n", NOW)?;
        identity::put_root(tx, &print(1), "one\n", NOW - Span::hours(1))
    });
    assert_eq!(write(&store, |tx| identity::roots(tx, NOW - Span::hours(2), 9)), "two\none\n");
    assert_eq!(write(&store, |tx| identity::roots(tx, NOW, 9)), "two\n");
    let authority = identity::Authority { purpose: "manifest-key".into(), held: 4, spki: vec![1], certificate: vec![] };
    write(&store, |tx| identity::put_authority(tx, &authority));
    assert_eq!(write(&store, |tx| identity::authority(tx, "manifest-key")), Some(authority));
    assert_eq!(write(&store, |tx| identity::authority(tx, "agent-ca-key")), None);
}
