//! What happens around every request: who may ask, an id, a deadline, headers that keep browsers
//! from being clever, and problems written out.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use jobwright_core::access::{Caller, Scope};
use jobwright_core::hold::Hold;

use super::body::Received;
use super::error::{ApiError, Problem};
use super::linger::lingering;
use super::wait::MAX_WAIT;
use super::{App, auth};

/// The longest that any request may take: the longest wait that one may ask for, an upload that
/// takes its time, and some slack.
const REQUEST_DEADLINE: Duration = Duration::from_secs(MAX_WAIT.as_secs() + 300);

/// Finds out who asks. Of a tenant that is switched off only reads pass, unless the operator asks.
pub(super) async fn authenticate(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let caller = app.admits(request.headers(), request.method().is_safe())?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

impl App {
    /// Who sends a request with these headers, which only reads or does not, if that is allowed as of
    /// now.
    pub(super) fn admits(&self, headers: &HeaderMap, reads: bool) -> Result<Caller, ApiError> {
        let now = self.clock.now();
        let caller = auth::identify(headers, &self.settings.keys, &*self.access, now)?;
        let off = self.signals.is_switched_off(&Hold::Tenant(caller.tenant.clone()));
        if off && !reads && !caller.may(Scope::Admin) {
            let detail = format!("tenant {} is switched off", caller.tenant);
            return Err(ApiError::forbidden("disabled", detail));
        }
        Ok(caller)
    }

    /// The whole body of a request that does something, of at most `most` bytes; `what` names it in
    /// errors. Who was let in when it began may have been shut out while it came.
    pub(super) async fn body(
        &self,
        what: &str,
        headers: &HeaderMap,
        body: Body,
        most: u64,
    ) -> Result<Received, ApiError> {
        let received = self.gates.bodies.read(what, headers, body, most).await?;
        self.admits(headers, false)?;
        Ok(received)
    }
}

/// Turns away what a foreign page can have sent.
pub(super) async fn guard(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    app.settings.allowed_hosts.check(request.method(), request.uri(), request.headers())?;
    Ok(next.run(request).await)
}

/// Gives the request an id and a deadline, and finishes its answer.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let id = format!("{:016x}", rand::random::<u64>());
    let answer = tokio::time::timeout(REQUEST_DEADLINE, next.run(lingering(request))).await;
    let mut response = answer
        .unwrap_or_else(|_| ApiError::busy("the request took longer than any may").into_response());
    if let Some(Problem(mut members)) = response.extensions_mut().remove() {
        members.insert("request_id".to_owned(), id.as_str().into());
        let (mut parts, _) = response.into_parts();
        let (json, body) = Json(members).into_response().into_parts();
        let kind = HeaderValue::from_static("application/problem+json");
        parts.headers.extend(json.headers);
        parts.headers.insert(header::CONTENT_TYPE, kind);
        response = Response::from_parts(parts, body);
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; sandbox"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
