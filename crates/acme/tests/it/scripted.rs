//! A CA of our own over real TLS: polite by itself, with profiles and renewal information that the packaged pebble does not have,
//! and with a script that may do what no CA should.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use acme::{Ca, Credentials, Solver, http::Responder};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use pki::{Authority, LeafOptions, PrivateKey, Span};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{client, new_key, now};

/// What a request looked like.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    /// What was signed; null where nothing was.
    pub(crate) payload: Value,
    /// The signed header.
    pub(crate) protected: Value,
    pub(crate) user_agent: String,
}

pub(crate) type Answer = Response<Full<Bytes>>;
/// Answers in place of the polite CA, or does not.
type Script = Box<dyn Fn(&Scripted, &Asked) -> Option<Answer> + Send + Sync>;

pub(crate) struct Scripted {
    pub(crate) base: String,
    api: pki::Certificate,
    issuer: Authority,
    script: Script,
    pub(crate) asked: Mutex<Vec<Asked>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nonces: usize,
    order: Value,
    proven: bool,
    chain: String,
}

pub(crate) fn json_answer(status: u16, body: &Value) -> Answer {
    let kind = if status < 400 { "application/json" } else { "application/problem+json" };
    answer(status, kind, body.to_string())
}

pub(crate) fn problem(status: u16, kind: &str, detail: &str) -> Answer {
    json_answer(status, &json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail, "status": status }))
}

pub(crate) fn answer(status: u16, kind: &str, body: impl Into<Bytes>) -> Answer {
    Response::builder().status(status).header("content-type", kind).body(Full::new(body.into())).unwrap()
}

impl Scripted {
    pub(crate) async fn start(script: impl Fn(&Scripted, &Asked) -> Option<Answer> + Send + Sync + 'static) -> Arc<Scripted> {
        let (from, until) = (now() - Span::seconds(3600), now() + Span::seconds(86_400));
        let api = Authority::new("API", from, until).unwrap();
        let (leaf, key) = api.leaf(&["127.0.0.1"], pki::KeyType::EcdsaP256, from, until).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(leaf.der().to_vec())],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.expose_pkcs8().to_vec())),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Authority::new("Polite Root", from, until).unwrap().intermediate("Polite CA", from, until).unwrap();
        let scripted = Arc::new(Scripted {
            base: format!("https://{}", listener.local_addr().unwrap()),
            api: api.certificate().clone(),
            issuer,
            script: Box::new(script),
            asked: Mutex::default(),
            state: Mutex::default(),
        });
        let shared = scripted.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, shared) = (acceptor.clone(), shared.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| serve(shared.clone(), request));
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        scripted
    }

    pub(crate) fn ca(&self) -> Ca {
        Ca::new(format!("{}/dir", self.base), client(&self.api))
    }

    pub(crate) async fn account(&self, ca: &Ca) -> Credentials {
        ca.register(new_key(), &[], None, now()).await.unwrap()
    }

    /// A chain for this key and these names, as the polite CA issues it.
    pub(crate) fn issue(&self, key: &PrivateKey, names: &[&str]) -> String {
        let (from, until) = (now() - Span::seconds(60), now() + Span::seconds(80_000));
        let leaf = self.issuer.issue(key, names, from, until, &LeafOptions::default()).unwrap();
        leaf.to_pem() + &self.issuer.certificate().to_pem()
    }

    /// What it hands out.
    pub(crate) fn hand_out(&self, chain: impl Into<String>) {
        self.state.lock().unwrap().chain = chain.into();
    }

    /// What it hands out now.
    pub(crate) fn chain(&self) -> String {
        self.state.lock().unwrap().chain.clone()
    }

    /// How often a path was asked for.
    pub(crate) fn times(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|one| one.path == path).count()
    }

    pub(crate) fn last(&self, path: &str) -> Asked {
        self.asked.lock().unwrap().iter().rev().find(|one| one.path == path).cloned().unwrap()
    }

    pub(crate) fn order(&self) -> Value {
        self.state.lock().unwrap().order.clone()
    }

    fn polite(&self, asked: &Asked) -> Answer {
        let mut state = self.state.lock().unwrap();
        let url = |path: &str| format!("{}{path}", self.base);
        match asked.path.as_str() {
            "/dir" => json_answer(
                200,
                &json!({
                    "newNonce": url("/nonce"), "newAccount": url("/account"), "newOrder": url("/new-order"), "revokeCert": url("/revoke"),
                    "keyChange": url("/key"), "renewalInfo": url("/ari"),
                    "meta": { "profiles": { "short": "six days\u{1b}[31m", "classic": "ninety days" } },
                }),
            ),
            "/nonce" => Response::new(Full::default()),
            "/account" => located(json_answer(201, &json!({ "status": "valid" })), &url("/account/1")),
            "/new-order" => {
                let mut order = asked.payload.clone();
                order["status"] = json!("pending");
                order["authorizations"] = json!([url("/authz")]);
                order["finalize"] = json!(url("/finalize"));
                (state.order, state.proven) = (order.clone(), false);
                located(json_answer(201, &order), &url("/order"))
            }
            "/order" => json_answer(200, &state.order),
            "/authz" => {
                let status = if state.proven { "valid" } else { "pending" };
                let challenge = json!({ "type": "http-01", "url": url("/challenge"), "token": "tok", "status": status });
                json_answer(200, &json!({ "identifier": state.order["identifiers"][0], "status": status, "challenges": [challenge] }))
            }
            "/challenge" => {
                state.proven = true;
                state.order["status"] = json!("ready");
                json_answer(200, &json!({ "type": "http-01", "url": url("/challenge"), "token": "tok", "status": "valid" }))
            }
            "/finalize" => {
                state.order["status"] = json!("valid");
                state.order["certificate"] = json!(url("/certificate"));
                json_answer(200, &state.order)
            }
            "/certificate" => answer(200, "application/pem-certificate-chain", state.chain.clone()),
            other => problem(404, "malformed", other),
        }
    }
}

pub(crate) fn located(mut answer: Answer, url: &str) -> Answer {
    answer.headers_mut().insert("location", url.parse().unwrap());
    answer
}

/// A solver whose proofs nobody looks at.
pub(crate) fn solver() -> Solver {
    Solver::Http(Responder::new())
}

async fn serve(shared: Arc<Scripted>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let signed: Value = serde_json::from_slice(&body).unwrap_or_default();
    let part = |name: &str| {
        let text = BASE64_URL_SAFE_NO_PAD.decode(signed[name].as_str().unwrap_or_default()).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    };
    let user_agent = head.headers.get("user-agent").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    let asked = Asked { path: head.uri.path().to_owned(), payload: part("payload"), protected: part("protected"), user_agent };
    // RFC 8555 §6.4: what is signed is for this very URL.
    assert!(head.method != Method::POST || asked.protected["url"] == format!("{}{}", shared.base, asked.path), "{asked:?}");
    shared.asked.lock().unwrap().push(asked.clone());
    let mut answer = (shared.script)(&shared, &asked).unwrap_or_else(|| shared.polite(&asked));
    let nonce = {
        let mut state = shared.state.lock().unwrap();
        state.nonces += 1;
        format!("nonce{}", state.nonces)
    };
    answer.headers_mut().entry("replay-nonce").or_insert(nonce.parse().unwrap());
    Ok(answer)
}
