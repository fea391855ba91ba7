//! The answer to a request that was accepted: by itself, or when it came for the first time. A repeated
//! request says so, and shows the job as it is now.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use jobwright_core::access::Caller;
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{Job, JobId};
use jobwright_core::store::Enqueued;
use jobwright_core::tenant::TenantName;
use serde_json::{Map, Value, json};

use super::view::{self, JobView};
use crate::api::app::App;
use crate::api::http::error::ApiError;

/// The header that tells a repeated request from the first, as other interfaces with such keys name it.
const REPLAYED: &str = "idempotency-replayed";

/// A job that was accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) id: JobId,
    /// The body of the answer to the request that made it.
    pub(super) first: Bytes,
    /// Whether that was an earlier request with the same key.
    pub(super) is_repeated: bool,
}

impl Accepted {
    /// The job that a store accepted, now (then `first` is it) or before.
    ///
    /// # Errors
    /// If it was not accepted.
    pub(super) fn of(enqueued: Enqueued, first: Option<(JobId, Bytes)>) -> Result<Self, ApiError> {
        match enqueued {
            Enqueued::Inserted => first
                .map(|(id, first)| Self { id, first, is_repeated: false })
                .ok_or_else(|| ApiError::internal("nothing was inserted")),
            Enqueued::Duplicate { id, answer } => Ok(Self { id, first: answer, is_repeated: true }),
            Enqueued::QueueFull(full) => Err(full.into()),
            Enqueued::KeyReused => {
                let detail =
                    "this Idempotency-Key was used for another request in the last 24 hours";
                Err(ApiError::unprocessable("idempotency_key_reused", detail))
            }
        }
    }

    /// What is still known of a job that is gone: what its first answer said, but for its state.
    fn pruned(&self) -> Value {
        let mut known: Map<String, Value> =
            serde_json::from_slice(&self.first).unwrap_or_else(|_| Map::new());
        known.insert("id".to_owned(), json!(self.id));
        known.insert("state".to_owned(), Value::Null);
        known.insert("pruned".to_owned(), true.into());
        known.into()
    }
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
            None if accepted.is_repeated => {
                (StatusCode::ACCEPTED, Json(accepted.pruned())).into_response()
            }
            None => (StatusCode::ACCEPTED, accepted.first).into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(url) = HeaderValue::from_str(&view::url(accepted.id)) {
            headers.insert(header::LOCATION, url);
        }
        if accepted.is_repeated {
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
            Some(deadline) => self.finalized_by(tenant, accepted.id, deadline).await.ok(),
            None => None,
        };
        match awaited {
            Some(found) => Ok(found),
            // It was accepted, whatever keeps this host from waiting for its end.
            None if accepted.is_repeated => Ok(self.store.get(accepted.id).await?),
            None => Ok(None),
        }
    }
}
