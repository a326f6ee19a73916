//! Exit codes, as `docs/exit-codes.md` promises them to scripts.

use pki::Span;

use crate::harness::{
    World, listener,
    process::{program, run},
    so, wait,
    world::{import, secret, target},
};

const NAME: &str = "shop.test.example";

#[test]
fn every_command_ends_as_documented() {
    let mut world = World::sqlite("exits");
    world.start();
    let pair = world.paper.leaf("good", &[NAME], Span::days(80));
    let served = listener::serve(&pair.chain, &pair.key);
    let fleet = world.fleet("{ channel = \"log\" }", &(secret("shop") + &target("shop", "shop-a", served, NAME)));
    let file = world.file("fleet.toml", &fleet);
    let pair_of = |n: &str| world.paper.leaf(n, &[NAME], Span::days(80));

    // 0: it was done, and nothing is due.
    world.ok(&["apply", "-f", &file]);
    world.import("shop", &pair);
    world.ok(&["observe", "shop-a", "--wait"]);
    wait(20, "the runway is known and well", || {
        let ran = world.run(&["runway"]);
        so(ran.code == 0 && ran.out.contains("shop"), ran)
    });
    for good in [
        &["incident", "list"][..],
        &["target", "show", "shop-a"],
        &["target", "list"],
        &["secret", "list"],
        &["cert", "show", "shop"],
        &["notice", "list"],
        &["expiring"],
        &["audit", "verify"],
        &["audit", "list"],
        &["token", "list"],
        &["sweep"],
        &["sweep", "--list"],
        // After the sweep: that there was none is a finding.
        &["status"],
        &["--version"],
        &["help"],
    ] {
        if good[0].starts_with('-') || good[0] == "help" {
            assert_eq!(run(program().args(good)).code, 0);
        } else {
            world.ok(good);
        }
    }

    // 1: something is due, or the server refused.
    let other = pair_of("other");
    let refused = world.ends(
        1,
        &["cert", "import", "shop", "--chain", &pair.chain_file.display().to_string(), "--key", &other.key_file.display().to_string()],
    );
    assert!(refused.err.contains("refused: ") && refused.out.is_empty(), "{refused:?}");
    assert!(world.ends(1, &["target", "show", "nowhere"]).err.contains("[not-found]"));
    assert!(world.ends(1, &["incident", "ack", "77"]).err.contains("[not-found]"));
    let import_other = import("shop", &other);
    world.ok(&import_other.iter().map(String::as_str).collect::<Vec<_>>());
    // The newer version is not what is served.
    world.ends(1, &["observe", "shop-a", "--wait"]);
    let mut without_token = world.command(&["status", "--server", &format!("https://{}", world.address), "--ca"]);
    let ran = run(without_token.arg(world.data.join("tls/ca.pem")));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("[unauthenticated]"), "{ran:?}");

    // 2: the call itself was wrong.
    let broken = world.file("broken.toml", "[[team]]\nname = \"web\"\ncontact = 7\n");
    let told = world.ends(2, &["apply", "-f", &broken]);
    assert!(told.err.contains("broken.toml:") && told.err.contains("nothing was sent"), "{told:?}");
    for wrong in [
        &["apply", "-f", "/nowhere/fleet.toml"][..],
        &["cert", "import", "shop"],
        &["cert", "import", "shop", "--chain", "/nowhere.pem"],
        &["runway", "--no-such-option"],
        &["no-such-command"],
        &["incident", "ack", "many"],
    ] {
        let ran = world.ends(2, wrong);
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{ran:?}");
    }
    let nowhere = run(world.command(&["status"]).env_remove("HOME"));
    assert_eq!(nowhere.code, 2, "{nowhere:?}");
    assert!(nowhere.err.contains("no server is named"), "{nowhere:?}");

    // Commands without a server of their own.
    let text = |name: &str, content: &str| world.file(name, content);
    let (config, free) = (text("nginx.conf", "http { server { listen 80; } }\n"), world.path().join("adopted.toml"));
    let (out, empty) = (free.display().to_string(), text("empty.db", ""));
    let taken = world.address.to_string();
    let elsewhere = world.path().join("elsewhere").display().to_string();
    let data = world.data.display().to_string();
    for (code, arguments, part) in [
        (1, &["adopt", &config, "--out", &out][..], "nothing that serves a certificate was found"),
        (2, &["adopt", "--out", &out], "name configurations"),
        (2, &["adopt", "--resolve", "shop.test=nowhere", &config, "--out", &out], "is no address"),
        (1, &["restore", "--data", &data, "--from", &empty], "exists; stop the server"),
        (2, &["restore"], "--from"),
        (2, &["restore", "--database", "sqlite:x.db"], "--data DIR --from FILE for SQLite"),
        (1, &["server", "--data", &elsewhere, "--listen", &taken], "listening on"),
        (2, &["server", "--listen", &taken], "--data"),
        (2, &["vantage", "--name", "eu"], "no server is named"),
        (
            4,
            &["vantage", "--name", "eu", "--once", "--server", "https://127.0.0.1:1", "--token-file", &text("token", "prn_x")],
            "no answer",
        ),
    ] {
        let ran = run(world.command(arguments).env_remove("HOME"));
        assert!(ran.code == code && ran.err.contains(part) && ran.out.is_empty(), "{arguments:?}: {code}, {part:?}: {ran:?}");
    }

    // What is due is judged by those that ask how things stand, and by nobody else.
    let late = world.paper.leaf("late", &[NAME], Span::days(10));
    let late_at = listener::serve(&late.chain, &late.key);
    let parts = secret("shop") + &target("shop", "shop-a", served, NAME) + &secret("late") + &target("late", "late-a", late_at, NAME);
    world.apply(&world.fleet("{ channel = \"log\" }", &parts));
    world.import("late", &late);
    world.run(&["observe", "late-a", "--wait"]);
    wait(30, "the incident", || so(world.run(&["incident", "list"]).code == 1, world.log()));
    for (code, arguments) in [
        (1, &["status"][..]),
        (1, &["runway"]),
        (1, &["findings"]),
        (1, &["scan", &late_at.to_string()]),
        (0, &["expiring"]),
        (0, &["secret", "show", "late"]),
        (0, &["target", "show", "late-a"]),
        (0, &["incident", "show", "1"]),
    ] {
        let ran = if arguments[0] == "scan" { run(&mut world.command(arguments)) } else { world.run(arguments) };
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
    }
    let bulk = world.file("bulk.ndjson", "{\"secret\": \"nowhere\", \"instances\": []}\n");
    let refused = world.ends(1, &["cert", "import", "--bulk", &bulk]);
    assert!(!refused.err.is_empty() || !refused.out.is_empty(), "{refused:?}");

    // Whoever stops reading has seen enough.
    let mut reader = world.command(&["secret", "list", "--all", "--json", "--data", &data]);
    let mut reader = reader.stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(reader.stdout.take());
    assert_eq!(reader.wait().unwrap().code(), Some(0));

    // 4: nobody answered, or nobody whom the roots cover.
    let root = world.paper.root_file();
    let url = format!("https://{}", world.address);
    let strange = run(world.command(&["status", "--server", &url, "--ca"]).arg(&root).env("PERENNIAL_TOKEN", "prn_x"));
    assert_eq!(strange.code, 4, "{strange:?}");
    world.stop();
    world.ends(4, &["status"]);
}
