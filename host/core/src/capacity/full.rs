//! Why a job is refused.

use serde::Serialize;
use thiserror::Error;

use crate::limits::bytes::show_bytes;
use crate::queue::name::QueueName;
use crate::tenant::TenantName;

/// The bound that refused a job, with both values.
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
        /// The bound.
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
        /// The bound.
        capacity: usize,
    },
    /// All queues together.
    #[error("the host is full: it holds {depth} unfinished jobs of at most {capacity}")]
    Host {
        /// Unfinished jobs.
        depth: usize,
        /// The bound.
        capacity: usize,
    },
    /// The idempotency keys.
    #[error(
        "the host is full: it holds {} of idempotency keys of at most {}",
        show_bytes(*depth_bytes), show_bytes(*capacity_bytes)
    )]
    Keys {
        /// Bytes of keys.
        depth_bytes: u64,
        /// The bound.
        capacity_bytes: u64,
    },
    /// The jobs of a tenant, by its own limit.
    #[error("tenant `{tenant}` holds {depth} unfinished jobs of at most {capacity}")]
    Tenant {
        /// Its name.
        tenant: TenantName,
        /// Its unfinished jobs.
        depth: usize,
        /// The bound.
        capacity: usize,
    },
    /// The payloads and arguments of a tenant, by its own limit.
    #[error(
        "tenant `{tenant}` holds {} of payloads and arguments of at most {}",
        show_bytes(*depth_bytes), show_bytes(*capacity_bytes)
    )]
    TenantBytes {
        /// Its name.
        tenant: TenantName,
        /// The payloads and arguments of its unfinished jobs.
        depth_bytes: u64,
        /// The bound.
        capacity_bytes: u64,
    },
    /// The idempotency keys of a tenant, by its own limit.
    #[error(
        "tenant `{tenant}` holds {} of idempotency keys of at most {}",
        show_bytes(*depth_bytes), show_bytes(*capacity_bytes)
    )]
    TenantKeys {
        /// Its name.
        tenant: TenantName,
        /// Bytes of its keys.
        depth_bytes: u64,
        /// The bound.
        capacity_bytes: u64,
    },
    /// The jobs of a tenant, by its share of all places.
    #[error(
        "tenant `{tenant}` holds its share of the host's capacity: {depth} unfinished jobs of at \
         most {capacity}"
    )]
    Share {
        /// Its name.
        tenant: TenantName,
        /// Its unfinished jobs.
        depth: usize,
        /// Its share, given what other tenants hold.
        capacity: usize,
    },
    /// The payloads and arguments of a tenant, by its share of the host.
    #[error(
        "tenant `{tenant}` holds its share of the host's room for payloads and arguments: {} of at most {}",
        show_bytes(*depth_bytes), show_bytes(*capacity_bytes)
    )]
    ShareBytes {
        /// Its name.
        tenant: TenantName,
        /// The payloads and arguments of its unfinished jobs.
        depth_bytes: u64,
        /// Its share, given what other tenants hold.
        capacity_bytes: u64,
    },
    /// The idempotency keys of a tenant, by its share of the room.
    #[error(
        "tenant `{tenant}` holds its share of the host's room for idempotency keys: {} of at \
         most {}",
        show_bytes(*depth_bytes), show_bytes(*capacity_bytes)
    )]
    ShareKeys {
        /// Its name.
        tenant: TenantName,
        /// Bytes of its keys.
        depth_bytes: u64,
        /// Its share, given what other tenants hold.
        capacity_bytes: u64,
    },
    /// The payloads and arguments of all jobs.
    #[error(
        "the host is full: it holds {} of payloads and arguments of at most {}",
        show_bytes(*depth_bytes), show_bytes(*capacity_bytes)
    )]
    Bytes {
        /// The payloads and arguments of unfinished jobs.
        depth_bytes: u64,
        /// The bound.
        capacity_bytes: u64,
    },
}

impl QueueFull {
    /// Whether it is the tenant's own limit, and not the host's, nor the tenant's share of that.
    #[must_use]
    pub fn is_of_tenant(&self) -> bool {
        matches!(self, Self::Tenant { .. } | Self::TenantBytes { .. } | Self::TenantKeys { .. })
    }

    /// How the bound is raised.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Queue { .. } => of_host("--queue-capacity or `queue.capacity`"),
            Self::Parked { .. } => of_host("--queue-parked-capacity or `queue.parked_capacity`"),
            Self::Host { .. } | Self::Share { .. } => of_host("`queue.total`"),
            Self::Bytes { .. } | Self::ShareBytes { .. } => of_host("`queue.payload_bytes`"),
            Self::Keys { .. } | Self::ShareKeys { .. } => of_host("`disk.key_bytes`"),
            Self::Tenant { tenant, .. } => Self::remedy_of_tenant(tenant, "jobs"),
            Self::TenantBytes { tenant, .. } | Self::TenantKeys { tenant, .. } => {
                Self::remedy_of_tenant(tenant, "payload-bytes")
            }
        }
    }

    /// How a tenant's own limit is raised, which `flag` sets.
    pub(crate) fn remedy_of_tenant(tenant: &TenantName, flag: &str) -> String {
        format!("an administrator raises it with `jobwright tenant set {tenant} --{flag} N`")
    }
}

/// How a bound of the host is raised by `setting`.
fn of_host(setting: &str) -> String {
    format!("the operator raises it with {setting}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_states_how_it_is_raised() {
        let (queue, tenant) = (QueueName::default(), TenantName::default());
        let (depth, capacity, depth_bytes, capacity_bytes) = (1, 1, 1, 1);
        let of_tenant = |flag| vec![flag, "tenant set default"];
        let share = || tenant.clone();
        for (full, parts) in [
            (
                QueueFull::Queue { queue: queue.clone(), depth, capacity },
                vec!["--queue-capacity", "`queue.capacity`"],
            ),
            (
                QueueFull::Parked { queue, depth, capacity },
                vec!["--queue-parked-capacity", "`queue.parked_capacity`"],
            ),
            (QueueFull::Host { depth, capacity }, vec!["`queue.total`"]),
            (QueueFull::Bytes { depth_bytes, capacity_bytes }, vec!["`queue.payload_bytes`"]),
            (QueueFull::Keys { depth_bytes, capacity_bytes }, vec!["`disk.key_bytes`"]),
            (QueueFull::Tenant { tenant: tenant.clone(), depth, capacity }, of_tenant("--jobs")),
            (
                QueueFull::TenantBytes { tenant: tenant.clone(), depth_bytes, capacity_bytes },
                of_tenant("--payload-bytes"),
            ),
            (
                QueueFull::TenantKeys { tenant: tenant.clone(), depth_bytes, capacity_bytes },
                of_tenant("--payload-bytes"),
            ),
            (QueueFull::Share { tenant: share(), depth, capacity }, vec!["`queue.total`"]),
            (
                QueueFull::ShareBytes { tenant: share(), depth_bytes, capacity_bytes },
                vec!["`queue.payload_bytes`"],
            ),
            (
                QueueFull::ShareKeys { tenant: share(), depth_bytes, capacity_bytes },
                vec!["`disk.key_bytes`"],
            ),
        ] {
            let remedy = full.remedy();
            assert!(parts.iter().all(|part| remedy.contains(part)), "{full}: {remedy}");
        }
    }
}
