//! Where those wait who want a certificate: what is ready to be signed is written, signed and written again for many of them at once,
//! since a commit costs more than a certificate.
//!
//! Nobody sleeps here but those who wait, and one of these does the work for all: the first to come leads, takes along who came
//! meanwhile, and hands over to the next when they are done.

use super::{announce, prepare::Ready};
use crate::{Engine, Error, Result, Tick, held::hold, lock, ports::Entropy, rules, vault::REQUEST_KEY};
use domain::{issuing::IssuedState, words::SecretId};
use pki::{Certificate, PrivateKey};
use serde_json::json;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Condvar, Mutex},
};
use store::{
    StoreError, Tx,
    journal::Entry,
    model::{authority, held, intent, secret},
};

/// Most certificates that are written in one transaction.
pub const BATCH: usize = 128;
/// Most callers that wait; who comes beyond is told to come again.
pub const MOST_WAITING: usize = 4096;

/// The queue in front of the one writer.
#[derive(Default)]
pub struct Desk {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Job, Arc<Slot>)>,
    led: bool,
}

/// One certificate that is wanted.
pub(crate) struct Job {
    pub(crate) ready: Ready,
    /// The private key where it is born in the store: held from before it is signed for.
    pub(crate) key: Option<PrivateKey>,
}

#[derive(Default)]
struct Slot {
    state: Mutex<Place>,
    changed: Condvar,
}

#[derive(Default)]
enum Place {
    #[default]
    Waiting,
    Leads,
    Done(Result<Vec<Vec<u8>>>),
}

impl Slot {
    fn say(&self, place: Place) {
        *lock(&self.state) = place;
        self.changed.notify_one();
    }
}

impl Engine {
    /// Has a certificate signed: stored as intended, signed, stored as signed. Waits for the others with whom it is written. Gives the
    /// chain, leaf first.
    ///
    /// # Errors
    /// Too many wait, the store is sealed, or the database refuses.
    pub(crate) fn sign(&self, job: Job, random: &mut Entropy<'_>, tick: &Tick) -> Result<Vec<Vec<u8>>> {
        let slot = Arc::new(Slot::default());
        {
            let mut queue = lock(&self.desk.queue);
            if queue.waiting.len() >= MOST_WAITING {
                return Err(Error::refused("busy", format!("{MOST_WAITING} requests wait for their certificates; ask again in a second")));
            }
            queue.waiting.push_back((job, slot.clone()));
            if !queue.led {
                queue.led = true;
                *lock(&slot.state) = Place::Leads;
            }
        }
        loop {
            let mut state = lock(&slot.state);
            while matches!(*state, Place::Waiting) {
                state = slot.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
            }
            match std::mem::take(&mut *state) {
                Place::Done(answer) => return answer,
                Place::Leads | Place::Waiting => {}
            }
            drop(state);
            self.lead(random, tick);
        }
    }

    /// One batch, and the next leader.
    fn lead(&self, random: &mut Entropy<'_>, tick: &Tick) {
        let taken: Vec<(Job, Arc<Slot>)> = {
            let mut queue = lock(&self.desk.queue);
            let n = queue.waiting.len().min(BATCH);
            queue.waiting.drain(..n).collect()
        };
        let (jobs, slots): (Vec<Job>, Vec<Arc<Slot>>) = taken.into_iter().unzip();
        // Whatever happens to this one, nobody waits for ever.
        let mut relay = Relay { desk: &self.desk, slots };
        let answers = self.batch(jobs, random, tick);
        let slots = std::mem::take(&mut relay.slots);
        match answers {
            Ok(chains) => slots.iter().zip(chains).for_each(|(slot, chain)| slot.say(Place::Done(Ok(chain)))),
            Err(error) => {
                let text = error.to_string();
                let sealed = matches!(error, Error::Sealed);
                for slot in &slots {
                    let error = if sealed { Error::Sealed } else { Error::Store(StoreError::other(&text)) };
                    slot.say(Place::Done(Err(error)));
                }
            }
        }
    }

    /// Writes what will be signed, signs it, and writes that.
    pub(crate) fn batch(&self, mut jobs: Vec<Job>, random: &mut Entropy<'_>, tick: &Tick) -> Result<Vec<Vec<Vec<u8>>>> {
        self.intend(&mut jobs, random, tick)?;
        self.signed(&jobs, tick)
    }

    /// The first of the two transactions: what will be signed, and keys that are born here.
    pub(crate) fn intend(&self, jobs: &mut [Job], random: &mut Entropy<'_>, tick: &Tick) -> Result<()> {
        if !self.is_open() {
            return Err(Error::Sealed);
        }
        let born_here = jobs.iter().any(|job| job.key.is_some());
        self.store.try_write(&rules(), tick.now, |tx| {
            let sealer = if born_here { Some(self.sealer(tx)?) } else { None };
            let ids = tx.next_ids("issued", jobs.len() as i64)?;
            for (job, id) in jobs.iter_mut().zip(ids) {
                job.ready.row.id = id;
                authority::intend(tx, &job.ready.row)?;
                if let (Some(key), Some(sealer)) = (&job.key, &sealer) {
                    hold(tx, sealer, REQUEST_KEY, job.ready.row.secret.0, key, random, tick.now)?;
                }
                let (r, ready) = (&job.ready.row, &job.ready);
                let body = json!({
                    "serial": hex(&r.serial), "version": r.version, "scope": r.scope, "issuer": ready.issuer, "tbs": r.tbs_hash.to_string(),
                    "not_after": r.not_after.to_string(), "ends_in_freeze": ready.frozen,
                });
                tx.journal(Entry::new("certificate.intended", format!("secret/{}", ready.name), "", &body))?;
            }
            Ok(())
        })
    }

    /// The second one: certificates, and what they become.
    fn signed(&self, jobs: &[Job], tick: &Tick) -> Result<Vec<Vec<Vec<u8>>>> {
        let mut chains = Vec::with_capacity(jobs.len());
        for job in jobs {
            let signed = job.ready.signer.sign(&job.ready.linted).map_err(|e| Error::Outside(e.to_string()))?;
            chains.push([signed, job.ready.signer.certificate().clone()]);
        }
        self.store.try_write(&rules(), tick.now, |tx| {
            let ids = tx.next_ids("instance", jobs.len() as i64)?;
            let mut after = After { ids: ids.into(), ..After::default() };
            for (job, chain) in jobs.iter().zip(&chains) {
                after.finish(tx, &job.ready.row, &job.ready.name, chain, job.key.is_none(), job.ready.intent, tick)?;
            }
            after.write(tx, tick)
        })?;
        Ok(chains.iter().map(|c| c.iter().map(|c| c.der().to_vec()).collect()).collect())
    }

    /// Finishes what a crash left behind: the same bytes are linted again and signed, or it is ended with a reason. Says how many.
    ///
    /// # Errors
    /// What the database says. A sealed store finishes nothing, and says so.
    pub fn finish_intended(&self, older_than: domain::Span, tick: &Tick) -> Result<usize> {
        let left = self.store.read(|tx| authority::intended(tx, tick.now - older_than, BATCH as i64))?;
        for row in &left {
            match self.finish_one(row, tick) {
                Err(error) if error.is_of_the_database() || matches!(error, Error::Sealed) => return Err(error),
                // It must not stand in the way of those behind it.
                Err(error) => self.end_one(row, &error.to_string(), tick)?,
                Ok(_) => {}
            }
        }
        Ok(left.len())
    }

    /// Ends one that will never be signed.
    fn end_one(&self, row: &authority::Issued, why: &str, tick: &Tick) -> Result<()> {
        self.store.try_write(&rules(), tick.now, |tx| {
            if authority::end(tx, row.id, why, tick.now)? {
                let body = json!({ "serial": hex(&row.serial), "why": why });
                let subject = secret::get(tx, row.secret)?.map_or(String::from("store"), |s| format!("secret/{}", s.name));
                tx.journal(Entry::new("certificate.ended", subject, why, &body))?;
            }
            Ok(())
        })
    }

    /// Finishes one; its chain where it is signed now.
    pub(crate) fn finish_one(&self, row: &authority::Issued, tick: &Tick) -> Result<Option<Vec<Vec<u8>>>> {
        let (by, s, announced) = self.store.try_read(|tx| {
            let by = authority::get(tx, row.authority)?;
            let s = secret::get(tx, row.secret)?;
            // A key that is held here belongs to a version that is stored as a whole: where another one was stored meanwhile, with another
            // key, this must not take that one's place.
            let born_here = held::has(tx, REQUEST_KEY, row.secret.0, &row.key)?;
            let announced = !born_here && s.as_ref().is_some_and(|s| row.version > 0 && row.version <= s.newest_version);
            Ok::<_, Error>((by, s, announced))
        })?;
        let end = |why: &str| self.end_one(row, why, tick).map(|()| None);
        let (Some(by), Some(s)) = (by, &s) else { return end("its secret or its authority is gone") };
        if row.not_after <= tick.now {
            return end("its end has come before it was signed");
        }
        let signer = self.signer(&by)?;
        let Ok(linted) = signer.take_up(&row.der) else { return end("what was stored does not pass the lint any more") };
        let signed = signer.sign(&linted).map_err(|e| Error::Outside(e.to_string()))?;
        let above = signer.certificate().clone();
        let chain = [signed, above];
        self.store.try_write(&rules(), tick.now, |tx| {
            let mut after = After::default();
            after.finish(tx, row, &s.name, &chain, announced, 0, tick)?;
            after.write(tx, tick)
        })?;
        Ok(Some(chain.iter().map(|c| c.der().to_vec()).collect()))
    }
}

/// What follows from certificates of one transaction, once for each secret.
#[derive(Default)]
struct After {
    /// Numbers of instances, taken at once.
    ids: VecDeque<i64>,
    secrets: BTreeMap<SecretId, secret::Secret>,
    expiries: secret::Expiries,
}

impl After {
    #[expect(clippy::too_many_arguments, reason = "each is asked for by name at its two calls")]
    fn finish(
        &mut self,
        tx: &mut Tx<'_>,
        row: &authority::Issued,
        name: &str,
        chain: &[Certificate; 2],
        joins_version: bool,
        plan: i64,
        tick: &Tick,
    ) -> Result<()> {
        if !authority::signed(tx, row.id, chain[0].der(), tick.now)? {
            // Somebody else finished it meanwhile.
            return Ok(());
        }
        if joins_version {
            let s = match self.secrets.get(&row.secret) {
                Some(s) => s.clone(),
                None => {
                    let s = secret::lock(tx, row.secret)?.ok_or_else(|| Error::not_found("secret", name))?;
                    self.secrets.insert(row.secret, s.clone());
                    s
                }
            };
            let c = announce::Certificate { secret: row.secret, version: row.version, scope: &row.scope, chain };
            let id = match self.ids.pop_front() {
                Some(id) => id,
                None => tx.next_id("instance")?,
            };
            announce::add(tx, &s, &c, id, &mut self.expiries)?;
        }
        if plan != 0 {
            intent::done(tx, plan, tick.now)?;
        }
        let body = json!({
            "serial": hex(&row.serial), "version": row.version, "scope": row.scope, "leaf": chain[0].fingerprint().to_string(),
            "not_after": chain[0].not_after().to_string(),
        });
        tx.journal(Entry::new("certificate.issued", format!("secret/{name}"), "", &body))?;
        Ok(())
    }

    fn write(self, tx: &mut Tx<'_>, tick: &Tick) -> Result<()> {
        self.expiries.write(tx)?;
        for s in self.secrets.values() {
            announce::touched(tx, s, tick.now)?;
        }
        Ok(())
    }
}

/// Hands the desk over: to the next who waits, or to nobody. Whoever was left without an answer gets one.
struct Relay<'d> {
    desk: &'d Desk,
    slots: Vec<Arc<Slot>>,
}

impl Drop for Relay<'_> {
    fn drop(&mut self) {
        for slot in self.slots.drain(..) {
            slot.say(Place::Done(Err(Error::Outside(String::from("issuing broke off; the same request asks again")))));
        }
        let mut queue = lock(&self.desk.queue);
        match queue.waiting.front() {
            Some((_, next)) => next.say(Place::Leads),
            None => queue.led = false,
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Whether a row is signed.
pub(crate) fn is_signed(row: &authority::Issued) -> bool {
    row.state == IssuedState::Signed
}
