//! Refuses request smuggling: a request with both `Content-Length` and `Transfer-Encoding`, which a proxy could
//! read as two requests and the host as one (RFC 9112, 6.1). hyper drops the length before a handler sees it.
//! So this stream parses heads as they are read, and overwrites the last byte of such a head with 0: hyper then
//! responds with 400 and closes the connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection_slots::ConnectionSlot;

/// The bytes of a line that are kept: enough for both headers, with any length.
const LINE_BYTES: usize = 128;

/// The stream of a connection.
pub(in crate::api) struct FramingGuard<S> {
    stream: S,
    parser: Parser,
    slot: Arc<ConnectionSlot>,
}

impl<S> FramingGuard<S> {
    /// The stream of the connection with `slot`, to which it reports when responses are written.
    pub(in crate::api) fn new(stream: S, slot: Arc<ConnectionSlot>) -> Self {
        Self { stream, parser: Parser::default(), slot }
    }
}

/// Parses requests as far as their framing needs it.
#[derive(Debug, Default)]
struct Parser {
    part: Part,
    /// The beginning of the current line.
    line: Vec<u8>,
    /// The `Content-Length` of the current head.
    length: Option<u64>,
    /// Whether the current head has a `Transfer-Encoding`.
    encoded: bool,
}

/// The part of a request to which the next byte belongs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Part {
    #[default]
    Head,
    /// The rest of a body, or of a chunk with the end of its line.
    Bytes {
        left: u64,
        chunked: bool,
    },
    ChunkSize,
    Trailers,
    /// The framing is invalid: hyper closes the connection.
    Invalid,
}

impl Parser {
    /// Parses `bytes`, and overwrites the last byte of a head with both headers.
    fn parse(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            if let Part::Bytes { left, chunked } = self.part {
                let skipped = left.min((bytes.len() - at) as u64);
                at += skipped as usize;
                self.part = match left - skipped {
                    0 if chunked => Part::ChunkSize,
                    0 => Part::Head,
                    left => Part::Bytes { left, chunked },
                };
                continue;
            }
            let end = bytes[at..].iter().position(|byte| *byte == b'\n').map(|end| at + end);
            let piece = &bytes[at..end.unwrap_or(bytes.len())];
            let free = LINE_BYTES - self.line.len();
            self.line.extend_from_slice(&piece[..piece.len().min(free)]);
            let Some(end) = end else { return };
            let line = std::mem::take(&mut self.line);
            if !self.end_line(line.trim_ascii()) {
                bytes[end] = 0;
            }
            (self.line, at) = (line, end + 1);
            self.line.clear();
        }
    }

    /// Handles a complete line. Returns false if it ends a head with both headers.
    fn end_line(&mut self, line: &[u8]) -> bool {
        match self.part {
            Part::Head if line.is_empty() => return self.end_head(),
            Part::Head => self.header(line),
            Part::ChunkSize => {
                let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
                let size = std::str::from_utf8(size.trim_ascii()).ok();
                self.part = match size.and_then(|size| u64::from_str_radix(size, 16).ok()) {
                    Some(0) => Part::Trailers,
                    // The chunk and the end of its line.
                    Some(size) => Part::Bytes { left: size.saturating_add(2), chunked: true },
                    None => Part::Invalid,
                };
            }
            Part::Trailers if line.is_empty() => self.part = Part::Head,
            Part::Trailers | Part::Invalid | Part::Bytes { .. } => {}
        }
        true
    }

    fn header(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            // hyper refuses lengths that are not numbers.
            let length = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            self.length = Some(length.unwrap_or(0));
        }
        self.encoded |= name.eq_ignore_ascii_case(b"transfer-encoding");
    }

    fn end_head(&mut self) -> bool {
        let (length, encoded) = (self.length.take(), std::mem::take(&mut self.encoded));
        self.part = match length {
            _ if encoded => Part::ChunkSize,
            Some(left) if left > 0 => Part::Bytes { left, chunked: false },
            _ => Part::Head,
        };
        let has_both = encoded && length.is_some();
        if has_both {
            self.part = Part::Invalid;
        }
        !has_both
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FramingGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.parser.parse(&mut buffer.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FramingGuard<S> {
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
        self.slot.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
