//! A small fleet as in 2013: three certificates in every region that end within minutes of each other. How far that reaches, how it
//! would be divided up, and what is decided about it.

use pki::{Span, Time};
use serde_json::Value;

use crate::harness::{Kind, World, listener, now, so, wait};

const SECRETS: [&str; 3] = ["blob", "queue", "table"];

#[test]
fn on_sqlite() {
    story(Kind::Sqlite, "reach::on_sqlite");
}

#[test]
fn on_postgresql() {
    story(Kind::Postgres, "reach::on_postgresql");
}

/// 24 targets of one service: each secret four times in each of two regions.
fn fleet(world: &World, first: Time) -> String {
    let mut text = String::from(
        "[[service]]\nname = \"storage\"\nteam = \"web\"\npartition = \"strict\"\n\n[[partition]]\nname = \"strict\"\n\
         one_region_per_certificate = true\nmax_share_percent = 10\n\n[[region]]\nname = \"eu\"\n[[region]]\nname = \"us\"\n",
    );
    for region in ["eu", "us"] {
        for n in 1..=4 {
            text += &format!("[[stamp]]\nname = \"{region}-{n}\"\nregion = \"{region}\"\n");
        }
    }
    for (n, secret) in SECRETS.into_iter().enumerate() {
        let name = format!("{secret}.store.example");
        let until = first + Span::seconds(89 * n as i64);
        let (chain, key) = world.paper.loose(&[&name], until - Span::days(90) + Span::seconds(1), until);
        let address = listener::serve(&chain, &key);
        text += &format!("[[secret]]\nname = \"{secret}\"\nkind = \"certificate\"\nmanagement = \"external\"\nservice = \"storage\"\n");
        for region in ["eu", "us"] {
            for n in 1..=4 {
                text += &format!(
                    "[[target]]\nname = \"{secret}-{region}-{n}\"\nsecret = \"{secret}\"\nroots = \"test\"\nbackends = \"direct\"\n\
                     region = \"{region}\"\nstamp = \"{region}-{n}\"\nendpoint = \"tls://{address}\"\nserver_name = \"{name}\"\n"
                );
            }
        }
    }
    world.fleet("{ channel = \"log\" }", &text)
}

fn story(kind: Kind, test: &str) {
    let Some(mut world) = World::new(kind, test) else { return };
    world.start();
    let first = now() + Span::days(80);
    world.apply(&fleet(&world, first));
    wait(60, "every target was observed", || {
        let b = world.one(&["blast", "--service", "storage"]);
        so(b["targets"] == 24 && b["unknown"] == 0, b)
    });
    // The store's own certificate is production too, of no service.
    let all = world.one(&["blast"]);
    assert_eq!((&all["targets"], &all["services"], &all["items"][0]["share_per_mille"]), (&25.into(), &1.into(), &320.into()), "{all:#}");

    // All of the service, in one window of 178 seconds.
    let b = world.one(&["blast", "--service", "storage"]);
    let of = |by: &str, window: Option<&str>| {
        let found = b["items"].as_array().unwrap().iter().find(|i| i["by"] == by && i["window"].as_str() == window);
        found.unwrap_or_else(|| panic!("{by} {window:?} in {b:#}")).clone()
    };
    for window in ["1 d", "3 min", "1 h"] {
        let w = of("window", Some(window));
        assert_eq!(
            (&w["targets"], &w["share_per_mille"], &w["regions"], &w["stamps"]),
            (&24.into(), &1000.into(), &2.into(), &8.into()),
            "{w:#}"
        );
        assert_eq!((&w["from"], &w["last"]), (&first.to_string().into(), &(first + Span::seconds(178)).to_string().into()));
    }
    let leaf = of("leaf", None);
    assert_eq!((&leaf["targets"], &leaf["share_per_mille"], &leaf["regions"]), (&8.into(), &333.into(), &2.into()));
    assert_eq!(of("root", None)["share_per_mille"], 1000);
    assert_eq!(of("intermediate", None)["per_service"][0]["service"], "storage");
    let screen = world.ok(&["blast", "--service", "storage"]);
    assert!(
        screen.contains("24 targets in 1 service, 2 regions, 8 stamps") && screen.contains("100.0 %") && screen.contains("33.3 %"),
        "{screen}"
    );
    assert!(screen.contains("all within 2 min 58 s"), "{screen}");

    // Lists are sorted and paged.
    let leaves = world.json(&["blast", "--by", "leaf", "--service", "storage", "--limit", "2"]);
    assert_eq!(leaves.len(), 2);
    let said = world.run(&["blast", "--by", "leaf", "--service", "storage", "--limit", "2"]).err;
    let place = said.split("--after ").nth(1).unwrap().split(' ').next().unwrap();
    let rest = world.json(&["blast", "--by", "leaf", "--service", "storage", "--limit", "2", "--after", place]);
    assert!(rest.len() == 1 && leaves.iter().all(|l| l["fingerprint_sha256"] != rest[0]["fingerprint_sha256"]), "{rest:#?}");
    assert_eq!(world.json(&["blast", "--window", "60s", "--service", "storage", "--all"]).len(), 3, "a minute tells the three apart");
    assert_eq!(world.json(&["blast", "--by", "window", "--within", "30d"]), Vec::<Value>::new());
    for bad in [&["blast", "--by", "window", "--window", "1s"][..], &["blast", "--service", "none"], &["partition", "--service", "none"]] {
        let refused = world.ends(1, bad);
        assert!(refused.out.is_empty() && !refused.err.is_empty(), "{bad:?}: {refused:?}");
    }

    // The rules of the service are broken, and its team hears of it.
    let wanted = ["shared-across-regions", "window-too-wide"];
    wait(90, "what breaks the rules is told", || {
        let told = world.json(&["notice", "list", "--all"]);
        let codes: Vec<&str> = told.iter().filter_map(|n| n["code"].as_str()).collect();
        so(wanted.iter().all(|w| codes.contains(w)), told)
    });

    // The plan: no window above a tenth, no certificate in two regions, each target once.
    let shown = world.ends(1, &["partition", "--service", "storage"]);
    assert!(shown.out.contains("100.0 % → ") && shown.out.contains("3 → 0"), "{}", shown.out);
    let plan = world.one(&["partition", "--service", "storage", "--all"]);
    let s = &plan["services"][0];
    assert_eq!((&s["before"]["worst_per_mille"], &s["after"]["across_regions"]), (&1000.into(), &0.into()), "{s:#}");
    assert!(s["after"]["worst_per_mille"].as_i64().unwrap() <= 100 && s["short"].is_null(), "{s:#}");
    let items = plan["items"].as_array().unwrap();
    let mut targets: Vec<&str> = items.iter().flat_map(|c| c["targets"].as_array().unwrap()).map(|t| t.as_str().unwrap()).collect();
    targets.sort_unstable();
    let count = targets.len();
    targets.dedup();
    assert_eq!((count, targets.len()), (24, 24));
    for c in items {
        let names: Vec<&str> = c["names"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
        assert_eq!(names, [format!("{}.store.example", c["secret"].as_str().unwrap())]);
        let region = c["region"].as_str().unwrap();
        assert!(c["targets"].as_array().unwrap().iter().all(|t| t.as_str().unwrap().contains(region)), "{c:#}");
    }

    // What is decided is kept, and deciding again takes its place.
    let hash = plan["plan"].as_str().unwrap().to_owned();
    let apply = |hash: &str, why: &str| world.run(&["partition", "--service", "storage", "--apply", "--plan", hash, "--reason", why]);
    assert!(apply(&"0".repeat(64), "no").err.contains("plan-changed"));
    assert_eq!(apply(&hash, " ").code, 1);
    let done = apply(&hash, "no window above a tenth");
    assert!(done.code == 0 && done.err.contains(&format!("{} intents are open", items.len())), "{done:?}");
    assert_eq!(apply(&hash, "once more").code, 0);
    let open = world.json(&["intent", "list", "--state", "open", "--all"]);
    let gone = world.json(&["intent", "list", "--state", "superseded", "--all"]);
    assert_eq!((open.len(), gone.len()), (items.len(), items.len()));
    let detail = world.one(&["intent", "show", &open[0]["id"].to_string()]);
    let content = &detail["content"];
    let planned = items.iter().find(|c| c["name"] == content["certificate"]).unwrap();
    assert_eq!(
        (&content["not_after"], &content["targets"], &content["names"]),
        (&planned["not_after"], &planned["targets"], &planned["names"])
    );
    assert_eq!(detail["intent"]["reason"], "once more");
    assert!(world.ok(&["intent", "show", &open[0]["id"].to_string()]).contains(content["certificate"].as_str().unwrap()));
    let journal = world.json(&["audit", "list", "--all"]);
    let journaled = journal.iter().filter(|e| e["action"] == "intent.approved" && e["body"]["what"] == "issue").count();
    assert_eq!(journaled, 2 * items.len());
    world.stop();
}
