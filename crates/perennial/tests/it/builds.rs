//! `perennial release scan` with a server: what a build carries is registered, and whoever is late hears of it in the pipeline.

use std::{fs, io::Write as _, path::PathBuf, process::Stdio};

use pki::Span;
use serde_json::Value;

use crate::harness::{
    World, listener, now,
    process::{Ran, run},
    so, wait,
    world::{import, secret, target},
};

const NAME: &str = "shop.test.example";

struct Shop {
    world: World,
    dist: PathBuf,
    token: String,
}

impl Shop {
    /// A pipeline's call, with a token that can do only this.
    fn scan(&self, arguments: &[&str]) -> Ran {
        let url = format!("https://{}", self.world.address);
        let mut command = self.world.command(&["release", "scan"]);
        command.arg(&self.dist).args(["--server", &url, "--token-file", &self.token, "--ca"]);
        run(command.arg(self.world.data.join("tls/ca.pem")).args(arguments))
    }

    /// The same of a stream that ends when nobody reads it any more.
    fn endless(&self, arguments: &[&str]) -> Ran {
        let url = format!("https://{}", self.world.address);
        let mut command = self.world.command(&["release", "scan", "-", "--server", &url, "--token-file", &self.token, "--ca"]);
        command.arg(self.world.data.join("tls/ca.pem")).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        while stdin.write_all(&[b'.'; 1 << 16]).is_ok() {}
        drop(stdin);
        let ended = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: ended.status.code().unwrap(), out: text(ended.stdout), err: text(ended.stderr) }
    }
}

fn day(days: i64) -> String {
    (now() + Span::days(days)).to_string()
}

#[test]
fn a_build_that_will_miss_its_deadline_ends_with_3() {
    let mut world = World::sqlite("builds");
    world.start();
    let old = world.paper.leaf("old", &[NAME], Span::days(45));
    let new = world.paper.leaf("new", &[NAME], Span::days(89));
    let stranger = world.paper.leaf("stranger", &["stranger.test.example"], Span::days(89));
    let served = listener::serve(&old.chain, &old.key);
    world.apply(&world.fleet("{ channel = \"log\" }", &(secret("shop") + &target("shop", "shop-a", served, NAME))));
    world.import("shop", &old);
    world.ok(&["observe", "shop-a", "--wait"]);
    let renewed = import("shop", &new);
    world.ok(&renewed.iter().map(String::as_str).collect::<Vec<_>>());

    let (dist, token) = (world.path().join("dist"), world.path().join("ci.token").display().to_string());
    fs::create_dir(&dist).unwrap();
    world.ok(&["token", "create", "ci", "--role", "build", "--service", "shop", "--out", &token]);
    let shop = Shop { world, dist, token };
    let put = |name: &str, text: &str| fs::write(shop.dist.join(name), text).unwrap();
    let world = &shop.world;

    // Nothing in it: registered, and no deadline hangs on it.
    put("readme", "no certificate");
    let ran = shop.scan(&["--service", "shop", "--build", "0.9", "--planned", &day(30)]);
    assert!(ran.code == 0 && ran.err.contains("release 1 is created; it carries nothing"), "{ran:?}");

    // The newest version, in time: 45 days are left, of which 28 are for two lead times and 22 for the threshold of an incident.
    put("shop.pem", &new.chain_pem());
    let soon = ["--service", "shop", "--build", "1.0", "--planned", &day(1)];
    let ran = shop.scan(&[&soon[..], &["--json"]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let release = lines.last().unwrap();
    assert_eq!(
        (&release["kind"], &release["verdict"], &release["versions"]),
        (&"release".into(), &"in-time".into(), &1.into()),
        "{release}"
    );
    assert_eq!((&release["carries"][0]["secret"], &release["carries"][0]["version"]), (&"shop".into(), &2.into()));
    let unknown = release["unknown"].as_i64().unwrap();
    assert!(lines[..lines.len() - 1].iter().all(|line| line["kind"] == "certificate"));

    // Late: the same, planned for after what production serves has ended.
    let late = ["--service", "shop", "--build", "1.1", "--planned", &day(40)];
    let ran = shop.scan(&late);
    assert_eq!(ran.code, 3, "{ran:?}");
    for part in ["d late", "release-late", "1 newest version", "next"] {
        assert!((ran.out.clone() + &ran.err).to_lowercase().contains(part), "{part}: {ran:?}");
    }
    // The pipeline comes again, with another date: the date that the release has counts.
    assert_eq!(shop.scan(&["--service", "shop", "--build", "1.1", "--planned", &day(1)]).code, 3);

    // An older version, a stranger and a key in the clear besides. A key is never sent.
    put("older.pem", &old.chain_pem());
    put("stranger.pem", &stranger.chain_pem());
    put("shop.key", &fs::read_to_string(&new.key_file).unwrap());
    let ran = shop.scan(&[&["--service", "shop", "--build", "1.2", "--planned", &day(1), "--json"][..]].concat());
    assert_eq!(ran.code, 1, "{ran:?}");
    let release: Value = serde_json::from_str(ran.out.lines().last().unwrap()).unwrap();
    let counts = ["versions", "older", "unknown", "keys"].map(|field| release[field].as_i64().unwrap());
    assert_eq!(counts, [1, 1, unknown + 1, 1], "{release}");
    let items = world.json(&["release", "show", &release["id"].to_string(), "--items", "--all"]);
    assert_eq!(items.iter().filter(|item| item["what"] == "key").count(), 1, "{items:?}");
    let secret_part = fs::read_to_string(&new.key_file).unwrap().lines().nth(1).unwrap().to_owned();
    assert!(!world.json(&["audit", "list", "--all"]).iter().any(|entry| entry.to_string().contains(&secret_part)));

    // What people see then.
    let queue = world.run(&["release", "queue", "--service", "shop"]);
    assert_eq!(queue.code, 1, "{queue:?}");
    assert!(queue.out.contains("late") && queue.out.contains("left") && queue.out.contains("SHIP BY"), "{queue:?}");
    wait(10, "the finding stands in the one list", || {
        let ran = world.run(&["findings"]);
        so(ran.code == 1 && ran.out.contains("release-late") && ran.out.contains("release/3"), ran)
    });
    world.ok(&["release", "delay", "3", "--by", "2d", "--reason", "a test"]);
    assert!(world.ok(&["release", "show", "3"]).contains("delayed"));
    world.ok(&["release", "cancel", "3", "--reason", "a test"]);
    assert_eq!(world.json(&["release", "list"]).len(), 4);

    // The token can do nothing else, and speaks for no other service.
    let refused = shop.scan(&["--service", "other", "--build", "1.0", "--planned", &day(1)]);
    assert!(refused.code == 1 && refused.err.contains("speaks for builds of shop alone") && refused.out.is_empty(), "{refused:?}");
    for arguments in [&["status"][..], &["secret", "list"], &["release", "queue"], &["release", "show", "1"], &["release", "built", "1"]] {
        let url = format!("https://{}", world.address);
        let mut command = world.command(arguments);
        let ran = run(command.args(["--server", &url, "--token-file", &shop.token, "--ca"]).arg(world.data.join("tls/ca.pem")));
        assert!(ran.code == 1 && ran.err.contains("[forbidden]"), "{arguments:?}: {ran:?}");
    }
    // Whoever may know is told what exists.
    let dist = shop.dist.display().to_string();
    let unknown = world.ends(1, &["release", "scan", &dist, "--service", "shp", "--build", "1", "--planned", &day(1)]);
    assert!(unknown.err.contains("there is no service shp; there are shop"), "{unknown:?}");
    // What was not looked at to its end is not registered.
    let cut = shop.endless(&["--service", "shop", "--build", "2.0", "--planned", &day(1), "--time", "1"]);
    assert!(cut.code == 1 && cut.out.contains("time-over") && cut.err.contains("nothing was registered"), "{cut:?}");
    assert_eq!(world.json(&["release", "list"]).len(), 4);
    let wrong = shop.scan(&["--build", "2.0"]);
    assert!(wrong.code == 2 && wrong.err.contains("--offline"), "{wrong:?}");

    let mut shop = shop;
    shop.world.stop();
    let gone = shop.scan(&soon);
    assert!(gone.code == 4 && gone.out.is_empty(), "{gone:?}");
}

#[test]
fn a_build_that_would_take_production_back_ends_with_3() {
    let mut world = World::sqlite("backward");
    world.start();
    let old = world.paper.leaf("old", &[NAME], Span::days(80));
    let new = world.paper.leaf("new", &[NAME], Span::days(89));
    let served = listener::serve(&old.chain, &old.key);
    let policy = "[[rollout_policy]]\nname = \"at-once\"\n[[rollout_policy.wave]]\nof = \"all\"\n\n";
    let inventory = policy.to_owned()
        + &secret("shop").replace("\n\n", "\nrollout = \"at-once\"\n\n")
        + &target("shop", "shop-a", served, NAME).replace("\n\n", "\nnodes = [\"web-1\"]\n\n");
    let inventory = inventory + "[[region]]\nname = \"eu\"\n\n[[node]]\nname = \"web-1\"\nregion = \"eu\"\nsecrets = [\"shop\"]\n\n";
    world.apply(&world.fleet("{ channel = \"log\" }", &inventory));
    world.import("shop", &old);
    world.ok(&["observe", "shop-a", "--wait"]);
    wait(20, "the first version is brought", || {
        let all = world.json(&["rollout", "list", "--all-states"]);
        let done = all.first().is_some_and(|r| r["state"] == "done");
        so(done, all)
    });
    let (dist, token) = (world.path().join("dist"), world.path().join("ci.token").display().to_string());
    fs::create_dir(&dist).unwrap();
    fs::write(dist.join("shop.pem"), old.chain_pem()).unwrap();
    world.ok(&["token", "create", "ci", "--role", "build", "--service", "shop", "--out", &token]);
    let shop = Shop { world, dist, token };
    let ran = shop.scan(&["--service", "shop", "--build", "1.0", "--planned", &day(1)]);
    assert_eq!(ran.code, 0, "what production has takes nothing back: {ran:?}");
    // A rollout moves production on before that build ships.
    let renewed = import("shop", &new);
    shop.world.ok(&renewed.iter().map(String::as_str).collect::<Vec<_>>());
    wait(20, "the nodes of its target are told", || {
        let all = shop.world.json(&["rollout", "list"]);
        let told = all.first().is_some_and(|r| r["version"] == 2 && r["begun"] == 1);
        so(told, all)
    });
    let ran = shop.scan(&["--service", "shop", "--build", "1.1", "--planned", &day(1)]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!((ran.out.clone() + &ran.err).contains("takes-back"), "{ran:?}");
    wait(20, "the build that was registered before is found, too", || {
        let ran = shop.world.run(&["findings"]);
        so(ran.out.contains("takes-back") && ran.out.contains("release/1"), ran)
    });
}
