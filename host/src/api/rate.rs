//! How fast a tenant may submit: its own rate, in the memory of this host.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use jobwright_core::clock::Timestamp;
use jobwright_core::tenant::{Pace, TenantName};

use super::app::App;
use super::http::error::ApiError;

/// The paces of the tenants that have a rate, and which. Another rate is another pace: what was ahead
/// of the earlier one is forgotten.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<TenantName, (NonZeroU32, Pace)>>);

impl App {
    /// Refuses `jobs` of a tenant that is faster than it may be.
    pub(super) async fn keeps_pace(
        &self,
        tenant: &TenantName,
        jobs: usize,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let Some(rate) = self.store.tenant(tenant).await?.jobs_per_second else { return Ok(()) };
        let mut paces = self.gates.rates.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, pace) = paces.entry(tenant.clone()).or_insert((rate, Pace::default()));
        if *of != rate {
            (*of, *pace) = (rate, Pace::default());
        }
        pace.admit(now, u32::try_from(jobs).unwrap_or(u32::MAX), rate).map_err(|wait| {
            let detail = format!(
                "tenant {tenant} submits more than its {rate} jobs a second; an administrator raises \
                 the rate with `jobwright tenant set {tenant} --jobs-per-second N`"
            );
            ApiError::too_fast(detail, wait)
        })
    }
}
