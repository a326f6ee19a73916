//! The real Alertmanager as receiver.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use api::fleet::Contact;
use outbound::{Client, Method, Policy, Request};
use pki::{Span, Time};
use serde_json::Value;

use super::{Attempt, Message, Outcome, Prepared, prepare, sample, send};

const PROGRAM: &str = "prometheus-alertmanager";
const CONFIGURATION: &str = "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n";

struct Alertmanager {
    process: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts it on a port of the system's choice. `None` where it is not installed.
fn start() -> Option<Alertmanager> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alertmanager.yml");
    std::fs::write(&file, CONFIGURATION).unwrap();
    let started = Command::new(PROGRAM)
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.path={}", folder.path().join("data").display()))
        .args(["--web.listen-address=127.0.0.1:0", "--cluster.listen-address="])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    let mut process = match started {
        Ok(process) => process,
        Err(error) if std::env::var_os("PERENNIAL_REQUIRE_PEERS").is_some_and(|value| value == "1") => {
            panic!("{PROGRAM} is required and does not start: {error}; install the package of that name")
        }
        Err(_) => {
            // Past the harness, which would hide it for a test that passes.
            let _ = writeln!(std::io::stderr(), "SKIPPED deliver::peer: {PROGRAM} is not installed");
            return None;
        }
    };
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let address =
        lines.by_ref().map(Result::unwrap).find_map(|line| Some(line.split_once("msg=\"Listening on\" address=")?.1.trim().to_owned()));
    // It must not block on a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    let alertmanager = Alertmanager { process, address: address.unwrap_or_default(), _folder: folder };
    assert!(!alertmanager.address.is_empty(), "{PROGRAM} ended before it listened");
    Some(alertmanager)
}

#[tokio::test]
async fn alertmanager_takes_what_is_sent() {
    let Some(peer) = start() else { return };
    let mut policy = Policy::new(rustls::RootCertStore::empty());
    policy.allow = [&peer.address].into_iter().collect();
    let client = Client::new(policy).unwrap();
    let contact = Contact::Alertmanager { url: format!("http://{}", peer.address) };

    // Alertmanager compares with its own clock, so these alerts must be of today.
    let seconds = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let now = Time::from_unix(i64::try_from(seconds).unwrap());
    let tell = async |contact: &Contact, message: &Message, firing| {
        let attempt = Attempt { id: "1", message, firing, now };
        let Ok(Prepared::Request(request)) = prepare(contact, attempt, None) else { panic!("a request") };
        send(&client, request).await
    };
    let standing = async || -> Vec<Value> {
        let request = Request::new(Method::GET, format!("http://{}/api/v2/alerts", peer.address));
        serde_json::from_slice(&client.send(request).await.unwrap().body).unwrap()
    };

    let started = now - Span::hours(1);
    let of_today = |message: Message| Message { started_unix: started.unix(), ..message };
    let (incident, hostile) = (of_today(sample::incident()), of_today(sample::hostile()));
    for message in [&incident, &incident, &hostile] {
        assert_eq!(tell(&contact, message, true).await, Outcome::Delivered);
    }
    let alerts = standing().await;
    assert_eq!(alerts.len(), 2, "posted again, the same alert stands once: {alerts:?}");
    let found = alerts.iter().find(|alert| alert["labels"]["subject"] == "incident/42").unwrap();
    assert_eq!(found["labels"]["alertname"], "PerennialIncident");
    assert_eq!(found["startsAt"], format!("{}.000Z", started.to_string().trim_end_matches('Z')));

    // The resolving message has another severity than the one that fired.
    let resolved = of_today(sample::resolved());
    assert_ne!((resolved.severity, resolved.page), (incident.severity, incident.page));
    for message in [&resolved, &hostile] {
        assert_eq!(tell(&contact, message, false).await, Outcome::Delivered);
    }
    assert_eq!(standing().await, Vec::<Value>::new(), "what is over no longer stands");

    let wrong = Contact::Alertmanager { url: format!("http://{}/nowhere", peer.address) };
    assert!(matches!(tell(&wrong, &incident, true).await, Outcome::Refused { .. }));
}
