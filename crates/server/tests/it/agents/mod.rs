//! The agents' door, as agents meet it: real TLS, real certificates, a real database.

mod joining;
mod refusals;
mod supplies;
mod waiting;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use api::agent::{self, Invitation, Join, Joined, Manifest, SignedManifest, Token};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use pki::{PrivateKey, key::KeyType};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use server::{
    agents::{Entrance, Limits, Parts},
    tls::OwnCertificate,
};
use tokio::sync::Notify;

use crate::support::{self, Answer, World, answer};

/// What clients of these tests take for now: when the world began. How the server's own certificate ages is tried elsewhere.
#[derive(Debug, Clone, Copy)]
struct Began(u64);

impl rustls::time_provider::TimeProvider for Began {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

/// A store with an inventory of two nodes, and its agents' door.
pub(crate) struct Gate {
    pub(crate) world: World,
    pub(crate) address: SocketAddr,
    pub(crate) roots: Arc<RootCertStore>,
    began: Began,
    _runtime: tokio::runtime::Runtime,
}

impl Gate {
    pub(crate) fn new() -> Gate {
        Gate::with(|change| World::with(|app| change(app)), &Limits::default())
    }

    pub(crate) fn with(make: impl FnOnce(&mut dyn FnMut(&mut server::http::App)) -> World, limits: &Limits) -> Gate {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let taken: Mutex<Option<(Arc<OwnCertificate>, Parts)>> = Mutex::default();
        let world = make(&mut |app| {
            let names = [String::from("localhost"), String::from("127.0.0.1")];
            let folder = app.data_dir.clone().unwrap().join("tls");
            let own = OwnCertificate::open(&folder, &names, &(app.tick)()).unwrap();
            app.agents = Some(Entrance { address: address.to_string(), ca: own.ca_fingerprint().unwrap() });
            app.engine.register_root(&own.ca_pem().unwrap(), &(app.tick)()).unwrap();
            let parts = Parts {
                engine: app.engine.clone(),
                clock: app.tick.clone(),
                own: own.clone(),
                limits: limits.clone(),
                wake: app.wake.clone(),
            };
            *taken.lock().unwrap() = Some((own, parts));
        });
        let (own, parts) = taken.into_inner().unwrap().unwrap();
        let mut roots = RootCertStore::empty();
        let ca = pki::load(own.ca_pem().unwrap().as_bytes(), None, pki::Limits::default()).unwrap();
        roots.add(CertificateDer::from(ca.certificates[0].der().to_vec())).unwrap();
        {
            let _inside = runtime.enter();
            runtime.spawn(server::agents::open(parts, listener, Arc::new(Notify::new())).unwrap());
        }
        let began = Began(world.now().unix().unsigned_abs());
        Gate { world, address, roots: Arc::new(roots), began, _runtime: runtime }
    }

    /// Open, with two nodes that are to have one secret.
    pub(crate) fn opened() -> Gate {
        let gate = Gate::new();
        gate.open();
        gate
    }

    pub(crate) fn open(&self) {
        let actor = store::Actor::new("test", "setup");
        self.world.engine.initialise(&support::cheap(support::PASSPHRASE), &mut support::entropy, &actor, &self.world.tick()).unwrap();
        self.apply(&["blob-tls"]);
    }

    /// The inventory, with nodes that are to have these secrets.
    pub(crate) fn apply(&self, secrets: &[&str]) {
        let mut fleet = support::fleet();
        fleet["node"] = json!([
            { "name": "web-1", "region": "eu", "secrets": secrets, "canary": true },
            { "name": "web-2", "region": "eu", "secrets": secrets },
        ]);
        fleet["target"][0]["nodes"] = json!(secrets.iter().filter(|s| **s == "blob-tls").map(|_| "web-1").collect::<Vec<_>>());
        self.world.post(&self.world.admin, "/v1/fleet", &json!({ "fleet": fleet })).good();
    }

    /// Stores a version of the secret, key included; says its number and leaf.
    pub(crate) fn store_version(&self) -> (i64, String) {
        let chain = support::Chain::new();
        let (leaf, key) = chain.leaf("blob.example.com", KeyType::EcdsaP256);
        let mut body = support::import(&chain.pem(&leaf), Some(&key));
        body["accept_change"] = json!(true);
        let stored = self.world.post(&self.world.admin, "/v1/secrets/blob-tls/versions", &body).good();
        (stored["version"].as_i64().unwrap(), leaf.fingerprint().to_string())
    }

    pub(crate) fn invite(&self, name: &str) -> Invitation {
        let answer = self.world.post(&self.world.admin, &format!("/v1/nodes/{name}/join-token"), &json!({ "valid": "1h" })).good();
        answer["join"].as_str().unwrap().parse().unwrap()
    }

    /// An agent that has joined.
    pub(crate) fn agent(&self, name: &str) -> Agent {
        let invitation = self.invite(name);
        Agent::join(self, &invitation.token, "first").unwrap_or_else(|a| panic!("{} {}", a.status, a.text))
    }

    pub(crate) fn send(&self, identity: Option<&Agent>, method: &str, path: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect(identity).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        read_answer(&mut stream)
    }

    pub(crate) fn connect(&self, identity: Option<&Agent>) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_details(provider, Arc::new(self.began))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(agent) => {
                let chain = agent.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(agent.key.expose_pkcs8().to_vec()));
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let socket = TcpStream::connect(self.address)?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut tls = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let mut socket = socket;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        Ok(StreamOwned::new(tls, socket))
    }
}

/// Reads one answer to the end of a connection that may end without TLS's own word for it.
fn read_answer(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> Answer {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..n]);
    }
    // The same reader as for the other door, over a pipe of bytes.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let writer = std::thread::spawn(move || {
        let mut out = listener.accept().unwrap().0;
        out.write_all(&bytes).unwrap();
    });
    let got = answer(&mut TcpStream::connect(address).unwrap());
    writer.join().unwrap();
    got
}

/// What an agent keeps.
pub(crate) struct Agent {
    pub(crate) key: PrivateKey,
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) joined: Joined,
    pub(crate) instance: String,
}

pub(crate) fn ders(texts: &[String]) -> Vec<Vec<u8>> {
    texts.iter().map(|t| STANDARD.decode(t).unwrap()).collect()
}

pub(crate) fn csr_text(der: &[u8]) -> String {
    STANDARD.encode(der)
}

pub(crate) fn csr(key: &PrivateKey) -> String {
    STANDARD.encode(pki::csr::build(key, None, &[]).unwrap())
}

impl Agent {
    pub(crate) fn join(gate: &Gate, token: &Token, instance: &str) -> Result<Agent, Answer> {
        Agent::join_with(gate, token, instance, PrivateKey::generate(KeyType::EcdsaP256).unwrap())
    }

    pub(crate) fn join_with(gate: &Gate, token: &Token, instance: &str, key: PrivateKey) -> Result<Agent, Answer> {
        let join = Join {
            token: token.clone(),
            csr: csr(&key),
            clock: gate.world.now().to_string(),
            agent: "0.1.0-test".into(),
            instance: instance.into(),
        };
        let answer = gate.send(None, "POST", agent::JOIN, &serde_json::to_vec(&join).unwrap());
        if answer.status != 200 {
            return Err(answer);
        }
        let joined: Joined = serde_json::from_str(&answer.text).unwrap();
        Ok(Agent { key, chain: ders(&joined.identity.chain), joined, instance: instance.into() })
    }

    /// The same folder, started somewhere else.
    pub(crate) fn copy(&self, instance: &str) -> Agent {
        Agent {
            key: PrivateKey::from_der(self.key.expose_pkcs8()).unwrap(),
            chain: self.chain.clone(),
            joined: self.joined.clone(),
            instance: instance.into(),
        }
    }

    pub(crate) fn post(&self, gate: &Gate, path: &str, body: &impl Serialize) -> Answer {
        gate.send(Some(self), "POST", path, &serde_json::to_vec(body).unwrap())
    }

    pub(crate) fn poll(&self, gate: &Gate, after: i64, wait: u64) -> Answer {
        gate.send(Some(self), "GET", &format!("{}?after={after}&wait={wait}&instance={}", agent::MANIFEST, self.instance), b"")
    }

    /// A manifest that is there, verified.
    pub(crate) fn manifest(&self, gate: &Gate, after: i64) -> Manifest {
        let answer = self.poll(gate, after, 0);
        assert_eq!(answer.status, 200, "{}", answer.text);
        self.verified(&answer.text)
    }

    pub(crate) fn verified(&self, text: &str) -> Manifest {
        let signed: SignedManifest = serde_json::from_str(text).unwrap();
        let (payload, signature) = (STANDARD.decode(signed.payload).unwrap(), STANDARD.decode(signed.signature).unwrap());
        let key = STANDARD.decode(&self.joined.manifest_key).unwrap();
        pki::detached::verify(&key, agent::MANIFEST_CONTEXT, &payload, &signature).unwrap();
        serde_json::from_slice(&payload).unwrap()
    }

    pub(crate) fn renewal(&self, gate: &Gate) -> agent::Renew {
        agent::Renew { csr: csr(&self.key), clock: gate.world.now().to_string(), instance: self.instance.clone() }
    }

    pub(crate) fn renew(&mut self, gate: &Gate) -> Answer {
        let answer = self.post(gate, agent::RENEW, &self.renewal(gate));
        if answer.status == 200 {
            let renewed: agent::Renewed = serde_json::from_str(&answer.text).unwrap();
            self.chain = ders(&renewed.chain);
        }
        answer
    }

    pub(crate) fn report(&self, gate: &Gate, generation: i64, installs: &Value) -> Answer {
        let report = json!({ "generation": generation, "instance": self.instance, "agent": "0.1.0-test",
            "clock": gate.world.now().to_string(), "installs": installs });
        self.post(gate, agent::REPORT, &report)
    }
}

pub(crate) fn said(gate: &Gate, version: i64, state: &str, detail: &str) -> Value {
    json!([{ "secret": "blob-tls", "version": version, "state": state, "detail": detail, "attempts": 1, "at": gate.world.now().to_string() }])
}

/// As many rounds of the loop over nodes as there is something due.
pub(crate) fn settle(gate: &Gate) {
    while gate.world.engine.nodes_once(&gate.world.tick()).unwrap() > 0 {}
}

pub(crate) fn shown(gate: &Gate, name: &str) -> Value {
    gate.world.get(&gate.world.admin, &format!("/v1/nodes/{name}")).good()
}

/// The codes of what stands about a node.
pub(crate) fn findings(gate: &Gate, name: &str) -> Vec<String> {
    settle(gate);
    shown(gate, name)["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap().to_owned()).collect()
}

pub(crate) fn read<T: DeserializeOwned>(answer: &Answer) -> T {
    assert_eq!(answer.status, 200, "{}", answer.text);
    serde_json::from_str(&answer.text).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "how long something took is what these tests ask")]
fn instant() -> std::time::Instant {
    std::time::Instant::now()
}
