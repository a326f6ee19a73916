//! What is asked of the tables of the product with more than one row in mind.

use domain::{Fingerprint, Span, words::SecretId};
use store::{Tx, model::secret};

use crate::harness::{Database, NOW, write};

fn fingerprint(first: u8, last: u8) -> Fingerprint {
    let mut bytes = [first; 32];
    bytes[31] = last;
    Fingerprint::from_bytes(bytes)
}

fn instance(tx: &mut Tx<'_>, secret: i64, leaf: Fingerprint, key: Fingerprint) -> store::Result<()> {
    let id = tx.next_id("instance")?;
    let row = secret::Instance {
        id,
        secret: SecretId(secret),
        version: 1,
        scope: "all".into(),
        key_type: "ecdsa".into(),
        leaf,
        key,
        not_before: NOW,
        not_after: NOW + Span::days(90),
        subject: String::new(),
        issuer: String::new(),
        chain: Vec::new(),
    };
    secret::insert_instance(tx, &row)
}

/// The index holds the beginning of a fingerprint alone; what only begins alike is not the same.
pub(crate) fn a_fingerprint_is_found_whole(database: &Database) {
    let store = database.open();
    write(&store, |tx| {
        for id in 1..=4 {
            let sql = "INSERT INTO secret (id, name, kind, management, renewal, release_bound, team, service, policy, override_reason, names, \
                       issuers, declared_at, declared, completed_unaided, newest_version, generation, owner, served_kind, margin_at, \
                       target_count, open_findings) VALUES ($1, $2, 'certificate', 'managed', 'by-hand', 0, '', '', '', '', '[]', '[]', 0, 0, \
                       0, 1, 0, '', 0, 0, 0, 0)";
            tx.execute(sql, &[i64::into(id), format!("s{id}").into()])?;
        }
        instance(tx, 1, fingerprint(7, 1), fingerprint(9, 1))?;
        instance(tx, 2, fingerprint(7, 2), fingerprint(9, 1))?;
        instance(tx, 3, fingerprint(7, 1), fingerprint(9, 2))?;
        instance(tx, 4, fingerprint(8, 1), fingerprint(9, 3))
    });
    let read = |leaf| store.read(|tx| secret::known_leaf(tx, &leaf)).unwrap();
    let name = |id: i64| (SecretId(id), format!("s{id}"), 1);
    assert_eq!(read(fingerprint(7, 1)), [name(1), name(3)]);
    assert_eq!(read(fingerprint(7, 2)), [name(2)]);
    assert_eq!(read(fingerprint(7, 3)), []);
    let sharing = store.read(|tx| secret::sharing_between(tx, SecretId(1), SecretId(4))).unwrap();
    assert_eq!(sharing.into_iter().collect::<Vec<_>>(), [SecretId(1), SecretId(2)]);
    assert_eq!(store.read(|tx| secret::sharing_key(tx, SecretId(1), 1)).unwrap(), ["s2"]);
    assert_eq!(store.read(|tx| secret::sharing_key(tx, SecretId(3), 1)).unwrap(), [""; 0]);
}
