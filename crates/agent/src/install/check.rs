//! Whether a chain and a key may be put in front of people. Pure: bytes and the node's clock in, a verdict out.

use pki::{Certificate, Fingerprint, PrivateKey, Time, check_chain, text::escape};
use zeroize::Zeroizing;

/// Most certificates of a chain.
const MOST_CERTIFICATES: usize = 16;

/// A chain and its key that were checked against each other, the manifest, and the clock.
#[derive(Debug)]
pub struct Checked {
    /// Leaf first.
    pub chain: Vec<Certificate>,
    key: PrivateKey,
}

/// What the manifest says of a certificate.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Names that it must cover.
    pub names: &'a [String],
    /// Leaves that may be installed; any if empty.
    pub leaves: &'a [String],
}

/// Checks.
///
/// # Errors
/// All that stands against it, in one sentence each.
pub fn check(chain: &[Vec<u8>], key: &[u8], expected: Expected<'_>, now: Time) -> Result<Checked, Vec<String>> {
    let mut problems = Vec::new();
    if chain.len() > MOST_CERTIFICATES {
        return Err(vec![format!("the chain has {} certificates, more than {MOST_CERTIFICATES}", chain.len())]);
    }
    let mut certificates = Vec::with_capacity(chain.len());
    for (position, der) in chain.iter().enumerate() {
        match Certificate::parse(der.as_slice()) {
            Ok(certificate) => certificates.push(certificate),
            Err(error) => problems.push(format!("position {position} of the chain is no certificate: {error}")),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    if let Err(problem) = check_chain(&certificates) {
        problems.push(problem.to_string());
    }
    let key = PrivateKey::from_der(key).map_err(|error| problems.push(format!("the key cannot be used: {error}"))).ok();
    if let Some(leaf) = certificates.first() {
        if key.as_ref().is_some_and(|key| !key.fits(leaf)) {
            problems.push("the key is not the key of this certificate".to_owned());
        }
        for name in expected.names.iter().filter(|name| !names(leaf, name)) {
            problems.push(format!("the certificate does not cover {}, which the manifest names", escape(name)));
        }
        let fingerprint = leaf.fingerprint();
        if !expected.leaves.is_empty() && !expected.leaves.iter().any(|known| Fingerprint::parse(known) == Ok(fingerprint)) {
            problems.push(format!("the leaf {fingerprint} is none of those that the manifest names"));
        }
        if leaf.not_before() > now {
            let (from, wait) = (leaf.not_before(), (leaf.not_before() - now).as_secs());
            problems.push(format!("the certificate is not yet valid: it begins {from}, in {wait} s by this node's clock ({now})"));
        }
        // As a guardian: exclusive.
        for (position, certificate) in certificates.iter().enumerate().filter(|(_, certificate)| certificate.not_after() <= now) {
            problems.push(format!("{} (position {position}) expired {}", certificate.subject(), certificate.not_after()));
        }
    }
    match key {
        Some(key) if problems.is_empty() => Ok(Checked { chain: certificates, key }),
        _ => Err(problems),
    }
}

/// A name that the certificate is for, or, for SPIFFE and the like, carries.
fn names(leaf: &Certificate, name: &str) -> bool {
    let bare = |shown: &str| shown == name || shown.strip_prefix("URI:") == Some(name) || shown.strip_prefix("email:") == Some(name);
    leaf.covers(name) || leaf.names().iter().any(|own| bare(&own.to_string()))
}

impl Checked {
    /// SHA-256 of the leaf, in hexadecimal.
    #[must_use]
    pub fn leaf(&self) -> String {
        self.chain.first().map_or_else(String::new, |leaf| leaf.fingerprint().to_string())
    }

    /// The chain as servers read it.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(Certificate::to_pem).collect()
    }

    /// The key as servers read it.
    #[must_use]
    pub fn key_pem(&self) -> Zeroizing<String> {
        self.key.expose_pem()
    }

    /// Chain and key, one after the other.
    #[must_use]
    pub fn combined_pem(&self) -> Zeroizing<String> {
        let (chain, key) = (self.chain_pem(), self.key_pem());
        let mut out = Zeroizing::new(String::with_capacity(chain.len() + key.len()));
        out.push_str(&chain);
        out.push_str(&key);
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pki::{Authority, KeyType};

    #[test]
    fn what_stands_against_a_certificate() {
        let (from, until) = (Time::from_unix(1_000_000), Time::from_unix(2_000_000));
        let root = Authority::new("Root", from, Time::from_unix(3_000_000)).unwrap();
        let below = root.intermediate("Below", from, Time::from_unix(2_500_000)).unwrap();
        let (leaf, key) = below.leaf(&["www.example", "*.www.example"], KeyType::EcdsaP256, from, until).unwrap();
        let (_, other) = below.leaf(&["www.example"], KeyType::EcdsaP256, from, until).unwrap();
        let good = [leaf.der().to_vec(), below.certificate().der().to_vec()];
        let names = ["www.example".to_owned(), "a.www.example".to_owned()];
        let this = [leaf.fingerprint().to_string()];
        let that = ["00".repeat(32)];
        let now = Time::from_unix(1_500_000);
        let check = |chain: &[Vec<u8>], key: &[u8], names: &[String], leaves: &[String], now: Time, expected: Option<&str>| {
            let got = check(chain, key, Expected { names, leaves }, now).map(|checked| checked.leaf());
            match expected {
                None => assert_eq!(got.unwrap(), this[0]),
                Some(part) => {
                    let problems = got.unwrap_err();
                    assert!(problems.iter().any(|problem| problem.contains(part)), "{part}: {problems:?}");
                }
            }
        };
        let pkcs8 = key.expose_pkcs8();
        check(&good, pkcs8, &names, &this, now, None);
        check(&good, pkcs8, &[], &[], now, None);
        check(&good, other.expose_pkcs8(), &names, &this, now, Some("not the key of this certificate"));
        check(&good, b"no key", &names, &this, now, Some("the key cannot be used"));
        check(&good, pkcs8, &["other.test".into()], &this, now, Some("does not cover other.test"));
        check(&good, pkcs8, &names, &that, now, Some("none of those"));
        check(&good, pkcs8, &names, &this, Time::from_unix(999_990), Some("not yet valid: it begins 1970-01-12T13:46:40Z, in 10 s"));
        check(&good, pkcs8, &names, &this, until, Some("expired"));
        check(&good, pkcs8, &names, &this, Time::from_unix(1_999_999), None);
        check(&[], pkcs8, &names, &this, now, Some("no certificate"));
        check(&[vec![1, 2, 3]], pkcs8, &names, &this, now, Some("position 0"));
        let disordered = [good[0].clone(), root.certificate().der().to_vec(), good[1].clone()];
        check(&disordered, pkcs8, &names, &this, now, Some("out of order"));
        check(&vec![good[0].clone(); 17], pkcs8, &names, &this, now, Some("more than 16"));
    }
}
