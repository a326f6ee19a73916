//! Connections, and the one that a client may keep between requests.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};

use crate::body::Slices;
use crate::client::no_answer;
use crate::destination::Destination;
use crate::error::Error;
use crate::message::Response;

/// How many headers an answer may have.
const MAX_HEADERS: usize = 64;
/// How large an answer's headers may be together, in bytes; also the connection's buffer.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How long closing a connection politely may take once the answer is there.
const CLOSE_TIME: Duration = Duration::from_millis(500);
/// How long a connection that nobody used is believed to be there still: ways forget about silent ones without a word to either end.
const MAX_IDLE: Duration = Duration::from_secs(60);
/// How long it may take to see whether it is.
const LOOK_TIME: Duration = Duration::from_secs(1);

/// A connection over which one request after the other can go.
pub(crate) struct Open {
    pub(crate) sender: SendRequest<Slices>,
    /// Moves the bytes, while it is polled.
    pub(crate) connection: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>,
    pub(crate) ended: bool,
}

impl Open {
    pub(crate) async fn over<S>(stream: S) -> Result<Open, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = Builder::new();
        builder.max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD_BYTES);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| no_answer(&error))?;
        Ok(Open { sender, connection: Box::pin(connection), ended: false })
    }

    /// Whether it can take a request, as far as this end knows.
    pub(crate) async fn is_usable(&mut self) -> bool {
        let Open { sender, connection, ended } = self;
        let look = poll_fn(|cx| {
            *ended = *ended || connection.as_mut().poll(cx).is_ready();
            if *ended { Poll::Ready(false) } else { sender.poll_ready(cx).map(|ready| ready.is_ok()) }
        });
        timeout(LOOK_TIME, look).await.unwrap_or(false)
    }

    /// After an answer: back to where it is kept, or closed.
    pub(crate) async fn leave(self, lane: Option<Lane>, to: &Destination, response: &Response) {
        if self.ended || response.cut {
            return;
        }
        if let Some(lane) = lane {
            return lane.keep(self, to);
        }
        drop(self.sender);
        let _closed_or_late = timeout(CLOSE_TIME, self.connection).await;
    }
}

/// Where a client keeps its connection.
#[derive(Default)]
pub(crate) enum Slot {
    /// There is none.
    #[default]
    Empty,
    /// A request is on it, or about to open it.
    Busy,
    /// To whom it leads, and since when nobody used it.
    Idle(Box<(String, Instant, Open)>),
}

/// The right to use the kept connection. Whoever goes without giving one back leaves the slot empty.
pub(crate) struct Lane(Arc<Mutex<Slot>>);

impl Lane {
    /// Takes the slot, and what is kept there for this destination. Nothing while another request has it.
    pub(crate) fn enter(slot: &Arc<Mutex<Slot>>, to: &Destination) -> (Option<Lane>, Option<Open>) {
        let before = std::mem::replace(&mut *slot.lock().unwrap_or_else(PoisonError::into_inner), Slot::Busy);
        let lane = || Some(Lane(Arc::clone(slot)));
        match before {
            Slot::Busy => (None, None),
            Slot::Idle(kept) if kept.0 == lead(to) && kept.1.elapsed() < MAX_IDLE => (lane(), Some(kept.2)),
            Slot::Empty | Slot::Idle(_) => (lane(), None),
        }
    }

    fn keep(self, open: Open, to: &Destination) {
        self.put(Slot::Idle(Box::new((lead(to), Instant::now(), open))));
    }

    fn put(&self, what: Slot) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*slot, Slot::Busy) {
            *slot = Slot::Empty;
        }
    }
}

/// Scheme, host and port: nothing is sent in plain text over what was opened for TLS, or the other way round.
fn lead(to: &Destination) -> String {
    format!("{} {}", if to.https { "https" } else { "http" }, to.name())
}
