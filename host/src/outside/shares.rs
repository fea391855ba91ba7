//! What all tenants have a share of: so much together, and no tenant more than a part.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use jobwright_core::tenant::TenantName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// See the module's text.
#[derive(Debug)]
pub(super) struct Shares {
    all: Arc<Semaphore>,
    /// What one tenant may have.
    each: usize,
    /// Of those that have anything, or are about to.
    tenants: Mutex<BTreeMap<TenantName, Weak<Semaphore>>>,
}

/// What one tenant may have.
#[derive(Debug, Clone)]
pub(super) struct Share {
    own: Arc<Semaphore>,
    all: Arc<Semaphore>,
}

/// A piece of what there is. Dropping it gives it back.
#[derive(Debug)]
pub struct Taken {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// Who has as much as he may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Tenant,
    All,
}

impl Shares {
    /// `all` pieces, of which a tenant may have `each`.
    pub(super) fn new(all: usize, each: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each, tenants: Mutex::default() }
    }

    /// The share of a tenant.
    pub(super) fn of(&self, tenant: &TenantName) -> Share {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let own = tenants.get(tenant).and_then(Weak::upgrade).unwrap_or_else(|| {
            // Who holds nothing any more is forgotten: as many are known as hold something.
            tenants.retain(|_, held| held.strong_count() > 0);
            let own = Arc::new(Semaphore::new(self.each));
            tenants.insert(tenant.clone(), Arc::downgrade(&own));
            own
        });
        Share { own, all: self.all.clone() }
    }

    /// What nobody has.
    #[cfg(test)]
    pub(super) fn left(&self) -> usize {
        self.all.available_permits()
    }
}

impl Share {
    /// So many pieces, if they are there.
    pub(super) fn try_take(&self, pieces: u32) -> Result<Taken, Full> {
        let own = self.own.clone().try_acquire_many_owned(pieces).map_err(|_| Full::Tenant)?;
        let all = self.all.clone().try_acquire_many_owned(pieces).map_err(|_| Full::All)?;
        Ok(Taken { _own: own, _all: all })
    }

    /// A piece, as soon as there is one; none if the host is about to stop.
    pub(super) async fn take(&self) -> Option<Taken> {
        // The own one first: who has his part already does not stand before others.
        let own = self.own.clone().acquire_owned().await.ok()?;
        let all = self.all.clone().acquire_owned().await.ok()?;
        Some(Taken { _own: own, _all: all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_its_part_and_leaves_others_theirs() {
        let shares = Shares::new(5, 3);
        let [a, b] = ["a", "b"].map(|name| shares.of(&name.parse().expect("a name")));
        let first = a.try_take(3).expect("its part");
        assert_eq!(a.try_take(1).expect_err("one more"), Full::Tenant);
        assert_eq!(shares.of(&"a".parse().expect("a name")).try_take(1).err(), Some(Full::Tenant));
        let _second = b.try_take(2).expect("what is left");
        assert_eq!(b.try_take(1).expect_err("all"), Full::All);
        drop(first);
        let _third = b.try_take(1).expect("it was given back");
        assert_eq!(shares.left(), 2);
    }

    #[test]
    fn who_holds_nothing_is_forgotten() {
        let shares = Shares::new(5, 3);
        for number in 0..100 {
            drop(shares.of(&format!("t{number}").parse().expect("a name")).try_take(1));
        }
        assert_eq!(shares.tenants.lock().expect("no panic").len(), 1);
    }
}
