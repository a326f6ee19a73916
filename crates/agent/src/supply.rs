//! Brings a version to this node: a key that was born here with the chain that comes down for it, or chain and key that are sent.

use api::agent::{Fetch, Install, Keys, Material, Request};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use pki::{Certificate, KeyType, PrivateKey};
use zeroize::Zeroizing;

use crate::{
    error::Error,
    install::Step,
    join::request,
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

/// Whether a version is here, ready to be installed.
pub(crate) fn is_here(state: &State, wanted: &Install) -> Result<bool, Error> {
    Ok(state.version(&wanted.secret, wanted.version)?.is_some_and(|version| !version.pairs.is_empty()))
}

/// Asks the store for a version.
pub(crate) async fn supply(state: &State, store: &Store, wanted: &Install, generation: i64, step: &Step) -> Result<Supplied, Trouble> {
    let (secret, version) = (wanted.secret.clone(), wanted.version);
    let answer = match wanted.keys {
        Keys::Store => store.fetch(&Fetch { secret, version, generation }).await?,
        Keys::Node => {
            let key = born(state, wanted)?;
            step("born");
            let csr = STANDARD.encode(request(&key, &wanted.names)?);
            store.request(&Request { secret, version, generation, csr }).await?
        }
    };
    match answer {
        Answer::Later(seconds, detail) => Ok(Supplied::Later(seconds, detail)),
        Answer::Here(material) => {
            take(state, &material, wanted)?;
            step("brought");
            Ok(Supplied::Here)
        }
    }
}

/// The key of this version that was born here: made once, and on the disk before anybody hears of it.
fn born(state: &State, wanted: &Install) -> Result<PrivateKey, Error> {
    let place = version_place(&wanted.secret, wanted.version);
    let known = state.version(&wanted.secret, wanted.version)?;
    if let Some(kept) = known.as_ref().and_then(|version| version.born.as_ref()) {
        return state.open_key(&place, kept);
    }
    let kind = key_type(&wanted.key_type)
        .ok_or_else(|| Error::Manifest(format!("no key of type {} can be made here", pki::text::escape(&wanted.key_type))))?;
    let key = PrivateKey::generate(kind).map_err(|error| Error::Key(error.to_string()))?;
    let born = Some(state.keep_key(&place, &key)?);
    state.set_version(&Version { secret: wanted.secret.clone(), version: wanted.version, pairs: Vec::new(), born })?;
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
pub(crate) fn take(state: &State, material: &Material, wanted: &Install) -> Result<(), Error> {
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
    let before = state.version(&wanted.secret, wanted.version)?;
    let born = before.as_ref().and_then(|version| version.born.clone());
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
    state.set_version(&Version { secret: wanted.secret.clone(), version: wanted.version, pairs, born })
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
        let key = born(&state, &wanted()).unwrap();
        assert_eq!(born(&state, &wanted()).unwrap().spki_fingerprint(), key.spki_fingerprint());
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
            let said = take(&state, material, &wanted()).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
            assert!(!is_here(&state, &wanted()).unwrap());
        };
        check(&material(4, pair(chain(&key), None)), "version 4 of www came");
        check(&material(3, pair(chain(&other), None)), "another key");
        check(&material(3, pair(chain(&other), sent(&key))), "another key");
        check(&material(3, pair(vec!["!".into()], None)), "base64");
        check(&material(3, pair(vec![], None)), "no certificate");
        check(&material(3, vec![]), "0 certificates");
        check(&material(3, pair(chain(&key), Some(KeyText("!".into())))), "base64");
        take(&state, &material(3, pair(chain(&key), None)), &wanted()).unwrap();
        assert!(is_here(&state, &wanted()).unwrap());
        assert_eq!(born(&state, &wanted()).unwrap().spki_fingerprint(), key.spki_fingerprint());
    }
}
