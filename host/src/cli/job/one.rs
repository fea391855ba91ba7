//! Requests for one job, and what its state means to a command.

use jobwright_core::job::{JobIdPrefix, Phase};
use reqwest::{Method, RequestBuilder};
use serde::Deserialize as _;
use serde_json::Value;

use crate::cli::client::Client;
use crate::cli::exit::Ending;

/// A request for a job, or for a part of it.
pub(super) fn of_job(
    client: &Client,
    method: Method,
    id: &JobIdPrefix,
    part: &str,
) -> RequestBuilder {
    let segments = ["jobs", id.as_str(), part];
    client.request(method, if part.is_empty() { &segments[..2] } else { &segments })
}

/// How the command ends, by the state of the job.
pub(super) fn ending(job: &Value) -> Ending {
    match Phase::deserialize(&job["state"]) {
        Ok(Phase::Completed) => Ending::Done,
        Ok(Phase::Discarded | Phase::Expired) => Ending::JobFailed,
        Ok(Phase::Cancelled) => Ending::JobCancelled,
        Ok(Phase::Scheduled | Phase::Retryable | Phase::Available | Phase::Running) => {
            Ending::StillUnfinished
        }
        // A state of a newer host.
        Err(_) => Ending::StillUnfinished,
    }
}

/// The error message of the latest attempt, if it failed.
pub(super) fn last_error(job: &Value) -> Option<&str> {
    let attempts = job["attempts"].as_array()?;
    attempts.last()?["error"]["message"].as_str().filter(|message| !message.is_empty())
}
