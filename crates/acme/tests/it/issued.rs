//! Orders at pebble, which rejects every second nonce and looks at what proves each name.

use acme::{Binding, Error, Placed, Solver, Step, http, tls};
use tokio::net::TcpListener;

use crate::{
    pebble::{Names, Pebble, Special},
    support::{drive, new_key, now, wanted},
};

/// An http-01 responder that listens.
async fn web() -> (http::Responder, u16) {
    let (responder, listener) = (http::Responder::new(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(responder.clone().listen(listener));
    (responder, port)
}

#[tokio::test]
async fn http_01_for_two_names() {
    let (responder, port) = web().await;
    let Some(pebble) = Pebble::start("http-01", &Names::Here, port, 1, &Special::default()) else { return };
    let ca = pebble.ca();
    let facts = ca.facts(now()).await.unwrap();
    assert!(facts.terms.is_some() && facts.revokes && !facts.binding_required, "{facts:?}");
    let credentials = pebble.account(&ca).await;

    // A crash between registering and storing the account's URL: the same key is the same account.
    let (key, wanted_key) = (new_key(), new_key());
    let first = ca.register(copy(&key), &[], None, now()).await.unwrap();
    let again = ca.register(key, &[], None, now()).await.unwrap();
    assert_eq!(first.account(), again.account());
    assert_ne!(first.account(), credentials.account());

    let solver = Solver::Http(responder.clone());
    let wanted = wanted(&wanted_key, &["www.example.test", "example.test"]);
    let (issued, said) = drive(&ca, &credentials, &wanted, &solver).await.unwrap();
    assert_eq!(issued.chain.len(), 2);
    assert!(wanted_key.fits(&issued.chain[0]), "{said:?}");
    assert_eq!(responder.served(), 0, "what proved the names was taken away");
    assert!(said.iter().any(|s| s.contains("www.example.test")), "{said:?}");

    let address = crate::support::wanted(&wanted_key, &["127.0.0.1", "www.example.test"]);
    let (with_address, _) = drive(&ca, &credentials, &address, &solver).await.unwrap();
    assert_eq!(with_address.chain[0].names().len(), 2);

    assert_eq!(pebble.status_of(&issued.chain[0]).await, "Valid");
}

#[tokio::test]
async fn tls_alpn_01() {
    let (responder, listener) = (tls::Responder::new(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(responder.clone().listen(listener).unwrap());
    let Some(pebble) = Pebble::start("tls-alpn-01", &Names::Here, 1, port, &Special::default()) else { return };
    let ca = pebble.ca();
    let credentials = pebble.account(&ca).await;
    let key = new_key();
    let solver = Solver::Tls(responder.clone());
    let (issued, said) = drive(&ca, &credentials, &wanted(&key, &["www.example.test", "a.example.test"]), &solver).await.unwrap();
    assert!(key.fits(&issued.chain[0]), "{said:?}");
    assert_eq!(responder.served(), 0);
    // RFC 8738: an address is asked for by its name in the reverse tree.
    let (issued, _) = drive(&ca, &credentials, &wanted(&key, &["127.0.0.1"]), &solver).await.unwrap();
    assert_eq!(issued.chain[0].names()[0].to_string(), "127.0.0.1");
}

/// A CA that takes its time before it looks, and calls a challenge pending meanwhile: it is told once, or it would look again when
/// what proved the name is gone.
#[tokio::test]
async fn a_slow_ca_is_told_once() {
    let (responder, port) = web().await;
    let environment = vec![("PEBBLE_VA_NOSLEEP", "0"), ("PEBBLE_VA_SLEEPTIME", "5")];
    let special = Special { environment, ..Special::default() };
    let Some(pebble) = Pebble::start("a slow CA", &Names::Here, port, 1, &special) else { return };
    let ca = pebble.ca();
    let credentials = pebble.account(&ca).await;
    let key = new_key();
    let wanted = wanted(&key, &["www.example.test", "example.test"]);
    let (issued, said) = drive(&ca, &credentials, &wanted, &Solver::Http(responder)).await.unwrap();
    assert!(key.fits(&issued.chain[0]), "{said:?}");
}

/// One name of a shared certificate fails: it is named, with what the CA says of it, and nothing is left behind.
#[tokio::test]
async fn a_failing_name_is_reported_by_name() {
    let (responder, port) = web().await;
    let Some(pebble) = Pebble::start("a failing name", &Names::Here, port, 1, &Special::default()) else { return };
    // An address of this machine where nobody listens.
    pebble.lead("bad.example.test", "127.0.0.9").await;
    let ca = pebble.ca();
    let credentials = pebble.account(&ca).await;
    let wanted = wanted(&new_key(), &["good.example.test", "bad.example.test"]);
    match drive(&ca, &credentials, &wanted, &Solver::Http(responder.clone())).await {
        Err(Error::Refused(refusal)) => {
            let names: Vec<&str> = refusal.names.iter().map(|n| n.name.as_str()).collect();
            assert_eq!(names, ["bad.example.test"], "{refusal}");
            assert_eq!(refusal.code, "connection", "{refusal}");
            assert!(refusal.to_string().contains("bad.example.test: "), "{refusal}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(responder.served(), 0);
}

#[tokio::test]
async fn another_chain_is_taken_where_it_is_preferred() {
    let (responder, port) = web().await;
    let environment = vec![("PEBBLE_ALTERNATE_ROOTS", "2"), ("PEBBLE_CHAIN_LENGTH", "3")];
    let special = Special { environment, ..Special::default() };
    let Some(pebble) = Pebble::start("other chains", &Names::Here, port, 1, &special) else { return };
    let ca = pebble.ca();
    let credentials = pebble.account(&ca).await;
    let solver = Solver::Http(responder);
    let key = new_key();
    let mut wanted = wanted(&key, &["www.example.test"]);
    for number in 0..3 {
        let root = pebble.root_of_chain(number).await;
        wanted.chain = root.subject().strip_prefix("CN=").map(str::to_owned);
        let (issued, _) = drive(&ca, &credentials, &wanted, &solver).await.unwrap();
        assert_eq!((issued.chain.len(), issued.notes.len()), (4, 0));
        assert_eq!(issued.chain.last().unwrap().issuer(), root.subject(), "{number}");
    }
    wanted.chain = Some("Nobody's Root".into());
    let (issued, _) = drive(&ca, &credentials, &wanted, &solver).await.unwrap();
    assert!(issued.notes[0].contains("no chain to Nobody's Root"), "{:?}", issued.notes);
}

#[tokio::test]
async fn an_external_account_is_bound() {
    let (responder, port) = web().await;
    let external = vec![("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W")];
    let special = Special { external, ..Special::default() };
    let Some(pebble) = Pebble::start("external accounts", &Names::Here, port, 1, &special) else { return };
    let ca = pebble.ca();
    let none = ca.register(new_key(), &[], None, now()).await;
    assert!(matches!(&none, Err(Error::Setup(why)) if why.contains("eab_key_id")), "{none:?}");
    let wrong = Binding::parse("kid-1", "d3Jvbmc").unwrap();
    let wrong = ca.register(new_key(), &[], Some(&wrong), now()).await;
    assert!(matches!(&wrong, Err(Error::Refused(refusal)) if refusal.code == "unauthorized"), "{wrong:?}");
    let right = Binding::parse("kid-1", special.external[0].1).unwrap();
    let credentials = ca.register(new_key(), &[], Some(&right), now()).await.unwrap();
    let key = new_key();
    let (issued, _) = drive(&ca, &credentials, &wanted(&key, &["www.example.test"]), &Solver::Http(responder)).await.unwrap();
    assert!(key.fits(&issued.chain[0]));
}

/// What is not known to the CA, or to the account, is an end and no loop.
#[tokio::test]
async fn orders_and_accounts_that_are_gone() {
    let (responder, port) = web().await;
    let Some(pebble) = Pebble::start("what is gone", &Names::Here, port, 1, &Special::default()) else { return };
    let ca = pebble.ca();
    let credentials = pebble.account(&ca).await;
    let solver = Solver::Http(responder);
    let wanted = wanted(&new_key(), &["www.example.test"]);
    let gone = pebble.directory.replace("/dir", "/my-order/gone");
    let placed = Some(Placed { url: &gone, since: now() });
    let answer = ca.advance(&credentials, &wanted, &solver, placed, now()).await;
    assert!(matches!(&answer, Err(Error::Refused(refusal)) if refusal.code == "order-gone"), "{answer:?}");
    let stranger = acme::Credentials::new(&pebble.directory, pebble.directory.replace("/dir", "/my-account/9"), new_key());
    let answer = ca.advance(&stranger, &wanted, &solver, None, now()).await;
    assert!(matches!(&answer, Err(Error::Refused(refusal)) if refusal.code == "accountDoesNotExist"), "{answer:?}");
}

/// The names are proven once, and what an order left is taken away when it is given up.
#[tokio::test]
async fn an_order_that_is_given_up_leaves_nothing() {
    let (responder, port) = web().await;
    let Some(pebble) = Pebble::start("given up", &Names::Here, port, 1, &Special::default()) else { return };
    let ca = pebble.ca();
    let credentials = pebble.account(&ca).await;
    let solver = Solver::Http(responder.clone());
    let wanted = wanted(&new_key(), &["www.example.test"]);
    let Step::Placed { url, .. } = ca.advance(&credentials, &wanted, &solver, None, now()).await.unwrap() else { panic!() };
    let placed = Some(Placed { url: &url, since: now() });
    let Step::Waiting { awaits, after, .. } = ca.advance(&credentials, &wanted, &solver, placed, now()).await.unwrap() else { panic!() };
    assert!(awaits.contains("www.example.test") && after >= 1, "{awaits}");
    assert_eq!(responder.served(), 1);
    ca.abandon(&credentials, &wanted, &solver, &url, now()).await.unwrap();
    assert_eq!(responder.served(), 0);
}

fn copy(key: &pki::PrivateKey) -> pki::PrivateKey {
    pki::PrivateKey::from_der(key.expose_pkcs8()).unwrap()
}
