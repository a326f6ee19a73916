//! What can be asked, one file for each noun.

mod apply;
mod bulk;
mod by_hand;
mod ca;
mod cert;
mod drill;
mod fleet_text;
mod forecast;
mod incident;
mod keeping;
mod look;
pub(crate) mod node;
mod reach;
mod release;
mod rollout;
mod secret;
mod standing;
mod target;
mod token;
mod vault;

use std::path::Path;

use clap::Subcommand;
use pki::text::escape;
use pki::{Span, Time};

use crate::error::{Error, Exit};
use crate::session::{Common, Session};

pub use incident::ROOT_CAUSES;
pub use release::{ReleaseCommand, WhenArgs, show_carried};

/// What an operator can ask of a server.
#[derive(Debug, Subcommand)]
#[allow(missing_docs)] // the help texts of the variants' arguments are the documentation
pub enum Command {
    Apply(apply::Args),
    Status(standing::StatusArgs),
    Runway(standing::RunwayArgs),
    Findings(standing::FindingsArgs),
    Forecast(forecast::ForecastArgs),
    Spof(forecast::SpofArgs),
    Expiring(standing::ExpiringArgs),
    Cert(cert::Args),
    Ca(ca::Args),
    Issuer(ca::IssuerArgs),
    Secret(secret::Args),
    Target(target::Args),
    Node(node::Args),
    Observe(look::Args),
    Incident(incident::Args),
    Notice(incident::NoticeArgs),
    Blast(reach::BlastArgs),
    Partition(reach::PartitionArgs),
    Intent(reach::IntentArgs),
    Drill(drill::Args),
    /// Releases, whose commands stand beside one that needs no server.
    #[command(skip)]
    Release(ReleaseCommand),
    Rollout(rollout::Args),
    Revocation(rollout::RevocationArgs),
    Sweep(keeping::SweepArgs),
    Audit(keeping::AuditArgs),
    Token(token::Args),
    Unseal(vault::UnsealArgs),
    Seal(vault::SealArgs),
    Kek(vault::KekArgs),
    Clock(keeping::ClockArgs),
    Backup(keeping::BackupArgs),
}

impl Command {
    pub(crate) fn common(&self) -> Common {
        match self {
            Command::Apply(args) => &args.common,
            Command::Status(args) => &args.common,
            Command::Runway(args) => &args.common,
            Command::Findings(args) => &args.common,
            Command::Forecast(args) => &args.common,
            Command::Spof(args) => &args.common,
            Command::Expiring(args) => &args.common,
            Command::Cert(args) => &args.common,
            Command::Ca(args) => &args.common,
            Command::Issuer(args) => &args.common,
            Command::Secret(args) => &args.common,
            Command::Target(args) => &args.common,
            Command::Node(args) => &args.common,
            Command::Observe(args) => &args.common,
            Command::Incident(args) => &args.common,
            Command::Notice(args) => &args.common,
            Command::Blast(args) => &args.common,
            Command::Partition(args) => &args.common,
            Command::Intent(args) => &args.common,
            Command::Drill(args) => &args.common,
            Command::Release(command) => command.common(),
            Command::Rollout(args) => &args.common,
            Command::Revocation(args) => &args.common,
            Command::Sweep(args) => &args.common,
            Command::Audit(args) => &args.common,
            Command::Token(args) => &args.common,
            Command::Unseal(args) => &args.common,
            Command::Seal(args) => &args.common,
            Command::Kek(args) => &args.common,
            Command::Clock(args) => &args.common,
            Command::Backup(args) => &args.common,
        }
        .clone()
    }
}

pub(crate) async fn run(command: Command, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    match command {
        Command::Apply(args) => apply::run(args, session).await,
        Command::Status(_) => standing::status(session).await,
        Command::Runway(args) => standing::runway(args, session).await,
        Command::Findings(args) => standing::findings(args, session).await,
        Command::Forecast(args) => forecast::forecast(args, session).await,
        Command::Spof(_) => forecast::spof(session).await,
        Command::Expiring(args) => standing::expiring(args, session).await,
        Command::Cert(args) => cert::run(args, session).await,
        Command::Ca(args) => ca::run(args, session).await,
        Command::Issuer(args) => ca::issuer(args, session).await,
        Command::Secret(args) => secret::run(args, session).await,
        Command::Target(args) => target::run(args, session).await,
        Command::Node(args) => node::run(args, session).await,
        Command::Observe(args) => look::run(args, session).await,
        Command::Incident(args) => incident::run(args, session).await,
        Command::Notice(args) => incident::notices(args, session).await,
        Command::Blast(args) => reach::blast(args, session).await,
        Command::Partition(args) => reach::partition(args, session).await,
        Command::Intent(args) => reach::intent(args, session).await,
        Command::Drill(args) => drill::run(args, session).await,
        Command::Release(command) => release::run(command, session).await,
        Command::Rollout(args) => rollout::run(args, session).await,
        Command::Revocation(args) => rollout::revocation(args, session).await,
        Command::Sweep(args) => keeping::sweep(args, session).await,
        Command::Audit(args) => keeping::audit(args, session).await,
        Command::Token(args) => token::run(args, session).await,
        Command::Unseal(args) => vault::unseal(args, session).await,
        Command::Seal(_) => vault::seal(session).await,
        Command::Kek(args) => vault::kek(args, session).await,
        Command::Clock(args) => keeping::clock(args, session).await,
        Command::Backup(args) => keeping::backup(args, session).await,
    }
}

/// A moment on the command line: RFC 3339, or a day in UTC.
fn time(text: &str) -> Result<Time, String> {
    Time::parse(text).map_err(|error| error.to_string())
}

/// A length of time on the command line, such as 90d or 36m.
fn span(text: &str) -> Result<Span, String> {
    Span::parse(text).map_err(|error| error.to_string())
}

/// Reads a file that the call names.
fn file(option: &str, path: &Path, limit: usize) -> Result<zeroize::Zeroizing<Vec<u8>>, Error> {
    crate::input::read_secret(path, limit)
        .map_err(|error| Error::Usage(format!("{option} {}: {error}", escape(&path.display().to_string()))))
}

/// Standard base64 (RFC 4648 §4).
fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
