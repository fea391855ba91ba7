//! Jobs, newest first, a page at a time.

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
use crate::api::http::query::{INVALID_FIELDS, Query};
use crate::detached;

/// Jobs on one page, unless asked otherwise, and at most.
const PAGE: (usize, usize) = (50, 200);

/// The states that jobs are listed by.
const STATES: &str =
    "one of scheduled, available, retryable, running, completed, discarded, cancelled";

/// What a page takes: its jobs as they are read, as they are told, and as text.
pub(super) const PAGE_ROOM_BYTES: u64 = 3 * JobPage::MAX_BYTES;

/// What a client asks of a listing.
struct Listing {
    filter: JobFilter,
    page: Page,
}

impl Listing {
    fn of(uri: &Uri, tenant: TenantName) -> Result<Self, ApiError> {
        let mut query = Query::of(uri);
        let phase = query.take("state", STATES);
        let plugin: Option<PluginRef> = query.parse("plugin", INVALID_FIELDS);
        let queue = query.parse("queue", INVALID_FIELDS);
        let tag = query.take("tag", "a string");
        let before = query.parse("cursor", INVALID_FIELDS);
        let most = query.limit(PAGE.0, PAGE.1);
        let version = match plugin.as_ref().map(|plugin| &plugin.selector) {
            Some(Selector::Exact(version)) => Some(version.clone()),
            None | Some(Selector::Default) => None,
            Some(_) => {
                let message = "name the plugin, or one exact version of it";
                query.wrong("plugin", INVALID_FIELDS, message);
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
    let room = app.gates.answers.of(&caller.tenant).room(PAGE_ROOM_BYTES).await?;
    let turn = app.gates.listings.of(&caller.tenant).acquire().await;
    let (store, now) = (app.store.clone(), app.clock.now());
    let listing = async move { store.list(filter, page, now).await };
    let page = detached::run((turn, room.clone()), listing).await??;
    let jobs: Vec<_> = page.jobs.iter().map(|job| JobView::new(job, None, now)).collect();
    Ok(room.with(Json(json!({ "jobs": jobs, "next_cursor": page.next })).into_response()))
}
