//! Signing with a key that was read once: reading it again for every signature costs more than the signature.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair};

use crate::algorithm::{Curve, KeyKind};
use crate::der::{self, Writer};
use crate::key::{KeyType, PrivateKey};

/// The cryptographic library did not sign, or not with this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library did not sign with this key")]
pub struct SignError;

/// A private key that is ready to sign.
pub(crate) struct Signer {
    pair: Pair,
    kind: KeyKind,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Rsa(rsa::KeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    pub(crate) fn new(key: &PrivateKey) -> Result<Self, SignError> {
        let pkcs8 = key.expose_pkcs8();
        let ecdsa = |algorithm| EcdsaKeyPair::from_private_key_der(algorithm, pkcs8).map(Pair::Ecdsa);
        let pair = match key.kind() {
            KeyKind::Rsa { .. } => rsa::KeyPair::from_pkcs8(pkcs8).map(Pair::Rsa),
            KeyKind::Ecdsa { curve: Curve::P256 } => ecdsa(&signature::ECDSA_P256_SHA256_ASN1_SIGNING),
            KeyKind::Ecdsa { curve: Curve::P384 } => ecdsa(&signature::ECDSA_P384_SHA384_ASN1_SIGNING),
            KeyKind::Ecdsa { curve: Curve::P521 } => ecdsa(&signature::ECDSA_P521_SHA512_ASN1_SIGNING),
            KeyKind::Ed25519 => Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map(Pair::Ed25519),
            KeyKind::Ecdsa { .. } | KeyKind::Other(_) => return Err(SignError),
        };
        Ok(Self { pair: pair.map_err(|_| SignError)?, kind: key.kind().clone() })
    }

    /// One that signs like this one and belongs to nobody.
    pub(crate) fn throw_away(&self) -> Result<Self, SignError> {
        let kind = match &self.kind {
            // The length of the signature is what must be like the real one's.
            KeyKind::Rsa { bits } if *bits > 3072 => return Self::throw_away_rsa(*bits),
            KeyKind::Rsa { bits } if *bits > 2048 => KeyType::Rsa3072,
            KeyKind::Rsa { .. } => KeyType::Rsa2048,
            KeyKind::Ecdsa { curve: Curve::P384 } => KeyType::EcdsaP384,
            KeyKind::Ecdsa { curve: Curve::P521 } => KeyType::EcdsaP521,
            KeyKind::Ecdsa { .. } => KeyType::EcdsaP256,
            KeyKind::Ed25519 | KeyKind::Other(_) => KeyType::Ed25519,
        };
        Self::new(&PrivateKey::generate(kind).map_err(|_| SignError)?)
    }

    fn throw_away_rsa(bits: u32) -> Result<Self, SignError> {
        let size = if bits > 4096 { rsa::KeySize::Rsa8192 } else { rsa::KeySize::Rsa4096 };
        let pair = rsa::KeyPair::generate(size).map_err(|_| SignError)?;
        Ok(Self { pair: Pair::Rsa(pair), kind: KeyKind::Rsa { bits } })
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.pair {
            Pair::Ecdsa(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(|_| SignError)?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::Rsa(pair) => {
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut out).map_err(|_| SignError)?;
                Ok(out)
            }
            Pair::Ed25519(pair) => Ok(pair.try_sign(message).map_err(|_| SignError)?.as_ref().to_vec()),
        }
    }

    /// The AlgorithmIdentifier of its signatures, with its tag.
    pub(crate) fn algorithm(&self) -> Vec<u8> {
        signature_algorithm(&self.kind)
    }

    /// `SEQUENCE { what is signed, algorithm, signature }`: the shape of certificates, requests and lists.
    pub(crate) fn signed(&self, to_be_signed: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self.sign(to_be_signed)?;
        let mut writer = Writer::with_capacity(to_be_signed.len() + signature.len() + 32);
        writer.nest(der::SEQUENCE, |w| {
            w.raw(to_be_signed);
            w.raw(&self.algorithm());
            w.octet_aligned_bits(&signature);
        });
        Ok(writer.into_bytes())
    }
}

/// What a key of this kind signs with here (RFC 4055 §5, RFC 5758 §3.2, RFC 8410 §3), with its tag.
fn signature_algorithm(kind: &KeyKind) -> Vec<u8> {
    const ECDSA_WITH: [u8; 7] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3];
    let mut writer = Writer::with_capacity(16);
    writer.nest(der::SEQUENCE, |w| match kind {
        KeyKind::Rsa { .. } => {
            w.put(der::OID, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11]);
            w.put(der::NULL, &[]); // RFC 4055 §5: MUST be NULL
        }
        KeyKind::Ecdsa { curve } => {
            let digest = match curve {
                Curve::P384 => 3,
                Curve::P521 => 4,
                Curve::P256 | Curve::Other { .. } => 2,
            };
            w.put(der::OID, &[ECDSA_WITH.as_slice(), &[digest]].concat());
        }
        KeyKind::Ed25519 | KeyKind::Other(_) => w.put(der::OID, &[0x2b, 0x65, 0x70]),
    });
    writer.into_bytes()
}
