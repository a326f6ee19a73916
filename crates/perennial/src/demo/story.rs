//! The story itself: each step is something that people would see, read back over the API.

use super::{
    Args, Teller,
    api::Api,
    machines::{Machine, Pair, Site, addresses},
};
use ::api::v1;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use pki::{Certificate, Span, Time, build::Authority, key::KeyType};
use std::{collections::BTreeMap, fmt::Write, net::IpAddr, path::PathBuf, time::Duration};
use tokio::task::JoinSet;

/// The lifetime of the certificates: notice below a half, incident below a quarter.
const LIFETIME: Span = Span::seconds(160);
/// What is left of it when the story begins: the first notice is 10 seconds away.
const LEFT: Span = Span::seconds(90);
/// The services of 2013, and by how many seconds their ends lay apart here.
const SERVICES: [(&str, i64); 3] = [("blob", 0), ("queue", 1), ("table", 3)];
const REGIONS: [&str; 3] = ["us", "eu", "asia"];
const ZONE: &str = "core.demo.example";
/// What people are told to type while it is up, each before the folder of its store.
pub(crate) const TYPED: [&str; 2] = ["perennial runway --data", "perennial incident list --closed --data"];
/// The machine on which a reload goes wrong.
const CLUMSY: &str = "eu-2";

struct Fleet {
    ca: Authority,
    issuing: Authority,
    machines: Vec<Machine>,
    ends: BTreeMap<&'static str, Time>,
}

/// Tells it. The error names the step that did not come true.
pub(super) async fn tell(args: &Args, teller: &mut Teller) -> Result<(), String> {
    let folder = Folder::new()?;
    teller.chapter("A store, and three regions that share three certificates");
    let now = crate::clock::now();
    let ca = Authority::new("Demo Root", now - Span::days(1), now + Span::days(3650)).map_err(text)?;
    let issuing = ca.intermediate("Demo Issuing CA", now - Span::days(1), now + Span::days(1825)).map_err(text)?;
    let mut fleet = Fleet { ca, issuing, machines: Vec::new(), ends: BTreeMap::new() };
    let mut first = BTreeMap::new();
    for (service, later) in SERVICES {
        let end = now + LEFT + Span::seconds(later);
        first.insert(service, fleet.leaf(service, end - LIFETIME + Span::seconds(1), end)?);
        fleet.ends.insert(service, end);
    }
    let mut resolve: Vec<(String, Vec<IpAddr>)> = Vec::new();
    for (n, region) in REGIONS.into_iter().enumerate() {
        let at = addresses(u8::try_from(n + 1).unwrap_or(1)).await?;
        for (number, address) in at.iter().enumerate() {
            let sites = SERVICES.map(|(secret, _)| Site { secret, name: format!("{region}.{secret}.{ZONE}") });
            fleet.machines.push(Machine::start(&folder.0, region, number + 1, *address, sites.into(), &first).await?);
        }
        let ips: Vec<IpAddr> = at.iter().map(std::net::SocketAddr::ip).collect();
        resolve.extend(SERVICES.iter().map(|(service, _)| (format!("{region}.{service}.{ZONE}"), ips.clone())));
    }
    let options = server::run::Options {
        data: folder.0.clone(),
        database: None,
        listen: args.listen,
        names: Vec::new(),
        passphrase_files: Vec::new(),
        key_files: vec![folder.0.join("kek.key")],
        allow_inside: Vec::new(),
        ways: server::authority::Ways::default(),
        heartbeat: None,
        resolve,
        rate_per_address: Some(0),
        outgoing_ca: None,
        clock_witnesses: Vec::new(),
        agents: Some(server::run::AgentsDoor {
            listen: ([127, 0, 0, 1], 0).into(),
            address: None,
            limits: server::agents::Limits::default(),
        }),
    };
    let mut running = server::run::start(options).await.map_err(text)?;
    let token = running.first_token.take().ok_or("the first start gave no token")?;
    let api = Api::new(&running.url, &running.ca, &token)?;
    teller.say(&format!("the API listens at {}", running.url));
    teller.say(&format!("try in another terminal: {} {}", TYPED[0], folder.0.display()));

    let applied: v1::Applied = api.post("/v1/fleet", &serde_json::json!({ "fleet": fleet.declare()? })).await?;
    teller.say(&format!("the inventory is in place: {} additions", applied.changes.len()));
    for (service, pair) in &first {
        import(&api, service, pair, false).await?;
    }
    let (machines, server) = (fleet.machines.len(), fleet.machines.first().map_or("", Machine::server));
    teller.say(&format!(
        "{} certificates are stored and served by {machines} machines ({server}) in {} regions",
        first.len(),
        REGIONS.len()
    ));
    wait(15, "every target is observed and serves version 1", || async {
        let targets: v1::Page<v1::Target> = api.get("/v1/targets?limit=100").await?;
        let ours = targets.items.iter().filter(|t| !t.secret.starts_with("perennial-"));
        Ok(ours.clone().count() == 9 && ours.clone().all(|t| t.required > 0 && t.current == t.required))
    })
    .await?;
    teller.say("every address of every target was seen serving version 1");

    let mut agents = JoinSet::new();
    for machine in &fleet.machines {
        agents.spawn(join(&api, machine).await?);
    }
    wait(20, "every machine has an agent that has joined", || async {
        let nodes: v1::Page<v1::Node> = api.get("/v1/nodes?limit=100").await?;
        Ok(nodes.items.len() == machines && nodes.items.iter().all(|n| n.state == "joined"))
    })
    .await?;
    teller.say("each machine got an agent, which joined with a single-use token: its store says what it is to have, and the machine itself where that lies");

    teller.chapter("The certificates come to their end");
    wait(20, "a notice to the owner", || async { Ok(!ladder(&api).await?.is_empty()) }).await?;
    let told = ladder(&api).await?;
    teller.say(&format!("NOTICE to {}: {} {}", told[0].team, told[0].secret, told[0].detail));

    teller.chapter("The owner renews them in the store. In 2013 this is where the alerts stopped");
    let before = runways(&api).await?;
    let mut second = BTreeMap::new();
    let now = crate::clock::now();
    for (service, _) in SERVICES {
        let pair = fleet.leaf(service, now - Span::hours(1), now + Span::days(90))?;
        let stored = import(&api, service, &pair, true).await?;
        teller.say(&format!("{service}: version {} is stored, valid until {}", stored.version, pair.0[0].not_after()));
        second.insert(service, pair);
    }
    if runways(&api).await? != before {
        return Err("storing a new version changed what production is said to serve".into());
    }
    teller.say("the runway has not changed by a second: nothing but an observation changes it");
    let known = ladder(&api).await?.len();
    wait(20, "the notices go on although the store is new", || async { Ok(ladder(&api).await?.len() > known) }).await?;
    let told = ladder(&api).await?;
    teller.say(&format!("NOTICE again: {} {}", told[0].secret, told[0].detail));

    teller.chapter("The release is late");
    wait(45, "an incident for each certificate although the store is new", || async {
        let open = incidents(&api).await?;
        Ok(open.len() == 3 && open.iter().all(|i| i.open_lines == 3))
    })
    .await?;
    for i in incidents(&api).await?.iter().rev() {
        let page = if i.page { ", and somebody is woken" } else { "" };
        teller.say(&format!("INCIDENT {}: {}\n{} targets{page}", i.id, i.title, i.open_lines));
    }

    teller.chapter("Nobody waits for the release: a critical rollout, wave by wave");
    let clumsy = fleet.machines.iter().find(|m| m.name == CLUMSY).or(fleet.machines.last()).ok_or("no machine")?;
    clumsy.forget_a_reload()?;
    let rollouts = critical(&api).await?;
    follow(&api, &rollouts, &clumsy.name, teller).await?;

    wait(15, "every incident is resolved, with evidence", || async {
        let all: v1::Page<v1::Incident> = api.get("/v1/incidents?all=true&limit=100").await?;
        Ok(all.items.len() == 3 && all.items.iter().all(|i| i.state == "resolved"))
    })
    .await?;
    let all: v1::Page<v1::Incident> = api.get("/v1/incidents?all=true&limit=100").await?;
    for i in all.items.iter().rev() {
        let detail: v1::IncidentDetail = api.get(&format!("/v1/incidents/{}", i.id)).await?;
        let mut evidence = String::new();
        for line in &detail.lines {
            let by = line
                .evidence
                .as_deref()
                .filter(|e| !e.is_empty())
                .ok_or_else(|| format!("incident {} closed a line without evidence", i.id))?;
            let _ = write!(evidence, "\n{}: observations {by}", line.target.as_deref().unwrap_or("-"));
        }
        teller.say(&format!("RESOLVED {}: {}{evidence}", i.id, i.title));
    }
    let left = fleet.ends.values().min().map_or(Span::seconds(0), |end| *end - crate::clock::now());
    if left <= Span::seconds(0) {
        return Err("the old certificates ended before production was renewed".into());
    }
    teller.say(&format!("{left} before the first of the old certificates would have ended"));
    let audit: v1::AuditReport = api.get("/v1/audit/verify").await?;
    if !audit.intact {
        return Err(format!("the journal does not verify: {}", audit.faults.join("; ")));
    }
    teller.say(&format!("the journal verifies: {} entries", audit.entries));

    if args.once {
        running.stop().await;
        return Ok(());
    }
    teller.chapter("The store stays up; end it with Ctrl-C");
    teller.say(&format!("{} {}", TYPED[1], folder.0.display()));
    let _ = tokio::signal::ctrl_c().await;
    running.stop().await;
    Ok(())
}

impl Fleet {
    fn leaf(&self, service: &str, from: Time, to: Time) -> Result<Pair, String> {
        // A wildcard covers one label: *.blob.core.demo.example stands for every region's name.
        let names = [format!("*.{service}.{ZONE}")];
        let (leaf, key) = self.issuing.leaf(&names, KeyType::EcdsaP256, from, to).map_err(text)?;
        Ok((vec![leaf, self.issuing.certificate().clone()], key))
    }

    fn declare(&self) -> Result<::api::fleet::Fleet, String> {
        let mut toml = String::from(
            "[fleet]\ndefault_owner = \"storage\"\n[[team]]\nname = \"storage\"\nescalation = \"managers\"\ncontacts = [{ channel = \"log\" }]\n\
             [[team]]\nname = \"managers\"\ncontacts = [{ channel = \"log\" }]\n[[service]]\nname = \"storage\"\nteam = \"storage\"\n",
        );
        let _ = write!(toml, "[[roots]]\nname = \"demo\"\npem = \"\"\"\n{}\"\"\"\n", self.ca.certificate().to_pem());
        for region in REGIONS {
            let _ = write!(toml, "[[region]]\nname = \"{region}\"\n");
        }
        for (service, _) in SERVICES {
            let _ = write!(toml, "[[secret]]\nname = \"{service}\"\nkind = \"certificate\"\nservice = \"storage\"\nrelease_bound = true\n");
        }
        for machine in &self.machines {
            let (name, region) = (&machine.name, machine.region);
            let secrets = SERVICES.map(|(service, _)| format!("\"{service}\"")).join(", ");
            let _ = write!(toml, "[[node]]\nname = \"{name}\"\nregion = \"{region}\"\nsecrets = [{secrets}]\n");
        }
        for region in REGIONS {
            let here = || self.machines.iter().filter(|m| m.region == region);
            let nodes: Vec<String> = here().map(|m| format!("\"{}\"", m.name)).collect();
            let port = here().next().map_or(0, |m| m.address.port());
            for (service, _) in SERVICES {
                let _ = write!(
                    toml,
                    "[[target]]\nname = \"{service}-{region}\"\nsecret = \"{service}\"\nregion = \"{region}\"\nroots = \"demo\"\n\
                     backends = \"direct\"\noffers = [\"all\"]\nnodes = [{}]\nendpoint = \"tls://{region}.{service}.{ZONE}:{port}\"\n",
                    nodes.join(", ")
                );
            }
        }
        ::api::fleet::parse(&toml).map_err(|e| e.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }
}

async fn import(api: &Api, service: &str, (chain, key): &Pair, accept: bool) -> Result<v1::Stored, String> {
    let pem: String = chain.iter().map(Certificate::to_pem).collect();
    let body = v1::Import {
        instances: vec![v1::ImportInstance {
            scope: "all".into(),
            chain: STANDARD.encode(pem),
            key: Some(STANDARD.encode(key.expose_pem().as_bytes())),
            password: None,
        }],
        // The lifetime grows from two minutes to ninety days, which no ordinary renewal does.
        accept_change: accept,
        roots: None,
        reason: "demo".into(),
        dry_run: false,
    };
    api.post(&format!("/v1/secrets/{service}/versions"), &body).await
}

/// Lets the agent of a machine join, and gives its life.
async fn join(api: &Api, machine: &Machine) -> Result<impl Future<Output = ()> + use<>, String> {
    let invited: v1::Invited = api.post(&format!("/v1/nodes/{}/join-token", machine.name), &v1::Invite::default()).await?;
    let invitation = invited.join.parse().map_err(text)?;
    let config = agent::config::parse(&machine.agent()?)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let around = agent::Around::here().map_err(text)?;
    let state = agent::state::State::hold(&config.state, agent::seal::Lock::ModeAlone).map_err(text)?;
    agent::join(&state, &invitation, false, &around).await.map_err(text)?;
    drop(state);
    Ok(async move {
        // What an agent cannot do it says in its reports, and the story reads them there.
        let _ = agent::run(config, around, std::future::pending()).await;
    })
}

/// Sends the stored versions out by the emergency path; the numbers of the rollouts.
async fn critical(api: &Api) -> Result<Vec<(&'static str, i64)>, String> {
    let reason = String::from("the release is late, and what production serves ends in seconds");
    let wanted = v1::StartRollout { version: None, reason };
    let mut all = Vec::new();
    for (service, _) in SERVICES {
        let begun: v1::RolloutDetail = api.post(&format!("/v1/secrets/{service}/rollouts/critical"), &wanted).await?;
        all.push((service, begun.rollout.id));
    }
    Ok(all)
}

/// Tells what the rollouts do until the last one is done.
async fn follow(api: &Api, rollouts: &[(&'static str, i64)], clumsy: &str, teller: &mut Teller) -> Result<(), String> {
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    let (mut told, mut undone) = (BTreeMap::new(), false);
    loop {
        let mut done = 0;
        for (service, id) in rollouts {
            let detail: v1::RolloutDetail = api.get(&format!("/v1/rollouts/{id}")).await?;
            if !detail.waves.is_empty() && told.insert((service, String::new()), 0).is_none() {
                let waves = detail.waves.iter().map(|w| format!("{} ({})", w.title, w.targets)).collect::<Vec<_>>().join(" → ");
                teller.say(&format!("{service}: version {} goes out: {waves}", detail.rollout.version));
            }
            for wave in detail.waves.iter().filter(|w| w.observed > 0) {
                if told.insert((service, wave.title.clone()), wave.observed) != Some(wave.observed) {
                    let (title, version) = (&wave.title, detail.rollout.version);
                    teller.say(&format!(
                        "{service}: {title}: {} of {} targets observed serving version {version}",
                        wave.observed, wave.targets
                    ));
                }
            }
            match detail.rollout.state.as_str() {
                "done" => done += 1,
                "running" | "waiting" => {}
                other => return Err(format!("the rollout of {service} is {other}: {}", detail.rollout.says)),
            }
        }
        if !undone {
            let node: v1::NodeDetail = api.get(&format!("/v1/nodes/{clumsy}")).await?;
            if let Some(i) = node.installs.iter().find(|i| i.state == "rolled-back") {
                undone = true;
                teller.say(&format!(
                    "{clumsy} did not reload for {}; its agent saw that, and put the old pair back by itself:\n{}",
                    i.secret, i.detail
                ));
            }
        }
        if done == rollouts.len() {
            if !undone {
                return Err(format!("the bad reload on {clumsy} was not noticed"));
            }
            return Ok(());
        }
        if tokio::time::Instant::now() >= end {
            return Err("every target is observed serving the new version (waited 60 s)".into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Notices of the ladder, the newest first.
async fn ladder(api: &Api) -> Result<Vec<v1::Notice>, String> {
    let page: v1::Page<v1::Notice> = api.get("/v1/notices?limit=1000").await?;
    Ok(page.items.into_iter().filter(|n| n.rung.is_some() && !n.secret.starts_with("perennial-")).collect())
}

async fn incidents(api: &Api) -> Result<Vec<v1::Incident>, String> {
    let page: v1::Page<v1::Incident> = api.get("/v1/incidents?limit=100").await?;
    Ok(page.items)
}

async fn runways(api: &Api) -> Result<BTreeMap<String, String>, String> {
    let page: v1::Page<v1::Secret> = api.get("/v1/secrets?limit=100").await?;
    Ok(page.items.into_iter().map(|s| (s.name, s.served_until)).collect())
}

/// Looks until it is so, for at most so many seconds.
async fn wait<F: Future<Output = Result<bool, String>>>(seconds: u64, step: &str, so: impl Fn() -> F) -> Result<(), String> {
    let end = tokio::time::Instant::now() + Duration::from_secs(seconds);
    loop {
        if so().await? {
            return Ok(());
        }
        if tokio::time::Instant::now() >= end {
            return Err(format!("{step} (waited {seconds} s)"));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A folder that goes when the story ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder, String> {
        let mut id = [0; 6];
        server::run::entropy(&mut id);
        let name: String = id.iter().map(|b| format!("{b:02x}")).collect();
        let path = std::env::temp_dir().join(format!("perennial-demo-{name}"));
        std::fs::create_dir(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
