//! Programs of other people, as processes that end with the test, in folders and on ports of their own.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use probe::{Failure, Offer, Presented, Protocol};

use crate::peers::{Identity, dialer, target};

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
}

/// The program, or a word about what is missing.
pub(crate) fn installed(test: &str, package: &str, candidates: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = candidates.iter().flat_map(|name| {
        let fixed = Path::new(name);
        let everywhere: Vec<PathBuf> =
            if fixed.is_absolute() { versions(fixed) } else { std::env::split_paths(&path).map(|folder| folder.join(name)).collect() };
        everywhere
    });
    let found = found.into_iter().find(|path| path.is_file());
    if found.is_none() {
        skipped(test, &format!("{package} missing"));
        assert!(std::env::var_os("PERENNIAL_REQUIRE_PEERS").is_none_or(|value| value != "1"), "{test} needs the package {package}");
    }
    found
}

/// Resolves one `*` folder in a path, the newest first.
fn versions(pattern: &Path) -> Vec<PathBuf> {
    let text = pattern.to_string_lossy().into_owned();
    let Some((before, after)) = text.split_once("/*/") else { return vec![pattern.to_owned()] };
    let mut found: Vec<PathBuf> = fs::read_dir(before).into_iter().flatten().flatten().map(|entry| entry.path().join(after)).collect();
    found.sort();
    found.reverse();
    found
}

/// A port that was free a moment ago. These programs cannot be given a bound socket.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
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

pub(crate) fn wait_for(port: u16, peer: &mut Peer) -> SocketAddr {
    listens(port, peer).unwrap()
}

/// Starts a program on fresh ports, again with others where one was taken meanwhile.
pub(crate) fn start<const PORTS: usize>(mut command: impl FnMut([u16; PORTS]) -> Command) -> (Peer, [SocketAddr; PORTS]) {
    let mut last = String::new();
    for _ in 0..TRIES {
        let ports = std::array::from_fn(|_| free_port());
        let mut peer = Peer(command(ports).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
        match ports.iter().map(|port| listens(*port, &mut peer)).collect::<Result<Vec<_>, _>>() {
            Ok(addresses) => return (peer, addresses.try_into().unwrap()),
            Err(why) => last = why,
        }
    }
    panic!("{last}");
}

/// An account: user and group.
pub(crate) type Account = (u32, u32);

/// Whom to run servers as: most refuse root, so as root another account is borrowed. `None` is whoever runs the tests.
pub(crate) fn account(name: &str) -> Option<Account> {
    if fs::metadata("/proc/self").is_ok_and(|own| own.uid() != 0) {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name)).unwrap_or_else(|| panic!("no account {name}"));
    let mut ids = line.split(':').skip(2).map(|field| field.parse::<u32>().unwrap());
    Some((ids.next().unwrap(), ids.next().unwrap()))
}

/// The name of whoever the servers run as.
pub(crate) fn account_name(account: Option<Account>) -> (String, String) {
    let (user, group) = account.unwrap_or_else(|| {
        let own = fs::metadata("/proc/self").unwrap();
        (own.uid(), own.gid())
    });
    let name = |file: &str, id: u32| {
        let text = fs::read_to_string(file).unwrap();
        let line = text.lines().find(|line| line.split(':').nth(2) == Some(&id.to_string())).map(str::to_owned);
        line.and_then(|line| line.split(':').next().map(str::to_owned)).unwrap_or_else(|| panic!("{id} is not in {file}"))
    };
    (name("/etc/passwd", user), name("/etc/group", group))
}

pub(crate) fn command_as(program: &Path, account: Option<Account>) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = account {
        command.gid(gid).uid(uid);
    }
    command.current_dir("/");
    command
}

/// A folder of a server, with a certificate in it that only it can read.
pub(crate) struct Home {
    folder: tempfile::TempDir,
    account: Option<Account>,
}

impl Home {
    pub(crate) fn new(account: Option<Account>, identity: &Identity) -> Home {
        let home = Home { folder: tempfile::tempdir().unwrap(), account };
        home.own(home.folder.path());
        home.file("pem", &identity.chain_pem);
        home.file("key", &identity.key_pem);
        home
    }

    fn own(&self, path: &Path) {
        if let Some((uid, gid)) = self.account {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
    }

    /// The path of something in it.
    pub(crate) fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self.own(&path);
        self.at(name)
    }

    pub(crate) fn folder(&self, name: &str) -> String {
        let path = self.folder.path().join(name);
        fs::create_dir_all(&path).unwrap();
        self.own(&path);
        self.at(name)
    }

    pub(crate) fn command(&self, program: &Path) -> Command {
        command_as(program, self.account)
    }
}

pub(crate) fn dial(address: SocketAddr, protocol: Protocol, offer: Offer) -> Result<Presented, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { dialer(|_| {}).dial(&target(address, protocol), address.ip(), offer).await.result })
}
