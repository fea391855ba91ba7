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

/// The store takes jobs, and the host goes on to run them; 503 with the reason if not.
pub(super) async fn ready(State(app): State<App>) -> (StatusCode, Json<Value>) {
    let refusal = if *app.stopping.borrow() {
        Some((
            "stopping",
            "the host is stopping: what it accepts now runs at its next start".into(),
        ))
    } else {
        app.store.ready().err().map(|error| ("store_unavailable", error.to_string()))
    };
    match refusal {
        None => (StatusCode::OK, Json(json!({ "status": "ready" }))),
        Some((code, reason)) => {
            let body = json!({ "status": "not_ready", "code": code, "reason": reason });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body))
        }
    }
}
