//! Sending, and what the answer means.

use outbound::{Client, Request, Response, StatusCode, retry_after};
use pki::Span;
use pki::text::escape;

/// How much of a receiver's words is repeated, in bytes of its answer.
const MAX_REPEATED: usize = 300;

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver took it.
    Delivered,
    /// Not now. Try again, not before `after` if the receiver said so.
    Retry {
        /// The receiver's own wish, at most an hour.
        after: Option<Span>,
        /// What happened, safe to show.
        detail: String,
    },
    /// The receiver will never take it like this: somebody has to look at the channel.
    Refused {
        /// What happened, safe to show.
        detail: String,
    },
}

/// Sends one request and says what became of it.
pub async fn send(client: &Client, request: Request) -> Outcome {
    match client.send(request).await {
        Ok(response) => judge(&response),
        Err(error) if error.retry => Outcome::Retry { after: None, detail: error.to_string() },
        Err(error) => Outcome::Refused { detail: error.to_string() },
    }
}

/// What a status means (RFC 9110 §15): whether the same request may succeed later.
fn judge(response: &Response) -> Outcome {
    let status = response.status;
    if status.is_success() {
        return Outcome::Delivered;
    }
    let detail = detail(response);
    let later =
        status.is_server_error() || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    if later {
        let after = retry_after(response).and_then(|seconds| i64::try_from(seconds).ok()).map(Span::seconds);
        Outcome::Retry { after, detail }
    } else {
        Outcome::Refused { detail }
    }
}

fn detail(response: &Response) -> String {
    let status = response.status;
    if status.is_redirection() {
        return format!("the receiver answered {status}; redirects are not followed, so configure the URL that it means");
    }
    let words = String::from_utf8_lossy(&response.body[..response.body.len().min(MAX_REPEATED)]);
    match words.trim() {
        "" => format!("the receiver answered {status}"),
        words => format!("the receiver answered {status}: {}", escape(words)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outbound::{Bytes, HeaderMap, HeaderValue};

    fn response(status: u16, body: &'static [u8], wait: Option<&'static str>) -> Response {
        let mut headers = HeaderMap::new();
        if let Some(wait) = wait {
            headers.insert("retry-after", HeaderValue::from_static(wait));
        }
        let status = StatusCode::from_u16(status).unwrap_or_default();
        Response { status, headers, body: Bytes::from_static(body), cut: false }
    }

    #[test]
    fn statuses() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judge(&response(status, b"", None)), Outcome::Delivered, "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            let outcome = judge(&response(status, b"", Some("99999999")));
            assert!(matches!(outcome, Outcome::Retry { after: Some(after), .. } if after == Span::hours(1)), "{status}: {outcome:?}");
            assert!(matches!(judge(&response(status, b"", None)), Outcome::Retry { after: None, .. }), "{status}");
        }
        for status in [300, 301, 302, 307, 308, 400, 401, 403, 404, 405, 409, 410, 413, 422, 499] {
            assert!(matches!(judge(&response(status, b"", Some("5"))), Outcome::Refused { .. }), "{status}");
        }
    }

    #[test]
    fn the_receivers_words_are_bounded_and_harmless() {
        let Outcome::Refused { detail } = judge(&response(400, b"bad \x1b[31m\xff\n<script>", None)) else { panic!("400 is a refusal") };
        assert_eq!(detail, "the receiver answered 400 Bad Request: bad \\u{1b}[31m\\u{fffd}\\u{a}<script>");
        let Outcome::Retry { detail, .. } = judge(&response(500, &[b'x'; 100_000], None)) else { panic!("500 is for later") };
        assert!(detail.len() < 400, "{}", detail.len());
        let Outcome::Refused { detail } = judge(&response(302, b"elsewhere", None)) else { panic!("302 is a refusal") };
        assert!(detail.contains("redirects are not followed"), "{detail}");
    }
}
