//! How many certificates an internal CA issues in a second, durable with journal, under waiting callers; and the same asked of cfssl with
//! its certificate database: `bench/issuing.sh` calls this.
//!
//!     issuing own FILE CALLERS SECONDS
//!     issuing cfssl HOST:PORT CALLERS SECONDS
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::disallowed_methods)]

use domain::{Time, words::SecretId};
use engine::{
    Engine, Tick,
    issuing::{Answer, NewAuthority},
};
use pki::{KeyType, PrivateKey, San, csr};
use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use store::{Actor, Store};

const FLEET: &str = r#"
[[issuer]]
name = "ca"
kind = "internal"
[[secret]]
name = "www"
kind = "certificate"
names = ["www.example.internal"]
issued_by = ["ca"]
"#;
/// Keys of which each caller takes the next; a request costs a key, and that is the caller's.
const KEYS: usize = 8;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |n: usize| arguments[n].parse::<u64>().unwrap();
    let (callers, seconds) = (number(3), number(4));
    match arguments[1].as_str() {
        "own" => own(&arguments[2], callers, seconds),
        "cfssl" => cfssl(&arguments[2], callers, seconds),
        other => panic!("unknown measurement {other}"),
    }
}

fn random(buffer: &mut [u8]) {
    pki::ca::random(buffer).unwrap();
}

fn requests() -> Vec<Vec<u8>> {
    let names = [San::parse("www.example.internal").unwrap()];
    (0..KEYS).map(|_| csr::build(&PrivateKey::generate(KeyType::EcdsaP256).unwrap(), None, &names).unwrap()).collect()
}

fn own(path: &str, callers: u64, seconds: u64) {
    let now = Time::from_unix(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64);
    let tick = Tick::at(now);
    let actor = Actor::new("bench", "bench");
    let store = Store::open(&format!("sqlite:{path}"), now, || [7; 16]).unwrap();
    let engine = Engine::new(store, "bench", Vec::new());
    let key = envelope::KeyFile::parse(&envelope::KeyFile::generate(&mut random).unwrap()).unwrap();
    engine.initialise(&key, &mut random, &actor, &tick).unwrap();
    engine.apply(&api::fleet::parse(FLEET).unwrap(), &engine::inventory::Options::default(), &actor, &tick).unwrap();
    let ca = NewAuthority { issuer: "ca".into(), permitted: vec!["example.internal".into()], keep_root: true, reason: "bench".into() };
    engine.request_authority(&ca, &mut random, &actor, &tick).unwrap();
    let secret = engine.store().read(|tx| store::model::secret::by_name(tx, "www")).unwrap().unwrap().id;
    engine.announce(secret, "bench", &actor, &tick).unwrap();
    measure("own, durable with journal", callers, seconds, |caller| {
        let (engine, tick, requests) = (engine.clone(), tick.clone(), requests());
        let mut n = 0_usize;
        move || {
            n += 1;
            // Each is for another node, so each is another certificate.
            let node = format!("n-{caller}-{n}");
            let answer = engine.issue_for_node(&node, SecretId(secret.0), 1, &requests[n % KEYS], &tick, &mut random).unwrap();
            assert!(matches!(answer, Answer::Issued(_)));
        }
    });
}

fn cfssl(address: &str, callers: u64, seconds: u64) {
    measure("cfssl, with its certificate database", callers, seconds, |_| {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        let bodies: Vec<String> =
            requests().iter().map(|der| format!("{{\"certificate_request\":\"{}\"}}", pem(der).replace('\n', "\\n"))).collect();
        let mut n = 0_usize;
        move || {
            n += 1;
            let body = &bodies[n % KEYS];
            let head = format!(
                "POST /api/v1/cfssl/sign HTTP/1.1\r\nHost: cfssl\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
            let answer = answer(&mut reader);
            assert!(answer.contains("BEGIN CERTIFICATE"), "{answer}");
        }
    });
}

fn answer(reader: &mut impl BufRead) -> String {
    let (mut line, mut length, mut chunked) = (String::new(), 0_usize, false);
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let lower = line.trim().to_ascii_lowercase();
        if lower.is_empty() {
            break;
        }
        if let Some(n) = lower.strip_prefix("content-length:") {
            length = n.trim().parse().unwrap();
        }
        chunked |= lower.starts_with("transfer-encoding:") && lower.contains("chunked");
    }
    let mut body = vec![0; length];
    if !chunked {
        reader.read_exact(&mut body).unwrap();
        return String::from_utf8(body).unwrap();
    }
    let mut all = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let size = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut part = vec![0; size + 2];
        reader.read_exact(&mut part).unwrap();
        if size == 0 {
            return String::from_utf8(all).unwrap();
        }
        all.extend_from_slice(&part[..size]);
    }
}

fn pem(der: &[u8]) -> String {
    pki::Csr::parse(der).unwrap().to_pem()
}

/// Callers that ask one after the other, for so long; a second to warm up is not counted.
fn measure<F: FnMut() + Send>(what: &str, callers: u64, seconds: u64, make: impl Fn(u64) -> F) {
    let (count, slowest, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (begin, taken) = std::thread::scope(|scope| {
        for caller in 0..callers {
            let mut ask = make(caller);
            let (count, slowest, stop) = (count.clone(), slowest.clone(), stop.clone());
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    ask();
                    count.fetch_add(1, Ordering::Relaxed);
                    slowest.fetch_max(began.elapsed().as_millis() as u64, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(Duration::from_secs(1));
        let (first, began) = (count.load(Ordering::Relaxed), Instant::now());
        std::thread::sleep(Duration::from_secs(seconds));
        let taken = (count.load(Ordering::Relaxed) - first, began.elapsed());
        stop.store(true, Ordering::Relaxed);
        (first, taken)
    });
    let rate = taken.0 as f64 / taken.1.as_secs_f64();
    println!(
        "{what}: {rate:.0}/s under {callers} callers, {} certificates in {:.1} s, the slowest answer after {} ms (warm-up {begin})",
        taken.0,
        taken.1.as_secs_f64(),
        slowest.load(Ordering::Relaxed)
    );
}
