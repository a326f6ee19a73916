//! Keys of contacts for a store that is sealed: it still watches and still pages (law 7).
//!
//! What contacts name (signing secrets, routing keys) is sealed a second time, under a key-encryption key that lies with the server
//! itself and needs no person. Such a copy serves to tell and to nothing else: its purpose is bound into the seal, and no other
//! secret is ever copied. Each server has its own key and its own copies, which it makes while the store is open.

use crate::{Engine, Error, Result, Tick, deliver::secret_named, keys::unlock, lock, ports::Entropy, rules};
use domain::{Span, words::SecretId};
use envelope::{KekRecord, Place, Provider, Sealed};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use store::{
    Tx,
    journal::Entry,
    meta,
    model::{delivery_key, inventory, secret},
};
use zeroize::Zeroizing;

/// What a copy is for; bound into the seal.
const PURPOSE: &str = "delivery";
/// How often a server notes that it still uses its key.
const NOTED: Span = Span::days(1);

impl Engine {
    /// Uses the key that lies with this server; at its first use a key-encryption key is made under it.
    pub fn use_delivery_key(&self, provider: &dyn Provider, random: &mut Entropy<'_>, tick: &Tick) -> Result<()> {
        let (store_id, records) = self.store.read(|tx| Ok((meta::identity(tx)?.store_id, delivery_key::keks(tx)?)))?;
        let mut keeper = None;
        for (_, record) in &records {
            // Records of other servers do not open with this one's key.
            keeper = keeper.or(KekRecord::from_text(record).map_err(unlock)?.unlock(provider, &store_id).ok());
        }
        if keeper.is_none() {
            let (record, made) = KekRecord::create(provider, &store_id, tick.now.unix(), random).map_err(unlock)?;
            self.store.write(&rules(), tick.now, |tx| {
                delivery_key::insert_kek(tx, &record.id, &record.to_text(), tick.now)?;
                tx.journal(Entry::new("delivery-kek.created", "store", "", &json!({ "kek": record.id, "provider": record.provider })))
            })?;
            keeper = Some(made);
        }
        *lock(&self.delivery) = keeper;
        Ok(())
    }

    /// While the store is open: copies what contacts name and the server does not have yet, and forgets what none names any more.
    /// Says how many copies were made.
    pub fn keep_delivery_keys(&self, random: &mut Entropy<'_>, tick: &Tick) -> Result<usize> {
        let Some(kek) = lock(&self.delivery).as_ref().map(|k| k.kek_id().to_owned()) else { return Ok(0) };
        let (named, kept, used_at) = self.store.read(|tx| {
            let named: Vec<_> = named(tx)?.into_values().filter_map(|n| n.secret).collect();
            Ok((named, delivery_key::kept(tx, &kek)?, delivery_key::used_at(tx, &kek)?))
        })?;
        let gone: Vec<SecretId> = kept.iter().map(|(id, _)| *id).filter(|id| !named.iter().any(|s| s.id == *id)).collect();
        let open = self.is_open();
        let wanted: Vec<_> = named.iter().filter(|s| open && s.newest_version > 0 && !kept.contains(&(s.id, s.newest_version))).collect();
        let mut copies = Vec::new();
        for s in &wanted {
            let Ok((instance, version, value)) = self.open_newest(&s.name) else { continue };
            let store_id = self.store.read(meta::identity)?.store_id;
            let place = Place { store: &store_id, secret: s.id.0, version, instance, purpose: PURPOSE };
            let keeper = lock(&self.delivery);
            let Some(keeper) = keeper.as_ref() else { return Ok(0) };
            let sealed = keeper.seal(&place, value.as_bytes(), random).map_err(|e| Error::refused("too-large", e.to_string()))?;
            copies.push((s.id, version, instance, sealed));
        }
        let note = used_at.is_none_or(|at| at + NOTED <= tick.now);
        if gone.is_empty() && copies.is_empty() && !note {
            return Ok(0);
        }
        self.store.write(&rules(), tick.now, |tx| {
            for id in &gone {
                delivery_key::forget(tx, &kek, *id)?;
            }
            for (id, version, instance, sealed) in &copies {
                let row = secret::Sealed {
                    instance: *instance,
                    purpose: PURPOSE.into(),
                    kek: kek.clone(),
                    wrapped: sealed.wrapped_dek.clone(),
                    ciphertext: sealed.ciphertext.clone(),
                };
                delivery_key::put(tx, *id, *version, &row)?;
            }
            delivery_key::used(tx, &kek, tick.now)
        })?;
        Ok(copies.len())
    }

    /// The value that a contact names: from the store where it is open, else from this server's copy.
    pub(crate) fn open_for_delivery(&self, name: &str) -> Result<Zeroizing<String>> {
        match self.open_newest(name) {
            Ok((_, _, value)) => Ok(value),
            Err(Error::Sealed) => self.open_copy(name),
            Err(other) => Err(other),
        }
    }

    fn open_copy(&self, name: &str) -> Result<Zeroizing<String>> {
        let keeper = lock(&self.delivery);
        let keeper = keeper.as_ref().ok_or(Error::Sealed)?;
        let (store_id, id, copy) = self.store.try_read(|tx| {
            let s = secret::by_name(tx, name)?.ok_or_else(|| Error::not_found("secret", name))?;
            Ok::<_, Error>((meta::identity(tx)?.store_id, s.id, delivery_key::get(tx, keeper.kek_id(), s.id)?))
        })?;
        let (version, row) = copy.ok_or(Error::Sealed)?;
        let place = Place { store: &store_id, secret: id.0, version, instance: row.instance, purpose: PURPOSE };
        let sealed = Sealed { kek_id: row.kek, wrapped_dek: row.wrapped, ciphertext: row.ciphertext };
        let opened = keeper.open(&place, &sealed).map_err(|e| Error::refused("damaged", e.to_string()))?;
        let text = std::str::from_utf8(opened.expose()).map_err(|_| Error::refused("not-text", format!("{name} is not text")))?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    /// Contacts that name a secret which cannot be used now, in words.
    pub(crate) fn locked_contacts(&self) -> Result<Vec<String>> {
        let kek = lock(&self.delivery).as_ref().map(|k| k.kek_id().to_owned());
        let open = self.is_open();
        self.store.try_read(|tx| {
            let kept: BTreeSet<SecretId> = match &kek {
                Some(kek) => delivery_key::kept(tx, kek)?.into_iter().map(|(id, _)| id).collect(),
                None => BTreeSet::new(),
            };
            let usable = |s: &secret::Secret| if open { s.newest_version > 0 } else { kept.contains(&s.id) };
            let locked = named(tx)?.into_iter().filter(|(_, n)| !n.secret.as_ref().is_some_and(usable));
            Ok(locked.flat_map(|(name, n)| n.contacts.into_iter().map(move |c| format!("{c} ({})", pki::text::escape(&name)))).collect())
        })
    }
}

/// A secret that contacts name.
struct Named {
    secret: Option<secret::Secret>,
    /// Whose, in words.
    contacts: Vec<String>,
}

/// What the contacts of all teams name, by name.
fn named(tx: &mut Tx<'_>) -> store::Result<BTreeMap<String, Named>> {
    let mut all: BTreeMap<String, Named> = BTreeMap::new();
    for (team, row) in inventory::rows(tx, inventory::TEAM)? {
        let Some(store::Value::Text(contacts)) = row.first() else { continue };
        let contacts: Vec<serde_json::Value> = serde_json::from_str(contacts).unwrap_or_default();
        for contact in &contacts {
            let Some(name) = secret_named(contact) else { continue };
            if !all.contains_key(name) {
                all.insert(name.to_owned(), Named { secret: secret::by_name(tx, name)?, contacts: Vec::new() });
            }
            if let Some(entry) = all.get_mut(name) {
                entry.contacts.push(format!("{} of team {}", crate::tell::channel_of(&contact.to_string()), pki::text::escape(&team)));
            }
        }
    }
    Ok(all)
}
