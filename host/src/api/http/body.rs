//! Reads the bodies of requests, within their length limits, a timeout, and the memory budgets of the host and
//! of each tenant.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use jobwright_core::tenant::{Full, TenantName};

use super::error::ApiError;
use super::problem_code::ProblemCode;
use crate::shares::table::{Resource, UNIT_BYTES};
use crate::shares::{Permit, Share, Shares};

/// The timeout for a client to send a body: 32 MiB at 5 Mbit/s.
const READ_DEADLINE: Duration = Duration::from_secs(60);

/// Reads bodies within the budget of the host.
#[derive(Debug)]
pub(in crate::api) struct Bodies {
    permits: Shares,
    deadline: Duration,
}

/// Reads bodies within the budget of one tenant.
#[derive(Debug)]
pub(in crate::api) struct TenantBodies {
    permits: Share,
    deadline: Duration,
}

/// The head and the body of a request whose body has not been read yet.
pub(in crate::api) struct RawBody {
    /// The headers of the request.
    pub(in crate::api) headers: HeaderMap,
    body: Body,
}

impl From<Request> for RawBody {
    fn from(request: Request) -> Self {
        let (head, body) = request.into_parts();
        Self { headers: head.headers, body }
    }
}

impl<S: Sync> FromRequest<S> for RawBody {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        Ok(request.into())
    }
}

/// A complete body, with its permit.
#[derive(Debug)]
pub(in crate::api) struct Received {
    /// The body.
    pub(in crate::api) bytes: Bytes,
    _permit: Option<Permit>,
}

impl Bodies {
    /// The budget `resource`, for bodies of at most `longest` bytes.
    pub(in crate::api) fn new(resource: &Resource, longest: u64) -> Self {
        // A tenant that is alone can use half of all permits: the longest body fits.
        let all = resource.all.max(units(longest).saturating_mul(2));
        Self { permits: Shares::sized(resource, all), deadline: READ_DEADLINE }
    }

    /// The budget as `tenant` uses it.
    pub(in crate::api) fn of(&self, tenant: &TenantName) -> TenantBodies {
        TenantBodies { permits: self.permits.of(tenant), deadline: self.deadline }
    }
}

impl TenantBodies {
    /// Reads a body of at most `most` bytes; `what` names it in errors.
    ///
    /// # Errors
    /// If it is longer, compressed or incomplete, or if it exceeds a budget or the timeout.
    pub(in crate::api) async fn read(
        &self,
        RawBody { headers, body }: RawBody,
        what: &str,
        most: u64,
    ) -> Result<Received, ApiError> {
        refuse_encoding(what, &headers)?;
        let declared = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|length| length > most) {
            return Err(ApiError::too_large(what, most));
        }
        let late = |_| {
            let detail = format!("the {what} did not arrive within {} s", self.deadline.as_secs());
            ApiError::new(ProblemCode::BodyTimeout, detail)
        };
        tokio::time::timeout(self.deadline, self.receive(what, body, most)).await.map_err(late)?
    }

    /// Acquires permits for bytes that have arrived, not for the declared length: clients that declare a long
    /// body and send nothing use no permits.
    async fn receive(&self, what: &str, mut body: Body, most: u64) -> Result<Received, ApiError> {
        // One contiguous buffer: a list of small pieces can use many times their length.
        let mut whole = BytesMut::new();
        let mut permit: Option<Permit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| ApiError::new(ProblemCode::BrokenBody, error))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = (whole.len() + data.len()) as u64;
            if length > most {
                return Err(ApiError::too_large(what, most));
            }
            let missing = units(length).saturating_sub(permit.as_ref().map_or(0, Permit::permits));
            let more = match &mut permit {
                Some(permit) => permit.grow(missing),
                None => self.permits.try_acquire(missing).map(|first| permit = Some(first)),
            };
            more.map_err(|full| ApiError::busy(busy(full)))?;
            whole.extend_from_slice(&data);
        }
        Ok(Received { bytes: whole.freeze(), _permit: permit })
    }
}

/// Refuses a compressed body, which the host would otherwise store without decompressing it.
fn refuse_encoding(what: &str, headers: &HeaderMap) -> Result<(), ApiError> {
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let names = encodings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let mut others = names
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity"));
    let Some(name) = others.next() else { return Ok(()) };
    Err(ApiError::encoded(what, &String::from_utf8_lossy(name)))
}

fn busy(full: Full) -> &'static str {
    match full {
        Full::Tenant => {
            "the request bodies that the host is reading use this tenant's share of memory; try again later"
        }
        Full::All => {
            "the request bodies that the host is reading use all their memory; try again later"
        }
    }
}

fn units(bytes: u64) -> u64 {
    bytes.div_ceil(UNIT_BYTES)
}

#[cfg(test)]
mod tests;
