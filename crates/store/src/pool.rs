//! A bounded set of connections, kept when idle.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{Result, StoreError};

/// How long a caller waits for a free connection before it is told that the database is too busy.
pub(crate) const CHECKOUT_WAIT: Duration = Duration::from_secs(10);

/// At most `limit` connections of one kind.
pub(crate) struct Pool<C> {
    limit: usize,
    state: Mutex<State<C>>,
    returned: Condvar,
}

struct State<C> {
    idle: Vec<C>,
    out: usize,
}

impl<C> Pool<C> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::new(State { idle: Vec::new(), out: 0 }), returned: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        // No code that can panic runs under this lock, so a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle connection, else a new one from `connect`, else waits for one to come back.
    pub(crate) fn take(&self, connect: impl FnOnce() -> Result<C>) -> Result<C> {
        let (mut state, timeout) = self
            .returned
            .wait_timeout_while(self.lock(), CHECKOUT_WAIT, |state| state.idle.is_empty() && state.out >= self.limit)
            .unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            return Err(StoreError::unavailable(format!("all {} connections were in use for {} s", self.limit, CHECKOUT_WAIT.as_secs())));
        }
        state.out += 1;
        let idle = state.idle.pop();
        drop(state);
        match idle {
            Some(connection) => Ok(connection),
            None => connect().inspect_err(|_| self.forget()),
        }
    }

    /// Gives a healthy connection back.
    pub(crate) fn put(&self, connection: C) {
        let mut state = self.lock();
        state.out -= 1;
        state.idle.push(connection);
        drop(state);
        self.returned.notify_one();
    }

    /// Says that a connection that was taken will not come back.
    pub(crate) fn forget(&self) {
        self.lock().out -= 1;
        self.returned.notify_one();
    }

    /// Takes the idle connections out, for closing them.
    pub(crate) fn drain(&self) -> Vec<C> {
        std::mem::take(&mut self.lock().idle)
    }
}
