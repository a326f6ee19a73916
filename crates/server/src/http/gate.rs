//! What stands before every handler: limits, authentication, the permission step, time.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    extract::{ConnectInfo, FromRequestParts, Request, State},
    http::{HeaderValue, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use domain::words::{IncidentId, Method, ReleaseId, RolloutId};
use engine::{Engine, Tick, assess, inventory};
use store::{
    Tx,
    model::{incident, inventory as inventory_rows, release, rollout, secret, target},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    App,
    limits::{
        FAILED_LOGINS_PER_MINUTE, HEADER_BYTES, HEADER_COUNT, LOGINS_AT_ONCE, LONG_REQUEST_TIME, LONG_REQUESTS_AT_ONCE, REQUEST_TIME,
        REQUESTS_AT_ONCE, STRANGER_BODY_TIME, STRANGERS_AT_ONCE, STRANGERS_PER_PEER, STREAM_TIME, UNSEALS_PER_MINUTE, URI_BYTES,
    },
    peers::{AtOnce, Peers, Place},
    permission::{self, Action, Context, Permitted, Principal, Resource},
    problem::Problem,
    routes::{Access, Brings, Route, Time as Patience},
    token,
};

/// What all handlers share.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) app: App,
    pub(crate) unseals: Peers,
    /// One passphrase is stretched at a time: each takes 64 MiB. The place goes with the work, which outlives a caller that hangs up.
    pub(crate) unsealing: Arc<Semaphore>,
    failed_logins: Peers,
    logins: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    strangers_per_peer: AtOnce,
    requests: Arc<Semaphore>,
    long_requests: Arc<Semaphore>,
}

impl std::ops::Deref for Shared {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Shared {
    pub(crate) fn new(app: App) -> Shared {
        Shared(Arc::new(Inner {
            app,
            unseals: Peers::new(UNSEALS_PER_MINUTE),
            unsealing: Arc::new(Semaphore::new(1)),
            failed_logins: Peers::new(FAILED_LOGINS_PER_MINUTE),
            logins: Arc::new(Semaphore::new(LOGINS_AT_ONCE)),
            strangers: Arc::new(Semaphore::new(STRANGERS_AT_ONCE)),
            strangers_per_peer: AtOnce::new(STRANGERS_PER_PEER),
            requests: Arc::new(Semaphore::new(REQUESTS_AT_ONCE)),
            long_requests: Arc::new(Semaphore::new(LONG_REQUESTS_AT_ONCE)),
        }))
    }
}

/// What a step of a handler works with: the engine, and the time, read once.
pub(crate) struct Call {
    pub(crate) shared: Shared,
    pub(crate) tick: Tick,
}

impl Call {
    pub(crate) fn engine(&self) -> &Engine {
        &self.shared.app.engine
    }

    /// Randomness, as the engine takes it.
    pub(crate) fn random(&self) -> impl FnMut(&mut [u8]) + use<> {
        let entropy = self.shared.app.entropy;
        move |bytes: &mut [u8]| entropy(bytes)
    }

    /// Lets the server keep what contacts need while the store is sealed. A loop does the same before long, so that a failure is no
    /// answer to whoever asked for something else.
    pub(crate) fn keep_delivery_keys(&self) {
        if let Err(error) = self.engine().keep_delivery_keys(&mut self.random(), &self.tick) {
            tracing::warn!(%error, "keys of contacts are not kept yet");
        }
    }

    /// A read of one moment.
    pub(crate) fn read<T>(&self, f: impl FnOnce(&mut Tx<'_>) -> Result<T, Problem>) -> Result<T, Problem> {
        self.engine().store().try_read(f)
    }
}

impl Shared {
    /// Runs what blocks on a thread that may.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Call) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let shared = self.clone();
        let work = move || {
            let tick = (shared.app.tick)();
            f(&Call { shared, tick })
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(Problem::internal(&e)))
    }

    /// Takes the permission step.
    pub(crate) async fn permit(&self, caller: Caller, on: Scope) -> Result<Permitted, Problem> {
        self.blocking(move |call| caller.permitted(&on, call)).await
    }

    /// Takes the permission step and goes on; whoever changed something wakes the loops.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        caller: Caller,
        on: Scope,
        f: impl FnOnce(&Permitted, &Call) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let changes = caller.changes;
        let done = self
            .blocking(move |call| {
                let permitted = caller.permitted(&on, call)?;
                f(&permitted, call)
            })
            .await?;
        if changes {
            self.app.wake.notify_waiters();
        }
        Ok(done)
    }
}

/// The places that a request holds. Whatever works for it holds them too: work on a thread goes on when the caller hangs up, and
/// its place must not be given to somebody else meanwhile.
#[derive(Default)]
struct Places {
    _request: Option<OwnedSemaphorePermit>,
    _long: Option<OwnedSemaphorePermit>,
    _peer: Option<Place>,
}

/// Who asks, and for which action: what the gate found out. Only [`Shared::permit`] and [`Shared::run`] can use it.
#[derive(Clone)]
pub(crate) struct Caller {
    who: Credential,
    action: Action,
    /// Whether the request is more than a question.
    changes: bool,
    _places: Arc<Places>,
}

/// A good token: whose it is, and its hash.
#[derive(Clone)]
struct Credential {
    principal: Principal,
    hash: [u8; 32],
}

impl Caller {
    /// Whether the token is still good and still allows this: for what takes longer than a token may live.
    pub(crate) fn still(&self, on: &Scope, call: &Call) -> Result<Permitted, Problem> {
        let now = (call.shared.app.tick)().now;
        let found = token::principal(call.engine(), self.who.hash, now)?.ok_or_else(Problem::unauthenticated)?;
        let resource = call.read(|tx| on.resource(tx))?;
        permission::authorise(&found, self.action, &resource, &Context { now })
    }

    fn permitted(&self, on: &Scope, call: &Call) -> Result<Permitted, Problem> {
        let resource = call.read(|tx| on.resource(tx))?;
        permission::authorise(&self.who.principal, self.action, &resource, &Context { now: call.tick.now })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let gate = parts.extensions.get::<Gate>().ok_or_else(|| Problem::internal(&"a handler stands without its gate"))?;
        match (&gate.who, gate.route.access) {
            (Some(who), Access::Needs(action)) => Ok(gate.caller(who, action)),
            _ => Err(Problem::unauthenticated()),
        }
    }
}

/// What a request acts on, by the name that it used.
pub(crate) enum Scope {
    /// The store as a whole.
    Store,
    /// A secret; one that does not exist belongs to nobody.
    Secret(String),
    /// A target, by name.
    Target(String),
    /// An incident, as far as it concerns the teams of whoever acts.
    Incident(i64),
    /// An incident, for every team that it concerns.
    WholeIncident(i64),
    /// A corrective action.
    Action(i64),
    /// A service, by name; one that does not exist belongs to nobody.
    Service(String),
    /// A release, by number: what its service is.
    Release(i64),
    /// A rollout, by number: what its secret is.
    Rollout(i64),
    /// A target, as somebody saw it.
    Seen(i64, Method),
}

impl Scope {
    fn resource(&self, tx: &mut Tx<'_>) -> Result<Resource, Problem> {
        Ok(match self {
            Scope::Store => Resource::Store,
            Scope::Secret(name) => {
                let found = secret::by_name(tx, name)?;
                let team = found.map(|s| assess::team_of(tx, "", "", Some(&s))).transpose()?;
                Resource::Owned { teams: team.into_iter().collect() }
            }
            Scope::Target(name) => {
                let found = target::by_name(tx, name)?.ok_or_else(|| Problem::not_found("target", name))?;
                Resource::Owned { teams: vec![inventory::owner_of(tx, &found)?] }
            }
            Scope::Incident(id) => Resource::Owned { teams: incident_teams(tx, IncidentId(*id))? },
            Scope::WholeIncident(id) => Resource::Shared { teams: incident_teams(tx, IncidentId(*id))? },
            Scope::Action(id) => {
                let found = incident::action_by_id(tx, *id)?.ok_or_else(|| Problem::not_found("action", &id.to_string()))?;
                Resource::Owned { teams: vec![found.owner] }
            }
            Scope::Service(name) => service(tx, name)?,
            Scope::Release(id) => {
                let no = || Problem::not_found("release", &id.to_string());
                let found = release::get(tx, ReleaseId(*id))?.ok_or_else(no)?;
                service(tx, &found.facts.service)?
            }
            Scope::Rollout(id) => {
                let no = || Problem::not_found("rollout", &id.to_string());
                let found = rollout::get(tx, RolloutId(*id))?.ok_or_else(no)?;
                let secret = secret::get(tx, found.secret)?.ok_or_else(no)?;
                Resource::Owned { teams: vec![assess::team_of(tx, "", "", Some(&secret))?] }
            }
            Scope::Seen(id, method) => {
                let no = || Problem::not_found("target", &id.to_string());
                let found = target::get(tx, domain::words::TargetId(*id))?.ok_or_else(no)?;
                let teams = vec![inventory::owner_of(tx, &found)?];
                let vantages = found.facts.required_vantages.into_iter().chain(found.optional_vantages).collect();
                Resource::Seen { teams, method: *method, vantages }
            }
        })
    }
}

fn service(tx: &mut Tx<'_>, name: &str) -> Result<Resource, Problem> {
    let team = inventory_rows::service_team(tx, name)?;
    Ok(Resource::Service { name: name.to_owned(), teams: team.into_iter().filter(|t| !t.is_empty()).collect() })
}

fn incident_teams(tx: &mut Tx<'_>, id: IncidentId) -> Result<Vec<String>, Problem> {
    let found = incident::get(tx, id)?.ok_or_else(|| Problem::not_found("incident", &id.to_string()))?;
    Ok(found.teams)
}

/// What the gate found out about a request; travels with it.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) route: &'static Route,
    who: Option<Credential>,
    places: Arc<Places>,
}

impl Gate {
    fn caller(&self, who: &Credential, action: Action) -> Caller {
        Caller { who: who.clone(), action, changes: self.route.method != "GET", _places: self.places.clone() }
    }

    /// How long the body may take, where that is less than the whole request may: a stranger's place is wanted by others.
    pub(crate) fn body_time(&self) -> Option<Duration> {
        self.who.is_none().then_some(STRANGER_BODY_TIME)
    }
}

/// Whether somebody holds a good admin token, on routes that everybody may call.
pub(crate) struct Maybe(pub(crate) Option<Caller>);

impl<S: Send + Sync> FromRequestParts<S> for Maybe {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let gate = parts.extensions.get::<Gate>();
        Ok(Maybe(gate.and_then(|g| g.who.as_ref().map(|who| g.caller(who, Action::Seal)))))
    }
}

/// The peer's address, where the listener tells it.
fn peer(extensions: &axum::http::Extensions) -> Option<std::net::IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|c| c.0.ip())
}

/// The gate of a route.
pub(crate) async fn gate(State((shared, route)): State<(Shared, &'static Route)>, request: Request, next: Next) -> Response {
    let mut response = match pass(&shared, route, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    shared.app.metrics.answered(route.method, route.path, response.status());
    harden(&mut response);
    response
}

async fn pass(shared: &Shared, route: &'static Route, request: Request, next: Next) -> Result<Response, Problem> {
    limits(route, &request)?;
    // The body is not Sync, and nothing before the handler needs it.
    let (mut parts, body) = request.into_parts();
    let who = match route.access {
        Access::Public => authenticate(shared, &parts).await.unwrap_or(None),
        Access::Metrics if shared.app.metrics_open => None,
        Access::Metrics => Some(required(shared, &parts, Action::Read).await?),
        Access::Needs(action) => Some(required(shared, &parts, action).await?),
    };
    // After authentication: strangers with slow bodies must not take the places of those who may do something.
    let busy = |_| Problem::busy("too many requests at a time; come back in a second");
    let mut places = Places::default();
    match (&who, route.access, route.body) {
        (None, Access::Public, Brings::Nothing) => {}
        (None, Access::Public, _) => {
            let many = || Problem::busy("too many requests without a token from this address at a time; come back in a second");
            places._peer = Some(shared.strangers_per_peer.enter(peer(&parts.extensions)).ok_or_else(many)?);
            places._request = Some(shared.strangers.clone().try_acquire_owned().map_err(busy)?);
        }
        _ => places._request = Some(shared.requests.clone().try_acquire_owned().map_err(busy)?),
    }
    let limit = match route.time {
        Patience::Short => REQUEST_TIME,
        Patience::Long => LONG_REQUEST_TIME,
        Patience::Stream => STREAM_TIME,
    };
    if route.time != Patience::Short {
        let busy = |_| Problem::busy("too many requests that work on everything at a time; come back later");
        places._long = Some(shared.long_requests.clone().try_acquire_owned().map_err(busy)?);
    }
    let places = Arc::new(places);
    parts.extensions.insert(Gate { route, who, places: places.clone() });
    tokio::time::timeout(limit, next.run(Request::from_parts(parts, body))).await.map_err(|_| {
        let detail =
            format!("the request took longer than {} s; what it began may still be done, so look before asking again", limit.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail)
    })
}

/// What can be refused before anything is read.
fn limits(route: &Route, request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if headers.len() > HEADER_COUNT || bytes > HEADER_BYTES {
        let detail = format!("the request has {} headers of {bytes} bytes; allowed are {HEADER_COUNT} and {HEADER_BYTES}", headers.len());
        return Err(Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large", detail));
    }
    let uri = request.uri().path_and_query().map_or(0, |p| p.as_str().len());
    if uri > URI_BYTES {
        return Err(Problem::new(StatusCode::URI_TOO_LONG, "uri-too-long", format!("path and query have {uri} of {URI_BYTES} bytes")));
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    let limit = route.body.bytes();
    if announced.is_some_and(|n| n > limit as u64) && route.time != Patience::Stream {
        return Err(Problem::too_large(limit));
    }
    Ok(())
}

async fn required(shared: &Shared, parts: &Parts, action: Action) -> Result<Credential, Problem> {
    let who = authenticate(shared, parts).await?.ok_or_else(Problem::unauthenticated)?;
    permission::at_all(&who.principal, action)?;
    Ok(who)
}

/// Who has the token that was presented; none where nothing was presented.
///
/// A good token always passes: one broken script behind a shared address must not lock the others out, and 256 random bits are
/// not guessed. What is limited is how often the bad ones are answered and logged.
async fn authenticate(shared: &Shared, parts: &Parts) -> Result<Option<Credential>, Problem> {
    let Some(header) = parts.headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let peer = peer(&parts.extensions);
    let presented = token::presented(header.as_bytes());
    let found = match presented {
        Some(hash) => {
            let turn = shared.logins.clone().acquire_owned().await.map_err(|e| Problem::internal(&e))?;
            let look_up = move |call: &Call| {
                let _turn = turn;
                let principal = token::principal(call.engine(), hash, call.tick.now)?;
                Ok(principal.map(|principal| Credential { principal, hash }))
            };
            shared.blocking(look_up).await?
        }
        None => None,
    };
    if found.is_some() {
        return Ok(found);
    }
    let now = (shared.app.tick)().now;
    match shared.failed_logins.count(peer, now) {
        Ok(()) => {
            tracing::warn!(peer = peer.map(|p| p.to_string()), "a token was refused");
            Err(Problem::unauthenticated())
        }
        Err(seconds) => Err(Problem::too_often("too many refused tokens from this address", seconds)),
    }
}

/// Nothing here is a page, and nothing here may be kept.
pub(crate) fn harden(response: &mut Response) {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
