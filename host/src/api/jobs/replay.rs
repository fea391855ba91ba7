//! The answer to a request that was accepted: by itself, or when it came for the first time. A repeated
//! request says so, and shows the job as it is now.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use jobwright_core::access::Caller;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{Job, JobId};
use jobwright_core::tenant::TenantName;
use serde_json::{Map, Value, json};

use super::view::{self, JobView};
use crate::api::app::App;
use crate::api::http::error::ApiError;
use crate::intake::Accepted;

/// The header that tells a repeated request from the first, as other interfaces with such keys name it.
const REPLAYED: &str = "idempotency-replayed";

/// What is remembered with a key about its job: the answer to the request that was accepted.
pub(super) fn remembered(job: &Job) -> Bytes {
    // It has no keys that are not strings, so this does not fail.
    serde_json::to_vec(&JobView::new(job, None, job.created_at))
        .map(Bytes::from)
        .unwrap_or_default()
}

impl App {
    /// The answer to a request whose job was accepted; with a deadline, when the job is finalized or
    /// that has passed.
    pub(super) async fn answer_accepted(
        &self,
        caller: &Caller,
        accepted: Accepted,
        deadline: Option<Timestamp>,
    ) -> Result<Response, ApiError> {
        let mut response = match self.present(&caller.tenant, &accepted, deadline).await? {
            Some(job) => {
                let is_awaited = deadline.is_some() && job.lifecycle.state.is_finalized();
                let status = if is_awaited { StatusCode::OK } else { StatusCode::ACCEPTED };
                match self.answer(caller, status, &job).await {
                    Ok(shown) => shown,
                    // It was accepted, also if there is no room to show its output.
                    Err(_) => {
                        let view = JobView::new(&job, None, self.clock.now());
                        (StatusCode::ACCEPTED, Json(view)).into_response()
                    }
                }
            }
            None => (StatusCode::ACCEPTED, without_lookup(&accepted)).into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(url) = HeaderValue::from_str(&view::url(accepted.id())) {
            headers.insert(header::LOCATION, url);
        }
        if is_repeated(&accepted) {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        Ok(response)
    }

    /// The job as it is now or at the deadline, if it must be looked up and is still there.
    async fn present(
        &self,
        tenant: &TenantName,
        accepted: &Accepted,
        deadline: Option<Timestamp>,
    ) -> Result<Option<Job>, ApiError> {
        let awaited = match deadline {
            Some(deadline) => self.finalized_by(tenant, accepted.id(), deadline).await.ok(),
            None => None,
        };
        match awaited {
            Some(found) => Ok(found),
            // It was accepted, whatever keeps this host from waiting for its end.
            None if is_repeated(accepted) => Ok(self.store.get(accepted.id()).await?),
            None => Ok(None),
        }
    }
}

fn is_repeated(accepted: &Accepted) -> bool {
    matches!(accepted, Accepted::Repeated { .. })
}

/// The answer about a job that was not looked up, or is gone.
fn without_lookup(accepted: &Accepted) -> Response {
    match accepted {
        Accepted::New(job) => Json(JobView::new(job, None, job.created_at)).into_response(),
        Accepted::Repeated { id, remembered } => Json(pruned(*id, remembered)).into_response(),
    }
}

/// What is still known of a job that is gone: what its first answer said, but for its state.
fn pruned(id: JobId, remembered: &[u8]) -> Value {
    let mut known: Map<String, Value> =
        serde_json::from_slice(remembered).unwrap_or_else(|_| Map::new());
    known.insert("id".to_owned(), json!(id));
    known.insert("state".to_owned(), Value::Null);
    known.insert("pruned".to_owned(), true.into());
    known.into()
}
