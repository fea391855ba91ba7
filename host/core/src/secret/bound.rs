//! Secrets with the origins that they are bound to, how many there may be, and why one is not kept.

use thiserror::Error;

use super::value::SecretValue;
use crate::clock::Timestamp;
use crate::grant::origin::Origin;
use crate::store::StoreError;

/// The maximum number of origins of a secret: a service has a few names.
pub const MAX_ORIGINS: usize = 16;

/// The maximum number of secrets of a tenant: all are held in memory, and written together.
pub const MAX_SECRETS: usize = 100;

/// The maximum number of replaced or removed values of a tenant that stay masked.
///
/// One of an hour for as long as jobs are kept by default, which is 14 days, and some more. Beyond, the
/// oldest is forgotten.
pub const MAX_RETIRED: usize = 400;

/// A secret, and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its value.
    pub value: SecretValue,
    /// The origins to which it may be sent.
    pub origins: Vec<Origin>,
    /// When it was set.
    pub created_at: Timestamp,
}

/// Why a secret was not kept.
#[derive(Debug, Error)]
pub enum SecretError {
    /// No more are taken.
    #[error("the tenant has {MAX_SECRETS} secrets, the maximum; remove some first")]
    Full,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk did not take it.
    #[error("the secrets cannot be written: {0}")]
    Io(#[from] std::io::Error),
}
