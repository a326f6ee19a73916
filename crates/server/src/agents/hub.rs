//! Where agents wait. What many ask is asked of the database in batches, by one task: who asks for a manifest, who reports, and who was
//! told what. While nothing changes, one number is read a few times a second for all of them.

use super::Clock;
use api::agent::{Report, Taken};
use domain::words::NodeId;
use engine::{
    Engine, Error,
    nodes::{Ask, Polled},
};
use pki::Fingerprint;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::spawn_blocking,
    time::{self, Instant},
};

/// How often it is asked whether any manifest changed, where nobody in this process says so: another server may have done it.
const LOOK: Duration = Duration::from_millis(250);
/// How soon after one look the next one may follow.
const PAUSE: Duration = Duration::from_millis(20);
/// How many agents are answered in one piece, and so how long the first of many waits for the last of its piece.
const BATCH: usize = 512;
/// How many reports are taken in with one transaction.
const REPORTS: usize = 100;
/// How often it is written down who was heard of and who was told.
const NOTES: Duration = Duration::from_secs(1);
/// How many of these notes go into one transaction.
const MOST_NOTES: usize = 1000;
/// Notes that are kept while the database is away; those beyond are lost, and the agents' next reports say the same.
const NOTES_KEPT: usize = 200_000;
/// How many requests of one node may wait at a time; the oldest goes.
const WAITS_PER_NODE: usize = 4;
/// How often those are let go of who hung up.
const TIDY: Duration = Duration::from_secs(30);

/// The answer to one that waits.
pub(super) enum Word {
    /// A manifest, as it is sent.
    News(Vec<u8>),
    /// Nothing newer, for one that does not wait.
    Nothing,
    /// Something has to be written first.
    Settle,
    /// Why not.
    No(Error),
}

struct Waiter {
    ask: Ask,
    at_once: bool,
    reply: oneshot::Sender<Word>,
}

struct Reported {
    certificate: Fingerprint,
    report: Box<Report>,
    reply: oneshot::Sender<engine::Result<Taken>>,
}

/// The way to the task; cheap.
pub(super) struct Hub {
    asks: mpsc::UnboundedSender<Waiter>,
    reports: mpsc::UnboundedSender<Reported>,
}

impl Hub {
    /// Starts the tasks. They end when this is dropped.
    pub(super) fn start(engine: Engine, clock: Clock, wake: Arc<Notify>) -> Hub {
        // Each connection has one request at a time, so what waits here is bounded by the connections.
        let (asks, to_answer) = mpsc::unbounded_channel();
        let (reports, to_take) = mpsc::unbounded_channel();
        let clerk = Clerk {
            engine: engine.clone(),
            clock: clock.clone(),
            waiting: BTreeMap::new(),
            changes: -1,
            heard: BTreeSet::new(),
            told: Vec::new(),
        };
        tokio::spawn(clerk.work(to_answer, wake.clone()));
        tokio::spawn(take_reports(engine, clock, wake, to_take));
        Hub { asks, reports }
    }

    /// Asks for a manifest later than the one that an agent has. The answer may never come: whoever asks decides how long it waits.
    pub(super) fn ask(&self, ask: Ask, at_once: bool) -> oneshot::Receiver<Word> {
        let (reply, answer) = oneshot::channel();
        // Where nobody takes it the server ends, and the answer never comes.
        let _ = self.asks.send(Waiter { ask, at_once, reply });
        answer
    }

    /// Hands over a report.
    pub(super) fn report(&self, certificate: Fingerprint, report: Box<Report>) -> oneshot::Receiver<engine::Result<Taken>> {
        let (reply, answer) = oneshot::channel();
        let _ = self.reports.send(Reported { certificate, report, reply });
        answer
    }
}

struct Clerk {
    engine: Engine,
    clock: Clock,
    waiting: BTreeMap<NodeId, Vec<Waiter>>,
    /// How many changes of manifests there had been when everybody who waits was last held against them.
    changes: i64,
    heard: BTreeSet<NodeId>,
    told: Vec<(NodeId, i64)>,
}

impl Clerk {
    async fn work(mut self, mut asks: mpsc::UnboundedReceiver<Waiter>, wake: Arc<Notify>) {
        let (mut notes, mut tidy) = (time::interval(NOTES), time::interval(TIDY));
        notes.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        tidy.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        let mut looked = Instant::now();
        loop {
            // Listens from here on: who is woken while this works is not forgotten.
            let woken = wake.notified();
            let mut woken = std::pin::pin!(woken);
            woken.as_mut().enable();
            tokio::select! {
                biased;
                _ = notes.tick() => self.write_notes().await,
                n = asks.recv_many(&mut batch, BATCH) => {
                    if n == 0 {
                        return;
                    }
                    self.answer(std::mem::take(&mut batch)).await;
                }
                () = async { woken.as_mut().await; time::sleep_until(looked + PAUSE).await; } => self.look().await,
                () = time::sleep_until(looked + LOOK) => self.look().await,
                _ = tidy.tick() => self.tidy(),
            }
            // Also while many ask: nobody waits longer because others come.
            if looked.elapsed() >= LOOK {
                self.look().await;
            }
            if looked.elapsed() >= PAUSE {
                looked = Instant::now();
            }
        }
    }

    /// Answers those for whom there is something; the others wait. Two halves at a time, since signing takes longer than reading.
    async fn answer(&mut self, mut batch: Vec<Waiter>) {
        let rest = batch.split_off(batch.len() / 2);
        let (one, other) = tokio::join!(self.poll(&batch), self.poll(&rest));
        for (waiters, answers) in [(batch, one), (rest, other)] {
            match answers {
                Ok(answers) => {
                    for (waiter, polled) in waiters.into_iter().zip(answers) {
                        self.settle(waiter, polled);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "agents that ask for their manifest are told to come back");
                    for waiter in waiters {
                        let _ = waiter.reply.send(Word::No(Error::Store(unavailable(&error))));
                    }
                }
            }
        }
    }

    fn poll(&self, waiters: &[Waiter]) -> impl Future<Output = engine::Result<Vec<Polled>>> + use<> {
        let (engine, clock) = (self.engine.clone(), self.clock.clone());
        let asks: Vec<Ask> = waiters.iter().map(|w| w.ask).collect();
        async move {
            if asks.is_empty() {
                return Ok(Vec::new());
            }
            spawn_blocking(move || engine.poll(&asks, &clock())).await.unwrap_or_else(|e| Err(Error::Outside(e.to_string())))
        }
    }

    fn settle(&mut self, waiter: Waiter, polled: Polled) {
        match polled {
            Polled::Waits { node, unheard } => {
                if unheard {
                    self.heard.insert(node);
                }
                if waiter.at_once {
                    let _ = waiter.reply.send(Word::Nothing);
                    return;
                }
                let of = self.waiting.entry(node).or_default();
                of.retain(|w| !w.reply.is_closed());
                if of.len() >= WAITS_PER_NODE {
                    of.remove(0);
                }
                of.push(waiter);
            }
            Polled::News { node, generation, body } => {
                if waiter.reply.send(Word::News(body)).is_ok() && self.told.len() < NOTES_KEPT {
                    self.told.push((node, generation));
                }
            }
            Polled::Settle => drop(waiter.reply.send(Word::Settle)),
            Polled::Refused(error) => drop(waiter.reply.send(Word::No(error))),
        }
    }

    /// Looks whether anything changed, and answers those whom it concerns.
    async fn look(&mut self) {
        let engine = self.engine.clone();
        let known = self.changes;
        let read = move || {
            // First the number, then the rows: what changes between the two is found again at the next look.
            let changes = engine.manifest_changes()?;
            let rows = if changes == known { Vec::new() } else { engine.generations()? };
            Ok::<_, Error>((changes, rows))
        };
        let (changes, rows) = match spawn_blocking(read).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => {
                tracing::debug!(%error, "whether manifests changed is not known");
                return;
            }
            Err(_) => return,
        };
        self.changes = changes;
        let mut concerned = Vec::new();
        for (node, generation) in rows {
            let Some(of) = self.waiting.get_mut(&node) else { continue };
            concerned.extend(of.extract_if(.., |w| w.ask.after < generation));
            if of.is_empty() {
                self.waiting.remove(&node);
            }
        }
        while !concerned.is_empty() {
            let rest = concerned.split_off(concerned.len().min(BATCH));
            self.answer(std::mem::replace(&mut concerned, rest)).await;
        }
    }

    async fn write_notes(&mut self) {
        while !self.heard.is_empty() || !self.told.is_empty() {
            let heard: Vec<NodeId> = self.heard.iter().copied().take(MOST_NOTES).collect();
            let told: Vec<(NodeId, i64)> = self.told.drain(..self.told.len().min(MOST_NOTES)).collect();
            let (engine, clock) = (self.engine.clone(), self.clock.clone());
            let (asked, named) = (heard.clone(), told.clone());
            let written = spawn_blocking(move || engine.heard_of(&asked, &named, &clock())).await;
            match written {
                Ok(Ok(())) => heard.iter().for_each(|id| {
                    self.heard.remove(id);
                }),
                _ => {
                    // Later; what is lost of it the agents say again.
                    self.told.extend(told);
                    return;
                }
            }
        }
    }

    fn tidy(&mut self) {
        self.waiting.retain(|_, of| {
            of.retain(|w| !w.reply.is_closed());
            !of.is_empty()
        });
    }
}

/// Reports, many in one transaction: a commit costs more than what it writes.
async fn take_reports(engine: Engine, clock: Clock, wake: Arc<Notify>, mut reports: mpsc::UnboundedReceiver<Reported>) {
    let mut batch = Vec::with_capacity(REPORTS);
    while reports.recv_many(&mut batch, REPORTS).await > 0 {
        let (replies, all): (Vec<_>, Vec<_>) = batch.drain(..).map(|r| (r.reply, (r.certificate, *r.report))).unzip();
        let (for_it, at) = (engine.clone(), clock.clone());
        let taken = spawn_blocking(move || for_it.reports(&all, &at())).await;
        match taken.unwrap_or_else(|e| Err(Error::Outside(e.to_string()))) {
            Ok(answers) => {
                for (reply, answer) in replies.into_iter().zip(answers) {
                    let _ = reply.send(answer);
                }
                wake.notify_waiters();
            }
            Err(error) => {
                tracing::warn!(%error, "agents that report are told to come back");
                for reply in replies {
                    let _ = reply.send(Err(Error::Store(unavailable(&error))));
                }
            }
        }
    }
}

/// What went wrong for many, said to each.
fn unavailable(error: &Error) -> store::StoreError {
    match error {
        Error::Store(e) => e.clone(),
        other => store::StoreError::Unavailable { what: other.to_string() },
    }
}
