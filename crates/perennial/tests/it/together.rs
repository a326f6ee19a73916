//! Two whole servers on one database: one is killed in the middle of its work, and the other goes on.

use std::{collections::BTreeMap, time::Duration};

use pki::{Span, Time};

use crate::harness::{
    Kind, World,
    https::{Received, Receiver},
    listener::Changing,
    now,
    process::run,
    so, wait,
    world::{secret, target},
};

const NAME: &str = "shop.test.example";
const SECRETS: usize = 3;
const TARGETS: usize = 8;
/// 32 bytes, as Standard Webhooks writes them.
const KEY: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// What a dead server had in its hands is free again after two minutes; the rest is for slow machines.
const LEASE_AND_MORE: u64 = 300;

#[test]
fn one_is_killed_in_the_middle_and_the_other_goes_on() {
    let Some(world) = World::new(Kind::Postgres, "together::one_is_killed_in_the_middle_and_the_other_goes_on") else { return };
    let receiver = Receiver::start(&world.paper.leaf("receiver", &["127.0.0.1"], Span::days(89)));
    let root = world.paper.root_file().display().to_string();
    let mut one = world.with(&["--allow-inside", &receiver.address.to_string(), "--outgoing-ca", &root]);
    one.start();
    let mut other = one.beside();
    other.start();
    // It knows where it is and whom to trust, and has no token of its own: somebody brings one.
    let alone = other.run(&["status"]);
    assert_eq!((alone.code, alone.err.contains("[unauthenticated]")), (1, true), "{alone:?}");
    let token = one.path().join("person.token").display().to_string();
    one.ok(&["token", "create", "person", "--role", "admin", "--out", &token]);
    let brought = run(other.command(&["status", "--token-file", &token, "--data"]).arg(&other.data));
    assert!(brought.code < 2 && brought.err.is_empty(), "{brought:?}");
    let file = other.data.join("client.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}token = \"{}\"\n", std::fs::read_to_string(&token).unwrap().trim())).unwrap();

    // Three certificates with little left, on eight targets each, which are looked at all the time.
    let pairs: Vec<_> = (0..SECRETS).map(|n| one.paper.leaf(&format!("old-{n}"), &[NAME], Span::days(10))).collect();
    let listeners: Vec<Vec<Changing>> =
        pairs.iter().map(|pair| (0..TARGETS).map(|_| Changing::serve(pair, Duration::from_millis(2500))).collect()).collect();
    let name = |n: usize, t: usize| format!("shop-{n}-{t}");
    let mut parts = String::from("[[secret]]\nname = \"hook-key\"\nkind = \"opaque\"\nservice = \"shop\"\n\n");
    let key = one.file("hook.key", KEY);
    one.apply(&one.fleet("{ channel = \"log\" }", &parts));
    one.ok(&["secret", "put", "hook-key", "--file", &key]);
    parts += "[[policy]]\nname = \"quick\"\nclass = \"leaf\"\ninterval = \"10s\"\n\n";
    for (n, listeners) in listeners.iter().enumerate() {
        parts += &(secret(&format!("shop-{n}")).trim_end().to_owned() + "\npolicy = \"quick\"\n\n");
        for (t, listener) in listeners.iter().enumerate() {
            parts += &target(&format!("shop-{n}"), &name(n, t), listener.address, NAME);
        }
    }
    let hook = format!("{{ channel = \"webhook\", url = \"https://{}/hook\", signing_secret = \"hook-key\" }}", receiver.address);
    one.apply(&one.fleet(&hook, &parts));
    for (n, pair) in pairs.iter().enumerate() {
        // By either of them: both hold the key.
        if n % 2 == 0 { &one } else { &other }.import(&format!("shop-{n}"), pair);
    }

    // Both look, and each incident opens once and is told once.
    wait(120, "three incidents of eight lines, told once", || {
        let open: Vec<i64> = one.json(&["incident", "list"]).iter().map(|i| i["open_lines"].as_i64().unwrap()).collect();
        so(open == [8, 8, 8] && one.one(&["status"])["outbox_waiting"] == 0, open)
    });
    wait(60, "both have looked", || so(looks(&one) > 0 && looks(&other) > 0, (looks(&one), looks(&other))));
    let told = |kind: &str| told(&receiver, kind);
    assert_eq!(told("incident.opened").into_values().collect::<Vec<_>>(), [1; SECRETS]);

    // Killed with looks in its hands, whichever of them has some.
    let mut database = one.database();
    let mut in_hands = || -> i64 {
        let sql = "SELECT count(*) FROM timer WHERE loop = 'observe/local' AND claimed_by <> '' AND claimed_until > $1";
        database.query_one(sql, &[&now().unix()]).unwrap().get(0)
    };
    let before = wait(120, "nothing is under way", || if in_hands() == 0 { Ok(looks(&other)) } else { Err(()) });
    wait(120, "looks are under way", || so(in_hands() > 0, ()));
    if looks(&other) > before {
        std::mem::swap(&mut one, &mut other);
    }
    one.kill();
    assert!(in_hands() > 0, "it died with nothing in its hands");
    let killed = now();
    for (n, listeners) in listeners.iter().enumerate() {
        let new = one.paper.leaf(&format!("new-{n}"), &[NAME], Span::days(89));
        other.import(&format!("shop-{n}"), &new);
        listeners.iter().for_each(|listener| listener.put(&new));
    }
    wait(LEASE_AND_MORE, "the other has seen every target since", || {
        let seen = |n, t| Time::parse(other.one(&["target", "show", &name(n, t)])["observed_at"].as_str().unwrap()).unwrap();
        let late: Vec<_> = (0..SECRETS).flat_map(|n| (0..TARGETS).map(move |t| (n, t))).filter(|(n, t)| seen(*n, *t) <= killed).collect();
        so(late.is_empty(), late)
    });
    wait(LEASE_AND_MORE, "all is resolved and told", || {
        let all = other.json(&["incident", "list", "--closed"]);
        so(all.len() == SECRETS && all.iter().all(|i| i["state"] == "resolved") && other.one(&["status"])["outbox_waiting"] == 0, all)
    });

    // Whoever was killed comes back beside the one that went on, and finds nothing to say again.
    one.start();
    for world in [&one, &other] {
        wait(60, "it looks", || so(looks(world) > 0, world.log()));
        assert_eq!(world.json(&["incident", "list"]).len(), 0);
    }
    for kind in ["incident.opened", "incident.resolved"] {
        assert_eq!(told(kind).into_values().collect::<Vec<_>>(), [1; SECRETS], "{kind}");
    }
    let events: Vec<Received> = receiver.received("/hook");
    let mut ids: Vec<&str> = events.iter().map(|r| r.header("webhook-id")).collect();
    ids.sort_unstable();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all, "no message was under way when one died, so none came twice");
    let journal = one.json(&["audit", "list", "--all"]);
    for action in ["incident.opened", "incident.resolved"] {
        assert_eq!(journal.iter().filter(|e| e["action"] == action).count(), SECRETS, "{action}");
    }
    let report = one.one(&["audit", "verify"]);
    assert_eq!((&report["intact"], &report["epochs"]), (&true.into(), &1.into()), "{report:#}");
    other.stop();
    one.stop();
}

/// How many targets a server has looked at since it started.
fn looks(world: &World) -> u64 {
    let text = world.api().text("/metrics");
    let line = text.lines().find_map(|l| l.strip_prefix("perennial_loop_items_total{loop=\"observe\"} "));
    line.map_or(0, |n| n.parse().unwrap())
}

/// How often each incident was told in one way.
fn told(receiver: &Receiver, kind: &str) -> BTreeMap<i64, usize> {
    let mut by_incident = BTreeMap::new();
    for message in receiver.received("/hook").iter().map(Received::json).filter(|m| m["type"] == kind) {
        *by_incident.entry(message["data"]["incident"].as_i64().unwrap()).or_default() += 1;
    }
    by_incident
}
