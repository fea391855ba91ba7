//! Whether the process lives, and whether it takes jobs.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use jobwright_core::access::Scope;
use serde_json::{Value, json};

use super::app::App;
use super::http::auth;

/// The process answers.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// The host takes jobs and goes on to run them; 503 if not. The reason says where things are and how much
/// of them, which is for callers that may read jobs.
pub(super) async fn ready(State(app): State<App>, headers: HeaderMap) -> (StatusCode, Json<Value>) {
    let Err(Unready { code, reason, public }) = app.ready() else {
        return (StatusCode::OK, Json(json!({ "status": "ready" })));
    };
    let (keys, now) = (&app.settings.keys, app.clock.now());
    let caller = auth::identify(&headers, keys, &*app.access, now);
    let may_know = public || caller.is_ok_and(|caller| caller.may(Scope::JobsRead));
    let reason = if may_know {
        reason
    } else {
        "send an API key with the scope `jobs:read` to see the reason".to_owned()
    };
    let body = json!({ "status": "not_ready", "code": code, "reason": reason });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body))
}

/// What some balancers ask for instead: that there is an answer says that the process lives.
pub(super) async fn options() -> (StatusCode, [(HeaderName, &'static str); 1]) {
    (StatusCode::NO_CONTENT, [(header::ALLOW, "GET,HEAD,OPTIONS")])
}

/// Why a host is not ready.
struct Unready {
    code: &'static str,
    reason: String,
    public: bool,
}

impl App {
    /// Whether submissions are taken and run: by what refuses them, and whether the host stops.
    fn ready(&self) -> Result<(), Unready> {
        if *self.stopping.borrow() {
            let reason = "the host is stopping: what it accepts now runs at its next start";
            return Err(Unready { code: "stopping", reason: reason.to_owned(), public: true });
        }
        let unready = |code, reason| Unready { code, reason, public: false };
        let store = self.store.ready();
        store.map_err(|error| unready("store_unavailable", error.to_string()))?;
        let disk = self.intake.has_disk_for_jobs(self.clock.now());
        disk.map_err(|low| unready("disk_low", low.to_string()))?;
        let full = self.store.full().map(|full| unready("queue_full", full.to_string()));
        full.map_or(Ok(()), Err)
    }
}
