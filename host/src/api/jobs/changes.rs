//! Cancels and retries jobs.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jobwright_core::access::Caller;
use jobwright_core::job::{CancelRequest, JobId, Redrive};
use jobwright_core::store::Redriven;
use serde_json::json;

use super::answer::state_word;
use super::named::unknown;
use crate::api::app::App;
use crate::api::client::Client;
use crate::api::http::auth::By;
use crate::api::http::error::ApiError;
use crate::api::http::path::Path;
use crate::api::http::problem_code::ProblemCode;

/// The hint for clients that send a body with a retry.
pub(in crate::api) const RETRY_HINT: &str = "a retry runs the job as it was submitted, with the same version \
     of its plugin: to run another version, submit a new job";

pub(in crate::api) async fn cancel(
    State(app): State<App>,
    By(caller): By,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let job = app.job(&caller, &id).await?;
    let id = job.id;
    let answer = match job.lifecycle.settled_cancel() {
        Some(settled) => settled,
        None => app.request_cancel(&caller, id).await?,
    };
    let status = match answer {
        CancelRequest::Cancelled | CancelRequest::AlreadyCancelled => StatusCode::OK,
        CancelRequest::Stopping { .. } => StatusCode::ACCEPTED,
        CancelRequest::Finalized(state) => {
            let detail = format!("job {id} is finalized: it was {}", state_word(state));
            return Err(ApiError::new(ProblemCode::AlreadyFinalized, detail));
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
    let id = job.id;
    // The plugin cannot be removed while the job is resubmitted.
    let by = Client { app: &app, caller: &caller };
    let _stays = app.intake.resubmit(&by, &job.spec).await?;
    let answer = match job.lifecycle.settled_redrive(app.parts.jobs.clock.now()) {
        Some(Redrive::Due) => Redriven::Due,
        Some(Redrive::Running) => Redriven::Running,
        None => app.redrive(&caller, id).await?,
    };
    match answer {
        Redriven::Due => app.answer_to(&caller, StatusCode::ACCEPTED, id).await,
        Redriven::QueueFull(full) => Err(full.into()),
        Redriven::Running => Err(running(id)),
    }
}

impl App {
    /// Lets the store cancel a job, with an audit entry of what it decides.
    async fn request_cancel(&self, caller: &Caller, id: JobId) -> Result<CancelRequest, ApiError> {
        let permit = self.audit(caller, "job.cancel", &id.to_string(), json!({})).await?;
        let (store, now) = (self.parts.jobs.store.clone(), self.parts.jobs.clock.now());
        let deciding = async move { store.request_cancel(id, now).await };
        let word = |answer: &Option<CancelRequest>| match answer {
            None => "job_not_found",
            Some(CancelRequest::Cancelled) => "cancelled",
            Some(CancelRequest::Stopping { .. }) => "stopping",
            Some(CancelRequest::AlreadyCancelled) => "already_cancelled",
            Some(CancelRequest::Finalized(_)) => "already_finalized",
        };
        self.decided(permit, deciding, word).await?.ok_or_else(|| unknown(id))
    }

    /// Lets the store run a job again, with an audit entry of what it decides.
    async fn redrive(&self, caller: &Caller, id: JobId) -> Result<Redriven, ApiError> {
        let permit = self.audit(caller, "job.retry", &id.to_string(), json!({})).await?;
        let (store, now) = (self.parts.jobs.store.clone(), self.parts.jobs.clock.now());
        let deciding = async move { store.redrive(id, now).await };
        let word = |answer: &Option<Redriven>| match answer {
            None => "job_not_found",
            Some(Redriven::Due) => "due",
            Some(Redriven::Running) => "already_running",
            Some(Redriven::QueueFull(_)) => "queue_full",
        };
        self.decided(permit, deciding, word).await?.ok_or_else(|| unknown(id))
    }
}

fn running(id: JobId) -> ApiError {
    let detail = format!("job {id} is running: there is nothing to retry yet");
    ApiError::new(ProblemCode::AlreadyRunning, detail)
}
