//! Brings a version to this node: a key that was born here with the chain that comes down for it, or chain and key that are sent.

use api::agent::{Fetch, Install, Keys, Material, Request};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use pki::{Certificate, KeyType, PrivateKey};
use zeroize::Zeroizing;

use crate::{
    error::Error,
    install::Step,
    join::request,
    seal::Kept,
    state::{Pair, State, Version, ders, version_place},
    wire::{Answer, Store, Trouble},
};

/// Most pairs of one version: one for each key type.
const MOST_PAIRS: usize = 8;

/// What asking came to.
pub(crate) enum Supplied {
    /// It is here.
    Here,
    /// Not before so many seconds; what is waited for.
    Later(u64, String),
}

/// A version that is here, ready to be installed: one that was brought in this life of the store, or whose leaves the manifest names. A
/// restored store gives the numbers out anew, and the same number may then mean another certificate.
pub(crate) fn here(state: &State, wanted: &Install, epoch: i64) -> Result<Option<Version>, Error> {
    let Some(version) = state.version(&wanted.secret, wanted.version)?.filter(|version| !version.pairs.is_empty()) else { return Ok(None) };
    let named = |pair: &Pair| -> Result<bool, Error> {
        let leaf = ders(pair.chain.get(..1).unwrap_or_default())?.first().map(|der| pki::Fingerprint::of(der));
        Ok(wanted.leaves.iter().any(|one| pki::Fingerprint::parse(one).ok() == leaf))
    };
    if version.epoch != epoch {
        for pair in &version.pairs {
            if !named(pair)? {
                return Ok(None);
            }
        }
    }
    Ok(Some(version))
}

/// The key that was born here for this version: of this life of the store, or where the store has signed for one already.
fn born_before(version: Option<&Version>, wanted: &Install, epoch: i64) -> Option<Kept> {
    version.filter(|version| version.epoch == epoch || !wanted.leaves.is_empty()).and_then(|version| version.born.clone())
}

/// Asks the store for a version.
pub(crate) async fn supply(
    state: &State,
    store: &Store,
    wanted: &Install,
    (epoch, generation): (i64, i64),
    step: &Step,
) -> Result<Supplied, Trouble> {
    let (secret, version) = (wanted.secret.clone(), wanted.version);
    let answer = match wanted.keys {
        Keys::Store => store.fetch(&Fetch { secret, version, generation, instance: None }).await?,
        Keys::Node => {
            let key = born(state, wanted, epoch)?;
            step("born");
            let csr = STANDARD.encode(request(&key, &wanted.names)?);
            store.request(&Request { secret, version, generation, csr, instance: None }).await?
        }
    };
    match answer {
        Answer::Later(seconds, detail) => Ok(Supplied::Later(seconds, detail)),
        Answer::Here(material) => {
            take(state, &material, wanted, epoch)?;
            step("brought");
            Ok(Supplied::Here)
        }
    }
}

/// The key of this version that was born here: made once, and on the disk before anybody hears of it.
fn born(state: &State, wanted: &Install, epoch: i64) -> Result<PrivateKey, Error> {
    let place = version_place(&wanted.secret, wanted.version);
    if let Some(kept) = born_before(state.version(&wanted.secret, wanted.version)?.as_ref(), wanted, epoch) {
        return state.open_key(&place, &kept);
    }
    let kind = key_type(&wanted.key_type)
        .ok_or_else(|| Error::Manifest(format!("no key of type {} can be made here", pki::text::escape(&wanted.key_type))))?;
    let key = PrivateKey::generate(kind).map_err(|error| Error::Key(error.to_string()))?;
    let born = Some(state.keep_key(&place, &key)?);
    state.set_version(&Version { secret: wanted.secret.clone(), version: wanted.version, epoch, pairs: Vec::new(), born })?;
    Ok(key)
}

fn key_type(text: &str) -> Option<KeyType> {
    Some(match text {
        "ecdsa-p256" => KeyType::EcdsaP256,
        "ecdsa-p384" => KeyType::EcdsaP384,
        "rsa-2048" => KeyType::Rsa2048,
        "rsa-3072" => KeyType::Rsa3072,
        "ed25519" => KeyType::Ed25519,
        _ => return None,
    })
}

/// Keeps what came, if it is what was asked for and every key fits its chain.
pub(crate) fn take(state: &State, material: &Material, wanted: &Install, epoch: i64) -> Result<(), Error> {
    if material.secret != wanted.secret || material.version != wanted.version {
        let (secret, version) = (pki::text::escape(&material.secret), material.version);
        return Err(Error::Answer(format!(
            "version {version} of {secret} came where {} of {} was asked for",
            wanted.version, wanted.secret
        )));
    }
    if material.pairs.is_empty() || material.pairs.len() > MOST_PAIRS {
        return Err(Error::Answer(format!("{} certificates came, not 1 to {MOST_PAIRS}", material.pairs.len())));
    }
    let place = version_place(&wanted.secret, wanted.version);
    let born = born_before(state.version(&wanted.secret, wanted.version)?.as_ref(), wanted, epoch);
    let mut pairs = Vec::with_capacity(material.pairs.len());
    for pair in &material.pairs {
        let key = match (&pair.key, &born) {
            (Some(text), _) => {
                let der = Zeroizing::new(STANDARD.decode(&text.0).map_err(|_| Error::Answer("a key is no base64".to_owned()))?);
                PrivateKey::from_der(&der).map_err(|error| Error::Answer(format!("a key cannot be used: {error}")))?
            }
            (None, Some(kept)) => state.open_key(&place, kept)?,
            (None, None) => return Err(Error::Answer("a chain came without a key, and none was born here for this version".to_owned())),
        };
        let first = ders(pair.chain.get(..1).unwrap_or_default())?.into_iter().next().unwrap_or_default();
        let leaf = Certificate::parse(first).map_err(|error| Error::Answer(format!("a leaf is no certificate: {error}")))?;
        if !key.fits(&leaf) {
            return Err(Error::Answer(format!("the chain of {} is for another key", leaf.subject())));
        }
        pairs.push(Pair { chain: pair.chain.clone(), key: state.keep_key(&place, &key)? });
    }
    state.set_version(&Version { secret: wanted.secret.clone(), version: wanted.version, epoch, pairs, born })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::seal::Lock;
    use api::agent::KeyText;
    use pki::{Authority, LeafOptions, Time};

    fn wanted() -> Install {
        let (names, key_type) = (vec!["www.example".into()], "ecdsa-p256".into());
        Install { secret: "www".into(), version: 3, keys: Keys::Node, key_type, names, leaves: vec![], since: 1, fault: None }
    }

    #[test]
    fn a_key_is_born_once_and_only_its_own_chain_is_taken() {
        let home = tempfile::tempdir().unwrap();
        let state = State::hold(&home.path().join("state"), Lock::ModeAlone).unwrap();
        let key = born(&state, &wanted(), 1).unwrap();
        assert_eq!(born(&state, &wanted(), 1).unwrap().spki_fingerprint(), key.spki_fingerprint());
        let (from, until) = (Time::from_unix(0), Time::from_unix(1_000_000));
        let root = Authority::new("Root", from, until).unwrap();
        let chain = |key: &PrivateKey| {
            let leaf = root.issue(key, &["www.example"], from, until, &LeafOptions::default()).unwrap();
            vec![STANDARD.encode(leaf.der())]
        };
        let other = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        let sent = |key: &PrivateKey| Some(KeyText(STANDARD.encode(key.expose_pkcs8())));
        let material = |version, pairs| Material { secret: "www".into(), version, pairs };
        let pair = |chain, key| vec![api::agent::Pair { chain, key }];
        let check = |material: &Material, expected: &str| {
            let said = take(&state, material, &wanted(), 1).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
            assert!(here(&state, &wanted(), 1).unwrap().is_none());
        };
        check(&material(4, pair(chain(&key), None)), "version 4 of www came");
        check(&material(3, pair(chain(&other), None)), "another key");
        check(&material(3, pair(chain(&other), sent(&key))), "another key");
        check(&material(3, pair(vec!["!".into()], None)), "base64");
        check(&material(3, pair(vec![], None)), "no certificate");
        check(&material(3, vec![]), "0 certificates");
        check(&material(3, pair(chain(&key), Some(KeyText("!".into())))), "base64");
        take(&state, &material(3, pair(chain(&key), None)), &wanted(), 1).unwrap();
        assert!(here(&state, &wanted(), 1).unwrap().is_some());
        assert_eq!(born(&state, &wanted(), 1).unwrap().spki_fingerprint(), key.spki_fingerprint());
        // The store was restored: its version 3 is another one now, unless its manifest names the very leaf that is here.
        assert!(here(&state, &wanted(), 2).unwrap().is_none());
        let leaf = |chain: &[String]| pki::Fingerprint::of(&STANDARD.decode(&chain[0]).unwrap()).to_string();
        let lying = here(&state, &wanted(), 1).unwrap().unwrap().pairs.remove(0).chain;
        let mut named = Install { leaves: vec![leaf(&lying)], ..wanted() };
        assert!(here(&state, &named, 2).unwrap().is_some());
        named.leaves = vec![leaf(&chain(&other))];
        assert!(here(&state, &named, 2).unwrap().is_none());
        // Another version has another key, and what comes for it takes the place of the old one.
        let next = born(&state, &wanted(), 2).unwrap();
        assert_ne!(next.spki_fingerprint(), key.spki_fingerprint());
        let refused = take(&state, &material(3, pair(chain(&key), None)), &wanted(), 2).unwrap_err().to_string();
        assert!(refused.contains("another key"), "{refused}");
        take(&state, &material(3, pair(chain(&next), None)), &wanted(), 2).unwrap();
        assert!(here(&state, &wanted(), 2).unwrap().is_some());
    }
}
