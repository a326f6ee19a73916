//! From a string that a person carried to an identity that renews itself.

use api::agent::{Invitation, Join, Renew};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use pki::{Certificate, PrivateKey, Time};

use crate::{
    Around, clock,
    error::Error,
    state::{Identity, Known, State, ders, leaf},
    wire::{Store, Trouble},
};

/// This agent's version, as it is told.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Joins the store that the invitation names. `again` is for a node that has an identity: it gets another one, and keeps what it has installed.
///
/// # Errors
/// The node joined already, the store is not the one that the string means, or it refused.
pub async fn join(state: &State, invitation: &Invitation, again: bool, around: &Around) -> Result<Identity, Error> {
    if let Some(Identity { store, node, .. }) = state.identity()?.filter(|_| !again) {
        return Err(Error::Joined { store, node });
    }
    let key = state.joining_key()?;
    (around.step)("joining");
    let store = Store::first(&invitation.store, &invitation.ca)?;
    let join = Join {
        token: invitation.token.clone(),
        csr: STANDARD.encode(request(&key, &[])?),
        clock: (around.now)().to_string(),
        agent: VERSION.to_owned(),
        instance: around.instance.clone(),
    };
    let joined = store.join(&join).await.map_err(|trouble| trouble.error)?;
    (around.step)("joined");
    let chain = fitting(&joined.identity.chain, &key)?;
    // Only whom the string meant is believed from now on, and whom that one vouches for.
    if !joined.identity.roots.contains("-----BEGIN CERTIFICATE-----") {
        return Err(Error::Answer("it names nobody to believe from now on".to_owned()));
    }
    let identity = Identity {
        node: joined.node.clone(),
        store: joined.store.clone(),
        address: invitation.store.clone(),
        roots: joined.identity.roots,
        chain,
        key: state.keep_key("identity", &key)?,
    };
    let same = |before: &Known| before.store == joined.store && before.node == joined.node && before.epoch == joined.epoch;
    let known = match state.known()?.filter(same) {
        Some(before) => Known { key: joined.manifest_key, ..before },
        None => {
            Known { store: joined.store, epoch: joined.epoch, node: joined.node, generation: 0, key: joined.manifest_key, signed: None }
        }
    };
    // An identity that cannot be used is none: better to know now than at the first poll.
    Store::known(state, &identity, &around.instance)?;
    state.joined(&identity, &known)?;
    Ok(identity)
}

/// Whether less than a third of the client certificate's life is left.
pub(crate) fn is_due(identity: &Identity, now: Time) -> bool {
    renew_at(identity).is_none_or(|at| now >= at)
}

/// When a third is left.
pub(crate) fn renew_at(identity: &Identity) -> Option<Time> {
    let leaf = leaf(identity)?;
    Some(Time::from_unix(leaf.not_after().unix() - leaf.lifetime().as_secs() / 3))
}

/// A new certificate for the same key. The key is what the store knows this agent by, so it proves itself after the certificate's end too.
pub(crate) async fn renew(state: &State, identity: &Identity, store: &Store, around: &Around) -> Result<(Identity, Option<i64>), Trouble> {
    let key = state.identity_key(identity)?;
    let now = (around.now)();
    let renew = Renew { csr: STANDARD.encode(request(&key, &[])?), clock: now.to_string(), instance: around.instance.clone() };
    let renewed = store.renew(&renew).await?;
    (around.step)("renewed");
    let chain = fitting(&renewed.chain, &key)?;
    let next = Identity { chain, roots: renewed.roots, key: state.keep_key("identity", &key)?, ..identity.clone() };
    Store::known(state, &next, &around.instance)?;
    state.set_identity(&next)?;
    Ok((next, clock::ahead(now, &renewed.clock)))
}

fn fitting(chain: &[String], key: &PrivateKey) -> Result<Vec<String>, Error> {
    let first = ders(chain.get(..1).unwrap_or_default())?.into_iter().next().unwrap_or_default();
    let leaf = Certificate::parse(first).map_err(|error| Error::Answer(format!("the client certificate is none: {error}")))?;
    if !key.fits(&leaf) {
        return Err(Error::Answer("the client certificate is for another key than this agent's".to_owned()));
    }
    Ok(chain.to_vec())
}

/// A request for a certificate (PKCS#10, DER).
pub(crate) fn request(key: &PrivateKey, names: &[String]) -> Result<Vec<u8>, Error> {
    let names: Vec<pki::San> =
        names.iter().map(|name| pki::San::parse(name)).collect::<Result<_, _>>().map_err(|error| Error::Key(error.to_string()))?;
    pki::csr::build(key, None, &names).map_err(|error| Error::Key(error.to_string()))
}
