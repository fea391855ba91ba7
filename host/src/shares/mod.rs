//! What tenants share of a host's memory, turns and places, so that none has all of it.
//!
//! [`table`] lists every resource. [`Shares`] hands permits of one out, by the rule of
//! [`Budget`]: what one tenant takes always leaves some to the next. Those who wait for a piece are
//! served in the order of what they hold, then of who was served longest ago; each tenant's own in the
//! order in which they came. A tenant without permits and waiters is forgotten.

pub(crate) mod table;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobwright_core::tenant::{Budget, Full, TenantName};
use tokio::sync::oneshot;

use self::table::Resource;

/// The permits of one resource. Clones share them.
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
    /// Pieces handed out so far, to tell who was served longest ago.
    turns: u64,
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

/// What one tenant may take.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    of: Shares,
    tenant: TenantName,
}

/// Pieces that were taken; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    of: Shares,
    tenant: TenantName,
    permits: u64,
}

impl Shares {
    /// All permits of `resource`.
    pub(crate) fn new(resource: &Resource) -> Self {
        Self::sized(resource, resource.all)
    }

    /// `all` permits of `resource`, whose size the configuration or the machine decides.
    pub(crate) fn sized(resource: &Resource, all: u64) -> Self {
        let budget = Budget { all, weight: resource.weight };
        let state = State { taken: 0, turns: 0, holders: BTreeMap::new() };
        Self(Arc::new(Inner { budget, state: Mutex::new(state) }))
    }

    /// The share of `tenant`.
    pub(crate) fn of(&self, tenant: &TenantName) -> Share {
        Share { of: self.clone(), tenant: tenant.clone() }
    }

    /// What one tenant may take at once at the most, while it is alone.
    pub(crate) fn alone(&self) -> u64 {
        self.0.budget.alone()
    }

    /// What nobody holds.
    #[cfg(test)]
    pub(crate) fn left(&self) -> u64 {
        self.0.budget.all - self.lock().taken
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between the changes of one call.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_acquire(&self, tenant: &TenantName, permits: u64) -> Result<(), Full> {
        let state = &mut *self.lock();
        let held = state.holders.get(tenant).map_or(0, |holder| holder.held);
        self.0.budget.admits(state.taken, held, permits)?;
        state.give(tenant, permits);
        Ok(())
    }

    /// Takes permits back, and serves those who wait for them.
    fn put_back(&self, tenant: &TenantName, permits: u64) {
        let mut state = self.lock();
        state.take_back(tenant, permits);
        self.serve(state);
    }

    /// Hands out what those who wait may have now.
    fn serve(&self, mut state: MutexGuard<'_, State>) {
        let mut granted = Vec::new();
        while let Some(tenant) = state.next(self.0.budget) {
            let Some(holder) = state.holders.get_mut(&tenant) else { break };
            let Some(Waiting { permits, grant }) = holder.waiting.pop_front() else { break };
            state.give(&tenant, permits);
            granted.push((grant, Permit { of: self.clone(), tenant, permits }));
        }
        drop(state);
        for (grant, taken) in granted {
            // One that has just stopped waiting gives its permits back.
            drop(grant.send(taken));
        }
    }
}

impl State {
    fn holder(&mut self, tenant: &TenantName) -> &mut Holder {
        let new = || Holder { held: 0, served: 0, waiting: VecDeque::new() };
        self.holders.entry(tenant.clone()).or_insert_with(new)
    }

    fn give(&mut self, tenant: &TenantName, permits: u64) {
        self.turns += 1;
        self.taken += permits;
        let turns = self.turns;
        let holder = self.holder(tenant);
        (holder.held, holder.served) = (holder.held + permits, turns);
    }

    fn take_back(&mut self, tenant: &TenantName, permits: u64) {
        self.taken -= permits;
        let holder = self.holder(tenant);
        holder.held -= permits;
        if holder.held == 0 && holder.waiting.is_empty() {
            self.holders.remove(tenant);
        }
    }

    /// The tenant whose first waiter is served next, if one may be. Those whose share is full are passed
    /// by; one for which not enough is free holds up those behind it, or it would wait for ever.
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
    /// So many permits, if they are there.
    ///
    /// # Errors
    /// [`Full`].
    pub(crate) fn try_acquire(&self, permits: impl Into<u64>) -> Result<Permit, Full> {
        let permits = permits.into();
        self.of.try_acquire(&self.tenant, permits)?;
        Ok(Permit { of: self.of.clone(), tenant: self.tenant.clone(), permits })
    }

    /// A piece, as soon as there is one.
    pub(crate) async fn acquire(&self) -> Permit {
        self.acquire_many(1).await
    }

    /// So many permits, as soon as they are there; at most as many as a tenant can have.
    pub(crate) async fn acquire_many(&self, permits: u64) -> Permit {
        loop {
            // A grant is not dropped unanswered, so this ends the first time.
            if let Ok(taken) = self.wait(permits.min(self.of.alone())).await {
                return taken;
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
    /// How many.
    pub(crate) fn permits(&self) -> u64 {
        self.permits
    }

    /// Takes `more` permits, if they are there.
    ///
    /// # Errors
    /// [`Full`].
    pub(crate) fn grow(&mut self, more: u64) -> Result<(), Full> {
        self.of.try_acquire(&self.tenant, more)?;
        self.permits += more;
        Ok(())
    }

    /// Gives all but `permits` back.
    pub(crate) fn shrink(&mut self, permits: u64) {
        let surplus = self.permits.saturating_sub(permits);
        self.permits -= surplus;
        self.of.put_back(&self.tenant, surplus);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.of.put_back(&self.tenant, self.permits);
    }
}

#[cfg(test)]
mod tests;
