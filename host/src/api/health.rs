//! Whether the process lives, and whether it takes jobs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::App;

/// The process answers.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// The store takes jobs; 503 with the reason if not.
pub(super) async fn ready(State(app): State<App>) -> (StatusCode, Json<Value>) {
    match app.store.ready() {
        Ok(()) => (StatusCode::OK, Json(json!({ "status": "ready" }))),
        Err(error) => {
            let body = json!({ "status": "not_ready", "reason": error.to_string() });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body))
        }
    }
}
