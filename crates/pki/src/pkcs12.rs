//! PKCS#12 (RFC 7292): what it would cost to open is read first, because the file itself says how
//! often a key is to be derived.

use p12_keystore::Pkcs12Archive;
use zeroize::Zeroizing;

use crate::certificate::Certificate;
use crate::der::{self, Reader};
use crate::key::PrivateKey;
use crate::load::{Limits, LoadError};

/// id-data and id-encryptedData (RFC 5652 §4, §8).
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
const ENCRYPTED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 6];
/// PBES2, PBKDF2 (RFC 8018 appendix A) and scrypt (RFC 7914 §7).
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 13];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 12];
/// pkcs8ShroudedKeyBag (RFC 7292 §4.2.2).
const SHROUDED_KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 2];

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
    let iterations = cost(bytes, limits).ok_or(LoadError::BadPkcs12)?;
    if iterations > limits.pkcs12_iterations {
        return Err(LoadError::TooManyIterations { iterations, limit: limits.pkcs12_iterations });
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

/// How many iterations of key derivation the file asks for in all, as far as can be seen before it
/// is decrypted. A shrouded key inside an encrypted part hides its count; p12-keystore caps each of
/// those at a million, and the size limit caps their number. `None` if it is not a PFX in DER. Saturates.
fn cost(bytes: &[u8], limits: &Limits) -> Option<u64> {
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
    let mut parts = 0;
    while !safes.is_empty() {
        parts += 1;
        if parts > limits.certificates {
            return Some(u64::MAX);
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
                derivation(inner.inside(der::SEQUENCE)?)?
            }
            _ => return None,
        };
        total = total.saturating_add(spent);
    }
    Some(total)
}

/// ContentInfo with this type: the content of its OCTET STRING.
fn content<'a>(info: &mut Reader<'a>, kind: &[u8]) -> Option<&'a [u8]> {
    (info.tagged(der::OID)?.value == kind).then_some(())?;
    Some(info.inside(der::CONTEXT_0)?.tagged(der::OCTET_STRING)?.value)
}

/// SafeContents: the derivations of all shrouded keys in it.
fn bags(contents: &[u8], limits: &Limits) -> Option<u64> {
    let mut bags = Reader::new(contents).inside(der::SEQUENCE)?;
    let (mut total, mut count) = (0u64, 0);
    while !bags.is_empty() {
        count += 1;
        if count > limits.certificates {
            return Some(u64::MAX);
        }
        let mut bag = bags.inside(der::SEQUENCE)?;
        if bag.tagged(der::OID)?.value == SHROUDED_KEY_BAG {
            let mut key = bag.inside(der::CONTEXT_0)?.inside(der::SEQUENCE)?;
            total = total.saturating_add(derivation(key.inside(der::SEQUENCE)?)?);
        }
    }
    Some(total)
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
