//! Telling somebody: one message, several forms, and what the receiver said to it.
//!
//! [`prepare`] is pure: a contact, a message and its secret give what is to be sent. [`send`] sends it and reads the answer.
//! Which message goes where, when to try again and what to remember is decided elsewhere; the outbox keeps a message
//! until a contact answered [`Outcome::Delivered`].
//!
//! A message is formatted from itself alone, so that an attempt after a restart sends the same words; only the signature's
//! timestamp and the end of an alert follow `now`. Every text from a certificate or a person is escaped here, also what the
//! message promises to have escaped: escaping twice changes nothing.

mod alertmanager;
mod message;
mod outcome;
mod pagerduty;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod receiver;
#[cfg(test)]
pub(crate) mod sample;
mod text;
mod webhook;

pub use alertmanager::{ALERT_REPEAT, ALERT_TTL};
pub use message::{Kind, Message, Place, Severity};
pub use outcome::{Outcome, send};
pub use pagerduty::EVENTS_URL;

use api::fleet::Contact;
use outbound::{Answer, Method, Request};
use pki::Time;

/// One attempt to deliver a message.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Id of the delivery, the same at every attempt, so that receivers recognise a second arrival. Visible ASCII.
    pub id: &'a str,
    /// What is told.
    pub message: &'a Message,
    /// For Alertmanager: whether the alert stands. It is posted again every [`ALERT_REPEAT`] while it does, and once with
    /// `false` when it is over.
    pub firing: bool,
    /// When the attempt is made.
    pub now: Time,
}

/// What a contact makes of a message.
#[derive(Debug)]
pub enum Prepared {
    /// One line for the server's log.
    Line(String),
    /// A request for [`send`].
    Request(Request),
}

/// A contact that cannot be served as it is set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ContactError {
    /// Whether it may work later without a change: a store that is sealed cannot open the contact's secret.
    pub retry: bool,
    /// What is missing and what to do, safe to show; never the secret itself.
    pub detail: String,
}

impl ContactError {
    fn sealed(what: &str) -> Self {
        let detail = format!("{what} is not open; unseal the store, or store that secret");
        ContactError { retry: true, detail }
    }

    fn malformed(detail: &str) -> Self {
        ContactError { retry: false, detail: detail.to_owned() }
    }
}

impl From<ContactError> for Outcome {
    fn from(error: ContactError) -> Self {
        match error.retry {
            true => Outcome::Retry { after: None, detail: error.detail },
            false => Outcome::Refused { detail: error.detail },
        }
    }
}

/// Formats one attempt. `secret` is what the contact names, opened: a webhook's signing secrets, one per line, or
/// PagerDuty's routing key.
///
/// # Errors
/// [`ContactError`] if the secret is missing or malformed.
pub fn prepare(contact: &Contact, attempt: Attempt<'_>, secret: Option<&str>) -> Result<Prepared, ContactError> {
    Ok(match contact {
        Contact::Log {} => Prepared::Line(text::line(attempt.id, attempt.message)),
        Contact::Webhook { url, signing_secret } => {
            if signing_secret.is_some() && secret.is_none() {
                return Err(ContactError::sealed("the webhook's signing secret"));
            }
            Prepared::Request(webhook::request(url, attempt, secret)?)
        }
        Contact::Alertmanager { url } => Prepared::Request(alertmanager::request(url, attempt)),
        Contact::Pagerduty { url, .. } => {
            let secret = secret.ok_or_else(|| ContactError::sealed("PagerDuty's routing key"))?;
            let url = url.as_deref().unwrap_or(EVENTS_URL);
            Prepared::Request(pagerduty::request(url, attempt.message, secret)?)
        }
    })
}

/// Whether an address is PagerDuty's own, of either service region.
pub fn is_pagerduty(url: &str) -> bool {
    pagerduty::HOSTS
        .iter()
        .any(|host| url.strip_prefix("https://").and_then(|rest| rest.strip_prefix(host)).is_some_and(|rest| rest.starts_with('/')))
}

/// The sign of life that somebody outside waits for. It carries nothing: that it comes is all it says.
pub fn heartbeat(url: &str, post: bool) -> Request {
    let mut request = Request::new(if post { Method::POST } else { Method::GET }, url);
    request.answer = Answer::Status;
    request
}

/// A JSON body to be posted, of which only the answer's status counts.
fn post_json(url: &str, body: &serde_json::Value) -> Request {
    let mut request = Request::new(Method::POST, url).with_body("application/json", body.to_string());
    request.answer = Answer::Status;
    request
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn contacts_and_their_secrets() {
        let message = sample::incident();
        let attempt = Attempt { id: "42", message: &message, firing: true, now: Time::from_unix(0) };
        let url = || "https://hooks.example.com/x".to_owned();
        let to = |contact: Contact, secret: Option<&str>| prepare(&contact, attempt, secret);

        assert!(matches!(to(Contact::Log {}, None), Ok(Prepared::Line(line)) if line.contains("blob-wildcard")));
        let signed = || Contact::Webhook { url: url(), signing_secret: Some("hook".into()) };
        let unsigned = Contact::Webhook { url: url(), signing_secret: None };
        for (error, retry) in [
            (to(signed(), None).unwrap_err(), true),
            (to(signed(), Some("nonsense")).unwrap_err(), false),
            (to(Contact::Pagerduty { url: None, routing_key: "pd".into() }, None).unwrap_err(), true),
            (to(Contact::Pagerduty { url: None, routing_key: "pd".into() }, Some("nonsense")).unwrap_err(), false),
        ] {
            assert_eq!(error.retry, retry, "{error}");
            assert!(!error.detail.contains("nonsense"), "a secret is not repeated: {error}");
            assert_eq!(matches!(Outcome::from(error), Outcome::Retry { .. }), retry);
        }
        let Ok(Prepared::Request(request)) = to(unsigned, None) else { panic!("a request") };
        assert!(!request.headers.contains_key("webhook-signature"));
        let key = "0123456789abcdef0123456789abcdef";
        let Ok(Prepared::Request(request)) = to(Contact::Pagerduty { url: None, routing_key: "pd".into() }, Some(key)) else {
            panic!("a request")
        };
        assert_eq!(request.url, EVENTS_URL);
    }

    #[test]
    fn where_a_routing_key_may_go() {
        for (url, expected) in [
            (EVENTS_URL, true),
            ("https://events.eu.pagerduty.com/v2/enqueue", true),
            ("http://events.pagerduty.com/v2/enqueue", false),
            ("https://events.pagerduty.com.example.net/v2/enqueue", false),
            ("https://events.pagerduty.com:8443/v2/enqueue", false),
            ("https://events.pagerduty.com@example.net/", false),
            ("https://example.net/events.pagerduty.com/", false),
        ] {
            assert_eq!(is_pagerduty(url), expected, "{url}");
        }
    }

    #[test]
    fn a_sign_of_life() {
        assert_eq!(heartbeat("https://alive.example.com/x", false).method, Method::GET);
        assert_eq!(heartbeat("https://alive.example.com/x", true).method, Method::POST);
    }
}
