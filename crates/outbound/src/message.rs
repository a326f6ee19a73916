//! What is sent, and what comes back.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

/// What of the answer the caller needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// All of it: a body that is too long or too slow is an error.
    #[default]
    Whole,
    /// The status decides, the body is a detail: it is cut at the limits, and [`Response::cut`] says so. Otherwise a
    /// peer that took the message but babbles on would get it again and again.
    Status,
}

/// One request.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// An absolute URL with `https://`, or `http://` where the host is allowed.
    pub url: String,
    /// Headers. Host, Connection, Content-Length and Transfer-Encoding are the client's own business and are replaced.
    pub headers: HeaderMap,
    /// The body, of any size.
    pub body: Bytes,
    /// How long the exchange may take, in place of the policy's; a large upload needs more.
    pub timeout: Option<Duration>,
    /// What of the answer is needed.
    pub answer: Answer,
}

impl Request {
    /// A request without headers and body.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Request { method, url: url.into(), headers: HeaderMap::new(), body: Bytes::new(), timeout: None, answer: Answer::Whole }
    }

    /// The same with a body.
    #[must_use]
    pub fn with_body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.body = body.into();
        self
    }
}

/// Neither headers nor the URL's path: both carry credentials.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = crate::destination::Destination::parse(&self.url).map_or_else(|_| "?".into(), |to| to.name());
        write!(f, "Request({} {host}, {} bytes)", self.method, self.body.len())
    }
}

/// One answer, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status. A redirect is an answer like any other.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, at most as long as the policy says.
    pub body: Bytes,
    /// The body went on, but was not read further; only with [`Answer::Status`].
    pub cut: bool,
}

/// The longest wait that a peer may ask for. A day or a year in this header is a mistake or an attempt to silence us.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// How many seconds the peer asks to wait (RFC 9110 §10.2.3), between 1 and [`MAX_RETRY_AFTER`].
///
/// `None` if it does not say, says it as a date (which would need both clocks to agree), or says nonsense: the caller's
/// own backoff applies.
pub fn retry_after(response: &Response) -> Option<u64> {
    let text = response.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Digits that do not fit are a very long time.
    let seconds = text.parse().unwrap_or(u64::MAX);
    Some(seconds.clamp(1, MAX_RETRY_AFTER.as_secs()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn waiting_times() {
        for (header, expected) in [
            (None, None),
            (Some(""), None),
            (Some("0"), Some(1)),
            (Some("30"), Some(30)),
            (Some(" 30 "), Some(30)),
            (Some("3600"), Some(3600)),
            (Some("3601"), Some(3600)),
            (Some("99999999999999999999999999"), Some(3600)),
            (Some("-5"), None),
            (Some("+5"), None),
            (Some("1.5"), None),
            (Some("soon"), None),
            (Some("Wed, 21 Oct 2065 07:28:00 GMT"), None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(text) = header {
                headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            }
            let response = Response { status: StatusCode::TOO_MANY_REQUESTS, headers, body: Bytes::new(), cut: false };
            assert_eq!(retry_after(&response), expected, "{header:?}");
        }
    }

    #[test]
    fn a_request_hides_its_credentials() {
        let mut request = Request::new(Method::POST, "https://hooks.example.com/T0/secret?key=secret");
        request.headers.insert("authorization", HeaderValue::from_static("Bearer secret"));
        assert_eq!(format!("{request:?}"), "Request(POST hooks.example.com:443, 0 bytes)");
    }
}
