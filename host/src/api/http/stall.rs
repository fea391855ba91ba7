//! A connection whose other end must take what it asked for. One that sends a request and reads no
//! answer would hold its place for ever, and some hundred of those all places.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long writes may wait for the other end, all in all, and what makes good for it.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct Patience {
    /// How long it may take nothing at all: networks that are only slow take something.
    pub(in crate::api) most: Duration,
    /// What it must take in a second of waiting, so that the waiting does not count. Without such a
    /// pace, one byte now and then would hold an answer, and the room it has, for days.
    pub(in crate::api) bytes_a_second: u64,
}

/// Half a minute, and 1 Mbit/s, with which the longest output takes two minutes.
pub(in crate::api) const PATIENCE: Patience =
    Patience { most: Duration::from_secs(30), bytes_a_second: 128 << 10 };

/// A stream that fails when what is written waits for too long, or goes too slowly.
pub(in crate::api) struct Impatient<S> {
    stream: S,
    patience: Patience,
    /// How long writes may still wait: less for all waiting, more for all that is taken.
    left: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    pub(in crate::api) fn new(stream: S, patience: Patience) -> Self {
        Self { stream, patience, left: patience.most, stalled: None }
    }

    /// The result of a write of some bytes, or a failure if writes have waited for too long.
    fn watch(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = result {
            if let Some(stalled) = self.stalled.take() {
                self.left = stalled.deadline().saturating_duration_since(Instant::now());
            }
            let taken = result.as_ref().copied().unwrap_or(0) as u64;
            let earned = taken.saturating_mul(1_000_000) / self.patience.bytes_a_second;
            self.left = (self.left + Duration::from_micros(earned)).min(self.patience.most);
            return Poll::Ready(result);
        }
        let left = self.left;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
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
