//! Bytes that are a certificate, a key or a keystore: what is told about them.

use pki::jks::{self, KeystoreError};
use pki::recognise::Shape;
use pki::text::escape;
use pki::{Certificate, KeyError, LoadError, PrivateKey, load, pkcs7};
use zeroize::Zeroizing;

use crate::finding::{Code, Form, Key, KeyState, Problem, What};
use crate::limits::Limits;

/// Passwords that protect nothing: none, and the one that Java's documentation gives.
const KNOWN_TO_ALL: [&str; 2] = ["", "changeit"];

/// One thing out of an item.
pub(crate) struct Told {
    pub(crate) alias: Option<String>,
    pub(crate) form: Option<Form>,
    pub(crate) what: What,
}

/// What opens keystores.
pub(crate) struct Passwords<'a> {
    pub(crate) given: &'a [Zeroizing<String>],
    pub(crate) limits: &'a Limits,
}

fn told(form: Form, what: What) -> Told {
    Told { alias: None, form: Some(form), what }
}

fn broken(code: Code, detail: impl Into<String>) -> Told {
    Told { alias: None, form: None, what: What::Problem(Problem { code, detail: detail.into() }) }
}

/// A PEM block. Labels that are neither certificate nor private key tell nothing.
pub(crate) fn from_pem(label: &str, der: &[u8], encrypted: bool) -> Vec<Told> {
    match label {
        "CERTIFICATE" | "X509 CERTIFICATE" => vec![certificate(der, Form::Pem)],
        "TRUSTED CERTIFICATE" => {
            // OpenSSL appends what it trusts the certificate for.
            let length = pki::recognise::recognise(der).and_then(|found| usize::try_from(found.length?).ok());
            vec![certificate(length.and_then(|length| der.get(..length)).unwrap_or(der), Form::Pem)]
        }
        "PKCS7" | "PKCS #7 SIGNED DATA" | "CMS" => from_pkcs7(der),
        _ => match label.strip_suffix("PRIVATE KEY") {
            Some(kind) => private_key(kind.trim_end(), label, der, encrypted).map(|key| told(Form::Pem, key)).into_iter().collect(),
            None => Vec::new(),
        },
    }
}

/// What a broken block of this label is, if it matters.
pub(crate) fn broken_pem(label: &str, why: &str) -> Option<Told> {
    let matters = label.ends_with("CERTIFICATE") || label.ends_with("PRIVATE KEY") || label.starts_with("PKCS");
    matters.then(|| broken(Code::BrokenItem, format!("the block {label} is broken: {why}")))
}

/// A whole item that was recognised. `None`: it is something else after all.
pub(crate) fn from_der(shape: Shape, bytes: &[u8], form: Form, passwords: &Passwords<'_>) -> Option<Vec<Told>> {
    Some(match shape {
        Shape::Certificate => vec![certificate(bytes, form)],
        Shape::PerhapsCertificate => vec![told(form, What::Certificate(Certificate::parse(bytes).ok()?))],
        Shape::Pkcs12 => from_pkcs12(bytes, passwords),
        Shape::Pkcs7 => from_pkcs7(bytes),
        Shape::EncryptedPkcs8 => vec![told(form, What::PrivateKey(encrypted_key("PKCS#8")))],
        Shape::Pkcs8 => match PrivateKey::from_der(bytes) {
            Err(KeyError::Unrecognised) => return None,
            read => vec![told(form, What::PrivateKey(clear_key("PKCS#8", read)))],
        },
        Shape::PerhapsPkcs1 | Shape::PerhapsSec1 => {
            let format = if shape == Shape::PerhapsPkcs1 { "PKCS#1" } else { "SEC1" };
            vec![told(form, What::PrivateKey(clear_key(format, Ok(PrivateKey::from_der(bytes).ok()?))))]
        }
        Shape::JavaKeystore => from_java(bytes)?,
    })
}

fn certificate(der: &[u8], form: Form) -> Told {
    match Certificate::parse(der) {
        Ok(certificate) => told(form, What::Certificate(certificate)),
        Err(error) => broken(Code::BrokenItem, format!("a certificate cannot be read: {error}")),
    }
}

fn encrypted_key(format: &str) -> Key {
    Key { state: KeyState::Encrypted, format: format.into(), kind: None, spki_fingerprint: None, detail: None }
}

/// A key in the clear stays one when its kind is not supported or its numbers do not fit together.
fn clear_key(format: &str, read: Result<PrivateKey, KeyError>) -> Key {
    let mut key = Key { state: KeyState::Clear, ..encrypted_key(format) };
    match read {
        Ok(read) => {
            key.kind = Some(read.kind().clone());
            key.spki_fingerprint = Some(read.spki_fingerprint());
        }
        Err(error) => key.detail = Some(error.to_string()),
    }
    key
}

/// A block `… PRIVATE KEY`, whatever stands before.
fn private_key(kind: &str, label: &str, der: &[u8], encrypted: bool) -> Option<What> {
    let key = match kind {
        "OPENSSH" => open_ssh(der)?,
        "ENCRYPTED" => encrypted_key("PKCS#8"),
        _ if encrypted => encrypted_key(&match kind {
            "RSA" => "PKCS#1".into(),
            "EC" => "SEC1".into(),
            other => escape(other),
        }),
        "" | "RSA" | "EC" => match PrivateKey::from_der(der) {
            Err(KeyError::Encrypted) => encrypted_key("PKCS#8"),
            Err(KeyError::Unrecognised) => {
                let detail = format!("the block {label} holds no private key that can be read");
                return der.starts_with(&[0x30]).then_some(What::Problem(Problem { code: Code::BrokenItem, detail }));
            }
            read => clear_key(["PKCS#8", "PKCS#1", "SEC1"][usize::from(kind == "RSA") + 2 * usize::from(kind == "EC")], read),
        },
        // DSA and what else there is: not for TLS, and a private key all the same.
        other => {
            let detail = Some(format!("a {} of a kind that is not read further", escape(label)));
            Key { state: KeyState::Clear, detail, ..encrypted_key(&escape(other)) }
        }
    };
    Some(What::PrivateKey(key))
}

/// The name of the cipher follows the magic (OpenSSH, PROTOCOL.key).
fn open_ssh(bytes: &[u8]) -> Option<Key> {
    let rest = bytes.strip_prefix(b"openssh-key-v1\0")?;
    let clear = rest.starts_with(b"\0\0\0\x04none");
    Some(Key { state: if clear { KeyState::Clear } else { KeyState::Encrypted }, ..encrypted_key("OpenSSH") })
}

fn from_pkcs7(bytes: &[u8]) -> Vec<Told> {
    match pkcs7::certificates(bytes) {
        Ok(found) => found
            .into_iter()
            .map(|read| match read {
                Ok(certificate) => told(Form::Pkcs7, What::Certificate(certificate)),
                Err(error) => broken(Code::BrokenItem, format!("a certificate of the PKCS#7 message cannot be read: {error}")),
            })
            .collect(),
        Err(error) => vec![broken(Code::BrokenItem, error.to_string())],
    }
}

fn from_pkcs12(bytes: &[u8], passwords: &Passwords<'_>) -> Vec<Told> {
    let limits = pki::Limits {
        bytes: passwords.limits.item_bytes,
        pkcs12_bytes: passwords.limits.item_bytes,
        certificates: 10_000,
        keys: 1_000,
        pkcs12_iterations: passwords.limits.pkcs12_iterations,
    };
    let known = KNOWN_TO_ALL.into_iter().map(|password| (password, true));
    let given = passwords.given.iter().map(|password| (password.as_str(), false));
    let mut last = LoadError::WrongPassword;
    for (password, known_to_all) in known.chain(given) {
        match load(bytes, Some(password), limits) {
            Ok(loaded) => {
                let certificates = loaded.certificates.into_iter().map(|certificate| told(Form::Pkcs12, What::Certificate(certificate)));
                let keys = loaded.keys.into_iter().map(|key| {
                    let mut key = clear_key("PKCS#8", Ok(key));
                    if known_to_all {
                        let how =
                            if password.is_empty() { "an empty password".into() } else { format!("the well-known password `{password}`") };
                        key.detail = Some(format!("the PKCS#12 file opens with {how}"));
                    } else {
                        key.state = KeyState::Encrypted;
                    }
                    told(Form::Pkcs12, What::PrivateKey(key))
                });
                return certificates.chain(keys).collect();
            }
            Err(LoadError::WrongPassword) => {}
            Err(error @ (LoadError::BadPkcs12 | LoadError::TooManyIterations { .. } | LoadError::TooLarge { .. })) => {
                return vec![broken(Code::BrokenItem, error.to_string())];
            }
            // It opened, and something in it cannot be read.
            Err(error) => last = error,
        }
    }
    let tried = passwords.given.len();
    vec![match last {
        LoadError::WrongPassword => broken(
            Code::WrongPassword,
            format!(
                "the PKCS#12 file opens neither with an empty or well-known password nor with any of the {tried} given; give its password with --password-file"
            ),
        ),
        error => broken(Code::BrokenItem, format!("something in the PKCS#12 file cannot be read: {error}")),
    }]
}

fn from_java(bytes: &[u8]) -> Option<Vec<Told>> {
    let keystore = jks::read(bytes)?;
    let form = if keystore.kind == "JKS" { Form::Jks } else { Form::Jceks };
    let mut out = Vec::new();
    for entry in keystore.entries {
        let alias = Some(entry.alias);
        if entry.private_key {
            let leaf = entry.chain.first().and_then(|read| read.as_ref().ok());
            let key = Key {
                kind: leaf.map(|leaf| leaf.key().clone()),
                spki_fingerprint: leaf.map(Certificate::spki_fingerprint),
                ..encrypted_key(keystore.kind)
            };
            out.push(Told { alias: alias.clone(), form: Some(form), what: What::PrivateKey(key) });
        }
        for read in entry.chain {
            let one = match read {
                Ok(certificate) => told(form, What::Certificate(certificate)),
                Err(error) => broken(Code::BrokenItem, format!("a certificate of the Java keystore cannot be read: {error}")),
            };
            out.push(Told { alias: alias.clone(), ..one });
        }
    }
    if let Some(error) = keystore.broken {
        let code = match error {
            KeystoreError::Truncated(_) => Code::Truncated,
            KeystoreError::SecretKey(_) => Code::Unsupported,
            KeystoreError::UnknownEntry { .. } => Code::Damaged,
            KeystoreError::TooMany => Code::TooMany,
        };
        out.push(broken(code, error.to_string()));
    }
    Some(out)
}
