//! What was found, and what could not be looked into. Facts alone: whether a date is too near is for others to say.

use pki::{Certificate, Fingerprint, KeyKind};

/// One thing that was found, and where.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The file, and after each `!` the name inside the container before it. Escaped; a `!` that belongs to a name is `\u{21}`.
    pub path: String,
    /// The layer of a container image that it lies in, if that is known.
    pub layer: Option<Layer>,
    /// Bytes before it in its file, where it is only a part of it.
    pub offset: Option<u64>,
    /// Its name in a keystore, escaped.
    pub alias: Option<String>,
    /// How it is packed; `None` for problems.
    pub form: Option<Form>,
    /// What it is.
    pub what: What,
}

/// What a finding is about.
#[derive(Clone, Debug)]
pub enum What {
    /// A certificate.
    Certificate(Certificate),
    /// A private key, without any of it.
    PrivateKey(Key),
    /// Something that could not be read, or that is not what it pretends to be.
    Problem(Problem),
}

/// What is told about a private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// In the clear, or what protects it.
    pub state: KeyState,
    /// "PKCS#8", "PKCS#1", "SEC1", "OpenSSH", "DSA" or the label that it bears.
    pub format: String,
    /// Its kind, if it can be known.
    pub kind: Option<KeyKind>,
    /// SHA-256 of the SubjectPublicKeyInfo of its public half, if it can be known: equal to that of its certificate.
    pub spki_fingerprint: Option<Fingerprint>,
    /// Words about it: why its kind is not known, or with which password it opened.
    pub detail: Option<String>,
}

/// Whether a private key lies open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyState {
    /// Whoever has the build has the key; also under a password that everybody knows.
    Clear,
    /// Under a password.
    Encrypted,
}

/// How something is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// PEM, by itself or inside of any other text.
    Pem,
    /// DER, as a file.
    Der,
    /// DER as base64 without armour, as in JSON, XML and YAML.
    Base64Der,
    /// PKCS#7 or CMS.
    Pkcs7,
    /// PKCS#12.
    Pkcs12,
    /// A Java keystore of the old kind.
    Jks,
    /// The same with stronger encryption.
    Jceks,
}

impl Form {
    /// As programs read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pem => "pem",
            Self::Der => "der",
            Self::Base64Der => "base64",
            Self::Pkcs7 => "pkcs7",
            Self::Pkcs12 => "pkcs12",
            Self::Jks => "jks",
            Self::Jceks => "jceks",
        }
    }
}

/// Where in a container image something lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layer {
    /// From 1, the base first.
    pub number: usize,
    /// How many layers the image has.
    pub of: usize,
    /// The image's name, escaped, if it bears one; the first one when images share the layer.
    pub image: Option<String>,
}

/// Something that could not be read, or that deserves a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// For programs; never changes.
    pub code: Code,
    /// For people: what is wrong, and where it helps, what to do. Escaped.
    pub detail: String,
}

/// The kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// A file or folder that the system does not let us read.
    Unreadable,
    /// The container ends before its end; what came before was looked at.
    Truncated,
    /// The container contradicts itself; what came before was looked at.
    Damaged,
    /// Under a password or key.
    Encrypted,
    /// A keystore that none of the passwords opened.
    WrongPassword,
    /// A packing that is recognised and not read.
    Unsupported,
    /// Containers inside each other, beyond the limit.
    TooDeep,
    /// Something larger than its limit.
    TooLarge,
    /// More entries or findings than the limit.
    TooMany,
    /// A stream that unpacks to absurdly more than it is.
    Bomb,
    /// The time is over.
    TimeOver,
    /// An entry that the zip's own directory does not list.
    HiddenEntry,
    /// The zip's directory and its entries contradict each other, or entries share bytes.
    Disagreement,
    /// A certificate, key or keystore that is broken.
    BrokenItem,
    /// A name that leads out of the place of unpacking. Nothing is unpacked here; it is told because others may.
    OddName,
    /// Bytes after the end of an archive; they were looked at.
    TrailingBytes,
    /// A zip too large to hold in memory, read in one pass; its directory was not compared with its entries.
    NotCompared,
}

impl Code {
    /// All of them.
    pub const ALL: [Code; 17] = [
        Self::Unreadable,
        Self::Truncated,
        Self::Damaged,
        Self::Encrypted,
        Self::WrongPassword,
        Self::Unsupported,
        Self::TooDeep,
        Self::TooLarge,
        Self::TooMany,
        Self::Bomb,
        Self::TimeOver,
        Self::HiddenEntry,
        Self::Disagreement,
        Self::BrokenItem,
        Self::OddName,
        Self::TrailingBytes,
        Self::NotCompared,
    ];

    /// As programs read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Truncated => "truncated",
            Self::Damaged => "damaged",
            Self::Encrypted => "encrypted",
            Self::WrongPassword => "wrong-password",
            Self::Unsupported => "unsupported",
            Self::TooDeep => "too-deep",
            Self::TooLarge => "too-large",
            Self::TooMany => "too-many",
            Self::Bomb => "bomb",
            Self::TimeOver => "time-over",
            Self::HiddenEntry => "hidden-entry",
            Self::Disagreement => "disagreement",
            Self::BrokenItem => "broken-item",
            Self::OddName => "odd-name",
            Self::TrailingBytes => "trailing-bytes",
            Self::NotCompared => "not-compared",
        }
    }

    /// False where everything was read and the problem is only worth knowing.
    #[must_use]
    pub fn counts(self) -> bool {
        !matches!(self, Self::OddName | Self::TrailingBytes | Self::NotCompared)
    }
}
