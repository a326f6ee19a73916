//! A store without its key: it watches, tells and answers, and refuses only what needs the key.

use pki::Span;

use crate::harness::{
    World, listener, so, wait,
    world::{import, secret, target},
};

const NAME: &str = "shop.test.example";

#[test]
fn a_sealed_store_watches_and_refuses_only_what_needs_its_key() {
    let mut world = World::sqlite("sealed");
    let good = world.file("passphrase", "correct horse battery staple\n");
    let bad = world.file("wrong", "correct horse battery stable\n");
    world.key = vec!["--passphrase-file".into(), good.clone()];
    world.start();
    let old = world.paper.leaf("old", &[NAME], Span::days(10));
    let new = world.paper.leaf("new", &[NAME], Span::days(80));
    let served = listener::serve(&old.chain, &old.key);
    world.apply(&world.fleet("{ channel = \"log\" }", &(secret("shop") + &target("shop", "front", served, NAME))));
    world.import("shop", &old);
    world.ok(&["observe", "front", "--wait"]);
    assert_eq!(world.one(&["status"])["sealed"], false);
    world.stop();

    // It comes back without its key. Everybody sees that, and nothing that can be watched stops.
    world.key.clear();
    world.start();
    assert!(world.log().contains("sealed"), "{}", world.log());
    let status = world.ends(1, &["status"]);
    assert!(status.out.contains("sealed; open it with `perennial unseal`"), "{status:?}");
    let before = world.one(&["target", "show", "front"]);
    world.ok(&["observe", "front", "--wait"]);
    let after = world.one(&["target", "show", "front"]);
    assert!(after["observations"][0]["streak"].as_i64() > before["observations"][0]["streak"].as_i64(), "{before:#}\n{after:#}");
    assert!(world.ends(1, &["runway"]).out.contains("1 of 1"));
    let incident = wait(20, "the incident", || world.json(&["incident", "list"]).into_iter().next().ok_or("none"));
    world.ok(&["incident", "ack", &incident["id"].to_string(), "--reason", "sealed or not"]);

    // What needs a key is refused, and says what to do. A wrong passphrase changes nothing.
    let importing = import("shop", &new);
    let importing: Vec<&str> = importing.iter().map(String::as_str).collect();
    let refused = world.ends(1, &importing);
    assert!(refused.err.contains("[sealed]") && refused.err.contains("perennial unseal"), "{refused:?}");
    let wrong = world.ends(1, &["unseal", "--passphrase-file", &bad]);
    assert!(wrong.err.contains("refused: ") && !wrong.err.contains("stable"), "{wrong:?}");
    let once_more = world.ends(1, &["unseal", "--passphrase-file", &bad]);
    assert_eq!(wrong.err, once_more.err, "the same answer, whatever the cause");
    assert_eq!(world.ends(1, &importing).err, refused.err);
    assert_eq!(world.one(&["status"])["sealed"], true);
    assert_eq!(world.one(&["secret", "show", "shop"])["newest_version"], 1);

    // The right one opens, without a restart.
    wait(60, "the right passphrase opens", || {
        let ran = world.run(&["unseal", "--passphrase-file", &good]);
        // Guessing is slowed down for everybody.
        assert!(ran.code == 0 || ran.err.contains("[too-many-attempts]"), "{ran:?}");
        so(ran.code == 0, ran)
    });
    assert_eq!(world.one(&["status"])["sealed"], false);
    world.ok(&importing);
    assert_eq!(world.one(&["secret", "show", "shop"])["newest_version"], 2);

    // And it can be closed by hand.
    world.ok(&["seal"]);
    world.ends(1, &importing);
    assert_eq!(world.one(&["audit", "verify"])["intact"], true);
}

#[test]
fn the_key_is_rotated_to_a_key_file_and_to_a_passphrase_at_any_moment() {
    let mut world = World::sqlite("rotation");
    let old = world.file("old", "correct horse battery staple\n");
    let key = world.file("new.key", "0123456789abcdef".repeat(4) + "\n");
    world.key = ["--passphrase-file", &old].map(str::to_owned).to_vec();
    world.start();
    let pair = world.paper.leaf("a", &[NAME], Span::days(80));
    world.apply(&world.fleet("{ channel = \"log\" }", &secret("shop")));
    for _ in 0..3 {
        world.import("shop", &pair);
    }

    // Killed at any moment: both ways in, and whichever is first, open it. Nothing that was sealed is lost.
    let both = ["--key-file", &key, "--passphrase-file", &old].map(str::to_owned).to_vec();
    for pause in [0, 1, 2, 4, 8, 16] {
        let mut command = world.command(&["kek", "rotate", "--key-file", &key, "--data", &world.data.display().to_string()]);
        let mut rotating = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(pause * 10));
        world.kill();
        rotating.wait().unwrap();
        world.key = both.clone();
        world.start();
        assert_eq!(world.one(&["status"])["sealed"], false);
        world.import("shop", &pair);
    }
    world.ok(&["kek", "rotate", "--key-file", &key]);
    world.stop();

    // It is done: the passphrase alone opens nothing, and the words say what does.
    world.key = ["--passphrase-file", &old].map(str::to_owned).to_vec();
    let refused = world.try_start().unwrap_err();
    assert!(refused.contains("opened by a key-file") || refused.contains("provider \"key-file\""), "{refused}");
    world.key = ["--key-file", &key].map(str::to_owned).to_vec();
    world.start();
    world.ok(&["kek", "rotate", "--passphrase-file", &old]);
    world.stop();
    let refused = world.try_start().unwrap_err();
    assert!(refused.contains("\"passphrase\""), "{refused}");
    world.key = both;
    world.start();
    world.import("shop", &pair);
    assert_eq!(world.one(&["audit", "verify"])["intact"], true);
}
