//! Servers of other people, and one of our own, as processes and tasks that end with the test.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

/// How often a port is drawn: between drawing it and listening on it somebody else may take it.
const TRIES: usize = 5;

/// A process that ends with the test.
pub(crate) struct Peer(pub(crate) Child);

impl Drop for Peer {
    fn drop(&mut self) {
        // Asked first, so that it ends its own children; told after five seconds.
        let _ = Command::new("kill").arg("-TERM").arg(self.0.id().to_string()).status();
        for _ in 0..100 {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says that a test did not run, past the capture of the test runner, which keeps what a passing test prints.
pub(crate) fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
    assert!(std::env::var_os("PERENNIAL_REQUIRE_PEERS").is_none_or(|value| value != "1"), "{test} needs {why}");
}

/// The program, or a word about what is missing.
pub(crate) fn installed(test: &str, package: &str, candidates: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = candidates.iter().flat_map(|name| match name.split_once("/*/") {
        Some((before, after)) => {
            let mut all: Vec<PathBuf> =
                fs::read_dir(before).into_iter().flatten().flatten().map(|entry| entry.path().join(after)).collect();
            all.sort();
            all.reverse();
            all
        }
        None if name.starts_with('/') => vec![PathBuf::from(name)],
        None => std::env::split_paths(&path).map(|folder| folder.join(name)).collect(),
    });
    let found = found.into_iter().find(|path| path.is_file());
    if found.is_none() {
        skipped(test, &format!("the package {package}"));
    }
    found
}

/// Waits until somebody accepts; the error is what the process said before it ended.
fn listens(port: u16, peer: &mut Peer) -> Result<SocketAddr, String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    for _ in 0..1200 {
        if TcpStream::connect(address).is_ok() {
            return Ok(address);
        }
        if let Some(status) = peer.0.try_wait().unwrap() {
            let mut said = String::new();
            let _ = peer.0.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
            return Err(format!("the peer ended with {status}: {said}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err("the peer does not listen after 60 s".to_owned())
}

/// Starts a program on a fresh port, again with another where it was taken meanwhile. What it says goes to a file.
pub(crate) fn start(mut command: impl FnMut(u16) -> Command) -> (Peer, SocketAddr) {
    let mut last = String::new();
    for _ in 0..TRIES {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut peer = Peer(command(port).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        match listens(port, &mut peer) {
            Ok(address) => return (peer, address),
            Err(why) => last = why,
        }
    }
    panic!("{last}");
}

/// An account: user and group; `None` is whoever runs the tests, unless that is root, whom some servers refuse.
pub(crate) fn account(name: &str) -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").is_ok_and(|own| own.uid() != 0) {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name)).unwrap_or_else(|| panic!("no account {name}"));
    let mut ids = line.split(':').skip(2).map(|field| field.parse::<u32>().unwrap());
    Some((ids.next().unwrap(), ids.next().unwrap()))
}

pub(crate) fn command_as(program: &Path, account: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = account {
        command.gid(gid).uid(uid);
    }
    command.current_dir("/");
    command
}

/// A TLS server that reads `www.pem` and `www.key` of its folder when `reload` appears there, and not before.
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Served(Mutex<Option<Arc<CertifiedKey>>>);

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.lock().unwrap().clone()
    }
}

fn load(folder: &Path) -> Option<Arc<CertifiedKey>> {
    let chain = CertificateDer::pem_file_iter(folder.join("www.pem")).ok()?.map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(folder.join("www.key")).ok()?;
    let certified = CertifiedKey::new(chain, rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap());
    certified.keys_match().expect("a reader saw a pair that does not fit");
    Some(Arc::new(certified))
}

impl Listener {
    pub(crate) async fn start(folder: &Path) -> Listener {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(Served::default());
        *served.0.lock().unwrap() = load(folder);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_cert_resolver(served.clone())));
        let folder = folder.to_owned();
        let task = tokio::spawn(async move {
            loop {
                let accepted = tokio::time::timeout(Duration::from_millis(5), listener.accept()).await;
                if fs::remove_file(folder.join("reload")).is_ok() {
                    *served.0.lock().unwrap() = load(&folder);
                }
                if let Ok(Ok((socket, _))) = accepted {
                    let acceptor = acceptor.clone();
                    tokio::spawn(async move {
                        if let Ok(mut stream) = acceptor.accept(socket).await {
                            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 16]).await;
                        }
                    });
                }
            }
        });
        Listener { address, task }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}
