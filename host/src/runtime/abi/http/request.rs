//! The HTTP request that represents a job.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request};
use http_body_util::combinators::MapErr;
use http_body_util::{BodyExt as _, Full};
use jobwright_core::attempt::Attempt;
use wasmtime_wasi_http::Error;

use super::super::environment::facts;

/// The address of every such request. A guest sees the path `/` and the authority `jobwright`.
const TARGET: &str = "http://jobwright/";

/// A body that is complete: reading it never fails.
type Body = MapErr<Full<Bytes>, Never>;
type Never = fn(Infallible) -> Error;

/// The payload with its media type, and the facts about the job in headers that are named after its
/// variables: `jobwright-job-id` for `JOBWRIGHT_JOB_ID`.
pub(super) fn of(attempt: &Attempt) -> wasmtime::Result<Request<Body>> {
    let payload = &attempt.payload;
    let body = Full::new(payload.bytes.clone()).map_err((|never| match never {}) as Never);
    let mut request = Request::builder().method(Method::POST).uri(TARGET).body(body)?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(payload.bytes.len()));
    let kind = payload.content_type.as_deref().map(HeaderValue::from_str);
    if let Some(Ok(kind)) = kind {
        headers.insert(CONTENT_TYPE, kind);
    }
    for (variable, value) in facts(attempt) {
        let name = variable.to_ascii_lowercase().replace('_', "-");
        // A tag may contain characters that are invalid in a header.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::try_from(name)?, value);
        }
    }
    Ok(request)
}
