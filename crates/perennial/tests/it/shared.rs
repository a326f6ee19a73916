//! Several machines behind one address, as HAProxy makes them: one good answer proves nothing about the others.

use std::{
    net::{SocketAddr, TcpListener},
    process::{Command, Stdio},
    time::Duration,
};

use pki::Span;
use serde_json::Value;

use crate::harness::{World, listener::Changing, process::Talking, skipped, so, wait, world::secret};

const NAME: &str = "shop.test.example";
/// How often a port is drawn: between drawing it and listening on it somebody else may take it.
const TRIES: usize = 20;

/// Passes connections on undecrypted: nine to the first machine, then one to the second.
fn haproxy(world: &World, machines: [SocketAddr; 2], test: &str) -> Option<(Talking, SocketAddr)> {
    let mut last = String::new();
    for _ in 0..TRIES {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = format!(
            "global\n  stats timeout 10s\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
             listen edge\n  bind {address}\n  balance roundrobin\n  server new {} weight 9\n  server old {} weight 1\n",
            machines[0], machines[1]
        );
        let file = world.file("haproxy.cfg", text);
        let mut command = Command::new("haproxy");
        // In the foreground, and it says when it runs.
        command.args(["-V", "-db", "-f", &file]).stdin(Stdio::null());
        command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
        let Ok(mut process) = Talking::start(&mut command) else {
            skipped(&format!("perennial {test}: haproxy missing"));
            return None;
        };
        // It listens before anybody may connect; a port that was taken ends it.
        let up = wait(30, "haproxy takes connections, or has ended", || match std::net::TcpStream::connect(address) {
            Ok(_) => Ok(true),
            Err(_) if process.has_ended() => Ok(false),
            Err(error) => Err(error.to_string()),
        });
        if up && !process.has_ended() {
            return Some((process, address));
        }
        last = process.said();
    }
    panic!("haproxy does not start: {last}");
}

#[test]
fn a_stale_tenth_behind_one_address_keeps_the_incident_open() {
    let mut world = World::sqlite("shared");
    let (old, new) = (world.paper.leaf("old", &[NAME], Span::days(10)), world.paper.leaf("new", &[NAME], Span::days(89)));
    let machines = [Changing::serve(&old, Duration::ZERO), Changing::serve(&old, Duration::ZERO)];
    let test = "shared::a_stale_tenth_behind_one_address_keeps_the_incident_open";
    let Some((_haproxy, address)) = haproxy(&world, [machines[0].address, machines[1].address], test) else { return };
    world.start();
    // Nothing says that machines stand behind it: this is what is presumed.
    let target = format!(
        "[[target]]\nname = \"edge\"\nsecret = \"shop\"\nservice = \"shop\"\nroots = \"test\"\nendpoint = \"tls://{address}\"\nserver_name = \"{NAME}\"\n"
    );
    world.apply(&world.fleet("{ channel = \"log\" }", &(secret("shop") + &target)));
    world.import("shop", &old);
    world.run(&["observe", "edge", "--wait"]);
    wait(30, "the incident", || so(world.json(&["incident", "list"]).len() == 1, world.log()));
    world.import("shop", &new);

    // Nine of ten answers are new. However often somebody looks, that is not the end of it.
    machines[0].put(&new);
    let old_until = old.chain[0].not_after().to_string();
    for _ in 0..6 {
        world.run(&["observe", "edge", "--wait", "--timeout", "20s"]);
        let incident = world.one(&["incident", "show", "1"]);
        assert_eq!((&incident["state"], &incident["open_lines"]), (&"opened".into(), &1.into()), "{incident:#}");
    }
    let shown = world.one(&["target", "show", "edge"]);
    assert!(shown["observations"].as_array().unwrap().iter().all(|o| o["streak"].as_i64() < Some(30)), "{shown:#}");
    assert_eq!(world.one(&["secret", "show", "shop"])["served_until"], old_until.as_str());

    // The last machine; thirty handshakes in a row without the old certificate are the evidence.
    machines[1].put(&new);
    let resolved = wait(60, "the incident is resolved", || {
        world.run(&["observe", "edge", "--wait"]);
        let it = world.one(&["incident", "show", "1"]);
        if it["state"] == "resolved" { Ok(it) } else { Err(it) }
    });
    assert_eq!(resolved["lines"][0]["how"], "observed", "{resolved:#}");
    let shown = world.one(&["target", "show", "edge"]);
    let streaks: Vec<&Value> = shown["observations"].as_array().unwrap().iter().map(|o| &o["streak"]).collect();
    assert!(streaks.iter().any(|s| s.as_i64() >= Some(30)), "{shown:#}");
    world.stop();
}
