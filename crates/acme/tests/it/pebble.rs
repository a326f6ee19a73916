//! pebble: a CA that is strict on purpose, with its own configuration, ports and names.

use std::{path::Path, process::Command};

use acme::{Ca, Credentials};
use outbound::{Method, Request};
use pki::{Authority, Certificate, KeyType, PrivateKey, Span};
use serde_json::{Value, json};

use crate::{
    process::{Peer, free_port, start},
    support::{client, new_key, now},
};

/// Where names lead that pebble looks at.
pub(crate) enum Names {
    /// All to this machine, by pebble-challtestsrv.
    Here,
    /// To the name server on this port.
    At(u16),
}

pub(crate) struct Pebble {
    _peer: Peer,
    names: Option<(Peer, u16)>,
    pub(crate) directory: String,
    management: u16,
    pub(crate) root: Certificate,
    _folder: tempfile::TempDir,
}

/// What is special about one.
#[derive(Default)]
pub(crate) struct Special {
    pub(crate) environment: Vec<(&'static str, &'static str)>,
    /// External accounts by key identifier, each with its key in base64url.
    pub(crate) external: Vec<(&'static str, &'static str)>,
}

impl Pebble {
    /// `None` where it is not installed, which was said.
    pub(crate) fn start(test: &str, names: &Names, http: u16, tls: u16, special: &Special) -> Option<Pebble> {
        let challtestsrv = match names {
            Names::At(_) => None,
            Names::Here => Some(start(&format!("{test}: pebble-challtestsrv"), name_server)?),
        };
        let dns = match (names, &challtestsrv) {
            (Names::At(port), _) => *port,
            (Names::Here, Some((_, dns, _))) => *dns,
            (Names::Here, None) => return None,
        };
        let mut pebble = start(&format!("{test}: pebble"), || once(dns, http, tls, special))?;
        pebble.names = challtestsrv.map(|(peer, _, management)| (peer, management));
        Some(pebble)
    }

    pub(crate) fn ca(&self) -> Ca {
        Ca::new(&self.directory, client(&self.root))
    }

    /// An account with a fresh key.
    pub(crate) async fn account(&self, ca: &Ca) -> Credentials {
        ca.register(new_key(), &["mailto:ops@example.test".to_owned()], None, now()).await.unwrap()
    }

    /// What its management interface answers.
    pub(crate) async fn manage(&self, path: &str) -> Vec<u8> {
        let url = format!("https://127.0.0.1:{}{path}", self.management);
        client(&self.root).send(Request::new(Method::GET, url)).await.unwrap().body.to_vec()
    }

    /// Its root with this number, of those that the chains of a certificate lead to.
    pub(crate) async fn root_of_chain(&self, number: usize) -> Certificate {
        let pem = self.manage(&format!("/roots/{number}")).await;
        pki::load(&pem, None, pki::Limits::default()).unwrap().certificates.remove(0)
    }

    pub(crate) async fn status_of(&self, certificate: &Certificate) -> String {
        let answer = self.manage(&format!("/cert-status-by-serial/{}", certificate.serial())).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        answer["Status"].as_str().unwrap().to_owned()
    }

    /// From now on a name leads to this address.
    pub(crate) async fn lead(&self, name: &str, address: &str) {
        let url = format!("http://127.0.0.1:{}/add-a", self.names.as_ref().unwrap().1);
        let body = json!({ "host": format!("{name}."), "addresses": [address] });
        let request = Request::new(Method::POST, url).with_body("application/json", body.to_string());
        assert!(client(&self.root).send(request).await.unwrap().status.is_success());
    }
}

fn name_server() -> Result<(Peer, u16, u16), Option<String>> {
    let (dns, management) = (free_port(), free_port());
    let mut command = Command::new("pebble-challtestsrv");
    command.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]);
    command.args(["-dns01", &format!("127.0.0.1:{dns}"), "-management", &format!("127.0.0.1:{management}")]);
    Peer::start(&mut command, "Starting management server")?.listens(&[dns, management]).map(|peer| (peer, dns, management))
}

fn once(dns: u16, http: u16, tls: u16, special: &Special) -> Result<Pebble, Option<String>> {
    let folder = tempfile::tempdir().unwrap();
    let (root, certificate, key) = identity(folder.path());
    let (listen, management) = (free_port(), free_port());
    let keys: serde_json::Map<String, Value> = special.external.iter().map(|(id, key)| ((*id).to_owned(), json!(key))).collect();
    let configuration = json!({ "pebble": {
        "listenAddress": format!("127.0.0.1:{listen}"),
        "managementListenAddress": format!("127.0.0.1:{management}"),
        "certificate": certificate, "privateKey": key, "httpPort": http, "tlsPort": tls, "ocspResponderURL": "",
        "externalAccountBindingRequired": !special.external.is_empty(), "externalAccountMACKeys": keys,
    }});
    let file = folder.path().join("pebble.json");
    std::fs::write(&file, configuration.to_string()).unwrap();
    let mut command = Command::new("pebble");
    command.arg("-strict").arg("-config").arg(&file).args(["-dnsserver", &format!("127.0.0.1:{dns}")]);
    command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_VA_ALWAYS_VALID", "0").env("PEBBLE_WFE_NONCEREJECT", "50");
    command.envs(special.environment.iter().copied());
    let peer = Peer::start(&mut command, "ACME directory available at")?.listens(&[listen, management])?;
    let directory = format!("https://127.0.0.1:{listen}/dir");
    Ok(Pebble { _peer: peer, names: None, directory, management, root, _folder: folder })
}

/// The certificate of its own API.
pub(crate) fn identity(folder: &Path) -> (Certificate, String, String) {
    let (from, until) = (now() - Span::seconds(3600), now() + Span::seconds(86_400));
    let authority = Authority::new("API of a CA", from, until).unwrap();
    let (leaf, key): (Certificate, PrivateKey) = authority.leaf(&["127.0.0.1", "localhost"], KeyType::EcdsaP256, from, until).unwrap();
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (certificate, key) = (put("api.pem", &leaf.to_pem()), put("api.key", &key.expose_pem()));
    (authority.certificate().clone(), certificate, key)
}
