//! `perennial node`.

use api::agent::{Material, Pair, SignedManifest};
use api::v1::{Invite, Invited, ManifestKey, Node, NodeDetail, NodeManifest, PlanFinding, Readmitted, Reason, Rejoin, ReplaceManifestKey};
use clap::Subcommand;
use pki::Span;
use pki::text::escape;

use super::span;
use crate::error::{Error, Exit};
use crate::remote::parse;
use crate::route::Route;
use crate::session::{Common, Paging, Session};
use crate::show::Column::{Left, Right};
use crate::show::{Cell, Fields, Listed as _, Paint, Screen, Table, moment};

/// Nodes: machines with an agent
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List nodes; exit 1 where one is silent, cloned or could not install something
    List {
        /// Only those of this region
        #[arg(long, value_name = "NAME")]
        region: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show a node with what it is to have, what its agent says, and who speaks for it
    Show {
        /// The node's name
        name: String,
    },
    /// Give the right to join once: one string that perennial-agent takes, shown this once
    JoinToken {
        /// The node's name
        name: String,
        /// For how long it is good
        #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = span)]
        valid: Span,
    },
    /// Take the identity of a node back, and let it join anew
    Rejoin {
        /// The node's name
        name: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// For how long the right to join is good
        #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = span)]
        valid: Span,
    },
    /// Take the identity of a node back; what it has installed stays
    Revoke {
        /// The node's name
        name: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// After a restore: agents go on living on the certificates that the restored store knows
    Readmit {
        /// Why; what was revoked since the backup was made is good again, so look first
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Show the key that signs manifests; announce another one to all agents, or go on without those that have not answered
    ManifestKey {
        /// Announce another one; it takes the place of this one once every agent has said that it knows it
        #[arg(long, requires = "reason", conflicts_with = "finish")]
        rotate: bool,
        /// Go on without the agents that have not answered within a week: they have to join again
        #[arg(long, requires = "reason")]
        finish: bool,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Print a node's signed manifest, to be carried by hand; no key is in it
    Manifest {
        /// The node's name
        name: String,
        /// Print the chains of this secret instead, as `perennial-agent apply --material` takes them
        #[arg(long, value_name = "SECRET")]
        material: Option<String>,
    },
}

pub(super) async fn run(args: Args, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    match args.command {
        Command::List { region, paging } => {
            let route = Route::to(&["nodes"]).ask_if("region", region.as_deref());
            session.list::<Node>(&route, &paging, "there are none", |_| true).await
        }
        Command::Show { name } => {
            session.ask(&Route::to(&["nodes", &name]), show).await?;
            Ok(Exit::Ok)
        }
        Command::JoinToken { name, valid } => {
            let body = Invite { valid: Some(format!("{}s", valid.as_secs())) };
            invited(&Route::to(&["nodes", &name, "join-token"]), &body, session).await
        }
        Command::Rejoin { name, reason, valid } => {
            let body = Rejoin { reason, valid: Some(format!("{}s", valid.as_secs())) };
            invited(&Route::to(&["nodes", &name, "rejoin"]), &body, session).await
        }
        Command::Revoke { name, reason } => {
            let words = format!("{}: revoked; what it has installed is served on", escape(&name));
            session.act(&Route::to(&["nodes", &name, "revoke"]), &Reason { reason }, &words).await
        }
        Command::Readmit { reason } => {
            let answer = session.remote.post(&Route::to(&["readmit-nodes"]), &Reason { reason }).await?;
            let Readmitted { certificates } = parse(&answer)?;
            session.done(&answer, &format!("{certificates} certificates of agents are good again"))
        }
        Command::ManifestKey { rotate, finish, reason } => {
            let route = Route::to(&["manifest-key"]);
            if !rotate && !finish {
                session.ask(&route, key).await?;
                return Ok(Exit::Ok);
            }
            let body = ReplaceManifestKey { reason: reason.unwrap_or_default(), finish };
            let answer = session.remote.post(&route, &body).await?;
            let now: ManifestKey = parse(&answer)?;
            let words = match &now.next {
                Some(next) => format!("{} is announced to {} nodes", escape(next), now.waiting),
                None => format!("{} signs from here on", now.key.as_deref().map(escape).unwrap_or_default()),
            };
            session.done(&answer, &words)
        }
        Command::Manifest { name, material } => manifest(&name, material.as_deref(), session).await,
    }
}

/// The string goes to standard output alone, so that it can be led where it belongs.
async fn invited(route: &Route, body: &impl serde::Serialize, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let answer = session.remote.post(route, body).await?;
    if session.json {
        session.screen.data(&answer.to_string())?;
        return Ok(Exit::Ok);
    }
    let Invited { node, join, expires_at } = parse(&answer)?;
    session.screen.data(&escape(&join))?;
    let words = format!(
        "whoever has this can join once as {}, until {}; on the node: perennial-agent join",
        escape(&node),
        moment(&expires_at, session.screen.now)
    );
    session.screen.say(&words)?;
    Ok(Exit::Ok)
}

/// Data that another program takes: JSON, with `--json` or without.
async fn manifest(name: &str, material: Option<&str>, session: &mut Session<'_, '_>) -> Result<Exit, Error> {
    let answer = session.remote.get(&Route::to(&["nodes", name, "manifest"])).await?;
    let carried: NodeManifest = parse(&answer)?;
    let text = match material {
        None => serde_json::to_string(&SignedManifest { payload: carried.payload, signature: carried.signature }),
        Some(secret) => {
            let found = carried.material.into_iter().find(|m| m.secret == secret);
            let found = found.ok_or_else(|| {
                Error::Usage(format!("--material {}: the manifest of {} names no chain of it", escape(secret), escape(name)))
            })?;
            let pairs = found.chains.into_iter().map(|chain| Pair { chain, key: None }).collect();
            serde_json::to_string(&Material { secret: found.secret, version: found.version, pairs })
        }
    };
    let text = text.map_err(|error| Error::Output(std::io::Error::other(error)))?;
    session.screen.data(&text)?;
    Ok(Exit::Ok)
}

fn key(state: &ManifestKey, screen: &mut Screen<'_>) -> std::io::Result<()> {
    let now = screen.now;
    let at = |time: &Option<String>| time.as_deref().map(|at| moment(at, now)).unwrap_or_default();
    let mut waits = state.waits_for.join(", ");
    let named = state.waits_for.len() as u64;
    if state.waiting > named {
        waits += &format!(", and {} more", state.waiting - named);
    }
    let mut fields = Fields::default();
    fields
        .add("signs", state.key.as_deref().unwrap_or("none yet: no node has joined"))
        .add_if("announced", state.next.as_deref())
        .add_if("since", Some(&at(&state.announced_at)))
        .add_if("waits for", Some(&waits))
        .add_if("at most until", Some(&at(&state.answer_until)));
    screen.fields(&fields)
}

fn show(detail: &NodeDetail, screen: &mut Screen<'_>) -> std::io::Result<()> {
    let (node, now) = (&detail.node, screen.now);
    let at = |time: &Option<String>| time.as_deref().map(|at| moment(at, now)).unwrap_or_default();
    let place = [Some(node.region.as_str()), node.stamp.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" / ");
    let clock = node.clock_off_seconds.map(|off| match off {
        0 => "as the store's".to_owned(),
        off if off > 0 => format!("{off} s ahead"),
        off => format!("{} s behind", -off),
    });
    let mut fields = Fields::default();
    fields
        .add("node", &node.name)
        .add("where", &place)
        .add_cell("state", state(node))
        .add("canary", if node.canary { "yes" } else { "no" })
        .add("manifest", &format!("generation {}; its agent acts on {}", node.generation, node.acted))
        .add_if("agent", node.agent.as_deref())
        .add_if("joined", Some(&at(&node.joined_at)))
        .add_if("heard of", Some(&at(&node.seen_at)))
        .add_if("clock", clock.as_deref())
        .add_if("may join until", Some(&at(&detail.invited_until)))
        .add_if("exists twice", detail.cloned.as_deref());
    screen.fields(&fields)?;
    let mut installs = Table::new(&[
        Left("SECRET"),
        Right("VERSION"),
        Right("HAS"),
        Left("STATE"),
        Left("TOLD"),
        Left("FETCHED"),
        Left("INSTALLED"),
        Left("FAILED"),
        Left("DETAIL"),
    ]);
    for i in &detail.installs {
        let paint = if i.failed_at.is_some() { Paint::Bad } else { Paint::Plain };
        let rollout = i.rollout.map(|r| format!(" (rollout {r})")).unwrap_or_default();
        installs.add(vec![
            Cell::new(&i.secret),
            Cell::new(&if i.version == 0 { "-".to_owned() } else { format!("{}{rollout}", i.version) }),
            Cell::new(&if i.has == 0 { "-".to_owned() } else { i.has.to_string() }),
            Cell::painted(&i.state, paint),
            Cell::new(&at(&i.told_at)),
            Cell::new(&at(&i.fetched_at)),
            Cell::new(&at(&i.installed_at)),
            Cell::new(&at(&i.failed_at)),
            Cell::new(&i.detail),
        ]);
    }
    screen.section("what it is to have", &installs)?;
    let mut certificates = Table::new(&[Left("SERIAL"), Left("STATE"), Left("RUNS OUT"), Left("FIRST USED")]);
    for c in &detail.certificates {
        certificates.add(vec![
            Cell::new(&c.serial),
            Cell::new(&c.state),
            Cell::new(&moment(&c.not_after, now)),
            Cell::new(&at(&c.used_at)),
        ]);
    }
    screen.section("certificates that its agent lives on", &certificates)?;
    let mut findings = Table::new(PlanFinding::COLUMNS);
    for finding in &detail.findings {
        findings.add(finding.row(now));
    }
    screen.section("findings", &findings)
}

/// A node's state, as it is painted in lists too.
pub(crate) fn state(node: &Node) -> Cell {
    let paint = match node.state.as_str() {
        "silent" | "cloned" => Paint::Bad,
        _ => Paint::Plain,
    };
    Cell::painted(&node.state, paint)
}
