//! How often one peer address may fail, and how much it may hold at a time. Bounded: when too many addresses are remembered, the
//! quietest are forgotten.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use domain::Time;

use super::limits::PEERS_REMEMBERED;

const MINUTE: i64 = 60;

/// Attempts per address in the running minute.
pub(crate) struct Peers {
    per_minute: u32,
    seen: Mutex<HashMap<IpAddr, (i64, u32)>>,
}

impl Peers {
    pub(crate) fn new(per_minute: u32) -> Peers {
        Peers { per_minute, seen: Mutex::default() }
    }

    /// Whether another attempt would be answered, without counting one.
    pub(crate) fn peek(&self, peer: Option<IpAddr>, now: Time) -> Result<(), u64> {
        let (peer, minute) = (network(peer), now.unix().div_euclid(MINUTE));
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get(&peer) {
            Some((at, n)) if *at == minute && *n >= self.per_minute => Err((MINUTE - now.unix().rem_euclid(MINUTE)).unsigned_abs().max(1)),
            _ => Ok(()),
        }
    }

    /// Counts an attempt. `Err` says after how many seconds the next one is answered.
    pub(crate) fn count(&self, peer: Option<IpAddr>, now: Time) -> Result<(), u64> {
        let (peer, minute) = (network(peer), now.unix().div_euclid(MINUTE));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= PEERS_REMEMBERED && !seen.contains_key(&peer) {
            seen.retain(|_, (at, _)| *at == minute);
            if seen.len() >= PEERS_REMEMBERED {
                // So many addresses in one minute are one attacker: whoever is at the limit stays there.
                seen.retain(|_, (_, n)| *n >= self.per_minute);
            }
            if seen.len() >= PEERS_REMEMBERED {
                return Err(1);
            }
        }
        let entry = seen.entry(peer).or_insert((minute, 0));
        if entry.0 != minute {
            *entry = (minute, 0);
        }
        entry.1 = entry.1.saturating_add(1);
        if entry.1 <= self.per_minute { Ok(()) } else { Err((MINUTE - now.unix().rem_euclid(MINUTE)).unsigned_abs().max(1)) }
    }
}

/// How much each address, or whatever else is told apart, holds at a time. Remembers only those that hold something.
#[derive(Clone)]
pub(crate) struct AtOnce<K: Copy + Eq + Hash = IpAddr> {
    most: usize,
    held: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K: Copy + Eq + Hash> AtOnce<K> {
    pub(crate) fn new(most: usize) -> AtOnce<K> {
        AtOnce { most, held: Arc::default() }
    }

    /// A place for this one, until it is dropped; none where it holds as many as it may.
    pub(crate) fn place(&self, whose: K) -> Option<Place<K>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let n = held.entry(whose).or_insert(0);
        (*n < self.most).then(|| {
            *n += 1;
            Place { whose, of: self.clone() }
        })
    }
}

impl AtOnce {
    /// A place for this address.
    pub(crate) fn enter(&self, peer: Option<IpAddr>) -> Option<Place> {
        self.place(network(peer))
    }
}

/// One place; given back when it is dropped.
pub(crate) struct Place<K: Copy + Eq + Hash = IpAddr> {
    whose: K,
    of: AtOnce<K>,
}

impl<K: Copy + Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut held = self.of.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = held.get_mut(&self.whose) {
            *n -= 1;
            if *n == 0 {
                held.remove(&self.whose);
            }
        }
    }
}

/// An IPv6 customer has a whole /64, and an IPv4 address may come in IPv6's clothes.
fn network(peer: Option<IpAddr>) -> IpAddr {
    match peer.map(|p| p.to_canonical()) {
        Some(IpAddr::V6(v6)) => Ipv6Addr::from(u128::from(v6) & (u128::MAX << 64)).into(),
        Some(v4) => v4,
        // A listener that does not tell: everybody is one.
        None => Ipv6Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_unix(seconds)
    }

    #[test]
    fn each_network_has_its_own_minute() {
        let peers = Peers::new(2);
        let ip = |text: &str| Some(text.parse().unwrap());
        for (peer, second, expected) in [
            ("192.0.2.1", 0, Ok(())),
            ("192.0.2.1", 1, Ok(())),
            ("192.0.2.1", 2, Err(58)),
            ("::ffff:192.0.2.1", 2, Err(58)),
            ("192.0.2.2", 2, Ok(())),
            ("2001:db8::1", 2, Ok(())),
            ("2001:db8::2", 2, Ok(())),
            ("2001:db8::3", 2, Err(58)),
            ("2001:db8:0:1::3", 2, Ok(())),
            ("192.0.2.1", 59, Err(1)),
            ("192.0.2.1", 60, Ok(())),
        ] {
            assert_eq!(peers.count(ip(peer), at(second)), expected, "{peer} {second}");
        }
    }

    #[test]
    fn each_network_has_its_own_places_and_gets_them_back() {
        let places = AtOnce::new(2);
        let enter = |text: &str| places.enter(Some(text.parse().unwrap()));
        let first = enter("192.0.2.1");
        assert!(first.is_some());
        let second = enter("::ffff:192.0.2.1");
        assert!(second.is_some() && enter("192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some());
        drop(first);
        assert!(enter("192.0.2.1").is_some());
        drop(second);
        assert!(places.held.lock().unwrap().is_empty());
    }

    #[test]
    fn memory_is_bounded_and_who_is_at_the_limit_is_not_forgotten() {
        let peers = Peers::new(1);
        let bad = Some("192.0.2.1".parse().unwrap());
        assert!(peers.count(bad, at(0)).is_ok());
        assert!(peers.count(bad, at(0)).is_err());
        for n in 0..(PEERS_REMEMBERED as u32 * 2) {
            let _ = peers.count(Some(std::net::Ipv4Addr::from(0x0a00_0000 + n).into()), at(0));
        }
        assert!(peers.seen.lock().unwrap().len() <= PEERS_REMEMBERED);
        assert!(peers.count(bad, at(0)).is_err());
        assert!(peers.count(bad, at(60)).is_ok());
    }
}
