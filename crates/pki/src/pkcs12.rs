//! PKCS#12 (RFC 7292): what it would cost to open is read first, because the file itself says how
//! often a key is to be derived, outside and again inside its encrypted parts.

use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit, block_padding::Pkcs7};
use p12_keystore::Pkcs12Archive;
use pkcs12::kdf::{Pkcs12KeyType, derive_key_utf8};
use sha1::Sha1;
use zeroize::Zeroizing;

use crate::certificate::Certificate;
use crate::der::{self, Element, Reader};
use crate::key::PrivateKey;
use crate::load::{Limits, LoadError};

/// id-data and id-encryptedData (RFC 5652 §4, §8).
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
const ENCRYPTED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 6];
/// encryptedContent: [0] IMPLICIT OCTET STRING (RFC 5652 §6.1).
const CONTENT: u8 = 0x80;
/// PBES2, PBKDF2 (RFC 8018 appendix A) and scrypt (RFC 7914 §7).
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 13];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 12];
/// pbeWithSHAAnd3-KeyTripleDES-CBC and pbeWithSHAAnd40BitRC2-CBC (RFC 7292 appendix C).
const TRIPLE_DES: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 1, 3];
const RC2_40: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 1, 6];
/// pkcs8ShroudedKeyBag and secretBag (RFC 7292 §4.2.2, §4.2.5).
const SHROUDED_KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 2];
const SECRET_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 5];

/// True for a PFX: version 3, then ContentInfo (RFC 7292 §4).
pub(crate) fn looks_like_pkcs12(bytes: &[u8]) -> bool {
    let mut pfx = match Reader::new(bytes).inside(der::SEQUENCE) {
        Some(pfx) => pfx,
        None => return false,
    };
    pfx.unsigned() == Some(3)
        && pfx.inside(der::SEQUENCE).and_then(|mut info| info.tagged(der::OID)).is_some_and(|oid| {
            // signedData, for files protected by a signature, is recognised and then refused.
            oid.value == DATA || oid.value == [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2]
        })
}

/// Opens the file. Everything that goes wrong once the password was tried is one error, so that
/// nobody learns from it how far a guess came.
pub(crate) fn open(bytes: &[u8], password: &str, limits: &Limits) -> Result<(Vec<Certificate>, Vec<PrivateKey>), LoadError> {
    if bytes.len() > limits.pkcs12_bytes {
        return Err(LoadError::TooLarge { bytes: bytes.len(), limit: limits.pkcs12_bytes });
    }
    let within = |iterations: u64| {
        let limit = limits.pkcs12_iterations;
        if iterations > limit { Err(LoadError::TooManyIterations { iterations, limit }) } else { Ok(()) }
    };
    let (mut iterations, encrypted) = cost(bytes, limits).ok_or(LoadError::BadPkcs12)?;
    within(iterations)?;
    // Decrypted here once more than p12-keystore does: a part may hold keys that are encrypted again, and cost what only it says.
    for part in encrypted {
        let contents = part.decrypt(password).ok_or(LoadError::WrongPassword)?;
        iterations = iterations.saturating_add(bags(&contents, limits).ok_or(LoadError::WrongPassword)?);
        within(iterations)?;
    }
    let archive = Pkcs12Archive::from_pkcs12(bytes, password).map_err(|_| LoadError::WrongPassword)?;
    if archive.certs.len() > limits.certificates || archive.keys.len() > limits.keys {
        return Err(LoadError::TooMany { what: "entries", limit: limits.certificates });
    }
    let mut certificates = Vec::with_capacity(archive.certs.len());
    for (index, bag) in archive.certs.iter().enumerate() {
        let place = format!("certificate {} of the PKCS#12 file", index + 1);
        certificates.push(Certificate::parse(bag.cert.as_der()).map_err(|problem| LoadError::Certificate { place, problem })?);
    }
    let mut keys = Vec::with_capacity(archive.keys.len());
    for (index, bag) in archive.keys.iter().enumerate() {
        let place = format!("key {} of the PKCS#12 file", index + 1);
        let secret = Zeroizing::new(bag.key.as_der().to_vec());
        keys.push(PrivateKey::from_der(&secret).map_err(|problem| LoadError::Key { place, problem })?);
    }
    Ok((certificates, keys))
}

/// An encrypted part: how, and what.
struct Encrypted<'a> {
    algorithm: Element<'a>,
    content: &'a [u8],
}

impl Encrypted<'_> {
    /// Its content, in the two ways that p12-keystore knows. `None` for a wrong password, and for anything else.
    fn decrypt(&self, password: &str) -> Option<Zeroizing<Vec<u8>>> {
        let mut algorithm = Reader::new(self.algorithm.value);
        let oid = algorithm.tagged(der::OID)?.value;
        if oid == PBES2 {
            let scheme = pkcs5::EncryptionScheme::try_from(self.algorithm.raw).ok()?;
            return scheme.decrypt(password, self.content).ok().map(Zeroizing::new);
        }
        let mut parameters = algorithm.inside(der::SEQUENCE)?;
        let salt = parameters.tagged(der::OCTET_STRING)?.value;
        let iterations = i32::try_from(parameters.unsigned()?).ok()?;
        let derived = |id, length| derive_key_utf8::<Sha1>(password, salt, id, iterations, length).ok().map(Zeroizing::new);
        let key = |length| derived(Pkcs12KeyType::EncryptionKey, length);
        let vector = derived(Pkcs12KeyType::Iv, 8)?;
        match oid {
            TRIPLE_DES => decrypted::<des::TdesEde3>(&key(24)?, &vector, self.content),
            RC2_40 => decrypted::<rc2::Rc2>(&key(5)?, &vector, self.content),
            _ => None,
        }
    }
}

fn decrypted<C: KeyInit + BlockCipherDecrypt>(key: &[u8], vector: &[u8], content: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let cipher = cbc::Decryptor::<C>::new_from_slices(key, vector).ok()?;
    cipher.decrypt_padded_vec::<Pkcs7>(content).ok().map(Zeroizing::new)
}

/// How many iterations of key derivation the file asks for in all, as far as can be seen before it is decrypted, and the parts that
/// have to be for the rest. `None` if it is not a PFX in DER. Saturates.
fn cost<'a>(bytes: &'a [u8], limits: &Limits) -> Option<(u64, Vec<Encrypted<'a>>)> {
    let mut pfx = Reader::new(bytes).inside(der::SEQUENCE)?;
    pfx.unsigned()?;
    let safes = content(&mut pfx.inside(der::SEQUENCE)?, DATA)?;
    let mut total = 0u64;
    // MacData: DigestInfo, salt, iterations DEFAULT 1 (RFC 7292 §4).
    if let Some(mut mac) = pfx.inside(der::SEQUENCE) {
        mac.tagged(der::SEQUENCE)?;
        mac.tagged(der::OCTET_STRING)?;
        total = if mac.is_empty() { 1 } else { mac.unsigned()? };
    }
    let mut safes = Reader::new(safes).inside(der::SEQUENCE)?;
    let (mut parts, mut encrypted) = (0, Vec::new());
    while !safes.is_empty() {
        parts += 1;
        if parts > limits.certificates {
            return Some((u64::MAX, Vec::new()));
        }
        let mut info = safes.inside(der::SEQUENCE)?;
        let spent = match info.tagged(der::OID)?.value {
            DATA => {
                let octets = info.inside(der::CONTEXT_0)?.tagged(der::OCTET_STRING)?.value;
                bags(octets, limits)?
            }
            ENCRYPTED_DATA => {
                // EncryptedData: version, EncryptedContentInfo { type, algorithm, content } (RFC 5652 §8).
                let mut data = info.inside(der::CONTEXT_0)?.inside(der::SEQUENCE)?;
                data.unsigned()?;
                let mut inner = data.inside(der::SEQUENCE)?;
                inner.tagged(der::OID)?;
                let algorithm = inner.tagged(der::SEQUENCE)?;
                // Content that is elsewhere is none here.
                if !inner.is_empty() {
                    encrypted.push(Encrypted { algorithm, content: inner.tagged(CONTENT)?.value });
                }
                derivation(Reader::new(algorithm.value))?
            }
            _ => return None,
        };
        total = total.saturating_add(spent);
    }
    Some((total, encrypted))
}

/// ContentInfo with this type: the content of its OCTET STRING.
fn content<'a>(info: &mut Reader<'a>, kind: &[u8]) -> Option<&'a [u8]> {
    (info.tagged(der::OID)?.value == kind).then_some(())?;
    Some(info.inside(der::CONTEXT_0)?.tagged(der::OCTET_STRING)?.value)
}

/// SafeContents: the derivations of all shrouded keys and secrets in it.
fn bags(contents: &[u8], limits: &Limits) -> Option<u64> {
    let mut bags = Reader::new(contents).inside(der::SEQUENCE)?;
    let (mut total, mut count) = (0u64, 0);
    while !bags.is_empty() {
        count += 1;
        if count > limits.certificates {
            return Some(u64::MAX);
        }
        let mut bag = bags.inside(der::SEQUENCE)?;
        let spent = match bag.tagged(der::OID)?.value {
            SHROUDED_KEY_BAG => shrouded(&mut bag.inside(der::CONTEXT_0)?)?,
            SECRET_BAG => {
                // What p12-keystore takes for a secret: type, and [0] with an encrypted key as octets.
                let mut secret = bag.inside(der::CONTEXT_0)?.inside(der::SEQUENCE)?;
                secret.tagged(der::OID)?;
                shrouded(&mut Reader::new(secret.inside(der::CONTEXT_0)?.tagged(der::OCTET_STRING)?.value))?
            }
            _ => 0,
        };
        total = total.saturating_add(spent);
    }
    Some(total)
}

/// EncryptedPrivateKeyInfo (RFC 5958 §3): its derivation.
fn shrouded(at: &mut Reader<'_>) -> Option<u64> {
    derivation(at.inside(der::SEQUENCE)?.inside(der::SEQUENCE)?)
}

/// The iterations of an encryption's AlgorithmIdentifier, given its content.
fn derivation(mut algorithm: Reader<'_>) -> Option<u64> {
    let oid = algorithm.tagged(der::OID)?.value;
    let mut parameters = algorithm.inside(der::SEQUENCE)?;
    if oid != PBES2 {
        // RFC 7292 appendix C: salt, iterations; derived twice, for key and initialisation vector.
        parameters.tagged(der::OCTET_STRING)?;
        return Some(parameters.unsigned()?.saturating_mul(2));
    }
    let mut derivation = parameters.inside(der::SEQUENCE)?;
    if derivation.tagged(der::OID)?.value != PBKDF2 {
        return None; // scrypt asks for memory, which has no place in a file that strangers send
    }
    let mut parameters = derivation.inside(der::SEQUENCE)?;
    parameters.tagged(der::OCTET_STRING)?;
    parameters.unsigned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::der::element;
    use crate::key::KeyType;
    use pkcs5::{EncryptionScheme, der::Encode, pbes2::Parameters};

    const PASSWORD: &str = "x";

    fn sequence(parts: &[&[u8]]) -> Vec<u8> {
        element(der::SEQUENCE, &parts.concat())
    }

    fn oid(value: &[u8]) -> Vec<u8> {
        element(der::OID, value)
    }

    fn within(content: &[u8]) -> Vec<u8> {
        element(der::CONTEXT_0, content)
    }

    fn octets(content: &[u8]) -> Vec<u8> {
        element(der::OCTET_STRING, content)
    }

    /// Algorithm and ciphertext.
    fn encrypted(iterations: u32, plain: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let parameters = Parameters::generate_pbkdf2_sha256_aes256cbc(iterations, &[7; 16], [9; 16]).unwrap();
        let ciphertext = parameters.encrypt(PASSWORD, plain).unwrap();
        (EncryptionScheme::Pbes2(parameters).to_der().unwrap(), ciphertext)
    }

    fn file(parts: &[Vec<u8>]) -> Vec<u8> {
        let safe = octets(&sequence(&[&parts.concat()]));
        sequence(&[&element(der::INTEGER, &[3]), &sequence(&[&oid(DATA), &within(&safe)])])
    }

    fn plain_part(bags: &[Vec<u8>]) -> Vec<u8> {
        sequence(&[&oid(DATA), &within(&octets(&sequence(&[&bags.concat()])))])
    }

    fn encrypted_part(iterations: u32, bags: &[Vec<u8>]) -> Vec<u8> {
        let (algorithm, content) = encrypted(iterations, &sequence(&[&bags.concat()]));
        let info = sequence(&[&oid(DATA), &algorithm, &element(CONTENT, &content)]);
        sequence(&[&oid(ENCRYPTED_DATA), &within(&sequence(&[&element(der::INTEGER, &[0]), &info]))])
    }

    #[test]
    fn no_iteration_hides() {
        let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        let shrouded = |iterations| {
            let (algorithm, content) = encrypted(iterations, key.expose_pkcs8());
            sequence(&[&algorithm, &octets(&content)])
        };
        let key_bag = |iterations| sequence(&[&oid(SHROUDED_KEY_BAG), &within(&shrouded(iterations))]);
        let secret_bag = |iterations| {
            let secret = sequence(&[&oid(SHROUDED_KEY_BAG), &within(&octets(&shrouded(iterations)))]);
            sequence(&[&oid(SECRET_BAG), &within(&secret)])
        };
        let check = |parts: &[Vec<u8>], keys: usize, cost: u64| {
            let bytes = file(parts);
            let open = |limit| open(&bytes, PASSWORD, &Limits { pkcs12_iterations: limit, ..Limits::default() });
            assert_eq!(open(cost - 1).unwrap_err(), LoadError::TooManyIterations { iterations: cost, limit: cost - 1 });
            assert_eq!(open(cost).unwrap().1.len(), keys);
        };
        check(&[plain_part(&[key_bag(100), key_bag(200)])], 2, 300);
        check(&[plain_part(&[secret_bag(100), key_bag(200)])], 1, 300);
        check(&[encrypted_part(10, &[key_bag(100), key_bag(200)])], 2, 310);
        check(&[encrypted_part(10, &[key_bag(100), secret_bag(300)]), encrypted_part(20, &[key_bag(100)])], 2, 530);
        let hidden = file(&[encrypted_part(10, &[key_bag(100)])]);
        assert_eq!(open(&hidden, "y", &Limits::default()).unwrap_err(), LoadError::WrongPassword);
    }
}
