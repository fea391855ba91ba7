//! Why there is no room.

use serde::Serialize;
use thiserror::Error;

use crate::job::QueueName;
use crate::limits::show_bytes;
use crate::tenant::TenantName;

/// Why there is no room, with how much there was.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize)]
#[serde(tag = "full", rename_all = "snake_case")]
pub enum QueueFull {
    /// The jobs of the queue that was named which are due or running.
    #[error(
        "queue `{queue}` is full: it holds {depth} jobs that are due or running, of at most {capacity}"
    )]
    Queue {
        /// Its name.
        queue: QueueName,
        /// Jobs in it that are due or running.
        depth: usize,
        /// At most so many.
        capacity: usize,
    },
    /// The jobs of the queue that was named which are neither due nor running.
    #[error(
        "queue `{queue}` holds {depth} jobs that are scheduled or wait for a retry, of at most \
         {capacity}"
    )]
    Parked {
        /// Its name.
        queue: QueueName,
        /// Jobs in it that are neither due nor running.
        depth: usize,
        /// At most so many.
        capacity: usize,
    },
    /// All queues together.
    #[error("the host is full: it holds {depth} unfinished jobs of at most {capacity}")]
    Host {
        /// Unfinished jobs.
        depth: usize,
        /// At most so many.
        capacity: usize,
    },
    /// The answers to idempotency keys.
    #[error(
        "the host is full: it holds {} of answers to idempotency keys of at most {}",
        show_bytes(*depth_bytes), show_bytes(*capacity_bytes)
    )]
    Keys {
        /// Bytes of answers.
        depth_bytes: u64,
        /// At most so many.
        capacity_bytes: u64,
    },
    /// The jobs of a tenant, by its own limit.
    #[error("tenant `{tenant}` holds {depth} unfinished jobs of at most {capacity}")]
    Tenant {
        /// Its name.
        tenant: TenantName,
        /// Its unfinished jobs.
        depth: usize,
        /// At most so many.
        capacity: usize,
    },
    /// What the jobs of a tenant carry, by its own limit.
    #[error(
        "tenant `{tenant}` holds {} of payloads and arguments of at most {}",
        show_bytes(*depth_bytes), show_bytes(*capacity_bytes)
    )]
    TenantBytes {
        /// Its name.
        tenant: TenantName,
        /// What its unfinished jobs carry.
        depth_bytes: u64,
        /// At most so many.
        capacity_bytes: u64,
    },
    /// The answers to idempotency keys of a tenant, by its own limit.
    #[error(
        "tenant `{tenant}` holds {} of answers to idempotency keys of at most {}",
        show_bytes(*depth_bytes), show_bytes(*capacity_bytes)
    )]
    TenantKeys {
        /// Its name.
        tenant: TenantName,
        /// Bytes of its answers.
        depth_bytes: u64,
        /// At most so many.
        capacity_bytes: u64,
    },
    /// What the jobs carry.
    #[error(
        "the host is full: it holds {} of payloads and arguments of at most {}",
        show_bytes(*depth_bytes), show_bytes(*capacity_bytes)
    )]
    Bytes {
        /// What unfinished jobs carry.
        depth_bytes: u64,
        /// At most so many.
        capacity_bytes: u64,
    },
}

impl QueueFull {
    /// Whether it is the tenant's own limit, and not the host's.
    #[must_use]
    pub fn is_of_tenant(&self) -> bool {
        matches!(self, Self::Tenant { .. } | Self::TenantBytes { .. } | Self::TenantKeys { .. })
    }
}
