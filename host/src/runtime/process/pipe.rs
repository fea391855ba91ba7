//! The pipe between a host and a runner: messages in frames, in both directions.
//!
//! Invariant: a message is read whole or not at all, and none is longer than the reader allows.

use std::io;
use std::marker::PhantomData;
use std::os::fd::AsFd;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::codec::{Encoder as _, FramedRead, FramedWrite, LengthDelimitedCodec};

/// One end, which writes `W` and reads `R`.
pub(super) struct Pipe<W, R> {
    pub(super) writer: FrameWriter<W>,
    pub(super) reader: FrameReader<R>,
}

/// Writes messages.
pub(super) struct FrameWriter<W>(
    FramedWrite<OwnedWriteHalf, LengthDelimitedCodec>,
    PhantomData<fn(W)>,
);

/// Reads messages.
pub(super) struct FrameReader<R>(
    FramedRead<OwnedReadHalf, LengthDelimitedCodec>,
    PhantomData<fn() -> R>,
);

impl<W: Serialize, R: DeserializeOwned> Pipe<W, R> {
    /// An end of `stream` that reads messages of up to `longest` bytes.
    pub(super) fn new(stream: UnixStream, longest: usize) -> Self {
        let (reading, writing) = stream.into_split();
        let codec = |longest| LengthDelimitedCodec::builder().max_frame_length(longest).new_codec();
        Self {
            writer: FrameWriter(FramedWrite::new(writing, codec(FRAME_BYTES)), PhantomData),
            reader: FrameReader(FramedRead::new(reading, codec(longest)), PhantomData),
        }
    }
}

/// The longest frame that a host sends: more than the code of any plugin.
pub(super) const FRAME_BYTES: usize = 1 << 30;

/// Writes a short `message` as the first one to an end. It works without resources that could be
/// missing: it opens no file and needs no tokio runtime.
///
/// # Errors
/// If the other end is closed.
pub(super) fn write_at_once(end: impl AsFd, message: &impl Serialize) -> io::Result<()> {
    let mut frame = BytesMut::new();
    LengthDelimitedCodec::new().encode(encoded(message)?, &mut frame)?;
    rustix::io::write(end, &frame)?;
    Ok(())
}

fn encoded(message: &impl Serialize) -> io::Result<Bytes> {
    Ok(rmp_serde::to_vec_named(message).map_err(io::Error::other)?.into())
}

impl<W: Serialize> FrameWriter<W> {
    /// Writes `message`. Not cancel safe: if this is dropped, a part of the message may have been written,
    /// and the pipe cannot be written to any more.
    ///
    /// # Errors
    /// If the other end is closed.
    pub(super) async fn write(&mut self, message: &W) -> io::Result<()> {
        self.0.send(encoded(message)?).await
    }

    /// Writes a frame of bytes as they are.
    ///
    /// # Errors
    /// If the other end is closed.
    pub(super) async fn write_raw(&mut self, bytes: Bytes) -> io::Result<()> {
        self.0.send(bytes).await
    }
}

impl<R: DeserializeOwned> FrameReader<R> {
    /// Allows messages of up to `longest` bytes from now on.
    pub(super) fn set_longest(&mut self, longest: usize) {
        self.0.decoder_mut().set_max_frame_length(longest);
    }

    /// The next message. Cancel safe: dropping this loses no message.
    ///
    /// # Errors
    /// If the other end is closed, or the message is too long or cannot be decoded.
    pub(super) async fn read(&mut self) -> io::Result<R> {
        self.read_if(|_| Ok(())).await
    }

    /// The next message, if `check` finds that its frame may be decoded. Cancel safe, as [`Self::read`].
    ///
    /// # Errors
    /// As [`Self::read`], and if `check` says what is wrong.
    pub(super) async fn read_if(
        &mut self,
        check: impl FnOnce(&[u8]) -> Result<(), String>,
    ) -> io::Result<R> {
        let frame = self.read_raw().await?;
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        check(&frame).map_err(invalid)?;
        rmp_serde::from_slice(&frame).map_err(|error| invalid(error.to_string()))
    }

    /// The next frame, as bytes.
    ///
    /// # Errors
    /// If the other end is closed, or the frame is too long.
    pub(super) async fn read_raw(&mut self) -> io::Result<BytesMut> {
        match self.0.next().await {
            Some(frame) => frame,
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests;
