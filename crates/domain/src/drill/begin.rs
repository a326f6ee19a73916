//! What stands against a drill before it begins. All of it at once.

use super::Kind;
use alloc::{format, string::String, vec::Vec};

/// What is known of what a drill would use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The secret's name, escaped.
    pub secret: String,
    /// Why the store cannot issue a new version of it by itself; none where it can.
    pub not_renewed: Option<String>,
    /// Its targets.
    pub targets: u64,
    /// Of these: production.
    pub production: u64,
    /// Of these: not observed on what they should serve.
    pub behind: u64,
    /// Whether its runway is below its incident threshold, or nobody knows it.
    pub short: bool,
    /// An incident that is open on it.
    pub incident: Option<i64>,
    /// A rollout of it that is not over.
    pub rollout: Option<i64>,
    /// A drill that is not over in the same service, or on the same secret: its number, and its name, escaped.
    pub running: Option<(i64, String)>,
    /// Whether the inventory names it as the canary of an alert drill.
    pub declared_canary: bool,
    /// Targets behind the node or region that is to fail; none where there is no such node or region.
    pub hit: Option<u64>,
}

/// Something that stands against a drill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Against {
    /// A word for machines.
    pub code: &'static str,
    /// The sentence.
    pub detail: String,
}

/// What stands against a drill; nothing where it may begin.
///
/// A rotation may be the cure: it is never refused because time is short. A fault is only ever made where everything is well.
pub fn against(kind: Kind, f: &Facts) -> Vec<Against> {
    let mut said = Vec::new();
    let mut say = |code: &'static str, detail: String| said.push(Against { code, detail });
    let name = &f.secret;
    if let Some(why) = &f.not_renewed {
        say("not-renewed", format!("the store cannot issue a new version of {name}: {why}"));
    }
    if f.targets == 0 {
        say("no-target", format!("nothing says where {name} is used, so nothing could be measured; declare a target"));
    }
    if let Some((id, other)) = &f.running {
        let detail = format!(
            "drill {id} ({other}) is on its way in the same service; wait for it (perennial drill show {id}), or end it: \
             perennial drill abort {id} --reason \"…\""
        );
        say("drill-running", detail);
    }
    if let Some(rollout) = f.rollout {
        say("rollout-running", format!("rollout {rollout} of {name} is not over; wait for it"));
    }
    if kind == Kind::Alert {
        if !f.declared_canary {
            say(
                "not-a-canary",
                format!(
                    "no [[drill]] of kind \"alert\" in the inventory names {name}; a certificate runs out only where that was declared"
                ),
            );
        }
        if f.production > 0 {
            say(
                "production",
                format!(
                    "{} of the {} targets of {name} are production; a certificate runs out only where nobody depends on it (production = false)",
                    f.production, f.targets
                ),
            );
        }
    }
    if let Some(incident) = f.incident.filter(|_| kind.is_fault() || kind == Kind::Alert) {
        say("open-incident", format!("incident {incident} is open on {name}; it goes first"));
    }
    if kind.is_fault() {
        if f.short {
            say("short-runway", format!("{name} is below its incident threshold, or was never observed; nothing is made to fail there"));
        }
        if f.behind > 0 {
            say(
                "not-well",
                format!(
                    "{} of the {} targets of {name} do not show what they should; a fault is made only where everything is well",
                    f.behind, f.targets
                ),
            );
        }
        match f.hit {
            None => say(
                "no-such-place",
                format!("no node that is to have {name} is what this drill names; see perennial node list, and correct its node or region"),
            ),
            Some(0) => say("hits-nothing", format!("no target of {name} stands behind what is to fail; name its nodes in [[target]]")),
            Some(hit) if hit >= f.targets => {
                say(
                    "hits-everything",
                    format!("every target of {name} stands behind what is to fail; a fault drill needs others that go on"),
                );
            }
            Some(_) => {}
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Facts {
        Facts { secret: "www".into(), targets: 10, declared_canary: true, hit: Some(1), ..Facts::default() }
    }

    #[test]
    fn what_stands_against_which_kind() {
        let codes = |kind, f: &Facts| against(kind, f).iter().map(|a| a.code).collect::<Vec<_>>();
        let (rotation, alert, node) = (Kind::Rotation, Kind::Alert, Kind::NodeDown);
        for kind in Kind::ALL {
            assert_eq!(codes(*kind, &well()), [""; 0], "{kind}");
        }
        for (f, of_rotation, of_alert, of_node) in [
            (Facts { not_renewed: Some("no issuer".into()), ..well() }, &["not-renewed"][..], &["not-renewed"][..], &["not-renewed"][..]),
            (Facts { running: Some((3, "monthly".into())), ..well() }, &["drill-running"], &["drill-running"], &["drill-running"]),
            (Facts { rollout: Some(3), ..well() }, &["rollout-running"], &["rollout-running"], &["rollout-running"]),
            (Facts { incident: Some(3), ..well() }, &[], &["open-incident"], &["open-incident"]),
            (Facts { short: true, ..well() }, &[], &[], &["short-runway"]),
            (Facts { behind: 1, ..well() }, &[], &[], &["not-well"]),
            (Facts { production: 1, ..well() }, &[], &["production"], &[]),
            (Facts { declared_canary: false, ..well() }, &[], &["not-a-canary"], &[]),
            (Facts { hit: None, ..well() }, &[], &[], &["no-such-place"]),
            (Facts { hit: Some(0), ..well() }, &[], &[], &["hits-nothing"]),
            (Facts { hit: Some(10), ..well() }, &[], &[], &["hits-everything"]),
            (Facts { hit: Some(9), ..well() }, &[], &[], &[]),
        ] {
            assert_eq!(codes(rotation, &f), of_rotation, "{f:?}");
            assert_eq!(codes(alert, &f), of_alert, "{f:?}");
            assert_eq!(codes(node, &f), of_node, "{f:?}");
        }
        let bad = Facts { targets: 0, short: true, incident: Some(1), hit: None, ..Facts::default() };
        assert_eq!(codes(Kind::RegionCut, &bad), ["no-target", "open-incident", "short-runway", "no-such-place"], "all at once");
    }
}
