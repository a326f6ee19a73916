//! The store's own key: opening, forgetting, rotating. Passphrases are wiped, and a wrong one has one answer.

use api::v1;
use axum::extract::{Extension, State};
use envelope::{KeyFile, Passphrase, Provider};
use store::Actor;
use zeroize::Zeroizing;

use super::{
    Answer,
    body::Secretive,
    gate::{Call, Caller, Maybe, Scope, Shared},
    json,
    openapi::Moved,
    permission::Permitted,
    problem::Problem,
    status::status,
};

/// Who opens the store with nothing but its passphrase.
fn anybody() -> Actor {
    Actor::new("passphrase", "anybody")
}

/// Where the peer's address is known.
type Peer = Option<Extension<axum::extract::ConnectInfo<std::net::SocketAddr>>>;

pub(crate) async fn unseal(
    State(shared): State<Shared>,
    Maybe(caller): Maybe,
    peer: Peer,
    Secretive(body): Secretive<v1::Unseal>,
) -> Answer<v1::Status> {
    let passphrase = Passphrase::new(Zeroizing::new(body.passphrase.into_bytes()));
    let peer = peer.map(|Extension(info)| info.0.ip());
    let now = (shared.app.tick)().now;
    shared
        .unseals
        .count(peer, now)
        .map_err(|seconds| Problem::too_often("too many attempts to open the store from this address", seconds))?;
    let turn = shared.unsealing.clone().try_acquire_owned().map_err(|_| Problem::busy("somebody else is opening the store; try again"))?;
    if body.init {
        // Whoever chooses the passphrase owns all that will ever be stored.
        let caller = caller.ok_or_else(Problem::unauthenticated)?;
        let work = move |permitted: &Permitted, call: &Call| {
            let _turn = turn;
            initialise(&passphrase, permitted, call)
        };
        return shared.run(caller, Scope::Store, work).await.map(json);
    }
    let permitted = match caller {
        // Whoever has a token is named in the journal; whoever has none needs only the passphrase.
        Some(caller) => shared.permit(caller, Scope::Store).await.ok(),
        None => None,
    };
    let actor = permitted.map_or_else(anybody, |p| p.actor());
    let status = shared
        .blocking(move |call| {
            let _turn = turn;
            call.engine().unseal(&passphrase, &actor, &call.tick).map_err(same_answer)?;
            call.keep_delivery_keys();
            status(call)
        })
        .await?;
    shared.app.wake.notify_waiters();
    Ok(json(status))
}

/// Wrong passphrase, other provider, damaged record: one answer.
fn same_answer(error: engine::Error) -> Problem {
    match error {
        engine::Error::Refused(refusal) if refusal.code != "not-initialised" => {
            tracing::warn!(code = refusal.code, "an attempt to open the store failed");
            engine::Error::refused("cannot-open", "the store does not open with this passphrase; nothing was changed").into()
        }
        other => other.into(),
    }
}

fn initialise(passphrase: &Passphrase, permitted: &Permitted, call: &Call) -> Result<v1::Status, Problem> {
    call.engine().initialise(passphrase, &mut call.random(), &permitted.actor(), &call.tick).map_err(weak)?;
    status(call)
}

/// A new passphrase that is refused: that is no secret, and its owner must know why.
fn weak(error: engine::Error) -> Problem {
    match error {
        engine::Error::Refused(refusal) if refusal.code == "cannot-open" => {
            Problem::unprocessable("bad-passphrase", refusal.problems.join("; "))
        }
        other => other.into(),
    }
}

pub(crate) async fn seal(State(shared): State<Shared>, caller: Caller) -> Answer<v1::Status> {
    shared
        .run(caller, Scope::Store, |permitted, call| {
            call.keep_delivery_keys();
            call.engine().seal(&permitted.actor(), &call.tick)?;
            status(call)
        })
        .await
        .map(json)
}

pub(crate) async fn rotate(State(shared): State<Shared>, caller: Caller, Secretive(body): Secretive<v1::Rotate>) -> Answer<Moved> {
    let provider = new_provider(body)?;
    let turn =
        shared.unsealing.clone().try_acquire_owned().map_err(|_| Problem::busy("somebody else is opening or rotating; try again"))?;
    shared
        .run(caller, Scope::Store, move |permitted, call| {
            let _turn = turn;
            let moved = call.engine().rotate_kek(&*provider, &mut call.random(), &permitted.actor(), &call.tick).map_err(weak)?;
            Ok(Moved { moved })
        })
        .await
        .map(json)
}

fn new_provider(body: v1::Rotate) -> Result<Box<dyn Provider + Send>, Problem> {
    match (body.passphrase.map(Zeroizing::new), body.key_file.map(Zeroizing::new)) {
        (Some(text), None) => Ok(Box::new(Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())))),
        (None, Some(content)) => match KeyFile::parse(content.as_bytes()) {
            Ok(key) => Ok(Box::new(key)),
            Err(error) => Err(Problem::unprocessable("bad-key-file", error.to_string())),
        },
        _ => Err(Problem::unprocessable("bad-rotation", "say one of passphrase and key_file: what is to open the store from then on")),
    }
}
