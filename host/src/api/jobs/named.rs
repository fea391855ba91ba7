//! Finds a job by its id, or by a prefix of its id.

use jobwright_core::access::Caller;
use jobwright_core::job::{Job, JobId, JobIdPrefix};
use jobwright_core::store::{JobFilter, Page, StoreError};
use jobwright_core::tenant::TenantName;

use super::list::PAGE_BYTES;
use crate::api::app::App;
use crate::api::http::error::ApiError;
use crate::api::http::problem_code::ProblemCode;
use crate::detached;

/// The maximum number of candidates in the error of an ambiguous prefix.
const CANDIDATES: usize = 10;

/// The maximum number of pages that are read for a prefix: a page can be short or empty without being the last.
const PAGES: usize = 8;

impl App {
    /// The job of the caller's tenant with the id `text`, or with an id of which `text` is a prefix. Jobs of other
    /// tenants are not found.
    pub(in crate::api) async fn job(&self, caller: &Caller, text: &str) -> Result<Job, ApiError> {
        let named: JobIdPrefix =
            text.parse().map_err(|error| ApiError::new(ProblemCode::InvalidJobId, error))?;
        match named.whole() {
            Some(id) => {
                let read_permit = self.budgets.reads.of(&caller.tenant).acquire().await;
                let store = self.parts.jobs.store.clone();
                let job = detached::run(read_permit, async move { store.get(id).await }).await??;
                job.filter(|job| job.spec.tenant == caller.tenant).ok_or_else(|| unknown(id))
            }
            None => self.only_job(caller, &named).await,
        }
    }

    /// The only job whose id begins with `prefix`.
    async fn only_job(&self, caller: &Caller, prefix: &JobIdPrefix) -> Result<Job, ApiError> {
        let permit = self.budgets.responses.of(&caller.tenant).acquire(PAGE_BYTES).await?;
        let listing_permit = self.budgets.listings.of(&caller.tenant).acquire().await;
        let (app, tenant, of) = (self.clone(), caller.tenant.clone(), prefix.clone());
        let listing = async move { app.beginning_with(tenant, &of).await };
        let mut found = detached::run((listing_permit, permit), listing).await??;
        match (found.len(), found.pop()) {
            (1, Some(job)) => Ok(job),
            (_, None) => Err(ApiError::new(
                ProblemCode::JobNotFound,
                format!("no job has an id that begins with `{prefix}`; it may have been pruned"),
            )),
            (_, Some(last)) => {
                found.push(last);
                Err(ambiguous(prefix, &found))
            }
        }
    }

    /// The jobs of a tenant whose ids begin with `prefix`, at most one more than the candidates.
    async fn beginning_with(
        &self,
        tenant: TenantName,
        prefix: &JobIdPrefix,
    ) -> Result<Vec<Job>, StoreError> {
        let filter = JobFilter { tenant: Some(tenant), ..JobFilter::default() };
        let mut found: Vec<Job> = Vec::new();
        let mut before = Some(prefix.last());
        for _ in 0..PAGES {
            let page = Page { before, most: CANDIDATES + 1 - found.len() };
            let page = self
                .parts
                .jobs
                .store
                .list(filter.clone(), page, self.parts.jobs.clock.now())
                .await?;
            found.extend(page.jobs.into_iter().filter(|job| prefix.matches(job.id)));
            before = page.next.filter(|next| prefix.matches(*next));
            if before.is_none() || found.len() > CANDIDATES {
                break;
            }
        }
        Ok(found)
    }
}

/// The error of an ambiguous prefix, with the candidates.
fn ambiguous(prefix: &JobIdPrefix, found: &[Job]) -> ApiError {
    let shown: Vec<String> = found.iter().take(CANDIDATES).map(|job| job.id.to_string()).collect();
    let more = if found.len() > CANDIDATES { ", and more" } else { "" };
    let detail = format!(
        "`{prefix}` begins the ids of several jobs: {}{more}; give more of the id",
        shown.join(", ")
    );
    ApiError::ambiguous(detail, shown)
}

pub(super) fn unknown(id: JobId) -> ApiError {
    ApiError::new(
        ProblemCode::JobNotFound,
        format!("job {id} is not known; it may have been pruned"),
    )
}
