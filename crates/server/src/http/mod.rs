//! What people and machines can ask of the server over HTTP: `/v1`, its description, health and metrics.
//!
//! A request passes one gate (limits, authentication), one permission step, and then one call of the engine on a thread that may
//! block. Nothing here gives private material back: the types of the answers cannot hold any.

mod body;
mod bulk;
mod convert;
mod drills;
mod findings;
mod fleet;
mod forecast;
mod gate;
mod incidents;
mod issuing;
mod keys;
pub mod limits;
pub mod metrics;
mod nodes;
mod observations;
pub mod openapi;
mod page;
pub(crate) mod peers;
pub mod permission;
mod problem;
mod reach;
mod read;
mod releases;
mod rollouts;
mod routes;
mod secrets;
mod status;
mod targets;
pub mod token;
mod tokens;
mod upkeep;

use std::{path::PathBuf, sync::Arc};

use axum::{
    Router,
    http::{Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use engine::{Engine, Tick};

pub(crate) use body::grow;
pub use metrics::Metrics;
pub use problem::Problem;

/// Everything that requests share; cheap to clone.
#[derive(Clone)]
pub struct App {
    /// The engine.
    pub engine: Engine,
    /// The one door to the clock.
    pub tick: Arc<dyn Fn() -> Tick + Send + Sync>,
    /// Told when a person says that the clock is right now.
    pub confirm_clock: Arc<dyn Fn() + Send + Sync>,
    /// Notified after every successful write, so that the loops look.
    pub wake: Arc<tokio::sync::Notify>,
    /// Fills a buffer with randomness.
    pub entropy: fn(&mut [u8]),
    /// Counters of requests and loops.
    pub metrics: Arc<Metrics>,
    /// Whether `/metrics` needs no token.
    pub metrics_open: bool,
    /// Where agents come in; without it none can be invited.
    pub agents: Option<crate::agents::Entrance>,
    /// Where backups are written; without it they are refused.
    pub data_dir: Option<PathBuf>,
    /// The program's version.
    pub version: &'static str,
}

/// The whole API over one engine.
///
/// Serve it with `into_make_service_with_connect_info::<SocketAddr>()`: rates are kept per peer address, and without it all peers
/// are one.
pub fn router(app: App) -> Router {
    let shared = gate::Shared::new(app);
    routes::all(&shared).fallback(unknown).method_not_allowed_fallback(not_allowed).with_state(shared)
}

/// Method and path of every route, and whether everybody may call it.
pub fn routes() -> impl Iterator<Item = (&'static str, &'static str, bool)> {
    routes::ROUTES.iter().map(|r| (r.method, r.path, r.access == routes::Access::Public))
}

async fn unknown(uri: Uri) -> Response {
    refuse(Problem::not_found("route", uri.path()))
}

async fn not_allowed(method: Method, uri: Uri) -> Response {
    let detail = format!("{} does not take {method}; see /v1/openapi.json", pki::text::escape(uri.path()));
    refuse(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail))
}

fn refuse(problem: Problem) -> Response {
    let mut response = problem.into_response();
    gate::harden(&mut response);
    response
}

/// What a handler gives.
type Answer<T> = Result<axum::Json<T>, Problem>;

fn json<T>(value: T) -> axum::Json<T> {
    axum::Json(value)
}

/// A free text that people write, within its limit.
fn text(field: &str, value: &str, limit: usize) -> Result<(), Problem> {
    if value.len() > limit {
        return Err(Problem::unprocessable("text-too-long", format!("{field} has {} of {limit} bytes", value.len())));
    }
    Ok(())
}

/// A reason, within its limit.
fn reason(value: &str) -> Result<(), Problem> {
    text("reason", value, limits::TEXT_BYTES)
}
