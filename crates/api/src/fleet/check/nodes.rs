//! Nodes: where they are, and what they are to have.

use std::collections::BTreeSet;

use super::super::model::{Fleet, Management, SecretKind, Target};
use super::super::nodes::Node;
use super::super::place::Path;
use super::super::values::quoted;
use super::super::{MAX_LIST, MAX_NODE_SECRETS};
use super::{Check, Names};

pub(super) fn node(c: &mut Check, fleet: &Fleet, names: &Names<'_>, n: &Node, at: &dyn Fn() -> Path) {
    c.refer(&n.region, "region", &names.regions, || at().key("region"));
    let stamp = c.refer_if(n.stamp.as_ref(), "stamp", &names.stamps, || at().key("stamp"));
    if let Some(stamp) = stamp.and_then(|i| fleet.stamps.get(i))
        && n.region != stamp.region
    {
        let message = format!("stamp {} lies in region {}; correct one of the two", quoted(&stamp.name), quoted(&stamp.region));
        c.say(at().key("stamp"), message);
    }
    // A certificate's scope is `all`, a region or a node, by name alone.
    if n.name == "all" {
        c.say(at().key("name"), "\"all\" stands for every node; choose a different name");
    } else if names.regions.contains_key(n.name.as_str()) {
        c.say(
            at().key("name"),
            format!("there is a region {}; choose a different name, certificates are made for one or the other", quoted(&n.name)),
        );
    }
    if n.secrets.len() > MAX_NODE_SECRETS {
        c.say(at().key("secrets"), format!("more than {MAX_NODE_SECRETS} secrets on one node"));
        return;
    }
    c.distinct(&n.secrets, &|| at().key("secrets"));
    for (i, name) in n.secrets.iter().enumerate() {
        let path = || at().key("secrets").index(i);
        let Some(secret) = c.refer(name, "secret", &names.secrets, path).and_then(|s| fleet.secrets.get(s)) else { continue };
        if secret.kind != SecretKind::Certificate || secret.management != Management::Managed {
            c.say(path(), format!("{} is no certificate that the store manages; an agent installs nothing else", quoted(name)));
        }
    }
}

/// What each node is to have, to be asked and never walked.
pub(super) type Has<'f> = BTreeSet<(usize, &'f str)>;

pub(super) fn has(fleet: &Fleet) -> Has<'_> {
    let mut has = Has::new();
    for (at, node) in fleet.nodes.iter().enumerate() {
        has.extend(node.secrets.iter().map(|s| (at, s.as_str())));
    }
    has
}

pub(super) fn behind(c: &mut Check, names: &Names<'_>, has: &Has<'_>, t: &Target, at: &dyn Fn() -> Path) {
    c.distinct(&t.nodes, &|| at().key("nodes"));
    for (i, name) in t.nodes.iter().enumerate().take(MAX_LIST) {
        let path = || at().key("nodes").index(i);
        let Some(node) = c.refer(name, "node", &names.nodes, path) else { continue };
        if !has.contains(&(node, t.secret.as_str())) {
            let (name, secret) = (quoted(name), quoted(&t.secret));
            c.say(path(), format!("node {name} is not to have {secret}; add it to that node's secrets, or leave the node out here"));
        }
    }
}
