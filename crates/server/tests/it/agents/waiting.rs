//! Waiting for a manifest, and hearing of it.

use super::{Agent, Gate, said, shown};
use crate::support;
use domain::{Span, words::NodeId};
use engine::{Tick, nodes};
use serde_json::json;
use std::{sync::mpsc, time::Duration};
use store::model::{node, secret};

/// Decides that a node is to have a version, as a rollout does.
fn desire(gate: &Gate, name: &str, version: i64) -> engine::Result<i64> {
    let tick = gate.world.tick();
    gate.world.engine.store().try_write(&engine::rules(), tick.now, |tx| {
        let n = node::by_name(tx, name)?.unwrap();
        let s = secret::by_name(tx, "blob-tls")?.unwrap();
        nodes::desire(tx, n.id, s.id, version, None, &tick)
    })
}

#[test]
fn a_manifest_says_what_the_node_is_to_have_and_goes_only_forward() {
    let gate = Gate::opened();
    let (first, leaf) = gate.store_version();
    let agent = gate.agent("web-1");
    let manifest = agent.manifest(&gate, 0);
    assert_eq!((manifest.node.as_str(), manifest.generation, manifest.installs.len()), ("web-1", 1, 1));
    let install = &manifest.installs[0];
    assert_eq!((install.secret.as_str(), install.version, install.since), ("blob-tls", first, 1));
    assert_eq!((install.keys, &install.leaves), (api::agent::Keys::Store, &vec![leaf]));
    assert_eq!(agent.poll(&gate, 1, 0).status, 204);
    assert_eq!(agent.manifest(&gate, 0), manifest, "asked twice, it is the same");

    // A newer version changes nothing by itself: a rollout decides.
    let (second, _) = gate.store_version();
    assert_eq!(agent.poll(&gate, 1, 0).status, 204);
    assert_eq!(desire(&gate, "web-1", second).unwrap(), 2);
    assert_eq!(desire(&gate, "web-1", second).unwrap(), 2, "the same again is the same generation");
    assert_eq!(agent.manifest(&gate, 1).installs[0].version, second);
    // Back is forward.
    assert_eq!(desire(&gate, "web-1", first).unwrap(), 3);
    let back = agent.manifest(&gate, 2);
    assert_eq!((back.generation, back.installs[0].version, back.installs[0].since), (3, first, 3));
    // Below its incident threshold (90 d of a year) it is refused.
    gate.world.pass(Span::days(365 - 31 - 90 + 1));
    desire(&gate, "web-1", second).unwrap_err();
    let refused = desire(&gate, "web-1", second).unwrap_err().to_string();
    assert!(refused.contains("below its incident threshold"), "{refused}");
    assert!(desire(&gate, "web-1", 9).unwrap_err().to_string().contains("no version 9"));
    let tick = gate.world.tick();
    let nobody = gate.world.engine.store().try_write(&engine::rules(), tick.now, |tx| {
        let s = secret::by_name(tx, "shop-tls")?.unwrap();
        nodes::desire(tx, NodeId(1), s.id, 1, None, &tick)
    });
    assert!(nobody.unwrap_err().to_string().contains("not to have shop-tls"));
}

#[test]
fn who_waits_hears_within_a_second_and_who_hears_is_written_down() {
    let gate = Gate::opened();
    let (first, _) = gate.store_version();
    let agent = gate.agent("web-1");
    agent.manifest(&gate, 0);
    let (second, _) = gate.store_version();
    let (sender, heard) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let answer = agent.poll(&gate, 1, 30);
            sender.send((super::instant(), answer.status, agent.verified(&answer.text))).unwrap();
        });
        // It waits, and nothing comes.
        assert!(heard.recv_timeout(Duration::from_millis(600)).is_err());
        desire(&gate, "web-1", second).unwrap();
        let decided = super::instant();
        let (at, status, manifest) = heard.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!((status, manifest.generation, manifest.installs[0].version), (200, 2, second));
        assert!(at.duration_since(decided) < Duration::from_secs(5), "{:?}", at.duration_since(decided));
    });
    let told = || shown(&gate, "web-1")["installs"][0]["told_at"].as_str().map(str::to_owned);
    let until = super::instant() + Duration::from_secs(20);
    while told().is_none() {
        assert!(super::instant() < until, "nobody wrote down who was told");
        std::thread::yield_now();
    }
    assert_ne!(first, second);
}

#[test]
fn whoever_is_revoked_while_it_waits_is_told_so() {
    let gate = Gate::opened();
    let agent = gate.agent("web-1");
    let code = std::thread::scope(|scope| {
        let waits = scope.spawn(|| agent.poll(&gate, 0, 30).code());
        // It may be revoked before it waits as well: the answer is the same.
        gate.world.post(&gate.world.admin, "/v1/nodes/web-1/revoke", &json!({ "reason": "stolen" })).good();
        waits.join().unwrap()
    });
    assert_eq!(code, (403, "agent-revoked".into()));
}

#[test]
fn what_is_taken_from_a_node_is_not_in_its_next_manifest() {
    let gate = Gate::opened();
    gate.store_version();
    let agent = gate.agent("web-1");
    assert_eq!(agent.manifest(&gate, 0).installs.len(), 1);
    gate.apply(&[]);
    let manifest = agent.manifest(&gate, 1);
    assert_eq!((manifest.generation, manifest.installs.len()), (2, 0));
    gate.apply(&["blob-tls"]);
    super::settle(&gate);
    assert_eq!(agent.manifest(&gate, 2).installs.len(), 1);
}

#[test]
fn agents_of_a_sealed_store_stay_and_their_reports_are_taken() {
    let gate = Gate::opened();
    let (version, _) = gate.store_version();
    let agent = gate.agent("web-1");
    agent.manifest(&gate, 0);
    gate.world.engine.seal(&store::Actor::new("test", "seal"), &gate.world.tick()).unwrap();
    assert_eq!(agent.poll(&gate, 1, 0).status, 204);
    let sealed = agent.poll(&gate, 0, 0);
    assert_eq!((sealed.code(), sealed.header("retry-after")), ((503, "sealed".into()), Some("10")));
    assert_eq!(agent.report(&gate, 1, &said(&gate, version, "installed", "")).status, 200);
    let fetch = json!({ "secret": "blob-tls", "version": version, "generation": 1 });
    assert_eq!(agent.post(&gate, api::agent::FETCH, &fetch).code(), (503, "sealed".into()));
    assert!(!gate.world.journal().contains("key.sent"), "what did not go out is not written down as if it had");
    assert_eq!(agent.post(&gate, api::agent::RENEW, &agent.renewal(&gate)).code(), (503, "sealed".into()));
    gate.world.engine.unseal(&support::cheap(support::PASSPHRASE), &store::Actor::new("test", "open"), &gate.world.tick()).unwrap();
    assert_eq!(agent.post(&gate, api::agent::FETCH, &fetch).status, 200);
}

#[test]
fn those_that_wait_are_told_while_a_thousand_are_decided_for() {
    const AGENTS: usize = 1000;
    let gate = Gate::opened();
    let (version, _) = gate.store_version();
    let mut fleet = support::fleet();
    let names: Vec<String> = (0..AGENTS).map(|n| format!("n-{n}")).collect();
    fleet["node"] = names.iter().map(|n| json!({ "name": n, "region": "eu", "secrets": ["blob-tls"] })).collect();
    gate.world.post(&gate.world.admin, "/v1/fleet", &json!({ "fleet": fleet })).good();
    // A handful of certificates stand for all of them: what is tried here is the waiting.
    let agents: Vec<Agent> = names.iter().take(8).map(|n| gate.agent(n)).collect();
    for agent in &agents {
        assert_eq!(agent.manifest(&gate, 0).installs[0].version, version);
    }
    let (second, _) = gate.store_version();
    let done: usize = std::thread::scope(|scope| {
        let waiting: Vec<_> = agents
            .iter()
            .flat_map(|agent| {
                // As many as may wait for one node at a time.
                (0..4).map(|_| scope.spawn(|| agent.poll(&gate, 1, 50).status)).collect::<Vec<_>>()
            })
            .collect();
        let tick: Tick = gate.world.tick();
        gate.world
            .engine
            .store()
            .try_write(&engine::rules(), tick.now, |tx| {
                let s = secret::by_name(tx, "blob-tls")?.unwrap();
                for id in node::of_secret(tx, s.id)? {
                    nodes::desire(tx, id, s.id, second, None, &tick)?;
                }
                Ok::<_, engine::Error>(())
            })
            .unwrap();
        waiting.into_iter().filter_map(|w| w.join().ok()).filter(|status| *status == 200).count()
    });
    assert_eq!(done, agents.len() * 4);
}

#[test]
fn one_that_asks_all_the_time_makes_nobody_deaf() {
    let gate = Gate::opened();
    gate.store_version();
    let (busy, agent) = (gate.agent("web-1"), gate.agent("web-2"));
    busy.manifest(&gate, 0);
    agent.manifest(&gate, 0);
    let (second, _) = gate.store_version();
    let url = format!("sqlite:{}", gate.world.dir.path().join("store.db").display());
    let tick = gate.world.tick();
    let other = store::Store::open(&url, tick.now, || [9; 16]).unwrap();
    let heard = std::sync::atomic::AtomicBool::new(false);
    let answer = std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let answer = agent.poll(&gate, 1, 20);
            heard.store(true, std::sync::atomic::Ordering::SeqCst);
            answer
        });
        // More often than the server looks by itself; another server on the same database decides meanwhile.
        let asks = || assert_eq!(busy.poll(&gate, 1, 0).status, 204);
        (0..20).for_each(|_| asks());
        other
            .try_write(&engine::rules(), tick.now, |tx| {
                let (n, s) = (node::by_name(tx, "web-2")?.unwrap(), secret::by_name(tx, "blob-tls")?.unwrap());
                nodes::desire(tx, n.id, s.id, second, None, &tick)
            })
            .unwrap();
        while !heard.load(std::sync::atomic::Ordering::SeqCst) {
            asks();
        }
        waits.join().unwrap()
    });
    assert_eq!(answer.status, 200, "it waited for as long as others asked");
    assert_eq!(agent.verified(&answer.text).installs[0].version, second);
}

#[test]
fn what_another_server_on_the_same_database_decides_is_heard_too() {
    let gate = Gate::opened();
    let (version, _) = gate.store_version();
    let agent = gate.agent("web-1");
    agent.manifest(&gate, 0);
    let (second, _) = gate.store_version();
    let url = format!("sqlite:{}", gate.world.dir.path().join("store.db").display());
    let tick = gate.world.tick();
    let other = store::Store::open(&url, tick.now, || [9; 16]).unwrap();
    let (answer, took) = std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let answer = agent.poll(&gate, 1, 30);
            (answer, super::instant())
        });
        other
            .try_write(&engine::rules(), tick.now, |tx| {
                let (n, s) = (node::by_name(tx, "web-1")?.unwrap(), secret::by_name(tx, "blob-tls")?.unwrap());
                nodes::desire(tx, n.id, s.id, second, None, &tick)
            })
            .unwrap();
        let decided = super::instant();
        let (answer, at) = waits.join().unwrap();
        (answer, at.saturating_duration_since(decided))
    });
    assert_eq!(answer.status, 200);
    assert_eq!(agent.verified(&answer.text).installs[0].version, second);
    // Nobody in the waiting server's process was told; it looks by itself, a few times a second.
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_ne!(version, second);
}
