//! Making an account (RFC 8555 §7.3): the one request that is signed here and not by the library.
//!
//! The library draws an account's key itself and hands it out when the CA has the account. A crash between the two would lose
//! an account, and with it an external binding that many CAs honour once. So the key is made and stored first, by whoever
//! calls, and then registered: the same key again is the same account.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::Problem;
use outbound::{Method, Request, Response, header};
use pki::{PrivateKey, Time};
use serde_json::{Value, json};

use crate::account::{Binding, Ca, Credentials, Written};
use crate::error::{self, Error};
use crate::wire::{Wire, WireError};

const DOING: &str = "making an account";
/// How often the request is signed again because of its nonce (RFC 8555 §6.5).
const NONCE_ROUNDS: usize = 24;
/// An uncompressed point on P-256: its form, then both coordinates (SEC 1 §2.3.3).
const POINT: usize = 65;

/// Who signs with an account's key.
struct Signer {
    pair: EcdsaKeyPair,
}

impl Signer {
    fn new(key: &PrivateKey) -> Result<Self, Error> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.expose_pkcs8());
        let pair = pair.map_err(|_| Error::Setup(format!("{DOING}: the account's key is {}, not ECDSA P-256", key.kind())))?;
        if pair.public_key().as_ref().len() == POINT { Ok(Signer { pair }) } else { Err(Error::Setup(format!("{DOING}: an odd key"))) }
    }

    /// The public half (RFC 7518 §6.2).
    fn jwk(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at((POINT - 1) / 2);
        json!({ "kty": "EC", "crv": "P-256", "x": BASE64_URL_SAFE_NO_PAD.encode(x), "y": BASE64_URL_SAFE_NO_PAD.encode(y) })
    }

    /// A signed message (RFC 7515 §7.2.2).
    fn sign(&self, url: &str, nonce: &str, payload: &Value) -> Result<Value, Error> {
        let protected = json!({ "alg": "ES256", "jwk": self.jwk(), "nonce": nonce, "url": url });
        flattened(&protected, payload, |input| {
            let signed = self.pair.sign(&SystemRandom::new(), input);
            signed.map(|s| s.as_ref().to_vec()).map_err(|_| Error::Setup(format!("{DOING}: the account's key does not sign")))
        })
    }
}

fn flattened(protected: &Value, payload: &Value, sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, Error>) -> Result<Value, Error> {
    let (protected, payload) = (encoded(protected), encoded(payload));
    let signature = sign(format!("{protected}.{payload}").as_bytes())?;
    Ok(json!({ "protected": protected, "payload": payload, "signature": BASE64_URL_SAFE_NO_PAD.encode(signature) }))
}

fn encoded(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

impl Binding {
    /// The account's key, signed with the external account's (RFC 8555 §7.3.4).
    fn sign(&self, url: &str, jwk: &Value) -> Result<Value, Error> {
        let protected = json!({ "alg": "HS256", "kid": self.key_id, "url": url });
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.key);
        flattened(&protected, jwk, |input| Ok(hmac::sign(&key, input).as_ref().to_vec()))
    }
}

impl Ca {
    /// Registers a key (ECDSA P-256) that is stored already. Having an account agrees to the CA's terms ([`crate::Facts::terms`]).
    /// Doing it again finds the same account.
    ///
    /// # Errors
    /// The CA refuses, or wants a binding that is not given.
    pub async fn register(&self, key: PrivateKey, contact: &[String], binding: Option<&Binding>, now: Time) -> Result<Credentials, Error> {
        let wire = self.wire();
        let directory: Written = Box::pin(self.directory(&wire, now)).await?;
        if binding.is_none() && directory.meta.external_account_required {
            return Err(Error::Setup(format!("{DOING}: the CA wants an external account (eab_key_id and eab_secret of the issuer)")));
        }
        let signer = Signer::new(&key)?;
        let url = &directory.new_account;
        let mut payload = json!({ "termsOfServiceAgreed": true });
        if !contact.is_empty() {
            payload["contact"] = json!(contact);
        }
        if let Some(binding) = binding {
            payload["externalAccountBinding"] = binding.sign(url, &signer.jwk())?;
        }
        let failed = |error: WireError| Error::of(DOING, instant_acme::Error::Other(Box::new(error)), &wire.notes(), now);
        let mut nonce = nonce_of(&Box::pin(wire.ask(Request::new(Method::HEAD, &directory.new_nonce))).await.map_err(failed)?)?;
        for _ in 0..NONCE_ROUNDS {
            let body = signer.sign(url, &nonce, &payload)?;
            let request = Request::new(Method::POST, url).with_body("application/jose+json", body.to_string());
            let response = Box::pin(wire.ask(request)).await.map_err(failed)?;
            if response.status.is_success() {
                let account = response.headers.get(header::LOCATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
                return self.credentials(account, key);
            }
            let Ok(problem) = serde_json::from_slice::<Problem>(&response.body) else { return Err(nonsense(&wire)) };
            if error::code_of(&problem) != "badNonce" {
                return Err(Error::of(DOING, problem.into(), &wire.notes(), now));
            }
            // RFC 8555 §6.5.1: the refusal brings the next one along.
            nonce = nonce_of(&response)?;
        }
        Err(Error::later(format!("{DOING}: the CA says badNonce, again and again"), 60))
    }
}

fn nonsense(wire: &Wire) -> Error {
    Error::later(format!("{DOING}: the CA's answer is not what RFC 8555 describes: {}", wire.notes().shown()), 900)
}

fn nonce_of(response: &Response) -> Result<String, Error> {
    let nonce = response.headers.get("replay-nonce").and_then(|v| v.to_str().ok());
    nonce.map(str::to_owned).ok_or_else(|| Error::later(format!("{DOING}: the CA gives no nonce"), 300))
}
