//! `perennial observe`: look now, or hand in what somebody else saw.

use std::path::PathBuf;
use std::time::Duration;

use api::v1::{Attempt, Reason, Report, TargetDetail};
use clap::{Subcommand, ValueEnum};
use pki::text::escape;
use pki::{Span, Time};
use tokio::time::{Instant, sleep};

use super::{base64, file, span, time};
use crate::error::{Error, Exit};
use crate::remote::parse;
use crate::route::Route;
use crate::session::{Common, Session};
use crate::show::served;

/// How long `--wait` waits if nobody says otherwise: every phase of a dial may take its time, and be tried once more.
const DEFAULT_WAIT: &str = "60s";
/// How often `--wait` asks.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Largest file with a chain, in bytes.
const MAX_CHAIN: usize = 1024 * 1024;

/// Look at targets now
///
/// With --wait, exit status 1: a target does not show everywhere what it should, or was not seen anew in time.
#[derive(Debug, clap::Args)]
#[command(subcommand_negates_reqs = true)]
pub struct Args {
    /// The targets' names
    #[arg(value_name = "TARGET", required = true)]
    targets: Vec<String>,
    /// Wait until each was seen anew, and say how many of its addresses are current
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "SPAN", default_value = DEFAULT_WAIT, value_parser = span)]
    timeout: Span,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    Report(ReportArgs),
}

/// Hand in evidence that was not dialled
#[derive(Debug, clap::Args)]
struct ReportArgs {
    /// The target's name
    #[arg(long, value_name = "NAME")]
    target: String,
    /// How it was seen
    #[arg(long)]
    method: Method,
    /// What was seen: PEM or DER, leaf first
    #[arg(long, value_name = "F")]
    chain: PathBuf,
    /// Where: ip:port, or the path of the file it was read from; otherwise the path of --chain
    #[arg(long, value_name = "WHERE")]
    address: Option<String>,
    /// When it was seen, if not now: RFC 3339
    #[arg(long, value_name = "T", value_parser = time)]
    at: Option<Time>,
    /// When an attestation ends: RFC 3339, or a day
    #[arg(long, value_name = "T", value_parser = time, required_if_eq("method", "attested"))]
    expires: Option<Time>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    /// Read on the machine, independently of whoever installed it
    AgentRead,
    /// A relying server saw it as a client certificate
    PeerSeen,
    /// A person says so, until --expires
    Attested,
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Method::AgentRead => "agent-read",
            Method::PeerSeen => "peer-seen",
            Method::Attested => "attested",
        }
    }
}

pub(super) async fn run(args: Args, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    match args.command {
        Some(Command::Report(report)) => hand_in(&report, session).await,
        None => look(&args, session).await,
    }
}

async fn look(args: &Args, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let mut waiting = Vec::new();
    for name in &args.targets {
        // Remembered before the look, or a quick one could be missed.
        let before: Option<TargetDetail> = if args.wait { Some(detail(name, session).await?) } else { None };
        let body = Reason { reason: args.reason.clone() };
        let answer = session.remote.post(&Route::to(&["targets", name, "look"]), &body).await?;
        match before {
            Some(before) => waiting.push((name, before)),
            None => {
                session.done(&answer, &format!("{}: will be looked at now", escape(name)))?;
            }
        }
    }
    wait(waiting, args.timeout, session).await
}

async fn detail(name: &str, session: &Session<'_, '_>) -> Result<TargetDetail, Error> {
    parse(&session.remote.get(&Route::to(&["targets", name])).await?)
}

async fn wait(mut waiting: Vec<(&String, TargetDetail)>, timeout: Span, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let deadline = Instant::now() + Duration::from_secs(u64::try_from(timeout.as_secs()).unwrap_or(0));
    let mut exit = Exit::Ok;
    while !waiting.is_empty() {
        if Instant::now() >= deadline {
            for (name, _) in &waiting {
                session.screen.say(&format!("{}: not seen anew within {timeout}; is the server running its loops?", escape(name)))?;
            }
            return Ok(Exit::Due);
        }
        sleep(ASK_EVERY).await;
        let mut still = Vec::new();
        for (name, before) in waiting {
            let answer = session.remote.get(&Route::to(&["targets", name])).await?;
            let now: TargetDetail = parse(&answer)?;
            if !is_newer(&before, &now) {
                still.push((name, before));
                continue;
            }
            exit = exit.max(Exit::due(!is_current(&now)));
            session.answer(&answer, |detail: &TargetDetail, screen| screen.data(&line(detail, screen.now)))?;
        }
        waiting = still;
    }
    Ok(exit)
}

/// Streaks count single looks, so even two within one second are told apart.
fn is_newer(before: &TargetDetail, after: &TargetDetail) -> bool {
    after.target.observed_at != before.target.observed_at || after.observations != before.observations
}

fn is_current(detail: &TargetDetail) -> bool {
    detail.target.required > 0 && detail.target.current == detail.target.required
}

/// "web-eu: 3 of 4 current, served until …; 192.0.2.7:443: connection refused"
fn line(detail: &TargetDetail, now: Time) -> String {
    let target = &detail.target;
    let mut line = format!(
        "{}: {} of {} current, served until {}",
        escape(&target.name),
        target.current,
        target.required,
        served(&target.served_until, now)
    );
    for seen in &detail.observations {
        if let Some(error) = &seen.error {
            line.push_str(&format!("; {} from {}: {}", escape(&seen.address), escape(&seen.vantage), escape(error)));
        }
    }
    line
}

async fn hand_in(args: &ReportArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let shown = escape(&args.chain.display().to_string());
    let bytes = file("--chain", &args.chain, MAX_CHAIN)?;
    let loaded = pki::load(&bytes, None, pki::Limits::default()).map_err(|error| Error::Usage(format!("--chain {shown}: {error}")))?;
    if loaded.certificates.is_empty() {
        return Err(Error::Usage(format!("--chain {shown}: there is no certificate in it")));
    }
    let address = match &args.address {
        Some(address) => address.clone(),
        None => std::path::absolute(&args.chain).unwrap_or_else(|_| args.chain.clone()).display().to_string(),
    };
    let report = Report {
        target: None,
        target_name: Some(args.target.clone()),
        method: args.method.as_str().to_owned(),
        at: args.at.unwrap_or(session.screen.now).to_string(),
        resolved: Vec::new(),
        unresolved: None,
        attempts: vec![Attempt {
            address,
            offer: "all".to_owned(),
            unnamed: false,
            chain: loaded.certificates.iter().map(|certificate| base64(certificate.der())).collect(),
            protocol: String::new(),
            cipher: String::new(),
            failure: None,
        }],
        expires_at: args.expires.map(|at| at.to_string()),
    };
    let words = format!("{}: {} evidence taken in", escape(&args.target), args.method.as_str());
    session.act(&Route::to(&["observations"]), &report, &words).await
}
