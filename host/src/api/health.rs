//! Liveness and readiness of the host.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use jobwright_core::access::Scope;
use serde_json::{Value, json};

use super::app::App;
use super::http::auth;
use super::http::problem_code::ProblemCode;

/// `GET /healthz`: 200 while the process serves requests.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /readyz`: 200 while the host accepts and runs jobs, else 503. The reason has paths and numbers, so only
/// callers with the scope `jobs:read` see it.
pub(super) async fn ready(State(app): State<App>, headers: HeaderMap) -> (StatusCode, Json<Value>) {
    let Err(Unready { code, reason, public }) = app.ready() else {
        return (StatusCode::OK, Json(json!({ "status": "ready" })));
    };
    let (keys, now) = (&app.settings.keys, app.parts.jobs.clock.now());
    let caller = auth::identify(&headers, keys, &*app.parts.access, now);
    let may_see = public || caller.is_ok_and(|caller| caller.may(Scope::JobsRead));
    let reason = if may_see {
        reason
    } else {
        "send an API key with the scope `jobs:read` to see the reason".to_owned()
    };
    let body = json!({ "status": "not_ready", "code": code, "reason": reason });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body))
}

/// `OPTIONS`, which some load balancers send as a liveness check.
pub(super) async fn options() -> (StatusCode, [(HeaderName, &'static str); 1]) {
    (StatusCode::NO_CONTENT, [(header::ALLOW, "GET,HEAD,OPTIONS")])
}

/// Why a host is not ready.
struct Unready {
    code: &'static str,
    reason: String,
    /// Whether all callers can see the reason.
    public: bool,
}

impl App {
    /// Checks what would refuse a job, and whether the host is stopping.
    fn ready(&self) -> Result<(), Unready> {
        if *self.stopping.borrow() {
            let reason = "the host is stopping: jobs that it accepts now run at its next start";
            return Err(Unready { code: "stopping", reason: reason.to_owned(), public: true });
        }
        let unready = |code: ProblemCode, reason| {
            let code = code.as_str();
            Unready { code, reason, public: false }
        };
        let store = self.parts.jobs.store.ready();
        store.map_err(|error| unready(ProblemCode::StoreUnavailable, error.to_string()))?;
        let disk = self.intake.has_disk_for_jobs(self.parts.jobs.clock.now());
        disk.map_err(|low| unready(ProblemCode::DiskLow, low.to_string()))?;
        let full = self
            .parts
            .jobs
            .store
            .full()
            .map(|full| unready(ProblemCode::QueueFull, full.to_string()));
        full.map_or(Ok(()), Err)
    }
}
