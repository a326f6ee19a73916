//! What the rules say about a node: it is silent, it could not install something, its clock is off, it exists twice.

use super::{adopt, subject};
use crate::{Engine, Error, Result, Tick, assess::team_of, concern, loops, rules};
use domain::{Span, Time, concern::Concern, finding::Code, policy::Level, schedule, words::NodeId};
use store::{
    Tx,
    model::{
        node::{self, Node},
        secret,
    },
    timer,
};

/// How many nodes one round assesses.
const BATCH: i64 = 500;
/// How many of them in one transaction.
const CHUNK: usize = 50;
/// An agent asks every minute. One of which nothing was heard for so long is a finding.
pub const SILENT_AFTER: Span = Span::minutes(30);
/// By how much a node's clock may differ from the store's.
pub const CLOCK_TOLERANCE: Span = Span::seconds(api::agent::CLOCK_TOLERANCE as i64);
/// Every node is looked at again after this long.
const AT_LEAST: Span = Span::days(7);
/// And one for which something is undecided after this.
const UNDECIDED: Span = Span::hours(1);
/// How many secrets a finding names.
const NAMED: usize = 5;

impl Engine {
    /// Assesses the nodes that are due. Says how many there were.
    pub fn nodes_once(&self, tick: &Tick) -> Result<usize> {
        let now = tick.now;
        let claims = self.store.write(&rules(), now, |tx| timer::claim(tx, loops::NODE, now, &self.holder, schedule::LEASE, BATCH))?;
        for some in claims.chunks(CHUNK) {
            self.store.try_write(&rules(), now, |tx| {
                for claim in some {
                    let next = match node::lock(tx, NodeId(claim.subject))? {
                        Some(n) if n.retired_at.is_none() => Some(one(tx, &n, tick)?),
                        _ => None,
                    };
                    timer::done(tx, loops::NODE, claim, next)?;
                }
                Ok::<_, Error>(())
            })?;
        }
        self.manifest_key_once(tick)?;
        Ok(claims.len())
    }
}

/// Assesses a node whose row is taken. Says when time alone changes the answer.
pub(super) fn one(tx: &mut Tx<'_>, n: &Node, tick: &Tick) -> Result<Time> {
    if n.is_joined() {
        adopt(tx, n, tick)?;
    }
    let (concerns, mut next) = says(tx, n, tick.now)?;
    // What could not be decided may be, once a rollout ended or another version was stored.
    if n.is_joined() && node::installs(tx, n.id)?.iter().any(|i| i.version == 0) {
        next = next.min(tick.now + UNDECIDED);
    }
    let again = concern::replace(tx, &subject(&n.name), &concerns, tick.now)?;
    Ok(again.map_or(next, |a| a.min(next)))
}

fn says(tx: &mut Tx<'_>, n: &Node, now: Time) -> Result<(Vec<Concern>, Time)> {
    let (mut concerns, mut next) = (Vec::new(), now + AT_LEAST);
    let (mut teams, mut names) = (Vec::new(), Vec::new());
    for i in node::installs(tx, n.id)? {
        let Some(s) = secret::get(tx, i.secret)? else { continue };
        let team = team_of(tx, "", "", Some(&s))?;
        if i.failed_at.is_some() && n.is_joined() {
            let detail = if i.detail.is_empty() { String::from("it does not say why") } else { pki::text::escape(&i.detail) };
            concerns.push(Concern {
                code: Code::InstallFailed,
                about: s.name.clone(),
                level: Level::Notice,
                teams: vec![team.clone()],
                until: None,
                detail: format!(
                    "node {} says that it could not install version {} of {} ({}, tried {} times): {detail}",
                    n.name,
                    i.version,
                    s.name,
                    if i.state.is_empty() { "failed" } else { &i.state },
                    i.attempts.max(1),
                ),
                next_step: format!(
                    "read the agent's log on {}; it tries again by itself, and `perennial node show {}` says how it goes",
                    n.name, n.name
                ),
                once: false,
            });
        }
        if !teams.contains(&team) {
            teams.push(team);
        }
        names.push(s.name);
    }
    let about = |code, detail: String, next_step: String| Concern {
        code,
        about: String::new(),
        level: Level::Notice,
        teams: teams.clone(),
        until: None,
        detail,
        next_step,
        once: code == Code::NodeCloned,
    };
    if let Some(joined) = n.joined_at.filter(|_| n.is_joined()) {
        let heard = n.seen_at.unwrap_or(joined).max(joined);
        if heard + SILENT_AFTER <= now {
            let detail = format!(
                "nothing was heard of the agent on node {} since {heard}; until it is back nothing new reaches it: {}",
                n.name,
                some(&names, NAMED)
            );
            let next_step =
                format!("see whether perennial-agent runs on {} and reaches the store; what it has installed is served on", n.name);
            concerns.push(about(Code::NodeSilent, detail, next_step));
        } else {
            next = next.min(heard + SILENT_AFTER);
        }
        if let Some(off) = n.clock_off.filter(|off| off.abs() > CLOCK_TOLERANCE.as_secs()) {
            let (by, way) = (Span::seconds(off.abs()), if off > 0 { "ahead of" } else { "behind" });
            let detail =
                format!("the clock of node {} is {by} {way} the store's; it gets no certificate that it would call not yet valid", n.name);
            concerns.push(about(
                Code::NodeClock,
                detail,
                format!("set the clock of {}, or the store's; chrony or systemd-timesyncd keep one right", n.name),
            ));
        }
    }
    if n.cloned_at.is_some() {
        let detail = format!("node {} exists twice: {}; it gets no key until somebody says which one it is", n.name, n.cloned);
        let next_step = format!(
            "find out who runs with a copy of its agent's folder, end that one, then: perennial node rejoin {} --reason \"…\"",
            n.name
        );
        concerns.push(about(Code::NodeCloned, detail, next_step));
    }
    Ok((concerns, next))
}

/// Some names, and how many more.
pub(super) fn some(names: &[String], most: usize) -> String {
    let mut text = names.iter().take(most).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > most {
        text += &format!(", and {} more", names.len() - most);
    }
    text
}
