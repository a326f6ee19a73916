//! `perennial adopt`: what runs already, read from the configurations that make it run.
//!
//! Readers turn the bytes of one configuration into [`Found`] places, each with the line that it came
//! from; [`plan`] groups what was seen there into external secrets; the result is a fleet file that a
//! person can read and correct. Readers are pure: whatever they include goes through [`Files`].
//!
//! Configurations are written by others. Sizes, nesting, includes and counts have limits with a name,
//! and what is not understood is a [`Remark`], never a guess.

mod apache;
mod command;
mod detect;
mod files;
mod haproxy;
mod kubernetes;
mod list;
mod nginx;
mod plan;
mod prometheus;
mod range;
mod yaml;

use std::fmt;
use std::net::IpAddr;

use api::fleet::{Protocol, check_dns_name, check_host};
use pki::{Fingerprint, Time};

pub use command::{AdoptArgs, Outcome, RunError, resolve, run};
pub use detect::{Kind, detect};
pub use files::{Disk, Files};
pub use plan::{Adopted, Leaf, Looked, plan};
pub use range::expand;

/// Largest configuration file, in bytes.
pub const MAX_CONFIG_BYTES: usize = 16 * 1024 * 1024;
/// Most files that one configuration may include, all levels together.
pub const MAX_INCLUDES: usize = 1_000;
/// Most levels of files that include each other; a loop ends here.
pub const MAX_INCLUDE_DEPTH: usize = 16;
/// Most levels of blocks inside blocks.
pub const MAX_NESTING: usize = 64;
/// Most values in one YAML file, with every alias counted as often as it is used.
pub const MAX_YAML_VALUES: u64 = 2_000_000;
/// Most addresses that one server may listen on. What it stands for is the product with its names.
pub const MAX_BINDS: usize = 1_024;
/// Most names of one server.
pub const MAX_SERVER_NAMES: usize = 10_000;
/// Most places that are read from one file.
pub const MAX_FOUND: usize = 1_000_000;
/// Most remarks that are kept of one file.
pub const MAX_REMARKS: usize = 1_000;
/// Most places that a range may stand for, unless many are asked for expressly.
pub const MAX_RANGE: u64 = 65_536;
/// Most places that a range may stand for in any case.
pub const MAX_RANGE_AT_ALL: u64 = MAX_FOUND as u64;

/// A place where a certificate is served, as far as a configuration tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// A DNS name in lower case, or an IP address without brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
    /// What is spoken before the handshake.
    pub protocol: Protocol,
    /// The name to ask for, where it is not the host.
    pub server_name: Option<String>,
    /// Where it is written: `file:line`, or the range.
    pub source: String,
    /// Whether somebody wrote it down. What a range stands for is only a guess, and is dropped if
    /// nothing answers there.
    pub declared: bool,
}

impl Found {
    /// The name that the certificate has to cover: the server name, else the host.
    pub fn name(&self) -> &str {
        self.server_name.as_deref().unwrap_or(&self.host)
    }
}

/// A certificate that lies in a configuration itself, such as a Kubernetes Secret. Its key is never read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// `namespace/name`.
    pub name: String,
    /// The names that the leaf covers, escaped.
    pub names: Vec<String>,
    /// The leaf's issuer, escaped.
    pub issuer: String,
    /// The leaf's end.
    pub not_after: Time,
    /// The leaf.
    pub fingerprint: Fingerprint,
    /// Where it is written: `file:line`.
    pub source: String,
}

/// Something that was read and could not be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Where it is written: `file:line`.
    pub source: String,
    /// What it means for the person who adopts.
    pub message: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.message)
    }
}

/// What one or several configurations said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Places to look at.
    pub found: Vec<Found>,
    /// Certificates that lay in the configuration.
    pub stored: Vec<Stored>,
    /// What was passed over.
    pub remarks: Vec<Remark>,
}

/// A configuration that cannot be read, at a place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct AdoptError {
    /// The file, escaped.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, and what to do next.
    pub message: String,
}

impl AdoptError {
    fn new(file: &str, (line, column): (usize, usize), message: impl Into<String>) -> AdoptError {
        AdoptError { file: pki::text::escape(file), line, column, message: message.into() }
    }
}

/// What blackbox modules do, from its own configuration; empty where that was not given.
pub use prometheus::Modules;

/// Reads one configuration, and whatever it includes, into `reading`.
///
/// # Errors
/// Where the file cannot be read or is not what `kind` says.
pub fn read(kind: Kind, path: &str, files: &dyn Files, modules: &Modules, reading: &mut Reading) -> Result<(), AdoptError> {
    let text = files::text(files, path)?;
    read_text(kind, path, &text, files, modules, reading)
}

/// Like [`read`], for a text that was read already; `path` is what includes are relative to.
///
/// # Errors
/// As [`read`].
pub fn read_text(
    kind: Kind,
    path: &str,
    text: &str,
    files: &dyn Files,
    modules: &Modules,
    reading: &mut Reading,
) -> Result<(), AdoptError> {
    match kind {
        Kind::Prometheus => prometheus::read(path, text, files, modules, reading),
        Kind::FileSd => prometheus::read_file_sd(path, text, reading),
        // Modules say how to look, not where.
        Kind::Blackbox => prometheus::modules(path, text).map(drop),
        Kind::Nginx => nginx::read(path, text, files, reading),
        Kind::Apache => apache::read(path, text, files, reading),
        Kind::Haproxy => haproxy::read(path, text, files, reading),
        Kind::Kubernetes => kubernetes::read(path, text, reading),
        Kind::List => list::read(path, text, reading),
    }
}

impl Reading {
    fn add(&mut self, found: Found) -> Result<(), String> {
        if self.found.len() >= MAX_FOUND {
            return Err(format!("more than {MAX_FOUND} places; adopt in parts"));
        }
        self.found.push(found);
        Ok(())
    }

    fn remark(&mut self, source: impl Into<String>, message: impl Into<String>) {
        let remark = Remark { source: source.into(), message: message.into() };
        // A server on several addresses would say the same about each of them.
        let said = self.remarks.iter().rev().take(16).any(|r| *r == remark);
        if !said && self.remarks.len() < MAX_REMARKS {
            self.remarks.push(remark);
        }
    }

    /// Adds what a server that listens on `bind` and answers to `names` stands for. `source` is where
    /// the server is declared.
    fn serve(&mut self, source: &str, bind: &Bind, port: u16, protocol: Protocol, names: &[String]) -> Result<(), String> {
        if names.len() > MAX_SERVER_NAMES {
            return Err(format!("more than {MAX_SERVER_NAMES} names of one server; split it"));
        }
        let mut dialable: Vec<String> = Vec::new();
        for name in names {
            match check_dns_name(name) {
                // A placeholder: whoever asks for it asks their own machine.
                Ok(name) if name == "localhost" => {}
                Ok(name) => dialable.push(name),
                Err(_) if name.contains(['*', '~', '$', '^']) => {
                    let shown = pki::text::escape(name);
                    self.remark(source, format!("{shown} is a pattern; add the names that it stands for by hand"));
                }
                Err(e) => self.remark(source, e.to_string()),
            }
        }
        dialable.sort();
        dialable.dedup();
        let place = |host: &str, server_name: Option<&String>| Found {
            host: host.to_owned(),
            port,
            protocol,
            server_name: server_name.cloned(),
            source: source.to_owned(),
            declared: true,
        };
        match bind {
            // Patterns were remarked on already, each by itself.
            Bind::Any if dialable.is_empty() && !names.is_empty() => {}
            Bind::Any if dialable.is_empty() => {
                self.remark(
                    source,
                    format!("listens on port {port} of every address and has no name that could be dialled; add its address by hand"),
                );
            }
            Bind::Any => {
                for name in &dialable {
                    self.add(place(name, None))?;
                }
            }
            Bind::Loopback => self.remark(source, format!("listens on port {port} of loopback alone; nobody outside meets it")),
            Bind::Address(address) if dialable.is_empty() => self.add(place(&address.to_string(), None))?,
            Bind::Address(address) => {
                for name in &dialable {
                    self.add(place(&address.to_string(), Some(name)))?;
                }
            }
            Bind::Name(host) => {
                for name in &dialable {
                    self.add(place(host, Some(name).filter(|n| *n != host)))?;
                }
                if dialable.is_empty() {
                    self.add(place(host, None))?;
                }
            }
        }
        Ok(())
    }
}

/// What a server listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Bind {
    Any,
    Loopback,
    Address(IpAddr),
    Name(String),
}

impl Bind {
    /// From what stands before the port, brackets or not.
    fn parse(host: &str) -> Option<Bind> {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        match bare {
            "" | "*" | "_default_" => return Some(Bind::Any),
            "localhost" => return Some(Bind::Loopback),
            _ => {}
        }
        match bare.parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() => Some(Bind::Any),
            Ok(address) if address.is_loopback() => Some(Bind::Loopback),
            Ok(address) => Some(Bind::Address(address)),
            Err(_) => check_host(bare).ok().map(Bind::Name),
        }
    }
}

/// Refuses a server that listens on absurdly many addresses.
fn few_enough(binds: usize) -> Result<(), String> {
    if binds > MAX_BINDS {
        return Err(format!("one server listens on more than {MAX_BINDS} addresses; split it"));
    }
    Ok(())
}

/// Splits `host:port`, with brackets around IPv6; the port is absent where none was written.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(parse_port(port)?))),
            None if rest.is_empty() => Some((host, None)),
            None => None,
        };
    }
    match text.rsplit_once(':') {
        // More than one colon and no brackets: an IPv6 address without a port.
        Some((host, _)) if host.contains(':') => text.parse::<IpAddr>().ok().map(|_| (text, None)),
        Some((host, port)) => Some((host, Some(parse_port(port)?))),
        None => Some((text, None)),
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| plain && *port > 0)
}

/// What is usually spoken on a port, where nothing else tells (IANA service names).
fn usual_protocol(port: u16) -> Option<Protocol> {
    Some(match port {
        443 | 465 | 636 | 853 | 990 | 993 | 995 | 5061 | 5671 | 6443 | 6697 | 8443 | 8883 | 9443 => Protocol::Tls,
        25 | 587 | 2525 => Protocol::Smtp,
        143 => Protocol::Imap,
        110 => Protocol::Pop3,
        389 => Protocol::Ldap,
        5432 => Protocol::Postgres,
        3306 => Protocol::Mysql,
        5222 => Protocol::Xmpp,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_plan;
