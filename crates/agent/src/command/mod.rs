//! What can be asked of the program, and the exit codes that say how it went.

mod output;
mod report;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use agent::{Around, Config, Error, Standing, config, seal::Lock, state::State};
use api::agent::{Invitation, Material, SignedManifest};
use clap::{Args, Parser, Subcommand};
use pki::text::escape;
use serde::de::DeserializeOwned;

/// Largest file that a call names, in bytes.
const MOST_BYTES: u64 = 16 << 20;

/// How a command ended. `docs/exit-codes.md` is the promise; these numbers never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It was done, and nothing is due.
    Ok = 0,
    /// Something is due or broken, or the store refused.
    Due = 1,
    /// The call or the configuration was wrong; nothing was done.
    Usage = 2,
    /// The store did not answer.
    Unreachable = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command ends early, in a sentence.
pub(crate) struct Stop(pub(crate) Exit, pub(crate) String);

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        let exit = match &error {
            Error::Unreachable(_) => Exit::Unreachable,
            Error::NotJoined | Error::Joined { .. } | Error::Held(_) => Exit::Usage,
            _ => Exit::Due,
        };
        Stop(exit, error.to_string())
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Stop {
        // Who stops reading has seen enough.
        let exit = if error.kind() == std::io::ErrorKind::BrokenPipe { Exit::Ok } else { Exit::Due };
        Stop(exit, format!("the output cannot be written: {error}"))
    }
}

/// Installs on this node what its store signed for it.
///
/// Where files lie and what is reloaded stands in this node's own configuration; the store says only which version of which secret.
#[derive(Debug, Parser)]
#[command(name = "perennial-agent", version, after_help = EXIT_STATUS)]
pub(crate) struct Arguments {
    /// The configuration
    #[arg(long, value_name = "F", global = true, default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// One JSON value per line on standard output
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const EXIT_STATUS: &str = "\
Exit status:
  0  it was done, and nothing is due
  1  something is due or broken, or the store refused
  2  the call or the configuration was wrong
  4  the store did not answer

Data goes to standard output, talk to standard error.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Join a store, with the string that `perennial node join-token` printed
    ///
    /// The string works once. It can also be the first line of standard input, where no other process of this node sees it.
    Join {
        /// The string; read from standard input if absent or `-`
        #[arg(value_name = "STRING")]
        invitation: Option<String>,
        /// Take another identity for a node that has one
        #[arg(long)]
        again: bool,
    },
    /// Keep this node's certificates, until it is stopped
    Run,
    /// Ask, install and report once
    Once,
    /// Act on a signed manifest from a file, when the store is gone
    Apply(Apply),
    /// Say how each secret stands on this node
    Status,
    /// Read what is installed and what listens on this node; changes nothing
    Observe(report::Args),
    /// Read the configuration and say what is wrong with it
    Check,
}

/// The files of an emergency.
#[derive(Debug, Args)]
struct Apply {
    /// The manifest as the store signed it, JSON
    #[arg(long, value_name = "F")]
    manifest: PathBuf,
    /// Certificates, perhaps with keys, JSON; several times for several
    #[arg(long, value_name = "F")]
    material: Vec<PathBuf>,
}

/// Says something to a person.
pub(crate) fn say(what: &str) {
    // Nothing can be done about a standard error that is gone.
    let _ = writeln!(std::io::stderr(), "perennial-agent: {what}");
}

/// Does it.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(Stop::from).and_then(|runtime| {
        let outcome = runtime.block_on(Box::pin(ask(arguments)));
        // A look-up that hangs in the system's resolver cannot be cancelled, and nobody waits for it any more.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(exit) => exit.into(),
        Err(Stop(exit, sentence)) => {
            if exit != Exit::Ok {
                say(&sentence);
            }
            exit.into()
        }
    }
}

async fn ask(arguments: Arguments) -> Result<Exit, Stop> {
    let config = read_config(&arguments.config)?;
    let mut around = Around::here()?;
    around.credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    around.say = Arc::new(say);
    let json = arguments.json;
    match arguments.command {
        Command::Check => {
            say(&format!("{} is good: {} places", arguments.config.display(), config.installs.len()));
            Ok(Exit::Ok)
        }
        Command::Join { invitation, again } => join(&config, &around, invitation, again).await,
        Command::Run => {
            agent::run(config, around, stopped()).await?;
            Ok(Exit::Ok)
        }
        Command::Once => shown(&agent::once(config, around).await?, json),
        Command::Apply(files) => {
            let signed: SignedManifest = read_json(&files.manifest)?;
            let material = files.material.iter().map(|path| read_json::<Material>(path)).collect::<Result<Vec<_>, _>>()?;
            shown(&agent::apply(config, around, &signed, &material).await?, json)
        }
        Command::Status => {
            let state = State::look(&config.state, Lock::given(around.credentials.as_deref()).map_err(Error::from)?);
            output::status(&state, &config, (around.now)(), json)
        }
        Command::Observe(args) => report::observe(&config, &args, (around.now)(), json).await,
    }
}

fn shown(all: &[Standing], json: bool) -> Result<Exit, Stop> {
    output::standing(all, json)?;
    Ok(if all.iter().all(Standing::is_settled) { Exit::Ok } else { Exit::Due })
}

async fn join(config: &Config, around: &Around, invitation: Option<String>, again: bool) -> Result<Exit, Stop> {
    let text = match invitation.filter(|text| text != "-") {
        Some(text) => text,
        None => {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map_err(|error| Stop(Exit::Usage, format!("standard input: {error}")))?;
            line
        }
    };
    let invitation: Invitation = text.parse().map_err(|error: api::agent::NoInvitation| Stop(Exit::Usage, error.to_string()))?;
    let state = State::hold(&config.state, Lock::given(around.credentials.as_deref()).map_err(Error::from)?)?;
    let identity = agent::join(&state, &invitation, again, around).await?;
    say(&format!("joined store {} as {}; next: `systemctl enable --now perennial-agent`", identity.store, identity.node));
    say(&format!("keys in {} are protected by {}", config.state.display(), state.protection()?));
    Ok(Exit::Ok)
}

/// Until somebody asks the program to end.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

fn read_config(path: &Path) -> Result<Config, Stop> {
    let shown = escape(&path.display().to_string());
    let text = String::from_utf8(read(path)?).map_err(|_| Stop(Exit::Usage, format!("{shown} is no text in UTF-8")))?;
    config::parse(&text).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|problem| format!("{shown}:{problem}")).collect();
        Stop(Exit::Usage, lines.join("\n"))
    })
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Stop> {
    // The parser's own message could repeat what is secret.
    serde_json::from_slice(&read(path)?).map_err(|error| {
        let shown = escape(&path.display().to_string());
        Stop(Exit::Usage, format!("{shown}:{}:{}: this is not what is expected here", error.line(), error.column()))
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Stop> {
    use std::io::Read as _;
    let wrong = |error: std::io::Error| Stop(Exit::Usage, format!("{}: {error}", escape(&path.display().to_string())));
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(wrong)?.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(wrong(std::io::Error::other(format!("larger than {MOST_BYTES} bytes"))));
    }
    Ok(bytes)
}
