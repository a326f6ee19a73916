//! A clock that jumps while the server runs, made by libfaketime.

use std::path::Path;

use pki::{Span, Time};
use serde_json::Value;

use crate::harness::{
    World,
    https::Receiver,
    listener, now, skipped, so, wait,
    world::{secret, target},
};

const NAME: &str = "shop.test.example";
/// Where Debian puts it.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

#[test]
fn a_jump_is_doubted_closes_nothing_and_leaves_nothing_behind() {
    let Some((mut world, set)) =
        with_a_clock(World::sqlite("clocks"), "clocks::a_jump_is_doubted_closes_nothing_and_leaves_nothing_behind")
    else {
        return;
    };
    world.start();

    // One target is well. One has little left, and an incident.
    let (well, old) = (world.paper.leaf("well", &[NAME], Span::days(80)), world.paper.leaf("old", &[NAME], Span::days(10)));
    let new = world.paper.leaf("new", &[NAME], Span::days(89));
    let at = |pair: &crate::harness::paper::Pair| listener::serve(&pair.chain, &pair.key);
    let policy = "[[policy]]\nname = \"quick\"\nclass = \"leaf\"\ninterval = \"10s\"\n\n";
    let quick = |name: &str| secret(name).trim_end().to_owned() + "\npolicy = \"quick\"\n\n";
    let fleet = |late: std::net::SocketAddr, well: std::net::SocketAddr| {
        let parts =
            [policy.to_owned(), quick("shop"), quick("late"), target("shop", "well", well, NAME), target("late", "late", late, NAME)];
        world.fleet("{ channel = \"log\" }", &parts.concat())
    };
    let (late_at, well_at) = (at(&old), at(&well));
    world.apply(&fleet(late_at, well_at));
    world.import("shop", &well);
    world.import("late", &old);
    world.ok(&["observe", "well", "late", "--wait"]);
    wait(20, "the incident", || so(world.json(&["incident", "list"]).len() == 1, world.log()));
    assert_eq!(doubts(&world), Vec::<Value>::new());
    let runways = || ["shop", "late"].map(|s| world.one(&["secret", "show", s])["served_until"].clone());
    let before = runways();

    world.import("late", &new);
    for offset in ["-1h", "+10y"] {
        set(offset);
        wait(20, "the jump is doubted", || so(!doubts(&world).is_empty(), doubts(&world)));
        let status = world.ends(1, &["status"]);
        // What closes it is served while the clock is wrong.
        if offset == "+10y" {
            world.apply(&fleet(at(&new), well_at));
        }
        assert!(status.out.contains("clock doubted"), "{status:?}");
        world.run(&["observe", "well", "late", "--wait"]);
        world.run(&["observe", "well", "late", "--wait"]);
        let open = world.json(&["incident", "list"]);
        assert_eq!(open.len(), 1, "nothing closed, and nothing opened in masses: {open:#?}");
        assert_eq!((&open[0]["state"], &open[0]["open_lines"]), (&"opened".into(), &1.into()), "{open:#?}");
        assert_eq!(runways()[0], before[0], "{offset}");
        set("+0");
        wait(20, "the clock is right again", || so(doubts(&world).is_empty(), doubts(&world)));
        if offset == "-1h" {
            continue;
        }
        // Now the evidence counts. Nothing waits for a moment in ten years.
        wait(40, "the incident is resolved", || {
            let it = world.one(&["incident", "show", "1"]);
            so(it["state"] == "resolved", it)
        });
        let seen = || Time::parse(world.one(&["target", "show", "well"])["observed_at"].as_str().unwrap()).unwrap();
        let last = seen();
        assert!(last <= now() + Span::seconds(2), "{last}");
        wait(30, "it is looked at by itself", || so(seen() > last, seen()));
    }
    world.ok(&["incident", "list"]);

    // A jump that is right, says a person: from then on it is believed.
    set("+2h");
    wait(20, "the jump is doubted", || so(!doubts(&world).is_empty(), doubts(&world)));
    world.run(&["clock", "confirm", "--reason", "the machine was wrong before"]);
    wait(20, "the clock is believed", || so(doubts(&world).is_empty(), doubts(&world)));
    let there = Time::parse(world.one(&["status"])["now"].as_str().unwrap()).unwrap();
    assert!(there - now() > Span::minutes(119), "{there}");
    world.run(&["observe", "well", "--wait"]);
    assert!(world.one(&["target", "show", "well"])["observed_at"].as_str().unwrap() > now().to_string().as_str());
    let journal = world.json(&["audit", "list", "--all"]);
    assert!(journal.iter().any(|e| e["reason"] == "the machine was wrong before"), "{journal:#?}");
    assert_eq!(world.one(&["audit", "verify"])["intact"], true);

    // A start behind what was recorded is doubted as well. The high-water mark is raised every quarter of a minute.
    let high = || {
        let database = rusqlite::Connection::open(world.data.join("perennial.db")).unwrap();
        database.query_row("SELECT high_water FROM store_head", [], |row| row.get::<_, i64>(0)).map_err(|e| e.to_string())
    };
    wait(30, "the new time is recorded", || high().and_then(|h| so(h > (now() + Span::minutes(110)).unix(), h.to_string())));
    world.stop();
    set("+0");
    world.start();
    let said = doubts(&world);
    assert!(said.iter().any(|d| d.as_str().unwrap().contains("behind")), "{said:?}");
    world.run(&["clock", "confirm", "--reason", "it was two hours ahead"]);
    assert_eq!(doubts(&world), Vec::<Value>::new());
    // What was confirmed is confirmed for good.
    world.stop();
    world.start();
    assert_eq!(doubts(&world), Vec::<Value>::new());
}

#[test]
fn a_start_far_ahead_waits_for_somebody_who_vouches_for_it() {
    let Some((mut world, set)) = with_a_clock(World::sqlite("ahead"), "clocks::a_start_far_ahead_waits_for_somebody_who_vouches_for_it")
    else {
        return;
    };
    world.start();
    assert_eq!(doubts(&world), Vec::<Value>::new());
    world.stop();
    set("+40d");
    world.start();
    let said = doubts(&world);
    assert!(said.len() == 1 && said[0].as_str().unwrap().contains("nobody vouches for it"), "{said:?}");
    world.run(&["clock", "confirm", "--reason", "it stood in a cupboard"]);
    assert_eq!(doubts(&world), Vec::<Value>::new());
    let journal = world.json(&["audit", "list", "--all"]);
    let entry = journal.iter().find(|e| e["action"] == "clock.confirmed").unwrap_or_else(|| panic!("{journal:#?}"));
    assert_eq!(entry["reason"], "it stood in a cupboard");
    assert!(entry["body"].to_string().contains("nobody vouches"), "what was overruled is written down: {entry}");
}

#[test]
fn a_witness_tells_a_clock_that_was_wrong_from_the_start() {
    let mut world = World::sqlite("witness");
    let receiver = Receiver::start(&world.paper.leaf("witness", &["127.0.0.1"], Span::days(89)));
    let (at, root) = (receiver.address.to_string(), world.paper.root_file().display().to_string());
    world = world.with(&["--allow-inside", &at, "--outgoing-ca", &root, "--clock-witness", &format!("https://{at}/time")]);
    let Some((mut world, set)) = with_a_clock(world, "clocks::a_witness_tells_a_clock_that_was_wrong_from_the_start") else { return };
    world.start();
    assert_eq!(doubts(&world), Vec::<Value>::new());
    assert_eq!(receiver.received("/time").len(), 1, "it is asked before the loops begin");
    world.stop();
    // Two hours ahead: no long sleep, not behind anything, and nothing else could notice it.
    set("+2h");
    world.start();
    let said = doubts(&world);
    assert!(said.len() == 1 && said[0].as_str().unwrap().contains("witness is 2 h behind this clock"), "{said:?}");
    // Set right while the server runs, it is a jump that the witness agrees with; no person is needed.
    set("+0");
    wait(60, "the witness agrees", || so(doubts(&world).is_empty(), doubts(&world)));
    let there = Time::parse(world.one(&["status"])["now"].as_str().unwrap()).unwrap();
    assert!((there - now()).as_secs().abs() < 30, "{there}");
}

/// A world whose server reads a clock that the test sets, by an offset such as `-1h`.
pub(crate) fn with_a_clock(mut world: World, test: &str) -> Option<(World, impl Fn(&str) + use<>)> {
    let Some(library) = LIBRARIES.into_iter().find(|path| Path::new(path).exists()) else {
        skipped(&format!("perennial {test}: faketime missing"));
        return None;
    };
    let clock = world.file("clock", "+0");
    // A monotonic clock that jumps too would stop every timer.
    let variables =
        [("LD_PRELOAD", library), ("FAKETIME_TIMESTAMP_FILE", &clock), ("FAKETIME_NO_CACHE", "1"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    world.variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let set = move |offset: &str| {
        // Renamed, so that nobody reads half of it.
        std::fs::write(format!("{clock}.new"), offset).unwrap();
        std::fs::rename(format!("{clock}.new"), &clock).unwrap();
    };
    Some((world, set))
}

fn doubts(world: &World) -> Vec<Value> {
    world.one(&["status"])["clock_doubts"].as_array().unwrap().clone()
}
