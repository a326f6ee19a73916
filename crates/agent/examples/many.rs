//! Very many agents beside one store, in one process of their own, so that the store's memory is measured alone. `bench/agents.sh` drives it.
//!
//! Each joins as an agent does and then waits for its manifest on a connection that stays, over TLS 1.3 with its own certificate; what it hears
//! it tells on that connection before it waits again. Other than an agent, it fetches and installs nothing (the report says so: `fetching` never
//! ends), renews nothing, does not ask for the whole every hour, and waits for a store that is gone at most 8 s instead of 300 s: what is
//! measured is the store. It speaks HTTP by hand, to know the moment at which its connection stands again. Lines come in on standard input and results go out on standard output:
//!
//! ```text
//! joined N SECONDS                    everybody has an identity
//! waiting N                           everybody is connected and waits
//! > go                                from here on the time counts until everybody heard of a newer generation
//! heard N p50 MS p99 MS last MS
//! > away                              the store is about to go; from its first sign of life on everybody returns
//! back N p50 MS last MS failed N      requests that failed after the connection stood again
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

use std::{
    io::{self, BufRead as _},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use api::agent::{
    InstallReport, InstallState, Invitation, JOIN, Join, Joined, MANIFEST, MOST_WAIT, Manifest, REPORT, Report, SignedManifest,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use outbound::{Client, Method, Request};
use pki::{Fingerprint, KeyType, PrivateKey, Time};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Barrier, Semaphore},
    task::JoinSet,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Handshakes and joins under way at a time.
const AT_ONCE: usize = 64;
/// The first and the longest wait of somebody whose store is gone.
const RETURN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));

struct Shared {
    room: Semaphore,
    waiting: AtomicUsize,
    /// When the time began to count, in microseconds since the start; 0 while it does not.
    began: AtomicU64,
    start: Instant,
    failed: AtomicUsize,
}

impl Shared {
    fn micros(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap()
    }
}

fn now() -> Time {
    Time::from_unix(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let path = std::env::args().nth(1).expect("many FILE: a join string on each line");
    let lines = std::fs::read_to_string(path).unwrap();
    let invitations: Vec<Invitation> = lines.lines().map(|line| line.parse().expect("a join string")).collect();
    let count = invitations.len();
    let shared = Arc::new(Shared {
        room: Semaphore::new(AT_ONCE),
        waiting: AtomicUsize::new(0),
        began: AtomicU64::new(0),
        start: Instant::now(),
        failed: AtomicUsize::new(0),
    });

    let began = Instant::now();
    let mut joining = JoinSet::new();
    for (number, invitation) in invitations.into_iter().enumerate() {
        let shared = shared.clone();
        joining.spawn(async move {
            let _room = shared.room.acquire().await.unwrap();
            join(number, &invitation).await
        });
    }
    let mut agents = joining.join_all().await;
    agents.sort_by_key(|agent| agent.number);
    println!("joined {count} {:.1}", began.elapsed().as_secs_f64());

    let (heard, mut told) = tokio::sync::mpsc::unbounded_channel();
    let ready = Arc::new(Barrier::new(count + 1));
    for agent in agents {
        tokio::spawn(live(agent, shared.clone(), heard.clone(), ready.clone()));
    }
    ready.wait().await;
    println!("waiting {count}");

    let (lines, mut commands) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || io::stdin().lock().lines().map_while(Result::ok).for_each(|line| drop(lines.send(line))));
    while let Some(command) = commands.recv().await {
        while told.try_recv().is_ok() {}
        let began = shared.micros();
        shared.began.store(began, Ordering::SeqCst);
        shared.failed.store(0, Ordering::SeqCst);
        let wanted = match command.trim() {
            "go" => What::Heard,
            "away" => What::Back,
            _ => break,
        };
        let mut times = Vec::with_capacity(count);
        while times.len() < count {
            let (what, at) = told.recv().await.unwrap();
            if what == wanted {
                times.push((at - began) / 1000);
            }
        }
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() * percent).div_ceil(100).saturating_sub(1)];
        match wanted {
            What::Heard => println!("heard {count} p50 {} p99 {} last {}", at(50), at(99), at(100)),
            What::Back => {
                println!("back {count} first {} p50 {} last {} failed {}", times[0], at(50), at(100), shared.failed.load(Ordering::SeqCst));
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// A newer generation.
    Heard,
    /// The connection stands again.
    Back,
}

struct Agent {
    number: usize,
    address: String,
    config: Arc<ClientConfig>,
}

async fn join(number: usize, invitation: &Invitation) -> Agent {
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let csr = pki::csr::build(&key, None, &[]).unwrap();
    let body = Join {
        token: invitation.token.clone(),
        csr: STANDARD.encode(csr),
        clock: now().to_string(),
        agent: "many".into(),
        instance: format!("many-{number}"),
    };
    let base = format!("https://{}", invitation.store);
    let ca = invitation.ca.clone();
    let client = Client::for_first_contact(&base, move |der: &[u8]| Fingerprint::of(der).to_string() == ca, 1 << 20).unwrap();
    let request = Request::new(Method::POST, format!("{base}{JOIN}")).with_body("application/json", serde_json::to_vec(&body).unwrap());
    let response = client.send(request).await.unwrap();
    assert!(response.status.is_success(), "{} {}", response.status, String::from_utf8_lossy(&response.body));
    let joined: Joined = serde_json::from_slice(&response.body).unwrap();
    let mut roots = RootCertStore::empty();
    for root in pki::load(joined.identity.roots.as_bytes(), None, pki::Limits::default()).unwrap().certificates {
        roots.add(CertificateDer::from(root.der().to_vec())).unwrap();
    }
    let chain = joined.identity.chain.iter().map(|der| CertificateDer::from(STANDARD.decode(der).unwrap())).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.expose_pkcs8().to_vec()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Agent { number, address: invitation.store.clone(), config: Arc::new(config) }
}

async fn live(agent: Agent, shared: Arc<Shared>, heard: tokio::sync::mpsc::UnboundedSender<(What, u64)>, ready: Arc<Barrier>) {
    let (mut generation, mut first, mut attempts) = (0, true, 0_u32);
    loop {
        let connected = {
            let _room = shared.room.acquire().await.unwrap();
            connect(&agent).await
        };
        let Ok(mut stream) = connected else {
            attempts += 1;
            tokio::time::sleep(pause(agent.number, attempts)).await;
            continue;
        };
        if !first {
            let _ = heard.send((What::Back, shared.micros()));
        }
        let mut asked = 0;
        loop {
            let wait = if first && asked == 0 { 0 } else { MOST_WAIT };
            let question = format!("GET {MANIFEST}?after={generation}&wait={wait} HTTP/1.1\r\nhost: {}\r\n\r\n", agent.address);
            match ask(&mut stream, &question).await {
                Ok((200, body)) => {
                    let signed: SignedManifest = serde_json::from_slice(&body).unwrap();
                    let manifest: Manifest = serde_json::from_slice(&STANDARD.decode(signed.payload).unwrap()).unwrap();
                    generation = manifest.generation;
                    let _ = heard.send((What::Heard, shared.micros()));
                    match ask(&mut stream, &report(&agent, &manifest)).await {
                        Ok((200, _)) => {}
                        Ok((status, body)) => {
                            shared.failed.fetch_add(1, Ordering::SeqCst);
                            eprintln!("{}: the report: {status} {}", agent.number, String::from_utf8_lossy(&body));
                        }
                        Err(_) => break,
                    }
                }
                Ok((204, _)) => {}
                Ok((status, body)) => {
                    shared.failed.fetch_add(1, Ordering::SeqCst);
                    eprintln!("{}: {status} {}", agent.number, String::from_utf8_lossy(&body));
                    tokio::time::sleep(pause(agent.number, 3)).await;
                }
                // The store went while this one waited; that is no failure, being refused after the return is.
                Err(_) => break,
            }
            asked += 1;
            if first {
                first = false;
                shared.waiting.fetch_add(1, Ordering::SeqCst);
                ready.wait().await;
            }
            attempts = 0;
        }
        attempts += 1;
        tokio::time::sleep(pause(agent.number, attempts)).await;
    }
}

/// As agents wait: doubled, bounded, half of it spread by identity.
fn pause(number: usize, attempts: u32) -> Duration {
    let full = RETURN.0.saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1).min(10))).min(RETURN.1);
    let hash = Fingerprint::of(format!("{number}\0{attempts}").as_bytes());
    let share = u32::from_be_bytes(*hash.as_bytes().first_chunk().unwrap());
    full / 2 + (full / 2).mul_f64(f64::from(share) / f64::from(u32::MAX))
}

async fn connect(agent: &Agent) -> io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(&agent.address).await?;
    let host = agent.address.rsplit_once(':').unwrap().0.trim_matches(['[', ']']).to_owned();
    TlsConnector::from(agent.config.clone()).connect(ServerName::try_from(host).unwrap(), socket).await
}

/// What an agent says while what it is to have is on its way.
fn report(agent: &Agent, manifest: &Manifest) -> String {
    let fetching = |install: &api::agent::Install| InstallReport {
        secret: install.secret.clone(),
        version: 0,
        state: InstallState::Fetching,
        leaf: None,
        detail: String::new(),
        attempts: 0,
        at: now().to_string(),
    };
    let body = Report {
        generation: manifest.generation,
        instance: format!("many-{}", agent.number),
        agent: "many".into(),
        clock: now().to_string(),
        installs: manifest.installs.iter().map(fetching).collect(),
    };
    let body = serde_json::to_string(&body).unwrap();
    let head = format!("POST {REPORT} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json", agent.address);
    format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

async fn ask(stream: &mut TlsStream<TcpStream>, request: &str) -> io::Result<(u16, Vec<u8>)> {
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 2048]);
    loop {
        if let Some(answer) = whole(&bytes) {
            return Ok(answer);
        }
        match stream.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
}

fn whole(bytes: &[u8]) -> Option<(u16, Vec<u8>)> {
    let at = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..at]).ok()?;
    let status: u16 = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.map_or(0, |(_, value)| value.trim().parse().unwrap_or(0));
    Some((status, bytes.get(at + 4..at + 4 + length)?.to_vec()))
}
