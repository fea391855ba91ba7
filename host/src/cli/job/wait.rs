//! Waits for a job, and shows its progress.

use std::io::Write as _;
use std::time::Duration;

use jobwright_core::clock::{Timestamp, until};
use reqwest::Method;
use serde_json::Value;

use super::one::{ending, last_error};
use super::show::progress_line;
use crate::cli::amounts::span;
use crate::cli::client::Client;
use crate::cli::exit::{Ending, Fault};
use crate::cli::json::text;
use crate::cli::signals::Signals;
use crate::cli::terminal::{Terminal, printable};
use crate::clock;

/// How long one request waits: short enough that the progress line stays current.
const WAIT_STEP: Duration = Duration::from_secs(2);

/// Waits until the job is finalized, or `max_wait` has passed. Prints each failed attempt on stderr.
///
/// # Errors
/// If a request fails, or on Ctrl-C and SIGTERM: the job then continues.
pub(super) async fn until_finalized(
    client: &Client,
    terminal: &Terminal,
    id: &str,
    max_wait: Option<Duration>,
) -> anyhow::Result<Value> {
    let mut signals = Signals::listen()?;
    let mut id = id.to_owned();
    tokio::select! {
        job = watch(client, terminal, &mut id, max_wait) => job,
        () = signals.stopped() => Err(Fault::Stopped
            .failure(format!(
                "stopped waiting; the job continues: `jobwright job wait {id}` waits again, `jobwright \
                 job cancel {id}` cancels it"
            ))
            .into()),
    }
}

/// Prints the id of the job before waiting, so that it is known if the command is stopped.
pub(super) fn announce(terminal: &Terminal, id: &str) {
    let line = match terminal.is_json() {
        true => serde_json::json!({ "id": id }).to_string(),
        false => format!("job {}", printable(id)),
    };
    // If stderr is closed, there is nowhere to report that.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Polls the job. `id` can be a prefix; the first response replaces it by the full id, because later jobs
/// can have the same prefix.
async fn watch(
    client: &Client,
    terminal: &Terminal,
    id: &mut String,
    max_wait: Option<Duration>,
) -> anyhow::Result<Value> {
    let progress = terminal.progress(format!("waiting for job {id}"));
    let mut left = max_wait.unwrap_or(Duration::MAX);
    let mut reported = 0;
    loop {
        let step = WAIT_STEP.min(left);
        let request = client.request(Method::GET, &["jobs", id]);
        let asked = request.query(&[("wait", step.as_secs().max(1).to_string())]);
        let job = client.json(asked).await?;
        if let Some(full) = job["id"].as_str() {
            full.clone_into(id);
        }
        left = left.saturating_sub(step);
        if left.is_zero() || ending(&job) != Ending::StillUnfinished {
            progress.finish_and_clear();
            return Ok(job);
        }
        if let Some(failure) = failure(&job, &mut reported) {
            terminal.note(&progress, &failure);
        }
        progress.set_message(status(&job, clock::wall()));
    }
}

/// The message for an attempt that the host interrupted.
const INTERRUPTED: &str = "interrupted by the host (it stops, or the plugin or tenant was disabled); the \
                           attempt does not count";

/// A line for the latest attempt, if it failed and was not reported yet.
fn failure(job: &Value, reported: &mut u64) -> Option<String> {
    let last = job["attempts"].as_array()?.last()?;
    let number = last["attempt"].as_u64()?;
    if number <= std::mem::replace(reported, number) {
        return None;
    }
    if last["outcome"] == "interrupted" {
        return Some(format!("attempt {number} {INTERRUPTED}"));
    }
    let error = last_error(job).unwrap_or("no reason given");
    let next = match job["state"].as_str() {
        Some("retryable") => format!("; next attempt at {}", text(&job["scheduled_at"])),
        _ => String::new(),
    };
    Some(format!("attempt {number} {}: {error}{next}", text(&last["outcome"]).replace('_', " ")))
}

/// The progress line.
fn status(job: &Value, now: Timestamp) -> String {
    let [id, state] = ["id", "state"].map(|field| printable(&text(&job[field])));
    let next = job["scheduled_at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    let next = next.filter(|at| *at > now && state != "running");
    let next = next.map(|at| format!(", next attempt in {}", span(until(now, at))));
    let error = last_error(job).map(|error| format!(": {}", printable(error)));
    let detail = progress_line(job).map(|line| format!(": {line}")).or(error).unwrap_or_default();
    format!("job {id} is {state}, {}{}{detail}", attempts(job), next.unwrap_or_default())
}

/// Attempts and failures: `attempt 3, 1 of at most 2 failures`. There are more attempts than failures if
/// some did not count, or the job was retried with `jobwright job retry`.
fn attempts(job: &Value) -> String {
    let [attempt, failures, most] =
        ["attempt", "failures", "max_attempts"].map(|field| printable(&text(&job[field])));
    format!("attempt {attempt}, {failures} of at most {most} failures")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::extract::{Path, State};
    use axum::routing::get;
    use axum::{Json, Router};
    use serde_json::json;

    use super::*;

    fn retryable() -> Value {
        json!({
            "id": "019b7000", "state": "retryable", "attempt": 1, "failures": 1, "max_attempts": 5, "progress": null,
            "scheduled_at": "2026-01-01T00:00:12Z",
            "attempts": [{ "attempt": 1, "outcome": "failed", "error": { "message": "busy" } }],
        })
    }

    #[test]
    fn a_failed_attempt_is_reported_once_with_the_time_of_the_next() {
        let (job, mut reported) = (retryable(), 0);
        let line = failure(&job, &mut reported).expect("a line");
        assert_eq!(line, "attempt 1 failed: busy; next attempt at 2026-01-01T00:00:12Z");
        assert_eq!(failure(&job, &mut reported), None);
    }

    #[test]
    fn an_interrupted_attempt_is_reported_as_not_counting() {
        let job =
            json!({ "attempts": [{ "attempt": 1, "outcome": "interrupted", "error": null }] });
        let line = failure(&job, &mut 0).expect("a line");
        assert!(line.starts_with("attempt 1 interrupted by the host (it stops, "), "{line}");
        assert!(line.ends_with("; the attempt does not count"), "{line}");
    }

    #[test]
    fn the_last_error_and_the_next_attempt_are_shown() {
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let shown = status(&retryable(), now);
        let tries = "attempt 1, 1 of at most 5 failures";
        assert_eq!(shown, format!("job 019b7000 is retryable, {tries}, next attempt in 12s: busy"));
    }

    #[tokio::test]
    async fn a_wait_for_a_prefix_continues_with_the_full_id() {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let job = async |State(asked): State<Arc<Mutex<Vec<String>>>>, Path(id): Path<String>| {
            let mut asked = asked.lock().expect("no panic");
            asked.push(id);
            let state = if asked.len() < 3 { "running" } else { "completed" };
            Json(json!({ "id": "019b7000-0000", "state": state, "attempts": [] }))
        };
        let router = Router::new().route("/v1/jobs/{id}", get(job)).with_state(asked.clone());
        let (client, mut id) = (Client::of(router).await, "019b7".to_owned());
        let job = watch(&client, &Terminal::new(true), &mut id, None).await.expect("a job");
        assert_eq!((&job["state"], &*id), (&json!("completed"), "019b7000-0000"));
        let asked = asked.lock().expect("no panic");
        assert_eq!(*asked, ["019b7", "019b7000-0000", "019b7000-0000"]);
    }
}
