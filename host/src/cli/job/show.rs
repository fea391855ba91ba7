//! Prints a job as text.

use std::io::{self, Write};

use reqwest::Method;
use serde_json::Value;

use crate::cli::client::Client;
use crate::cli::json::text;
use crate::cli::table::table;
use crate::cli::terminal::{Terminal, printable};

/// The maximum length of textual output that is shown with its job, in bytes: a few screens.
const SHOWN_BYTES: u64 = 16 << 10;

/// Prints a job, with its output if that is JSON or a short text.
pub(super) async fn show(client: &Client, terminal: &Terminal, job: &Value) -> anyhow::Result<()> {
    let output = if terminal.is_json() { None } else { text_output(client, job).await };
    terminal.result(|| job.clone(), |out| write_job(job, output.as_deref(), out))?;
    Ok(())
}

/// The output, if it is JSON or a short text. JSON is fetched as the guest wrote it: parsing and writing it
/// again can change numbers and the order of fields.
async fn text_output(client: &Client, job: &Value) -> Option<String> {
    let failed = &job["failed_output"];
    let (kind, bytes) = match failed.is_null() {
        true => (&job["output_type"], &job["output_bytes"]),
        false => (&failed["content_type"], &failed["bytes"]),
    };
    let is_text = kind.as_str().is_some_and(|kind| kind.starts_with("text/"));
    let is_short = bytes.as_u64().is_some_and(|bytes| bytes <= SHOWN_BYTES);
    let is_shown = has_json(job) || (is_text && is_short);
    if !is_shown {
        return None;
    }
    let id = job["id"].as_str()?;
    // If this fails, only the length is shown.
    let output = client.file(client.request(Method::GET, &["jobs", id, "output"])).await.ok()?;
    String::from_utf8(output.into()).ok()
}

/// Whether the output is JSON, which the host includes in the job.
fn has_json(job: &Value) -> bool {
    job.get("output").is_some()
}

fn write_job(job: &Value, output: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
    for field in
        ["id", "plugin", "queue", "state", "attempt", "created_at", "scheduled_at", "finalized_at"]
    {
        writeln!(out, "{field:<13} {}", printable(&text(&job[field])))?;
        if field == "attempt" {
            writeln!(out, "{:<13} {}", "failures", failures(job))?;
        }
    }
    if let Some(progress) = progress_line(job) {
        writeln!(out, "{:<13} {progress}", "progress")?;
    }
    if let Some(at) = job["cancel_requested_at"].as_str().filter(|_| job["finalized_at"].is_null())
    {
        writeln!(out, "cancellation requested at {}; the attempt is being stopped", printable(at))?;
    }
    for (field, bound) in [("expires_at", "ttl"), ("deadline_at", "deadline")] {
        if let Some(at) = job[field].as_str() {
            let mark = if job["ended_by"] == bound { ", which ended the job" } else { "" };
            writeln!(out, "{field:<13} {}{mark}", printable(at))?;
        }
    }
    write_output(job, output, out)?;
    write_attempts(job, out)?;
    if let Some(output) = output.filter(|output| !output.is_empty() && !has_json(job)) {
        writeln!(out, "\n{}", printable(output.trim_end_matches('\n')))?;
    }
    out.flush()
}

/// The failed attempts that count, and how many attempts are left to an unfinished job.
fn failures(job: &Value) -> String {
    let [failures, most, left] =
        ["failures", "max_attempts", "attempts_left"].map(|field| printable(&text(&job[field])));
    match job["finalized_at"].is_null() {
        true => format!("{failures} of at most {most}, attempts left: {left}"),
        false => format!("{failures} of at most {most}"),
    }
}

/// Writes the field for the output.
fn write_output(job: &Value, output: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
    if let Some(json) = output.filter(|_| has_json(job)) {
        writeln!(out, "{:<13} {}", "output", printable(json.trim_end()))?;
    } else if let Some(bytes) = job["output_bytes"].as_u64() {
        let kind = printable(&text(&job["output_type"]));
        writeln!(out, "{:<13} {bytes} bytes, {kind}", "output")?;
    }
    let failed = &job["failed_output"];
    if let (Some(bytes), Some(attempt)) = (failed["bytes"].as_u64(), failed["attempt"].as_u64()) {
        let kind = printable(&text(&failed["content_type"]));
        let outcome = printable(&text(&failed["outcome"]));
        let what = format!("{bytes} bytes, {kind}, of attempt {attempt} ({outcome})");
        writeln!(out, "{:<13} {what}: see `jobwright job output`", "failed output")?;
    }
    Ok(())
}

fn write_attempts(job: &Value, out: &mut dyn Write) -> io::Result<()> {
    let attempts = job["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !attempts.is_empty() {
        let row = |attempt: &Value| {
            let usage = &attempt["usage"];
            vec![
                text(&attempt["attempt"]),
                text(&attempt["outcome"]),
                format!("{} ms", text(&usage["run_ms"])),
                text(&usage["fuel"]),
                text(&attempt["error"]["message"]),
            ]
        };
        let header = ["attempt", "outcome", "run", "fuel", "error"];
        writeln!(out, "\n{}", table(&header, attempts.iter().map(row)))?;
    }
    Ok(())
}

/// The latest progress that the guest reported, such as `42 % half of it`.
pub(super) fn progress_line(job: &Value) -> Option<String> {
    let progress = job["progress"].as_object()?;
    let percent = progress["fraction"].as_f64().map(|part| format!("{:.0} %", part * 100.0));
    let message = progress["message"].as_str().map(printable).filter(|text| !text.is_empty());
    Some(percent.into_iter().chain(message).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{progress_line, write_job};

    #[test]
    fn a_cancellation_request_is_shown_until_the_job_is_finalized() {
        let shown = |finalized_at| {
            let at = "2026-01-01T00:00:00Z";
            let job = json!({ "cancel_requested_at": at, "finalized_at": finalized_at });
            let mut out = Vec::<u8>::new();
            write_job(&job, None, &mut out).expect("it is written");
            String::from_utf8_lossy(&out).contains("requested at 2026-01-01T00:00:00Z; ")
        };
        assert!(shown(json!(null)) && !shown(json!("2026-01-01T00:00:01Z")));
    }

    #[test]
    fn progress_is_shown_as_far_as_it_was_reported() {
        let shown = |fraction, message| {
            progress_line(&json!({ "progress": { "fraction": fraction, "message": message } }))
        };
        assert_eq!(shown(json!(0.424), "half\u{1b}[31m").as_deref(), Some("42 % half\u{fffd}[31m"));
        assert_eq!(shown(json!(null), "looking").as_deref(), Some("looking"));
        assert_eq!(shown(json!(1), "").as_deref(), Some("100 %"));
        assert_eq!(progress_line(&json!({ "progress": null })), None);
    }
}
