//! Manifests: what one node is to have, signed. One is a function of what is stored, so nothing of it is kept: asked twice, it is the same.

use super::{
    identity::{Against, is_news, judge},
    rotate::announced,
};
use crate::{Engine, Error, Result, Tick};
use api::agent::{Fault, Install, Keys, MANIFEST_CONTEXT, Manifest, SignedManifest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{
    Fingerprint,
    issuing::KeysAt,
    words::{NodeId, SecretId},
};
use pki::PrivateKey;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use store::{
    Store, meta,
    model::{drill, identity, node},
};

/// A generation that an agent may have seen in a life of the store that was lost; beyond it nothing is believed.
const HIGHEST_GENERATION: i64 = 1 << 40;

/// An agent that asks whether there is something newer than what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// SHA-256 of the certificate that it presented.
    pub certificate: Fingerprint,
    /// The generation that it has.
    pub after: i64,
    /// Which start of the agent asks, where it says so.
    pub instance: Option<Arc<str>>,
}

/// The answer to one of many.
#[derive(Debug)]
pub enum Polled {
    /// Nothing newer; it waits.
    Waits {
        /// The node.
        node: NodeId,
        /// Whether it was not heard of for a while, so that somebody writes down that it was now.
        unheard: bool,
    },
    /// Something newer.
    News {
        /// The node.
        node: NodeId,
        /// The number of the manifest.
        generation: i64,
        /// A [`SignedManifest`] in JSON.
        body: Vec<u8>,
    },
    /// Something has to be written first: [`Engine::recognise`], [`Engine::hear`], and where the agent is further than the store,
    /// [`Engine::catch_up`].
    Settle,
    /// Why not.
    Refused(Error),
}

impl Engine {
    /// Answers many agents at once, in order, from one moment of the database; writes nothing.
    ///
    /// # Errors
    /// The database. What concerns one agent alone is in its answer.
    pub fn poll(&self, asks: &[Ask], tick: &Tick) -> Result<Vec<Polled>> {
        let presented: Vec<Fingerprint> = asks.iter().map(|a| a.certificate).collect();
        let (life, next, known, wants, cut) = self.store.read(|tx| {
            let life = meta::identity(tx)?;
            let known: BTreeMap<Fingerprint, identity::Standing> =
                identity::standings(tx, &presented)?.into_iter().map(|s| (s.certificate.fingerprint, s)).collect();
            let behind = |a: &&Ask| known.get(&a.certificate).is_some_and(|s| s.joined && s.generation > a.after);
            let mut nodes: Vec<NodeId> =
                asks.iter().filter(behind).filter_map(|a| known.get(&a.certificate).map(|s| s.certificate.node)).collect();
            nodes.sort_unstable();
            nodes.dedup();
            Ok((life, announced(tx)?, known, node::wants(tx, &nodes)?, drill::cut_off(tx, tick.now)?))
        })?;
        let next = next.map(|spki| STANDARD.encode(spki));
        let wants: BTreeMap<NodeId, node::Wants> = wants.into_iter().map(|w| (w.node, w)).collect();
        // Opened once for all of them, and only where something is to be signed.
        let key = if wants.is_empty() { None } else { Some(self.manifest_key()) };
        let answer = |ask: &Ask| {
            let Some(s) = known.get(&ask.certificate) else { return Polled::Refused(Against::Unknown.refusal()) };
            match judge(&s.certificate, s.retired, s.joined, life.epoch, tick.now) {
                Err(Against::Superseded) => return Polled::Settle,
                Err(against) => return Polled::Refused(against.refusal()),
                Ok(true) => return Polled::Refused(super::has_expired()),
                Ok(false) if s.certificate.used_at.is_none() || s.generation < ask.after => return Polled::Settle,
                Ok(false) => {}
            }
            let news = |said: &Arc<str>| is_news(&s.instance, &s.earlier, s.cloned, said, tick.now);
            if ask.instance.as_ref().is_some_and(news) {
                return Polled::Settle;
            }
            let Some(w) = wants.get(&s.certificate.node).filter(|w| !is_withheld(w, ask.after, &cut)) else {
                let unheard = s.seen_at.is_none_or(|at| at + super::HEARD_AGAIN <= tick.now);
                return Polled::Waits { node: s.certificate.node, unheard };
            };
            match &key {
                Some(Ok(key)) => match signed(&life.store_id, life.epoch, w, key, next.as_ref()) {
                    Ok(body) => Polled::News { node: w.node, generation: w.generation, body },
                    Err(error) => Polled::Refused(error),
                },
                Some(Err(error)) => Polled::Refused(again(error)),
                None => Polled::Refused(Error::Sealed),
            }
        };
        Ok(asks.iter().map(answer).collect())
    }

    /// An agent has seen a later generation than the store knows: it was restored from a backup. Generations only go forward, so the
    /// next one is one that the agent has not seen.
    ///
    /// # Errors
    /// The generation cannot be one.
    pub fn catch_up(&self, agent: &super::Agent, seen: i64, tick: &Tick) -> Result<()> {
        if seen > HIGHEST_GENERATION {
            return Err(Error::refused("bad-generation", format!("{seen} is no generation of a manifest")));
        }
        self.store.try_write(&agent.actor(), tick.now, |tx| {
            let n = super::identity::still(tx, agent, tick.now)?;
            if n.generation < seen {
                node::raise(tx, n.id, seen, tick.now)?;
                let body = serde_json::json!({ "from": n.generation, "past": seen });
                tx.journal(store::journal::Entry::new(
                    "node.caught-up",
                    super::subject(&n.name),
                    "the agent knew a later generation",
                    &body,
                ))?;
            }
            Ok(())
        })
    }

    /// The manifest of a node as it is now, to be carried by hand, and its chains.
    ///
    /// # Errors
    /// There is no such node, no node has ever joined, or the store is sealed.
    pub fn manifest_of(&self, name: &str) -> Result<(SignedManifest, Vec<api::agent::Material>)> {
        let (life, next, wants, material) = self.store.try_read(|tx| {
            let n = super::identity::by_name(tx, name)?;
            let material = super::material::chains(tx, &n)?;
            Ok::<_, Error>((meta::identity(tx)?, announced(tx)?, node::wants(tx, &[n.id])?, material))
        })?;
        let wants = wants.first().ok_or_else(|| Error::not_found("node", name))?;
        let body = signed(&life.store_id, life.epoch, wants, &self.manifest_key()?, next.map(|spki| STANDARD.encode(spki)).as_ref())?;
        let signed = serde_json::from_slice(&body).map_err(|e| Error::Outside(e.to_string()))?;
        Ok((signed, material))
    }

    /// The total of all changes of manifests: while it stays, nobody has to look.
    ///
    /// # Errors
    /// The database.
    pub fn manifest_changes(&self) -> Result<i64> {
        Ok(self.store.read(|tx| tx.counted(node::CHANGES))?)
    }

    /// The number and generation of every node.
    ///
    /// # Errors
    /// The database.
    pub fn generations(&self) -> Result<Vec<(NodeId, i64)>> {
        Ok(Store::read(&self.store, node::generations)?)
    }
}

/// Whoever a rehearsal cuts off from a secret hears of nothing newer, as if it were down; until there is news of anything else as well.
fn is_withheld(w: &node::Wants, after: i64, cut: &BTreeSet<(NodeId, SecretId)>) -> bool {
    let mut news = w.installs.iter().filter(|i| i.since > after).peekable();
    news.peek().is_some() && news.all(|i| cut.contains(&(w.node, i.secret)))
}

/// The same error once more, for another agent.
fn again(error: &Error) -> Error {
    match error {
        Error::Sealed => Error::Sealed,
        Error::Store(e) => Error::Store(e.clone()),
        other => Error::Outside(other.to_string()),
    }
}

fn signed(store: &str, epoch: i64, w: &node::Wants, key: &PrivateKey, next: Option<&String>) -> Result<Vec<u8>> {
    let manifest = Manifest {
        store: store.to_owned(),
        epoch,
        node: w.name.clone(),
        generation: w.generation,
        issued_at: w.changed_at.to_string(),
        installs: w.installs.iter().map(install).collect(),
        next_key: next.cloned(),
    };
    let outside = |e: &dyn std::fmt::Display| Error::Outside(format!("the manifest of {} cannot be signed: {e}", w.name));
    let payload = serde_json::to_vec(&manifest).map_err(|e| outside(&e))?;
    let signature = pki::detached::sign(key, MANIFEST_CONTEXT, &payload).map_err(|e| outside(&e))?;
    let signed = SignedManifest { payload: STANDARD.encode(&payload), signature: STANDARD.encode(signature) };
    serde_json::to_vec(&signed).map_err(|e| outside(&e))
}

fn install(w: &node::Wanted) -> Install {
    let born = w.issued.as_ref().is_some_and(|(keys, ..)| *keys == KeysAt::Node);
    let mut names = w.names.clone();
    names.extend(w.issued.iter().map(|(_, _, spiffe)| spiffe.clone()).filter(|id| !id.is_empty()));
    Install {
        secret: w.name.clone(),
        version: w.version,
        keys: if born { Keys::Node } else { Keys::Store },
        key_type: w.issued.as_ref().map(|(_, key_type, _)| key_type.clone()).unwrap_or_default(),
        names,
        leaves: w.leaves.iter().map(ToString::to_string).collect(),
        since: w.since,
        fault: (w.fault == super::STALE_RELOAD).then_some(Fault::StaleReload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Time;

    #[test]
    fn whoever_is_cut_off_from_one_secret_hears_of_every_other() {
        let wanted = |secret: i64, since| node::Wanted {
            secret: SecretId(secret),
            name: String::new(),
            version: 1,
            since,
            fault: String::new(),
            names: Vec::new(),
            issued: None,
            leaves: Vec::new(),
        };
        let wants = |installs| node::Wants { node: NodeId(1), name: String::new(), generation: 9, changed_at: Time::EPOCH, installs };
        let cut = BTreeSet::from([(NodeId(1), SecretId(7)), (NodeId(2), SecretId(8))]);
        for (news, withheld) in [
            (vec![wanted(7, 9), wanted(8, 3)], true),
            (vec![wanted(7, 9), wanted(8, 6)], false),
            (vec![wanted(8, 9)], false),
            // What left its files is no news of the secret.
            (vec![wanted(7, 5)], false),
            (vec![], false),
        ] {
            assert_eq!(is_withheld(&wants(news.clone()), 5, &cut), withheld, "{news:?}");
        }
    }
}
