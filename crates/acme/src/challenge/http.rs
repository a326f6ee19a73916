//! `http-01` (RFC 8555 §8.3): answers one path, for tokens that are known, and nothing else.
//!
//! It stands open to the whole internet, so it is as small as it can be: one request per connection, a head of a few
//! kilobytes, no body, a few seconds, and no word about what it does not know.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::door;
use crate::error::Error;

/// The most tokens at a time: those of a hundred of the largest orders.
const MAX_TOKENS: usize = 10_000;
/// How long a token is served if nobody takes it back. A crash of the order's loop leaves nothing for ever.
const TOKEN_TIME: Duration = Duration::from_secs(24 * 3600);
/// How long a token is served after it was forgotten.
const LATE: Duration = Duration::from_secs(60);
/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 4 * 1024;
/// Where tokens are asked for.
const PATH: &str = "/.well-known/acme-challenge/";

/// Tokens that are served. Clones share them.
#[derive(Clone, Default)]
pub struct Responder {
    /// Each with its authorization, and until when it is served.
    tokens: Arc<Mutex<BTreeMap<String, (String, Instant)>>>,
}

impl Responder {
    /// One that serves nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Responder::default()
    }

    /// Serves a token from now on.
    ///
    /// # Errors
    /// [`Error::Later`] if too many are served already.
    pub fn serve_token(&self, token: &str, key_authorization: &str) -> Result<(), Error> {
        let mut tokens = self.tokens();
        tokens.retain(|_, (_, until)| *until > Instant::now());
        if tokens.len() >= MAX_TOKENS && !tokens.contains_key(token) {
            return Err(Error::unproven(format!("{MAX_TOKENS} tokens are served for http-01 already"), 60));
        }
        tokens.insert(token.to_owned(), (key_authorization.to_owned(), Instant::now() + TOKEN_TIME));
        Ok(())
    }

    /// Serves it no longer, but for those who look late: a CA that was told again after a crash looks once more.
    pub fn forget(&self, token: &str) {
        if let Some((_, until)) = self.tokens().get_mut(token) {
            *until = (*until).min(Instant::now() + LATE);
        }
    }

    /// How many are served and not forgotten.
    #[must_use]
    pub fn served(&self) -> usize {
        let late = Instant::now() + LATE;
        self.tokens().values().filter(|(_, until)| *until > late).count()
    }

    fn tokens(&self) -> MutexGuard<'_, BTreeMap<String, (String, Instant)>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers on a socket until the task ends.
    pub async fn listen(self, listener: TcpListener) {
        door::let_in(listener, move |stream| {
            let responder = self.clone();
            async move {
                let _gone = responder.answer(stream).await;
            }
        })
        .await;
    }

    fn served_now(&self, token: &str) -> Option<String> {
        self.tokens().get(token).filter(|(_, until)| *until > Instant::now()).map(|(authorization, _)| authorization.clone())
    }

    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::with_capacity(MAX_HEAD);
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            let room = MAX_HEAD - head.len();
            if room == 0 || (&mut stream).take(room as u64).read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let answer = match asked(&head).and_then(|token| self.served_now(token)) {
            Some(authorization) => response("200 OK", &authorization),
            None => response("404 Not Found", ""),
        };
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Responder({} tokens)", self.served())
    }
}

/// The token that a request asks for.
fn asked(head: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(head.split(|b| *b == b'\r').next()?).ok()?;
    let (path, version) = line.strip_prefix("GET ")?.split_once(' ')?;
    version.starts_with("HTTP/1.").then_some(())?;
    path.strip_prefix(PATH)
}

fn response(status: &str, body: &str) -> String {
    let length = body.len();
    // RFC 8555 §8.3 knows no type that a CA would insist on; this one no browser runs.
    format!("HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_path_is_asked_for() {
        for (head, token) in [
            ("GET /.well-known/acme-challenge/abc HTTP/1.1\r\nHost: x\r\n\r\n", Some("abc")),
            ("GET /.well-known/acme-challenge/abc HTTP/1.0\r\n\r\n", Some("abc")),
            ("GET /.well-known/acme-challenge/a/../b HTTP/1.1\r\n\r\n", Some("a/../b")),
            ("POST /.well-known/acme-challenge/abc HTTP/1.1\r\n\r\n", None),
            ("GET / HTTP/1.1\r\n\r\n", None),
            ("GET /.well-known/acme-challenge/abc\r\n\r\n", None),
            ("GET http://x/.well-known/acme-challenge/abc HTTP/1.1\r\n\r\n", None),
            ("\r\n\r\n", None),
        ] {
            assert_eq!(asked(head.as_bytes()), token, "{head}");
        }
    }
}
