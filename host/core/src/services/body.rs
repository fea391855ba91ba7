//! The body of a response while it arrives.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::message::HttpRequestError;

/// Pieces of a body, as they arrive. Dropping it ends the request.
#[async_trait]
pub trait Pieces: Debug + Send + 'static {
    /// The next piece, which is not empty; none after the last, and after an error.
    ///
    /// A caller that drops the future may lose a piece.
    async fn next(&mut self) -> Option<Result<Bytes, HttpRequestError>>;

    /// The remaining pieces, as one.
    ///
    /// # Errors
    /// [`HttpRequestError`] if it breaks off.
    async fn rest(&mut self) -> Result<Bytes, HttpRequestError> {
        let Some(first) = self.next().await.transpose()? else { return Ok(Bytes::new()) };
        let mut rest = BytesMut::from(first);
        while let Some(piece) = self.next().await.transpose()? {
            rest.extend_from_slice(&piece);
        }
        Ok(rest.freeze())
    }
}

/// The body of a response.
pub type Body = Box<dyn Pieces>;

/// A body that is complete.
#[must_use]
pub fn at_once(body: Bytes) -> Body {
    Box::new(AtOnce(body))
}

#[derive(Debug)]
struct AtOnce(Bytes);

#[async_trait]
impl Pieces for AtOnce {
    async fn next(&mut self) -> Option<Result<Bytes, HttpRequestError>> {
        Some(std::mem::take(&mut self.0)).filter(|body| !body.is_empty()).map(Ok)
    }
}
