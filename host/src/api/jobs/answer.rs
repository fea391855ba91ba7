//! A job as the answer to a request.

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
use crate::api::http::answers::Room;
use crate::api::http::error::ApiError;
use crate::detached;

impl App {
    /// A job as an answer, with its output if that is JSON.
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
        let (json, room) = match stored {
            Some(stored) => {
                // As it is stored, as it is checked, and as it is sent.
                let room = self.gates.answers.of(&caller.tenant).room(3 * stored.bytes).await?;
                (self.read_output(&caller.tenant, job.id, &room).await?, Some(room))
            }
            None => (None, None),
        };
        // A plugin may be set to leave JSON and leave something else.
        let json = json.and_then(|output| output::embeddable(&output.bytes));
        let view = JobView::new(job, json.as_deref(), self.clock.now());
        let response = (status, located(job.id), Json(view)).into_response();
        Ok(match room {
            Some(room) => room.with(response),
            None => response,
        })
    }

    /// The output of a job, for which there is room.
    pub(super) async fn read_output(
        &self,
        tenant: &TenantName,
        id: JobId,
        room: &Room,
    ) -> Result<Option<Output>, ApiError> {
        let turn = self.gates.reads.of(tenant).acquire().await;
        let store = self.store.clone();
        let reading = async move { store.output(id).await };
        Ok(detached::run((turn, room.clone()), reading).await??)
    }

    /// What became of a job that `caller` did something to. It may be another's, with arguments and
    /// variables that submitters may not read: a client without the scope to read sees only its state.
    pub(super) async fn answer_to(
        &self,
        caller: &Caller,
        status: StatusCode,
        id: JobId,
    ) -> Result<Response, ApiError> {
        let job = self.store.get(id).await?.ok_or_else(|| unknown(id))?;
        if caller.may(Scope::JobsRead) {
            return self.answer(caller, status, &job).await;
        }
        let (state, attempt) = (job.lifecycle.phase(self.clock.now()), job.lifecycle.attempt);
        let brief = Json(json!({ "id": id, "state": state, "attempt": attempt }));
        Ok((status, located(id), brief).into_response())
    }
}

fn located(id: JobId) -> [(HeaderName, String); 1] {
    [(header::LOCATION, view::url(id))]
}

/// The word that a state has in JSON.
pub(super) fn state_word(state: impl serde::Serialize) -> String {
    serde_json::to_value(state).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}
