//! Sends requests again while the host is busy.

use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use tokio::time::sleep;

use crate::cli::client::Client;
use crate::cli::exit::{Failure, Fault};

/// How often a request is sent again.
const MAX_RETRIES: usize = 30;

/// The delay before a retry, if the host does not send `Retry-After`.
const PAUSE: Duration = Duration::from_secs(1);

/// The maximum delay before a retry, also if `Retry-After` is longer.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The number of retries that are left.
#[derive(Debug)]
pub(super) struct Retries(usize);

impl Default for Retries {
    fn default() -> Self {
        Self(MAX_RETRIES)
    }
}

impl Retries {
    /// Whether a retry is left.
    pub(super) fn is_left(&self) -> bool {
        self.0 > 0
    }

    /// How long all remaining retries take, if the host sends this `Retry-After` each time.
    pub(super) fn longest(&self, retry_after: Option<Duration>) -> Duration {
        let tries = u32::try_from(self.0).unwrap_or(u32::MAX);
        pause(retry_after).saturating_mul(tries)
    }

    /// Waits before the next retry, and counts it.
    pub(super) async fn wait(&mut self, retry_after: Option<Duration>) {
        self.0 = self.0.saturating_sub(1);
        sleep(pause(retry_after)).await;
    }
}

fn pause(retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or(PAUSE).min(MAX_PAUSE)
}

/// Sends the request that `make` returns, and sends it again while the host is busy.
///
/// # Errors
/// The error of the last request.
pub(super) async fn send(
    client: &Client,
    make: impl Fn() -> RequestBuilder,
) -> anyhow::Result<Response> {
    let mut retries = Retries::default();
    loop {
        let error = match client.send(make()).await {
            Err(error) => error,
            answer => return answer,
        };
        let failure: Option<&Failure> = error.downcast_ref();
        match failure.filter(|failure| failure.fault() == Fault::Temporary) {
            Some(failure) if retries.is_left() => {
                let retry_after = failure.retry_after();
                retries.wait(retry_after).await;
            }
            _ => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_that_the_host_requests_is_bounded() {
        assert_eq!(pause(None), PAUSE);
        assert_eq!(pause(Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(pause(Some(Duration::MAX)), MAX_PAUSE);
        assert_eq!(Retries(3).longest(Some(Duration::from_secs(7))), Duration::from_secs(21));
    }
}
