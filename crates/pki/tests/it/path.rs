//! Paths: which is found, until when, what ends it, and what is said when there is none.

use std::sync::Arc;

use pki::{
    Authority, AuthorityOptions, Certificate, KeyType, LeafOptions, PathErrorCode, PrivateKey, Purpose, Roots, Span, Time, Usage, Verifier,
};

use crate::support::{House, exchanged, time, verifier};

const NOW: &str = "2026-06-01";

fn code(verifier: &Verifier, chain: &[Certificate], name: Option<&str>, at: &str) -> Option<PathErrorCode> {
    verifier.verify(chain, name, Purpose::Server, time(at)).err().map(|error| error.code)
}

#[test]
fn a_good_chain_in_any_order_with_anything_added() {
    let house = House::new(&["example.com"]);
    let other = House::new(&["other.test"]);
    let verifier = house.verifier();
    let mut chain = house.chain();
    let expected = verifier.verify(&chain, Some("example.com"), Purpose::Server, time(NOW)).unwrap();
    assert_eq!(expected.ends_at, time("2027-01-01"));
    assert_eq!((expected.limiting, expected.limiting_position, expected.length), (house.leaf.fingerprint(), 0, 3));
    chain.insert(1, house.root.certificate().clone());
    chain.insert(1, other.intermediate.certificate().clone());
    chain.push(chain[3].clone());
    assert_eq!(verifier.verify(&chain, Some("EXAMPLE.com."), Purpose::Server, time(NOW)).unwrap(), expected);
}

#[test]
fn validity_is_inclusive_in_whole_seconds() {
    let house = House::new(&["example.com"]);
    let verifier = house.verifier();
    let chain = house.chain();
    for (at, expected) in [
        ("2025-12-31T23:59:59Z", Some(PathErrorCode::NotYetValid)),
        ("2026-01-01T00:00:00Z", None),
        ("2026-01-01T00:00:01Z", None),
        ("2026-12-31T23:59:59Z", None),
        ("2027-01-01T00:00:00Z", None),
        ("2027-01-01T00:00:01Z", Some(PathErrorCode::Expired)),
        ("9999-12-31T23:59:59Z", Some(PathErrorCode::Expired)),
        ("0000-01-01T00:00:00Z", Some(PathErrorCode::NotYetValid)),
    ] {
        assert_eq!(code(&verifier, &chain, None, at), expected, "{at}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let house = House::new(&["example.com"]);
    let other = House::new(&["example.com"]);
    let ours = house.verifier();
    let theirs = other.verifier();
    let leaf = std::slice::from_ref(&house.leaf);
    let mut whole = house.chain();
    whole.push(house.root.certificate().clone());
    let check = |verifier: &Verifier, chain: &[Certificate], expected: PathErrorCode, words: &str| {
        let error = verifier.verify(chain, Some("example.com"), Purpose::Server, time(NOW)).unwrap_err();
        assert_eq!(error.code, expected, "{error}");
        assert!(error.detail.contains(words), "{error} / {words}");
    };
    check(&ours, leaf, PathErrorCode::IncompleteChain, "CN=Intermediate, was not sent");
    check(&ours, &[], PathErrorCode::Malformed, "no certificate");
    check(&ours, &vec![house.leaf.clone(); 101], PathErrorCode::Malformed, "limit of 100");
    // Same names, other keys: the other house's root does not verify ours.
    check(&theirs, &house.chain(), PathErrorCode::BadSignature, "CN=example.com ← CN=Intermediate ← CN=Root");
    let named = Authority::new("Somebody Else", time("2020-01-01"), time("2040-01-01")).unwrap();
    check(&verifier(&[&named]), &whole, PathErrorCode::UntrustedRoot, "ends at a root that is not trusted: CN=Root");
    check(&verifier(&[&named]), &house.chain(), PathErrorCode::UntrustedRoot, "CN=Root, was not sent and is no trusted root");
    let own = house
        .root
        .issue(
            house.root.key(),
            &["x.test"],
            time("2026-01-01"),
            time("2027-01-01"),
            &LeafOptions { common_name: Some("Root".into()), ..Default::default() },
        )
        .unwrap();
    check(&verifier(&[&named]), &[own], PathErrorCode::UntrustedRoot, "self-signed");
    let error = ours.verify(&house.chain(), Some("evil\x1b.test"), Purpose::Server, time(NOW)).unwrap_err();
    assert_eq!(error.code, PathErrorCode::WrongName);
    assert_eq!(error.detail, "evil\\u{1b}.test is not covered; the certificate covers example.com");
    // A changed signature.
    let mut bytes = house.leaf.der().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let changed = vec![Certificate::parse(bytes).unwrap(), house.intermediate.certificate().clone()];
    check(&ours, &changed, PathErrorCode::BadSignature, "signature");
}

#[test]
fn purposes_and_constraints() {
    let root = Authority::new("Root", time("2020-01-01"), time("2040-01-01")).unwrap();
    let (from, until) = (time("2026-01-01"), time("2027-01-01"));
    let verifier = verifier(&[&root]);
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let only = |usages: &[Usage], is_ca| LeafOptions { usages: usages.to_vec(), is_ca, ..Default::default() };
    let verdict = |chain: &[Certificate], purpose| verifier.verify(chain, None, purpose, time(NOW)).err().map(|e| e.code);
    let constraint = Some(PathErrorCode::Constraint);

    for (usages, server, client) in [
        (vec![Usage::ServerAuth], None, constraint),
        (vec![Usage::ClientAuth], constraint, None),
        (vec![Usage::CodeSigning], constraint, constraint),
        (vec![], None, None),
    ] {
        let leaf = root.issue(&key, &["a.test"], from, until, &only(&usages, false)).unwrap();
        assert_eq!(verdict(std::slice::from_ref(&leaf), Purpose::Server), server, "{usages:?}");
        assert_eq!(verdict(std::slice::from_ref(&leaf), Purpose::Client), client, "{usages:?}");
    }
    let ca = root.issue(&key, &["a.test"], from, until, &only(&[], true)).unwrap();
    assert_eq!(verdict(&[ca], Purpose::Server), constraint);

    let narrow = AuthorityOptions { permitted: vec!["good.test".into()], path_length: Some(0), ..Default::default() };
    let narrow = root.intermediate_with("Narrow", from, until, &narrow).unwrap();
    for (name, expected) in [("www.good.test", None), ("www.bad.test", constraint)] {
        let (leaf, _) = narrow.leaf(&[name], KeyType::EcdsaP256, from, until).unwrap();
        // Twice: the second time the intermediate is remembered, its constraint too.
        for _ in 0..2 {
            assert_eq!(verdict(&[leaf.clone(), narrow.certificate().clone()], Purpose::Server), expected, "{name}");
        }
    }
    let below = narrow.intermediate("Below", from, until).unwrap();
    let (leaf, _) = below.leaf(&["www.good.test"], KeyType::EcdsaP256, from, until).unwrap();
    let chain = [leaf, below.certificate().clone(), narrow.certificate().clone()];
    assert_eq!(verdict(&chain, Purpose::Server), constraint, "path length 0");

    let client_only = AuthorityOptions { usages: vec![Usage::ClientAuth], ..Default::default() };
    let client_only = root.intermediate_with("Clients", from, until, &client_only).unwrap();
    let (leaf, _) = client_only.leaf(&["a.test"], KeyType::EcdsaP256, from, until).unwrap();
    let chain = [leaf, client_only.certificate().clone()];
    for _ in 0..2 {
        assert_eq!(verdict(&chain, Purpose::Client), None);
        assert_eq!(verdict(&chain, Purpose::Server), constraint);
    }
}

#[test]
fn a_remembered_intermediate_does_not_complete_a_chain() {
    let root = Authority::new("Root", time("2020-01-01"), time("2040-01-01")).unwrap();
    let upper = root.intermediate("Upper", time("2024-01-01"), time("2030-01-01")).unwrap();
    let lower = upper.intermediate("Lower", time("2024-01-01"), time("2030-01-01")).unwrap();
    let (leaf, _) = lower.leaf(&["a.test"], KeyType::EcdsaP256, time("2026-01-01"), time("2027-01-01")).unwrap();
    let verifier = verifier(&[&root]);
    let full = [leaf, lower.certificate().clone(), upper.certificate().clone()];
    assert_eq!(code(&verifier, &full, None, NOW), None);
    // Clients without our memory cannot build this one, whatever was seen before.
    assert_eq!(code(&verifier, &full[..2], None, NOW), Some(PathErrorCode::UntrustedRoot));
    assert_eq!(code(&verifier, &full[..1], None, NOW), Some(PathErrorCode::IncompleteChain));
}

#[test]
fn the_certificate_that_ends_first_is_named() {
    let (from, late) = (time("2020-01-01"), time("2040-01-01"));
    for (root_ends, middle_ends, leaf_ends, position) in [
        ("2040-01-01", "2030-01-01", "2027-01-01", 0),
        ("2040-01-01", "2026-12-31", "2027-01-01", 1),
        ("2026-12-30", "2026-12-31", "2027-01-01", 2),
        ("2027-01-01", "2027-01-01", "2027-01-01", 0),
    ] {
        let root = Authority::new("Root", from, time(root_ends)).unwrap();
        let middle = root.intermediate("Middle", from, time(middle_ends)).unwrap();
        let (leaf, _) = middle.leaf(&["a.test"], KeyType::EcdsaP256, from, time(leaf_ends)).unwrap();
        let verifier = verifier(&[&root]);
        let all = [leaf.clone(), middle.certificate().clone(), root.certificate().clone()];
        let path = verifier.verify(&all[..2], None, Purpose::Server, time(NOW)).unwrap();
        assert_eq!(path.limiting_position, position);
        assert_eq!(path.limiting, all[position].fingerprint());
        assert_eq!(path.ends_at, all[position].not_after());
        let last = path.ends_at;
        assert!(verifier.verify(&all[..2], None, Purpose::Server, last).is_ok());
        let error = verifier.verify(&all[..2], None, Purpose::Server, last + Span::seconds(1)).unwrap_err();
        assert_eq!(error.code, PathErrorCode::Expired);
        assert!(error.detail.contains(&format!("(position {position}) expired")), "{error}");
        assert!(late > last);
    }
}

/// An old root that ends soon, a new root, and the new root cross-signed by the old one: the way in
/// which roots are exchanged in public.
struct CrossSigned {
    old: Authority,
    new: Authority,
    cross: Certificate,
    middle: Authority,
    leaf: Certificate,
}

fn cross_signed() -> CrossSigned {
    let old = Authority::new("Old Root", time("2005-01-01"), time("2026-07-01")).unwrap();
    let new = Authority::new("New Root", time("2020-01-01"), time("2040-01-01")).unwrap();
    let cross = old.cross_sign(&new, time("2020-01-01"), time("2026-06-15")).unwrap();
    let middle = new.intermediate("Middle", time("2024-01-01"), time("2030-01-01")).unwrap();
    let (leaf, _) = middle.leaf(&["a.test"], KeyType::EcdsaP256, time("2026-01-01"), time("2027-01-01")).unwrap();
    CrossSigned { old, new, cross, middle, leaf }
}

#[test]
fn a_superfluous_cross_sign_that_expires_does_not_count() {
    let c = cross_signed();
    let chain = [c.leaf.clone(), c.middle.certificate().clone(), c.cross.clone()];
    // Trusting both: the path by the new root is the best from the beginning.
    let outlook = verifier(&[&c.old, &c.new]).outlook(&chain, None, time(NOW), &[Span::days(30)]);
    assert_eq!(outlook.best_until, Some((time("2027-01-01"), c.leaf.fingerprint(), 0)));
    assert_eq!(outlook.now.unwrap().length, 3);
    assert!(outlook.later[0].1.is_ok());
    // An old client that knows the old root alone ends with the cross-sign.
    let old = verifier(&[&c.old]);
    let outlook = old.outlook(&chain, None, time(NOW), &[Span::days(7), Span::days(30)]);
    assert_eq!(outlook.best_until, Some((time("2026-06-15"), c.cross.fingerprint(), 2)));
    assert!(outlook.later[0].1.is_ok());
    assert_eq!(outlook.later[1].1.as_ref().unwrap_err().code, PathErrorCode::Expired);
    // After it, the new one still works.
    assert_eq!(code(&verifier(&[&c.old, &c.new]), &chain, None, "2026-06-20"), None);
    assert_eq!(code(&old, &chain, None, "2026-06-20"), Some(PathErrorCode::Expired));
}

#[test]
fn the_best_path_is_followed_from_one_to_the_next() {
    // Two certificates of one intermediate, the second valid only from the end of the first on.
    let root = Authority::new("Root", time("2020-01-01"), time("2040-01-01")).unwrap();
    let middle = root.intermediate("Middle", time("2024-01-01"), time("2026-07-01")).unwrap();
    let (leaf, _) = middle.leaf(&["a.test"], KeyType::EcdsaP256, time("2026-01-01"), time("2027-01-01")).unwrap();
    let check = |from: &str, expected: &str| {
        let second = root.cross_sign(&middle, time(from), time("2030-01-01")).unwrap();
        let chain = [leaf.clone(), middle.certificate().clone(), second];
        let outlook = verifier(&[&root]).outlook(&chain, None, time(NOW), &[]);
        assert_eq!(outlook.best_until.unwrap().0, time(expected), "{from}");
        assert_eq!(
            outlook.now.unwrap().ends_at,
            time(expected).min(time("2026-07-01")).max(if from < NOW { time(expected) } else { time("2026-07-01") })
        );
    };
    check("2026-07-01", "2027-01-01"); // overlapping by its last second
    check("2026-07-01T00:00:01Z", "2027-01-01"); // following without a gap
    check("2026-07-01T00:00:02Z", "2026-07-01"); // one second without any path
    check("2026-05-01", "2027-01-01"); // already better now
}

#[test]
fn later_dates_judge_what_outlives_the_leaf() {
    let root = Authority::new("Root", time("2020-01-01"), time("2027-02-01")).unwrap();
    let middle = root.intermediate("Middle", time("2024-01-01"), time("2028-01-01")).unwrap();
    let (leaf, _) = middle.leaf(&["a.test"], KeyType::EcdsaP256, time("2026-05-20"), time("2026-07-01")).unwrap();
    let verifier = verifier(&[&root]);
    let chain = [leaf, middle.certificate().clone()];
    let spans = [Span::days(7), Span::days(29), Span::days(30), Span::days(90), Span::days(245), Span::days(246), Span::days(365)];
    let outlook = verifier.outlook(&chain, Some("a.test"), time(NOW), &spans);
    let results: Vec<bool> = outlook.later.iter().map(|(_, result)| result.is_ok()).collect();
    assert_eq!(results, [true, true, true, true, true, false, false]);
    let error = outlook.later[6].1.as_ref().unwrap_err();
    assert!(error.detail.starts_with("CN=Root (position 2) expired 2027-02-01T00:00:00Z"), "{error}");
    let misnamed = verifier.outlook(&chain, Some("b.test"), time(NOW), &spans);
    assert_eq!(misnamed.now.unwrap_err().code, PathErrorCode::WrongName);
    assert!(misnamed.best_until.is_some());
    assert_eq!(misnamed.later[0].1.as_ref().unwrap_err().code, PathErrorCode::WrongName);
}

#[test]
fn no_expiry_and_never_valid() {
    let root = Authority::new("Root", time("2020-01-01"), Time::NO_EXPIRY).unwrap();
    let (leaf, _) = root.leaf(&["a.test"], KeyType::EcdsaP256, time("2026-01-01"), Time::NO_EXPIRY).unwrap();
    let outlook = verifier(&[&root]).outlook(&[leaf], None, time(NOW), &[Span::days(3650)]);
    assert!(outlook.best_until.unwrap().0.is_no_expiry());
    assert!(outlook.later[0].1.is_ok());
    let (leaf, _) = root.leaf(&["a.test"], KeyType::EcdsaP256, time("2026-02-01"), time("2026-01-01")).unwrap();
    assert_eq!(code(&verifier(&[&root]), &[leaf], None, "2026-01-15"), Some(PathErrorCode::Expired));
}

#[test]
fn weak_roots_and_signatures_are_named() {
    let house = House::new(&["example.com"]);
    // ecdsa-with-SHA256 becomes ecdsa-with-SHA224 by its last arc: not accepted any more.
    let oid = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    let other = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x01];
    let leaf = Certificate::parse(exchanged(house.leaf.der(), &oid, &other)).unwrap();
    let chain = [leaf, house.intermediate.certificate().clone()];
    assert_eq!(code(&house.verifier(), &chain, None, NOW), Some(PathErrorCode::Weak));
}

#[test]
fn a_thousand_look_alikes_take_bounded_work() {
    // One name, many keys: every certificate could be the issuer of every other.
    let root = Authority::new("Same", time("2020-01-01"), time("2040-01-01")).unwrap();
    let mut chain = vec![root.leaf(&["a.test"], KeyType::EcdsaP256, time("2026-01-01"), time("2027-01-01")).unwrap().0];
    for _ in 0..99 {
        let other = Authority::new("Same", time("2020-01-01"), time("2040-01-01")).unwrap();
        chain.push(other.certificate().clone());
    }
    // The good path is direct, so it is found at once; without it the search gives up.
    assert_eq!(code(&verifier(&[&root]), &chain, None, NOW), None);
    let stranger = Authority::new("Same", time("2020-01-01"), time("2040-01-01")).unwrap();
    assert!(code(&verifier(&[&stranger]), &chain, None, NOW).is_some());
    let nobody = Authority::new("Nobody", time("2020-01-01"), time("2040-01-01")).unwrap();
    assert_eq!(code(&verifier(&[&nobody]), &chain, None, NOW), Some(PathErrorCode::Malformed));
}

#[test]
fn roots_have_an_epoch_and_ends() {
    let (a, b) = (House::new(&["a.test"]).root, House::new(&["b.test"]).root);
    let ders = [a.certificate().der(), b.certificate().der()];
    let forward = Roots::from_ders(ders).unwrap();
    let backward = Roots::from_ders([ders[1], ders[0], ders[1]]).unwrap();
    assert_eq!((forward.epoch(), forward.len()), (backward.epoch(), 2));
    assert_ne!(forward.epoch(), Roots::from_ders(&ders[..1]).unwrap().epoch());
    assert_eq!(forward.not_after(a.certificate().fingerprint()), Some(time("2040-01-01")));
    let (some, problems) = Roots::lenient([ders[0], b"junk"]);
    assert_eq!((some.len(), problems.len()), (1, 1));
    assert!(Roots::from_ders([ders[0], b"junk"]).is_err());
    let none = Verifier::new(Arc::new(Roots::default()));
    assert_eq!(code(&none, &[a.certificate().clone()], None, NOW), Some(PathErrorCode::UntrustedRoot));
}
