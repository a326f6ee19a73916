//! What is remembered of issuers, authorities, orders and requests.

use domain::{
    Fingerprint, Span,
    issuing::{AuthorityRole, AuthorityState, IssuedState, IssuerKind, KeyChoice, KeysAt, OrderState, Profile, RequestState},
    words::SecretId,
};
use store::{
    Value,
    model::{authority, held, inventory, issuance, order, secret},
};

use crate::{
    harness::{Database, NOW, write},
    model::blank,
};

fn print(n: u8) -> Fingerprint {
    Fingerprint::from_bytes([n; 32])
}

pub(crate) fn what_is_declared_comes_back_and_windows_are_read(database: &Database) {
    let store = database.open();
    let declared = issuance::Issuance {
        secret: SecretId(7),
        issued_by: vec!["eu_ca".into(), "us-ca".into()],
        profile: Profile::Spiffe,
        keys: KeysAt::Store,
        key_type: KeyChoice::Rsa3072,
        lifetime: Some(Span::days(47)),
        spiffe_id: "spiffe://a/b".into(),
        maintenance: r#"{"zone":"Europe/Dublin","weekly":"tue 09:00 - tue 17:00"}"#.into(),
        rollout_policy: "fast".into(),
    };
    write(&store, |tx| {
        let issuer = |region: &str, orders: i64| {
            let text = |t: &str| Value::from(t);
            vec![text("internal"), text(region), text(""), orders.into(), 604_800.into(), text("{}")]
        };
        inventory::put(tx, inventory::ISSUER, "eu_ca", issuer("eu", 50))?;
        inventory::put(tx, inventory::ISSUER, "euXca", issuer("", 0))?;
        issuance::put(tx, &declared)?;
        issuance::put(tx, &issuance::Issuance { secret: SecretId(8), issued_by: vec!["euXca".into()], ..declared.clone() })?;
        Ok(())
    });
    assert_eq!(store.read(|tx| issuance::get(tx, SecretId(7))).unwrap(), Some(declared.clone()));
    let eu = store.read(|tx| issuance::issuer(tx, "eu_ca")).unwrap().unwrap();
    assert_eq!((eu.kind, eu.region.as_str(), eu.budget), (IssuerKind::Internal, "eu", Some((50, Span::days(7)))));
    assert_eq!(store.read(|tx| issuance::issuer(tx, "euXca")).unwrap().unwrap().budget, None);
    // An underscore is no wildcard.
    assert_eq!(store.read(|tx| issuance::issued_by(tx, "eu_ca", SecretId(0), 10)).unwrap(), [SecretId(7)]);
    let window = declared.window().unwrap().unwrap();
    let tuesday = domain::Time::parse("2026-12-01T10:00:00Z").unwrap();
    assert!(!window.is_frozen(tuesday) && window.is_frozen(tuesday + Span::days(1)));

    let state =
        issuance::IssuerState { failures: 3, failing_since: Some(NOW), failed_at: Some(NOW), not_before: None, detail: "503".into() };
    let renewal = issuance::Renewal {
        failures: 2,
        failing_since: Some(NOW),
        detail: "x".into(),
        suggested: Some((NOW, NOW + Span::days(1))),
        ..issuance::Renewal::fresh(SecretId(7), 4)
    };
    write(&store, |tx| {
        issuance::put_issuer_state(tx, "eu_ca", &state)?;
        issuance::put_renewal(tx, &renewal)?;
        issuance::put_planned_end(tx, SecretId(7), 4, "eu", issuance::PlannedEnd { not_after: NOW, intent: 9 })?;
        issuance::put_account(tx, "acme", &issuance::Account { directory: "https://x".into(), held: 5, url: String::new() })
    });
    assert_eq!(store.read(|tx| issuance::issuer_state(tx, "eu_ca")).unwrap(), state);
    assert_eq!(store.read(|tx| issuance::renewal(tx, SecretId(7))).unwrap(), Some(renewal));
    assert_eq!(store.read(|tx| issuance::troubles(tx, SecretId(1), SecretId(9))).unwrap().len(), 1);
    assert_eq!(store.read(|tx| issuance::planned_end(tx, SecretId(7), 4, "eu")).unwrap().unwrap().intent, 9);
    let ends = store.read(|tx| issuance::planned_ends(tx, SecretId(7), 4, ["web-1", "eu", "all"])).unwrap();
    assert_eq!(ends.into_keys().collect::<Vec<_>>(), ["eu"]);
    assert_eq!(store.read(|tx| issuance::account(tx, "acme")).unwrap().unwrap().held, 5);
    write(&store, |tx| issuance::remove(tx, SecretId(7)));
    assert_eq!(store.read(|tx| issuance::get(tx, SecretId(7))).unwrap(), None);
}

pub(crate) fn what_is_intended_is_signed_once_and_revoked_once(database: &Database) {
    let store = database.open();
    let row = |id: i64, serial: u8| authority::Issued {
        id,
        authority: 1,
        serial: vec![serial; 16],
        secret: SecretId(3),
        version: 2,
        scope: "web-1".into(),
        key: print(serial),
        tbs_hash: print(9),
        der: vec![1, 2, 3],
        state: IssuedState::Intended,
        not_after: NOW + Span::days(90),
        revocable: true,
        intended_at: NOW,
        done_at: None,
        revoked_at: None,
        reason: String::new(),
    };
    write(&store, |tx| {
        authority::intend(tx, &row(1, 1))?;
        authority::intend(tx, &row(2, 2))?;
        authority::intend(tx, &row(3, 3))
    });
    // A serial number is used once.
    assert!(store.write(&crate::harness::actor(), NOW, |tx| authority::intend(tx, &row(4, 1))).is_err());
    assert_eq!(store.read(|tx| authority::intended(tx, NOW + Span::seconds(1), 10)).unwrap().len(), 3);
    assert!(store.read(|tx| authority::intended(tx, NOW, 10)).unwrap().is_empty());
    write(&store, |tx| {
        assert!(authority::signed(tx, 1, &[4], NOW)?);
        assert!(!authority::signed(tx, 1, &[5], NOW)?, "once");
        assert!(authority::end(tx, 2, "its authority is gone", NOW)?);
        assert!(!authority::revoke(tx, 3, "superseded", NOW)?, "it is not signed yet");
        Ok(())
    });
    let one = store.read(|tx| authority::issued_to(tx, SecretId(3), 2, "web-1", &print(1))).unwrap().unwrap();
    assert_eq!((one.state, one.der.as_slice()), (IssuedState::Signed, &[4][..]));
    assert!(store.read(|tx| authority::issued_to(tx, SecretId(3), 2, "web-1", &print(2))).unwrap().is_none());
    write(&store, |tx| {
        assert!(authority::revoke(tx, 1, "key-compromise", NOW)?);
        assert!(!authority::revoke(tx, 1, "superseded", NOW)?);
        Ok(())
    });
    assert!(store.read(|tx| authority::is_compromised(tx, &print(1))).unwrap());
    assert_eq!(store.read(|tx| authority::revoked(tx, 1, NOW, 10)).unwrap().len(), 1);
    assert!(store.read(|tx| authority::revoked(tx, 1, NOW + Span::days(91), 10)).unwrap().is_empty(), "what has ended leaves the list");

    let ca = authority::Authority {
        id: 1,
        issuer: "eu".into(),
        role: AuthorityRole::Issuing,
        state: AuthorityState::Requested,
        subject: "CN=eu".into(),
        certificate: Vec::new(),
        fingerprint: print(0),
        key: print(8),
        held: 4,
        csr: vec![9],
        root: 0,
        permitted: vec!["example.internal".into()],
        not_before: NOW,
        not_after: NOW,
        created_at: NOW,
        crl_number: 1,
    };
    write(&store, |tx| authority::insert(tx, &ca));
    assert_eq!(store.read(|tx| authority::current(tx, "eu")).unwrap(), None);
    let current = authority::Authority { state: AuthorityState::Current, certificate: vec![1], csr: Vec::new(), ..ca };
    write(&store, |tx| {
        authority::update(tx, &current)?;
        authority::put_crl(tx, &authority::Crl { authority: 1, number: 1, der: vec![7], this_update: NOW, next_update: NOW })?;
        authority::remove(tx, 1)
    });
    let now = store.read(|tx| authority::current(tx, "eu")).unwrap().unwrap();
    assert_eq!(now.crl_number, 2, "what signed is not forgotten");
    assert_eq!(store.read(|tx| authority::crl(tx, 1)).unwrap().unwrap().der, [7]);
    assert_eq!(store.read(|tx| authority::first_next_update(tx, "eu", NOW - Span::seconds(1))).unwrap(), Some(NOW));
    assert_eq!(store.read(|tx| authority::first_next_update(tx, "us", NOW)).unwrap(), None);
}

pub(crate) fn orders_and_requests_come_back_and_held_keys_move_with_the_kek(database: &Database) {
    let store = database.open();
    let o = order::Order {
        id: 1,
        issuer: "acme".into(),
        secret: SecretId(3),
        version: 2,
        scope: "all".into(),
        intent: 5,
        state: OrderState::Open,
        csr: vec![1],
        key: print(1),
        held: 11,
        names: vec!["a.example".into()],
        replaces: "x.y".into(),
        url: String::new(),
        chain: Vec::new(),
        attempts: 0,
        failures: 0,
        created_at: NOW,
        placed_at: None,
        tried_at: None,
        done_at: None,
        detail: String::new(),
        problems: Vec::new(),
    };
    let placed = order::Order {
        placed_at: Some(NOW),
        url: "https://o/1".into(),
        problems: vec![("a.example".into(), "no".into())],
        attempts: 1,
        failures: 1,
        ..o.clone()
    };
    let request = order::Request {
        id: 1,
        secret: SecretId(3),
        scope: "all".into(),
        names: vec!["a.example".into()],
        csr: vec![2],
        key: print(2),
        held: 12,
        state: RequestState::Open,
        version: 0,
        actor: "a/b".into(),
        reason: "r".into(),
        created_at: NOW,
        done_at: None,
    };
    write(&store, |tx| {
        order::put(tx, &o)?;
        order::put(tx, &placed)?;
        order::put_request(tx, &request)?;
        secret::insert(tx, &blank(3))?;
        for (id, purpose) in [(11, "request-key"), (12, "ca-key")] {
            held::insert(
                tx,
                &held::Held { id, purpose: purpose.into(), subject: 77, fingerprint: print(3), spki: vec![1], created_at: NOW },
            )?;
            let sealed = secret::Sealed { instance: id, purpose: purpose.into(), kek: "old".into(), wrapped: vec![1], ciphertext: vec![2] };
            secret::insert_sealed(tx, &sealed)?;
        }
        Ok(())
    });
    assert_eq!(store.read(|tx| order::get(tx, 1)).unwrap(), Some(placed.clone()));
    assert_eq!(store.read(|tx| order::of_key(tx, SecretId(3), 2, "all", &print(1))).unwrap(), Some(placed));
    assert_eq!(store.read(|tx| order::placed_since(tx, "acme", NOW - Span::seconds(1))).unwrap(), (1, Some(NOW)));
    assert_eq!(store.read(|tx| order::placed_since(tx, "acme", NOW)).unwrap(), (0, None));
    assert_eq!(store.read(|tx| order::open_requests(tx, SecretId(3), 10)).unwrap(), [request]);
    // A rotation of the store's key finds them, bound to whose they are.
    let wrapped = store.read(|tx| secret::wrapped_by_others(tx, "new", i64::MIN, 10)).unwrap();
    assert_eq!(wrapped.iter().map(|w| (w.instance, w.secret.0, w.version)).collect::<Vec<_>>(), [(11, 77, 0), (12, 77, 0)]);
    write(&store, |tx| held::remove(tx, 11));
    assert!(store.read(|tx| secret::sealed(tx, 11)).unwrap().is_none());
    assert_eq!(store.read(|tx| held::of(tx, "ca-key", 77, 10)).unwrap().len(), 1);
}

pub(crate) fn what_nobody_can_ask_about_any_more_goes(database: &Database) {
    let store = database.open();
    let day = Span::days;
    let row = |id: i64, state: IssuedState, at: Span| authority::Issued {
        id,
        authority: 1,
        serial: vec![id as u8; 16],
        secret: SecretId(3),
        version: 2,
        scope: "all".into(),
        key: print(id as u8),
        tbs_hash: print(9),
        der: vec![1],
        state,
        not_after: NOW + at,
        revocable: true,
        intended_at: NOW + at,
        done_at: Some(NOW + at),
        revoked_at: None,
        reason: String::new(),
    };
    let order = |id: i64, state: OrderState, version: i64, done: Option<Span>| order::Order {
        id,
        issuer: "acme".into(),
        secret: SecretId(3),
        version,
        scope: "all".into(),
        intent: 0,
        state,
        csr: vec![1],
        key: print(id as u8),
        held: id,
        names: Vec::new(),
        replaces: String::new(),
        url: String::new(),
        chain: Vec::new(),
        attempts: 0,
        failures: 0,
        created_at: NOW,
        placed_at: None,
        tried_at: None,
        done_at: done.map(|d| NOW + d),
        detail: String::new(),
        problems: Vec::new(),
    };
    let request = |id: i64, state: RequestState, done: Option<Span>| order::Request {
        id,
        secret: SecretId(3),
        scope: "all".into(),
        names: Vec::new(),
        csr: vec![2],
        key: print(2),
        held: 100 + id,
        state,
        version: 0,
        actor: "a/b".into(),
        reason: "r".into(),
        created_at: NOW,
        done_at: done.map(|d| NOW + d),
    };
    write(&store, |tx| {
        let acme: Vec<Value> = vec!["acme".into(), "".into(), "".into(), 5.into(), day(100).as_secs().into(), "{}".into()];
        inventory::put(tx, inventory::ISSUER, "acme", acme)?;
        secret::insert(tx, &secret::Secret { newest_version: 5, ..blank(3) })?;
        for (id, state, at) in
            [(1, IssuedState::Signed, 1), (2, IssuedState::Signed, 50), (3, IssuedState::Ended, 1), (4, IssuedState::Ended, 50)]
        {
            authority::intend(tx, &row(id, state, day(at)))?;
        }
        authority::intend(tx, &authority::Issued { version: 6, ..row(5, IssuedState::Signed, day(900)) })?;
        for (id, state, version, done) in [
            (1, OrderState::Issued, 4, Some(1)),
            (2, OrderState::Issued, 5, Some(1)),
            (3, OrderState::Failed, 5, Some(1)),
            (4, OrderState::Failed, 5, Some(50)),
            (5, OrderState::Open, 6, None),
        ] {
            order::put(tx, &order(id, state, version, done.map(day)))?;
        }
        order::put_request(tx, &request(1, RequestState::Answered, Some(day(1))))?;
        order::put_request(tx, &request(2, RequestState::Open, None))?;
        for version in 1..=5 {
            issuance::put_planned_end(tx, SecretId(3), version, "all", issuance::PlannedEnd { not_after: NOW, intent: 1 })?;
        }
        // What names them: nothing, an open order, an open request, what is signed for a version that is not stored yet, an authority.
        for (id, purpose, key) in [
            (99, "request-key", print(99)),
            (5, "request-key", print(98)),
            (102, "request-key", print(97)),
            (98, "request-key", print(5)),
            (97, "ca-key", print(96)),
        ] {
            held::insert(tx, &held::Held { id, purpose: purpose.into(), subject: 3, fingerprint: key, spki: vec![1], created_at: NOW })?;
        }
        authority::leaked(tx, &print(1), NOW)?;
        authority::leaked(tx, &print(1), NOW + day(1))
    });
    let before = NOW + day(10);
    let gone = store
        .write(&crate::harness::actor(), NOW, |tx| {
            Ok([
                authority::prune_expired(tx, before, 10)?,
                authority::prune_ended(tx, before, 10)?,
                order::prune(tx, NOW + day(20), day(90), 10)?,
                order::prune_requests(tx, before, 10)?,
                issuance::prune_planned(tx, 2)?,
                issuance::prune_planned(tx, 10)?,
                held::prune_requests(tx, before, 10)?,
            ])
        })
        .unwrap();
    // The window of the budget is ten days wider than what is kept anyway.
    assert_eq!(gone, [1, 1, 2, 1, 2, 1, 1]);
    let left = store.read(|tx| order::of_secret(tx, SecretId(3), 10)).unwrap();
    assert_eq!(left.iter().map(|o| o.id).collect::<Vec<_>>(), [5, 4, 2]);
    assert_eq!(store.read(|tx| order::open_of(tx, SecretId(3), 10)).unwrap().len(), 1);
    let held: Vec<i64> = store.read(|tx| held::of(tx, "request-key", 3, 10)).unwrap().iter().map(|h| h.id).collect();
    assert_eq!(held, [102, 98, 5]);
    assert!(store.read(|tx| held::has(tx, "request-key", 3, &print(98))).unwrap());
    assert!(store.read(|tx| authority::is_compromised(tx, &print(1))).unwrap());
    assert!(!store.read(|tx| authority::is_compromised(tx, &print(2))).unwrap());
    let usable = store.read(|tx| authority::usable_for(tx, SecretId(3), 2, 0, 10)).unwrap();
    assert_eq!(usable.iter().map(|i| i.id).collect::<Vec<_>>(), [2]);
    assert_eq!(store.read(|tx| authority::nth_newest(tx, "nobody", 1)).unwrap(), None);
}
