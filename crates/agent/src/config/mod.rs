//! `agent.toml`: which files of this node a secret fills, who owns them, what is reloaded, and where the agent looks afterwards.
//!
//! The store names secrets and versions. Paths and commands stand here alone, in a file that root of this node wrote: whoever holds the
//! store cannot make a node write elsewhere or run anything.

mod read;

use std::{path::PathBuf, time::Duration};

use probe::Protocol;

pub use read::parse;

/// Largest configuration, in bytes.
pub const MAX_BYTES: usize = 4 << 20;
/// Where the agent keeps what it needs, if the configuration does not say.
pub const DEFAULT_STATE: &str = "/var/lib/perennial-agent";
/// Where the configuration lies, if the call does not say.
pub const DEFAULT_PATH: &str = "/etc/perennial/agent.toml";
/// How long a reload may take, if the configuration does not say.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(30);
/// Longest time that a reload or a look may be given.
pub const MOST_TIME: Duration = Duration::from_secs(600);
/// How long the agent looks for the new certificate, if the configuration does not say.
pub const DEFAULT_WITHIN: Duration = Duration::from_secs(10);
/// Most words of a command.
pub const MOST_WORDS: usize = 64;

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The folder that holds identity, manifest, versions and journals: everything that a restart needs.
    pub state: PathBuf,
    /// Where secrets are put. A secret may stand here several times: nginx and a mail server may share one.
    pub installs: Vec<Install>,
}

/// One place of one secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// The secret's name in the store.
    pub secret: String,
    /// The files.
    pub place: Place,
    /// Which certificate of a version that has several.
    pub key_type: Option<KeyFamily>,
    /// Who owns the files: a name or a number; absent keeps what the files had, or the agent's own.
    pub owner: Option<String>,
    /// Their group.
    pub group: Option<String>,
    /// The mode of what holds the key; absent keeps what the file had, or 0600. Certificates alone are 0644.
    pub mode: Option<u32>,
    /// What has to hear that the files changed.
    pub reload: Option<Reload>,
    /// Where the new certificate must be seen.
    pub look: Option<Look>,
    /// The store's target that `observe --report` speaks of.
    pub target: Option<String>,
}

/// Which files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A chain and a key, which two paths lead to.
    Pair {
        /// The chain, leaf first, PEM.
        certificate: PathBuf,
        /// The key, PKCS#8 PEM.
        key: PathBuf,
    },
    /// Chain and key in one file, as HAProxy reads them.
    Combined(PathBuf),
    /// A folder in which `current` leads to `fullchain.pem`, `key.pem` and `combined.pem`.
    Directory(PathBuf),
}

impl Place {
    /// The path that stands for the place in messages and reports.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        match self {
            Place::Pair { certificate, .. } => certificate,
            Place::Combined(path) | Place::Directory(path) => path,
        }
    }
}

/// A kind of key, whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFamily {
    /// RSA.
    Rsa,
    /// ECDSA.
    Ecdsa,
    /// Ed25519.
    Ed25519,
}

impl KeyFamily {
    /// As `pki` calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            KeyFamily::Rsa => "rsa",
            KeyFamily::Ecdsa => "ecdsa",
            KeyFamily::Ed25519 => "ed25519",
        }
    }
}

/// How whoever uses the files hears of a change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reload {
    /// What is done.
    pub how: How,
    /// How long it may take; then its whole process group is killed.
    pub limit: Duration,
}

/// What a reload is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// `systemctl reload UNIT`.
    Unit(String),
    /// A signal to the process whose number stands in a file.
    Signal {
        /// Which one.
        signal: Signal,
        /// The file.
        pid_file: PathBuf,
    },
    /// A program, its absolute path first. No shell reads it.
    Command(Vec<String>),
}

/// A signal by which servers read their files again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// SIGHUP.
    Hup,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
}

/// Where the agent looks after a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// A name or an address of this node, usually 127.0.0.1.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The name that is asked for (SNI); absent for none.
    pub server_name: Option<String>,
    /// What is spoken before TLS.
    pub protocol: Protocol,
    /// For how long the new certificate is looked for.
    pub within: Duration,
}

impl Config {
    /// The places of one secret.
    pub fn places_of<'a>(&'a self, secret: &'a str) -> impl Iterator<Item = &'a Install> {
        self.installs.iter().filter(move |install| install.secret == secret)
    }
}
