//! Drills: their form, and that an alert drill lets nothing run out that anybody depends on.

use super::super::drills::{Drill, DrillKind};
use super::super::model::{Fleet, SecretKind};
use super::super::place::Path;
use super::super::values::quoted;
use super::{Check, Names};

/// Drills are not due more often than this, in seconds: each costs a certificate.
const LEAST_EVERY: i64 = 3_600;
/// Nor more seldom, in seconds: people and machines are others after a year.
const MOST_EVERY: i64 = 366 * 86_400;
/// The shortest and the longest time within which a drill may have to be over, in seconds: a fleet that needs more than a day has no
/// emergency path.
const WITHIN: std::ops::RangeInclusive<i64> = 60..=86_400;

pub(super) fn drills(c: &mut Check, fleet: &Fleet, names: &Names<'_>) {
    for (i, d) in fleet.drills.iter().enumerate() {
        drill(c, fleet, names, d, &|| Path::item("drill", i));
    }
}

fn drill(c: &mut Check, fleet: &Fleet, names: &Names<'_>, d: &Drill, at: &dyn Fn() -> Path) {
    let secret = c.refer(&d.secret, "secret", &names.secrets, || at().key("secret")).and_then(|i| fleet.secrets.get(i));
    if secret.is_some_and(|s| s.kind != SecretKind::Certificate) {
        c.say(
            at().key("secret"),
            format!("{} is no certificate, so nothing could be rotated or run out; name a certificate", quoted(&d.secret)),
        );
    }
    c.refer_if(d.team.as_ref(), "team", &names.teams, || at().key("team"));
    c.refer_if(d.node.as_ref(), "node", &names.nodes, || at().key("node"));
    c.refer_if(d.region.as_ref(), "region", &names.regions, || at().key("region"));
    if !(LEAST_EVERY..=MOST_EVERY).contains(&d.every.as_secs()) {
        c.say(at().key("every"), format!("a drill is due every 1h to every 366d, not every {}", d.every));
    }
    if !WITHIN.contains(&d.within.as_secs()) {
        c.say(at().key("within"), format!("a drill is to be over within 1m to 1d, not {}", d.within));
    }
    let asks_node = matches!(d.kind, DrillKind::NodeDown | DrillKind::StaleReload);
    let asks_region = d.kind == DrillKind::RegionCut;
    match (asks_node, &d.node) {
        (true, None) => c.say(at(), "this kind of drill needs the node that fails; add node = \"…\""),
        (false, Some(_)) => c.say(at().key("node"), "only node-down and stale-reload name a node; leave it out"),
        _ => {}
    }
    match (asks_region, &d.region) {
        (true, None) => c.say(at(), "this kind of drill needs the region that is cut off; add region = \"…\""),
        (false, Some(_)) => c.say(at().key("region"), "only region-cut names a region; leave it out"),
        _ => {}
    }
    if d.kind == DrillKind::Alert
        && let Some(t) = fleet.targets.iter().find(|t| t.secret == d.secret && t.production)
    {
        let message = format!(
            "an alert drill lets {} run out, and {} is production; say production = false there, or choose another secret",
            quoted(&d.secret),
            quoted(&t.name)
        );
        c.say(at().key("secret"), message);
    }
}
