//! Delivers an event to a URL, with a key that only the host has.

use serde::Deserialize;
use wstd::http::error::ErrorCode;
use wstd::http::{Body, Client, HeaderMap, Request, Response, Result, StatusCode};

/// The host replaces the placeholder by the secret, if it is granted and the URL is one of its origins.
const AUTHORIZATION: &str = "Bearer jobwright-secret(WEBHOOK_KEY)";

/// The payload of the job.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delivery {
    url: String,
    event: serde_json::Value,
}

#[wstd::http_server]
async fn main(mut request: Request<Body>) -> Result<Response<Body>> {
    let delivery: Delivery = match serde_json::from_slice(request.body_mut().contents().await?) {
        Ok(delivery) => delivery,
        Err(error) => {
            return answer(StatusCode::UNPROCESSABLE_ENTITY, format!("no delivery: {error}"));
        }
    };
    match deliver(&delivery, request.headers()).await {
        Ok(response) => passed_on(&delivery.url, &response),
        Err(error) => {
            let status = status_of(error.downcast_ref());
            answer(status, format!("not delivered to {}: {error}", delivery.url))
        }
    }
}

/// Sends the event. All attempts at a job send the same id, by which the receiver detects repetitions.
async fn deliver(delivery: &Delivery, job: &HeaderMap) -> Result<Response<Body>> {
    let mut request = Request::post(&delivery.url)
        .header("content-type", "application/json")
        .header("authorization", AUTHORIZATION);
    if let Some(id) = job.get("jobwright-job-id") {
        request = request.header("webhook-id", id);
    }
    Client::new().send(request.body(Body::from(delivery.event.to_string()))?).await
}

/// Converts the receiver's response to ours, from which the host decides whether and when to retry.
fn passed_on(url: &str, response: &Response<Body>) -> Result<Response<Body>> {
    let status = response.status();
    if status.is_success() {
        let said = serde_json::json!({ "delivered": true, "status": status.as_u16() });
        let answer = Response::builder().header("content-type", "application/json");
        return Ok(answer.body(said.to_string().into())?);
    }
    // A redirect is a failure: the event must not go to another URL.
    let failed = if status.is_redirection() { StatusCode::BAD_GATEWAY } else { status };
    let mut answer = answer(failed, format!("{url} answered {status}"))?;
    if let Some(wait) = response.headers().get("retry-after") {
        answer.headers_mut().insert("retry-after", wait.clone());
    }
    Ok(answer)
}

/// A denied request stays denied; other errors may be temporary.
fn status_of(error: Option<&ErrorCode>) -> StatusCode {
    match error {
        Some(ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited) => {
            StatusCode::FORBIDDEN
        }
        _ => StatusCode::BAD_GATEWAY,
    }
}

fn answer(status: StatusCode, text: String) -> Result<Response<Body>> {
    let answer = Response::builder().status(status).header("content-type", "text/plain");
    Ok(answer.body(text.into())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receiver_decides_whether_and_when_to_try_again() {
        let of = |status: u16| {
            let response = Response::builder().status(status).header("retry-after", "7");
            passed_on("u", &response.body(Body::empty()).unwrap()).unwrap()
        };
        assert_eq!(of(204).status(), StatusCode::OK);
        assert_eq!(of(302).status(), StatusCode::BAD_GATEWAY);
        assert_eq!(of(410).status(), StatusCode::GONE);
        assert_eq!(of(503).status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(of(503).headers()["retry-after"], "7");
    }

    #[test]
    fn only_denied_requests_fail_for_good() {
        assert_eq!(status_of(Some(&ErrorCode::HttpRequestDenied)), StatusCode::FORBIDDEN);
        assert_eq!(status_of(Some(&ErrorCode::ConnectionRefused)), StatusCode::BAD_GATEWAY);
        assert_eq!(status_of(None), StatusCode::BAD_GATEWAY);
    }
}
