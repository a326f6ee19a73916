//! `perennial drill`: rehearsals of the emergency, and what they took.

use api::v1::{Drill, DrillRun, DrillRunDetail, Reason, RunDrill};
use clap::{Subcommand, ValueEnum};
use pki::{Span, Time};

use super::span;
use crate::error::{Error, Exit};
use crate::route::Route;
use crate::session::{Common, Paging, Session};
use crate::show::Column::{self, Left, Right};
use crate::show::{Cell, Fields, Listed, Paint, Screen, Table, moment};

/// Rehearse the emergency, and see what it takes
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: DrillCommand,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Subcommand)]
enum DrillCommand {
    List(ListArgs),
    /// Say when each drill passed, starts next by itself, and is overdue
    Schedule(ListArgs),
    Show(ShowArgs),
    Run(RunArgs),
    History(HistoryArgs),
    Abort(AbortArgs),
}

/// List the drills of the inventory with how they stand
///
/// Exit status 1: one that is shown failed or is overdue.
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    paging: Paging,
}

/// Show a rehearsal with what each step took
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Its number
    id: u64,
}

/// Run a drill of the inventory, or one with any secret
///
/// A new version is issued and goes out by the critical rollout policy, under the same gates as in an emergency.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["name", "secret"]))]
struct RunArgs {
    /// The drill of the inventory
    name: Option<String>,
    /// This secret instead, whether a drill names it or not
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
    /// What is rehearsed with it
    #[arg(long, conflicts_with = "name")]
    kind: Option<Kind>,
    /// The node that fails; for node-down and stale-reload
    #[arg(long, value_name = "NODE", conflicts_with = "name")]
    node: Option<String>,
    /// The region that is cut off; for region-cut
    #[arg(long, value_name = "REGION", conflicts_with = "name")]
    region: Option<String>,
    /// Within which time it has to be over, such as 45m; 60m if nothing is said
    #[arg(long, value_name = "SPAN", value_parser = span, conflicts_with = "name")]
    within: Option<Span>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Show what rehearsals took over time, the newest first: those of one drill with a plot, or all
#[derive(Debug, clap::Args)]
struct HistoryArgs {
    /// The drill; `secret/NAME` for those with a secret that nobody declared; all if absent
    name: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

/// End a rehearsal; what it made go wrong is lifted at once
///
/// A rollout that is on its way stays one: it brings a good certificate.
#[derive(Debug, clap::Args)]
struct AbortArgs {
    /// Its number
    id: u64,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Rotation,
    Alert,
    NodeDown,
    StaleReload,
    RegionCut,
}

pub(super) async fn run(args: Args, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let of = |id: u64| ["drills".to_owned(), "runs".to_owned(), id.to_string()];
    match args.command {
        DrillCommand::List(list) => {
            return session.list::<Drill>(&Route::to(&["drills"]), &list.paging, "the inventory declares no drill", |_| true).await;
        }
        DrillCommand::Schedule(list) => {
            return session.list::<Scheduled>(&Route::to(&["drills"]), &list.paging, "the inventory declares no drill", |_| true).await;
        }
        DrillCommand::Show(show_args) => {
            let id = of(show_args.id);
            let detail = session.ask(&Route::to(&id.each_ref().map(String::as_str)), show).await?;
            return Ok(Exit::due(is_bad(&detail.run)));
        }
        DrillCommand::Run(run) => {
            let kind = run.kind.and_then(|kind| kind.to_possible_value()).map(|value| value.get_name().to_owned());
            let RunArgs { name, secret, node, region, within, reason, .. } = run;
            let body = RunDrill { name, secret, kind, node, region, within_seconds: within.map(Span::as_secs), reason };
            session.change(&Route::to(&["drills", "run"]), &body, show).await?;
        }
        DrillCommand::History(history) => {
            let route = Route::to(&["drills", "runs"]).ask_if("name", history.name.as_deref());
            let (items, next) = session.collect(&route, &history.paging, |_| true).await?;
            session.show_items::<DrillRun>(&items, if next.is_some() { "none of these" } else { "it was never run" })?;
            // Bars of different drills do not belong beside each other.
            if !session.json && history.name.is_some() {
                let runs = items.iter().map(crate::remote::parse).collect::<Result<Vec<DrillRun>, Error>>()?;
                plot(&runs, session.screen)?;
            }
            session.tell_next(next.as_deref())?;
        }
        DrillCommand::Abort(abort) => {
            let id = of(abort.id);
            let [a, b, c] = id.each_ref().map(String::as_str);
            session.change(&Route::to(&[a, b, c, "abort"]), &Reason { reason: abort.reason }, show).await?;
        }
    }
    Ok(Exit::Ok)
}

fn is_bad(run: &DrillRun) -> bool {
    run.phase == "failed"
}

fn paint(standing: &str) -> Paint {
    match standing {
        "passed" => Paint::Good,
        "failed" | "overdue" => Paint::Bad,
        "never-passed" => Paint::Notice,
        "aborted" => Paint::Faint,
        _ => Paint::Plain,
    }
}

fn took(seconds: Option<i64>) -> String {
    seconds.map(|s| Span::seconds(s).to_string()).unwrap_or_default()
}

impl Listed for Drill {
    const COLUMNS: &'static [Column] =
        &[Left("DRILL"), Left("KIND"), Left("SECRET"), Left("STANDING"), Right("P95"), Right("WITHIN"), Left("LAST PASSED"), Left("OWNER")];

    fn row(&self, now: Time) -> Vec<Cell> {
        let passed = self.passed_at.as_deref().map(|at| moment(at, now)).unwrap_or_default();
        vec![
            Cell::new(&self.name),
            Cell::new(&self.kind),
            Cell::new(&self.secret),
            Cell::painted(&self.standing, paint(&self.standing)),
            Cell::new(&took(self.latest.as_ref().and_then(|r| r.p95_seconds))),
            Cell::new(&took(Some(self.within_seconds))),
            Cell::new(&passed),
            Cell::new(&self.team),
        ]
    }

    fn is_due(&self) -> bool {
        matches!(self.standing.as_str(), "failed" | "overdue")
    }
}

/// A drill by when it is due.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Scheduled(Drill);

impl Listed for Scheduled {
    const COLUMNS: &'static [Column] =
        &[Left("DRILL"), Left("EVERY"), Left("LAST PASSED"), Left("STARTS"), Left("OVERDUE"), Left("STANDING")];

    fn row(&self, now: Time) -> Vec<Cell> {
        let d = &self.0;
        let at = |at: &Option<String>| at.as_deref().map(|at| moment(at, now)).unwrap_or_default();
        vec![
            Cell::new(&d.name),
            Cell::new(&took(Some(d.every_seconds))),
            Cell::new(&at(&d.passed_at)),
            Cell::new(&at(&d.due_at)),
            Cell::new(&moment(&d.overdue_at, now)),
            Cell::painted(&d.standing, paint(&d.standing)),
        ]
    }

    fn is_due(&self) -> bool {
        self.0.is_due()
    }
}

impl Listed for DrillRun {
    const COLUMNS: &'static [Column] =
        &[Left("RUN"), Left("DRILL"), Left("STARTED"), Left("KIND"), Left("RESULT"), Right("P50"), Right("P95"), Right("MAX"), Left("WHY")];

    fn row(&self, now: Time) -> Vec<Cell> {
        let why = self.reasons.iter().map(|r| r.why.as_str()).collect::<Vec<_>>().join(", ");
        vec![
            Cell::number(self.id),
            Cell::new(&self.name),
            Cell::new(&moment(&self.started_at, now)),
            Cell::new(&self.kind),
            Cell::painted(&self.phase, paint(&self.phase)),
            Cell::new(&took(self.p50_seconds)),
            Cell::new(&took(self.p95_seconds)),
            Cell::new(&took(self.max_seconds)),
            Cell::new(&why),
        ]
    }
}

/// How many characters the longest bar has.
const WIDTH: i64 = 40;

/// The p95 of each rehearsal over time, the oldest first, each bar with its verdict; the mark is the time that it has.
pub(crate) fn plot(runs: &[DrillRun], screen: &mut Screen<'_>) -> std::io::Result<()> {
    let measured = || runs.iter().filter(|r| r.p95_seconds.is_some());
    let Some(longest) = measured().flat_map(|r| [r.p95_seconds.unwrap_or(0), r.within_seconds]).max().filter(|l| *l > 0) else {
        return Ok(());
    };
    // Rounded up, so that what took some time is seen.
    let cells = |seconds: i64| (seconds.saturating_mul(WIDTH) + longest - 1) / longest;
    screen.data("")?;
    screen.data("p95 over time; | is the time that it has")?;
    for run in runs.iter().rev() {
        let day = run.started_at.get(..10).unwrap_or_default();
        let mark = cells(run.within_seconds).max(1) as usize;
        let bar = cells(run.p95_seconds.unwrap_or(0)) as usize;
        let line: String = (1..=WIDTH as usize)
            .map(|n| match n {
                n if n == mark => '|',
                n if n <= bar => '#',
                _ => ' ',
            })
            .collect();
        let verdict = if run.p95_seconds.is_some() { format!("{}, {}", took(run.p95_seconds), run.phase) } else { run.phase.clone() };
        screen.data(format!("{} {line} {}", pki::text::escape(day), pki::text::escape(&verdict)).trim_end())?;
    }
    Ok(())
}

fn show(detail: &DrillRunDetail, screen: &mut Screen<'_>) -> std::io::Result<()> {
    let (run, now) = (&detail.run, screen.now);
    let at = |at: &Option<String>| at.as_deref().map(|at| moment(at, now)).unwrap_or_default();
    let number = |n: Option<i64>| n.map(|n| n.to_string()).unwrap_or_default();
    let targets = format!("{} observed, {} left behind, {} left", run.observed, run.left_behind, run.left);
    let whole =
        run.p95_seconds.map(|_| format!("p50 {}, p95 {}, max {}", took(run.p50_seconds), took(run.p95_seconds), took(run.max_seconds)));
    let mut fields = Fields::default();
    fields
        .add("drill", &run.id.to_string())
        .add("of", &run.name)
        .add("kind", &run.kind)
        .add("secret", &run.secret)
        .add_if("node", run.node.as_deref())
        .add_if("region", run.region.as_deref())
        .add_cell("result", Cell::painted(&run.phase, paint(&run.phase)))
        .add_if("waits for", run.detail.as_deref())
        .add("within", &took(Some(run.within_seconds)))
        .add_if("took", whole.as_deref())
        .add_if("targets", run.ended_at.as_ref().map(|_| targets.as_str()).filter(|_| run.kind != "alert"))
        .add("noticed", &moment(&run.started_at, now))
        .add_if("issued", Some(&at(&run.issued_at)))
        .add_if("version", Some(&number(run.version)))
        .add_if("rollout", Some(&number(run.rollout)))
        .add_if("incident", Some(&number(run.incident)))
        .add_if("made to fail", Some(&at(&run.fault_at)))
        .add_if("seen to", Some(&at(&run.noticed_at)))
        .add_if("lifted", Some(&at(&run.lifted_at)))
        .add_if("over", Some(&at(&run.ended_at)))
        .add("by", &run.actor)
        .add("because", &run.reason);
    screen.fields(&fields)?;
    let mut reasons = Table::new(&[Left("WHY"), Left("ABOUT"), Left("DETAIL")]);
    for reason in &run.reasons {
        reasons.add(vec![Cell::new(&reason.why), Cell::maybe(reason.about.as_deref()), Cell::new(&reason.detail)]);
    }
    screen.section("why it failed", &reasons)?;
    let mut steps = Table::new(&[Left("WAVE"), Left("STEP"), Right("TARGETS"), Right("P50"), Right("P95"), Right("MAX")]);
    for step in &detail.steps {
        steps.add(vec![
            Cell::new(&step.wave.map_or("all".to_owned(), |w| w.to_string())),
            Cell::new(&step.step),
            Cell::new(&step.targets.to_string()),
            Cell::new(&took(Some(step.p50_seconds))),
            Cell::new(&took(Some(step.p95_seconds))),
            Cell::new(&took(Some(step.max_seconds))),
        ]);
    }
    screen.section("what it took", &steps)?;
    let mut paths = Table::new(&[Left("SERVICE"), Right("CRITICAL PATH"), Left("BELIEVED UNTIL")]);
    for path in &detail.paths {
        paths.add(vec![
            Cell::new(&path.service),
            Cell::new(&path.p95_seconds.map_or("unknown: 12 h".to_owned(), |s| took(Some(s)))),
            Cell::new(&at(&path.until)),
        ]);
    }
    screen.section("what is proven", &paths)
}
