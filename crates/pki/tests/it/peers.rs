//! What is issued here, before other people's programs: OpenSSL in its strictest mode, pkilint, rustls' verifier.

use std::process::Command;

use pki::crl::{CrlTemplate, Reason, Revocation};
use pki::csr::{self, Csr};
use pki::issue::{self, Constraints, Issuer, Profile, Subtree, Template};
use pki::{Certificate, KeyType, PrivateKey, Purpose, Roots, San, Verifier};

use crate::support::{Ca, authority, checked, lint_clean, openssl, pkilint, template, time};

const KEY_TYPES: [KeyType; 6] =
    [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::EcdsaP521, KeyType::Rsa2048, KeyType::Rsa3072, KeyType::Ed25519];
const SPIFFE: &str = "spiffe://example.org/web";

/// Every profile for one key, with and without what may be left out.
fn profiles(ca: &Ca, key: &PrivateKey) -> Vec<(String, Certificate)> {
    let hosts = ["www.example.com", "*.example.com", "192.0.2.1", "2001:db8::1"];
    let all = Template {
        common_name: true,
        crl: Some("http://crl.example.com/issuing.crl"),
        policies: &["2.23.140.1.2.1"],
        ..template(Profile::Server, 20)
    };
    let cases: [(Profile, &[&str], Template<'_>); 7] = [
        (Profile::Server, &hosts, template(Profile::Server, 10)),
        (Profile::Server, &hosts, all),
        (Profile::Client, &["client.example.com"], template(Profile::Client, 11)),
        (Profile::Client, &[SPIFFE], template(Profile::Client, 12)),
        (Profile::Both, &hosts, template(Profile::Both, 13)),
        (Profile::Spiffe, &[SPIFFE], template(Profile::Spiffe, 14)),
        (Profile::Spiffe, &[SPIFFE, "web.example.com"], Template { common_name: true, ..template(Profile::Spiffe, 15) }),
    ];
    let issue = |(profile, names, template): (Profile, &[&str], Template<'_>)| {
        (format!("{profile} for {} with {names:?}", key.kind()), ca.issue(&checked(key, names), &template))
    };
    cases.into_iter().map(issue).collect()
}

#[test]
fn pkilint_finds_nothing() {
    let Some(programs) = pkilint("pki::peers::pkilint_finds_nothing") else { return };
    let constraints = Constraints::only(vec![
        Subtree::Dns("example.com".into()),
        Subtree::Ip("192.0.2.0".parse().unwrap(), 24),
        Subtree::Ip("2001:db8::".parse().unwrap(), 32),
    ]);
    let addresses_alone = Ca::constrained(KeyType::EcdsaP256, &Constraints::only(vec![Subtree::Ip("10.0.0.0".parse().unwrap(), 8)]));
    lint_clean(&programs, "lint_pkix_cert", &[], &[addresses_alone.issuing.certificate().der()], "constraints to addresses");
    let cas = [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa3072, KeyType::Ed25519]
        .map(|key_type| Ca::constrained(key_type, &constraints));
    for ca in &cas {
        let (root, issuing) = (ca.root.certificate(), ca.issuing.certificate());
        for certificate in [root, issuing] {
            lint_clean(&programs, "lint_pkix_cert", &[], &[certificate.der()], &format!("{certificate:?}"));
        }
        lint_clean(&programs, "lint_pkix_signer_signee_cert_chain", &[], &[root.der(), issuing.der()], "root and issuing");
        lint_clean(&programs, "lint_pkix_signer_signee_cert_chain", &[], &[root.der(), root.der()], "root and itself");
        for (issuer, kind) in [(&ca.root, "ARL"), (&ca.issuing, "CRL")] {
            for revoked in [vec![], revoked()] {
                let crl = issuer.crl(&crl(&revoked)).unwrap();
                lint_clean(&programs, "lint_crl", &["-t", kind, "-p", "PKIX"], &[crl.der()], &format!("{crl:?}"));
            }
        }
    }
    for (index, key_type) in KEY_TYPES.into_iter().enumerate() {
        let key = PrivateKey::generate(key_type).unwrap();
        let ca = &cas[index % cas.len()];
        for (index, (what, leaf)) in profiles(ca, &key).into_iter().enumerate() {
            lint_clean(&programs, "lint_pkix_cert", &[], &[leaf.der()], &what);
            if index == 0 {
                let chain = [ca.issuing.certificate().der(), leaf.der()];
                lint_clean(&programs, "lint_pkix_signer_signee_cert_chain", &[], &chain, &what);
            }
        }
    }
}

fn revoked() -> Vec<Revocation> {
    let one = |serial: &[u8], reason, invalid_since| Revocation {
        serial: serial.to_vec(),
        revoked_at: time("2026-06-10T12:00:00Z"),
        reason,
        invalid_since,
    };
    vec![
        one(&[0x80, 1], None, None),
        one(&[1, 2, 3], Some(Reason::Superseded), None),
        one(&[0, 0, 4], Some(Reason::KeyCompromise), Some(time("2026-06-01"))),
    ]
}

fn crl(revoked: &[Revocation]) -> CrlTemplate<'_> {
    CrlTemplate { number: 0x80, this_update: time("2026-06-11"), next_update: time("2026-06-18"), revoked }
}

/// `openssl verify` in its strictest mode, with revocation for the whole chain; what it says.
fn openssl_verify(ca: &Ca, leaf: &Certificate, crls: &[pki::Crl], options: &[&str]) -> (bool, String) {
    let work = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = work.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let root = write("root.pem", ca.root.certificate().to_pem());
    let issuing = write("issuing.pem", ca.issuing.certificate().to_pem());
    let lists = write("crls.pem", crls.iter().map(pki::Crl::to_pem).collect());
    let leaf = write("leaf.pem", leaf.to_pem());
    let mut command = Command::new("openssl");
    let at = time("2026-06-12").unix().to_string();
    command.args(["verify", "-x509_strict", "-policy_check", "-purpose", "sslserver", "-attime", &at]);
    command.args(["-crl_check_all", "-no-CApath", "-no-CAstore", "-CAfile", &root, "-untrusted", &issuing, "-CRLfile", &lists]);
    let output = command.args(options).arg(&leaf).output().expect("the openssl program is needed: apt-get install openssl");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn openssl_verifies_strictly_with_names_and_revocation() {
    let constraints = Constraints::only(vec![
        Subtree::Dns("example.com".into()),
        Subtree::Ip("192.0.2.0".parse().unwrap(), 24),
        Subtree::Ip("2001:db8::".parse().unwrap(), 32),
    ]);
    for key_type in [KeyType::EcdsaP256, KeyType::Rsa2048, KeyType::Ed25519] {
        let ca = Ca::constrained(key_type, &constraints);
        let lists = [ca.root.crl(&crl(&[])).unwrap(), ca.issuing.crl(&crl(&revoked())).unwrap()];
        for leaf_type in KEY_TYPES {
            let key = PrivateKey::generate(leaf_type).unwrap();
            let leaf = ca.issue(&checked(&key, &["www.example.com", "192.0.2.1", "2001:db8::1"]), &template(Profile::Server, 20));
            let check = |options: &[&str], good: bool| {
                let (accepted, said) = openssl_verify(&ca, &leaf, &lists, options);
                assert_eq!(accepted, good, "{key_type} for {leaf_type}, {options:?}: {said}");
            };
            check(&["-verify_hostname", "www.example.com"], true);
            check(&["-verify_ip", "192.0.2.1"], true);
            check(&["-verify_ip", "2001:db8::1"], true);
            check(&["-verify_hostname", "example.com"], false);
            check(&["-verify_ip", "192.0.2.2"], false);
            let serial = hex::decode(leaf.serial()).unwrap();
            let revocation =
                Revocation { serial, revoked_at: time("2026-06-11"), reason: Some(Reason::KeyCompromise), invalid_since: None };
            let (accepted, said) = openssl_verify(&ca, &leaf, &[lists[0].clone(), ca.issuing.crl(&crl(&[revocation])).unwrap()], &[]);
            assert!(!accepted && said.contains("revoked"), "{said}");
        }
    }
}

#[test]
fn names_outside_the_constraints_are_not_signed() {
    let constraints = Constraints::only(vec![Subtree::Dns("example.com".into())]);
    let ca = Ca::constrained(KeyType::EcdsaP256, &constraints);
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let good = ca.issue(&checked(&key, &["a.example.com"]), &template(Profile::Server, 30));
    let verifier = Verifier::new(std::sync::Arc::new(Roots::from_certificates(&[ca.root.certificate().clone()]).unwrap()));
    let chain = [good, ca.issuing.certificate().clone()];
    verifier.verify(&chain, Some("a.example.com"), Purpose::Server, time("2026-06-12")).unwrap();
    for names in [&["a.example.org"][..], &["a.example.com", "192.0.2.1"]] {
        let prepared = ca.issuing.prepare(&checked(&key, names), &template(Profile::Server, 31)).unwrap();
        let problem = ca.issuing.rehearse(prepared).unwrap_err();
        assert!(problem.to_string().contains("outside-constraints"), "{problem}");
    }
}

/// Whatever the key of an issuing CA is made to sign: its root limited it, and OpenSSL holds it to that.
#[test]
fn openssl_refuses_a_foreign_name_below_a_limited_ca() {
    let work = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = work.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let now = time("2026-06-11");
    let [root_key, key, leaf_key] =
        [KeyType::EcdsaP384, KeyType::EcdsaP256, KeyType::EcdsaP256].map(|kind| PrivateKey::generate(kind).unwrap());
    let root = pki::ca::root("eu", &root_key, [1; 16], now).unwrap();
    let request = csr::build(&key, Some("eu issuing CA 2"), &[]).unwrap();
    let made = |permitted: &[String]| pki::ca::issuing(&root_key, &root, "eu issuing CA 2", &request, permitted, [2; 16], now);
    assert_eq!(made(&[]).unwrap_err(), pki::ca::CaError::Unlimited);
    let issuing = made(&["example.com".to_owned()]).unwrap();
    let (root, issuing) = (write("root.pem", &root.to_pem()), write("issuing.pem", &issuing.to_pem()));
    let key = write("key.pem", &key.expose_pem());
    for (name, good) in [("www.example.com", true), ("www.example.org", false)] {
        let request = write("leaf.der", "");
        std::fs::write(&request, csr::build(&leaf_key, None, &[San::parse(name).unwrap()]).unwrap()).unwrap();
        let names = write("names", &format!("subjectAltName=critical,DNS:{name}"));
        let leaf = work.path().join("leaf.pem").to_str().unwrap().to_owned();
        let sign = ["x509", "-req", "-inform", "DER", "-in", &request, "-CA", &issuing, "-CAkey", &key, "-set_serial", "7"];
        openssl(&[&sign[..], &["-extfile", &names, "-out", &leaf]].concat(), b"");
        let verify = ["verify", "-no_check_time", "-no-CApath", "-no-CAstore", "-CAfile", &root, "-untrusted", &issuing, &leaf];
        let output = Command::new("openssl").args(verify).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.success(), good, "{name}: {said}");
        assert!(good || said.contains("permitted subtree violation"), "{said}");
    }
}

#[test]
fn requests_made_here_are_read_by_openssl() {
    for key_type in KEY_TYPES {
        let key = PrivateKey::generate(key_type).unwrap();
        let names = ["www.example.com", "*.example.com", "192.0.2.1", "2001:db8::1", SPIFFE].map(|name| San::parse(name).unwrap());
        for (common_name, names) in [(None, &names[..]), (Some("www.example.com"), &names), (Some("Zoë"), &[])] {
            let csr = csr::build(&key, common_name, names).unwrap();
            let text = openssl(&["req", "-inform", "DER", "-verify", "-noout", "-text", "-nameopt", "utf8"], &csr);
            let text = String::from_utf8_lossy(&text);
            for name in names {
                let (address, name) = (name.as_ip(), name.to_string());
                assert!(
                    text.contains(&name) || address.is_some_and(|a| a.is_ipv6() && text.contains("2001:DB8:0:0:0:0:0:1")),
                    "{name}: {text}"
                );
            }
            assert!(text.contains(common_name.unwrap_or("Subject:")), "{text}");
            let read = Csr::parse(&csr).unwrap();
            assert_eq!((read.names(), read.common_name(), read.spki_der()), (names, common_name, key.spki_der()));
            read.check_signature().unwrap();
        }
    }
}

#[test]
fn a_stored_authority_of_openssl_is_taken_up() {
    let work = tempfile::tempdir().unwrap();
    let path = |name: &str| work.path().join(name).to_str().unwrap().to_owned();
    let (key, certificate) = (path("key.pem"), path("ca.pem"));
    let arguments = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650"];
    let subject = ["-subj", "/C=CH/O=Acme/CN=Acme Root", "-addext", "keyUsage=critical,keyCertSign,cRLSign"];
    openssl(&[&arguments[..], &subject, &["-keyout", &key, "-out", &certificate]].concat(), b"");
    let loaded = pki::load(&std::fs::read(&certificate).unwrap(), None, pki::Limits::default()).unwrap();
    let key = pki::load(&std::fs::read(&key).unwrap(), None, pki::Limits::default()).unwrap().keys.remove(0);
    let root = Issuer::new(loaded.certificates[0].clone(), &key).unwrap();
    let from = root.certificate().not_before();
    let dates = |until: &str| Template { not_before: from, not_after: time(until), ..template(Profile::Server, 40) };
    let leaf = PrivateKey::generate(KeyType::Ed25519).unwrap();
    let until = (from + pki::Span::days(90)).to_string();
    let linted = root.rehearse(root.prepare(&checked(&leaf, &["a.test"]), &dates(&until)).unwrap()).unwrap();
    let leaf = root.sign(&linted).unwrap();
    leaf.check_signature(root.certificate()).unwrap();
    assert_eq!(leaf.issuer(), "CN=Acme Root,O=Acme,C=CH");
}

#[test]
fn a_root_is_what_openssl_calls_a_root() {
    let none = Constraints::default();
    let key = PrivateKey::generate(KeyType::EcdsaP384).unwrap();
    for (path_length, until) in [(None, "2049-12-31T23:59:59Z"), (Some(1), "2050-01-01"), (Some(1), "9999-12-31T23:59:59Z")] {
        let root =
            issue::root(&key, &issue::AuthorityTemplate { path_length, not_after: time(until), ..authority("Root", 7, &none) }).unwrap();
        let text = String::from_utf8(openssl(&["x509", "-inform", "DER", "-noout", "-text", "-purpose"], root.der())).unwrap();
        assert!(text.contains("SSL server CA : Yes") && text.contains("CA:TRUE"), "{text}");
        assert_eq!(text.contains("pathlen:1"), path_length.is_some());
        assert_eq!((root.not_after(), root.path_length()), (time(until), path_length.map(u32::from)));
    }
}
