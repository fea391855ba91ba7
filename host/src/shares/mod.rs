//! Semaphores that are fair between tenants.
//!
//! [`table`] lists the resources. [`Shares`] is the semaphore of one of them. By the rule of [`Budget`], a
//! tenant never holds all permits: some are left to the next tenant. Waiting tenants are served in the
//! order of the permits that they hold, then of the time of their last permit; the waiters of a tenant
//! in the order of arrival. Tenants without permits and waiters use no memory.

pub(crate) mod table;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobwright_core::tenant::{Budget, Full, TenantName};
use tokio::sync::oneshot;

use self::table::Resource;

/// The semaphore of one resource. Clones share its permits.
#[derive(Debug, Clone)]
pub(crate) struct Shares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    budget: Budget,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    taken: u64,
    /// The number of grants so far, which orders tenants by the time of their last grant.
    grants: u64,
    holders: BTreeMap<TenantName, Holder>,
}

#[derive(Debug)]
struct Holder {
    held: u64,
    served: u64,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    permits: u64,
    grant: oneshot::Sender<Permit>,
}

/// The semaphore as one tenant uses it.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    of: Shares,
    tenant: TenantName,
}

/// Acquired permits; released on drop.
#[derive(Debug)]
pub struct Permit {
    of: Shares,
    tenant: TenantName,
    permits: u64,
}

impl Shares {
    /// The semaphore of `resource`.
    pub(crate) fn new(resource: &Resource) -> Self {
        Self::sized(resource, resource.all)
    }

    /// The semaphore of `resource` with `all` permits, for sizes that depend on the configuration or the
    /// machine.
    pub(crate) fn sized(resource: &Resource, all: u64) -> Self {
        let budget = Budget { all, weight: resource.weight };
        let state = State { taken: 0, grants: 0, holders: BTreeMap::new() };
        Self(Arc::new(Inner { budget, state: Mutex::new(state) }))
    }

    /// The semaphore as `tenant` uses it.
    pub(crate) fn of(&self, tenant: &TenantName) -> Share {
        Share { of: self.clone(), tenant: tenant.clone() }
    }

    /// The maximum number of permits that a tenant can hold while no other tenant holds any.
    pub(crate) fn alone(&self) -> u64 {
        self.0.budget.alone()
    }

    /// The number of available permits.
    #[cfg(test)]
    pub(crate) fn available(&self) -> u64 {
        self.0.budget.all - self.lock().taken
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No call can panic between its changes, so the state of a poisoned lock is consistent.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_acquire(&self, tenant: &TenantName, permits: u64) -> Result<(), Full> {
        let state = &mut *self.lock();
        let held = state.holders.get(tenant).map_or(0, |holder| holder.held);
        self.0.budget.admits(state.taken, held, permits)?;
        state.grant(tenant, permits);
        Ok(())
    }

    /// Releases permits, and grants them to waiters.
    fn release(&self, tenant: &TenantName, permits: u64) {
        let mut state = self.lock();
        state.release(tenant, permits);
        self.serve(state);
    }

    /// Grants permits to all waiters that can have them now.
    fn serve(&self, mut state: MutexGuard<'_, State>) {
        let mut granted = Vec::new();
        while let Some(tenant) = state.next(self.0.budget) {
            let Some(holder) = state.holders.get_mut(&tenant) else { break };
            let Some(Waiting { permits, grant }) = holder.waiting.pop_front() else { break };
            state.grant(&tenant, permits);
            granted.push((grant, Permit { of: self.clone(), tenant, permits }));
        }
        drop(state);
        for (grant, taken) in granted {
            // If the waiter has just gone away, this drops the permits, which releases them.
            drop(grant.send(taken));
        }
    }
}

impl State {
    fn holder(&mut self, tenant: &TenantName) -> &mut Holder {
        let new = || Holder { held: 0, served: 0, waiting: VecDeque::new() };
        self.holders.entry(tenant.clone()).or_insert_with(new)
    }

    fn grant(&mut self, tenant: &TenantName, permits: u64) {
        self.grants += 1;
        self.taken += permits;
        let grants = self.grants;
        let holder = self.holder(tenant);
        (holder.held, holder.served) = (holder.held + permits, grants);
    }

    fn release(&mut self, tenant: &TenantName, permits: u64) {
        self.taken -= permits;
        let holder = self.holder(tenant);
        holder.held -= permits;
        if holder.held == 0 && holder.waiting.is_empty() {
            self.holders.remove(tenant);
        }
    }

    /// The tenant whose first waiter is served next, if there is one. Tenants whose share is full are
    /// skipped. If too few permits are free for the next tenant, no waiter is served: tenants behind it would
    /// otherwise starve it.
    fn next(&mut self, budget: Budget) -> Option<TenantName> {
        for holder in self.holders.values_mut() {
            holder.waiting.retain(|waiting| !waiting.grant.is_closed());
        }
        self.holders.retain(|_, holder| holder.held > 0 || !holder.waiting.is_empty());
        let fronts = self.holders.iter().filter_map(|(tenant, holder)| {
            let permits = holder.waiting.front()?.permits;
            let answer = budget.admits(self.taken, holder.held, permits);
            (answer != Err(Full::Tenant)).then_some(((holder.held, holder.served), tenant, answer))
        });
        let (_, tenant, answer) = fronts.min_by_key(|(order, ..)| *order)?;
        answer.is_ok().then(|| tenant.clone())
    }
}

impl Share {
    /// Acquires permits, if they are available.
    ///
    /// # Errors
    /// [`Full`], if the resource or the share of the tenant is used up.
    pub(crate) fn try_acquire(&self, permits: impl Into<u64>) -> Result<Permit, Full> {
        let permits = permits.into();
        self.of.try_acquire(&self.tenant, permits)?;
        Ok(Permit { of: self.of.clone(), tenant: self.tenant.clone(), permits })
    }

    /// Waits for a permit.
    pub(crate) async fn acquire(&self) -> Permit {
        self.acquire_many(1).await
    }

    /// Waits for `permits` permits, or for as many as a tenant can hold if that is fewer.
    pub(crate) async fn acquire_many(&self, permits: u64) -> Permit {
        loop {
            // Senders are not dropped without a grant, so the loop ends the first time.
            if let Ok(permit) = self.wait(permits.min(self.of.alone())).await {
                return permit;
            }
        }
    }

    fn wait(&self, permits: u64) -> oneshot::Receiver<Permit> {
        let (grant, granted) = oneshot::channel();
        let mut state = self.of.lock();
        state.holder(&self.tenant).waiting.push_back(Waiting { permits, grant });
        self.of.serve(state);
        granted
    }
}

impl Permit {
    /// The number of permits.
    pub(crate) fn permits(&self) -> u64 {
        self.permits
    }

    /// Acquires `more` permits, if they are available.
    ///
    /// # Errors
    /// [`Full`], if the resource or the share of the tenant is used up.
    pub(crate) fn grow(&mut self, more: u64) -> Result<(), Full> {
        self.of.try_acquire(&self.tenant, more)?;
        self.permits += more;
        Ok(())
    }

    /// Releases all but `permits`.
    pub(crate) fn shrink(&mut self, permits: u64) {
        let surplus = self.permits.saturating_sub(permits);
        self.permits -= surplus;
        self.of.release(&self.tenant, surplus);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.of.release(&self.tenant, self.permits);
    }
}

#[cfg(test)]
mod tests;
