//! The certificates of a scenario: made from its seed, the same ones each time.

use crate::{
    Error, Result,
    scenario::{Leaf, Scenario},
};
use pki::{
    Certificate, Fingerprint, PrivateKey,
    build::{Authority, AuthorityOptions, LeafOptions},
};
use std::collections::BTreeMap;

/// A leaf, what is sent with it, and its key.
pub(crate) struct Made {
    pub(crate) chain: Vec<Certificate>,
    pub(crate) key: PrivateKey,
}

/// All that a scenario names.
pub(crate) struct Certificates {
    pub(crate) roots: BTreeMap<String, (Certificate, bool)>,
    pub(crate) leaves: BTreeMap<String, Made>,
}

impl Certificates {
    pub(crate) fn new(scenario: &Scenario, seed: u64) -> Result<Certificates> {
        let mut cas: BTreeMap<&str, (Authority, Option<&str>)> = BTreeMap::new();
        let mut roots = BTreeMap::new();
        for it in &scenario.ca {
            let failed = |error| Error::Certificate(it.name.clone(), error);
            let made = match it.signed_by.as_deref() {
                None => {
                    let root = Authority::repeatable(&it.name, &grain(seed, &it.name), it.from, it.until).map_err(failed)?;
                    roots.insert(it.name.clone(), (root.certificate().clone(), it.public));
                    root
                }
                Some(by) => {
                    let key = PrivateKey::ed25519_of(&grain(seed, &it.name)).map_err(|error| failed(error.into()))?;
                    let (above, _) = cas.get(by).ok_or_else(|| Error::Scenario(format!("no [[ca]] is called `{by}`")))?;
                    above.intermediate_for(key, &it.name, it.from, it.until, &AuthorityOptions::default()).map_err(failed)?
                }
            };
            cas.insert(&it.name, (made, it.signed_by.as_deref()));
        }
        let mut leaves = BTreeMap::new();
        for it in &scenario.certificate {
            leaves.insert(it.name.clone(), leaf(it, &cas, seed)?);
        }
        Ok(Certificates { roots, leaves })
    }

    pub(crate) fn leaf(&self, name: &str) -> Result<&Made> {
        self.leaves.get(name).ok_or_else(|| Error::Scenario(format!("no [[certificate]] is called `{name}`")))
    }
}

fn leaf(it: &Leaf, cas: &BTreeMap<&str, (Authority, Option<&str>)>, seed: u64) -> Result<Made> {
    let failed = |error| Error::Certificate(it.name.clone(), error);
    let unknown = |name: &str| Error::Scenario(format!("no [[ca]] is called `{name}`"));
    let key = PrivateKey::ed25519_of(&grain(seed, &it.name)).map_err(|error| failed(error.into()))?;
    let (ca, _) = cas.get(it.ca.as_str()).ok_or_else(|| unknown(&it.ca))?;
    let certificate = ca.issue(&key, &it.names, it.from, it.until, &LeafOptions::default()).map_err(failed)?;
    let mut chain = vec![certificate];
    if let Some(sent) = &it.sends {
        for name in sent {
            chain.push(cas.get(name.as_str()).ok_or_else(|| unknown(name))?.0.certificate().clone());
        }
    } else {
        let mut at = it.ca.as_str();
        while let Some((ca, Some(above))) = cas.get(at) {
            chain.push(ca.certificate().clone());
            at = above;
        }
    }
    Ok(Made { chain, key })
}

/// The seed of one key.
fn grain(seed: u64, name: &str) -> [u8; 32] {
    *Fingerprint::of(format!("perennial simulation {seed}\0{name}").as_bytes()).as_bytes()
}
