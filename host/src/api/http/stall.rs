//! Closes connections whose client stops reading. Otherwise a client that sends requests and reads no response
//! would keep its connection slot for ever, and some hundred of them all slots.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The slowest client that a connection accepts.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct StallLimits {
    /// How long writes may wait in all. Bytes that the client reads earn time back, up to this maximum.
    pub(in crate::api) max_wait: Duration,
    /// The read bytes that earn back one second. Without a minimum rate, a client that reads one byte now and
    /// then would keep a response and its permit for days.
    pub(in crate::api) bytes_per_second: u64,
}

/// 30 s, because slow networks transfer something in that time; and 1 Mbit/s, at which the longest output takes
/// two minutes.
pub(in crate::api) const STALL_LIMITS: StallLimits =
    StallLimits { max_wait: Duration::from_secs(30), bytes_per_second: 128 << 10 };

/// A stream whose writes fail with `TimedOut` if the client reads too slowly.
pub(in crate::api) struct StallGuard<S> {
    stream: S,
    limits: StallLimits,
    /// How long writes may still wait.
    left: Duration,
    /// The timer, which runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> StallGuard<S> {
    pub(in crate::api) fn new(stream: S, limits: StallLimits) -> Self {
        Self { stream, limits, left: limits.max_wait, stalled: None }
    }

    /// The result of a write, or an error if writes have waited for too long.
    fn watch(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = result {
            if let Some(stalled) = self.stalled.take() {
                self.left = stalled.deadline().saturating_duration_since(Instant::now());
            }
            let written = result.as_ref().copied().unwrap_or(0) as u64;
            let earned = written.saturating_mul(1_000_000) / self.limits.bytes_per_second;
            self.left = (self.left + Duration::from_micros(earned)).min(self.limits.max_wait);
            return Poll::Ready(result);
        }
        let left = self.left;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallGuard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.watch(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx).map_ok(|()| 0);
        self.watch(cx, flushed).map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
