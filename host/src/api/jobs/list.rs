//! Lists jobs in pages, newest first.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse as _, Response};
use jobwright_core::plugin::{PluginRef, Selector};
use jobwright_core::store::{JobFilter, JobPage, Page};
use jobwright_core::tenant::TenantName;
use serde_json::json;

use super::view::JobView;
use crate::api::app::App;
use crate::api::http::auth::By;
use crate::api::http::error::ApiError;
use crate::api::http::problem_code::ProblemCode;
use crate::api::http::query::Query;
use crate::detached;

/// The default number of jobs on a page.
const PAGE: usize = 50;

/// The maximum number of jobs on a page.
const MAX_PAGE: usize = 200;

/// The states that jobs are listed by.
const STATES: &str =
    "one of scheduled, available, retryable, running, completed, discarded, cancelled, expired";

/// The approximate memory for a page: its jobs as values, as views, and as JSON.
pub(super) const PAGE_BYTES: u64 = 3 * JobPage::MAX_BYTES;

/// The parameters of a listing.
struct Listing {
    filter: JobFilter,
    page: Page,
}

impl Listing {
    fn of(uri: &Uri, tenant: TenantName) -> Result<Self, ApiError> {
        let mut query = Query::of(uri);
        let phase = query.take("state", STATES);
        let plugin: Option<PluginRef> = query.parse("plugin", ProblemCode::InvalidFields);
        let queue = query.parse("queue", ProblemCode::InvalidFields);
        let tag = query.take("tag", "a string");
        let before = query.parse("cursor", ProblemCode::InvalidFields);
        let most = query.limit(PAGE, MAX_PAGE);
        let version = match plugin.as_ref().map(|plugin| &plugin.selector) {
            Some(Selector::Exact(version)) => Some(version.clone()),
            None | Some(Selector::Default) => None,
            Some(_) => {
                let message = "name the plugin, or one exact version of it";
                query.wrong("plugin", ProblemCode::InvalidFields, message);
                None
            }
        };
        query.finish()?;
        let plugin = plugin.map(|plugin| plugin.name);
        let tenant = Some(tenant);
        let filter = JobFilter { tenant, phase, finalized: None, plugin, version, queue, tag };
        Ok(Self { filter, page: Page { before, most } })
    }
}

pub(in crate::api) async fn list(
    State(app): State<App>,
    By(caller): By,
    uri: Uri,
) -> Result<Response, ApiError> {
    let Listing { filter, page } = Listing::of(&uri, caller.tenant.clone())?;
    let permit = app.budgets.responses.of(&caller.tenant).acquire(PAGE_BYTES).await?;
    let listing_permit = app.budgets.listings.of(&caller.tenant).acquire().await;
    let (store, now) = (app.parts.jobs.store.clone(), app.parts.jobs.clock.now());
    let listing = async move { store.list(filter, page, now).await };
    let page = detached::run((listing_permit, permit.clone()), listing).await??;
    let jobs: Vec<_> = page.jobs.iter().map(|job| JobView::new(job, None, now)).collect();
    Ok(permit.attach(Json(json!({ "jobs": jobs, "next_cursor": page.next })).into_response()))
}
