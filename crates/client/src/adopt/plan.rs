//! From what was found and seen to a fleet: one external secret for each certificate that is served.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::fleet::{
    Contact, Endpoint, Fleet, MAX_LIST, MAX_NAME_BYTES, MAX_TEXT_BYTES, Management, Notes, Secret, SecretKind, Settings, Target, Team,
    check_certificate_name, is_name,
};
use pki::text::escape;
use pki::{Fingerprint, Time};

use super::{Found, Reading, Stored};

/// Most lines about one thing in a comment.
const MAX_NOTES: usize = 20;
/// Longest readable part of a name; what follows keeps it unique.
const MAX_STEM_BYTES: usize = MAX_NAME_BYTES - 72;

/// What one address of a place answered when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// The place, as its index in the list that was looked at.
    pub found: usize,
    /// The address; none if the name did not resolve.
    pub address: Option<IpAddr>,
    /// The leaf, or in words why there is none.
    pub result: Result<Leaf, String>,
}

/// The facts of a leaf that an external secret expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The names that it covers.
    pub names: Vec<String>,
    /// Its issuer, as `perennial scan` shows it.
    pub issuer: String,
    /// Its end.
    pub not_after: Time,
    /// SHA-256 over the whole certificate.
    pub fingerprint: Fingerprint,
}

/// A fleet that was adopted, with the comments that say where each part came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// Sorted by name; the same input gives the same fleet.
    pub fleet: Fleet,
    /// Comments.
    pub notes: Notes,
    /// Targets that could not be seen, with the reason; declared ones alone.
    pub unseen: Vec<(String, String)>,
}

/// Plans the fleet. `looked` may name addresses in any order; `today` becomes the baseline.
///
/// A place that several addresses answer with different certificates belongs to the one that most of
/// them show. A place that a range only guessed at is dropped if nothing answered there.
pub fn plan(reading: &Reading, looked: &[Looked], default_owner: &str, today: Time) -> Adopted {
    let seen = sight(&reading.found, looked);
    let mut fleet = Fleet {
        fleet: Settings { default_owner: Some(default_owner.to_owned()), baseline: today.date().to_string().parse().ok() },
        teams: vec![Team { name: default_owner.to_owned(), escalation: None, contacts: vec![Contact::Log {}] }],
        ..Fleet::default()
    };
    let mut notes = Notes::default();
    let mut unseen = Vec::new();
    let kept: Vec<(&Found, &Sight<'_>)> =
        reading.found.iter().zip(&seen).filter(|(found, sight)| found.declared || sight.leaf.is_some() || !sight.was_looked_at).collect();

    let secret_names = name_secrets(&kept);
    let target_names = name_targets(&kept);
    let mut shown_by: BTreeMap<&str, (usize, Option<&Leaf>)> = BTreeMap::new();
    for (((found, sight), secret), target) in kept.iter().zip(&secret_names).zip(&target_names) {
        fleet.targets.push(Target {
            name: target.clone(),
            secret: secret.clone(),
            endpoint: Some(Endpoint { protocol: found.protocol, host: found.host.clone(), port: found.port }),
            server_name: found.server_name.clone(),
            ..Target::default()
        });
        notes.targets.insert(target.clone(), target_notes(found, sight));
        if let (None, true) = (sight.leaf, sight.was_looked_at) {
            unseen.push((target.clone(), sight.failures.first().cloned().unwrap_or_default()));
        }
        let entry = shown_by.entry(secret).or_insert((0, sight.leaf));
        entry.0 += 1;
        if entry.0 == 1 && sight.leaf.is_none() {
            fleet.secrets.push(unseen_secret(secret, found.name()));
        }
    }
    for (name, (count, leaf)) in &shown_by {
        if let Some(leaf) = leaf {
            fleet.secrets.push(external(name, leaf));
        }
        notes.secrets.insert((*name).to_owned(), secret_notes(*count, *leaf, &reading.stored, today));
    }
    fleet.secrets.sort_by(|a, b| a.name.cmp(&b.name));
    fleet.targets.sort_by(|a, b| a.name.cmp(&b.name));
    unseen.sort();
    notes.head = head(&fleet, &unseen, &shown_by, &reading.stored, today);
    Adopted { fleet, notes, unseen }
}

/// What all addresses of one place together showed.
#[derive(Default)]
struct Sight<'l> {
    was_looked_at: bool,
    leaf: Option<&'l Leaf>,
    /// Addresses that showed another leaf.
    others: Vec<(Option<IpAddr>, &'l Leaf)>,
    failures: Vec<String>,
}

fn sight<'l>(found: &[Found], looked: &'l [Looked]) -> Vec<Sight<'l>> {
    let mut by_place: Vec<Vec<&Looked>> = vec![Vec::new(); found.len()];
    for look in looked {
        if let Some(place) = by_place.get_mut(look.found) {
            place.push(look);
        }
    }
    by_place
        .into_iter()
        .map(|mut looks| {
            looks.sort_by_key(|l| l.address);
            let mut counts: BTreeMap<Fingerprint, (usize, &Leaf)> = BTreeMap::new();
            for leaf in looks.iter().filter_map(|l| l.result.as_ref().ok()) {
                counts.entry(leaf.fingerprint).or_insert((0, leaf)).0 += 1;
            }
            let leaf = counts.values().max_by_key(|(count, leaf)| (*count, leaf.not_after, leaf.fingerprint)).map(|(_, leaf)| *leaf);
            let mut sight = Sight { was_looked_at: !looks.is_empty(), leaf, ..Sight::default() };
            for look in looks {
                match &look.result {
                    Ok(other) if leaf.is_some_and(|l| l.fingerprint != other.fingerprint) => sight.others.push((look.address, other)),
                    Ok(_) => {}
                    Err(why) => sight.failures.push(match look.address {
                        Some(address) => format!("{address}: {}", escape(why)),
                        None => escape(why),
                    }),
                }
            }
            sight
        })
        .collect()
}

fn external(name: &str, leaf: &Leaf) -> Secret {
    let mut names: Vec<String> = leaf.names.iter().filter(|n| check_certificate_name(n).is_ok()).cloned().collect();
    names.sort();
    names.dedup();
    names.truncate(MAX_LIST);
    let readable = !leaf.issuer.trim().is_empty() && leaf.issuer.len() <= MAX_TEXT_BYTES && !leaf.issuer.contains(char::is_control);
    Secret {
        name: name.to_owned(),
        kind: SecretKind::Certificate,
        management: Management::External,
        names,
        issuers: if readable { vec![leaf.issuer.clone()] } else { Vec::new() },
        ..Secret::default()
    }
}

/// Nothing was seen: the name that is asked for is all that can be expected.
fn unseen_secret(secret: &str, name: &str) -> Secret {
    Secret {
        name: secret.to_owned(),
        kind: SecretKind::Certificate,
        management: Management::External,
        names: check_certificate_name(name).map(|()| vec![name.to_owned()]).unwrap_or_default(),
        ..Secret::default()
    }
}

/// A readable, unique name for the secret of each place, in the order of the places.
fn name_secrets(kept: &[(&Found, &Sight<'_>)]) -> Vec<String> {
    // The stem of a leaf: its first name, else the first place that shows it.
    let mut stems: BTreeMap<Fingerprint, String> = BTreeMap::new();
    for (found, sight) in kept {
        if let Some(leaf) = sight.leaf {
            let own = leaf.names.iter().find(|n| check_certificate_name(n).is_ok()).map(|n| stem(n));
            let candidate = own.unwrap_or_else(|| stem(found.name()));
            let entry = stems.entry(leaf.fingerprint).or_insert_with(|| candidate.clone());
            if candidate < *entry {
                *entry = candidate;
            }
        }
    }
    let mut bearers: BTreeMap<&str, usize> = BTreeMap::new();
    for stem in stems.values() {
        *bearers.entry(stem).or_default() += 1;
    }
    let mut taken = BTreeSet::new();
    let mut by_leaf: BTreeMap<Fingerprint, String> = BTreeMap::new();
    // Those that need no addition come first, so that an addition never takes a plain name away.
    let (plain, shared): (Vec<_>, Vec<_>) = stems.iter().partition(|(_, stem)| bearers.get(stem.as_str()) == Some(&1));
    for (fingerprint, stem) in plain {
        taken.insert(stem.clone());
        by_leaf.insert(*fingerprint, stem.clone());
    }
    for (fingerprint, stem) in shared {
        let hex = fingerprint.to_string();
        // The whole fingerprint is unique, and the stem leaves room for it.
        let name = [8, 16, 64].iter().filter_map(|n| hex.get(..*n)).map(|part| format!("{stem}-{part}")).find(|n| !taken.contains(n));
        let name = name.unwrap_or_else(|| hex.clone());
        taken.insert(name.clone());
        by_leaf.insert(*fingerprint, name);
    }
    // What was not seen goes by its own name.
    let mut by_name: BTreeMap<&str, String> = BTreeMap::new();
    for (found, _) in kept.iter().filter(|(_, sight)| sight.leaf.is_none()) {
        by_name.entry(found.name()).or_default();
    }
    for (name, secret) in &mut by_name {
        let plain = stem(name);
        let first = if taken.contains(&plain) { format!("{plain}-unseen") } else { plain };
        *secret = unique(first, &mut taken);
    }
    kept.iter()
        .map(|(found, sight)| {
            let name = match sight.leaf {
                Some(leaf) => by_leaf.get(&leaf.fingerprint),
                None => by_name.get(found.name()),
            };
            name.cloned().unwrap_or_default()
        })
        .collect()
}

/// A readable, unique name for each place: what is asked for, where, and how.
fn name_targets(kept: &[(&Found, &Sight<'_>)]) -> Vec<String> {
    let mut order: Vec<usize> = (0..kept.len()).collect();
    order.sort_by_key(|i| kept.get(*i).map(|(found, _)| *found));
    let mut taken = BTreeSet::new();
    let mut names = vec![String::new(); kept.len()];
    for index in order {
        let (Some((found, _)), Some(slot)) = (kept.get(index), names.get_mut(index)) else {
            continue;
        };
        let name = match &found.server_name {
            Some(server_name) => {
                format!("{}@{}:{}", stem(server_name), stem(&found.host), found.port)
            }
            None => format!("{}:{}", stem(&found.host), found.port),
        };
        let name = if taken.contains(&name) || name.len() > MAX_NAME_BYTES { format!("{}-{}", stem(&name), found.protocol) } else { name };
        *slot = unique(name, &mut taken);
    }
    names
}

fn unique(name: String, taken: &mut BTreeSet<String>) -> String {
    if taken.insert(name.clone()) {
        return name;
    }
    let mut number: u64 = 2;
    loop {
        let numbered = format!("{name}-{number}");
        if taken.insert(numbered.clone()) {
            return numbered;
        }
        number += 1;
    }
}

/// The part of a name that people read: `*.` becomes `wildcard.`, and whatever cannot stand in a name
/// becomes `-`.
fn stem(text: &str) -> String {
    let spoken = text.strip_prefix("*.").map_or_else(|| text.to_owned(), |parent| format!("wildcard.{parent}"));
    let mut out: String = spoken
        .chars()
        .take(MAX_STEM_BYTES)
        .map(|c| {
            let mut buffer = [0; 4];
            if is_name(c.encode_utf8(&mut buffer)) { c.to_ascii_lowercase() } else { '-' }
        })
        .collect();
    if out.is_empty() {
        out.push_str("unnamed");
    }
    out
}

fn target_notes(found: &Found, sight: &Sight<'_>) -> Vec<String> {
    let mut lines = vec![format!("from {}", found.source)];
    if !sight.was_looked_at {
        lines.push("not looked at".to_owned());
    } else if sight.leaf.is_none() {
        lines.push("could not be seen; its certificate is expected to cover the name that is asked for".to_owned());
    }
    for failure in sight.failures.iter().take(MAX_NOTES) {
        lines.push(format!("no certificate: {failure}"));
    }
    for (address, leaf) in sight.others.iter().take(MAX_NOTES) {
        let address = address.map_or_else(|| "one address".to_owned(), |a| a.to_string());
        lines.push(format!("{address} shows another certificate: {}, expires {}", leaf.fingerprint, leaf.not_after));
    }
    lines
}

fn secret_notes(count: usize, leaf: Option<&Leaf>, stored: &[Stored], today: Time) -> Vec<String> {
    let targets = if count == 1 { "one target".to_owned() } else { format!("{count} targets") };
    let Some(leaf) = leaf else {
        return vec![format!("{targets}, not seen; names are those that are asked for")];
    };
    let mut lines =
        vec![format!("{targets}; expires {}, {}", leaf.not_after, left(leaf.not_after, today)), format!("sha256 {}", leaf.fingerprint)];
    let unusable = leaf.names.iter().filter(|n| check_certificate_name(n).is_err());
    lines.extend(unusable.take(MAX_NOTES).map(|n| format!("also covers {}, which no client can ask for", escape(n))));
    let lying = stored.iter().filter(|s| s.fingerprint == leaf.fingerprint);
    lines.extend(lying.take(MAX_NOTES).map(|s| format!("lies in Kubernetes Secret {} ({})", s.name, s.source)));
    lines
}

/// "in 91 d", or "2 d ago". The end is exclusive, as everywhere where something is guarded.
fn left(not_after: Time, now: Time) -> String {
    if not_after > now { format!("in {}", not_after - now) } else { format!("expired {} ago", now - not_after) }
}

fn head(
    fleet: &Fleet,
    unseen: &[(String, String)],
    shown_by: &BTreeMap<&str, (usize, Option<&Leaf>)>,
    stored: &[Stored],
    today: Time,
) -> Vec<String> {
    let mut lines = vec![
        format!("Written by `perennial adopt` on {}: {} targets, {} secrets.", today.date(), fleet.targets.len(), fleet.secrets.len()),
        "Everything is external: somebody else renews it, and names and issuers are expected as they were seen.".to_owned(),
        "Correct what is wrong, add teams, services and regions, and put it in place with `perennial apply`.".to_owned(),
        "The baseline gathers whatever is bad on the first look in one incident.".to_owned(),
    ];
    if !unseen.is_empty() {
        lines.push(format!("{} targets could not be seen; look for \"could not be seen\" below.", unseen.len()));
    }
    let shown: BTreeSet<Fingerprint> = shown_by.values().filter_map(|(_, leaf)| leaf.map(|l| l.fingerprint)).collect();
    let idle: Vec<&Stored> = stored.iter().filter(|s| !shown.contains(&s.fingerprint)).collect();
    if !idle.is_empty() {
        lines.push(String::new());
        lines.push("Certificates in Kubernetes Secrets that no target was seen to show:".to_owned());
        for s in idle.iter().take(MAX_NOTES) {
            let names: Vec<&str> = s.names.iter().take(3).map(String::as_str).collect();
            lines.push(format!("  {}: {}; expires {}, {}", s.name, names.join(", "), s.not_after, left(s.not_after, today)));
        }
        if idle.len() > MAX_NOTES {
            lines.push(format!("  and {} more", idle.len() - MAX_NOTES));
        }
    }
    lines
}
