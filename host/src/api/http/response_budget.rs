//! The memory budget of responses: of the host, and of each tenant. Clients that request large responses and
//! never read them cannot exhaust memory.
//!
//! A handler whose response needs much memory acquires a permit first: [`TenantResponses::acquire`]. The layer
//! [`authenticate`](super::layers::authenticate) charges every response. It keeps permits for the length of the
//! response until its last byte was handed to the operating system, and acquires them for handlers that did
//! not. Responses of 64 KiB or less need none: one for each connection takes 64 MiB. Neither do streamed
//! responses, which have only one piece in memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::response::Response;
use http_body_util::BodyExt as _;
use jobwright_core::tenant::TenantName;

use super::error::ApiError;
use crate::shares::table::{ANSWERS, UNIT_BYTES};
use crate::shares::{Permit, Share, Shares};

/// How long a request waits for permits: clients that read have received earlier responses by then.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The budget of the host.
#[derive(Debug)]
pub(in crate::api) struct Responses {
    permits: Shares,
    timeout: Duration,
}

/// The budget of one tenant.
#[derive(Debug)]
pub(in crate::api) struct TenantResponses {
    permits: Share,
    timeout: Duration,
}

/// The permits of one response; released on drop.
#[derive(Debug, Clone)]
pub(in crate::api) struct ResponsePermit(Arc<Permit>);

/// Bytes with their permit.
struct ChargedBytes {
    bytes: Bytes,
    _permit: Permit,
}

impl AsRef<[u8]> for ChargedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Responses {
    /// The budget of a host whose longest response that is not streamed has about `longest` bytes.
    pub(in crate::api) fn new(longest: u64) -> Self {
        // A tenant that is alone can use half of all permits: the longest response fits.
        let all = ANSWERS.all.max(units(longest.saturating_mul(2)));
        Self { permits: Shares::sized(&ANSWERS, all), timeout: TIMEOUT }
    }

    /// The budget as `tenant` uses it.
    pub(in crate::api) fn of(&self, tenant: &TenantName) -> TenantResponses {
        TenantResponses { permits: self.permits.of(tenant), timeout: self.timeout }
    }
}

impl TenantResponses {
    /// Permits for a response that needs `bytes` of memory. If a tenant cannot have as many, it gets its
    /// maximum.
    ///
    /// # Errors
    /// If they are not available within the timeout.
    pub(in crate::api) async fn acquire(&self, bytes: u64) -> Result<ResponsePermit, ApiError> {
        let acquiring = self.permits.acquire_many(units(bytes));
        match tokio::time::timeout(self.timeout, acquiring).await {
            Ok(permit) => Ok(ResponsePermit(Arc::new(permit))),
            Err(_) => Err(busy()),
        }
    }

    /// `response`, which keeps permits for its length until it is sent. If its handler acquired none and none
    /// are available, it is replaced by an error if `refusable`, and sent without permits otherwise: the
    /// client must learn the result of a request that changed something.
    pub(in crate::api) async fn charge(
        &self,
        mut response: Response,
        refusable: bool,
    ) -> Result<Response, ApiError> {
        let acquired = response.extensions_mut().remove::<ResponsePermit>();
        let length = response.body().size_hint().exact().unwrap_or(0);
        if length <= UNIT_BYTES {
            return Ok(response);
        }
        let units = units(length);
        let permit = match acquired.and_then(|ResponsePermit(permit)| Arc::into_inner(permit)) {
            Some(mut permit) => {
                permit.shrink(units);
                permit
            }
            // Without waiting, because the response is in memory already.
            None => match self.permits.try_acquire(units) {
                Ok(permit) => permit,
                Err(_) if refusable => return Err(busy()),
                Err(_) => return Ok(response),
            },
        };
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.map_err(ApiError::internal)?.to_bytes();
        // The bytes own the permit, not the body: the body is dropped while its bytes wait to be written.
        let charged = Bytes::from_owner(ChargedBytes { bytes, _permit: permit });
        Ok(Response::from_parts(head, Body::from(charged)))
    }
}

impl ResponsePermit {
    /// `response`, with the permits that were acquired for it.
    pub(in crate::api) fn attach(self, mut response: Response) -> Response {
        response.extensions_mut().insert(self);
        response
    }
}

fn busy() -> ApiError {
    ApiError::busy(
        "the responses that the host is sending use all the memory that this tenant may have for them; try \
         again later",
    )
}

fn units(bytes: u64) -> u64 {
    bytes.div_ceil(UNIT_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A budget of eight units, of which a tenant has four, without a wait.
    fn responses() -> TenantResponses {
        let permits = Shares::sized(&ANSWERS, 8);
        Responses { permits, timeout: Duration::ZERO }.of(&TenantName::default())
    }

    fn response(units: u64) -> Response {
        Response::new(Body::from(vec![7; (units * UNIT_BYTES) as usize]))
    }

    /// The bytes of a response, as a connection has them until they are written.
    async fn written(response: Response) -> Bytes {
        response.into_body().collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn permits_are_kept_until_the_last_byte_is_written() {
        let responses = responses();
        let permit = responses.acquire(4 * UNIT_BYTES).await.expect("all are available");
        let busy = responses.acquire(1).await.expect_err("none is available").problem();
        assert_eq!((&busy["status"], &busy["code"]), (&503.into(), &"busy".into()));
        let charged =
            responses.charge(permit.attach(response(3)), true).await.expect("it has them");
        let one = responses.acquire(1).await.expect("the unused permit was released");
        let bytes = written(charged).await;
        assert_eq!(bytes.len() as u64, 3 * UNIT_BYTES);
        responses.acquire(1).await.expect_err("the bytes are not written yet");
        drop((bytes, one));
        responses.acquire(4 * UNIT_BYTES).await.expect("all were released");
    }

    #[tokio::test]
    async fn a_response_without_permits_is_refused_if_none_are_available() {
        let responses = responses();
        let bytes = written(responses.charge(response(4), true).await.expect("available")).await;
        responses.charge(response(2), true).await.expect_err("none is available");
        responses.charge(response(2), false).await.expect("results of changes are always sent");
        responses.charge(response(1), true).await.expect("short responses need none");
        drop(bytes);
        responses.charge(response(4), true).await.expect("all were released");
    }

    #[tokio::test]
    async fn a_response_larger_than_the_budget_takes_all_of_it() {
        let responses = responses();
        let permit = responses.acquire(100 * UNIT_BYTES).await.expect("all of it");
        let bytes =
            written(responses.charge(permit.attach(response(9)), true).await.unwrap()).await;
        responses.acquire(1).await.expect_err("all permits are in use");
        drop(bytes);
        responses.acquire(1).await.expect("it was released");
    }
}
