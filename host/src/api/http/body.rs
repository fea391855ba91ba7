//! Reading a request's body: never more of it than is taken, never for longer than is decent, and
//! never more of all bodies together than the host has memory for.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use jobwright_core::tenant::{Full, TenantName};

use super::error::ApiError;
use crate::shares::table::{Resource, UNIT_BYTES};
use crate::shares::{Permit, Share, Shares};

/// How long a client may take to send a body: 32 MiB at 5 Mbit/s.
const READ_DEADLINE: Duration = Duration::from_secs(60);

/// Reads bodies.
#[derive(Debug)]
pub(in crate::api) struct Bodies {
    room: Shares,
    deadline: Duration,
}

/// Reads those of one tenant.
#[derive(Debug)]
pub(in crate::api) struct TenantBodies {
    room: Share,
    deadline: Duration,
}

/// A body that was read to its end.
#[derive(Debug)]
pub(in crate::api) struct Received {
    /// All of it.
    pub(in crate::api) bytes: Bytes,
    /// Its place among the bodies: kept as long as this is.
    _place: Option<Permit>,
}

impl Bodies {
    /// Nothing is being read yet; the longest body that is taken has `longest` bytes.
    pub(in crate::api) fn new(resource: &Resource, longest: u64) -> Self {
        // A tenant that is alone may have half of all: the longest body fits.
        let all = resource.all.max(units(longest).saturating_mul(2));
        Self { room: Shares::sized(resource, all), deadline: READ_DEADLINE }
    }

    /// Reads those of `tenant`.
    pub(in crate::api) fn of(&self, tenant: &TenantName) -> TenantBodies {
        TenantBodies { room: self.room.of(tenant), deadline: self.deadline }
    }
}

impl TenantBodies {
    /// The whole of a body that is at most `most` bytes; `what` names it in errors.
    pub(in crate::api) async fn read(
        &self,
        what: &str,
        headers: &HeaderMap,
        body: Body,
        most: u64,
    ) -> Result<Received, ApiError> {
        unencoded(what, headers)?;
        let declared = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|length| length > most) {
            return Err(ApiError::too_large(what, most));
        }
        let late = |_| {
            let detail = format!("the {what} did not arrive within {} s", self.deadline.as_secs());
            ApiError::timeout("body_timeout", detail)
        };
        tokio::time::timeout(self.deadline, self.receive(what, body, most)).await.map_err(late)?
    }

    /// Takes room for what has come, never for what is only announced: who announces much and
    /// sends nothing keeps nobody out.
    async fn receive(&self, what: &str, mut body: Body, most: u64) -> Result<Received, ApiError> {
        // One piece of memory: a list of pieces can take many times what came in them.
        let mut whole = BytesMut::new();
        let mut place: Option<Permit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| ApiError::bad_request("broken_body", error))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = (whole.len() + data.len()) as u64;
            if length > most {
                return Err(ApiError::too_large(what, most));
            }
            let missing = units(length).saturating_sub(place.as_ref().map_or(0, Permit::permits));
            let more = match &mut place {
                Some(place) => place.grow(missing),
                None => self.room.try_acquire(missing).map(|taken| place = Some(taken)),
            };
            more.map_err(|full| ApiError::busy(no_room(full)))?;
            whole.extend_from_slice(&data);
        }
        Ok(Received { bytes: whole.freeze(), _place: place })
    }
}

/// Refuses a compressed body: taken as it is, it would be something else than was meant.
fn unencoded(what: &str, headers: &HeaderMap) -> Result<(), ApiError> {
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let names = encodings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let mut others = names
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity"));
    let Some(name) = others.next() else { return Ok(()) };
    Err(ApiError::encoded(what, &String::from_utf8_lossy(name)))
}

fn no_room(full: Full) -> &'static str {
    match full {
        Full::Tenant => {
            "the host is reading as many bodies of this tenant as one may send at a time"
        }
        Full::All => "the host is reading as many bodies as it has room for",
    }
}

fn units(bytes: u64) -> u64 {
    bytes.div_ceil(UNIT_BYTES)
}

#[cfg(test)]
mod tests;
