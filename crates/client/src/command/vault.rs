//! Opening and closing the store: `unseal`, `seal`, `kek rotate`.

use std::path::PathBuf;

use api::v1::{Reason, Rotate, Status, Unseal};
use clap::Subcommand;
use serde::Deserialize;
use zeroize::Zeroize as _;

use crate::error::{Error, Exit};
use crate::input::{first_line, passphrase};
use crate::remote::LONG;
use crate::route::Route;
use crate::session::{Common, Session};

/// Open the store, so that it can use its keys
///
/// Needs no token, except with --init: whoever knows the passphrase may open it. A sealed store still observes, assesses and notifies.
#[derive(Debug, clap::Args)]
pub struct UnsealArgs {
    /// Make the store's first key, under a new passphrase
    #[arg(long)]
    init: bool,
    /// The passphrase is this file's first line; otherwise it is asked for
    #[arg(long, value_name = "F")]
    passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Close the store: it forgets its key
#[derive(Debug, clap::Args)]
pub struct SealArgs {
    #[command(flatten)]
    pub(super) common: Common,
}

/// The key-encryption key
#[derive(Debug, clap::Args)]
pub struct KekArgs {
    #[command(subcommand)]
    command: KekCommand,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Subcommand)]
enum KekCommand {
    Rotate(RotateArgs),
}

/// Put everything under a new key, opened by a new passphrase or key file; no secret is touched
///
/// Wherever it breaks off, both the old and the new way in open everything, and the server that is open goes on. When it is done
/// the old one opens older backups only: change what the server is started with.
#[derive(Debug, clap::Args)]
struct RotateArgs {
    /// The new passphrase is this file's first line; otherwise it is asked for
    #[arg(long, value_name = "F")]
    passphrase_file: Option<PathBuf>,
    /// The new key file, one line of 64 hexadecimal digits
    #[arg(long, value_name = "F", conflicts_with = "passphrase_file")]
    key_file: Option<PathBuf>,
}

pub(super) async fn unseal(args: UnsealArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let prompt = if args.init { "New passphrase" } else { "Passphrase" };
    let given = passphrase(session.keyboard, args.passphrase_file.as_deref(), "--passphrase-file", prompt, args.init)?;
    let mut body = Unseal { passphrase: given.to_string(), init: args.init };
    // Making a key decides under what everything will lie, and needs an admin; opening needs the passphrase alone.
    let remote = if args.init { session.remote.clone() } else { session.remote.anonymous() };
    let answer = remote.post(&Route::to(&["unseal"]), &body).await;
    body.passphrase.zeroize();
    session.answer(&answer?, said)?;
    Ok(Exit::Ok)
}

pub(super) async fn seal(session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    session.act(&Route::to(&["seal"]), &Reason::default(), "the store is sealed: it goes on observing and notifying, and uses no key").await
}

fn said(status: &Status, screen: &mut crate::show::Screen<'_>) -> std::io::Result<()> {
    screen.say(if status.sealed { "the store is sealed" } else { "the store is open" })
}

/// What a rotation answers.
#[derive(Deserialize)]
struct Moved {
    moved: u64,
}

pub(super) async fn kek(args: KekArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let KekCommand::Rotate(args) = args.command;
    let (mut body, what) = match &args.key_file {
        Some(path) => {
            let line = first_line(path, "--key-file")?;
            (Rotate { key_file: Some(line.to_string()), passphrase: None }, "this key file (--key-file)")
        }
        None => {
            let new = passphrase(session.keyboard, args.passphrase_file.as_deref(), "--passphrase-file", "New passphrase", true)?;
            (Rotate { passphrase: Some(new.to_string()), key_file: None }, "the new passphrase (--passphrase-file)")
        }
    };
    let answer = session.remote.post_within(&Route::to(&["kek", "rotate"]), &body, LONG).await;
    body.passphrase.zeroize();
    body.key_file.zeroize();
    session.answer(&answer?, |done: &Moved, screen| {
        screen.say(&format!(
            "{} data keys lie under the new key; start the server with {what} from now on: what opened it before opens older backups only",
            done.moved
        ))
    })?;
    Ok(Exit::Ok)
}
