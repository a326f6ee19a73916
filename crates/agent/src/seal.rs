//! Keys at rest: sealed under what systemd hands this service, or kept by the file mode alone.
//!
//! `LoadCredentialEncrypted=` decrypts a credential for one service, by a key that lies in the TPM or is bound to this machine
//! (`systemd-creds encrypt --with-key=tpm2`), and shows it in a folder that lives in memory. With it the agent's folder holds no key beside
//! its lock: a copied disk or backup opens nothing. Without it, only the mode of the files protects them, and `status` says so. What was kept
//! before there was a credential is sealed at the first start with it.

use std::{fmt, io::Read as _, path::Path};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, KeyType, Salt},
    rand,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The name of the credential in `$CREDENTIALS_DIRECTORY`.
pub const CREDENTIAL: &str = "perennial-agent.key";
/// For people: how sealed keys are protected.
pub const SEALED: &str = "sealed under a systemd credential";
/// For people: how keys in the clear are protected.
pub const MODE_ALONE: &str = "the file mode alone (0600): no systemd credential was given, so a copy of the disk holds the keys";
/// Fewest bytes of it; `head -c 32 /dev/urandom` makes one.
const FEWEST_BYTES: u64 = 32;
/// Most bytes of it.
const MOST_BYTES: u64 = 4096;
/// Keeps this derivation from ever meeting another one from the same credential.
const SALT: &[u8] = b"perennial/agent/state/1";

/// What opens and seals the agent's folder.
pub enum Lock {
    /// Nothing: files of mode 0600.
    ModeAlone,
    /// The credential.
    Credential(Box<LessSafeKey>),
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.describe())
    }
}

/// Bytes in a file of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// Base64; wiped by nobody, but of mode 0600.
    Plain(String),
    /// Base64 of nonce, ciphertext and tag.
    Sealed(String),
}

/// Why kept bytes do not open, or cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// They were sealed under a credential, and there is none now.
    #[error(
        "{0} is sealed under the credential {CREDENTIAL}, which this start was not given; start the service by its unit, or join again in an empty folder"
    )]
    NoLock(String),
    /// Another credential, other bytes, or another place.
    #[error(
        "{0} does not open: it was sealed under another credential, moved, or damaged; if that is meant, join again in an empty folder"
    )]
    Foreign(String),
    /// The credential cannot be used.
    #[error("the credential {CREDENTIAL} cannot be used: {0}")]
    Credential(String),
    /// No randomness.
    #[error("the cryptographic library has no randomness")]
    Entropy,
}

/// A key of 32 bytes.
struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

impl Lock {
    /// The lock that this start was given: `credentials` is `$CREDENTIALS_DIRECTORY`.
    ///
    /// # Errors
    /// There is a credential, and it cannot be used. Going on without would write keys in the clear where somebody meant otherwise.
    pub fn given(credentials: Option<&Path>) -> Result<Lock, SealError> {
        let Some(path) = credentials.map(|folder| folder.join(CREDENTIAL)) else { return Ok(Lock::ModeAlone) };
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Lock::ModeAlone),
            Err(error) => return Err(SealError::Credential(error.to_string())),
        };
        let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_BYTES as usize + 1));
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|error| SealError::Credential(error.to_string()))?;
        if !(FEWEST_BYTES..=MOST_BYTES).contains(&(bytes.len() as u64)) {
            return Err(SealError::Credential(format!("it has {} bytes, not {FEWEST_BYTES} to {MOST_BYTES}", bytes.len())));
        }
        let failed = |_| SealError::Entropy;
        let mut key = Zeroizing::new([0; 32]);
        let secret = Salt::new(HKDF_SHA256, SALT).extract(&bytes);
        secret.expand(&[b"aes-256-gcm"], Length).and_then(|okm| okm.fill(&mut *key)).map_err(failed)?;
        Ok(Lock::Credential(Box::new(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).map_err(failed)?))))
    }

    /// How it keeps keys.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match self {
            Lock::ModeAlone => MODE_ALONE,
            Lock::Credential(_) => SEALED,
        }
    }

    /// Keeps bytes for one place.
    ///
    /// # Errors
    /// No randomness.
    pub fn keep(&self, place: &str, bytes: &[u8]) -> Result<Kept, SealError> {
        let Lock::Credential(key) = self else { return Ok(Kept::Plain(STANDARD.encode(bytes))) };
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| SealError::Entropy)?;
        let mut sealed = Vec::with_capacity(NONCE_LEN + bytes.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&nonce);
        let mut body = Vec::with_capacity(bytes.len() + AES_256_GCM.tag_len());
        body.extend_from_slice(bytes);
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place.as_bytes()), &mut body)
            .map_err(|_| SealError::Entropy)?;
        sealed.extend_from_slice(&body);
        Ok(Kept::Sealed(STANDARD.encode(sealed)))
    }

    /// Opens what was kept for this place.
    ///
    /// # Errors
    /// No lock, another lock, or another place.
    pub fn open(&self, place: &str, kept: &Kept) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let foreign = || SealError::Foreign(place.to_owned());
        match (self, kept) {
            (_, Kept::Plain(text)) => Ok(Zeroizing::new(STANDARD.decode(text).map_err(|_| foreign())?)),
            (Lock::ModeAlone, Kept::Sealed(_)) => Err(SealError::NoLock(place.to_owned())),
            (Lock::Credential(key), Kept::Sealed(text)) => {
                let bytes = STANDARD.decode(text).map_err(|_| foreign())?;
                let (nonce, body) = bytes.split_at_checked(NONCE_LEN).ok_or_else(foreign)?;
                let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| foreign())?;
                let mut body = Zeroizing::new(body.to_vec());
                let length = key.open_in_place(nonce, Aad::from(place.as_bytes()), &mut body).map_err(|_| foreign())?.len();
                body.truncate(length);
                Ok(body)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lock(fill: u8) -> (tempfile::TempDir, Lock) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CREDENTIAL), [fill; 32]).unwrap();
        let lock = Lock::given(Some(folder.path())).unwrap();
        (folder, lock)
    }

    #[test]
    fn no_key_lies_beside_its_lock() {
        let (_folder, one) = lock(1);
        let (_folder, two) = lock(2);
        let kept = one.keep("identity", b"secret").unwrap();
        assert!(!serde_json::to_string(&kept).unwrap().contains(&STANDARD.encode(b"secret")));
        assert_eq!(*one.open("identity", &kept).unwrap(), b"secret");
        assert_eq!(one.open("version", &kept), Err(SealError::Foreign("version".into())));
        assert_eq!(two.open("identity", &kept), Err(SealError::Foreign("identity".into())));
        assert_eq!(Lock::ModeAlone.open("identity", &kept), Err(SealError::NoLock("identity".into())));
        // What was kept before there was a credential still opens.
        let plain = Lock::ModeAlone.keep("identity", b"secret").unwrap();
        assert_eq!(*one.open("identity", &plain).unwrap(), b"secret");
    }

    #[test]
    fn a_credential_that_cannot_be_used_stops_the_start() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Lock::given(Some(folder.path())), Ok(Lock::ModeAlone)));
        assert!(matches!(Lock::given(None), Ok(Lock::ModeAlone)));
        std::fs::write(folder.path().join(CREDENTIAL), b"short").unwrap();
        assert!(matches!(Lock::given(Some(folder.path())), Err(SealError::Credential(_))));
    }
}
