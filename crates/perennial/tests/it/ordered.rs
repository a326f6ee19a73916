//! A secret that a CA outside issues: declared, ordered, proven, stored, by itself; and killed in the middle.

use serde_json::Value;

use crate::harness::{World, pebble::Pebble, so, wait};

/// What the inventory adds: a CA, and a secret of it.
fn declared(pebble: &Pebble) -> String {
    format!(
        "[[roots]]\nname = \"pebble\"\npem = '''\n{}'''\n\n\
         [[issuer]]\nname = \"outside\"\nkind = \"acme\"\ndirectory = \"{}\"\nroots = \"pebble\"\nchallenge = \"http-01\"\n\
         contact = [\"mailto:ops@example.test\"]\n\n\
         [[secret]]\nname = \"www\"\nkind = \"certificate\"\nservice = \"shop\"\nnames = [\"www.example.test\", \"example.test\"]\n\
         issued_by = [\"outside\"]\nkeys = \"store\"\nrenewal = \"automatic\"\n\n",
        pebble.root, pebble.directory
    )
}

fn versions(world: &World) -> Vec<Value> {
    world.api().get("/v1/secrets/www").body["versions"].as_array().cloned().unwrap_or_default()
}

/// Waits until there are so many versions, each with a sealed key.
fn stored(world: &World, count: usize) -> Vec<Value> {
    wait(900, "it is stored by itself", || {
        let versions = versions(world);
        let whole = versions.iter().all(|v| v["instances"][0]["has_key"] == true);
        so(versions.len() == count && whole, (versions.clone(), world.log())).map(|()| versions)
    })
}

#[test]
fn a_declared_secret_is_ordered_and_stored_and_renewed_through_a_kill() {
    let test = "ordered::a_declared_secret_is_ordered_and_stored_and_renewed_through_a_kill";
    let mut world = World::sqlite(test);
    // It thinks for some seconds before it looks at a name: there is a middle to be killed in.
    let Some(pebble) = Pebble::start(world.path(), test, &[("PEBBLE_VA_SLEEPTIME", "5")]) else { return };
    let listen = format!("127.0.0.1:{}", pebble.http);
    world = world.with(&["--acme-http-listen", &listen, "--allow-inside", "127.0.0.1"]);
    world.start();
    world.apply(&world.fleet("{ channel = \"log\" }", &declared(&pebble)));
    let first = stored(&world, 1);
    let leaf = |v: &Value| v["instances"][0]["fingerprint_sha256"].as_str().unwrap().to_owned();

    // A person wants another one, and the server dies when the CA has the order.
    let orders = pebble.said("orders in the db");
    world.ok(&["cert", "renew", "www", "--reason", "a test"]);
    pebble.says("orders in the db", orders + 1);
    world.kill();
    world.start();
    let both = stored(&world, 2);
    assert_ne!(leaf(&both[0]), leaf(&first[0]));
    let report = world.one(&["audit", "verify"]);
    assert_eq!(report["intact"], true, "{report:#}");
    world.stop();
}
