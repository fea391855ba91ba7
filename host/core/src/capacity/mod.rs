//! How much a store holds.
//!
//! A permit for every unfinished job, held from acceptance to finalization, so that a full queue is
//! refused at once. A queue has two bounds: one on the jobs that are due or running, one on those that
//! are parked (scheduled, or waiting for a retry), so that the retries of an outage elsewhere do not
//! close the intake. A new job needs a place on the side where it starts. An accepted job changes sides
//! without being refused; new jobs are refused until the side is below its bound again.
//!
//! Beside them, bounds on what jobs leave behind, of which the oldest goes.

mod checkpoints;
mod full;
mod held;
mod keys;
mod limits;
mod uses;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use checkpoints::Checkpoints;
pub use full::QueueFull;
pub use held::HeldBytes;
pub use keys::HeldKeys;
pub use limits::{CapacityLimits, HEAD_START, KeptLimits};

use crate::clock::Timestamp;
use crate::hold::Facts;
use crate::job::QueueName;
use crate::plugin::{PluginName, Version};
use crate::tenant::{Budget, Full, TenantLimits, TenantName};

use self::uses::{Use, Uses};

/// Counts unfinished jobs and what they carry.
#[derive(Debug)]
pub struct Capacity {
    limits: CapacityLimits,
    used: Mutex<Used>,
    uses: Uses,
}

#[derive(Debug, Default)]
struct Used {
    all: Amount,
    by_queue: HashMap<(TenantName, QueueName), Depth>,
    by_tenant: HashMap<TenantName, Amount>,
    /// The tenants that have limits of their own.
    tenants: HashMap<TenantName, TenantLimits>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Amount {
    jobs: usize,
    bytes: u64,
}

/// The jobs of a queue on each side.
#[derive(Debug, Clone, Copy, Default)]
struct Depth {
    due: usize,
    parked: usize,
}

/// Which bound of its queue a job counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one on jobs that are due or running.
    Due,
    /// The one on jobs that are scheduled, or wait for a retry.
    Parked,
}

impl Side {
    /// Where a job starts that is due at `scheduled_at`.
    #[must_use]
    pub fn of(scheduled_at: Timestamp, now: Timestamp) -> Self {
        if scheduled_at <= now { Self::Due } else { Self::Parked }
    }
}

/// The place of one unfinished job; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    capacity: Arc<Capacity>,
    tenant: TenantName,
    queue: QueueName,
    held_bytes: u64,
    side: Side,
    _use: Use,
}

impl Capacity {
    /// Nothing waits yet.
    #[must_use]
    pub fn new(limits: CapacityLimits) -> Arc<Self> {
        Arc::new(Self { limits, used: Mutex::default(), uses: Uses::default() })
    }

    /// What all unfinished jobs carry, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.lock().all.bytes
    }

    /// How many unfinished jobs, and jobs that are being accepted, need a plugin or a version of it.
    #[must_use]
    pub fn uses(
        &self,
        tenant: &TenantName,
        plugin: &PluginName,
        version: Option<&Version>,
    ) -> usize {
        self.uses.count(tenant, plugin, version)
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

    /// Why no job is accepted at all, if none is: the host holds all that it may.
    #[must_use]
    pub fn full(&self) -> Option<QueueFull> {
        let least_bytes = 1;
        self.lock().check_host(&self.limits, least_bytes).err()
    }

    /// Takes a place for a job that carries `held_bytes` and starts on this side.
    ///
    /// # Errors
    /// [`QueueFull`] if there is none.
    pub fn reserve(
        self: &Arc<Self>,
        facts: &Facts,
        held_bytes: u64,
        side: Side,
    ) -> Result<Permit, QueueFull> {
        let mut used = self.lock();
        used.check_tenant(&facts.tenant, held_bytes)?;
        used.check_host(&self.limits, held_bytes)?;
        used.check_queue(&self.limits, facts, side)?;
        used.check_share(&self.limits, &facts.tenant, held_bytes)?;
        Ok(self.take(&mut used, facts, held_bytes, side))
    }

    /// Takes a place for a job that was accepted before, even if the bounds are lower by now. It counts
    /// as due until it is [shifted](Permit::shift).
    #[must_use]
    pub fn readmit(self: &Arc<Self>, facts: &Facts, held_bytes: u64) -> Permit {
        self.take(&mut self.lock(), facts, held_bytes, Side::Due)
    }

    fn take(
        self: &Arc<Self>,
        used: &mut Used,
        facts: &Facts,
        held_bytes: u64,
        side: Side,
    ) -> Permit {
        let (tenant, queue) = (facts.tenant.clone(), facts.queue.clone());
        used.all.add(held_bytes);
        used.by_tenant.entry(tenant.clone()).or_default().add(held_bytes);
        let depth = used.by_queue.entry((tenant.clone(), queue.clone())).or_default();
        *depth.on(side) += 1;
        let _use = self.uses.begin(facts);
        Permit { capacity: self.clone(), tenant, queue, held_bytes, side, _use }
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

impl Depth {
    fn on(&mut self, side: Side) -> &mut usize {
        match side {
            Side::Due => &mut self.due,
            Side::Parked => &mut self.parked,
        }
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

    fn check_host(&self, limits: &CapacityLimits, more_bytes: u64) -> Result<(), QueueFull> {
        let Amount { jobs, bytes } = self.all;
        if jobs >= limits.total {
            return Err(QueueFull::Host { depth: jobs, capacity: limits.total });
        }
        if bytes.saturating_add(more_bytes) > limits.payload_bytes {
            let capacity_bytes = limits.payload_bytes;
            return Err(QueueFull::Bytes { depth_bytes: bytes, capacity_bytes });
        }
        Ok(())
    }

    fn check_queue(
        &self,
        limits: &CapacityLimits,
        facts: &Facts,
        side: Side,
    ) -> Result<(), QueueFull> {
        let lane = (facts.tenant.clone(), facts.queue.clone());
        let Depth { due, parked } = self.by_queue.get(&lane).copied().unwrap_or_default();
        let (capacity, parked_capacity) = (limits.per_queue, limits.parked_per_queue);
        match side {
            Side::Due if due >= capacity => {
                Err(QueueFull::Queue { queue: lane.1, depth: due, capacity })
            }
            Side::Parked if parked >= parked_capacity => {
                let (depth, capacity) = (parked, parked_capacity);
                Err(QueueFull::Parked { queue: lane.1, depth, capacity })
            }
            Side::Due | Side::Parked => Ok(()),
        }
    }
}

impl Permit {
    /// The job is on this side from now on.
    pub fn shift(&mut self, side: Side) {
        if self.side == side {
            return;
        }
        let mut used = self.capacity.lock();
        let lane = (self.tenant.clone(), self.queue.clone());
        if let Some(depth) = used.by_queue.get_mut(&lane) {
            *depth.on(self.side) -= 1;
            *depth.on(side) += 1;
        }
        self.side = side;
    }
}

impl Used {
    /// Refuses a job of a tenant that has its share of all places, or of what jobs carry.
    fn check_share(
        &self,
        limits: &CapacityLimits,
        tenant: &TenantName,
        more_bytes: u64,
    ) -> Result<(), QueueFull> {
        let Amount { jobs, bytes } = self.by_tenant.get(tenant).copied().unwrap_or_default();
        let budget = |all| Budget { all, weight: Budget::KEPT };
        let (places, taken, own) = (budget(limits.total as u64), self.all.jobs as u64, jobs as u64);
        let tenant = || tenant.clone();
        if places.admits(taken, own, 1) == Err(Full::Tenant) {
            let capacity = usize::try_from(places.share(taken, own)).unwrap_or(usize::MAX);
            return Err(QueueFull::Share { tenant: tenant(), depth: jobs, capacity });
        }
        let carried = budget(limits.payload_bytes);
        if carried.admits(self.all.bytes, bytes, more_bytes) == Err(Full::Tenant) {
            let capacity_bytes = carried.share(self.all.bytes, bytes);
            let depth_bytes = bytes;
            return Err(QueueFull::ShareBytes { tenant: tenant(), depth_bytes, capacity_bytes });
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
        if let Some(depth) = used.by_queue.get_mut(&lane) {
            *depth.on(self.side) -= 1;
            if depth.due + depth.parked == 0 {
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

        let first = capacity.reserve(&a, 4, Side::Due).expect("room");
        assert!(matches!(
            capacity.reserve(&a, 0, Side::Due),
            Err(QueueFull::Queue { depth: 1, .. })
        ));
        assert!(matches!(
            capacity.reserve(&b, 7, Side::Due),
            Err(QueueFull::Bytes { depth_bytes: 4, .. })
        ));
        let second = capacity.reserve(&b, 6, Side::Due).expect("room");
        assert!(matches!(
            capacity.reserve(&c, 0, Side::Due),
            Err(QueueFull::Host { depth: 2, .. })
        ));
        let third = capacity.readmit(&c, 100);
        drop((first, second, third));
        assert!(capacity.reserve(&a, 10, Side::Due).is_ok());
    }

    #[test]
    fn a_tenant_that_takes_all_it_can_leaves_places_and_bytes_to_others() {
        for (each, by_bytes) in [(0, false), (10, true)] {
            let limits = CapacityLimits {
                per_queue: 1000,
                total: if by_bytes { 10_000 } else { 80 },
                payload_bytes: 800,
                ..Default::default()
            };
            let capacity = Capacity::new(limits);
            let mut held = vec![];
            let full = loop {
                match capacity.reserve(&facts("a", "q"), each, Side::Due) {
                    Ok(permit) => held.push(permit),
                    Err(full) => break full,
                }
            };
            assert!(!full.is_of_tenant() && held.len() == 70, "{full} {}", held.len());
            let tenant = facts("a", "q").tenant;
            let share = match by_bytes {
                false => QueueFull::Share { tenant, depth: 70, capacity: 70 },
                true => QueueFull::ShareBytes { tenant, depth_bytes: 700, capacity_bytes: 700 },
            };
            assert_eq!(full, share);
            held.push(capacity.reserve(&facts("b", "q"), each, Side::Due).expect("some are left"));
        }
    }

    #[test]
    fn a_tenants_own_limits_bound_it_and_nobody_else() {
        let capacity = Capacity::new(CapacityLimits { per_queue: 1, ..Default::default() });
        let limits = TenantLimits { jobs: Some(2), payload_bytes: Some(10), ..Default::default() };
        let [a, b, c] = ["a", "b", "c"].map(|queue| facts("acme", queue));
        capacity.bound(&a.tenant, limits);

        let first = capacity.reserve(&a, 4, Side::Due).expect("room");
        let full = capacity.reserve(&b, 7, Side::Due).expect_err("no room");
        assert!(full.is_of_tenant());
        assert!(matches!(full, QueueFull::TenantBytes { depth_bytes: 4, .. }));
        let _second = capacity.reserve(&b, 6, Side::Due).expect("room");
        assert!(matches!(
            capacity.reserve(&c, 0, Side::Due),
            Err(QueueFull::Tenant { depth: 2, .. })
        ));
        assert!(
            capacity.reserve(&facts("other", "a"), 100, Side::Due).is_ok(),
            "a queue of its own"
        );
        drop(first);
        assert!(capacity.reserve(&c, 4, Side::Due).is_ok());
    }
    #[test]
    fn each_side_of_a_queue_has_its_bound_and_an_accepted_job_changes_sides() {
        let limits = CapacityLimits { per_queue: 1, parked_per_queue: 1, ..Default::default() };
        let (capacity, queue) = (Capacity::new(limits), facts("default", "a"));
        let reserve = |side| capacity.reserve(&queue, 0, side);

        let mut first = reserve(Side::Due).expect("room");
        assert!(matches!(reserve(Side::Due), Err(QueueFull::Queue { depth: 1, capacity: 1, .. })));
        let second = reserve(Side::Parked).expect("room on the other side");
        assert!(matches!(reserve(Side::Parked), Err(QueueFull::Parked { depth: 1, .. })));
        first.shift(Side::Parked);
        assert!(matches!(reserve(Side::Parked), Err(QueueFull::Parked { depth: 2, .. })));
        let third = reserve(Side::Due).expect("it made room");
        drop((first, second));
        assert!(reserve(Side::Parked).is_ok());
        drop(third);
        assert!(capacity.lock().by_queue.is_empty());
    }
}
