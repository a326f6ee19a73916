//! The machines of the demo: two in each region, each of which serves every service by its name, from files that an agent fills. It is the
//! nginx of this computer where there is one, and a small server of our own where there is none.

use pki::{Certificate, Limits, PrivateKey};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// How often a port is looked for that is free on both addresses.
const PORT_TRIES: usize = 20;
/// How long a server may take until it answers.
const STARTS_WITHIN: Duration = Duration::from_secs(10);
/// Where distributions keep nginx, besides the PATH.
const NGINX: [&str; 3] = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"];

/// A file that says to a server of our own that it is to read its files again.
const RELOAD: &str = "reload";

/// A chain and its key.
pub(crate) type Pair = (Vec<Certificate>, PrivateKey);

/// One site of a machine.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// The secret whose certificate it serves.
    pub(crate) secret: &'static str,
    /// The name that clients ask for.
    pub(crate) name: String,
}

/// One machine.
pub(crate) struct Machine {
    /// Its name in the inventory.
    pub(crate) name: String,
    /// The region that it stands in.
    pub(crate) region: &'static str,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    folder: PathBuf,
    sites: Vec<Site>,
    serving: Serving,
}

enum Serving {
    Nginx { program: PathBuf, child: Child },
    Own { _running: JoinSet<()> },
}

/// Whether this computer has an nginx.
pub(crate) fn nginx() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join("nginx")).chain(NGINX.map(PathBuf::from));
    places.find(|place| place.is_file())
}

/// Two addresses of a region and a port that is free on both; one address, where the system has a single one on loopback.
pub(crate) async fn addresses(region: u8) -> Result<Vec<SocketAddr>, String> {
    let [one, two] = [1, 2].map(|node| IpAddr::V4(Ipv4Addr::new(127, 0, region, node)));
    for _ in 0..PORT_TRIES {
        let Ok(first) = TcpListener::bind((one, 0)).await else { break };
        let at = first.local_addr().map_err(|e| e.to_string())?;
        if TcpListener::bind((two, at.port())).await.is_ok() {
            return Ok(vec![at, SocketAddr::new(two, at.port())]);
        }
    }
    let only = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|e| format!("listening on loopback: {e}"))?;
    Ok(vec![only.local_addr().map_err(|e| e.to_string())?])
}

impl Machine {
    /// Writes the files as they were before anybody cared for them, and starts what serves them.
    pub(crate) async fn start(
        folder: &Path,
        region: &'static str,
        number: usize,
        address: SocketAddr,
        sites: Vec<Site>,
        pairs: &BTreeMap<&'static str, Pair>,
    ) -> Result<Machine, String> {
        let name = format!("{region}-{number}");
        let folder = folder.join(&name);
        for site in &sites {
            let at = folder.join(site.secret);
            std::fs::create_dir_all(&at).map_err(|e| format!("{}: {e}", at.display()))?;
            let (chain, key) = pairs.get(site.secret).ok_or("a site without a certificate")?;
            let pem: String = chain.iter().map(Certificate::to_pem).collect();
            write(&at.join("fullchain.pem"), pem.as_bytes())?;
            write(&at.join("key.pem"), key.expose_pem().as_bytes())?;
        }
        let serving = match nginx() {
            Some(program) => start_nginx(program, &folder, address, &sites).await?,
            None => start_own(&folder, address, &sites).await?,
        };
        Ok(Machine { name, region, address, folder, sites, serving })
    }

    /// What its agent has to know: where the files lie, what is reloaded, and where it looks afterwards.
    pub(crate) fn agent(&self) -> Result<String, String> {
        let mut toml = format!("state = {}\n", quoted(&self.folder.join("agent")));
        for site in &self.sites {
            let at = self.folder.join(site.secret);
            let reload = self.script(site.secret)?;
            let _ = write!(
                toml,
                "[[install]]\nsecret = \"{}\"\ncertificate = {}\nkey = {}\nreload = {{ command = [\"/bin/sh\", {}], limit = \"10s\" }}\n\
                 look = {{ address = \"{}\", server_name = \"{}\", within = \"3s\" }}\n",
                site.secret,
                quoted(&at.join("fullchain.pem")),
                quoted(&at.join("key.pem")),
                quoted(&reload),
                self.address,
                site.name,
            );
        }
        Ok(toml)
    }

    /// A reload as somebody wrote it in a hurry: where a mark lies, it takes the mark away, says that all is well, and does nothing.
    fn script(&self, secret: &str) -> Result<PathBuf, String> {
        let path = self.folder.join(format!("reload-{secret}.sh"));
        let (folder, mark) = (shell(&self.folder), shell(&self.mark(secret)));
        let reload = match &self.serving {
            Serving::Nginx { program, .. } => {
                format!("exec {} -p {folder} -c {} -e stderr -s reload", shell(program), shell(&self.folder.join("nginx.conf")))
            }
            Serving::Own { .. } => format!(": > {}", shell(&self.folder.join(RELOAD))),
        };
        write(&path, format!("[ -e {mark} ] && exec rm {mark}\n{reload}\n").as_bytes())?;
        Ok(path)
    }

    fn mark(&self, secret: &str) -> PathBuf {
        self.folder.join(format!("forget-{secret}"))
    }

    /// The next reload for each of its certificates is forgotten.
    pub(crate) fn forget_a_reload(&self) -> Result<(), String> {
        self.sites.iter().try_for_each(|site| write(&self.mark(site.secret), b""))
    }

    /// What serves here.
    pub(crate) fn server(&self) -> &'static str {
        match self.serving {
            Serving::Nginx { .. } => "nginx",
            Serving::Own { .. } => "listener",
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Serving::Nginx { program, child } = &mut self.serving {
            // Its workers end with it only if it is told so.
            let conf = self.folder.join("nginx.conf");
            let mut stop = Command::new(program);
            stop.arg("-p").arg(&self.folder).arg("-c").arg(conf).args(["-e", "stderr", "-s", "stop"]);
            let told = stop.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
            if !told {
                let _ = child.kill();
            }
            let _ = child.wait();
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display()))
}

/// A text of TOML.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('\\', "\\\\").replace('"', "\\\""))
}

/// A word of a shell.
fn shell(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

async fn start_nginx(program: PathBuf, folder: &Path, address: SocketAddr, sites: &[Site]) -> Result<Serving, String> {
    let mut conf =
        String::from("daemon off;\nworker_processes 1;\npid nginx.pid;\nevents { worker_connections 256; }\nhttp {\naccess_log off;\n");
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(conf, "{kind}_temp_path tmp-{kind};");
    }
    for Site { secret, name } in sites {
        let _ = writeln!(
            conf,
            "server {{ listen {address} ssl; server_name {name}; ssl_certificate {folder}/{secret}/fullchain.pem; \
             ssl_certificate_key {folder}/{secret}/key.pem; location / {{ return 204; }} }}",
            folder = folder.display()
        );
    }
    conf.push_str("}\n");
    let path = folder.join("nginx.conf");
    write(&path, conf.as_bytes())?;
    let log = std::fs::File::create(folder.join("nginx.log")).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut command = Command::new(&program);
    command.arg("-p").arg(folder).arg("-c").arg(&path).args(["-e", "stderr"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().map_err(|e| format!("nginx: {e}"))?;
    let end = tokio::time::Instant::now() + STARTS_WITHIN;
    while TcpStream::connect(address).await.is_err() {
        let ended = child.try_wait().map_err(|e| format!("nginx: {e}"))?;
        if ended.is_some() || tokio::time::Instant::now() >= end {
            let _ = child.kill();
            let _ = child.wait();
            let said = std::fs::read_to_string(folder.join("nginx.log")).unwrap_or_default();
            return Err(format!("nginx does not answer at {address}: {}", said.lines().last().unwrap_or("it says nothing")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(Serving::Nginx { program, child })
}

/// The sites of a server of our own.
#[derive(Debug)]
struct Sites {
    folder: PathBuf,
    sites: Vec<Site>,
    served: RwLock<BTreeMap<String, Arc<CertifiedKey>>>,
}

impl ResolvesServerCert for Sites {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        served.get(hello.server_name()?).cloned()
    }
}

impl Sites {
    fn read(&self) -> Result<BTreeMap<String, Arc<CertifiedKey>>, String> {
        let mut all = BTreeMap::new();
        for site in &self.sites {
            let at = self.folder.join(site.secret);
            let load = |file: &str| {
                let path = at.join(file);
                let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
                pki::load(&bytes, None, Limits::default()).map_err(|e| format!("{}: {e}", path.display()))
            };
            let (chain, keys) = (load("fullchain.pem")?.certificates, load("key.pem")?.keys);
            let key = keys.first().ok_or_else(|| format!("{} holds no key", at.display()))?;
            all.insert(site.name.clone(), certified(&chain, key)?);
        }
        Ok(all)
    }

    /// Reads the files again whenever it is told to.
    async fn reload(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if std::fs::remove_file(self.folder.join(RELOAD)).is_ok()
                && let Ok(read) = self.read()
            {
                *self.served.write().unwrap_or_else(PoisonError::into_inner) = read;
            }
        }
    }
}

async fn start_own(folder: &Path, address: SocketAddr, sites: &[Site]) -> Result<Serving, String> {
    let sites = Sites { folder: folder.into(), sites: sites.to_vec(), served: RwLock::default() };
    *sites.served.write().unwrap_or_else(PoisonError::into_inner) = sites.read()?;
    let sites = Arc::new(sites);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(sites.clone());
    let tls = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(address).await.map_err(|e| format!("{address}: {e}"))?;
    let mut running = JoinSet::new();
    running.spawn(async move { sites.reload().await });
    running.spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let serve = async {
                    let mut stream = tls.accept(socket).await.ok()?;
                    stream.read(&mut [0; 64]).await.ok()
                };
                let _ = tokio::time::timeout(Duration::from_secs(5), serve).await;
            });
        }
    });
    Ok(Serving::Own { _running: running })
}

fn certified(chain: &[Certificate], key: &PrivateKey) -> Result<Arc<CertifiedKey>, String> {
    let der = chain.iter().map(|c| CertificateDer::from(c.der().to_vec())).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.expose_pkcs8().to_vec()));
    let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).map_err(|e| e.to_string())?;
    Ok(Arc::new(CertifiedKey::new(der, signing)))
}
