//! Refuses query parameters and bodies that a route would ignore: a client that sends them expects an effect.
//! An empty body, white space, `{}` and `null`, which many clients send with every `POST`, are accepted.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use http_body_util::{BodyExt as _, Limited};

use super::error::ApiError;
use super::fields::{Fields, is_empty_json, utf8};
use super::problem_code::ProblemCode;
use super::query::Query;
use super::route::Route;

/// The longest body that is parsed, in bytes: enough to name its fields in the error.
const MAX_BYTES: usize = 4 << 10;

/// The timeout for such a body: clients send short bodies at once.
const DEADLINE: Duration = Duration::from_secs(10);

/// The request, if `route` uses all of it.
///
/// # Errors
/// With the parameters or fields that the route does not take.
pub(in crate::api) async fn refuse(route: &Route, request: Request) -> Result<Request, ApiError> {
    if !route.takes_query {
        Query::of(request.uri()).finish()?;
    }
    if route.takes_body || request.body().is_end_stream() {
        return Ok(request);
    }
    let (head, body) = request.into_parts();
    let read = tokio::time::timeout(DEADLINE, Limited::new(body, MAX_BYTES).collect()).await;
    let bytes = match read {
        Ok(Ok(whole)) => whole.to_bytes(),
        Ok(Err(_)) => return Err(unexpected(route)),
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", DEADLINE.as_secs());
            return Err(ApiError::new(ProblemCode::BodyTimeout, detail));
        }
    };
    match utf8(&bytes, "body") {
        Ok(text) if is_empty_json(text) => {}
        Ok(text) => check(route, text)?,
        Err(_) => return Err(unexpected(route)),
    }
    Ok(Request::from_parts(head, Body::empty()))
}

/// Refuses a body, unless it is `{}`; the error names its fields.
fn check(route: &Route, text: &str) -> Result<(), ApiError> {
    let fields = Fields::of_json(text, "body").map_err(|_| unexpected(route))?;
    let errors = fields.into_errors("is not a field of this request, which takes no body");
    if errors.is_empty() {
        return Ok(());
    }
    Err(hinted(ApiError::invalid(errors), route))
}

fn unexpected(route: &Route) -> ApiError {
    let Route { method, path, .. } = route;
    let detail = format!("{method} /v1{path} takes no body: send none");
    hinted(ApiError::new(ProblemCode::UnexpectedBody, detail), route)
}

fn hinted(error: ApiError, route: &Route) -> ApiError {
    match route.hint {
        Some(hint) => error.explained(hint),
        None => error,
    }
}
