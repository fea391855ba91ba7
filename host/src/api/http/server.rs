//! Accepts connections. Their number, their buffers and the time until a request are bounded, and they are
//! closed gracefully when the host stops.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

use super::connection_slots::{ConnectionSlot, ConnectionSlots, RequestPermit};
use super::framing::FramingGuard;
use super::stall::{STALL_LIMITS, StallGuard};
use crate::events::MAX_WAITERS;
use crate::shares::table::REQUESTS;

/// The maximum number of connections, each of which takes some tens of kilobytes. More wait in the kernel's queue.
const MAX_CONNECTIONS: usize = REQUESTS.all as usize;

// Otherwise requests that wait could use all connections.
const _: () = assert!(MAX_WAITERS * 4 <= MAX_CONNECTIONS as u64 * 3);

/// The timeout for the head of a request, which closes idle connections.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// The size of a connection's buffers, for reading and for streamed responses. The head of a request must fit;
/// larger buffers do not make responses faster.
const BUFFER_BYTES: usize = 64 << 10;

/// The timeout for writing responses when the host stops.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// The pause after an error of `accept`, for example because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The address of the client of a request.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct Peer(pub(in crate::api) SocketAddr);

/// Serves requests on `listener` until `stopped`; requests in flight then complete.
pub async fn serve(listener: TcpListener, router: Router, stopped: impl Future<Output = ()>) {
    let slots = ConnectionSlots::new(MAX_CONNECTIONS);
    let graceful = GracefulShutdown::new();
    let mut stopped = std::pin::pin!(stopped);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            () = &mut stopped => break,
        };
        tokio::spawn(accepted.serve(router.clone(), graceful.watcher()));
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN_DEADLINE, graceful.shutdown()).await;
}

/// A connection with its slot.
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    slot: Arc<ConnectionSlot>,
}

async fn accept(listener: &TcpListener, slots: &ConnectionSlots) -> Accepted {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let slot = slots.acquire(peer.ip()).await;
                return Accepted { stream, peer, slot };
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Accepted {
    async fn serve(self, router: Router, watcher: Watcher) {
        let Self { stream, peer, slot } = self;
        // Responses are written whole, so delaying small segments would only cost time.
        let _ = stream.set_nodelay(true);
        let stream = FramingGuard::new(StallGuard::new(stream, STALL_LIMITS), slot.clone());
        let of = slot.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            let handling = Handling::new(&of);
            request.extensions_mut().insert(Peer(peer));
            let response = router.clone().oneshot(request.map(Body::new));
            async move { response.await.map(|response| handling.with(response)) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            // Errors of a connection are not logged: clients disconnect at any time.
            _ = watcher.watch(connection) => {}
            () = slot.evicted() => {}
        }
    }
}

/// A request that is being handled on a connection, until hyper has taken the whole response.
struct Handling {
    slot: Arc<ConnectionSlot>,
    permit: Option<RequestPermit>,
}

impl Handling {
    fn new(slot: &Arc<ConnectionSlot>) -> Self {
        slot.begin();
        Self { slot: slot.clone(), permit: None }
    }

    fn with(mut self, mut response: Response) -> Response<TrackedBody> {
        self.permit = response.extensions_mut().remove();
        response.map(|body| TrackedBody { body, _handling: self })
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        self.slot.end(self.permit.take());
    }
}

/// The body of a response, which ends the handling of its request on drop.
struct TrackedBody {
    body: Body,
    _handling: Handling,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
