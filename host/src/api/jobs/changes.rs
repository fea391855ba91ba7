//! Jobs are cancelled and retried.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jobwright_core::access::Caller;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{CancelRequest, Job, JobId, Redrive};
use jobwright_core::store::Redriven;
use serde_json::json;

use super::answer::state_word;
use super::named::unknown;
use crate::api::app::App;
use crate::api::http::auth::By;
use crate::api::http::error::ApiError;
use crate::api::http::path::Path;

/// What is said to a client that sends a body with a retry.
pub(in crate::api) const RETRY_HINT: &str = "a retry runs the job as it was submitted, with the same version \
     of its plugin: to run another version, submit a new job";

pub(in crate::api) async fn cancel(
    State(app): State<App>,
    By(caller): By,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let job = app.job(&caller, &id).await?;
    let (id, now) = (job.id, app.clock.now());
    let status = match app.request_cancel(&caller, job, now).await? {
        CancelRequest::Cancelled | CancelRequest::AlreadyCancelled => StatusCode::OK,
        CancelRequest::Stopping { .. } => StatusCode::ACCEPTED,
        CancelRequest::Finalized(state) => {
            let detail = format!("job {id} is over: it was {}", state_word(state));
            return Err(ApiError::conflict("already_finalized", detail));
        }
    };
    app.answer_to(&caller, status, id).await
}

pub(in crate::api) async fn retry(
    State(app): State<App>,
    By(caller): By,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let job = app.job(&caller, &id).await?;
    let (id, now) = (job.id, app.clock.now());
    // A plugin that is just going must not gain a job.
    let _stays = app.intake.resubmit(&job.spec).await?;
    let mut lifecycle = job.lifecycle.clone();
    if lifecycle.redrive(now) == Redrive::Running {
        return Err(running(id));
    }
    if lifecycle == job.lifecycle {
        return app.answer_to(&caller, StatusCode::ACCEPTED, id).await;
    }
    let _turn = app.audit(&caller, "job.retry", &id.to_string(), json!({})).await?;
    match app.store.redrive(id, now).await? {
        None => Err(unknown(id)),
        Some(Redriven::Due) => app.answer_to(&caller, StatusCode::ACCEPTED, id).await,
        Some(Redriven::QueueFull(full)) => Err(full.into()),
        Some(Redriven::Running) => Err(running(id)),
    }
}

impl App {
    /// Cancels `job`, as it was just read. What is over already is left alone.
    async fn request_cancel(
        &self,
        caller: &Caller,
        job: Job,
        now: Timestamp,
    ) -> Result<CancelRequest, ApiError> {
        let Job { id, mut lifecycle, .. } = job;
        let asked_before = lifecycle.cancel_requested_at.is_some();
        let mut _turn = None;
        match lifecycle.request_cancel(now) {
            over @ (CancelRequest::AlreadyCancelled | CancelRequest::Finalized(_)) => {
                return Ok(over);
            }
            // The attempt is only told again.
            _ if asked_before => {}
            _ => _turn = Some(self.audit(caller, "job.cancel", &id.to_string(), json!({})).await?),
        }
        self.store.request_cancel(id, now).await?.ok_or_else(|| unknown(id))
    }
}

fn running(id: JobId) -> ApiError {
    let detail = format!("job {id} is running: there is nothing to retry yet");
    ApiError::conflict("already_running", detail)
}
