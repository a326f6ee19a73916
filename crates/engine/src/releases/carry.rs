//! What a build carries: what a scan of it found, or what a person says.

use super::{Detail, New, When, allowed, assess, create, read, taken, turn_of_service};
use crate::{Engine, Error, Result, Tick, judge::split_der, loops};
use domain::{
    Fingerprint, Time,
    release::Status,
    words::{Kind, ReleaseId, SecretId},
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use store::{
    Actor, Tx,
    journal::Entry,
    model::{
        calendar,
        release::{self, Item, What},
        secret,
    },
};

/// Most things that one build may carry.
pub const MAX_ITEMS: usize = 10_000;
/// Longest path or subject of one of them, in bytes.
pub const MAX_TEXT: usize = 4096;

/// What was found in a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// A certificate.
    Certificate {
        /// SHA-256 of its DER.
        fingerprint: Fingerprint,
        /// Its subject, as it stands there.
        subject: String,
        /// When it ends, where that can be read.
        not_after: Option<Time>,
    },
    /// A private key that anybody can read.
    KeyInTheClear,
}

/// Something that a scan found, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What.
    pub thing: Thing,
    /// Where: `!` stands between a container and what is in it.
    pub path: String,
}

impl Engine {
    /// Says what a scan of a release's build found, in the place of what an earlier scan found. Which of it are stored versions, which
    /// older ones and which nobody knows is decided here; the same again changes nothing. What a person declared stays.
    ///
    /// # Errors
    /// `too-many-items`, `bad-item`, or the release has ended.
    pub fn carry(&self, id: ReleaseId, found: &[Found], reason: &str, actor: &Actor, tick: &Tick) -> Result<Detail> {
        check(found)?;
        self.store.try_write(actor, tick.now, |tx| {
            put(tx, id, found, reason, tick)?;
            read::detail(tx, id, tick.now)
        })
    }

    /// The same for the release of a build, which is created where there is none; one that exists keeps its dates. Says whether it was
    /// created. All of it or nothing. A pipeline's word puts it at the end of its service's own train and nowhere else.
    ///
    /// # Errors
    /// As [`Engine::create_release`] and [`Engine::carry`]; `not-its-train`.
    pub fn register_build(&self, new: &New<'_>, found: &[Found], actor: &Actor, tick: &Tick) -> Result<(Detail, bool)> {
        check(found)?;
        self.store.try_write(actor, tick.now, |tx| {
            tx.turn(&turn_of_service(new.service))?;
            let there = release::by_build(tx, new.service, new.build)?;
            let created = there.is_none();
            let id = match there {
                Some(there) => there.facts.id,
                None => {
                    own_train(tx, new)?;
                    create(tx, new, tick)?
                }
            };
            put(tx, id, found, new.reason, tick)?;
            Ok((read::detail(tx, id, tick.now)?, created))
        })
    }
}

/// Whoever can say what a build carries can move nobody else.
fn own_train(tx: &mut Tx<'_>, new: &New<'_>) -> Result<()> {
    let Some(When::Train { name, before, .. }) = &new.when else { return Ok(()) };
    let own = calendar::service(tx, new.service)?.map(|s| s.train).unwrap_or_default();
    if before.is_none() && name.as_ref().is_none_or(|n| *n == own) {
        return Ok(());
    }
    let service = pki::text::escape(new.service);
    let problem = format!("a build of {service} rides at the end of its own train; for another place: perennial release plan");
    Err(Error::refused("not-its-train", problem))
}

fn check(found: &[Found]) -> Result<()> {
    if found.len() > MAX_ITEMS {
        return Err(Error::refused("too-many-items", format!("{} things in one build; at most {MAX_ITEMS} are taken", found.len())));
    }
    if let Some(f) = found.iter().find(|f| f.path.is_empty() || f.path.len() > MAX_TEXT || subject(f).len() > MAX_TEXT) {
        let path: String = f.path.chars().take(100).collect();
        let problem = format!("{}: a path has 1 to {MAX_TEXT} bytes and a subject at most so many", pki::text::escape(&path));
        return Err(Error::refused("bad-item", problem));
    }
    Ok(())
}

/// Puts what was found in the place of what was found before, and assesses the release.
fn put(tx: &mut Tx<'_>, id: ReleaseId, found: &[Found], reason: &str, tick: &Tick) -> Result<()> {
    let r = taken(tx, id)?;
    let wanted: BTreeSet<Key> = keys(tx, found)?;
    let stored = release::items(tx, id, 0, i64::MAX)?;
    let mut kept = BTreeSet::new();
    let mut gone = Vec::new();
    for item in stored.iter().filter(|i| !i.path.is_empty()) {
        let key = key_of(item);
        if !wanted.contains(&key) || !kept.insert(key) {
            gone.push(item.id);
        }
    }
    let new: Vec<&Key> = wanted.iter().filter(|k| !kept.contains(*k)).collect();
    if gone.is_empty() && new.is_empty() {
        // Who scans the same build again is told how it stands, even when it is over.
        return if r.ended_at.is_some() { Ok(()) } else { assess::now(tx, id, tick) };
    }
    if r.status == Status::Cancelled || r.ended_at.is_some() {
        allowed(&r, Status::Delayed)?;
    }
    let unseen = |i: &&Item| i.what == What::Version && i.observed_at.is_none();
    if r.deployed_at.is_some() && stored.iter().filter(|i| gone.contains(&i.id)).any(|i| unseen(&i)) {
        // Only observation ends what was promised with it.
        let problem = format!("{} is deployed, and production was not seen serving all that was found in its build before", r.title());
        return Err(Error::refused("release-deployed", problem));
    }
    // What it no longer carries is not planned for those secrets any more.
    release::wake_carried(tx, id, loops::SECRET, tick.now)?;
    for item in &gone {
        release::delete_item(tx, *item)?;
    }
    if !new.is_empty() {
        let ids = tx.next_ids("release_item", new.len() as i64)?;
        for (number, key) in ids.into_iter().zip(&new) {
            release::insert_item(tx, &item(number, id, key, tick.now))?;
        }
    }
    release::wake_carried(tx, id, loops::SECRET, tick.now)?;
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    wanted.iter().for_each(|k| *counts.entry(k.what.as_str()).or_default() += 1);
    let versions: Vec<String> = named(tx, id)?;
    let body = json!({ "found": counts, "carries": versions, "new": new.len(), "gone": gone.len() });
    tx.journal(Entry::new("release.scanned", r.subject(), reason, &body))?;
    assess::now(tx, id, tick)
}

/// What makes two items the same.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    path: String,
    what: What,
    secret: i64,
    version: i64,
    leaf: Option<Fingerprint>,
    not_after: Option<Time>,
    subject: String,
}

fn subject(f: &Found) -> &str {
    match &f.thing {
        Thing::Certificate { subject, .. } => subject,
        Thing::KeyInTheClear => "",
    }
}

/// What each thing is: the newest version of a secret, an older one, a stranger, or a key. What stands above a leaf in a chain that is
/// stored is none of these: it comes with its leaf.
fn keys(tx: &mut Tx<'_>, found: &[Found]) -> Result<BTreeSet<Key>> {
    let mut known: BTreeMap<Fingerprint, Vec<(SecretId, i64, bool)>> = BTreeMap::new();
    let mut above = BTreeSet::new();
    for f in found {
        let Thing::Certificate { fingerprint, .. } = &f.thing else { continue };
        if known.contains_key(fingerprint) {
            continue;
        }
        let versions = whose(tx, fingerprint)?;
        for (secret, version, _) in &versions {
            for instance in secret::instances(tx, *secret, Some(*version))? {
                above.extend(split_der(&instance.chain).iter().skip(1).map(|der| Fingerprint::of(der)));
            }
        }
        known.insert(*fingerprint, versions);
    }
    let mut keys = BTreeSet::new();
    for f in found {
        let path = pki::text::escape(&f.path);
        let Thing::Certificate { fingerprint, subject, not_after } = &f.thing else {
            keys.insert(Key { path, what: What::Key, secret: 0, version: 0, leaf: None, not_after: None, subject: String::new() });
            continue;
        };
        let whose = known.get(fingerprint).map_or(&[][..], Vec::as_slice);
        let key = |what, secret: i64, version| Key {
            path: path.clone(),
            what,
            secret,
            version,
            leaf: Some(*fingerprint),
            not_after: *not_after,
            subject: pki::text::escape(subject),
        };
        match whose {
            [] if above.contains(fingerprint) => {}
            [] => keys.extend([key(What::Unknown, 0, 0)]),
            some => keys.extend(
                some.iter().map(|(secret, version, newest)| key(if *newest { What::Version } else { What::Older }, secret.0, *version)),
            ),
        }
    }
    Ok(keys)
}

/// Of which secrets a leaf is a version, and whether it is the newest one.
fn whose(tx: &mut Tx<'_>, leaf: &Fingerprint) -> Result<Vec<(SecretId, i64, bool)>> {
    let mut all: Vec<(SecretId, i64, bool)> = Vec::new();
    // The newest version first: of one secret that is the one that counts.
    for (id, _, version) in secret::known_leaf(tx, leaf)? {
        if all.iter().any(|(known, _, _)| *known == id) {
            continue;
        }
        // Nobody waits for what left the inventory.
        let Some(s) = secret::get(tx, id)?.filter(|s| s.retired_at.is_none()) else { continue };
        all.push((id, version, version >= s.newest_version));
    }
    Ok(all)
}

fn key_of(i: &Item) -> Key {
    Key {
        path: i.path.clone(),
        what: i.what,
        secret: i.secret.map_or(0, |s| s.0),
        version: i.version,
        leaf: i.leaf,
        not_after: i.not_after,
        subject: i.subject.clone(),
    }
}

fn item(id: i64, release: ReleaseId, k: &Key, now: Time) -> Item {
    Item {
        id,
        release,
        what: k.what,
        secret: (k.secret != 0).then_some(SecretId(k.secret)),
        version: k.version,
        leaf: k.leaf,
        not_after: k.not_after,
        subject: k.subject.clone(),
        path: k.path.clone(),
        added_at: now,
        observed_at: None,
        waited: false,
    }
}

/// Says by hand that a release carries the newest version of some secrets. Says which, as `name/version`.
pub(super) fn declare(tx: &mut Tx<'_>, id: ReleaseId, names: &[String], now: Time) -> Result<Vec<String>> {
    for name in names.iter().collect::<BTreeSet<_>>() {
        let refused = |why: &str| Error::refused("unknown-secret", format!("{} {why}", pki::text::escape(name)));
        let s =
            secret::by_name(tx, name)?.filter(|s| s.retired_at.is_none()).ok_or_else(|| refused("is no secret: perennial secret list"))?;
        if s.kind != Kind::Certificate || s.newest_version == 0 {
            return Err(refused("has no certificate that a release could carry; store one: perennial cert import"));
        }
        let key = Key {
            path: String::new(),
            what: What::Version,
            secret: s.id.0,
            version: s.newest_version,
            leaf: None,
            not_after: None,
            subject: String::new(),
        };
        let number = tx.next_id("release_item")?;
        release::insert_item(tx, &item(number, id, &key, now))?;
    }
    named(tx, id)
}

/// The names of the secrets that were declared by hand, in order.
pub(super) fn declared(tx: &mut Tx<'_>, id: ReleaseId) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for item in release::items(tx, id, 0, i64::MAX)?.into_iter().filter(|i| i.path.is_empty()) {
        if let Some(s) = item.secret.map_or(Ok(None), |s| secret::get(tx, s))? {
            names.push(s.name);
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// What a release carries, as `name/version`, for the journal; a few of them.
fn named(tx: &mut Tx<'_>, id: ReleaseId) -> Result<Vec<String>> {
    const SHOWN: usize = 100;
    let all = release::carries(tx, id)?;
    let mut names: Vec<String> = all.iter().take(SHOWN).map(|c| format!("{}/{}", c.name, c.version)).collect();
    if all.len() > SHOWN {
        names.push(format!("and {} more", all.len() - SHOWN));
    }
    Ok(names)
}
