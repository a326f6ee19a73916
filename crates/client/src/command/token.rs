//! `perennial token`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use api::v1::{MadeToken, NewToken, Token};
use clap::{Subcommand, ValueEnum};
use pki::Time;
use pki::text::escape;
use zeroize::Zeroizing;

use super::time;
use crate::error::{Error, Exit};
use crate::remote::parse;
use crate::route::Route;
use crate::session::{Common, Session};

/// Tokens
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(CreateArgs),
    /// List tokens; what they are cannot be read back
    List,
    /// Take a token back
    Revoke {
        /// Its number
        id: u64,
    },
}

/// Make a token, which is shown this once
#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Whose it is
    name: String,
    /// What it may do
    #[arg(long)]
    role: Role,
    /// A team that its owner speaks for; may be repeated
    #[arg(long = "team", value_name = "TEAM", required_if_eq("role", "owner"))]
    teams: Vec<String>,
    /// The vantage that it speaks for
    #[arg(long, value_name = "NAME", required_if_eq("role", "vantage"))]
    vantage: Option<String>,
    /// A service whose builds it speaks for; may be repeated
    #[arg(long = "service", value_name = "SERVICE", required_if_eq("role", "build"))]
    services: Vec<String>,
    /// When it ends: RFC 3339, or a day
    #[arg(long, value_name = "T", value_parser = time)]
    expires: Option<Time>,
    /// Write the token into this new file, which only you can read, instead of showing it
    #[arg(long, value_name = "F")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Reads
    Viewer,
    /// Reads, and changes what its teams own
    Owner,
    /// Everything
    Admin,
    /// Reports what it sees, and nothing else
    Vantage,
    /// Registers what builds of its services carry, and nothing else
    Build,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Owner => "owner",
            Role::Admin => "admin",
            Role::Vantage => "vantage",
            Role::Build => "build",
        }
    }
}

pub(super) async fn run(args: Args, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let tokens = Route::to(&["tokens"]);
    match args.command {
        Command::Create(args) => create(args, &tokens, session).await,
        Command::List => session.short_list::<Token>(&tokens, "there are none").await,
        Command::Revoke { id } => {
            let answer = session.remote.delete(&Route::to(&["tokens", &id.to_string()])).await?;
            session.done(&answer, &format!("token {id}: revoked"))
        }
    }
}

async fn create(args: CreateArgs, tokens: &Route, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    // Before the token exists: one that cannot be written would be lost, and stay valid.
    let file = args.out.as_deref().map(private_file).transpose()?;
    let body = NewToken {
        name: args.name,
        role: args.role.as_str().to_owned(),
        teams: args.teams,
        vantage: args.vantage,
        services: args.services,
        expires_at: args.expires.map(|at| at.to_string()),
    };
    let answer = match session.remote.post(tokens, &body).await {
        Ok(answer) => answer,
        Err(error) => {
            if let Some(path) = &args.out {
                // Best effort: an empty file is of no use to anybody.
                let _ = std::fs::remove_file(path);
            }
            return Err(error);
        }
    };
    let MadeToken { token, value } = parse(&answer)?;
    let value = Zeroizing::new(value);
    match file {
        Some(mut file) => {
            writeln!(file, "{}", &*value).and_then(|()| file.sync_all()).map_err(|error| {
                let next = format!("take the token back with `perennial token revoke {}`", token.id);
                Error::Output(std::io::Error::other(format!("{error}; {next}")))
            })?;
            if session.json {
                // As it came, but for the token itself.
                session.screen.data(&answer.get("token").map(ToString::to_string).unwrap_or_default())?;
            }
            let shown = args.out.as_deref().unwrap_or(Path::new("")).display().to_string();
            session.screen.say(&format!("token {} of {} is in {}", token.id, escape(&token.name), escape(&shown)))?;
        }
        None if session.json => session.screen.data(&answer.to_string())?,
        None => {
            session.screen.data(&escape(&value))?;
            session.screen.say(&format!("token {} of {}; it is not shown again", token.id, escape(&token.name)))?;
        }
    }
    Ok(Exit::Ok)
}

/// A new file that only this person can read.
fn private_file(path: &Path) -> Result<std::fs::File, Error> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(path)
        .map_err(|error| Error::Usage(format!("--out {}: {error}; name a file that is not there yet", escape(&path.display().to_string()))))
}
