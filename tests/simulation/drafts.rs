//! Jobs as the seed makes them.

use std::time::Duration;

use jobwright_core::Limits;
use jobwright_core::clock::{Timestamp, after};
use jobwright_core::hold::JobLabels;
use jobwright_core::job::{JobId, JobSpec, NewJob, Payload, Priority};
use jobwright_core::plugin::Digest;
use jobwright_core::retry::RetryPolicy;
use jobwright_core::tenant::TenantLimits;

use super::dice::Dice;
use super::hosts::SHARE;

/// Where jobs wait: more than one of them fits into the bounds on all.
pub(super) const QUEUES: &[&str] = &["a", "b", "c"];

/// Whose jobs are.
pub(super) const TENANTS: &[&str] = &["default", "other"];

/// What they run.
const PLUGINS: &[&str] = &["p", "q"];

/// What a job is and where it waits, of which holds cover some.
pub(super) fn labels(dice: &Dice) -> JobLabels {
    let plugin = dice.one_of(PLUGINS);
    JobLabels {
        tenant: named(dice.one_of(TENANTS)),
        queue: named(dice.one_of(QUEUES)),
        plugin: named(plugin),
        version: named("1.0.0"),
        digest: Digest::of(plugin.as_bytes()),
    }
}

/// What a tenant may take from now on: less than all, or as much as there is.
pub(super) fn limits(dice: &Dice) -> TenantLimits {
    let sometimes = |most: u64| dice.percent(60).then(|| dice.below(most));
    TenantLimits {
        jobs: sometimes(6).map(|jobs| jobs as usize),
        payload_bytes: sometimes(30),
        running: sometimes(3).map(|running| running as usize),
        ..TenantLimits::default()
    }
}

/// A job that is due at `now` or some time after.
pub(super) fn draft(dice: &Dice, id: JobId, now: Timestamp) -> NewJob {
    // Few jobs need more memory than all may use together: they run alone.
    let shares = dice.weighted(&[(40, 1), (25, 2), (20, 3), (10, 4), (5, 6)]);
    let timeout_ms = dice.one_of(&[50, 5_000, 60_000]);
    let JobLabels { tenant, queue, plugin, version, digest } = labels(dice);
    let spec = JobSpec {
        tenant,
        plugin,
        version,
        digest,
        queue,
        priority: Priority::try_from(dice.between(1, 4) as u8).unwrap_or_default(),
        max_attempts: dice.between(1, 4) as u16,
        limits: Limits { memory_bytes: shares * SHARE, timeout_ms, ..Limits::DEFAULT },
        retry: RetryPolicy::default(),
        entrypoint: None,
        args: vec![],
        env: Default::default(),
        tags: vec![],
        deterministic: false,
        deterministic_by_grant: false,
        output_type: None,
        inject_env: true,
        exit_codes: Default::default(),
    };
    let delay = dice.weighted(&[(70, 0), (20, 5_000), (10, 4_000_000)]);
    let scheduled_at = after(now, Duration::from_millis(dice.below(delay)));
    let payload = Payload { content_type: None, bytes: vec![b'x'; dice.below(9) as usize].into() };
    NewJob { id, spec, payload, scheduled_at, on_wall: false, idempotency: None }
}

fn named<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str) -> T {
    name.parse().expect("a valid name")
}
