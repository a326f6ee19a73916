//! SHA-256 fingerprints: how certificates, keys and trust stores are told apart.

use std::fmt;

/// The SHA-256 of some bytes. Shown as 64 lower-case hexadecimal digits everywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

/// The text is not a SHA-256 fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 hexadecimal digits (colons between the pairs are allowed)")]
pub struct FingerprintError;

impl Fingerprint {
    /// The fingerprint of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        let mut out = [0; 32];
        out.copy_from_slice(digest.as_ref());
        Self(out)
    }

    /// Wraps a digest that was computed elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 hexadecimal digits in either case; colons, as other tools print them, are skipped.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &str) -> Result<Self, FingerprintError> {
        if text.len() > 95 {
            return Err(FingerprintError);
        }
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        let mut out = [0; 32];
        hex::decode_to_slice(digits, &mut out).map_err(|_| FingerprintError)?;
        Ok(Self(out))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 64];
        match hex::encode_to_slice(self.0, &mut digits) {
            Ok(()) => f.pad(std::str::from_utf8(&digits).unwrap_or_default()),
            Err(_) => Err(fmt::Error),
        }
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn known_answer_and_round_trip() {
        let empty = Fingerprint::of(b"");
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(empty.to_string(), hex);
        assert_eq!(format!("{empty:?}"), hex);
        assert_eq!(Fingerprint::parse(hex), Ok(empty));
        assert_eq!(Fingerprint::parse(&hex.to_uppercase()), Ok(empty));
        let colons: Vec<&str> = (0..32).map(|i| &hex[2 * i..2 * i + 2]).collect();
        assert_eq!(Fingerprint::parse(&colons.join(":")), Ok(empty));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "e3", "zz", &"e".repeat(63), &"e".repeat(66), &":".repeat(200), "é"] {
            assert!(Fingerprint::parse(text).is_err(), "{text}");
        }
    }
}
