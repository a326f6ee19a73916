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
    sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot},
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
/// How long notes of who was heard of and who was told are gathered before they are written.
const NOTES: Duration = Duration::from_secs(1);
/// How many of these notes go into one transaction.
const MOST_NOTES: usize = 1000;
/// Notes that are kept while the database is away; those beyond are lost, and the agents' next reports say the same.
const NOTES_KEPT: usize = 200_000;
/// How many certificates are looked up in one question, when those who present them come in.
const COMING: usize = 512;
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
    /// The room that it takes, until it is taken in.
    held: OwnedSemaphorePermit,
}

/// What is written down of an answer, after it went out.
enum Note {
    /// It was heard of.
    Heard(NodeId),
    /// It was told of this generation.
    Told(NodeId, i64),
}

type Coming = (Fingerprint, oneshot::Sender<Option<NodeId>>);

/// The way to the task; cheap.
pub(super) struct Hub {
    asks: mpsc::UnboundedSender<Waiter>,
    reports: mpsc::UnboundedSender<Reported>,
    coming: mpsc::UnboundedSender<Coming>,
}

impl Hub {
    /// Starts the tasks. They end when this is dropped.
    pub(super) fn start(engine: Engine, clock: Clock, wake: Arc<Notify>) -> Hub {
        // Each connection has one request at a time, so what waits here is bounded by the connections.
        let (asks, to_answer) = mpsc::unbounded_channel();
        let (reports, to_take) = mpsc::unbounded_channel();
        let (coming, to_admit) = mpsc::unbounded_channel();
        let (notes, to_write) = mpsc::channel(NOTES_KEPT);
        let clerk =
            Clerk { engine: engine.clone(), clock: clock.clone(), waiting: BTreeMap::new(), changes: -1, looked: Instant::now(), notes };
        tokio::spawn(clerk.work(to_answer, wake.clone()));
        tokio::spawn(write_notes(engine.clone(), clock.clone(), to_write));
        tokio::spawn(admit(engine.clone(), clock.clone(), to_admit));
        tokio::spawn(take_reports(engine, clock, wake, to_take));
        Hub { asks, reports, coming }
    }

    /// Whose a certificate is, where its node may act by it now. Nobody's, too, while the database does not say.
    pub(super) async fn admit(&self, presented: Fingerprint) -> Option<NodeId> {
        let (reply, answer) = oneshot::channel();
        let _ = self.coming.send((presented, reply));
        answer.await.ok().flatten()
    }

    /// Asks for a manifest later than the one that an agent has. The answer may never come: whoever asks decides how long it waits.
    pub(super) fn ask(&self, ask: Ask, at_once: bool) -> oneshot::Receiver<Word> {
        let (reply, answer) = oneshot::channel();
        // Where nobody takes it the server ends, and the answer never comes.
        let _ = self.asks.send(Waiter { ask, at_once, reply });
        answer
    }

    /// Hands over a report.
    pub(super) fn report(
        &self,
        certificate: Fingerprint,
        report: Box<Report>,
        held: OwnedSemaphorePermit,
    ) -> oneshot::Receiver<engine::Result<Taken>> {
        let (reply, answer) = oneshot::channel();
        let _ = self.reports.send(Reported { certificate, report, reply, held });
        answer
    }
}

struct Clerk {
    engine: Engine,
    clock: Clock,
    waiting: BTreeMap<NodeId, Vec<Waiter>>,
    /// How many changes of manifests there had been when everybody who waits was last held against them.
    changes: i64,
    /// When that was.
    looked: Instant,
    notes: mpsc::Sender<Note>,
}

impl Clerk {
    async fn work(mut self, mut asks: mpsc::UnboundedReceiver<Waiter>, wake: Arc<Notify>) {
        let mut tidy = time::interval(TIDY);
        tidy.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        // Kept from round to round: whoever is woken while this works is not forgotten.
        let mut woken = std::pin::pin!(wake.notified());
        let mut changed = false;
        loop {
            let due = self.looked + if changed { PAUSE } else { LOOK };
            tokio::select! {
                biased;
                () = woken.as_mut(), if !changed => {
                    woken.set(wake.notified());
                    changed = true;
                }
                // Before those who ask: nobody waits longer because others come.
                () = time::sleep_until(due) => {
                    changed = false;
                    self.look().await;
                }
                n = asks.recv_many(&mut batch, BATCH) => {
                    if n == 0 {
                        return;
                    }
                    self.answer(std::mem::take(&mut batch)).await;
                }
                _ = tidy.tick() => self.tidy(),
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
        let asks: Vec<Ask> = waiters.iter().map(|w| w.ask.clone()).collect();
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
                    let _ = self.notes.try_send(Note::Heard(node));
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
                if waiter.reply.send(Word::News(body)).is_ok() {
                    let _ = self.notes.try_send(Note::Told(node, generation));
                }
            }
            Polled::Settle => drop(waiter.reply.send(Word::Settle)),
            Polled::Refused(error) => drop(waiter.reply.send(Word::No(error))),
        }
    }

    /// Looks whether anything changed, and answers those whom it concerns.
    async fn look(&mut self) {
        self.hold_against().await;
        // Only here, and when it is over: so there is time for others between two looks.
        self.looked = Instant::now();
    }

    async fn hold_against(&mut self) {
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

    fn tidy(&mut self) {
        self.waiting.retain(|_, of| {
            of.retain(|w| !w.reply.is_closed());
            !of.is_empty()
        });
    }
}

/// Writes down who was heard of and who was told, beside those who are answered meanwhile.
async fn write_notes(engine: Engine, clock: Clock, mut notes: mpsc::Receiver<Note>) {
    let mut some = Vec::with_capacity(MOST_NOTES);
    while notes.recv_many(&mut some, MOST_NOTES).await > 0 {
        if some.len() < MOST_NOTES {
            time::sleep(NOTES).await;
        }
        while some.len() < MOST_NOTES
            && let Ok(note) = notes.try_recv()
        {
            some.push(note);
        }
        let (mut heard, mut told) = (BTreeSet::new(), BTreeMap::new());
        for note in some.drain(..) {
            match note {
                Note::Heard(node) => drop(heard.insert(node)),
                Note::Told(node, generation) => drop(told.insert(node, generation)),
            }
        }
        let (heard, told) = (Arc::new(heard), Arc::new(told));
        loop {
            let (engine, clock, heard, told) = (engine.clone(), clock.clone(), heard.clone(), told.clone());
            match spawn_blocking(move || engine.heard_of(&heard, &told, &clock())).await {
                Ok(Err(error)) if !notes.is_closed() => tracing::debug!(%error, "who was told is written down later"),
                _ => break,
            }
            time::sleep(NOTES).await;
        }
    }
}

/// Says of those who come in whose certificate they present.
async fn admit(engine: Engine, clock: Clock, mut coming: mpsc::UnboundedReceiver<Coming>) {
    let mut batch = Vec::with_capacity(COMING);
    while coming.recv_many(&mut batch, COMING).await > 0 {
        let (presented, replies): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        let (engine, clock) = (engine.clone(), clock.clone());
        let found = spawn_blocking(move || engine.admitted(&presented, &clock())).await;
        let found = match found.unwrap_or_else(|e| Err(Error::Outside(e.to_string()))) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "whose certificates are presented is not known; those who come in are strangers");
                Vec::new()
            }
        };
        for (at, reply) in replies.into_iter().enumerate() {
            let _ = reply.send(found.get(at).copied().flatten());
        }
    }
}

/// Reports, many in one transaction: a commit costs more than what it writes.
async fn take_reports(engine: Engine, clock: Clock, wake: Arc<Notify>, mut reports: mpsc::UnboundedReceiver<Reported>) {
    let mut batch = Vec::with_capacity(REPORTS);
    while reports.recv_many(&mut batch, REPORTS).await > 0 {
        let (replies, all): (Vec<_>, Vec<_>) = batch.drain(..).map(|r| ((r.reply, r.held), (r.certificate, *r.report))).unzip();
        let (for_it, at) = (engine.clone(), clock.clone());
        let taken = spawn_blocking(move || for_it.reports(&all, &at())).await;
        match taken.unwrap_or_else(|e| Err(Error::Outside(e.to_string()))) {
            Ok(answers) => {
                for ((reply, _), answer) in replies.into_iter().zip(answers) {
                    let _ = reply.send(answer);
                }
                wake.notify_waiters();
            }
            Err(error) => {
                tracing::warn!(%error, "agents that report are told to come back");
                for (reply, _) in replies {
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
