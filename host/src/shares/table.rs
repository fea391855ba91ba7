//! The resources of a host that tenants share by permits, with their sizes and the share of a tenant.
//!
//! | resource | if the share of a tenant is used up |
//! |---|---|
//! | [`BODIES`], [`UPLOADS`] | its next request fails with 503 |
//! | [`ANSWERS`] | its responses wait 5 s for permits, then fail with 503 |
//! | [`REQUESTS`] | its next request fails with 503 |
//! | [`WAITERS`] | a request that waits for a job fails with 503; a submission returns 202 without waiting |
//! | [`LISTINGS`], [`READS`] | its requests wait for earlier ones |
//! | [`CHANGES`], [`INSPECTIONS`] | the same |
//! | [`COMPILATIONS`], [`SHORT_COMPILATIONS`], [`LONG_COMPILATIONS`], [`TRIALS`] | its plugins wait for earlier ones |
//! | [`CODE_WAITERS`] | its attempts release their jobs, to try again later |
//! | [`GUEST_BODIES`] | HTTP requests of its guests fail with a typed error |
//! | [`GUEST_REQUESTS`], [`NAME_LOOKUPS`] | HTTP requests of its guests wait for earlier ones |
//!
//! Connections without a request in flight belong to no tenant: if all are used, the oldest connection of
//! the address with the most is closed (`api::http::server`).
//!
//! Stored data is shared by the stores themselves. Capacity for unfinished jobs, payloads, idempotency keys,
//! plugins and stored values follow the same rule with [`Budget::KEPT`]. History, logs and checkpoints are
//! trimmed first from the tenant that has the most.

#[cfg(doc)]
use jobwright_core::tenant::Budget;

/// A resource of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resource {
    /// The number of permits, unless it depends on the configuration or the machine.
    pub(crate) all: u64,
    /// How many times the number of free permits a tenant can hold: with 1, a tenant that is alone can hold
    /// half of all permits, with 3 three quarters.
    pub(crate) weight: u64,
}

const fn half(all: u64) -> Resource {
    Resource { all, weight: 1 }
}

/// The bytes per permit of [`BODIES`], [`UPLOADS`] and [`ANSWERS`].
pub(crate) const UNIT_BYTES: u64 = 64 << 10;

/// The bytes per permit of [`GUEST_BODIES`]. A body takes at least one permit.
pub(crate) const GUEST_UNIT_BYTES: u64 = 4 << 10;

/// Request bodies that are being read: 256 MiB of memory.
pub(crate) const BODIES: Resource = half((256 << 20) / UNIT_BYTES);

/// Uploaded plugins that are being read. Separate from [`BODIES`], so that long uploads do not block jobs.
pub(crate) const UPLOADS: Resource = half((256 << 20) / UNIT_BYTES);

/// Responses that are being created and sent: as much memory as for bodies.
pub(crate) const ANSWERS: Resource = half((256 << 20) / UNIT_BYTES);

/// Requests in flight, until their responses are written. Each uses a connection, and there are as many
/// connections.
pub(crate) const REQUESTS: Resource = Resource { all: 1024, weight: 3 };

/// Requests that wait for a job or for room: three of four connections, so that the fourth is left to
/// requests that do not wait.
pub(crate) const WAITERS: Resource = Resource { all: 768, weight: 3 };

/// Concurrent listings. Each reads many rows; on two cores, one is left to other work.
pub(crate) const LISTINGS: Resource = half(2);

/// Concurrent queries by id: more would only wait for the same disk.
pub(crate) const READS: Resource = half(4);

/// Concurrent administrative writes. Each syncs files, and some make the store's writer scan all
/// unfinished jobs.
pub(crate) const CHANGES: Resource = half(4);

/// Concurrent inspections of uploads: each can use many times the length of the plugin in memory.
pub(crate) const INSPECTIONS: Resource = half(2);

/// Concurrent compilations for attempts: half of the guest threads, and at least two, so that one is left
/// to another tenant.
pub(crate) const COMPILATIONS: Resource = half(2);

/// Concurrent compilations of uploads, for at most 5 s each.
pub(crate) const SHORT_COMPILATIONS: Resource = half(2);

/// Concurrent compilations of uploads that need more than 5 s.
pub(crate) const LONG_COMPILATIONS: Resource = half(2);

/// Concurrent test loads of the code of uploads, each in a process of its own, for some milliseconds.
pub(crate) const TRIALS: Resource = half(2);

/// Attempts that wait long for their compiled code: an eighth of the workers, and at least two.
pub(crate) const CODE_WAITERS: Resource = half(8);

/// Bodies of the HTTP requests of guests, and of the responses: as much memory as for [`BODIES`].
pub(crate) const GUEST_BODIES: Resource = half((256 << 20) / GUEST_UNIT_BYTES);

/// HTTP requests of guests in flight. Each has a socket, and processes can commonly open 1,024 files.
pub(crate) const GUEST_REQUESTS: Resource = half(256);

/// Concurrent name lookups. Each blocks a thread.
pub(crate) const NAME_LOOKUPS: Resource = half(16);

/// All resources, by name.
#[cfg(test)]
pub(crate) const ALL: [(&str, Resource); 17] = [
    ("BODIES", BODIES),
    ("UPLOADS", UPLOADS),
    ("ANSWERS", ANSWERS),
    ("REQUESTS", REQUESTS),
    ("WAITERS", WAITERS),
    ("LISTINGS", LISTINGS),
    ("READS", READS),
    ("CHANGES", CHANGES),
    ("INSPECTIONS", INSPECTIONS),
    ("COMPILATIONS", COMPILATIONS),
    ("SHORT_COMPILATIONS", SHORT_COMPILATIONS),
    ("LONG_COMPILATIONS", LONG_COMPILATIONS),
    ("TRIALS", TRIALS),
    ("CODE_WAITERS", CODE_WAITERS),
    ("GUEST_BODIES", GUEST_BODIES),
    ("GUEST_REQUESTS", GUEST_REQUESTS),
    ("NAME_LOOKUPS", NAME_LOOKUPS),
];
