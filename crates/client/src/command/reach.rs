//! How wide one expiry reaches, and how to make it less: `blast`, `partition`, `intent`.

use api::v1::{
    AppliedPartition, ApplyPartition, Blast, Intent, IntentDetail, Partition, PartitionMeasure, PartitionService, PlannedCertificate, Reach,
};
use clap::{Subcommand, ValueEnum};
use pki::{Span, text::escape};

use super::span;
use crate::error::{Error, Exit};
use crate::route::Route;
use crate::session::{Common, Paging, Session};
use crate::show::Column::{Left, Right};
use crate::show::{Cell, Fields, Listed as _, Paint, Screen, Table, moment, share};

/// How much of production one expiry takes down
///
/// Without --by: the widest certificate, key, intermediate, root and window, and the worst hour of the coming year.
#[derive(Debug, clap::Args)]
pub struct BlastArgs {
    /// List everything of one kind, the widest first
    #[arg(long, value_enum)]
    by: Option<By>,
    /// Only this service; shares are of it
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// How long a window is, such as 24h or 3m
    #[arg(long, value_name = "SPAN", value_parser = span)]
    window: Option<Span>,
    /// Only windows that begin within so long
    #[arg(long, value_name = "SPAN", value_parser = span)]
    within: Option<Span>,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum By {
    /// By the certificate in front
    Leaf,
    /// By public key
    Key,
    /// By the certificate that issued it
    Intermediate,
    /// By root
    Root,
    /// By what ends together
    Window,
}

impl By {
    fn word(self) -> &'static str {
        match self {
            By::Leaf => "leaf",
            By::Key => "key",
            By::Intermediate => "intermediate",
            By::Root => "root",
            By::Window => "window",
        }
    }
}

/// How production could be divided up, so that no window takes too much of a service
///
/// Shows which certificates there should be and what that changes; changes nothing without --apply. Exit status 1: a service would have
/// to be divided up, or cannot be.
#[derive(Debug, clap::Args)]
pub struct PartitionArgs {
    /// Only this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Most of a service that one window may take, in per cent; else as its own rules say, or 10
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    max_share: Option<u32>,
    /// How long a window is; else as the service's own rules say, or 24h
    #[arg(long, value_name = "SPAN", value_parser = span)]
    window: Option<Span>,
    /// Put it in place: as intents that issuance follows
    #[arg(long, requires = "plan", requires = "reason")]
    apply: bool,
    /// The plan that was looked at, by the hash that it showed
    #[arg(long, value_name = "HASH", requires = "apply")]
    plan: Option<String>,
    /// Why it is put in place
    #[arg(long, value_name = "TEXT", requires = "apply")]
    reason: Option<String>,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    pub(super) common: Common,
}

/// What was decided and is to be done
#[derive(Debug, clap::Args)]
pub struct IntentArgs {
    #[command(subcommand)]
    command: IntentCommand,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Subcommand)]
enum IntentCommand {
    /// List intents, the newest first
    List {
        /// Only those in this state
        #[arg(long, value_parser = ["open", "done", "superseded"])]
        state: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show an intent with all that it asks for
    Show {
        /// Its number
        id: i64,
    },
}

/// A length of time in a query.
fn seconds(span: Option<Span>) -> Option<String> {
    span.map(|s| format!("{}s", s.as_secs()))
}

pub(super) async fn blast(args: BlastArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let (window, within) = (seconds(args.window), seconds(args.within));
    let by = args.by.or(args.window.map(|_| By::Window));
    let route = Route::to(&["blast"])
        .ask_if("by", by.map(By::word))
        .ask_if("service", args.service.as_deref())
        .ask_if("window", window.as_deref())
        .ask_if("within", within.as_deref());
    if by.is_some() {
        session.list::<Reach>(&route, &args.paging, "nothing of production is known to hang on that", |_| true).await
    } else {
        session.ask(&route, show_blast).await?;
        Ok(Exit::Ok)
    }
}

fn show_blast(b: &Blast, screen: &mut Screen<'_>) -> std::io::Result<()> {
    let plural = |n: u32, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    let places = [plural(b.services, "service", "services"), plural(b.regions, "region", "regions"), plural(b.stamps, "stamp", "stamps")];
    let mut fields = Fields::default();
    fields
        .add_if("service", b.service.as_deref())
        .add("production", &format!("{} in {}", plural(b.targets, "target", "targets"), places.join(", ")));
    let count = |n: u32, what: &str| Cell::painted(&format!("{} {what}", plural(n, "target", "targets")), Paint::Bad);
    if b.unknown > 0 {
        fields.add_cell("not counted", count(b.unknown, "never observed: nobody knows what takes them down"));
    }
    if b.broken > 0 {
        fields.add_cell("already down", count(b.broken, "serving nothing that validates now"));
    }
    screen.fields(&fields)?;
    let mut table = Table::new(Reach::COLUMNS);
    for reach in &b.items {
        table.add(reach.row(screen.now));
    }
    screen.section("the most that one of each takes down", &table)?;
    let mut shares = Table::new(&[Left("BY"), Left("SERVICE"), Right("TARGETS"), Right("OF"), Right("SHARE")]);
    for reach in b.items.iter().filter(|r| r.services > 1 || r.per_service.len() > 1) {
        for s in reach.per_service.iter().take(3) {
            let by = reach.window.as_ref().map_or_else(|| reach.by.clone(), |w| format!("{} of {w}", reach.by));
            let numbers = [Cell::number(s.targets.into()), Cell::number(s.of.into()), Cell::new(&share(s.share_per_mille, s.targets))];
            shares.add([Cell::new(&by), Cell::new(&s.service)].into_iter().chain(numbers).collect());
        }
    }
    screen.section("of the services that they touch most", &shares)
}

pub(super) async fn partition(args: PartitionArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let window = seconds(args.window);
    if let (true, Some(plan), Some(reason)) = (args.apply, args.plan, args.reason) {
        let body = ApplyPartition { service: args.service, max_share_percent: args.max_share, window, plan, reason };
        let done = |a: &AppliedPartition, screen: &mut Screen<'_>| {
            screen.say(&format!("{} intents are open; `perennial intent list` shows them", a.intents))
        };
        session.change(&Route::to(&["partition", "apply"]), &body, done).await?;
        return Ok(Exit::Ok);
    }
    let max_share = args.max_share.map(|p| p.to_string());
    let route = Route::to(&["partition"])
        .ask_if("service", args.service.as_deref())
        .ask_if("max_share", max_share.as_deref())
        .ask_if("window", window.as_deref());
    let (items, next) = session.collect(&route, &args.paging, |_| true).await?;
    let mut answer = session.remote.get(&route.clone().ask("limit", "1")).await?;
    answer["items"] = serde_json::Value::Array(items);
    answer["next"] = next.clone().map_or(serde_json::Value::Null, serde_json::Value::String);
    let plan: Partition = session.answer(&answer, show_partition)?;
    session.tell_next(next.as_deref())?;
    Ok(Exit::due(plan.certificates > 0 || plan.services.iter().any(|s| s.short.is_some() || !s.left.is_empty())))
}

fn show_partition(p: &Partition, screen: &mut Screen<'_>) -> std::io::Result<()> {
    let mut table = Table::new(&[
        Left("SERVICE"),
        Right("TARGETS"),
        Left("WORST WINDOW"),
        Left("IN MORE REGIONS"),
        Left("WIDEST"),
        Left("BREACHES"),
        Right("NEW"),
    ]);
    for s in &p.services {
        table.add(service(s));
    }
    if table.is_empty() {
        screen.say("no service has production targets")?;
    }
    screen.table(&table)?;
    for s in &p.services {
        if let Some(short) = &s.short {
            let reached = share(s.after.worst_per_mille, s.after.worst);
            screen.data(&format!("{}: {reached} is what can be reached; {}", escape(&s.service), escape(short)))?;
        }
        if !s.left.is_empty() {
            let left = s.left.iter().map(|l| escape(l)).collect::<Vec<_>>().join(", ");
            screen.data(&format!("{}: no end can be found for {left}, which stays as it is", escape(&s.service)))?;
        }
    }
    let mut certificates =
        Table::new(&[Left("CERTIFICATE"), Left("SERVICE"), Left("REGION"), Left("ENDS"), Right("TARGETS"), Left("NAMES")]);
    for c in &p.items {
        certificates.add(certificate(c, screen.now));
    }
    screen.section("certificates that there should be", &certificates)?;
    if p.certificates > 0 {
        screen.data(&format!("\nplan {}", escape(&p.plan)))?;
        screen.say("put it in place with: perennial partition --apply --plan HASH --reason \"…\" and the same options")?;
    }
    Ok(())
}

fn service(s: &PartitionService) -> Vec<Cell> {
    let worst = |m: &PartitionMeasure| share(m.worst_per_mille, m.worst);
    let change = |before: String, after: String| if before == after { before } else { format!("{before} → {after}") };
    let number = |f: fn(&PartitionMeasure) -> u32| change(f(&s.before).to_string(), f(&s.after).to_string());
    let too_much = s.before.worst_per_mille > s.max_share_percent * 10;
    vec![
        Cell::new(&s.service),
        Cell::number(s.targets.into()),
        Cell::painted(&change(worst(&s.before), worst(&s.after)), if too_much { Paint::Bad } else { Paint::Good }),
        Cell::new(&number(|m| m.across_regions)),
        Cell::new(&number(|m| m.widest)),
        Cell::new(&number(|m| m.breaches)),
        Cell::number(i64::try_from(s.certificates).unwrap_or(i64::MAX)),
    ]
}

fn certificate(c: &PlannedCertificate, now: pki::Time) -> Vec<Cell> {
    let more = c.name_count.saturating_sub(c.names.len() as u64);
    let names = if more > 0 { format!("{} and {more} more", c.names.join(" ")) } else { c.names.join(" ") };
    vec![
        Cell::new(&c.name),
        Cell::new(&c.service),
        Cell::new(&c.region),
        Cell::new(&moment(&c.not_after, now)),
        Cell::number(i64::try_from(c.target_count).unwrap_or(i64::MAX)),
        Cell::new(&names),
    ]
}

pub(super) async fn intent(args: IntentArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    match args.command {
        IntentCommand::List { state, paging } => {
            let route = Route::to(&["intents"]).ask_if("state", state.as_deref());
            session.list::<Intent>(&route, &paging, "nothing was decided", |_| true).await
        }
        IntentCommand::Show { id } => {
            session.ask(&Route::to(&["intents", &id.to_string()]), show_intent).await?;
            Ok(Exit::Ok)
        }
    }
}

fn show_intent(detail: &IntentDetail, screen: &mut Screen<'_>) -> std::io::Result<()> {
    let it = &detail.intent;
    let mut fields = Fields::default();
    fields
        .add("intent", &it.id.to_string())
        .add("to", &format!("{} {}", it.what, it.subject))
        .add("state", &it.state)
        .add("decided", &moment(&it.created_at, screen.now))
        .add("approved by", &format!("{} ({} needed)", it.approved_by, it.approvals))
        .add("reason", &it.reason)
        .add_if("done", it.done_at.as_deref().map(|at| moment(at, screen.now)).as_deref())
        .add("hash", &it.hash);
    screen.fields(&fields)?;
    let mut table = Table::new(&[Left("FIELD"), Left("VALUE")]);
    for (name, value) in detail.content.as_object().into_iter().flatten() {
        let text = match value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Array(all) => all.iter().map(|v| v.as_str().unwrap_or_default()).collect::<Vec<_>>().join(" "),
            other => other.to_string(),
        };
        table.add(vec![Cell::new(name), Cell::new(&text)]);
    }
    screen.section("what is to be done", &table)
}
