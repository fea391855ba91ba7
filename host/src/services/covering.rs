//! The body of a response as the guest reads it: in pieces as they arrive, or whole with every secret in it
//! covered.
//!
//! Invariant: what must not be seen is asked for when the head is there, before each piece, and when the
//! whole is: a secret may be set while a response is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Uri};
use jobwright_core::log::LogBuffer;
use jobwright_core::secret::{Mask, SecretStore};
use jobwright_core::services::{HttpRequestError, Pieces, header_bytes};
use jobwright_core::tenant::TenantName;
use tokio::runtime::Handle;

use super::arriving::Arriving;
use super::room::Held;
use super::web::{Unsearchable, Web};

/// A text that takes longer than some hundred microseconds to search, in bytes: it is searched apart, so
/// that its attempt, and others on its thread, can be stopped meanwhile.
const LONG_BYTES: usize = 1 << 10;

/// What must not be seen of a response.
#[derive(Debug)]
pub(super) struct Hidden {
    pub(super) secrets: Arc<dyn SecretStore>,
    pub(super) tenant: TenantName,
    /// Where the request went.
    pub(super) to: Uri,
}

/// What a guest reads.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) arriving: Arriving,
    /// A body in which there may be any comes as a whole.
    pub(super) hidden: Hidden,
    /// Why no secret would be found in it, if so.
    pub(super) unsearchable: Option<Unsearchable>,
    pub(super) web: Arc<Web>,
    /// Where an error is written.
    pub(super) log: Arc<LogBuffer>,
    /// The request, as it is shown there.
    pub(super) shown: String,
    /// What was taken and not read yet.
    pub(super) taken: Option<Held>,
    pub(super) is_over: bool,
}

impl Hidden {
    fn mask(&self) -> Mask {
        Mask::of(&self.secrets.known_to(&self.tenant, &self.to))
    }

    /// Covers what must not be seen in the headers of a response.
    ///
    /// # Errors
    /// If its body cannot be searched, and must be.
    pub(super) async fn cover_head(
        &self,
        head: &mut Parts,
        unsearchable: Option<Unsearchable>,
        threads: &Handle,
    ) -> Result<(), HttpRequestError> {
        let mask = self.mask();
        if mask.is_empty() {
            return Ok(());
        }
        if let Some(why) = unsearchable {
            return Err(why.into());
        }
        let headers = std::mem::take(&mut head.headers);
        let bytes = header_bytes(&headers) + mask.bytes();
        let cover = move |headers: &mut HeaderMap, goes_on: &dyn Fn() -> bool| {
            mask.cover_headers(headers, goes_on);
        };
        head.headers = covered(threads, Text { text: headers, bytes }, cover).await?;
        Ok(())
    }
}

#[async_trait]
impl Pieces for Reading {
    async fn next(&mut self) -> Option<Result<Bytes, HttpRequestError>> {
        if self.is_over {
            return None;
        }
        if self.hidden.mask().is_empty() && self.taken.is_none() {
            match self.arriving.piece().await? {
                Ok(piece) => self.taken = Some(piece),
                Err(unsent) => {
                    self.broke_off(&unsent);
                    return Some(Err(unsent));
                }
            }
            // It may be the first that was sent since a secret was set.
            if self.hidden.mask().is_empty() {
                return self.taken.take().map(|piece| Ok(piece.into_bytes()));
            }
        }
        let whole = self.rest().await;
        Some(whole).filter(|whole| !matches!(whole, Ok(bytes) if bytes.is_empty()))
    }

    async fn rest(&mut self) -> Result<Bytes, HttpRequestError> {
        if self.is_over {
            return Ok(Bytes::new());
        }
        let rest = self.whole().await;
        self.is_over = true;
        rest.as_ref().map_or_else(|unsent| self.broke_off(unsent), |_| ());
        rest.map(Held::into_bytes)
    }
}

impl Reading {
    fn broke_off(&mut self, why: &HttpRequestError) {
        self.is_over = true;
        self.log.write(why.line(&self.shown).as_bytes());
    }

    /// All that is to come, with what must not be seen covered. Dropping the future ends the search.
    async fn whole(&mut self) -> Result<Held, HttpRequestError> {
        let mut body = self.arriving.rest().await?;
        if let Some(mut taken) = self.taken.take() {
            taken.push(body.as_ref())?;
            body = taken;
        }
        let mask = self.hidden.mask();
        if mask.is_empty() {
            return Ok(body);
        }
        if let Some(why) = self.unsearchable {
            return Err(why.into());
        }
        let bytes = body.as_ref().len();
        let cover = move |body: &mut Held, goes_on: &dyn Fn() -> bool| {
            mask.cover(body.bytes_mut(), goes_on)
        };
        covered(self.web.threads(), Text { text: body, bytes }, cover).await
    }
}

/// What is searched, and about how long that is.
struct Text<T> {
    text: T,
    bytes: usize,
}

/// Covers what must not be seen in a text. Dropping the future ends the search.
async fn covered<T: Send + 'static>(
    threads: &Handle,
    Text { mut text, bytes }: Text<T>,
    cover: impl FnOnce(&mut T, &dyn Fn() -> bool) + Send + 'static,
) -> Result<T, HttpRequestError> {
    if bytes <= LONG_BYTES {
        cover(&mut text, &|| true);
        return Ok(text);
    }
    let abandoned = Arc::new(AtomicBool::new(false));
    let _guard = Abandons(abandoned.clone());
    let covering = threads.spawn_blocking(move || {
        cover(&mut text, &|| !abandoned.load(Ordering::Relaxed));
        text
    });
    let covered = covering.await;
    covered.map_err(|_| HttpRequestError::Broken("the host failed, or is about to stop".to_owned()))
}

/// Says, once it is dropped, that nobody waits any more.
struct Abandons(Arc<AtomicBool>);

impl Drop for Abandons {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
