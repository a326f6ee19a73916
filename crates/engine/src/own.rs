//! The store as its own subject: findings about itself, the certificate of its own API, alerts that stand.

use crate::{
    Engine, Error, Result, Tick, look, loops,
    message::{Kind, Message},
    ports::{Parcel, Post},
    tell,
    vault::{Import, Incoming},
};
use domain::{
    Span, delivery,
    finding::{Code, Finding, Subject},
    policy::Level,
    told::{self, Due, Told},
    words::{Backends, Offer, SecretId, TargetId, TargetState},
};
use serde_json::json;
use store::{
    Actor,
    journal::Entry,
    meta,
    model::{future, incident, inventory, notice, outbox, secret, target},
    timer,
};

/// What begins with this is the store's own, and not the inventory file's.
pub const PREFIX: &str = "perennial-";
/// Secret, target and roots of a server's own API begin with this; its authority's fingerprint follows, so that several servers on
/// one database each keep their own.
pub const API: &str = "perennial-api-";
/// Notices of the store itself are kept under this.
const STORE: SecretId = SecretId(0);
/// A finding of the store is told again after this long.
const REMIND_AFTER: Span = Span::days(1);

impl Engine {
    /// What the rules say about the store itself.
    pub fn own_findings(&self, tick: &Tick) -> Result<Vec<Finding>> {
        let mut all: Vec<Finding> = self.sweep_finding(tick)?.into_iter().collect();
        let find = |code, detail| Finding::new(code, Level::Notice, Subject::Store(code), detail);
        if let domain::clock::Belief::Doubted(reasons) = &tick.clock {
            let detail =
                format!("{}; closings wait, openings are grouped; when it is right, say so: perennial clock confirm", reasons.join("; "));
            all.push(find(Code::ClockNotBelieved, detail));
        }
        let since = tick.now - delivery::REPORTED_FOR;
        let failing = self.store.read(|tx| outbox::failing(tx, i64::from(delivery::REPORT_AFTER), since))?;
        if !failing.is_empty() {
            all.push(find(Code::Undeliverable, undelivered(&failing)));
        }
        let locked = self.locked_contacts()?;
        if !locked.is_empty() {
            let (n, why) = (locked.len(), if self.is_open() { "the secret that each names has no version" } else { "the store is sealed" });
            let next = if self.is_open() { "store it: perennial secret put" } else { "open it: perennial unseal" };
            let detail = format!("{n} contacts cannot be reached, because {why}: {}; {next}", some(&locked));
            all.push(find(Code::ContactsLocked, detail));
        }
        Ok(all)
    }

    /// Tells the default owner about them, once a day while they stay. Says how many.
    pub fn own_once(&self, tick: &Tick) -> Result<usize> {
        let findings = self.own_findings(tick)?;
        let before = self.store.read(|tx| notice::told(tx, STORE, tick.now))?;
        let key = |f: &Finding| f.subject.to_string();
        let over: Vec<&Told> = before.iter().filter(|t| t.stands && !findings.iter().any(|f| key(f) == t.key)).collect();
        let due = |f: &&Finding| matches!(told::due(&before, &key(f), REMIND_AFTER, tick.now), Due::Now { .. });
        let due: Vec<&Finding> = findings.iter().filter(due).collect();
        if over.is_empty() && due.is_empty() {
            return Ok(0);
        }
        self.store.try_write(&crate::rules(), tick.now, |tx| {
            // Another server may have told it meanwhile, and there is no row that both would take.
            tx.turn("own notices")?;
            if notice::told(tx, STORE, tick.now)? != before {
                return Ok(0);
            }
            for gone in &over {
                notice::end(tx, STORE, &gone.key, tick.now)?;
            }
            let team = inventory::setting(tx, "default_owner")?.unwrap_or_default();
            for f in &due {
                let again = before.iter().any(|t| t.stands && t.key == key(f));
                let message = Message {
                    teams: vec![team.clone()],
                    code: f.code.to_string(),
                    since: f.since.map(|t| t.to_string()),
                    next_step: String::from("look at perennial status"),
                    ..Message::new(
                        Kind::Notice,
                        format!("{}/{}", tell::prefix(tx)?, f.subject),
                        format!("the store itself: {}", f.detail),
                        tick.now,
                    )
                };
                tell::send(tx, &team, &message, tick.now)?;
                // The way to the default owner may be the one that does not work.
                if matches!(f.code, Code::Undeliverable | Code::ContactsLocked)
                    && !tell::contacts(tx, &team)?.iter().any(|c| c == tell::LOG)
                {
                    tell::send_to(tx, &team, tell::LOG, &message, tick.now)?;
                }
                let row = notice::Notice {
                    id: tx.next_id("notice")?,
                    secret: STORE,
                    key: key(f),
                    code: f.code.to_string(),
                    rung: None,
                    again,
                    team: team.clone(),
                    at: tick.now,
                    until: None,
                    detail: f.detail.clone(),
                    ended_at: None,
                };
                notice::insert(tx, &row)?;
                tx.journal(Entry::new("store.finding", "store", "", &json!({ "code": f.code.as_str(), "detail": f.detail })))?;
            }
            Ok::<_, Error>(due.len())
        })
    }

    /// Raises the high-water mark of a clock that is believed.
    pub fn note_time(&self, tick: &Tick) -> Result<()> {
        if tick.clock.is_believed() {
            self.store.write(&crate::rules(), tick.now, |tx| meta::raise_high_water(tx, tick.now))?;
        }
        Ok(())
    }

    /// A person says that the clock is right now, although something spoke against it. What a clock that was ahead has left in the
    /// future is brought back, and everything is due: nothing waits for a moment that will not come.
    pub fn confirm_clock(&self, reason: &str, actor: &Actor, tick: &Tick) -> Result<()> {
        Ok(self.store.write(actor, tick.now, |tx| {
            let before = meta::set_high_water(tx, tick.now)?;
            let brought_back = future::bring_back(tx, tick.now)?;
            let doubts = match &tick.clock {
                domain::clock::Belief::Believed => &[][..],
                domain::clock::Belief::Doubted(reasons) => reasons,
            };
            let body = json!({ "before": before.unix(), "after": tick.now.unix(), "brought_back": brought_back, "doubts": doubts });
            tx.journal(Entry::new("clock.confirmed", "store", reason, &body))
        })?)
    }

    /// Puts the certificate of the store's own API under its own care: a version without key, and a target where it listens.
    pub fn register_api(&self, chain_pem: &str, roots_pem: &str, host: &str, port: u16, actor: &Actor, tick: &Tick) -> Result<()> {
        let leaf = pki::load(chain_pem.as_bytes(), None, pki::Limits::default())
            .ok()
            .and_then(|l| l.certificates.into_iter().next())
            .ok_or_else(|| Error::Outside("the API's own certificate cannot be read".into()))?;
        let ca = pki::load(roots_pem.as_bytes(), None, pki::Limits::default()).ok().and_then(|l| l.certificates.into_iter().next());
        let ca = ca.map(|c| c.fingerprint().to_string()).unwrap_or_default();
        let name = format!("{API}{}", ca.get(..8).unwrap_or(&ca));
        let name = name.as_str();
        let current = self.store.read(|tx| {
            let Some(s) = secret::by_name(tx, name)? else { return Ok(false) };
            Ok(secret::instances(tx, s.id, Some(s.newest_version))?.iter().any(|i| i.leaf == leaf.fingerprint()))
        })?;
        if !current {
            let import = Import {
                name,
                instances: vec![Incoming { scope: "all".into(), chain: chain_pem.as_bytes().to_vec(), key: None, password: None }],
                accept_change: true,
                roots: None,
                reason: "the store's own API",
                dry_run: false,
            };
            let prepared = self.prepare(import, tick)?;
            self.store_all(&[prepared], &mut |_| {}, actor, tick)?;
        }
        self.store.try_write(actor, tick.now, |tx| {
            inventory::put(tx, inventory::ROOTS, name, vec![roots_pem.into()])?;
            let Some(s) = secret::by_name(tx, name)? else { return Ok::<_, Error>(()) };
            let stored = target::by_name(tx, name)?;
            let id = match &stored {
                Some(t) => t.facts.id,
                None => TargetId(tx.next_id("target")?),
            };
            let t = target::Target {
                facts: domain::words::Target {
                    id,
                    name: name.into(),
                    declared_at: stored.as_ref().map_or(tick.now, |t| t.facts.declared_at),
                    state: TargetState::Active,
                    drained_until: None,
                    production: true,
                    backends: Backends::Direct,
                    server_name: String::from("localhost"),
                    region: String::new(),
                    required_vantages: vec![crate::LOCAL.into()],
                    offers: vec![Offer::All],
                    authority: target::authority(host, i64::from(port)),
                    names_without_sni: false,
                    key_types: Vec::new(),
                    required_since: std::collections::BTreeMap::new(),
                    retired: None,
                    baseline: None,
                },
                secret: s.id,
                kind: "endpoint".into(),
                protocol: "tls".into(),
                host: host.into(),
                port: i64::from(port),
                stamp: String::new(),
                service: String::new(),
                team: String::new(),
                roots: name.into(),
                optional_vantages: Vec::new(),
                check_name: true,
                retired_at: None,
                served: domain::target::Served::Unknown,
                worst: None,
                current: 0,
                shows: 0,
                required: 0,
                level: Level::Info,
                observed_at: None,
            };
            target::put(tx, &t)?;
            look::wake_vantages(tx, &t, tick.now)?;
            timer::set_earlier(tx, loops::SECRET, s.id.0, tick.now)?;
            Ok(())
        })
    }

    /// Posts the alerts of open incidents again: an Alertmanager forgets what it is not told again. Says how many.
    pub fn repost_alerts(&self, post: &dyn Post, tick: &Tick) -> Result<usize> {
        let parcels = self.store.read(|tx| {
            let mut parcels = Vec::new();
            for it in incident::list_page(tx, true, None, 1000)? {
                let line = format!("{}/incident/{}|", tell::prefix(tx)?, it.facts.id);
                for o in outbox::latest_of_lines(tx, &line)? {
                    let told = o.state == outbox::DELIVERED && o.channel.contains("\"alertmanager\"");
                    // An alert at a contact that left the inventory ends there by itself.
                    if told && tell::contacts(tx, &o.team).is_ok_and(|all| all.contains(&o.channel)) {
                        parcels.push(Parcel { id: o.id, channel: o.channel, message: o.message, secret: None });
                    }
                }
            }
            Ok(parcels)
        })?;
        if !parcels.is_empty() {
            post.post(&parcels, tick.now);
        }
        Ok(parcels.len())
    }
}

/// Names shown in a sentence.
const SHOWN: usize = 5;

fn some(names: &[String]) -> String {
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len() - more].join(", ");
    if more > 0 { format!("{shown}, and {more} more") } else { shown }
}

fn undelivered(failing: &[outbox::Failing]) -> String {
    let sum = |n: fn(&outbox::Failing) -> i64| failing.iter().map(n).sum::<i64>();
    let (tried, lost) = (sum(|f| f.tried), sum(|f| f.lost));
    let mut parts = Vec::new();
    if tried > 0 {
        parts.push(format!("{tried} messages failed at least {} times and are still tried", delivery::REPORT_AFTER));
    }
    if lost > 0 {
        parts.push(format!(
            "{lost} messages of the last {} were refused, or given up after {}",
            delivery::REPORTED_FOR,
            delivery::GIVE_UP_AFTER
        ));
    }
    let nobody = |team: &str| if team.is_empty() { String::from("nobody") } else { pki::text::escape(team) };
    let teams: Vec<String> = failing.iter().map(|f| nobody(&f.team)).collect();
    format!("{}; to {}", parts.join("; "), some(&teams))
}
