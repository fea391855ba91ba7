//! What happens around every request: who may ask, an id, a deadline, headers that keep browsers
//! from being clever, and problems written out.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use jobwright_core::access::Scope;
use jobwright_core::hold::Hold;

use super::error::{ApiError, Problem};
use super::linger::lingering;
use super::wait::MAX_WAIT;
use super::{App, auth};

/// The longest that any request may take: the longest wait that one may ask for, an upload that
/// takes its time, and some slack.
const REQUEST_DEADLINE: Duration = Duration::from_secs(MAX_WAIT.as_secs() + 300);

/// Finds out who asks. Of a tenant that is switched off only reads pass, unless its operator asks.
pub(super) async fn authenticate(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (keys, now) = (&app.settings.keys, app.clock.now());
    let caller = auth::identify(request.headers(), keys, &*app.access, now)?;
    let off = app.signals.is_switched_off(&Hold::Tenant(caller.tenant.clone()));
    if off && !request.method().is_safe() && !caller.may(Scope::Admin) {
        let detail = format!("tenant {} is switched off", caller.tenant);
        return Err(ApiError::forbidden("disabled", detail));
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
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
