//! Another key for manifests. It is announced in manifests that the old one signs, and takes its place once every agent has said that it
//! acts on one of those: then no agent meets a signature that it does not know.

use crate::{Engine, Error, Refusal, Result, Tick, held::hold, intent::needs_a_reason, ports::Entropy, rules, vault::MANIFEST_KEY};
use domain::{Fingerprint, Span, Time};
use serde_json::json;
use store::{
    Actor, Tx,
    journal::Entry,
    model::{held, identity, node},
};

/// Under which purpose the next key is known; its bytes are sealed as those of any key of manifests.
const NEXT: &str = "manifest-key-next";
/// After this a person may go on without agents that have not answered: they have to join again.
pub const ANSWER_WITHIN: Span = Span::days(7);
/// How many of them are named.
const NAMED: i64 = 20;

/// How the key of manifests stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestKey {
    /// SHA-256 of the public key that signs; none before the first join.
    pub key: Option<Fingerprint>,
    /// The one that is announced, and since when.
    pub next: Option<(Fingerprint, Time)>,
    /// The first nodes that have not said that they know it.
    pub waits: Vec<String>,
    /// How many there are.
    pub waiting: i64,
}

impl Engine {
    /// How the key of manifests stands.
    ///
    /// # Errors
    /// The database.
    pub fn manifest_key_state(&self) -> Result<ManifestKey> {
        Ok(self.store.read(state)?)
    }

    /// Announces another key for manifests.
    ///
    /// # Errors
    /// There is no reason; `not-born` before anybody joined; `rotation-open`; or the store is sealed.
    pub fn announce_manifest_key(&self, reason: &str, random: &mut Entropy<'_>, actor: &Actor, tick: &Tick) -> Result<ManifestKey> {
        needs_a_reason(reason)?;
        let key = super::authority::draw_manifest_key(random)?;
        self.store.try_write(actor, tick.now, |tx| {
            let sealer = self.sealer(tx)?;
            tx.turn("node authorities")?;
            let Some(current) = identity::authority(tx, MANIFEST_KEY)? else {
                return Err(Error::refused("not-born", "no node has joined yet, so there is no key of manifests to replace"));
            };
            if identity::authority(tx, NEXT)?.is_some() {
                let problem = "the next key is announced already; `perennial node manifest-key` says who has not answered";
                return Err(Error::refused("rotation-open", problem));
            }
            let held = hold(tx, &sealer, MANIFEST_KEY, 0, &key, random, tick.now)?;
            let row = identity::Authority { purpose: NEXT.into(), held, spki: key.spki_der().to_vec(), certificate: Vec::new() };
            identity::put_authority(tx, &row)?;
            let told = node::advance_all(tx, tick.now)?;
            let body =
                json!({ "key": Fingerprint::of(&current.spki).to_string(), "next": key.spki_fingerprint().to_string(), "nodes": told });
            tx.journal(Entry::new("node.manifest-key.announced", "store", reason, &body))?;
            Ok(state(tx)?)
        })
    }

    /// Goes on without the agents that have not answered: the announced key signs from here on.
    ///
    /// # Errors
    /// There is no reason; `no-rotation`; `agents-wait` while somebody has not answered and the time for that is not over.
    pub fn finish_manifest_key(&self, reason: &str, actor: &Actor, tick: &Tick) -> Result<ManifestKey> {
        needs_a_reason(reason)?;
        self.store.try_write(actor, tick.now, |tx| {
            tx.turn("node authorities")?;
            let before = state(tx)?;
            let Some((_, since)) = before.next else {
                return Err(Error::refused("no-rotation", "no other key is announced; `perennial node manifest-key --rotate` does that"));
            };
            if before.waiting > 0 && since + ANSWER_WITHIN > tick.now {
                let mut problems = vec![format!(
                    "{} nodes have not said that they know the next key; they have until {}, and would have to join again",
                    before.waiting,
                    since + ANSWER_WITHIN
                )];
                problems.extend(before.waits);
                return Err(Error::Refused(Refusal { code: "agents-wait", problems }));
            }
            switch(tx, reason)?;
            Ok(state(tx)?)
        })
    }

    /// Puts the announced key in place once everybody has answered.
    pub(super) fn manifest_key_once(&self, tick: &Tick) -> Result<()> {
        let is_ready = |tx: &mut Tx<'_>| Ok(identity::authority(tx, NEXT)?.is_some() && node::behind_their_manifest(tx, 1)?.1 == 0);
        if !self.store.read(is_ready)? {
            return Ok(());
        }
        self.store.try_write(&rules(), tick.now, |tx| {
            tx.turn("node authorities")?;
            if is_ready(tx)? { switch(tx, "every agent said that it knows it") } else { Ok(()) }
        })
    }
}

/// The public half of the key that is announced (SubjectPublicKeyInfo, DER).
pub(super) fn announced(tx: &mut Tx<'_>) -> store::Result<Option<Vec<u8>>> {
    Ok(identity::authority(tx, NEXT)?.map(|a| a.spki))
}

fn state(tx: &mut Tx<'_>) -> store::Result<ManifestKey> {
    let key = identity::authority(tx, MANIFEST_KEY)?.map(|a| Fingerprint::of(&a.spki));
    let Some(next) = identity::authority(tx, NEXT)? else { return Ok(ManifestKey { key, next: None, waits: Vec::new(), waiting: 0 }) };
    let since = held::get(tx, next.held)?.map(|h| h.created_at);
    let (waits, waiting) = node::behind_their_manifest(tx, NAMED)?;
    Ok(ManifestKey { key, next: since.map(|at| (Fingerprint::of(&next.spki), at)), waits, waiting })
}

/// The next key takes the place of the current one, which is kept no longer.
fn switch(tx: &mut Tx<'_>, reason: &str) -> Result<()> {
    let (Some(old), Some(next)) = (identity::authority(tx, MANIFEST_KEY)?, identity::authority(tx, NEXT)?) else { return Ok(()) };
    let (waits, waiting) = node::behind_their_manifest(tx, NAMED)?;
    let body = json!({ "before": Fingerprint::of(&old.spki).to_string(), "key": Fingerprint::of(&next.spki).to_string(),
        "left": waits, "left_count": waiting });
    identity::put_authority(tx, &identity::Authority { purpose: MANIFEST_KEY.into(), ..next })?;
    identity::remove_authority(tx, NEXT)?;
    held::remove(tx, old.held)?;
    tx.journal(Entry::new("node.manifest-key.replaced", "store", reason, &body))?;
    Ok(())
}
