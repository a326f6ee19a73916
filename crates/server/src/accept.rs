//! Taking connections: so many in all, so many from one address, and none for longer than it moves.

use crate::{
    http::{
        limits::{CONNECTIONS_PER_PEER, WRITE_IDLE},
        peers::AtOnce,
    },
    run::FAREWELL,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpListener,
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::{self, Sleep},
};
use tokio_rustls::TlsAcceptor;

/// Connections at a time.
const MOST_CONNECTIONS: usize = 4096;
/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Accepts until it is told to stop, and then waits for what is under way.
pub(crate) async fn accept(listener: TcpListener, tls: TlsAcceptor, router: axum::Router, stop: Arc<Notify>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let per_peer = AtOnce::new(CONNECTIONS_PER_PEER);
    let mut running = JoinSet::new();
    let end = Arc::new(Notify::new());
    loop {
        let Ok(slot) = room.clone().acquire_owned().await else { return };
        let (socket, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(pair) => pair,
                Err(error) => {
                    // Out of descriptors: others will be freed.
                    tracing::warn!(%error, "a connection could not be accepted");
                    time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = stop.notified() => break,
        };
        while running.try_join_next().is_some() {}
        let Some(place) = per_peer.enter(Some(peer.ip())) else { continue };
        let (tls, router, end) = (tls.clone(), router.clone(), end.clone());
        running.spawn(async move {
            let _held = (slot, place);
            let socket = Patient::new(socket, WRITE_IDLE);
            let Ok(Ok(stream)) = time::timeout(HANDSHAKE, tls.accept(socket)).await else { return };
            let service = router.layer(axum::Extension(axum::extract::ConnectInfo(peer)));
            let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
            builder.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE).max_buf_size(64 * 1024);
            let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => {}
                () = end.notified() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = time::timeout(FAREWELL, connection).await;
                }
            }
        });
    }
    end.notify_waiters();
    while running.join_next().await.is_some() {}
}

/// A socket that gives up when its peer takes nothing of what is written for too long. Reading has its own limits, above.
struct Patient<S> {
    socket: S,
    patience: Duration,
    /// Runs while something waits to be taken.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    fn new(socket: S, patience: Duration) -> Patient<S> {
        Patient { socket, patience, waiting: None }
    }

    /// What a write came to: taken, or not yet, or not for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.waiting = None;
            return polled;
        }
        let patience = self.patience;
        ready!(self.waiting.get_or_insert_with(|| Box::pin(time::sleep(patience))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.watch(cx, polled)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, parts);
        self.watch(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_flush(cx);
        self.watch(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_shutdown(cx);
        self.watch(cx, polled)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Whoever takes something now and then may be slow; whoever takes nothing is not waited for.
    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_not_waited_for() {
        let (ours, mut theirs) = tokio::io::duplex(10);
        let mut socket = Patient::new(ours, Duration::from_secs(60));
        let slow = tokio::spawn(async move {
            let mut buffer = [0; 10];
            for _ in 0..5 {
                time::sleep(Duration::from_secs(59)).await;
                theirs.read_exact(&mut buffer).await.unwrap();
            }
            theirs
        });
        let began = time::Instant::now();
        socket.write_all(&[1; 60]).await.unwrap();
        let _theirs = slow.await.unwrap();
        let refused = socket.write_all(&[1; 10]).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 5 * 59 + 60);
    }
}
