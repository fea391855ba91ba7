//! Waiting for a job: what is shown meanwhile, and on Ctrl-C or SIGTERM.

use std::io::Write as _;
use std::time::Duration;

use jobwright_core::clock::{Timestamp, until};
use reqwest::Method;
use serde_json::Value;

use super::show::told;
use super::{ending, last_error};
use crate::cli::client::Client;
use crate::cli::exit::{Ending, Fault};
use crate::cli::plugin::text;
use crate::cli::signals::Signals;
use crate::cli::span::span;
use crate::cli::terminal::{Terminal, printable};
use crate::clock;

/// One step of a wait: short enough that the line on the terminal stays current.
const WAIT_STEP: Duration = Duration::from_secs(2);

/// The job when it is over, or when the time is. Each attempt that fails meanwhile is a line on stderr.
///
/// # Errors
/// On Ctrl-C and SIGTERM, with what to do next: the job goes on.
pub(super) async fn until_over(
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
            .says(format!(
                "stopped waiting; the job continues: `jobwright job wait {id}` waits again, `jobwright \
                 job cancel {id}` cancels it"
            ))
            .into()),
    }
}

/// Says which job it is, before it is waited for: a script that is ended meanwhile knows it too.
pub(super) fn announce(terminal: &Terminal, id: &str) {
    let line = match terminal.is_json() {
        true => serde_json::json!({ "id": id }).to_string(),
        false => format!("job {}", printable(id)),
    };
    // Where nobody reads it, nobody is to be told.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// `id` may be the beginning of one; after the first answer it is whole, as other jobs may come to have the
/// same beginning.
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
        if let Some(whole) = job["id"].as_str() {
            whole.clone_into(id);
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

/// What is said of an attempt that the host broke off.
const INTERRUPTED: &str = "interrupted by the host (it stops, or the plugin or tenant was disabled); the \
                           attempt does not count";

/// What to say of the latest attempt, if it failed and was not reported yet.
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

/// The line on the terminal.
fn status(job: &Value, now: Timestamp) -> String {
    let [id, state] = ["id", "state"].map(|field| printable(&text(&job[field])));
    let next = job["scheduled_at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    let next = next.filter(|at| *at > now && state != "running");
    let next = next.map(|at| format!(", next attempt in {}", span(until(now, at))));
    let error = last_error(job).map(|error| format!(": {}", printable(error)));
    let told = told(job).map(|told| format!(": {told}")).or(error).unwrap_or_default();
    format!("job {id} is {state}, {}{}{told}", tries(job), next.unwrap_or_default())
}

/// How often it was tried: `attempt 3, 1 of at most 2 failures`. Attempts are more than failures if some
/// did not count, or the job was retried by hand.
fn tries(job: &Value) -> String {
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
    fn an_attempt_that_failed_is_reported_once_with_the_next_try() {
        let (job, mut reported) = (retryable(), 0);
        let line = failure(&job, &mut reported).expect("a line");
        assert_eq!(line, "attempt 1 failed: busy; next attempt at 2026-01-01T00:00:12Z");
        assert_eq!(failure(&job, &mut reported), None);
    }

    #[test]
    fn an_attempt_that_the_host_interrupted_is_said_not_to_count() {
        let job =
            json!({ "attempts": [{ "attempt": 1, "outcome": "interrupted", "error": null }] });
        let line = failure(&job, &mut 0).expect("a line");
        assert!(line.starts_with("attempt 1 interrupted by the host (it stops, "), "{line}");
        assert!(line.ends_with("; the attempt does not count"), "{line}");
    }

    #[test]
    fn the_last_error_and_the_next_try_are_shown() {
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let shown = status(&retryable(), now);
        let tries = "attempt 1, 1 of at most 5 failures";
        assert_eq!(shown, format!("job 019b7000 is retryable, {tries}, next attempt in 12s: busy"));
    }

    #[tokio::test]
    async fn a_wait_for_a_prefix_goes_on_with_the_whole_id() {
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
