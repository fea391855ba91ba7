//! Requests that are sent again after a while, because the host has no room just now.

use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use tokio::time::sleep;

use crate::cli::client::Client;
use crate::cli::exit::{Failure, Fault};

/// How often the same request is sent again.
const TRIES: usize = 30;

/// The wait before the next try, if the host names none.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest wait before the next try, whatever the host names.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The tries that are left.
#[derive(Debug)]
pub(super) struct Patience(usize);

impl Default for Patience {
    fn default() -> Self {
        Self(TRIES)
    }
}

impl Patience {
    /// Whether another try is left.
    pub(super) fn is_left(&self) -> bool {
        self.0 > 0
    }

    /// How long the tries that are left take, if the host names this wait before each.
    pub(super) fn longest(&self, retry_after: Option<Duration>) -> Duration {
        let tries = u32::try_from(self.0).unwrap_or(u32::MAX);
        pause(retry_after).saturating_mul(tries)
    }

    /// Waits before the next try as long as the host names, within bounds.
    pub(super) async fn wait(&mut self, retry_after: Option<Duration>) {
        self.0 = self.0.saturating_sub(1);
        sleep(pause(retry_after)).await;
    }
}

fn pause(retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or(PAUSE).min(MAX_PAUSE)
}

/// Sends the request that `make` makes, and again as long as the host has no room.
///
/// # Errors
/// Those of the last try.
pub(super) async fn send(
    client: &Client,
    make: impl Fn() -> RequestBuilder,
) -> anyhow::Result<Response> {
    let mut patience = Patience::default();
    loop {
        let error = match client.send(make()).await {
            Err(error) => error,
            answer => return answer,
        };
        let failure: Option<&Failure> = error.downcast_ref();
        match failure.filter(|failure| failure.fault() == Fault::Temporary) {
            Some(failure) if patience.is_left() => {
                let retry_after = failure.retry_after();
                patience.wait(retry_after).await;
            }
            _ => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_names_the_pause_within_bounds() {
        assert_eq!(pause(None), PAUSE);
        assert_eq!(pause(Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(pause(Some(Duration::MAX)), MAX_PAUSE);
        assert_eq!(Patience(3).longest(Some(Duration::from_secs(7))), Duration::from_secs(21));
    }
}
