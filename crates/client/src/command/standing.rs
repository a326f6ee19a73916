//! How things stand: `status`, `runway`, `findings`, `expiring`.

use api::v1::{Ending, Finding, Status, WeekCount};
use pki::Span;

use super::span;
use crate::error::{Error, Exit};
use crate::route::Route;
use crate::session::{Common, Paging, Session};
use crate::show::{Cell, Fields, Found, Listed as _, Paint, Runway, Screen, Table, moment};

/// How the store stands
///
/// Exit status 1: an incident is open, the store has findings of its own, it is sealed, its clock is doubted, or messages are stuck.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub(super) common: Common,
}

/// What is left of each secret, the least margin first
///
/// The margin is what is left before the incident threshold. Exit status 1: something that is shown is below it, broken, or
/// unknown although it has targets.
#[derive(Debug, clap::Args)]
pub struct RunwayArgs {
    /// Only the secrets of this team
    #[arg(long, value_name = "TEAM")]
    team: Option<String>,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    pub(super) common: Common,
}

/// What the rules say now about secrets and targets, and first about what is planned
///
/// Exit status 1: something that is shown is a notice or an incident.
#[derive(Debug, clap::Args)]
pub struct FindingsArgs {
    /// Only of this secret and its targets
    #[arg(long, value_name = "NAME")]
    secret: Option<String>,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Stored certificates that end soon
///
/// What is stored, not what is served: for that, see `perennial runway`.
#[derive(Debug, clap::Args)]
pub struct ExpiringArgs {
    /// How soon, such as 180d or 36h
    #[arg(long, value_name = "SPAN", default_value = "180d", value_parser = span)]
    within: Span,
    /// Count by region and week instead
    #[arg(long)]
    weeks: bool,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) async fn status(session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let status = session.ask(&Route::to(&["status"]), show_status).await?;
    Ok(Exit::due(is_due(&status)))
}

fn is_due(status: &Status) -> bool {
    status.open_incidents > 0
        || status.findings.iter().any(Finding::is_due)
        || (status.initialised && status.sealed)
        || !status.clock_doubts.is_empty()
        || status.outbox_stuck > 0
}

pub(super) fn show_status(status: &Status, screen: &mut Screen<'_>) -> std::io::Result<()> {
    let count = |number: i64| Cell::painted(&number.to_string(), if number > 0 { Paint::Bad } else { Paint::Plain });
    let seal = match (status.initialised, status.sealed) {
        (false, _) => Cell::painted("has no key yet; make one with `perennial unseal --init`", Paint::Notice),
        (true, true) => Cell::painted("sealed; open it with `perennial unseal`", Paint::Bad),
        (true, false) => Cell::painted("open", Paint::Good),
    };
    let mut fields = Fields::default();
    fields
        .add("store", &format!("{}, epoch {}", status.store_id, status.epoch))
        .add("version", &status.version)
        .add("time there", &moment(&status.now, screen.now))
        .add_cell("vault", seal)
        .add("secrets", &status.secrets.to_string())
        .add("targets", &status.targets.to_string())
        .add_cell("open incidents", count(status.open_incidents))
        .add("messages waiting", &status.outbox_waiting.to_string())
        .add_cell("messages stuck", count(status.outbox_stuck))
        .add("last sweep", &status.last_sweep.as_deref().map_or("never".to_owned(), |at| moment(at, screen.now)));
    for doubt in &status.clock_doubts {
        fields.add_cell("clock doubted", Cell::painted(doubt, Paint::Bad));
    }
    screen.fields(&fields)?;
    let mut table = Table::new(Finding::COLUMNS);
    for finding in &status.findings {
        table.add(finding.row(screen.now));
    }
    screen.section("findings of the store", &table)
}

pub(super) async fn runway(args: RunwayArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let route = Route::to(&["secrets"]).ask_if("team", args.team.as_deref());
    session.list::<Runway>(&route, &args.paging, "there are no secrets", |_| true).await
}

pub(super) async fn findings(args: FindingsArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let route = Route::to(&["findings"]).ask_if("secret", args.secret.as_deref());
    // What is planned belongs to no secret alone.
    let plan = args.secret.is_none().then(|| Route::to(&["plan", "findings"]));
    session.two_lists::<Found>(plan.as_ref(), &route, &args.paging, "nothing is due").await
}

pub(super) async fn expiring(args: ExpiringArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let within = format!("{}s", args.within.as_secs());
    let nothing = format!("nothing that is stored ends within {}", args.within);
    if !args.weeks {
        let route = Route::to(&["expiring"]).ask("within", &within);
        return session.list::<Ending>(&route, &args.paging, &nothing, |_| true).await;
    }
    session.short_list::<WeekCount>(&Route::to(&["expiring", "weeks"]).ask("within", &within), &nothing).await
}
