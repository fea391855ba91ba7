//! The meaning of a response (RFC 9110, section 15): 2xx succeeds; 429 and 503 with a `Retry-After`
//! are a snooze, which is no failure; 408, 429 and 5xx without one request a retry; any other
//! status fails for good.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use jobwright_core::outcome::{AttemptError, RetryHint};
use jobwright_core::text::excerpt;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;

use super::super::super::ending::GuestResult;
use super::super::super::stdio::OutputBuffer;
use crate::clock;

/// The result of the guest's handler.
#[derive(Debug)]
pub(super) enum Answer {
    /// A response whose body has ended.
    Whole(Parts),
    /// An error status with a body that is longer than the output limit.
    Cut(Parts),
    /// A success whose body was aborted, or is shorter than its `content-length`.
    Broken,
    /// The guest responded with an error code instead of a response.
    Error(ErrorCode),
    /// The handler returned without a response.
    Missing,
}

/// The result of a guest that responded with `answer`, whose body is in `output`.
pub(super) fn result_of(answer: Answer, output: &Arc<OutputBuffer>) -> GuestResult {
    let failed = |code, message: String| GuestResult::Failed {
        error: AttemptError::new(code, message),
        retry: RetryHint::Backoff,
    };
    match answer {
        Answer::Whole(head) if head.status.is_success() => GuestResult::Done { content_type: None },
        Answer::Whole(head) | Answer::Cut(head) => refused(&head, output),
        Answer::Broken => {
            let bytes = output.tried();
            failed(
                "http_body",
                format!("the body of the response ended early, after {bytes} bytes"),
            )
        }
        Answer::Error(code) => failed(
            "http_error",
            format!(
                "the handler responded with the error {}",
                excerpt(format!("{code:?}").as_bytes(), BODY_BYTES)
            ),
        ),
        Answer::Missing => {
            failed("no_answer", "the handler returned without a response".to_owned())
        }
    }
}

/// The maximum length of a quotation of a response's body or error in a message, in bytes.
const BODY_BYTES: usize = 1000;

fn refused(head: &Parts, output: &Arc<OutputBuffer>) -> GuestResult {
    let mut message = format!("answered {}", head.status);
    let start = output.start(BODY_BYTES + 4);
    if !start.trim_ascii().is_empty() {
        message.push_str(": ");
        message.push_str(&excerpt(start.trim_ascii(), BODY_BYTES));
    }
    let error = AttemptError::new("http_status", message);
    let wait = retry_after(&head.headers, clock::wall().into());
    match (head.status, wait) {
        (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, Some(_)) => {
            GuestResult::Later { error, wait }
        }
        (status, _) if may_pass(status) => {
            GuestResult::Failed { error, retry: wait.map_or(RetryHint::Backoff, RetryHint::After) }
        }
        _ => GuestResult::Failed { error, retry: RetryHint::Never },
    }
}

/// Whether a retry may get another status.
fn may_pass(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

/// The wait of `Retry-After`, given as a number of seconds or a date (RFC 9110, section 10.2.3):
/// `None` if it is neither, zero if the date has passed. The decision on the next attempt bounds
/// it.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// The media type of the response, if it has one.
pub(super) fn content_type(answer: &Answer) -> Option<String> {
    let (Answer::Whole(head) | Answer::Cut(head)) = answer else { return None };
    head.headers.get(CONTENT_TYPE)?.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_a_number_of_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        let wait = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().expect("a value"));
            retry_after(&headers, now)
        };
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(wait("Sunday, 06-Nov-94 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(wait("Sun, 06 Nov 1994 07:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("99999999999999999999999"), Some(Duration::from_secs(u64::MAX)));
        for bad in ["", "-1", "1.5", "soon"] {
            assert_eq!(wait(bad), None, "{bad}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
