//! Every resource of a host that tenants share and that is handed out in pieces, with its size and the
//! part of it that one tenant may have.
//!
//! | resource | when a tenant has its share |
//! |---|---|
//! | [`BODIES`], [`UPLOADS`] | its next request is answered 503 |
//! | [`ANSWERS`] | its answers wait 5 s for room, then are 503 |
//! | [`REQUESTS`] | its next request is answered 503 |
//! | [`WAITERS`] | a request that wants to wait is answered 503, or 202 at once after a submission |
//! | [`LISTINGS`], [`READS`] | its requests wait for those before them |
//! | [`CHANGES`], [`INSPECTIONS`] | the same |
//! | [`COMPILATIONS`], [`SHORT_COMPILATIONS`], [`LONG_COMPILATIONS`], [`TRIALS`] | its plugins wait for those before them |
//! | [`CODE_WAITERS`] | its attempts give their jobs back and try again later |
//! | [`GUEST_BODIES`] | its guests' requests fail with a typed error |
//! | [`GUEST_REQUESTS`], [`NAME_LOOKUPS`] | its guests' requests wait for those before them |
//!
//! Connections without a request under way are nobody's yet: when all are taken, the oldest of the
//! address that has most of them gives way (`api::server`).
//!
//! What is kept is shared where it is kept. Places of unfinished jobs, their payloads, answers to
//! idempotency keys, plugins and their values follow the same rule with [`Budget::KEPT`]; the history, logs and
//! checkpoints are trimmed from the tenant that holds most of them.

#[cfg(doc)]
use jobwright_core::tenant::Budget;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resource {
    /// How many pieces there are, unless the configuration or the machine says otherwise.
    pub(crate) all: u64,
    /// How many times the free pieces a tenant may hold: with 1 a tenant that is alone has half of
    /// all, with 3 three quarters.
    pub(crate) weight: u64,
}

const fn half(all: u64) -> Resource {
    Resource { all, weight: 1 }
}

/// The unit of [`BODIES`], [`UPLOADS`] and [`ANSWERS`], in bytes.
pub(crate) const UNIT_BYTES: u64 = 64 << 10;

/// The unit of [`GUEST_BODIES`], in bytes: a body takes one at least.
pub(crate) const GUEST_UNIT_BYTES: u64 = 4 << 10;

/// Bodies of requests that are being read: 256 MiB of the host's memory.
pub(crate) const BODIES: Resource = half((256 << 20) / UNIT_BYTES);

/// Plugins that are being read. Apart, so that uploads, which are long, never keep jobs out.
pub(crate) const UPLOADS: Resource = half((256 << 20) / UNIT_BYTES);

/// Answers that are being made and sent: as much as bodies.
pub(crate) const ANSWERS: Resource = half((256 << 20) / UNIT_BYTES);

/// Requests under way, until their answers are written. Each holds a connection, of which there are as
/// many.
pub(crate) const REQUESTS: Resource = Resource { all: 1024, weight: 3 };

/// Requests that wait for a job or for room: of each four connections, one is left to those that do
/// not wait.
pub(crate) const WAITERS: Resource = Resource { all: 768, weight: 3 };

/// Listings at one time. Each looks at many rows, and leaves a processor to others.
pub(crate) const LISTINGS: Resource = half(2);

/// Queries by id at one time: more only wait for the same disk.
pub(crate) const READS: Resource = half(4);

/// Administrative writes at one time. Each syncs disks, and some have the store's writer look at all
/// unfinished jobs.
pub(crate) const CHANGES: Resource = half(4);

/// Uploads that are inspected at one time: each may take the length of the plugin many times over.
pub(crate) const INSPECTIONS: Resource = half(2);

/// Plugins that are compiled at one time for attempts: half of the guests' threads, and two at least,
/// one of which any other tenant gets.
pub(crate) const COMPILATIONS: Resource = half(2);

/// The same of uploads, for at most 5 s each.
pub(crate) const SHORT_COMPILATIONS: Resource = half(2);

/// The same of uploads that 5 s were not enough for.
pub(crate) const LONG_COMPILATIONS: Resource = half(2);

/// Uploads whose code is tried at one time, each in a process of its own, for some milliseconds.
pub(crate) const TRIALS: Resource = half(2);

/// Attempts that wait long for their code: an eighth of the slots, and two at least.
pub(crate) const CODE_WAITERS: Resource = half(8);

/// Bodies of guests' requests and of the responses: as much as the interface takes for its own.
pub(crate) const GUEST_BODIES: Resource = half((256 << 20) / GUEST_UNIT_BYTES);

/// Requests of guests that are under way. Each has a socket, and processes commonly have 1,024 files.
pub(crate) const GUEST_REQUESTS: Resource = half(256);

/// Look-ups of names at one time. Each takes a thread for as long as the system takes.
pub(crate) const NAME_LOOKUPS: Resource = half(16);

/// All of them, by name.
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
