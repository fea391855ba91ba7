//! The rate limits of tenants, in the memory of this host.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jobwright_core::clock::Timestamp;
use jobwright_core::tenant::{Pace, TenantName};

/// The pace of each tenant with a rate limit, and the rate. A new rate starts a new pace, without
/// the jobs that were ahead of the earlier one.
#[derive(Debug, Default)]
pub(super) struct Paces(Mutex<HashMap<TenantName, (NonZeroU32, Pace)>>);

impl Paces {
    /// Admits `jobs` of a tenant with the limit of `rate` jobs per second.
    ///
    /// # Errors
    /// With the time at which they are admitted, if the tenant exceeds its rate.
    pub(super) fn admit(
        &self,
        tenant: &TenantName,
        rate: NonZeroU32,
        jobs: usize,
        now: Timestamp,
    ) -> Result<(), Duration> {
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, pace) = paces.entry(tenant.clone()).or_insert((rate, Pace::default()));
        if *of != rate {
            (*of, *pace) = (rate, Pace::default());
        }
        pace.admit(now, u32::try_from(jobs).unwrap_or(u32::MAX), rate)
    }
}
