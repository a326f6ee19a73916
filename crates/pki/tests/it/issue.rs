//! What is issued: each profile's content, what is refused before it is signed, and that what was linted is what is signed.

use pki::crl::{CrlTemplate, Reason, Revocation};
use pki::csr::{self, Csr, Rules};
use pki::issue::{self, Constraints, IssueError, Issuer, Names, Profile, Template};
use pki::lint::Severity;
use pki::{Authority, Certificate, Crl, KeyType, PrivateKey, San};
use proptest::prelude::*;

use crate::support::{Ca, authority, checked, exchanged, template, time};

#[test]
fn each_profile_says_what_it_is_for() {
    let ca = Ca::new(KeyType::EcdsaP256);
    let check = |key_type, profile, names: &[&str], key_usage: &str, usages: &[&str]| {
        let key = PrivateKey::generate(key_type).unwrap();
        let leaf = ca.issue(&checked(&key, names), &template(profile, 9));
        assert_eq!(leaf.key_usage().unwrap().to_string(), key_usage, "{profile}");
        assert_eq!(leaf.extended_key_usage(), usages, "{profile}");
        assert_eq!(leaf.names().iter().map(|name| name.to_string().replace("URI:", "")).collect::<Vec<_>>(), names);
        assert!(!leaf.is_ca() && key.fits(&leaf) && leaf.subject().is_empty());
        assert_eq!((leaf.not_before(), leaf.not_after()), (time("2026-06-01"), time("2026-09-01")));
        leaf.check_signature(ca.issuing.certificate()).unwrap();
    };
    let (ecdsa, rsa) = (KeyType::EcdsaP256, KeyType::Rsa2048);
    check(ecdsa, Profile::Server, &["a.test", "192.0.2.1"], "digitalSignature", &["serverAuth"]);
    check(rsa, Profile::Server, &["a.test"], "digitalSignature, keyEncipherment", &["serverAuth"]);
    check(KeyType::Ed25519, Profile::Server, &["a.test"], "digitalSignature", &["serverAuth"]);
    check(ecdsa, Profile::Client, &["a.test"], "digitalSignature", &["clientAuth"]);
    check(rsa, Profile::Client, &["a.test"], "digitalSignature", &["clientAuth"]);
    check(rsa, Profile::Both, &["a.test"], "digitalSignature, keyEncipherment", &["serverAuth", "clientAuth"]);
    check(ecdsa, Profile::Spiffe, &["spiffe://td/a"], "digitalSignature", &["serverAuth", "clientAuth"]);
    for profile in [Profile::Server, Profile::Client, Profile::Both, Profile::Spiffe] {
        assert_eq!(Profile::parse(profile.as_str()), Some(profile));
    }
}

#[test]
fn what_was_linted_is_what_is_signed() {
    let ca = Ca::new(KeyType::EcdsaP256);
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let prepared = ca.issuing.prepare(&checked(&key, &["a.test"]), &template(Profile::Server, 9)).unwrap();
    let tbs = prepared.tbs().to_vec();
    let linted = ca.issuing.rehearse(prepared).unwrap();
    assert_eq!(linted.tbs(), tbs);
    // The throw-away signature convinces nobody; everything else is the real thing.
    assert!(linted.rehearsed().check_signature(ca.issuing.certificate()).is_err());
    let signed = ca.issuing.sign(&linted).unwrap();
    assert!(signed.der().windows(tbs.len()).any(|window| window == tbs));
    signed.check_signature(ca.issuing.certificate()).unwrap();
    assert_eq!(signed.serial(), linted.rehearsed().serial());

    // After a crash the stored bytes are linted again; they give the same certificate, whoever reads them.
    let taken_up = ca.issuing.take_up(&tbs).unwrap();
    assert_eq!(taken_up.tbs(), tbs);
    assert!(matches!(ca.root.take_up(&tbs), Err(IssueError::Lint(_))), "another issuer does not sign it");
    assert!(matches!(ca.root.sign(&taken_up), Err(IssueError::OtherIssuer)));
    assert!(ca.issuing.take_up(&tbs[..tbs.len() - 1]).is_err());
    assert!(ca.issuing.take_up(&[]).is_err());
    let changed = exchanged(&tbs, b"a.test", b"_.test");
    assert!(matches!(ca.issuing.take_up(&changed), Err(IssueError::Lint(_))));
}

fn lint_codes(result: Result<issue::Linted, IssueError>) -> Vec<&'static str> {
    match result {
        Ok(_) => vec![],
        Err(IssueError::Lint(findings)) => {
            findings.iter().filter(|finding| finding.severity >= Severity::Warning).map(|finding| finding.code).collect()
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_leaf_never_outlives_its_issuer() {
    let ca = Ca::new(KeyType::EcdsaP256);
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let check = |from: &str, until: &str, expected: &[&str]| {
        let template = Template { not_before: time(from), not_after: time(until), ..template(Profile::Server, 9) };
        let result = ca.issuing.prepare(&checked(&key, &["a.test"]), &template).and_then(|prepared| ca.issuing.rehearse(prepared));
        assert_eq!(lint_codes(result), expected, "{from} {until}");
    };
    check("2026-06-01", "2034-01-01", &[]);
    check("2026-06-01", "2034-01-01T00:00:01Z", &["outlives-issuer"]);
    check("2026-06-01", "9999-12-31T23:59:59Z", &["outlives-issuer"]);
    check("2026-06-01", "2026-05-31T23:59:59Z", &["never-valid"]);
    check("2025-12-31", "2026-06-01", &[]); // begins before its issuer: a remark
    check("2034-01-02", "2034-01-03", &["outlives-issuer", "begins-after-issuer"]);
}

#[test]
fn serials_are_positive_and_short_enough() {
    let ca = Ca::new(KeyType::Ed25519);
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let checked = checked(&key, &["a.test"]);
    let issue = |serial| ca.issuing.prepare(&checked, &Template { serial, ..template(Profile::Server, 0) });
    let serial_of = |serial| ca.issuing.sign(&ca.issuing.rehearse(issue(serial).unwrap()).unwrap()).unwrap().serial();
    assert_eq!(serial_of([0xff; 16]), format!("00{}", "ff".repeat(16)));
    assert_eq!(serial_of([0x7f; 16]), "7f".repeat(16));
    let mut small = [0; 16];
    small[7] = 0x80;
    small[15] = 1;
    assert_eq!(serial_of(small), "00800000000000000001");
    assert!(matches!(issue([0; 16]), Err(IssueError::Template(_))));
}

#[test]
fn what_a_profile_does_not_have() {
    let ca = Ca::new(KeyType::EcdsaP256);
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let refused = |names: &[&str], template: Template<'_>, word: &str| {
        let error = ca.issuing.prepare(&checked(&key, names), &template).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    refused(&[], template(Profile::Server, 9), "no name");
    refused(&["a.test"], template(Profile::Spiffe, 9), "exactly one URI");
    refused(&["spiffe://td/a", "spiffe://td/b"], template(Profile::Spiffe, 9), "exactly one URI");
    refused(&["https://td/a"], template(Profile::Spiffe, 9), "SPIFFE identity");
    refused(&["a.test"], Template { policies: &["x"], ..template(Profile::Server, 9) }, "object identifier");
    let lint = |names: &[&str], template: Template<'_>| {
        lint_codes(ca.issuing.prepare(&checked(&key, names), &template).and_then(|prepared| ca.issuing.rehearse(prepared)))
    };
    assert_eq!(lint(&["spiffe://td/a", "https://td/b"], template(Profile::Client, 9)), ["spiffe-not-alone"]);
    assert_eq!(lint(&["a.test"], Template { policies: &["1.2.3", "1.2.3"], ..template(Profile::Server, 9) }), ["policies-repeated"]);
    assert_eq!(lint(&["a.test"], Template { crl: Some("no uri"), ..template(Profile::Server, 9) }), ["crl-distribution-point-form"]);
}

#[test]
fn names_and_the_common_name() {
    let ca = Ca::new(KeyType::EcdsaP256);
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let long = format!("{}.example.com", "a".repeat(60));
    let permitted: Vec<San> = [long.as_str(), "b.test", "c.test"].iter().map(|name| San::parse(name).unwrap()).collect();
    let issue = |asked: &[&str], names, common_name| {
        let asked: Vec<San> = asked.iter().map(|name| San::parse(name).unwrap()).collect();
        let csr = Csr::parse(&csr::build(&key, None, &asked).unwrap()).unwrap();
        let checked = csr::check(&csr, &Rules { permitted: &permitted, ..Rules::default() }).unwrap();
        ca.issue(&checked, &Template { names, common_name, ..template(Profile::Server, 9) })
    };
    let shown = |leaf: &Certificate| leaf.names().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown(&issue(&["c.test"], Names::Asked, false)), ["c.test"]);
    assert_eq!(shown(&issue(&["c.test"], Names::Permitted, false)), [long.as_str(), "b.test", "c.test"]);
    assert_eq!(shown(&issue(&[], Names::Asked, false)), [long.as_str(), "b.test", "c.test"]);
    assert_eq!(issue(&[], Names::Asked, true).subject(), "CN=b.test", "the first is too long for a common name");
    assert_eq!(issue(&[], Names::Asked, false).subject(), "");
}

#[test]
fn what_cannot_issue() {
    let ca = Ca::new(KeyType::EcdsaP256);
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let refused = |certificate: &Certificate, key: &PrivateKey, word: &str| {
        let error = Issuer::new(certificate.clone(), key).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    refused(ca.root.certificate(), &key, "not its key");
    let leaf = ca.issue(&checked(&key, &["a.test"]), &template(Profile::Server, 9));
    refused(&leaf, &key, "no CA certificate");

    // Path length 0: no authority below the one that issues.
    let none = Constraints::default();
    let template = authority("Below", 9, &none);
    let prepared =
        ca.issuing.prepare_authority(&checked(&key, &[]), &issue::AuthorityTemplate { not_after: time("2033-01-01"), ..template });
    assert_eq!(lint_codes(ca.issuing.rehearse(prepared.unwrap())), ["path-length"]);
    for (common_name, organization) in [("", None), ("x\n", None), ("x", Some("")), (&*"x".repeat(65), None)] {
        let template = issue::AuthorityTemplate { common_name, organization, ..template };
        assert!(matches!(issue::root(&key, &template), Err(IssueError::Template(_))));
    }
}

#[test]
fn a_stored_authority_issues_as_before() {
    let none = Constraints::default();
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let root = issue::root(&key, &authority("Zürich, \"Root\"", 1, &none)).unwrap();
    let (stored, stored_key) = (root.der().to_vec(), key.expose_pkcs8().to_vec());
    let again = || (Certificate::parse(stored.clone()).unwrap(), PrivateKey::from_der(&stored_key).unwrap());
    let (certificate, key) = again();
    let issuer = Issuer::new(certificate, &key).unwrap();
    let leaf = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let prepared = issuer.prepare(&checked(&leaf, &["a.test"]), &template(Profile::Server, 9)).unwrap();
    let certificate = issuer.sign(&issuer.rehearse(prepared).unwrap()).unwrap();
    assert_eq!(certificate.issuer_der(), root.subject_der());

    // The one for the demo and tests takes the same.
    let (certificate, key) = again();
    let authority = Authority::resume(certificate, key).unwrap();
    let (leaf, _) = authority.leaf(&["a.test"], KeyType::EcdsaP256, time("2026-06-01"), time("2026-09-01")).unwrap();
    assert_eq!(leaf.issuer_der(), root.subject_der());
    leaf.check_signature(&root).unwrap();
}

#[test]
fn a_list_is_read_back() {
    let ca = Ca::new(KeyType::EcdsaP256);
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let leaf = |number| ca.issue(&checked(&key, &["a.test"]), &template(Profile::Server, number));
    let (revoked, good) = (leaf(9), leaf(10));
    let revocation = Revocation {
        serial: hex::decode(revoked.serial()).unwrap(),
        revoked_at: time("2026-06-10T12:00:00Z"),
        reason: Some(Reason::KeyCompromise),
        invalid_since: Some(time("2026-06-01T00:00:00Z")),
    };
    let template = CrlTemplate {
        number: u64::MAX,
        this_update: time("2026-06-11"),
        next_update: time("2050-06-18"),
        revoked: std::slice::from_ref(&revocation),
    };
    let crl = ca.issuing.crl(&template).unwrap();
    for read in [Crl::parse(crl.der()).unwrap(), Crl::parse(crl.to_pem().as_bytes()).unwrap()] {
        assert_eq!((read.number(), read.len(), read.is_empty()), (Some(u64::MAX), 1, false));
        assert_eq!((read.this_update(), read.next_update()), (time("2026-06-11"), Some(time("2050-06-18"))));
        let entry = read.revocation_of(&revoked).unwrap();
        assert_eq!(
            (entry.reason, entry.revoked_at, entry.invalid_since),
            (revocation.reason, revocation.revoked_at, revocation.invalid_since)
        );
        assert_eq!((read.revocation_of(&good), read.revocation_of(ca.issuing.certificate())), (None, None));
        read.check_signature(ca.issuing.certificate()).unwrap();
        assert!(read.check_signature(ca.root.certificate()).is_err());
        assert_eq!(read.issuer(), ca.issuing.certificate().subject());
    }
    let empty = ca.issuing.crl(&CrlTemplate { number: 0, revoked: &[], ..template }).unwrap();
    assert_eq!((empty.number(), empty.is_empty()), (Some(0), true));
    assert!(ca.issuing.crl(&CrlTemplate { next_update: template.this_update, ..template }).is_err());
    assert!(Crl::parse(&crl.der()[..crl.der().len() - 1]).is_err());
    assert!(Crl::parse(&[crl.der(), &[0]].concat()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_issued_is_read_back(bits in any::<[u8; 16]>(), from in 0i64..250_000_000, lives in 1i64..1_000_000, name in "[a-z]{1,12}") {
        prop_assume!(bits[..8] != [0; 8]);
        let ca = FIXED.with(std::clone::Clone::clone);
        let key = pki::detached::generate(&[5; 32]).unwrap();
        let (not_before, not_after) = (time("2026-01-01") + pki::Span::seconds(from), time("2026-01-01") + pki::Span::seconds(from + lives));
        let name = format!("{name}.test");
        let leaf = ca.issue(&checked(&key, &[&name]), &Template { serial: bits, not_before, not_after, common_name: true, ..template(Profile::Both, 0) });
        prop_assert!(leaf.covers(&name) && leaf.not_before() == not_before && leaf.not_after() == not_after);
        let digits = hex::encode(bits);
        let serial = leaf.serial();
        prop_assert_eq!(serial.trim_start_matches('0'), digits.trim_start_matches('0'));
    }

    #[test]
    fn no_bytes_make_a_list_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Crl::parse(&bytes);
    }
}

thread_local! {
    static FIXED: std::rc::Rc<Ca> = std::rc::Rc::new(Ca::new(KeyType::Ed25519));
}
