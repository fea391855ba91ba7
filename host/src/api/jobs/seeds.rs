//! The seeds of the attempts at a job. With a seed, an attempt can be replayed, and all secrets that its guest
//! derived from random numbers are known. So the route has a scope of its own.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::api::app::App;
use crate::api::http::auth::By;
use crate::api::http::error::ApiError;
use crate::api::http::path::Path;

/// The seeds of the attempts that have ended, as far as they are known.
pub(in crate::api) async fn seeds(
    State(app): State<App>,
    By(caller): By,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let job = app.job(&caller, &id).await?;
    let seeds = job.attempts.iter().filter_map(|record| {
        Some(json!({ "attempt": record.attempt, "seed": record.start?.seed }))
    });
    Ok(Json(json!({ "job": job.id, "seeds": seeds.collect::<Vec<_>>() })))
}
