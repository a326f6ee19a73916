//! One message under one key: AES-256-GCM, as `version ‖ nonce ‖ ciphertext ‖ tag`.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use zeroize::{Zeroize, Zeroizing};

use crate::Entropy;
use crate::place::Bound;

/// Bytes of a key, at every layer.
pub(crate) const KEY_BYTES: usize = 32;

/// A key that is wiped when it goes and that nothing can print.
pub(crate) type Key = Zeroizing<[u8; KEY_BYTES]>;

/// First byte of everything sealed; another one is another format.
const FORMAT: u8 = 1;

const TAG_BYTES: usize = 16;

/// How much longer sealed bytes are than plain ones.
pub(crate) const OVERHEAD: usize = 1 + NONCE_LEN + TAG_BYTES;

/// Sealed bytes did not open. There is one value for every cause, so that nobody learns which.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused;

/// Encrypts `plaintext` under `key`, bound to `bound`.
pub(crate) fn seal(key: &Key, bound: &Bound, plaintext: &[u8], random: &mut Entropy<'_>) -> Result<Vec<u8>, Refused> {
    let mut nonce = [0; NONCE_LEN];
    random(&mut nonce);
    // The final size at once: a buffer that grows would leave a copy of the plaintext behind.
    let mut out = Zeroizing::new(Vec::with_capacity(plaintext.len() + OVERHEAD));
    out.push(FORMAT);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(plaintext);
    let tag = cipher(key)?
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound.as_slice()), body_of(&mut out))
        .map_err(|_| Refused)?;
    out.extend_from_slice(tag.as_ref());
    Ok(std::mem::take(&mut *out))
}

/// Decrypts what [`seal`] made under the same key and binding. The tag is compared in constant time.
pub(crate) fn open(key: &Key, bound: &Bound, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
    if sealed.len() < OVERHEAD || sealed[0] != FORMAT {
        return Err(Refused);
    }
    let nonce = Nonce::try_assume_unique_for_key(&sealed[1..1 + NONCE_LEN]).map_err(|_| Refused)?;
    let mut body = Zeroizing::new(sealed[1 + NONCE_LEN..].to_vec());
    let plain = cipher(key)?.open_in_place(nonce, Aad::from(bound.as_slice()), &mut body).map_err(|_| Refused)?.len();
    body[plain..].zeroize();
    body.truncate(plain);
    Ok(body)
}

/// A key for one use, expanded from `key` (RFC 5869 §2.3; `key` is uniformly random, so §3.3 allows to skip extraction).
pub(crate) fn expand(key: &Key, bound: &Bound) -> Result<Key, Refused> {
    let mut out = Key::default();
    Prk::new_less_safe(HKDF_SHA256, key.as_slice())
        .expand(&[bound.as_slice()], Length)
        .and_then(|okm| okm.fill(out.as_mut_slice()))
        .map_err(|_| Refused)?;
    Ok(out)
}

/// Thirty-two random bytes. `None` if the port left the buffer as it was, which would make a key that everybody knows.
pub(crate) fn random_key(random: &mut Entropy<'_>) -> Option<Key> {
    let mut key = Key::default();
    random(key.as_mut_slice());
    key.iter().any(|byte| *byte != 0).then_some(key)
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

fn body_of(out: &mut [u8]) -> &mut [u8] {
    &mut out[1 + NONCE_LEN..]
}

fn cipher(key: &Key) -> Result<LessSafeKey, Refused> {
    UnboundKey::new(&AES_256_GCM, key.as_slice()).map(LessSafeKey::new).map_err(|_| Refused)
}
