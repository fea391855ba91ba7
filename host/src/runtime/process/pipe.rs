//! The pipe between a host and a runner: messages one way and the other.
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

/// One end, which says `S` and hears `H`.
pub(super) struct Pipe<S, H> {
    pub(super) mouth: Mouth<S>,
    pub(super) ear: Ear<H>,
}

/// Where messages go out.
pub(super) struct Mouth<S>(FramedWrite<OwnedWriteHalf, LengthDelimitedCodec>, PhantomData<fn(S)>);

/// Where messages come in.
pub(super) struct Ear<H>(FramedRead<OwnedReadHalf, LengthDelimitedCodec>, PhantomData<fn() -> H>);

impl<S: Serialize, H: DeserializeOwned> Pipe<S, H> {
    /// An end of which the other is at `stream`, and which hears messages of up to `longest` bytes.
    pub(super) fn new(stream: UnixStream, longest: usize) -> Self {
        let (reading, writing) = stream.into_split();
        let codec = |longest| LengthDelimitedCodec::builder().max_frame_length(longest).new_codec();
        Self {
            mouth: Mouth(FramedWrite::new(writing, codec(FRAME_BYTES)), PhantomData),
            ear: Ear(FramedRead::new(reading, codec(longest)), PhantomData),
        }
    }
}

/// The longest frame that a host sends: more than the code of any plugin.
pub(super) const FRAME_BYTES: usize = 1 << 30;

/// Says a short `message` into an end of which nothing was said before, without anything that could
/// be missing: not even another file.
///
/// # Errors
/// If nobody listens.
pub(super) fn say_at_once(end: impl AsFd, message: &impl Serialize) -> io::Result<()> {
    let mut frame = BytesMut::new();
    LengthDelimitedCodec::new().encode(encoded(message)?, &mut frame)?;
    rustix::io::write(end, &frame)?;
    Ok(())
}

fn encoded(message: &impl Serialize) -> io::Result<Bytes> {
    Ok(rmp_serde::to_vec_named(message).map_err(io::Error::other)?.into())
}

impl<S: Serialize> Mouth<S> {
    /// Says `message`. Whoever drops this has said half of it, and must not say more.
    ///
    /// # Errors
    /// If nobody listens.
    pub(super) async fn say(&mut self, message: &S) -> io::Result<()> {
        self.0.send(encoded(message)?).await
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// If nobody listens.
    pub(super) async fn give(&mut self, bytes: Bytes) -> io::Result<()> {
        self.0.send(bytes).await
    }
}

impl<H: DeserializeOwned> Ear<H> {
    /// Hears messages of up to `longest` bytes from now on.
    pub(super) fn hear_up_to(&mut self, longest: usize) {
        self.0.decoder_mut().set_max_frame_length(longest);
    }

    /// The next message. Whoever drops this has missed nothing.
    ///
    /// # Errors
    /// If there will be none, or it is too long or cannot be understood.
    pub(super) async fn hear(&mut self) -> io::Result<H> {
        self.hear_if(|_| Ok(())).await
    }

    /// The next message, if `check` finds its frame to be one that may be decoded. Dropping this
    /// loses no message.
    ///
    /// # Errors
    /// As [`Self::hear`], and if `check` says what is wrong.
    pub(super) async fn hear_if(
        &mut self,
        check: impl FnOnce(&[u8]) -> Result<(), String>,
    ) -> io::Result<H> {
        let frame = self.take().await?;
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        check(&frame).map_err(invalid)?;
        rmp_serde::from_slice(&frame).map_err(|error| invalid(error.to_string()))
    }

    /// The next bytes that are sent as they are.
    ///
    /// # Errors
    /// If there will be none, or too many.
    pub(super) async fn take(&mut self) -> io::Result<BytesMut> {
        match self.0.next().await {
            Some(frame) => frame,
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests;
