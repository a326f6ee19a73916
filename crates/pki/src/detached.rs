//! Signatures that travel beside what they sign: Ed25519 (RFC 8032) over a context and a payload.
//!
//! The context keeps a signature that was made for one purpose from being shown for another. It is a text that ends in NUL, so that no
//! context is the beginning of another one.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::algorithm::{KeyKind, split_spki};
use crate::der::{self, Writer};
use crate::key::{KeyError, PrivateKey};
use crate::sign::{SignError, Signer};

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;
/// Bytes of the seed that a key is made of (RFC 8032 §5.1.5).
pub const SEED_BYTES: usize = 32;

/// A signature that proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not belong to these bytes, this purpose and this key")]
pub struct Unproven;

/// The key that this seed makes; the caller brings 32 random bytes.
///
/// # Errors
/// The cryptographic library refuses.
pub fn generate(seed: &[u8; SEED_BYTES]) -> Result<PrivateKey, KeyError> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Generation)?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| KeyError::Generation)?;
    let (algorithm, _) = split_spki(public.as_ref()).ok_or(KeyError::Generation)?;
    // RFC 8410 §7: version 0, algorithm, the seed as an OCTET STRING inside an OCTET STRING.
    let mut writer = Writer::with_capacity(48);
    writer.nest(der::SEQUENCE, |w| {
        w.unsigned(&[0]);
        w.put(der::SEQUENCE, algorithm);
        w.nest(der::OCTET_STRING, |w| w.put(der::OCTET_STRING, seed));
    });
    PrivateKey::from_der(&Zeroizing::new(writer.into_bytes()))
}

/// Signs the payload for this purpose. `context` ends in NUL.
///
/// # Errors
/// The key is not Ed25519, or the context does not end in its only NUL.
pub fn sign(key: &PrivateKey, context: &[u8], payload: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SignError> {
    if *key.kind() != KeyKind::Ed25519 || !is_context(context) {
        return Err(SignError);
    }
    let signature = Signer::new(key)?.sign(&[context, payload].concat())?;
    signature.try_into().map_err(|_| SignError)
}

/// Is this the signature of the key with this SubjectPublicKeyInfo over that payload, for this purpose?
///
/// # Errors
/// It is not, or one of them is malformed.
pub fn verify(spki_der: &[u8], context: &[u8], payload: &[u8], signature: &[u8]) -> Result<(), Unproven> {
    if KeyKind::from_spki(spki_der) != Some(KeyKind::Ed25519) || !is_context(context) {
        return Err(Unproven);
    }
    let (_, key) = split_spki(spki_der).ok_or(Unproven)?;
    UnparsedPublicKey::new(&ED25519, key).verify(&[context, payload].concat(), signature).map_err(|_| Unproven)
}

fn is_context(context: &[u8]) -> bool {
    context.iter().position(|&byte| byte == 0).is_some_and(|first| first > 0 && first + 1 == context.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::key::KeyType;

    const CONTEXT: &[u8] = b"test/1\0";

    #[test]
    fn only_the_same_bytes_purpose_and_key() {
        let (key, other) = (generate(&[7; 32]).unwrap(), generate(&[8; 32]).unwrap());
        let signature = sign(&key, CONTEXT, b"payload").unwrap();
        let check = |spki: &[u8], context: &[u8], payload: &[u8], signature: &[u8], ok: bool| {
            assert_eq!(verify(spki, context, payload, signature).is_ok(), ok);
        };
        check(key.spki_der(), CONTEXT, b"payload", &signature, true);
        check(other.spki_der(), CONTEXT, b"payload", &signature, false);
        check(key.spki_der(), b"test/2\0", b"payload", &signature, false);
        check(key.spki_der(), CONTEXT, b"payloaD", &signature, false);
        check(key.spki_der(), CONTEXT, b"payload", &signature[..63], false);
        check(&key.spki_der()[1..], CONTEXT, b"payload", &signature, false);
        check(&[], CONTEXT, b"payload", &signature, false);
        // Where the context ends and the payload begins is part of what is signed.
        check(key.spki_der(), b"test/1", b"\0payload", &signature, false);
        let p256 = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        check(p256.spki_der(), CONTEXT, b"payload", &signature, false);
        assert_eq!(sign(&p256, CONTEXT, b"payload"), Err(SignError));
        for context in [&b""[..], b"\0", b"test", b"te\0st\0"] {
            assert_eq!(sign(&key, context, b"payload"), Err(SignError), "{context:?}");
        }
    }

    #[test]
    fn a_seed_is_a_key_and_rfc_8032_agrees() {
        // RFC 8032 §7.1, test 1.
        let seed: [u8; 32] = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap().try_into().unwrap();
        let key = generate(&seed).unwrap();
        let public = split_spki(key.spki_der()).unwrap().1;
        assert_eq!(hex::encode(public), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert_eq!(key.spki_fingerprint(), generate(&seed).unwrap().spki_fingerprint());
        assert_eq!(sign(&key, CONTEXT, b""), sign(&key, CONTEXT, b""));
    }
}
