//! From TOML to a [`Fleet`], reporting every problem of form instead of the first one.
//!
//! A derived deserializer stops at its first error, and a person who has to fix a file of a thousand
//! lines deserves the whole list. So the tree is walked by hand: whatever cannot be read is noted and
//! replaced by its default, and indexes stay those of the text.

use std::fmt::Display;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Problem;
use super::drills::{Drill, DrillKind};
use super::issuing::{Budget, Challenge, DnsUpdate, Issuer, IssuerKind, KeyChoice, KeysAt, Maintenance, Profile, TsigAlgorithm};
use super::model::{
    Backends, Class, Contact, Fleet, KeyType, Management, Offer, Override, Policy, Region, Renewal, RootSet, Secret, SecretKind, Service,
    Settings, Stamp, Target, TargetKind, TargetState, Team, Vantage,
};
use super::nodes::Node;
use super::place::Path;
use super::planning::{Calendar, Freeze, Partition, Train};
use super::rollout::{RolloutPolicy, WAVES, Wave};
use super::values::{Period, quoted};

/// Reads the tree; whatever was wrong is appended to `problems`.
pub(super) fn fleet(root: &DeTable<'_>, problems: &mut Vec<Problem>) -> Fleet {
    let mut t = Reader { table: root, at: At::Root, known: Vec::new(), problems };
    let fleet = Fleet {
        fleet: t.table("fleet", |t| Settings { default_owner: t.text("default_owner"), baseline: t.value("baseline") }).unwrap_or_default(),
        teams: t.tables("team", team),
        services: t.tables("service", |t| Service {
            name: t.needed("name"),
            team: t.needed("team"),
            calendar: t.text("calendar"),
            train: t.text("train"),
            partition: t.text("partition"),
        }),
        regions: t.tables("region", |t| Region { name: t.needed("name"), needs: t.texts("needs").unwrap_or_default() }),
        stamps: t.tables("stamp", |t| Stamp { name: t.needed("name"), region: t.needed("region") }),
        vantages: t.tables("vantage", |t| Vantage { name: t.needed("name"), required: t.flag("required", true) }),
        roots: t.tables("roots", |t| RootSet { name: t.needed("name"), pem: t.text("pem"), file: t.text("file") }),
        policies: t.tables("policy", policy),
        calendars: t.tables("calendar", |t| Calendar {
            name: t.needed("name"),
            zone: t.needed("zone"),
            freezes: t.tables("freeze", freeze),
        }),
        trains: t.tables("train", train),
        partitions: t.tables("partition", partition),
        issuers: t.tables("issuer", issuer),
        rollout_policies: t.tables("rollout_policy", rollout_policy),
        secrets: t.tables("secret", secret),
        nodes: t.tables("node", |t| Node {
            name: t.needed("name"),
            region: t.needed("region"),
            stamp: t.text("stamp"),
            canary: t.flag("canary", false),
            secrets: t.texts("secrets").unwrap_or_default(),
        }),
        targets: t.tables("target", target),
        drills: t.tables("drill", drill),
    };
    t.finish();
    fleet
}

fn team(t: &mut Reader<'_, '_>) -> Team {
    Team { name: t.needed("name"), escalation: t.text("escalation"), contacts: t.tables("contacts", contact) }
}

fn contact(t: &mut Reader<'_, '_>) -> Contact {
    let channel = t.needed("channel");
    match channel.as_str() {
        "webhook" => Contact::Webhook { url: t.needed("url"), signing_secret: t.text("signing_secret") },
        "alertmanager" => Contact::Alertmanager { url: t.needed("url") },
        "pagerduty" => Contact::Pagerduty { routing_key: t.needed("routing_key"), url: t.text("url") },
        "log" => Contact::Log {},
        other => {
            if t.table.get("channel").is_some_and(|c| c.get_ref().is_str()) {
                t.problem("channel", format!("unknown channel {}; use log, webhook, alertmanager or pagerduty", quoted(other)));
            }
            // What belongs to a channel that is unknown cannot be judged.
            t.known.extend(["url", "signing_secret", "routing_key"]);
            Contact::Log {}
        }
    }
}

fn policy(t: &mut Reader<'_, '_>) -> Policy {
    Policy {
        name: t.needed("name"),
        class: t.needed_word("class", &CLASSES),
        notice: t.value("notice"),
        incident: t.value("incident"),
        interval: t.value("interval"),
        unobserved_after: t.value("unobserved_after"),
    }
}

fn freeze(t: &mut Reader<'_, '_>) -> Freeze {
    Freeze {
        why: t.needed("why"),
        from: t.value("from"),
        until: t.value("until"),
        weekly: t.text("weekly"),
        start: t.value("start"),
        lasts: t.value("lasts"),
        rule: t.text("rule"),
    }
}

fn train(t: &mut Reader<'_, '_>) -> Train {
    let absent = Train::default();
    if t.table.get("start").is_none() {
        t.missing("start", "add start = \"2026-01-06T10:00\"");
    }
    Train {
        name: t.needed("name"),
        calendar: t.text("calendar"),
        start: t.value("start").unwrap_or(absent.start),
        rule: t.needed("rule"),
        capacity: t.number("capacity").unwrap_or(absent.capacity),
    }
}

fn partition(t: &mut Reader<'_, '_>) -> Partition {
    Partition {
        name: t.needed("name"),
        one_region_per_certificate: t.flag("one_region_per_certificate", false),
        max_targets_per_certificate: t.number("max_targets_per_certificate"),
        no_expiry_in_freeze: t.flag("no_expiry_in_freeze", false),
        no_expiry_on: t.texts("no_expiry_on").unwrap_or_default(),
        min_days_between: t.number("min_days_between"),
        max_share_percent: t.number("max_share_percent"),
        window: t.value("window"),
    }
}

fn issuer(t: &mut Reader<'_, '_>) -> Issuer {
    Issuer {
        name: t.needed("name"),
        kind: t.needed_word("kind", &ISSUER_KINDS),
        region: t.text("region"),
        fallback: t.text("fallback"),
        budget: t.table("budget", |t| {
            if t.table.get("orders").is_none() {
                t.missing("orders", "add orders = 50");
            }
            if t.table.get("window").is_none() {
                t.missing("window", "add window = \"7d\"");
            }
            Budget { orders: t.number("orders").unwrap_or(1), window: t.value("window").unwrap_or(Period::days(7)) }
        }),
        crl: t.text("crl"),
        directory: t.text("directory"),
        contact: t.texts("contact").unwrap_or_default(),
        eab_key_id: t.text("eab_key_id"),
        eab_secret: t.text("eab_secret"),
        profile: t.text("profile"),
        chain: t.text("chain"),
        challenge: t.word_if("challenge", &CHALLENGES),
        dns: t.table("dns", |t| DnsUpdate {
            server: t.needed("server"),
            zone: t.needed("zone"),
            key_name: t.needed("key_name"),
            key_secret: t.needed("key_secret"),
            algorithm: t.word("algorithm", &ALGORITHMS),
            servers: t.texts("servers").unwrap_or_default(),
        }),
        dns_hook: t.text("dns_hook"),
        roots: t.text("roots"),
    }
}

fn drill(t: &mut Reader<'_, '_>) -> Drill {
    let absent = Drill::default();
    Drill {
        name: t.needed("name"),
        secret: t.needed("secret"),
        kind: t.word("kind", &DRILL_KINDS),
        every: t.value("every").unwrap_or(absent.every),
        within: t.value("within").unwrap_or(absent.within),
        team: t.text("team"),
        node: t.text("node"),
        region: t.text("region"),
    }
}

fn rollout_policy(t: &mut Reader<'_, '_>) -> RolloutPolicy {
    RolloutPolicy {
        name: t.needed("name"),
        waves: t.tables("wave", |t| Wave {
            of: t.needed_word("of", &WAVES),
            share_percent: t.number("share_percent"),
            soak: t.value("soak"),
        }),
        regions: t.texts("regions").unwrap_or_default(),
        quarantine_percent: t.number("quarantine_percent"),
        patience: t.value("patience"),
        roll_back: t.flag("roll_back", true),
        emergency: t.text("emergency"),
    }
}

fn secret(t: &mut Reader<'_, '_>) -> Secret {
    Secret {
        name: t.needed("name"),
        kind: t.needed_word("kind", &SECRET_KINDS),
        team: t.text("team"),
        service: t.text("service"),
        management: t.word("management", &MANAGEMENTS),
        renewal: t.word("renewal", &RENEWALS),
        release_bound: t.flag("release_bound", false),
        policy: t.text("policy"),
        overrides: t.table("override", |t| Override {
            notice: t.value("notice"),
            incident: t.value("incident"),
            reason: t.needed("reason"),
        }),
        names: t.texts("names").unwrap_or_default(),
        issuers: t.texts("issuers").unwrap_or_default(),
        validation: t.text("validation"),
        dns_provider: t.text("dns_provider"),
        expires: t.value("expires"),
        issued_by: t.texts("issued_by").unwrap_or_default(),
        profile: t.word_if("profile", &PROFILES),
        keys: t.word_if("keys", &KEYS_AT),
        key_type: t.word_if("key_type", &KEY_CHOICES),
        lifetime: t.value("lifetime"),
        spiffe_id: t.text("spiffe_id"),
        window: t.table("window", |t| Maintenance { zone: t.text("zone"), weekly: t.needed("weekly") }),
        rollout: t.text("rollout"),
    }
}

fn target(t: &mut Reader<'_, '_>) -> Target {
    let absent = Target::default();
    Target {
        name: t.needed("name"),
        secret: t.needed("secret"),
        kind: t.word("kind", &TARGET_KINDS),
        endpoint: t.value("endpoint"),
        server_name: t.text("server_name"),
        names_without_sni: t.flag("names_without_sni", false),
        region: t.text("region"),
        stamp: t.text("stamp"),
        service: t.text("service"),
        team: t.text("team"),
        state: t.word("state", &TARGET_STATES),
        drained_until: t.value("drained_until"),
        production: t.flag("production", true),
        backends: t.word("backends", &BACKENDS),
        roots: t.text("roots"),
        vantages: t.texts("vantages").unwrap_or(absent.vantages),
        optional_vantages: t.texts("optional_vantages").unwrap_or_default(),
        offers: t.words("offers", &OFFERS).unwrap_or(absent.offers),
        key_types: t.words("key_types", &KEY_TYPES).unwrap_or_default(),
        nodes: t.texts("nodes").unwrap_or_default(),
    }
}

pub(super) const DRILL_KINDS: [(&str, DrillKind); 5] = [
    ("rotation", DrillKind::Rotation),
    ("alert", DrillKind::Alert),
    ("node-down", DrillKind::NodeDown),
    ("stale-reload", DrillKind::StaleReload),
    ("region-cut", DrillKind::RegionCut),
];

pub(super) const CLASSES: [(&str, Class); 5] = [
    ("leaf", Class::Leaf),
    ("private-ca", Class::PrivateCa),
    ("trust-anchor", Class::TrustAnchor),
    ("embedded", Class::Embedded),
    ("public-intermediate", Class::PublicIntermediate),
];
pub(super) const SECRET_KINDS: [(&str, SecretKind); 3] =
    [("certificate", SecretKind::Certificate), ("opaque", SecretKind::Opaque), ("tracked", SecretKind::Tracked)];
pub(super) const ISSUER_KINDS: [(&str, IssuerKind); 2] = [("internal", IssuerKind::Internal), ("acme", IssuerKind::Acme)];
pub(super) const CHALLENGES: [(&str, Challenge); 3] =
    [("http-01", Challenge::Http01), ("tls-alpn-01", Challenge::TlsAlpn01), ("dns-01", Challenge::Dns01)];
pub(super) const ALGORITHMS: [(&str, TsigAlgorithm); 3] =
    [("hmac-sha256", TsigAlgorithm::HmacSha256), ("hmac-sha384", TsigAlgorithm::HmacSha384), ("hmac-sha512", TsigAlgorithm::HmacSha512)];
pub(super) const PROFILES: [(&str, Profile); 4] =
    [("server", Profile::Server), ("client", Profile::Client), ("both", Profile::Both), ("spiffe", Profile::Spiffe)];
pub(super) const KEYS_AT: [(&str, KeysAt); 2] = [("node", KeysAt::Node), ("store", KeysAt::Store)];
pub(super) const KEY_CHOICES: [(&str, KeyChoice); 5] = [
    ("ecdsa-p256", KeyChoice::EcdsaP256),
    ("ecdsa-p384", KeyChoice::EcdsaP384),
    ("rsa-2048", KeyChoice::Rsa2048),
    ("rsa-3072", KeyChoice::Rsa3072),
    ("ed25519", KeyChoice::Ed25519),
];
pub(super) const MANAGEMENTS: [(&str, Management); 2] = [("managed", Management::Managed), ("external", Management::External)];
pub(super) const RENEWALS: [(&str, Renewal); 2] = [("by-hand", Renewal::ByHand), ("automatic", Renewal::Automatic)];
pub(super) const TARGET_KINDS: [(&str, TargetKind); 3] =
    [("endpoint", TargetKind::Endpoint), ("install", TargetKind::Install), ("artifact", TargetKind::Artifact)];
pub(super) const TARGET_STATES: [(&str, TargetState); 3] =
    [("active", TargetState::Active), ("standby", TargetState::Standby), ("drained", TargetState::Drained)];
pub(super) const BACKENDS: [(&str, Backends); 2] = [("shared", Backends::Shared), ("direct", Backends::Direct)];
pub(super) const OFFERS: [(&str, Offer); 3] = [("all", Offer::All), ("rsa", Offer::Rsa), ("ecdsa", Offer::Ecdsa)];
pub(super) const KEY_TYPES: [(&str, KeyType); 3] = [("rsa", KeyType::Rsa), ("ecdsa", KeyType::Ecdsa), ("ed25519", KeyType::Ed25519)];

/// Where the reader is, as a chain on the stack: a path is only built when there is something to say.
#[derive(Clone, Copy)]
enum At<'p> {
    Root,
    Key(&'p At<'p>, &'p str),
    Index(&'p At<'p>, usize),
}

impl At<'_> {
    fn path(&self) -> Path {
        match self {
            At::Root => Path::default(),
            At::Key(parent, key) => parent.path().key(key),
            At::Index(parent, index) => parent.path().index(*index),
        }
    }
}

/// One table that is being read. It remembers which keys were asked for; the others are unknown.
struct Reader<'a, 'p> {
    table: &'a DeTable<'a>,
    at: At<'p>,
    known: Vec<&'static str>,
    problems: &'p mut Vec<Problem>,
}

impl<'a> Reader<'a, '_> {
    fn find(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table.get(key)
    }

    fn problem(&mut self, key: &str, message: String) {
        self.problems.push(Problem::form(self.at.path().key(key), message));
    }

    fn wrong_type(&mut self, key: &str, expected: &str, found: &DeValue<'_>) {
        self.problem(key, format!("{key} should be {expected}, not {}", type_in_words(found)));
    }

    fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.find(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            other => {
                self.wrong_type(key, "a text in quotes", other);
                None
            }
        }
    }

    fn missing(&mut self, key: &'static str, how: &str) {
        self.problem(key, format!("{key} is missing; {how}"));
    }

    fn needed(&mut self, key: &'static str) -> String {
        if self.table.get(key).is_none() {
            self.missing(key, &format!("add {key} = \"…\""));
        }
        self.text(key).unwrap_or_default()
    }

    /// A value with a text form. TOML's own dates are taken as the text that they were.
    fn value<T: FromStr>(&mut self, key: &'static str) -> Option<T>
    where
        T::Err: Display,
    {
        let value = self.find(key)?;
        let parsed = match value.get_ref() {
            DeValue::String(text) => text.parse::<T>(),
            DeValue::Datetime(when) => when.to_string().parse::<T>(),
            other => {
                self.wrong_type(key, "a text in quotes", other);
                return None;
            }
        };
        parsed.map_err(|e| self.problem(key, format!("{key}: {e}"))).ok()
    }

    fn flag(&mut self, key: &'static str, absent: bool) -> bool {
        let Some(value) = self.find(key) else {
            return absent;
        };
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.wrong_type(key, "true or false (without quotes)", value.get_ref());
            absent
        })
    }

    /// A whole number that is not negative.
    fn number(&mut self, key: &'static str) -> Option<u32> {
        let value = self.find(key)?;
        let Some(number) = value.get_ref().as_integer() else {
            self.wrong_type(key, "a whole number (without quotes)", value.get_ref());
            return None;
        };
        let parsed = u32::from_str_radix(number.as_str(), number.radix()).ok();
        if parsed.is_none() {
            self.problem(key, format!("{key}: {} is not a whole number from 0 to {}", quoted(number.as_str()), u32::MAX));
        }
        parsed
    }

    fn word<T: Copy + Default>(&mut self, key: &'static str, words: &[(&str, T)]) -> T {
        let Some(text) = self.text(key) else {
            return T::default();
        };
        choose(&text, words).unwrap_or_else(|e| {
            self.problem(key, format!("{key}: {e}"));
            T::default()
        })
    }

    fn word_if<T: Copy + Default>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        if self.table.get(key).is_none() {
            self.known.push(key);
            return None;
        }
        Some(self.word(key, words))
    }

    fn needed_word<T: Copy + Default>(&mut self, key: &'static str, words: &[(&str, T)]) -> T {
        if self.table.get(key).is_none() {
            self.missing(key, &format!("use {}", one_of(words)));
        }
        self.word(key, words)
    }

    fn list(&mut self, key: &'static str) -> Option<&'a [Spanned<DeValue<'a>>]> {
        let value = self.find(key)?;
        let list = value.get_ref().as_array();
        if list.is_none() {
            self.wrong_type(key, "a list in brackets", value.get_ref());
        }
        list.map(|l| &l[..])
    }

    fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let list = self.list(key)?;
        let mut out = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            match value.get_ref() {
                DeValue::String(text) => out.push(text.clone().into_owned()),
                other => {
                    let message = format!("{key} should hold texts in quotes, not {}", type_in_words(other));
                    self.problems.push(Problem::form(self.at.path().key(key).index(index), message));
                    out.push(String::new());
                }
            }
        }
        Some(out)
    }

    fn words<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<Vec<T>> {
        let texts = self.texts(key)?;
        let mut out = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            match choose(text, words) {
                Ok(word) => out.push(word),
                Err(e) => {
                    let message = format!("{key}: {e}");
                    self.problems.push(Problem::form(self.at.path().key(key).index(index), message));
                }
            }
        }
        Some(out)
    }

    fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Reader<'_, '_>) -> T) -> Option<T> {
        let value = self.find(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type(key, "a table", value.get_ref());
            return None;
        };
        let mut inner = Reader { table, at: At::Key(&self.at, key), known: Vec::with_capacity(4), problems: &mut *self.problems };
        let out = read(&mut inner);
        inner.finish();
        Some(out)
    }

    fn tables<T>(&mut self, key: &'static str, read: impl Fn(&mut Reader<'_, '_>) -> T) -> Vec<T> {
        let Some(value) = self.find(key) else {
            return Vec::new();
        };
        let Some(list) = value.get_ref().as_array() else {
            let how = if matches!(self.at, At::Root) { format!("[[{key}]] (two brackets)") } else { "a list of tables".to_owned() };
            self.wrong_type(key, &how, value.get_ref());
            return Vec::new();
        };
        let here = At::Key(&self.at, key);
        let mut out = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            let at = At::Index(&here, index);
            let empty = DeTable::new();
            let table = value.get_ref().as_table().unwrap_or(&empty);
            if !value.get_ref().is_table() {
                let message = format!("{key} should hold tables, not {}", type_in_words(value.get_ref()));
                self.problems.push(Problem::form(at.path(), message));
            }
            let mut inner = Reader { table, at, known: Vec::with_capacity(24), problems: &mut *self.problems };
            out.push(read(&mut inner));
            inner.finish();
        }
        out
    }

    /// Whatever was not asked for is unknown: a typing error must not switch something off in silence.
    fn finish(&mut self) {
        let unknown: Vec<&str> = self.table.keys().map(|k| k.get_ref().as_ref()).filter(|k: &&str| !self.known.contains(k)).collect();
        for key in unknown {
            let near = self.known.iter().filter(|k| nearly(key, k)).min();
            let how = match near {
                Some(near) => format!("did you mean {near}?"),
                None => {
                    let mut known = self.known.clone();
                    known.sort_unstable();
                    format!("possible here: {}", known.join(", "))
                }
            };
            let message = format!("unknown key {}; {how}", quoted(key));
            self.problems.push(Problem::unknown_key(self.at.path().key(key), message));
        }
    }
}

fn choose<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    words
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| format!("unknown word {}; use {}", quoted(text), one_of(words)))
}

fn one_of<T>(words: &[(&str, T)]) -> String {
    let all: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    match all.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => all.join(""),
    }
}

fn type_in_words(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Whether two keys differ by at most two insertions, deletions or replacements.
fn nearly(a: &str, b: &str) -> bool {
    const LONGEST: usize = 32;
    if a.len() > LONGEST || a.len().abs_diff(b.len()) > 2 || b.len() < 4 {
        return false;
    }
    let b: Vec<u8> = b.bytes().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()] <= 2
}
