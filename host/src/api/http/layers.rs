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
use serde_json::{Map, Value};

use super::auth;
use super::body::Received;
use super::error::{ApiError, Problem};
use super::linger::lingering;
use super::places::UnderWay;
use super::server::Peer;
use super::wait::MAX_WAIT;
use crate::api::app::App;
use crate::intake::NotAdmitted;

/// The longest that any request may take: the longest wait that one may ask for, an upload that
/// takes its time, and some slack.
const REQUEST_DEADLINE: Duration = Duration::from_secs(MAX_WAIT.as_secs() + 300);

/// Authenticates the request. For a disabled tenant only reads pass, except for administrators.
/// Credentials are checked again before the response is sent.
pub(in crate::api) async fn authenticate(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let reads = request.method().is_safe();
    let caller = app.identify(&request)?;
    app.still_admits(&caller, reads)?;
    let under_way = app.gates.requests.of(&caller.tenant).try_acquire(1u64);
    let under_way = UnderWay::new(under_way.map_err(|_| {
        ApiError::busy("this tenant has too many concurrent requests: try again later")
    })?);
    request.extensions_mut().insert(caller.clone());
    request.extensions_mut().insert(under_way.clone());
    let mut response = next.run(request).await;
    if response.extensions_mut().remove::<Lasting>().is_none()
        // Also of a tenant that was switched off meanwhile: what was done is told.
        && let Err(error) = app.still_admits(&caller, true)
    {
        response = ApiError::from(error).into_response();
    }
    // The connection keeps it until the answer is written.
    response.extensions_mut().insert(under_way);
    Ok(response)
}

/// Marks the answer to a request that may have ended what let its caller in: it has made the first key,
/// or revoked its own.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct Lasting;

impl Lasting {
    /// `response`, marked.
    pub(in crate::api) fn mark(response: impl IntoResponse) -> Response {
        let mut response = response.into_response();
        response.extensions_mut().insert(Self);
        response
    }
}

impl App {
    fn identify(&self, request: &Request) -> Result<Caller, ApiError> {
        let (keys, now) = (&self.settings.keys, self.clock.now());
        auth::identify(request.headers(), keys, &*self.access, now)
    }

    /// Checks what let `caller` in once more: a key can be revoked or expire, and a tenant be switched
    /// off, while a request is under way.
    ///
    /// # Errors
    /// If it does not let the caller in any more; `reads` says whether the request changes nothing.
    pub(in crate::api) fn still_admits(
        &self,
        caller: &Caller,
        reads: bool,
    ) -> Result<(), NotAdmitted> {
        if !auth::holds(caller, &self.settings.keys, &*self.access, self.clock.now()) {
            return Err(NotAdmitted::KeyInvalid);
        }
        let off = self.controls.is_disabled(&Hold::Tenant(caller.tenant.clone()));
        if off && !reads && !caller.may(Scope::Admin) {
            return Err(NotAdmitted::TenantDisabled(caller.tenant.clone()));
        }
        Ok(())
    }

    /// The whole body of a request that changes something, of at most `most` bytes; `what` names it in
    /// errors.
    pub(in crate::api) async fn body(
        &self,
        caller: &Caller,
        what: &str,
        headers: &HeaderMap,
        body: Body,
        most: u64,
    ) -> Result<Received, ApiError> {
        let received = self.gates.bodies.of(&caller.tenant).read(what, headers, body, most).await?;
        self.still_admits(caller, false)?;
        Ok(received)
    }
}

impl App {
    /// Reports a request, or an entry of a batch, that was refused for lack of permission or of room.
    pub(in crate::api) fn note_refusal(&self, problem: &Map<String, Value>, peer: Option<Peer>) {
        let status = problem.get("status").and_then(Value::as_u64);
        let text = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
        if matches!(status, Some(401 | 403 | 429 | 503 | 507)) {
            let peer = peer.map(|Peer(address)| address);
            self.gates.refusals.note_from(text("code"), text("detail"), peer);
        }
    }
}

/// Answers within the room of the tenant: see [`answers`](super::answers).
pub(in crate::api) async fn hold(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let refusable = request.method().is_safe();
    let tenant = request.extensions().get::<Caller>().map(|caller| caller.tenant.clone());
    let response = next.run(request).await;
    app.gates.answers.of(&tenant.unwrap_or_default()).hold(response, refusable).await
}

/// Turns away what a foreign page can have sent.
pub(in crate::api) async fn guard(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    app.settings.allowed_hosts.admit(&request)?;
    Ok(next.run(request).await)
}

/// Gives the request an id and a deadline, and finishes its answer.
pub(in crate::api) async fn finish(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Response {
    let id = format!("{:016x}", rand::random::<u64>());
    let peer = request.extensions().get::<Peer>().copied();
    let answer = tokio::time::timeout(REQUEST_DEADLINE, next.run(lingering(request))).await;
    let mut response = answer
        .unwrap_or_else(|_| ApiError::busy("the request took longer than any may").into_response());
    if let Some(Problem(mut members)) = response.extensions_mut().remove() {
        members.insert("request_id".to_owned(), id.as_str().into());
        app.note_refusal(&members, peer);
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
        // No page of another origin embeds an answer, also where its browser sends requests for one.
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
