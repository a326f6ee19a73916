//! What agents say: claims. They make others look, are shown to people, and close nothing.

use super::{
    Agent,
    identity::{clock_off, cloned, heard, words},
    is_cloned, subject,
};
use crate::{Engine, Error, Result, Tick, look::wake_vantages, loops, rules};
use api::agent::{InstallReport, InstallState, MOST_INSTALLS, Report, Taken};
use domain::{Fingerprint, Span, Time, words::NodeId};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use store::{
    Actor, Tx,
    journal::Entry,
    meta,
    model::{
        incident,
        node::{self, Install, Node},
        target,
    },
    timer,
};

/// Longest detail that is kept of what an agent says, in bytes; the rest stays in its own log.
const MOST_DETAIL: usize = 1000;

impl Engine {
    /// Takes in what agents say, each by the certificate that it presented: many in one transaction, each answered by itself.
    ///
    /// # Errors
    /// The database. What stands against one of them is in its answer.
    pub fn reports(&self, all: &[(Fingerprint, Report)], tick: &Tick) -> Result<Vec<Result<Taken>>> {
        self.store.try_write(&agents(), tick.now, |tx| {
            let epoch = meta::identity(tx)?.epoch;
            let mut answers = Vec::with_capacity(all.len());
            for (presented, report) in all {
                answers.push(match Engine::recognise_in(tx, presented, epoch, tick.now)? {
                    Ok(agent) if agent.expired => Err(super::has_expired()),
                    Ok(agent) => one(tx, agent.node, report, tick)?,
                    Err(refused) => Err(refused),
                });
            }
            Ok::<_, Error>(answers)
        })
    }

    /// These agents asked for their manifest, and those got one: batches, so that ten thousand of them are a few transactions.
    ///
    /// # Errors
    /// The database.
    pub fn heard_of(&self, asked: &BTreeSet<NodeId>, told: &BTreeMap<NodeId, i64>, tick: &Tick) -> Result<()> {
        let asked: Vec<NodeId> = asked.iter().copied().collect();
        let told: Vec<(NodeId, i64)> = told.iter().map(|(node, generation)| (*node, *generation)).collect();
        self.store.try_write(&rules(), tick.now, |tx| {
            // Whoever was silent is assessed anew: that it is back is news.
            for id in node::heard_before(tx, &asked, tick.now - super::SILENT_AFTER)? {
                timer::set_earlier(tx, loops::NODE, id.0, tick.now)?;
            }
            node::seen(tx, &asked, tick.now)?;
            Ok(node::told(tx, &told, tick.now)?)
        })
    }

    /// Writes down that an agent asks again and again for what it is not to have.
    ///
    /// # Errors
    /// The database.
    pub fn note_refused(&self, agent: &Agent, what: &str, times: u32, tick: &Tick) -> Result<()> {
        let body = json!({ "what": what, "times": times });
        Ok(self.store.write(&agent.actor(), tick.now, |tx| tx.journal(Entry::new("node.refused", subject(&agent.node.name), "", &body)))?)
    }
}

/// Reports of several agents are one transaction; each entry of the journal names its node.
fn agents() -> Actor {
    Actor::new("node", "agents")
}

/// One report, of a node whose row is taken. Nothing is written before it is known to be well-formed.
fn one(tx: &mut Tx<'_>, mut n: Node, report: &Report, tick: &Tick) -> Result<Result<Taken>> {
    let (off, said) = match read(report, tick.now) {
        Ok(read) => read,
        Err(refused) => return Ok(Err(refused)),
    };
    let twice = heard(&mut n, &report.instance, tick.now);
    let wrong = |off: i64| off.abs() > super::CLOCK_TOLERANCE.as_secs();
    let mut changed = wrong(off) != n.clock_off.is_some_and(wrong) || n.seen_at.is_none_or(|at| at + super::SILENT_AFTER <= tick.now);
    n.clock_off = Some(off);
    n.seen_at = Some(tick.now);
    n.reported_at = Some(tick.now);
    n.acted = report.generation.clamp(0, n.generation);
    n.agent.clone_from(&report.agent);
    node::put(tx, &n)?;
    for (i, name) in node::named_installs(tx, n.id)? {
        if let Some(said) = said.get(name.as_str()) {
            changed |= take(tx, &n, i, &name, said, tick)?;
        }
    }
    if changed {
        timer::set_earlier(tx, loops::NODE, n.id.0, tick.now)?;
    }
    if let Some(how) = twice {
        let name = n.name.clone();
        cloned(tx, n, &how, tick.now)?;
        return Ok(Err(is_cloned(&name)));
    }
    Ok(Ok(Taken { clock: tick.now.to_string() }))
}

fn read(report: &Report, now: Time) -> Result<(i64, BTreeMap<&str, Said<'_>>)> {
    words(&[&report.agent, &report.instance])?;
    if report.installs.len() > MOST_INSTALLS {
        let problem = format!("a report names at most {MOST_INSTALLS} secrets, this one {}", report.installs.len());
        return Err(Error::refused("too-many-installs", problem));
    }
    let said = report.installs.iter().map(|r| Ok((r.secret.as_str(), Said::read(r)?))).collect::<Result<_>>()?;
    Ok((clock_off(&report.clock, now)?, said))
}

/// One install as it was said, read.
struct Said<'r> {
    state: InstallState,
    version: i64,
    leaf: Option<Fingerprint>,
    detail: &'r str,
    attempts: i64,
}

impl<'r> Said<'r> {
    fn read(r: &'r InstallReport) -> Result<Said<'r>> {
        let leaf = r.leaf.as_deref().map(|text| Fingerprint::parse(text).map_err(|_| bad("leaf is no fingerprint"))).transpose()?;
        Time::parse(&r.at).map_err(|_| bad("at is no time"))?;
        let mut end = r.detail.len().min(MOST_DETAIL);
        while !r.detail.is_char_boundary(end) {
            end -= 1;
        }
        Ok(Said { state: r.state, version: r.version, leaf, detail: &r.detail[..end], attempts: i64::from(r.attempts) })
    }

    fn word(&self) -> &'static str {
        match self.state {
            InstallState::Unconfigured => "unconfigured",
            InstallState::Fetching => "fetching",
            InstallState::Installed => "installed",
            InstallState::Unseen => "unseen",
            InstallState::RolledBack => "rolled-back",
            InstallState::Failed => "failed",
        }
    }
}

fn bad(what: &str) -> Error {
    Error::refused("bad-report", what)
}

/// Takes in what was said of one secret. Says whether that was news; then whoever looks at its targets looks at once.
fn take(tx: &mut Tx<'_>, n: &Node, before: Install, name: &str, said: &Said<'_>, tick: &Tick) -> Result<bool> {
    let now = tick.now;
    let done = matches!(said.state, InstallState::Installed | InstallState::Unseen) && said.version == before.version;
    let failed = matches!(said.state, InstallState::Failed | InstallState::RolledBack);
    let acts_on_it = n.acted >= before.generation && before.version > 0;
    let mut after = Install {
        state: said.word().to_owned(),
        has: said.version,
        leaf: said.leaf,
        attempts: said.attempts,
        detail: said.detail.replace('\0', ""),
        ..before.clone()
    };
    // What it says of a manifest that it has not seen yet is about the version before.
    if acts_on_it {
        after.told_at = after.told_at.or(Some(now));
        if done {
            after.installed_at = after.installed_at.or(Some(now));
            after.failed_at = None;
        } else if failed {
            after.failed_at = after.failed_at.or(Some(now));
            after.installed_at = None;
        }
    }
    let news = (&after.state, after.has, after.leaf, after.installed_at, after.failed_at)
        != (&before.state, before.has, before.leaf, before.installed_at, before.failed_at);
    if after != before {
        node::put_install(tx, &after)?;
    }
    if !news {
        return Ok(false);
    }
    for id in node::targets_of(tx, n.id, before.secret)? {
        if let Some(t) = target::get(tx, id)? {
            wake_vantages(tx, &t, now)?;
        }
    }
    if let Some(rollout) = before.rollout {
        timer::set_earlier(tx, loops::ROLLOUT, rollout.0, now)?;
    }
    if acts_on_it && failed {
        in_incidents(tx, n, &before, name, &after)?;
    }
    if acts_on_it && said.state == InstallState::RolledBack {
        crate::drills::put_back(tx, n.id, before.secret, now)?;
    }
    let body = json!({ "node": n.name, "state": after.state, "version": after.has, "wanted": after.version,
        "leaf": after.leaf.map(|l| l.to_string()), "attempts": after.attempts, "detail": after.detail });
    tx.journal(Entry::new("node.reported", subject(&n.name), name, &body))?;
    Ok(true)
}

/// A version that would end an incident could not be installed: the incident's journal says so too. It opens and closes none, since what is
/// served is as it was, and whether that is well the observations say.
fn in_incidents(tx: &mut Tx<'_>, n: &Node, before: &Install, name: &str, after: &Install) -> Result<()> {
    for id in incident::open_of(tx, before.secret)? {
        let body = json!({ "node": n.name, "secret": name, "version": before.version, "state": after.state, "detail": after.detail });
        tx.journal(Entry::new("incident.install-failed", format!("incident/{id}"), "", &body))?;
    }
    Ok(())
}

/// After so long without a word, a word is written down: most agents ask every minute.
pub const HEARD_AGAIN: Span = Span::minutes(5);
