//! The CPU that a certificate costs before it is stored, for benchmarks: beside the floor, which is one verified request and one signature.
//!
//!   issue [CERTIFICATES] [ROUNDS] [FOLDER]
//!
//! Every round measures floor and steps for the same requests one after the other, so that the ratios are of one moment. With a folder,
//! requests, and the key and certificate of an authority are written there for other programs to issue from.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]
#![allow(clippy::disallowed_methods, reason = "this is a stopwatch")]

use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use pki::csr::{self, Csr, Rules};
use pki::issue::{self, AuthorityTemplate, Constraints, Issuer, Names, Profile, Subtree, Template};
use pki::{KeyType, PrivateKey, San, Time};

/// Different keys among the requests, so that nothing is answered from a cache.
const KEYS: usize = 256;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (count, rounds) = (number(5_000), number(9));
    let folder = arguments.next();

    let constraints = Constraints::only(vec![Subtree::Dns("example.com".into())]);
    let issuer = issuer(&constraints, folder.as_deref());
    let requests: Vec<(Vec<u8>, Vec<San>)> = (0..count.min(KEYS))
        .map(|index| {
            let names =
                vec![San::dns(&format!("host-{index}.example.com")).unwrap(), San::dns(&format!("alias-{index}.example.com")).unwrap()];
            let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
            (csr::build(&key, None, &names).unwrap(), names)
        })
        .collect();
    if let Some(folder) = &folder {
        for (index, (request, _)) in requests.iter().enumerate() {
            std::fs::write(format!("{folder}/{index}.csr"), Csr::parse(request).unwrap().to_pem()).unwrap();
        }
    }
    let signing = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let signing = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, signing.expose_pkcs8()).unwrap();
    let random = SystemRandom::new();

    let mut table: Vec<[Duration; 5]> = Vec::new();
    for round in 0..rounds + 1 {
        let mut times: [Vec<Duration>; 5] = std::array::from_fn(|_| Vec::with_capacity(count));
        for index in 0..count {
            let (request, permitted) = &requests[index % requests.len()];
            let parsed = Csr::parse(request).unwrap();
            let start = Instant::now();
            parsed.check_signature().unwrap();
            let verified = Instant::now();
            std::hint::black_box(signing.sign(&random, request).unwrap());
            let floor = Instant::now();

            let mut serial = [0x40; 16];
            serial[8..].copy_from_slice(&index.to_be_bytes());
            serial[7] = u8::try_from(round).unwrap_or(0);
            let begin = Instant::now();
            let rules = Rules { permitted, issuer_keys: &[issuer.certificate().spki_fingerprint()], ..Rules::default() };
            let checked = csr::check(&Csr::parse(request).unwrap(), &rules).unwrap();
            let prepared = issuer.prepare(&checked, &template(serial)).unwrap();
            let prepared_at = Instant::now();
            let linted = issuer.rehearse(prepared).unwrap();
            let linted_at = Instant::now();
            std::hint::black_box(issuer.sign(&linted).unwrap());
            let end = Instant::now();

            for (column, time) in
                times.iter_mut().zip([verified - start, floor - verified, prepared_at - begin, linted_at - prepared_at, end - linted_at])
            {
                column.push(time);
            }
        }
        // The first round warms up.
        if round > 0 {
            table.push(times.map(median));
        }
    }

    let floor = |row: &[Duration; 5]| row[0] + row[1];
    let bare = |row: &[Duration; 5]| row[2] + row[4];
    let whole = |row: &[Duration; 5]| row[2] + row[3] + row[4];
    println!(
        "| {count} certificates for ECDSA P-256, median of {rounds} rounds (smallest–largest) | CPU µs/certificate | ratio | goal | reached |"
    );
    println!("|---|---|---|---|---|");
    println!(
        "| floor: a request verified ({}) and a signature ({}) | {} | 1 | – | – |",
        of(&table, |r| r[0]),
        of(&table, |r| r[1]),
        of(&table, floor)
    );
    for (what, cost, goal) in [
        ("read, checked, built, signed", &bare as &dyn Fn(&[Duration; 5]) -> Duration, 1.5),
        ("the same with rehearsal and lint", &whole, 3.0),
    ] {
        let mut ratios: Vec<f64> = table.iter().map(|row| cost(row).as_secs_f64() / floor(row).as_secs_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        let ratio = ratios[ratios.len() / 2];
        let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
        let reached = if ratio <= goal { "yes" } else { "NO" };
        println!("| {what} | {} | {ratio:.2} ({least:.2}–{most:.2}) of the floor | ≤ {goal} | {reached} |", of(&table, cost));
    }
    println!("| of which rehearsal and lint | {} | | – | – |", of(&table, |row| row[3]));
}

fn template(serial: [u8; 16]) -> Template<'static> {
    Template {
        profile: Profile::Server,
        names: Names::Asked,
        common_name: false,
        not_before: Time::parse("2026-06-01").unwrap(),
        not_after: Time::parse("2026-09-01").unwrap(),
        serial,
        crl: Some("http://crl.example.com/issuing.crl"),
        policies: &[],
    }
}

fn issuer(constraints: &Constraints, folder: Option<&str>) -> Issuer {
    let none = Constraints::default();
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let template = AuthorityTemplate {
        common_name: "Benchmark Root",
        organization: None,
        not_before: Time::parse("2026-01-01").unwrap(),
        not_after: Time::parse("2046-01-01").unwrap(),
        serial: [1; 16],
        path_length: Some(1),
        constraints: &none,
        crl: None,
    };
    let root = Issuer::new(issue::root(&key, &template).unwrap(), &key).unwrap();
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let request = Csr::parse(&csr::build(&key, None, &[]).unwrap()).unwrap();
    let checked = csr::check(&request, &Rules::default()).unwrap();
    let template = AuthorityTemplate { common_name: "Benchmark Issuing", serial: [2; 16], path_length: Some(0), constraints, ..template };
    let certificate = root.sign(&root.rehearse(root.prepare_authority(&checked, &template).unwrap()).unwrap()).unwrap();
    if let Some(folder) = folder {
        std::fs::write(format!("{folder}/ca.pem"), certificate.to_pem()).unwrap();
        std::fs::write(format!("{folder}/ca-key.pem"), key.expose_pem().as_bytes()).unwrap();
    }
    Issuer::new(certificate, &key).unwrap()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn of(table: &[[Duration; 5]], cost: impl Fn(&[Duration; 5]) -> Duration) -> String {
    format!("{:.1}", median(table.iter().map(cost).collect()).as_secs_f64() * 1e6)
}
