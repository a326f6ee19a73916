//! Remembering must change no verdict: random chains over a pool of authorities that sign each other,
//! judged with memory, without, and by webpki alone.

use std::sync::Arc;

use pki::path::CacheLimits;
use pki::{
    Authority, AuthorityOptions, Certificate, KeyType, LeafOptions, PathError, PrivateKey, Purpose, Roots, Span, Time, Usage, Verifier,
};
use proptest::prelude::*;
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::support::time;

/// All certificates that a chain may be drawn from: leaves first, then authorities, and the roots.
struct Pool {
    leaves: Vec<Certificate>,
    authorities: Vec<Certificate>,
    roots: Vec<Certificate>,
}

fn years(from: u32, until: u32) -> (Time, Time) {
    (time(&format!("20{from}-01-01")), time(&format!("20{until}-01-01")))
}

fn pool() -> Pool {
    let options = |options: AuthorityOptions| AuthorityOptions { key_type: KeyType::Ed25519, ..options };
    let make = |name: &str, from, until| {
        let (from, until) = years(from, until);
        Authority::new_with(name, from, until, &options(AuthorityOptions::default())).unwrap()
    };
    let roots = [make("R0", 10, 30), make("R1", 20, 40), make("R2", 10, 22)];
    let below = |root: &Authority, name: &str, from, until, more: AuthorityOptions| {
        let (from, until) = years(from, until);
        root.intermediate_with(name, from, until, &options(more)).unwrap()
    };
    let plain = AuthorityOptions::default;
    let a = below(&roots[0], "A", 15, 28, plain());
    let b = below(&roots[1], "B", 20, 26, AuthorityOptions { path_length: Some(0), ..plain() });
    let c = below(&a, "C", 18, 35, AuthorityOptions { permitted: vec!["good.test".into()], ..plain() });
    let d = below(&c, "D", 18, 35, plain());
    let e = below(&b, "E", 20, 30, plain());
    let f = below(&a, "F", 15, 30, AuthorityOptions { usages: vec![Usage::ClientAuth], ..plain() });
    let g = below(&roots[2], "G", 10, 24, AuthorityOptions { excluded: vec!["bad.test".into()], ..plain() });
    let issuers = [&a, &b, &c, &d, &e, &f, &g];
    let mut authorities: Vec<Certificate> = issuers.iter().map(|i| i.certificate().clone()).collect();
    let cross = |by: &Authority, of: &Authority, from, until| {
        let (from, until) = years(from, until);
        by.cross_sign(of, from, until).unwrap()
    };
    authorities.extend([
        cross(&roots[1], &a, 20, 32),
        cross(&roots[1], &roots[0], 20, 25),
        cross(&roots[0], &roots[1], 20, 29),
        cross(&b, &d, 21, 33),
        cross(&g, &c, 12, 27),
        cross(&c, &a, 18, 31), // a circle
        cross(&roots[0], &a, 28, 30),
    ]);
    authorities.extend(roots.iter().map(|root| root.certificate().clone()));
    let key = PrivateKey::generate(KeyType::Ed25519).unwrap();
    let mut leaves = Vec::new();
    for issuer in issuers.into_iter().chain(&roots) {
        for (name, from, until, usages) in [("www.good.test", 22, 24, vec![Usage::ServerAuth]), ("www.bad.test", 19, 34, vec![])] {
            let (from, until) = years(from, until);
            let options = LeafOptions { usages, ..Default::default() };
            leaves.push(issuer.issue(&key, &[name], from, until, &options).unwrap());
        }
    }
    Pool { leaves, authorities, roots: roots.iter().map(|root| root.certificate().clone()).collect() }
}

/// What webpki says about all that was presented, if every root that has its own dates right is trusted.
fn webpki_accepts(chain: &[Certificate], roots: &[Certificate], purpose: Purpose, at: Time) -> bool {
    let current = |c: &&Certificate| c.not_before() <= at && at <= c.not_after();
    let ders: Vec<CertificateDer<'_>> = roots.iter().filter(current).map(|c| CertificateDer::from(c.der())).collect();
    let anchors: Vec<_> = ders.iter().map(|der| webpki::anchor_from_trusted_cert(der).unwrap()).collect();
    let leaf = CertificateDer::from(chain[0].der());
    let above: Vec<CertificateDer<'_>> = chain[1..].iter().map(|c| CertificateDer::from(c.der())).collect();
    let usage = match purpose {
        Purpose::Server => webpki::KeyUsage::server_auth(),
        Purpose::Client => webpki::KeyUsage::client_auth(),
    };
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.unix().unsigned_abs()));
    let leaf = webpki::EndEntityCert::try_from(&leaf).unwrap();
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &above, at, usage, None, None).is_ok()
}

#[test]
fn memory_changes_no_verdict() {
    let pool = pool();
    let roots = Arc::new(Roots::from_certificates(&pool.roots).unwrap());
    // Small, so that forgetting is exercised as well; and one that remembers intermediates alone.
    let tiny = Verifier::with_limits(Arc::clone(&roots), CacheLimits { verdicts: 64, intermediates: 32 });
    let large = Verifier::new(Arc::clone(&roots));
    let upper = Verifier::with_limits(Arc::clone(&roots), CacheLimits { verdicts: 0, intermediates: 1024 });
    let (leaves, authorities) = (pool.leaves.len(), pool.authorities.len());
    let strategy = (
        0..leaves,
        proptest::collection::vec(0..authorities, 0..9),
        any::<bool>(),
        // Years 2010 to 2041 in steps that meet the firsts of January to the second, and around.
        (10u32..41, -1i64..=1, 0i64..366),
    );
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 3000, failure_persistence: None, ..Default::default() });
    let accepted_counter = std::cell::Cell::new(0);
    runner
        .run(&strategy, |(leaf, above, server, (year, second, day))| {
            let mut chain = vec![pool.leaves[leaf].clone()];
            chain.extend(above.iter().map(|&index| pool.authorities[index].clone()));
            let purpose = if server { Purpose::Server } else { Purpose::Client };
            let day = if day < 180 { 0 } else { day };
            let at = time(&format!("20{year}-01-01")) + Span::days(day) + Span::seconds(second);
            let fresh = Verifier::with_limits(Arc::clone(&roots), CacheLimits::NONE);
            let expected: Result<pki::Path, PathError> = fresh.verify(&chain, None, purpose, at);
            prop_assert_eq!(expected.is_ok(), webpki_accepts(&chain, &pool.roots, purpose, at), "{:?}", expected);
            for verifier in [&tiny, &large, &upper] {
                prop_assert_eq!(&verifier.verify(&chain, None, purpose, at), &expected);
            }
            let spans = [Span::days(30), Span::days(365), Span::days(3000)];
            let outlook = fresh.outlook_for(&chain, None, purpose, at, &spans);
            for verifier in [&tiny, &large, &upper] {
                prop_assert_eq!(&verifier.outlook_for(&chain, None, purpose, at, &spans), &outlook);
            }
            if let Some((until, _, _)) = outlook.best_until {
                // It holds to its last second, and there is no path a second later.
                prop_assert!(webpki_accepts(&chain, &pool.roots, purpose, until));
                prop_assert!(!webpki_accepts(&chain, &pool.roots, purpose, until + Span::seconds(1)));
                accepted_counter.set(accepted_counter.get() + 1);
            }
            Ok(())
        })
        .unwrap();
    let accepted = accepted_counter.get();
    assert!(accepted > 50, "only {accepted} chains were accepted: the test would prove little");
}

#[test]
fn threads_may_share_a_verifier() {
    let house = crate::support::House::new(&["example.com"]);
    let verifier = house.verifier();
    let chain = house.chain();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for day in 0..200 {
                    let at = time("2026-01-01") + Span::days(day);
                    assert!(verifier.verify(&chain, Some("example.com"), Purpose::Server, at).is_ok());
                }
            });
        }
    });
}
