//! `perennial ca` and `perennial issuer`: who signs.
//!
//! A root is made here, on the operator's own machine, and its key goes into a file under a passphrase before anything is signed with it;
//! the store never sees it. What the store makes is the issuing key, whose request the root signs.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use api::v1::{CaAnswer, CaCertificate, IssuerStanding, NewCa, RequestedCa};
use clap::Subcommand;
use pki::text::escape;
use pki::{Certificate, KeyType, PrivateKey};

use super::file;
use crate::error::{Error, Exit};
use crate::input::passphrase;
use crate::remote::parse;
use crate::route::Route;
use crate::session::{Common, Session};
use crate::show::Column::Left;
use crate::show::{Cell, Table};

/// Largest file with a root or a chain, in bytes.
const MAX_FILE: usize = 256 * 1024;

/// Internal CAs: a root that is put away, and an issuing CA whose key never leaves the store
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List issuers, internal and others
    List,
    Create(CreateArgs),
    /// Show the certificates of an internal CA, and the request that waits for its root
    Show {
        /// The issuer's name
        name: String,
        /// Write the current chain (issuing CA, then root) as PEM, and nothing else
        #[arg(long, conflicts_with = "csr")]
        chain: bool,
        /// Write the request that waits as PEM, and nothing else
        #[arg(long)]
        csr: bool,
    },
    Renew(RenewArgs),
    Sign(SignArgs),
    /// Bring the answer to the request that waits, signed by the root with other tools
    Answer {
        /// The issuer's name
        name: String,
        /// The issuing certificate, then its root, PEM
        #[arg(long, value_name = "F")]
        chain: PathBuf,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Write the list of what an internal CA has revoked (DER) into a file
    Crl {
        /// The issuer's name
        name: String,
        /// The file; one that is there is replaced
        #[arg(long, value_name = "F")]
        out: PathBuf,
    },
}

/// Make a CA: a root under a passphrase in a file, and an issuing CA in the store
///
/// The issuer is declared in the inventory with kind = "internal". The root signs issuing CAs and nothing else; put its file away, on a
/// medium that is kept elsewhere, and bring it for `perennial ca renew`.
#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// The issuer's name
    name: String,
    /// What it may certify: example.internal, 10.0.0.0/8 or spiffe://trust.domain; again for more
    #[arg(long = "permit", value_name = "SUBTREE", required = true)]
    permitted: Vec<String>,
    /// The file for the root: its key under a passphrase and its certificate, PEM
    #[arg(long, value_name = "F", required_unless_present = "keep_root")]
    root: Option<PathBuf>,
    /// The root's passphrase is this file's first line; otherwise it is asked for
    #[arg(long, value_name = "F", requires = "root")]
    passphrase_file: Option<PathBuf>,
    /// Make the root in the store and keep its key there
    #[arg(long, conflicts_with = "root")]
    keep_root: bool,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

/// Make another issuing CA below the same root; the one before it signs nothing new
#[derive(Debug, clap::Args)]
struct RenewArgs {
    /// The issuer's name
    name: String,
    /// The root's file; without it the request is written, to be signed by `perennial ca sign`
    #[arg(long, value_name = "F", conflicts_with = "drop")]
    root: Option<PathBuf>,
    /// The root's passphrase is this file's first line; otherwise it is asked for
    #[arg(long, value_name = "F", requires = "root")]
    passphrase_file: Option<PathBuf>,
    /// What it may certify, where that changes
    #[arg(long = "permit", value_name = "SUBTREE", conflicts_with = "drop")]
    permitted: Vec<String>,
    /// Drop the request that waits, and its key
    #[arg(long)]
    drop: bool,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

/// Sign the request that waits with the root's file, and bring the answer
#[derive(Debug, clap::Args)]
struct SignArgs {
    /// The issuer's name
    name: String,
    /// The root's file
    #[arg(long, value_name = "F")]
    root: PathBuf,
    /// The root's passphrase is this file's first line; otherwise it is asked for
    #[arg(long, value_name = "F")]
    passphrase_file: Option<PathBuf>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

/// Issuers: who signs, and how each has answered lately
#[derive(Debug, clap::Args)]
pub struct IssuerArgs {
    #[command(subcommand)]
    command: IssuerCommand,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Subcommand)]
enum IssuerCommand {
    /// List issuers, internal and others
    List,
}

pub(super) async fn issuer(args: IssuerArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    match args.command {
        IssuerCommand::List => list(session).await,
    }
}

pub(super) async fn run(args: Args, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    match args.command {
        Command::List => list(session).await,
        Command::Create(args) => create(&args, session).await,
        Command::Show { name, chain, csr } => show(&name, chain, csr, session).await,
        Command::Renew(args) => renew(&args, session).await,
        Command::Sign(args) => {
            let waits = waiting(&args.name, session).await?;
            let (key, root) = open_root(&args.root, args.passphrase_file.as_deref(), session)?;
            sign(&args.name, &waits, &key, &root, &args.reason, session).await
        }
        Command::Answer { name, chain, reason } => {
            let bytes = file("--chain", &chain, MAX_FILE)?;
            let chain = String::from_utf8(bytes.to_vec()).map_err(|_| Error::usage("--chain: this is not PEM"))?;
            answer(&name, chain, reason, session).await
        }
        Command::Crl { name, out } => {
            let der = session.remote.bytes(&Route::to(&["crl", &name])).await?;
            std::fs::write(&out, &der).map_err(|e| Error::Usage(format!("--out {}: {e}", escape(&out.display().to_string()))))?;
            session.screen.say(&format!("{} bytes are in {}", der.len(), escape(&out.display().to_string())))?;
            Ok(Exit::Ok)
        }
    }
}

async fn list(session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let answer = session.remote.get(&Route::to(&["issuers"])).await?;
    session.answer(&answer, |all: &Vec<IssuerStanding>, screen| {
        if all.is_empty() {
            return screen.say("no issuer is declared; add [[issuer]] to the inventory");
        }
        let mut table = Table::new(&[Left("ISSUER"), Left("KIND"), Left("REGION"), Left("SIGNS UNTIL"), Left("BUDGET"), Left("STANDING")]);
        for i in all {
            let budget = i.budget.as_ref().map(|b| format!("{} of {}", b.placed, b.orders)).unwrap_or_default();
            let standing = match (i.failures, i.detail.is_empty()) {
                (0, true) => String::from("ok"),
                (0, false) => i.detail.clone(),
                (n, _) => format!("failed {n} times: {}", i.detail),
            };
            table.add(vec![
                Cell::new(&i.name),
                Cell::new(&i.kind),
                Cell::new(i.region.as_deref().unwrap_or("-")),
                Cell::new(i.ends.as_deref().unwrap_or("-")),
                Cell::new(if budget.is_empty() { "-" } else { &budget }),
                Cell::new(&standing),
            ]);
        }
        screen.table(&table)
    })?;
    Ok(Exit::Ok)
}

async fn create(args: &CreateArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    pki::ca::subtrees(&args.permitted).map_err(|e| Error::Usage(format!("--permit: {e}")))?;
    let body = NewCa { permitted: args.permitted.clone(), keep_root: args.keep_root, drop: false, reason: args.reason.clone() };
    let Some(path) = &args.root else {
        let made: RequestedCa = parse(&session.remote.post(&Route::to(&["issuers", &args.name, "authorities"]), &body).await?)?;
        return said(&args.name, &made.subject, session);
    };
    // The root is safely put away before anything else happens: a file that is there is never written over.
    let phrase = passphrase(session.keyboard, args.passphrase_file.as_deref(), "--passphrase-file", "New passphrase of the root", true)?;
    let key = PrivateKey::generate(KeyType::EcdsaP384).map_err(|e| Error::Usage(e.to_string()))?;
    let root = pki::ca::root(&args.name, &key, random()?, session.screen.now).map_err(|e| Error::Usage(e.to_string()))?;
    let sealed = pki::pbes2::encrypt(&key, phrase.as_bytes(), random()?, random()?).map_err(|e| Error::Usage(e.to_string()))?;
    put_away(path, &format!("{sealed}{}", root.to_pem()))?;
    session.screen.say(&format!(
        "the root of {} is in {}; put it away when this is done",
        escape(&args.name),
        escape(&path.display().to_string())
    ))?;
    let made: RequestedCa = parse(&session.remote.post(&Route::to(&["issuers", &args.name, "authorities"]), &body).await?)?;
    sign(&args.name, &made, &key, &root, &args.reason, session).await
}

async fn renew(args: &RenewArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    // A root that does not open is found before a request waits for it.
    let opened = match &args.root {
        Some(path) => Some(open_root(path, args.passphrase_file.as_deref(), session)?),
        None => None,
    };
    let body = NewCa { permitted: args.permitted.clone(), keep_root: false, drop: args.drop, reason: args.reason.clone() };
    let made: RequestedCa = parse(&session.remote.post(&Route::to(&["issuers", &args.name, "authorities"]), &body).await?)?;
    if args.drop {
        session.screen.say(&format!("{}: the request and its key are gone", escape(&args.name)))?;
        return Ok(Exit::Ok);
    }
    if made.done {
        return said(&args.name, &made.subject, session);
    }
    match opened {
        Some((key, root)) => sign(&args.name, &made, &key, &root, &args.reason, session).await,
        None => {
            for line in made.csr.lines() {
                session.screen.data(line)?;
            }
            let name = escape(&args.name);
            session.screen.say(&format!(
                "this request waits for the root: perennial ca sign {name} --root FILE, or perennial ca answer {name} --chain FILE"
            ))?;
            Ok(Exit::Ok)
        }
    }
}

async fn waiting(name: &str, session: &mut Session<'_, '_>) -> Result<RequestedCa, Error> {
    let all: Vec<CaCertificate> = parse(&session.remote.get(&Route::to(&["issuers", name, "authorities"])).await?)?;
    let waits = all.into_iter().find_map(|c| {
        let csr = c.csr?;
        Some(RequestedCa { id: c.id, subject: c.subject, csr, permitted: c.permitted, done: false })
    });
    waits.ok_or_else(|| Error::Usage(format!("no request of {} waits for its root; make one with perennial ca renew", escape(name))))
}

async fn sign(
    name: &str,
    made: &RequestedCa,
    key: &PrivateKey,
    root: &Certificate,
    reason: &str,
    session: &mut Session<'_, '_>,
) -> Result<Exit, Error> {
    // Whoever holds the root sees what it signs before it does: the store asks, and the store may be somebody else's by now.
    let asked = pki::csr::Csr::parse(made.csr.as_bytes()).map_err(|e| Error::Usage(format!("the request is none: {e}")))?;
    session.screen.say(&format!(
        "the root signs {}, key {}, limited to {}",
        escape(&made.subject),
        asked.spki_fingerprint(),
        escape(&if made.permitted.is_empty() { String::from("nothing") } else { made.permitted.join(", ") })
    ))?;
    let signed = pki::ca::issuing(key, root, &made.subject, made.csr.as_bytes(), &made.permitted, random()?, session.screen.now)
        .map_err(|e| Error::Usage(format!("the root does not sign this: {e}")))?;
    answer(name, format!("{}{}", signed.to_pem(), root.to_pem()), reason.to_owned(), session).await
}

async fn answer(name: &str, chain: String, reason: String, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let answer = session.remote.post(&Route::to(&["issuers", name, "answer"]), &CaAnswer { chain, reason }).await?;
    session.answer(&answer, |c: &CaCertificate, screen| {
        screen.data(&format!("{}  {}", escape(&c.fingerprint_sha256), escape(&c.subject)))?;
        screen.say(&format!(
            "{} signs until {}; its roots are the set perennial-ca-{}",
            escape(&c.issuer),
            escape(&c.not_after),
            escape(&c.issuer)
        ))
    })?;
    Ok(Exit::Ok)
}

fn said(name: &str, subject: &str, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    session.screen.say(&format!("{} signs now as {}; its root lies in the store", escape(name), escape(subject)))?;
    Ok(Exit::Ok)
}

async fn show(name: &str, chain: bool, csr: bool, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let answer = session.remote.get(&Route::to(&["issuers", name, "authorities"])).await?;
    if chain || csr {
        let all: Vec<CaCertificate> = parse(&answer)?;
        let mut texts: Vec<String> = Vec::new();
        if csr {
            texts.extend(all.iter().find_map(|c| c.csr.clone()));
        } else if let Some(current) = all.iter().find(|c| c.state == "current") {
            texts.extend(current.pem.clone());
            let own = Certificate::parse(pem_der(current.pem.as_deref().unwrap_or_default())).ok();
            let above = all.iter().filter(|c| c.role == "root").filter_map(|c| c.pem.clone());
            texts.extend(above.filter(|p| {
                let root = Certificate::parse(pem_der(p)).ok();
                own.as_ref().zip(root.as_ref()).is_some_and(|(o, r)| o.check_signature(r).is_ok())
            }));
        }
        if texts.is_empty() {
            return Err(Error::Usage(format!("{} has none", escape(name))));
        }
        for line in texts.iter().flat_map(|t| t.lines()) {
            session.screen.data(line)?;
        }
        return Ok(Exit::Ok);
    }
    session.answer(&answer, |all: &Vec<CaCertificate>, screen| {
        if all.is_empty() {
            return screen.say("it has no certificate yet; make one with perennial ca create");
        }
        let mut table =
            Table::new(&[Left("ID"), Left("ROLE"), Left("STATE"), Left("SUBJECT"), Left("ENDS"), Left("PERMITTED"), Left("CRL UNTIL")]);
        for c in all {
            table.add(vec![
                Cell::new(&c.id.to_string()),
                Cell::new(&c.role),
                Cell::new(&c.state),
                Cell::new(&c.subject),
                Cell::new(if c.not_after.is_empty() { "-" } else { &c.not_after }),
                Cell::new(&c.permitted.join(", ")),
                Cell::new(c.crl_next_update.as_deref().unwrap_or("-")),
            ]);
        }
        screen.table(&table)
    })?;
    Ok(Exit::Ok)
}

fn pem_der(pem: &str) -> Vec<u8> {
    let loaded = pki::load(pem.as_bytes(), None, pki::Limits::default()).ok();
    loaded.and_then(|l| l.certificates.into_iter().next()).map(|c| c.der().to_vec()).unwrap_or_default()
}

/// A root's file: its key under a passphrase, and its certificate.
fn open_root(path: &Path, phrase: Option<&Path>, session: &mut Session<'_, '_>) -> Result<(PrivateKey, Certificate), Error> {
    let shown = escape(&path.display().to_string());
    let bytes = file("--root", path, MAX_FILE)?;
    let phrase = passphrase(session.keyboard, phrase, "--passphrase-file", "Passphrase of the root", false)?;
    let key = pki::pbes2::decrypt(&bytes, phrase.as_bytes()).map_err(|e| Error::Usage(format!("--root {shown}: {e}")))?;
    let text = String::from_utf8_lossy(&bytes);
    let begin = text.find("-----BEGIN CERTIFICATE-----").ok_or_else(|| Error::Usage(format!("--root {shown}: it holds no certificate")))?;
    let root = Certificate::parse(pem_der(&text[begin..])).map_err(|e| Error::Usage(format!("--root {shown}: {e}")))?;
    if !key.fits(&root) {
        return Err(Error::Usage(format!("--root {shown}: the key is not that of the certificate in it")));
    }
    Ok((key, root))
}

/// A new file that only this person can read, on the disk before it is relied on.
fn put_away(path: &Path, text: &str) -> Result<(), Error> {
    let wrong =
        |e: std::io::Error| Error::Usage(format!("--root {}: {e}; name a file that is not there yet", escape(&path.display().to_string())));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut opened = options.open(path).map_err(wrong)?;
    opened.write_all(text.as_bytes()).and_then(|()| opened.sync_all()).map_err(wrong)
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    pki::ca::random(&mut bytes).map_err(|e| Error::Usage(e.to_string()))?;
    Ok(bytes)
}
