//! A guest's standard streams: payload in, output and log out.
//!
//! Invariants: no write ever blocks; an output never exceeds its limit, and the write that exceeds
//! it ends the guest after the part that fits was stored; a log accepts every write.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use jobwright_core::log::LogBuffer;
use jobwright_core::text;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// How much a log accepts at once: more than programs write in one call, since some treat a short write as a
/// complete one.
const LOG_PERMIT_BYTES: usize = 16 << 20;

/// Zeros are taken in pieces of this size.
const ZEROS: &[u8] = &[0; 16 << 10];

/// Where written bytes go.
pub(super) trait Sink: Send + Sync + 'static {
    /// Accepts `bytes`, or returns an error that ends the guest.
    fn take(&self, bytes: &[u8]) -> Result<(), OutputFull>;

    /// The number of bytes that it accepts at once.
    fn permit(&self) -> usize;
}

/// A guest exceeded its output limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the output limit was exceeded")]
pub(super) struct OutputFull;

/// The output of one attempt.
#[derive(Debug)]
pub(super) struct OutputBuffer {
    most: u64,
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    bytes: Vec<u8>,
    /// The number of bytes that the guest tried to write.
    tried: u64,
}

impl OutputBuffer {
    /// An empty output that takes at most `most` bytes.
    pub(super) fn new(most: u64) -> Self {
        Self { most, written: Mutex::default() }
    }

    /// How much the guest tried to write: up to the write that exceeded the limit.
    pub(super) fn tried(&self) -> u64 {
        self.lock().tried
    }

    /// Whether that exceeded the limit.
    pub(super) fn exceeded(&self) -> bool {
        self.tried() > self.most
    }

    /// Takes the bytes out.
    pub(super) fn take_bytes(&self) -> Bytes {
        std::mem::take(&mut self.lock().bytes).into()
    }

    /// Stores `bytes` as far as there is room for them. Exceeding the limit is no error here,
    /// because the guest has ended in another way.
    pub(super) fn keep(&self, bytes: &[u8]) {
        let room = self.most.saturating_sub(self.tried());
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        // It fits.
        let _ = self.take(text::start(bytes, room));
    }

    /// A copy of its last bytes, at most `most`, that begins between two characters.
    pub(super) fn end(&self, most: usize) -> Vec<u8> {
        let written = self.lock();
        let skipped = written.bytes.len().saturating_sub(most);
        let last = &written.bytes[skipped..];
        last[if skipped > 0 { text::torn_start(last) } else { 0 }..].to_vec()
    }

    /// A copy of its first bytes, at most `most`, that ends between two characters.
    pub(super) fn start(&self, most: usize) -> Vec<u8> {
        let written = self.lock();
        text::start(&written.bytes, most).to_vec()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Written> {
        // Every write leaves it consistent, so a panic elsewhere does not spoil it.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for OutputBuffer {
    fn take(&self, bytes: &[u8]) -> Result<(), OutputFull> {
        let mut written = self.lock();
        written.tried = written.tried.saturating_add(bytes.len() as u64);
        let room = self.most.saturating_sub(written.bytes.len() as u64);
        let fits = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        written.bytes.extend_from_slice(&bytes[..fits]);
        if written.tried > self.most { Err(OutputFull) } else { Ok(()) }
    }

    /// One byte more than the limit: a write that is too long must be attempted, to be noticed and
    /// refused.
    fn permit(&self) -> usize {
        usize::try_from(self.most).unwrap_or(usize::MAX).saturating_add(1)
    }
}

impl Sink for LogBuffer {
    fn take(&self, bytes: &[u8]) -> Result<(), OutputFull> {
        self.write(bytes);
        Ok(())
    }

    fn permit(&self) -> usize {
        LOG_PERMIT_BYTES
    }
}

/// A guest's end of a [`Sink`].
#[derive(Debug)]
pub(super) struct Pipe<S>(Arc<S>);

impl<S> Pipe<S> {
    pub(super) fn new(sink: Arc<S>) -> Self {
        Self(sink)
    }
}

impl<S> IsTerminal for Pipe<S> {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl<S: Sink> StdoutStream for Pipe<S> {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Self(self.0.clone()))
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Self(self.0.clone()))
    }
}

#[async_trait]
impl<S: Sink> OutputStream for Pipe<S> {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.take(&bytes).map_err(|full| StreamError::Trap(wasmtime::Error::new(full)))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.0.permit())
    }

    /// In pieces, without allocating all zeros at once.
    fn write_zeroes(&mut self, count: usize) -> StreamResult<()> {
        // The loop below cannot be interrupted, and nothing else checks the number.
        if count > self.0.permit() {
            let message = "cannot write more zeroes than `check_write` allows";
            return Err(StreamError::Trap(wasmtime::format_err!("{message}")));
        }
        for start in (0..count).step_by(ZEROS.len()) {
            let piece = &ZEROS[..ZEROS.len().min(count - start)];
            self.0.take(piece).map_err(|full| StreamError::Trap(wasmtime::Error::new(full)))?;
        }
        Ok(())
    }

    /// In one step, because no write blocks.
    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.write(bytes)
    }
}

#[async_trait]
impl<S: Sink> Pollable for Pipe<S> {
    async fn ready(&mut self) {}
}

impl<S: Sink> AsyncWrite for Pipe<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.0.take(bytes).map(|()| bytes.len()).map_err(io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_of_exactly_its_limit_is_kept() {
        let output = OutputBuffer::new(5);
        assert_eq!(output.take(b"abc"), Ok(()));
        assert_eq!(output.take(b"de"), Ok(()));
        assert!(!output.exceeded());
        assert_eq!((output.tried(), output.take_bytes()), (5, Bytes::from("abcde")));
    }

    #[test]
    fn one_byte_more_is_refused_and_the_part_that_fits_is_stored() {
        let output = OutputBuffer::new(5);
        assert_eq!(output.take(b"abcd"), Ok(()));
        assert_eq!(output.take(b"ef"), Err(OutputFull));
        assert!(output.exceeded());
        assert_eq!((output.tried(), output.take_bytes()), (6, Bytes::from("abcde")));
    }

    #[test]
    fn the_stored_output_of_a_failure_does_not_exceed_the_limit() {
        let output = OutputBuffer::new(5);
        assert_eq!(output.take(b"abc"), Ok(()));
        output.keep(b"defg");
        output.keep(b"h");
        assert!(!output.exceeded());
        assert_eq!((output.end(2), output.take_bytes()), (b"de".to_vec(), Bytes::from("abcde")));
    }
}
