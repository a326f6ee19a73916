//! A store with very many nodes, whose agents' door is to be measured. `bench/agents.sh` drives it; the agents are played by another process.
//!
//! ```text
//! door DATA ADDR NODES [JOIN-STRINGS]   the last writes an invitation for every node into that file first
//! ready                                 the door is open
//! > rss                                 rss KIB, of this process alone
//! > desire                              every node is to have the next version, in one transaction: desired N MS
//! > stop                                ends as a server that is told to
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

use std::{fmt::Write as _, io::BufRead as _, net::SocketAddr, path::Path, time::Instant};

use api::fleet::{Fleet, Node, Region, Secret, Settings, Team};
use domain::Span;
use engine::{
    nodes,
    vault::{Import, Incoming},
};
use server::{
    agents::Limits,
    run::{AgentsDoor, Options, Running, entropy, start},
};
use store::{
    Actor,
    model::{node, secret},
};

fn main() {
    let mut args = std::env::args().skip(1);
    let (data, listen) = (args.next().expect("DATA"), args.next().expect("ADDR"));
    let count: usize = args.next().expect("NODES").parse().unwrap();
    let strings = args.next();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let running = start(options(&data, listen.parse().unwrap(), count)).await.unwrap();
        if let Some(path) = strings {
            prepare(&running, count, &path);
        }
        println!("ready");
        let (lines, mut commands) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || std::io::stdin().lock().lines().map_while(Result::ok).for_each(|line| drop(lines.send(line))));
        while let Some(command) = commands.recv().await {
            match command.trim() {
                "rss" => println!("rss {}", resident()),
                "desire" => {
                    let began = Instant::now();
                    let n = desire(&running);
                    println!("desired {n} {}", began.elapsed().as_millis());
                }
                _ => break,
            }
        }
        running.stop().await;
    });
}

fn options(data: &str, listen: SocketAddr, count: usize) -> Options {
    let folder = Path::new(data);
    Options {
        data: folder.into(),
        database: std::env::var("PERENNIAL_DATABASE").ok(),
        listen: "127.0.0.1:0".parse().unwrap(),
        names: Vec::new(),
        passphrase_files: Vec::new(),
        key_files: vec![folder.join("store.key")],
        allow_inside: Vec::new(),
        heartbeat: None,
        resolve: Vec::new(),
        rate_per_address: None,
        outgoing_ca: None,
        clock_witnesses: Vec::new(),
        ways: server::authority::Ways::default(),
        agents: Some(AgentsDoor { listen, address: None, limits: Limits { agents: count * 2, per_address: count * 2 } }),
    }
}

fn actor() -> Actor {
    Actor::new("bench", "door")
}

/// An inventory, a version, and the right to join for every node.
fn prepare(running: &Running, count: usize, path: &str) {
    let (engine, tick) = (&running.engine, running.tick());
    let fleet = Fleet {
        fleet: Settings { default_owner: Some("ops".into()), ..Settings::default() },
        teams: vec![Team { name: "ops".into(), escalation: None, contacts: vec![api::fleet::Contact::Log {}] }],
        regions: vec![Region { name: "eu".into(), needs: Vec::new() }],
        secrets: vec![Secret { name: "www".into(), ..Secret::default() }],
        nodes: (0..count)
            .map(|n| Node { name: format!("node-{n}"), region: "eu".into(), secrets: vec!["www".into()], ..Node::default() })
            .collect(),
        ..Fleet::default()
    };
    engine.apply(&fleet, &engine::inventory::Options::default(), &actor(), &tick).unwrap();
    import(running);
    let address = running.agents.as_ref().unwrap().1.clone();
    let ca = std::fs::read(&running.ca).unwrap();
    let ca = pki::load(&ca, None, pki::Limits::default()).unwrap().certificates[0].fingerprint().to_string();
    let mut lines = String::new();
    for n in 0..count {
        let made = engine.invite(&format!("node-{n}"), Span::hours(6), None, &mut entropy, &actor(), &tick).unwrap();
        let invitation =
            api::agent::Invitation { ca: ca.clone(), token: api::agent::Token(made.token.to_string()), store: address.clone() };
        let _ = writeln!(lines, "{}", invitation.expose());
    }
    std::fs::write(path, lines).unwrap();
}

fn import(running: &Running) {
    let (engine, tick) = (&running.engine, running.tick());
    let authority = pki::Authority::new("Bench", tick.now - Span::days(1), tick.now + Span::days(3650)).unwrap();
    let (leaf, key) =
        authority.leaf(&["www.example.com"], pki::KeyType::EcdsaP256, tick.now - Span::days(1), tick.now + Span::days(365)).unwrap();
    let chain = format!("{}{}", leaf.to_pem(), authority.certificate().to_pem()).into_bytes();
    let incoming = Incoming { scope: "all".into(), chain, key: Some(key.expose_pem().as_bytes().to_vec().into()), password: None };
    let import = Import { name: "www", instances: vec![incoming], accept_change: true, roots: None, reason: "bench", dry_run: false };
    let prepared = engine.prepare(import, &tick).unwrap();
    engine.store_all(&[prepared], &mut entropy, &actor(), &tick).unwrap();
}

/// As one wave over everything decides it.
fn desire(running: &Running) -> usize {
    import(running);
    let (engine, tick) = (&running.engine, running.tick());
    let n = engine
        .store()
        .try_write(&actor(), tick.now, |tx| {
            let s = secret::by_name(tx, "www")?.unwrap();
            let all = node::of_secret(tx, s.id)?;
            for id in &all {
                nodes::desire(tx, *id, s.id, s.newest_version, None, &tick)?;
            }
            Ok::<_, engine::Error>(all.len())
        })
        .unwrap();
    running.wake.notify_waiters();
    n
}

/// Resident memory of this process in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
