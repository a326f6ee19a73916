//! An opened KEK, and what it can do: seal, open, wrap again.

use std::fmt;

use zeroize::Zeroizing;

use crate::aead::{self, KEY_BYTES, Key, OVERHEAD, Refused};
use crate::place::{Bound, Layer};
use crate::provider::{Provider, UnlockError, WrappedKek, under_kek};
use crate::{Entropy, Place};

/// The largest secret that can be sealed, in bytes.
pub const MAX_SECRET_BYTES: usize = 1 << 20;

/// An opened key-encryption key. It is wiped when dropped and shows nothing but its id.
pub struct Keeper {
    id: String,
    kek: Key,
}

impl Keeper {
    pub(crate) fn new(id: String, kek: Key) -> Self {
        Keeper { id, kek }
    }

    /// The id of the KEK, as it is stored beside everything that it sealed.
    pub fn kek_id(&self) -> &str {
        &self.id
    }

    pub(crate) fn kek(&self) -> &Key {
        &self.kek
    }

    /// Seals `plaintext` for `place` under a fresh data key.
    ///
    /// # Errors
    /// [`SealError`] if the secret is too large or no random bytes came.
    pub fn seal(&self, place: &Place<'_>, plaintext: &[u8], random: &mut Entropy<'_>) -> Result<Sealed, SealError> {
        if plaintext.len() > MAX_SECRET_BYTES {
            return Err(SealError::TooLarge { bytes: plaintext.len() });
        }
        let dek = aead::random_key(random).ok_or(SealError::NoEntropy)?;
        Ok(Sealed {
            kek_id: self.id.clone(),
            wrapped_dek: self.wrap(place, &dek, random)?,
            ciphertext: aead::seal(&dek, &content(place), plaintext, random)?,
        })
    }

    /// Opens what was sealed for `place` under this KEK.
    ///
    /// # Errors
    /// [`OpenError::OtherKek`] if another KEK wrapped it; [`OpenError::Refused`] for everything else, without a hint.
    pub fn open(&self, place: &Place<'_>, sealed: &Sealed) -> Result<Secret, OpenError> {
        let dek = self.unwrap_dek(place, sealed)?;
        Ok(Secret(aead::open(&dek, &content(place), &sealed.ciphertext)?))
    }

    /// The data key of `sealed`, which `old` wrapped, wrapped by this KEK instead. Store the answer together with
    /// [`Keeper::kek_id`]; the ciphertext stays as it is and is not even read.
    ///
    /// # Errors
    /// As [`Keeper::open`], with regard to `old`; [`OpenError::Refused`] also if `sealed` is not for `place`.
    pub fn rewrap(&self, place: &Place<'_>, old: &Keeper, sealed: &Sealed, random: &mut Entropy<'_>) -> Result<Vec<u8>, OpenError> {
        let dek = old.unwrap_dek(place, sealed)?;
        Ok(self.wrap(place, &dek, random)?)
    }

    fn wrap(&self, place: &Place<'_>, dek: &Key, random: &mut Entropy<'_>) -> Result<Vec<u8>, Refused> {
        let bound = self.wrapping(place);
        aead::seal(&aead::expand(&self.kek, &bound)?, &bound, dek.as_slice(), random)
    }

    fn unwrap_dek(&self, place: &Place<'_>, sealed: &Sealed) -> Result<Key, OpenError> {
        if sealed.kek_id != self.id {
            return Err(OpenError::OtherKek { needed: sealed.kek_id.clone(), held: self.id.clone() });
        }
        let bound = self.wrapping(place);
        let plain = aead::open(&aead::expand(&self.kek, &bound)?, &bound, &sealed.wrapped_dek)?;
        key_from(&plain).ok_or(OpenError::Refused)
    }

    fn wrapping(&self, place: &Place<'_>) -> Bound {
        Bound::new(Layer::Dek).bytes(self.id.as_bytes()).place(place)
    }
}

/// While a rotation is under way each KEK also opens the others, so that whoever can open one can open all that is sealed.
impl Provider for Keeper {
    fn name(&self) -> &'static str {
        "kek"
    }

    fn wrap(&self, kek: &[u8], bound_to: &[u8], random: &mut Entropy<'_>) -> Result<WrappedKek, UnlockError> {
        let params = format!("kek id={}", self.id);
        let bound = under_kek(&params, bound_to);
        let bytes = aead::seal(&aead::expand(&self.kek, &bound)?, &bound, kek, random)?;
        Ok(WrappedKek { params, bytes })
    }

    fn unwrap(&self, wrapped: &WrappedKek, bound_to: &[u8]) -> Result<Zeroizing<Vec<u8>>, UnlockError> {
        // The key is expanded for these parameters, which name the KEK: another one's record is refused by its tag.
        let bound = under_kek(&wrapped.params, bound_to);
        Ok(aead::open(&aead::expand(&self.kek, &bound)?, &bound, &wrapped.bytes)?)
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keeper({})", self.id)
    }
}

/// The KEK's id is left out: it may change, the content may not.
fn content(place: &Place<'_>) -> Bound {
    Bound::new(Layer::Content).place(place)
}

pub(crate) fn key_from(plain: &[u8]) -> Option<Key> {
    (plain.len() == KEY_BYTES).then(|| {
        let mut key = Key::default();
        key.copy_from_slice(plain);
        key
    })
}

/// Sealed bytes, as the store keeps them. None of it is secret, and none of it says where it belongs.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Which KEK wrapped the data key.
    pub kek_id: String,
    /// The data key, wrapped.
    pub wrapped_dek: Vec<u8>,
    /// The secret, under the data key.
    pub ciphertext: Vec<u8>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = self.ciphertext.len().saturating_sub(OVERHEAD);
        write!(f, "Sealed({} bytes under {})", plain, self.kek_id)
    }
}

/// Opened bytes. They are wiped when dropped, and nothing prints them.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The bytes themselves. Whoever calls this keeps them out of logs, errors and answers.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why something was not sealed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Larger than [`MAX_SECRET_BYTES`].
    #[error("the secret has {bytes} bytes, more than the {MAX_SECRET_BYTES} that can be sealed; store it in parts")]
    TooLarge {
        /// Size of what was given.
        bytes: usize,
    },
    /// The entropy port gave nothing but zeros.
    #[error("no random bytes came from the system; nothing was sealed, check the machine's entropy source")]
    NoEntropy,
    /// The cipher did not take the key or the message; with the sizes used here that is a fault of the machine.
    #[error("the cipher failed; nothing was sealed")]
    Cipher,
}

impl From<Refused> for SealError {
    fn from(_: Refused) -> Self {
        SealError::Cipher
    }
}

/// Why sealed bytes stayed closed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// They were wrapped by another KEK than the one held.
    #[error("this secret was sealed under {needed}, but {held} is open; open {needed}, or finish rotating away from it")]
    OtherKek {
        /// The KEK that wrapped them.
        needed: String,
        /// The KEK that was asked.
        held: String,
    },
    /// They were changed, or they belong to another place.
    #[error("the sealed bytes do not open at this place: they were changed, or moved from another; restore them from a backup")]
    Refused,
}

impl From<Refused> for OpenError {
    fn from(_: Refused) -> Self {
        OpenError::Refused
    }
}
