//! How much a store holds.
//!
//! A permit for every unfinished job, held from acceptance to finalization, so that a retry never
//! needs one and a full queue is refused at once; and bounds on what jobs leave behind, of which the
//! oldest goes.

mod checkpoints;
mod full;
mod keys;
mod limits;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use checkpoints::Checkpoints;
pub use full::QueueFull;
pub use keys::HeldKeys;
pub use limits::{CapacityLimits, KeptLimits};

use crate::hold::Facts;
use crate::job::QueueName;
use crate::tenant::{TenantLimits, TenantName};

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

    /// Gives a tenant limits of its own, or none any more. What it holds already stays.
    pub fn bound(&self, tenant: &TenantName, limits: TenantLimits) {
        let tenants = &mut self.lock().tenants;
        match limits == TenantLimits::default() {
            true => drop(tenants.remove(tenant)),
            false => drop(tenants.insert(tenant.clone(), limits)),
        }
    }

    /// The limits of a tenant.
    #[must_use]
    pub fn tenant(&self, name: &TenantName) -> TenantLimits {
        self.lock().tenants.get(name).copied().unwrap_or_default()
    }

    /// The tenants that have limits of their own, by name.
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

#[cfg(test)]
mod tests {
    use super::*;

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
