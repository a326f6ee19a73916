//! The stored record of a KEK: made once, opened at every start, sealed again when the provider changes.

use crate::Entropy;
use crate::aead;
use crate::keeper::{Keeper, key_from};
use crate::place::{Bound, Layer};
use crate::provider::{Provider, UnlockError, WrappedKek};

/// The longest text of a record that is read, in bytes.
pub const MAX_RECORD_BYTES: usize = 16 * 1024;

/// First line of a record's text; another number is another format.
const HEADING: &str = "perennial-kek 1";

/// One KEK as the store keeps it. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KekRecord {
    /// The id that everything sealed under it names.
    pub id: String,
    /// Which provider opens it.
    pub provider: String,
    /// When this record was made, in Unix seconds.
    pub created_at: i64,
    /// The KEK, wrapped by the provider.
    pub wrapped: WrappedKek,
}

impl KekRecord {
    /// Makes a new KEK for the store with this id.
    ///
    /// # Errors
    /// [`UnlockError`] if the provider refuses to protect something new, or no random bytes came.
    pub fn create(
        provider: &dyn Provider,
        store: &str,
        created_at: i64,
        random: &mut Entropy<'_>,
    ) -> Result<(KekRecord, Keeper), UnlockError> {
        let mut id = [0; 8];
        random(&mut id);
        let kek = aead::random_key(random).ok_or(UnlockError::NoEntropy)?;
        let keeper = Keeper::new(format!("kek-{}", hex::encode(id)), kek);
        Ok((Self::reseal(&keeper, provider, store, created_at, random)?, keeper))
    }

    /// The record of the same KEK for another provider: a new passphrase, or a key file instead of one. Everything
    /// that was sealed stays as it is. The old record still opens with the old provider until it is deleted, also out of
    /// backups; if the old passphrase is known to others, make a new KEK and [`Keeper::rewrap`].
    ///
    /// # Errors
    /// As [`KekRecord::create`].
    pub fn reseal(
        keeper: &Keeper,
        provider: &dyn Provider,
        store: &str,
        created_at: i64,
        random: &mut Entropy<'_>,
    ) -> Result<KekRecord, UnlockError> {
        let id = keeper.kek_id().to_owned();
        let bound = bound_to(store, &id, provider.name(), created_at);
        let wrapped = provider.wrap(keeper.kek().as_slice(), bound.as_slice(), random)?;
        Ok(KekRecord { id, provider: provider.name().to_owned(), created_at, wrapped })
    }

    /// Opens the KEK. It either works completely or leaves nothing behind.
    ///
    /// # Errors
    /// [`UnlockError::Refused`] for a wrong passphrase, a changed record or another store, without telling them apart.
    pub fn unlock(&self, provider: &dyn Provider, store: &str) -> Result<Keeper, UnlockError> {
        if self.provider != provider.name() {
            return Err(UnlockError::OtherProvider { needed: self.provider.clone(), given: provider.name() });
        }
        let bound = bound_to(store, &self.id, provider.name(), self.created_at);
        let plain = provider.unwrap(&self.wrapped, bound.as_slice())?;
        let kek = key_from(&plain).ok_or(UnlockError::Refused)?;
        Ok(Keeper::new(self.id.clone(), kek))
    }

    /// The record as text, one `key: value` per line.
    pub fn to_text(&self) -> String {
        format!(
            "{HEADING}\nid: {}\nprovider: {}\ncreated-at: {}\nparams: {}\nwrapped: {}\n",
            self.id,
            self.provider,
            self.created_at,
            self.wrapped.params,
            hex::encode(&self.wrapped.bytes)
        )
    }

    /// Reads what [`KekRecord::to_text`] wrote, and nothing else.
    ///
    /// # Errors
    /// [`UnlockError::Record`] names the line.
    pub fn from_text(text: &str) -> Result<KekRecord, UnlockError> {
        let wrong = |what: &str| UnlockError::Record(what.to_owned());
        if text.len() > MAX_RECORD_BYTES {
            return Err(wrong("it is too long"));
        }
        let mut lines = text.lines();
        if lines.next() != Some(HEADING) {
            return Err(wrong("its first line is not the one of this version; a newer program may have written it"));
        }
        let mut next = |key: &str| {
            lines
                .next()
                .and_then(|line| line.strip_prefix(key))
                .and_then(|rest| rest.strip_prefix(": "))
                .map(str::to_owned)
                .ok_or_else(|| wrong(&format!("the line {key:?} is missing or out of place")))
        };
        let record = KekRecord {
            id: next("id")?,
            provider: next("provider")?,
            created_at: next("created-at")?.parse().map_err(|_| wrong("\"created-at\" is not a number"))?,
            wrapped: WrappedKek {
                params: next("params")?,
                bytes: hex::decode(next("wrapped")?).map_err(|_| wrong("\"wrapped\" is not hexadecimal"))?,
            },
        };
        // One text per record: whatever differs was not written here.
        if record.to_text() == text { Ok(record) } else { Err(wrong("it has lines or spaces that do not belong there")) }
    }
}

/// The whole record and the store are covered by the tag, so none of it can be exchanged.
fn bound_to(store: &str, id: &str, provider: &str, created_at: i64) -> Bound {
    Bound::new(Layer::Kek).bytes(store.as_bytes()).bytes(id.as_bytes()).bytes(provider.as_bytes()).number(created_at)
}
