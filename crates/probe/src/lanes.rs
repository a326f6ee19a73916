//! Many jobs at once, where slow ones do not hold up quick ones.
//!
//! A job starts in the quick lane, which is as wide as the work that the machine can do at once. Who is not done after the patience
//! (a dead address waits for packets and needs nothing but time) moves to the patient lane, which is much wider, and makes room.
//! Only when the patient lane is full too does anybody wait.

use std::{collections::VecDeque, pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinError, JoinSet},
    time::timeout,
};

/// The widths of the lanes. At most `quick + patient` jobs run at any time, so memory and descriptors follow these two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lanes {
    /// Jobs that are presumed to be busy.
    pub quick: usize,
    /// Jobs that are presumed to wait for somebody who is dead.
    pub patient: usize,
    /// How long a job is presumed to be busy.
    pub patience: Duration,
}

impl Default for Lanes {
    fn default() -> Self {
        Lanes { quick: 256, patient: 2048, patience: Duration::from_millis(500) }
    }
}

/// Runs `work` on every item that `next` yields until it yields none, and on every further item that `work` itself returns (the
/// addresses of a name). Returns when all is done. `next` is asked only when there is room; it may be dropped while it waits and asked
/// again, and must not lose an item by that.
pub async fn run<T, Work, Done>(lanes: Lanes, mut next: impl AsyncFnMut() -> Option<T>, work: Work)
where
    T: Send + 'static,
    Work: Fn(T) -> Done + Clone + Send + 'static,
    Done: Future<Output = Vec<T>> + Send + 'static,
{
    let quick = Arc::new(Semaphore::new(lanes.quick.max(1)));
    let patient = Arc::new(Semaphore::new(lanes.patient));
    let mut running: JoinSet<Vec<T>> = JoinSet::new();
    let mut further = VecDeque::new();
    let mut more = true;
    loop {
        while let Some(done) = running.try_join_next() {
            further.extend(finished(done));
        }
        if further.is_empty() && !more {
            match running.join_next().await {
                Some(done) => further.extend(finished(done)),
                None => return,
            }
            continue;
        }
        // The semaphore is never closed.
        let Ok(room) = Arc::clone(&quick).acquire_owned().await else { return };
        let item = match further.pop_front() {
            Some(item) => Some(item),
            None => tokio::select! {
                biased;
                item = next(), if more => item,
                Some(done) = running.join_next(), if !running.is_empty() => {
                    further.extend(finished(done));
                    continue;
                }
            },
        };
        match item {
            Some(item) => {
                running.spawn(in_lane(work(item), room, Arc::clone(&patient), lanes.patience));
            }
            None => more = false,
        }
    }
}

/// A job that panicked is a defect: it must not look like a job that found nothing.
fn finished<T>(job: Result<Vec<T>, JoinError>) -> Vec<T> {
    match job {
        Ok(further) => further,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Vec::new(),
    }
}

/// Holds the place in the quick lane until the job is done or a place in the patient lane was found.
async fn in_lane<T>(job: impl Future<Output = T>, room: OwnedSemaphorePermit, patient: Arc<Semaphore>, patience: Duration) -> T {
    let mut job = pin!(job);
    match timeout(patience, &mut job).await {
        Ok(done) => done,
        Err(_) => match patient.try_acquire_owned() {
            Ok(_waiting) => {
                drop(room);
                job.await
            }
            Err(_) => {
                let done = job.await;
                drop(room);
                done
            }
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::sync::Mutex;

    use tokio::time::{Instant, sleep};

    use super::*;

    const LANES: Lanes = Lanes { quick: 4, patient: 100, patience: Duration::from_millis(500) };

    /// Runs jobs of these lengths and returns when each was done, in seconds.
    async fn times(lanes: Lanes, lengths: &[u64]) -> Vec<f64> {
        let start = Instant::now();
        let times = Arc::new(Mutex::new(vec![0.0; lengths.len()]));
        let mut items = lengths.iter().copied().enumerate();
        let record = Arc::clone(&times);
        run(
            lanes,
            async || items.next(),
            move |(n, length)| {
                let record = Arc::clone(&record);
                async move {
                    sleep(Duration::from_secs(length)).await;
                    record.lock().unwrap()[n] = (Instant::now() - start).as_secs_f64();
                    Vec::new()
                }
            },
        )
        .await;
        Arc::into_inner(times).unwrap().into_inner().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_dead_do_not_hold_up_the_living() {
        // 60 dead ones first, 30 s each; they leave the quick lane four at a time.
        let lengths: Vec<u64> = [30; 60].into_iter().chain([0; 100]).collect();
        let done = times(LANES, &lengths).await;
        let last_living = done[60..].iter().copied().fold(0.0, f64::max);
        assert!(last_living < 8.5, "{last_living}");
    }

    #[tokio::test(start_paused = true)]
    async fn both_lanes_are_bounded() {
        let lanes = Lanes { quick: 1, patient: 1, patience: Duration::from_millis(500) };
        // Two fit (one has moved over); the third starts when the first is done.
        let done = times(lanes, &[10, 10, 0]).await;
        assert!(done[2] >= 10.0 && done[2] <= 10.6, "{done:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_job_finds_is_done_too_and_side_by_side() {
        let start = Instant::now();
        let count = Arc::new(Mutex::new(0));
        let mut names = [200].into_iter();
        let counter = Arc::clone(&count);
        let lanes = Lanes { quick: 50, ..LANES };
        run(
            lanes,
            async || names.next(),
            move |addresses: usize| {
                let counter = Arc::clone(&counter);
                async move {
                    sleep(Duration::from_millis(100)).await;
                    *counter.lock().unwrap() += 1;
                    vec![0; addresses]
                }
            },
        )
        .await;
        assert_eq!(*count.lock().unwrap(), 201);
        assert!(Instant::now() - start < Duration::from_secs(1), "{:?}", Instant::now() - start);
    }

    #[tokio::test]
    #[should_panic = "a defect"]
    async fn a_panic_is_not_swallowed() {
        let mut items = [1].into_iter();
        run(LANES, async || items.next(), |_| async { panic!("a defect") }).await;
    }
}
