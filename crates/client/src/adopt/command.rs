//! The command: read, look, plan, write.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use api::fleet::{self, Fleet, write_with_notes};
use pki::Time;
use pki::text::escape;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{AdoptError, Files, Found, Kind, Looked, Modules, Reading, detect, expand, files, plan, prometheus, read_text};

/// Most remarks that are told one by one.
const MAX_TOLD: usize = 50;
/// Most sources that are named of a place that several configurations mention.
const MAX_SOURCES: usize = 5;

/// Write a fleet file from configurations of what runs already
///
/// Reads Prometheus and blackbox_exporter targets, nginx, Apache and HAProxy configurations, Kubernetes
/// manifests and plain lists, looks at each place once, and writes everything as external under one owner.
#[derive(Debug, Clone, clap::Args)]
pub struct AdoptArgs {
    /// Configurations; their kind is told from name and content
    #[arg(value_name = "PATH")]
    pub paths: Vec<String>,
    /// A configuration of a certain kind: prometheus, file-sd, blackbox, nginx, apache, haproxy, kubernetes, list
    #[arg(long = "from", value_name = "KIND:PATH")]
    pub from: Vec<String>,
    /// Hosts and ports to try, such as 10.0.0.0/24:443,8443 or host:1-1024
    #[arg(long = "range", value_name = "SPEC")]
    pub ranges: Vec<String>,
    /// Permit ranges of more than 65536 places
    #[arg(long)]
    pub yes_many: bool,
    /// The team that owns everything until somebody says otherwise
    #[arg(long, value_name = "TEAM", default_value = "platform")]
    pub owner: String,
    /// The file to write; "-" is standard output
    #[arg(long, value_name = "FILE", default_value = "fleet.toml")]
    pub out: String,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
    /// Dial these addresses instead of resolving a name: NAME=ADDR[,ADDR…]; may be repeated
    #[arg(long, value_name = "NAME=ADDR", value_parser = resolve)]
    pub resolve: Vec<(String, Vec<IpAddr>)>,
    /// Do not dial anything
    #[arg(long)]
    pub no_look: bool,
    /// Report what was adopted as JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// Reads `NAME=ADDR[,ADDR…]`: a name whose addresses are given instead of looked up.
///
/// # Errors
/// A sentence that says what is missing.
pub fn resolve(text: &str) -> Result<(String, Vec<IpAddr>), String> {
    let (name, addresses) = text.split_once('=').ok_or("write NAME=ADDR[,ADDR…]")?;
    let addresses =
        addresses.split(',').map(|a| a.parse().map_err(|_| format!("{} is no address", escape(a)))).collect::<Result<_, _>>()?;
    Ok((name.to_owned(), addresses))
}

/// Why nothing was adopted.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The call itself is wrong.
    #[error("{0}")]
    Usage(String),
    /// Configurations that cannot be read, all of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Configurations(Vec<AdoptError>),
    /// The file is there already.
    #[error("{0} exists; add --force to replace it, or --out FILE to write another")]
    Exists(String),
    /// There is nothing to adopt.
    #[error("nothing that serves a certificate was found; see the remarks above, or name places in a plain list")]
    Nothing,
    /// Writing failed.
    #[error("{path}: {error}")]
    Write {
        /// Where.
        path: String,
        /// Why.
        error: std::io::Error,
    },
}

/// What was adopted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The file that was written; `-` is standard output.
    pub out: String,
    /// Targets in it.
    pub targets: usize,
    /// Secrets in it.
    pub secrets: usize,
    /// Targets that could not be seen.
    pub unseen: Vec<Unseen>,
    /// What was passed over.
    pub remarks: Vec<String>,
    /// Certificates that lay in configurations.
    pub certificates: Vec<StoredCertificate>,
    /// The fleet.
    pub fleet: Fleet,
}

/// A target that could not be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unseen {
    /// Its name.
    pub target: String,
    /// Why.
    pub reason: String,
}

/// A certificate that lay in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredCertificate {
    /// `namespace/name`.
    pub name: String,
    /// What it covers.
    pub names: Vec<String>,
    /// Who issued it.
    pub issuer: String,
    /// RFC 3339, UTC.
    pub not_after: String,
    /// Lower-case hex.
    pub fingerprint_sha256: String,
    /// `file:line`.
    pub source: String,
}

/// Adopts: reads through `files`, looks through `look`, writes the fleet file, data to `out`, and
/// speaks on `talk`. `look` gets every place once, sorted, and may answer in any order.
///
/// # Errors
/// See [`RunError`]; nothing is written then.
pub fn run(
    args: &AdoptArgs,
    today: Time,
    files: &dyn Files,
    look: impl Fn(&[Found]) -> Vec<Looked>,
    out: &mut dyn Write,
    talk: &mut dyn Write,
) -> Result<Outcome, RunError> {
    if !fleet::is_name(&args.owner) {
        return Err(RunError::Usage(format!("--owner {}: use letters, digits and . _ - : @ + *", escape(&args.owner))));
    }
    if args.json && args.out == "-" {
        return Err(RunError::Usage("--json and --out - both want standard output; choose a file for one of them".into()));
    }
    // Asked before anything is dialled: nobody likes to wait for a refusal.
    if args.out != "-" && !args.force && Path::new(&args.out).exists() {
        return Err(RunError::Exists(args.out.clone()));
    }
    let mut reading = read_all(args, files)?;
    reading.found = tidy(std::mem::take(&mut reading.found));
    for remark in reading.remarks.iter().take(MAX_TOLD) {
        say(talk, &remark.to_string())?;
    }
    if reading.remarks.len() > MAX_TOLD {
        say(talk, &format!("and {} more remarks; --json has them all", reading.remarks.len() - MAX_TOLD))?;
    }
    if reading.found.is_empty() {
        return Err(RunError::Nothing);
    }
    let looked = if args.no_look { Vec::new() } else { look(&reading.found) };
    let adopted = plan(&reading, &looked, &args.owner, today);
    if adopted.fleet.targets.is_empty() {
        return Err(RunError::Nothing);
    }
    let text = write_with_notes(&adopted.fleet, &adopted.notes);
    write_file(args, &text, out)?;
    let outcome = Outcome {
        out: args.out.clone(),
        targets: adopted.fleet.targets.len(),
        secrets: adopted.fleet.secrets.len(),
        unseen: adopted.unseen.into_iter().map(|(target, reason)| Unseen { target, reason }).collect(),
        remarks: reading.remarks.iter().map(ToString::to_string).collect(),
        certificates: reading.stored.iter().map(certificate).collect(),
        fleet: adopted.fleet,
    };
    let places = format!("{} targets of {} certificates", outcome.targets, outcome.secrets);
    say(talk, &format!("{places} written to {}; {} could not be seen", escape(&args.out), outcome.unseen.len()))?;
    if args.json {
        let json = serde_json::to_string_pretty(&outcome).unwrap_or_default();
        writeln!(out, "{json}").map_err(|error| RunError::Write { path: "standard output".into(), error })?;
    }
    Ok(outcome)
}

fn certificate(stored: &super::Stored) -> StoredCertificate {
    StoredCertificate {
        name: stored.name.clone(),
        names: stored.names.clone(),
        issuer: stored.issuer.clone(),
        not_after: stored.not_after.to_string(),
        fingerprint_sha256: stored.fingerprint.to_string(),
        source: stored.source.clone(),
    }
}

fn say(talk: &mut dyn Write, line: &str) -> Result<(), RunError> {
    writeln!(talk, "{line}").map_err(|error| RunError::Write { path: "standard error".into(), error })
}

/// Reads every configuration and range; all errors at once.
fn read_all(args: &AdoptArgs, files: &dyn Files) -> Result<Reading, RunError> {
    let mut wanted: Vec<(Option<Kind>, &str)> = args.paths.iter().map(|path| (None, path.as_str())).collect();
    for from in &args.from {
        let (kind, path) = from.split_once(':').ok_or_else(|| RunError::Usage(format!("--from {}: write KIND:PATH", escape(from))))?;
        wanted.push((Some(kind.parse().map_err(|e| RunError::Usage(format!("--from: {e}")))?), path));
    }
    if wanted.is_empty() && args.ranges.is_empty() {
        return Err(RunError::Usage("name configurations, such as /etc/nginx/nginx.conf, or --range HOSTS:PORTS".into()));
    }
    let mut reading = Reading::default();
    let mut errors = Vec::new();
    let mut modules = Modules::default();
    // Manifests may hold private keys; what was read is wiped when it goes.
    let mut texts: Vec<(Kind, &str, Zeroizing<String>)> = Vec::new();
    for (kind, path) in wanted {
        let known = files::text(files, path).map(Zeroizing::new).and_then(|text| {
            let kind = kind.map_or_else(|| detect(path, &text), Ok)?;
            if kind == Kind::Blackbox {
                modules.extend(prometheus::modules(path, &text)?);
            }
            Ok((kind, path, text))
        });
        match known {
            Ok(known) => texts.push(known),
            Err(e) => errors.push(e),
        }
    }
    for (kind, path, text) in &texts {
        if let Err(e) = read_text(*kind, path, text, files, &modules, &mut reading) {
            errors.push(e);
        }
    }
    if !errors.is_empty() {
        return Err(RunError::Configurations(errors));
    }
    for range in &args.ranges {
        let found = expand(range, args.yes_many).map_err(|e| RunError::Usage(format!("--range {e}")))?;
        reading.found.extend(found);
    }
    Ok(reading)
}

/// Sorts places and merges those that several configurations mention.
fn tidy(mut found: Vec<Found>) -> Vec<Found> {
    found.sort();
    let mut out: Vec<Found> = Vec::with_capacity(found.len());
    let mut merged = 0;
    for next in found {
        match out.last_mut() {
            Some(last)
                if (&last.host, last.port, last.protocol, &last.server_name)
                    == (&next.host, next.port, next.protocol, &next.server_name) =>
            {
                merged += 1;
                last.declared |= next.declared;
                match merged {
                    // A template that names a place twice in one line says nothing new.
                    _ if last.source.split(", ").any(|s| s == next.source) => {}
                    1..MAX_SOURCES => last.source = format!("{}, {}", last.source, next.source),
                    MAX_SOURCES => last.source.push_str(", …"),
                    _ => {}
                }
            }
            _ => {
                merged = 0;
                out.push(next);
            }
        }
    }
    out
}

fn write_file(args: &AdoptArgs, text: &str, out: &mut dyn Write) -> Result<(), RunError> {
    let failed = |error| RunError::Write { path: escape(&args.out), error };
    if args.out == "-" {
        return out.write_all(text.as_bytes()).map_err(failed);
    }
    // Beside the file and then renamed: a full disk or a crash leaves no half of a fleet.
    let part = format!("{}.part", args.out);
    let outcome = std::fs::File::create(&part)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| {
            if !args.force {
                // Reserves the name: a rename alone would replace what appeared in the meantime.
                std::fs::File::create_new(&args.out)?;
            }
            std::fs::rename(&part, &args.out)
        });
    outcome.map_err(|error| {
        // Best effort: the part is of no use to anybody.
        let _ = std::fs::remove_file(&part);
        if error.kind() == std::io::ErrorKind::AlreadyExists { RunError::Exists(escape(&args.out)) } else { failed(error) }
    })
}
