//! Opening the KEK: works completely, or says one thing and leaves nothing.

use envelope::{Cost, KekRecord, KeyFile, Passphrase, UnlockError};
use proptest::prelude::*;

use crate::{CHEAP, STORE, key_file, passphrase, stream};

#[test]
fn the_record_survives_its_text() {
    for record in [
        KekRecord::create(&passphrase("correct horse"), STORE, 1_700_000_000, &mut stream(1)).unwrap().0,
        KekRecord::create(&key_file(5), STORE, -1, &mut stream(2)).unwrap().0,
    ] {
        let text = record.to_text();
        assert_eq!(KekRecord::from_text(&text).unwrap(), record);
    }
}

#[test]
fn the_text_is_pinned() {
    // Stores in the field hold this text: it may gain a new heading, never another meaning.
    let text = "perennial-kek 1\n\
        id: kek-7068ad64b0e2c5d9\n\
        provider: key-file\n\
        created-at: 1700000000\n\
        params: hkdf-sha256 salt=000102030405060708090a0b0c0d0e0f\n\
        wrapped: 0100\n";
    assert_eq!(KekRecord::from_text(text).unwrap().to_text(), text);
}

#[test]
fn one_error_for_every_wrong_thing() {
    let right = passphrase("correct horse");
    let (record, _) = KekRecord::create(&right, STORE, 1, &mut stream(1)).unwrap();
    assert!(record.unlock(&right, STORE).is_ok());
    // The cost for new records is no part of the passphrase.
    assert!(record.unlock(&Passphrase::new(b"correct horse".to_vec()), STORE).is_ok());

    let refused = |record: &KekRecord, with: &Passphrase, store: &str, why: &str| {
        assert_eq!(record.unlock(with, store).unwrap_err(), UnlockError::Refused, "{why}");
    };
    refused(&record, &passphrase("correct horsE"), STORE, "another passphrase");
    refused(&record, &passphrase(""), STORE, "none");
    refused(&record, &passphrase(&"x".repeat(5000)), STORE, "an endless one");
    refused(&record, &right, "store-2", "another store");
    let changed = |change: &dyn Fn(&mut KekRecord)| {
        let mut copy = record.clone();
        change(&mut copy);
        copy
    };
    refused(&changed(&|r| r.id.push('0')), &right, STORE, "another id");
    refused(&changed(&|r| r.created_at += 1), &right, STORE, "another time");
    refused(&changed(&|r| r.wrapped.params = r.wrapped.params.replace("t=1", "t=2")), &right, STORE, "another cost");
    refused(&changed(&|r| r.wrapped.params.push_str(" x=1")), &right, STORE, "more parameters");
    refused(&changed(&|r| r.wrapped.bytes.clear()), &right, STORE, "nothing");
    for at in [0, 1, 13, 30, 60] {
        refused(&changed(&|r| r.wrapped.bytes[at] ^= 1), &right, STORE, "one bit");
    }
}

#[test]
fn another_provider_is_told_by_name() {
    let (record, _) = KekRecord::create(&key_file(5), STORE, 1, &mut stream(1)).unwrap();
    let error = record.unlock(&passphrase("correct horse"), STORE).unwrap_err();
    assert_eq!(error, UnlockError::OtherProvider { needed: "key-file".into(), given: "passphrase" });
    assert_eq!(record.unlock(&key_file(6), STORE).unwrap_err(), UnlockError::Refused);
}

#[test]
fn absurd_parameters_are_refused_before_any_work() {
    let right = passphrase("correct horse");
    let (record, _) = KekRecord::create(&right, STORE, 1, &mut stream(1)).unwrap();
    let salt = "salt=000102030405060708090a0b0c0d0e0f";
    for params in [
        format!("argon2id m=4294967295 t=1 p=1 {salt}"),
        format!("argon2id m=1048577 t=1 p=1 {salt}"),
        format!("argon2id m=8192 t=4294967295 p=1 {salt}"),
        format!("argon2id m=8192 t=17 p=1 {salt}"),
        format!("argon2id m=8192 t=0 p=1 {salt}"),
        format!("argon2id m=8192 t=1 p=17 {salt}"),
        format!("argon2id m=8192 t=1 p=0 {salt}"),
        format!("argon2id m=15 t=1 p=2 {salt}"),
        format!("argon2id m=-1 t=1 p=1 {salt}"),
        format!("argon2id m=8192 m=8192 t=1 p=1 {salt}"),
        format!("argon2i m=8192 t=1 p=1 {salt}"),
        "argon2id m=8192 t=1 p=1 salt=00".to_owned(),
        "argon2id m=8192 t=1 p=1".to_owned(),
        String::new(),
    ] {
        let mut copy = record.clone();
        copy.wrapped.params.clone_from(&params);
        assert!(matches!(copy.unlock(&right, STORE), Err(UnlockError::Params(_))), "{params}");
    }
}

#[test]
fn what_is_weak_protects_nothing_new() {
    let create = |provider: &Passphrase| KekRecord::create(provider, STORE, 1, &mut stream(1)).map(|_| ());
    assert!(matches!(create(&passphrase("seven77")), Err(UnlockError::Weak(_))));
    assert!(matches!(create(&passphrase("long enough").with_cost(Cost { memory_kib: 64, ..CHEAP })), Err(UnlockError::Params(_))));
    let silent = KekRecord::create(&key_file(1), STORE, 1, &mut |_: &mut [u8]| {}).map(|_| ());
    assert_eq!(silent, Err(UnlockError::NoEntropy));

    for content in ["", "abc", &"0".repeat(64), &"ab".repeat(33), &"zz".repeat(32)] {
        let error = KeyFile::parse(content.as_bytes()).unwrap_err();
        assert!(matches!(&error, UnlockError::Weak(text) if content.is_empty() || !text.contains(content)), "{error}");
    }
    assert!(KeyFile::parse(format!("  {}1\r\n", "a".repeat(63)).as_bytes()).is_ok());
}

#[test]
fn what_is_no_record_is_told_where() {
    let good = KekRecord::create(&key_file(5), STORE, 1, &mut stream(1)).unwrap().0.to_text();
    for (text, says) in [
        (String::new(), "first line"),
        (good.replace("kek 1", "kek 2"), "newer program"),
        (good.replace("provider: ", "Provider: "), "\"provider\""),
        (good.replace("created-at: 1", "created-at: soon"), "created-at"),
        (good.replace("created-at: 1", "created-at: 01"), "do not belong"),
        (format!("{good}more: 1\n"), "do not belong"),
        (good.replace('\n', "\r\n"), "do not belong"),
        (format!("{good}{}", "x".repeat(20_000)), "too long"),
    ] {
        let error = KekRecord::from_text(&text).unwrap_err().to_string();
        assert!(error.contains(says), "{error} should say {says}");
    }
}

proptest! {
    #[test]
    fn reading_a_record_never_panics(text in "\\PC{0,300}", cut in 0usize..200) {
        let _ = KekRecord::from_text(&text);
        let good = KekRecord::create(&key_file(5), STORE, 1, &mut stream(1)).unwrap().0.to_text();
        let cut = &good[..cut.min(good.len() - 1)];
        prop_assert!(KekRecord::from_text(cut).is_err());
    }
}
