//! Every address of a name, and nothing less.

use std::net::{IpAddr, Ipv4Addr};

use probe::{Blame, MAX_ADDRESSES, Offer, Phase, Protocol};
use rustls::version::TLS13;

use crate::peers::{Key, config, dialer, identity, serve, target};

fn addresses(count: u32) -> Vec<IpAddr> {
    (1..=count).map(|n| IpAddr::V4(Ipv4Addr::from_bits(0x7f02_0000 + n))).collect()
}

#[tokio::test]
async fn a_name_with_two_hundred_addresses_is_dialled_two_hundred_times() {
    let identity = identity(Key::Ecdsa);
    let (address, mut visits) = serve(config(&[&identity], &TLS13)).await;
    let mut target = target(address, Protocol::Tls);
    target.address = None;
    let attempts = dialer(|settings| settings.overrides.set("one.example", addresses(200))).look(&target, Offer::All).await;
    assert_eq!(attempts.len(), 200);
    assert!(attempts.iter().all(|attempt| attempt.result.is_ok()), "{attempts:?}");
    assert!(attempts.is_sorted_by_key(|attempt| attempt.address));
    let mut reached = Vec::new();
    while reached.len() < 200 {
        reached.push(visits.recv().await.unwrap().local.ip());
    }
    reached.sort_unstable();
    assert_eq!(reached, addresses(200));
}

#[tokio::test]
async fn what_is_beyond_the_limit_is_reported_and_a_dead_address_does_not_hide_the_others() {
    let identity = identity(Key::Ecdsa);
    let (address, _visits) = serve(config(&[&identity], &TLS13)).await;
    let mut target = target(address, Protocol::Tls);
    target.address = None;
    // 240.0.0.1 is reserved (RFC 1112 §4): the system refuses to send there, whatever the network.
    let many = addresses(299).into_iter().chain([IpAddr::V4(Ipv4Addr::new(127, 2, 0, 0))]).collect();
    let attempts = dialer(|settings| settings.overrides.set("one.example", many)).look(&target, Offer::All).await;
    assert_eq!(attempts.len(), MAX_ADDRESSES + 1);
    let failure = attempts.last().unwrap().result.as_ref().unwrap_err();
    assert_eq!((failure.phase, failure.blame), (Phase::Resolve, Blame::Limits));
    assert!(failure.detail.contains("44 were not"), "{failure}");
    assert_eq!(attempts.iter().filter(|attempt| attempt.result.is_ok()).count(), MAX_ADDRESSES);
}

#[tokio::test]
async fn nothing_listens_is_the_peers_fault_and_worth_another_try() {
    let identity = identity(Key::Ecdsa);
    let (address, _visits) = serve(config(&[&identity], &TLS13)).await;
    // A port that was free a moment ago and that we hold bound, not listening, so that nobody else can take it.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut dead = target(address, Protocol::Tls);
    dead.port = held.local_addr().unwrap().port();
    let attempts = dialer(|_| {}).look(&dead, Offer::All).await;
    let failure = attempts[0].result.as_ref().unwrap_err();
    assert_eq!((failure.phase, failure.blame, failure.retry), (Phase::Connect, Blame::Peer, true), "{failure}");
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_one_attempt_without_address() {
    let mut target = target("127.0.0.1:443".parse().unwrap(), Protocol::Tls);
    target.host = "nobody.invalid".into();
    target.address = None;
    let attempts = dialer(|_| {}).look(&target, Offer::All).await;
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].address, None);
    let failure = attempts[0].result.as_ref().unwrap_err();
    assert_eq!((failure.phase, failure.blame), (Phase::Resolve, Blame::Dns), "{failure}");
}
