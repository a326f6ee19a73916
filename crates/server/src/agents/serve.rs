//! Connections of agents, and what each request does.

use super::{
    AGENTS_PER_ADDRESS, Agents, BUFFER, FIRST_BYTE, HANDSHAKE, HANDSHAKES, HANDSHAKES_PER_ADDRESS, IDLE, MOST_DRAINED, MOST_NOTED,
    REPORT_BODY, REPORTS_PER_NODE, REQUEST, REQUESTS_PER_NODE, SEALED_RETRY, SMALL_BODY, STRANGER_LIFE, STRANGERS, STRANGERS_PER_ADDRESS,
    WRITES_PER_MINUTE, hub::Word, tls,
};
use crate::{
    http::{Problem, peers::AtOnce},
    run::FAREWELL,
    tls::TlsError,
};
use api::agent::{FETCH, JOIN, MANIFEST, MOST_WAIT, RENEW, REPORT, REQUEST as REQUEST_PATH};
use bytes::Bytes;
use domain::words::NodeId;
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

/// Who somebody is that came in.
#[derive(Debug, Clone, Copy)]
enum Who {
    /// The agent of a node, by this certificate.
    Agent(Fingerprint, NodeId),
    /// Somebody with a certificate by which no node may act.
    Presented(Fingerprint),
    /// Somebody without one.
    Nobody,
}

async fn accept(agents: Arc<Agents>, listener: TcpListener, tls: TlsAcceptor, stop: Arc<Notify>) {
    let room = Arc::new(Semaphore::new(agents.limits.agents));
    let (handshakes, strangers) = (Arc::new(Semaphore::new(HANDSHAKES)), Arc::new(Semaphore::new(STRANGERS)));
    let (per_peer, greeting) = (AtOnce::new(agents.limits.per_address), AtOnce::new(HANDSHAKES_PER_ADDRESS));
    let strange = AtOnce::new(STRANGERS_PER_ADDRESS);
    let (end, ended) = watch::channel(false);
    let mut running = JoinSet::new();
    loop {
        // Where there is no room the system keeps who comes, and turns away whom it cannot keep.
        let next = async { (room.clone().acquire_owned().await, listener.accept().await) };
        let (slot, socket, peer) = tokio::select! {
            next = next => match next {
                (Ok(slot), Ok((socket, peer))) => (slot, socket, peer),
                (Err(_), _) => return,
                (_, Err(error)) => {
                    // Out of descriptors: others will be freed.
                    tracing::warn!(%error, "an agent could not be accepted");
                    time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = stop.notified() => break,
        };
        while running.try_join_next().is_some() {}
        let ip = Some(peer.ip());
        let (Some(place), Some(greeted)) = (per_peer.enter(ip), greeting.enter(ip)) else { continue };
        let (agents, tls, ended) = (agents.clone(), tls.clone(), ended.clone());
        let (handshakes, strangers, strange) = (handshakes.clone(), strangers.clone(), strange.clone());
        running.spawn(async move {
            let _held = (slot, place);
            // The handshake takes room that the connection then does not need.
            let Some(stream) = Box::pin(greet(tls, socket, handshakes)).await else { return };
            let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|c| Fingerprint::of(c));
            let who = match certificate {
                None => Who::Nobody,
                // A certificate alone makes nobody an agent: anyone can make one.
                Some(presented) => match time::timeout(HANDSHAKE, agents.hub.admit(presented)).await {
                    Ok(Some(node)) => Who::Agent(presented, node),
                    _ => Who::Presented(presented),
                },
            };
            drop(greeted);
            if let Who::Agent(..) = who {
                return converse(agents, stream, who, peer, ended).await;
            }
            let (Ok(_one), Some(_share)) = (strangers.try_acquire_owned(), strange.enter(ip)) else { return };
            let _ = time::timeout(STRANGER_LIFE, converse(agents, stream, who, peer, ended)).await;
        });
    }
    let _ = end.send(true);
    while running.join_next().await.is_some() {}
}

async fn greet(tls: TlsAcceptor, socket: TcpStream, handshakes: Arc<Semaphore>) -> Option<TlsStream<TcpStream>> {
    // A manifest is one small write that others wait for.
    let _ = socket.set_nodelay(true);
    // Whoever is silent takes no turn from those who speak.
    time::timeout(FIRST_BYTE, socket.peek(&mut [0])).await.ok()?.ok().filter(|n| *n > 0)?;
    let _turn = time::timeout(HANDSHAKE, handshakes.acquire_owned()).await.ok()?.ok()?;
    time::timeout(HANDSHAKE, tls.accept(socket)).await.ok()?.ok()
}

/// One connection, until it ends or the server does.
async fn converse(agents: Arc<Agents>, stream: TlsStream<TcpStream>, who: Who, peer: SocketAddr, mut ended: watch::Receiver<bool>) {
    let service = service_fn(move |request: Request<Incoming>| answer(agents.clone(), who, peer, request));
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

/// The table of routes. Everything but a join is for agents alone.
fn answer(agents: Arc<Agents>, who: Who, peer: SocketAddr, request: Request<Incoming>) -> Answering {
    let path = request.uri().path();
    let (method, path) = (request.method().clone(), path.to_owned());
    match (&method, path.as_str(), who) {
        (&Method::POST, JOIN, _) => Box::pin(finish(async move { join(&agents, peer, request).await })),
        (&Method::GET, MANIFEST, Who::Agent(by, node)) => Box::pin(manifest(agents, (by, node), request.uri().query().map(str::to_owned))),
        (&Method::POST, REPORT, Who::Agent(by, node)) => Box::pin(finish(async move { report(&agents, (by, node), request).await })),
        (&Method::POST, RENEW, Who::Agent(by, node)) => Box::pin(finish(async move { renew(&agents, (by, node), request).await })),
        (&Method::POST, REQUEST_PATH, Who::Agent(by, node)) => {
            Box::pin(finish(async move { supply(&agents, (by, node), request, true).await }))
        }
        (&Method::POST, FETCH, Who::Agent(by, node)) => Box::pin(finish(async move { supply(&agents, (by, node), request, false).await })),
        (_, MANIFEST | REPORT | RENEW | REQUEST_PATH | FETCH, Who::Presented(by)) => {
            Box::pin(finish(async move { strange(&agents, by, request).await }))
        }
        (_, MANIFEST | REPORT | RENEW | REQUEST_PATH | FETCH, Who::Nobody) => Box::pin(async {
            let detail = "this needs the certificate that the store gave this agent when it joined; join first";
            Ok(refused(&Problem::new(StatusCode::UNAUTHORIZED, "unknown-agent", detail)))
        }),
        (_, MANIFEST | JOIN | REPORT | RENEW | REQUEST_PATH | FETCH, _) => Box::pin(async move {
            Ok(refused(&Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", format!("{path} does not take {method}"))))
        }),
        _ => Box::pin(async move { Ok(refused(&Problem::not_found("route", &path))) }),
    }
}

/// Says to one whose certificate is good for nothing what is wrong with it. What it sends is read away, and kept nowhere.
async fn strange(agents: &Arc<Agents>, by: Fingerprint, request: Request<Incoming>) -> Result<Answer, Problem> {
    let mut body = Limited::new(request.into_body(), REPORT_BODY);
    while let Some(Ok(_)) = body.frame().await {}
    work(agents, &agents.joining, move |agents| agents.engine.recognise(&by, &agents.tick()).map(|_| ()).map_err(problem)).await?;
    // It became good since the connection began, or the database did not say.
    let mut response = refused(&Problem::busy("this connection began before the store knew the certificate; connect again"));
    response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    Ok(response)
}

/// A request within its time.
async fn finish(work: impl Future<Output = Result<Answer, Problem>> + Send) -> Result<Answer, Infallible> {
    let late = |_| Problem { retry_after: Some(5), ..Problem::busy("the store did not get to it in time; come back in a while") };
    Ok(match time::timeout(REQUEST, work).await.map_err(late).flatten() {
        Ok(answer) => answer,
        Err(problem) => refused(&problem),
    })
}

/// A certificate, and the node whose it is.
type Known = (Fingerprint, NodeId);

/// Waits for something newer than the agent has. What is held meanwhile is a place in the hub, and nothing else.
async fn manifest(agents: Arc<Agents>, who: Known, query: Option<String>) -> Result<Answer, Infallible> {
    Ok(match waited(&agents, who, query.as_deref().unwrap_or_default()).await {
        Ok(Some(body)) => json_bytes(StatusCode::OK, body),
        Ok(None) => empty(StatusCode::NO_CONTENT),
        Err(problem) => refused(&problem),
    })
}

async fn waited(agents: &Arc<Agents>, (certificate, node): Known, query: &str) -> Result<Option<Vec<u8>>, Problem> {
    let Wanted { after, wait, instance } = wanted(query)?;
    // Whoever does not want to wait is answered as soon as it is known that there is nothing.
    let at_once = wait == 0;
    let until = time::Instant::now() + if at_once { REQUEST } else { Duration::from_secs(wait) };
    let mut settled = false;
    loop {
        let ask = Ask { certificate, after, instance: instance.clone() };
        match time::timeout_at(until, agents.hub.ask(ask, at_once)).await {
            Ok(Ok(Word::News(body))) => return Ok(Some(body)),
            Ok(Ok(Word::No(error))) => return Err(problem(error)),
            Ok(Ok(Word::Settle)) if settled => return Err(Problem::busy("somebody else changes this node; come back in a second")),
            Ok(Ok(Word::Settle)) => {
                settled = true;
                agents.not_too_often(node)?;
                Box::pin(settle(agents, certificate, after, instance.clone())).await?;
            }
            // Nothing; or others of the same node took its place; or the time is over.
            Ok(Ok(Word::Nothing) | Err(_)) | Err(_) => return Ok(None),
        }
    }
}

/// Writes what has to be written before this agent may wait.
async fn settle(agents: &Arc<Agents>, certificate: Fingerprint, after: i64, instance: Option<Arc<str>>) -> Result<(), Problem> {
    work(agents, &agents.writes, move |agents| {
        let tick = agents.tick();
        let agent = agents.engine.recognise(&certificate, &tick)?;
        agents.engine.hear(&agent, instance.as_deref(), &tick)?;
        if agent.node.generation < after {
            agents.engine.catch_up(&agent, after, &tick)?;
        }
        Ok(())
    })
    .await
}

/// The query of a manifest.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    after: i64,
    wait: u64,
    instance: Option<Arc<str>>,
}

fn wanted(query: &str) -> Result<Wanted, Problem> {
    let mut wanted = Wanted { after: 0, wait: 0, instance: None };
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let bad = || {
            Problem::bad(
                "bad-query",
                "the query is ?after=GENERATION&wait=SECONDS&instance=START: two whole numbers, and letters and digits",
            )
        };
        match pair.split_once('=').ok_or_else(bad)? {
            ("after", n) => wanted.after = n.parse().ok().filter(|n| *n >= 0).ok_or_else(bad)?,
            ("wait", n) => wanted.wait = n.parse::<u64>().map_err(|_| bad())?.min(MOST_WAIT),
            ("instance", text) if text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) => {
                wanted.instance = Some(text).filter(|t| !t.is_empty()).map(Arc::from);
            }
            _ => return Err(bad()),
        }
    }
    Ok(wanted)
}

async fn join(agents: &Arc<Agents>, peer: SocketAddr, request: Request<Incoming>) -> Result<Answer, Problem> {
    let wanted: api::agent::Join = parse(&read(request, SMALL_BODY, &agents.strange_bodies).await?.0)?;
    // The address is looked at before, and counted after it was refused: who joins rightly is never kept out by who does not.
    let now = agents.tick().now;
    if let Err(seconds) = agents.joins.peek(Some(peer.ip()), now) {
        return Err(Problem::too_often("too many refused joins from this address", seconds));
    }
    let join = move |agents: &Agents| agents.engine.join(&wanted, &mut Agents::random(), &agents.tick()).map_err(problem);
    match work(agents, &agents.joining, join).await {
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

async fn renew(agents: &Arc<Agents>, (by, node): Known, request: Request<Incoming>) -> Result<Answer, Problem> {
    let _place = agents.requesting.place(node).ok_or_else(|| crowded(REQUESTS_PER_NODE))?;
    agents.not_too_often(node)?;
    let (bytes, _held) = read(request, SMALL_BODY, &agents.bodies).await?;
    let wanted: api::agent::Renew = parse(&bytes)?;
    let renewed = work(agents, &agents.writes, move |agents| {
        let tick = agents.tick();
        let agent = agents.engine.recognise(&by, &tick).map_err(problem)?;
        agents.engine.renew(&agent, &wanted, &mut Agents::random(), &tick).map_err(problem)
    })
    .await?;
    json(StatusCode::OK, &renewed)
}

async fn report(agents: &Arc<Agents>, (by, node): Known, request: Request<Incoming>) -> Result<Answer, Problem> {
    let _place = agents.reporting.place(node).ok_or_else(|| crowded(REPORTS_PER_NODE))?;
    agents.not_too_often(node)?;
    let (bytes, held) = read(request, REPORT_BODY, &agents.bodies).await?;
    let said: Box<api::agent::Report> = Box::new(parse(&bytes)?);
    drop(bytes);
    let answer = agents.hub.report(by, said, held).await.map_err(|_| Problem::busy("the server ends; come back in a second"))?;
    json(StatusCode::OK, &answer.map_err(problem)?)
}

/// A certificate or a key; which, the path says.
async fn supply(agents: &Arc<Agents>, (by, node): Known, request: Request<Incoming>, born: bool) -> Result<Answer, Problem> {
    let _place = agents.requesting.place(node).ok_or_else(|| crowded(REQUESTS_PER_NODE))?;
    agents.not_too_often(node)?;
    let (bytes, _held) = read(request, SMALL_BODY, &agents.bodies).await?;
    let supplied = work(agents, &agents.writes, move |agents| {
        let tick = agents.tick();
        let agent = agents.engine.recognise(&by, &tick)?;
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

/// A node does one thing after the other; what is more is not it, or not well.
fn crowded(most: usize) -> Problem {
    Problem::busy(format!("this node has {most} requests of this kind under way; wait for their answers"))
}

impl Agents {
    fn not_too_often(&self, node: NodeId) -> Result<(), Problem> {
        let now = self.tick().now.unix();
        let minute = now.div_euclid(60);
        let mut all = self.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let of = all.entry(node).or_insert((minute, 0));
        if of.0 != minute {
            *of = (minute, 0);
        }
        of.1 = of.1.saturating_add(1);
        if of.1 <= WRITES_PER_MINUTE {
            return Ok(());
        }
        let seconds = (60 - now.rem_euclid(60)).unsigned_abs().max(1);
        Err(Problem::too_often(format!("more than {WRITES_PER_MINUTE} reports and requests of one node in a minute"), seconds))
    }

    /// What a node is not to have is journaled when it asks for it, less and less often the more it asks.
    fn note_refused(&self, agent: &Agent, what: &str, code: &str, now: i64) {
        let times = {
            let mut all = self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            all.entry(agent.node.id).or_default().count(now.div_euclid(3600))
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

/// Runs what blocks on a thread that may, so many at a time. Its turn is over when it is done, also where nobody waits for it any more.
async fn work<T: Send + 'static>(
    agents: &Arc<Agents>,
    turns: &Arc<Semaphore>,
    f: impl FnOnce(&Agents) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let turn = turns.clone().acquire_owned().await.map_err(|e| Problem::internal(&e))?;
    let agents = agents.clone();
    let run = move || {
        let _turn = turn;
        f(&agents)
    };
    tokio::task::spawn_blocking(run).await.unwrap_or_else(|e| Err(Problem::internal(&e)))
}

/// A refusal that says when to come back, where that is of use.
fn problem(error: Error) -> Problem {
    let mut problem = Problem::from(error);
    if problem.status == StatusCode::SERVICE_UNAVAILABLE && problem.retry_after.is_none() {
        problem.retry_after = Some(SEALED_RETRY);
    }
    problem
}

/// The whole body, into memory that is wiped; with the room that it takes of what all agents share.
async fn read(
    request: Request<Incoming>,
    limit: usize,
    shared: &Arc<Semaphore>,
) -> Result<(Zeroizing<Vec<u8>>, OwnedSemaphorePermit), Problem> {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|n| n > limit as u64) {
        // A connection that is closed over unread bytes takes the answer along.
        let mut body = Limited::new(request.into_body(), MOST_DRAINED);
        while let Some(Ok(_)) = body.frame().await {}
        return Err(Problem::too_large(limit));
    }
    // What is announced is not there yet.
    let room = announced.and_then(|n| usize::try_from(n).ok()).unwrap_or(4096).min(limit).min(SMALL_BODY);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let full = || Problem { retry_after: Some(5), ..Problem::busy("the store has its hands full of requests; come back in a while") };
    let mut held = shared.clone().try_acquire_many_owned(0).map_err(|_| full())?;
    let mut body = Limited::new(request.into_body(), limit);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| match e.downcast_ref::<http_body_util::LengthLimitError>() {
            Some(_) => Problem::too_large(limit),
            None => Problem::bad("bad-body", "the body ended before its end"),
        })?;
        if let Ok(data) = frame.into_data() {
            // Only for what came: one who announces much and sends little takes little.
            let more = u32::try_from(data.len()).unwrap_or(u32::MAX);
            held.merge(shared.clone().try_acquire_many_owned(more).map_err(|_| full())?);
            crate::http::grow(&mut bytes, data.len());
            bytes.extend_from_slice(&data);
        }
    }
    Ok((bytes, held))
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
            ("", Ok((0, 0, None))),
            ("after=3&wait=20", Ok((3, 20, None))),
            ("wait=600&after=3", Ok((3, MOST_WAIT, None))),
            ("after=3&instance=a0-_.Z", Ok((3, 0, Some("a0-_.Z")))),
            ("instance=", Ok((0, 0, None))),
            ("instance=a%20b", Err("bad-query")),
            ("after=-1", Err("bad-query")),
            ("after=x", Err("bad-query")),
            ("after", Err("bad-query")),
            ("until=3", Err("bad-query")),
        ] {
            let got = wanted(query).map_err(|p| p.code);
            let got = got.as_ref().map(|w| (w.after, w.wait, w.instance.as_deref())).map_err(|code| *code);
            assert_eq!(got, expected, "{query}");
        }
    }
}
