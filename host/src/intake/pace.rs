//! How fast a tenant may submit: its own rate, in the memory of this host.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jobwright_core::clock::Timestamp;
use jobwright_core::tenant::{Pace, TenantName};

/// The paces of the tenants that have a rate, and which. Another rate is another pace: what was ahead
/// of the earlier one is forgotten.
#[derive(Debug, Default)]
pub(super) struct Paces(Mutex<HashMap<TenantName, (NonZeroU32, Pace)>>);

impl Paces {
    /// Admits `jobs` of a tenant that may submit `rate` of them a second.
    ///
    /// # Errors
    /// When the same may be submitted, of a tenant that is faster than that.
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
