//! What all tests need: the time, requests, a client, and a loop that does what a caller does.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use acme::{Ca, Credentials, Error, Issued, Placed, Solver, Step, Wanted};
use outbound::{Allow, Client, Policy};
use pki::{KeyType, PrivateKey, Time};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

/// The time of this machine, by which peers judge what they are sent.
#[expect(clippy::disallowed_methods, reason = "peers that run cannot be given another time")]
pub(crate) fn now() -> Time {
    Time::from_unix(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap())
}

pub(crate) fn new_key() -> PrivateKey {
    PrivateKey::generate(KeyType::EcdsaP256).unwrap()
}

/// A request for these names by this key.
pub(crate) fn wanted(key: &PrivateKey, names: &[&str]) -> Wanted {
    let pair = KeyPair::try_from(&PrivatePkcs8KeyDer::from(key.expose_pkcs8())).unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names.clone()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&pair).unwrap().der().to_vec();
    Wanted { names, csr, profile: None, replaces: None, chain: None }
}

/// A client that trusts one root and may speak to this machine.
pub(crate) fn client(root: &pki::Certificate) -> Client {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(root.der().to_vec())).unwrap();
    let allow: Allow = ["127.0.0.1"].into_iter().collect();
    Client::new(Policy { allow, max_response: 256 * 1024, ..Policy::new(roots) }).unwrap()
}

/// Does what a caller does: keeps the order's URL, comes back when it is told to, and starts over after a crash at any step, which is
/// why everything but the URL is made anew each time.
pub(crate) async fn drive(ca: &Ca, credentials: &Credentials, wanted: &Wanted, solver: &Solver) -> Result<(Issued, Vec<String>), Error> {
    let (mut url, mut said) = (None::<String>, Vec::new());
    let since = now();
    for _ in 0..60 {
        let placed = url.as_deref().map(|url| Placed { url, since });
        match ca.advance(credentials, wanted, solver, placed, now()).await? {
            Step::Placed { url: placed, notes } => {
                said.extend(notes);
                url = Some(placed);
            }
            Step::Waiting { awaits, after, .. } => {
                said.push(awaits);
                tokio::time::sleep(Duration::from_secs(after.unsigned_abs())).await;
            }
            Step::Issued(issued) => return Ok((issued, said)),
        }
    }
    panic!("never issued: {said:?}");
}
