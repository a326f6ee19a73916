//! A manifest that a person carried here, in an emergency in which the store is gone. It is believed for its signature, as ever.

use std::sync::Arc;

use api::agent::{Keys, Material, SignedManifest};

use crate::{
    Around, Config,
    error::Error,
    install, manifest, places,
    seal::Lock,
    standing::{self, Standing},
    state::{State, ders},
    supply,
};

/// Acts on a signed manifest from a file, with certificates from a file where they are not here yet.
///
/// # Errors
/// The node has not joined, the manifest is none of its store's, or material does not belong to it.
pub async fn apply(config: Config, around: Around, signed: &SignedManifest, material: &[Material]) -> Result<Vec<Standing>, Error> {
    let lock = Lock::given(around.credentials.as_deref())?;
    let state = Arc::new(State::hold(&config.state, lock)?);
    let identity = state.identity()?.ok_or(Error::NotJoined)?;
    let known = state.known()?.ok_or(Error::NotJoined)?;
    let accepted = manifest::accept(signed, &known)?;
    for one in material {
        let wanted = accepted.manifest.installs.iter().find(|wanted| wanted.secret == one.secret && wanted.version == one.version);
        let wanted = wanted.ok_or_else(|| {
            Error::Manifest(format!("it does not name version {} of {}, which was given", one.version, pki::text::escape(&one.secret)))
        })?;
        // Nothing but the manifest's signature vouches for what a person carried.
        let leaves = one.pairs.iter().map(|pair| ders(pair.chain.get(..1).unwrap_or_default())).collect::<Result<Vec<_>, _>>()?;
        let named = |der: &Vec<u8>| wanted.leaves.iter().any(|leaf| pki::Fingerprint::parse(leaf) == Ok(pki::Fingerprint::of(der)));
        let born_here = wanted.keys == Keys::Node && wanted.leaves.is_empty() && one.pairs.iter().all(|pair| pair.key.is_none());
        if !born_here && !leaves.iter().flatten().all(named) {
            return Err(Error::Manifest(format!("it does not name the certificate that was given for {}", wanted.secret)));
        }
        supply::take(&state, one, wanted, accepted.known.epoch)?;
    }
    state.set_known(&accepted.known)?;
    let hands = install::Hands::new(&state, &identity.node, &around, false)?;
    for install in &config.installs {
        let wanted = accepted.manifest.installs.iter().find(|wanted| wanted.secret == install.secret);
        if let Some(job) = places::job(&state, install, wanted, accepted.known.epoch)? {
            places::work(&hands, vec![job]).await.said.iter().for_each(|what| (around.say)(what));
        }
    }
    let missing = |_: &str| Some("its certificate is not here, and was not given".to_owned());
    standing::of(&state, &config, Some(&accepted.manifest), missing)
}
