//! What several tests need: times, authorities, certificates with bytes exchanged.

use std::sync::Arc;

use pki::{Authority, Certificate, KeyType, Roots, Time, Verifier};

pub(crate) fn time(text: &str) -> Time {
    Time::parse(text).unwrap()
}

/// A root, an intermediate and a leaf for `names`, all around the year 2026.
pub(crate) struct House {
    pub(crate) root: Authority,
    pub(crate) intermediate: Authority,
    pub(crate) leaf: Certificate,
    pub(crate) key: pki::PrivateKey,
}

impl House {
    pub(crate) fn new(names: &[&str]) -> Self {
        let root = Authority::new("Root", time("2020-01-01"), time("2040-01-01")).unwrap();
        let intermediate = root.intermediate("Intermediate", time("2024-01-01"), time("2030-01-01")).unwrap();
        let (leaf, key) = intermediate.leaf(names, KeyType::EcdsaP256, time("2026-01-01"), time("2027-01-01")).unwrap();
        Self { root, intermediate, leaf, key }
    }

    pub(crate) fn chain(&self) -> Vec<Certificate> {
        vec![self.leaf.clone(), self.intermediate.certificate().clone()]
    }

    pub(crate) fn verifier(&self) -> Verifier {
        verifier(&[&self.root])
    }
}

pub(crate) fn verifier(roots: &[&Authority]) -> Verifier {
    let certificates: Vec<Certificate> = roots.iter().map(|root| root.certificate().clone()).collect();
    Verifier::new(Arc::new(Roots::from_certificates(&certificates).unwrap()))
}

/// The same bytes with every occurrence of `from` exchanged for `to`; lengths must agree.
pub(crate) fn exchanged(der: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut out = der.to_vec();
    let mut found = 0;
    for start in 0..=out.len() - from.len() {
        if &out[start..start + from.len()] == from {
            out[start..start + from.len()].copy_from_slice(to);
            found += 1;
        }
    }
    assert!(found > 0, "nothing to exchange");
    out
}

/// Runs the openssl program, the peer whose files people bring; it must be installed for these tests.
pub(crate) fn openssl(args: &[&str], input: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let pipe = Stdio::piped;
    let mut child = Command::new("openssl")
        .args(args)
        .stdin(pipe())
        .stdout(pipe())
        .stderr(pipe())
        .spawn()
        .expect("the openssl program is needed: apt-get install openssl");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
