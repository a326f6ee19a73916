//! `POST /v1/fleet`: the inventory.

use api::v1;
use axum::extract::State;
use engine::inventory::Options;

use super::{
    Answer,
    body::Json,
    convert,
    gate::{Caller, Scope, Shared},
    json,
};

pub(crate) async fn apply(State(shared): State<Shared>, caller: Caller, Json(body): Json<v1::Apply>) -> Answer<v1::Applied> {
    shared
        .run(caller, Scope::Store, move |permitted, call| {
            let options = Options { dry_run: body.dry_run, prune: body.prune, plan: body.plan };
            let applied = call.engine().apply(&body.fleet, &options, &permitted.actor(), &call.tick)?;
            call.keep_delivery_keys();
            Ok(convert::applied(applied))
        })
        .await
        .map(json)
}
