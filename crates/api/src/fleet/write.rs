//! From a [`Fleet`] to the TOML that a person would have written: defaults left out, comments where
//! something is to be known.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::drills::Drill;
use super::issuing::{DnsUpdate, Issuer, Maintenance, TsigAlgorithm};
use super::model::{Contact, Fleet, Management, Override, Policy, Renewal, Secret, Target};
use super::planning::{Calendar, Partition, Train};
use super::read::{
    ALGORITHMS, BACKENDS, CHALLENGES, CLASSES, DRILL_KINDS, ISSUER_KINDS, KEY_CHOICES, KEY_TYPES, KEYS_AT, MANAGEMENTS, OFFERS, PROFILES,
    RENEWALS, SECRET_KINDS, TARGET_KINDS, TARGET_STATES,
};
use super::rollout::RolloutPolicy;
use super::values::Period;

/// Comments that go with a fleet: above the whole file, and above the secrets and targets with a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// Lines at the top of the file.
    pub head: Vec<String>,
    /// Lines above a secret, by its name.
    pub secrets: BTreeMap<String, Vec<String>>,
    /// Lines above a target, by its name.
    pub targets: BTreeMap<String, Vec<String>>,
}

/// The fleet as TOML; parsing it again gives an equal fleet.
pub fn write(fleet: &Fleet) -> String {
    write_with_notes(fleet, &Notes::default())
}

/// The fleet as TOML with comments. Whatever a note holds, it stays a comment.
pub fn write_with_notes(fleet: &Fleet, notes: &Notes) -> String {
    let mut o = Out(String::new());
    o.comments(&notes.head);
    let plain = Target::default();
    if fleet.fleet != super::Settings::default() {
        o.head("[fleet]", &[]);
        o.text_if("default_owner", fleet.fleet.default_owner.as_ref());
        o.text_if("baseline", fleet.fleet.baseline.as_ref());
    }
    for team in &fleet.teams {
        o.head("[[team]]", &[]);
        o.text("name", &team.name);
        o.text_if("escalation", team.escalation.as_ref());
        o.raw("contacts", &format!("[{}]", team.contacts.iter().map(contact).collect::<Vec<_>>().join(", ")));
    }
    for service in &fleet.services {
        o.head("[[service]]", &[]);
        o.text("name", &service.name);
        o.text("team", &service.team);
        o.text_if("calendar", service.calendar.as_ref());
        o.text_if("train", service.train.as_ref());
        o.text_if("partition", service.partition.as_ref());
    }
    for region in &fleet.regions {
        o.head("[[region]]", &[]);
        o.text("name", &region.name);
        o.list("needs", region.needs.iter().map(String::as_str));
    }
    for stamp in &fleet.stamps {
        o.head("[[stamp]]", &[]);
        o.text("name", &stamp.name);
        o.text("region", &stamp.region);
    }
    for vantage in &fleet.vantages {
        o.head("[[vantage]]", &[]);
        o.text("name", &vantage.name);
        o.flag("required", vantage.required, true);
    }
    for roots in &fleet.roots {
        o.head("[[roots]]", &[]);
        o.text("name", &roots.name);
        o.text_if("file", roots.file.as_ref());
        o.text_if("pem", roots.pem.as_ref());
    }
    for p in &fleet.policies {
        policy(&mut o, p);
    }
    for c in &fleet.calendars {
        calendar(&mut o, c);
    }
    for t in &fleet.trains {
        train(&mut o, t);
    }
    for p in &fleet.partitions {
        partition(&mut o, p);
    }
    for i in &fleet.issuers {
        issuer(&mut o, i);
    }
    for p in &fleet.rollout_policies {
        rollout_policy(&mut o, p);
    }
    for s in &fleet.secrets {
        o.head("[[secret]]", notes.secrets.get(&s.name).map_or(&[], Vec::as_slice));
        secret(&mut o, s);
    }
    for n in &fleet.nodes {
        o.head("[[node]]", &[]);
        o.text("name", &n.name);
        o.text("region", &n.region);
        o.text_if("stamp", n.stamp.as_ref());
        o.flag("canary", n.canary, false);
        o.list("secrets", n.secrets.iter().map(String::as_str));
    }
    for t in &fleet.targets {
        o.head("[[target]]", notes.targets.get(&t.name).map_or(&[], Vec::as_slice));
        target(&mut o, t, &plain);
    }
    for d in &fleet.drills {
        drill(&mut o, d);
    }
    o.0
}

fn drill(o: &mut Out, d: &Drill) {
    let plain = Drill::default();
    o.head("[[drill]]", &[]);
    o.text("name", &d.name);
    o.text("secret", &d.secret);
    if d.kind != plain.kind {
        o.text("kind", word(d.kind, &DRILL_KINDS));
    }
    o.text_if("every", Some(&d.every).filter(|e| **e != plain.every));
    o.text_if("within", Some(&d.within).filter(|w| **w != plain.within));
    o.text_if("team", d.team.as_ref());
    o.text_if("node", d.node.as_ref());
    o.text_if("region", d.region.as_ref());
}

fn policy(o: &mut Out, p: &Policy) {
    o.head("[[policy]]", &[]);
    o.text("name", &p.name);
    o.text("class", word(p.class, &CLASSES));
    o.text_if("notice", p.notice.as_ref());
    o.text_if("incident", p.incident.as_ref());
    o.text_if("interval", p.interval.as_ref());
    o.text_if("unobserved_after", p.unobserved_after.as_ref());
}

fn calendar(o: &mut Out, c: &Calendar) {
    o.head("[[calendar]]", &[]);
    o.text("name", &c.name);
    o.text("zone", &c.zone);
    for f in &c.freezes {
        o.head("[[calendar.freeze]]", &[]);
        o.text("why", &f.why);
        o.text_if("from", f.from.as_ref());
        o.text_if("until", f.until.as_ref());
        o.text_if("weekly", f.weekly.as_ref());
        o.text_if("start", f.start.as_ref());
        o.text_if("lasts", f.lasts.as_ref());
        o.text_if("rule", f.rule.as_ref());
    }
}

fn train(o: &mut Out, t: &Train) {
    o.head("[[train]]", &[]);
    o.text("name", &t.name);
    o.text_if("calendar", t.calendar.as_ref());
    o.text("start", &t.start.to_string());
    o.text("rule", &t.rule);
    if t.capacity != Train::default().capacity {
        o.raw("capacity", &t.capacity.to_string());
    }
}

fn partition(o: &mut Out, p: &Partition) {
    o.head("[[partition]]", &[]);
    o.text("name", &p.name);
    o.flag("one_region_per_certificate", p.one_region_per_certificate, false);
    o.number_if("max_targets_per_certificate", p.max_targets_per_certificate);
    o.flag("no_expiry_in_freeze", p.no_expiry_in_freeze, false);
    o.list("no_expiry_on", p.no_expiry_on.iter().map(String::as_str));
    o.number_if("min_days_between", p.min_days_between);
    o.number_if("max_share_percent", p.max_share_percent);
    o.text_if("window", p.window.as_ref());
}

fn issuer(o: &mut Out, i: &Issuer) {
    o.head("[[issuer]]", &[]);
    o.text("name", &i.name);
    o.text("kind", word(i.kind, &ISSUER_KINDS));
    o.text_if("region", i.region.as_ref());
    o.text_if("fallback", i.fallback.as_ref());
    if let Some(budget) = i.budget {
        o.raw("budget", &format!("{{ orders = {}, window = {} }}", budget.orders, quote(&budget.window.to_string())));
    }
    o.text_if("crl", i.crl.as_ref());
    o.text_if("directory", i.directory.as_ref());
    o.list("contact", i.contact.iter().map(String::as_str));
    o.text_if("eab_key_id", i.eab_key_id.as_ref());
    o.text_if("eab_secret", i.eab_secret.as_ref());
    o.text_if("profile", i.profile.as_ref());
    o.text_if("chain", i.chain.as_ref());
    o.text_if("challenge", i.challenge.map(|c| word(c, &CHALLENGES)).as_ref());
    if let Some(DnsUpdate { server, zone, key_name, key_secret, algorithm, servers }) = &i.dns {
        let mut fields = [("server", server), ("zone", zone), ("key_name", key_name), ("key_secret", key_secret)]
            .map(|(key, value)| format!("{key} = {}", quote(value)))
            .join(", ");
        if *algorithm != TsigAlgorithm::default() {
            fields.push_str(&format!(", algorithm = {}", quote(word(*algorithm, &ALGORITHMS))));
        }
        if !servers.is_empty() {
            let servers: Vec<String> = servers.iter().map(|server| quote(server)).collect();
            fields.push_str(&format!(", servers = [{}]", servers.join(", ")));
        }
        o.raw("dns", &format!("{{ {fields} }}"));
    }
    o.text_if("dns_hook", i.dns_hook.as_ref());
    o.text_if("roots", i.roots.as_ref());
}

fn rollout_policy(o: &mut Out, p: &RolloutPolicy) {
    o.head("[[rollout_policy]]", &[]);
    o.text("name", &p.name);
    o.list("regions", p.regions.iter().map(String::as_str));
    o.number_if("quarantine_percent", p.quarantine_percent);
    o.text_if("patience", p.patience.as_ref());
    o.flag("roll_back", p.roll_back, true);
    o.text_if("emergency", p.emergency.as_ref());
    for w in &p.waves {
        o.head("[[rollout_policy.wave]]", &[]);
        o.text("of", w.of.word());
        o.number_if("share_percent", w.share_percent);
        o.text_if("soak", w.soak.as_ref());
    }
}

fn secret(o: &mut Out, s: &Secret) {
    o.text("name", &s.name);
    o.text("kind", word(s.kind, &SECRET_KINDS));
    o.text_if("team", s.team.as_ref());
    o.text_if("service", s.service.as_ref());
    if s.management != Management::default() {
        o.text("management", word(s.management, &MANAGEMENTS));
    }
    if s.renewal != Renewal::default() {
        o.text("renewal", word(s.renewal, &RENEWALS));
    }
    o.flag("release_bound", s.release_bound, false);
    o.text_if("policy", s.policy.as_ref());
    if let Some(Override { notice, incident, reason }) = &s.overrides {
        let period = |key: &str, value: &Option<Period>| value.map(|v| format!("{key} = {}, ", quote(&v.to_string())));
        let inner = [period("notice", notice), period("incident", incident)].into_iter().flatten().collect::<String>();
        o.raw("override", &format!("{{ {inner}reason = {} }}", quote(reason)));
    }
    o.list("names", s.names.iter().map(String::as_str));
    o.list("issuers", s.issuers.iter().map(String::as_str));
    o.text_if("validation", s.validation.as_ref());
    o.text_if("dns_provider", s.dns_provider.as_ref());
    o.text_if("expires", s.expires.as_ref());
    o.list("issued_by", s.issued_by.iter().map(String::as_str));
    o.text_if("profile", s.profile.map(|p| word(p, &PROFILES)).as_ref());
    o.text_if("keys", s.keys.map(|k| word(k, &KEYS_AT)).as_ref());
    o.text_if("key_type", s.key_type.map(|k| word(k, &KEY_CHOICES)).as_ref());
    o.text_if("lifetime", s.lifetime.as_ref());
    o.text_if("spiffe_id", s.spiffe_id.as_ref());
    if let Some(Maintenance { zone, weekly }) = &s.window {
        let zone = zone.as_ref().map(|z| format!("zone = {}, ", quote(z))).unwrap_or_default();
        o.raw("window", &format!("{{ {zone}weekly = {} }}", quote(weekly)));
    }
    o.text_if("rollout", s.rollout.as_ref());
}

fn target(o: &mut Out, t: &Target, plain: &Target) {
    o.text("name", &t.name);
    o.text("secret", &t.secret);
    if t.kind != plain.kind {
        o.text("kind", word(t.kind, &TARGET_KINDS));
    }
    o.text_if("endpoint", t.endpoint.as_ref());
    o.text_if("server_name", t.server_name.as_ref());
    o.flag("names_without_sni", t.names_without_sni, false);
    o.text_if("region", t.region.as_ref());
    o.text_if("stamp", t.stamp.as_ref());
    o.text_if("service", t.service.as_ref());
    o.text_if("team", t.team.as_ref());
    if t.state != plain.state {
        o.text("state", word(t.state, &TARGET_STATES));
    }
    o.text_if("drained_until", t.drained_until.as_ref());
    o.flag("production", t.production, true);
    if t.backends != plain.backends {
        o.text("backends", word(t.backends, &BACKENDS));
    }
    o.text_if("roots", t.roots.as_ref());
    if t.vantages != plain.vantages {
        // An empty list differs from an absent one, so it is written.
        o.raw("vantages", &array(t.vantages.iter().map(String::as_str)));
    }
    o.list("optional_vantages", t.optional_vantages.iter().map(String::as_str));
    if t.offers != plain.offers {
        o.raw("offers", &array(t.offers.iter().map(|x| word(*x, &OFFERS))));
    }
    o.list("key_types", t.key_types.iter().map(|x| word(*x, &KEY_TYPES)));
    o.list("nodes", t.nodes.iter().map(String::as_str));
}

fn contact(contact: &Contact) -> String {
    let mut fields = Vec::new();
    let mut add = |key: &str, value: &str| fields.push(format!("{key} = {}", quote(value)));
    match contact {
        Contact::Log {} => add("channel", "log"),
        Contact::Webhook { url, signing_secret } => {
            add("channel", "webhook");
            add("url", url);
            if let Some(secret) = signing_secret {
                add("signing_secret", secret);
            }
        }
        Contact::Alertmanager { url } => {
            add("channel", "alertmanager");
            add("url", url);
        }
        Contact::Pagerduty { routing_key, url } => {
            add("channel", "pagerduty");
            add("routing_key", routing_key);
            if let Some(url) = url {
                add("url", url);
            }
        }
    }
    format!("{{ {} }}", fields.join(", "))
}

fn word<'w, T: PartialEq>(value: T, words: &[(&'w str, T)]) -> &'w str {
    words.iter().find(|(_, v)| *v == value).map_or("", |(word, _)| word)
}

fn array<'s>(items: impl Iterator<Item = &'s str>) -> String {
    format!("[{}]", items.map(quote).collect::<Vec<_>>().join(", "))
}

/// A TOML basic string; everything that could confuse a reader is written as an escape.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if unsafe_to_show(c) => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Control characters, and those that reorder or hide text.
fn unsafe_to_show(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{61c}')
}

struct Out(String);

impl Out {
    fn head(&mut self, title: &str, notes: &[String]) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.comments(notes);
        self.0.push_str(title);
        self.0.push('\n');
    }

    fn comments(&mut self, lines: &[String]) {
        for line in lines {
            self.0.push('#');
            if !line.is_empty() {
                self.0.push(' ');
            }
            for c in line.chars() {
                if unsafe_to_show(c) { self.0.extend(c.escape_unicode()) } else { self.0.push(c) }
            }
            self.0.push('\n');
        }
    }

    fn raw(&mut self, key: &str, value: &str) {
        for part in [key, " = ", value, "\n"] {
            self.0.push_str(part);
        }
    }

    fn text(&mut self, key: &str, value: &str) {
        // Certificates stay readable as lines; nothing else in a fleet has any.
        if value.contains("-----BEGIN ")
            && !value.contains("'''")
            && value.lines().all(|l| !l.contains(unsafe_to_show))
            && !value.contains('\r')
        {
            return self.raw(key, &format!("'''\n{value}'''"));
        }
        self.raw(key, &quote(value));
    }

    fn text_if(&mut self, key: &str, value: Option<&impl ToString>) {
        if let Some(value) = value {
            self.text(key, &value.to_string());
        }
    }

    fn number_if(&mut self, key: &str, value: Option<u32>) {
        if let Some(value) = value {
            self.raw(key, &value.to_string());
        }
    }

    fn flag(&mut self, key: &str, value: bool, absent: bool) {
        if value != absent {
            self.raw(key, if value { "true" } else { "false" });
        }
    }

    fn list<'s>(&mut self, key: &str, items: impl Iterator<Item = &'s str>) {
        let text = array(items);
        if text != "[]" {
            self.raw(key, &text);
        }
    }
}
