//! Connections of agents, and what each request does.

use super::{
    AGENTS_PER_ADDRESS, Agents, BUFFER, HANDSHAKE, HANDSHAKES, HANDSHAKES_PER_ADDRESS, IDLE, MOST_DRAINED, MOST_NOTED, REPORT_BODY,
    REQUEST, SEALED_RETRY, SMALL_BODY, STRANGER_LIFE, STRANGERS, SUPPLIES_PER_MINUTE, hub::Word, tls,
};
use crate::{
    http::{Problem, peers::AtOnce},
    run::FAREWELL,
    tls::TlsError,
};
use api::agent::{FETCH, JOIN, MANIFEST, MOST_WAIT, RENEW, REPORT, REQUEST as REQUEST_PATH};
use bytes::Bytes;
use engine::{
    Error,
    nodes::{Agent, Ask, Supplied},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use pki::Fingerprint;
use serde::{Serialize, de::DeserializeOwned};
use std::{convert::Infallible, future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use zeroize::Zeroizing;

type Answer = Response<Full<Bytes>>;
/// On the heap, so that an idle connection does not hold room for the largest of its requests.
type Answering = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

/// Listens until it is told to stop.
///
/// # Errors
/// TLS cannot be set up.
pub(super) fn serve(
    agents: Arc<Agents>,
    listener: TcpListener,
    stop: Arc<Notify>,
) -> Result<impl Future<Output = ()> + Send + use<>, TlsError> {
    let tls = TlsAcceptor::from(tls::config(&agents.own)?);
    Ok(accept(agents, listener, tls, stop))
}

async fn accept(agents: Arc<Agents>, listener: TcpListener, tls: TlsAcceptor, stop: Arc<Notify>) {
    let room = Arc::new(Semaphore::new(agents.limits.agents));
    let (handshakes, strangers) = (Arc::new(Semaphore::new(HANDSHAKES)), Arc::new(Semaphore::new(STRANGERS)));
    let (per_peer, greeting) = (AtOnce::new(agents.limits.per_address), AtOnce::new(HANDSHAKES_PER_ADDRESS));
    let (end, ended) = watch::channel(false);
    let mut running = JoinSet::new();
    loop {
        // Where there is no room the system keeps who comes, and turns away whom it cannot keep.
        let Ok(slot) = room.clone().acquire_owned().await else { return };
        let Ok(turn) = handshakes.clone().acquire_owned().await else { return };
        let (socket, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(pair) => pair,
                Err(error) => {
                    // Out of descriptors: others will be freed.
                    tracing::warn!(%error, "an agent could not be accepted");
                    time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = stop.notified() => break,
        };
        while running.try_join_next().is_some() {}
        let Some(place) = per_peer.enter(Some(peer.ip())) else { continue };
        let (agents, tls, strangers, ended) = (agents.clone(), tls.clone(), strangers.clone(), ended.clone());
        let greeting = greeting.clone();
        running.spawn(async move {
            let _held = (slot, place);
            // The handshake takes room that the connection then does not need.
            let Some(stream) = Box::pin(greet(tls, socket, peer, turn, greeting)).await else { return };
            let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|c| Fingerprint::of(c));
            match certificate {
                Some(presented) => converse(agents, stream, Some(presented), peer, ended).await,
                None => {
                    let Ok(_one) = strangers.try_acquire_owned() else { return };
                    let _ = time::timeout(STRANGER_LIFE, converse(agents, stream, None, peer, ended)).await;
                }
            }
        });
    }
    let _ = end.send(true);
    while running.join_next().await.is_some() {}
}

async fn greet(
    tls: TlsAcceptor,
    socket: TcpStream,
    peer: SocketAddr,
    turn: OwnedSemaphorePermit,
    greeting: AtOnce,
) -> Option<TlsStream<TcpStream>> {
    let _held = (turn, greeting.enter(Some(peer.ip()))?);
    // A manifest is one small write that others wait for.
    let _ = socket.set_nodelay(true);
    time::timeout(HANDSHAKE, tls.accept(socket)).await.ok()?.ok()
}

/// One connection, until it ends or the server does.
async fn converse(
    agents: Arc<Agents>,
    stream: TlsStream<TcpStream>,
    presented: Option<Fingerprint>,
    peer: SocketAddr,
    mut ended: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: Request<Incoming>| answer(agents.clone(), presented, peer, request));
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(BUFFER).max_headers(32);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => {}
        () = async { drop(ended.wait_for(|ended| *ended).await.map(|_| ())) } => {
            connection.as_mut().graceful_shutdown();
            let _ = time::timeout(FAREWELL, connection).await;
        }
    }
}

/// The table of routes. Everything but a join needs a certificate.
fn answer(agents: Arc<Agents>, presented: Option<Fingerprint>, peer: SocketAddr, request: Request<Incoming>) -> Answering {
    let path = request.uri().path();
    let (method, path) = (request.method().clone(), path.to_owned());
    match (&method, path.as_str(), presented) {
        (&Method::GET, MANIFEST, Some(presented)) => Box::pin(manifest(agents, presented, request.uri().query().map(str::to_owned))),
        (&Method::POST, JOIN, _) => Box::pin(finish(async move { join(&agents, peer, request).await })),
        (&Method::POST, REPORT, Some(presented)) => Box::pin(finish(async move { report(&agents, presented, request).await })),
        (&Method::POST, RENEW, Some(presented)) => Box::pin(finish(async move { renew(&agents, presented, request).await })),
        (&Method::POST, REQUEST_PATH, Some(presented)) => Box::pin(finish(async move { supply(&agents, presented, request, true).await })),
        (&Method::POST, FETCH, Some(presented)) => Box::pin(finish(async move { supply(&agents, presented, request, false).await })),
        (_, MANIFEST | REPORT | RENEW | REQUEST_PATH | FETCH, None) => Box::pin(async {
            let detail = "this needs the certificate that the store gave this agent when it joined; join first";
            Ok(refused(&Problem::new(StatusCode::UNAUTHORIZED, "unknown-agent", detail)))
        }),
        (_, MANIFEST | JOIN | REPORT | RENEW | REQUEST_PATH | FETCH, _) => Box::pin(async move {
            Ok(refused(&Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", format!("{path} does not take {method}"))))
        }),
        _ => Box::pin(async move { Ok(refused(&Problem::not_found("route", &path))) }),
    }
}

/// A request within its time.
async fn finish(work: impl Future<Output = Result<Answer, Problem>> + Send) -> Result<Answer, Infallible> {
    let late = |_| Problem { retry_after: Some(5), ..Problem::busy("the store did not get to it in time; come back in a while") };
    Ok(match time::timeout(REQUEST, work).await.map_err(late).flatten() {
        Ok(answer) => answer,
        Err(problem) => refused(&problem),
    })
}

/// Waits for something newer than the agent has. What is held meanwhile is a place in the hub, and nothing else.
async fn manifest(agents: Arc<Agents>, presented: Fingerprint, query: Option<String>) -> Result<Answer, Infallible> {
    Ok(match waited(&agents, presented, query.as_deref().unwrap_or_default()).await {
        Ok(Some(body)) => json_bytes(StatusCode::OK, body),
        Ok(None) => empty(StatusCode::NO_CONTENT),
        Err(problem) => refused(&problem),
    })
}

async fn waited(agents: &Arc<Agents>, certificate: Fingerprint, query: &str) -> Result<Option<Vec<u8>>, Problem> {
    let (after, wait) = wanted(query)?;
    // Whoever does not want to wait is answered as soon as it is known that there is nothing.
    let at_once = wait == 0;
    let until = time::Instant::now() + if at_once { REQUEST } else { Duration::from_secs(wait) };
    let mut settled = false;
    loop {
        match time::timeout_at(until, agents.hub.ask(Ask { certificate, after }, at_once)).await {
            Ok(Ok(Word::News(body))) => return Ok(Some(body)),
            Ok(Ok(Word::No(error))) => return Err(problem(error)),
            Ok(Ok(Word::Settle)) if settled => return Err(Problem::busy("somebody else changes this node; come back in a second")),
            Ok(Ok(Word::Settle)) => {
                settled = true;
                Box::pin(settle(agents, certificate, after)).await?;
            }
            // Nothing; or others of the same node took its place; or the time is over.
            Ok(Ok(Word::Nothing) | Err(_)) | Err(_) => return Ok(None),
        }
    }
}

/// Writes what has to be written before this agent may wait.
async fn settle(agents: &Arc<Agents>, certificate: Fingerprint, after: i64) -> Result<(), Problem> {
    work(agents, move |agents| {
        let tick = agents.tick();
        let agent = agents.engine.recognise(&certificate, &tick)?;
        if agent.node.generation < after {
            agents.engine.catch_up(&agent, after, &tick)?;
        }
        Ok(())
    })
    .await
}

/// `after` and `wait`.
fn wanted(query: &str) -> Result<(i64, u64), Problem> {
    let (mut after, mut wait) = (0, 0);
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let bad = || Problem::bad("bad-query", "the query is ?after=GENERATION&wait=SECONDS, both whole numbers");
        match pair.split_once('=').ok_or_else(bad)? {
            ("after", n) => after = n.parse().ok().filter(|n| *n >= 0).ok_or_else(bad)?,
            ("wait", n) => wait = n.parse::<u64>().map_err(|_| bad())?.min(MOST_WAIT),
            _ => return Err(bad()),
        }
    }
    Ok((after, wait))
}

async fn join(agents: &Arc<Agents>, peer: SocketAddr, request: Request<Incoming>) -> Result<Answer, Problem> {
    // Strangers have few connections and little time, so whoever comes waits for its turn.
    let _turn = agents.joining.acquire().await.map_err(|e| Problem::internal(&e))?;
    let wanted: api::agent::Join = body(request, SMALL_BODY).await?;
    // The address is looked at before, and counted after it was refused: who joins rightly is never kept out by who does not.
    let now = agents.tick().now;
    if let Err(seconds) = agents.joins.peek(Some(peer.ip()), now) {
        return Err(Problem::too_often("too many refused joins from this address", seconds));
    }
    let joined = work(agents, move |agents| agents.engine.join(&wanted, &mut Agents::random(), &agents.tick()).map_err(problem)).await;
    match joined {
        Ok(joined) => {
            agents.wake.notify_waiters();
            json(StatusCode::OK, &joined)
        }
        Err(problem) => {
            if problem.code == "bad-token" {
                let _ = agents.joins.count(Some(peer.ip()), now);
                tracing::warn!(peer = %peer.ip(), "a join token was refused");
            }
            Err(problem)
        }
    }
}

async fn renew(agents: &Arc<Agents>, presented: Fingerprint, request: Request<Incoming>) -> Result<Answer, Problem> {
    let wanted: api::agent::Renew = body(request, SMALL_BODY).await?;
    let renewed = work(agents, move |agents| {
        let tick = agents.tick();
        let agent = agents.engine.recognise(&presented, &tick).map_err(problem)?;
        agents.engine.renew(&agent, &wanted, &mut Agents::random(), &tick).map_err(problem)
    })
    .await?;
    json(StatusCode::OK, &renewed)
}

async fn report(agents: &Arc<Agents>, presented: Fingerprint, request: Request<Incoming>) -> Result<Answer, Problem> {
    let said: Box<api::agent::Report> = Box::new(body(request, REPORT_BODY).await?);
    let answer = agents.hub.report(presented, said).await.map_err(|_| Problem::busy("the server ends; come back in a second"))?;
    json(StatusCode::OK, &answer.map_err(problem)?)
}

/// A certificate or a key; which, the path says.
async fn supply(agents: &Arc<Agents>, presented: Fingerprint, request: Request<Incoming>, born: bool) -> Result<Answer, Problem> {
    let bytes = read(request, SMALL_BODY).await?;
    let supplied = work(agents, move |agents| {
        let tick = agents.tick();
        let agent = agents.engine.recognise(&presented, &tick)?;
        if agent.expired {
            return Err(problem(Error::refused("agent-expired", "this certificate has run out; renew it first")));
        }
        agents.not_too_often(&agent, tick.now.unix())?;
        let (what, supplied) = if born {
            let wanted: api::agent::Request = parse(&bytes)?;
            let what = format!("version {} of {}", wanted.version, wanted.secret);
            (what, agents.engine.request(&agent, &wanted, &mut Agents::random(), &tick))
        } else {
            let wanted: api::agent::Fetch = parse(&bytes)?;
            let what = format!("version {} of {}", wanted.version, wanted.secret);
            (what, agents.engine.fetch(&agent, &wanted, &tick).map(Supplied::Here))
        };
        supplied.map_err(|error| {
            let problem = problem(error);
            if problem.status == StatusCode::FORBIDDEN {
                agents.note_refused(&agent, &pki::text::escape(&what), problem.code, tick.now.unix());
            }
            problem
        })
    })
    .await?;
    match supplied {
        Supplied::Here(material) => json(StatusCode::OK, &material),
        Supplied::Later(pending) => json(StatusCode::ACCEPTED, &pending),
    }
}

impl Agents {
    fn not_too_often(&self, agent: &Agent, now: i64) -> Result<(), Problem> {
        let minute = now.div_euclid(60);
        let mut all = self.supplies.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let of = all.entry(agent.node.id.0).or_insert((minute, 0));
        if of.0 != minute {
            *of = (minute, 0);
        }
        of.1 = of.1.saturating_add(1);
        if of.1 <= SUPPLIES_PER_MINUTE {
            return Ok(());
        }
        let seconds = (60 - now.rem_euclid(60)).unsigned_abs().max(1);
        Err(Problem::too_often(format!("more than {SUPPLIES_PER_MINUTE} requests for certificates and keys in a minute"), seconds))
    }

    /// What a node is not to have is journaled when it asks for it, less and less often the more it asks.
    fn note_refused(&self, agent: &Agent, what: &str, code: &str, now: i64) {
        let times = {
            let mut all = self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            all.entry(agent.node.id.0).or_default().count(now.div_euclid(3600))
        };
        let Some(times) = times else { return };
        let mut what = format!("{code}: {what}");
        if let Some((end, _)) = what.char_indices().find(|(at, _)| *at >= MOST_NOTED) {
            what.truncate(end);
        }
        if let Err(error) = self.engine.note_refused(agent, &what, times, &self.tick()) {
            tracing::warn!(node = %agent.node.name, %error, "a refusal was not written down");
        }
    }
}

/// Runs what blocks on a thread that may, so many at a time.
async fn work<T: Send + 'static>(
    agents: &Arc<Agents>,
    f: impl FnOnce(&Agents) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let _turn = agents.writes.acquire().await.map_err(|e| Problem::internal(&e))?;
    let agents = agents.clone();
    tokio::task::spawn_blocking(move || f(&agents)).await.unwrap_or_else(|e| Err(Problem::internal(&e)))
}

/// A refusal that says when to come back, where that is of use.
fn problem(error: Error) -> Problem {
    let mut problem = Problem::from(error);
    if problem.status == StatusCode::SERVICE_UNAVAILABLE && problem.retry_after.is_none() {
        problem.retry_after = Some(SEALED_RETRY);
    }
    problem
}

/// The whole body, into memory that is wiped.
async fn read(request: Request<Incoming>, limit: usize) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|n| n > limit as u64) {
        // A connection that is closed over unread bytes takes the answer along.
        let mut body = Limited::new(request.into_body(), MOST_DRAINED);
        while let Some(Ok(_)) = body.frame().await {}
        return Err(Problem::too_large(limit));
    }
    let room = announced.and_then(|n| usize::try_from(n).ok()).unwrap_or(4096).min(limit);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let mut body = Limited::new(request.into_body(), limit);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| match e.downcast_ref::<http_body_util::LengthLimitError>() {
            Some(_) => Problem::too_large(limit),
            None => Problem::bad("bad-body", "the body ended before its end"),
        })?;
        if let Ok(data) = frame.into_data() {
            crate::http::grow(&mut bytes, data.len());
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

async fn body<T: DeserializeOwned>(request: Request<Incoming>, limit: usize) -> Result<T, Problem> {
    parse(&read(request, limit).await?)
}

/// What does not fit is not repeated: it may hold a token.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.windows(6).any(|w| w == b"\\u0000") {
        return Err(Problem::bad("bad-json", "the body holds a NUL character"));
    }
    serde_json::from_slice(bytes).map_err(|e| {
        let place = format!("line {} column {}", e.line(), e.column());
        match e.classify() {
            serde_json::error::Category::Data => {
                Problem::unprocessable("bad-body", format!("{place} is not what this takes; see docs/agents.md"))
            }
            _ => Problem::bad("bad-json", format!("the body is no JSON: {place}")),
        }
    })
}

/// What is said may hold a key, so its bytes are wiped when they are gone; at their final size, since one that grows leaves copies.
fn json<T: Serialize>(status: StatusCode, value: &T) -> Result<Answer, Problem> {
    struct Size(usize);
    impl std::io::Write for Size {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut size = Size(0);
    serde_json::to_writer(&mut size, value).map_err(|e| Problem::internal(&e))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(size.0));
    serde_json::to_writer(&mut *bytes, value).map_err(|e| Problem::internal(&e))?;
    Ok(with(status, "application/json", Bytes::from_owner(bytes)))
}

fn json_bytes(status: StatusCode, body: Vec<u8>) -> Answer {
    with(status, "application/json", Bytes::from(body))
}

fn empty(status: StatusCode) -> Answer {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn with(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

fn refused(problem: &Problem) -> Answer {
    let body = serde_json::to_vec(&problem.body()).unwrap_or_default();
    let mut response = with(problem.status, "application/problem+json", Bytes::from(body));
    if let Some(seconds) = problem.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
    }
    // What is left of the body is not read: the connection ends here.
    if problem.status == StatusCode::PAYLOAD_TOO_LARGE {
        response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    response
}

// So that the default of an option is the limit that it names.
const _: () = assert!(AGENTS_PER_ADDRESS > HANDSHAKES_PER_ADDRESS);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_may_stand_in_the_query() {
        for (query, expected) in [
            ("", Ok((0, 0))),
            ("after=3&wait=20", Ok((3, 20))),
            ("wait=600&after=3", Ok((3, MOST_WAIT))),
            ("after=-1", Err("bad-query")),
            ("after=x", Err("bad-query")),
            ("after", Err("bad-query")),
            ("until=3", Err("bad-query")),
        ] {
            assert_eq!(wanted(query).map_err(|p| p.code), expected, "{query}");
        }
    }
}
