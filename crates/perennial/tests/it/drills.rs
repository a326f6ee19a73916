//! Drills, and a canary that dies, on real machines: an nginx and an agent process each, through the real server.

use std::process::Command;

use pki::Span;
use serde_json::Value;

use crate::{
    harness::{World, skipped, so, wait, world::secret},
    regions::{Machine, agent, free, path},
};

const NAME: &str = "shop.test.example";

fn here(program: &str) -> Command {
    Command::new(program)
}

/// Whether this machine has what these tests are about; else it was said.
fn have_peers(test: &str) -> bool {
    let has = |what: &str, there: bool| {
        if !there {
            skipped(&format!("perennial {test}: {what} missing"));
        }
        there
    };
    has("perennial-agent beside perennial (cargo build -p agent)", agent().is_some())
        && has("nginx", Command::new("nginx").arg("-v").env("PATH", path()).output().is_ok())
}

/// `(node, region, port)`; the first is the canary.
type Place = (&'static str, &'static str, u16);

fn nodes(places: &[Place]) -> String {
    let mut parts = String::from("[[region]]\nname = \"eu\"\n\n[[region]]\nname = \"us\"\n\n");
    for (n, (name, region, _)) in places.iter().enumerate() {
        parts += &format!("[[node]]\nname = \"{name}\"\nregion = \"{region}\"\ncanary = {}\nsecrets = [\"shop\"]\n\n", n == 0);
    }
    parts
}

fn targets(places: &[Place], roots: &str) -> String {
    let target = |(name, region, port): &Place| {
        format!(
            "[[target]]\nname = \"{name}\"\nsecret = \"shop\"\nregion = \"{region}\"\nroots = \"{roots}\"\nbackends = \"direct\"\n\
             offers = [\"all\"]\nnodes = [\"{name}\"]\nendpoint = \"tls://127.0.0.1:{port}\"\nserver_name = \"{NAME}\"\n\n"
        )
    };
    places.iter().map(target).collect()
}

/// Waits until the store has seen every target serve the newest version, which is this one.
fn all_serve(world: &World, places: &[Place], version: i64) {
    for (name, ..) in places {
        wait(180, &format!("{name} is seen serving version {version}"), || {
            so(serves(world, name, version), world.api().get(&format!("/v1/targets/{name}")).body)
        });
    }
}

/// Whether the store has seen a target serve the newest version, which is this one.
fn serves(world: &World, target: &str, version: i64) -> bool {
    let (secret, target) = (world.api().get("/v1/secrets/shop").body, world.api().get(&format!("/v1/targets/{target}")).body);
    secret["newest_version"] == version && target["required"].as_i64() > Some(0) && target["current"] == target["required"]
}

fn run(world: &World, arguments: &[&str]) -> i64 {
    wait(180, "no rollout is on its way", || {
        let open = world.api().get("/v1/rollouts?open=true").body["items"].clone();
        so(open == serde_json::json!([]), open)
    });
    let begun = world.one(&[&["drill", "run"], arguments].concat());
    begun["run"]["id"].as_i64().unwrap()
}

fn shown(world: &World, id: i64) -> Value {
    world.api().get(&format!("/v1/drills/runs/{id}")).body
}

fn passed(world: &World, id: i64) -> Value {
    let detail = wait(300, &format!("drill {id} is over"), || {
        let detail = shown(world, id);
        if detail["run"]["ended_at"].is_null() { Err(detail) } else { Ok(detail) }
    });
    assert_eq!(detail["run"]["phase"], "passed", "{detail:#}");
    detail
}

#[test]
fn the_emergency_is_rehearsed_on_real_machines() {
    let test = "drills::the_emergency_is_rehearsed_on_real_machines";
    if !have_peers(test) {
        return;
    }
    let mut world = World::sqlite("drills").with(&["--listen-agents", &format!("127.0.0.1:{}", free("127.0.0.1"))]);
    world.start();
    // The issuer first: its roots are named by the targets.
    let issuer = "[[issuer]]\nname = \"ca\"\nkind = \"internal\"\n\n";
    world.apply(&world.fleet("{ channel = \"log\" }", issuer));
    let (phrase, root) = (world.file("phrase", "correct horse battery\n"), world.path().join("root.pem").display().to_string());
    world.ok(&["ca", "create", "ca", "--permit", "test.example", "--root", &root, "--passphrase-file", &phrase]);
    let fleet: Vec<Place> = [("eu-1", "eu"), ("eu-2", "eu"), ("eu-3", "eu"), ("us-1", "us"), ("us-2", "us")]
        .map(|(name, region)| (name, region, free("127.0.0.1")))
        .to_vec();
    let parts = issuer.to_owned()
        + secret("shop").trim_end()
        + &format!(
            "\nnames = [\"{NAME}\"]\nissued_by = [\"ca\"]\nkeys = \"store\"\nlifetime = \"47d\"\nrenewal = \"automatic\"\nrollout = \"fast\"\n\n\
             [[rollout_policy]]\nname = \"fast\"\nemergency = \"faster\"\nwave = [{{ of = \"all\" }}]\n\n\
             [[rollout_policy]]\nname = \"faster\"\npatience = \"45s\"\n\
             wave = [{{ of = \"canary\", soak = \"2s\" }}, {{ of = \"region\" }}, {{ of = \"all\" }}]\n\n\
             [[drill]]\nname = \"critical-path\"\nsecret = \"shop\"\nwithin = \"10m\"\n\n"
        )
        + &nodes(&fleet);
    let old = world.paper.leaf("old", &[NAME], Span::days(10));
    let mut machines: Vec<Machine> =
        fleet.iter().map(|(name, _, port)| Machine::start(&world, name, "127.0.0.1", *port, &old, &here)).collect();
    world.apply(&world.fleet("{ channel = \"log\" }", &parts));
    wait(60, "the first certificate is issued", || so(world.api().get("/v1/secrets/shop").body["newest_version"] == 1, ()));
    for (machine, (name, ..)) in machines.iter_mut().zip(&fleet) {
        machine.join(&world, name, &here);
    }
    for (name, ..) in &fleet {
        wait(120, &format!("{name} has it in place"), || {
            let shown = world.one(&["node", "show", name]);
            so(shown.to_string().contains("\"installed\""), shown)
        });
    }
    // What they served before is nobody's: they become targets when they have what they should.
    world.apply(&world.fleet("{ channel = \"log\" }", &(parts + &targets(&fleet, "perennial-ca-ca"))));
    all_serve(&world, &fleet, 1);
    assert!(world.ends(0, &["drill", "list"]).out.contains("never-passed"));

    // Every step of every wave, as others committed it.
    let id = run(&world, &["critical-path", "--reason", "a test"]);
    let detail = passed(&world, id);
    all_serve(&world, &fleet, 2);
    let step = |wave: Value, name: &str| {
        let steps = detail["steps"].as_array().unwrap();
        steps.iter().find(|s| s["wave"] == wave && s["step"] == name).cloned().unwrap_or_default()
    };
    for (wave, targets) in [(Value::Null, 5), (1.into(), 1), (2.into(), 2), (3.into(), 2)] {
        for name in ["issued", "distributed", "installed", "observed", "whole"] {
            let s = step(wave.clone(), name);
            assert_eq!(s["targets"], targets, "{wave} {name}: {detail:#}");
            let [p50, p95, max] = ["p50_seconds", "p95_seconds", "max_seconds"].map(|k| s[k].as_i64().unwrap());
            assert!(0 <= p50 && p50 <= p95 && p95 <= max && max <= 600, "{s}");
        }
    }
    assert!(step(1.into(), "whole")["max_seconds"].as_i64() <= step(3.into(), "whole")["p50_seconds"].as_i64(), "{detail:#}");
    assert_eq!(detail["paths"][0]["service"], "shop");
    assert_eq!(detail["paths"][0]["p95_seconds"], detail["run"]["p95_seconds"]);
    let text = world.ok(&["drill", "show", &id.to_string()]);
    for part in ["5 observed, 0 left behind, 0 left", "what it took", "distributed", "what is proven", "shop"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(world.ok(&["drill", "list"]).contains("passed"));
    let history = world.ok(&["drill", "history", "critical-path"]);
    assert!(history.contains("p95 over time") && history.contains('#') && history.contains(", passed"), "{history}");

    // A node that is down; and the server dies in the middle of it.
    let id = run(&world, &["--secret", "shop", "--kind", "node-down", "--node", "eu-2", "--within", "20m", "--reason", "a test"]);
    wait(120, "the rollout waits for the node that is cut off", || {
        let detail = shown(&world, id);
        so(detail["run"]["rollout"].is_i64() && serves(&world, "eu-3", 3), detail)
    });
    world.kill();
    world.start();
    let detail = passed(&world, id);
    let times = ["fault_at", "noticed_at", "lifted_at", "ended_at"].map(|k| detail["run"][k].as_str().unwrap_or_default().to_owned());
    assert!(!times[0].is_empty() && times.is_sorted(), "{times:?}");
    all_serve(&world, &fleet, 3);
    assert!(world.ok(&["drill", "history", "critical-path"]).contains(", passed"), "what was measured outlives the process");

    // A reload that serves the old one: the agent sees that at its own port, and puts the old pair back.
    let id = run(&world, &["--secret", "shop", "--kind", "stale-reload", "--node", "eu-3", "--within", "20m", "--reason", "a test"]);
    passed(&world, id);
    all_serve(&world, &fleet, 4);

    // A region that is cut off.
    let id = run(&world, &["--secret", "shop", "--kind", "region-cut", "--region", "us", "--within", "20m", "--reason", "a test"]);
    passed(&world, id);
    all_serve(&world, &fleet, 5);
    assert_eq!(world.api().get("/v1/incidents?all=true").body["items"], serde_json::json!([]), "nobody was woken by all this");
}

#[test]
fn a_rollout_whose_canary_dies_stops_in_front_of_the_others() {
    let test = "drills::a_rollout_whose_canary_dies_stops_in_front_of_the_others";
    if !have_peers(test) {
        return;
    }
    let mut world = World::sqlite("canary").with(&["--listen-agents", &format!("127.0.0.1:{}", free("127.0.0.1"))]);
    world.start();
    let fleet: Vec<Place> = [("eu-1", "eu"), ("us-1", "us")].map(|(name, region)| (name, region, free("127.0.0.1"))).to_vec();
    let parts = secret("shop").trim_end().to_owned()
        + "\nrollout = \"watched\"\n\n[[rollout_policy]]\nname = \"watched\"\npatience = \"20s\"\n\
           wave = [{ of = \"canary\", soak = \"45s\" }, { of = \"all\" }]\n\n"
        + &nodes(&fleet)
        + &targets(&fleet, "test");
    let old = world.paper.leaf("old", &[NAME], Span::days(60));
    let new = world.paper.leaf("new", &[NAME], Span::days(80));
    let mut machines: Vec<Machine> =
        fleet.iter().map(|(name, _, port)| Machine::start(&world, name, "127.0.0.1", *port, &old, &here)).collect();
    world.apply(&world.fleet("{ channel = \"log\" }", &parts));
    world.import("shop", &old);
    for (machine, (name, ..)) in machines.iter_mut().zip(&fleet) {
        machine.join(&world, name, &here);
    }
    all_serve(&world, &fleet, 1);
    let newest = || world.api().get("/v1/rollouts?limit=1").body["items"][0].clone();
    wait(180, "the first rollout is over", || so(newest()["state"] == "done" || newest().is_null(), newest()));

    world.import("shop", &new);
    let id = wait(60, "the canary is watched", || {
        let rollout = newest();
        let id = rollout["id"].as_i64().unwrap_or_default();
        let detail = world.api().get(&format!("/v1/rollouts/{id}")).body;
        if rollout["version"] == 2 && detail["waits"][0]["code"] == "soak" { Ok(id) } else { Err(detail) }
    });
    machines[0].die();
    let shown = wait(120, "the rollout stops", || {
        world.run(&["observe", "eu-1", "--wait"]);
        let detail = world.api().get(&format!("/v1/rollouts/{id}")).body;
        so(detail["waits"].to_string().contains("quarantine-exceeded"), detail.clone()).map(|()| detail)
    });
    assert_eq!((&shown["state"], &shown["waves"][1]["begun"]), (&"running".into(), &0.into()), "{shown:#}");
    // Who reads it at night: what died, what is held, and that somebody has to come.
    let ran = world.ends(1, &["rollout", "show", &id.to_string()]);
    for part in ["eu-1", "eu-1 gives no signal since", "at most 0 may be left behind"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    assert!(!serves(&world, "us-1", 2), "what comes after it was not touched");

    // It comes back with what it had; the rest follows.
    machines[0].serve(&here);
    machines[0].care(&here);
    wait(180, "the rollout goes on and ends", || {
        world.run(&["observe", "eu-1", "--wait"]);
        let detail = world.api().get(&format!("/v1/rollouts/{id}")).body;
        so(detail["state"] == "done", detail)
    });
    all_serve(&world, &fleet, 2);
}
