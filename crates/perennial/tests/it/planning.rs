//! Planning from the command line: a build that is scanned, flagged and overtaken; what breaks, how wide, and how to divide it up.

use std::fmt::Write as _;

use pki::Span;
use serde_json::Value;

use crate::harness::{World, listener, now, process::run, so, wait};

/// The names of 2013, and by how many seconds their ends lay apart.
const NAMES: [(&str, i64); 3] = [("blob", 0), ("queue", 89), ("table", 179)];
const REGIONS: [&str; 3] = ["us", "eu", "asia"];
const STAMPS: usize = 4;
/// As many days were left when the new certificates were stored.
const LEFT: Span = Span::days(46);

#[test]
fn a_release_that_nobody_flagged() {
    let mut resolve = Vec::new();
    for (name, _) in NAMES {
        for region in REGIONS {
            resolve.extend((1..=STAMPS).map(|stamp| format!("{region}{stamp}.{name}.test.example=127.0.0.1")));
        }
    }
    let options: Vec<&str> = resolve.iter().flat_map(|r| ["--resolve", r.as_str()]).collect();
    let mut world = World::sqlite("planning::a_release_that_nobody_flagged").with(&options);
    let (end, mut ports, mut old) = (now() + LEFT, Vec::new(), Vec::new());
    for (name, later) in NAMES {
        let until = end + Span::seconds(later);
        let names = [format!("*.{name}.test.example")];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (leaf, key) = world.paper.issuer.leaf(&names, pki::key::KeyType::EcdsaP256, until - Span::days(365), until).unwrap();
        let pair = world.paper.pair(&format!("{name}-old"), leaf, key);
        ports.push(listener::serve(&pair.chain, &pair.key).port());
        old.push(pair);
    }
    world.start();
    world.apply(&fleet(&world, &ports));
    for ((name, _), pair) in NAMES.iter().zip(&old) {
        world.import(name, pair);
    }
    wait(60, "every target was observed", || {
        let targets = world.json(&["target", "list", "--all"]);
        let seen = targets.iter().filter(|t| t["secret"] != "" && t["served_until"].as_str().is_some_and(|u| u.starts_with("20"))).count();
        so(seen >= 36, seen)
    });

    // The owner stores what is new, and a build carries it. Nobody says so: the pipeline looks into it.
    let build = world.path().join("build");
    std::fs::create_dir(&build).unwrap();
    for (name, _) in NAMES {
        let (from, until) = (now() - Span::hours(1), now() + Span::days(364));
        let names = [format!("*.{name}.test.example")];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (leaf, key) = world.paper.issuer.leaf(&names, pki::key::KeyType::EcdsaP256, from, until).unwrap();
        let pair = world.paper.pair(&format!("{name}-new"), leaf, key);
        world.import(name, &pair);
        std::fs::write(build.join(format!("{name}.pem")), pair.chain_pem()).unwrap();
    }
    let mut scan = world.command(&["release", "scan", "build", "--service", "storage", "--build", "2027.1", "--data"]);
    let scan = run(scan.arg(&world.data).current_dir(world.path()));
    assert_eq!(scan.code, 3, "{scan:?}");
    show("release scan build --service storage --build 2027.1", &scan.out, &scan.err);
    assert!(scan.out.contains("late"), "{scan:?}");
    let release = world.json(&["release", "list"]).remove(0);
    let first_train = release["planned_at"].as_str().unwrap().to_owned();
    assert_eq!((release["service"].as_str(), release["build"].as_str()), (Some("storage"), Some("2027.1")), "{release:#}");
    assert!(release["slack_seconds"].as_i64().unwrap() < -50 * 86_400, "{release:#}");

    // As planned it comes late by the rules and in time for production; overtaken, it does not.
    assert!(breaking(&world).is_empty());
    let id = release["id"].to_string();
    world.ok(&["release", "create", "storage", "2027.1-feature", "--reason", "somebody waits for it"]);
    let feature = world.json(&["release", "list"]).into_iter().find(|r| r["build"] == "2027.1-feature").unwrap()["id"].to_string();
    world.ok(&["release", "plan", &feature, "--train", "storage", "--before", &id, "--reason", "marketing"]);
    let release = world.one(&["release", "show", &id]);
    assert_ne!(release["release"]["planned_at"].as_str(), Some(first_train.as_str()), "overtaken: {release:#}");
    let queue = world.ends(1, &["release", "queue"]);
    show("release queue", &queue.out, &queue.err);
    let lines: Vec<&str> = queue.out.lines().collect();
    assert!(lines[1].contains("2027.1") && !lines[1].contains("feature"), "what carries certificates ships first: {queue:?}");
    wait(30, "both owners heard that day, and of what breaks", || {
        let notices = world.json(&["notice", "list", "--all"]);
        let told = |code: &str| {
            let mut teams: Vec<String> =
                notices.iter().filter(|n| n["code"] == code).map(|n| n["team"].as_str().unwrap().to_owned()).collect();
            teams.sort();
            teams.dedup();
            teams
        };
        let heard = (told("release-late"), told("forecast-breach"));
        so(heard == (vec!["secrets".into(), "storage".into()], vec!["secrets".into()]), heard)
    });

    // What breaks when, where, and what would have saved it.
    let lines = breaking(&world);
    assert_eq!(lines.len(), 36);
    assert_eq!(lines[0]["breaks_at"], end.to_string().as_str(), "{:#}", lines[0]);
    let forecast = world.run(&["forecast", "--until", &(now() + Span::days(60)).to_string()]);
    show("forecast --until …", &forecast.out, &forecast.err);
    assert!(NAMES.iter().all(|(name, _)| forecast.out.contains(name)) && REGIONS.iter().all(|r| forecast.out.contains(r)), "{forecast:?}");
    // Asked otherwise: where it were cancelled, nothing would save them.
    let until = (now() + Span::days(60)).to_string();
    let cancelled = world.run(&["forecast", "--until", &until, "--cancel", "storage/2027.1"]);
    assert!(cancelled.out.contains("nothing planned"), "{cancelled:?}");

    // How wide: all of the service within 179 seconds.
    let blast = world.run(&["blast", "--service", "storage", "--window", "3m"]);
    show("blast --service storage --window 3m", &blast.out, &blast.err);
    assert!(blast.out.contains("2 min 59 s") && blast.out.contains("100.0 %"), "{blast:?}");

    // What else all of it hangs on.
    let single = single(&world);
    for (kind, what) in [
        ("issuer", "Test Issuer"),
        ("root", "Test Root"),
        ("validation", "dns-01"),
        ("dns-provider", "example-dns"),
        ("vantage", "local"),
        ("region", "us"),
    ] {
        assert!(single.iter().any(|(k, w)| k == kind && w.contains(what)), "{kind}: {single:?}");
    }

    // And how to divide it up.
    let plan = world.run(&["partition", "--service", "storage"]);
    show("partition --service storage", &plan.out, &plan.err);
    assert!(plan.out.contains("100.0 % → 5.5 %"), "{plan:?}");
    let hash = plan.out.lines().find_map(|l| l.strip_prefix("plan ")).unwrap();
    world.ok(&["partition", "--service", "storage", "--apply", "--plan", hash, "--reason", "after the outage"]);
    assert_eq!(world.json(&["intent", "list", "--all"]).len(), 18, "one for each certificate that there should be");
}

/// What the report on single points of failure says: kind and what is single.
fn single(world: &World) -> Vec<(String, String)> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    world.json(&["spof"]).iter().map(|l| (text(&l["kind"]), text(&l["what"]))).collect()
}

/// The transcript of a command, for whoever runs the tests with `--nocapture`.
#[expect(clippy::print_stderr, reason = "what a test prints is kept from whoever does not ask for it")]
fn show(command: &str, out: &str, err: &str) {
    eprintln!("$ perennial {command}\n{out}{err}");
}

fn breaking(world: &World) -> Vec<Value> {
    let all = world.json(&["forecast", "--until", &(now() + Span::days(60)).to_string()]);
    all.into_iter().filter(|l| l["target"].as_str().is_some_and(|t| !t.starts_with("perennial"))).collect()
}

fn fleet(world: &World, ports: &[u16]) -> String {
    let train = now() + Span::days(14);
    let mut toml = format!(
        "[fleet]\ndefault_owner = \"storage\"\n\
         [[team]]\nname = \"storage\"\ncontacts = [{{ channel = \"log\" }}]\n\
         [[team]]\nname = \"secrets\"\ncontacts = [{{ channel = \"log\" }}]\n\
         [[calendar]]\nname = \"utc\"\nzone = \"UTC\"\n\
         [[train]]\nname = \"storage\"\ncalendar = \"utc\"\nstart = \"{}T10:00\"\nrule = \"FREQ=WEEKLY;INTERVAL=3\"\n\
         [[service]]\nname = \"storage\"\nteam = \"storage\"\ncalendar = \"utc\"\ntrain = \"storage\"\n\
         [[roots]]\nname = \"test\"\npem = '''\n{}'''\n",
        train.date(),
        world.paper.root_pem()
    );
    for region in REGIONS {
        let needs = if region == "us" { "" } else { "needs = [\"us\"]\n" };
        let _ = write!(toml, "[[region]]\nname = \"{region}\"\n{needs}");
        for stamp in 1..=STAMPS {
            let _ = writeln!(toml, "[[stamp]]\nname = \"{region}{stamp}\"\nregion = \"{region}\"");
        }
    }
    for ((name, _), port) in NAMES.iter().zip(ports) {
        let _ = writeln!(
            toml,
            "[[secret]]\nname = \"{name}\"\nkind = \"certificate\"\nteam = \"secrets\"\nservice = \"storage\"\nrelease_bound = true\n\
             validation = \"dns-01\"\ndns_provider = \"example-dns\""
        );
        for region in REGIONS {
            for stamp in 1..=STAMPS {
                let _ = writeln!(
                    toml,
                    "[[target]]\nname = \"{name}-{region}{stamp}\"\nsecret = \"{name}\"\nservice = \"storage\"\nregion = \"{region}\"\n\
                     stamp = \"{region}{stamp}\"\nroots = \"test\"\nbackends = \"direct\"\noffers = [\"all\"]\n\
                     endpoint = \"tls://{region}{stamp}.{name}.test.example:{port}\""
                );
            }
        }
    }
    toml
}
