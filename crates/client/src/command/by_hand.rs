//! `perennial cert request`, `answer`, `renew`, `revoke`: what people do of issuing.

use std::path::PathBuf;

use api::v1::{CertAnswer, CertRequest, NewCertRequest, Reason, Renewing, Revoke, Revoked, Stored};
use pki::text::escape;

use super::{base64, cert, file};
use crate::error::{Error, Exit};
use crate::route::Route;
use crate::session::Session;
use crate::show::Column::Left;
use crate::show::{Cell, Table};

/// Largest file with an answer, in bytes.
const MAX_CHAIN: usize = 16 * 1024 * 1024;

/// Make a key and a request for it, to be carried to a CA; the key never leaves the store
///
/// The request (PKCS#10, PEM) goes to standard output. Several may wait; an answer finds its request by its key.
#[derive(Debug, clap::Args)]
pub(super) struct RequestArgs {
    /// The secret's name
    name: String,
    /// A name that the certificate is to cover; again for more; those of the inventory if left out
    #[arg(long, value_name = "NAME")]
    names: Vec<String>,
    /// For a region or a node alone
    #[arg(long, value_name = "SCOPE", alias = "node")]
    scope: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

/// Bring a CA's answer to a request that waits; it is checked, and becomes a version
#[derive(Debug, clap::Args)]
pub(super) struct AnswerArgs {
    /// The secret's name
    name: String,
    /// The certificate and what is above it: PEM, DER or PKCS#7
    #[arg(long, value_name = "F")]
    chain: PathBuf,
    /// Private roots that the chain must lead to, PEM
    #[arg(long, value_name = "F")]
    roots: Option<PathBuf>,
    /// Accept changes beyond key, serial and dates
    #[arg(long)]
    accept_change: bool,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

/// Have a certificate renewed now, by whoever the inventory says issues it
#[derive(Debug, clap::Args)]
pub(super) struct RenewArgs {
    /// The secret's name
    name: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

/// Revoke what the store's own CAs signed for a version
///
/// Their lists say so at once. The key of a certificate that is revoked for key-compromise is certified by none of them again.
#[derive(Debug, clap::Args)]
pub(super) struct RevokeArgs {
    /// The secret's name
    name: String,
    /// Which version
    #[arg(long, value_name = "N")]
    version: i64,
    /// RFC 5280 §5.3.1: key-compromise, superseded, cessation-of-operation, affiliation-changed, privilege-withdrawn, ca-compromise, unspecified
    #[arg(long, value_name = "REASON")]
    reason: String,
    /// What happened
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    why: String,
}

pub(super) async fn request(args: &RequestArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let body = NewCertRequest { names: args.names.clone(), scope: args.scope.clone(), reason: args.reason.clone() };
    let answer = session.remote.post(&Route::to(&["secrets", &args.name, "requests"]), &body).await?;
    session.answer(&answer, |made: &CertRequest, screen| {
        for line in made.csr.lines() {
            screen.data(&escape(line))?;
        }
        let (id, name) = (made.id, escape(&made.secret));
        screen.say(&format!("request {id} of {name} waits; bring the CA's answer with perennial cert answer {name} --chain FILE"))
    })?;
    Ok(Exit::Ok)
}

pub(super) async fn answer(args: &AnswerArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let roots = match &args.roots {
        Some(path) => {
            let bytes = file("--roots", path, MAX_CHAIN)?;
            Some(String::from_utf8(bytes.to_vec()).map_err(|_| Error::usage("--roots: this is not PEM"))?)
        }
        None => None,
    };
    let chain = base64(&file("--chain", &args.chain, MAX_CHAIN)?);
    let body = CertAnswer { chain, roots, accept_change: args.accept_change, reason: args.reason.clone() };
    let answer = session.remote.post(&Route::to(&["secrets", &args.name, "answer"]), &body).await?;
    session.answer(&answer, |stored: &Stored, screen| cert::show(stored, screen))?;
    Ok(Exit::Ok)
}

pub(super) async fn requests(name: &str, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let answer = session.remote.get(&Route::to(&["secrets", name, "requests"])).await?;
    session.answer(&answer, |all: &Vec<CertRequest>, screen| {
        if all.is_empty() {
            return screen.say("there are none");
        }
        let mut table = Table::new(&[Left("ID"), Left("STATE"), Left("SCOPE"), Left("NAMES"), Left("MADE"), Left("BY")]);
        for q in all {
            let state = q.version.map_or_else(|| q.state.clone(), |v| format!("{} as version {v}", q.state));
            table.add(vec![
                Cell::new(&q.id.to_string()),
                Cell::new(&state),
                Cell::new(&q.scope),
                Cell::new(&q.names.join(", ")),
                Cell::new(&q.created_at),
                Cell::new(&q.actor),
            ]);
        }
        screen.table(&table)
    })?;
    Ok(Exit::Ok)
}

pub(super) async fn drop_request(name: &str, id: i64, reason: String, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let route = Route::to(&["secrets", name, "requests", &id.to_string(), "drop"]);
    session.act(&route, &Reason { reason }, &format!("request {id} of {} and its key are gone", escape(name))).await
}

pub(super) async fn renew(args: &RenewArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let body = Reason { reason: args.reason.clone() };
    let answer = session.remote.post(&Route::to(&["secrets", &args.name, "renew"]), &body).await?;
    session.answer(&answer, |made: &Renewing, screen| {
        screen.say(&format!(
            "{}: its renewal is decided (intent {}); perennial cert show says when a version comes",
            escape(&args.name),
            made.intent
        ))
    })?;
    Ok(Exit::Ok)
}

pub(super) async fn revoke(args: &RevokeArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let body = Revoke { version: args.version, reason: args.reason.clone(), why: args.why.clone() };
    let answer = session.remote.post(&Route::to(&["secrets", &args.name, "revoke"]), &body).await?;
    session.answer(&answer, |done: &Revoked, screen| {
        screen.say(&format!("{}: {} certificates of version {} are revoked", escape(&args.name), done.revoked, args.version))
    })?;
    Ok(Exit::Ok)
}
