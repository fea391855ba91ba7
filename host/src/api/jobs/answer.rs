//! Responses that show a job.

use axum::Json;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use jobwright_core::access::{Caller, Scope};
use jobwright_core::job::{Job, JobId};
use jobwright_core::outcome::{Output, is_json};
use jobwright_core::tenant::TenantName;
use serde_json::json;

use super::named::unknown;
use super::output;
use super::view::{self, JobView};
use crate::api::app::App;
use crate::api::http::error::ApiError;
use crate::api::http::response_budget::ResponsePermit;
use crate::detached;

impl App {
    /// A response with a job, and with its output if that is JSON.
    pub(super) async fn answer(
        &self,
        caller: &Caller,
        status: StatusCode,
        job: &Job,
    ) -> Result<Response, ApiError> {
        let stored = job
            .output
            .as_ref()
            .filter(|stored| job.has_completed() && is_json(&stored.content_type));
        let (json, permit) = match stored {
            Some(stored) => {
                // Three copies: as stored, as checked, and as sent.
                let permit =
                    self.budgets.responses.of(&caller.tenant).acquire(3 * stored.bytes).await?;
                (self.read_output(&caller.tenant, job.id, &permit).await?, Some(permit))
            }
            None => (None, None),
        };
        // The media type of the output may be wrong: a setting of the plugin can override it.
        let json = json.and_then(|output| output::embeddable(&output.bytes));
        let view = JobView::new(job, json.as_deref(), self.parts.jobs.clock.now());
        let response = (status, located(job.id), Json(view)).into_response();
        Ok(match permit {
            Some(permit) => permit.attach(response),
            None => response,
        })
    }

    /// The output of a job, for which the caller has a permit.
    pub(super) async fn read_output(
        &self,
        tenant: &TenantName,
        id: JobId,
        permit: &ResponsePermit,
    ) -> Result<Option<Output>, ApiError> {
        let reading_permit = self.budgets.reads.of(tenant).acquire().await;
        let store = self.parts.jobs.store.clone();
        let reading = async move { store.output(id).await };
        Ok(detached::run((reading_permit, permit.clone()), reading).await??)
    }

    /// A response with a job that `caller` changed. Callers without the scope `jobs:read` see only its state: the
    /// job may be another submitter's, with confidential arguments and variables.
    pub(super) async fn answer_to(
        &self,
        caller: &Caller,
        status: StatusCode,
        id: JobId,
    ) -> Result<Response, ApiError> {
        let job = self.parts.jobs.store.get(id).await?.ok_or_else(|| unknown(id))?;
        if caller.may(Scope::JobsRead) {
            return self.answer(caller, status, &job).await;
        }
        let (state, attempt) =
            (job.lifecycle.phase(self.parts.jobs.clock.now()), job.lifecycle.attempt);
        let brief = Json(json!({ "id": id, "state": state, "attempt": attempt }));
        Ok((status, located(id), brief).into_response())
    }
}

fn located(id: JobId) -> [(HeaderName, String); 1] {
    [(header::LOCATION, view::url(id))]
}

/// The name of a state in JSON.
pub(super) fn state_word(state: impl serde::Serialize) -> String {
    serde_json::to_value(state).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}
