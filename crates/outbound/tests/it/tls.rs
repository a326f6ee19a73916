//! Whom the client believes.

use outbound::{Blame, Phase, roots_from_pem};
use rustls::RootCertStore;

use crate::servers::{Identity, Server, https, identity, text};
use crate::{client, get};

async fn attempt(identity: &Identity, roots: &RootCertStore, host: &str) -> Result<outbound::Response, outbound::Error> {
    let server: Server = https(identity, |_| text(200, "hello")).await;
    let url = format!("https://{host}:{}/", server.address.port());
    client(&[host], |policy| policy.roots = roots.clone().into()).send(get(url)).await
}

#[tokio::test]
async fn a_name_or_an_address_that_the_certificate_covers() {
    for host in ["localhost", "127.0.0.1"] {
        let identity = identity(host, false);
        assert_eq!(attempt(&identity, &identity.roots, host).await.unwrap().body, "hello");
    }
}

#[tokio::test]
async fn what_is_not_believed() {
    let good = identity("localhost", false);
    let stranger = identity("localhost", false);
    let elsewhere = identity("store.example.com", false);
    let expired = identity("localhost", true);
    for (why, identity, roots) in [
        ("UnknownIssuer", &good, &stranger.roots),
        ("not valid for name", &elsewhere, &elsewhere.roots),
        ("expired", &expired, &expired.roots),
    ] {
        let error = attempt(identity, roots, "localhost").await.unwrap_err();
        assert_eq!((error.phase, error.blame), (Phase::Handshake, Blame::Tls), "{error}");
        assert!(error.retry, "a certificate gets repaired: {error}");
        assert!(error.detail.contains(why), "{error} should say {why}");
    }
}

#[tokio::test]
async fn being_allowed_inside_is_no_reason_to_trust() {
    let identity = identity("localhost", false);
    let error = attempt(&identity, &RootCertStore::empty(), "localhost").await.unwrap_err();
    assert_eq!(error.blame, Blame::Tls, "{error}");
}

#[test]
fn files_of_roots() {
    let pem = identity("localhost", false).roots_pem;
    assert_eq!(roots_from_pem(pem.repeat(3).as_bytes()).unwrap().len(), 3);
    let cut = &pem[..pem.len() / 2];
    let noise = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (text, says) in [
        ("", "no certificate"),
        ("hello", "no certificate"),
        (cut, "certificate 1"),
        (noise, "cannot be one"),
        (&format!("{pem}{noise}"), "certificate 2"),
    ] {
        let error = roots_from_pem(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(says), "{error} should say {says}");
    }
    assert!(roots_from_pem(pem.repeat(1025).as_bytes()).is_err());
}
