//! The middleware around every request: authentication, the request id, the timeout, security headers, and the
//! bodies of problems.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use jobwright_core::access::{Caller, Scope};
use jobwright_core::hold::Hold;
use serde_json::{Map, Value};

use super::auth;
use super::body::{RawBody, Received};
use super::connection_slots::RequestPermit;
use super::error::{ApiError, Problem};
use super::linger::lingering;
use super::server::Peer;
use super::wait::MAX_WAIT;
use crate::api::app::App;
use crate::intake::NotAdmitted;

/// The timeout of any request: the longest wait for a job, and a slow upload with its compilation.
const REQUEST_DEADLINE: Duration = Duration::from_secs(MAX_WAIT.as_secs() + 300);

/// Authenticates the request. Callers of a disabled tenant can only read, except administrators. The response is
/// kept within the memory budget of the tenant, see [`response_budget`](super::response_budget), and the credentials
/// are checked again before it is sent.
///
/// One layer does all of it: each costs an allocation or more for every request.
pub(in crate::api) async fn authenticate(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let reads = request.method().is_safe();
    let caller = app.identify(&request)?;
    app.still_admits(&caller, reads)?;
    let permit = app.budgets.requests.of(&caller.tenant).try_acquire(1u64);
    let permit = RequestPermit::new(permit.map_err(|_| {
        ApiError::busy("this tenant has too many concurrent requests; try again later")
    })?);
    request.extensions_mut().insert(caller.clone());
    request.extensions_mut().insert(permit.clone());
    let response = next.run(request).await;
    let charged = app.budgets.responses.of(&caller.tenant).charge(response, reads).await;
    let mut response = charged.unwrap_or_else(IntoResponse::into_response);
    if response.extensions_mut().remove::<CredentialsChanged>().is_none()
        // As a read, so that a client of a tenant that was disabled meanwhile learns the result of its change.
        && let Err(error) = app.still_admits(&caller, true)
    {
        response = ApiError::from(error).into_response();
    }
    // The connection keeps it until the response is written.
    response.extensions_mut().insert(permit);
    Ok(response)
}

/// Marks the response to a request that may have invalidated its own credentials: it created the first key, or
/// revoked its own key.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct CredentialsChanged;

impl CredentialsChanged {
    /// `response` with the mark.
    pub(in crate::api) fn mark(response: impl IntoResponse) -> Response {
        let mut response = response.into_response();
        response.extensions_mut().insert(Self);
        response
    }
}

impl App {
    fn identify(&self, request: &Request) -> Result<Caller, ApiError> {
        let (keys, now) = (&self.settings.keys, self.parts.jobs.clock.now());
        auth::identify(request.headers(), keys, &*self.parts.access, now)
    }

    /// Checks the credentials of `caller` again: a key can be revoked or expire, and a tenant be disabled,
    /// during a request. `reads` is true if the request changes nothing.
    ///
    /// # Errors
    /// If the caller is no longer authorized, or that cannot be checked.
    pub(in crate::api) fn still_admits(
        &self,
        caller: &Caller,
        reads: bool,
    ) -> Result<(), NotAdmitted> {
        if !auth::is_valid(
            caller,
            &self.settings.keys,
            &*self.parts.access,
            self.parts.jobs.clock.now(),
        )? {
            return Err(NotAdmitted::KeyInvalid);
        }
        let is_disabled =
            self.subscribers.controls.is_disabled(&Hold::Tenant(caller.tenant.clone()));
        if is_disabled && !reads && !caller.may(Scope::Admin) {
            return Err(NotAdmitted::TenantDisabled(caller.tenant.clone()));
        }
        Ok(())
    }

    /// Reads the body of a request that changes something, of at most `most` bytes; `what` names it in errors.
    /// Then it checks the credentials of `caller` again.
    pub(in crate::api) async fn body(
        &self,
        caller: &Caller,
        body: RawBody,
        what: &str,
        most: u64,
    ) -> Result<Received, ApiError> {
        let received = self.budgets.bodies.of(&caller.tenant).read(body, what, most).await?;
        self.still_admits(caller, false)?;
        Ok(received)
    }
}

impl App {
    /// Logs the refusal of a request, or of a job of a batch, for lack of permission or capacity.
    pub(in crate::api) fn log_refusal(&self, problem: &Map<String, Value>, peer: Option<Peer>) {
        let status = problem.get("status").and_then(Value::as_u64);
        let text = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
        if matches!(status, Some(401 | 403 | 429 | 503 | 507)) {
            let peer = peer.map(|Peer(address)| address);
            self.refusals.note_from(text("code"), text("detail"), peer);
        }
    }
}

/// Refuses requests of pages of other sites, and adds a request id, the timeout, security headers and the bodies
/// of problems.
pub(in crate::api) async fn finish(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Response {
    let id = format!("{:016x}", rand::random::<u64>());
    let peer = request.extensions().get::<Peer>().copied();
    let request = lingering(request);
    let mut response = match app.settings.allowed_hosts.admit(&request) {
        Ok(()) => within_deadline(next.run(request)).await,
        Err(error) => error.into_response(),
    };
    if let Some(Problem(mut members)) = response.extensions_mut().remove() {
        members.insert("request_id".to_owned(), id.as_str().into());
        app.log_refusal(&members, peer);
        response = with_problem(response, members);
    }
    add_headers(&mut response, &id);
    response
}

/// What `handled` answers, or that it took too long.
async fn within_deadline(handled: impl Future<Output = Response>) -> Response {
    tokio::time::timeout(REQUEST_DEADLINE, handled).await.unwrap_or_else(|_| {
        let seconds = REQUEST_DEADLINE.as_secs();
        ApiError::busy(format!("the request timed out after {seconds} s")).into_response()
    })
}

/// `response` with a problem as its body.
fn with_problem(response: Response, members: Map<String, Value>) -> Response {
    let (mut parts, _) = response.into_parts();
    let (json, body) = Json(members).into_response().into_parts();
    parts.headers.extend(json.headers);
    let content_type = HeaderValue::from_static("application/problem+json");
    parts.headers.insert(header::CONTENT_TYPE, content_type);
    Response::from_parts(parts, body)
}

/// Adds the request id and the security headers.
fn add_headers(response: &mut Response, id: &str) {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; sandbox"),
        (header::CACHE_CONTROL, "no-store"),
        // Pages of other origins cannot embed responses, even in browsers that send requests for them.
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}
