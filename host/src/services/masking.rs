//! Masks secrets in responses before the guest reads them. If no secret can be in it, the body is passed on in
//! pieces as they arrive; otherwise it is passed on when it is complete, with every secret masked.
//!
//! Invariant: the secrets are looked up when the head has arrived, before each piece, and when the body is
//! complete, because a secret may be set while a response arrives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Uri};
use jobwright_core::log::LogBuffer;
use jobwright_core::secret::{Mask, SecretStore};
use jobwright_core::services::{HttpRequestError, Pieces, header_bytes};
use jobwright_core::store::StoreError;
use jobwright_core::tenant::TenantName;
use tokio::runtime::Handle;

use super::body_budget::BodyBuffer;
use super::exchange::Unsearchable;
use super::response_body::ResponseBody;
use super::web::Web;

/// Longer data takes more than some hundred microseconds to search. It is searched by `spawn_blocking`, so
/// that the attempt, and others on its thread, can be stopped meanwhile.
const LONG_BYTES: usize = 1 << 10;

/// The secrets to mask in a response: those of the tenant that the server may know.
#[derive(Debug)]
pub(super) struct KnownSecrets {
    pub(super) secrets: Arc<dyn SecretStore>,
    pub(super) tenant: TenantName,
    /// The address of the request.
    pub(super) to: Uri,
}

/// The body of a response, as the guest reads it.
#[derive(Debug)]
pub(super) struct MaskedBody {
    pub(super) body: ResponseBody,
    pub(super) secrets: KnownSecrets,
    /// Why secrets cannot be found in the body, if they cannot.
    pub(super) unsearchable: Option<Unsearchable>,
    pub(super) web: Arc<Web>,
    /// The log of the attempt, for errors.
    pub(super) log: Arc<LogBuffer>,
    /// The request, as the log shows it.
    pub(super) shown: String,
    /// Bytes that were taken from `body`, and that the guest has not read yet.
    pub(super) taken: Option<BodyBuffer>,
    pub(super) has_ended: bool,
}

/// The error of a request whose secrets cannot be read: neither are they sent, nor is a response shown in
/// which they could be.
pub(super) fn unreadable(error: StoreError) -> HttpRequestError {
    tracing::warn!(%error, "refused a request of a guest: the secrets of its tenant cannot be read");
    HttpRequestError::Broken("the host cannot read the tenant's secrets at present".to_owned())
}

impl KnownSecrets {
    fn mask(&self) -> Result<Mask, HttpRequestError> {
        let secrets = self.secrets.of(&self.tenant).map_err(unreadable)?;
        Ok(Mask::of(&secrets.known_to(&self.to)))
    }

    /// Masks the secrets in the headers of a response.
    ///
    /// # Errors
    /// If there are secrets to mask, and the body cannot be searched for them.
    pub(super) async fn mask_head(
        &self,
        head: &mut Parts,
        unsearchable: Option<Unsearchable>,
        runtime: &Handle,
    ) -> Result<(), HttpRequestError> {
        let mask = self.mask()?;
        if mask.is_empty() {
            return Ok(());
        }
        if let Some(why) = unsearchable {
            return Err(why.into());
        }
        let headers = std::mem::take(&mut head.headers);
        let bytes = header_bytes(&headers) + mask.bytes();
        let apply = move |headers: &mut HeaderMap, goes_on: &dyn Fn() -> bool| {
            mask.cover_headers(headers, goes_on);
        };
        head.headers = masked(runtime, Searched { data: headers, bytes }, apply).await?;
        Ok(())
    }
}

#[async_trait]
impl Pieces for MaskedBody {
    async fn next(&mut self) -> Option<Result<Bytes, HttpRequestError>> {
        if self.has_ended {
            return None;
        }
        match self.unmasked_piece().await {
            Ok(Unmasked::Piece(piece)) => return Some(Ok(piece)),
            Ok(Unmasked::End) => return None,
            Ok(Unmasked::Secrets) => {}
            Err(error) => {
                self.fail(&error);
                return Some(Err(error));
            }
        }
        let whole = self.rest().await;
        Some(whole).filter(|whole| !matches!(whole, Ok(bytes) if bytes.is_empty()))
    }

    async fn rest(&mut self) -> Result<Bytes, HttpRequestError> {
        if self.has_ended {
            return Ok(Bytes::new());
        }
        let rest = self.masked_rest().await;
        self.has_ended = true;
        rest.inspect_err(|error| self.fail(error)).map(BodyBuffer::into_bytes)
    }
}

/// The next piece of a body, if it can be passed on as it is.
enum Unmasked {
    /// It can.
    Piece(Bytes),
    /// There is no further piece.
    End,
    /// There are secrets, which must be masked in the whole rest.
    Secrets,
}

impl MaskedBody {
    /// The next piece, unless there are secrets to mask.
    async fn unmasked_piece(&mut self) -> Result<Unmasked, HttpRequestError> {
        if self.taken.is_some() || !self.secrets.mask()?.is_empty() {
            return Ok(Unmasked::Secrets);
        }
        let Some(piece) = self.body.next().await else { return Ok(Unmasked::End) };
        self.taken = Some(piece?);
        // A secret may have been set while the piece arrived.
        if !self.secrets.mask()?.is_empty() {
            return Ok(Unmasked::Secrets);
        }
        let piece = self.taken.take();
        Ok(piece.map_or(Unmasked::End, |piece| Unmasked::Piece(piece.into_bytes())))
    }

    /// Ends the body, and logs why.
    fn fail(&mut self, error: &HttpRequestError) {
        self.has_ended = true;
        self.log.write(error.line(&self.shown).as_bytes());
    }

    /// The rest of the body, with all secrets masked. Dropping the future ends the search.
    async fn masked_rest(&mut self) -> Result<BodyBuffer, HttpRequestError> {
        let mut body = self.body.rest().await?;
        if let Some(mut taken) = self.taken.take() {
            taken.push(body.as_ref())?;
            body = taken;
        }
        let mask = self.secrets.mask()?;
        if mask.is_empty() {
            return Ok(body);
        }
        if let Some(why) = self.unsearchable {
            return Err(why.into());
        }
        let bytes = body.as_ref().len();
        let apply = move |body: &mut BodyBuffer, goes_on: &dyn Fn() -> bool| {
            mask.cover(body.bytes_mut(), goes_on)
        };
        masked(self.web.runtime(), Searched { data: body, bytes }, apply).await
    }
}

/// Data to search, and its approximate length.
struct Searched<T> {
    data: T,
    bytes: usize,
}

/// Applies a mask, by `spawn_blocking` if the data is long. Dropping the future ends the search.
async fn masked<T: Send + 'static>(
    runtime: &Handle,
    Searched { mut data, bytes }: Searched<T>,
    apply: impl FnOnce(&mut T, &dyn Fn() -> bool) + Send + 'static,
) -> Result<T, HttpRequestError> {
    if bytes <= LONG_BYTES {
        apply(&mut data, &|| true);
        return Ok(data);
    }
    let dropped = Arc::new(AtomicBool::new(false));
    let _guard = SetOnDrop(dropped.clone());
    let task = runtime.spawn_blocking(move || {
        apply(&mut data, &|| !dropped.load(Ordering::Relaxed));
        data
    });
    task.await.map_err(|_| HttpRequestError::Broken("the host failed, or is stopping".to_owned()))
}

/// Sets a flag on drop.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
