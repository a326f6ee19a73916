//! The client: resolve, judge, dial, speak.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderValue, Method, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use crate::body::Slices;
use crate::destination::Destination;
use crate::error::{Blame, Error, Phase};
use crate::first_contact::FirstContact;
use crate::guard::inside;
use crate::kept::{Lane, Open, Slot};
use crate::message::{Answer, Request, Response};
use crate::policy::{Allow, Policy};

/// How many addresses of a name are tried.
const MAX_ADDRESSES: usize = 8;

/// How soon a kept connection must break for its request to be asked again on a new one: then it was closed while nobody used it. A server
/// that goes later, while it thinks, finds everybody back at once; whether that is right is the caller's decision.
const SOON: Duration = Duration::from_secs(1);

/// A guarded HTTP/1.1 client. Cheap to clone. Every request has a connection of its own, unless it is one that is [kept](Client::keeping_alive).
#[derive(Clone)]
pub struct Client {
    policy: Arc<Policy>,
    tls: TlsConnector,
    /// Set for an operator's client: the one `host:port` that it talks to, so that its token goes nowhere else.
    only: Option<String>,
    /// Set for a client that keeps a connection.
    kept: Option<Arc<Mutex<Slot>>>,
}

/// A certificate that a client shows, with its key.
pub struct Identity {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Of the leaf.
    pub key: PrivateKeyDer<'static>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} certificates)", self.chain.len())
    }
}

impl Client {
    /// A client under `policy`.
    ///
    /// # Errors
    /// [`Error`] if the TLS provider cannot offer a version of the protocol.
    pub fn new(policy: Policy) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::local(format!("TLS cannot be set up: {error}")))?
            .with_root_certificates(policy.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Client { policy: Arc::new(policy), tls: TlsConnector::from(Arc::new(config)), only: None, kept: None })
    }

    /// The client of an operator's commands: it talks to the server at `base` and to nothing else. The server may lie
    /// inside, but is spoken to in plain text only on this very machine, because a token travels along.
    ///
    /// # Errors
    /// [`Error`] if `base` is not a URL or asks for plain text to another machine.
    pub fn for_server(base: &str, roots: impl Into<Arc<RootCertStore>>, max_response: usize) -> Result<Self, Error> {
        let server = Destination::parse(base)?;
        let here = server.host == "localhost" || server.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if !server.https && !here {
            return Err(Error::local(
                "the server's URL begins with http://, which would send the token in plain text; use https://".into(),
            )
            .at(&server.name()));
        }
        let allow: Allow = [server.name()].into_iter().collect();
        let client = Client::new(Policy { allow, max_response, ..Policy::new(roots) })?;
        Ok(Client { only: Some(server.name()), ..client })
    }

    /// The client of an agent: TLS 1.3 with the agent's own certificate to the store at `base`, and to nothing else.
    ///
    /// # Errors
    /// [`Error`] if `base` is no URL with `https://`, or the certificate and key cannot be used.
    pub fn for_agent(base: &str, roots: impl Into<Arc<RootCertStore>>, identity: Identity, max_response: usize) -> Result<Self, Error> {
        let roots = roots.into();
        let config = Self::agents()?.with_root_certificates(Arc::clone(&roots)).with_client_auth_cert(identity.chain, identity.key);
        let config = config.map_err(|error| Error::local(format!("the client certificate cannot be used: {error}")))?;
        Self::of_agent(base, roots, config, max_response)
    }

    /// The client of an agent that has nothing yet but the fingerprint of its store's authority: it believes a chain that holds a
    /// certificate for which `is_authority` says yes, and that leads to it.
    ///
    /// # Errors
    /// As [`Client::for_agent`].
    pub fn for_first_contact(
        base: &str,
        is_authority: impl Fn(&[u8]) -> bool + Send + Sync + 'static,
        max_response: usize,
    ) -> Result<Self, Error> {
        let verifier = Arc::new(FirstContact::new(Box::new(is_authority)));
        let config = Self::agents()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        Self::of_agent(base, RootCertStore::empty().into(), config, max_response)
    }

    fn agents() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
        builder.map_err(|error| Error::local(format!("TLS cannot be set up: {error}")))
    }

    fn of_agent(base: &str, roots: Arc<RootCertStore>, mut config: ClientConfig, max_response: usize) -> Result<Self, Error> {
        let store = Destination::parse(base)?;
        if !store.https {
            return Err(Error::local("an agent speaks https:// alone".into()).at(&store.name()));
        }
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let allow: Allow = [store.name()].into_iter().collect();
        let policy = Policy { allow, max_response, ..Policy::new(roots) };
        Ok(Client { policy: Arc::new(policy), tls: TlsConnector::from(Arc::new(config)), only: Some(store.name()), kept: None })
    }

    /// The same client, keeping one connection open between requests and using it again (RFC 9112 §9.3); of requests at the same time one
    /// uses it, and the others have connections of their own. Clones share it, and nothing moves on it while no request does.
    ///
    /// Where the peer closed it meanwhile, the request goes out on a new one: any that was not sent yet, and a GET that was (RFC 9110
    /// §9.2.2) if the connection broke [at once](SOON) and before any of the answer came.
    #[must_use]
    pub fn keeping_alive(self) -> Self {
        Client { kept: Some(Arc::default()), ..self }
    }

    /// Whether the host of a URL was allowed by name.
    pub fn names(&self, url: &str) -> bool {
        Destination::parse(url).is_ok_and(|to| self.policy.allow.contains(&to.host, to.port))
    }

    /// Sends one request and reads its answer; redirects are answers.
    ///
    /// # Errors
    /// [`Error`] if there is no answer, or not all of it where [`Answer::Whole`] was asked for.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let to = Destination::parse(&request.url)?;
        self.exchange_with(&to, request).await.map_err(|error| error.at(&to.name()))
    }

    async fn exchange_with(&self, to: &Destination, request: Request) -> Result<Response, Error> {
        let allowed = self.policy.allow.contains(&to.host, to.port);
        if self.only.as_ref().is_some_and(|only| *only != to.name()) {
            return Err(Error::local("this client talks to its own server alone".into()));
        }
        if !to.https && !allowed {
            return Err(Error::local("plain http:// is refused; use https://, or allow the host by name".into()));
        }
        let time = request.timeout.unwrap_or(self.policy.timeouts.exchange);
        let (lane, kept) = self.kept.as_ref().map_or((None, None), |slot| Lane::enter(slot, to));
        let (keep, answer) = (lane.is_some(), request.answer);
        if let Some(mut open) = kept
            && open.is_usable().await
        {
            let message = prepare(to, request.clone(), keep)?;
            let sent = Instant::now();
            match Box::pin(self.speak(&mut open, message, answer, time)).await {
                Ok(response) => {
                    open.leave(lane, to, &response).await;
                    return Ok(response);
                }
                Err(failed) => {
                    let repeatable = request.method == Method::GET && failed.broke && sent.elapsed() < SOON;
                    if !failed.unsent && !repeatable {
                        return Err(failed.error);
                    }
                }
            }
        }
        let message = prepare(to, request, keep)?;
        let mut open = Box::pin(self.open(to, allowed)).await?;
        let response = Box::pin(self.speak(&mut open, message, answer, time)).await.map_err(|failed| failed.error)?;
        open.leave(lane, to, &response).await;
        Ok(response)
    }

    /// A new connection.
    async fn open(&self, to: &Destination, allowed: bool) -> Result<Open, Error> {
        let addresses = self.resolve(to).await?;
        let stream = self.connect(&addresses, allowed).await?;
        if to.https { Open::over(self.handshake(to, stream).await?).await } else { Open::over(stream).await }
    }

    async fn resolve(&self, to: &Destination) -> Result<Vec<SocketAddr>, Error> {
        if let Ok(address) = to.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, to.port)]);
        }
        let failed = |detail: String| Error::new(Phase::Resolve, Blame::Dns, true, detail);
        let found = timeout(self.policy.timeouts.resolve, tokio::net::lookup_host((to.host.as_str(), to.port)))
            .await
            .map_err(|_| failed(format!("the name was not resolved within {:?}", self.policy.timeouts.resolve)))?
            .map_err(|error| failed(format!("the name does not resolve: {error}")))?;
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in found {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses.truncate(MAX_ADDRESSES);
        if addresses.is_empty() {
            return Err(failed("the name has no address".into()));
        }
        Ok(addresses)
    }

    /// Tries one address after the other. This is the only place that dials, and it judges what it dials.
    async fn connect(&self, addresses: &[SocketAddr], allowed: bool) -> Result<TcpStream, Error> {
        let share = self.policy.timeouts.connect / u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let mut last = None;
        for address in addresses {
            if let (Some(kind), false) = (inside(address.ip()), allowed) {
                let detail = format!("{} is an inside address ({kind}); allow the host by name if this is meant", address.ip());
                last.get_or_insert(Error::new(Phase::Guard, Blame::Local, false, detail));
                continue;
            }
            let failed = |detail| Some(Error::new(Phase::Connect, Blame::Network, true, detail));
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = failed(format!("{address} does not accept a connection: {error}")),
                Err(_) => last = failed(format!("{address} did not answer within {share:?}")),
            }
        }
        Err(last.unwrap_or_else(|| Error::local("there is no address to dial".into())))
    }

    async fn handshake(&self, to: &Destination, stream: TcpStream) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Error> {
        let name =
            ServerName::try_from(to.host.clone()).map_err(|_| Error::local("the host is not a name that a certificate can have".into()))?;
        let limit = self.policy.timeouts.handshake;
        match timeout(limit, self.tls.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => {
                let tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
                let blame = if tls { Blame::Tls } else { Blame::Network };
                Err(Error::new(Phase::Handshake, blame, true, format!("the TLS handshake failed: {error}")))
            }
            Err(_) => {
                let detail = format!("the TLS handshake took longer than {limit:?}");
                Err(Error::new(Phase::Handshake, Blame::Peer, true, detail))
            }
        }
    }

    async fn speak(&self, open: &mut Open, message: http::Request<Slices>, answer: Answer, time: Duration) -> Result<Response, Failed> {
        let deadline = Instant::now() + time;
        let late = || Error::new(Phase::Request, Blame::Peer, true, format!("no answer came within {time:?}"));
        let Open { sender, connection, ended } = open;
        let mut talk = pin!(async {
            let response =
                timeout_at(deadline, sender.send_request(message)).await.map_err(|_| Failed::from(late()))?.map_err(|error| {
                    let (unsent, broke) = (error.is_canceled(), error.is_incomplete_message() || error.is_closed());
                    Failed { error: no_answer(&error), unsent, broke: broke || is_reset(&error) }
                })?;
            let (head, body) = response.into_parts();
            let (body, cut) = self.collect(body, answer, deadline).await?;
            Ok(Response { status: head.status, headers: head.headers, body, cut })
        });
        // The connection moves bytes only while it is polled; when it ends first, what it received is still to be read.
        tokio::select! {
            biased;
            outcome = &mut talk => outcome,
            _ = connection => { *ended = true; talk.await }
        }
    }

    async fn collect(&self, mut body: Incoming, answer: Answer, deadline: Instant) -> Result<(Bytes, bool), Error> {
        let most = self.policy.max_response;
        let whole = answer == Answer::Whole;
        let too_long = || {
            let detail = format!("the answer is longer than the {most} bytes that are taken");
            Error::new(Phase::Body, Blame::Limits, false, detail)
        };
        if whole && body.size_hint().lower() > most as u64 {
            return Err(too_long());
        }
        let mut taken = BytesMut::new();
        loop {
            match timeout_at(deadline, body.frame()).await {
                Ok(None) => return Ok((taken.freeze(), false)),
                Ok(Some(Ok(frame))) => {
                    // Trailers are not needed.
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    let room = most - taken.len();
                    taken.extend_from_slice(&data[..data.len().min(room)]);
                    if data.len() > room {
                        return if whole { Err(too_long()) } else { Ok((taken.freeze(), true)) };
                    }
                }
                Ok(Some(Err(_))) | Err(_) if !whole => return Ok((taken.freeze(), true)),
                Ok(Some(Err(error))) => {
                    let detail = format!("the answer broke off: {}", chain(&error));
                    return Err(Error::new(Phase::Body, Blame::Peer, true, detail));
                }
                Err(_) => {
                    let detail = format!("the answer was not complete in time, only {} bytes came", taken.len());
                    return Err(Error::new(Phase::Body, Blame::Peer, true, detail));
                }
            }
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("allow", &self.policy.allow).field("only", &self.only).finish_non_exhaustive()
    }
}

/// A request that got no answer.
struct Failed {
    error: Error,
    /// None of it left.
    unsent: bool,
    /// The connection ended before any of the answer came.
    broke: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed { error, unsent: false, broke: false }
    }
}

/// Whether the peer hung up, as the system tells it.
fn is_reset(error: &hyper::Error) -> bool {
    use std::error::Error as _;
    let io = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|error| matches!(error.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe))
}

pub(crate) fn no_answer(error: &hyper::Error) -> Error {
    Error::new(Phase::Request, Blame::Peer, true, format!("no valid answer came: {}", chain(error)))
}

fn prepare(to: &Destination, request: Request, keep: bool) -> Result<http::Request<Slices>, Error> {
    let wrong = |what: &str| Error::local(format!("the request has a {what} that HTTP does not allow"));
    let mut message = http::Request::new(Slices(request.body));
    *message.method_mut() = request.method;
    *message.uri_mut() = to.path.parse().map_err(|_| wrong("path"))?;
    *message.version_mut() = Version::HTTP_11;
    let headers = message.headers_mut();
    *headers = request.headers;
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
    headers.insert(HOST, HeaderValue::from_str(&to.host_header()).map_err(|_| wrong("host"))?);
    headers.remove(CONNECTION);
    if !keep {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(concat!("perennial/", env!("CARGO_PKG_VERSION"))));
    Ok(message)
}

/// An error with its causes, because hyper keeps the interesting part in them.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
