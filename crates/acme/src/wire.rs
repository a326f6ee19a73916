//! The library's HTTP on the one guarded client, and what it does not hand on of an answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use outbound::{Bytes, HeaderMap, StatusCode, header};
use pki::text::escape;
use tokio::time::Instant;

/// How long a directory is believed. Its URLs do not move within an order.
const DIRECTORY_TIME: Duration = Duration::from_secs(600);
/// How many requests one step may cost: each name takes a few, and a bad nonce doubles them.
const MAX_REQUESTS: usize = 3_000;
/// How much of a strange answer is shown, in characters.
const SHOWN: usize = 120;
/// How many links of an answer are read.
const MAX_LINKS: usize = 32;

/// The directory as it was last fetched.
pub(crate) type Cached = Arc<Mutex<Option<(Instant, outbound::Response)>>>;

/// What of the last answer the library does not hand on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    /// Its Retry-After, as it stands.
    pub(crate) retry_after: Option<String>,
    /// Its status.
    pub(crate) status: Option<u16>,
    /// Where other chains are (RFC 8555 §7.4.2).
    pub(crate) alternates: Vec<String>,
    /// Its body.
    pub(crate) body: Bytes,
    requests: usize,
}

impl Notes {
    /// The beginning of the body, escaped.
    pub(crate) fn shown(&self) -> String {
        excerpt(&self.body)
    }
}

/// An answer that is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// No answer, or not all of it.
    #[error("{0}")]
    Outbound(#[from] outbound::Error),
    /// A page for people, a proxy's complaint, or another protocol.
    #[error("the answer with status {status} is {kind}, not what RFC 8555 describes; is the directory's URL right? It begins: {beginning}")]
    NotAcme { status: StatusCode, kind: String, beginning: String },
    /// Redirects are somebody else's URL, and a signed request is for one URL alone (RFC 8555 §6.4).
    #[error("the answer is a redirect ({0}), which is not followed; give the URL that it leads to")]
    Redirect(StatusCode),
    /// A CA that makes us ask and ask.
    #[error("one step has cost {0} requests, which is its limit")]
    TooMany(usize),
}

/// Whom the library speaks through.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) client: outbound::Client,
    pub(crate) directory: String,
    pub(crate) cached: Cached,
    pub(crate) notes: Arc<Mutex<Notes>>,
}

impl Wire {
    /// What the last answer said besides.
    pub(crate) fn notes(&self) -> Notes {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks, and holds the answer against what RFC 8555 allows.
    pub(crate) async fn ask(&self, request: outbound::Request) -> Result<outbound::Response, WireError> {
        let of_directory = request.method == outbound::Method::GET && request.url == self.directory;
        if of_directory && let Some(response) = self.remembered() {
            return Ok(response);
        }
        {
            let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
            let requests = notes.requests + 1;
            *notes = Notes { requests, ..Notes::default() };
            if requests > MAX_REQUESTS {
                return Err(WireError::TooMany(MAX_REQUESTS));
            }
        }
        let url = request.url.clone();
        let response = self.client.send(request).await?;
        self.note(&response, &url);
        if response.status.is_redirection() {
            return Err(WireError::Redirect(response.status));
        }
        let kind = content_type(&response.headers);
        let spoken = matches!(kind.as_str(), "application/json" | "application/problem+json" | "application/pem-certificate-chain");
        // Where there is no body (a nonce, a revocation), its type does not matter.
        let needless = response.body.is_empty() && response.status.is_success();
        if !needless && !spoken {
            let kind = if kind.is_empty() { "of no named type".into() } else { escape(&kind) };
            return Err(WireError::NotAcme { status: response.status, kind, beginning: excerpt(&response.body) });
        }
        if of_directory && response.status == StatusCode::OK {
            *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), response.clone()));
        }
        Ok(response)
    }

    fn remembered(&self) -> Option<outbound::Response> {
        let cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        cached.as_ref().filter(|(at, _)| at.elapsed() < DIRECTORY_TIME).map(|(_, response)| response.clone())
    }

    fn note(&self, response: &outbound::Response, url: &str) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.status = Some(response.status.as_u16());
        notes.retry_after = response.headers.get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()).map(str::to_owned);
        notes.alternates = alternates(&response.headers, url);
        notes.body = response.body.clone();
    }
}

impl HttpClient for Wire {
    fn request(
        &self,
        request: ::http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let wire = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(never) => match never {},
            };
            let mut asked = outbound::Request::new(head.method, head.uri.to_string());
            asked.headers = head.headers;
            // RFC 8555 §6.1: who asks is the product, not its library.
            asked.headers.remove(header::USER_AGENT);
            asked.body = body;
            let response = wire.ask(asked).await.map_err(|error| instant_acme::Error::Other(Box::new(error)))?;
            let mut answer = ::http::Response::new(http_body_util::Full::new(response.body));
            *answer.status_mut() = response.status;
            *answer.headers_mut() = response.headers;
            Ok(BytesResponse::from(answer))
        })
    }
}

/// The media type in lower case, without its parameters.
fn content_type(headers: &HeaderMap) -> String {
    let text = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The targets of links with the relation `alternate` (RFC 8288 §3), which may be relative to what answered.
fn alternates(headers: &HeaderMap, base: &str) -> Vec<String> {
    let links = headers.get_all(header::LINK).iter().filter_map(|v| v.to_str().ok());
    let mut found = Vec::new();
    for one in links.flat_map(|line| line.split(',')).take(MAX_LINKS) {
        let Some((target, parameters)) = one.trim().strip_prefix('<').and_then(|rest| rest.split_once('>')) else { continue };
        let alternate = parameters.split(';').any(|p| {
            let p = p.trim();
            p.strip_prefix("rel=").is_some_and(|rel| rel.trim_matches('"').split(' ').any(|r| r.eq_ignore_ascii_case("alternate")))
        });
        if alternate {
            found.extend(resolved(target.trim(), base));
        }
    }
    found
}

/// A reference beside the URL that it was found at (RFC 3986 §5.2), as far as ACME servers write them: whole, by host, by path, or beside.
/// Steps upwards in a path are left to the server.
fn resolved(target: &str, base: &str) -> Option<String> {
    if target.contains("://") {
        return Some(target.to_owned());
    }
    let (scheme, rest) = base.split_once("://")?;
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    Some(match (target.strip_prefix("//"), target.starts_with('/')) {
        (Some(elsewhere), _) => format!("{scheme}://{elsewhere}"),
        (None, true) => format!("{scheme}://{host}{target}"),
        (None, false) => {
            let beside = path.rsplit_once('/').map(|(above, _)| format!("{above}/")).unwrap_or_default();
            format!("{scheme}://{host}/{beside}{target}")
        }
    })
}

fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * SHOWN)]);
    let short: String = text.chars().take(SHOWN).collect();
    if short.is_empty() { "(nothing)".into() } else { escape(&short) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use outbound::HeaderValue;

    #[test]
    fn links_to_other_chains() {
        let mut headers = HeaderMap::new();
        for line in [
            r#"<https://ca/dir>;rel="index""#,
            r#"<https://ca/1>;rel="alternate", <https://ca/2>; title=x; rel=alternate"#,
            "nonsense",
            r#"<https://ca/3>;rel="next alternate""#,
            "<https://ca/4;rel=alternate",
            "</acme/cert/5>;rel=alternate, <6>;rel=alternate, <//other/7>;rel=alternate",
        ] {
            headers.append("link", HeaderValue::from_static(line));
        }
        let all = ["https://ca/1", "https://ca/2", "https://ca/3", "https://ca/acme/cert/5", "https://ca/acme/cert/6", "https://other/7"];
        assert_eq!(alternates(&headers, "https://ca/acme/cert/0?x=/y"), all);
    }
}
