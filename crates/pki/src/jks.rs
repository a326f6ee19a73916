//! Java keystores, JKS and JCEKS, as `sun.security.provider.JavaKeyStore` writes them: certificates lie in the clear, private keys under a
//! password, and a digest at the end that only the password checks. The password is neither needed nor asked for here.

use crate::certificate::{Certificate, ParseError};
use crate::text::escape;

/// Most entries of one keystore, and certificates of one chain.
pub const MAX_ENTRIES: usize = 100_000;

const JKS: u32 = 0xfeed_feed;
const JCEKS: u32 = 0xcece_cece;
/// SHA-1 over password, a fixed phrase and all before it.
const DIGEST: usize = 20;

/// What a keystore holds, in its order, as far as it could be read.
#[derive(Debug, Default)]
pub struct Keystore {
    /// "JKS" or "JCEKS".
    pub kind: &'static str,
    /// Its entries.
    pub entries: Vec<Entry>,
    /// Why reading stopped before the end.
    pub broken: Option<KeystoreError>,
}

/// One entry.
#[derive(Debug)]
pub struct Entry {
    /// Its name, escaped.
    pub alias: String,
    /// True if it holds a private key, which is encrypted.
    pub private_key: bool,
    /// The chain of the key, its certificate first, or the one certificate that is trusted.
    pub chain: Vec<Result<Certificate, ParseError>>,
}

/// Why a keystore cannot be read to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeystoreError {
    /// Cut off, or a length in it leads outside.
    #[error("the Java keystore is cut off or damaged at byte {0}")]
    Truncated(usize),
    /// An entry of a kind that is not known.
    #[error("the Java keystore has an entry of unknown kind {tag} at byte {at}")]
    UnknownEntry {
        /// The kind.
        tag: u32,
        /// Where.
        at: usize,
    },
    /// A secret key, after which nothing can be found: it is a serialised Java object without a length.
    #[error("the Java keystore holds a secret key (entry {0}); what follows it is not read")]
    SecretKey(String),
    /// More than [`MAX_ENTRIES`].
    #[error("the Java keystore has more than {MAX_ENTRIES} entries")]
    TooMany,
}

/// Reads a keystore; `None` if the bytes do not begin like one.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<Keystore> {
    let mut reader = Cursor { bytes, at: 0 };
    let kind = match reader.number().ok()? {
        JKS => "JKS",
        JCEKS => "JCEKS",
        _ => return None,
    };
    let version = reader.number().ok().filter(|version| matches!(version, 1 | 2))?;
    let mut keystore = Keystore { kind, ..Keystore::default() };
    keystore.broken = entries(&mut reader, version, &mut keystore.entries).err();
    Some(keystore)
}

fn entries(reader: &mut Cursor<'_>, version: u32, found: &mut Vec<Entry>) -> Result<(), KeystoreError> {
    let count = reader.number()?;
    for _ in 0..count {
        if found.len() == MAX_ENTRIES {
            return Err(KeystoreError::TooMany);
        }
        let at = reader.at;
        let tag = reader.number()?;
        let alias = reader.text()?;
        reader.take(8)?; // milliseconds of its making
        match tag {
            1 => {
                let length = reader.number()?;
                reader.take(length as usize)?;
                let mut entry = Entry { alias, private_key: true, chain: Vec::new() };
                let chain = reader.number().and_then(|length| {
                    for _ in 0..length {
                        if entry.chain.len() == MAX_ENTRIES {
                            return Err(KeystoreError::TooMany);
                        }
                        entry.chain.push(reader.certificate(version)?);
                    }
                    Ok(())
                });
                // The key is told even if its chain is cut off.
                found.push(entry);
                chain?;
            }
            2 => {
                let certificate = reader.certificate(version)?;
                found.push(Entry { alias, private_key: false, chain: vec![certificate] });
            }
            3 => return Err(KeystoreError::SecretKey(alias)),
            tag => return Err(KeystoreError::UnknownEntry { tag, at }),
        }
    }
    reader.take(DIGEST).map(|_| ())
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], KeystoreError> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or(KeystoreError::Truncated(self.at))?;
        let part = &self.bytes[self.at..end];
        self.at = end;
        Ok(part)
    }

    fn number(&mut self) -> Result<u32, KeystoreError> {
        Ok(self.take(4)?.iter().fold(0, |sum, &byte| (sum << 8) | u32::from(byte)))
    }

    /// Java's modified UTF-8 with a length of two bytes.
    fn text(&mut self) -> Result<String, KeystoreError> {
        let length = self.take(2)?.iter().fold(0, |sum, &byte| (sum << 8) | usize::from(byte));
        Ok(escape(&String::from_utf8_lossy(self.take(length)?)))
    }

    fn certificate(&mut self, version: u32) -> Result<Result<Certificate, ParseError>, KeystoreError> {
        if version == 2 {
            self.text()?; // its type, X.509
        }
        let length = self.number()?;
        Ok(Certificate::parse(self.take(length as usize)?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn counted(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
    }

    fn text(text: &str) -> Vec<u8> {
        [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
    }

    fn keystore(magic: u32, count: u32, entries: &[Vec<u8>]) -> Vec<u8> {
        let head = [magic.to_be_bytes(), 2u32.to_be_bytes(), count.to_be_bytes()].concat();
        [head, entries.concat(), vec![0; DIGEST]].concat()
    }

    #[test]
    fn entries_up_to_the_damage() {
        let (from, until) = (crate::Time::parse("2020-01-01").unwrap(), crate::Time::parse("2040-01-01").unwrap());
        let root = crate::Authority::new("Root", from, until).unwrap();
        let certificate = [text("X.509"), counted(root.certificate().der())].concat();
        let head = |tag: u32, alias: &str| [&tag.to_be_bytes()[..], &text(alias), &[0; 8]].concat();
        let trusted = [head(2, "ca\u{1b}"), certificate.clone()].concat();
        let key = [head(1, "own"), counted(b"sealed"), 2u32.to_be_bytes().to_vec(), certificate.clone(), certificate].concat();
        let secret = head(3, "aes");

        let whole = keystore(JKS, 2, &[trusted.clone(), key.clone()]);
        let read_all = read(&whole).unwrap();
        assert_eq!((read_all.kind, read_all.broken.as_ref()), ("JKS", None));
        let shown: Vec<_> =
            read_all.entries.iter().map(|e| (e.alias.as_str(), e.private_key, e.chain.iter().filter(|c| c.is_ok()).count())).collect();
        assert_eq!(shown, [("ca\\u{1b}", false, 1), ("own", true, 2)]);

        for cut in 8..whole.len() {
            let part = read(&whole[..cut]).unwrap();
            assert!(part.broken.is_some(), "{cut}");
        }
        let part = read(&whole[..whole.len() - DIGEST - 10]).unwrap();
        assert_eq!(part.entries.iter().map(|e| e.chain.len()).collect::<Vec<_>>(), [1, 1], "the key's first certificate stays");

        let mixed = read(&keystore(JCEKS, 3, &[trusted, secret, key])).unwrap();
        assert_eq!((mixed.kind, mixed.entries.len()), ("JCEKS", 1));
        assert_eq!(mixed.broken, Some(KeystoreError::SecretKey("aes".into())));
        assert_eq!(read(&keystore(JKS, 1, &[head(9, "x")])).unwrap().broken, Some(KeystoreError::UnknownEntry { tag: 9, at: 12 }));
        assert!(read(&keystore(JKS, u32::MAX, &[])).unwrap().broken.is_some());
        assert!(read(b"PK\x03\x04").is_none() && read(&[0xfe, 0xed]).is_none());
    }
}
