//! dns-01 by real updates at BIND, and by servers that refuse, lie or are silent.

use acme::{
    Error, Placed, Solver, Step,
    dns::{Algorithm, Key},
};
use pki::Span;
use tokio::net::{TcpListener, UdpSocket};

use crate::{
    bind::Bind,
    pebble::{Names, Pebble, Special},
    support::{drive, new_key, now, wanted},
};

#[tokio::test]
async fn a_wildcard_and_its_name_by_signed_updates() {
    let Some(bind) = Bind::start("dns-01") else { return };
    let Some(pebble) = Pebble::start("dns-01", &Names::At(bind.port), 1, 1, &Special::default()) else { return };
    let ca = pebble.ca();
    let credentials = pebble.account(&ca).await;
    for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
        let updater = bind.updater(algorithm, vec![bind.server()]);
        let key = new_key();
        // Two values under one name.
        let wanted = wanted(&key, &["*.example.test", "example.test", "www.example.test"]);
        let (issued, said) = drive(&ca, &credentials, &wanted, &Solver::Dns(updater)).await.unwrap();
        assert!(key.fits(&issued.chain[0]) && issued.notes.is_empty(), "{said:?} {:?}", issued.notes);
    }
    if let Some(left) = bind.records() {
        assert_eq!(left, 0, "{}", bind.peer.said());
    }
    assert!(bind.peer.said().contains("adding an RR at '_acme-challenge.www.example.test' TXT"), "{}", bind.peer.said());
}

/// A zone has several servers, and the CA may ask any of them.
#[tokio::test]
async fn all_servers_are_waited_for_but_not_for_ever() {
    let (Some(first), Some(second)) = (Bind::start("two name servers"), Bind::start("two name servers")) else { return };
    let Some(pebble) = Pebble::start("two name servers", &Names::At(first.port), 1, 1, &Special::default()) else { return };
    let ca = pebble.ca();
    let credentials = pebble.account(&ca).await;
    // The second one never hears of it.
    let solver = Solver::Dns(first.updater(Algorithm::Sha256, vec![first.server(), second.server()]));
    let wanted = wanted(&new_key(), &["www.example.test"]);
    let Step::Placed { url, .. } = ca.advance(&credentials, &wanted, &solver, None, now()).await.unwrap() else { panic!() };
    let mut last = String::new();
    for _ in 0..2 {
        let placed = Placed { url: &url, since: now() };
        let Step::Waiting { awaits, .. } = ca.advance(&credentials, &wanted, &solver, Some(placed), now()).await.unwrap() else { panic!() };
        last = awaits;
    }
    let second_says = format!("127.0.0.1:{} does not show it", second.port);
    assert!(last.contains(&second_says) && last.contains("_acme-challenge.www.example.test"), "{last}");
    let since = now() - Span::seconds(acme::dns::ALL_SERVERS + 1);
    for _ in 0..20 {
        match ca.advance(&credentials, &wanted, &solver, Some(Placed { url: &url, since }), now()).await.unwrap() {
            Step::Issued(_) => return assert_eq!(first.records().unwrap_or(0), 0),
            Step::Waiting { .. } => tokio::time::sleep(std::time::Duration::from_secs(1)).await,
            Step::Placed { .. } => panic!(),
        }
    }
    panic!("never issued");
}

/// What is configured wrong is said, and is no fault of the CA's.
#[tokio::test]
async fn wrong_keys_zones_and_servers() {
    let Some(bind) = Bind::start("wrong keys") else { return };
    let Some(pebble) = Pebble::start("wrong keys", &Names::At(bind.port), 1, 1, &Special::default()) else { return };
    let ca = pebble.ca();
    let credentials = pebble.account(&ca).await;
    let wanted = wanted(&new_key(), &["www.example.test"]);
    let good = || bind.updater(Algorithm::Sha256, vec![bind.server()]);
    let key = |name: &str, secret: &str| Key::parse(name, Algorithm::Sha256, secret).unwrap();
    let cases = [
        (acme::dns::Updater { key: key("key-hmac-sha256", "d3Jvbmc="), ..good() }, "BADSIG"),
        (acme::dns::Updater { key: key("nobodys-key", crate::bind::SECRET), ..good() }, "BADKEY"),
        (acme::dns::Updater { zone: "test".into(), ..good() }, "NOTAUTH"),
        (acme::dns::Updater { zone: "other.test".into(), ..good() }, "not in the zone other.test"),
        (acme::dns::Updater { allow: outbound::Allow::nothing(), ..good() }, "inside address (loopback)"),
        (acme::dns::Updater { server: "127.0.0.1".into(), ..good() }, "not host:port"),
    ];
    let solver = Solver::Dns(good());
    let Step::Placed { url, .. } = ca.advance(&credentials, &wanted, &solver, None, now()).await.unwrap() else { panic!() };
    for (updater, says) in cases {
        let answer = ca.advance(&credentials, &wanted, &Solver::Dns(updater), Some(Placed { url: &url, since: now() }), now()).await;
        assert!(matches!(&answer, Err(Error::Setup(why)) if why.contains(says)), "{says}: {answer:?}");
    }
    // The same order goes on when it is put right.
    let (issued, _) = drive(&ca, &credentials, &wanted, &solver).await.unwrap();
    assert_eq!(issued.chain.len(), 2);
}

/// A server that says nothing costs seconds, not the loop.
#[tokio::test]
async fn a_silent_server_is_waited_for_briefly() {
    let Some(bind) = Bind::start("silence") else { return };
    let Some(pebble) = Pebble::start("silence", &Names::At(bind.port), 1, 1, &Special::default()) else { return };
    let ca = pebble.ca();
    let credentials = pebble.account(&ca).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = silent.local_addr().unwrap();
    let _udp = UdpSocket::bind(at).await.unwrap();
    let wanted = wanted(&new_key(), &["www.example.test"]);
    let mut updater = bind.updater(Algorithm::Sha256, vec![bind.server(), at.to_string()]);
    let solver = Solver::Dns(updater.clone());
    let Step::Placed { url, .. } = ca.advance(&credentials, &wanted, &solver, None, now()).await.unwrap() else { panic!() };
    let placed = || Some(Placed { url: &url, since: now() });
    let Step::Waiting { awaits, .. } = ca.advance(&credentials, &wanted, &solver, placed(), now()).await.unwrap() else { panic!() };
    assert!(awaits.contains(&at.to_string()) && awaits.contains("did not answer within 5s"), "{awaits}");
    updater.server = at.to_string();
    // Another start of the program: what was written before it is written again.
    let answer = pebble.ca().advance(&credentials, &wanted, &Solver::Dns(updater), placed(), now()).await;
    assert!(
        matches!(&answer, Err(Error::Later { detail, after: 60, whose: acme::Whose::Proof }) if detail.contains("did not answer")),
        "{answer:?}"
    );
}
