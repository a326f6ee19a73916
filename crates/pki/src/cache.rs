//! A bounded map from SHA-256 to values, for verdicts that do not change.
//!
//! Entries live in two generations: when the young one is full it becomes the old one, and what
//! was in the old one is forgotten. That needs no clock and no lists, and what is used stays.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::fingerprint::Fingerprint;

const SHARDS: usize = 16;

#[derive(Debug)]
pub(crate) struct Cache<V> {
    shards: Vec<Mutex<Generations<V>>>,
    /// Entries of one generation of one shard.
    limit: usize,
}

#[derive(Debug)]
struct Generations<V> {
    young: HashMap<Fingerprint, V>,
    old: HashMap<Fingerprint, V>,
}

impl<V: Clone> Cache<V> {
    /// Holds at most `capacity` entries (rounded up to a multiple of 32); none at all if it is 0.
    pub(crate) fn new(capacity: usize) -> Self {
        let empty = || Mutex::new(Generations { young: HashMap::new(), old: HashMap::new() });
        Self { shards: (0..SHARDS).map(|_| empty()).collect(), limit: capacity.div_ceil(2 * SHARDS) }
    }

    pub(crate) fn get(&self, key: Fingerprint) -> Option<V> {
        let mut shard = self.shard(key)?.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = shard.young.get(&key) {
            return Some(value.clone());
        }
        let value = shard.old.remove(&key)?;
        shard.insert(key, value.clone(), self.limit);
        Some(value)
    }

    pub(crate) fn insert(&self, key: Fingerprint, value: V) {
        if let Some(shard) = self.shard(key) {
            shard.lock().unwrap_or_else(PoisonError::into_inner).insert(key, value, self.limit);
        }
    }

    fn shard(&self, key: Fingerprint) -> Option<&Mutex<Generations<V>>> {
        if self.limit == 0 {
            return None;
        }
        self.shards.get(usize::from(key.as_bytes()[0]) % SHARDS)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let count = |shard: &Mutex<Generations<V>>| shard.lock().map(|s| s.young.len() + s.old.len()).unwrap_or(0);
        self.shards.iter().map(count).sum()
    }
}

impl<V> Generations<V> {
    fn insert(&mut self, key: Fingerprint, value: V, limit: usize) {
        if self.young.len() >= limit {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn key(number: u32) -> Fingerprint {
        Fingerprint::of(&number.to_be_bytes())
    }

    #[test]
    fn it_forgets_the_unused_and_stays_bounded() {
        let cache = Cache::new(320);
        cache.insert(key(0), 0);
        for number in 1..10_000 {
            cache.insert(key(number), number);
            assert_eq!(cache.get(key(0)), Some(0), "used between every two others");
            assert!(cache.len() <= 320);
        }
        assert_eq!(cache.get(key(1)), None);
        assert_eq!(cache.get(key(9_999)), Some(9_999));
    }

    #[test]
    fn capacity_zero_keeps_nothing() {
        let cache = Cache::new(0);
        cache.insert(key(1), 1);
        assert_eq!(cache.get(key(1)), None);
    }
}
