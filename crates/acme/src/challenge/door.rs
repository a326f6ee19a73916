//! Who is let in at what stands open to the internet: so many in all, so few from one address that nobody fills the room alone, and
//! nobody who has nothing to say.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// The most connections at a time.
const MAX_CONNECTIONS: usize = 1024;
/// The most from one address, which may be a proxy that all CAs come through.
const MAX_FROM_ONE: usize = 128;
/// How long somebody who was let in may be silent; a CA speaks at once.
const FIRST_BYTE: Duration = Duration::from_secs(1);
/// How long one connection may take.
const CONNECTION_TIME: Duration = Duration::from_secs(5);

/// Who is inside, by address.
#[derive(Default)]
struct Room(Mutex<BTreeMap<IpAddr, usize>>);

/// A place in the room, given back when it is dropped.
struct Place(Arc<Room>, IpAddr);

impl Room {
    fn enter(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let from = one_of(from);
        let mut inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = inside.get(&from).copied().unwrap_or(0);
        if own >= MAX_FROM_ONE || inside.values().sum::<usize>() >= MAX_CONNECTIONS {
            return None;
        }
        inside.insert(from, own + 1);
        Some(Place(self.clone(), from))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        match inside.get(&self.1).copied() {
            Some(own) if own > 1 => inside.insert(self.1, own - 1),
            _ => inside.remove(&self.1),
        };
    }
}

/// Whoever has an IPv6 address has 2^64 of them.
fn one_of(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 => v4,
    }
}

/// Lets people in until the task ends; `answer` has a few seconds for each.
pub(super) async fn let_in<A, F>(listener: TcpListener, answer: A)
where
    A: Fn(TcpStream) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let room = Arc::new(Room::default());
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            // Out of file handles, say: without a pause this would spin.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Who finds no place is turned away at once: whoever waited here would keep everybody waiting.
        let Some(place) = room.enter(from.ip()) else { continue };
        let answer = answer.clone();
        tokio::spawn(async move {
            let spoke = timeout(FIRST_BYTE, stream.peek(&mut [0])).await;
            if spoke.is_ok_and(|read| read.is_ok_and(|n| n > 0)) {
                let _late = timeout(CONNECTION_TIME, answer(stream)).await;
            }
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_fills_the_room_alone() {
        let room = Arc::new(Room::default());
        let from = |n: u8| IpAddr::from([192, 0, 2, n]);
        let own: Vec<Place> = (0..1000).filter_map(|_| room.enter(from(1))).collect();
        assert_eq!(own.len(), MAX_FROM_ONE);
        let others: Vec<Place> = (2..100).flat_map(|n| (0..20).filter_map(|_| room.enter(from(n))).collect::<Vec<_>>()).collect();
        assert_eq!(own.len() + others.len(), MAX_CONNECTIONS);
        drop(own);
        assert!(room.enter(from(1)).is_some());
        drop(others);
        assert!(room.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty());
        let v6 = |text: &str| one_of(text.parse().unwrap_or(from(9)));
        assert_eq!(v6("2001:db8::1"), v6("2001:db8::ffff:1"));
        assert_ne!(v6("2001:db8::1"), v6("2001:db8:0:1::1"));
        assert_eq!(v6("::ffff:192.0.2.1"), from(1));
    }
}
