//! Who may speak for a node. A person gives the right to join once; from then on an agent lives on short certificates that it renews
//! itself. It is who the database says by its certificate's fingerprint; no chain, name or date in it is believed besides.

use super::{
    adopt,
    authority::{AgentAuthority, Proven, manifest_spki},
    subject,
};
use crate::{Engine, Error, Result, Tick, intent::needs_a_reason, loops, ports::Entropy};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{Fingerprint, Span, Time, words::NodeId};
use serde_json::json;
use std::collections::BTreeMap;
use store::{
    Actor, Tx,
    journal::Entry,
    meta,
    model::{
        identity::{self, Certificate, Ended, JoinToken},
        node::{self, MOST_EARLIER, Node},
    },
    timer,
};
use zeroize::Zeroizing;

/// How long the right to join lasts at most.
pub const LONGEST_INVITATION: Span = Span::days(7);
/// For how long after its certificate's end an agent may renew by its key: a machine that was in store for a quarter comes back by
/// itself, and whoever finds a disk later does not.
pub const COME_BACK: Span = Span::days(90);
/// For how long the certificate before is still taken after its successor was presented: what was under way is not a copy.
pub const CHANGE_OVER: Span = Span::minutes(1);
/// For how long a server's authority is handed out after the server was last at work.
pub const ROOTS_KEPT: Span = Span::days(60);
/// Most of these.
const MOST_ROOTS: i64 = 64;
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// Longest name of a version or a start that an agent may say, in bytes.
const MOST_WORD: usize = 128;

/// The right to join once, as it is shown once.
pub struct Invited {
    /// The token.
    pub token: Zeroizing<String>,
    /// When it ends.
    pub expires_at: Time,
}

/// Who asks, as its certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The node.
    pub node: Node,
    /// The certificate that was presented.
    pub certificate: Certificate,
    /// Whether that has run out: it is good for a renewal alone.
    pub expired: bool,
}

impl Agent {
    /// In whose name it acts.
    pub fn actor(&self) -> Actor {
        actor(&self.node.name)
    }
}

/// In whose name an agent acts.
pub(super) fn actor(name: &str) -> Actor {
    Actor::new("node", name)
}

/// What speaks against a certificate, before anything is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Against {
    Unknown,
    Revoked,
    Superseded,
    OtherEpoch,
    TooOld,
    Retired,
}

impl Against {
    pub(super) fn refusal(self) -> Error {
        match self {
            Against::Unknown => {
                Error::refused("unknown-agent", "this certificate is none that the store has issued to an agent; join again")
            }
            Against::Revoked => {
                Error::refused("agent-revoked", "the identity of this node was taken back; `perennial node rejoin` gives it another one")
            }
            Against::Superseded => Error::refused(
                "agent-superseded",
                "the successor of this certificate is in use already, so somebody else has a copy of this agent's folder; see `perennial node show`",
            ),
            Against::OtherEpoch => Error::refused(
                "other-epoch",
                "this certificate is from an earlier life of the store; `perennial node rejoin` gives another one",
            ),
            Against::TooOld => {
                Error::refused("agent-too-old", "this certificate has run out too long ago; `perennial node rejoin` gives another one")
            }
            Against::Retired => Error::refused("node-retired", "this node left the inventory"),
        }
    }
}

/// Holds a certificate against what is stored; says whether it has run out. Pure.
pub(super) fn judge(c: &Certificate, retired: bool, joined: bool, epoch: i64, now: Time) -> std::result::Result<bool, Against> {
    if retired {
        return Err(Against::Retired);
    }
    match c.ended {
        Some((_, Ended::Revoked)) => return Err(Against::Revoked),
        Some((at, Ended::Superseded)) if at + CHANGE_OVER <= now => return Err(Against::Superseded),
        _ => {}
    }
    if !joined {
        return Err(Against::Revoked);
    }
    if c.epoch != epoch {
        return Err(Against::OtherEpoch);
    }
    if c.not_after + COME_BACK <= now {
        return Err(Against::TooOld);
    }
    Ok(c.not_after <= now)
}

impl Engine {
    /// Gives the right to join once. `again` is for a node that has an identity, or had one: what it has is taken back at once.
    ///
    /// # Errors
    /// There is no such node; it has an identity and `again` was not said; the time is too long.
    pub fn invite(
        &self,
        name: &str,
        valid: Span,
        again: Option<&str>,
        random: &mut Entropy<'_>,
        actor: &Actor,
        tick: &Tick,
    ) -> Result<Invited> {
        if valid <= Span::seconds(0) || valid > LONGEST_INVITATION {
            return Err(Error::refused("bad-validity", format!("the right to join lasts up to {LONGEST_INVITATION}, not {valid}")));
        }
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        random(&mut *bytes);
        if *bytes == [0; TOKEN_BYTES] {
            return Err(Error::Outside(String::from("no random bytes came from the system")));
        }
        let secret = Zeroizing::new(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(*bytes));
        self.store.try_write(actor, tick.now, |tx| {
            let n = taken(tx, name)?;
            match again {
                Some(reason) => {
                    needs_a_reason(reason)?;
                    take_back(tx, &n, reason, tick.now)?;
                }
                None if n.is_joined() => {
                    let problem =
                        format!("node {name} has joined already; to let it join anew: perennial node rejoin {name} --reason \"…\"");
                    return Err(Error::refused("node-joined", problem));
                }
                None => {}
            }
            // One at a time: whoever made the one before thinks that it is the only one.
            identity::end_tokens(tx, n.id, tick.now)?;
            let id = tx.next_id("join_token")?;
            let expires_at = tick.now + valid;
            let row = JoinToken { id, node: n.id, hash: hash(&secret), created_at: tick.now, expires_at, ended_at: None, key: None };
            identity::insert_token(tx, &row)?;
            let body = json!({ "token": id, "expires_at": expires_at.to_string() });
            tx.journal(Entry::new("node.invited", subject(name), again.unwrap_or_default(), &body))?;
            Ok(Invited { token: Zeroizing::new(format!("{id}.{}", *secret)), expires_at })
        })
    }

    /// Takes a node's identity back. What it has installed stays; nothing more reaches it.
    ///
    /// # Errors
    /// There is no reason, or no such node.
    pub fn revoke_node(&self, name: &str, reason: &str, actor: &Actor, tick: &Tick) -> Result<()> {
        needs_a_reason(reason)?;
        self.store.try_write(actor, tick.now, |tx| {
            let n = taken(tx, name)?;
            identity::end_tokens(tx, n.id, tick.now)?;
            take_back(tx, &n, reason, tick.now)
        })
    }

    /// The first contact of an agent.
    ///
    /// # Errors
    /// `bad-token` whatever is wrong with the token; `bad-csr`; or the store is sealed.
    pub fn join(&self, join: &api::agent::Join, random: &mut Entropy<'_>, tick: &Tick) -> Result<api::agent::Joined> {
        words(&[&join.agent, &join.instance])?;
        let off = clock_off(&join.clock, tick.now)?;
        let (id, secret) = read_token(&join.token.0).ok_or_else(bad_token)?;
        // Before anything costs time: strangers get no signature verified.
        let name = self.store.read(|tx| {
            let Some(token) = identity::token(tx, id)?.filter(|t| is_equal(&t.hash, &hash(secret))) else { return Ok(None) };
            Ok(node::get(tx, token.node)?.map(|n| n.name))
        })?;
        let name = name.ok_or_else(bad_token)?;
        let request = Proven::read(&decode(&join.csr)?)?;
        let authority = self.agent_authority(random, &actor(&name), tick)?;
        self.store.try_write(&actor(&name), tick.now, |tx| {
            let token = identity::lock_token(tx, id)?.filter(|t| is_equal(&t.hash, &hash(secret))).ok_or_else(bad_token)?;
            let n = node::lock(tx, token.node)?.filter(|n| n.retired_at.is_none()).ok_or_else(bad_token)?;
            // Whoever used it may ask again for an answer that was lost on the way; nobody else, not after its end, and not once what it
            // got was presented: then nothing was lost, and a copy of the key would bring an identity of its own out of it.
            let same = token.key == Some(request.key()) && n.key == Some(request.key()) && n.revoked_at.is_none();
            let lost = same && n.cloned_at.is_none() && !identity::is_used(tx, n.id)?;
            if token.expires_at <= tick.now || (token.ended_at.is_some() && !lost) {
                return Err(bad_token());
            }
            identity::use_token(tx, id, &request.key(), tick.now)?;
            identity::revoke_all(tx, n.id, tick.now)?;
            let certified = authority.certify(n.id, &n.name, &request, random, tick.now)?;
            identity::insert_certificate(tx, &certified.row)?;
            let life = meta::identity(tx)?;
            let joined = Node {
                key: Some(request.key()),
                epoch: life.epoch,
                joined_at: Some(tick.now),
                revoked_at: None,
                instance: join.instance.clone(),
                instance_at: Some(tick.now),
                earlier: Vec::new(),
                cloned_at: None,
                cloned: String::new(),
                agent: join.agent.clone(),
                seen_at: Some(tick.now),
                clock_off: Some(off),
                ..n
            };
            node::put(tx, &joined)?;
            super::given::joined(tx, &joined)?;
            if super::rotate::announced(tx)?.is_some() {
                // Its first manifest names the next key, so there has to be one.
                node::advance(tx, joined.id, tick.now)?;
            }
            adopt(tx, &joined, tick)?;
            timer::set_earlier(tx, loops::NODE, joined.id.0, tick.now)?;
            let body = json!({ "token": id, "key": request.key().to_string(), "serial": certified.row.serial, "agent": join.agent,
                "not_after": certified.row.not_after.to_string(), "again": lost });
            tx.journal(Entry::new("node.joined", subject(&joined.name), "", &body))?;
            Ok(api::agent::Joined {
                node: joined.name.clone(),
                store: life.store_id,
                epoch: life.epoch,
                identity: renewed(tx, &certified.chain, tick.now)?,
                manifest_key: STANDARD.encode(manifest_spki(tx)?),
            })
        })
    }

    /// Who presents a certificate. The first use of one supersedes those before it; the use of a superseded one is noted, and told.
    ///
    /// # Errors
    /// `unknown-agent`, `agent-revoked`, `agent-superseded`, `other-epoch`, `agent-too-old`, `node-retired`.
    pub fn recognise(&self, presented: &Fingerprint, tick: &Tick) -> Result<Agent> {
        let found = self.store.read(|tx| {
            let Some(c) = identity::certificate(tx, presented)? else { return Ok(None) };
            let n = node::get(tx, c.node)?;
            Ok(n.map(|n| (c, n)).map(|pair| (pair, meta::identity(tx).map(|i| i.epoch))))
        })?;
        let ((certificate, node), epoch) = found.ok_or_else(|| Against::Unknown.refusal())?;
        let epoch = epoch?;
        match judge(&certificate, node.retired_at.is_some(), node.is_joined(), epoch, tick.now) {
            Ok(expired) if certificate.used_at.is_some() => Ok(Agent { node, certificate, expired }),
            // Both are written down.
            Ok(_) | Err(Against::Superseded) => {
                self.store.try_write(&actor(&node.name), tick.now, |tx| Engine::recognise_in(tx, presented, epoch, tick.now))?
            }
            Err(against) => Err(against.refusal()),
        }
    }

    /// Whose these certificates are, in order, where their nodes may act by them now; writes nothing.
    ///
    /// # Errors
    /// The database.
    pub fn admitted(&self, presented: &[Fingerprint], tick: &Tick) -> Result<Vec<Option<NodeId>>> {
        let (epoch, known) = self.store.read(|tx| {
            let known = identity::standings(tx, presented)?.into_iter().map(|s| (s.certificate.fingerprint, s));
            Ok((meta::identity(tx)?.epoch, known.collect::<BTreeMap<_, _>>()))
        })?;
        let admitted = |f: &Fingerprint| {
            let s = known.get(f)?;
            judge(&s.certificate, s.retired, s.joined, epoch, tick.now).ok().map(|_| s.certificate.node)
        };
        Ok(presented.iter().map(admitted).collect())
    }

    /// Takes note of the start of an agent that asks, where it says which one it is and that is news. A copy that only asks is noticed by
    /// it, too; what it may still ask for, the node's row says from then on.
    ///
    /// # Errors
    /// `bad-word`, or the certificate is no longer good.
    pub fn hear(&self, agent: &Agent, instance: Option<&str>, tick: &Tick) -> Result<()> {
        let Some(said) = instance else { return Ok(()) };
        words(&[said])?;
        if !is_news(&agent.node.instance, &agent.node.earlier, agent.node.cloned_at.is_some(), said, tick.now) {
            return Ok(());
        }
        self.store.try_write(&agent.actor(), tick.now, |tx| {
            let mut n = still(tx, agent, tick.now)?;
            match heard(&mut n, said, tick.now) {
                Some(how) => cloned(tx, n, &how, tick.now),
                None => Ok(node::put(tx, &n)?),
            }
        })
    }

    /// As [`Engine::recognise`], inside a transaction that writes. What speaks against somebody is no reason to undo what it wrote.
    pub(super) fn recognise_in(
        tx: &mut Tx<'_>,
        presented: &Fingerprint,
        epoch: i64,
        now: Time,
    ) -> Result<std::result::Result<Agent, Error>> {
        let Some(certificate) = identity::certificate(tx, presented)? else { return Ok(Err(Against::Unknown.refusal())) };
        let Some(node) = node::lock(tx, certificate.node)? else { return Ok(Err(Against::Unknown.refusal())) };
        match judge(&certificate, node.retired_at.is_some(), node.is_joined(), epoch, now) {
            Ok(expired) => {
                if certificate.used_at.is_none() {
                    identity::first_use(tx, &certificate, now)?;
                }
                Ok(Ok(Agent { node, certificate, expired }))
            }
            Err(against) => {
                if against == Against::Superseded {
                    cloned(tx, node, &after_its_successor(&certificate), now)?;
                }
                Ok(Err(against.refusal()))
            }
        }
    }

    /// A new certificate for the same identity; after the end of the one before by the same key alone.
    ///
    /// # Errors
    /// `bad-csr`; `key-changed` for another key after the end; `agent-cloned`; or the store is sealed.
    pub fn renew(&self, agent: &Agent, renew: &api::agent::Renew, random: &mut Entropy<'_>, tick: &Tick) -> Result<api::agent::Renewed> {
        words(&[&renew.instance])?;
        let off = clock_off(&renew.clock, tick.now)?;
        let request = Proven::read(&decode(&renew.csr)?)?;
        if agent.expired && request.key() != agent.certificate.key {
            let problem = "the certificate has run out: only the key that it was issued for can renew it";
            return Err(Error::refused("key-changed", problem));
        }
        let authority: AgentAuthority = self.agent_authority(random, &agent.actor(), tick)?;
        self.store.try_write(&agent.actor(), tick.now, |tx| {
            let mut n = even_late(tx, agent, tick.now)?.0;
            n.clock_off = Some(off);
            n.seen_at = Some(tick.now);
            let twice = heard(&mut n, &renew.instance, tick.now);
            if let Some(how) = twice {
                cloned(tx, n, &how, tick.now)?;
                return Ok::<_, Error>(Err(super::is_cloned(&agent.node.name)));
            }
            if n.cloned_at.is_some() {
                return Ok(Err(super::is_cloned(&n.name)));
            }
            let certified = authority.certify(n.id, &n.name, &request, random, tick.now)?;
            identity::insert_certificate(tx, &certified.row)?;
            n.key = Some(request.key());
            node::put(tx, &n)?;
            timer::set_earlier(tx, loops::NODE, n.id.0, tick.now)?;
            let body = json!({ "serial": certified.row.serial, "key": request.key().to_string(), "late": agent.expired,
                "not_after": certified.row.not_after.to_string() });
            tx.journal(Entry::new("node.renewed", subject(&n.name), "", &body))?;
            Ok(Ok(renewed(tx, &certified.chain, tick.now)?))
        })?
    }

    /// A server's own authority, by which agents believe it; handed out to all of them.
    pub fn register_root(&self, pem: &str, tick: &Tick) -> Result<()> {
        let loaded = pki::load(pem.as_bytes(), None, pki::Limits::default()).map_err(|e| Error::Outside(e.to_string()))?;
        let Some(root) = loaded.certificates.first() else { return Ok(()) };
        Ok(self.store.write(&crate::rules(), tick.now, |tx| identity::put_root(tx, &root.fingerprint(), &root.to_pem(), tick.now))?)
    }
}

/// The node with a name, its row taken.
fn taken(tx: &mut Tx<'_>, name: &str) -> Result<Node> {
    let found = node::by_name(tx, name)?.filter(|n| n.retired_at.is_none()).ok_or_else(|| Error::not_found("node", name))?;
    node::lock(tx, found.id)?.ok_or_else(|| Error::not_found("node", name))
}

/// An agent's row, taken, if it may still act.
pub(super) fn still(tx: &mut Tx<'_>, agent: &Agent, now: Time) -> Result<Node> {
    match even_late(tx, agent, now)? {
        (n, false) => Ok(n),
        (_, true) => Err(super::has_expired()),
    }
}

/// An agent's row, taken, if it may still act or renew; and whether its certificate has run out.
fn even_late(tx: &mut Tx<'_>, agent: &Agent, now: Time) -> Result<(Node, bool)> {
    let n = node::lock(tx, agent.node.id)?.ok_or_else(|| Against::Unknown.refusal())?;
    let c = identity::certificate(tx, &agent.certificate.fingerprint)?.ok_or_else(|| Against::Unknown.refusal())?;
    let epoch = meta::identity(tx)?.epoch;
    let expired = judge(&c, n.retired_at.is_some(), n.is_joined(), epoch, now).map_err(Against::refusal)?;
    Ok((n, expired))
}

/// Ends an identity. Whoever waits under it is woken, and refused.
fn take_back(tx: &mut Tx<'_>, n: &Node, reason: &str, now: Time) -> Result<()> {
    let certificates = identity::revoke_all(tx, n.id, now)?;
    let after = Node { key: None, revoked_at: n.key.map(|_| now).or(n.revoked_at), cloned_at: None, cloned: String::new(), ..n.clone() };
    node::put(tx, &after)?;
    node::advance(tx, n.id, now)?;
    timer::set_earlier(tx, loops::NODE, n.id.0, now)?;
    tx.journal(Entry::new("node.revoked", subject(&n.name), reason, &json!({ "certificates": certificates })))?;
    Ok(())
}

/// What the start of an agent that speaks is, beside those that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// The one that was heard last.
    Same,
    /// A new one.
    Next,
    /// One that was replaced a moment ago: the last words of one that ends may arrive after the first of the next.
    Late,
    /// One that was replaced then, and speaks on.
    Twice(Time),
}

fn start(latest: &str, earlier: &[(String, Time)], said: &str, now: Time) -> Start {
    if latest == said {
        return Start::Same;
    }
    match earlier.iter().find(|(known, _)| known == said) {
        Some((_, replaced)) if *replaced + CHANGE_OVER <= now => Start::Twice(*replaced),
        Some(_) => Start::Late,
        None => Start::Next,
    }
}

/// Whether something has to be written down of the start that speaks.
pub(super) fn is_news(latest: &str, earlier: &[(String, Time)], cloned: bool, said: &str, now: Time) -> bool {
    !cloned && matches!(start(latest, earlier, said, now), Start::Next | Start::Twice(_))
}

/// Takes note of the start of an agent that speaks. Says how it shows that two of them live on one identity, where it does: one that was
/// replaced by a later start speaks again.
pub(super) fn heard(n: &mut Node, instance: &str, now: Time) -> Option<String> {
    match start(&n.instance, &n.earlier, instance, now) {
        Start::Same | Start::Late => return None,
        Start::Twice(replaced) => return Some(format!("an agent speaks on that was replaced by another start of it at {replaced}")),
        Start::Next => {}
    }
    if !n.instance.is_empty() {
        n.earlier.insert(0, (std::mem::take(&mut n.instance), now));
        n.earlier.truncate(MOST_EARLIER);
    }
    n.instance = instance.to_owned();
    n.instance_at = Some(now);
    None
}

/// Writes down that an identity exists twice, once; its row is taken.
pub(super) fn cloned(tx: &mut Tx<'_>, n: Node, how: &str, now: Time) -> Result<()> {
    if n.cloned_at.is_some() {
        return Ok(());
    }
    tx.journal(Entry::new("node.cloned", subject(&n.name), "", &json!({ "how": how, "instance": n.instance })))?;
    timer::set_earlier(tx, loops::NODE, n.id.0, now)?;
    node::put(tx, &Node { cloned_at: Some(now), cloned: how.to_owned(), ..n })?;
    Ok(())
}

fn after_its_successor(c: &Certificate) -> String {
    format!("a certificate was presented after its successor was (serial {})", c.serial)
}

fn renewed(tx: &mut Tx<'_>, chain: &[Vec<u8>], now: Time) -> Result<api::agent::Renewed> {
    Ok(api::agent::Renewed {
        chain: chain.iter().map(|der| STANDARD.encode(der)).collect(),
        roots: identity::roots(tx, now - ROOTS_KEPT, MOST_ROOTS)?,
        clock: now.to_string(),
    })
}

/// By how many seconds a node's clock is ahead.
pub(super) fn clock_off(says: &str, now: Time) -> Result<i64> {
    let says = Time::parse(says).map_err(|_| Error::refused("bad-time", "clock: not a time as RFC 3339 writes it, in UTC"))?;
    Ok((says - now).as_secs())
}

/// What an agent says of itself, within its limit.
pub(super) fn words(all: &[&str]) -> Result<()> {
    match all.iter().find(|w| w.len() > MOST_WORD || w.chars().any(char::is_control)) {
        Some(_) => Err(Error::refused("bad-word", format!("agent and instance have at most {MOST_WORD} characters that can be printed"))),
        None => Ok(()),
    }
}

pub(super) fn decode(text: &str) -> Result<Vec<u8>> {
    STANDARD.decode(text).map_err(|_| Error::refused("bad-csr", "csr: not base64 (RFC 4648 §4)"))
}

fn read_token(text: &str) -> Option<(i64, &str)> {
    let (id, secret) = text.split_once('.')?;
    Some((id.parse().ok()?, secret))
}

/// The same whatever is wrong: unknown, used, ended, or for a node that is gone.
fn bad_token() -> Error {
    Error::refused(
        "bad-token",
        "this join token is not good: it was used, has ended, or never was; `perennial node join-token` makes another one",
    )
}

/// SHA-256 of the text; it is 256 random bits.
fn hash(secret: &str) -> [u8; 32] {
    *Fingerprint::of(secret.as_bytes()).as_bytes()
}

/// Takes as long wherever they differ.
fn is_equal(a: &[u8; 32], b: &[u8; 32]) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0u8, |all, (x, y)| all | (x ^ y))) == 0
}

/// The node with a name.
pub(super) fn by_name(tx: &mut Tx<'_>, name: &str) -> Result<Node> {
    node::by_name(tx, name)?.filter(|n| n.retired_at.is_none()).ok_or_else(|| Error::not_found("node", name))
}

impl Engine {
    /// After a restore: agents whose certificates the restored store knows go on living on them. What was revoked since the backup was
    /// made is good again; whoever says this has looked.
    ///
    /// # Errors
    /// There is no reason.
    pub fn readmit_nodes(&self, reason: &str, actor: &Actor, tick: &Tick) -> Result<u64> {
        needs_a_reason(reason)?;
        self.store.try_write(actor, tick.now, |tx| {
            let epoch = meta::identity(tx)?.epoch;
            let n = identity::readmit(tx, epoch)?;
            tx.journal(Entry::new("node.readmitted", "store", reason, &json!({ "certificates": n, "epoch": epoch })))?;
            Ok(n)
        })
    }
}
