//! From "stored" to "observed on all", for very many machines with a real server and an agent each, in one wave.
//!
//! ```text
//! cargo run --release -p perennial --example listeners -- [MACHINES]     (300 unless told otherwise)
//! ```
//!
//! Each machine is an nginx of its own (a small server of our own where there is none) whose files an agent fills; each is a target that the
//! store dials by itself. The store, its loops and all agents run in this process, so what is measured is all of it on one computer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods, dead_code)]

#[path = "../src/demo/api.rs"]
mod api;
#[path = "../src/demo/machines.rs"]
mod machines;

use ::api::v1;
use api::Api;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use machines::{Machine, Pair, Site};
use pki::{Certificate, KeyType, Span, Time, build::Authority};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::task::JoinSet;

const NAME: &str = "www.listeners.example";

fn now() -> Time {
    Time::from_unix(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap())
}

#[tokio::main]
async fn main() {
    let count: usize = std::env::args().nth(1).map_or(300, |n| n.parse().expect("how many machines"));
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new("Listeners Root", now() - Span::days(1), now() + Span::days(3650)).unwrap();
    let pair = |days: i64| -> Pair {
        let (leaf, key) = ca.leaf(&[NAME], KeyType::EcdsaP256, now() - Span::hours(1), now() + Span::days(days)).unwrap();
        (vec![leaf], key)
    };
    let first = BTreeMap::from([("www", pair(90))]);
    let mut all = Vec::new();
    for n in 0..count {
        let ip = IpAddr::V4(Ipv4Addr::new(127, 3, u8::try_from(n / 250).unwrap(), u8::try_from(n % 250 + 1).unwrap()));
        let free = std::net::TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap();
        let site = Site { secret: "www", name: NAME.into() };
        all.push(Machine::start(folder.path(), "one", n + 1, free, vec![site], &first).await.unwrap());
    }
    eprintln!("{count} machines serve by {}", all[0].server());

    let options = server::run::Options {
        data: folder.path().join("store"),
        database: None,
        listen: ([127, 0, 0, 1], 0).into(),
        names: Vec::new(),
        passphrase_files: Vec::new(),
        key_files: vec![folder.path().join("kek.key")],
        allow_inside: Vec::new(),
        heartbeat: None,
        resolve: all.iter().map(|m| (format!("{}.listeners.example", m.name), vec![m.address.ip()])).collect(),
        rate_per_address: Some(0),
        outgoing_ca: None,
        clock_witnesses: Vec::new(),
        ways: Default::default(),
        agents: Some(server::run::AgentsDoor {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            address: None,
            limits: server::agents::Limits::default(),
        }),
    };
    let mut running = server::run::start(options).await.unwrap();
    let token = running.first_token.take().unwrap();
    let api = Api::new(&running.url, &running.ca, &token).unwrap();
    let mut toml = String::from(
        "[fleet]\ndefault_owner = \"web\"\n[[team]]\nname = \"web\"\ncontacts = [{ channel = \"log\" }]\n[[service]]\nname = \"web\"\nteam = \"web\"\n\
         [[region]]\nname = \"one\"\n[[rollout_policy]]\nname = \"at-once\"\nwave = [{ of = \"all\" }]\n\
         [[secret]]\nname = \"www\"\nkind = \"certificate\"\nservice = \"web\"\nrollout = \"at-once\"\n",
    );
    let _ = write!(toml, "[[roots]]\nname = \"ours\"\npem = \"\"\"\n{}\"\"\"\n", ca.certificate().to_pem());
    for m in &all {
        let (name, port) = (&m.name, m.address.port());
        let _ = write!(toml, "[[node]]\nname = \"{name}\"\nregion = \"one\"\nsecrets = [\"www\"]\n");
        let _ = write!(
            toml,
            "[[target]]\nname = \"{name}\"\nsecret = \"www\"\nregion = \"one\"\nroots = \"ours\"\nbackends = \"direct\"\noffers = [\"all\"]\n\
             nodes = [\"{name}\"]\nserver_name = \"{NAME}\"\nendpoint = \"tls://{name}.listeners.example:{port}\"\n"
        );
    }
    let fleet = ::api::fleet::parse(&toml).unwrap();
    let _: v1::Applied = api.post("/v1/fleet", &serde_json::json!({ "fleet": fleet })).await.unwrap();
    import(&api, &first["www"]).await;
    observed(&api, count, 1).await;
    eprintln!("version 1 is observed on all");

    let mut agents = JoinSet::new();
    for machine in &all {
        let invited: v1::Invited = api.post(&format!("/v1/nodes/{}/join-token", machine.name), &v1::Invite::default()).await.unwrap();
        let config = agent::config::parse(&machine.agent().unwrap()).unwrap();
        let around = agent::Around::here().unwrap();
        let state = agent::state::State::hold(&config.state, agent::seal::Lock::ModeAlone).unwrap();
        agent::join(&state, &invited.join.parse().unwrap(), false, &around).await.unwrap();
        drop(state);
        agents.spawn(async move { drop(agent::run(config, around, std::future::pending()).await) });
    }
    let joined = Instant::now();
    loop {
        let page: v1::Page<v1::Node> = api.get("/v1/nodes?limit=1000").await.unwrap();
        if page.items.iter().filter(|n| n.installed == 1).count() == count {
            break;
        }
        assert!(joined.elapsed() < Duration::from_secs(300), "agents do not install: {:?}", page.items.iter().find(|n| n.installed == 0));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    eprintln!("every agent joined and cares for its files");

    for round in 2..=4 {
        let next = pair(90 + round);
        let began = Instant::now();
        import(&api, &next).await;
        let stored = began.elapsed();
        done(&api, count, round).await;
        println!(
            "version {round}: stored after {:.2} s, observed on all {count} {:.2} s later",
            stored.as_secs_f64(),
            (began.elapsed() - stored).as_secs_f64()
        );
    }
    running.stop().await;
}

async fn import(api: &Api, (chain, key): &Pair) {
    let pem: String = chain.iter().map(Certificate::to_pem).collect();
    let body = v1::Import {
        instances: vec![v1::ImportInstance {
            scope: "all".into(),
            chain: STANDARD.encode(pem),
            key: Some(STANDARD.encode(key.expose_pem().as_bytes())),
            password: None,
        }],
        accept_change: false,
        roots: None,
        reason: "measured".into(),
        dry_run: false,
    };
    let _: v1::Stored = api.post("/v1/secrets/www/versions", &body).await.unwrap();
}

/// Waits until every target was observed serving a version.
async fn observed(api: &Api, count: usize, version: i64) {
    let began = Instant::now();
    loop {
        let secret: v1::SecretDetail = api.get("/v1/secrets/www").await.unwrap();
        let (current, required) = (secret.secret.current, secret.secret.required);
        if secret.secret.newest_version == version && current == required && required == i64::try_from(count).unwrap() {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(300), "version {version} is observed {current} of {required} times");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the rollout of a version has observed every target.
async fn done(api: &Api, count: usize, version: i64) {
    let began = Instant::now();
    loop {
        let page: v1::Page<v1::Rollout> = api.get("/v1/rollouts?limit=1").await.unwrap();
        if page.items.iter().any(|r| r.version == version && r.state == "done" && r.observed == i64::try_from(count).unwrap()) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(300), "{:?}", page.items);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
