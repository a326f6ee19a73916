//! An operator's whole story with a real nginx: declared, stored, observed, late, acknowledged, renewed address by address, resolved.

use pki::Span;
use serde_json::Value;

use crate::harness::{Kind, World, nginx, nginx::Nginx, so, wait, world::secret};

const NAME: &str = "shop.test.example";

#[test]
fn on_sqlite() {
    story(Kind::Sqlite, "story::on_sqlite");
}

#[test]
fn on_postgresql() {
    story(Kind::Postgres, "story::on_postgresql");
}

fn story(kind: Kind, test: &str) {
    let Some(world) = World::new(kind, test) else { return };
    let mut world = world.with(&["--resolve", &format!("{NAME}={}", nginx::ADDRESSES.join(","))]);
    // A quarter of 90 days is 22 and a half: with 10 left it is an incident.
    let old = world.paper.leaf("old", &[NAME], Span::days(10));
    let new = world.paper.leaf("new", &[NAME], Span::days(89));
    let Some(nginx) = Nginx::start(world.path(), &old, test) else { return };
    world.start();

    // Declared: first looked at, then done, then nothing is left to do.
    let target = format!(
        "[[target]]\nname = \"front\"\nsecret = \"shop\"\nservice = \"shop\"\nroots = \"test\"\nbackends = \"direct\"\n\
         endpoint = \"tls://{NAME}:{}\"\n",
        nginx.port
    );
    let fleet = world.fleet("{ channel = \"log\" }", &(secret("shop") + &target));
    let file = world.file("fleet.toml", &fleet);
    let dry = world.ends(0, &["apply", "-f", &file, "--dry-run"]);
    assert!(dry.out.contains("+ add target front") && dry.err.contains("would be made"), "{dry:?}");
    let again = world.ends(0, &["apply", "-f", &file, "--dry-run"]);
    assert_eq!(dry, again, "a dry run changes nothing");
    let done = world.ends(0, &["apply", "-f", &file]);
    assert!(done.out == dry.out && done.err.contains("changes made"), "{done:?}");
    let twice = world.ends(0, &["apply", "-f", &file]);
    assert!(twice.out.is_empty() && twice.err.contains("nothing to change"), "{twice:?}");

    // Stored and observed: both addresses, and what is left.
    world.import("shop", &old);
    world.ok(&["observe", "front", "--wait"]);
    let target = world.one(&["target", "show", "front"]);
    assert_eq!((&target["current"], &target["required"]), (&2.into(), &2.into()), "{target:#}");
    let addresses: Vec<&str> = target["observations"].as_array().unwrap().iter().map(|o| o["address"].as_str().unwrap()).collect();
    assert_eq!(addresses.len(), 2, "{target:#}");
    assert!(addresses.iter().zip(nginx::ADDRESSES).all(|(seen, one)| seen.starts_with(one)), "{addresses:?}");
    let until = old.chain[0].not_after().to_string();
    wait(20, "the runway ends with what is served", || {
        let shop = world.json(&["runway"]).into_iter().find(|s| s["name"] == "shop").unwrap();
        so(shop["served_until"] == until.as_str() && shop["current"] == 2 && shop["margin_seconds"].as_i64() < Some(0), shop)
    });
    assert!(world.ends(1, &["runway"]).out.contains("2 of 2"));

    // The incident, and what an acknowledgement changes: who looks after it, and nothing else.
    let open = wait(20, "an incident", || world.json(&["incident", "list"]).into_iter().next().ok_or("none"));
    let id = open["id"].to_string();
    assert_eq!((open["state"].as_str(), open["code"].as_str()), (Some("opened"), Some("leaf-expiring")), "{open:#}");
    assert_eq!((&open["until"], &open["teams"][0], &open["services"][0]), (&until.as_str().into(), &"web".into(), &"shop".into()));
    assert!(world.ends(1, &["incident", "list"]).out.contains("front") || open["title"].as_str().unwrap().contains("shop"));
    world.ok(&["incident", "ack", &id, "--reason", "on it"]);
    let acknowledged = world.one(&["incident", "show", &id]);
    assert_eq!(acknowledged["state"], "acknowledged", "{acknowledged:#}");
    assert!(acknowledged["quiet_until"].is_string() && acknowledged["open_lines"] == 1, "{acknowledged:#}");

    // Nobody gets rid of an incident by forgetting its target.
    let without = world.file("without.toml", world.fleet("{ channel = \"log\" }", &secret("shop")));
    let kept = world.ends(0, &["apply", "-f", &without]);
    assert!(kept.err.contains("--prune retires them"), "{kept:?}");
    let refused = world.ends(1, &["apply", "-f", &without, "--prune"]);
    assert!(refused.err.contains("[open-incident]"), "{refused:?}");

    // A new version changes nothing that is served.
    let before = runway(&world);
    world.import("shop", &new);
    world.ends(1, &["observe", "front", "--wait"]);
    assert_eq!(runway(&world), before);
    assert_eq!(world.one(&["incident", "show", &id])["open_lines"], 1);

    // The first address, and the second.
    nginx.put(nginx::ADDRESSES[0], &new);
    wait(30, "one of two addresses is current", || {
        let ran = world.run(&["observe", "front", "--wait"]);
        so(ran.code == 1 && current(&world) == (1, 2), ran)
    });
    assert_eq!(runway(&world), before, "the weakest address decides");
    assert!(world.run(&["findings"]).out.contains("1 of 2"), "{:?}", world.run(&["findings"]));
    nginx.put(nginx::ADDRESSES[1], &new);
    wait(30, "both addresses are current", || {
        let ran = world.run(&["observe", "front", "--wait"]);
        so(ran.code == 0 && current(&world) == (2, 2), ran)
    });
    let resolved = wait(30, "the incident is resolved", || {
        let it = world.one(&["incident", "show", &id]);
        if it["state"] == "resolved" { Ok(it) } else { Err(it) }
    });
    let line = &resolved["lines"][0];
    assert_eq!((line["how"].as_str(), &line["target"]), (Some("observed"), &"front".into()), "{resolved:#}");
    let evidence: Vec<i64> = serde_json::from_str(line["evidence"].as_str().unwrap()).unwrap();
    let seen: Vec<i64> =
        world.one(&["target", "show", "front"])["observations"].as_array().unwrap().iter().map(|o| o["id"].as_i64().unwrap()).collect();
    assert_eq!(evidence, seen, "every address is among the evidence");
    wait(20, "the runway is that of the new version", || {
        let now = runway(&world);
        so(now == new.chain[0].not_after().to_string().as_str(), now)
    });
    world.ok(&["incident", "list"]);
    world.ok(&["runway"]);
    world.ok(&["incident", "review", &id, "--cause", "renewed-not-deployed", "--text", "it waited", "--action", "watch;web;2030-01-01"]);

    // The file still declares what is there, and the journal has all of it.
    let last = world.ends(0, &["apply", "-f", &file]);
    assert!(last.err.contains("nothing to change"), "{last:?}");
    let journal = world.json(&["audit", "list", "--all"]);
    for action in ["inventory.applied", "target.observed", "incident.opened", "incident.acknowledged", "line.closed", "incident.reviewed"] {
        assert!(journal.iter().any(|entry| entry["action"] == action), "{action} is not in the journal");
    }
    assert_eq!(world.one(&["audit", "verify"])["intact"], true);
    world.stop();
}

fn runway(world: &World) -> Value {
    world.one(&["secret", "show", "shop"])["served_until"].clone()
}

fn current(world: &World) -> (i64, i64) {
    let target = world.one(&["target", "show", "front"]);
    (target["current"].as_i64().unwrap(), target["required"].as_i64().unwrap())
}
