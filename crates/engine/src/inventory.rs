//! Putting the declared inventory in place: idempotent, all or nothing; what leaves is retired, never forgotten.

mod drills;
mod issuing;
mod nodes;
mod planning;

pub use planning::wake_plans;

use crate::{Engine, Error, Refusal, Result, Tick, assess, intent::Intent, look::wake_vantages, loops, own::PREFIX, retire, vault::blank};
use api::fleet::{self as model, self as fleet, Fleet};
use domain::{
    Span, Time, required,
    target::Served,
    words::{Backends, KeyType, Kind, Management, Offer, Renewal, SecretId, TargetId, TargetState},
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use store::{
    Actor, Tx, Value,
    journal::Entry,
    model::{incident, inventory as rows, inventory::Table, secret, target},
    timer,
};

/// For how long after its adoption what was bad at first goes to the one baseline incident.
pub const BASELINE: Span = Span::days(1);

/// One difference between what is declared and what is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `add`, `change`, `retire`, or `left-over` (it would be retired with `--prune`).
    pub what: &'static str,
    /// `team`, `target`, …
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Field, before, after.
    pub fields: Vec<(String, String, String)>,
}

/// What applying did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// In the order of kinds and names.
    pub changes: Vec<Change>,
    /// SHA-256 of the changes: what was looked at is what is done.
    pub plan: String,
    /// Whether anything was written.
    pub done: bool,
}

/// How to apply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Only say what would change.
    pub dry_run: bool,
    /// Retire what the file no longer names.
    pub prune: bool,
    /// Only if the changes have this hash.
    pub plan: Option<String>,
}

impl Engine {
    /// Applies an inventory.
    pub fn apply(&self, fleet: &Fleet, options: &Options, actor: &Actor, tick: &Tick) -> Result<Applied> {
        let form = fleet::validate_received(fleet, tick.now.unix()).err().unwrap_or_default();
        let mut problems: Vec<String> = form.iter().map(ToString::to_string).collect();
        planning::problems(fleet, tick.now, &mut problems);
        issuing::problems(fleet, &mut problems);
        if !problems.is_empty() {
            return Err(Error::Refused(Refusal { code: "bad-fleet", problems }));
        }
        let run = |tx: &mut Tx<'_>| -> Result<Applied> {
            let mut apply = Apply { now: tick.now, actor, options, changes: Vec::new(), writes: !options.dry_run };
            apply.settings(tx, fleet)?;
            apply.tables(tx, fleet)?;
            if apply.writes && apply.changes.iter().any(|c| c.what == "change" || c.what == "retire") {
                // Owners, policies and roots reach everything that stands under them.
                target::wake_the_fleet(tx, loops::SECRET, loops::TARGET, tick.now)?;
            }
            apply.planning(tx, fleet)?;
            apply.issuers(tx, fleet)?;
            let secrets = apply.secrets(tx, fleet)?;
            if apply.writes && apply.changes.iter().any(|c| c.kind == "secret" && c.what != "left-over") {
                wake_plans(tx, tick.now)?;
            }
            apply.targets(tx, fleet, &secrets)?;
            apply.nodes(tx, fleet, &secrets, tick)?;
            apply.drills(tx, fleet)?;
            if apply.writes && apply.changes.iter().any(|c| matches!(c.kind, "target" | "node" | "secret") && c.what != "left-over") {
                store::model::rollout::wake_open(tx, loops::ROLLOUT, tick.now)?;
            }
            let plan = pki::Fingerprint::of(format!("{:?}", apply.changes).as_bytes()).to_string();
            if let Some(wanted) = options.plan.as_ref().filter(|wanted| **wanted != plan) {
                let wanted = pki::text::escape(wanted);
                let problem = format!(
                    "the changes are no longer those of plan {wanted}: they are those of {plan}; look at them again with --dry-run"
                );
                return Err(Error::refused("plan-changed", problem));
            }
            let done = apply.writes && apply.changes.iter().any(|c| c.what != "left-over");
            if done {
                let counts = apply.changes.iter().fold(BTreeMap::new(), |mut n: BTreeMap<_, u64>, c| {
                    *n.entry(format!("{} {}", c.what, c.kind)).or_default() += 1;
                    n
                });
                let retired: BTreeMap<&String, &u64> = counts.iter().filter(|(what, _)| what.starts_with("retire ")).collect();
                if !retired.is_empty() {
                    Intent::new("prune", "inventory", json!({ "plan": plan, "changes": retired })).approved(tx, "", actor)?;
                }
                tx.journal(Entry::new("inventory.applied", "inventory", "", &json!({ "plan": plan, "changes": counts })))?;
            }
            Ok(Applied { changes: apply.changes, plan, done })
        };
        if options.dry_run { self.store.try_read(run) } else { self.store.try_write(actor, tick.now, run) }
    }
}

struct Apply<'a> {
    now: Time,
    actor: &'a Actor,
    options: &'a Options,
    changes: Vec<Change>,
    writes: bool,
}

impl Apply<'_> {
    fn settings(&mut self, tx: &mut Tx<'_>, fleet: &Fleet) -> Result<()> {
        let owner = fleet.fleet.default_owner.clone().unwrap_or_default();
        let before = rows::setting(tx, "default_owner")?.unwrap_or_default();
        if owner != before {
            self.changed("fleet", "fleet", vec![("default_owner".into(), before, owner.clone())]);
            if self.writes {
                rows::put_setting(tx, "default_owner", &owner)?;
            }
        }
        Ok(())
    }

    fn changed(&mut self, kind: &'static str, name: &str, fields: Vec<(String, String, String)>) {
        self.changes.push(Change { what: "change", kind, name: name.into(), fields });
    }

    fn added(&mut self, kind: &'static str, name: &str) {
        self.changes.push(Change { what: "add", kind, name: name.into(), fields: Vec::new() });
    }

    fn tables(&mut self, tx: &mut Tx<'_>, fleet: &Fleet) -> Result<()> {
        let json = |v: &Vec<model::Contact>| serde_json::to_string(v).unwrap_or_default();
        let span = |p: Option<fleet::Period>| p.map(fleet::Period::as_secs).into();
        let teams =
            fleet.teams.iter().map(|t| (t.name.clone(), vec![json(&t.contacts).into(), t.escalation.clone().unwrap_or_default().into()]));
        self.table(tx, rows::TEAM, teams.collect())?;
        let name = |n: &Option<String>| n.clone().unwrap_or_default().into();
        let services = fleet.services.iter().map(|s| {
            let values = vec![(&s.team).into(), name(&s.calendar), name(&s.train), name(&s.partition)];
            (s.name.clone(), values)
        });
        self.table(tx, rows::SERVICE, services.collect())?;
        let regions = fleet.regions.iter().map(|r| (r.name.clone(), vec![store::model::list_column(&r.needs).into()]));
        self.table(tx, rows::REGION, regions.collect())?;
        self.table(tx, rows::STAMP, fleet.stamps.iter().map(|s| (s.name.clone(), vec![(&s.region).into()])).collect())?;
        self.table(tx, rows::VANTAGE, fleet.vantages.iter().map(|v| (v.name.clone(), vec![v.required.into()])).collect())?;
        let roots = fleet.roots.iter().map(|r| (r.name.clone(), vec![r.pem.clone().unwrap_or_default().into()]));
        self.table(tx, rows::ROOTS, roots.collect())?;
        let policies = fleet.policies.iter().map(|p| {
            let class: Value = word(&p.class).into();
            (p.name.clone(), vec![class, span(p.notice), span(p.incident), span(p.interval), span(p.unobserved_after)])
        });
        self.table(tx, rows::POLICY, policies.collect())
    }

    fn table(&mut self, tx: &mut Tx<'_>, table: Table, wanted: BTreeMap<String, Vec<Value>>) -> Result<()> {
        let stored = rows::rows(tx, table)?;
        for (name, values) in &wanted {
            match stored.get(name) {
                Some(before) if before == values => continue,
                Some(before) => {
                    let fields = table.columns.iter().zip(before.iter().zip(values)).filter(|(_, (b, a))| b != a);
                    let fields = fields.map(|(c, (b, a))| ((*c).to_owned(), text(b), text(a))).collect();
                    self.changed(table.kind, name, fields);
                }
                None => self.changes.push(Change { what: "add", kind: table.kind, name: name.clone(), fields: Vec::new() }),
            }
            if self.writes {
                rows::put(tx, table, name, values.clone())?;
            }
        }
        for name in stored.keys().filter(|n| !wanted.contains_key(*n) && !n.starts_with(PREFIX)) {
            self.gone(table.kind, name);
            if self.writes && self.options.prune {
                rows::retire(tx, table, name, self.now)?;
                if table == rows::SERVICE {
                    crate::services::retired(tx, name, self.now)?;
                }
                if table == rows::DRILL {
                    crate::drills::retired(tx, name, self.now)?;
                }
            }
        }
        Ok(())
    }

    fn gone(&mut self, kind: &'static str, name: &str) {
        let what = if self.options.prune { "retire" } else { "left-over" };
        self.changes.push(Change { what, kind, name: name.into(), fields: Vec::new() });
    }

    fn secrets(&mut self, tx: &mut Tx<'_>, fleet: &Fleet) -> Result<BTreeMap<String, SecretId>> {
        let mut ids = BTreeMap::new();
        let mut declared = BTreeSet::new();
        for wanted in &fleet.secrets {
            declared.insert(wanted.name.clone());
            let stored = secret::by_name(tx, &wanted.name)?;
            let base = stored.clone().unwrap_or_else(|| blank(SecretId(0), &wanted.name, kind(wanted.kind), self.now));
            let mut after = declare(base, wanted);
            let issued = self.issuance(tx, stored.as_ref(), wanted)?;
            match stored {
                Some(before) if before == after => {
                    ids.insert(wanted.name.clone(), before.id);
                    if !issued.is_empty() {
                        self.changed("secret", &wanted.name, issued);
                        if self.writes {
                            timer::set_earlier(tx, loops::SECRET, before.id.0, self.now)?;
                        }
                    }
                    continue;
                }
                Some(before) => {
                    if before.kind != after.kind && before.newest_version > 0 {
                        let problem =
                            format!("secret {} is {} and holds versions; it cannot become {}", before.name, before.kind, after.kind);
                        return Err(Error::refused("kind-changed", problem));
                    }
                    self.changed("secret", &wanted.name, secret_diff(&before, &after).into_iter().chain(issued).collect());
                    ids.insert(wanted.name.clone(), before.id);
                    if self.writes {
                        // From the row as it is once it is taken: an import may have added a version meanwhile.
                        let taken = secret::lock(tx, before.id)?.unwrap_or(before.clone());
                        secret::update_declaration(tx, &declare(taken, wanted))?;
                        target::wake_all(tx, before.id, loops::TARGET, self.now)?;
                    }
                }
                None => {
                    self.changes.push(Change { what: "add", kind: "secret", name: wanted.name.clone(), fields: Vec::new() });
                    if self.writes {
                        after.id = SecretId(tx.next_id("secret")?);
                        secret::insert(tx, &after)?;
                        self.issuance(tx, Some(&after), wanted)?;
                    }
                    ids.insert(wanted.name.clone(), after.id);
                }
            }
            if self.writes {
                timer::set_earlier(tx, loops::SECRET, ids[&wanted.name].0, self.now)?;
            }
        }
        let mut after = SecretId(i64::MIN);
        loop {
            let page = secret::page(tx, after, 1000)?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for s in page.into_iter().filter(|s| s.declared && s.retired_at.is_none() && !declared.contains(&s.name)) {
                self.gone("secret", &s.name);
                if self.options.prune {
                    if incident::has_open_lines(tx, s.id)? {
                        return Err(open_incident("secret", &s.name));
                    }
                    if self.writes {
                        let taken = secret::lock(tx, s.id)?.unwrap_or(s);
                        retire::secret(tx, taken, "", self.now)?;
                    }
                }
            }
        }
        Ok(ids)
    }

    fn targets(&mut self, tx: &mut Tx<'_>, fleet: &Fleet, secrets: &BTreeMap<String, SecretId>) -> Result<()> {
        let mut declared = BTreeSet::new();
        for wanted in &fleet.targets {
            declared.insert(wanted.name.clone());
            let secret = *secrets.get(&wanted.secret).unwrap_or(&SecretId(0));
            let stored = target::by_name(tx, &wanted.name)?;
            let mut after = target_of(stored.as_ref(), wanted, secret, fleet, self.now);
            match &stored {
                Some(before) if *before == after => continue,
                Some(before) => {
                    let fields = target_diff(before, &after);
                    self.changed("target", &wanted.name, fields);
                }
                None => self.changes.push(Change { what: "add", kind: "target", name: wanted.name.clone(), fields: Vec::new() }),
            }
            if !self.writes {
                continue;
            }
            match &stored {
                Some(before) => {
                    target::lock(tx, before.facts.id)?;
                    if before.secret != after.secret {
                        store::model::finding::forget_target(tx, before.facts.id)?;
                        timer::set_earlier(tx, loops::SECRET, before.secret.0, self.now)?;
                    }
                }
                None => after.facts.id = TargetId(tx.next_id("target")?),
            }
            for vantage in stored.iter().flat_map(|b| b.facts.required_vantages.iter().chain(&b.optional_vantages)) {
                if !after.facts.required_vantages.contains(vantage) && !after.optional_vantages.contains(vantage) {
                    // Should it be asked again one day, what it knew then is no news.
                    target::forget_vantage(tx, after.facts.id, vantage)?;
                }
            }
            target::put(tx, &after)?;
            wake_vantages(tx, &after, self.now)?;
            timer::set_earlier(tx, loops::SECRET, after.secret.0, self.now)?;
        }
        let mut after = TargetId(i64::MIN);
        loop {
            let page = target::page(tx, after, 1000)?;
            let Some(last) = page.last() else { break };
            after = last.facts.id;
            for t in page
                .into_iter()
                .filter(|t| t.retired_at.is_none() && !declared.contains(&t.facts.name) && !t.facts.name.starts_with(PREFIX))
            {
                self.gone("target", &t.facts.name);
                if self.options.prune {
                    if !incident::open_lines_of_target(tx, t.facts.id)?.is_empty() {
                        return Err(open_incident("target", &t.facts.name));
                    }
                    if self.writes
                        && let Some(t) = target::lock(tx, t.facts.id)?
                    {
                        retire::target(tx, t, "", self.now)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Pruning says nothing about why. What has an open incident is retired by somebody who does.
fn open_incident(kind: &str, name: &str) -> Error {
    let first = if kind == "secret" { ", its targets first" } else { "" };
    let problem = format!(
        "{kind} {name} has lines in an open incident and cannot be pruned; end it in production, or retire it by hand{first}: \
         perennial {kind} retire {name} --reason \"…\""
    );
    Error::refused("open-incident", problem)
}

fn declare(base: secret::Secret, w: &model::Secret) -> secret::Secret {
    secret::Secret {
        kind: kind(w.kind),
        management: match w.management {
            model::Management::Managed => Management::Managed,
            model::Management::External => Management::External,
        },
        renewal: match w.renewal {
            model::Renewal::ByHand => Renewal::ByHand,
            model::Renewal::Automatic => Renewal::Automatic,
        },
        release_bound: w.release_bound,
        team: w.team.clone().unwrap_or_default(),
        service: w.service.clone().unwrap_or_default(),
        policy: w.policy.clone().unwrap_or_default(),
        override_notice: w.overrides.as_ref().and_then(|o| o.notice).map(fleet::Period::as_secs),
        override_incident: w.overrides.as_ref().and_then(|o| o.incident).map(fleet::Period::as_secs),
        override_reason: w.overrides.as_ref().map(|o| o.reason.clone()).unwrap_or_default(),
        names: w.names.clone(),
        issuers: w.issuers.clone(),
        validation: w.validation.clone().unwrap_or_default(),
        dns_provider: w.dns_provider.clone().unwrap_or_default(),
        // What is attested or stored later is not overwritten by what was declared at first.
        expires_at: base.expires_at.or(w.expires.map(|m| Time::from_unix(m.unix()))),
        declared: true,
        retired_at: None,
        ..base
    }
}

fn kind(k: model::SecretKind) -> Kind {
    match k {
        model::SecretKind::Certificate => Kind::Certificate,
        model::SecretKind::Opaque => Kind::Opaque,
        model::SecretKind::Tracked => Kind::Tracked,
    }
}

fn target_of(stored: Option<&target::Target>, w: &model::Target, secret: SecretId, fleet: &Fleet, now: Time) -> target::Target {
    let (protocol, host, port) = match &w.endpoint {
        Some(e) => (e.protocol.as_str().to_owned(), e.host.clone(), i64::from(e.port)),
        None => (String::new(), w.name.clone(), 0),
    };
    let is_address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
    let server_name = match &w.server_name {
        Some(name) => name.clone(),
        None if w.endpoint.is_some() && !is_address => host.clone(),
        None => String::new(),
    };
    // What comes back after it was retired is new, and has the patience of what is new.
    let declared_at = stored.filter(|s| s.retired_at.is_none()).map_or(now, |s| s.facts.declared_at);
    let baseline = match (stored, &fleet.fleet.baseline) {
        (Some(s), _) => s.facts.baseline.clone(),
        (None, Some(day)) => Some((day.to_string(), now + BASELINE)),
        (None, None) => None,
    };
    let facts = domain::words::Target {
        id: stored.map_or(TargetId(0), |s| s.facts.id),
        name: w.name.clone(),
        declared_at,
        state: match w.state {
            model::TargetState::Active => TargetState::Active,
            model::TargetState::Standby => TargetState::Standby,
            model::TargetState::Drained => TargetState::Drained,
        },
        drained_until: w.drained_until.map(|m| Time::from_unix(m.unix())),
        production: w.production,
        backends: match w.backends {
            model::Backends::Shared => Backends::Shared,
            model::Backends::Direct => Backends::Direct,
        },
        server_name,
        region: w.region.clone().unwrap_or_default(),
        required_vantages: w.vantages.clone(),
        offers: w.offers.iter().filter_map(|o| Offer::parse(&word(o))).collect(),
        authority: if w.endpoint.is_some() { target::authority(&host, port) } else { String::new() },
        names_without_sni: w.names_without_sni,
        key_types: w.key_types.iter().filter_map(|k| KeyType::parse(&word(k))).collect(),
        required_since: BTreeMap::new(),
        retired: None,
        baseline,
    };
    let required_since = match stored {
        Some(s) if s.retired_at.is_none() => required::required_since(&s.facts, &facts, now),
        _ => BTreeMap::new(),
    };
    let facts = domain::words::Target { required_since, ..facts };
    target::Target {
        facts,
        secret,
        kind: word(&w.kind),
        protocol,
        host,
        port,
        stamp: w.stamp.clone().unwrap_or_default(),
        service: w.service.clone().unwrap_or_default(),
        team: w.team.clone().unwrap_or_default(),
        roots: w.roots.clone().unwrap_or_default(),
        optional_vantages: w.optional_vantages.clone(),
        check_name: true,
        retired_at: None,
        served: stored.map_or(Served::Unknown, |s| s.served),
        worst: stored.and_then(|s| s.worst),
        current: stored.map_or(0, |s| s.current),
        shows: stored.map_or(0, |s| s.shows),
        required: stored.map_or(0, |s| s.required),
        level: stored.map_or(domain::policy::Level::Info, |s| s.level),
        observed_at: stored.and_then(|s| s.observed_at),
    }
}

/// The word that a value of the inventory file is written as.
fn word<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Int(n) => n.to_string(),
        Value::Text(t) => t.clone(),
        Value::Bytes(b) => format!("{} bytes", b.len()),
    }
}

type Field = (String, String, String);

fn diff(pairs: Vec<(&str, String, String)>) -> Vec<Field> {
    pairs.into_iter().filter(|(_, b, a)| b != a).map(|(f, b, a)| (f.to_owned(), b, a)).collect()
}

fn secret_diff(b: &secret::Secret, a: &secret::Secret) -> Vec<Field> {
    let o = |v: Option<i64>| v.map(|s| Span::seconds(s).to_string()).unwrap_or_default();
    diff(vec![
        ("kind", b.kind.to_string(), a.kind.to_string()),
        ("management", b.management.to_string(), a.management.to_string()),
        ("renewal", b.renewal.to_string(), a.renewal.to_string()),
        ("release_bound", b.release_bound.to_string(), a.release_bound.to_string()),
        ("team", b.team.clone(), a.team.clone()),
        ("service", b.service.clone(), a.service.clone()),
        ("policy", b.policy.clone(), a.policy.clone()),
        ("override.notice", o(b.override_notice), o(a.override_notice)),
        ("override.incident", o(b.override_incident), o(a.override_incident)),
        ("override.reason", b.override_reason.clone(), a.override_reason.clone()),
        ("names", b.names.join(", "), a.names.join(", ")),
        ("issuers", b.issuers.join(", "), a.issuers.join(", ")),
        ("validation", b.validation.clone(), a.validation.clone()),
        ("dns_provider", b.dns_provider.clone(), a.dns_provider.clone()),
        ("expires", b.expires_at.map(|t| t.to_string()).unwrap_or_default(), a.expires_at.map(|t| t.to_string()).unwrap_or_default()),
        ("declared", b.declared.to_string(), a.declared.to_string()),
        ("retired", b.retired_at.is_some().to_string(), a.retired_at.is_some().to_string()),
    ])
}

fn target_diff(b: &target::Target, a: &target::Target) -> Vec<Field> {
    let endpoint = |t: &target::Target| format!("{}://{}:{}", t.protocol, t.host, t.port);
    let offers = |t: &target::Target| t.facts.offers.iter().map(|o| o.as_str()).collect::<Vec<_>>().join(", ");
    let key_types = |t: &target::Target| t.facts.key_types.iter().map(|k| k.as_str()).collect::<Vec<_>>().join(", ");
    diff(vec![
        ("secret", b.secret.to_string(), a.secret.to_string()),
        ("kind", b.kind.clone(), a.kind.clone()),
        ("endpoint", endpoint(b), endpoint(a)),
        ("server_name", b.facts.server_name.clone(), a.facts.server_name.clone()),
        ("region", b.facts.region.clone(), a.facts.region.clone()),
        ("stamp", b.stamp.clone(), a.stamp.clone()),
        ("service", b.service.clone(), a.service.clone()),
        ("team", b.team.clone(), a.team.clone()),
        ("state", b.facts.state.to_string(), a.facts.state.to_string()),
        ("production", b.facts.production.to_string(), a.facts.production.to_string()),
        ("backends", b.facts.backends.to_string(), a.facts.backends.to_string()),
        ("roots", b.roots.clone(), a.roots.clone()),
        ("vantages", b.facts.required_vantages.join(", "), a.facts.required_vantages.join(", ")),
        ("optional_vantages", b.optional_vantages.join(", "), a.optional_vantages.join(", ")),
        ("offers", offers(b), offers(a)),
        ("names_without_sni", b.facts.names_without_sni.to_string(), a.facts.names_without_sni.to_string()),
        ("key_types", key_types(b), key_types(a)),
        ("retired", b.retired_at.is_some().to_string(), a.retired_at.is_some().to_string()),
    ])
}

/// The owner of a target, as messages name it.
pub fn owner_of(tx: &mut Tx<'_>, t: &target::Target) -> store::Result<String> {
    let s = secret::get(tx, t.secret)?;
    assess::team_of(tx, &t.team, &t.service, s.as_ref())
}
