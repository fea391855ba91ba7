//! The response to an accepted request. The response to a repeated request has a header that says so, and shows
//! the job in its present state.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use jobwright_core::access::Caller;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::Job;
use jobwright_core::tenant::TenantName;
use serde_json::{Value, json};

use super::view::{self, JobView};
use crate::api::app::App;
use crate::api::http::error::ApiError;
use crate::intake::Accepted;

/// The header of responses to repeated requests, with the name that is common for idempotency keys.
const REPLAYED: &str = "idempotency-replayed";

impl App {
    /// The response for an accepted job. With a deadline, it waits until the job is finalized or the deadline has
    /// passed.
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
                    // The job was accepted, even if there is no memory to show its output.
                    Err(_) => {
                        let view = JobView::new(&job, None, self.parts.jobs.clock.now());
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

    /// The job now or at the deadline, if it must be looked up and was not pruned.
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
            // The job was accepted, even if this host cannot wait for its end.
            None if is_repeated(accepted) => Ok(self.parts.jobs.store.get(accepted.id()).await?),
            None => Ok(None),
        }
    }
}

fn is_repeated(accepted: &Accepted) -> bool {
    matches!(accepted, Accepted::Repeated(_))
}

/// The response for a job that was not looked up, or was pruned.
fn without_lookup(accepted: &Accepted) -> Response {
    let job = accepted.job();
    let first = JobView::new(job, None, job.created_at);
    match accepted {
        Accepted::New(_) => Json(first).into_response(),
        Accepted::Repeated(_) => Json(pruned(&first)).into_response(),
    }
}

/// The first response for a pruned job, without its state.
fn pruned(first: &JobView<'_>) -> Value {
    let mut known = json!(first);
    known["state"] = Value::Null;
    known["pruned"] = true.into();
    known
}
