//! A store in miniature: the agents' door over TLS with client certificates, its authority, and its manifest key. It keeps what it was told.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use agent::{Around, Config, state::State};
use api::agent as wire;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use pki::{Authority, Certificate, KeyType, PrivateKey, Span, Time, detached};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

pub(crate) const NODE: &str = "web-1";
const STORE: &str = "store-1";

/// What it keeps, and how it is to behave.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) epoch: i64,
    pub(crate) generation: i64,
    pub(crate) installs: BTreeMap<String, wire::Install>,
    pub(crate) sent: BTreeMap<(String, i64), wire::Material>,
    /// Requests for keys born on the node, in the order in which they came: secret, version, fingerprint of the key.
    pub(crate) requests: Vec<(String, i64, String)>,
    pub(crate) reports: Vec<wire::Report>,
    pub(crate) joins: usize,
    pub(crate) renewals: usize,
    pub(crate) polls: usize,
    /// How often a request is answered with "not yet" before it is answered.
    pub(crate) not_yet: usize,
    /// How far its clock is ahead.
    pub(crate) clock: i64,
    /// How long a client certificate lives, in seconds.
    pub(crate) identity_life: i64,
    /// Whom agents are to believe besides from their next renewal on, PEM.
    pub(crate) next_root: String,
    pub(crate) token: String,
    /// The key that used it, which may ask again for an answer that was lost.
    pub(crate) joined: Option<String>,
}

pub(crate) struct Store {
    pub(crate) address: SocketAddr,
    pub(crate) book: Arc<Mutex<Book>>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) issuer: Arc<Authority>,
    pub(crate) manifest_key: PrivateKey,
    changed: watch::Sender<i64>,
    task: Option<JoinHandle<()>>,
    config: Arc<ServerConfig>,
}

pub(crate) fn now() -> Time {
    agent::clock::now()
}

fn day(days: i64) -> Time {
    now() + Span::days(days)
}

impl Store {
    /// Opens the door on a port of its own.
    pub(crate) async fn open() -> Store {
        let authority = Arc::new(Authority::new("Agents' Authority", day(-1), day(30)).unwrap());
        let issuer = Arc::new(Authority::new("Issuer", day(-1), day(30)).unwrap());
        let (leaf, key) = authority.leaf(&["127.0.0.1"], KeyType::EcdsaP256, day(-1), day(30)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(authority.certificate().der().to_vec())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).allow_unauthenticated().build().unwrap();
        // The authority comes along: at the first contact an agent knows its fingerprint alone.
        let chain = [&leaf, authority.certificate()].map(|one| CertificateDer::from(one.der().to_vec())).to_vec();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.expose_pkcs8().to_vec()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)
            .unwrap();
        let book = Book { epoch: 1, identity_life: 86_400, token: "once".into(), ..Book::default() };
        let mut store = Store {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            book: Arc::new(Mutex::new(book)),
            authority,
            issuer,
            manifest_key: detached::generate(&[7; 32]).unwrap(),
            changed: watch::channel(0).0,
            task: None,
            config: Arc::new(config),
        };
        store.come_back().await;
        store
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody answers any more; open connections end.
    pub(crate) async fn go_away(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Answers again, at the same address.
    pub(crate) async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let door = Door {
            book: Arc::clone(&self.book),
            authority: Arc::clone(&self.authority),
            issuer: Arc::clone(&self.issuer),
            manifest_key: STANDARD.encode(self.manifest_key.spki_der()),
            signing: Arc::new(detached::generate(&[7; 32]).unwrap()),
            changed: self.changed.subscribe(),
        };
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
        self.task = Some(tokio::spawn(async move {
            // Dropped with this task, and every connection with it.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((socket, _)) = listener.accept().await else { continue };
                let (acceptor, door) = (acceptor.clone(), door.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    let known = stream.get_ref().1.peer_certificates().and_then(|chain| Certificate::parse(chain[0].to_vec()).ok());
                    let service = service_fn(move |request| {
                        let (door, known) = (door.clone(), known.clone());
                        async move { Ok::<_, Infallible>(door.answer(request, known.as_ref()).await) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        }));
    }

    /// What a person carries to the node.
    pub(crate) fn invitation(&self) -> wire::Invitation {
        let (ca, token) = (self.authority.certificate().fingerprint().to_string(), wire::Token(self.book().token.clone()));
        wire::Invitation { ca, token, store: self.address.to_string() }
    }

    /// A leaf with its key, and its chain.
    pub(crate) fn pair(&self, names: &[&str], from: Time, until: Time) -> (Certificate, wire::Pair) {
        let (leaf, key) = self.issuer.leaf(names, KeyType::EcdsaP256, from, until).unwrap();
        let chain = [&leaf, self.issuer.certificate()].map(|one| STANDARD.encode(one.der())).to_vec();
        (leaf, wire::Pair { chain, key: Some(wire::KeyText(STANDARD.encode(key.expose_pkcs8()))) })
    }

    /// Keeps a version with its key; no node is told. Answers with the leaf's fingerprint.
    pub(crate) fn keep(&self, secret: &str, version: i64) -> String {
        let (leaf, pair) = self.pair(&["www.example"], day(-1), day(20));
        self.book().sent.insert((secret.into(), version), wire::Material { secret: secret.into(), version, pairs: vec![pair] });
        leaf.fingerprint().to_string()
    }

    /// The node is to have this version, with a key that the store sends. Answers with the leaf's fingerprint.
    pub(crate) fn send(&self, secret: &str, version: i64) -> String {
        let leaf = self.keep(secret, version);
        self.tell(secret, version, |install| install.leaves = vec![leaf.clone()]);
        leaf
    }

    /// The node is to have this version; `change` says more.
    pub(crate) fn tell(&self, secret: &str, version: i64, change: impl FnOnce(&mut wire::Install)) {
        let generation = {
            let mut book = self.book();
            book.generation += 1;
            let generation = book.generation;
            let mut install = wire::Install {
                secret: secret.into(),
                version,
                keys: wire::Keys::Store,
                key_type: "ecdsa-p256".into(),
                names: vec!["www.example".into()],
                leaves: vec![],
                since: generation,
                fault: None,
            };
            change(&mut install);
            book.installs.insert(secret.into(), install);
            generation
        };
        self.changed.send_replace(generation);
    }

    /// The manifest as it stands, signed.
    pub(crate) fn signed(&self) -> wire::SignedManifest {
        sign(&self.book(), &self.manifest_key)
    }

    /// Waits until the node reports so of a secret, and answers with that report.
    pub(crate) async fn reported(&self, secret: &str, so: impl Fn(&wire::InstallReport) -> bool) -> wire::InstallReport {
        for _ in 0..6000 {
            let found = self.book().reports.last().and_then(|report| report.installs.iter().find(|i| i.secret == secret && so(i)).cloned());
            if let Some(found) = found {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not within 60 s; last: {:?}", self.book().reports.last());
    }

    pub(crate) async fn installed(&self, secret: &str, version: i64) -> wire::InstallReport {
        let good =
            |i: &wire::InstallReport| i.version == version && matches!(i.state, wire::InstallState::Installed | wire::InstallState::Unseen);
        self.reported(secret, good).await
    }
}

fn sign(book: &Book, key: &PrivateKey) -> wire::SignedManifest {
    let manifest = wire::Manifest {
        store: STORE.into(),
        epoch: book.epoch,
        node: NODE.into(),
        generation: book.generation,
        issued_at: now().to_string(),
        installs: book.installs.values().cloned().collect(),
        next_key: None,
    };
    let payload = serde_json::to_vec(&manifest).unwrap();
    let signature = detached::sign(key, wire::MANIFEST_CONTEXT, &payload).unwrap();
    wire::SignedManifest { payload: STANDARD.encode(payload), signature: STANDARD.encode(signature) }
}

#[derive(Clone)]
struct Door {
    book: Arc<Mutex<Book>>,
    authority: Arc<Authority>,
    issuer: Arc<Authority>,
    manifest_key: String,
    signing: Arc<PrivateKey>,
    changed: watch::Receiver<i64>,
}

type Answer = Response<Full<Bytes>>;

fn json(status: StatusCode, value: &impl serde::Serialize) -> Answer {
    Response::builder().status(status).body(Full::new(serde_json::to_vec(value).unwrap().into())).unwrap()
}

fn refuse(status: StatusCode, code: &str) -> Answer {
    json(status, &serde_json::json!({ "detail": format!("refused: {code}"), "code": code }))
}

impl Door {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>, known: Option<&Certificate>) -> Answer {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, 1 << 20).collect().await.unwrap().to_bytes();
        let path = head.uri.path();
        if path == wire::JOIN {
            return self.join(&serde_json::from_slice(&body).unwrap());
        }
        let Some(known) = known else { return refuse(StatusCode::UNAUTHORIZED, "no-certificate") };
        assert!(known.covers(NODE), "{}", known.subject());
        match (head.method, path) {
            (Method::GET, wire::MANIFEST) => self.manifest(head.uri.query().unwrap_or_default()).await,
            (Method::POST, wire::RENEW) => {
                let renew: wire::Renew = serde_json::from_slice(&body).unwrap();
                self.book().renewals += 1;
                json(StatusCode::OK, &self.identity(&renew.csr))
            }
            (Method::POST, wire::FETCH) => {
                let fetch: wire::Fetch = serde_json::from_slice(&body).unwrap();
                match self.book().sent.get(&(fetch.secret, fetch.version)) {
                    Some(material) => json(StatusCode::OK, material),
                    None => refuse(StatusCode::NOT_FOUND, "not-found"),
                }
            }
            (Method::POST, wire::REQUEST) => self.request(&serde_json::from_slice(&body).unwrap()),
            (Method::POST, wire::REPORT) => {
                let mut book = self.book();
                book.reports.push(serde_json::from_slice(&body).unwrap());
                json(StatusCode::OK, &wire::Taken { clock: (now() + Span::seconds(book.clock)).to_string() })
            }
            _ => refuse(StatusCode::NOT_FOUND, "not-found"),
        }
    }

    fn join(&self, join: &wire::Join) -> Answer {
        let mut book = self.book();
        let key = pki::Csr::parse(&STANDARD.decode(&join.csr).unwrap()).unwrap().spki_fingerprint().to_string();
        if join.token.0 != book.token || book.joined.as_ref().is_some_and(|joined| *joined != key) {
            return refuse(StatusCode::UNAUTHORIZED, "token-used");
        }
        book.joined = Some(key);
        book.joins += 1;
        let epoch = book.epoch;
        drop(book);
        let (node, store) = (NODE.into(), STORE.into());
        json(
            StatusCode::OK,
            &wire::Joined { node, store, epoch, identity: self.identity(&join.csr), manifest_key: self.manifest_key.clone() },
        )
    }

    fn identity(&self, csr: &str) -> wire::Renewed {
        let life = self.book().identity_life;
        let roots = self.authority.certificate().to_pem() + &self.book().next_root;
        let leaf = issue(&self.authority, csr, &[NODE], Time::from_unix(now().unix() - 60), now() + Span::seconds(life));
        wire::Renewed { chain: vec![STANDARD.encode(leaf)], roots, clock: now().to_string() }
    }

    async fn manifest(&self, query: &str) -> Answer {
        let number = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse::<i64>().ok()).unwrap_or_default()
        };
        let (after, wait) = (number("after"), number("wait"));
        self.book().polls += 1;
        let mut changed = self.changed.clone();
        let newer = changed.wait_for(|generation| *generation > after);
        match tokio::time::timeout(Duration::from_secs(wait.unsigned_abs()), newer).await {
            Ok(Ok(_)) => json(StatusCode::OK, &sign(&self.book(), &self.signing)),
            _ => Response::builder().status(StatusCode::NO_CONTENT).body(Full::default()).unwrap(),
        }
    }

    fn request(&self, request: &wire::Request) -> Answer {
        let csr = pki::Csr::parse(&STANDARD.decode(&request.csr).unwrap()).unwrap();
        let mut book = self.book();
        let key = csr.spki_fingerprint().to_string();
        book.requests.push((request.secret.clone(), request.version, key));
        if book.not_yet > 0 {
            book.not_yet -= 1;
            return json(StatusCode::ACCEPTED, &wire::Pending { retry_after: 1, detail: "the issuer thinks".into() });
        }
        drop(book);
        let leaf = issue(&self.issuer, &request.csr, &["www.example"], day(-1), day(20));
        let chain = vec![STANDARD.encode(leaf), STANDARD.encode(self.issuer.certificate().der())];
        let pairs = vec![wire::Pair { chain, key: None }];
        json(StatusCode::OK, &wire::Material { secret: request.secret.clone(), version: request.version, pairs })
    }
}

/// A leaf for the key of a request, which is ECDSA P-256.
fn issue(authority: &Authority, csr: &str, names: &[&str], from: Time, until: Time) -> Vec<u8> {
    struct Public(Vec<u8>);
    impl rcgen::PublicKeyData for Public {
        fn der_bytes(&self) -> &[u8] {
            &self.0
        }
        fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
            &rcgen::PKCS_ECDSA_P256_SHA256
        }
    }
    let csr = pki::Csr::parse(&STANDARD.decode(csr).unwrap()).unwrap();
    let spki = csr.spki_der();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let moment = |time: Time| epoch + Duration::from_secs(time.unix().unsigned_abs());
    let mut params = rcgen::CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    (params.not_before, params.not_after) = (moment(from), moment(until));
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let mut above = rcgen::CertificateParams::default();
    let subject = authority.certificate().subject().trim_start_matches("CN=").to_owned();
    above.distinguished_name = rcgen::DistinguishedName::new();
    above.distinguished_name.push(rcgen::DnType::CommonName, subject);
    let key = PrivatePkcs8KeyDer::from(authority.key().expose_pkcs8().to_vec());
    let issuer = rcgen::Issuer::new(above, rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_ECDSA_P256_SHA256).unwrap());
    params.signed_by(&Public(spki[spki.len() - 65..].to_vec()), &issuer).unwrap().der().to_vec()
}

/// An agent's folder and its configuration.
pub(crate) struct Node {
    pub(crate) folder: tempfile::TempDir,
}

impl Node {
    pub(crate) fn new() -> Node {
        Node { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A configuration with these lines below `state`.
    pub(crate) fn config(&self, lines: &str) -> Config {
        let folder = self.folder.path().display();
        agent::config::parse(&format!("state = \"{folder}/state\"\n{}", lines.replace("{}", &folder.to_string()))).unwrap()
    }

    /// One pair in files of its own.
    pub(crate) fn pair(&self, more: &str) -> Config {
        self.config(&format!("[[install]]\nsecret = \"www\"\ncertificate = \"{{}}/tls/www.pem\"\nkey = \"{{}}/tls/www.key\"\n{more}\n"))
    }

    pub(crate) fn leaf(&self, name: &str) -> String {
        leaf(&self.at(name))
    }

    pub(crate) async fn join(&self, store: &Store) {
        let folder = self.at("state");
        let state = State::hold(&folder, agent::seal::Lock::ModeAlone).unwrap();
        agent::join(&state, &store.invitation(), false, &Around::here().unwrap()).await.unwrap();
    }
}

/// The first certificate of a file: SHA-256 in hexadecimal.
pub(crate) fn leaf(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap();
    let loaded = pki::load(&bytes, None, pki::Limits::default()).unwrap();
    loaded.certificates[0].fingerprint().to_string()
}

/// An agent that runs until it is dropped.
pub(crate) struct Running {
    task: JoinHandle<()>,
    stop: tokio::sync::oneshot::Sender<()>,
}

impl Running {
    pub(crate) fn start(config: Config, around: Around) -> Running {
        let (stop, stopped) = tokio::sync::oneshot::channel();
        // Only a word stops it: whoever drops this keeps it running until the runtime ends.
        let stopped = async move {
            if stopped.await.is_err() {
                std::future::pending().await
            }
        };
        let task = async move {
            let mut stopped = std::pin::pin!(stopped);
            loop {
                match agent::run(config.clone(), around.clone(), stopped.as_mut()).await {
                    // A child of another test that has not become its own program yet holds whatever this process just let go of.
                    Err(agent::Error::Held(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                    Err(error) => panic!("the agent does not start: {error}"),
                    Ok(()) => return,
                }
            }
        };
        Running { task: tokio::spawn(task), stop }
    }

    /// Ends it and waits until its folder is free.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap();
    }
}

pub(crate) fn around() -> Around {
    Around::here().unwrap()
}

/// A runtime of this test alone.
pub(crate) fn on<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}
