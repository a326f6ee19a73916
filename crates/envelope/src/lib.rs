//! The only code on the server's side that opens sealed bytes, always bound to where the secret lives; only engine uses it.
//!
//! Three keys stand one inside the other:
//!
//! ```text
//! provider (passphrase, key file; later HSM, KMS)
//!    └─ opens, once per start ─→ KEK   256 random bits, kept in memory by a [`Keeper`]
//!          └─ opens ─→ DEK             256 random bits, a fresh one for every sealing
//!                └─ opens ─→ secret    the bytes of one instance
//! ```
//!
//! **Why the KEK is random and not simply derived from the passphrase.** A new passphrase, or the move from a
//! passphrase to an HSM, then seals the same KEK again: one [`KekRecord`] changes and nothing else
//! ([`KekRecord::reseal`]). A KEK that has to go is replaced by wrapping the data keys again
//! ([`Keeper::rewrap`]), 61 bytes per instance, and no ciphertext is touched. And a provider is asked once per
//! start instead of once per secret, so a slow or distant one stays usable. While data keys are wrapped again each of the two KEKs
//! also lies under the other ([`Keeper`] is a [`Provider`] too), so that either way in opens everything, whenever it breaks off.
//!
//! **Why no separate check value.** The record holds the KEK sealed under the provider's key with the whole record
//! and the store's id as associated data. Whether the tag fits *is* the check, so a wrong passphrase is told once,
//! at the start, with one error for every cause and in constant time.
//!
//! **Nonces** (NIST SP 800-38D §8). Every AES-256-GCM key here encrypts hardly more than one message:
//! a DEK is made for one ciphertext; the key that wraps it is expanded from the KEK for one [`Place`], which is sealed
//! once and wrapped again only when the KEK changes; the provider's key is derived with a fresh salt for every record.
//! With random 96-bit nonces a key may take 2^32 messages (§8.3), a limit that is thus never near and needs no counter.
//!
//! **Never here:** clock, entropy, files, network. Whoever calls brings random bytes ([`Entropy`]) and the key file's
//! content; and says where the secret lives, which is never read from the ciphertext.

mod aead;
mod keeper;
mod kek;
mod place;
mod provider;

pub use keeper::{Keeper, MAX_SECRET_BYTES, OpenError, SealError, Sealed, Secret};
pub use kek::{KekRecord, MAX_RECORD_BYTES};
pub use place::Place;
pub use provider::{
    Cost, KeyFile, MAX_LANES, MAX_MEMORY_KIB, MAX_PASSES, MIN_MEMORY_KIB, MIN_PASSPHRASE_BYTES, Passphrase, Provider, UnlockError,
    WrappedKek,
};

/// The port through which random bytes come in: fills the whole slice, or does not return.
///
/// It must be a cryptographic source; a simulation may pass a seeded one.
pub type Entropy<'a> = dyn FnMut(&mut [u8]) + 'a;
