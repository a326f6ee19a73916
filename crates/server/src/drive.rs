//! Drives the engine's loops: the only place that sleeps.

use crate::{authority::Authorities, clock::Door, network::Sockets, post::Outside, tls::OwnCertificate};
use engine::{Engine, Tick, ports::Look, rules};
use std::{sync::Arc, time::Duration};
use store::timer::Claim;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time,
};

/// How long a loop rests when nothing was due and nobody woke it.
const REST: Duration = Duration::from_millis(500);
/// How long a loop rests after an error.
const AFTER_ERROR: Duration = Duration::from_secs(2);
/// How many looks are busy at a time.
const QUICK: usize = 256;
/// How many more wait for somebody who may be dead, and hold up nobody.
const PATIENT: usize = 2048;
/// How long a look is presumed to be busy.
const PATIENCE: Duration = Duration::from_millis(500);
/// How many targets are claimed at once. What is claimed and waits for room uses up its lease.
const CLAIM: i64 = 64;

/// Everything that the loops need.
#[derive(Clone)]
pub struct Drive {
    /// What is driven.
    pub engine: Engine,
    /// The clock.
    pub door: Arc<Door>,
    /// Wakes the loops.
    pub wake: Arc<Notify>,
    /// Real sockets.
    pub sockets: Arc<Sockets>,
    /// Messages on their way out.
    pub outside: Arc<Outside>,
    /// CAs outside.
    pub authorities: Arc<Authorities>,
    /// The outgoing heartbeat, where there is one.
    pub heartbeat: Option<Heartbeat>,
    /// The API's own certificate, where there is one, and where it listens.
    pub own: Option<(Arc<OwnCertificate>, std::net::SocketAddr)>,
    /// Told of every round: loop, subjects, seconds; and of failures.
    pub meter: Arc<dyn Fn(&'static str, Round) + Send + Sync>,
}

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Round {
    /// So many subjects in so many seconds.
    Done(usize, f64),
    /// An error, which was logged.
    Failed,
}

/// A sign of life for somebody outside.
#[derive(Clone)]
pub struct Heartbeat {
    /// Where it goes.
    pub url: String,
    /// How often.
    pub every: Duration,
    /// The client that may go there.
    pub client: outbound::Client,
}

/// Loops whose subject is woken by every one of its many targets: what comes within [`GATHER`] is one round, or they would keep the writer from
/// those who take the observations in.
const GATHERS: [&str; 3] = ["secret", "rollout", "revocation"];
/// How long such a loop rests after a round.
const GATHER: Duration = Duration::from_millis(200);

type Step = fn(&Drive, &Tick) -> engine::Result<usize>;

/// Starts the loops; they end when the set is dropped.
pub fn start(drive: &Drive) -> JoinSet<()> {
    let mut set = JoinSet::new();
    set.spawn(observe(drive.clone()));
    let quick: [(&'static str, Step); 16] = [
        ("target", |d, t| d.engine.targets_once(t)),
        ("secret", |d, t| d.engine.secrets_once(t)),
        ("incident", |d, t| d.engine.incidents_once(t)),
        ("release", |d, t| d.engine.releases_once(t)),
        ("service", |d, t| d.engine.services_once(t)),
        ("drill", |d, t| d.engine.drills_once(t)),
        ("drill-run", |d, t| d.engine.drill_runs_once(t)),
        ("node", |d, t| d.engine.nodes_once(t)),
        ("rollout", |d, t| d.engine.rollouts_once(t)),
        ("revocation", |d, t| d.engine.revocations_once(t)),
        ("action", |d, t| d.engine.actions_once(t)),
        ("renew", |d, t| d.engine.renew_once(&mut crate::run::entropy, t)),
        ("order", |d, t| d.engine.orders_once(&*d.authorities, &mut crate::run::entropy, t)),
        ("suggestion", |d, t| d.engine.suggestions_once(&*d.authorities, t)),
        ("crl", |d, t| d.engine.crls_once(t)),
        ("deliver", |d, t| d.engine.deliver_once(&*d.outside, t)),
    ];
    for (name, step) in quick {
        set.spawn(cycle(drive.clone(), name, REST, step));
    }
    set.spawn(cycle(drive.clone(), "sweep", Duration::from_secs(60), |d, t| Ok(d.engine.sweep_once(false, &rules(), t)?.map_or(0, |_| 1))));
    set.spawn(cycle(drive.clone(), "own", Duration::from_secs(15), |d, t| {
        d.engine.note_time(t)?;
        d.engine.go_on_rotating(&mut crate::run::entropy, &rules(), t)?;
        d.engine.keep_delivery_keys(&mut crate::run::entropy, t)?;
        d.engine.own_once(t)
    }));
    set.spawn(cycle(drive.clone(), "housekeeping", Duration::from_secs(60), |d, t| d.engine.housekeeping_once(t)));
    set.spawn(cycle(drive.clone(), "alerts", Duration::from_secs(crate::deliver::ALERT_REPEAT.as_secs().unsigned_abs()), |d, t| {
        d.engine.repost_alerts(&*d.outside, t)?;
        Ok(0)
    }));
    set.spawn(cycle(drive.clone(), "api-certificate", Duration::from_secs(3600), renew));
    if let Some(beat) = drive.heartbeat.clone() {
        set.spawn(heartbeat(drive.clone(), beat));
    }
    set
}

/// The API's own certificate, renewed when it is due and handed over to the store's care.
fn renew(d: &Drive, tick: &Tick) -> engine::Result<usize> {
    let Some((own, at)) = &d.own else { return Ok(0) };
    // A certificate, or even an authority, made at a time that is not now would lock every client out.
    if !tick.clock.is_believed() {
        return Ok(0);
    }
    let outside = |e: crate::tls::TlsError| engine::Error::Outside(e.to_string());
    let renewed = own.renew(tick).map_err(outside)?;
    let roots = own.ca_pem().map_err(outside)?;
    let host = if at.ip().is_unspecified() { String::from("127.0.0.1") } else { at.ip().to_string() };
    d.engine.register_root(&roots, tick)?;
    d.engine.register_api(&own.chain_pem(), &roots, &host, at.port(), &rules(), tick)?;
    Ok(usize::from(renewed))
}

/// Looks at what is due, each target on its own: what one presents is taken in although another never answers.
async fn observe(drive: Drive) {
    let (quick, patient) = (Arc::new(Semaphore::new(QUICK)), Arc::new(Semaphore::new(PATIENT)));
    let mut looking = JoinSet::new();
    loop {
        let woken = drive.wake.notified();
        let d = drive.clone();
        let began = time::Instant::now();
        let pause = match tokio::task::spawn_blocking(move || d.engine.claim_looks(CLAIM, &d.door.tick())).await {
            Ok(Ok(claims)) => {
                (drive.meter)("observe", Round::Done(claims.len(), began.elapsed().as_secs_f64()));
                let any = !claims.is_empty();
                for (claim, look) in claims {
                    while looking.try_join_next().is_some() {}
                    let Ok(room) = quick.clone().acquire_owned().await else { return };
                    looking.spawn(in_lane(look_at(drive.clone(), claim, look), room, patient.clone()));
                }
                if any {
                    continue;
                }
                REST
            }
            Ok(Err(error)) => failed(&drive, "observe", &error),
            Err(error) => failed(&drive, "observe", &error),
        };
        tokio::select! {
            () = woken => {}
            () = time::sleep(pause) => {}
        }
    }
}

/// Holds its place among the busy ones until it is done, or takes one among those that wait.
async fn in_lane(look: impl Future<Output = ()>, room: OwnedSemaphorePermit, patient: Arc<Semaphore>) {
    let mut look = std::pin::pin!(look);
    if time::timeout(PATIENCE, look.as_mut()).await.is_ok() {
        return;
    }
    let waits = patient.try_acquire_owned();
    // Where nobody else may wait, it keeps the place that it has.
    let _room = waits.is_err().then_some(room);
    look.await;
}

/// One look. What goes wrong with it is logged, and the target is due again when its lease has run out.
async fn look_at(drive: Drive, claim: Claim, look: Option<Look>) {
    let seen = match look {
        None => None,
        // On a task of its own, so that a defect ends this look and no other.
        Some(look) => {
            let sockets = drive.sockets.clone();
            match tokio::spawn(async move { sockets.look(look).await }).await {
                Ok(seen) => Some(seen),
                Err(error) => {
                    failed(&drive, "observe", &error);
                    return;
                }
            }
        }
    };
    let d = drive.clone();
    match tokio::task::spawn_blocking(move || d.engine.looked(&claim, seen.as_ref(), &d.door.tick())).await {
        Ok(Ok(())) => drive.wake.notify_waiters(),
        Ok(Err(error)) => {
            failed(&drive, "observe", &error);
        }
        Err(error) => {
            failed(&drive, "observe", &error);
        }
    }
}

/// Says so, and how long to rest after it.
fn failed(drive: &Drive, name: &'static str, error: &dyn std::fmt::Display) -> Duration {
    tracing::error!(r#loop = name, %error, "a loop failed and goes on");
    (drive.meter)(name, Round::Failed);
    AFTER_ERROR
}

async fn cycle(drive: Drive, name: &'static str, rest: Duration, step: Step) {
    loop {
        let woken = drive.wake.notified();
        let d = drive.clone();
        let began = time::Instant::now();
        let done = tokio::task::spawn_blocking(move || step(&d, &d.door.tick())).await;
        let pause = match done {
            Ok(Ok(n)) => {
                (drive.meter)(name, Round::Done(n, began.elapsed().as_secs_f64()));
                // What is full goes on at once, and what others wait for is told to them.
                if n > 0 {
                    drive.wake.notify_waiters();
                    if GATHERS.contains(&name) {
                        time::sleep(GATHER).await;
                    }
                    if rest <= REST {
                        continue;
                    }
                }
                rest
            }
            Ok(Err(error)) => failed(&drive, name, &error),
            Err(error) => failed(&drive, name, &error),
        };
        // What keeps house by the minute or the hour is not woken by every look: it would never rest, nor let others rest.
        if rest > REST {
            time::sleep(pause).await;
            continue;
        }
        tokio::select! {
            () = woken => {}
            () = time::sleep(pause) => {}
        }
    }
}

/// Somebody outside notices when this stops. It is sent only while the database answers: a watcher that cannot remember is dead.
async fn heartbeat(drive: Drive, beat: Heartbeat) {
    let mut ticker = time::interval(beat.every);
    ticker.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        ticker.tick().await;
        let engine = drive.engine.clone();
        let alive = tokio::task::spawn_blocking(move || engine.store().read(store::meta::identity)).await;
        if matches!(alive, Ok(Ok(_))) {
            let request = crate::deliver::heartbeat(&beat.url, true);
            if let crate::deliver::Outcome::Retry { detail, .. } | crate::deliver::Outcome::Refused { detail } =
                crate::deliver::send(&beat.client, request).await
            {
                tracing::warn!(%detail, "the heartbeat was not taken");
            }
        }
    }
}
