//! Requests that say twice how long they are. One with `Content-Length` and `Transfer-Encoding` can be
//! read as two by a proxy and as one by the host (request smuggling), so it is refused (RFC 9112, 6.1). The
//! HTTP library drops the length before anybody sees it, so heads are looked at as they are read:
//! the last byte of such a head is spoilt, which the library answers with 400 and by closing the
//! connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::places::Place;

/// The longest line of which all is kept: both headers fit, with any length.
const LINE_BYTES: usize = 128;

/// A stream of requests.
pub(in crate::api) struct Framed<S> {
    stream: S,
    requests: Requests,
    place: Arc<Place>,
}

impl<S> Framed<S> {
    /// Those of the connection that has `place`.
    pub(in crate::api) fn new(stream: S, place: Arc<Place>) -> Self {
        Self { stream, requests: Requests::default(), place }
    }
}

/// Where in a stream of requests the next byte belongs.
#[derive(Debug, Default)]
struct Requests {
    part: Part,
    /// The beginning of the current line.
    line: Vec<u8>,
    length: Option<u64>,
    encoded: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Part {
    #[default]
    Head,
    /// So many bytes of a body, or of a chunk with the end of its line.
    Bytes {
        left: u64,
        chunked: bool,
    },
    ChunkSize,
    Trailers,
    /// The library ends the connection before it takes more.
    Beyond,
}

impl Requests {
    /// Follows `bytes`, and spoils the end of a head that says twice how long its request is.
    fn follow(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            if let Part::Bytes { left, chunked } = self.part {
                let passed = left.min((bytes.len() - at) as u64);
                at += passed as usize;
                self.part = match left - passed {
                    0 if chunked => Part::ChunkSize,
                    0 => Part::Head,
                    left => Part::Bytes { left, chunked },
                };
                continue;
            }
            let end = bytes[at..].iter().position(|byte| *byte == b'\n').map(|end| at + end);
            let piece = &bytes[at..end.unwrap_or(bytes.len())];
            let room = LINE_BYTES - self.line.len();
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            let Some(end) = end else { return };
            let line = std::mem::take(&mut self.line);
            if !self.ended(line.trim_ascii()) {
                bytes[end] = 0;
            }
            (self.line, at) = (line, end + 1);
            self.line.clear();
        }
    }

    /// A line has ended; answers whether what it ends may pass.
    fn ended(&mut self, line: &[u8]) -> bool {
        match self.part {
            Part::Head if line.is_empty() => return self.head_ended(),
            Part::Head => self.header(line),
            Part::ChunkSize => {
                let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
                let size = std::str::from_utf8(size.trim_ascii()).ok();
                self.part = match size.and_then(|size| u64::from_str_radix(size, 16).ok()) {
                    Some(0) => Part::Trailers,
                    // With the end of its line.
                    Some(size) => Part::Bytes { left: size.saturating_add(2), chunked: true },
                    None => Part::Beyond,
                };
            }
            Part::Trailers if line.is_empty() => self.part = Part::Head,
            Part::Trailers | Part::Beyond | Part::Bytes { .. } => {}
        }
        true
    }

    fn header(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            // What is no number, the library refuses.
            let length = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            self.length = Some(length.unwrap_or(0));
        }
        self.encoded |= name.eq_ignore_ascii_case(b"transfer-encoding");
    }

    fn head_ended(&mut self) -> bool {
        let (length, encoded) = (self.length.take(), std::mem::take(&mut self.encoded));
        self.part = match length {
            _ if encoded => Part::ChunkSize,
            Some(left) if left > 0 => Part::Bytes { left, chunked: false },
            _ => Part::Head,
        };
        let twice = encoded && length.is_some();
        if twice {
            self.part = Part::Beyond;
        }
        !twice
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Framed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.requests.follow(&mut buffer.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Framed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.place.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
