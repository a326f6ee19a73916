//! Where the key comes from that opens the KEK.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

use crate::Entropy;
use crate::aead::{self, Key, Refused};
use crate::keeper::key_from;
use crate::place::Bound;

/// The least memory of Argon2id for a new passphrase, in KiB. Below it a stolen database is guessed on one graphics card.
pub const MIN_MEMORY_KIB: u32 = 8 * 1024;
/// The most memory that is believed when read from a record, in KiB: whoever changed the record must not be able to
/// take the machine down.
pub const MAX_MEMORY_KIB: u32 = 1024 * 1024;
/// The most passes that are believed.
pub const MAX_PASSES: u32 = 16;
/// The most lanes that are believed.
pub const MAX_LANES: u32 = 16;
/// The shortest passphrase that may protect a new record, in bytes.
pub const MIN_PASSPHRASE_BYTES: usize = 8;
/// The longest passphrase that is looked at, in bytes.
const MAX_PASSPHRASE_BYTES: usize = 4096;
/// RFC 9106 §4 recommends a salt of 128 bits.
const SALT_BYTES: usize = 16;

/// What keeps the key that opens the KEK: a person's memory, a file, later an HSM or a KMS.
///
/// It is asked once per start, never per secret. An HSM or KMS implements the two functions with its own wrapping and
/// puts its key's name into `params`; `bound_to` is then its encryption context.
pub trait Provider {
    /// The name that a record stores, such as `passphrase`.
    fn name(&self) -> &'static str;

    /// Wraps a KEK, bound to `bound_to`.
    ///
    /// # Errors
    /// [`UnlockError`] if the provider cannot or must not be used for a new record.
    fn wrap(&self, kek: &[u8], bound_to: &[u8], random: &mut Entropy<'_>) -> Result<WrappedKek, UnlockError>;

    /// Gives back the KEK that [`Provider::wrap`] wrapped.
    ///
    /// # Errors
    /// [`UnlockError::Refused`] whenever it does not open, whatever the cause; [`UnlockError::Params`] before any work
    /// if the parameters are outside of their limits.
    fn unwrap(&self, wrapped: &WrappedKek, bound_to: &[u8]) -> Result<Zeroizing<Vec<u8>>, UnlockError>;
}

/// A KEK as a provider wrapped it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKek {
    /// What the provider needs to know again; one line, of its own form.
    pub params: String,
    /// The KEK, wrapped.
    pub bytes: Vec<u8>,
}

/// Why a KEK was not made or not opened.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnlockError {
    /// One error for a wrong passphrase, a wrong key file, a changed record and another store's record.
    #[error("the key-encryption key does not open: wrong passphrase or key file, or the record was changed; nothing was opened")]
    Refused,
    /// The record belongs to another provider.
    #[error("the key-encryption key is kept by provider {needed:?}, but {given:?} was given; start with {needed:?}")]
    OtherProvider {
        /// What the record asks for.
        needed: String,
        /// What was offered.
        given: &'static str,
    },
    /// Parameters outside of the limits, refused before any work.
    #[error("the parameters of the key-encryption key are refused: {0}")]
    Params(String),
    /// The record's text is not one.
    #[error("the record of the key-encryption key cannot be read: {0}; restore it from a backup")]
    Record(String),
    /// A passphrase or key file that must not protect anything.
    #[error("{0}")]
    Weak(String),
    /// The entropy port gave nothing but zeros.
    #[error("no random bytes came from the system; nothing was made, check the machine's entropy source")]
    NoEntropy,
}

impl From<Refused> for UnlockError {
    fn from(_: Refused) -> Self {
        UnlockError::Refused
    }
}

/// What one guess costs: the parameters of Argon2id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Cost {
    /// RFC 9106 §4, second recommended option: 64 MiB, three passes, four lanes.
    pub const RECOMMENDED: Cost = Cost { memory_kib: 64 * 1024, passes: 3, lanes: 4 };

    fn check(self, least_memory: u32) -> Result<Self, UnlockError> {
        let within = |what: &str, value: u32, least: u32, most: u32| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(UnlockError::Params(format!("{what} is {value}, allowed is {least} to {most}")))
            }
        };
        within("Argon2id lanes", self.lanes, 1, MAX_LANES)?;
        within("Argon2id passes", self.passes, 1, MAX_PASSES)?;
        // RFC 9106 §3.1: at least 8 KiB per lane.
        within("Argon2id memory in KiB", self.memory_kib, least_memory.max(8 * self.lanes), MAX_MEMORY_KIB)?;
        Ok(self)
    }
}

/// A passphrase, stretched with Argon2id (RFC 9106). It is taken as the bytes that were typed, without normalisation.
pub struct Passphrase {
    text: Zeroizing<Vec<u8>>,
    cost: Cost,
}

impl Passphrase {
    /// The passphrase, with [`Cost::RECOMMENDED`] for new records.
    pub fn new(text: impl Into<Zeroizing<Vec<u8>>>) -> Self {
        Passphrase { text: text.into(), cost: Cost::RECOMMENDED }
    }

    /// The same with another cost for new records; old records keep the cost that they were made with.
    #[must_use]
    pub fn with_cost(self, cost: Cost) -> Self {
        Passphrase { cost, ..self }
    }

    fn stretch(&self, cost: Cost, salt: &[u8]) -> Result<Key, UnlockError> {
        let failed = |error: argon2::Error| UnlockError::Params(format!("Argon2id: {error}"));
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(aead::KEY_BYTES)).map_err(failed)?;
        // Memory of our own, because it holds what the passphrase can be guessed from and must be wiped.
        let mut memory = Zeroizing::new(Vec::new());
        memory
            .try_reserve_exact(params.block_count())
            .map_err(|_| UnlockError::Params(format!("Argon2id wants {} KiB of memory, more than there is", cost.memory_kib)))?;
        memory.resize(params.block_count(), Block::new());
        let mut key = Key::default();
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(&self.text, salt, key.as_mut_slice(), memory.as_mut_slice())
            .map_err(failed)?;
        Ok(key)
    }
}

impl Provider for Passphrase {
    fn name(&self) -> &'static str {
        "passphrase"
    }

    fn wrap(&self, kek: &[u8], bound_to: &[u8], random: &mut Entropy<'_>) -> Result<WrappedKek, UnlockError> {
        if !(MIN_PASSPHRASE_BYTES..=MAX_PASSPHRASE_BYTES).contains(&self.text.len()) {
            return Err(UnlockError::Weak(format!(
                "the passphrase has {} bytes; choose {MIN_PASSPHRASE_BYTES} to {MAX_PASSPHRASE_BYTES}, better five random words",
                self.text.len()
            )));
        }
        let cost = self.cost.check(MIN_MEMORY_KIB)?;
        let salt = fresh_salt(random)?;
        let params = format!("argon2id m={} t={} p={} salt={}", cost.memory_kib, cost.passes, cost.lanes, hex::encode(salt));
        wrap_under(&self.stretch(cost, &salt)?, params, kek, bound_to, random)
    }

    fn unwrap(&self, wrapped: &WrappedKek, bound_to: &[u8]) -> Result<Zeroizing<Vec<u8>>, UnlockError> {
        let fields = Fields::parse("argon2id", &wrapped.params)?;
        let cost = Cost { memory_kib: fields.number("m")?, passes: fields.number("t")?, lanes: fields.number("p")? };
        let cost = cost.check(0)?;
        let salt = fields.salt()?;
        if self.text.len() > MAX_PASSPHRASE_BYTES {
            return Err(UnlockError::Refused);
        }
        unwrap_under(&self.stretch(cost, &salt)?, wrapped, bound_to)
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passphrase(.., {:?})", self.cost)
    }
}

/// A file with 256 random bits as 64 hexadecimal digits on one line.
pub struct KeyFile(Key);

impl KeyFile {
    /// Reads the content of a key file.
    ///
    /// # Errors
    /// [`UnlockError::Weak`] if it is not 64 hexadecimal digits; the message never repeats what was read.
    pub fn parse(content: &[u8]) -> Result<Self, UnlockError> {
        let mut key = Key::default();
        hex::decode_to_slice(content.trim_ascii(), key.as_mut_slice()).map_err(|_| {
            UnlockError::Weak("a key file is one line of 64 hexadecimal digits, as `openssl rand -hex 32` prints it".into())
        })?;
        if key.iter().all(|byte| *byte == key[0]) {
            return Err(UnlockError::Weak("the key file repeats one byte; make it with `openssl rand -hex 32`".into()));
        }
        Ok(KeyFile(key))
    }

    /// The content of a new key file.
    ///
    /// # Errors
    /// [`UnlockError::NoEntropy`] if no random bytes came.
    pub fn generate(random: &mut Entropy<'_>) -> Result<Zeroizing<Vec<u8>>, UnlockError> {
        let key = aead::random_key(random).ok_or(UnlockError::NoEntropy)?;
        let mut line = Zeroizing::new(vec![b'\n'; 2 * aead::KEY_BYTES + 1]);
        hex::encode_to_slice(key.as_slice(), &mut line[..2 * aead::KEY_BYTES]).map_err(|_| UnlockError::NoEntropy)?;
        Ok(line)
    }

    /// The file's key for one record: extracted with the record's salt (RFC 5869 §2.2), so that a nonce has its own key.
    fn salted(&self, salt: &[u8]) -> Result<Key, UnlockError> {
        let mut key = Key::default();
        aws_lc_rs::hkdf::Salt::new(aws_lc_rs::hkdf::HKDF_SHA256, salt)
            .extract(self.0.as_slice())
            .expand(&[b"perennial key file"], aws_lc_rs::hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(key.as_mut_slice()))
            .map_err(|_| UnlockError::Refused)?;
        Ok(key)
    }
}

impl Provider for KeyFile {
    fn name(&self) -> &'static str {
        "key-file"
    }

    fn wrap(&self, kek: &[u8], bound_to: &[u8], random: &mut Entropy<'_>) -> Result<WrappedKek, UnlockError> {
        let salt = fresh_salt(random)?;
        wrap_under(&self.salted(&salt)?, format!("hkdf-sha256 salt={}", hex::encode(salt)), kek, bound_to, random)
    }

    fn unwrap(&self, wrapped: &WrappedKek, bound_to: &[u8]) -> Result<Zeroizing<Vec<u8>>, UnlockError> {
        let salt = Fields::parse("hkdf-sha256", &wrapped.params)?.salt()?;
        unwrap_under(&self.salted(&salt)?, wrapped, bound_to)
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFile(..)")
    }
}

fn fresh_salt(random: &mut Entropy<'_>) -> Result<[u8; SALT_BYTES], UnlockError> {
    let mut salt = [0; SALT_BYTES];
    random(&mut salt);
    if salt == [0; SALT_BYTES] { Err(UnlockError::NoEntropy) } else { Ok(salt) }
}

/// What a KEK under another KEK is bound to; also makes the key for it, so each record has its own.
pub(crate) fn under_kek(params: &str, bound_to: &[u8]) -> Bound {
    binding(params, bound_to)
}

/// The parameters are part of what the tag covers, so a changed salt or cost is a refusal like any other.
fn binding(params: &str, bound_to: &[u8]) -> Bound {
    Bound::new(crate::place::Layer::Kek).bytes(params.as_bytes()).bytes(bound_to)
}

fn wrap_under(key: &Key, params: String, kek: &[u8], bound_to: &[u8], random: &mut Entropy<'_>) -> Result<WrappedKek, UnlockError> {
    let bytes = aead::seal(key, &binding(&params, bound_to), kek, random)?;
    Ok(WrappedKek { params, bytes })
}

fn unwrap_under(key: &Key, wrapped: &WrappedKek, bound_to: &[u8]) -> Result<Zeroizing<Vec<u8>>, UnlockError> {
    let kek = aead::open(key, &binding(&wrapped.params, bound_to), &wrapped.bytes)?;
    key_from(&kek).ok_or(UnlockError::Refused)?;
    Ok(kek)
}

/// `algorithm key=value key=value`, as the two providers here write their parameters.
struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    fn parse(algorithm: &str, params: &'a str) -> Result<Self, UnlockError> {
        match params.split_once(' ') {
            Some((found, rest)) if found == algorithm => Ok(Fields(rest)),
            _ => Err(UnlockError::Params(format!("they do not begin with {algorithm:?}"))),
        }
    }

    fn text(&self, name: &str) -> Result<&'a str, UnlockError> {
        let mut found = self.0.split(' ').filter_map(|field| field.split_once('=')).filter(|(key, _)| *key == name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Ok(value),
            _ => Err(UnlockError::Params(format!("{name:?} must stand there once"))),
        }
    }

    fn number(&self, name: &str) -> Result<u32, UnlockError> {
        self.text(name)?.parse().map_err(|_| UnlockError::Params(format!("{name:?} is not a number")))
    }

    fn salt(&self) -> Result<[u8; SALT_BYTES], UnlockError> {
        let mut salt = [0; SALT_BYTES];
        hex::decode_to_slice(self.text("salt")?, &mut salt)
            .map_err(|_| UnlockError::Params(format!("\"salt\" is not {} hexadecimal digits", 2 * SALT_BYTES)))?;
        Ok(salt)
    }
}
