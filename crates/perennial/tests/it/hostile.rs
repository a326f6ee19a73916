//! Bad input at the running program: hostile texts, hostile listeners, a database of the future, a full disk.

use std::{path::Path, process::Command};

use pki::{Span, Time, build::LeafOptions, key::KeyType};

use crate::harness::{
    World, instant, listener, now, skipped, so, wait,
    world::{import, secret, target},
};

const NAME: &str = "shop.test.example";
/// Colours, a title of the terminal, markup, a right-to-left override, a zero-width space, a bell and a new line.
const HOSTILE: &str = "\u{1b}[31mX\u{1b}]0;x\u{7}<script>alert(1)</script>\u{202e}moc\u{200b}\nroot# ";

#[test]
fn what_a_certificate_says_of_itself_is_shown_and_never_obeyed() {
    let mut world = World::sqlite("hostile");
    world.start();
    let key = pki::PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let options = LeafOptions { common_name: Some(HOSTILE.into()), organization: Some(HOSTILE.into()), ..LeafOptions::default() };
    let (from, until) = (now() - Span::days(80), now() + Span::days(10));
    let leaf = world.paper.issuer.issue(&key, &[NAME], from, until, &options).unwrap();
    let hostile = world.paper.pair("hostile", leaf, key);
    let served = listener::serve(&hostile.chain, &hostile.key);
    let external = "[[secret]]\nname = \"theirs\"\nkind = \"certificate\"\nmanagement = \"external\"\nservice = \"shop\"\nnames = [\"other.example\"]\nissuers = [\"CN=Nobody\"]\n\n";
    let targets = target("shop", "front", served, NAME) + &target("theirs", "theirs", served, NAME);
    world.apply(&world.fleet("{ channel = \"log\" }", &(secret("shop") + external + &targets)));
    world.run(&["observe", "front", "theirs", "--wait"]);
    let stored = world.run(&import("shop", &hostile).iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(stored.code, 0, "{stored:?}");
    world.run(&["observe", "front", "theirs", "--wait"]);
    wait(20, "incidents", || so(!world.json(&["incident", "list"]).is_empty(), world.log()));
    let mut shown = String::new();
    for arguments in [
        &["status"][..],
        &["runway"],
        &["findings"],
        &["expiring"],
        &["target", "list"],
        &["target", "show", "front"],
        &["target", "show", "theirs"],
        &["secret", "list"],
        &["cert", "show", "shop"],
        &["incident", "list"],
        &["incident", "show", "1"],
        &["notice", "list"],
        &["audit", "list", "--all"],
    ] {
        for json in [&[][..], &["--json"]] {
            let ran = world.run(&[arguments, json].concat());
            assert!(ran.code < 2, "{ran:?}");
            clean(&ran.out);
            clean(&ran.err);
            shown += &ran.out;
        }
    }
    assert!(shown.contains("\\u{1b}[31m") && shown.contains("\\u{202e}"), "the subject is nowhere to be seen");
    clean(&world.log());
    let scanned = world.command(&["scan", &served.to_string(), "--rate", "0"]).output().unwrap();
    clean(&String::from_utf8(scanned.stdout).unwrap());
}

/// Nothing in it that a terminal acts on.
fn clean(text: &str) {
    let bad = |c: &char| {
        (c.is_control() && *c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    if let Some(c) = text.chars().find(bad) {
        panic!("{:?} in {text}", c);
    }
    assert!(!text.lines().any(|line| line.starts_with("root# ")), "{text}");
}

#[test]
fn listeners_that_waste_time_hold_up_nobody_else() {
    const INTERVAL: i64 = 10;
    let mut world = World::sqlite("hostile");
    world.start();
    let pair = world.paper.leaf("good", &[NAME], Span::days(80));
    let policy = format!("[[policy]]\nname = \"quick\"\nclass = \"leaf\"\ninterval = \"{INTERVAL}s\"\n\n");
    let quick = |name: &str| secret(name).trim_end().to_owned() + "\npolicy = \"quick\"\n\n";
    let mut parts = policy + &quick("shop") + &quick("bad");
    for n in 0..8 {
        parts += &target("bad", &format!("slow-{n}"), listener::slow(), NAME);
        parts += &target("bad", &format!("endless-{n}"), listener::endless(), NAME);
    }
    parts += &target("shop", "front", listener::serve(&pair.chain, &pair.key), NAME);
    world.apply(&world.fleet("{ channel = \"log\" }", &parts));
    world.import("shop", &pair);
    let show = |name: &str| world.one(&["target", "show", name]);
    let seen = || show("front")["observed_at"].as_str().map(|at| Time::parse(at).unwrap());
    // Its own rhythm, for three rounds: an interval, and the seconds that a look and an answer may take.
    let mut last = wait(15, "the good one is looked at", || seen().ok_or("never"));
    for _ in 0..3 {
        let begun = instant();
        last = wait(INTERVAL as u64 + 8, "the good one is looked at in its own rhythm", || {
            seen().filter(|at| *at > last).ok_or((last, begun.elapsed(), show("slow-0")["observations"].clone()))
        });
    }
    for (name, why) in [("slow-0", ["peer", "network"]), ("endless-0", ["limits", "peer"])] {
        let observation = wait(30, "the bad one is called so", || {
            let shown = show(name);
            let it = shown["observations"][0].clone();
            if it["error"].is_string() { Ok(it) } else { Err(shown) }
        });
        assert!(why.contains(&observation["blame"].as_str().unwrap()), "{observation:#}");
    }
    let size = resident(&world);
    assert!(size < 300 << 10, "{size} kB");
}

/// The memory of the server, in kB.
fn resident(world: &World) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_database_of_a_newer_version_is_refused_with_what_to_do() {
    let mut world = World::sqlite("hostile");
    world.start();
    world.ok(&["audit", "verify"]);
    world.stop();
    let database = rusqlite::Connection::open(world.data.join("perennial.db")).unwrap();
    let newer = "INSERT INTO schema_migration SELECT 9999, '9999_future', checksum, applied_at FROM schema_migration WHERE number = 1";
    database.execute(newer, []).unwrap();
    let why = world.try_start().unwrap_err();
    assert!(why.starts_with("exit status: 1") && why.contains("schema 9999") && why.contains("install the newer perennial"), "{why}");
    // It was refused, not touched.
    database.execute("DELETE FROM schema_migration WHERE number = 9999", []).unwrap();
    drop(database);
    world.start();
    world.ok(&["audit", "verify"]);
}

/// A file system of its own, taken away with this value.
struct Tmpfs<'p>(&'p Path);

impl<'p> Tmpfs<'p> {
    fn mount(folder: &'p Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "perennial-test"]).arg(folder).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).output();
    }
}

#[test]
fn a_full_disk_refuses_an_import_and_forgets_nothing() {
    let mut world = World::sqlite("hostile");
    let data = world.data.clone();
    std::fs::create_dir(&data).unwrap();
    let Some(_mounted) = Tmpfs::mount(&data) else {
        skipped(
            "perennial hostile::a_full_disk_refuses_an_import_and_forgets_nothing: a small file system cannot be mounted here; run as root",
        );
        return;
    };
    world.start();
    world.apply(&world.fleet("{ channel = \"log\" }", &secret("shop")));
    let pair = |n: usize| world.paper.leaf(&format!("leaf-{n}"), &[NAME], Span::days(80));
    world.import("shop", &pair(0));
    // All that is left, to the last byte.
    let ballast = data.join("ballast");
    let fill = || {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&ballast).unwrap();
        while file.write_all(&[7; 4096]).is_ok() {}
    };
    let mut stored = 1;
    let refused = wait(30, "an import is refused", || {
        fill();
        let ran = world.run(&import("shop", &pair(stored)).iter().map(String::as_str).collect::<Vec<_>>());
        if ran.code == 0 {
            stored += 1;
            return Err(ran);
        }
        Ok(ran)
    });
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("[disk-full]") && refused.err.contains("free or add disk space"), "{refused:?}");
    // It still answers, and what it has is whole.
    let newest = || world.one(&["secret", "show", "shop"])["newest_version"].as_u64().unwrap() as usize;
    assert_eq!(newest(), stored);
    std::fs::remove_file(&ballast).unwrap();
    world.import("shop", &pair(stored));
    assert_eq!(newest(), stored + 1);
    let report = world.one(&["audit", "verify"]);
    assert_eq!(report["intact"], true, "{report:#}");
    let versions = world.one(&["secret", "show", "shop"])["versions"].as_array().unwrap().clone();
    assert_eq!(versions.len(), stored + 1);
    assert!(versions.iter().all(|v| v["instances"][0]["has_key"] == true), "{versions:#?}");
    world.stop();
}
