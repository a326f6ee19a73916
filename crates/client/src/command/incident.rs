//! `perennial incident` and `perennial notice`.

use std::path::PathBuf;

use api::v1::{Action, Incident, IncidentDetail, Line, NewAction, Notice, Reason, Review};
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use pki::Time;
use pki::text::escape;

use super::file;
use crate::error::{Error, Exit};
use crate::route::Route;
use crate::session::{Common, Paging, Session};
use crate::show::Column::{Left, Right};
use crate::show::{Cell, Fields, Listed as _, Paint, Screen, Table, moment};

/// The fixed list of root causes.
pub const ROOT_CAUSES: [&str; 16] = [
    "release-delayed",
    "renewed-not-deployed",
    "renewed-not-reloaded",
    "renewal-failed",
    "not-renewed",
    "never-tracked",
    "alert-misrouted",
    "chain-expiry",
    "baked-in",
    "date-arithmetic",
    "revocation",
    "wrong-content",
    "relying-party",
    "validator-change",
    "clock",
    "other",
];
/// Longest text of a review, in bytes.
const MAX_REVIEW: usize = 64 * 1024;

/// Incidents
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List open incidents, the newest first; exit status 1 if there is one
    List {
        /// Also those that are over
        #[arg(long = "closed")]
        closed: bool,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show an incident with its lines and corrective actions
    Show {
        /// Its number
        id: u64,
    },
    /// Say that you are at it; quiet for a while, never beyond the runway
    Ack(#[command(flatten)] Step),
    /// Say that the harm is averted; only an observation closes it
    Mitigate(#[command(flatten)] Step),
    Review(ReviewArgs),
    /// Say that a corrective action was done
    Done {
        /// The action's number
        #[arg(value_name = "ACTION")]
        id: u64,
        /// What was done
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
}

#[derive(Debug, clap::Args)]
struct Step {
    /// Its number
    id: u64,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

/// Write down why it happened, and what will be done
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("story").required(true).args(["text", "text_file"]))]
struct ReviewArgs {
    /// Its number
    id: u64,
    /// The root cause
    #[arg(long, value_name = "CAUSE", value_parser = PossibleValuesParser::new(ROOT_CAUSES))]
    cause: String,
    /// Own words for the cause; needed for "other"
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, required_if_eq("cause", "other"))]
    own_cause: String,
    /// What happened
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// What happened, from a file
    #[arg(long, value_name = "F")]
    text_file: Option<PathBuf>,
    /// What will be done, by which team, until when: "what;team;2027-03-01"
    #[arg(long = "action", value_name = "WHAT;OWNER;DUE", value_parser = action)]
    actions: Vec<NewAction>,
}

/// Notices that went to owners
#[derive(Debug, clap::Args)]
pub struct NoticeArgs {
    #[command(subcommand)]
    command: NoticeCommand,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Subcommand)]
enum NoticeCommand {
    /// List notices
    List {
        #[command(flatten)]
        paging: Paging,
    },
}

/// Reads `--action`. The team and the date are the last two parts, so that the text may hold semicolons.
fn action(text: &str) -> Result<NewAction, String> {
    let mut parts = text.rsplitn(3, ';').map(str::trim);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(due), Some(owner), Some(what)) if !owner.is_empty() && !what.is_empty() => {
            let due = Time::parse(due).map_err(|error| error.to_string())?;
            Ok(NewAction { what: what.to_owned(), owner: owner.to_owned(), due_at: due.to_string() })
        }
        _ => Err("write \"what;team;2027-03-01\"".to_owned()),
    }
}

pub(super) async fn run(args: Args, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    match args.command {
        Command::List { closed, paging } => {
            let route = Route::to(&["incidents"]).ask_if("all", closed.then_some("true"));
            session.list::<Incident>(&route, &paging, "no open incidents", |_| true).await
        }
        Command::Show { id } => {
            session.ask(&Route::to(&["incidents", &id.to_string()]), show).await?;
            Ok(Exit::Ok)
        }
        Command::Ack(step) => change(step, "acknowledge", session).await,
        Command::Mitigate(step) => change(step, "mitigate", session).await,
        Command::Review(args) => review(args, session).await,
        Command::Done { id, reason } => {
            session.act(&Route::to(&["actions", &id.to_string(), "done"]), &Reason { reason }, &format!("action {id}: done")).await
        }
    }
}

async fn change(step: Step, verb: &str, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let route = Route::to(&["incidents", &step.id.to_string(), verb]);
    let show = |incident: &Incident, screen: &mut Screen<'_>| {
        let quiet = incident.quiet_until.as_deref().map(|at| format!("; quiet until {}", moment(at, screen.now))).unwrap_or_default();
        screen.say(&format!("incident {}: {}{quiet}; it closes when production is seen to be right", incident.id, escape(&incident.state)))
    };
    session.change(&route, &Reason { reason: step.reason }, show).await?;
    Ok(Exit::Ok)
}

async fn review(args: ReviewArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let text = match (args.text, &args.text_file) {
        (Some(text), _) => text,
        (None, Some(path)) => String::from_utf8(file("--text-file", path, MAX_REVIEW)?.to_vec())
            .map_err(|_| Error::usage("--text-file: this is not text in UTF-8"))?,
        (None, None) => return Err(Error::usage("say what happened: --text or --text-file")),
    };
    let body = Review { cause: args.cause, own_cause: args.own_cause, text, actions: args.actions };
    let show = |incident: &Incident, screen: &mut Screen<'_>| {
        screen.say(&format!("incident {}: reviewed", incident.id))?;
        match incident.repeats {
            Some(earlier) => {
                screen.say(&format!("THIS REPEATS INCIDENT {earlier}: the same root cause within a year; were its actions done?"))
            }
            None => Ok(()),
        }
    };
    session.change(&Route::to(&["incidents", &args.id.to_string(), "review"]), &body, show).await?;
    Ok(Exit::Ok)
}

pub(super) async fn notices(args: NoticeArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let NoticeCommand::List { paging } = args.command;
    session.list::<Notice>(&Route::to(&["notices"]), &paging, "there were none", |_| true).await
}

pub(crate) fn show(detail: &IncidentDetail, screen: &mut Screen<'_>) -> std::io::Result<()> {
    let (incident, now) = (&detail.incident, screen.now);
    let when = |at: &Option<String>| at.as_deref().map(|at| moment(at, now));
    let mut fields = Fields::default();
    fields
        .add("incident", &incident.id.to_string())
        .add("title", &incident.title)
        .add_cell("state", Cell::painted(&incident.state, if incident.is_due() { Paint::Bad } else { Paint::Good }))
        .add_if("urgent", incident.page.then_some("yes: somebody is woken"))
        .add_cell(
            "repeats",
            incident.repeats.map_or(Cell::new("nothing"), |earlier| Cell::painted(&format!("INCIDENT {earlier}"), Paint::Bad)),
        )
        .add("subject", &incident.subject)
        .add("teams", &incident.teams.join(" "))
        .add_if("services", Some(&incident.services.join(" ")))
        .add("opened", &moment(&incident.opened_at, now))
        .add_if("outage at", when(&incident.until).as_deref())
        .add_if("acknowledged by", incident.acknowledged_by.as_deref())
        .add_if("quiet until", when(&incident.quiet_until).as_deref())
        .add_if("ended", when(&incident.ended_at).as_deref())
        .add("lines", &format!("{} open, {} proven, {} retired", incident.open_lines, incident.proven_lines, incident.retired_lines))
        .add_if("root cause", incident.root_cause.as_deref());
    screen.fields(&fields)?;

    let mut lines = Table::new(&[Right("LINE"), Left("STATE"), Left("SECRET"), Left("TARGET"), Left("CODE"), Left("DETAIL")]);
    for Line { id, secret, target, code, detail, closed_at, how, evidence, .. } in &detail.lines {
        let state = match (closed_at, how) {
            (None, _) => Cell::painted("open", Paint::Bad),
            (Some(_), how) => {
                let proof = evidence.as_deref().filter(|e| !e.is_empty()).map(|e| format!(" ({e})")).unwrap_or_default();
                Cell::painted(&format!("{}{proof}", how.as_deref().unwrap_or("closed")), Paint::Good)
            }
        };
        lines.add(vec![Cell::number(*id), state, Cell::new(secret), Cell::maybe(target.as_deref()), Cell::new(code), Cell::new(detail)]);
    }
    screen.section("lines", &lines)?;
    let mut actions = Table::new(&[Right("ACTION"), Left("OWNER"), Left("DUE"), Left("DONE"), Left("WHAT")]);
    for Action { id, what, owner, due_at, done_at } in &detail.actions {
        let done = match done_at {
            Some(at) => Cell::painted(&moment(at, now), Paint::Good),
            None => Cell::painted("not yet", Paint::Notice),
        };
        actions.add(vec![Cell::number(*id), Cell::new(owner), Cell::new(&moment(due_at, now)), done, Cell::new(what)]);
    }
    screen.section("corrective actions", &actions)?;
    if !detail.review.is_empty() {
        screen.data("\nreview")?;
        for line in detail.review.lines() {
            screen.data(&format!("  {}", escape(line)))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn actions() {
        let good = action("watch it; and test ; storage ; 2027-03-01").unwrap();
        assert_eq!((&*good.what, &*good.owner, &*good.due_at), ("watch it; and test", "storage", "2027-03-01T00:00:00Z"));
        for text in ["", "a", "a;b", ";b;2027-03-01", "a;;2027-03-01", "a;b;soon", "a;b;2027-02-29"] {
            assert!(action(text).is_err(), "{text}");
        }
    }
}
