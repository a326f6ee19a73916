//! `perennial rollout` and `perennial revocation`: versions on their way, and what must be replaced by a deadline.

use std::time::Duration;

use api::v1::{
    NewRevocation, Reason, ResumeRollout, Revocation, RevocationDetail, RevokedSecret, Rollout, RolloutDetail, RolloutWave, StartRollout,
};
use clap::Subcommand;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use pki::text::escape;
use pki::{Span, Time};
use tokio::time::sleep;

use super::span;
use crate::error::{Error, Exit};
use crate::remote::parse;
use crate::route::Route;
use crate::session::{Common, Paging, Session};
use crate::show::Column::{Left, Right};
use crate::show::{Cell, Column, Fields, Listed, Paint, Screen, Table, moment};

/// How often `watch` asks.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Most bars on a terminal.
const MAX_BARS: usize = 40;

/// Versions on their way to their targets, wave by wave
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List those that are on their way, the newest first; exit status 1 if one needs a person
    List {
        /// Also those that have ended
        #[arg(long)]
        all_states: bool,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show one, wave by wave, with everything that it waits for; exit status 1 if it needs a person
    Show {
        /// Its number
        id: u64,
    },
    /// Follow one until it ends; exit status 1 if it does not end well
    Watch {
        /// Its number
        id: u64,
        /// Leave off after so long
        #[arg(long, value_name = "SPAN", value_parser = span)]
        timeout: Option<Span>,
    },
    /// Show its waves: how many targets go when, how many at once, and for how long each is watched
    Plan {
        /// Its number
        id: u64,
    },
    /// Bring a version to its targets; the same again is the rollout that does
    Start(StartArgs),
    /// Send nothing more out until somebody lets it go on
    Halt(Step),
    /// Let it go on; where the rules halted it, past what they halted it for
    Resume {
        /// Its number
        id: u64,
        /// Also past incidents that began at its targets, and past dead ones that may not be left behind; needs a reason
        #[arg(long, requires = "reason")]
        despite: bool,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Take it back: whoever was told goes back to the version before
    Rollback(Step),
    /// In an emergency: the same path with shorter soaks and wider waves
    Critical {
        /// The secret
        name: String,
        /// Which version; the newest if absent
        #[arg(long, value_name = "N")]
        version: Option<i64>,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

#[derive(Debug, clap::Args)]
struct StartArgs {
    /// The secret
    name: String,
    /// Which version; the newest if absent
    #[arg(long, value_name = "N")]
    version: Option<i64>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

#[derive(Debug, clap::Args)]
struct Step {
    /// Its number
    id: u64,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Certificates that must be replaced by a deadline: revoked, or with a key that leaked
#[derive(Debug, clap::Args)]
pub struct RevocationArgs {
    #[command(subcommand)]
    command: RevocationCommand,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Subcommand)]
enum RevocationCommand {
    /// Open one: an incident over all that serve these certificates, and a replacement for each, in the order of risk
    #[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["issuer", "certificates", "secrets"]))]
    Open {
        /// Everything whose issuer contains this text
        #[arg(long, value_name = "TEXT")]
        issuer: Option<String>,
        /// A certificate, by its SHA-256; may be repeated
        #[arg(long = "certificate", value_name = "SHA256")]
        certificates: Vec<String>,
        /// Every certificate of a secret; may be repeated
        #[arg(long = "secret", value_name = "NAME")]
        secrets: Vec<String>,
        /// By when everything must be replaced, from now
        #[arg(long, value_name = "SPAN", value_parser = span)]
        deadline: Span,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Only show what it would be about
        #[arg(long)]
        dry_run: bool,
    },
    /// Withdraw one that was a mistake: its certificates are good again
    Withdraw(Step),
    /// List them, the newest first; exit status 1 if one is open
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// List its secrets in the order of risk; exit status 1 if one that is shown must still be replaced
    Secrets {
        /// Its number
        id: u64,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show one with what became of its secrets; exit status 1 while it is open
    Show {
        /// Its number
        id: u64,
    },
}

pub(super) async fn run(args: Args, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let at = |id: u64, more: &str| {
        let id = id.to_string();
        if more.is_empty() { Route::to(&["rollouts", &id]) } else { Route::to(&["rollouts", &id, more]) }
    };
    match args.command {
        Command::List { all_states, paging } => {
            let route = Route::to(&["rollouts"]);
            let route = if all_states { route } else { route.ask("open", "true") };
            session.list::<Rollout>(&route, &paging, "nothing is on its way", |_| true).await
        }
        Command::Show { id } => {
            let shown: RolloutDetail = session.ask(&at(id, ""), show).await?;
            Ok(Exit::due(shown.rollout.needs_a_person))
        }
        Command::Plan { id } => {
            session.ask(&at(id, ""), plan).await?;
            Ok(Exit::Ok)
        }
        Command::Watch { id, timeout } => watch(&at(id, ""), timeout, session).await,
        Command::Start(StartArgs { name, version, reason }) => {
            let route = Route::to(&["secrets", &name, "rollouts"]);
            session.change(&route, &StartRollout { version, reason }, show).await?;
            Ok(Exit::Ok)
        }
        Command::Critical { name, version, reason } => {
            let route = Route::to(&["secrets", &name, "rollouts", "critical"]);
            session.change(&route, &StartRollout { version, reason }, show).await?;
            Ok(Exit::Ok)
        }
        Command::Halt(Step { id, reason }) => {
            session.change(&at(id, "halt"), &Reason { reason }, show).await?;
            Ok(Exit::Ok)
        }
        Command::Resume { id, despite, reason } => {
            session.change(&at(id, "resume"), &ResumeRollout { despite, reason }, show).await?;
            Ok(Exit::Ok)
        }
        Command::Rollback(Step { id, reason }) => {
            session.change(&at(id, "rollback"), &Reason { reason }, show).await?;
            Ok(Exit::Ok)
        }
    }
}

impl Listed for Rollout {
    const COLUMNS: &'static [Column] =
        &[Left("ID"), Left("SECRET"), Left("VERSION"), Left("KIND"), Left("STATE"), Right("OBSERVED"), Left("WAVE"), Left("SAYS")];

    fn row(&self, _now: Time) -> Vec<Cell> {
        let from = self.from_version.map_or_else(String::new, |f| format!("{f} → "));
        vec![
            Cell::new(&self.id.to_string()),
            Cell::new(&self.secret),
            Cell::new(&format!("{from}{}", self.version)),
            Cell::new(&self.kind),
            state(self),
            Cell::new(&format!("{}/{}", self.observed, self.targets)),
            Cell::maybe(self.wave.as_deref()),
            Cell::new(&self.says),
        ]
    }

    fn is_due(&self) -> bool {
        self.needs_a_person
    }
}

fn state(r: &Rollout) -> Cell {
    match r.state.as_str() {
        _ if r.halted => Cell::painted("halted", Paint::Bad),
        "done" if r.left_behind == 0 => Cell::painted("done", Paint::Good),
        "rolled-back" => Cell::painted("rolled-back", Paint::Bad),
        other => Cell::new(other),
    }
}

fn show(d: &RolloutDetail, screen: &mut Screen<'_>) -> std::io::Result<()> {
    let r = &d.rollout;
    let number = |n: Option<i64>| n.map(|n| n.to_string());
    let from = r.from_version.map_or_else(String::new, |f| format!(" (from {f})"));
    let mut fields = Fields::default();
    fields
        .add("rollout", &r.id.to_string())
        .add("of", &format!("{} version {}{from}", r.secret, r.version))
        .add("kind", &format!("{}, by policy {}", r.kind, d.policy))
        .add_cell("state", state(r))
        .add("started", &format!("{} by {}", moment(&r.created_at, screen.now), d.actor));
    if !d.reason.is_empty() {
        fields.add("reason", &d.reason);
    }
    if let (Some(by), Some(at)) = (&d.halted_by, &d.halted_at) {
        let why = d.halted_reason.as_deref().unwrap_or_default();
        fields.add("halted", &format!("{} by {by}: {why}", moment(at, screen.now)));
    }
    fields
        .add_if("ended", r.ended_at.as_deref().map(|at| moment(at, screen.now)).as_deref())
        .add_if("takes back", number(d.takes_back).as_deref())
        .add_if("taken back by", number(d.taken_back_by).as_deref())
        .add_if("revocation", number(d.revocation).as_deref());
    if d.waits.is_empty() && !r.says.is_empty() {
        fields.add("says", &r.says);
    }
    screen.fields(&fields)?;
    screen.section("waves", &waves(d, false))?;
    if !d.waits.is_empty() {
        screen.data("\nwaits, because")?;
        for w in &d.waits {
            screen.data(&format!("  {}", escape(&w.text)))?;
        }
        if d.more_waits > 0 {
            screen.data(&format!("  and {} more", d.more_waits))?;
        }
    }
    if r.left_behind > 0 {
        let names = d.left_behind_targets.iter().map(|t| escape(t)).collect::<Vec<_>>().join(", ");
        let more = r.left_behind - i64::try_from(d.left_behind_targets.len()).unwrap_or(i64::MAX);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        screen.data(&format!("\nleft behind, and open until observed: {names}{more}"))?;
    }
    Ok(())
}

fn plan(d: &RolloutDetail, screen: &mut Screen<'_>) -> std::io::Result<()> {
    screen.table(&waves(d, true))?;
    if let Some(plan) = &d.plan {
        screen.data(&format!("\nplan {}", escape(plan)))?;
    }
    Ok(())
}

fn waves(d: &RolloutDetail, planned: bool) -> Table {
    let mut table = if planned {
        Table::new(&[Right("WAVE"), Left("OF"), Right("TARGETS"), Right("AT ONCE"), Right("WATCHED")])
    } else {
        Table::new(&[Right("WAVE"), Left("OF"), Right("TARGETS"), Right("TOLD"), Right("OBSERVED"), Right("LEFT BEHIND")])
    };
    for (n, w) in d.waves.iter().enumerate() {
        let mut row = vec![Cell::new(&(n + 1).to_string()), Cell::new(&w.title), Cell::number(w.targets)];
        if planned {
            let soak = if w.soak_seconds > 0 { Span::seconds(w.soak_seconds).to_string() } else { "-".to_owned() };
            row.extend([Cell::new(&format!("{} %", w.share_percent)), Cell::new(&soak)]);
        } else {
            let paint = |text: &str, good: bool| if good { Cell::painted(text, Paint::Good) } else { Cell::new(text) };
            row.extend([Cell::number(w.begun), paint(&w.observed.to_string(), w.observed == w.targets), Cell::number(w.left_behind)]);
        }
        table.add(row);
    }
    table
}

/// Follows a rollout: bars on a terminal, else a line for each change; every answer that differs as it came, with `--json`.
async fn watch(route: &Route, timeout: Option<Span>, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let began = tokio::time::Instant::now();
    let mut bars = Bars::new(session.screen.progress && !session.json);
    let (mut before, mut lines) = (serde_json::Value::Null, Vec::new());
    loop {
        let answer = session.remote.get(route).await?;
        let d: RolloutDetail = parse(&answer)?;
        if answer != before {
            if session.json {
                session.screen.data(&answer.to_string())?;
            } else if !bars.draw(&d) {
                let now = said(&d);
                for line in now.iter().filter(|l| !lines.contains(*l)) {
                    session.screen.data(line)?;
                }
                session.screen.out.flush()?;
                lines = now;
            }
            before = answer;
        }
        if !matches!(d.rollout.state.as_str(), "waiting" | "running") {
            bars.end();
            if !session.json {
                session.screen.data(&format!("{}: {}", d.rollout.state, escape(&d.rollout.says)))?;
            }
            return Ok(Exit::due(d.rollout.state != "done" || d.rollout.left_behind > 0));
        }
        if timeout.is_some_and(|t| began.elapsed().as_secs() >= t.as_secs().unsigned_abs()) {
            bars.end();
            session.screen.say("it is still on its way; `perennial rollout show` says what it waits for")?;
            return Ok(Exit::Due);
        }
        sleep(ASK_EVERY).await;
    }
}

/// What a rollout says, a line for each wave that has begun and each reason to wait.
fn said(d: &RolloutDetail) -> Vec<String> {
    let line = |w: &RolloutWave| {
        let behind = if w.left_behind > 0 { format!(", {} left behind", w.left_behind) } else { String::new() };
        format!("{}: {} of {} observed, {} told{behind}", escape(&w.title), w.observed, w.targets, w.begun)
    };
    let waves = d.waves.iter().filter(|w| w.begun > 0).map(line);
    waves.chain(d.waits.iter().map(|w| format!("waits: {}", escape(&w.text)))).collect()
}

/// A bar for each wave and a line below.
struct Bars {
    shown: Option<(MultiProgress, Vec<ProgressBar>, ProgressBar)>,
}

impl Bars {
    fn new(shown: bool) -> Bars {
        let all = || {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            let below = all.add(ProgressBar::new_spinner().with_style(style("{msg}")));
            (all, Vec::new(), below)
        };
        Bars { shown: shown.then(all) }
    }

    /// Draws; false where nobody looks at bars.
    fn draw(&mut self, d: &RolloutDetail) -> bool {
        let Some((all, bars, below)) = &mut self.shown else { return false };
        for (n, w) in d.waves.iter().enumerate().take(MAX_BARS) {
            if bars.len() <= n {
                let bar = ProgressBar::new(0).with_style(style("{prefix:24} [{bar:30}] {pos}/{len} {msg}"));
                bars.push(all.insert_before(below, bar));
            }
            let Some(bar) = bars.get(n) else { continue };
            bar.set_prefix(escape(&w.title));
            bar.set_length(w.targets.unsigned_abs());
            bar.set_position(w.observed.unsigned_abs());
            bar.set_message(match (w.begun, w.left_behind) {
                (0, _) => String::new(),
                (told, 0) => format!("observed, {told} told"),
                (told, behind) => format!("observed, {told} told, {behind} left behind"),
            });
        }
        below.set_message(match d.waits.as_slice() {
            [] => escape(&d.rollout.says),
            [one] => format!("waits: {}", escape(&one.text)),
            [first, rest @ ..] => format!("waits: {} (and {} more)", escape(&first.text), rest.len()),
        });
        true
    }

    fn end(&self) {
        if let Some((_, bars, below)) = &self.shown {
            bars.iter().for_each(ProgressBar::abandon);
            below.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

pub(super) async fn revocation(args: RevocationArgs, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    match args.command {
        RevocationCommand::Open { issuer, certificates, secrets, deadline, reason, dry_run } => {
            // The server's clock counts: that of this machine may be off.
            let within_seconds = Some(deadline.as_secs());
            let body = NewRevocation { issuer, certificates, secrets, deadline: None, within_seconds, dry_run, reason };
            session.change(&Route::to(&["revocations"]), &body, show_revocation).await?;
            if dry_run {
                session.screen.say("nothing was opened: this was --dry-run")?;
            }
            Ok(Exit::Ok)
        }
        RevocationCommand::Withdraw(Step { id, reason }) => {
            let route = Route::to(&["revocations", &id.to_string(), "withdraw"]);
            session.change(&route, &Reason { reason }, show_revocation).await?;
            Ok(Exit::Ok)
        }
        RevocationCommand::List { paging } => {
            session.list::<Revocation>(&Route::to(&["revocations"]), &paging, "nothing must be replaced by a deadline", |_| true).await
        }
        RevocationCommand::Secrets { id, paging } => {
            let route = Route::to(&["revocations", &id.to_string(), "secrets"]);
            session.list::<RevokedSecret>(&route, &paging, "it is about no secret", |_| true).await
        }
        RevocationCommand::Show { id } => {
            let route = Route::to(&["revocations", &id.to_string()]);
            let shown: RevocationDetail = session.ask(&route, show_revocation).await?;
            Ok(Exit::due(shown.revocation.ended_at.is_none()))
        }
    }
}

impl Listed for Revocation {
    const COLUMNS: &'static [Column] = &[Left("ID"), Left("OF"), Left("DEADLINE"), Left("STATE"), Left("REASON")];

    fn row(&self, now: Time) -> Vec<Cell> {
        vec![
            Cell::new(&self.id.to_string()),
            Cell::new(&asked(self)),
            Cell::new(&moment(&self.deadline, now)),
            if self.withdrawn_by.is_some() {
                Cell::new("withdrawn")
            } else if self.ended_at.is_some() {
                Cell::painted("over", Paint::Good)
            } else {
                Cell::painted("open", Paint::Bad)
            },
            Cell::new(&self.reason),
        ]
    }

    fn is_due(&self) -> bool {
        self.ended_at.is_none()
    }
}

/// What it was asked for: a few.
fn asked(r: &Revocation) -> String {
    const SHOWN: usize = 3;
    let more = r.asked.len().saturating_sub(SHOWN);
    let some = r.asked.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{some}, and {more} more") } else { some }
}

fn show_revocation(d: &RevocationDetail, screen: &mut Screen<'_>) -> std::io::Result<()> {
    let r = &d.revocation;
    let mut fields = Fields::default();
    let number = if r.id == 0 { String::from("none: it was only tried") } else { r.id.to_string() };
    fields
        .add("revocation", &number)
        .add("of", &format!("{} ({} certificates)", asked(r), d.certificates))
        .add("deadline", &moment(&r.deadline, screen.now))
        .add("said", &format!("{} by {}", moment(&r.created_at, screen.now), r.actor))
        .add("reason", &r.reason)
        .add_if("incident", d.incident.map(|i| i.to_string()).as_deref())
        .add_if("over", r.ended_at.as_deref().map(|at| moment(at, screen.now)).as_deref());
    if let Some(by) = &r.withdrawn_by {
        fields.add("withdrawn", &format!("by {by}: {}", r.withdrawn_for.as_deref().unwrap_or_default()));
    }
    fields.add("replaced", &format!("{} of {} secrets", d.secrets_replaced, d.secrets_total));
    screen.fields(&fields)?;
    let mut table = Table::new(&[Left("SECRET"), Left("STATE"), Right("STILL SERVING"), Left("ROLLOUT"), Left("SAYS")]);
    for s in &d.secrets {
        table.add(row(s));
    }
    screen.section("secrets, in the order of risk", &table)?;
    let more = d.secrets_total - i64::try_from(d.secrets.len()).unwrap_or(i64::MAX);
    if more > 0 {
        screen.data(&format!("and {more} more: perennial revocation secrets {}", r.id))?;
    }
    Ok(())
}

impl Listed for RevokedSecret {
    const COLUMNS: &'static [Column] = &[Left("SECRET"), Left("STATE"), Right("STILL SERVING"), Left("ROLLOUT"), Left("SAYS")];

    fn row(&self, _now: Time) -> Vec<Cell> {
        row(self)
    }

    fn is_due(&self) -> bool {
        self.done_at.is_none()
    }
}

fn row(s: &RevokedSecret) -> Vec<Cell> {
    vec![
        Cell::new(&s.name),
        if s.done_at.is_some() { Cell::painted("replaced", Paint::Good) } else { Cell::painted("open", Paint::Bad) },
        Cell::number(s.still_serving),
        Cell::maybe(s.rollout.map(|r| r.to_string()).as_deref()),
        Cell::new(&s.detail),
    ]
}
