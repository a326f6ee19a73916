//! A private key under a passphrase, as a file that `openssl pkey` reads: PKCS#8 (RFC 5958 §3) with PBES2 (RFC 8018 §6.2), PBKDF2 with
//! HMAC-SHA-256, and AES-256 in CBC mode. For keys that are put away, such as that of a root; nothing in the store lies under this.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{
    AES_256, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;
use zeroize::Zeroizing;

use crate::der::{self, Reader, element};
use crate::key::{KeyError, PrivateKey};
use crate::pem;

/// Rounds of PBKDF2 in what is written here.
pub const ROUNDS: u32 = 600_000;
/// Most rounds that are done for a file: what asks for more keeps a processor busy and nothing else.
const MOST_ROUNDS: u64 = 10_000_000;
/// Bytes of the salt that is written here.
pub const SALT_BYTES: usize = 16;
/// Longest salt that is read.
const LONGEST_SALT: usize = 64;
/// Bytes of the initialisation vector of AES-CBC.
pub const IV_BYTES: usize = 16;
/// Largest file that is read.
const MAX_FILE_BYTES: usize = 64 * 1024;

/// 1.2.840.113549.1.5.13
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 13];
/// 1.2.840.113549.1.5.12
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 12];
/// 1.2.840.113549.2.9
const HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 9];
/// 2.16.840.1.101.3.4.1.42
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 42];

/// Why a file with a key did not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Pbes2Error {
    /// Not one PEM block of this kind.
    #[error("the file holds no block ENCRYPTED PRIVATE KEY, or more than one")]
    NoBlock,
    /// Another way of encrypting.
    #[error("the key is encrypted in a way that is not read; convert it with openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256")]
    OtherScheme,
    /// The passphrase is wrong, or the file is damaged.
    #[error("the passphrase does not open it, or the file is damaged")]
    Refused,
    /// What is inside is no key that is used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Library,
}

/// The key under a passphrase, as PEM. Salt and initialisation vector are random and never used twice.
///
/// # Errors
/// The cryptographic library fails.
pub fn encrypt(key: &PrivateKey, passphrase: &[u8], salt: [u8; SALT_BYTES], iv: [u8; IV_BYTES]) -> Result<String, Pbes2Error> {
    let derived = derive(passphrase, &salt, ROUNDS)?;
    let cipher = UnboundCipherKey::new(&AES_256, derived.as_slice()).map_err(|_| Pbes2Error::Library)?;
    let sealing = PaddedBlockEncryptingKey::cbc_pkcs7(cipher).map_err(|_| Pbes2Error::Library)?;
    // At its final size from the start: one that grows leaves copies.
    let mut sealed = Vec::with_capacity(key.expose_pkcs8().len() + 16);
    sealed.extend_from_slice(key.expose_pkcs8());
    sealing.less_safe_encrypt(&mut sealed, EncryptionContext::Iv128(FixedLength::from(&iv))).map_err(|_| Pbes2Error::Library)?;
    let sequence = |parts: &[&[u8]]| element(der::SEQUENCE, &parts.concat());
    let oid = |value: &[u8]| element(der::OID, value);
    let digits = ROUNDS.to_be_bytes();
    let skip = digits.iter().take_while(|d| **d == 0).count();
    let prf = sequence(&[&oid(HMAC_SHA256), &element(der::NULL, &[])]);
    let kdf = sequence(&[&oid(PBKDF2), &sequence(&[&element(der::OCTET_STRING, &salt), &element(der::INTEGER, &digits[skip..]), &prf])]);
    let scheme = sequence(&[&oid(AES_256_CBC), &element(der::OCTET_STRING, &iv)]);
    let algorithm = sequence(&[&oid(PBES2), &sequence(&[&kdf, &scheme])]);
    let file = sequence(&[&algorithm, &element(der::OCTET_STRING, &sealed)]);
    Ok(pem::encode("ENCRYPTED PRIVATE KEY", &file).to_string())
}

/// Opens what [`encrypt`] or `openssl` wrote.
///
/// # Errors
/// See [`Pbes2Error`]. A wrong passphrase and a damaged file look the same.
pub fn decrypt(file: &[u8], passphrase: &[u8]) -> Result<PrivateKey, Pbes2Error> {
    if file.len() > MAX_FILE_BYTES {
        return Err(Pbes2Error::NoBlock);
    }
    let blocks = pem::blocks(file, 8).map_err(|_| Pbes2Error::NoBlock)?;
    let mut keys = blocks.iter().filter(|b| b.label == "ENCRYPTED PRIVATE KEY");
    let (Some(block), None) = (keys.next(), keys.next()) else { return Err(Pbes2Error::NoBlock) };
    let parts = read(&block.bytes).ok_or(Pbes2Error::OtherScheme)?;
    let derived = derive(passphrase, parts.salt, parts.rounds)?;
    let cipher = UnboundCipherKey::new(&AES_256, derived.as_slice()).map_err(|_| Pbes2Error::Library)?;
    let opening = PaddedBlockDecryptingKey::cbc_pkcs7(cipher).map_err(|_| Pbes2Error::Library)?;
    let mut sealed = Zeroizing::new(parts.sealed.to_vec());
    let iv = FixedLength::from(&parts.iv);
    let opened = opening.decrypt(&mut sealed, DecryptionContext::Iv128(iv)).map_err(|_| Pbes2Error::Refused)?;
    PrivateKey::from_der(opened).map_err(|e| match e {
        // A wrong passphrase leaves a right padding once in 256 times, and rubbish behind it.
        KeyError::Unrecognised => Pbes2Error::Refused,
        other => Pbes2Error::Key(other),
    })
}

struct Parts<'a> {
    salt: &'a [u8],
    rounds: u32,
    iv: [u8; IV_BYTES],
    sealed: &'a [u8],
}

fn read(file: &[u8]) -> Option<Parts<'_>> {
    let mut outer = Reader::new(file).inside(der::SEQUENCE)?;
    let mut algorithm = outer.inside(der::SEQUENCE)?;
    let sealed = outer.tagged(der::OCTET_STRING)?.value;
    let is = |r: &mut Reader<'_>, oid: &[u8]| r.tagged(der::OID).is_some_and(|found| found.value == oid);
    if !is(&mut algorithm, PBES2) {
        return None;
    }
    let mut params = algorithm.inside(der::SEQUENCE)?;
    let (mut kdf, mut scheme) = (params.inside(der::SEQUENCE)?, params.inside(der::SEQUENCE)?);
    if !is(&mut kdf, PBKDF2) || !is(&mut scheme, AES_256_CBC) {
        return None;
    }
    let mut kdf = kdf.inside(der::SEQUENCE)?;
    let salt = kdf.tagged(der::OCTET_STRING)?.value;
    let rounds = kdf.unsigned()?;
    // A key length may stand before the function; without a function it would be HMAC-SHA-1.
    let mut prf = match kdf.any()? {
        e if e.tag == der::INTEGER => kdf.inside(der::SEQUENCE)?,
        e => Reader::new(e.raw).inside(der::SEQUENCE)?,
    };
    if !is(&mut prf, HMAC_SHA256) || salt.len() > LONGEST_SALT || rounds > MOST_ROUNDS {
        return None;
    }
    let iv = scheme.tagged(der::OCTET_STRING)?.value.try_into().ok()?;
    Some(Parts { salt, rounds: u32::try_from(rounds).ok()?, iv, sealed })
}

fn derive(passphrase: &[u8], salt: &[u8], rounds: u32) -> Result<Zeroizing<[u8; 32]>, Pbes2Error> {
    let mut key = Zeroizing::new([0; 32]);
    let rounds = NonZeroU32::new(rounds).ok_or(Pbes2Error::OtherScheme)?;
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, passphrase, key.as_mut_slice());
    Ok(key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::key::KeyType;

    #[test]
    fn what_is_put_away_comes_back_with_its_passphrase_alone() {
        for kind in [KeyType::EcdsaP256, KeyType::Ed25519] {
            let key = PrivateKey::generate(kind).unwrap();
            let file = encrypt(&key, b"correct horse", [7; SALT_BYTES], [9; IV_BYTES]).unwrap();
            assert!(file.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
            assert_eq!(decrypt(file.as_bytes(), b"correct horse").unwrap().spki_fingerprint(), key.spki_fingerprint());
            assert!(decrypt(file.as_bytes(), b"battery").is_err());
        }
    }

    #[test]
    fn what_is_damaged_is_refused_and_never_a_panic() {
        let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        let file = encrypt(&key, b"p", [1; SALT_BYTES], [2; IV_BYTES]).unwrap();
        assert_eq!(decrypt(b"", b"p").unwrap_err(), Pbes2Error::NoBlock);
        assert_eq!(decrypt(key.expose_pem().as_bytes(), b"p").unwrap_err(), Pbes2Error::NoBlock);
        let der = pem::blocks(file.as_bytes(), 1).unwrap().remove(0).bytes;
        for at in (0..60).step_by(3) {
            let mut damaged = der.to_vec();
            damaged[at] ^= 0x55;
            assert!(read(&damaged).is_none_or(|p| p.rounds < 20_000_000), "{at}");
        }
        for cut in 0..der.len() {
            let _ = read(&der[..cut]);
        }
    }
}
