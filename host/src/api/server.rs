//! Connections: bounded in number, in what they hold, in the time they take to say what they want, and closed in good
//! order when the host stops.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::stall::{Impatient, PATIENCE};
use crate::notify::MAX_WAITERS;

/// Connections at one time. More wait in the kernel's queue; each takes some tens of kilobytes.
const MAX_CONNECTIONS: usize = 1024;

// Or those who wait would keep all others out.
const _: () = assert!(MAX_WAITERS * 4 <= MAX_CONNECTIONS * 3);

/// How long a client may take to send a request's head: ends connections that only hold a place.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// What a connection holds of what it reads and of an answer that is sent in pieces: a head of a
/// request must fit, and answers gain nothing from more.
const BUFFER_BYTES: usize = 64 << 10;

/// How long answers that are being written may take when the host stops.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// A pause after the operating system refused a connection (out of files, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers requests on `listener` until `stopped`, then lets the ones in flight end.
pub async fn serve(listener: TcpListener, router: Router, stopped: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut stopped = std::pin::pin!(stopped);
    loop {
        let (stream, place) = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut stopped => break,
        };
        // Answers are small and wait for nothing: send them at once.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(Impatient::new(stream, PATIENCE)), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A connection that breaks is the client's to notice.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN_DEADLINE, graceful.shutdown()).await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed.
    let place = places.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
