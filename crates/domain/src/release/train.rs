//! Which departure of a train each waiting release rides.

use crate::{Time, words::ReleaseId};
use alloc::{vec, vec::Vec};

/// A release that waits for its train.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Which.
    pub id: ReleaseId,
    /// A train before this moment leaves without it.
    pub earliest: Time,
}

/// Puts waiting releases, in the order of their places, on the departures of a train (strictly increasing), `capacity` on each. A
/// release rides the first departure at or after its earliest date that those before it have left room on; none where the known
/// departures end before.
///
/// Nobody waits for one that cannot go yet: whoever is ready takes the room that is left.
pub fn plan(departures: &[Time], capacity: u32, order: &[Waiting]) -> Vec<(ReleaseId, Option<Time>)> {
    let mut taken = vec![0u32; departures.len()];
    // Up to here every departure is full.
    let mut full = 0;
    let place = |w: &Waiting| {
        let first = departures.partition_point(|d| *d < w.earliest).max(full);
        let seat = (first..departures.len()).find(|n| taken.get(*n).is_some_and(|t| *t < capacity));
        if let Some(count) = seat.and_then(|n| taken.get_mut(n)) {
            *count += 1;
        }
        while taken.get(full).is_some_and(|t| *t >= capacity) {
            full += 1;
        }
        (w.id, seat.and_then(|n| departures.get(n)).copied())
    };
    order.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_departure_takes_its_capacity_in_the_order_of_places() {
        let departures: Vec<Time> = [10, 20, 30, 40].map(Time::from_unix).to_vec();
        for (capacity, order, wanted) in [
            (1, &[(1, 0), (2, 0), (3, 0)][..], &[(1, Some(10)), (2, Some(20)), (3, Some(30))][..]),
            (2, &[(1, 0), (2, 0), (3, 0)], &[(1, Some(10)), (2, Some(10)), (3, Some(20))]),
            // The one that is overtaken waits for the next.
            (1, &[(3, 0), (1, 0), (2, 0)], &[(3, Some(10)), (1, Some(20)), (2, Some(30))]),
            // One that cannot go yet keeps nobody waiting; at its earliest date it goes.
            (1, &[(1, 20), (2, 0), (3, 0)], &[(1, Some(20)), (2, Some(10)), (3, Some(30))]),
            (1, &[(1, 21), (2, 0)], &[(1, Some(30)), (2, Some(10))]),
            (1, &[(1, 0), (2, 0), (3, 0), (4, 0), (5, 0)], &[(1, Some(10)), (2, Some(20)), (3, Some(30)), (4, Some(40)), (5, None)]),
            (1, &[(1, 41)], &[(1, None)]),
        ] {
            let order: Vec<_> = order.iter().map(|(id, at)| Waiting { id: ReleaseId(*id), earliest: Time::from_unix(*at) }).collect();
            let wanted: Vec<_> = wanted.iter().map(|(id, at)| (ReleaseId(*id), at.map(Time::from_unix))).collect();
            assert_eq!(plan(&departures, capacity, &order), wanted, "{capacity} {order:?}");
        }
    }
}
