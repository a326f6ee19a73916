//! What people and machines can ask of the server over HTTP: `/v1`, its description, health and metrics.

use std::{path::PathBuf, sync::Arc};

use axum::Router;
use engine::{Engine, Tick};

/// Everything that requests share; cheap to clone.
#[derive(Clone)]
pub struct App {
    /// The engine.
    pub engine: Engine,
    /// The one door to the clock.
    pub tick: Arc<dyn Fn() -> Tick + Send + Sync>,
    /// Notified after every successful write, so that the loops look.
    pub wake: Arc<tokio::sync::Notify>,
    /// Fills a buffer with randomness.
    pub entropy: fn(&mut [u8]),
    /// Whether `/metrics` needs no token.
    pub metrics_open: bool,
    /// Where backups are written; without it they are refused.
    pub data_dir: Option<PathBuf>,
    /// The program's version.
    pub version: &'static str,
}

/// The whole API over one engine.
pub fn router(app: App) -> Router {
    Router::new().with_state(app)
}
