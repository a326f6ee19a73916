//! `perennial target`.

use api::v1::{Change, Finding, Observation, Reason, Target, TargetDetail};
use clap::Subcommand;
use pki::text::escape;

use crate::error::{Error, Exit};
use crate::route::Route;
use crate::session::{Common, Paging, Session};
use crate::show::Column::{Left, Right};
use crate::show::{Cell, Fields, Listed as _, Paint, Screen, Table, moment, served};

/// Targets: places where a version must be live
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List targets, the least margin first
    List {
        /// Only those of this secret
        #[arg(long, value_name = "NAME")]
        secret: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show a target with what each of its addresses presented
    Show {
        /// The target's name
        name: String,
    },
    /// Say that something changed there, so that it is looked at now
    Look {
        /// The target's name
        name: String,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Take a target out of the inventory; it is still dialled until what it serves has ended
    Retire {
        /// The target's name
        name: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

pub(super) async fn run(args: Args, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    match args.command {
        Command::List { secret, paging } => {
            let route = Route::to(&["targets"]).ask_if("secret", secret.as_deref());
            session.list::<Target>(&route, &paging, "there are none", |_| true).await
        }
        Command::Show { name } => {
            session.ask(&Route::to(&["targets", &name]), show).await?;
            Ok(Exit::Ok)
        }
        Command::Look { name, reason } => {
            let words = format!("{}: will be looked at now", escape(&name));
            session.act(&Route::to(&["targets", &name, "look"]), &Reason { reason }, &words).await
        }
        Command::Retire { name, reason } => {
            session.act(&Route::to(&["targets", &name, "retire"]), &Reason { reason }, &format!("{}: retired", escape(&name))).await
        }
    }
}

pub(crate) fn show(detail: &TargetDetail, screen: &mut Screen<'_>) -> std::io::Result<()> {
    let (target, now) = (&detail.target, screen.now);
    let place = [target.region.as_str(), target.stamp.as_str()].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>();
    let mut fields = Fields::default();
    fields
        .add("target", &target.name)
        .add("secret", &target.secret)
        .add(
            if target.kind == "endpoint" { "endpoint" } else { "kind" },
            if target.kind == "endpoint" { &target.endpoint } else { &target.kind },
        )
        .add_if("server name", Some(&target.server_name))
        .add_if("where", Some(&place.join(" / ")))
        .add("owner", if target.team.is_empty() { "nobody" } else { &target.team })
        .add("state", &format!("{}{}", target.state, if target.production { "" } else { ", not production" }))
        .add("current", &format!("{} of {}", target.current, target.required))
        .add_cell("served until", Cell::painted(&served(&target.served_until, now), Paint::of_level(&target.level)))
        .add("looked at", &target.observed_at.as_deref().map_or("never".to_owned(), |at| moment(at, now)));
    screen.fields(&fields)?;

    let mut table = Table::new(&[
        Left("ADDRESS"),
        Left("VANTAGE"),
        Left("OFFER"),
        Left("METHOD"),
        Left("LAST"),
        Left("PRESENTED (SHA-256)"),
        Right("STREAK"),
        Left("TLS"),
        Left("FAILURE"),
    ]);
    for seen in &detail.observations {
        table.add(observation(seen, now));
    }
    screen.section("observations", &table)?;
    let mut findings = Table::new(Finding::COLUMNS);
    for finding in &detail.findings {
        findings.add(finding.row(now));
    }
    screen.section("findings", &findings)?;
    let mut history = Table::new(&[Left("AT"), Left("CHANGE"), Left("PRESENTED (SHA-256)"), Left("DETAIL")]);
    for Change { at, change, fingerprint_sha256, detail, .. } in &detail.history {
        history.add(vec![Cell::new(&moment(at, now)), Cell::new(change), Cell::maybe(fingerprint_sha256.as_deref()), Cell::new(detail)]);
    }
    screen.section("history", &history)
}

fn observation(seen: &Observation, now: pki::Time) -> Vec<Cell> {
    let presented = match (&seen.fingerprint_sha256, seen.other_fingerprints_sha256.as_slice()) {
        (Some(one), others @ [_, ..]) => format!("{one} (sometimes {})", others.join(", ")),
        (one, _) => one.clone().unwrap_or_default(),
    };
    let offer = if seen.server_name.is_empty() { format!("{} (no name)", seen.offer) } else { seen.offer.clone() };
    let failure = match (&seen.error, &seen.blame) {
        (Some(error), blame) => {
            let since = seen.failing_since.as_deref().map(|at| format!(", since {}", moment(at, now))).unwrap_or_default();
            Cell::painted(&format!("{} ({}{since})", error, blame.as_deref().unwrap_or("unknown")), Paint::Bad)
        }
        (None, _) => Cell::new(""),
    };
    vec![
        Cell::new(&seen.address),
        Cell::new(&seen.vantage),
        Cell::new(&offer),
        Cell::new(&seen.method),
        Cell::new(&moment(&seen.last_at, now)),
        Cell::new(&presented),
        Cell::number(i64::from(seen.streak)),
        Cell::new(&seen.protocol),
        failure,
    ]
}
