//! Accepts one job.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use jobwright_core::clock::after;

use super::request::{JobRequest, Reader};
use crate::api::app::App;
use crate::api::client::Client;
use crate::api::http::auth::By;
use crate::api::http::body::RawBody;
use crate::api::http::error::ApiError;
use crate::api::http::wait;
use crate::intake::Order;

pub(in crate::api) async fn create(
    State(app): State<App>,
    By(caller): By,
    uri: Uri,
    body: RawBody,
) -> Result<Response, ApiError> {
    let (what, most) = match uri.query().unwrap_or_default() {
        "" => ("job", app.settings.job_bytes()),
        _ => ("payload", app.settings.payload_bytes),
    };
    let headers = body.headers.clone();
    let body = app.body(&caller, body, what, most).await?;
    let now = app.parts.jobs.clock.now();
    let reader = Reader { settings: &app.settings, now };
    let JobRequest { submission, unread } = reader.one(&uri, &headers, body.bytes.clone())?;
    let wait = wait::preferred(&headers);
    let deadline = after(now, wait.unwrap_or_default());
    let by = Client { app: &app, caller: &caller };
    // The body keeps its permit until the job is stored or refused.
    let order = Order { by: &by, deadline, held: Arc::new(body) };
    let answer = app.intake.submit(&order, vec![submission]).await?.pop();
    drop(order);
    let accepted = unread.answered(answer)?;
    let mut response = app.answer_accepted(&caller, accepted, wait.map(|_| deadline)).await?;
    wait::set_preference_applied(&mut response, wait);
    Ok(response)
}
