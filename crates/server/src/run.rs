//! Starting a server: a store, its key, the loops, the API.

use crate::{
    accept::accept,
    agents::{self, Entrance, Limits},
    authority::{Authorities, Ways},
    clock::{Door, wall},
    drive::{self, Drive, Heartbeat},
    http,
    network::Sockets,
    post::Outside,
    tls::{OwnCertificate, TlsError, make_private, private_file, replace},
    witness::Witnesses,
};
use engine::{Engine, Tick};
use envelope::{KeyFile, Passphrase, Provider};
use std::{
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use store::{Actor, Store, StoreError};
use tokio::{net::TcpListener, sync::Notify, task::JoinSet, time};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

/// How long requests under way are waited for at the end.
pub(crate) const FAREWELL: Duration = Duration::from_secs(5);

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where its own files lie.
    pub data: PathBuf,
    /// The database; SQLite in the data folder where absent.
    pub database: Option<String>,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Names and addresses that its certificate covers besides its own.
    pub names: Vec<String>,
    /// Files that hold a passphrase.
    pub passphrase_files: Vec<PathBuf>,
    /// Key files. The first that opens the store is used; the first of all makes the key of a new store, and is made where it does
    /// not exist.
    pub key_files: Vec<PathBuf>,
    /// Hosts that messages may go to although they lie inside.
    pub allow_inside: Vec<String>,
    /// The outgoing heartbeat and its interval in seconds.
    pub heartbeat: Option<(String, u64)>,
    /// Names that are not looked up when targets are dialled: name → addresses.
    pub resolve: Vec<(String, Vec<std::net::IpAddr>)>,
    /// Dials per second to one address; 0 is unlimited.
    pub rate_per_address: Option<u32>,
    /// PEM files of roots to trust besides the system's, for messages that go out.
    pub outgoing_ca: Option<PathBuf>,
    /// Web servers whose `Date` witnesses the clock.
    pub clock_witnesses: Vec<String>,
    /// How names are proven to CAs outside.
    pub ways: Ways,
    /// Where agents come in; without it none can.
    pub agents: Option<AgentsDoor>,
}

/// Where agents come in.
#[derive(Debug, Clone)]
pub struct AgentsDoor {
    /// Where it listens.
    pub listen: SocketAddr,
    /// `host` or `host:port` as agents reach it, where that is something else.
    pub address: Option<String>,
    /// How many may come in.
    pub limits: Limits,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The API's certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A file or a socket.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// The key.
    #[error("{0}")]
    Key(String),
    /// Something that was asked for cannot be.
    #[error("{0}")]
    Setup(String),
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> StartError {
    let what = what.into();
    move |error| StartError::Io { what, error }
}

/// A server that runs.
pub struct Running {
    /// Where the API listens.
    pub address: SocketAddr,
    /// `https://…`.
    pub url: String,
    /// What clients trust.
    pub ca: PathBuf,
    /// The file that says all this to the client's commands.
    pub client_file: PathBuf,
    /// The token that was made at the first start, where this was one.
    pub first_token: Option<Zeroizing<String>>,
    /// The engine behind it.
    pub engine: Engine,
    /// Wakes the loops.
    pub wake: Arc<Notify>,
    /// Where agents come in, and how they reach it.
    pub agents: Option<(SocketAddr, String)>,
    door: Arc<Door>,
    stop: Arc<Notify>,
    stop_agents: Arc<Notify>,
    serving: tokio::task::JoinHandle<()>,
    agents_served: Option<tokio::task::JoinHandle<()>>,
    loops: JoinSet<()>,
}

impl Running {
    /// Now, as the server sees it.
    pub fn tick(&self) -> Tick {
        self.door.tick()
    }

    /// Waits for the end of requests under way, and ends.
    pub async fn stop(mut self) {
        self.stop.notify_one();
        self.stop_agents.notify_one();
        let _ = time::timeout(FAREWELL, self.serving).await;
        if let Some(agents) = self.agents_served {
            let _ = time::timeout(FAREWELL, agents).await;
        }
        self.loops.shutdown().await;
    }

    /// Runs until the task is ended.
    pub async fn serve(&mut self) {
        let _ = (&mut self.serving).await;
    }
}

/// Fills a buffer with randomness of the operating system.
pub fn entropy(buffer: &mut [u8]) {
    if aws_lc_rs::rand::fill(buffer).is_err() {
        // All zeros are refused by whoever asks for a key, a token or an id.
        buffer.fill(0);
    }
}

/// The actor of what a start does by itself.
fn starter() -> Actor {
    Actor::new("perennial", "server")
}

/// Starts a server.
pub async fn start(options: Options) -> Result<Running, StartError> {
    private_folder(&options.data)?;
    let url = options.database.clone().unwrap_or_else(|| format!("sqlite:{}", options.data.join("perennial.db").display()));
    let for_store = options.clone();
    let (engine, door, life) = blocking(move || {
        let (engine, door) = open(&for_store, &url)?;
        let life = engine.store().read(store::meta::identity)?;
        Ok((engine, door, life))
    })
    .await?;

    let listener = TcpListener::bind(options.listen).await.map_err(io(format!("listening on {}", options.listen)))?;
    let address = listener.local_addr().map_err(io("asking for the own address"))?;
    let mut names = vec![String::from("localhost"), String::from("127.0.0.1"), String::from("::1")];
    if !address.ip().is_unspecified() {
        names.push(address.ip().to_string());
    }
    names.extend(options.names.iter().cloned());
    let agents = match &options.agents {
        Some(door) => Some(agents_listener(door, &options.names, &mut names).await?),
        None => None,
    };
    names.sort();
    names.dedup();

    let wake = Arc::new(Notify::new());
    let mut overrides = probe::Overrides::default();
    for (name, addresses) in &options.resolve {
        overrides.set(name, addresses.clone());
    }
    let mut settings = probe::Settings { overrides, ..probe::Settings::default() };
    if let Some(rate) = options.rate_per_address {
        settings.rate_per_address = rate;
    }
    let dialer = probe::Dialer::new(settings).map_err(|f| StartError::Setup(f.detail))?;
    let handle = tokio::runtime::Handle::current();
    let policy = outgoing(&options)?;
    let client = outbound::Client::new(policy.clone()).map_err(|e| StartError::Setup(e.to_string()))?;
    let mut answering = JoinSet::new();
    let authorities = Authorities::open(&options.ways, policy, &mut answering).await.map_err(StartError::Setup)?;
    let witnesses = Witnesses::new(&options.clock_witnesses, client.clone(), engine.clone(), door.clone());
    witnesses.ask_at_start().await;
    // After the witnesses: what they say of the clock decides whether an authority that looks old is replaced.
    let own = OwnCertificate::open(&options.data.join("tls"), &names, &door.tick())?;
    let metrics = Arc::new(http::metrics::Metrics::new());
    let measured = metrics.clone();
    let drive = Drive {
        engine: engine.clone(),
        door: door.clone(),
        wake: wake.clone(),
        sockets: Arc::new(Sockets::new(dialer, door.clone())),
        outside: Arc::new(Outside::new(client.clone(), handle, &life, |line| tracing::warn!(target: "perennial::notice", "{line}"))),
        authorities: Arc::new(authorities),
        heartbeat: options.heartbeat.clone().map(|(url, every)| Heartbeat { url, every: Duration::from_secs(every.max(1)), client }),
        own: Some((own.clone(), address)),
        meter: Arc::new(move |name, round| match round {
            drive::Round::Done(n, seconds) => measured.loop_done(name, n, seconds),
            drive::Round::Failed => measured.loop_failed(name),
        }),
    };

    let shown = if address.ip().is_unspecified() { SocketAddr::new([127, 0, 0, 1].into(), address.port()) } else { address };
    let url = format!("https://{shown}");
    let client_file = options.data.join("client.toml");
    let first_token = {
        let (engine, door, file, url, ca) = (engine.clone(), door.clone(), client_file.clone(), url.clone(), own.ca_path());
        blocking(move || first_token(&engine, &door, &file, &url, &ca)).await?
    };

    let entrance = match &agents {
        Some((_, _, address)) => Some(Entrance { address: address.clone(), ca: own.ca_fingerprint()? }),
        None => None,
    };
    if entrance.is_some() {
        // Before the first agent is told by whom to believe this store.
        let (engine, door, pem) = (engine.clone(), door.clone(), own.ca_pem()?);
        blocking(move || Ok(engine.register_root(&pem, &door.tick())?)).await?;
    }
    let mut loops = drive::start(&drive);
    loops.spawn(async move { while answering.join_next().await.is_some() {} });
    loops.spawn(witnesses.go_on());
    let confirm = door.clone();
    let tick = door.clone();
    let app = http::App {
        engine: engine.clone(),
        tick: Arc::new(move || tick.tick()),
        confirm_clock: Arc::new(move || confirm.confirm()),
        wake: wake.clone(),
        entropy,
        metrics_open: address.ip().is_loopback(),
        metrics,
        agents: entrance,
        data_dir: Some(options.data.clone()),
        version: env!("CARGO_PKG_VERSION"),
    };
    let (stop, stop_agents) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut agents_served = None;
    let mut agents_at = None;
    if let Some((listener, limits, reached)) = agents {
        agents_at = Some((listener.local_addr().map_err(io("asking for the agents' address"))?, reached));
        let at = door.clone();
        let parts =
            agents::Parts { engine: engine.clone(), clock: Arc::new(move || at.tick()), own: own.clone(), limits, wake: wake.clone() };
        agents_served = Some(tokio::spawn(agents::open(parts, listener, stop_agents.clone())?));
    }
    let serving = tokio::spawn(accept(listener, TlsAcceptor::from(own.config()?), http::router(app), stop.clone()));
    Ok(Running {
        address,
        url,
        ca: own.ca_path(),
        client_file,
        first_token,
        engine,
        wake,
        agents: agents_at,
        door,
        stop,
        stop_agents,
        serving,
        agents_served,
        loops,
    })
}

/// The agents' listener, and how agents reach it; the server's certificate has to cover that name.
async fn agents_listener(door: &AgentsDoor, own: &[String], names: &mut Vec<String>) -> Result<(TcpListener, Limits, String), StartError> {
    let listener = TcpListener::bind(door.listen).await.map_err(io(format!("listening on {} for agents", door.listen)))?;
    let at = listener.local_addr().map_err(io("asking for the agents' address"))?;
    let host =
        if at.ip().is_unspecified() { own.first().cloned().unwrap_or_else(|| String::from("127.0.0.1")) } else { at.ip().to_string() };
    let bare = host.parse::<std::net::Ipv6Addr>().is_ok();
    let host = if bare { format!("[{host}]") } else { host };
    let reached = match &door.address {
        None => format!("{host}:{}", at.port()),
        Some(given) if has_port(given) => given.clone(),
        Some(given) => format!("{given}:{}", at.port()),
    };
    let invitation = api::agent::Invitation { ca: "0".repeat(64), token: api::agent::Token(String::from("0")), store: reached.clone() };
    if invitation.expose().parse::<api::agent::Invitation>().is_err() {
        return Err(StartError::Setup(format!("{reached} is no address that agents can reach; write HOST or HOST:PORT")));
    }
    let name = reached.rsplit_once(':').map_or(reached.as_str(), |(host, _)| host);
    names.push(name.trim_matches(['[', ']']).to_owned());
    Ok((listener, door.limits.clone(), reached))
}

/// Whether a port follows the host; an IPv6 address stands in brackets.
fn has_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']')))
}

/// Does what waits for the database, away from the runtime's own threads.
async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T, StartError> + Send + 'static) -> Result<T, StartError> {
    tokio::task::spawn_blocking(f).await.map_err(|e| StartError::Setup(e.to_string()))?
}

/// Opens the store and, where a way to its key was given, its vault.
fn open(options: &Options, url: &str) -> Result<(Engine, Arc<Door>), StartError> {
    if options.database.is_none() {
        // Made here, so that it is readable by its owner alone from its first byte on; what SQLite puts beside it follows its mode.
        let path = options.data.join("perennial.db");
        if !path.exists() {
            private_file(&path).map_err(io(format!("making {}", path.display())))?;
        }
        // One that was brought here by other means keeps the mode that these gave it.
        for name in ["perennial.db", "perennial.db-wal", "perennial.db-shm"] {
            let path = options.data.join(name);
            if make_private(&path).map_err(io(format!("taking others their access to {}", path.display())))? {
                tracing::warn!(path = %path.display(), "others could read the database until now; it is its owner's alone again");
            }
        }
    }
    let store = Store::open(url, wall(), || {
        let mut id = [0; 16];
        entropy(&mut id);
        id
    })?;
    let high_water = store.read(store::meta::high_water)?;
    let door = Arc::new(Door::new(Some(high_water)));
    let roots = rustls_native_certs::load_native_certs();
    for error in &roots.errors {
        tracing::warn!(%error, "a root certificate of the system was left out");
    }
    let holder = format!("server-{}", hex_id());
    let engine = Engine::new(store, &holder, roots.certs.into_iter().map(|c| c.to_vec()).collect());
    let initialised = engine.is_initialised()?;
    let (providers, tick) = (providers(options, initialised)?, door.tick());
    if initialised {
        unseal(&engine, &providers, &tick)?;
    } else if let Some(first) = providers.first() {
        engine.initialise(&**first, &mut entropy, &starter(), &tick)?;
    }
    // A server that cannot keep this key still tells everybody whose contact needs none, and everybody while the store is open.
    if let Err(error) = delivery_key(options).and_then(|key| Ok(engine.use_delivery_key(&key, &mut entropy, &door.tick())?)) {
        tracing::warn!(%error, "contacts that need a key will not be reached while the store is sealed");
    }
    engine.keep_delivery_keys(&mut entropy, &door.tick())?;
    Ok((engine, door))
}

/// Opens the store by the first way in that fits: around a rotation both the old and the new one may be named.
fn unseal(engine: &Engine, providers: &[Box<dyn Provider>], tick: &Tick) -> Result<(), StartError> {
    let mut refused = Vec::new();
    for provider in providers {
        match engine.unseal(&**provider, &starter(), tick) {
            Ok(()) => return Ok(()),
            Err(engine::Error::Refused(refusal)) if refusal.code == "cannot-open" => refused.extend(refusal.problems),
            Err(other) => return Err(other.into()),
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(StartError::Key(refused.join("; "))) }
}

/// The key that lies with the server, for what contacts need while the store is sealed; made at the first start.
fn delivery_key(options: &Options) -> Result<KeyFile, StartError> {
    key_file(&options.data.join("delivery.key"))
}

fn hex_id() -> String {
    let mut id = [0; 8];
    entropy(&mut id);
    id.iter().map(|b| format!("{b:02x}")).collect()
}

/// The ways in that the options name.
fn providers(options: &Options, initialised: bool) -> Result<Vec<Box<dyn Provider>>, StartError> {
    let mut all: Vec<Box<dyn Provider>> = Vec::new();
    let mut missing = Vec::new();
    for path in &options.key_files {
        if initialised && !path.exists() {
            missing.push(path.display().to_string());
            continue;
        }
        all.push(Box::new(key_file(path)?));
    }
    for path in &options.passphrase_files {
        let text = Zeroizing::new(std::fs::read(path).map_err(io(format!("reading the passphrase from {}", path.display())))?);
        let end = text.iter().rposition(|b| *b != b'\n' && *b != b'\r').map_or(0, |at| at + 1);
        all.push(Box::new(Passphrase::new(Zeroizing::new(text[..end].to_vec()))));
    }
    if !missing.is_empty() {
        let missing = format!("the key file {} does not exist, and this store has a key already", missing.join(", "));
        if all.is_empty() {
            return Err(StartError::Key(format!("{missing}; bring it back, or start without --key-file: sealed")));
        }
        tracing::warn!("{missing}");
    }
    Ok(all)
}

/// A key file; made where it does not exist.
fn key_file(path: &Path) -> Result<KeyFile, StartError> {
    let key = |e: envelope::UnlockError| StartError::Key(format!("{}: {e}", path.display()));
    if !path.exists() {
        let made = KeyFile::generate(&mut entropy).map_err(key)?;
        // Never over one that is there: of two first starts one may have put the store's key under it already.
        match private_file(path).and_then(|mut f| f.write_all(&made).and_then(|()| f.sync_all())) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(io(format!("writing the key file {}", path.display()))(error));
            }
            _ => {}
        }
    }
    let content = Zeroizing::new(std::fs::read(path).map_err(io(format!("reading the key file {}", path.display())))?);
    KeyFile::parse(&content).map_err(key)
}

/// What everything that goes out is held to.
fn outgoing(options: &Options) -> Result<outbound::Policy, StartError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &options.outgoing_ca {
        let pem = std::fs::read(path).map_err(io(format!("reading {}", path.display())))?;
        let own = outbound::roots_from_pem(&pem).map_err(|e| StartError::Setup(format!("{}: {e}", path.display())))?;
        roots.roots.extend(own.roots);
    }
    Ok(outbound::Policy { allow: options.allow_inside.iter().cloned().collect(), ..outbound::Policy::new(roots) })
}

/// A store without any token gets one for its first person. It lies beside the store, readable by its owner alone.
fn first_token(engine: &Engine, door: &Door, file: &Path, url: &str, ca: &Path) -> Result<Option<Zeroizing<String>>, StartError> {
    let text = |s: &str| s.replace('\\', "\\\\").replace('"', "\\\"");
    let ca = std::fs::canonicalize(ca).unwrap_or_else(|_| ca.to_path_buf());
    let any = !engine.store().read(store::model::token::list_all)?.is_empty();
    if any {
        // The address may have changed; the token stays what it was. A second server on a database has none: people bring theirs.
        let before = Zeroizing::new(std::fs::read_to_string(file).unwrap_or_default());
        let token = before.lines().find(|l| l.starts_with("token")).unwrap_or_default();
        let content = format!("server = \"{}\"\nca = \"{}\"\n{token}\n", text(url), text(&ca.display().to_string()));
        let content = Zeroizing::new(content);
        replace(file, content.as_bytes()).map_err(io(format!("writing {}", file.display())))?;
        return Ok(None);
    }
    let wanted = api::v1::NewToken {
        name: "first".into(),
        role: "admin".into(),
        teams: Vec::new(),
        vantage: None,
        services: Vec::new(),
        expires_at: None,
    };
    let made = http::token::create(engine, &wanted, entropy, &starter(), &door.tick())
        .map_err(|_| StartError::Setup("the first token could not be made".into()))?;
    let value = Zeroizing::new(made.value);
    let content = Zeroizing::new(format!(
        "server = \"{}\"\nca = \"{}\"\ntoken = \"{}\"\n",
        text(url),
        text(&ca.display().to_string()),
        value.as_str()
    ));
    replace(file, content.as_bytes()).map_err(io(format!("writing {}", file.display())))?;
    Ok(Some(value))
}

pub(crate) fn private_folder(path: &Path) -> Result<(), StartError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(io(format!("making the folder {}", path.display())))
}
