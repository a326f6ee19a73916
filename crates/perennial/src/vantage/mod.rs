//! `perennial vantage`: looks at production from elsewhere.
//!
//! It asks the server what to look at, dials exactly as the server does, and reports what was presented. It judges nothing, stores
//! nothing, and its token opens nothing else. What it was handed and could not report is handed out again by the server.

mod look;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::v1::Look;
use client::{Connection, Error, Exit, Remote};
use pki::Fingerprint;
use probe::{Dialer, Settings, lanes, lanes::Lanes};
use tokio::sync::mpsc::{self, Sender};
use tokio::time::sleep;

use crate::cli::variable;
use crate::clock;

/// Targets that are asked for at once.
const ASK_FOR: usize = 64;
/// How wide the lanes are: a vantage is a small machine.
const LANES: Lanes = Lanes { quick: 32, patient: 256, patience: Duration::from_millis(500) };
/// Longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How often a report is sent before it is given up; the server then hands the target out again.
const REPORT_TRIES: u32 = 4;
/// The pauses that a server may ask for, in seconds.
const AGAIN_AFTER: std::ops::RangeInclusive<u64> = 1..=3600;

/// Look at targets from here, on behalf of a server
///
/// Runs until it is stopped. It needs a token of role vantage, and nothing else than that one server and the targets.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The vantage's name, as the fleet file declares it
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Ask once, report, and end
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Looks until it is stopped, or once.
pub(crate) fn run(args: Args) -> ExitCode {
    let outcome = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Output).and_then(|runtime| {
        let outcome = runtime.block_on(Box::pin(watch(&args, &variable)));
        // A look-up that hangs in the system's resolver cannot be cancelled, and nobody waits for it any more.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            say(&error.to_string());
            error.exit().into()
        }
    }
}

fn say(what: &str) {
    // Nothing can be done about a standard error that is gone.
    let _ = writeln!(io::stderr(), "perennial vantage: {what}");
}

/// What the looks came to.
#[derive(Default)]
struct Tally {
    looked: AtomicU64,
    unreported: AtomicU64,
    /// Why it makes no sense to go on.
    fatal: Mutex<Option<Error>>,
}

async fn watch(args: &Args, environment: client::Environment<'_>) -> Result<Exit, Error> {
    let (remote, remarks) = Remote::connect(&args.connection, environment)?;
    for remark in remarks {
        say(&remark);
    }
    let dialer = Dialer::new(Settings::default()).map_err(|failure| Error::Usage(failure.to_string()))?;
    let tally = Arc::new(Tally::default());
    let (sender, mut looks) = mpsc::channel(1);
    let job = {
        let (remote, dialer, tally, name) = (remote.clone(), dialer, Arc::clone(&tally), Arc::<str>::from(args.name.as_str()));
        move |item: Look| {
            let (remote, dialer, tally, name) = (remote.clone(), dialer.clone(), Arc::clone(&tally), Arc::clone(&name));
            async move {
                let seen = look::look(&dialer, &item, clock::now).await;
                tally.looked.fetch_add(1, Ordering::Relaxed);
                for report in look::reports(item.target, seen) {
                    if let Err(error) = hand_in(&remote, &name, &report).await {
                        say(&format!("target {}: {error}", item.target));
                        tally.unreported.fetch_add(1, Ordering::Relaxed);
                        // Refused for this target alone, perhaps; a token that is unknown is unknown for all.
                        if error.code() == Some("unauthenticated") {
                            *tally.fatal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        }
                        break;
                    }
                }
                Vec::new()
            }
        }
    };
    let dialling = lanes::run(LANES, async || looks.recv().await, job);
    let (asked, ()) = tokio::join!(ask(&remote, args, &tally, sender), dialling);
    asked?;
    if let Some(error) = tally.fatal.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error);
    }
    let (looked, unreported) = (tally.looked.load(Ordering::Relaxed), tally.unreported.load(Ordering::Relaxed));
    say(&format!("{looked} targets looked at from {}, {unreported} could not be reported", pki::text::escape(&args.name)));
    Ok(Exit::due(unreported > 0))
}

/// Asks for work again and again, and hands it on as fast as there is room.
async fn ask(remote: &Remote, args: &Args, tally: &Tally, sender: Sender<Look>) -> Result<(), Error> {
    let mut failures = 0;
    loop {
        let wait = match remote.work(ASK_FOR).await {
            Ok(work) => {
                failures = 0;
                let full = work.looks.len() >= ASK_FOR;
                for look in work.looks {
                    // Nobody takes any more: the other side has ended, and says why.
                    if sender.send(look).await.is_err() {
                        return Ok(());
                    }
                }
                // There is more where a full answer came from.
                if full { Duration::ZERO } else { spread(&args.name, work.again_after_seconds) }
            }
            Err(error) if args.once || is_final(&error) => return Err(error),
            Err(error) => {
                failures += 1;
                let pause = pause(&args.name, failures);
                say(&format!("{error}; trying again in {} s", pause.as_secs()));
                pause
            }
        };
        if args.once || tally.fatal.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        sleep(wait).await;
    }
}

async fn hand_in(remote: &Remote, name: &str, report: &api::v1::Report) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        match remote.report(report).await {
            Ok(()) => return Ok(()),
            Err(error) => {
                tries += 1;
                if tries >= REPORT_TRIES || !may_pass(&error) {
                    return Err(error);
                }
            }
        }
        sleep(pause(name, tries)).await;
    }
}

/// Whether the same request may succeed later.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Unreachable(_) => true,
        Error::Refused(problem) => problem.status == 429 || problem.status >= 500,
        _ => false,
    }
}

/// A token that is not accepted will not be accepted later.
fn is_final(error: &Error) -> bool {
    match error {
        Error::NoToken => true,
        Error::Refused(problem) => matches!(problem.status, 401 | 403),
        Error::Usage(_) => true,
        _ => false,
    }
}

/// The pause after so many failures in a row: doubled each time, and between half and all of that by the vantage's name, so that
/// many vantages do not come back at the same moment.
fn pause(name: &str, failures: u32) -> Duration {
    let whole = LONGEST_PAUSE.min(Duration::from_secs(1) * 2u32.saturating_pow(failures.min(16)));
    whole / 2 + whole.mul_f64(share(&format!("{name}/{failures}")) / 2.0)
}

/// The server's pause, and up to a fifth more by the vantage's name.
fn spread(name: &str, seconds: u64) -> Duration {
    let whole = Duration::from_secs(seconds.clamp(*AGAIN_AFTER.start(), *AGAIN_AFTER.end()));
    whole + whole.mul_f64(share(name) / 5.0)
}

/// A number in 0..1 that is a function of the identity, never drawn again.
fn share(identity: &str) -> f64 {
    let print = Fingerprint::of(identity.as_bytes());
    let [a, b, ..] = *print.as_bytes();
    f64::from(u16::from_be_bytes([a, b])) / 65_536.0
}

#[cfg(test)]
mod tests;
