//! Messages reach people: signed, in order, at least once, over a restart; Alertmanager and the heartbeat.

use std::{path::Path, process::Command};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use pki::Span;
use serde_json::Value;

use crate::harness::{
    World,
    https::{Received, Receiver},
    listener,
    paper::Pair,
    process::Talking,
    skipped, so, wait,
    world::{secret, target},
};

const NAME: &str = "shop.test.example";
/// 32 bytes, as Standard Webhooks writes them.
const KEY: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const HOOK: &str = "/hook";

struct Stage {
    world: World,
    receiver: Receiver,
    old: Pair,
}

/// A receiver, and a server that may reach it although it lies inside.
fn stage(test: &str) -> Stage {
    let mut world = World::sqlite(test);
    let receiver = Receiver::start(&world.paper.leaf("receiver", &["127.0.0.1"], Span::days(89)));
    let allowed = receiver.address.to_string();
    let root = world.paper.root_file().display().to_string();
    world = world.with(&["--allow-inside", &allowed, "--outgoing-ca", &root]);
    let old = world.paper.leaf("old", &[NAME], Span::days(10));
    Stage { world, receiver, old }
}

impl Stage {
    /// Declares a target that serves what has little left, and looks at it.
    fn begin(&self, contacts: &str) {
        let served = listener::serve(&self.old.chain, &self.old.key);
        let hook = "[[secret]]\nname = \"hook-key\"\nkind = \"opaque\"\nservice = \"shop\"\n\n";
        let world = &self.world;
        let without = world.fleet("{ channel = \"log\" }", &(hook.to_owned() + &secret("shop")));
        world.apply(&without);
        let key = world.file("hook.key", KEY);
        world.ok(&["secret", "put", "hook-key", "--file", &key]);
        world.import("shop", &self.old);
        let all = hook.to_owned() + &secret("shop") + &target("shop", "front", served, NAME);
        world.apply(&world.fleet(contacts, &all));
        world.ok(&["observe", "front", "--wait"]);
    }

    fn webhook(&self) -> String {
        format!("{{ channel = \"webhook\", url = \"https://{}{HOOK}\", signing_secret = \"hook-key\" }}", self.receiver.address)
    }

    /// Messages about the incident, as they came.
    fn incident(&self) -> Vec<Received> {
        self.receiver.received(HOOK).into_iter().filter(|r| r.json()["data"]["incident"] == 1).collect()
    }

    fn events(&self) -> Vec<(String, u16)> {
        self.incident().iter().map(|r| (r.json()["type"].as_str().unwrap().to_owned(), r.status)).collect()
    }

    /// Waits until the failure of an attempt is written down: only then is its message free to be tried again soon.
    fn failures_written(&self, least: i64) {
        let database = rusqlite::Connection::open(self.world.data.join("perennial.db")).unwrap();
        wait(20, "failed attempts in the database", || {
            let n: i64 = database.query_row("SELECT count(*) FROM delivery WHERE ok = 0", [], |row| row.get(0)).unwrap();
            so(n >= least, n)
        });
    }
}

/// Standard Webhooks: `v1,` and the HMAC-SHA256 of `id.timestamp.body`.
fn verify(message: &Received) {
    let (id, timestamp) = (message.header("webhook-id"), message.header("webhook-timestamp"));
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(KEY.strip_prefix("whsec_").unwrap()).unwrap());
    let signature = message.header("webhook-signature").strip_prefix("v1,").unwrap();
    let signed = [format!("{id}.{timestamp}.").as_bytes(), &message.body].concat();
    hmac::verify(&key, &signed, &STANDARD.decode(signature).unwrap()).unwrap();
    let mut changed = signed;
    *changed.last_mut().unwrap() ^= 1;
    assert!(hmac::verify(&key, &changed, &STANDARD.decode(signature).unwrap()).is_err());
}

#[test]
fn a_webhook_gets_everything_signed_in_order_and_over_a_restart() {
    let mut stage = stage("messages");
    stage.world.start();
    // The receiver is down when it begins.
    stage.receiver.answer(500);
    stage.begin(&stage.webhook());
    wait(20, "the opening was tried", || so(!stage.incident().is_empty(), stage.world.log()));
    stage.world.ok(&["incident", "ack", "1", "--reason", "on it"]);
    stage.failures_written(1);

    // Nothing is lost by a crash, and nothing overtakes.
    stage.world.kill();
    stage.receiver.answer(200);
    stage.world.start();
    wait(60, "opened, then acknowledged", || {
        let taken: Vec<String> = stage.events().into_iter().filter(|(_, status)| *status == 200).map(|(event, _)| event).collect();
        so(taken == ["incident.opened", "incident.acknowledged"], stage.events())
    });
    let events = stage.events();
    let first_taken = events.iter().position(|(_, status)| *status == 200).unwrap();
    assert!(first_taken > 0, "{events:?}");
    assert!(events[..=first_taken].iter().all(|(event, _)| event == "incident.opened"), "{events:?}");

    let all = stage.incident();
    all.iter().for_each(verify);
    // The same message has the same id each time, so that a receiver can tell.
    let ids: Vec<&str> = all[..=first_taken].iter().map(|r| r.header("webhook-id")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_ne!(all.last().unwrap().header("webhook-id"), ids[0]);
    let message = all[first_taken].json();
    let data = &message["data"];
    assert_eq!((&data["secret"], &data["team"], &data["code"]), (&"shop".into(), &"web".into(), &"leaf-expiring".into()), "{message:#}");
    assert_eq!(data["targets"][0]["target"], "front", "{message:#}");
    assert_eq!(data["served"], stage.old.fingerprint().as_str(), "{message:#}");
    assert_eq!(data["served_until"], stage.old.chain[0].not_after().to_string().as_str());
    wait(20, "nothing waits", || {
        let status = stage.world.one(&["status"]);
        so(status["outbox_waiting"] == 0 && status["outbox_stuck"] == 0, status)
    });
    assert_eq!(stage.world.one(&["audit", "verify"])["intact"], true);
}

#[test]
fn a_store_that_restarts_sealed_still_pages() {
    let mut stage = stage("messages");
    let phrase = stage.world.file("passphrase", "correct horse battery staple\n");
    stage.world.key = vec!["--passphrase-file".into(), phrase];
    stage.world.start();
    let hook = "[[secret]]\nname = \"hook-key\"\nkind = \"opaque\"\nservice = \"shop\"\n\n".to_owned() + &secret("shop");
    let key = stage.world.file("hook.key", KEY);
    stage.world.apply(&stage.world.fleet(&stage.webhook(), &hook));
    stage.world.ok(&["secret", "put", "hook-key", "--file", &key]);
    stage.world.stop();

    // It comes back without its passphrase, and only then does something happen.
    stage.world.key.clear();
    stage.world.start();
    assert_eq!(stage.world.one(&["status"])["sealed"], true);
    let served = listener::serve(&stage.old.chain, &stage.old.key);
    stage.world.apply(&stage.world.fleet(&stage.webhook(), &(hook + &target("shop", "front", served, NAME))));
    stage.world.run(&["observe", "front", "--wait"]);
    wait(20, "the page", || so(stage.events().iter().any(|(e, _)| e == "incident.opened"), stage.world.log()));
    stage.incident().iter().for_each(verify);
    stage.world.stop();

    // Without the key that lies with the server nobody is reached, and that is no secret.
    std::fs::remove_file(stage.world.data.join("delivery.key")).unwrap();
    stage.world.start();
    let findings = stage.world.one(&["status"])["findings"].clone();
    let locked = findings.as_array().unwrap().iter().find(|f| f["code"] == "contacts-locked").unwrap().clone();
    assert!(locked["detail"].as_str().unwrap().contains("webhook of team web (hook-key)"), "{locked:#}");
}

#[test]
fn an_inside_address_that_was_not_named_is_refused() {
    let mut stage = stage("messages");
    let at = stage.world.options.iter().position(|o| o == "--allow-inside").unwrap();
    stage.world.options.drain(at..at + 2);
    stage.world.start();
    stage.begin(&stage.webhook());
    wait(20, "the refusal is in the journal or the message waits", || {
        let database = rusqlite::Connection::open(stage.world.data.join("perennial.db")).unwrap();
        let sql = "SELECT detail FROM delivery WHERE ok = 0 LIMIT 1";
        database
            .query_row(sql, [], |row| row.get::<_, String>(0))
            .map_err(|e| e.to_string())
            .and_then(|detail| so(detail.contains("127.0.0.1"), detail))
    });
    assert!(stage.receiver.received(HOOK).is_empty());
}

#[test]
fn the_heartbeat_beats() {
    let mut stage = stage("messages");
    let url = format!("https://{}/alive", stage.receiver.address);
    stage.world = stage.world.with(&["--heartbeat", &url, "--heartbeat-every", "1"]);
    stage.world.start();
    wait(20, "three heartbeats", || so(stage.receiver.received("/alive").len() >= 3, stage.world.log()));
}

struct Alertmanager {
    _process: Talking,
    address: std::net::SocketAddr,
}

impl Alertmanager {
    fn start(folder: &Path, test: &str) -> Option<Alertmanager> {
        let file = folder.join("alertmanager.yml");
        std::fs::write(&file, "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n").unwrap();
        let mut command = Command::new("prometheus-alertmanager");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.path={}", folder.join("alertmanager").display()));
        command.args(["--web.listen-address=127.0.0.1:0", "--cluster.listen-address="]);
        let Ok(mut process) = Talking::start(&mut command) else {
            skipped(&format!("perennial {test}: prometheus-alertmanager missing"));
            return None;
        };
        let address = process.hear("msg=\"Listening on\" address=").unwrap().parse().unwrap();
        Some(Alertmanager { _process: process, address })
    }

    /// Alerts that stand.
    fn alerts(&self) -> Vec<Value> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(self.address).unwrap();
        write!(stream, "GET /api/v2/alerts HTTP/1.0\r\nhost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
    }
}

#[test]
fn alertmanager_shows_the_alert_while_it_stands() {
    let mut stage = stage("messages");
    let Some(peer) = Alertmanager::start(stage.world.path(), "messages::alertmanager_shows_the_alert_while_it_stands") else { return };
    stage.world = stage.world.with(&["--allow-inside", &peer.address.to_string()]);
    stage.world.start();
    stage.begin(&format!("{{ channel = \"alertmanager\", url = \"http://{}\" }}", peer.address));
    let incidents = || peer.alerts().into_iter().filter(|a| a["labels"]["alertname"] == "PerennialIncident").collect::<Vec<_>>();
    let alert = wait(20, "the alert stands", || incidents().into_iter().next().ok_or_else(|| stage.world.log()));
    assert_eq!((&alert["labels"]["team"], &alert["labels"]["code"]), (&"web".into(), &"leaf-expiring".into()), "{alert:#}");
    assert_eq!(alert["annotations"]["secret"], "shop", "{alert:#}");

    // Only what is served ends it: the same target, at an address that serves the new certificate.
    let new = stage.world.paper.leaf("new", &[NAME], Span::days(89));
    stage.world.import("shop", &new);
    assert_eq!(incidents().len(), 1);
    let served = listener::serve(&new.chain, &new.key);
    let hook = "[[secret]]\nname = \"hook-key\"\nkind = \"opaque\"\nservice = \"shop\"\n\n";
    let contacts = format!("{{ channel = \"alertmanager\", url = \"http://{}\" }}", peer.address);
    stage.world.apply(&stage.world.fleet(&contacts, &(hook.to_owned() + &secret("shop") + &target("shop", "front", served, NAME))));
    wait(40, "the alert has ended", || {
        stage.world.run(&["observe", "front", "--wait"]);
        let left = incidents();
        so(left.is_empty(), (left, stage.world.run(&["incident", "show", "1"])))
    });
    assert_eq!(stage.world.one(&["incident", "show", "1"])["state"], "resolved");
}
