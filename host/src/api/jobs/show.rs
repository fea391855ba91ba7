//! Shows one job, now or when it is finalized.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jobwright_core::clock::after;

use super::named::unknown;
use crate::api::app::App;
use crate::api::http::auth::By;
use crate::api::http::error::ApiError;
use crate::api::http::path::Path;
use crate::api::http::wait::{self, RequestedWait};

pub(in crate::api) async fn show(
    State(app): State<App>,
    By(caller): By,
    Path(id): Path<String>,
    RequestedWait(wait): RequestedWait,
) -> Result<Response, ApiError> {
    let found = app.job(&caller, &id).await?;
    let id = found.id;
    let job = match wait {
        None => Some(found),
        Some(span) => {
            let deadline = after(app.parts.jobs.clock.now(), span);
            app.finalized_by(&caller.tenant, id, deadline).await?
        }
    };
    let mut response =
        app.answer(&caller, StatusCode::OK, &job.ok_or_else(|| unknown(id))?).await?;
    // For `?wait=` too, because a longer wait than the maximum is reduced.
    wait::set_preference_applied(&mut response, wait);
    Ok(response)
}
