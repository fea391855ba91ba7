//! Waiting for a job to be finalized: `Prefer: wait=N` (RFC 7240) and `?wait=30s`.

use std::str::FromStr;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use jiff::SignedDuration;
use jobwright_core::clock::{Timestamp, after};
use jobwright_core::job::{Job, JobId};
use jobwright_core::name::shorten;
use jobwright_core::tenant::TenantName;

use super::error::ApiError;
use super::number;
use super::problem_code::ProblemCode;
use super::query::Query;
use crate::api::app::App;

/// The longest wait: longer than the common timeouts of proxies.
pub(in crate::api) const MAX_WAIT: Duration = Duration::from_secs(300);

/// The interval at which the store is polled without a wake-up.
const POLL: Duration = Duration::from_secs(1);

/// How long a request waits for a job, by `?wait=` or else `Prefer: wait=N`. It has no other parameters.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct RequestedWait(pub(in crate::api) Option<Duration>);

impl<S: Send + Sync> FromRequestParts<S> for RequestedWait {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut query = Query::of(&parts.uri);
        let asked = query.parse("wait", ProblemCode::InvalidWait).map(|Wait(span)| span);
        query.finish()?;
        Ok(Self(asked.or_else(|| preferred(&parts.headers))))
    }
}

/// The seconds of `Prefer: wait=N`, at most [`MAX_WAIT`]. Other preferences are ignored.
pub(in crate::api) fn preferred(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all("prefer").into_iter().filter_map(|value| value.to_str().ok());
    preferences.flat_map(|value| value.split(',')).find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let value = value.trim().trim_matches('"');
        let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        // Numbers of more than 64 bits exceed the maximum too.
        let seconds = is_number.then(|| value.parse().unwrap_or(u64::MAX))?;
        let is_wait = name.trim().eq_ignore_ascii_case("wait");
        is_wait.then(|| Duration::from_secs(seconds).min(MAX_WAIT))
    })
}

/// Sets `Preference-Applied` (RFC 7240, 3), if a wait was applied.
pub(in crate::api) fn set_preference_applied(response: &mut Response, wait: Option<Duration>) {
    let applied = wait.map(|wait| HeaderValue::from_str(&format!("wait={}", wait.as_secs())));
    if let Some(Ok(applied)) = applied {
        response.headers_mut().insert("preference-applied", applied);
    }
}

/// The duration of `?wait=`: `30s`, `1m30s`, or a whole number of seconds; at most [`MAX_WAIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wait(Duration);

impl FromStr for Wait {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds = || number::plain(text).parse().ok().map(Duration::from_secs);
        let span = || text.parse::<SignedDuration>().ok().and_then(|span| span.try_into().ok());
        seconds()
            .or_else(span)
            .map(|wait| Self(wait.min(MAX_WAIT)))
            .ok_or_else(|| format!("`{}` is not a duration: use 30s or 1m30s", shorten(text)))
    }
}

impl App {
    /// Waits until the job is finalized or `deadline` has passed, and returns the job; `None` if it is unknown.
    pub(in crate::api) async fn finalized_by(
        &self,
        tenant: &TenantName,
        id: JobId,
        deadline: Timestamp,
    ) -> Result<Option<Job>, ApiError> {
        let waiter =
            self.subscribers.wake_ups.waiters.listen(tenant, id).map_err(ApiError::busy)?;
        loop {
            let hint = waiter.hint();
            let now = self.parts.jobs.clock.now();
            match self.parts.jobs.store.get(id).await? {
                Some(job) if !job.lifecycle.state.is_finalized() && now < deadline => {}
                other => return Ok(other),
            }
            tokio::select! {
                () = hint => {}
                () = self.parts.jobs.clock.sleep_until(after(now, POLL).min(deadline)) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_parsed_among_other_preferences() {
        let wait = |value: &str| {
            preferred(&HeaderMap::from_iter([("prefer".parse().unwrap(), value.parse().unwrap())]))
        };
        assert_eq!(wait("wait=5"), Some(Duration::from_secs(5)));
        assert_eq!(wait("respond-async, Wait = 7; x"), Some(Duration::from_secs(7)));
        assert_eq!(wait("wait=99999"), Some(MAX_WAIT));
        for none in ["", "wait", "wait=x", "wait=-1", "return=minimal"] {
            assert_eq!(wait(none), None, "{none}");
        }
    }

    #[test]
    fn a_wait_in_the_query_is_a_duration() {
        for (text, seconds) in
            [("30s", 30), ("2", 2), ("2.0", 2), ("1e1", 10), ("9h", MAX_WAIT.as_secs())]
        {
            assert_eq!(text.parse(), Ok(Wait(Duration::from_secs(seconds))), "{text}");
        }
        for bad in ["", "x", "-3s", "1w2", "0.5", "-1"] {
            assert!(bad.parse::<Wait>().is_err(), "{bad}");
        }
    }
}
