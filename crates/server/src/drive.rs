//! Drives the engine's loops: the only place that sleeps.

use crate::{clock::Door, network::Sockets, post::Outside, tls::OwnCertificate};
use engine::{Engine, Tick, rules};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Notify, task::JoinSet, time};

/// How long a loop rests when nothing was due and nobody woke it.
const REST: Duration = Duration::from_millis(500);
/// How long a loop rests after an error.
const AFTER_ERROR: Duration = Duration::from_secs(2);
/// How many looks go on at a time, so that a batch of dead targets holds up no others.
const LOOKERS: usize = 4;

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

type Step = fn(&Drive, &Tick) -> engine::Result<usize>;

/// Starts the loops; they end when the set is dropped.
pub fn start(drive: &Drive) -> JoinSet<()> {
    let mut set = JoinSet::new();
    for _ in 0..LOOKERS {
        set.spawn(cycle(drive.clone(), "observe", REST, |d, t| d.engine.observe_once(&*d.sockets, t)));
    }
    let quick: [(&'static str, Step); 5] = [
        ("target", |d, t| d.engine.targets_once(t)),
        ("secret", |d, t| d.engine.secrets_once(t)),
        ("incident", |d, t| d.engine.incidents_once(t)),
        ("action", |d, t| d.engine.actions_once(t)),
        ("deliver", |d, t| d.engine.deliver_once(&*d.outside, t)),
    ];
    for (name, step) in quick {
        set.spawn(cycle(drive.clone(), name, REST, step));
    }
    set.spawn(cycle(drive.clone(), "sweep", Duration::from_secs(60), |d, t| Ok(d.engine.sweep_once(false, &rules(), t)?.map_or(0, |_| 1))));
    set.spawn(cycle(drive.clone(), "own", Duration::from_secs(15), |d, t| {
        d.engine.note_time(t)?;
        d.engine.own_once(t)
    }));
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
    let renewed = own.renew().map_err(outside)?;
    let roots = own.ca_pem().map_err(outside)?;
    let host = if at.ip().is_unspecified() { String::from("127.0.0.1") } else { at.ip().to_string() };
    d.engine.register_api(&own.chain_pem(), &roots, &host, at.port(), &rules(), tick)?;
    Ok(usize::from(renewed))
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
                    continue;
                }
                rest
            }
            Ok(Err(error)) => {
                tracing::error!(r#loop = name, %error, "a loop failed and goes on");
                (drive.meter)(name, Round::Failed);
                AFTER_ERROR
            }
            Err(error) => {
                tracing::error!(r#loop = name, %error, "a loop panicked and goes on");
                (drive.meter)(name, Round::Failed);
                AFTER_ERROR
            }
        };
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
