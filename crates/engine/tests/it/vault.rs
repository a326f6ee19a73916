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

/// A server that slept through a rotation would forget the key under which everything lies.
#[test]
fn a_server_whose_key_is_not_the_current_one_moves_and_forgets_nothing() {
    let (mut w, ca) = world();
    let (chain, key) = ca.leaf(&["a.example"], w.now, w.now + Span::days(90));
    w.store("s", &chain, &key).unwrap();
    let slept = engine::Engine::new(w.engine.store().clone(), "there", Vec::new());
    slept.unseal(&envelope_key(), &person(), &w.tick()).unwrap();
    let new = envelope::KeyFile::parse(&envelope::KeyFile::generate(&mut *entropy(5)).unwrap()).unwrap();
    w.engine.begin_rotation(&new, &mut *entropy(6), &person(), &w.tick()).unwrap();
    let refused = slept.rotate_page(500, &mut *entropy(7), &person(), &w.tick()).unwrap_err();
    assert!(refused.to_string().contains("rotated by another server"), "{refused}");
    assert_eq!(w.engine.store().read(store::model::secret::keks).unwrap().len(), 2);
    assert_eq!(w.engine.go_on_rotating(&mut *entropy(8), &person(), &w.tick()).unwrap(), 1);
    assert_eq!(w.engine.store().read(store::model::secret::keks).unwrap().len(), 1);
}

#[test]
fn a_rotation_that_breaks_off_opens_by_the_new_key_and_never_by_the_old_one() {
    let key_file = |seed| envelope::KeyFile::parse(&envelope::KeyFile::generate(&mut *entropy(seed)).unwrap()).unwrap();
    // Broken off: after the new key was made; between two pages; and by a rotation to a third key.
    for (broken_off, third) in [(0, false), (2, false), (0, true), (2, true)] {
        let (mut w, ca) = world();
        for n in 0..5 {
            let (chain, key) = ca.leaf(&["a.example"], w.now, w.now + Span::days(90));
            w.store(&format!("s{n}"), &chain, &key).unwrap();
        }
        let (person, tick) = (person(), w.tick());
        let new = key_file(5);
        w.engine.begin_rotation(&new, &mut *entropy(6), &person, &tick).unwrap();
        if broken_off > 0 {
            assert_eq!(w.engine.rotate_page(broken_off, &mut *entropy(7), &person, &tick).unwrap(), Some(2));
        }
        let last = if third { key_file(8) } else { key_file(5) };
        if third {
            w.engine.begin_rotation(&last, &mut *entropy(9), &person, &tick).unwrap();
        }
        // Killed. Whoever has the newest of them opens all of it, and can store beside it; the others open nothing.
        w.engine.seal(&person, &tick).unwrap();
        assert!(w.engine.unseal(&envelope_key(), &person, &tick).is_err(), "the old key opens the new one");
        if third {
            assert!(w.engine.unseal(&new, &person, &tick).is_err(), "the one between opens the new one");
        }
        w.engine.unseal(&last, &person, &tick).unwrap();
        let (chain, private) = ca.leaf(&["a.example"], w.now, w.now + Span::days(90));
        w.store("more", &chain, &private).unwrap();
        // It goes on with what was begun.
        let left = 5 - u64::try_from(broken_off).unwrap();
        let under_second = if third { u64::try_from(broken_off).unwrap() } else { 0 };
        assert_eq!(w.engine.go_on_rotating(&mut *entropy(10), &person, &tick).unwrap(), left + under_second);
        assert_eq!(w.engine.go_on_rotating(&mut *entropy(10), &person, &tick).unwrap(), 0);
        w.engine.seal(&person, &tick).unwrap();
        assert!(w.engine.unseal(&envelope_key(), &person, &tick).is_err(), "the old key opens nothing any more");
        if third {
            assert!(w.engine.unseal(&new, &person, &tick).is_err(), "nor does the one between");
        }
        w.engine.unseal(&last, &person, &tick).unwrap();
        assert_eq!(w.engine.store().read(store::model::secret::bridges).unwrap(), []);
        assert_eq!(w.engine.store().read(store::model::secret::keks).unwrap().len(), 1);
    }
}

/// Whoever holds the database's writer may ask the vault, and whoever wants to seal waits for the writer: neither waits for the other.
#[test]
fn the_vault_answers_while_somebody_waits_for_the_writer() {
    let (w, _ca) = world();
    let (tick, engine) = (w.tick(), w.engine.clone());
    let (asked, answered) = std::sync::mpsc::channel();
    let put = |n: i64, engine: &engine::Engine| {
        engine.put_opaque(&format!("o{n}"), b"bytes", None, "", &mut *entropy(n as u64), &person(), &tick).map(|_| ())
    };
    std::thread::scope(|scope| {
        engine
            .store()
            .write(&person(), tick.now, |_tx| {
                for n in 0..4 {
                    let engine = engine.clone();
                    scope.spawn(move || put(n, &engine));
                }
                let (engine, asked) = (engine.clone(), asked.clone());
                std::thread::spawn(move || {
                    let open = (0..2_000).all(|_| {
                        std::thread::yield_now();
                        engine.is_open()
                    });
                    let _gone = asked.send(open);
                });
                let said = answered.recv_timeout(std::time::Duration::from_secs(20));
                assert_eq!(said, Ok(true), "the vault's lock is held by somebody who waits for the writer");
                Ok(())
            })
            .unwrap();
    });
}
