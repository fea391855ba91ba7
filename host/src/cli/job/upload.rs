//! Submits the jobs of a file in batches. Prints the ids of accepted jobs after each batch, so that they
//! are known even if the command fails later.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::ProgressBar;
use reqwest::Method;
use serde_json::{Value, json};

use super::file::{JobLine, batches, read, split};
use super::resend::{self, Retries};
use crate::cli::amounts::{self, span};
use crate::cli::client::{Client, body_json, retry_after};
use crate::cli::exit::{Ending, Failure, Fault};
use crate::cli::signals::Signals;
use crate::cli::terminal::{Terminal, printable};

/// Submits the jobs in `file`; prints the ids of those that were accepted.
///
/// # Errors
/// If the file cannot be read, a request fails, or a job was refused; with the number of accepted jobs.
pub(super) async fn execute(
    file: &Path,
    client: &Client,
    terminal: &Terminal,
) -> anyhow::Result<Ending> {
    let text = read(file)?;
    let jobs = split(&text)?;
    let mut signals = Signals::listen()?;
    let mut upload = Upload::new(client, terminal, &jobs);
    let sent = tokio::select! {
        sent = upload.send_all() => sent,
        () = signals.stopped() => Err(Fault::Stopped.failure("stopped").into()),
    };
    upload.finish(sent)
}

/// An upload in progress.
struct Upload<'a> {
    client: &'a Client,
    terminal: &'a Terminal,
    progress: ProgressBar,
    jobs: &'a [JobLine<'a>],
    /// The final results, by line.
    answered: Vec<(usize, Value)>,
    /// Reset when a job is accepted. Without retries left, later batches are sent once.
    retries: Retries,
    /// Whether the note that the host has no room was printed.
    wait_announced: bool,
}

impl<'a> Upload<'a> {
    fn new(client: &'a Client, terminal: &'a Terminal, jobs: &'a [JobLine<'a>]) -> Self {
        let progress = terminal.progress(format!("submitting {}", amounts::jobs(jobs.len())));
        let (answered, retries) = (Vec::with_capacity(jobs.len()), Retries::default());
        Self { client, terminal, progress, jobs, answered, retries, wait_announced: false }
    }

    async fn send_all(&mut self) -> anyhow::Result<()> {
        for batch in batches(self.jobs) {
            self.send(batch).await?;
            let (done, all) = (self.answered.len(), self.jobs.len());
            self.progress.set_message(format!("submitted {done} of {}", amounts::jobs(all)));
        }
        Ok(())
    }

    /// Sends a batch. Sends the jobs for which the host has no room again, while retries are left.
    async fn send(&mut self, batch: &[JobLine<'_>]) -> anyhow::Result<()> {
        let mut left: Vec<&JobLine<'_>> = batch.iter().collect();
        while !left.is_empty() {
            let (answers, retry_after) = self.answers(&left).await?;
            let answers = left.iter().zip(answers).map(|(job, answer)| (*job, answer));
            let (busy, decided): (Vec<_>, Vec<_>) =
                answers.partition(|(_, answer)| self.retries.is_left() && is_busy(answer));
            let decided = decided.into_iter().map(|(job, answer)| (job.line, answer));
            if self.record(decided.collect())? {
                self.retries = Retries::default();
            }
            left = busy.into_iter().map(|(job, _)| job).collect();
            if !left.is_empty() {
                self.note_wait(left.len(), retry_after);
                self.retries.wait(retry_after).await;
            }
        }
        Ok(())
    }

    /// Prints, once, that there is no room for `count` jobs, and how long they are retried.
    fn note_wait(&mut self, count: usize, retry_after: Option<Duration>) {
        if !std::mem::replace(&mut self.wait_announced, true) {
            let longest = span(self.retries.longest(retry_after));
            let note = format!(
                "the host has no room for {}: retrying for up to {longest}",
                amounts::jobs(count)
            );
            self.terminal.note(&self.progress, &note);
        }
    }

    /// Sends jobs in one request. Returns a result for each, and the header `Retry-After`.
    async fn answers(
        &self,
        jobs: &[&JobLine<'_>],
    ) -> anyhow::Result<(Vec<Value>, Option<Duration>)> {
        let body: String = jobs.iter().flat_map(|job| [&*job.json, "\n"]).collect();
        let request = || {
            let request = self.client.request(Method::POST, &["jobs", "batch"]);
            request.header("content-type", "application/x-ndjson").body(body.clone())
        };
        let response = resend::send(self.client, request).await?;
        let retry_after = retry_after(&response);
        let answers: Vec<Value> = serde_json::from_value(body_json(response).await?)
            .context("the host's response to a batch is not an array")?;
        anyhow::ensure!(
            answers.len() == jobs.len(),
            "the host's response has {} results for {}",
            answers.len(),
            amounts::jobs(jobs.len())
        );
        Ok((answers, retry_after))
    }

    /// Records results, and prints them: ids on stdout, refusals on stderr. Returns whether a job was
    /// accepted.
    fn record(&mut self, answers: Vec<(usize, Value)>) -> io::Result<bool> {
        for (line, answer) in &answers {
            if let Some(refusal) = refusal(answer) {
                self.terminal.note(&self.progress, &format!("line {line}: {refusal}"));
            }
        }
        let ids: Vec<&str> =
            answers.iter().filter_map(|(_, answer)| answer["id"].as_str()).collect();
        if !self.terminal.is_json() {
            let write = |out: &mut dyn Write| {
                ids.iter().try_for_each(|id| writeln!(out, "{}", printable(id)))
            };
            self.progress.suspend(|| self.terminal.result(|| Value::Null, write))?;
        }
        let has_accepted = !ids.is_empty();
        self.answered.extend(answers);
        Ok(has_accepted)
    }

    /// Prints all results, with `--json`, and returns how the command ends.
    fn finish(mut self, sent: anyhow::Result<()>) -> anyhow::Result<Ending> {
        self.progress.finish_and_clear();
        self.answered.sort_by_key(|(line, _)| *line);
        let answers = self.answered.iter();
        if self.terminal.is_json() {
            let entries = || answers.clone().map(|(line, answer)| entry(*line, answer)).collect();
            self.terminal.result(entries, |_| Ok(()))?;
        }
        let accepted = answers.clone().filter(|(_, answer)| answer["id"].is_string()).count();
        let accepted =
            format!("the host accepted {accepted} of {}", amounts::jobs(self.jobs.len()));
        if let Err(error) = sent {
            return Err(error.context(format!("{accepted}{}", self.unanswered())));
        }
        let faults = answers.filter_map(|(_, answer)| Some(refusal(answer)?.fault()));
        match faults.reduce(worst) {
            None => Ok(Ending::Done),
            Some(fault) => Err(fault.failure(accepted).into()),
        }
    }

    /// The first line without a result, as the end of a message.
    fn unanswered(&self) -> String {
        // Jobs and results are ordered by line.
        let mut answered = self.answered.iter().map(|(line, _)| *line).peekable();
        let open = self.jobs.iter().find(|job| answered.next_if_eq(&job.line).is_none());
        open.map_or_else(String::new, |job| {
            format!("; the first job without a response is in line {}", job.line)
        })
    }
}

fn entry(line: usize, answer: &Value) -> Value {
    let mut entry = json!({ "line": line });
    for field in ["status", "id", "replayed", "state", "error"] {
        if !answer[field].is_null() {
            entry[field] = answer[field].clone();
        }
    }
    entry
}

fn status(answer: &Value) -> u16 {
    let status = answer["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    status.unwrap_or_default()
}

/// Whether a job was refused because the host is busy.
fn is_busy(answer: &Value) -> bool {
    matches!(status(answer), 429 | 503)
}

/// The failure for a refused job; `None` if it was accepted.
fn refusal(answer: &Value) -> Option<Failure> {
    let status = status(answer);
    let accepted = (200..300).contains(&status);
    (!accepted).then(|| Failure::of_host(status, answer["error"].clone()))
}

/// The fault to report: a permanent one takes precedence over a temporary one.
fn worst(before: Fault, now: Fault) -> Fault {
    if before == Fault::Temporary { now } else { before }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::extract::State;
    use axum::routing::post;
    use axum::{Json, Router};

    use super::*;

    #[tokio::test]
    async fn without_retries_left_later_batches_are_sent_once() {
        let requests: Arc<AtomicUsize> = Arc::default();
        let busy = async |State(requests): State<Arc<AtomicUsize>>, body: String| {
            requests.fetch_add(1, Ordering::Relaxed);
            let answers = vec![json!({ "status": 429 }); body.lines().count()];
            ([("retry-after", "0")], Json(answers))
        };
        let router = Router::new().route("/v1/jobs/batch", post(busy));
        let client = Client::of(router.with_state(requests.clone())).await;
        // One more than in a batch.
        let jobs = vec![JobLine { line: 1, json: "{}".into() }; 1001];
        let terminal = Terminal::new(true);
        let mut upload = Upload::new(&client, &terminal, &jobs);
        upload.send_all().await.expect("answers");
        assert_eq!(upload.answered.len(), jobs.len());
        // The first batch is sent and then tried again 30 times, the second is sent once.
        assert_eq!(requests.load(Ordering::Relaxed), 32);
    }

    #[test]
    fn an_entry_has_the_fields_of_a_repeated_job() {
        let answer = json!({ "status": 202, "id": "x", "replayed": true, "state": "running" });
        let expected =
            json!({ "line": 7, "status": 202, "id": "x", "replayed": true, "state": "running" });
        assert_eq!(entry(7, &answer), expected);
    }

    #[test]
    fn only_temporary_refusals_are_sent_again() {
        let is_busy = |status: u16| is_busy(&json!({ "status": status }));
        assert_eq!([429, 503, 202, 422].map(is_busy), [true, true, false, false]);
    }

    #[test]
    fn a_permanent_fault_takes_precedence() {
        assert_eq!(worst(Fault::Temporary, Fault::Data), Fault::Data);
        assert_eq!(worst(Fault::Data, Fault::Temporary), Fault::Data);
    }
}
