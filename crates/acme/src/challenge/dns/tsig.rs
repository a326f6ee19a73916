//! Signatures of DNS messages by a shared key (RFC 8945).

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pki::Time;
use zeroize::Zeroizing;

use super::message::{ANY_CLASS, HEADER, Message, TSIG, put, put_name};
use crate::error::Error;

/// How far the clocks may differ, in seconds (RFC 8945 §10).
const FUDGE: u16 = 300;
/// Errors that an answer's signature tells of (RFC 8945 §3).
const BAD_SIGNATURE: u16 = 16;
const BAD_KEY: u16 = 17;
const BAD_TIME: u16 = 18;
const BAD_TRUNCATION: u16 = 22;

/// How a key signs; weaker ones are not spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Sha256,
    /// HMAC with SHA-384.
    Sha384,
    /// HMAC with SHA-512.
    Sha512,
}

impl Algorithm {
    /// Its name (RFC 8945 §6).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "hmac-sha256",
            Algorithm::Sha384 => "hmac-sha384",
            Algorithm::Sha512 => "hmac-sha512",
        }
    }

    /// By its name, with or without a final dot.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512].into_iter().find(|one| one.name() == name)
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Algorithm::Sha256 => hmac::HMAC_SHA256,
            Algorithm::Sha384 => hmac::HMAC_SHA384,
            Algorithm::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

/// A key that a DNS server knows too. `Debug` prints its name alone.
#[derive(Clone)]
pub struct Key {
    name: String,
    algorithm: Algorithm,
    secret: Zeroizing<Vec<u8>>,
}

impl Key {
    /// A key by its name and its secret in base64, as `tsig-keygen` writes it.
    ///
    /// # Errors
    /// [`Error::Setup`] if the secret is not base64, or the name is none.
    pub fn parse(name: &str, algorithm: Algorithm, secret: &str) -> Result<Self, Error> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        put_name(&mut Vec::new(), &name).map_err(|why| Error::Setup(format!("the TSIG key's name: {why}")))?;
        let secret = BASE64_STANDARD.decode(secret.trim()).map(Zeroizing::new);
        let secret = secret.map_err(|_| Error::Setup(format!("the secret of the TSIG key {name} is not base64")))?;
        if secret.is_empty() {
            return Err(Error::Setup(format!("the secret of the TSIG key {name} is empty")));
        }
        Ok(Key { name, algorithm, secret })
    }

    /// Signs a message, and keeps what its answer is verified with.
    pub(crate) fn sign(&self, message: &mut Vec<u8>, now: Time) -> Vec<u8> {
        let time = seconds(now);
        let mut signed = message.clone();
        signed.extend(self.variables(time, FUDGE, 0, &[]));
        let mac = hmac::sign(&hmac::Key::new(self.algorithm.hmac(), &self.secret), &signed).as_ref().to_vec();
        let id = [message[0], message[1]];
        self.put_key_name(message);
        put(message, &[TSIG, ANY_CLASS, 0, 0]);
        let mut data = Vec::new();
        self.put_algorithm(&mut data);
        data.extend_from_slice(&time);
        put(&mut data, &[FUDGE, length(&mac)]);
        data.extend_from_slice(&mac);
        data.extend_from_slice(&id);
        put(&mut data, &[0, 0]);
        put(message, &[length(&data)]);
        message.extend_from_slice(&data);
        // One more record in the additional section.
        let count = u16::from_be_bytes([message[10], message[11]]) + 1;
        message[10..HEADER].copy_from_slice(&count.to_be_bytes());
        mac
    }

    /// Verifies the signature of an answer (RFC 8945 §5.3).
    pub(crate) fn verify(&self, answer: &Message, request_mac: &[u8], now: Time) -> Result<(), String> {
        let record = answer.signature().ok_or("the answer is not signed")?;
        if answer.owner(record).as_deref() != Some(&self.name) {
            return Err("the answer is signed by another key".into());
        }
        let read = Signature::read(record.data).ok_or("the answer's signature cannot be read")?;
        let mut algorithm = Vec::new();
        self.put_algorithm(&mut algorithm);
        if read.error == 0 && !read.algorithm.eq_ignore_ascii_case(&algorithm) {
            return Err(format!("the answer is signed by another algorithm than {}", self.algorithm.name()));
        }
        match read.error {
            // These come without a signature that could be verified; there is nothing to believe, only to tell.
            BAD_KEY => return Err(format!("the server does not know the key {} (BADKEY)", self.name)),
            BAD_SIGNATURE => return Err(format!("the server has another secret, or algorithm, for the key {} (BADSIG)", self.name)),
            BAD_TRUNCATION => return Err("the server wants longer signatures (BADTRUNC)".into()),
            _ => {}
        }
        let mut signed = Vec::new();
        put(&mut signed, &[length(request_mac)]);
        signed.extend_from_slice(request_mac);
        let start = signed.len();
        signed.extend_from_slice(&answer.bytes()[..record.at]);
        // As it was before it was signed: with its own identifier, and one record less.
        signed[start..start + 2].copy_from_slice(&read.id);
        let count = u16::from_be_bytes([signed[start + 10], signed[start + 11]]).saturating_sub(1);
        signed[start + 10..start + HEADER].copy_from_slice(&count.to_be_bytes());
        signed.extend(self.variables(read.time, read.fudge, read.error, read.other));
        let key = hmac::Key::new(self.algorithm.hmac(), &self.secret);
        hmac::verify(&key, &signed, read.mac).map_err(|_| "the answer's signature does not verify".to_owned())?;
        if read.error == BAD_TIME {
            return Err("the server's clock and ours differ by more than five minutes (BADTIME)".into());
        }
        let theirs = read.time.iter().fold(0i64, |sum, byte| sum << 8 | i64::from(*byte));
        if theirs.abs_diff(now.unix()) > u64::from(read.fudge.max(FUDGE)) {
            return Err("the answer's signature is of another time".into());
        }
        Ok(())
    }

    /// What is signed besides the message (RFC 8945 §4.3.3).
    fn variables(&self, time: [u8; 6], fudge: u16, error: u16, other: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.put_key_name(&mut bytes);
        put(&mut bytes, &[ANY_CLASS, 0, 0]);
        self.put_algorithm(&mut bytes);
        bytes.extend_from_slice(&time);
        put(&mut bytes, &[fudge, error, length(other)]);
        bytes.extend_from_slice(other);
        bytes
    }

    fn put_key_name(&self, bytes: &mut Vec<u8>) {
        // It was found to be a name when the key was made.
        let _a_name = put_name(bytes, &self.name);
    }

    fn put_algorithm(&self, bytes: &mut Vec<u8>) {
        let _a_name = put_name(bytes, self.algorithm.name());
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} {})", self.name, self.algorithm.name())
    }
}

/// The data of a signature (RFC 8945 §4.2).
struct Signature<'a> {
    algorithm: &'a [u8],
    time: [u8; 6],
    fudge: u16,
    mac: &'a [u8],
    id: [u8; 2],
    error: u16,
    other: &'a [u8],
}

impl<'a> Signature<'a> {
    fn read(data: &'a [u8]) -> Option<Self> {
        // The algorithm's name is not compressed (RFC 8945 §4.2).
        let mut at = 0;
        while *data.get(at)? != 0 {
            at += 1 + usize::from(*data.get(at)?);
        }
        let (algorithm, mut rest) = data.split_at_checked(at + 1)?;
        let mut take = |count: usize| {
            let (taken, left) = rest.split_at_checked(count)?;
            rest = left;
            Some(taken)
        };
        let time = <[u8; 6]>::try_from(take(6)?).ok()?;
        let fudge = number(take(2)?);
        let size = usize::from(number(take(2)?));
        let mac = take(size)?;
        let id = <[u8; 2]>::try_from(take(2)?).ok()?;
        let error = number(take(2)?);
        let size = usize::from(number(take(2)?));
        let other = take(size)?;
        rest.is_empty().then_some(Signature { algorithm, time, fudge, mac, id, error, other })
    }
}

fn number(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u16::from(*byte))
}

fn length(bytes: &[u8]) -> u16 {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX)
}

/// 48 bits of seconds (RFC 8945 §4.2).
fn seconds(time: Time) -> [u8; 6] {
    let [_, _, rest @ ..] = u64::try_from(time.unix()).unwrap_or_default().to_be_bytes();
    rest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::challenge::dns::message::{TEXT, query};

    fn key(algorithm: Algorithm) -> Key {
        Key::parse("Update-Key.", algorithm, "MTIzNDU2Nzg5MGFiY2RlZg==").unwrap()
    }

    /// Turns a signed request into an answer that the same key signed.
    fn answered(key: &Key, request_mac: &[u8], now: Time) -> Vec<u8> {
        let mut answer = query("a.example", TEXT).unwrap().0;
        answer[2] = 0x84;
        let mut signed = Vec::new();
        put(&mut signed, &[length(request_mac)]);
        signed.extend_from_slice(request_mac);
        signed.extend_from_slice(&answer);
        signed.extend(key.variables(seconds(now), FUDGE, 0, &[]));
        let mac = hmac::sign(&hmac::Key::new(key.algorithm.hmac(), &key.secret), &signed).as_ref().to_vec();
        let own = key.sign(&mut answer, now);
        let at = answer.windows(own.len()).position(|w| w == own).unwrap();
        answer[at..at + mac.len()].copy_from_slice(&mac);
        answer
    }

    #[test]
    fn an_answer_is_believed_only_with_its_signature() {
        let now = Time::from_unix(1_800_000_000);
        for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
            let key = key(algorithm);
            let mac = key.sign(&mut query("a.example", TEXT).unwrap().0, now);
            let good = answered(&key, &mac, now);
            let verify = |bytes: &[u8], mac: &[u8], at| key.verify(&Message::read(bytes.to_vec()).unwrap(), mac, at);
            assert_eq!(verify(&good, &mac, now), Ok(()));
            for at in (0..good.len()).filter(|at| *at != 0 && *at != 1) {
                let mut changed = good.clone();
                changed[at] ^= 1;
                if let Some(answer) = Message::read(changed) {
                    assert!(key.verify(&answer, &mac, now).is_err(), "{at}");
                }
            }
            assert!(verify(&good, &[], now).unwrap_err().contains("does not verify"));
            assert!(verify(&good, &mac, Time::from_unix(1_800_001_000)).unwrap_err().contains("another time"));
            let other = Key::parse("update-key", algorithm, "b3RoZXI=").unwrap();
            assert!(other.verify(&Message::read(good.clone()).unwrap(), &mac, now).is_err());
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        let key = Key::parse("k", Algorithm::Sha256, "c2VjcmV0").unwrap();
        assert_eq!(format!("{key:?}"), "Key(k hmac-sha256)");
        assert_eq!(Algorithm::parse("HMAC-SHA512."), Some(Algorithm::Sha512));
        assert_eq!(Algorithm::parse("hmac-md5"), None);
        for (name, secret) in [("k", "***"), ("k", ""), ("a..b", "c2VjcmV0")] {
            assert!(Key::parse(name, Algorithm::Sha256, secret).is_err());
        }
    }
}
