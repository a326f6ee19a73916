//! Storing versions, and the key under which they lie.

use crate::world::{Ca, World, entropy, envelope_key, person, t};
use domain::Span;
use engine::Error;

fn world() -> (World, Ca) {
    let w = World::new(t("2026-03-01T00:00:00Z"));
    (w, Ca::new(t("2020-01-01T00:00:00Z"), t("2040-01-01T00:00:00Z")))
}

#[test]
fn a_change_beyond_key_serial_and_dates_needs_a_word() {
    let (mut w, ca) = world();
    let (one, key) = ca.leaf(&["a.example", "b.example"], w.now - Span::days(1), w.now + Span::days(89));
    assert_eq!(w.store("s", &one, &key).unwrap().version, 1);
    let (two, key) = ca.leaf(&["a.example", "b.example"], w.now, w.now + Span::days(90));
    let stored = w.store("s", &two, &key).unwrap();
    assert_eq!(stored.version, 2);
    assert!(stored.differences.iter().all(|d| d.ordinary), "{:?}", stored.differences);
    let (three, key) = ca.leaf(&["a.example"], w.now, w.now + Span::days(90));
    let Err(Error::Refused(refusal)) = w.store("s", &three, &key) else { panic!("names may not shrink silently") };
    assert_eq!(refusal.code, "change-not-accepted");
    assert_eq!(w.secret("s").newest_version, 2);
}

#[test]
fn a_foreign_key_is_refused_and_nothing_is_stored() {
    let (mut w, ca) = world();
    let (chain, _) = ca.leaf(&["a.example"], w.now, w.now + Span::days(90));
    let (_, foreign) = ca.leaf(&["a.example"], w.now, w.now + Span::days(90));
    let Err(Error::Refused(refusal)) = w.store("s", &chain, &foreign) else { panic!("the key does not fit") };
    assert_eq!(refusal.code, "bad-certificate");
    assert!(w.engine.store().read(|tx| store::model::secret::by_name(tx, "s")).unwrap().is_none());
}

#[test]
fn a_sealed_store_observes_and_refuses_only_what_needs_a_key() {
    let (mut w, ca) = world();
    w.engine.seal(&person(), &w.tick()).unwrap();
    let (chain, key) = ca.leaf(&["a.example"], w.now, w.now + Span::days(90));
    assert!(matches!(w.store("s", &chain, &key), Err(Error::Sealed)));
    w.settle();
    w.engine.unseal(&envelope_key(), &person(), &w.tick()).unwrap();
    w.store("s", &chain, &key).unwrap();
}

#[test]
fn the_kek_rotates_without_touching_secrets() {
    let (mut w, ca) = world();
    for n in 0..5 {
        let (chain, key) = ca.leaf(&["a.example"], w.now, w.now + Span::days(90));
        w.store(&format!("s{n}"), &chain, &key).unwrap();
    }
    let all = |w: &World| -> Vec<_> { w.engine.store().read(|tx| (1..=5).map(|i| store::model::secret::sealed(tx, i)).collect()).unwrap() };
    let before = all(&w);
    let other = envelope::KeyFile::parse(&envelope::KeyFile::generate(&mut *entropy(5)).unwrap()).unwrap();
    assert_eq!(w.engine.rotate_kek(&other, &mut *entropy(6), &person(), &w.tick()).unwrap(), 5);
    for (b, a) in before.iter().zip(all(&w)) {
        let (b, a) = (b.as_ref().unwrap(), a.unwrap());
        assert_eq!(b.ciphertext, a.ciphertext);
        assert_ne!((&b.kek, &b.wrapped), (&a.kek, &a.wrapped));
    }
    w.engine.seal(&person(), &w.tick()).unwrap();
    assert!(w.engine.unseal(&envelope_key(), &person(), &w.tick()).is_err(), "the old key opens nothing any more");
    w.engine.unseal(&other, &person(), &w.tick()).unwrap();
}
