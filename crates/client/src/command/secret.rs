//! `perennial secret`, and what it shares with `perennial cert`.

use std::path::PathBuf;

use api::v1::{Attest, Finding, PutOpaque, Reason, Secret, SecretDetail, Stored, Target};
use clap::Subcommand;
use pki::Time;
use pki::text::escape;
use serde_json::Value;
use zeroize::Zeroize as _;

use super::{base64, file, time};
use crate::error::{Error, Exit};
use crate::route::Route;
use crate::session::{Common, Paging, Session};
use crate::show::Column::{Left, Right};
use crate::show::{Cell, Fields, Listed as _, Screen, Table, moment, served};

/// Largest opaque value, in bytes.
const MAX_VALUE: usize = 1024 * 1024;

/// Secrets of every kind
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Store a value that is no certificate, from standard input or a file
    ///
    /// The value is never an argument: those are seen by everybody on the machine. Nobody can read it back.
    Put {
        /// The secret's name
        name: String,
        /// Take the value from here, byte by byte
        #[arg(long, value_name = "F")]
        file: Option<PathBuf>,
        /// When it ends: RFC 3339, or a day
        #[arg(long, value_name = "T", value_parser = time)]
        expires: Option<Time>,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// List secrets, the least margin first
    List(#[command(flatten)] ListArgs),
    /// Show a secret with its versions, targets and findings; never its private material
    Show {
        /// The secret's name
        name: String,
    },
    /// Say that production uses a version, or when a tracked secret ends
    #[command(group = clap::ArgGroup::new("what").required(true).args(["version", "expires"]))]
    Attest {
        /// The secret's name
        name: String,
        /// Production uses this version (opaque secrets)
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
        version: Option<i64>,
        /// It ends then (tracked secrets): RFC 3339, or a day
        #[arg(long, value_name = "T", value_parser = time)]
        expires: Option<Time>,
        /// How you know
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Take a secret whose targets are retired out of the inventory; its versions are kept
    ///
    /// Its open incident ends as retired, with who and why; nothing looks at it any more. While fleet.toml still names it, the next
    /// apply brings it back.
    Retire {
        /// The secret's name
        name: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// Which secrets to list.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only those of this team
    #[arg(long, value_name = "TEAM")]
    team: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

pub(super) async fn run(args: Args, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    match args.command {
        Command::Put { name, file, expires, reason } => put(&name, file, expires, reason, session).await,
        Command::List(which) => list(which, None, session).await,
        Command::Show { name } => show(&name, session).await,
        Command::Attest { name, version, expires, reason } => {
            let body = Attest { version, expires_at: expires.map(|at| at.to_string()), reason };
            session.act(&Route::to(&["secrets", &name, "attest"]), &body, &format!("{}: attested", escape(&name))).await
        }
        Command::Retire { name, reason } => {
            let words = format!("{}: retired; take it out of fleet.toml too, or the next apply brings it back", escape(&name));
            session.act(&Route::to(&["secrets", &name, "retire"]), &Reason { reason }, &words).await
        }
    }
}

async fn put(
    name: &str,
    from: Option<PathBuf>,
    expires: Option<Time>,
    reason: String,
    session: &mut Session<'_, '_>,
) -> Result<Exit, Error> {
    let broken = |error: std::io::Error| Error::Usage(format!("the value could not be read: {error}"));
    let value = match from {
        Some(path) => file("--file", &path, MAX_VALUE)?,
        None if session.keyboard.is_terminal() => {
            let typed = session.keyboard.hidden(&format!("Value of {} (not shown): ", escape(name))).map_err(broken)?;
            zeroize::Zeroizing::new(typed.as_bytes().to_vec())
        }
        None => session.keyboard.all(MAX_VALUE).map_err(broken)?,
    };
    if value.is_empty() {
        return Err(Error::usage("the value is empty; nothing was stored"));
    }
    let mut body = PutOpaque { value: base64(&value), expires_at: expires.map(|at| at.to_string()), reason };
    let answer = session.remote.post(&Route::to(&["secrets", name, "opaque"]), &body).await;
    body.value.zeroize();
    let bytes = value.len();
    session.answer(&answer?, |stored: &Stored, screen| {
        screen.say(&format!("{}: version {} stored, {bytes} bytes", escape(&stored.secret), stored.version))
    })?;
    Ok(Exit::Ok)
}

/// Lists secrets, all kinds or one.
pub(super) async fn list(args: ListArgs, kind: Option<&'static str>, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let route = Route::to(&["secrets"]).ask_if("team", args.team.as_deref());
    let keep = |item: &Value| kind.is_none_or(|kind| item.get("kind").and_then(Value::as_str) == Some(kind));
    session.list::<Secret>(&route, &args.paging, "there are none", keep).await
}

/// Shows a secret.
pub(super) async fn show(name: &str, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    session.ask(&Route::to(&["secrets", name]), show_detail).await?;
    Ok(Exit::Ok)
}

pub(crate) fn show_detail(detail: &SecretDetail, screen: &mut Screen<'_>) -> std::io::Result<()> {
    let (secret, now) = (&detail.secret, screen.now);
    let mut fields = Fields::default();
    fields
        .add("secret", &secret.name)
        .add("kind", &format!("{} {}, renewed {}", secret.management, secret.kind, secret.renewal))
        .add("owner", if secret.team.is_empty() { "nobody" } else { &secret.team })
        .add_if("service", Some(&secret.service))
        .add("served until", &served(&secret.served_until, now))
        .add_if("margin", secret.margin_seconds.map(|seconds| pki::Span::seconds(seconds).to_string()).as_deref())
        .add_if("retired", secret.retired_at.as_deref().map(|at| moment(at, now)).as_deref());
    screen.fields(&fields)?;

    let mut versions =
        Table::new(&[Right("VERSION"), Left("STORED"), Left("BY"), Left("SCOPE"), Left("KEY"), Left("NOT AFTER"), Left("SHA-256")]);
    for version in &detail.versions {
        let first = [Cell::number(version.number), Cell::new(&moment(&version.stored_at, now)), Cell::new(&version.actor)];
        if version.instances.is_empty() {
            let ends = version.expires_at.as_deref().map(|at| moment(at, now)).unwrap_or_default();
            versions.add([first.to_vec(), vec![Cell::new(""), Cell::new(""), Cell::new(&ends), Cell::new("")]].concat());
        }
        for instance in &version.instances {
            let key = format!("{}{}", instance.key_type, if instance.has_key { ", sealed here" } else { "" });
            versions.add(
                [
                    first.to_vec(),
                    vec![
                        Cell::new(&instance.scope),
                        Cell::new(&key),
                        Cell::new(&moment(&instance.not_after, now)),
                        // What is no certificate has no fingerprint.
                        Cell::new(if instance.key_type.is_empty() { "" } else { &instance.fingerprint_sha256 }),
                    ],
                ]
                .concat(),
            );
        }
    }
    screen.section("versions", &versions)?;
    let mut targets = Table::new(Target::COLUMNS);
    for target in &detail.target_list {
        targets.add(target.row(now));
    }
    screen.section("targets", &targets)?;
    let mut findings = Table::new(Finding::COLUMNS);
    for finding in &detail.finding_list {
        findings.add(finding.row(now));
    }
    screen.section("findings", &findings)
}
