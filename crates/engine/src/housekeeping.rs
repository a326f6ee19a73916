//! Everything has a limit with a name (law 9), age too. What is old is let go of once a day, a few rows in each transaction; never
//! what an incident rests on that is open or not reviewed, and never the journal.

use crate::{Engine, Result, Tick, rules};
use domain::{Span, Time, schedule};
use serde_json::json;
use store::{
    Tx,
    journal::Entry,
    model::{authority, delivery_key, held, identity, issuance, order, prune},
    timer,
};

/// The loop's name, as the timers know it; its subject is always 0.
pub const LOOP: &str = "housekeeping";
/// How often.
pub const EVERY: Span = Span::days(1);
/// Where a round left something over, the next one follows after this.
const MORE: Span = Span::minutes(1);
/// For how long history is kept: notices whose finding is gone, changes of observations, closed lines of reviewed incidents, reports
/// of sweeps, what became of each target of a rollout. More than a year, since a repeat is looked for within one.
pub const KEEP_HISTORY: Span = Span::days(400);
/// For how long messages that are done are kept, with the attempts to deliver them.
pub const KEEP_MESSAGES: Span = Span::days(90);
/// For how long a presented chain is kept that no observation names any more.
pub const KEEP_CHAINS: Span = Span::days(90);
/// For how long the copies of contacts' keys of a server that is gone are kept.
pub const KEEP_DELIVERY_KEYS: Span = Span::days(90);
/// For how long a certificate of our own CAs is kept after it expired: revocation lists name it for no longer than it lives.
pub const KEEP_EXPIRED: Span = Span::days(30);
/// For how long a key waits that was made for a request which nothing open names.
pub const KEEP_UNNAMED_KEYS: Span = Span::days(7);
/// Rows in one transaction.
pub const BATCH: i64 = 500;
/// Transactions per kind in one round.
pub const BATCHES: usize = 200;

type Prune = fn(&mut Tx<'_>, Time, i64) -> store::Result<u64>;

/// What is let go of by age: in words, after how long, and how.
const KINDS: [(&str, Span, Prune); 14] = [
    ("messages", KEEP_MESSAGES, prune::messages),
    ("notices", KEEP_HISTORY, prune::notices),
    ("observation changes", KEEP_HISTORY, prune::changes),
    ("incident lines", KEEP_HISTORY, prune::lines),
    ("sweep reports", KEEP_HISTORY, prune::sweeps),
    ("join tokens", KEEP_MESSAGES, identity::prune_tokens),
    ("certificates of agents", KEEP_HISTORY, identity::prune_certificates),
    ("targets of rollouts", KEEP_HISTORY, prune::rollout_targets),
    // What no certificate, list, budget or person can ask about any more.
    ("certificates that were never signed", KEEP_MESSAGES, authority::prune_ended),
    ("certificates that expired", KEEP_EXPIRED, authority::prune_expired),
    ("orders", KEEP_MESSAGES, |tx, before, n| order::prune(tx, before, KEEP_MESSAGES, n)),
    ("requests by hand", KEEP_HISTORY, order::prune_requests),
    ("planned ends", KEEP_HISTORY, |tx, _, n| issuance::prune_planned(tx, n)),
    ("keys for requests", KEEP_UNNAMED_KEYS, held::prune_requests),
];

impl Engine {
    /// Lets go of what is old, where that is due. Says how many rows.
    pub fn housekeeping_once(&self, tick: &Tick) -> Result<usize> {
        // By a clock that is ahead everything is old.
        if !tick.clock.is_believed() {
            return Ok(0);
        }
        let now = tick.now;
        let due = self.store.read(|tx| timer::get(tx, LOOP, 0))?;
        if due.is_some_and(|at| at > now) {
            return Ok(0);
        }
        let claim = self.store.write(&rules(), now, |tx| {
            timer::set_earlier(tx, LOOP, 0, now)?;
            timer::claim(tx, LOOP, now, &self.holder, schedule::LEASE, 1)
        })?;
        let Some(claim) = claim.into_iter().next() else { return Ok(0) };
        let (mut gone, mut more) = (Vec::new(), false);
        for (what, keep, prune) in KINDS {
            let mut n = 0;
            for batch in 0.. {
                let some = self.store.write(&rules(), now, |tx| prune(tx, now - keep, BATCH))?;
                n += some;
                if (some as i64) < BATCH {
                    break;
                }
                if batch + 1 == BATCHES {
                    more = true;
                    break;
                }
            }
            gone.push((what, n));
        }
        gone.push(("chains", self.prune_chains(now)?));
        gone.push(("paths", self.prune_paths(now)?));
        let total: u64 = gone.iter().map(|(_, n)| n).sum();
        self.store.write(&rules(), now, |tx| {
            delivery_key::forget_unused(tx, now - KEEP_DELIVERY_KEYS)?;
            timer::done(tx, LOOP, &claim, Some(now + if more { MORE } else { EVERY }))?;
            if total > 0 {
                let body: serde_json::Map<_, _> = gone.iter().map(|(what, n)| ((*what).to_owned(), json!(n))).collect();
                tx.journal(Entry::new("store.pruned", "store", "old", &serde_json::Value::Object(body)))?;
            }
            Ok(())
        })?;
        Ok(usize::try_from(total).unwrap_or(usize::MAX))
    }

    /// Paths that no target may answer with any more.
    fn prune_paths(&self, now: Time) -> Result<u64> {
        let (mut after, mut n) = (0, 0);
        loop {
            let unnamed = self.store.read(|tx| prune::unnamed_paths(tx, after, BATCH))?;
            let Some(last) = unnamed.last() else { return Ok(n) };
            after = *last;
            n += self.store.write(&rules(), now, |tx| unnamed.iter().try_fold(0, |n, id| Ok(n + prune::path(tx, *id)?)))?;
        }
    }

    /// Chains that nothing names: their certificates can be presented again, and then they are kept again.
    fn prune_chains(&self, now: Time) -> Result<u64> {
        let before = now - KEEP_CHAINS;
        let (mut after, mut n) = (Vec::new(), 0);
        while let Some((last, unused)) = self.store.read(|tx| prune::unused_chains(tx, &after, before, BATCH))? {
            after = last;
            if !unused.is_empty() {
                n += self.store.write(&rules(), now, |tx| {
                    let mut gone = 0;
                    for hash in &unused {
                        gone += prune::chain(tx, hash, before)?;
                    }
                    Ok(gone)
                })?;
            }
        }
        Ok(n)
    }
}
