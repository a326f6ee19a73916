//! Only what the store signed for this node, and only forward.

use api::agent::{MANIFEST_CONTEXT, MOST_INSTALLS, Manifest, SignedManifest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use pki::{detached, text::escape};

use crate::{error::Error, state::Known};

/// Largest payload, in bytes.
const MOST_BYTES: usize = 8 << 20;

/// A manifest that may be acted on. Only [`accept`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// What it says.
    pub manifest: Manifest,
    /// What is known from now on.
    pub known: Known,
    /// Whether it says more than was known.
    pub is_new: bool,
}

/// Verifies a manifest against what is known.
///
/// # Errors
/// [`Error::Manifest`] with the reason: another store, another node, an earlier life or generation, a signature that is not the store's.
pub fn accept(signed: &SignedManifest, known: &Known) -> Result<Accepted, Error> {
    let refuse = |why: String| Err(Error::Manifest(why));
    if signed.payload.len() > MOST_BYTES {
        return refuse(format!("it is larger than {MOST_BYTES} bytes"));
    }
    let (Ok(payload), Ok(signature)) = (STANDARD.decode(&signed.payload), STANDARD.decode(&signed.signature)) else {
        return refuse("payload or signature is no base64".to_owned());
    };
    // Nothing is read before its signature is verified: by the key that signed the last one, or by the one that the last one announced.
    let next = resume(known).and_then(|last| last.next_key);
    let fits = |key: &&String| STANDARD.decode(key).is_ok_and(|key| detached::verify(&key, MANIFEST_CONTEXT, &payload, &signature).is_ok());
    let Some(key) = [Some(&known.key), next.as_ref()].into_iter().flatten().find(fits).cloned() else {
        return refuse("its signature is not that of the store that this node joined".to_owned());
    };
    let manifest: Manifest =
        serde_json::from_slice(&payload).map_err(|error| Error::Manifest(format!("it does not read as one: {error}")))?;
    if manifest.store != known.store {
        return refuse(format!("it comes from store {}, and this node joined {}", escape(&manifest.store), known.store));
    }
    if manifest.node != known.node {
        return refuse(format!("it is for node {}, and this is {}", escape(&manifest.node), known.node));
    }
    if manifest.epoch < known.epoch {
        return refuse(format!("it comes from life {} of the store, and life {} was seen already", manifest.epoch, known.epoch));
    }
    // A restored store begins a new life; whether its numbers go on is its business, but within one they only go forward.
    if manifest.epoch == known.epoch && manifest.generation < known.generation {
        return refuse(format!("it is generation {}, and {} is acted on already", manifest.generation, known.generation));
    }
    if manifest.installs.len() > MOST_INSTALLS {
        return refuse(format!("it names {} secrets, more than {MOST_INSTALLS}", manifest.installs.len()));
    }
    if let Some(install) = manifest.installs.iter().find(|install| !api::fleet::is_name(&install.secret) || install.version < 1) {
        return refuse(format!("{} version {} is nothing that can be installed", escape(&install.secret), install.version));
    }
    if manifest.installs.windows(2).any(|pair| matches!(pair, [a, b] if a.secret >= b.secret)) {
        return refuse("its secrets are not in order, or one stands there twice".to_owned());
    }
    let before = resume(known).filter(|before| (before.epoch, before.generation) == (manifest.epoch, manifest.generation));
    if before.as_ref().is_some_and(|before| manifest.issued_at < before.issued_at) {
        return refuse(format!("generation {} was seen before as it was made later, {}", manifest.generation, escape(&manifest.issued_at)));
    }
    let is_new = before.is_none_or(|before| before.installs != manifest.installs);
    let known = Known { epoch: manifest.epoch, generation: manifest.generation, key, signed: Some(signed.clone()), ..known.clone() };
    Ok(Accepted { manifest, known, is_new })
}

/// The manifest that is acted on, read again after a restart. It was verified when it was taken, and the folder says whose word it was.
#[must_use]
pub fn resume(known: &Known) -> Option<Manifest> {
    let signed = known.signed.as_ref()?;
    serde_json::from_slice(&STANDARD.decode(&signed.payload).ok()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use api::agent::{Install, Keys};
    use pki::PrivateKey;

    fn manifest() -> Manifest {
        let install = Install {
            secret: "www".into(),
            version: 3,
            keys: Keys::Node,
            key_type: "ecdsa-p256".into(),
            names: vec!["www.example".into()],
            leaves: vec![],
            since: 7,
            fault: None,
        };
        Manifest {
            store: "s".into(),
            epoch: 2,
            node: "web-1".into(),
            generation: 7,
            issued_at: "2026-01-01T00:00:00Z".into(),
            installs: vec![install],
            next_key: None,
        }
    }

    fn sign(key: &PrivateKey, manifest: &Manifest) -> SignedManifest {
        let payload = serde_json::to_vec(manifest).unwrap();
        let signature = detached::sign(key, MANIFEST_CONTEXT, &payload).unwrap();
        SignedManifest { payload: STANDARD.encode(payload), signature: STANDARD.encode(signature) }
    }

    fn known(key: &PrivateKey) -> Known {
        let key = STANDARD.encode(key.spki_der());
        Known { store: "s".into(), epoch: 2, node: "web-1".into(), generation: 6, key, signed: None }
    }

    #[test]
    fn only_what_the_store_signed_for_this_node_and_only_forward() {
        let (key, other) = (detached::generate(&[1; 32]).unwrap(), detached::generate(&[2; 32]).unwrap());
        let check = |change: &dyn Fn(&mut Manifest), expected: Result<bool, &str>| {
            let mut manifest = manifest();
            change(&mut manifest);
            match (accept(&sign(&key, &manifest), &known(&key)), expected) {
                (Ok(accepted), Ok(new)) => assert_eq!((accepted.is_new, accepted.manifest), (new, manifest)),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (got, _) => panic!("{expected:?}: {got:?}"),
            }
        };
        check(&|_| (), Ok(true));
        check(&|m| m.generation = 6, Ok(true));
        check(&|m| m.generation = 5, Err("generation 5, and 6"));
        check(&|m| m.epoch = 1, Err("life 1"));
        check(&|m| (m.epoch, m.generation) = (3, 1), Ok(true));
        check(&|m| m.store = "t".into(), Err("from store t"));
        check(&|m| m.node = "web-2".into(), Err("for node web-2"));
        check(&|m| m.installs[0].secret = "../x".into(), Err("nothing that can be installed"));
        check(&|m| m.installs[0].version = 0, Err("nothing that can be installed"));
        check(&|m| m.installs.push(m.installs[0].clone()), Err("twice"));
        let foreign = sign(&other, &manifest());
        assert!(accept(&foreign, &known(&key)).unwrap_err().to_string().contains("signature"));
        let mut bent = sign(&key, &manifest());
        bent.payload = STANDARD.encode(serde_json::to_vec(&Manifest { generation: 8, ..manifest() }).unwrap());
        assert!(accept(&bent, &known(&key)).unwrap_err().to_string().contains("signature"));
        bent.payload = "§".into();
        assert!(accept(&bent, &known(&key)).unwrap_err().to_string().contains("base64"));
    }

    #[test]
    fn the_same_generation_says_the_same() {
        let key = detached::generate(&[1; 32]).unwrap();
        let signed = sign(&key, &manifest());
        let first = accept(&signed, &known(&key)).unwrap();
        let again = accept(&signed, &first.known).unwrap();
        assert!(!again.is_new && again.known == first.known);
        // Made again for the same generation, perhaps with the leaf that was born meanwhile; but never an earlier one.
        let later = sign(&key, &Manifest { issued_at: "2026-01-02T00:00:00Z".into(), ..manifest() });
        let later = accept(&later, &first.known).unwrap();
        assert!(!later.is_new);
        assert!(accept(&signed, &later.known).unwrap_err().to_string().contains("made later"));
        assert_eq!(resume(&first.known), Some(manifest()));
    }

    #[test]
    fn a_new_key_is_announced_by_the_old_one() {
        let (old, new) = (detached::generate(&[1; 32]).unwrap(), detached::generate(&[2; 32]).unwrap());
        let announced = Manifest { next_key: Some(STANDARD.encode(new.spki_der())), ..manifest() };
        let known = accept(&sign(&old, &announced), &known(&old)).unwrap().known;
        let next = Manifest { generation: 8, ..announced };
        // Until the new one is at work the old one goes on: others may not have heard of it yet.
        let known = accept(&sign(&old, &next), &known).unwrap().known;
        let done = Manifest { next_key: None, ..next };
        let known = accept(&sign(&new, &done), &known).unwrap().known;
        assert!(accept(&sign(&old, &done), &known).is_err());
        assert!(accept(&sign(&new, &Manifest { generation: 9, ..done }), &known).is_ok());
    }
}
