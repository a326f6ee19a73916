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
