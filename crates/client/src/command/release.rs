//! `perennial release`: builds with dates. What a build carries is found by `release scan`, which is not here: it needs no server.

use api::v1::{
    Carried, CarriedVersion, DelayRelease, NewRelease, PlanFinding, PlanRelease, PlannedStage, Release, ReleaseDetail, ReleaseIs,
    StageRelease, When,
};
use clap::{Subcommand, ValueEnum};
use pki::{Span, Time};

use super::{span, time};
use crate::error::{Error, Exit};
use crate::route::Route;
use crate::session::{Common, Paging, Session};
use crate::show::Column::Left;
use crate::show::{Cell, Fields, Listed as _, Paint, Queued, Screen, Table, moment, slack};

/// What can be asked about releases.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help texts of the variants' arguments are the documentation")]
pub enum ReleaseCommand {
    Create(CreateArgs),
    List(ListArgs),
    Queue(QueueArgs),
    Show(ShowArgs),
    Plan(PlanArgs),
    Delay(DelayArgs),
    Stage(StageArgs),
    /// Say that it is built
    Built(StepArgs),
    /// Say that it is on its way to production
    Deploying(StepArgs),
    /// Say that it is in production, which is then looked at; only that ends it
    Deployed(StepArgs),
    /// Say that it will not happen
    Cancel(StepArgs),
}

/// When it is to be built
#[derive(Debug, Clone, Default, clap::Args)]
pub struct WhenArgs {
    /// On this date, and with no train: RFC 3339, or a day
    #[arg(long, value_name = "DATE", value_parser = time)]
    pub planned: Option<Time>,
    /// With the next departure of this train that has room; the service's own where neither is said
    #[arg(long, value_name = "TRAIN", conflicts_with = "planned")]
    pub train: Option<String>,
    /// Not before then: earlier departures leave without it
    #[arg(long, value_name = "DATE", value_parser = time, conflicts_with = "planned")]
    pub not_before: Option<Time>,
}

impl WhenArgs {
    /// As it travels.
    pub fn to_api(&self) -> When {
        let text = |at: &Option<Time>| at.map(|at| at.to_string());
        When { planned_at: text(&self.planned), train: self.train.clone(), before: None, not_before: text(&self.not_before) }
    }
}

/// Create a release; the same again is the one that exists
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// The service that it belongs to
    service: String,
    /// What its builders call it
    build: String,
    #[command(flatten)]
    when: WhenArgs,
    /// A secret whose newest version it carries, where no scan says so; may be repeated
    #[arg(long = "carries", value_name = "SECRET")]
    carries: Vec<String>,
    /// A region, and when it is planned there: REGION or REGION=DATE; may be repeated
    #[arg(long = "stage", value_name = "REGION=DATE", value_parser = planned_stage)]
    stages: Vec<PlannedStage>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    common: Common,
}

/// List releases, the newest first
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only those of this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    common: Common,
}

/// Releases that are not over, in the order in which they should ship
///
/// By when each must be built follows from what production was observed to serve. Exit status 1: one that is shown is late, or nobody can
/// say by when it must be built.
#[derive(Debug, clap::Args)]
pub struct QueueArgs {
    /// Only those that ride this train
    #[arg(long, value_name = "TRAIN")]
    train: Option<String>,
    /// Only those of this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    common: Common,
}

/// Show a release with what it carries, and what the rules say of it
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// Its number
    id: u64,
    /// List everything that was found in its build instead
    #[arg(long)]
    items: bool,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    common: Common,
}

/// Give it another date, or another place in a train
#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// Its number
    id: u64,
    #[command(flatten)]
    when: WhenArgs,
    /// Before this release, which waits for the same train
    #[arg(long, value_name = "RELEASE", conflicts_with = "planned")]
    before: Option<i64>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    common: Common,
}

/// Delay it
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("how").required(true).args(["by", "to"]))]
pub struct DelayArgs {
    /// Its number
    id: u64,
    /// By so much, such as 14d
    #[arg(long, value_name = "SPAN", value_parser = span)]
    by: Option<Span>,
    /// To this date
    #[arg(long, value_name = "DATE", value_parser = time)]
    to: Option<Time>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    common: Common,
}

/// Say what becomes of it in one region: a date, a status, or both
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["planned", "status"]))]
pub struct StageArgs {
    /// Its number
    id: u64,
    /// The region
    region: String,
    /// When it is planned there
    #[arg(long, value_name = "DATE", value_parser = time)]
    planned: Option<Time>,
    /// What is said of it there
    #[arg(long)]
    status: Option<Status>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    common: Common,
}

/// One step of a release
#[derive(Debug, clap::Args)]
pub struct StepArgs {
    /// Its number
    id: u64,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Status {
    Planned,
    Built,
    Deploying,
    Deployed,
    Delayed,
    Cancelled,
}

fn planned_stage(text: &str) -> Result<PlannedStage, String> {
    let (region, at) = text.split_once('=').map_or((text, None), |(region, at)| (region, Some(at)));
    let planned_at = at.map(|at| time(at).map(|at| at.to_string())).transpose()?;
    Ok(PlannedStage { region: region.to_owned(), planned_at })
}

impl ReleaseCommand {
    pub(super) fn common(&self) -> &Common {
        match self {
            Self::Create(args) => &args.common,
            Self::List(args) => &args.common,
            Self::Queue(args) => &args.common,
            Self::Show(args) => &args.common,
            Self::Plan(args) => &args.common,
            Self::Delay(args) => &args.common,
            Self::Stage(args) => &args.common,
            Self::Built(args) | Self::Deploying(args) | Self::Deployed(args) | Self::Cancel(args) => &args.common,
        }
    }
}

pub(super) async fn run(command: ReleaseCommand, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let of = |id: u64, what: &str| Route::to(&["releases", &id.to_string(), what]);
    match command {
        ReleaseCommand::Create(args) => {
            let when = args.when.to_api();
            let CreateArgs { service, build, carries, stages, reason, .. } = args;
            let body = NewRelease { service, build, when, carries, stages, reason };
            session.change(&Route::to(&["releases"]), &body, show).await?;
        }
        ReleaseCommand::List(args) => {
            let route = Route::to(&["releases"]).ask_if("service", args.service.as_deref());
            session.list::<Release>(&route, &args.paging, "there are none", |_| true).await?;
        }
        ReleaseCommand::Queue(args) => {
            let route = Route::to(&["releases", "queue"]).ask_if("train", args.train.as_deref()).ask_if("service", args.service.as_deref());
            return session.list::<Queued>(&route, &args.paging, "nothing waits to be shipped", |_| true).await;
        }
        ReleaseCommand::Show(args) if args.items => {
            session.list::<api::v1::ReleaseItem>(&of(args.id, "items"), &args.paging, "nothing was found in its build", |_| true).await?;
        }
        ReleaseCommand::Show(args) => {
            session.ask(&Route::to(&["releases", &args.id.to_string()]), show).await?;
        }
        ReleaseCommand::Plan(args) => {
            let when = When { before: args.before, ..args.when.to_api() };
            session.change(&of(args.id, "plan"), &PlanRelease { when, reason: args.reason }, show).await?;
        }
        ReleaseCommand::Delay(args) => {
            let body = DelayRelease { to: args.to.map(|at| at.to_string()), by_seconds: args.by.map(Span::as_secs), reason: args.reason };
            session.change(&of(args.id, "delay"), &body, show).await?;
        }
        ReleaseCommand::Stage(args) => {
            let status = args.status.and_then(|status| status.to_possible_value()).map(|value| value.get_name().to_owned());
            let planned_at = args.planned.map(|at| at.to_string());
            let body = StageRelease { region: args.region, planned_at, status, reason: args.reason };
            session.change(&of(args.id, "stage"), &body, show).await?;
        }
        ReleaseCommand::Built(args) => step(args, "built", session).await?,
        ReleaseCommand::Deploying(args) => step(args, "deploying", session).await?,
        ReleaseCommand::Deployed(args) => step(args, "deployed", session).await?,
        ReleaseCommand::Cancel(args) => step(args, "cancelled", session).await?,
    }
    Ok(Exit::Ok)
}

async fn step(args: StepArgs, status: &str, session: &mut Session<'_, '_>) -> Result<(), Error> {
    let body = ReleaseIs { status: status.to_owned(), reason: args.reason };
    session.change(&Route::to(&["releases", &args.id.to_string(), "status"]), &body, show).await.map(drop)
}

/// Shows what the store made of a build.
///
/// # Errors
/// Whatever the screen says.
pub fn show_carried(carried: &Carried, screen: &mut Screen<'_>) -> std::io::Result<()> {
    let counted = |count: i64, one: &str, many: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        n => Some(format!("{n} {many}")),
    };
    let parts: Vec<String> = [
        counted(carried.versions, "newest version", "newest versions"),
        counted(carried.older, "older version", "older versions"),
        counted(carried.unknown, "certificate that the store does not know", "certificates that the store does not know"),
        counted(carried.keys, "private key in the clear", "private keys in the clear"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let verb = if carried.created { "created" } else { "there already" };
    let what = if parts.is_empty() { "it carries nothing".to_owned() } else { format!("it carries {}", parts.join(", ")) };
    screen.say(&format!("release {} is {verb}; {what}", carried.detail.release.id))?;
    show(&carried.detail, screen)
}

/// Shows a release with what it carries.
pub(crate) fn show(detail: &ReleaseDetail, screen: &mut Screen<'_>) -> std::io::Result<()> {
    let (release, now) = (&detail.release, screen.now);
    let moment = |at: &Option<String>| at.as_deref().map(|at| moment(at, now)).unwrap_or_default();
    let planned = match &release.planned_at {
        None => "its train has no departure left".to_owned(),
        at if *at == release.first_planned_at => moment(at),
        at => format!("{}; first {}", moment(at), release.first_planned_at.as_deref().unwrap_or("with no departure")),
    };
    let mut fields = Fields::default();
    fields
        .add("release", &release.id.to_string())
        .add("service", &release.service)
        .add("build", &release.build)
        .add("owner", if release.team.is_empty() { "nobody" } else { &release.team })
        .add("status", &release.status)
        .add_if("train", release.train.as_deref())
        .add("planned", &planned)
        .add_if("built", Some(&moment(&release.built_at)))
        .add_if("deployed", Some(&moment(&release.deployed_at)))
        .add_if("observed", Some(&moment(&release.observed_at)))
        .add_if("over", Some(&moment(&release.ended_at)))
        .add_if("ship by", Some(&moment(&release.ship_by)))
        .add_cell("slack", slack(release))
        .add("because", &release.reason);
    screen.fields(&fields)?;
    let mut carries = Table::new(&[Left("SECRET"), Left("VERSION"), Left("STORED"), Left("IN PRODUCTION")]);
    for CarriedVersion { secret, version, newest_version, observed_at } in &detail.carries {
        let old = if version < newest_version { Paint::Notice } else { Paint::Plain };
        carries.add(vec![
            Cell::new(secret),
            Cell::painted(&version.to_string(), old),
            Cell::number(*newest_version),
            Cell::new(&observed_at.as_ref().map_or("not observed".to_owned(), |at| crate::show::moment(at, now))),
        ]);
    }
    screen.section("carries", &carries)?;
    let mut stages = Table::new(&[Left("REGION"), Left("STATUS"), Left("PLANNED"), Left("SINCE")]);
    for stage in &release.stages {
        stages.add(vec![
            Cell::new(&stage.region),
            Cell::new(&stage.status),
            Cell::new(&moment(&stage.planned_at)),
            Cell::new(&crate::show::moment(&stage.changed_at, now)),
        ]);
    }
    screen.section("stages", &stages)?;
    let mut findings = Table::new(PlanFinding::COLUMNS);
    for finding in &detail.findings {
        findings.add(finding.row(now));
    }
    screen.section("findings", &findings)
}
