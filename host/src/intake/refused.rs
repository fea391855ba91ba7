//! Why a job is not accepted.

use std::num::NonZeroU32;
use std::time::Duration;

use jobwright_core::capacity::QueueFull;
use jobwright_core::hold::Hold;
use jobwright_core::plugin::NotFound;
use jobwright_core::store::StoreError;
use jobwright_core::tenant::TenantName;
use thiserror::Error;

use crate::events::TooManyWaiters;

/// One invalid field of a draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldFault {
    /// Its name; inner fields after a dot.
    pub field: String,
    /// The error.
    pub message: String,
}

impl FieldFault {
    pub(super) fn new(field: impl Into<String>, message: impl ToString) -> Self {
        Self { field: field.into(), message: message.to_string() }
    }
}

/// Why a submitter may not submit any more.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotAdmitted {
    /// Its key was revoked or has expired.
    #[error("the API key was revoked or has expired")]
    KeyInvalid,
    /// Its tenant is disabled.
    #[error("tenant `{0}` is disabled")]
    TenantDisabled(TenantName),
    /// Whether it may cannot be checked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a job is not accepted.
#[derive(Debug, Clone, Error)]
pub enum Refused {
    /// Its draft could not be read, and its key is new.
    #[error("the job could not be read")]
    Unread,
    /// The payload is longer than payloads may be.
    #[error("the payload is larger than the limit of {most_bytes} bytes (`payload_bytes`)")]
    PayloadTooLarge {
        /// The limit.
        most_bytes: u64,
    },
    /// These fields are invalid.
    #[error("{} fields of the job are invalid", .0.len())]
    Fields(Vec<FieldFault>),
    /// Its key was used for another request.
    #[error("this Idempotency-Key was used for another request in the last 24 hours")]
    KeyReused,
    /// Its plugin, or the version of it, is not installed.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// Something that it needs is disabled.
    #[error("{0} is disabled")]
    Disabled(Hold),
    /// See [`NotAdmitted`].
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// There is less free disk space than the floor; the text has the figures.
    #[error("{0}")]
    DiskLow(String),
    /// Its tenant submits more than its rate.
    #[error(
        "tenant {tenant} submits more than its {rate} jobs a second; an administrator raises the rate \
         with `jobwright tenant set {tenant} --jobs-per-second N`"
    )]
    TooFast {
        /// The tenant.
        tenant: TenantName,
        /// Its rate, in jobs a second.
        rate: NonZeroU32,
        /// When the same may be submitted.
        wait: Duration,
    },
    /// Its queue has no room.
    #[error(transparent)]
    QueueFull(#[from] QueueFull),
    /// Too many requests wait for room.
    #[error(transparent)]
    TooManyWaiters(#[from] TooManyWaiters),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The host failed.
    #[error("{0}")]
    Broken(String),
}
