//! Certificates and keys on their way to a node. It can ask only for what its row says; a key is opened for this node and this
//! generation alone, after the journal says so, and is kept nowhere.

use super::{
    Agent,
    identity::{decode, still},
    is_cloned, subject,
};
use crate::{
    Engine, Error, Result, Tick,
    issuing::Answer,
    ports::Entropy,
    rollouts::not_revoked,
    vault::{PRIVATE_KEY, place, sealed_of},
};
use api::agent::{Fetch, KeyText, Material, Pair, Pending, Request};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{Span, Time, issuing::KeysAt};
use pki::csr::Csr;
use serde_json::json;
use store::{
    Tx,
    journal::Entry,
    meta,
    model::{
        issuance,
        node::{self, Install, Node},
        order,
        secret::{self, Instance, Secret},
    },
};

/// For how many keys a node gets a certificate of one version in a day. An agent makes one and keeps it, another one where its disk was
/// lost; each is an order of its own, and a CA grants all nodes together only so many.
const MOST_KEYS: usize = 4;
/// In which time.
const KEYS_WITHIN: Span = Span::days(1);

/// What an agent gets for a request.
#[derive(Debug)]
pub enum Supplied {
    /// Here it is.
    Here(Material),
    /// Later.
    Later(Pending),
}

impl Engine {
    /// A chain and, where keys are kept in the store, the key, for what this node is to have.
    ///
    /// # Errors
    /// `not-to-have`, `other-generation`, `not-born`, `clock-behind`, `agent-cloned`; or the store is sealed.
    pub fn fetch(&self, agent: &Agent, fetch: &Fetch, tick: &Tick) -> Result<Material> {
        self.hear(agent, fetch.instance.as_deref(), tick)?;
        let (store_id, rows) = self.store.try_write(&agent.actor(), tick.now, |tx| {
            let n = still(tx, agent, tick.now)?;
            let (s, i) = entitled(tx, &n, &fetch.secret, fetch.version, fetch.generation)?;
            let kept = keys_at(tx, &s)? == KeysAt::Store;
            let instances = narrowest(tx, &n, &s, i.version)?;
            if instances.is_empty() {
                let problem = format!("version {} of {} has no certificate for this node yet; its agent asks for one", i.version, s.name);
                return Err(Error::refused("not-born", problem));
            }
            in_time(&n, &instances, tick.now)?;
            let mut rows = Vec::with_capacity(instances.len());
            for instance in instances {
                let sealed = if kept { secret::sealed(tx, instance.id)? } else { None };
                rows.push((instance, sealed));
            }
            // Before the journal says that it went out: it would not.
            if rows.iter().any(|(_, sealed)| sealed.is_some()) && !self.is_open() {
                return Err(Error::Sealed);
            }
            went_out(tx, &n, i, &s, rows.iter().map(|(instance, sealed)| (instance, sealed.is_some())), tick.now)?;
            Ok((meta::identity(tx)?.store_id, rows))
        })?;
        // Only now, when it is written down.
        let mut pairs = Vec::with_capacity(rows.len());
        let (mut name, mut version) = (String::new(), 0);
        for (instance, sealed) in rows {
            let key = match &sealed {
                Some(row) => {
                    let keys = self.keys()?;
                    let keeper = keys.under(&row.kek)?;
                    let place = place(&store_id, instance.secret, instance.version, instance.id, PRIVATE_KEY)?;
                    let opened = keeper.open(&place, &sealed_of(row)).map_err(|e| Error::refused("damaged", e.to_string()))?;
                    Some(KeyText(STANDARD.encode(opened.expose())))
                }
                None => None,
            };
            (name, version) = (fetch.secret.clone(), instance.version);
            pairs.push(Pair { chain: chain_text(&instance.chain), key });
        }
        Ok(Material { secret: name, version, pairs })
    }

    /// A certificate for a key that was born on the node.
    ///
    /// # Errors
    /// As [`Engine::fetch`]; `keys-in-store`; and whatever stands against the request.
    pub fn request(&self, agent: &Agent, request: &Request, random: &mut Entropy<'_>, tick: &Tick) -> Result<Supplied> {
        if agent.expired {
            return Err(super::has_expired());
        }
        self.hear(agent, request.instance.as_deref(), tick)?;
        let csr = decode(&request.csr)?;
        // Whether its sender holds the key, and which names it may have, is for whoever issues to say.
        let key = Csr::parse(&csr).map_err(|e| Error::refused("bad-csr", e.to_string()))?.spki_fingerprint();
        let (s, version) = self.store.try_read(|tx| {
            let n = node::get(tx, agent.node.id)?.ok_or_else(|| Error::not_found("node", &agent.node.name))?;
            let (s, i) = entitled(tx, &n, &request.secret, request.version, request.generation)?;
            if keys_at(tx, &s)? != KeysAt::Node {
                let problem = format!("keys of {} are kept in the store, and sent: ask for them", s.name);
                return Err(Error::refused("keys-in-store", problem));
            }
            let since = tick.now - KEYS_WITHIN;
            let keys = order::keys_since(tx, s.id, i.version, &n.name, since, MOST_KEYS as i64 + 1)?;
            if keys.len() >= MOST_KEYS && !keys.contains(&key) {
                let problem = format!(
                    "node {} asked for certificates for {} keys of version {} of {} within a day, which is the most; its agent keeps one",
                    n.name,
                    keys.len(),
                    i.version,
                    s.name
                );
                return Err(Error::refused("too-many-keys", problem));
            }
            Ok((s, i.version))
        })?;
        // The key that an agent lives on goes over the wire's other side every day; what it serves with is another one.
        if agent.node.key == Some(key) {
            return Err(Error::refused("bad-csr", "this is the key that the agent lives on; make one for this secret alone"));
        }
        let chain = match self.issue_for_node(&agent.node.name, s.id, version, &csr, tick, random)? {
            Answer::Issued(chain) => chain,
            Answer::Pending { retry_after, what } => {
                let retry_after = retry_after.as_secs().unsigned_abs().max(1);
                return Ok(Supplied::Later(Pending { retry_after, detail: what }));
            }
        };
        self.store.try_write(&agent.actor(), tick.now, |tx| {
            let n = still(tx, agent, tick.now)?;
            let (s, i) = entitled(tx, &n, &request.secret, request.version, request.generation)?;
            let own: Vec<Instance> = secret::instances_of(tx, s.id, version, &[&n.name])?.into_iter().filter(|i| i.key == key).collect();
            in_time(&n, &own, tick.now)?;
            went_out(tx, &n, i, &s, own.iter().map(|instance| (instance, false)), tick.now)
        })?;
        let pair = Pair { chain: chain.iter().map(|der| STANDARD.encode(der)).collect(), key: None };
        Ok(Supplied::Here(Material { secret: s.name, version, pairs: vec![pair] }))
    }
}

/// The chains of what a node is to have, without any key, for what is carried by hand.
pub(super) fn chains(tx: &mut Tx<'_>, n: &Node) -> Result<Vec<Material>> {
    let mut all = Vec::new();
    for i in node::installs(tx, n.id)?.into_iter().filter(|i| i.version > 0) {
        let Some(s) = secret::get(tx, i.secret)? else { continue };
        match not_revoked(tx, &s, i.version, &[&n.name, &n.region, "all"]) {
            Err(Error::Refused(_)) => continue,
            other => other?,
        }
        let pairs: Vec<Pair> = narrowest(tx, n, &s, i.version)?.iter().map(|c| Pair { chain: chain_text(&c.chain), key: None }).collect();
        if !pairs.is_empty() {
            all.push(Material { secret: s.name, version: i.version, pairs });
        }
    }
    all.sort_by(|a, b| a.secret.cmp(&b.secret));
    Ok(all)
}

/// What a node may ask about now: its row says so. Whoever asks for anything else hears the same whatever there is.
fn entitled(tx: &mut Tx<'_>, n: &Node, name: &str, version: i64, generation: i64) -> Result<(Secret, Install)> {
    let not = || Error::refused("not-to-have", format!("node {} is not to have version {version} of {}", n.name, pki::text::escape(name)));
    if n.cloned_at.is_some() {
        return Err(is_cloned(&n.name));
    }
    let s = secret::by_name(tx, name)?.ok_or_else(not)?;
    let i = node::install(tx, n.id, s.id)?.filter(|i| i.version > 0).ok_or_else(not)?;
    if generation != n.generation {
        let problem = format!("the manifest of {} is number {} by now, not {generation}; ask for it first", n.name, n.generation);
        return Err(Error::refused("other-generation", problem));
    }
    if i.version != version {
        return Err(not());
    }
    // What was taken back is not handed out once more, also not to a node that lost it: another version is on its way there.
    not_revoked(tx, &s, version, &[&n.name, &n.region, "all"])?;
    Ok((s, i))
}

/// Where the keys of a secret are: what the inventory does not say is kept in the store.
fn keys_at(tx: &mut Tx<'_>, s: &Secret) -> Result<KeysAt> {
    Ok(issuance::get(tx, s.id)?.map_or(KeysAt::Store, |i| i.keys))
}

/// A version's certificates for a node: its own where there are any, else its region's, else those for all.
fn narrowest(tx: &mut Tx<'_>, n: &Node, s: &Secret, version: i64) -> Result<Vec<Instance>> {
    let all = secret::instances_of(tx, s.id, version, &[&n.name, &n.region, "all"])?;
    let scope = [n.name.as_str(), n.region.as_str(), "all"].into_iter().find(|scope| all.iter().any(|i| i.scope == *scope));
    Ok(all.into_iter().filter(|i| Some(i.scope.as_str()) == scope && !i.key_type.is_empty()).collect())
}

/// A node whose clock is behind would call it not yet valid, and serve nothing or something old.
fn in_time(n: &Node, instances: &[Instance], now: Time) -> Result<()> {
    let there = now + Span::seconds(n.clock_off.unwrap_or(0));
    match instances.iter().find(|i| i.not_before > there) {
        Some(i) => {
            let problem =
                format!("the clock of node {} says {there}, and the certificate begins {}; set that clock first", n.name, i.not_before);
            Err(Error::refused("clock-behind", problem))
        }
        None => Ok(()),
    }
}

/// Writes down that something goes out, before it does.
fn went_out<'i>(
    tx: &mut Tx<'_>,
    n: &Node,
    i: Install,
    s: &Secret,
    what: impl Iterator<Item = (&'i Instance, bool)>,
    now: Time,
) -> Result<()> {
    let (mut leaves, mut key) = (Vec::new(), false);
    for (instance, with_key) in what {
        key |= with_key;
        leaves.push(json!({ "instance": instance.id, "scope": instance.scope, "leaf": instance.leaf.to_string(), "key": with_key }));
    }
    let body = json!({ "node": n.name, "version": i.version, "generation": n.generation, "sent": leaves });
    let action = if key { "key.sent" } else { "certificate.sent" };
    tx.journal(Entry::new(action, format!("secret/{}", s.name), subject(&n.name), &body))?;
    node::put_install(tx, &Install { fetched_at: Some(i.fetched_at.unwrap_or(now)), ..i })?;
    Ok(())
}

/// Certificates that lie one behind the other, each in base64.
fn chain_text(der: &[u8]) -> Vec<String> {
    crate::judge::parse_chain(der).iter().map(|c| STANDARD.encode(c.der())).collect()
}
