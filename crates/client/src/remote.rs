//! The server, spoken to: one request, one answer, and every way in which that can fail.

use std::time::Duration;

use api::v1::{Carried, CarryRelease, Page, Problem, Report, Work};
use outbound::{Blame, Bytes, Client, HeaderValue, Method, Phase, Request, StatusCode, header, roots_from_pem};
use pki::text::escape;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use crate::connection::{Connection, Environment, Settled};
use crate::error::Error;
use crate::route::Route;

/// Largest answer that is taken, in bytes: the changes of a fleet of a million targets.
const MAX_ANSWER: usize = 512 * 1024 * 1024;
/// Most items of a list that are asked for at once; the server gives no more.
pub(crate) const MAX_PAGE: usize = 1000;
/// How long an ordinary question may take.
const ORDINARY: Duration = Duration::from_secs(30);
/// How long work on everything stored may take: a fleet, an import in bulk, a sweep, a rotation.
pub(crate) const LONG: Duration = Duration::from_secs(30 * 60);

/// A server and the right to ask it. Cheap to clone.
#[derive(Clone)]
pub struct Remote {
    client: Client,
    server: String,
    /// `Bearer …`, marked as sensitive.
    authorization: Option<HeaderValue>,
}

impl Remote {
    /// Prepares to talk to the server that the call names; says what the person should know besides. Nothing is dialled yet.
    ///
    /// # Errors
    /// [`Error::Usage`] if no server is named, or what was named cannot be used.
    pub fn connect(connection: &Connection, environment: Environment<'_>) -> Result<(Remote, Vec<String>), Error> {
        let Settled { server, token, ca, remarks } = connection.settle(environment)?;
        let roots = match &ca {
            Some(pem) => roots_from_pem(pem.as_bytes()).map_err(|error| Error::Usage(format!("roots of the server: {error}")))?,
            // Plain text on this very machine needs none.
            None if server.starts_with("http://") => rustls::RootCertStore::empty(),
            None => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                roots
            }
        };
        let client = Client::for_server(&server, roots, MAX_ANSWER).map_err(|error| Error::Usage(format!("--server: {error}")))?;
        let authorization = match token {
            Some(token) => {
                let bearer = Zeroizing::new(format!("Bearer {}", &*token));
                let mut value = HeaderValue::from_str(&bearer).map_err(|_| Error::usage("the token has characters that no token has"))?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        Ok((Remote { client, server, authorization }, remarks))
    }

    /// The server's URL.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Reads something.
    ///
    /// # Errors
    /// [`Error::Refused`] or [`Error::Unreachable`], here and below.
    pub async fn get(&self, route: &Route) -> Result<Value, Error> {
        self.exchange(Request::new(Method::GET, self.url(route)), ORDINARY).await
    }

    /// A page of a list, as it came.
    pub(crate) async fn page(&self, route: &Route, after: Option<&str>, limit: usize) -> Result<Page<Value>, Error> {
        let route = route.clone().ask("limit", &limit.min(MAX_PAGE).to_string()).ask_if("after", after);
        parse(&self.get(&route).await?)
    }

    /// Changes something.
    pub(crate) async fn post(&self, route: &Route, body: &impl Serialize) -> Result<Value, Error> {
        self.post_within(route, body, ORDINARY).await
    }

    /// Changes something that may take long.
    pub(crate) async fn post_within(&self, route: &Route, body: &impl Serialize, time: Duration) -> Result<Value, Error> {
        let body = wiped_json(body)?;
        self.exchange(Request::new(Method::POST, self.url(route)).with_body("application/json", body), time).await
    }

    /// Hands lines over.
    pub(crate) async fn post_lines(&self, route: &Route, lines: Vec<u8>) -> Result<Value, Error> {
        let body = Bytes::from_owner(Zeroizing::new(lines));
        self.exchange(Request::new(Method::POST, self.url(route)).with_body("application/x-ndjson", body), LONG).await
    }

    /// Bytes that are no JSON, such as a list of what was revoked.
    pub(crate) async fn bytes(&self, route: &Route) -> Result<Vec<u8>, Error> {
        let mut request = Request::new(Method::GET, self.url(route));
        request.timeout = Some(ORDINARY);
        let response = self.client.send(request).await.map_err(|error| self.failed(&error))?;
        if response.status.is_success() {
            return Ok(response.body.to_vec());
        }
        match serde_json::from_slice::<Problem>(&response.body) {
            Ok(problem) => Err(Error::Refused(Box::new(Problem { status: response.status.as_u16(), ..problem }))),
            Err(_) => Err(self.stranger(response.status)),
        }
    }

    /// Takes something back.
    pub(crate) async fn delete(&self, route: &Route) -> Result<Value, Error> {
        self.exchange(Request::new(Method::DELETE, self.url(route)), ORDINARY).await
    }

    /// What a vantage is to look at.
    ///
    /// # Errors
    /// As [`Remote::get`].
    pub async fn work(&self, limit: usize) -> Result<Work, Error> {
        parse(&self.get(&Route::to(&["vantage", "work"]).ask("limit", &limit.to_string())).await?)
    }

    /// What a vantage saw.
    ///
    /// # Errors
    /// As [`Remote::get`].
    pub async fn report(&self, report: &Report) -> Result<(), Error> {
        self.post(&Route::to(&["observations"]), report).await.map(drop)
    }

    /// What was found in a build; what the store makes of it.
    ///
    /// # Errors
    /// As [`Remote::get`].
    pub async fn carry(&self, build: &CarryRelease) -> Result<(Value, Carried), Error> {
        let answer = self.post(&Route::to(&["releases", "carry"]), build).await?;
        let read = parse(&answer)?;
        Ok((answer, read))
    }

    /// The same server without a token, for the one route that needs none.
    pub(crate) fn anonymous(&self) -> Remote {
        Remote { authorization: None, ..self.clone() }
    }

    fn url(&self, route: &Route) -> String {
        format!("{}{}", self.server, route.as_str())
    }

    async fn exchange(&self, mut request: Request, time: Duration) -> Result<Value, Error> {
        request.timeout = Some(time);
        request.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(bearer) = &self.authorization {
            request.headers.insert(header::AUTHORIZATION, bearer.clone());
        }
        let response = self.client.send(request).await.map_err(|error| self.failed(&error))?;
        if response.status.is_success() {
            if response.body.is_empty() {
                return Ok(Value::Null);
            }
            return serde_json::from_slice(&response.body).map_err(|_| self.stranger(response.status));
        }
        match serde_json::from_slice::<Problem>(&response.body) {
            Ok(_) if response.status == StatusCode::UNAUTHORIZED && self.authorization.is_none() => Err(Error::NoToken),
            Ok(problem) => Err(Error::Refused(Box::new(Problem { status: response.status.as_u16(), ..problem }))),
            Err(_) => Err(self.stranger(response.status)),
        }
    }

    fn failed(&self, error: &outbound::Error) -> Error {
        let plain = self.server.starts_with("http://");
        let hint = match (error.phase, error.blame) {
            (Phase::Prepare | Phase::Guard, _) => return Error::Usage(error.to_string()),
            (Phase::Resolve, _) => "is the name in --server right?",
            (Phase::Connect, _) => "is the server running there, and are host and port in --server right?",
            (Phase::Handshake, Blame::Tls) => {
                "name the roots that the server shows at its start with --ca F, or use --data DIR on its own machine; \
                 if the name is what does not fit, start the server with --name NAME"
            }
            (Phase::Handshake, _) => "is it starting or stopping, or is it no TLS server? Try again, and look at --server",
            (Phase::Request, _) if plain => "the server speaks TLS unless a proxy stands before it: write https:// in --server",
            (Phase::Request | Phase::Body, _) => "it may have acted on what was asked; look before you ask again",
        };
        Error::Unreachable(format!("no answer from {}: {}\nnext: {hint}", escape(&self.server), error.detail))
    }

    /// Something answered, and it does not speak like Perennial.
    fn stranger(&self, status: StatusCode) -> Error {
        Error::Unreachable(format!(
            "what answers at {} (status {}) is not a Perennial server, or one that is much newer\nnext: look at --server, and at proxies in between",
            escape(&self.server),
            status.as_u16()
        ))
    }
}

/// Reads an answer.
pub(crate) fn parse<T: DeserializeOwned>(value: &Value) -> Result<T, Error> {
    T::deserialize(value).map_err(|error| {
        Error::Unreachable(format!(
            "the server's answer has another form than expected ({error})\nnext: use a client of the server's version"
        ))
    })
}

/// JSON that is wiped when it has been sent: it may hold private keys.
fn wiped_json(body: &impl Serialize) -> Result<Bytes, Error> {
    let wrong = |error: serde_json::Error| Error::Usage(format!("this cannot be sent: {error}"));
    // Counted first and written then: a buffer that grows leaves copies behind that nobody wipes.
    let mut length = Counter(0);
    serde_json::to_writer(&mut length, body).map_err(wrong)?;
    let mut bytes = Vec::with_capacity(length.0);
    if let Err(error) = serde_json::to_writer(&mut bytes, body) {
        bytes.zeroize();
        return Err(wrong(error));
    }
    Ok(Bytes::from_owner(Zeroizing::new(bytes)))
}

struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
