//! The story itself: each step is something that people would see, read back over the API.

use super::{Args, Teller, api::Api, regions::Nodes};
use ::api::v1;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use pki::{Certificate, PrivateKey, Span, Time, build::Authority, key::KeyType};
use std::{collections::BTreeMap, fmt::Write, path::PathBuf, time::Duration};

/// The lifetime of the certificates: notice below a half, incident below a quarter.
const LIFETIME: Span = Span::seconds(120);
/// What is left of it when the story begins: the first notice is 6 seconds away.
const LEFT: Span = Span::seconds(66);
/// The services of 2013, and by how many seconds their ends lay apart here.
const SERVICES: [(&str, i64); 3] = [("blob", 0), ("queue", 1), ("table", 3)];
const REGIONS: [&str; 3] = ["us", "eu", "asia"];
const ZONE: &str = "core.demo.example";

struct Fleet {
    ca: Authority,
    issuing: Authority,
    nodes: BTreeMap<(&'static str, &'static str), Nodes>,
    ends: BTreeMap<&'static str, Time>,
}

type Pair = (Vec<Certificate>, PrivateKey);

/// Tells it. The error names the step that did not come true.
pub(super) async fn tell(args: &Args, teller: &mut Teller) -> Result<(), String> {
    let folder = Folder::new()?;
    teller.chapter("A store, and three regions that share three certificates");
    let now = crate::clock::now();
    let ca = Authority::new("Demo Root", now - Span::days(1), now + Span::days(3650)).map_err(text)?;
    let issuing = ca.intermediate("Demo Issuing CA", now - Span::days(1), now + Span::days(1825)).map_err(text)?;
    let mut fleet = Fleet { ca, issuing, nodes: BTreeMap::new(), ends: BTreeMap::new() };
    let mut first = BTreeMap::new();
    for (service, later) in SERVICES {
        let end = now + LEFT + Span::seconds(later);
        let pair = fleet.leaf(service, end - LIFETIME + Span::seconds(1), end)?;
        fleet.ends.insert(service, end);
        for (n, region) in REGIONS.into_iter().enumerate() {
            let number = u8::try_from(n + 1).unwrap_or(1);
            let nodes = Nodes::start(number, &pair.0, &pair.1).await?;
            fleet.nodes.insert((service, region), nodes);
        }
        first.insert(service, pair);
    }
    let resolve = fleet.nodes.iter().map(|((service, region), n)| (format!("{region}.{service}.{ZONE}"), n.addresses.clone())).collect();
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
        agents: None,
    };
    let mut running = server::run::start(options).await.map_err(text)?;
    let token = running.first_token.take().ok_or("the first start gave no token")?;
    let api = Api::new(&running.url, &running.ca, &token)?;
    teller.say(&format!("the API listens at {}", running.url));
    teller.say(&format!("try in another terminal: perennial runway --data {}", folder.0.display()));

    let applied: v1::Applied = api.post("/v1/fleet", &serde_json::json!({ "fleet": fleet.declare()? })).await?;
    teller.say(&format!("the inventory is in place: {} additions", applied.changes.len()));
    for (service, pair) in &first {
        import(&api, service, pair, false).await?;
    }
    let listeners: usize = fleet.nodes.values().map(|n| n.addresses.len()).sum();
    teller.say(&format!("{} certificates are stored and served by {listeners} listeners in {} regions", first.len(), REGIONS.len()));
    wait(15, "every target is observed and serves version 1", || async {
        let targets: v1::Page<v1::Target> = api.get("/v1/targets?limit=100").await?;
        let ours = targets.items.iter().filter(|t| !t.secret.starts_with("perennial-"));
        Ok(ours.clone().count() == 9 && ours.clone().all(|t| t.required > 0 && t.current == t.required))
    })
    .await?;
    teller.say("every address of every target was seen serving version 1");

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

    teller.chapter("The certificates reach two of three regions");
    for region in ["us", "eu"] {
        fleet.put(region, &second)?;
        look(&api, region).await?;
    }
    wait(15, "two of three lines of each incident are proven", || async {
        let open = incidents(&api).await?;
        Ok(open.len() == 3 && open.iter().all(|i| i.open_lines == 1 && i.proven_lines == 2))
    })
    .await?;
    for (service, _) in SERVICES {
        let detail: v1::SecretDetail = api.get(&format!("/v1/secrets/{service}")).await?;
        let new: i64 = detail.target_list.iter().map(|t| t.current).sum();
        let all: i64 = detail.target_list.iter().map(|t| t.required).sum();
        teller.say(&format!("{service}: {new} of {all} addresses serve the new version; the incident stays open"));
    }

    teller.chapter("And the last one");
    fleet.put("asia", &second)?;
    look(&api, "asia").await?;
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
    teller.say(&format!("perennial incident list --all --data {}", folder.0.display()));
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

    fn put(&self, region: &str, pairs: &BTreeMap<&'static str, Pair>) -> Result<(), String> {
        for ((service, at), nodes) in &self.nodes {
            if let (true, Some((chain, key))) = (*at == region, pairs.get(service)) {
                nodes.served.put(chain, key)?;
            }
        }
        Ok(())
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
        for ((service, region), nodes) in &self.nodes {
            let _ = write!(
                toml,
                "[[target]]\nname = \"{service}-{region}\"\nsecret = \"{service}\"\nregion = \"{region}\"\nroots = \"demo\"\nbackends = \"direct\"\n\
                 offers = [\"all\"]\nendpoint = \"tls://{region}.{service}.{ZONE}:{}\"\n",
                nodes.port
            );
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

async fn look(api: &Api, region: &str) -> Result<(), String> {
    for (service, _) in SERVICES {
        let _: serde_json::Value = api.post(&format!("/v1/targets/{service}-{region}/look"), &v1::Reason::default()).await?;
    }
    Ok(())
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
