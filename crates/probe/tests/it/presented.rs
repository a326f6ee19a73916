//! Servers that behave: what is reported, and how the connection ends.

use std::sync::Arc;

use probe::{Blame, Offer, Phase, Protocol};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::CertificateDer,
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};

use crate::peers::{Key, config, dialer, identity, impostor, serve, target};

#[tokio::test]
async fn the_whole_chain_is_reported_though_it_is_worth_nothing_and_the_close_is_polite() {
    for (version, protocol, cipher) in
        [(&TLS13, "TLSv1.3", "TLS_AES_128_GCM_SHA256"), (&TLS12, "TLSv1.2", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384")]
    {
        let identity = identity(Key::Ecdsa);
        let mut config = config(&[&identity], version);
        config.ignore_client_order = protocol == "TLSv1.2";
        let (address, mut visits) = serve(config).await;
        let dialer = dialer(|_| {});
        for _ in 0..2 {
            let attempt = dialer.dial(&target(address, Protocol::Tls), address.ip(), Offer::All).await;
            assert_eq!(attempt.address, Some(address));
            let presented = attempt.result.unwrap();
            assert_eq!(presented.chain, identity.chain);
            assert_eq!((presented.protocol, presented.cipher, presented.group), (protocol, cipher, "X25519"));
            assert_eq!((presented.client_certificate_asked, presented.aftermath), (false, None));
            let visit = visits.recv().await.unwrap();
            assert!(visit.full, "a resumed session shows no certificate");
            assert!(visit.polite, "the connection must end with close_notify");
            assert_eq!(visit.server_name.as_deref(), Some("one.example"));
        }
    }
}

#[tokio::test]
async fn names_are_sent_as_declared_and_addresses_never() {
    let identity = identity(Key::Ecdsa);
    let (address, mut visits) = serve(config(&[&identity], &TLS13)).await;
    let mut plain = target(address, Protocol::Tls);
    plain.host = address.ip().to_string();
    plain.address = None;
    let mut named = plain.clone();
    named.server_name = Some("Two.Example.".into());
    for (target, expected) in [(plain, None), (named, Some("two.example"))] {
        let attempts = dialer(|_| {}).look(&target, Offer::All).await;
        assert!(attempts[0].result.is_ok(), "{attempts:?}");
        assert_eq!(visits.recv().await.unwrap().server_name.as_deref().map(str::to_lowercase).as_deref(), expected);
    }
}

#[tokio::test]
async fn a_name_that_cannot_be_sent_is_our_own_failure() {
    let identity = identity(Key::Ecdsa);
    let (address, _visits) = serve(config(&[&identity], &TLS13)).await;
    let mut target = target(address, Protocol::Tls);
    target.server_name = Some("no name".into());
    let failure = dialer(|_| {}).dial(&target, address.ip(), Offer::All).await.result.unwrap_err();
    assert_eq!((failure.blame, failure.retry), (Blame::Local, false));
    assert!(failure.detail.contains("\"no name\" cannot be sent"), "{failure}");
}

#[tokio::test]
async fn each_offer_shows_its_certificate_of_a_dual_setup() {
    let (rsa, ecdsa) = (identity(Key::Rsa), identity(Key::Ecdsa));
    for version in [&TLS12, &TLS13] {
        let (address, _visits) = serve(config(&[&ecdsa, &rsa], version)).await;
        for (offer, expected) in [(Offer::All, &ecdsa), (Offer::RsaOnly, &rsa), (Offer::EcdsaOnly, &ecdsa)] {
            let attempt = dialer(|_| {}).dial(&target(address, Protocol::Tls), address.ip(), offer).await;
            assert_eq!(attempt.result.unwrap().chain, expected.chain, "{offer:?} {version:?}");
        }
    }
}

#[tokio::test]
async fn an_offer_that_the_server_cannot_meet_is_a_named_refusal() {
    let ecdsa = identity(Key::Ecdsa);
    for version in [&TLS12, &TLS13] {
        let (address, _visits) = serve(config(&[&ecdsa], version)).await;
        let attempt = dialer(|_| {}).dial(&target(address, Protocol::Tls), address.ip(), Offer::RsaOnly).await;
        let failure = attempt.result.unwrap_err();
        assert_eq!((failure.phase, failure.blame, failure.retry), (Phase::Handshake, Blame::Tls, false), "{failure}");
        assert!(failure.detail.contains("no certificate for this server name and offer"), "{failure}");
    }
}

#[tokio::test]
async fn a_server_that_wants_a_client_certificate_is_observed_all_the_same() {
    for version in [&TLS12, &TLS13] {
        let identity = identity(Key::Ecdsa);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(identity.chain[1].clone())).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(Arc::clone(&identity.certified))));
        let (address, _visits) = serve(config).await;
        let presented = dialer(|_| {}).dial(&target(address, Protocol::Tls), address.ip(), Offer::All).await.result.unwrap();
        assert_eq!(presented.chain, identity.chain, "{version:?}");
        assert!(presented.client_certificate_asked);
        let aftermath = presented.aftermath.expect("the alert is reported");
        assert!(aftermath.detail.contains("certificate"), "{version:?} {aftermath}");
        assert_eq!(aftermath.blame, Blame::Peer, "{version:?} {aftermath}");
    }
}

#[tokio::test]
async fn a_chain_without_its_key_is_not_presented() {
    for version in [&TLS12, &TLS13] {
        let impostor = impostor();
        let (address, _visits) = serve(config(&[&impostor], version)).await;
        let failure = dialer(|_| {}).dial(&target(address, Protocol::Tls), address.ip(), Offer::All).await.result.unwrap_err();
        assert_eq!((failure.phase, failure.blame), (Phase::Handshake, Blame::Tls), "{failure}");
        assert!(failure.detail.contains("did not prove"), "{failure}");
        assert_eq!(failure.unproven_chain, impostor.chain, "{version:?}");
    }
}
