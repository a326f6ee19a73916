//! Nights: what `docs/operating.md` says to do, done to the letter, and what comes when nobody expects it.

use std::{
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use pki::Span;

use crate::{
    clocks::with_a_clock,
    harness::{
        Kind, World,
        https::answered,
        listener,
        process::{Ran, Talking, run},
        skipped, so, wait,
        world::{import, secret, target},
    },
};

const NAME: &str = "shop.test.example";

#[test]
fn the_way_out_when_the_apis_own_certificate_has_expired() {
    let test = "nights::the_way_out_when_the_apis_own_certificate_has_expired";
    let Some((mut world, set)) = with_a_clock(World::sqlite(test), test) else { return };
    // Somebody at the same time of day, with what the server wrote down for its own machine, or with a copy of its roots.
    fn at_hand(world: &World, arguments: &[&str]) -> Ran {
        run(world.command(arguments).envs(world.variables.iter().cloned()).arg("--data").arg(&world.data))
    }
    fn elsewhere(world: &World, ca: &Path) -> Ran {
        let file = std::fs::read_to_string(world.data.join("client.toml")).unwrap();
        let token = file.lines().find_map(|l| l.strip_prefix("token = \"")).unwrap().trim_end_matches('"').to_owned();
        let url = format!("https://{}", world.address);
        let mut command = world.command(&["secret", "list", "--server", &url, "--ca"]);
        run(command.arg(ca).env("PERENNIAL_TOKEN", token).envs(world.variables.iter().cloned()))
    }
    world.start();
    let pair = world.paper.leaf("good", &[NAME], Span::days(80));
    let served = listener::serve(&pair.chain, &pair.key);
    world.apply(&world.fleet("{ channel = \"log\" }", &(secret("shop") + &target("shop", "front", served, NAME))));
    let tls = world.data.join("tls");
    let ca = world.path().join("ca-elsewhere.pem");
    std::fs::copy(tls.join("ca.pem"), &ca).unwrap();
    assert_eq!(elsewhere(&world, &ca).code, 0);
    let leaf = || std::fs::read(tls.join("api.pem")).unwrap();

    // It stood still for a hundred days; or the clock of the one that asks is right, and the certificate has ended.
    set("+100d");
    let expired = at_hand(&world, &["secret", "list"]);
    assert!(expired.code == 4 && expired.err.contains("xpired"), "{expired:?}");
    assert_eq!(elsewhere(&world, &ca).code, 4);
    // 1. Restart the server. Clients notice nothing.
    let before = leaf();
    world.stop();
    world.start();
    assert_ne!(leaf(), before);
    let back = at_hand(&world, &["secret", "list"]);
    assert!(back.code == 0 && elsewhere(&world, &ca).code == 0, "{back:?}");

    // 2. If its log names a file in tls/: stop it, move api.pem and api.key away, start again.
    world.stop();
    std::fs::write(tls.join("api.pem"), "half of a certif").unwrap();
    let why = world.try_start().unwrap_err();
    assert!(why.contains("tls/api.pem"), "{why}");
    let aside = |name: &str| std::fs::rename(tls.join(name), world.path().join(name)).unwrap();
    aside("api.pem");
    aside("api.key");
    world.start();
    assert_eq!((at_hand(&world, &["secret", "list"]).code, elsewhere(&world, &ca).code), (0, 0));

    // 3. If the authority's key is lost: stop it, move the whole folder away, start again; others get the new ca.pem.
    world.stop();
    std::fs::remove_file(tls.join("ca.key")).unwrap();
    let why = world.try_start();
    if let Err(why) = &why {
        assert!(why.contains("tls/ca.key"), "{why}");
    } else {
        world.stop();
    }
    std::fs::rename(&tls, world.path().join("tls-of-before")).unwrap();
    world.start();
    assert_eq!(at_hand(&world, &["secret", "list"]).code, 0);
    let refused = elsewhere(&world, &ca);
    assert_eq!(refused.code, 4, "{refused:?}");
    std::fs::copy(tls.join("ca.pem"), &ca).unwrap();
    assert_eq!(elsewhere(&world, &ca).code, 0);
    // 4. If the certificate begins in the future: set the clock right, and do as in 1.
    world.stop();
    set("+200d");
    world.start();
    world.stop();
    set("+100d");
    world.start();
    assert_eq!((at_hand(&world, &["secret", "list"]).code, elsewhere(&world, &ca).code), (0, 0));

    // Nothing that it keeps has suffered.
    let verified = at_hand(&world, &["audit", "verify"]);
    assert!(verified.code == 0, "{verified:?}");
    world.stop();
}

#[test]
fn a_vantage_outlives_its_server() {
    let mut world = World::sqlite("nights");
    world.start();
    // The same place again after a restart.
    world.options.extend(["--listen".into(), world.address.to_string()]);
    let pair = world.paper.leaf("good", &[NAME], Span::days(80));
    let served = listener::serve(&pair.chain, &pair.key);
    let target = target("shop", "front", served, NAME).trim_end().to_owned() + "\nvantages = [\"eu\"]\n\n";
    let shop = secret("shop").trim_end().to_owned() + "\npolicy = \"quick\"\n\n";
    let parts =
        "[[vantage]]\nname = \"eu\"\n\n[[policy]]\nname = \"quick\"\nclass = \"leaf\"\ninterval = \"10s\"\n\n".to_owned() + &shop + &target;
    world.apply(&world.fleet("{ channel = \"log\" }", &parts));
    world.import("shop", &pair);
    let token = world.path().join("eu.token").display().to_string();
    world.ok(&["token", "create", "eu", "--role", "vantage", "--vantage", "eu", "--out", &token]);
    let url = format!("https://{}", world.address);
    let mut command = world.command(&["vantage", "--name", "eu", "--server", &url, "--token-file", &token, "--ca"]);
    let mut vantage = Talking::start(command.arg(world.data.join("tls/ca.pem"))).unwrap();
    let seen = |world: &World| world.one(&["target", "show", "front"])["observed_at"].as_str().unwrap_or_default().to_owned();
    wait(60, "the vantage has looked", || so(!seen(&world).is_empty(), vantage.said()));

    // Its server is killed, and comes back. It says so, waits, and goes on by itself with the same token.
    let last = seen(&world);
    world.kill();
    vantage.hear("no answer from").unwrap();
    world.start();
    wait(120, "the vantage looks again", || so(seen(&world) > last, vantage.said()));
    assert_eq!(world.one(&["target", "show", "front"])["current"], 1);
    assert!(vantage.terminate().code().is_none_or(|code| code == 0), "{}", vantage.said());
    world.stop();
}

#[test]
fn a_gigabyte_is_refused_and_never_held() {
    let mut world = World::sqlite("nights");
    world.start();
    world.apply(&world.fleet("{ channel = \"log\" }", &secret("shop")));
    let api = world.api();
    let most = || {
        let text = std::fs::read_to_string(format!("/proc/{}/status", world.id())).unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let before = most();
    for path in ["/v1/secrets/shop/versions", "/v1/bulk"] {
        let mut stream = api.connect().unwrap();
        api.head(&mut stream, "POST", path, "application/json", 1 << 30).unwrap();
        let part = vec![b' '; 1 << 16];
        let mut sent = 0_u64;
        while sent < 1 << 30 && stream.write_all(&part).and_then(|()| stream.flush()).is_ok() {
            sent += part.len() as u64;
        }
        // It says so to whoever listens; who only talks is cut off.
        if let Ok((status, body)) = answered(&mut stream) {
            assert_eq!(status, 413, "{path}: {}", String::from_utf8_lossy(&body));
        }
        assert!(sent < 64 << 20, "{path} took {sent} bytes");
    }
    // As a person would: a file of a gigabyte, which takes no room on the disk.
    let huge = world.path().join("huge.pem");
    std::fs::File::create(&huge).unwrap().set_len(1 << 30).unwrap();
    let refused = world.run(&["cert", "import", "shop", "--chain", &huge.display().to_string()]);
    assert!(refused.code == 2 && refused.err.contains("huge.pem"), "{refused:?}");
    let grown = most() - before;
    assert!(grown < 64 * 1024, "it grew by {grown} kB");
    world.ok(&["audit", "verify"]);
    world.stop();
}

#[test]
fn a_name_with_two_hundred_addresses_is_seen_at_each_and_one_with_too_many_is_never_well() {
    let addresses = |n: u32| (1..=n).map(|i| format!("127.1.{}.{}", i / 250, i % 250 + 1)).collect::<Vec<_>>().join(",");
    let (many, too_many) = (format!("{NAME}={}", addresses(200)), format!("more.test.example={}", addresses(300)));
    let mut world = World::sqlite("nights").with(&["--resolve", &many, "--resolve", &too_many]);
    world.start();
    let pair = world.paper.leaf("many", &[NAME, "more.test.example"], Span::days(80));
    let config = listener::config(&pair.chain, &pair.key);
    let port = listener::listen([0, 0, 0, 0], move |socket| {
        if let Ok(tls) = rustls::ServerConnection::new(std::sync::Arc::clone(&config)) {
            let _ = std::io::copy(&mut rustls::StreamOwned::new(tls, socket), &mut std::io::sink());
        }
    })
    .port();
    let at = |name: &str, host: &str| {
        format!(
            "[[target]]\nname = \"{name}\"\nsecret = \"shop\"\nservice = \"shop\"\nroots = \"test\"\nbackends = \"direct\"\nendpoint = \"tls://{host}:{port}\"\n\n"
        )
    };
    let targets = at("many", NAME) + &at("more", "more.test.example");
    world.apply(&world.fleet("{ channel = \"log\" }", &(secret("shop") + &targets)));
    world.import("shop", &pair);
    wait(120, "all two hundred show it", || {
        world.run(&["observe", "many"]);
        let shown = world.one(&["target", "show", "many"]);
        so(shown["current"] == 200 && shown["required"] == 200, (shown["current"].clone(), shown["required"].clone()))
    });
    // 256 of 300 green are not green, and somebody is told why.
    let more = wait(120, "the limit is told", || {
        world.run(&["observe", "more"]);
        let shown = world.one(&["target", "show", "more"]);
        if shown.to_string().contains("the name has 300 addresses") { Ok(shown) } else { Err(shown["findings"].clone()) }
    });
    assert_ne!(more["current"], more["required"], "{:#}", more["findings"]);
    assert_eq!(world.run(&["observe", "more", "--wait", "--timeout", "20s"]).code, 1);
    world.stop();
}

#[test]
fn what_postgresql_dumped_comes_back_as_a_new_epoch() {
    let test = "nights::what_postgresql_dumped_comes_back_as_a_new_epoch";
    let Some(mut world) = World::new(Kind::Postgres, test) else { return };
    let tool = |name: &str, arguments: &[&str]| {
        let path = format!("{}:/usr/lib/postgresql/bin", std::env::var("PATH").unwrap_or_default());
        let ran = Command::new(name).args(arguments).env("PATH", path).output().ok()?;
        assert!(ran.status.success(), "{name}: {}", String::from_utf8_lossy(&ran.stderr));
        Some(())
    };
    let url = world.database_url().to_owned();
    let dump = world.path().join("dump").display().to_string();
    world.start();
    let pairs = [1, 2].map(|n| world.paper.leaf(&format!("leaf-{n}"), &[NAME], Span::days(80)));
    let served = listener::serve(&pairs[0].chain, &pairs[0].key);
    world.apply(&world.fleet("{ channel = \"log\" }", &(secret("shop") + &target("shop", "front", served, NAME))));
    world.import("shop", &pairs[0]);
    world.ok(&["observe", "front", "--wait"]);
    let head = |world: &World| world.one(&["audit", "verify"])["head"].as_str().unwrap().to_owned();
    let before = head(&world);
    // While it runs.
    if tool("pg_dump", &["--format=custom", "--file", &dump, &url]).is_none() {
        skipped(&format!("perennial {test}: pg_dump missing"));
        return;
    }
    world.import("shop", &pairs[1]);
    let after = head(&world);

    // 1. Stop every server. 2. An empty database, and the dump into it. 3. Say so. 4. Start.
    world.stop();
    let (mut server, name) = world.database_server();
    server.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).unwrap();
    server.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")).unwrap();
    tool("pg_restore", &["--no-owner", "--exit-on-error", "--dbname", &url, &dump]).unwrap();
    let done = run(&mut world.command(&["restore", "--reason", "the disk died", "--database", &url]));
    assert!(done.code == 0 && done.err.contains("epoch 2 begins") && !done.err.contains("perennial:"), "{done:?}");
    world.start();
    let report = world.one(&["audit", "verify", "--head", &before]);
    assert_eq!((&report["intact"], &report["epochs"]), (&true.into(), &2.into()), "{report:#}");
    // What was written after the dump was given up, and that was said: so it is no forgery.
    world.ends(0, &["audit", "verify", "--head", &after]);
    assert_eq!(world.one(&["secret", "show", "shop"])["newest_version"], 1);
    // It goes on: it looks, and stores.
    world.ok(&["observe", "front", "--wait"]);
    world.import("shop", &pairs[1]);
    assert_eq!(world.one(&["secret", "show", "shop"])["newest_version"], 2);
    world.stop();
}

/// A small file system, taken away with this value.
struct Tmpfs(PathBuf);

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_of_postgresql_refuses_an_import_and_forgets_nothing() {
    let test = "nights::a_full_disk_of_postgresql_refuses_an_import_and_forgets_nothing";
    let Some(mut world) = World::new(Kind::Postgres, test) else { return };
    let (mut server, name) = world.database_server();
    // Only a server on this machine, whose account can be given a folder, can be put on a disk of ours.
    let data: String = server.query_one("SHOW data_directory", &[]).unwrap().get(0);
    let folder = tempfile::Builder::new().prefix("perennial-disk").tempdir().unwrap();
    let mounted = std::fs::metadata(&data).ok().filter(|_| {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=40m", "perennial-test"]).arg(folder.path()).output();
        mount.is_ok_and(|output| output.status.success())
    });
    let Some(owner) = mounted else {
        skipped(&format!("perennial {test}: a small file system cannot be mounted here; run as root"));
        return;
    };
    let disk = Tmpfs(folder.path().to_owned());
    std::os::unix::fs::chown(folder.path(), Some(owner.uid()), Some(owner.gid())).unwrap();
    let mut access = std::fs::metadata(folder.path()).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut access, 0o700);
    std::fs::set_permissions(folder.path(), access).unwrap();
    server.batch_execute(&format!("CREATE TABLESPACE {name}_disk LOCATION '{}'", folder.path().display())).unwrap();
    server.batch_execute(&format!("ALTER DATABASE {name} SET TABLESPACE {name}_disk")).unwrap();

    world.start();
    world.apply(&world.fleet("{ channel = \"log\" }", &secret("shop")));
    let pair = |n: usize| world.paper.leaf(&format!("leaf-{n}"), &[NAME], Span::days(80));
    world.import("shop", &pair(0));
    let ballast = folder.path().join("ballast");
    let fill = || {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&ballast).unwrap();
        while file.write_all(&[7; 4096]).is_ok() {}
    };
    let mut stored = 1;
    // What was answered with success stays; pages that have room left take a few more.
    let refused = wait(120, "an import is refused", || {
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
    let newest = || world.one(&["secret", "show", "shop"])["newest_version"].as_u64().unwrap() as usize;
    assert_eq!(newest(), stored);
    std::fs::remove_file(&ballast).unwrap();
    world.import("shop", &pair(stored));
    assert_eq!(newest(), stored + 1);
    let report = world.one(&["audit", "verify"]);
    assert_eq!(report["intact"], true, "{report:#}");
    world.stop();
    // A tablespace goes only when nothing lies in it.
    drop(world);
    server.batch_execute(&format!("DROP TABLESPACE {name}_disk")).unwrap();
    drop(disk);
}
