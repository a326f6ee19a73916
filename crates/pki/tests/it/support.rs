//! What several tests need: times, authorities, certificates with bytes exchanged.

use std::sync::Arc;

use pki::csr::{self, Checked, Csr, Rules};
use pki::issue::{self, AuthorityTemplate, Constraints, Issuer, Names, Profile, Template};
use pki::{Authority, Certificate, KeyType, PrivateKey, Roots, San, Time, Verifier};

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

/// A root, and below it an authority that issues, as `perennial ca` makes them.
pub(crate) struct Ca {
    pub(crate) root: Issuer,
    pub(crate) issuing: Issuer,
}

pub(crate) const FROM: &str = "2026-01-01";
pub(crate) const UNTIL: &str = "2036-01-01";

/// Serial numbers that differ; the high bit is set in every second one.
pub(crate) fn serial(number: u8) -> [u8; 16] {
    let mut serial = [0x5a; 16];
    serial[0] = number.wrapping_mul(0x83) | 1;
    serial[15] = number;
    serial
}

pub(crate) fn authority<'a>(common_name: &'a str, number: u8, constraints: &'a Constraints) -> AuthorityTemplate<'a> {
    AuthorityTemplate {
        common_name,
        organization: Some("Perennial Test"),
        not_before: time(FROM),
        not_after: time(UNTIL),
        serial: serial(number),
        path_length: None,
        constraints,
        crl: None,
    }
}

/// A request for this key and these names, found good; all its names are permitted.
pub(crate) fn checked(key: &PrivateKey, names: &[&str]) -> Checked {
    let names: Vec<San> = names.iter().map(|name| San::parse(name).unwrap()).collect();
    let csr = Csr::parse(&csr::build(key, None, &names).unwrap()).unwrap();
    csr::check(&csr, &Rules { permitted: &names, ..Rules::default() }).unwrap()
}

impl Ca {
    pub(crate) fn new(key_type: KeyType) -> Self {
        Self::constrained(key_type, &Constraints::default())
    }

    pub(crate) fn constrained(key_type: KeyType, constraints: &Constraints) -> Self {
        let none = Constraints::default();
        let key = PrivateKey::generate(key_type).unwrap();
        let root = issue::root(&key, &authority("Test Root", 1, &none)).unwrap();
        let root = Issuer::new(root, &key).unwrap();
        let key = PrivateKey::generate(key_type).unwrap();
        let template = AuthorityTemplate {
            path_length: Some(0),
            not_after: time("2034-01-01"),
            crl: Some("http://crl.example.com/root.crl"),
            ..authority("Test Issuing", 2, constraints)
        };
        let prepared = root.prepare_authority(&checked(&key, &[]), &template).unwrap();
        let certificate = root.sign(&root.rehearse(prepared).unwrap()).unwrap();
        let issuing = Issuer::new(certificate, &key).unwrap();
        Self { root, issuing }
    }

    pub(crate) fn issue(&self, checked: &Checked, template: &Template<'_>) -> Certificate {
        let linted = self.issuing.rehearse(self.issuing.prepare(checked, template).unwrap()).unwrap();
        self.issuing.sign(&linted).unwrap()
    }
}

pub(crate) fn template(profile: Profile, number: u8) -> Template<'static> {
    Template {
        profile,
        names: Names::Permitted,
        common_name: false,
        not_before: time("2026-06-01"),
        not_after: time("2026-09-01"),
        serial: serial(number),
        crl: None,
        policies: &[],
    }
}

/// Says that a test did not run; written past the capture of the test runner, which keeps what a passing test prints.
fn skipped(what: &str) {
    use std::io::Write as _;
    const REQUIRE: &str = "PERENNIAL_REQUIRE_PEERS";
    assert!(std::env::var_os(REQUIRE).is_none_or(|value| value != "1"), "{REQUIRE}=1, but skipped {what}");
    std::io::stderr().write_all(format!("SKIPPED {what}\n").as_bytes()).unwrap();
}

/// The folder of pkilint's programs; without them the test is skipped aloud.
pub(crate) fn pkilint(test: &str) -> Option<std::path::PathBuf> {
    let mut folders: Vec<std::path::PathBuf> = std::env::var_os("PERENNIAL_PKILINT").map(Into::into).into_iter().collect();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let found = folders.into_iter().find(|folder| folder.join("lint_pkix_cert").is_file());
    if found.is_none() {
        skipped(&format!("{test}: no pkilint (pip install pkilint; PERENNIAL_PKILINT names the folder of its programs)"));
    }
    found
}

/// Runs one of pkilint's programs over these files and demands that it finds nothing at warning or above; but for wildcards and
/// SPIFFE identities, which its linter for RFC 5280 takes for malformed (docs/divergences.md).
pub(crate) fn lint_clean(folder: &std::path::Path, program: &str, options: &[&str], files: &[&[u8]], what: &str) {
    let work = tempfile::tempdir().unwrap();
    let path = |(index, bytes): (usize, &&[u8])| {
        let path = work.path().join(format!("{index}.der"));
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let paths: Vec<_> = files.iter().enumerate().map(path).collect();
    let output = std::process::Command::new(folder.join(program))
        .args(["lint", "-s", "WARNING", "--document-format", "DER"])
        .args(options)
        .args(paths)
        .output()
        .unwrap();
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // One line for the place, one for each finding there; the exit status is their number.
    const EXPLAINED: [&str; 2] = [
        "pkix.invalid_domain_name_syntax (ERROR): Invalid domain name syntax: \"*.",
        "pkix.invalid_uri_syntax (ERROR): Invalid URI syntax: \"spiffe://",
    ];
    let is_explained = |line: &&str| EXPLAINED.iter().any(|explained| line.trim_start().starts_with(explained));
    let explained = said.lines().filter(is_explained).count();
    assert!(error.is_empty() && output.status.code() == i32::try_from(explained).ok(), "{program} on {what}:\n{said}{error}");
}
