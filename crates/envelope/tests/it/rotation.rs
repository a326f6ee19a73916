//! Changing keys without touching secrets.

use envelope::{KekRecord, OpenError, Place, Sealed, UnlockError};

use crate::{HERE, STORE, keeper, key_file, passphrase, stream};

#[test]
fn a_new_kek_wraps_the_data_keys_again_and_touches_no_ciphertext() {
    let (old, new) = (keeper(1), keeper(100));
    assert_ne!(old.kek_id(), new.kek_id());
    let before = old.seal(&HERE, b"secret", &mut stream(9)).unwrap();

    let wrapped_dek = new.rewrap(&HERE, &old, &before, &mut stream(10)).unwrap();
    let after = Sealed { kek_id: new.kek_id().to_owned(), wrapped_dek, ciphertext: before.ciphertext.clone() };
    assert_eq!(new.open(&HERE, &after).unwrap().expose(), b"secret");

    let error = OpenError::OtherKek { needed: new.kek_id().into(), held: old.kek_id().into() };
    assert_eq!(old.open(&HERE, &after).unwrap_err(), error, "the old KEK is told apart from damage");
    let forged = Sealed { kek_id: old.kek_id().to_owned(), ..after };
    assert_eq!(old.open(&HERE, &forged).unwrap_err(), OpenError::Refused, "and does not open it either");
}

#[test]
fn rewrapping_checks_the_place_and_the_old_kek() {
    let (old, new, third) = (keeper(1), keeper(100), keeper(200));
    let sealed = old.seal(&HERE, b"secret", &mut stream(9)).unwrap();
    let elsewhere = Place { instance: 42, ..HERE };
    assert_eq!(new.rewrap(&elsewhere, &old, &sealed, &mut stream(10)).unwrap_err(), OpenError::Refused);
    assert!(matches!(new.rewrap(&HERE, &third, &sealed, &mut stream(10)), Err(OpenError::OtherKek { .. })));
}

#[test]
fn a_new_passphrase_changes_one_record_only() {
    let (record, keeper) = KekRecord::create(&passphrase("first passphrase"), STORE, 1, &mut stream(1)).unwrap();
    let sealed = keeper.seal(&HERE, b"secret", &mut stream(9)).unwrap();

    let second = passphrase("second passphrase");
    let resealed = KekRecord::reseal(&keeper, &second, STORE, 2, &mut stream(2)).unwrap();
    assert_eq!(resealed.id, record.id);
    assert_eq!(resealed.unlock(&second, STORE).unwrap().open(&HERE, &sealed).unwrap().expose(), b"secret");
    assert!(resealed.unlock(&passphrase("first passphrase"), STORE).is_err());

    let file = key_file(5);
    let moved = KekRecord::reseal(&keeper, &file, STORE, 3, &mut stream(3)).unwrap();
    assert_eq!(moved.provider, "key-file");
    assert_eq!(moved.unlock(&file, STORE).unwrap().open(&HERE, &sealed).unwrap().expose(), b"secret");
}

#[test]
fn a_kek_opens_another_one_and_no_third() {
    let (old, third) = (keeper(1), keeper(200));
    let (_, new) = KekRecord::create(&key_file(7), STORE, 2, &mut stream(8)).unwrap();
    let sealed = new.seal(&HERE, b"secret", &mut stream(9)).unwrap();
    let bridge = KekRecord::reseal(&new, &old, STORE, 3, &mut stream(10)).unwrap();
    let bridge = KekRecord::from_text(&bridge.to_text()).unwrap();
    assert_eq!((bridge.id.as_str(), bridge.provider.as_str()), (new.kek_id(), "kek"));
    assert_eq!(bridge.unlock(&old, STORE).unwrap().open(&HERE, &sealed).unwrap().expose(), b"secret");
    assert_eq!(bridge.unlock(&third, STORE).unwrap_err(), UnlockError::Refused);
    assert_eq!(bridge.unlock(&old, "another store").unwrap_err(), UnlockError::Refused);
    let mut renamed = bridge.clone();
    renamed.wrapped.params = format!("kek id={}", third.kek_id());
    assert_eq!(renamed.unlock(&third, STORE).unwrap_err(), UnlockError::Refused);
    assert_eq!(renamed.unlock(&old, STORE).unwrap_err(), UnlockError::Refused);
    assert!(matches!(bridge.unlock(&key_file(1), STORE), Err(UnlockError::OtherProvider { .. })));
}
