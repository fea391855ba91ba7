//! How tenants share a budget: dynamic thresholds (Choudhury and Hahne, IEEE/ACM Transactions on Networking
//! 6(2), 1998).
//!
//! A tenant may take more as long as it holds less than `weight` times what is free. So a tenant that
//! is alone gets `weight / (weight + 1)` of the budget, tenants that all want more end with equal parts,
//! and something is always left for one that holds nothing yet.

/// A budget that tenants share, counted in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// All pieces.
    pub all: u64,
    /// A tenant may hold so many times the free pieces.
    pub weight: u64,
}

/// Why a tenant cannot take more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// It holds its share.
    Tenant,
    /// Less is free than it wants.
    All,
}

impl Budget {
    /// The weight of data that stays until it is removed (jobs, payloads, values, idempotency keys): a tenant that is alone has 7/8 of it.
    pub const KEPT: u64 = 7;

    /// Whether a tenant that holds `own` of the `taken` pieces may take `more`.
    ///
    /// # Errors
    /// [`Full`], if not. The last piece that a tenant takes may exceed its share; it never exceeds what
    /// is free.
    pub fn admits(self, taken: u64, own: u64, more: u64) -> Result<(), Full> {
        let free = self.all.saturating_sub(taken);
        if more > free {
            return Err(Full::All);
        }
        if more > 0 && own >= self.weight.saturating_mul(free) {
            return Err(Full::Tenant);
        }
        Ok(())
    }

    /// The share of a tenant that holds `own` of the `taken` pieces, in pieces: what it may hold before
    /// [`admits`](Self::admits) refuses more, as long as others hold what they do.
    #[must_use]
    pub fn share(self, taken: u64, own: u64) -> u64 {
        let available = self.all.saturating_sub(taken.saturating_sub(own));
        available - available / self.weight.saturating_add(1)
    }

    /// The share of a tenant without competitors, in pieces; at least one.
    #[must_use]
    pub const fn alone(self) -> u64 {
        let most = (self.all / (self.weight + 1)).saturating_mul(self.weight);
        if most == 0 { 1 } else { most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes single pieces until refused; returns how many.
    fn fill(budget: Budget, taken: &mut u64) -> u64 {
        let mut own = 0;
        while budget.admits(*taken, own, 1).is_ok() {
            (own, *taken) = (own + 1, *taken + 1);
        }
        own
    }

    #[test]
    fn a_tenant_that_takes_all_it_can_leaves_some_to_the_next_and_that_one_too() {
        for (all, weight) in [(2, 1), (4, 1), (16, 1), (768, 3), (1000, 7)] {
            let (budget, mut taken) = (Budget { all, weight }, 0);
            let first = fill(budget, &mut taken);
            assert!((budget.alone()..all).contains(&first), "{first} of {all}");
            assert_eq!(budget.share(taken, first), first, "of {all}");
            let second = fill(budget, &mut taken);
            assert!(second > 0, "of {all}");
            assert_eq!(budget.share(taken, second), second, "of {all}");
        }
    }

    #[test]
    fn more_than_is_free_is_refused_and_zero_is_always_admitted() {
        let budget = Budget { all: 10, weight: 7 };
        assert_eq!(budget.admits(7, 7, 4), Err(Full::All));
        assert_eq!(budget.admits(7, 7, 3), Ok(()));
        assert_eq!(budget.admits(10, 10, 0), Ok(()));
        assert_eq!(budget.admits(9, 8, 1), Err(Full::Tenant));
    }
}
