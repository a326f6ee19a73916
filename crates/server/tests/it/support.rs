//! A server on a port of its own, and a client that sends exactly what it is told.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use api::v1;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{Span, Time};
use engine::{Engine, Tick};
use envelope::{Cost, Passphrase};
use pki::{Certificate, PrivateKey, build::Authority};
use serde_json::{Value, json};
use server::http::{App, Metrics, router, token};
use store::{Actor, Store};

pub const PASSPHRASE: &str = "correct horse battery";
/// Named in no answer, ever: what tests look for.
const START: &str = "2026-06-01T00:00:00Z";

pub fn entropy(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).unwrap();
}

pub struct World {
    pub engine: Engine,
    pub admin: String,
    pub dir: tempfile::TempDir,
    address: SocketAddr,
    now: Arc<AtomicI64>,
    // Dropped last but one: the server ends before its directory is gone.
    _runtime: tokio::runtime::Runtime,
}

pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.text))
    }

    pub fn code(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap_or_default().to_owned())
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The body of a good answer.
    #[track_caller]
    pub fn good(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()
    }
}

impl World {
    /// Open, with an inventory of two teams.
    pub fn new() -> World {
        let world = World::sealed();
        let (actor, tick) = (Actor::new("test", "setup"), world.tick());
        world.engine.initialise(&cheap(PASSPHRASE), &mut entropy, &actor, &tick).unwrap();
        world
    }

    /// Without any key.
    pub fn sealed() -> World {
        World::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut App)) -> World {
        let dir = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicI64::new(Time::parse(START).unwrap().unix()));
        let url = format!("sqlite:{}", dir.path().join("store.db").display());
        let store = Store::open(&url, Time::parse(START).unwrap(), || [7; 16]).unwrap();
        let engine = Engine::new(store, "test", Vec::new());
        let clock = now.clone();
        let mut app = App {
            engine: engine.clone(),
            tick: Arc::new(move || Tick::at(Time::from_unix(clock.load(Ordering::SeqCst)))),
            confirm_clock: Arc::new(|| {}),
            wake: Arc::default(),
            entropy,
            metrics: Arc::new(Metrics::new()),
            metrics_open: false,
            agents: None,
            data_dir: Some(dir.path().to_owned()),
            version: "0.0.0-test",
        };
        change(&mut app);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let service = router(app).into_make_service_with_connect_info::<SocketAddr>();
        runtime.spawn(async move { axum::serve(listener, service).await });
        let mut world = World { engine, admin: String::new(), dir, address, now, _runtime: runtime };
        let wanted = v1::NewToken {
            name: "root".into(),
            role: "admin".into(),
            teams: vec![],
            vantage: None,
            services: Vec::new(),
            expires_at: None,
        };
        let made = token::create(&world.engine, &wanted, entropy, &Actor::new("test", "setup"), &world.tick()).unwrap();
        world.admin = made.value;
        world.post(&world.admin.clone(), "/v1/fleet", &json!({ "fleet": fleet() })).good();
        world
    }

    pub fn tick(&self) -> Tick {
        Tick::at(self.now())
    }

    pub fn now(&self) -> Time {
        Time::from_unix(self.now.load(Ordering::SeqCst))
    }

    pub fn pass(&self, span: Span) {
        self.now.fetch_add(span.as_secs(), Ordering::SeqCst);
    }

    pub fn token(&self, name: &str, role: &str, teams: &[&str], vantage: Option<&str>) -> String {
        let wanted = json!({ "name": name, "role": role, "teams": teams, "vantage": vantage });
        self.post(&self.admin, "/v1/tokens", &wanted).good()["value"].as_str().unwrap().to_owned()
    }

    /// A token for the builds of services.
    pub fn builder(&self, name: &str, services: &[&str]) -> String {
        let wanted = json!({ "name": name, "role": "build", "services": services });
        self.post(&self.admin, "/v1/tokens", &wanted).good()["value"].as_str().unwrap().to_owned()
    }

    pub fn get(&self, token: &str, path: &str) -> Answer {
        self.send("GET", token, path, None)
    }

    pub fn post(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.send("POST", token, path, Some(body))
    }

    pub fn send(&self, method: &str, token: &str, path: &str, body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string).unwrap_or_default();
        let auth = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
        let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{auth}{kind}content-length: {}\r\n\r\n", body.len());
        self.raw(&[head.as_bytes(), body.as_bytes()])
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends bytes as they are.
    pub fn raw(&self, parts: &[&[u8]]) -> Answer {
        let mut stream = self.connect();
        for part in parts {
            // The server may answer and close before it has read everything.
            if stream.write_all(part).is_err() {
                break;
            }
        }
        answer(&mut stream)
    }

    /// Everything that the journal says, as text.
    pub fn journal(&self) -> String {
        let (mut all, mut after) = (String::new(), String::new());
        loop {
            let page = self.get(&self.admin, &format!("/v1/audit?limit=1000&after={after}")).good();
            all += &page["items"].to_string();
            match page["next"].as_str() {
                Some(next) => after = next.to_owned(),
                None => return all,
            }
        }
    }
}

/// Reads one answer to the end of the connection.
pub fn answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    // A reset after the answer is how a server ends what it does not want to read.
    let mut buffer = [0; 64 << 10];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..n]);
    }
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines.filter_map(|l| l.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    assert!(!headers.iter().any(|(n, _)| n == "transfer-encoding"), "{head}");
    Answer { status, headers, text: body.to_owned() }
}

pub fn cheap(passphrase: &str) -> Passphrase {
    Passphrase::new(passphrase.as_bytes().to_vec()).with_cost(Cost { memory_kib: 8 * 1024, passes: 1, lanes: 1 })
}

/// Two teams with a secret and a target each, looked at from here and from the office.
pub fn fleet() -> Value {
    let target = |name: &str, secret: &str, host: &str| json!({ "name": name, "secret": secret, "kind": "endpoint", "endpoint": format!("tls://{host}:443"), "vantages": ["local", "office"] });
    json!({
        "team": [{ "name": "storage", "contacts": [{ "channel": "log" }] }, { "name": "web", "contacts": [{ "channel": "log" }] }],
        "vantage": [{ "name": "office" }, { "name": "moon" }],
        "service": [{ "name": "blob-storage", "team": "storage" }, { "name": "shop", "team": "web" }],
        "region": [{ "name": "eu" }],
        "secret": [
            { "name": "blob-tls", "kind": "certificate", "team": "storage" },
            { "name": "shop-tls", "kind": "certificate", "team": "web" },
            { "name": "blob-key", "kind": "opaque", "team": "storage" },
            { "name": "vendor-root", "kind": "tracked", "team": "web", "expires": "2027-06-01T00:00:00Z" }
        ],
        "target": [target("blob", "blob-tls", "blob.example.com"), target("shop", "shop-tls", "shop.example.com")]
    })
}

pub struct Chain {
    pub root: Authority,
    pub middle: Authority,
}

impl Chain {
    pub fn new() -> Chain {
        let (from, to) = (Time::parse("2026-01-01").unwrap(), Time::parse("2036-01-01").unwrap());
        let root = Authority::new("Test Root", from, to).unwrap();
        let middle = root.intermediate("Test Intermediate", from, to).unwrap();
        Chain { root, middle }
    }

    pub fn leaf(&self, name: &str, kind: pki::KeyType) -> (Certificate, PrivateKey) {
        let from = Time::parse("2026-05-01").unwrap();
        self.middle.leaf(&[name], kind, from, from + Span::days(365)).unwrap()
    }

    /// Leaf and intermediate.
    pub fn pem(&self, leaf: &Certificate) -> String {
        pem(leaf) + &pem(self.middle.certificate())
    }
}

pub fn pem(certificate: &Certificate) -> String {
    let text = STANDARD.encode(certificate.der());
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|c| std::str::from_utf8(c).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// The body of an import.
pub fn import(chain: &str, key: Option<&PrivateKey>) -> Value {
    let key = key.map(|k| base64(k.expose_pem().as_bytes()));
    json!({ "instances": [{ "chain": base64(chain), "key": key }], "reason": "a test" })
}
