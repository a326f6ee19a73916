//! `perennial cert`: certificates come in.

use std::path::PathBuf;

use api::v1::{Import, ImportInstance, Stored};
use clap::Subcommand;
use pki::text::escape;
use zeroize::Zeroize as _;

use super::{base64, bulk, by_hand, file, secret};
use crate::error::{Error, Exit};
use crate::input::{Keyboard, first_line};
use crate::route::Route;
use crate::session::{Common, Session};
use crate::show::Column::Left;
use crate::show::{Cell, Paint, Screen, Table};

/// Largest file with a chain, in bytes; PKCS#12 too.
const MAX_CHAIN: usize = 16 * 1024 * 1024;
/// Largest file with a key, in bytes.
const MAX_KEY: usize = 1024 * 1024;

/// Certificates
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    Import(Box<ImportArgs>),
    Request(by_hand::RequestArgs),
    Answer(by_hand::AnswerArgs),
    /// List the requests of a certificate that people carry to a CA
    Requests {
        /// The secret's name
        name: String,
    },
    /// Drop a request that waits, and its key with it: for good
    Drop {
        /// The secret's name
        name: String,
        /// The request's number
        id: i64,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    Renew(by_hand::RenewArgs),
    Revoke(by_hand::RevokeArgs),
    /// List certificates, the least margin first
    List(#[command(flatten)] secret::ListArgs),
    /// Show a certificate with its versions, targets and findings
    Show {
        /// The secret's name
        name: String,
    },
}

/// Store a new version of a certificate, with all its instances
///
/// Before anything is stored the server checks that the key fits, the chain is whole and in order, and the names cover the targets,
/// and compares it with the version before. Changes beyond key, serial and dates need --accept-change.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["chain", "p12", "bulk"]))]
struct ImportArgs {
    /// The secret's name
    #[arg(required_unless_present = "bulk", conflicts_with = "bulk")]
    name: Option<String>,
    /// The certificate and what is above it: PEM or DER, leaf first
    #[arg(long, value_name = "F", requires = "name")]
    chain: Option<PathBuf>,
    /// Its private key: PEM or DER; not needed where the key stays elsewhere
    #[arg(long, value_name = "F", requires = "chain")]
    key: Option<PathBuf>,
    /// Certificate, chain and key in one PKCS#12 file
    #[arg(long, value_name = "F", requires = "name")]
    p12: Option<PathBuf>,
    /// The password of the PKCS#12 file is this file's first line; otherwise it is asked for
    #[arg(long, value_name = "F", requires = "p12")]
    password_file: Option<PathBuf>,
    /// Where this instance belongs: all, a region, or a node
    #[arg(long, value_name = "SCOPE", default_value = "all")]
    scope: String,
    /// A further instance of the same version: scope=S,chain=F,key=F or scope=S,p12=F,password-file=F
    #[arg(long, value_name = "PARTS", value_parser = more)]
    more: Vec<Instance>,
    /// Private roots that the chain must lead to, PEM
    #[arg(long, value_name = "F")]
    roots: Option<PathBuf>,
    /// Accept changes beyond key, serial and dates
    #[arg(long)]
    accept_change: bool,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// Check everything, and store nothing
    #[arg(long)]
    dry_run: bool,
    /// Import many: one JSON object per line with name, chain_pem and key_pem; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["accept_change", "dry_run", "roots", "reason", "more", "scope"])]
    bulk: Option<PathBuf>,
    /// With --bulk: go on from this line
    #[arg(long, value_name = "N", requires = "bulk", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from_line: u64,
}

/// The files of one instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Instance {
    scope: String,
    chain: Option<PathBuf>,
    key: Option<PathBuf>,
    p12: Option<PathBuf>,
    password_file: Option<PathBuf>,
}

/// Reads `--more`.
fn more(text: &str) -> Result<Instance, String> {
    let mut instance = Instance { scope: "all".to_owned(), ..Instance::default() };
    for part in text.split(',') {
        let (name, value) = part.split_once('=').ok_or_else(|| format!("{} has no =", escape(part)))?;
        if value.is_empty() {
            return Err(format!("{} is empty", escape(name)));
        }
        let place = match name.trim() {
            "scope" => {
                value.clone_into(&mut instance.scope);
                continue;
            }
            "chain" => &mut instance.chain,
            "key" => &mut instance.key,
            "p12" => &mut instance.p12,
            "password-file" => &mut instance.password_file,
            other => return Err(format!("unknown part {}; known are scope, chain, key, p12, password-file", escape(other))),
        };
        if place.replace(PathBuf::from(value)).is_some() {
            return Err(format!("{} is named twice", escape(name)));
        }
    }
    match (&instance.chain, &instance.p12, &instance.key, &instance.password_file) {
        (Some(_), None, _, None) | (None, Some(_), None, _) => Ok(instance),
        (Some(_), Some(_), ..) | (None, None, ..) => Err("name either chain=F or p12=F".to_owned()),
        (Some(_), None, _, Some(_)) => Err("password-file belongs to p12".to_owned()),
        (None, Some(_), Some(_), _) => Err("key belongs to chain; a PKCS#12 file brings its own".to_owned()),
    }
}

pub(super) async fn run(args: Args, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    match args.command {
        Command::Import(args) => match (&args.bulk, &args.name) {
            (Some(path), _) => bulk::run(path, args.from_line, session).await,
            (None, Some(name)) => import(name, &args, session).await,
            (None, None) => Err(Error::usage("name the secret that this is a version of")),
        },
        Command::Request(args) => by_hand::request(&args, session).await,
        Command::Answer(args) => by_hand::answer(&args, session).await,
        Command::Requests { name } => by_hand::requests(&name, session).await,
        Command::Drop { name, id, reason } => by_hand::drop_request(&name, id, reason, session).await,
        Command::Renew(args) => by_hand::renew(&args, session).await,
        Command::Revoke(args) => by_hand::revoke(&args, session).await,
        Command::List(which) => secret::list(which, Some("certificate"), session).await,
        Command::Show { name } => secret::show(&name, session).await,
    }
}

async fn import(name: &str, args: &ImportArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let mut body = read(args, session)?;
    let route = Route::to(&["secrets", name, "versions"]);
    let answer = session.remote.post(&route, &body).await;
    let answer = match answer {
        Err(refused) if refused.code() == Some("change-not-accepted") => {
            // What exactly would change is in the answer to a question whether it could be stored.
            body.dry_run = true;
            body.accept_change = true;
            let preview = session.remote.post(&route, &body).await;
            if let (Ok(preview), false) = (preview, session.json) {
                session.answer(&preview, |stored: &Stored, screen| differences(stored, screen))?;
            }
            Err(refused)
        }
        other => other,
    };
    wipe(&mut body);
    session.answer(&answer?, show)?;
    Ok(Exit::Ok)
}

fn read(args: &ImportArgs, session: &mut Session<'_, '_>) -> Result<Import, Error> {
    let first = Instance {
        scope: args.scope.clone(),
        chain: args.chain.clone(),
        key: args.key.clone(),
        p12: args.p12.clone(),
        password_file: args.password_file.clone(),
    };
    let roots = match &args.roots {
        Some(path) => {
            let bytes = file("--roots", path, MAX_CHAIN)?;
            Some(String::from_utf8(bytes.to_vec()).map_err(|_| Error::usage("--roots: this is not PEM"))?)
        }
        None => None,
    };
    let mut body =
        Import { instances: Vec::new(), accept_change: args.accept_change, roots, reason: args.reason.clone(), dry_run: args.dry_run };
    for instance in std::iter::once(&first).chain(&args.more) {
        match read_instance(instance, session.keyboard) {
            Ok(instance) => body.instances.push(instance),
            Err(error) => {
                wipe(&mut body);
                return Err(error);
            }
        }
    }
    Ok(body)
}

fn read_instance(instance: &Instance, keyboard: &mut dyn Keyboard) -> Result<ImportInstance, Error> {
    let scope = instance.scope.clone();
    if let Some(path) = &instance.p12 {
        let bytes = file("--p12", path, MAX_CHAIN)?;
        let password = match &instance.password_file {
            Some(path) => Some(first_line(path, "--password-file")?.to_string()),
            None if keyboard.is_terminal() => {
                let prompt = format!("Password of {}: ", escape(&path.display().to_string()));
                let typed = keyboard.hidden(&prompt).map_err(|error| Error::Usage(format!("no password could be asked for: {error}")))?;
                Some(typed.to_string())
            }
            None => None,
        };
        return Ok(ImportInstance { scope, chain: base64(&bytes), key: None, password });
    }
    let path = instance.chain.as_ref().ok_or_else(|| Error::usage("name either --chain F or --p12 F"))?;
    let chain = base64(&file("--chain", path, MAX_CHAIN)?);
    let key = match &instance.key {
        Some(path) => Some(base64(&file("--key", path, MAX_KEY)?)),
        None => None,
    };
    Ok(ImportInstance { scope, chain, key, password: None })
}

/// Private keys do not stay in memory longer than they are needed.
fn wipe(body: &mut Import) {
    for instance in &mut body.instances {
        // A chain may be a PKCS#12 file or a PEM file with the key in it.
        instance.chain.zeroize();
        instance.key.zeroize();
        instance.password.zeroize();
    }
}

pub(crate) fn show(stored: &Stored, screen: &mut Screen<'_>) -> std::io::Result<()> {
    differences(stored, screen)?;
    for instance in &stored.instances {
        screen.data(&format!("{}  {}  {}", escape(&instance.scope), escape(&instance.key_type), escape(&instance.fingerprint_sha256)))?;
    }
    let (name, version) = (escape(&stored.secret), stored.version);
    if stored.done {
        screen.say(&format!("{name}: version {version} stored; nothing is renewed until production is seen to serve it"))
    } else {
        screen.say(&format!("{name}: all checks passed; it would be version {version}; nothing was stored"))
    }
}

/// What is not as in the version before.
fn differences(stored: &Stored, screen: &mut Screen<'_>) -> std::io::Result<()> {
    let mut table = Table::new(&[Left("FIELD"), Left("BEFORE"), Left("AFTER"), Left("NOTE")]);
    for difference in &stored.differences {
        let (word, paint) = if difference.ordinary { ("as in every renewal", Paint::Faint) } else { ("CHANGES", Paint::Bad) };
        table.add(vec![
            Cell::new(&difference.field),
            Cell::new(&difference.before),
            Cell::new(&difference.after),
            Cell::painted(word, paint),
        ]);
    }
    screen.table(&table)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn further_instances() {
        let path = |text: &str| Some(PathBuf::from(text));
        let eu = Instance { scope: "eu".into(), chain: path("a.pem"), key: path("a.key"), ..Instance::default() };
        assert_eq!(more("scope=eu,chain=a.pem,key=a.key"), Ok(eu));
        let p12 = Instance { scope: "all".into(), p12: path("a=b.p12"), password_file: path("pw"), ..Instance::default() };
        assert_eq!(more("p12=a=b.p12,password-file=pw"), Ok(p12));
        for (text, part) in [
            ("scope=eu", "either chain=F or p12=F"),
            ("chain=a,p12=b", "either chain=F or p12=F"),
            ("p12=a,key=b", "key belongs to chain"),
            ("chain=a,password-file=b", "belongs to p12"),
            ("chain=a,chain=b", "twice"),
            ("chain", "has no ="),
            ("chain=", "is empty"),
            ("colour=red\u{1b}[31m,chain=a", "unknown part colour"),
        ] {
            let error = more(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
