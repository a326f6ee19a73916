//! Rollout policies: their form. Which waves make sense, the server says.

use super::super::model::Fleet;
use super::super::place::Path;
use super::{Check, Names};

/// Most waves of a policy.
const MAX_WAVES: usize = 20;

pub(super) fn rollouts(c: &mut Check, fleet: &Fleet, names: &Names<'_>) {
    for (i, p) in fleet.rollout_policies.iter().enumerate() {
        let at = || Path::item("rollout_policy", i);
        if p.waves.is_empty() || p.waves.len() > MAX_WAVES {
            c.say(at(), format!("a rollout policy has 1 to {MAX_WAVES} waves; add [[rollout_policy.wave]] with of = \"rest\""));
        }
        if p.name == super::super::rollout::BY_HAND {
            c.say(at().key("name"), "by-hand stands for no policy; give it another name");
        }
        c.distinct(&p.regions, &|| at().key("regions"));
        for (j, region) in p.regions.iter().enumerate().take(super::super::MAX_LIST) {
            c.refer(region, "region", &names.regions, || at().key("regions").index(j));
        }
        if let Some(other) = p.emergency.as_ref().filter(|o| o.as_str() != "critical") {
            c.refer(other, "rollout_policy", &names.rollout_policies, || at().key("emergency"));
        }
    }
    for (i, s) in fleet.secrets.iter().enumerate() {
        // What exists without being declared.
        if let Some(policy) = s.rollout.as_ref().filter(|p| !["standard", "critical", super::super::rollout::BY_HAND].contains(&p.as_str()))
        {
            c.refer(policy, "rollout_policy", &names.rollout_policies, || Path::item("secret", i).key("rollout"));
        }
    }
}
