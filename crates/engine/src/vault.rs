//! Storing versions. Under which key their private material lies is the business of [`crate::keys`].
//!
//! Nothing here gives private material back to people: sealed bytes are opened only to be used (a signing secret for a delivery).

use crate::{Engine, Error, Refusal, Result, Tick, assess::secret_policy, intent::Intent, judge, keys::Sealer, loops, ports::Entropy};
use domain::{
    Fingerprint, Span, Time,
    words::{Kind, Management, Renewal, SecretId},
};
use envelope::{Place, Sealed};
use pki::{Certificate, Limits, PrivateKey, Purpose, import::Candidate};
use serde_json::json;
use store::{
    Actor, Tx,
    journal::Entry,
    meta,
    model::{NO_MARGIN, authority, inventory, secret, target},
    timer,
};
use zeroize::Zeroizing;

/// What a sealed private key is for; bound into the seal.
pub const PRIVATE_KEY: &str = "private-key";
/// What sealed opaque bytes are for; bound into the seal.
pub const OPAQUE: &str = "opaque";
/// What a sealed key of an internal CA is for.
pub const CA_KEY: &str = "ca-key";
/// What a sealed key of an ACME account is for.
pub const ACCOUNT_KEY: &str = "account-key";
/// What a sealed key is for that waits for a CA's answer.
pub const REQUEST_KEY: &str = "request-key";
/// What the sealed key that signs manifests is for.
pub const MANIFEST_KEY: &str = "manifest-key";
/// What the sealed key of the authority over agents is for.
pub const AGENT_CA_KEY: &str = "agent-ca-key";
/// Every purpose.
const PURPOSES: [&str; 7] = [PRIVATE_KEY, OPAQUE, CA_KEY, ACCOUNT_KEY, REQUEST_KEY, MANIFEST_KEY, AGENT_CA_KEY];
/// Most instances in one version.
pub const MOST_INSTANCES: usize = 64;
/// Most problems that one answer names.
const MOST_PROBLEMS: usize = 20;
/// Server names of targets that a certificate is checked against.
const NAMES_CHECKED: i64 = 10_000;

/// One certificate as it comes in.
pub struct Incoming {
    /// `all`, a region, or a node.
    pub scope: String,
    /// PEM, DER or PKCS#12: leaf first, then what is above it. May hold the key as well.
    pub chain: Vec<u8>,
    /// The private key, where it is not in `chain`.
    pub key: Option<Zeroizing<Vec<u8>>>,
    /// The password of a PKCS#12 file.
    pub password: Option<Zeroizing<String>>,
}

/// What an import is to do.
pub struct Import<'a> {
    /// The secret's name.
    pub name: &'a str,
    /// Its certificates: one per scope and key type.
    pub instances: Vec<Incoming>,
    /// Whether changes beyond key, serial and dates were accepted by a person.
    pub accept_change: bool,
    /// PEM of private roots that the chain must lead to; none checks its order and signatures.
    pub roots: Option<String>,
    /// Why.
    pub reason: &'a str,
    /// Whether nothing is to be stored.
    pub dry_run: bool,
}

/// An import that passed every check and needs only to be written.
pub struct Prepared {
    name: String,
    instances: Vec<Checked>,
    /// The newest version that it was compared with.
    newest: i64,
    differences: Vec<pki::import::Difference>,
    reason: String,
}

struct Checked {
    scope: String,
    chain: Vec<Certificate>,
    key: Option<PrivateKey>,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The secret.
    pub secret: SecretId,
    /// Its name.
    pub name: String,
    /// The number of the new version; with a dry run the number it would have got.
    pub version: i64,
    /// Leaves, with scope and key type.
    pub leaves: Vec<(String, String, Fingerprint)>,
    /// Against the version before.
    pub differences: Vec<pki::import::Difference>,
}

impl Engine {
    /// Checks an import: everything that can be said against it is said at once. Changes nothing.
    pub fn prepare(&self, import: Import<'_>, tick: &Tick) -> Result<Prepared> {
        if !api::fleet::is_name(import.name) {
            let problem = format!("{} is no name: letters, digits and . _ - : @ + * are", pki::text::escape(import.name));
            return Err(Error::refused("bad-name", problem));
        }
        if import.instances.is_empty() || import.instances.len() > MOST_INSTANCES {
            return Err(Error::refused("bad-instances", format!("a version has 1 to {MOST_INSTANCES} certificates")));
        }
        let (newest, names, previous) = self.store.read(|tx| {
            let Some(s) = secret::by_name(tx, import.name)? else { return Ok((0, Vec::new(), Vec::new())) };
            let names = target::server_names(tx, s.id, NAMES_CHECKED)?;
            Ok((s.newest_version, names, secret::instances(tx, s.id, Some(s.newest_version))?))
        })?;
        // Without given roots the chain's own order and signatures are checked: a private CA is no reason to refuse.
        let verifier = import.roots.as_deref().map(|pem| self.judge.verifier(Some(pem)));
        let (mut instances, mut differences, mut problems): (Vec<Checked>, Vec<_>, Vec<String>) = Default::default();
        for incoming in import.instances {
            let (chain, key, stray) = match read(&incoming) {
                Ok(parts) => parts,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            let key_type = chain.first().map_or("", Certificate::key_type);
            let before = previous
                .iter()
                .find(|p| p.scope == incoming.scope && p.key_type == key_type)
                .or(previous.first())
                .and_then(|p| judge::parse_chain(&p.chain).into_iter().next());
            let candidate = Candidate {
                chain: &chain,
                key: key.as_ref(),
                stray_keys: stray,
                verifier: verifier.as_deref(),
                purpose: Purpose::Server,
                is_ca: false,
            };
            let leaked = match chain.first() {
                Some(leaf) => self.store.read(|tx| authority::is_compromised(tx, &leaf.spki_fingerprint()))?,
                None => false,
            };
            if leaked {
                problems.push(String::from(crate::issuing::LEAKED));
            }
            match pki::import::check_import(candidate, &names, before.as_ref(), tick.now) {
                Ok(checked) => {
                    for d in checked.differences {
                        if !differences.contains(&d) {
                            differences.push(d);
                        }
                    }
                    instances.push(Checked { scope: incoming.scope, chain: checked.chain, key });
                }
                Err(found) => problems.extend(found.into_iter().map(|p| p.detail)),
            }
        }
        for (n, a) in instances.iter().enumerate() {
            if instances[..n].iter().any(|b| b.scope == a.scope && b.chain[0].key_type() == a.chain[0].key_type()) {
                problems.push(format!("two certificates for {} with the same key type {}", a.scope, a.chain[0].key_type()));
            }
        }
        if !problems.is_empty() {
            let beyond = problems.len().saturating_sub(MOST_PROBLEMS);
            problems.truncate(MOST_PROBLEMS);
            if beyond > 0 {
                problems.push(format!("and {beyond} more"));
            }
            return Err(Error::Refused(Refusal { code: "bad-certificate", problems }));
        }
        let extraordinary: Vec<String> = differences
            .iter()
            .filter(|d| !d.ordinary)
            .map(|d| format!("{} changes from {} to {}; accept it with --accept-change", d.field, d.before, d.after))
            .collect();
        if !extraordinary.is_empty() && !import.accept_change {
            return Err(Error::Refused(Refusal { code: "change-not-accepted", problems: extraordinary }));
        }
        Ok(Prepared { name: import.name.to_owned(), instances, newest, differences, reason: import.reason.to_owned() })
    }

    /// Writes prepared imports, all of them in one transaction. What has no private key needs no open store.
    pub fn store_all(&self, prepared: &[Prepared], random: &mut Entropy<'_>, actor: &Actor, tick: &Tick) -> Result<Vec<Stored>> {
        self.store_all_and(prepared, random, actor, tick, |_, _| Ok(()))
    }

    /// As [`Engine::store_all`], with what belongs to it in the same transaction.
    pub(crate) fn store_all_and(
        &self,
        prepared: &[Prepared],
        random: &mut Entropy<'_>,
        actor: &Actor,
        tick: &Tick,
        mut and: impl FnMut(&mut Tx<'_>, &[Stored]) -> Result<()>,
    ) -> Result<Vec<Stored>> {
        let with_key = prepared.iter().any(|p| p.instances.iter().any(|i| i.key.is_some()));
        self.store.try_write(actor, tick.now, |tx| {
            let store_id = meta::identity(tx)?.store_id;
            let sealer = if with_key { Some(self.sealer(tx)?) } else { None };
            let mut stored = Vec::with_capacity(prepared.len());
            let mut chunk = Chunk::new(tx, prepared)?;
            for p in prepared {
                stored.push(write(tx, p, &mut chunk, sealer.as_ref(), &store_id, random, actor, tick)?);
            }
            chunk.expiries.write(tx)?;
            and(tx, &stored)?;
            Ok(stored)
        })
    }

    /// What an import would do, without doing it.
    pub fn preview(&self, prepared: &Prepared) -> Stored {
        Stored {
            secret: SecretId(0),
            name: prepared.name.clone(),
            version: prepared.newest + 1,
            leaves: prepared.instances.iter().map(leaf_of).collect(),
            differences: prepared.differences.clone(),
        }
    }

    /// Stores a new version of an opaque secret.
    #[expect(clippy::too_many_arguments, reason = "each is asked for by name at its one call")]
    pub fn put_opaque(
        &self,
        name: &str,
        bytes: &[u8],
        expires_at: Option<Time>,
        reason: &str,
        random: &mut Entropy<'_>,
        actor: &Actor,
        tick: &Tick,
    ) -> Result<Stored> {
        if !api::fleet::is_name(name) {
            return Err(Error::refused("bad-name", format!("{} is no name", pki::text::escape(name))));
        }
        self.store.try_write(actor, tick.now, |tx| {
            let store_id = meta::identity(tx)?.store_id;
            let sealer = self.sealer(tx)?;
            let mut s = line(tx, name, Kind::Opaque, tick.now)?;
            if s.kind != Kind::Opaque {
                return Err(Error::refused("wrong-kind", format!("{name} is a {} secret, not an opaque one", s.kind)));
            }
            let number = s.newest_version + 1;
            let id = tx.next_id("instance")?;
            let sealed = sealer.seal(&place(&store_id, s.id, number, id, OPAQUE)?, bytes, random)?;
            let none = Fingerprint::from_bytes([0; 32]);
            secret::insert_version(tx, s.id, &version(number, actor, reason, expires_at, tick.now))?;
            secret::insert_instance(
                tx,
                &secret::Instance {
                    id,
                    secret: s.id,
                    version: number,
                    scope: "all".into(),
                    key_type: String::new(),
                    leaf: none,
                    key: none,
                    not_before: tick.now,
                    not_after: expires_at.unwrap_or(Time::NO_EXPIRY),
                    subject: String::new(),
                    issuer: String::new(),
                    chain: Vec::new(),
                },
            )?;
            put_sealed(tx, id, OPAQUE, sealed)?;
            if number == 1 {
                // Nobody has looked at what production uses; the first date is the only one there is.
                s.expires_at = expires_at;
            }
            s.newest_version = number;
            // Who stores it anew has a use for it.
            s.retired_at = None;
            secret::update_declaration(tx, &s)?;
            timer::set_earlier(tx, loops::SECRET, s.id.0, tick.now)?;
            let body = json!({ "version": number, "expires_at": expires_at.map(|t| t.to_string()) });
            tx.journal(Entry::new("secret.stored", format!("secret/{name}"), reason, &body))?;
            Ok(Stored { secret: s.id, name: name.into(), version: number, leaves: Vec::new(), differences: Vec::new() })
        })
    }

    /// Somebody says that production uses a version (opaque), or that something ends then (tracked).
    pub fn attest(&self, name: &str, what: Attested, reason: &str, actor: &Actor, tick: &Tick) -> Result<()> {
        self.store.try_write(actor, tick.now, |tx| {
            let s = secret::by_name(tx, name)?.ok_or_else(|| Error::not_found("secret", name))?;
            if s.kind == Kind::Certificate {
                let problem = format!("{name} is a certificate: attest at a target of kind install, or let it be dialled");
                return Err(Error::refused("wrong-kind", problem));
            }
            let expires = match what {
                Attested::Version(number) => {
                    secret::versions(tx, s.id, 10_000)?
                        .into_iter()
                        .find(|v| v.number == number)
                        .ok_or_else(|| Error::not_found("version", &number.to_string()))?
                        .expires_at
                }
                Attested::Expires(t) => Some(t),
            };
            secret::attest(tx, s.id, expires, tick.now)?;
            timer::set_earlier(tx, loops::SECRET, s.id.0, tick.now)?;
            let body = json!({ "expires_at": expires.map(|t| t.to_string()) });
            tx.journal(Entry::new("secret.attested", format!("secret/{name}"), reason, &body))?;
            Ok(())
        })
    }

    /// Opens the newest version of an opaque secret for a use inside this process (a signing secret, a routing key): its instance, its
    /// number, its text. Never answers to people.
    pub(crate) fn open_newest(&self, name: &str) -> Result<(i64, i64, Zeroizing<String>)> {
        let (store_id, s, sealed) = self.store.try_read(|tx| {
            let s = secret::by_name(tx, name)?.ok_or_else(|| Error::not_found("secret", name))?;
            let newest = secret::instances(tx, s.id, Some(s.newest_version))?;
            let first = newest.first().ok_or_else(|| Error::not_found("version of secret", name))?;
            let sealed = secret::sealed(tx, first.id)?.ok_or_else(|| Error::not_found("sealed bytes of secret", name))?;
            Ok::<_, Error>((meta::identity(tx)?.store_id, s, sealed))
        })?;
        let keys = self.keys()?;
        let keeper = keys.under(&sealed.kek)?;
        let place = place(&store_id, s.id, s.newest_version, sealed.instance, OPAQUE)?;
        let opened = keeper.open(&place, &sealed_of(&sealed)).map_err(|e| Error::refused("damaged", e.to_string()))?;
        let text = std::str::from_utf8(opened.expose()).map_err(|_| Error::refused("not-text", format!("{name} is not text")))?;
        Ok((sealed.instance, s.newest_version, Zeroizing::new(text.trim().to_owned())))
    }
}

/// What is attested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attested {
    /// Production uses this version.
    Version(i64),
    /// It ends then.
    Expires(Time),
}

/// Chain, key, and keys that do not belong there.
fn read(incoming: &Incoming) -> std::result::Result<(Vec<Certificate>, Option<PrivateKey>, usize), String> {
    let password = incoming.password.as_ref().map(|p| p.as_str());
    let mut loaded = pki::load(&incoming.chain, password, Limits::default()).map_err(|e| format!("chain: {e}"))?;
    let mut key = None;
    if let Some(bytes) = &incoming.key {
        let own = pki::load(bytes, password, Limits::default()).map_err(|e| format!("key: {e}"))?;
        key = own.keys.into_iter().next();
        if key.is_none() {
            return Err(String::from("key: the file holds no private key"));
        }
        return Ok((loaded.certificates, key, loaded.keys.len()));
    }
    // A PKCS#12 file, or PEM with both in it.
    let stray = loaded.keys.len().saturating_sub(1);
    if !loaded.keys.is_empty() {
        key = Some(loaded.keys.remove(0));
    }
    Ok((loaded.certificates, key, stray))
}

fn leaf_of(c: &Checked) -> (String, String, Fingerprint) {
    (c.scope.clone(), c.chain[0].key_type().to_owned(), c.chain[0].fingerprint())
}

pub(crate) fn version(number: i64, actor: &Actor, reason: &str, expires_at: Option<Time>, now: Time) -> secret::Version {
    secret::Version { number, stored_at: now, actor: format!("{}/{}", actor.issuer, actor.subject), reason: reason.into(), expires_at }
}

/// The secret with a name, its row taken; made where there is none.
fn line(tx: &mut Tx<'_>, name: &str, kind: Kind, now: Time) -> Result<secret::Secret> {
    if let Some(s) = secret::by_name(tx, name)? {
        return secret::lock(tx, s.id)?.ok_or_else(|| Error::not_found("secret", name));
    }
    let s = blank(SecretId(tx.next_id("secret")?), name, kind, now);
    secret::insert(tx, &s)?;
    Ok(s)
}

/// A secret of which nothing is known yet.
pub(crate) fn blank(id: SecretId, name: &str, kind: Kind, now: Time) -> secret::Secret {
    secret::Secret {
        id,
        name: name.into(),
        kind,
        management: Management::Managed,
        renewal: Renewal::ByHand,
        release_bound: false,
        team: String::new(),
        service: String::new(),
        policy: String::new(),
        override_notice: None,
        override_incident: None,
        override_reason: String::new(),
        names: Vec::new(),
        issuers: Vec::new(),
        validation: String::new(),
        dns_provider: String::new(),
        expires_at: None,
        declared_at: now,
        declared: false,
        completed_unaided: false,
        newest_version: 0,
        retired_at: None,
        served: domain::target::Served::Unknown,
        margin_at: NO_MARGIN,
        target_count: 0,
        open_findings: 0,
        assessed_at: None,
        owner: String::new(),
        current: 0,
        required: 0,
    }
}

/// What imports of one transaction share: a round to the database for each of them would cost more than checking it.
struct Chunk {
    versions: std::vec::IntoIter<i64>,
    instances: std::vec::IntoIter<i64>,
    expiries: secret::Expiries,
}

impl Chunk {
    fn new(tx: &mut Tx<'_>, prepared: &[Prepared]) -> Result<Chunk> {
        let instances: usize = prepared.iter().map(|p| p.instances.len()).sum();
        let mut take = |kind, n: usize| if n == 0 { Ok(Vec::new()) } else { tx.next_ids(kind, n as i64) };
        let (versions, instances) = (take("version", prepared.len())?, take("instance", instances)?);
        Ok(Chunk { versions: versions.into_iter(), instances: instances.into_iter(), expiries: secret::Expiries::default() })
    }

    fn take(ids: &mut std::vec::IntoIter<i64>) -> store::Result<i64> {
        ids.next().ok_or_else(|| store::StoreError::other("fewer numbers were taken than there are rows"))
    }
}

#[allow(clippy::too_many_arguments)]
fn write(
    tx: &mut Tx<'_>,
    p: &Prepared,
    chunk: &mut Chunk,
    sealer: Option<&Sealer>,
    store_id: &str,
    random: &mut Entropy<'_>,
    actor: &Actor,
    tick: &Tick,
) -> Result<Stored> {
    let known = secret::by_name(tx, &p.name)?;
    // A secret that is made here is written once, at the end; nothing can hang on it yet.
    let fresh = known.is_none();
    let mut s = match known {
        Some(s) => secret::lock(tx, s.id)?.ok_or_else(|| Error::not_found("secret", &p.name))?,
        None => blank(SecretId(tx.next_id("secret")?), &p.name, Kind::Certificate, tick.now),
    };
    if s.kind != Kind::Certificate || s.management == Management::External {
        let problem =
            format!("{} is declared {} and {}; a version can only be stored for a managed certificate", p.name, s.kind, s.management);
        return Err(Error::refused("wrong-kind", problem));
    }
    if s.newest_version != p.newest {
        let problem = format!("{} got version {} meanwhile; compare with that one and try again", p.name, s.newest_version);
        return Err(Error::refused("changed-meanwhile", problem));
    }
    let number = s.newest_version + 1;
    if number > 1 {
        for old in secret::instances(tx, s.id, Some(s.newest_version))? {
            chunk.expiries.count(&old.scope, old.not_after, -1);
        }
    }
    let new = version(number, actor, &p.reason, None, tick.now);
    secret::insert_version_as(tx, Chunk::take(&mut chunk.versions)?, s.id, &new)?;
    for c in &p.instances {
        let id = Chunk::take(&mut chunk.instances)?;
        let leaf = &c.chain[0];
        secret::insert_instance(
            tx,
            &secret::Instance {
                id,
                secret: s.id,
                version: number,
                scope: c.scope.clone(),
                key_type: leaf.key_type().into(),
                leaf: leaf.fingerprint(),
                key: leaf.spki_fingerprint(),
                not_before: leaf.not_before(),
                not_after: leaf.not_after(),
                subject: leaf.subject().into(),
                issuer: leaf.issuer().into(),
                chain: c.chain.iter().flat_map(|c| c.der().to_vec()).collect(),
            },
        )?;
        chunk.expiries.count(&c.scope, leaf.not_after(), 1);
        if let Some(key) = &c.key {
            let sealer = sealer.ok_or(Error::Sealed)?;
            let place = place(store_id, s.id, number, id, PRIVATE_KEY)?;
            let sealed = sealer.seal(&place, key.expose_pkcs8(), random)?;
            put_sealed(tx, id, PRIVATE_KEY, sealed)?;
        }
    }
    s.newest_version = number;
    // The proof that rotations complete is about the last one, and this one has yet to.
    s.completed_unaided = false;
    s.retired_at = None;
    if fresh {
        secret::insert(tx, &s)?;
    } else {
        secret::update_declaration(tx, &s)?;
        target::wake_all(tx, s.id, loops::TARGET, tick.now)?;
        // A renewal under way has nothing to do any more, and lets go of its orders and keys.
        timer::set_earlier(tx, loops::RENEW, s.id.0, tick.now)?;
    }
    timer::set_earlier(tx, loops::SECRET, s.id.0, tick.now)?;
    crate::rollouts::stored(tx, &s, actor, tick)?;
    if s.release_bound {
        // It may live shorter than the one before.
        crate::services::wake(tx, &s.service, tick.now)?;
    }
    let leaves: Vec<_> = p.instances.iter().map(leaf_of).collect();
    let body = json!({
        "version": number,
        "leaves": leaves.iter().map(|(scope, kind, leaf)| json!({ "scope": scope, "key_type": kind, "leaf": leaf.to_string() })).collect::<Vec<_>>(),
        "accepted": p.differences.iter().filter(|d| !d.ordinary).map(|d| d.field).collect::<Vec<_>>(),
    });
    let subject = format!("secret/{}", p.name);
    let forced: Vec<_> = p.differences.iter().filter(|d| !d.ordinary).collect();
    if !forced.is_empty() {
        let changes: Vec<_> = forced.iter().map(|d| json!({ "field": d.field, "before": d.before, "after": d.after })).collect();
        let content = json!({ "version": number, "leaves": body["leaves"], "changes": changes });
        Intent::new("force", &subject, content).approved(tx, &p.reason, actor)?;
    }
    tx.journal(Entry::new("secret.stored", subject, &p.reason, &body))?;
    Ok(Stored { secret: s.id, name: p.name.clone(), version: number, leaves, differences: p.differences.clone() })
}

pub(crate) fn put_sealed(tx: &mut Tx<'_>, instance: i64, purpose: &str, sealed: Sealed) -> store::Result<()> {
    let row = secret::Sealed {
        instance,
        purpose: purpose.into(),
        kek: sealed.kek_id,
        wrapped: sealed.wrapped_dek,
        ciphertext: sealed.ciphertext,
    };
    secret::insert_sealed(tx, &row)
}

pub(crate) fn sealed_of(row: &secret::Sealed) -> Sealed {
    Sealed { kek_id: row.kek.clone(), wrapped_dek: row.wrapped.clone(), ciphertext: row.ciphertext.clone() }
}

/// Where sealed bytes live. What the row says of its purpose is only believed where it is one of ours.
pub(crate) fn place<'a>(store: &'a str, secret: SecretId, version: i64, instance: i64, purpose: &str) -> Result<Place<'a>> {
    let Some(purpose) = PURPOSES.into_iter().find(|p| *p == purpose) else {
        return Err(Error::refused("damaged", "sealed bytes with an unknown purpose; restore a backup"));
    };
    Ok(Place { store, secret: secret.0, version, instance, purpose })
}

/// The thresholds of a stored leaf, for lists.
pub fn thresholds(tx: &mut Tx<'_>, s: &secret::Secret, i: &secret::Instance) -> store::Result<domain::policy::Thresholds> {
    let policy = secret_policy(tx, s)?;
    Ok(policy.thresholds(i.not_after - i.not_before + Span::seconds(1)))
}

/// PEM of a named set of private roots.
pub fn roots_pem(tx: &mut Tx<'_>, name: &str) -> Result<String> {
    inventory::roots(tx, name)?.ok_or_else(|| Error::not_found("roots", name))
}
