//! Permits: one for each unfinished job.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::full::QueueFull;
use super::limits::CapacityLimits;
use super::side::Side;
use super::used::Used;
use super::uses::{Use, Uses};
use crate::hold::JobLabels;
use crate::plugin::name::PluginName;
use crate::plugin::version::Version;
use crate::tenant::{TenantLimits, TenantName};

/// Counts unfinished jobs and the bytes of their payloads and arguments.
#[derive(Debug)]
pub struct Capacity {
    limits: CapacityLimits,
    used: Mutex<Used>,
    uses: Uses,
}

/// The permit of one unfinished job, released when dropped.
#[derive(Debug)]
pub struct Permit {
    capacity: Arc<Capacity>,
    labels: Arc<JobLabels>,
    held_bytes: u64,
    side: Side,
    _use: Use,
}

impl Capacity {
    /// The capacity of a store without jobs.
    #[must_use]
    pub fn new(limits: CapacityLimits) -> Arc<Self> {
        Arc::new(Self { limits, used: Mutex::default(), uses: Uses::default() })
    }

    /// The payloads and arguments of all unfinished jobs, in bytes.
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

    /// Sets or removes the limits of a tenant. Its accepted jobs stay.
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

    /// The bound of the host that refuses every job, if one does.
    #[must_use]
    pub fn full(&self) -> Option<QueueFull> {
        let least_bytes = 1;
        self.lock().check_host(&self.limits, least_bytes).err()
    }

    /// Takes a permit for a job with `held_bytes` of payload and arguments that starts on this side.
    ///
    /// # Errors
    /// [`QueueFull`] if a bound is reached.
    pub fn reserve(
        self: &Arc<Self>,
        labels: &Arc<JobLabels>,
        held_bytes: u64,
        side: Side,
    ) -> Result<Permit, QueueFull> {
        let mut used = self.lock();
        used.check_tenant(&labels.tenant, held_bytes)?;
        used.check_host(&self.limits, held_bytes)?;
        used.check_queue(&self.limits, labels, side)?;
        used.check_share(&self.limits, &labels.tenant, held_bytes)?;
        Ok(self.take(&mut used, labels, held_bytes, side))
    }

    /// Takes a permit for a job that was accepted before, even if the bounds are lower by now. It counts
    /// as due until it is [shifted](Permit::shift).
    #[must_use]
    pub fn readmit(self: &Arc<Self>, labels: &Arc<JobLabels>, held_bytes: u64) -> Permit {
        self.take(&mut self.lock(), labels, held_bytes, Side::Due)
    }

    fn take(
        self: &Arc<Self>,
        used: &mut Used,
        labels: &Arc<JobLabels>,
        held_bytes: u64,
        side: Side,
    ) -> Permit {
        let lane = (labels.tenant.clone(), labels.queue.clone());
        used.all.add(held_bytes);
        used.by_tenant.entry(labels.tenant.clone()).or_default().add(held_bytes);
        let depth = used.by_queue.entry(lane).or_default();
        *depth.on(side) += 1;
        let _use = self.uses.begin(labels.clone());
        Permit { capacity: self.clone(), labels: labels.clone(), held_bytes, side, _use }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Used> {
        // Nothing panics between the changes of one call.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// The labels of the job.
    #[must_use]
    pub fn labels(&self) -> &Arc<JobLabels> {
        &self.labels
    }

    /// Moves the job to this side.
    pub fn shift(&mut self, side: Side) {
        if self.side == side {
            return;
        }
        let mut used = self.capacity.lock();
        let lane = (self.labels.tenant.clone(), self.labels.queue.clone());
        if let Some(depth) = used.by_queue.get_mut(&lane) {
            *depth.on(self.side) -= 1;
            *depth.on(side) += 1;
        }
        self.side = side;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut used = self.capacity.lock();
        used.all.remove(self.held_bytes);
        if let Some(amount) = used.by_tenant.get_mut(&self.labels.tenant) {
            amount.remove(self.held_bytes);
            if amount.jobs == 0 {
                used.by_tenant.remove(&self.labels.tenant);
            }
        }
        let lane = (self.labels.tenant.clone(), self.labels.queue.clone());
        if let Some(depth) = used.by_queue.get_mut(&lane) {
            *depth.on(self.side) -= 1;
            if depth.due + depth.parked == 0 {
                used.by_queue.remove(&lane);
            }
        }
    }
}
