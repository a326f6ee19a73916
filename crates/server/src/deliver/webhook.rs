//! A webhook, signed after Standard Webhooks (standardwebhooks.com, version 1).

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outbound::{HeaderValue, Request};
use pki::Time;
use pki::text::escape;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::message::{Message, Place};
use super::text::{MAX_TARGETS, event, severity};
use super::{Attempt, ContactError, post_json};

/// How many secrets may sign at once: the new one and the one that it replaces.
const MAX_SECRETS: usize = 2;
/// "Between 24 bytes (192 bits) and 64 bytes (512 bits)", Standard Webhooks, *Signature scheme*.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

pub(super) fn request(url: &str, attempt: Attempt<'_>, secret: Option<&str>) -> Result<Request, ContactError> {
    let mut request = post_json(url, &body(attempt));
    let header = |text: &str| HeaderValue::from_str(text).map_err(|_| ContactError::malformed("the delivery's id is no value of a header"));
    let timestamp = attempt.now.unix().to_string();
    request.headers.insert("webhook-id", header(attempt.id)?);
    request.headers.insert("webhook-timestamp", header(&timestamp)?);
    if let Some(secret) = secret {
        let signature = sign(attempt.id, &timestamp, &request.body, secret)?;
        request.headers.insert("webhook-signature", header(&signature)?);
    }
    Ok(request)
}

/// `v1,<base64>` for every secret, with spaces between: the receiver accepts any that it knows.
fn sign(id: &str, timestamp: &str, body: &[u8], secrets: &str) -> Result<String, ContactError> {
    let malformed = || {
        ContactError::malformed("a webhook's signing secret is whsec_ followed by 24 to 64 bytes in base64, or two of them on two lines")
    };
    let secrets: Vec<&str> = secrets.split_whitespace().collect();
    if secrets.is_empty() || secrets.len() > MAX_SECRETS {
        return Err(malformed());
    }
    let mut signatures = Vec::new();
    for secret in secrets {
        let encoded = secret.strip_prefix("whsec_").ok_or_else(malformed)?;
        let key = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| malformed())?);
        if !SECRET_BYTES.contains(&key.len()) {
            return Err(malformed());
        }
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key));
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            context.update(part);
        }
        signatures.push(format!("v1,{}", STANDARD.encode(context.sign())));
    }
    Ok(signatures.join(" "))
}

fn body(attempt: Attempt<'_>) -> Value {
    let Attempt { id, message, .. } = attempt;
    json!({
        "type": event(message),
        "timestamp": Time::from_unix(message.at_unix).to_string(),
        "data": data(id, message),
    })
}

fn data(id: &str, message: &Message) -> Value {
    let text = |value: &Option<String>| value.as_deref().map(escape);
    let list = |all: &[String]| all.iter().take(MAX_TARGETS).map(|item| escape(item)).collect::<Vec<_>>();
    json!({
        "id": escape(id),
        "subject": escape(&message.subject),
        "title": escape(&message.title),
        "severity": severity(message),
        "page": message.page,
        "team": escape(&message.team),
        "teams": list(&message.teams),
        "services": list(&message.services),
        "regions": list(&message.regions),
        "code": escape(&message.code),
        "incident": message.incident,
        "repeats": message.repeats,
        "secret": text(&message.secret),
        "targets": message.targets.iter().take(MAX_TARGETS).map(target).collect::<Vec<_>>(),
        "target_count": message.target_count,
        "served": text(&message.served),
        "should_be": text(&message.should_be),
        "since": text(&message.since),
        "served_until": text(&message.served_until),
        "remaining_seconds": message.remaining_seconds,
        "release": escape(&message.release),
        "next_step": escape(&message.next_step),
        "evidence": list(&message.evidence),
    })
}

fn target(place: &Place) -> Value {
    json!({
        "target": escape(&place.target),
        "address": escape(&place.address),
        "region": escape(&place.region),
        "detail": escape(&place.detail),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::deliver::sample::{self, pretty};

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn attempt(message: &Message) -> Attempt<'_> {
        Attempt { id: "42", message, firing: true, now: Time::from_unix(1_800_000_000) }
    }

    #[test]
    fn bodies() {
        insta::assert_snapshot!("webhook_incident", pretty(&body(attempt(&sample::incident()))));
        insta::assert_snapshot!("webhook_hostile", pretty(&body(attempt(&sample::hostile()))));
        insta::assert_snapshot!("webhook_test", pretty(&body(attempt(&sample::test()))));
    }

    #[test]
    fn the_example_of_the_specification() {
        let signature = sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#, SECRET);
        assert_eq!(signature.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn the_signature_covers_what_is_sent() {
        let other = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let message = sample::incident();
        let both = format!("{SECRET}\n{other}\n");
        let request = request("https://hooks.example.com/x", attempt(&message), Some(&both)).unwrap();
        assert_eq!(request.headers["webhook-id"], "42");
        assert_eq!(request.headers["webhook-timestamp"], "1800000000");
        assert_eq!(request.headers["content-type"], "application/json");

        let text = [b"42.1800000000.", &request.body[..]].concat();
        let expected = [&SECRET[6..], &other[6..]].map(|secret| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(secret).unwrap());
            format!("v1,{}", STANDARD.encode(hmac::sign(&key, &text)))
        });
        assert_eq!(request.headers["webhook-signature"], expected.join(" ").as_str());
    }

    #[test]
    fn secrets_that_cannot_sign() {
        let short = format!("whsec_{}", STANDARD.encode([1; 23]));
        let long = format!("whsec_{}", STANDARD.encode([1; 65]));
        let three = format!("{SECRET} {SECRET} {SECRET}");
        for text in ["", "whsec_", &SECRET[6..], "whsec_***", &short, &long, &three] {
            let error = sign("id", "1", b"", text).unwrap_err();
            assert!(!error.retry && error.detail.contains("whsec_"), "{error}");
            assert!(text.len() < 10 || !error.detail.contains(text), "the secret is not repeated: {error}");
        }
    }

    #[test]
    fn an_id_that_is_no_header_is_refused() {
        let message = sample::test();
        let broken = Attempt { id: "4\r\n2", ..attempt(&message) };
        assert!(request("https://hooks.example.com/x", broken, None).is_err());
    }
}
