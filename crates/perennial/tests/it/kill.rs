//! SIGKILL at any moment: what was acknowledged is there, and the journal verifies.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pki::{Certificate, Span};
use serde_json::{Value, json};

use crate::harness::{Kind, Lcg, World, now, wait, world::secret};

const ROUNDS: u64 = 10;
/// The longest time before a kill, in milliseconds, from the first answer on.
const LONGEST: u64 = 400;
const NAME: &str = "shop.test.example";

#[test]
fn nothing_acknowledged_is_lost_on_sqlite() {
    rounds(Kind::Sqlite, "kill::nothing_acknowledged_is_lost_on_sqlite");
}

#[test]
fn nothing_acknowledged_is_lost_on_postgresql() {
    rounds(Kind::Postgres, "kill::nothing_acknowledged_is_lost_on_postgresql");
}

/// What was sent, and what came back.
#[derive(Default)]
struct Told {
    /// Version and fingerprint.
    acknowledged: Vec<(i64, String)>,
    /// Sent, and nobody knows.
    unknown: Option<String>,
}

fn rounds(kind: Kind, test: &str) {
    let Some(mut world) = World::new(kind, test) else { return };
    let mut random = Lcg(0x5eed);
    world.start();
    let secrets: String = (0..ROUNDS).map(|n| secret(&format!("shop-{n}"))).collect();
    world.apply(&world.fleet("{ channel = \"log\" }", &secrets));
    let mut all = Vec::new();
    for round in 0..ROUNDS {
        let pause = Duration::from_millis(random.below(LONGEST));
        let begun = AtomicBool::new(false);
        let told = thread::scope(|scope| {
            let importing = scope.spawn(|| import_until_it_dies(&world, round, &begun));
            wait(30, "the first answer", || begun.load(Ordering::Relaxed).then_some(()).ok_or("none yet"));
            thread::sleep(pause);
            world.signal("KILL");
            importing.join().unwrap()
        });
        all.push(told);
        world.kill();
        world.start();
        for (round, told) in all.iter().enumerate() {
            check(&world, round, told);
        }
    }
    let acknowledged: usize = all.iter().map(|t| t.acknowledged.len()).sum();
    assert!(acknowledged >= all.len(), "too few to say anything: {acknowledged}");
    let report = world.one(&["audit", "verify"]);
    assert_eq!((&report["intact"], &report["epochs"]), (&true.into(), &1.into()), "{report:#}");
    // It is not only there: it goes on.
    world.stop();
}

fn import_until_it_dies(world: &World, round: u64, begun: &AtomicBool) -> Told {
    let api = world.api();
    let mut told = Told::default();
    // As many as a secret shows versions.
    for _ in 0..100 {
        let (chain, key) = world.paper.loose(&[NAME], now() - Span::days(1), now() + Span::days(89));
        let fingerprint = chain[0].fingerprint().to_string();
        let pem: String = chain.iter().map(Certificate::to_pem).collect();
        let instance = json!({ "chain": STANDARD.encode(pem), "key": STANDARD.encode(key.expose_pem().as_bytes()) });
        let body = json!({ "instances": [instance], "reason": "a test" });
        match api.send("POST", &format!("/v1/secrets/shop-{round}/versions"), Some(&body)) {
            Ok(answer) => {
                assert!(matches!(answer.status, 200 | 201), "{answer:?}");
                told.acknowledged.push((answer.body["version"].as_i64().unwrap(), fingerprint));
                begun.store(true, Ordering::Relaxed);
            }
            Err(_) => {
                told.unknown = Some(fingerprint);
                break;
            }
        }
    }
    told
}

/// Every acknowledged version is there as a whole; one more may be, if nobody knew.
fn check(world: &World, round: usize, told: &Told) {
    let secret = world.api().get(&format!("/v1/secrets/shop-{round}"));
    assert_eq!(secret.status, 200, "{secret:?}");
    let whole = |version: &Value| {
        let instance = &version["instances"][0];
        assert!(instance["has_key"] == true && instance["key_type"] == "ecdsa", "half a version: {version:#}");
        (version["number"].as_i64().unwrap(), instance["fingerprint_sha256"].as_str().unwrap().to_owned())
    };
    let mut stored: Vec<_> = secret.body["versions"].as_array().unwrap().iter().map(whole).collect();
    stored.reverse();
    let known = told.acknowledged.len();
    assert_eq!(stored[..known.min(stored.len())], told.acknowledged, "round {round}");
    match &stored[known..] {
        [] => {}
        [(_, one)] => assert_eq!(Some(one), told.unknown.as_ref(), "round {round}"),
        more => panic!("round {round}: nobody sent {more:?}"),
    }
    assert_eq!(stored.iter().map(|(n, _)| *n).collect::<Vec<_>>(), (1..=stored.len() as i64).collect::<Vec<_>>());
}
