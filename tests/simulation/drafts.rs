//! Random jobs.

use std::sync::Arc;
use std::time::Duration;

use jobwright_core::Limits;
use jobwright_core::clock::{Timestamp, after};
use jobwright_core::hold::JobLabels;
use jobwright_core::job::{JobId, JobSpec, NewJob, Payload, Priority};
use jobwright_core::plugin::Digest;
use jobwright_core::tenant::TenantLimits;

use super::hosts::SHARE;
use super::rng::Rng;

/// The queues of jobs: the bound of the host allows more than one full queue.
pub(super) const QUEUES: &[&str] = &["a", "b", "c"];

/// The tenants of jobs.
pub(super) const TENANTS: &[&str] = &["default", "other"];

/// The plugins of jobs.
const PLUGINS: &[&str] = &["p", "q"];

/// Tenant, queue and plugin of a job, which holds may cover.
pub(super) fn labels(rng: &Rng) -> JobLabels {
    let plugin = rng.one_of(PLUGINS);
    JobLabels {
        tenant: named(rng.one_of(TENANTS)),
        queue: named(rng.one_of(QUEUES)),
        plugin: named(plugin),
        version: named("1.0.0"),
        digest: Digest::of(plugin.as_bytes()),
    }
}

/// Limits of a tenant: smaller than the bounds of the host, or none.
pub(super) fn limits(rng: &Rng) -> TenantLimits {
    let sometimes = |most: u64| rng.percent(60).then(|| rng.below(most));
    TenantLimits {
        jobs: sometimes(6).map(|jobs| jobs as usize),
        payload_bytes: sometimes(30),
        running: sometimes(3).map(|running| running as usize),
        ..TenantLimits::default()
    }
}

/// A job that is due at `now` or later.
pub(super) fn draft(rng: &Rng, id: JobId, now: Timestamp) -> NewJob {
    // Few jobs need more memory than the whole budget: they run alone.
    let shares = rng.weighted(&[(40, 1), (25, 2), (20, 3), (10, 4), (5, 6)]);
    let timeout_ms = rng.one_of(&[50, 5_000, 60_000]);
    let JobLabels { tenant, queue, plugin, version, digest } = labels(rng);
    let spec = JobSpec {
        tenant,
        queue,
        priority: Priority::try_from(rng.between(1, 4) as u8).unwrap_or_default(),
        max_attempts: rng.between(1, 4) as u16,
        limits: Limits { memory_bytes: shares * SHARE, timeout_ms, ..Limits::DEFAULT },
        ttl_ms: rng.percent(15).then(|| rng.between(1, 30_000)),
        deadline_ms: rng.percent(15).then(|| rng.between(1_000, 300_000)),
        ..JobSpec::new(plugin, version, digest)
    };
    let delay = rng.weighted(&[(70, 0), (20, 5_000), (10, 4_000_000)]);
    let scheduled_at = after(now, Duration::from_millis(rng.below(delay)));
    let payload = Payload { content_type: None, bytes: vec![b'x'; rng.below(9) as usize].into() };
    NewJob { id, spec: Arc::new(spec), payload, scheduled_at, on_wall: false, dedup: None }
}

fn named<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str) -> T {
    name.parse().expect("a valid name")
}
