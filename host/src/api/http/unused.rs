//! What a request carries and its route would ignore is refused: a client that sends it expects it to
//! have an effect. A body that says nothing is taken: an empty one, white space, `{}` and `null`, which
//! many clients send with every `POST`.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use http_body_util::{BodyExt as _, Limited};

use super::error::ApiError;
use super::fields::{Fields, says_nothing, utf8};
use super::query::Query;
use super::route::Route;

/// The longest body that is looked at, in bytes: enough for its fields to be named.
const MAX_BYTES: usize = 4 << 10;

/// How long such a body may take: a client that sends so little sends it at once.
const DEADLINE: Duration = Duration::from_secs(10);

/// The request, if it carries nothing that `route` does not take.
///
/// # Errors
/// What of it the route does not take.
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
            return Err(ApiError::timeout("body_timeout", detail));
        }
    };
    match utf8(&bytes, "body") {
        Ok(text) if says_nothing(text) => {}
        Ok(text) => check(route, text)?,
        Err(_) => return Err(unexpected(route)),
    }
    Ok(Request::from_parts(head, Body::empty()))
}

/// Refuses a body that is more than `{}`, by its fields if it has some.
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
    hinted(ApiError::bad_request("unexpected_body", detail), route)
}

fn hinted(error: ApiError, route: &Route) -> ApiError {
    match route.hint {
        Some(hint) => error.explained(hint),
        None => error,
    }
}
