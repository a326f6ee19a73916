//! What comes in: bodies, paths and queries, each with its limit, and each refusal as a problem.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{StatusCode, header, request::Parts},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::{gate::Gate, problem::Problem};

/// A JSON body, as large as the route allows.
pub(crate) struct Json<T>(pub(crate) T);

/// A JSON body that may hold secrets: its bytes are wiped after reading, and no refusal repeats any of it.
pub(crate) struct Secretive<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = read(request).await?;
        parse(&bytes, |e| pki::text::escape(&e.to_string())).map(Json)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Secretive<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = read(request).await?;
        parse(&bytes, |e| format!("line {} column {} does not fit its schema; see /v1/openapi.json", e.line(), e.column())).map(Secretive)
    }
}

/// The whole body, into memory that is wiped.
async fn read(request: Request) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let gate = request.extensions().get::<Gate>();
    let (limit, time) = (gate.map_or(0, |g| g.route.body.bytes()), gate.and_then(Gate::body_time));
    json_type(request.headers())?;
    within(time, collect(request.into_body(), limit)).await
}

/// What a body brings, unless it takes too long.
async fn within<T>(time: Option<Duration>, body: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let Some(time) = time else { return body.await };
    let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", format!("the body took longer than {} s", time.as_secs()));
    tokio::time::timeout(time, body).await.map_err(late)?
}

/// What claims to be something other than JSON is refused; what claims nothing is looked at.
fn json_type(headers: &axum::http::HeaderMap) -> Result<(), Problem> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let given = given.to_str().unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = format!("the body is {}; this takes application/json", pki::text::escape(given));
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail))
}

async fn collect(body: Body, limit: usize) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let mut body = Limited::new(body, limit);
    let mut bytes = Zeroizing::new(Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| match e.downcast_ref::<LengthLimitError>() {
            Some(_) => Problem::too_large(limit),
            None => Problem::bad("bad-body", "the body ended before its end"),
        })?;
        if let Ok(data) = frame.into_data() {
            grow(&mut bytes, data.len());
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

/// Makes room without leaving a copy behind: a growing vector would free its old memory unwiped.
pub(crate) fn grow(bytes: &mut Zeroizing<Vec<u8>>, more: usize) {
    let needed = bytes.len() + more;
    if needed > bytes.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(bytes.capacity() * 2)));
        larger.extend_from_slice(bytes);
        *bytes = larger;
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8], say: impl Fn(&serde_json::Error) -> String) -> Result<T, Problem> {
    // Neither database keeps it in text, and no name has it.
    if bytes.windows(6).any(|w| w == b"\\u0000") {
        return Err(Problem::bad("bad-json", "the body holds a NUL character"));
    }
    serde_json::from_slice(bytes).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => Problem::unprocessable("bad-body", say(&e)),
        _ => Problem::bad("bad-json", format!("the body is no JSON: line {} column {}", e.line(), e.column())),
    })
}

/// The one part of a path that varies.
pub(crate) struct Name(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::bad("bad-path", "the path is not UTF-8 after decoding"))?;
        if name.contains('\0') {
            return Err(Problem::bad("bad-path", "the path holds a NUL character"));
        }
        Ok(Name(name))
    }
}

/// The same, where it is a number.
pub(crate) struct Id(pub(crate) i64);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Name(text) = Name::from_request_parts(parts, state).await?;
        text.parse().map(Id).map_err(|_| Problem::bad("bad-path", format!("{} is no number", pki::text::escape(&text))))
    }
}

/// A name, and a number behind it.
pub(crate) struct NameAndId(pub(crate) String, pub(crate) i64);

impl<S: Send + Sync> FromRequestParts<S> for NameAndId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((name, id)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::bad("bad-path", "the path is not UTF-8 after decoding"))?;
        if name.contains('\0') {
            return Err(Problem::bad("bad-path", "the path holds a NUL character"));
        }
        let number = id.parse().map_err(|_| Problem::bad("bad-path", format!("{} is no number", pki::text::escape(&id))))?;
        Ok(NameAndId(name, number))
    }
}

/// A query; what is not known in it is refused.
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if parts.uri.query().is_some_and(|q| q.contains("%00")) {
            return Err(Problem::bad("bad-query", "the query holds a NUL character"));
        }
        let asked = Query::<T>::from_request_parts(parts, state).await;
        asked.map(|Query(t)| Asked(t)).map_err(|e| Problem::bad("bad-query", pki::text::escape(&e.body_text())))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_no_json_and_what_does_not_fit() {
        let parse = |text: &str| super::parse::<Vec<u8>>(text.as_bytes(), |e| e.to_string()).map_err(|p| (p.status.as_u16(), p.code));
        for (text, expected) in [
            ("[1]", Ok(vec![1])),
            ("", Err((400, "bad-json"))),
            ("[1", Err((400, "bad-json"))),
            ("[1] x", Err((400, "bad-json"))),
            ("[300]", Err((422, "bad-body"))),
            ("{}", Err((422, "bad-body"))),
            (r#"["\u0000"]"#, Err((400, "bad-json"))),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
        let deep = "[".repeat(200_000);
        assert_eq!(parse(&deep), Err((422, "bad-body")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_waited_for_no_longer_than_it_may() {
        let endless = || std::future::pending::<Result<(), Problem>>();
        assert_eq!(within(Some(Duration::from_secs(5)), endless()).await.unwrap_err().status, StatusCode::REQUEST_TIMEOUT);
        let long = async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            Ok(())
        };
        assert!(within(None, long).await.is_ok());
    }

    #[test]
    fn growing_keeps_what_was_read() {
        let mut bytes = Zeroizing::new(Vec::new());
        for n in 0..1000u32 {
            grow(&mut bytes, 4);
            bytes.extend_from_slice(&n.to_be_bytes());
        }
        assert_eq!(bytes.len(), 4000);
        assert_eq!(bytes[3996..], 999u32.to_be_bytes());
    }
}
