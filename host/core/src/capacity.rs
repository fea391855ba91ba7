//! How much a store holds.
//!
//! A permit for every unfinished job, held from acceptance to finalization, so that a retry never
//! needs one and a full queue is refused at once; and bounds on what jobs leave behind, of which the
//! oldest goes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use thiserror::Error;

use crate::hold::Facts;
use crate::job::{JobId, QueueName};
use crate::limits::show_bytes;
use crate::tenant::{TenantLimits, TenantName};

/// The bounds on what a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapacityLimits {
    /// Jobs in one queue.
    pub per_queue: usize,
    /// Jobs in all queues.
    pub total: usize,
    /// What all jobs carry, as [`JobSpec::held_bytes`](crate::JobSpec::held_bytes) counts it.
    pub payload_bytes: u64,
    /// What they and those before them leave behind.
    pub kept: KeptLimits,
}

/// The bounds on what jobs leave behind, in bytes as a driver counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptLimits {
    /// Finalized jobs with their outputs. Beyond it, those that ended first go, whatever their
    /// retention.
    pub history_bytes: u64,
    /// Logs. Beyond it, the oldest go.
    pub log_bytes: u64,
    /// Checkpoints of unfinished jobs. Beyond it, none is kept any more: the next attempt then goes
    /// on from an earlier one, or starts over.
    pub checkpoint_bytes: u64,
    /// Answers to idempotency keys, which are promised to be kept for a day. Beyond it, no request
    /// with a new key is taken.
    pub key_bytes: u64,
    /// Free space of the disk, below which the oldest logs go for each that comes; below half of it
    /// so does history, and no checkpoint is kept. None for 0.
    pub free_bytes: u64,
}

impl KeptLimits {
    /// 4 GiB of history, 1 GiB of logs, 1 GiB of checkpoints: what a small disk has room for. And
    /// 1 GiB of answers, some hundred thousand jobs a day.
    pub const DEFAULT: Self = Self {
        history_bytes: 4 << 30,
        log_bytes: 1 << 30,
        checkpoint_bytes: 1 << 30,
        key_bytes: 1 << 30,
        free_bytes: 0,
    };
}

impl Default for KeptLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Default for CapacityLimits {
    /// 10,000 jobs a queue (what others found to be a backlog that helps nobody), 100,000 a host
    /// (their scheduling facts take some 40 MiB of memory), 512 MiB of payloads.
    fn default() -> Self {
        let kept = KeptLimits::default();
        Self { per_queue: 10_000, total: 100_000, payload_bytes: 512 << 20, kept }
    }
}

/// Why there is no room, with how much there was.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize)]
#[serde(tag = "full", rename_all = "snake_case")]
pub enum QueueFull {
    /// The queue that was named.
    #[error("queue `{queue}` is full: it holds {depth} unfinished jobs of at most {capacity}")]
    Queue {
        /// Its name.
        queue: QueueName,
        /// Unfinished jobs in it.
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
        matches!(self, Self::Tenant { .. } | Self::TenantBytes { .. })
    }

    /// Refuses a request with a new key if `held` bytes of answers are all that may be.
    ///
    /// # Errors
    /// If there is no room for `length` bytes more.
    pub fn check_keys(held: u64, length: u64, limits: KeptLimits) -> Result<(), Self> {
        if held.saturating_add(length) <= limits.key_bytes {
            return Ok(());
        }
        Err(Self::Keys { depth_bytes: held, capacity_bytes: limits.key_bytes })
    }
}

/// Counts unfinished jobs and what they carry.
#[derive(Debug)]
pub struct Capacity {
    limits: CapacityLimits,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    all: Amount,
    by_queue: HashMap<(TenantName, QueueName), usize>,
    by_tenant: HashMap<TenantName, Amount>,
    /// The tenants that have limits of their own.
    tenants: HashMap<TenantName, TenantLimits>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Amount {
    jobs: usize,
    bytes: u64,
}

/// The place of one unfinished job; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    capacity: Arc<Capacity>,
    tenant: TenantName,
    queue: QueueName,
    held_bytes: u64,
}

impl Capacity {
    /// Nothing waits yet.
    #[must_use]
    pub fn new(limits: CapacityLimits) -> Arc<Self> {
        Arc::new(Self { limits, used: Mutex::default() })
    }

    /// What all unfinished jobs carry, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.lock().all.bytes
    }

    /// The bounds.
    #[must_use]
    pub fn limits(&self) -> CapacityLimits {
        self.limits
    }

    /// Gives a tenant limits of its own. What it holds already stays.
    pub fn bound(&self, tenant: &TenantName, limits: TenantLimits) {
        self.lock().tenants.insert(tenant.clone(), limits);
    }

    /// The limits of a tenant.
    #[must_use]
    pub fn tenant(&self, name: &TenantName) -> TenantLimits {
        self.lock().tenants.get(name).copied().unwrap_or_default()
    }

    /// The tenants that were given limits, by name.
    #[must_use]
    pub fn tenants(&self) -> Vec<(TenantName, TenantLimits)> {
        let mut tenants: Vec<_> =
            self.lock().tenants.iter().map(|(name, limits)| (name.clone(), *limits)).collect();
        tenants.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        tenants
    }

    /// Takes a place for a job that carries `held_bytes`.
    ///
    /// # Errors
    /// [`QueueFull`] if there is none.
    pub fn reserve(self: &Arc<Self>, facts: &Facts, held_bytes: u64) -> Result<Permit, QueueFull> {
        let mut used = self.lock();
        used.check_tenant(&facts.tenant, held_bytes)?;
        used.check(&self.limits, facts, held_bytes)?;
        Ok(self.take(&mut used, facts, held_bytes))
    }

    /// Takes a place for a job that was accepted before, even if the bounds are lower by now.
    #[must_use]
    pub fn readmit(self: &Arc<Self>, facts: &Facts, held_bytes: u64) -> Permit {
        self.take(&mut self.lock(), facts, held_bytes)
    }

    fn take(self: &Arc<Self>, used: &mut Used, facts: &Facts, held_bytes: u64) -> Permit {
        let (tenant, queue) = (facts.tenant.clone(), facts.queue.clone());
        used.all.add(held_bytes);
        used.by_tenant.entry(tenant.clone()).or_default().add(held_bytes);
        *used.by_queue.entry((tenant.clone(), queue.clone())).or_default() += 1;
        Permit { capacity: self.clone(), tenant, queue, held_bytes }
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        // Nothing panics between the changes of one call.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.jobs += 1;
        self.bytes += bytes;
    }

    fn remove(&mut self, bytes: u64) {
        self.jobs -= 1;
        self.bytes -= bytes;
    }
}

impl Used {
    fn check_tenant(&self, tenant: &TenantName, more_bytes: u64) -> Result<(), QueueFull> {
        let Some(limits) = self.tenants.get(tenant) else { return Ok(()) };
        let Amount { jobs, bytes } = self.by_tenant.get(tenant).copied().unwrap_or_default();
        let tenant = || tenant.clone();
        if let Some(capacity) = limits.jobs.filter(|most| jobs >= *most) {
            return Err(QueueFull::Tenant { tenant: tenant(), depth: jobs, capacity });
        }
        match limits.payload_bytes.filter(|most| bytes.saturating_add(more_bytes) > *most) {
            None => Ok(()),
            Some(capacity_bytes) => {
                let depth_bytes = bytes;
                Err(QueueFull::TenantBytes { tenant: tenant(), depth_bytes, capacity_bytes })
            }
        }
    }

    fn check(
        &self,
        limits: &CapacityLimits,
        facts: &Facts,
        more_bytes: u64,
    ) -> Result<(), QueueFull> {
        let Amount { jobs, bytes } = self.all;
        if jobs >= limits.total {
            return Err(QueueFull::Host { depth: jobs, capacity: limits.total });
        }
        let lane = (facts.tenant.clone(), facts.queue.clone());
        let in_queue = self.by_queue.get(&lane).copied().unwrap_or(0);
        if in_queue >= limits.per_queue {
            let (queue, capacity) = (lane.1, limits.per_queue);
            return Err(QueueFull::Queue { queue, depth: in_queue, capacity });
        }
        if bytes.saturating_add(more_bytes) > limits.payload_bytes {
            let capacity_bytes = limits.payload_bytes;
            return Err(QueueFull::Bytes { depth_bytes: bytes, capacity_bytes });
        }
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut used = self.capacity.lock();
        used.all.remove(self.held_bytes);
        if let Some(amount) = used.by_tenant.get_mut(&self.tenant) {
            amount.remove(self.held_bytes);
            if amount.jobs == 0 {
                used.by_tenant.remove(&self.tenant);
            }
        }
        let lane = (self.tenant.clone(), self.queue.clone());
        if let Some(count) = used.by_queue.get_mut(&lane) {
            *count -= 1;
            if *count == 0 {
                used.by_queue.remove(&lane);
            }
        }
    }
}

/// The checkpoints of unfinished jobs, by length.
#[derive(Debug, Default)]
pub struct Checkpoints {
    lengths: HashMap<JobId, u64>,
    bytes: u64,
}

impl Checkpoints {
    /// What all of them take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a checkpoint of `length` bytes may take the place of the job's earlier one, if all
    /// together may take `most`. If so, it is counted.
    pub fn admit(&mut self, job: JobId, length: u64, most: u64) -> bool {
        let others = self.bytes - self.lengths.get(&job).copied().unwrap_or(0);
        let fits = others.saturating_add(length) <= most;
        if fits {
            self.lengths.insert(job, length);
            self.bytes = others + length;
        }
        fits
    }

    /// The job's checkpoint is gone.
    pub fn forget(&mut self, job: JobId) {
        self.bytes -= self.lengths.remove(&job).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn checkpoints_are_counted_once_for_each_job() {
        let mut held = Checkpoints::default();
        let [a, b] = [JobId::new(Timestamp::UNIX_EPOCH), JobId::new(Timestamp::UNIX_EPOCH)];
        assert!(held.admit(a, 6, 10) && !held.admit(b, 5, 10) && held.admit(b, 4, 10));
        assert!(held.admit(a, 5, 10), "in place of the earlier one");
        assert!(!held.admit(b, 6, 10), "the earlier one stays");
        held.forget(a);
        held.forget(a);
        assert!(held.admit(b, 10, 10));
    }

    fn facts(tenant: &str, queue: &str) -> Facts {
        Facts {
            tenant: tenant.parse().expect("a name"),
            queue: queue.parse().expect("a name"),
            plugin: "p".parse().expect("a name"),
            version: "1.0.0".parse().expect("a version"),
            digest: crate::plugin::Digest::of(b""),
        }
    }

    #[test]
    fn a_dropped_permit_makes_room_and_every_bound_is_its_own() {
        let limits =
            CapacityLimits { per_queue: 1, total: 2, payload_bytes: 10, ..Default::default() };
        let capacity = Capacity::new(limits);
        let [a, b, c] = ["a", "b", "c"].map(|queue| facts("default", queue));

        let first = capacity.reserve(&a, 4).expect("room");
        assert!(matches!(capacity.reserve(&a, 0), Err(QueueFull::Queue { depth: 1, .. })));
        assert!(matches!(capacity.reserve(&b, 7), Err(QueueFull::Bytes { depth_bytes: 4, .. })));
        let second = capacity.reserve(&b, 6).expect("room");
        assert!(matches!(capacity.reserve(&c, 0), Err(QueueFull::Host { depth: 2, .. })));
        let third = capacity.readmit(&c, 100);
        drop((first, second, third));
        assert!(capacity.reserve(&a, 10).is_ok());
    }

    #[test]
    fn a_tenants_own_limits_bound_it_and_nobody_else() {
        let capacity = Capacity::new(CapacityLimits { per_queue: 1, ..Default::default() });
        let limits = TenantLimits { jobs: Some(2), payload_bytes: Some(10), ..Default::default() };
        let [a, b, c] = ["a", "b", "c"].map(|queue| facts("acme", queue));
        capacity.bound(&a.tenant, limits);

        let first = capacity.reserve(&a, 4).expect("room");
        let full = capacity.reserve(&b, 7).expect_err("no room");
        assert!(full.is_of_tenant());
        assert!(matches!(full, QueueFull::TenantBytes { depth_bytes: 4, .. }));
        let _second = capacity.reserve(&b, 6).expect("room");
        assert!(matches!(capacity.reserve(&c, 0), Err(QueueFull::Tenant { depth: 2, .. })));
        assert!(capacity.reserve(&facts("other", "a"), 100).is_ok(), "a queue of its own");
        drop(first);
        assert!(capacity.reserve(&c, 4).is_ok());
    }
}
