//! The use of each bound by unfinished jobs, and the check of a new job against the bounds.

use std::collections::HashMap;

use super::full::QueueFull;
use super::limits::CapacityLimits;
use super::side::Side;
use crate::hold::JobLabels;
use crate::queue::name::QueueName;
use crate::tenant::{Budget, Full, TenantLimits, TenantName};

#[derive(Debug, Default)]
pub(super) struct Used {
    pub(super) all: Amount,
    pub(super) by_queue: HashMap<(TenantName, QueueName), Depth>,
    pub(super) by_tenant: HashMap<TenantName, Amount>,
    /// The tenants that have limits of their own.
    pub(super) tenants: HashMap<TenantName, TenantLimits>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Amount {
    pub(super) jobs: usize,
    pub(super) bytes: u64,
}

/// The jobs of a queue on each side.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Depth {
    pub(super) due: usize,
    pub(super) parked: usize,
}

impl Amount {
    pub(super) fn add(&mut self, bytes: u64) {
        self.jobs += 1;
        self.bytes += bytes;
    }

    pub(super) fn remove(&mut self, bytes: u64) {
        self.jobs -= 1;
        self.bytes -= bytes;
    }
}

impl Depth {
    pub(super) fn on(&mut self, side: Side) -> &mut usize {
        match side {
            Side::Due => &mut self.due,
            Side::Parked => &mut self.parked,
        }
    }
}

impl Used {
    pub(super) fn check_tenant(
        &self,
        tenant: &TenantName,
        more_bytes: u64,
    ) -> Result<(), QueueFull> {
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

    pub(super) fn check_host(
        &self,
        limits: &CapacityLimits,
        more_bytes: u64,
    ) -> Result<(), QueueFull> {
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

    pub(super) fn check_queue(
        &self,
        limits: &CapacityLimits,
        labels: &JobLabels,
        side: Side,
    ) -> Result<(), QueueFull> {
        let lane = (labels.tenant.clone(), labels.queue.clone());
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

    /// Refuses a job of a tenant that uses its share of the host's capacity or payload bytes.
    pub(super) fn check_share(
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
