//! By which policy a secret goes out: what the inventory says, in the words of the rules.

use crate::Result;
use api::fleet::{self, RolloutPolicy, WaveOf};
use domain::{
    Span,
    rollout::{
        Kind, Policy,
        policy::{CRITICAL, Rule, STANDARD, Scope},
    },
    words::SecretId,
};
use serde_json::{Value, json};
use store::{
    StoreError, Tx, Value as Column,
    model::{inventory, issuance},
};

/// What the inventory calls a policy, in the words of the rules.
pub(crate) fn of_inventory(p: &RolloutPolicy) -> Policy {
    let computed = if p.name == CRITICAL { Policy::critical() } else { Policy::standard() };
    let span = |period: Option<fleet::Period>| period.map(|p| Span::seconds(p.as_secs()));
    let scope = |of: WaveOf| match of {
        WaveOf::Canary => Scope::Canary,
        WaveOf::Stamp => Scope::Stamp,
        WaveOf::Region => Scope::Region,
        WaveOf::Rest => Scope::Rest,
        WaveOf::All => Scope::All,
    };
    let rule = |w: &fleet::Wave| Rule { of: scope(w.of), share: w.share_percent.unwrap_or(100), soak: span(w.soak).unwrap_or(Span::ZERO) };
    Policy {
        name: p.name.clone(),
        waves: p.waves.iter().map(rule).collect(),
        regions: p.regions.clone(),
        quarantine: p.quarantine_percent.unwrap_or(computed.quarantine),
        patience: span(p.patience).unwrap_or(computed.patience),
        roll_back: p.roll_back,
    }
}

/// What is wrong with policies that only their rules can tell, each with its place.
pub(crate) fn problems(all: &[RolloutPolicy], problems: &mut Vec<String>) {
    for (i, p) in all.iter().enumerate() {
        let critical = p.name == CRITICAL || all.iter().any(|other| other.emergency.as_ref() == Some(&p.name));
        // That there are none was said by its form.
        let said = of_inventory(p).problems(critical).into_iter().filter(|_| !p.waves.is_empty());
        problems.extend(said.map(|problem| format!("rollout_policy[{i}]: {problem}")));
    }
}

/// The name of a secret's policy, where the inventory names one.
pub(super) fn name_of(tx: &mut Tx<'_>, secret: SecretId) -> Result<Option<String>> {
    Ok(issuance::get(tx, secret)?.map(|i| i.rollout_policy).filter(|name| !name.is_empty()))
}

/// The policy by which a secret goes out now, as it is kept with a rollout.
///
/// # Errors
/// What the database says.
pub fn of_secret(tx: &mut Tx<'_>, secret: SecretId, kind: Kind) -> Result<String> {
    let name = name_of(tx, secret)?.filter(|n| n != fleet::rollout::BY_HAND).unwrap_or_else(|| STANDARD.into());
    let declared = declared(tx, &name)?;
    let policy = if kind.is_critical() && name != CRITICAL {
        let emergency = declared.and_then(|d| d.emergency).unwrap_or_else(|| CRITICAL.into());
        self::declared(tx, &emergency)?.map_or_else(Policy::critical, |p| of_inventory(&p))
    } else {
        match declared {
            Some(p) => of_inventory(&p),
            None if name == CRITICAL => Policy::critical(),
            None => Policy::standard(),
        }
    };
    Ok(text(&policy))
}

fn declared(tx: &mut Tx<'_>, name: &str) -> Result<Option<RolloutPolicy>> {
    match inventory::row(tx, inventory::ROLLOUT_POLICY, name)?.as_deref() {
        Some([Column::Text(text)]) => {
            let policy: RolloutPolicy = serde_json::from_str(text).map_err(|e| corrupt(&e.to_string()))?;
            Ok(Some(RolloutPolicy { name: name.to_owned(), ..policy }))
        }
        _ => Ok(None),
    }
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt { what: format!("a rollout policy: {what}") }
}

/// A policy as a rollout keeps it.
pub(super) fn text(p: &Policy) -> String {
    let waves: Vec<Value> = p.waves.iter().map(|w| json!({ "of": w.of.as_str(), "share": w.share, "soak": w.soak.as_secs() })).collect();
    json!({ "name": p.name, "waves": waves, "regions": p.regions, "quarantine": p.quarantine, "patience": p.patience.as_secs(),
        "roll_back": p.roll_back })
    .to_string()
}

/// A policy as a rollout has kept it.
pub(super) fn parse(text: &str) -> Result<Policy> {
    let v: Value = serde_json::from_str(text).map_err(|e| corrupt(&e.to_string()))?;
    let number = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
    let rule = |w: &Value| {
        Some(Rule { of: Scope::parse(w["of"].as_str()?)?, share: number(&w["share"])?, soak: Span::seconds(w["soak"].as_i64()?) })
    };
    let read = || {
        Some(Policy {
            name: v["name"].as_str()?.to_owned(),
            waves: v["waves"].as_array()?.iter().map(rule).collect::<Option<Vec<_>>>()?,
            regions: v["regions"].as_array()?.iter().filter_map(|r| r.as_str().map(str::to_owned)).collect(),
            quarantine: number(&v["quarantine"])?,
            patience: Span::seconds(v["patience"].as_i64()?),
            roll_back: v["roll_back"].as_bool()?,
        })
    };
    Ok(read().ok_or_else(|| corrupt(text))?)
}

/// What the policy of a rollout is called, for people.
pub fn title(text: &str) -> String {
    parse(text).map_or_else(|_| String::from("unknown"), |p| pki::text::escape(&p.name))
}

/// How much of a wave may be left behind, in percent, and after which time, by a policy as a rollout has kept it.
pub(crate) fn leaves_behind(text: &str) -> Result<(u32, Span)> {
    let policy = parse(text)?;
    Ok((policy.quarantine, policy.patience))
}
