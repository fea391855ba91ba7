//! The body of a response as the guest reads it: in pieces as they arrive, or whole with every secret in it
//! covered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use jobwright_core::log::LogBuffer;
use jobwright_core::outside::{Pieces, Unsent};
use jobwright_core::secret::Mask;

use super::arriving::Arriving;
use super::room::Held;
use super::web::Web;

/// A body that takes longer than a millisecond or two to search, in bytes: it is searched apart, so that
/// its attempt, and others on its thread, can be stopped meanwhile.
const LONG_BYTES: usize = 16 << 10;

/// What a guest reads.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) arriving: Arriving,
    /// What must not be seen; a body in which there may be any comes as a whole.
    pub(super) mask: Mask,
    pub(super) web: Arc<Web>,
    /// Where an error is written.
    pub(super) log: Arc<LogBuffer>,
    /// The request, as it is shown there.
    pub(super) shown: String,
    pub(super) is_over: bool,
}

#[async_trait]
impl Pieces for Reading {
    async fn next(&mut self) -> Option<Result<Bytes, Unsent>> {
        if self.is_over {
            return None;
        }
        if !self.mask.is_empty() {
            let whole = self.rest().await;
            return Some(whole).filter(|whole| !matches!(whole, Ok(bytes) if bytes.is_empty()));
        }
        let piece = self.arriving.piece().await?;
        piece.as_ref().map_or_else(|unsent| self.broke_off(unsent), |_| ());
        Some(piece.map(Held::into_bytes))
    }

    async fn rest(&mut self) -> Result<Bytes, Unsent> {
        if self.is_over {
            return Ok(Bytes::new());
        }
        let rest = self.covered().await;
        self.is_over = true;
        rest.as_ref().map_or_else(|unsent| self.broke_off(unsent), |_| ());
        rest.map(Held::into_bytes)
    }
}

impl Reading {
    fn broke_off(&mut self, why: &Unsent) {
        self.is_over = true;
        self.log.write(why.line(&self.shown).as_bytes());
    }

    /// All that is to come, with what must not be seen covered. Dropping the future ends the search.
    async fn covered(&mut self) -> Result<Held, Unsent> {
        let mut body = self.arriving.rest().await?;
        if self.mask.is_empty() || body.as_ref().len() <= LONG_BYTES {
            self.mask.cover(body.bytes_mut(), &|| true);
            return Ok(body);
        }
        let (mask, abandoned) = (self.mask.clone(), Arc::new(AtomicBool::new(false)));
        let _guard = Abandons(abandoned.clone());
        let covering = self.web.threads().spawn_blocking(move || {
            mask.cover(body.bytes_mut(), &|| !abandoned.load(Ordering::Relaxed));
            body
        });
        let covered = covering.await;
        covered.map_err(|_| Unsent::Broken("the host failed, or is about to stop".to_owned()))
    }
}

/// Says, once it is dropped, that nobody waits any more.
struct Abandons(Arc<AtomicBool>);

impl Drop for Abandons {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
