//! Keeping the store itself: `sweep`, `audit`, `clock`, `backup`.

use std::time::Duration;

use api::v1::{AuditEntry, AuditReport, Reason, Status, Sweep};
use clap::Subcommand;
use pki::Span;
use pki::text::escape;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{span, standing::show_status};
use crate::error::{Error, Exit};
use crate::remote::{LONG, parse};
use crate::route::Route;
use crate::session::{Common, Paging, Session};
use crate::show::{Fields, Listed as _, Screen, Table};

/// How often a running sweep is asked about.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Look at everything stored, trusting no index and no schedule
///
/// Exit status 1: it found something that the schedule had missed.
#[derive(Debug, clap::Args)]
pub struct SweepArgs {
    /// Do not sweep; list earlier ones
    #[arg(long)]
    list: bool,
    /// How long to wait for its end
    #[arg(long, value_name = "SPAN", default_value = "10m", value_parser = span)]
    timeout: Span,
    #[command(flatten)]
    pub(super) common: Common,
}

/// The journal
#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Check that no entry was changed, removed or reordered; exit status 1 if one was
    Verify {
        /// The head that an earlier check named: it must still be part of the journal
        #[arg(long, value_name = "HEAD")]
        head: Option<String>,
    },
    /// List entries
    List {
        #[command(flatten)]
        paging: Paging,
    },
}

/// The server's clock
#[derive(Debug, clap::Args)]
pub struct ClockArgs {
    #[command(subcommand)]
    command: ClockCommand,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Subcommand)]
enum ClockCommand {
    /// Say that the server's clock is right, although it stands behind what it was before
    Confirm {
        /// How you know
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// Copy the whole store, while it runs, into a file beside it
///
/// The copy is made on the server. `perennial restore` brings it back.
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// The file's name inside the server's data directory
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) async fn sweep(args: SweepArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let list = Route::to(&["sweeps"]);
    if args.list {
        return session.short_list::<Sweep>(&list, "there was none yet").await;
    }
    let deadline = Instant::now() + Duration::from_secs(u64::try_from(args.timeout.as_secs()).unwrap_or(0));
    let mut answer = session.remote.post_within(&Route::to(&["sweep"]), &Reason::default(), LONG).await?;
    let begun: Sweep = parse(&answer)?;
    while parse::<Sweep>(&answer)?.finished_at.is_none() {
        if Instant::now() >= deadline {
            session.screen.say(&format!("sweep {} still runs after {}; `perennial sweep --list` shows its end", begun.id, args.timeout))?;
            return Ok(Exit::Due);
        }
        sleep(ASK_EVERY).await;
        let all: Vec<Value> = parse(&session.remote.get(&list).await?)?;
        if let Some(now) = all.into_iter().find(|item| item.get("id").and_then(Value::as_i64) == Some(begun.id)) {
            answer = now;
        }
    }
    let sweep = session.answer(&answer, show_sweep)?;
    Ok(Exit::due(sweep.missed > 0))
}

fn show_sweep(sweep: &Sweep, screen: &mut Screen<'_>) -> std::io::Result<()> {
    let mut table = Table::new(Sweep::COLUMNS);
    table.add(sweep.row(screen.now));
    screen.table(&table)?;
    for line in &sweep.report {
        screen.data(&format!("  missed: {}", escape(line)))?;
    }
    Ok(())
}

pub(super) async fn audit(args: AuditArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    match args.command {
        AuditCommand::List { paging } => {
            session.list::<AuditEntry>(&Route::to(&["audit"]), &paging, "the journal is empty", |_| true).await
        }
        AuditCommand::Verify { head } => {
            let route = Route::to(&["audit", "verify"]).ask_if("head", head.as_deref());
            let report = session.ask(&route, show_report).await?;
            Ok(Exit::due(!report.intact))
        }
    }
}

pub(crate) fn show_report(report: &AuditReport, screen: &mut Screen<'_>) -> std::io::Result<()> {
    let mut fields = Fields::default();
    fields
        .add("journal", if report.intact { "intact" } else { "NOT INTACT" })
        .add("entries", &report.entries.to_string())
        .add("epochs", &report.epochs.to_string())
        .add("head", &report.head);
    screen.fields(&fields)?;
    for fault in &report.faults {
        screen.data(&format!("  fault: {}", escape(fault)))?;
    }
    screen.say("write the head down elsewhere and give it to --head next time: a journal whose end was cut off looks intact without it")
}

pub(super) async fn clock(args: ClockArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let ClockCommand::Confirm { reason } = args.command;
    session.change(&Route::to(&["clock", "confirm"]), &Reason { reason }, |status: &Status, screen| show_status(status, screen)).await?;
    Ok(Exit::Ok)
}

/// `POST /v1/backup`.
#[derive(Serialize)]
struct Backup {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

/// What it answers.
#[derive(Deserialize)]
struct Copied {
    file: String,
}

pub(super) async fn backup(args: BackupArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let answer = session.remote.post_within(&Route::to(&["backup"]), &Backup { path: args.path }, LONG).await?;
    session.answer(&answer, |copied: &Copied, screen| screen.data(&escape(&copied.file)))?;
    if !session.json {
        session.screen.say("on the server; its keys are still sealed in it, and without the passphrase it opens nowhere")?;
    }
    Ok(Exit::Ok)
}
