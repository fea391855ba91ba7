//! What an answer means: 2xx succeeds; 408, 429 and 5xx ask for another try; everything else fails
//! for good (RFC 9110, section 15).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use jobwright_core::clock::Clock as _;
use jobwright_core::name::shorten;
use jobwright_core::outcome::{AttemptError, RetryHint, is_media_type};
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;

use super::super::super::ending::Said;
use super::super::super::stdio::OutputBuffer;
use crate::clock::SystemClock;

/// What came of a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// An answer whose body has ended.
    Whole(Parts),
    /// An answer whose body was given up, or was not as long as it had said.
    Broken,
    /// The guest answered that it cannot.
    Error(ErrorCode),
    /// The handler returned without an answer.
    Missing,
}

/// What the guest said with `answer`, whose body is `output`.
pub(super) fn said(answer: Answer, output: &Arc<OutputBuffer>) -> Said {
    let failed = |code, message: String| Said::Failed {
        error: AttemptError::new(code, message),
        retry: RetryHint::Backoff,
    };
    match answer {
        Answer::Whole(head) if head.status.is_success() => {
            Said::Done { content_type: content_type(&head.headers) }
        }
        Answer::Whole(head) => refused(&head, output),
        Answer::Broken => {
            let bytes = output.tried();
            failed("http_body", format!("the answer's body broke off after {bytes} bytes"))
        }
        Answer::Error(code) => failed(
            "http_error",
            format!("answered with the error {}", shorten(&format!("{code:?}"))),
        ),
        Answer::Missing => failed("no_answer", "the handler returned without an answer".to_owned()),
    }
}

fn refused(head: &Parts, output: &Arc<OutputBuffer>) -> Said {
    let mut message = format!("answered {}", head.status);
    // Four bytes hold any character, and 80 of them are shown.
    let start = output.start(4 * 81);
    let start = String::from_utf8_lossy(&start);
    if !start.trim().is_empty() {
        message.push_str(": ");
        message.push_str(&shorten(start.trim()));
    }
    Said::Failed { error: AttemptError::new("http_status", message), retry: retry(head) }
}

fn retry(head: &Parts) -> RetryHint {
    let again = head.status.is_server_error()
        || matches!(head.status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    if !again {
        return RetryHint::Never;
    }
    retry_after(&head.headers, SystemClock.now().into())
        .map_or(RetryHint::Backoff, RetryHint::After)
}

/// How long to wait, as a number of seconds or until a date (RFC 9110, section 10.2.3). Who decides
/// on the next attempt bounds it.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// The media type of the answer, if it says one that others can be told.
fn content_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    is_media_type(text).then(|| text.to_owned())
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
