//! Nodes, what each is to have, and which of them stand behind a target.

use super::Apply;
use crate::{Error, Result, Tick, loops, nodes};
use api::fleet::{self, Fleet};
use domain::words::{NodeId, SecretId};
use std::collections::{BTreeMap, BTreeSet};
use store::{
    Tx,
    model::{node, target},
    timer,
};

/// Nodes read in one piece.
const PAGE: i64 = 1000;

impl Apply<'_> {
    pub(super) fn nodes(&mut self, tx: &mut Tx<'_>, fleet: &Fleet, secrets: &BTreeMap<String, SecretId>, tick: &Tick) -> Result<()> {
        let mut declared = BTreeMap::new();
        let has = node::secrets_of_all(tx)?;
        let nothing = BTreeMap::new();
        let mut given: BTreeMap<SecretId, Vec<String>> = BTreeMap::new();
        for wanted in &fleet.nodes {
            let stored = node::by_name(tx, &wanted.name)?;
            let known = stored.as_ref().and_then(|n| has.get(&n.id)).unwrap_or(&nothing);
            let mut is: Vec<&str> = wanted.secrets.iter().map(String::as_str).collect();
            is.sort_unstable();
            let was: Vec<&str> = known.keys().map(String::as_str).collect();
            match &stored {
                Some(before) => {
                    declared.insert(wanted.name.clone(), before.id);
                    let fields = node_diff(before, wanted, &was, &is);
                    if fields.is_empty() {
                        continue;
                    }
                    self.changed("node", &wanted.name, fields);
                }
                None => self.added("node", &wanted.name),
            }
            if self.writes {
                let id = declare(tx, stored, wanted, tick)?;
                declared.insert(wanted.name.clone(), id);
                let gone = known.iter().filter(|(name, _)| !is.contains(&name.as_str()));
                let mut fewer = false;
                for (_, (secret, version)) in gone {
                    node::remove_install(tx, id, *secret)?;
                    fewer |= *version > 0;
                }
                if fewer {
                    node::advance(tx, id, self.now)?;
                }
                for name in is.iter().filter(|name| !known.contains_key(**name)) {
                    let secret = secrets.get(*name).ok_or_else(|| Error::not_found("secret", name))?;
                    node::put_install(tx, &node::Install::new(id, *secret))?;
                    given.entry(*secret).or_default().push(wanted.name.clone());
                }
                // What is new on it is decided by the loop, which tells the owners too.
                timer::set_earlier(tx, loops::NODE, id.0, self.now)?;
            }
        }
        for (secret, names) in given {
            nodes::given(tx, secret, &names, self.actor, self.now)?;
        }
        let mut after = NodeId(i64::MIN);
        loop {
            let page = node::all(tx, after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for n in page.into_iter().filter(|n| !declared.contains_key(&n.name)) {
                self.gone("node", &n.name);
                if self.writes && self.options.prune {
                    nodes::retired(tx, n.id, self.now)?;
                }
            }
        }
        self.behind(tx, fleet, &declared)
    }

    /// Which nodes stand behind which target.
    fn behind(&mut self, tx: &mut Tx<'_>, fleet: &Fleet, nodes: &BTreeMap<String, NodeId>) -> Result<()> {
        let stored = node::behind_all(tx)?;
        let nothing = BTreeSet::new();
        // What is added says so once.
        let added = self.changes.iter().filter(|c| c.what == "add" && c.kind == "target").map(|c| c.name.clone());
        let added: BTreeSet<String> = added.collect();
        for wanted in &fleet.targets {
            let is: BTreeSet<&str> = wanted.nodes.iter().map(String::as_str).collect();
            let was = stored.get(&wanted.name).unwrap_or(&nothing);
            if is.iter().copied().eq(was.iter().map(String::as_str)) {
                continue;
            }
            let Some(found) = target::by_name(tx, &wanted.name)? else { continue };
            let join = |names: Vec<&str>| names.join(", ");
            let (before, after) = (join(was.iter().map(String::as_str).collect()), join(is.iter().copied().collect()));
            if !added.contains(&wanted.name) {
                self.changed("target", &wanted.name, vec![("nodes".into(), before, after)]);
            }
            if self.writes {
                target::lock(tx, found.facts.id)?;
                let ids: Vec<NodeId> = is.iter().filter_map(|name| nodes.get(*name).copied()).collect();
                node::put_of_target(tx, found.facts.id, &ids)?;
                timer::set_earlier(tx, loops::TARGET, found.facts.id.0, self.now)?;
            }
        }
        Ok(())
    }
}

/// Writes what is declared of a node; one that had left comes back, and has to join again.
fn declare(tx: &mut Tx<'_>, stored: Option<node::Node>, wanted: &fleet::Node, tick: &Tick) -> Result<NodeId> {
    let place = |n: node::Node| node::Node {
        region: wanted.region.clone(),
        stamp: wanted.stamp.clone().unwrap_or_default(),
        canary: wanted.canary,
        retired_at: None,
        ..n
    };
    match stored {
        Some(known) => {
            let taken = node::lock(tx, known.id)?.unwrap_or(known);
            let id = taken.id;
            node::put(tx, &place(taken))?;
            Ok(id)
        }
        None => {
            let id = NodeId(tx.next_id("node")?);
            node::insert(tx, &place(node::Node::new(id, &wanted.name, tick.now)))?;
            Ok(id)
        }
    }
}

fn node_diff(b: &node::Node, a: &fleet::Node, was: &[&str], is: &[&str]) -> Vec<super::Field> {
    super::diff(vec![
        ("region", b.region.clone(), a.region.clone()),
        ("stamp", b.stamp.clone(), a.stamp.clone().unwrap_or_default()),
        ("canary", b.canary.to_string(), a.canary.to_string()),
        ("secrets", was.join(", "), is.join(", ")),
        ("retired", b.retired_at.is_some().to_string(), String::from("false")),
    ])
}
