//! Keys that belong to no certificate of a secret: of authorities, ACME accounts, requests by hand, manifests. They are sealed as every
//! other key, bound to what they are for and whose they are, and are opened for one use at a time.

use crate::{
    Engine, Error, Result,
    keys::Sealer,
    ports::Entropy,
    vault::{place, put_sealed, sealed_of},
};
use domain::{Time, words::SecretId};
use pki::PrivateKey;
use store::{
    Tx, meta,
    model::{held, secret},
};

impl Engine {
    /// Opens a held key for one use.
    ///
    /// # Errors
    /// The store is sealed, there is no such key, or it is damaged.
    pub(crate) fn open_held(&self, id: i64) -> Result<PrivateKey> {
        let (store_id, key, sealed) = self.store.try_read(|tx| {
            let key = held::get(tx, id)?.ok_or_else(|| Error::not_found("held key", &id.to_string()))?;
            let sealed = secret::sealed(tx, id)?.ok_or_else(|| Error::not_found("sealed bytes of held key", &id.to_string()))?;
            Ok::<_, Error>((meta::identity(tx)?.store_id, key, sealed))
        })?;
        let keys = self.keys()?;
        let keeper = keys.under(&sealed.kek)?;
        let place = place(&store_id, SecretId(key.subject), 0, id, &key.purpose)?;
        let opened = keeper.open(&place, &sealed_of(&sealed)).map_err(|e| Error::refused("damaged", e.to_string()))?;
        PrivateKey::from_der(opened.expose()).map_err(|e| Error::refused("damaged", format!("held key {id}: {e}")))
    }
}

/// Seals a key in the transaction that needs it, under `purpose` and for `subject`. Says its number.
///
/// # Errors
/// The key is over the limit of what is sealed.
pub(crate) fn hold(
    tx: &mut Tx<'_>,
    sealer: &Sealer,
    purpose: &'static str,
    subject: i64,
    key: &PrivateKey,
    random: &mut Entropy<'_>,
    now: Time,
) -> Result<i64> {
    let store_id = meta::identity(tx)?.store_id;
    let id = tx.next_id("instance")?;
    let sealed = sealer.seal(&place(&store_id, SecretId(subject), 0, id, purpose)?, key.expose_pkcs8(), random)?;
    let row = held::Held {
        id,
        purpose: purpose.into(),
        subject,
        fingerprint: domain::Fingerprint::of(key.spki_der()),
        spki: key.spki_der().to_vec(),
        created_at: now,
    };
    held::insert(tx, &row)?;
    put_sealed(tx, id, purpose, sealed)?;
    Ok(id)
}
