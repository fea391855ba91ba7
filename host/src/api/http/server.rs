//! Connections: bounded in number, in what they hold, in the time they take to say what they want, and
//! closed in good order when the host stops.

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

use super::framing::Framed;
use super::places::{Place, Places, UnderWay};
use super::stall::{Impatient, PATIENCE};
use crate::events::MAX_WAITERS;
use crate::shares::table::REQUESTS;

/// Connections at one time. More wait in the kernel's queue; each takes some tens of kilobytes.
const MAX_CONNECTIONS: usize = REQUESTS.all as usize;

// Or those who wait would keep all others out.
const _: () = assert!(MAX_WAITERS * 4 <= MAX_CONNECTIONS as u64 * 3);

/// How long a client may take to send a request's head: ends connections that only hold a place.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// What a connection holds of what it reads and of an answer that is sent in pieces: a head of a
/// request must fit, and answers gain nothing from more.
const BUFFER_BYTES: usize = 64 << 10;

/// How long answers that are being written may take when the host stops.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// A pause after the operating system refused a connection (out of files, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The other end of the connection on which a request came.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct Peer(pub(in crate::api) SocketAddr);

/// Answers requests on `listener` until `stopped`, then lets the ones in flight end.
pub async fn serve(listener: TcpListener, router: Router, stopped: impl Future<Output = ()>) {
    let places = Places::new(MAX_CONNECTIONS);
    let graceful = GracefulShutdown::new();
    let mut stopped = std::pin::pin!(stopped);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut stopped => break,
        };
        tokio::spawn(accepted.answer(router.clone(), graceful.watcher()));
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN_DEADLINE, graceful.shutdown()).await;
}

/// A connection that has its place.
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    place: Arc<Place>,
}

async fn accept(listener: &TcpListener, places: &Places) -> Accepted {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let place = places.take(peer.ip()).await;
                return Accepted { stream, peer, place };
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Accepted {
    async fn answer(self, router: Router, watcher: Watcher) {
        let Self { stream, peer, place } = self;
        // Answers are small and wait for nothing: send them at once.
        let _ = stream.set_nodelay(true);
        let stream = Framed::new(Impatient::new(stream, PATIENCE), place.clone());
        let of = place.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            let answering = Answering::new(&of);
            request.extensions_mut().insert(Peer(peer));
            let answer = router.clone().oneshot(request.map(Body::new));
            async move { answer.await.map(|response| answering.with(response)) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            // A connection that breaks is the client's to notice.
            _ = watcher.watch(connection) => {}
            () = place.given_up() => {}
        }
    }
}

/// A request that is answered on a connection, until its answer was made and handed on.
struct Answering {
    place: Arc<Place>,
    request: Option<UnderWay>,
}

impl Answering {
    fn new(place: &Arc<Place>) -> Self {
        place.begin();
        Self { place: place.clone(), request: None }
    }

    fn with(mut self, mut response: Response) -> Response<Answer> {
        self.request = response.extensions_mut().remove();
        response.map(|body| Answer { body, _answering: self })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.place.end(self.request.take());
    }
}

/// The body of an answer that is under way.
struct Answer {
    body: Body,
    _answering: Answering,
}

impl HttpBody for Answer {
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
