//! The key under which private material lies: made once, opened at every start, rotated without touching a secret.
//!
//! A rotation is safe wherever it breaks off. Its first transaction makes the new key current and lets it open the former ones
//! ([`store::model::secret::Bridge`]); then data keys move, page by page; its last one forgets the former keys and their bridges. From
//! its first transaction on the new way in (passphrase, key file) opens everything, and whichever server is open goes on. The old way in
//! never opens the new key: what is deleted stays readable in backups, in PostgreSQL's dead rows and in its log, and often a key is
//! rotated because the old way in is no longer a secret.

use crate::{
    Engine, Error, Result, Tick, lock,
    ports::Entropy,
    vault::{place, sealed_of},
};
use domain::Time;
use envelope::{Keeper, KekRecord, Place, Provider, Sealed, UnlockError};
use serde_json::json;
use std::sync::Arc;
use store::{Actor, Tx, journal::Entry, meta, model::secret};

/// Data keys put under another KEK in one transaction.
pub const REWRAP_PAGE: i64 = 500;

/// Whether the store can use its keys.
pub(crate) enum State {
    /// It observes, assesses, notifies and answers; it cannot use a key.
    Sealed,
    /// Here they are.
    Open(Keys),
}

/// The keepers of an open store. They are taken out of the vault and used outside of its lock: whoever holds that lock waits for nothing,
/// least of all for the database's writer, who may ask the vault himself.
#[derive(Clone)]
pub(crate) struct Keys {
    /// New data keys go under this one.
    current: Arc<Keeper>,
    /// From a rotation that is not finished.
    earlier: Vec<Arc<Keeper>>,
}

impl Keys {
    /// The keeper of the key with this id.
    pub(crate) fn under(&self, kek: &str) -> Result<&Keeper> {
        self.all().find(|k| k.kek_id() == kek).ok_or(Error::Sealed)
    }

    fn all(&self) -> impl Iterator<Item = &Keeper> {
        std::iter::once(&self.current).chain(&self.earlier).map(AsRef::as_ref)
    }
}

/// Seals in one transaction, under the key that is current in it: nothing is sealed under one that is about to be forgotten.
pub(crate) struct Sealer(Arc<Keeper>);

impl Sealer {
    /// Seals bytes, bound to where they will live.
    pub(crate) fn seal(&self, place: &Place<'_>, bytes: &[u8], random: &mut Entropy<'_>) -> Result<Sealed> {
        self.0.seal(place, bytes, random).map_err(|e| Error::refused("too-large", e.to_string()))
    }
}

impl Engine {
    /// The keepers, for uses outside of the vault's lock.
    ///
    /// # Errors
    /// The store is sealed.
    pub(crate) fn keys(&self) -> Result<Keys> {
        match &*lock(&self.vault) {
            State::Open(keys) => Ok(keys.clone()),
            State::Sealed => Err(Error::Sealed),
        }
    }

    /// What seals in this transaction.
    ///
    /// # Errors
    /// The store is sealed, or another server rotated its key.
    pub(crate) fn sealer(&self, tx: &mut Tx<'_>) -> Result<Sealer> {
        let mut keeper = self.keys()?.current;
        while !secret::take_current_kek(tx, keeper.kek_id())? {
            // Somebody on this server may have rotated it while this transaction waited.
            let now = self.keys()?.current;
            if now.kek_id() == keeper.kek_id() {
                return Err(rotated_elsewhere());
            }
            keeper = now;
        }
        Ok(Sealer(keeper))
    }

    /// Whether private material can be used.
    pub fn is_open(&self) -> bool {
        matches!(*lock(&self.vault), State::Open(_))
    }

    /// Whether a key-encryption key was ever made.
    pub fn is_initialised(&self) -> Result<bool> {
        Ok(!self.store.read(secret::keks)?.is_empty())
    }

    /// Makes the first key-encryption key. Refused where there is one.
    pub fn initialise(&self, provider: &dyn Provider, random: &mut Entropy<'_>, actor: &Actor, tick: &Tick) -> Result<()> {
        let store_id = self.store.read(meta::identity)?.store_id;
        let (record, keeper) = KekRecord::create(provider, &store_id, tick.now.unix(), random).map_err(unlock)?;
        self.store.try_write(actor, tick.now, |tx| {
            if !secret::keks(tx)?.is_empty() {
                return Err(Error::refused("already-initialised", "this store has its key already; open it with `perennial unseal`"));
            }
            secret::insert_kek(tx, &record.id, &record.to_text(), tick.now)?;
            tx.journal(Entry::new("kek.created", "store", "", &json!({ "kek": record.id, "provider": record.provider })))?;
            Ok(())
        })?;
        *lock(&self.vault) = State::Open(Keys { current: keeper.into(), earlier: Vec::new() });
        Ok(())
    }

    /// Opens the store. The answer to a wrong passphrase is the same whatever the cause, and nothing is changed by it.
    pub fn unseal(&self, provider: &dyn Provider, actor: &Actor, tick: &Tick) -> Result<()> {
        let (store_id, keks) = self.store.read(|tx| Ok((meta::identity(tx)?.store_id, secret::keks(tx)?)))?;
        if keks.is_empty() {
            return Err(Error::refused("not-initialised", "this store has no key yet; make one with `perennial unseal --init`"));
        }
        let (mut held, mut failure) = (Vec::new(), None);
        for kek in &keks {
            let record = KekRecord::from_text(&kek.record).map_err(unlock)?;
            match record.unlock(provider, &store_id) {
                Ok(keeper) => held.push(keeper),
                Err(e) => failure = failure.or(Some((e, record))),
            }
        }
        let state = self.store.read(|tx| Ok(open_all(tx, &store_id, held)))?;
        let Some(state) = state? else {
            return Err(failure.map_or_else(|| Error::refused("cannot-open", "the store has no current key"), |(e, r)| refused(&e, &r)));
        };
        *lock(&self.vault) = state;
        self.store.write(actor, tick.now, |tx| tx.journal(Entry::new("store.opened", "store", "", &json!({}))))?;
        Ok(())
    }

    /// Forgets the key.
    pub fn seal(&self, actor: &Actor, tick: &Tick) -> Result<()> {
        *lock(&self.vault) = State::Sealed;
        lock(&self.signers).clear();
        Ok(self.store.write(actor, tick.now, |tx| tx.journal(Entry::new("store.sealed", "store", "", &json!({}))))?)
    }

    /// Puts every data key under a new key-encryption key that `provider` opens; sealed bytes are not touched. Says how many data keys
    /// were moved.
    pub fn rotate_kek(&self, provider: &dyn Provider, random: &mut Entropy<'_>, actor: &Actor, tick: &Tick) -> Result<u64> {
        let turn = lock(&self.rotating);
        self.begin_rotation(provider, random, actor, tick)?;
        let mut moved = 0;
        while let Some(n) = self.rotate_page(REWRAP_PAGE, random, actor, tick)? {
            moved += n;
        }
        drop(turn);
        Ok(moved)
    }

    /// Makes the new key, and decides by that everything else: from here on whoever opens the store finishes the rotation.
    ///
    /// # Errors
    /// The store is sealed, the provider must not protect anything new, or another server rotated meanwhile.
    pub fn begin_rotation(&self, provider: &dyn Provider, random: &mut Entropy<'_>, actor: &Actor, tick: &Tick) -> Result<()> {
        let store_id = self.store.read(meta::identity)?.store_id;
        let keys = self.keys()?;
        let (record, new) = KekRecord::create(provider, &store_id, tick.now.unix(), random).map_err(unlock)?;
        let mut bridges = Vec::with_capacity(keys.earlier.len() + 1);
        for known in keys.all() {
            let made = KekRecord::reseal(known, &new, &store_id, tick.now.unix(), random).map_err(unlock)?;
            bridges.push(secret::Bridge { id: made.id.clone(), opened_by: new.kek_id().into(), record: made.to_text() });
        }
        let mut state = None;
        self.store.try_write(actor, tick.now, |tx| {
            state = None;
            if !secret::take_current_kek(tx, keys.current.kek_id())? {
                return Err(rotated_elsewhere());
            }
            secret::insert_kek(tx, &record.id, &record.to_text(), tick.now)?;
            for bridge in &bridges {
                secret::put_bridge(tx, bridge)?;
            }
            tx.journal(Entry::new("kek.created", "store", "rotation", &json!({ "kek": record.id, "provider": record.provider })))?;
            // Whoever seals next in the database sees the new key in the vault. This is the one lock of the vault that spans a commit; it is
            // taken last, so whoever waits for it holds nothing that the commit needs.
            state = Some(lock(&self.vault));
            Ok(())
        })?;
        if let Some(mut state) = state
            && let State::Open(keys) = &mut *state
        {
            let former = std::mem::replace(&mut keys.current, new.into());
            keys.earlier.push(former);
        }
        Ok(())
    }

    /// Goes on with a rotation that broke off, where this store is open; says how many data keys were moved.
    pub fn go_on_rotating(&self, random: &mut Entropy<'_>, actor: &Actor, tick: &Tick) -> Result<u64> {
        let under_way = self.keys().is_ok_and(|keys| !keys.earlier.is_empty());
        // Somebody who rotates right now does it himself.
        let Some(_turn) = under_way.then(|| self.rotating.try_lock().ok()).flatten() else { return Ok(0) };
        let mut moved = 0;
        while let Some(n) = self.rotate_page(REWRAP_PAGE, random, actor, tick)? {
            moved += n;
        }
        Ok(moved)
    }

    /// Moves at most `most` data keys; none were left when it answers None, and the former keys are forgotten.
    pub fn rotate_page(&self, most: i64, random: &mut Entropy<'_>, actor: &Actor, tick: &Tick) -> Result<Option<u64>> {
        let store_id = self.store.read(meta::identity)?.store_id;
        let keys = self.keys()?;
        let to = keys.current.kek_id().to_owned();
        let page = self.store.read(|tx| secret::wrapped_by_others(tx, &to, i64::MIN, most))?;
        if page.is_empty() {
            return Ok((!self.end_rotation(&to, actor, tick)?).then_some(0));
        }
        let mut rewrapped = Vec::with_capacity(page.len());
        for w in &page {
            let Ok(old) = keys.under(&w.sealed.kek) else {
                let problem = format!("data keys lie under {}, which this store cannot open; restore it from a backup", w.sealed.kek);
                return Err(Error::refused("locked-kek", problem));
            };
            let place = place(&store_id, w.secret, w.version, w.instance, &w.sealed.purpose)?;
            let wrapped =
                keys.current.rewrap(&place, old, &sealed_of(&w.sealed), random).map_err(|e| Error::refused("damaged", e.to_string()))?;
            rewrapped.push((w.instance, w.sealed.kek.clone(), wrapped));
        }
        let moved = self.store.try_write(actor, tick.now, |tx| {
            if !secret::take_current_kek(tx, &to)? {
                return Err(rotated_elsewhere());
            }
            let mut n = 0;
            for (instance, from, wrapped) in &rewrapped {
                n += u64::from(secret::rewrap(tx, *instance, from, &to, wrapped.clone())?);
            }
            Ok(n)
        })?;
        Ok(Some(moved))
    }

    /// Forgets the former keys, unless something lies under one of them again. Says whether it did.
    fn end_rotation(&self, current: &str, actor: &Actor, tick: &Tick) -> Result<bool> {
        let ended = self.store.try_write(actor, tick.now, |tx| {
            // A key that is forgotten takes everything along that lies under it.
            if !secret::take_current_kek(tx, current)? {
                return Err(rotated_elsewhere());
            }
            if !secret::wrapped_by_others(tx, current, i64::MIN, 1)?.is_empty() {
                return Ok(false);
            }
            let mut gone = Vec::new();
            for kek in secret::keks(tx)?.iter().filter(|k| !k.current) {
                if secret::delete_kek(tx, &kek.id)? > 0 {
                    gone.push(kek.id.clone());
                }
            }
            secret::end_bridges(tx)?;
            if !gone.is_empty() {
                tx.journal(Entry::new("kek.rotated", "store", "", &json!({ "kek": current, "forgotten": gone })))?;
            }
            Ok(true)
        })?;
        if !ended {
            return Ok(false);
        }
        self.store.shed()?;
        if let State::Open(keys) = &mut *lock(&self.vault)
            && keys.current.kek_id() == current
        {
            keys.earlier.clear();
        }
        Ok(true)
    }
}

pub(crate) fn rotated_elsewhere() -> Error {
    Error::refused("changed-meanwhile", "the store's key was rotated by another server; unseal this one again")
}

/// Opens with `held` whatever lies under it, and so on; None where the current key is not among what opens.
fn open_all(tx: &mut Tx<'_>, store_id: &str, mut held: Vec<Keeper>) -> Result<Option<State>> {
    let bridges = secret::bridges(tx)?;
    while let Some((bridge, by)) = bridges.iter().find_map(|b| {
        let new = held.iter().all(|k| k.kek_id() != b.id);
        held.iter().find(|k| new && k.kek_id() == b.opened_by).map(|by| (b, by))
    }) {
        let opened = KekRecord::from_text(&bridge.record).and_then(|r| r.unlock(by, store_id)).map_err(unlock)?;
        if opened.kek_id() != bridge.id {
            return Err(unlock(UnlockError::Refused));
        }
        held.push(opened);
    }
    let current = secret::keks(tx)?.into_iter().find(|k| k.current).map(|k| k.id);
    let at = held.iter().position(|k| Some(k.kek_id()) == current.as_deref());
    Ok(at.map(|at| {
        let current = held.swap_remove(at).into();
        State::Open(Keys { current, earlier: held.into_iter().map(Arc::new).collect() })
    }))
}

/// For whoever starts the server: which key it is that does not open.
fn refused(e: &UnlockError, record: &KekRecord) -> Error {
    let made = Time::from_unix(record.created_at);
    Error::refused("cannot-open", format!("{e}; the current key was made at {made} and is opened by a {}", record.provider))
}

pub(crate) fn unlock(e: UnlockError) -> Error {
    Error::refused("cannot-open", e.to_string())
}
