//! Tokens, for admins. The value of one is in the answer that makes it, and nowhere else.

use api::v1;
use axum::extract::State;
use serde_json::json as body;
use store::{journal::Entry, model::token as rows};

use super::{
    Answer,
    body::{Id, Json},
    convert,
    gate::{Caller, Scope, Shared},
    json,
    openapi::Done,
    problem::Problem,
    token,
};

pub(crate) async fn list(State(shared): State<Shared>, caller: Caller) -> Answer<Vec<v1::Token>> {
    let work = |call: &super::gate::Call| call.read(|tx| Ok(rows::list_all(tx)?.iter().map(convert::token).collect()));
    shared.run(caller, Scope::Store, move |_, call| work(call)).await.map(json)
}

pub(crate) async fn create(State(shared): State<Shared>, caller: Caller, Json(wanted): Json<v1::NewToken>) -> Answer<v1::MadeToken> {
    shared
        .run(caller, Scope::Store, move |permitted, call| {
            token::create(call.engine(), &wanted, call.shared.app.entropy, &permitted.actor(), &call.tick)
        })
        .await
        .map(json)
}

pub(crate) async fn revoke(State(shared): State<Shared>, caller: Caller, Id(id): Id) -> Answer<Done> {
    shared
        .run(caller, Scope::Store, move |permitted, call| {
            let now = call.tick.now;
            let revoked = call.engine().store().write(&permitted.actor(), now, |tx| {
                let revoked = rows::revoke(tx, id, now)?;
                if revoked {
                    tx.journal(Entry::new("token.revoked", format!("token/{id}"), "", &body!({ "id": id })))?;
                }
                Ok(revoked)
            })?;
            if revoked { Ok(Done {}) } else { Err(Problem::not_found("token that is still good with number", &id.to_string())) }
        })
        .await
        .map(json)
}
