//! A receiver of webhooks on loopback: what arrives can be verified, and every answer has its consequence.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use api::fleet::Contact;
use aws_lc_rs::hmac;
use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{any, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outbound::{Client, Policy};
use pki::{Span, Time};

use super::{Attempt, Outcome, Prepared, heartbeat, prepare, sample, send};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// As a receiver would do it, from what came over the wire alone.
fn verified(headers: &HeaderMap, body: &[u8]) -> bool {
    let header = |name| headers.get(name).unwrap().to_str().unwrap();
    let signed = [header("webhook-id").as_bytes(), b".", header("webhook-timestamp").as_bytes(), b".", body].concat();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(&SECRET[6..]).unwrap());
    let tag = STANDARD.decode(header("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
    hmac::verify(&key, &signed, &tag).is_ok()
}

#[tokio::test]
async fn a_receiver_can_verify_and_is_believed() {
    let ids: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = ids.clone();
    let hook = post(move |Path(status): Path<u16>, headers: HeaderMap, body: Bytes| async move {
        if !verified(&headers, &body) {
            return (StatusCode::UNAUTHORIZED, [("retry-after", "0")], "forged");
        }
        seen.lock().unwrap().push(headers["webhook-id"].to_str().unwrap().to_owned());
        (StatusCode::from_u16(status).unwrap(), [("retry-after", "90")], "words")
    });
    let alive = any(|| async { StatusCode::NO_CONTENT });
    let app = Router::new().route("/hook/{status}", hook).route("/alive", alive);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });

    let mut policy = Policy::new(rustls::RootCertStore::empty());
    policy.allow = [address.to_string()].into_iter().collect();
    let client = Client::new(policy).unwrap();
    let message = sample::incident();
    let tell = async |client: &Client, status: u16, secret: &str| {
        let contact = Contact::Webhook { url: format!("http://{address}/hook/{status}"), signing_secret: Some("hook".into()) };
        let attempt = Attempt { id: "9", message: &message, firing: true, now: Time::from_unix(1_800_000_000) };
        let Ok(Prepared::Request(request)) = prepare(&contact, attempt, Some(secret)) else { panic!("a request") };
        send(client, request).await
    };

    assert_eq!(tell(&client, 204, SECRET).await, Outcome::Delivered);
    let Outcome::Retry { after, detail } = tell(&client, 503, SECRET).await else { panic!("503 is for later") };
    assert_eq!((after, detail.ends_with(": words")), (Some(Span::seconds(90)), true), "{detail}");
    assert!(matches!(tell(&client, 410, SECRET).await, Outcome::Refused { .. }));
    assert_eq!(*ids.lock().unwrap(), ["9"; 3], "one delivery has one id at every attempt");

    let other = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let Outcome::Refused { detail } = tell(&client, 204, other).await else { panic!("401 is a refusal") };
    assert!(detail.contains("forged"), "{detail}");

    // The same receiver, not allowed by name: nothing inside is told anything.
    let guarded = Client::new(Policy::new(rustls::RootCertStore::empty())).unwrap();
    assert!(matches!(tell(&guarded, 204, SECRET).await, Outcome::Refused { .. }));
    assert_eq!(ids.lock().unwrap().len(), 3);

    for post in [false, true] {
        assert_eq!(send(&client, heartbeat(&format!("http://{address}/alive"), post)).await, Outcome::Delivered);
    }
}
