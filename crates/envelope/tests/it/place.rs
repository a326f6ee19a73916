//! Sealed bytes open at their place, unchanged, and nowhere else.

use envelope::{MAX_SECRET_BYTES, OpenError, Place, SealError, Sealed};
use proptest::prelude::*;

use crate::{HERE, keeper, stream};

#[test]
fn round_trip() {
    let keeper = keeper(1);
    for plain in [&b""[..], b"x", &[0; 4096]] {
        let sealed = keeper.seal(&HERE, plain, &mut stream(9)).unwrap();
        assert_eq!(keeper.open(&HERE, &sealed).unwrap().expose(), plain);
        assert_eq!(sealed.kek_id, keeper.kek_id());
        assert_eq!(sealed.wrapped_dek.len(), 61, "the documented size of a wrapped key");
    }
}

#[test]
fn every_field_of_the_place_counts() {
    let keeper = keeper(1);
    let sealed = keeper.seal(&HERE, b"secret", &mut stream(9)).unwrap();
    let elsewhere = [
        Place { store: "store-2", ..HERE },
        Place { store: "", ..HERE },
        Place { secret: 8, ..HERE },
        Place { version: 3, ..HERE },
        Place { instance: 42, ..HERE },
        Place { purpose: "certificate", ..HERE },
        // The same numbers in other fields, and the same bytes cut elsewhere.
        Place { secret: 2, version: 7, ..HERE },
        Place { version: 41, instance: 2, ..HERE },
    ];
    for place in elsewhere {
        assert_eq!(keeper.open(&place, &sealed).unwrap_err(), OpenError::Refused, "{place:?}");
    }
}

#[test]
fn every_changed_byte_is_noticed() {
    let keeper = keeper(1);
    let sealed = keeper.seal(&HERE, b"sixteen bytes...", &mut stream(9)).unwrap();
    // Each single byte: format, nonce, body and tag of both layers.
    for at in 0..sealed.wrapped_dek.len() {
        let mut changed = sealed.clone();
        changed.wrapped_dek[at] ^= 0x01;
        assert_eq!(keeper.open(&HERE, &changed).unwrap_err(), OpenError::Refused, "wrapped key, byte {at}");
    }
    for at in 0..sealed.ciphertext.len() {
        let mut changed = sealed.clone();
        changed.ciphertext[at] ^= 0x80;
        assert_eq!(keeper.open(&HERE, &changed).unwrap_err(), OpenError::Refused, "ciphertext, byte {at}");
    }
    for keep in 0..sealed.ciphertext.len() {
        let mut cut = sealed.clone();
        cut.ciphertext.truncate(keep);
        assert_eq!(keeper.open(&HERE, &cut).unwrap_err(), OpenError::Refused, "cut to {keep} bytes");
    }
    for keep in 0..sealed.wrapped_dek.len() {
        let mut cut = sealed.clone();
        cut.wrapped_dek.truncate(keep);
        assert_eq!(keeper.open(&HERE, &cut).unwrap_err(), OpenError::Refused, "key cut to {keep} bytes");
    }
}

#[test]
fn the_layers_do_not_pass_for_each_other() {
    let keeper = keeper(1);
    let sealed = keeper.seal(&HERE, &[7; 32], &mut stream(9)).unwrap();
    let swapped = Sealed { wrapped_dek: sealed.ciphertext.clone(), ciphertext: sealed.wrapped_dek.clone(), ..sealed.clone() };
    assert_eq!(keeper.open(&HERE, &swapped).unwrap_err(), OpenError::Refused);
    // Two sealings of one place: the key of one does not open the other.
    let again = keeper.seal(&HERE, &[7; 32], &mut stream(10)).unwrap();
    let mixed = Sealed { ciphertext: again.ciphertext, ..sealed };
    assert_eq!(keeper.open(&HERE, &mixed).unwrap_err(), OpenError::Refused);
}

#[test]
fn the_same_secret_never_looks_the_same() {
    let (keeper, mut random) = (keeper(1), stream(9));
    let one = keeper.seal(&HERE, b"secret", &mut random).unwrap();
    let two = keeper.seal(&HERE, b"secret", &mut random).unwrap();
    assert_ne!(one.ciphertext, two.ciphertext);
    assert_ne!(one.wrapped_dek, two.wrapped_dek);
}

#[test]
fn what_cannot_be_sealed() {
    let keeper = keeper(1);
    let large = vec![0; MAX_SECRET_BYTES + 1];
    let error = keeper.seal(&HERE, &large, &mut stream(9)).unwrap_err();
    assert_eq!(error, SealError::TooLarge { bytes: large.len() });
    assert!(keeper.seal(&HERE, &large[1..], &mut stream(9)).is_ok());
    let error = keeper.seal(&HERE, b"secret", &mut |_: &mut [u8]| {}).unwrap_err();
    assert_eq!(error, SealError::NoEntropy, "a port that fills nothing");
}

#[test]
fn nothing_secret_can_be_printed() {
    let keeper = keeper(1);
    let sealed = keeper.seal(&HERE, b"top secret", &mut stream(9)).unwrap();
    let secret = keeper.open(&HERE, &sealed).unwrap();
    assert_eq!(format!("{secret:?}"), "Secret(..)");
    assert_eq!(format!("{sealed:?}"), format!("Sealed(10 bytes under {})", keeper.kek_id()));
    assert_eq!(format!("{keeper:?}"), format!("Keeper({})", keeper.kek_id()));
    assert_eq!(format!("{:?}", crate::key_file(3)), "KeyFile(..)");
    assert!(!format!("{:?}", crate::passphrase("correct horse")).contains("horse"));
}

proptest! {
    #[test]
    fn whatever_is_sealed_opens_at_its_own_place_only(
        plain in proptest::collection::vec(any::<u8>(), 0..600),
        store in "[a-z0-9-]{0,24}",
        (secret, version, instance) in (any::<i64>(), any::<i64>(), any::<i64>()),
        (other_secret, other_version) in (any::<i64>(), any::<i64>()),
        seed in 1..u64::MAX / 2,
    ) {
        let keeper = keeper(1);
        let place = Place { store: &store, secret, version, instance, purpose: "p" };
        let sealed = keeper.seal(&place, &plain, &mut stream(seed)).unwrap();
        let opened = keeper.open(&place, &sealed).unwrap();
        prop_assert_eq!(opened.expose(), &plain[..]);
        let other = Place { secret: other_secret, version: other_version, ..place };
        if other != place {
            prop_assert_eq!(keeper.open(&other, &sealed).unwrap_err(), OpenError::Refused);
        }
    }

    #[test]
    fn noise_never_opens(
        wrapped_dek in proptest::collection::vec(any::<u8>(), 0..90),
        ciphertext in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let keeper = keeper(1);
        let noise = Sealed { kek_id: keeper.kek_id().to_owned(), wrapped_dek, ciphertext };
        prop_assert_eq!(keeper.open(&HERE, &noise).unwrap_err(), OpenError::Refused);
    }
}
