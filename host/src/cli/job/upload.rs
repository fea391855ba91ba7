//! Many jobs from a file: sent in batches, each answered by itself.

use std::io::{self, Read as _, Write};
use std::path::Path;

use anyhow::Context as _;
use jobwright_core::limits::show_bytes;
use reqwest::Method;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::cli::client::{Client, FILE_BYTES};
use crate::cli::exit::{Ending, Failure, Fault};
use crate::cli::terminal::{Terminal, printable};

/// Jobs in one request: the most that a host takes.
const BATCH_JOBS: usize = 1000;

/// The length of one request, in bytes: half of what a host takes, as the last job may be long.
const BATCH_BYTES: usize = 8 << 20;

/// A job of the file: the number of its line, or of its place in an array, from 1.
type Numbered<'a> = (usize, &'a str);

/// Submits the jobs in `file`; prints the ids of those that were accepted.
///
/// # Errors
/// If the file cannot be read, the host fails, or a job was refused: then with how many were.
pub(super) async fn execute(
    file: &Path,
    client: &Client,
    terminal: &Terminal,
) -> anyhow::Result<Ending> {
    let text = read(file)?;
    let jobs = split(&text)?;
    let progress = terminal.progress(format!("submitting {} jobs", jobs.len()));
    let (mut entries, mut fault) = (Vec::new(), None);
    for batch in batches(&jobs) {
        let body: String = batch.iter().flat_map(|(_, job)| [*job, "\n"]).collect();
        let request = client.request(Method::POST, &["jobs", "batch"]);
        let request = request.header("content-type", "application/x-ndjson").body(body);
        let answered = client.json(request).await.with_context(|| {
            let done = entries.len();
            format!("submitted the first {done} of {} jobs: those after them failed", jobs.len())
        })?;
        let answers = answered.as_array().map(Vec::as_slice).unwrap_or_default();
        for ((line, _), answer) in batch.iter().zip(answers) {
            if let Some(found) = refusal(answer) {
                terminal.note(&progress, &format!("line {line}: {found}"));
                fault = Some(worst(fault, found.fault()));
            }
            entries.push(entry(*line, answer));
        }
        progress.set_message(format!("submitted {} of {} jobs", entries.len(), jobs.len()));
    }
    progress.finish_and_clear();
    terminal.result(|| entries.clone().into(), |out| write_ids(&entries, out))?;
    let accepted = entries.iter().filter(|entry| entry["id"].is_string()).count();
    match fault {
        None => Ok(Ending::Done),
        Some(fault) => {
            let message = format!("the host accepted {accepted} of {} jobs", jobs.len());
            Err(fault.says(message).into())
        }
    }
}

fn write_ids(entries: &[Value], out: &mut dyn Write) -> io::Result<()> {
    let mut ids = entries.iter().filter_map(|entry| entry["id"].as_str());
    ids.try_for_each(|id| writeln!(out, "{}", printable(id)))
}

fn entry(line: usize, answer: &Value) -> Value {
    let mut entry = json!({ "line": line });
    for field in ["status", "id", "error"] {
        if !answer[field].is_null() {
            entry[field] = answer[field].clone();
        }
    }
    entry
}

/// Why a job was refused, if it was.
fn refusal(answer: &Value) -> Option<Failure> {
    let status = answer["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    let status = status.unwrap_or_default();
    let accepted = (200..300).contains(&status);
    (!accepted).then(|| Failure::of_host(status, answer["error"].clone()))
}

/// Of two kinds of failures that which a script should learn of: waiting does not help what is wrong.
fn worst(before: Option<Fault>, now: Fault) -> Fault {
    match before {
        None | Some(Fault::Temporary) => now,
        Some(before) => before,
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    let shown = file.display();
    let failed = || Fault::NoInput.says(format!("cannot read the jobs in {shown}"));
    let bytes = if file == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().take(FILE_BYTES + 1).read_to_end(&mut bytes).with_context(failed)?;
        bytes
    } else {
        std::fs::read(file).with_context(failed)?
    };
    if bytes.len() as u64 > FILE_BYTES {
        let most = show_bytes(FILE_BYTES);
        let message = format!("the jobs in {shown} are longer than {most}: split the file");
        return Err(Fault::Data.says(message).into());
    }
    let text = String::from_utf8(bytes);
    text.map_err(|error| Fault::Data.says(format!("the jobs in {shown}: {error}")).into())
}

/// The jobs of a JSON array, or of one object a line.
fn split(text: &str) -> anyhow::Result<Vec<Numbered<'_>>> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with('[') {
        let wrong = |error| Fault::Data.says(format!("the jobs are not JSON: {error}"));
        let jobs: Vec<&RawValue> = serde_json::from_str(text).map_err(wrong)?;
        // An object over several lines would be several jobs to the host.
        if let Some(place) = jobs.iter().position(|job| job.get().contains('\n')) {
            let message = format!(
                "job {} of the array spans several lines: write one job a line, as `jq -c '.[]'` does",
                place + 1
            );
            return Err(Fault::Data.says(message).into());
        }
        return Ok(jobs.iter().enumerate().map(|(at, job)| (at + 1, job.get())).collect());
    }
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    Ok(lines.filter(|(_, line)| !line.is_empty()).collect())
}

/// The jobs in pieces that a host takes.
fn batches<'a, 'b>(jobs: &'a [Numbered<'b>]) -> Vec<&'a [Numbered<'b>]> {
    let (mut batches, mut rest) = (Vec::new(), jobs);
    while !rest.is_empty() {
        let mut bytes = 0;
        let fitting = rest.iter().take(BATCH_JOBS).take_while(|(_, job)| {
            bytes += job.len() + 1;
            bytes <= BATCH_BYTES
        });
        let count = fitting.count();
        // One that is too long by itself is the host's to refuse.
        let (batch, left) = rest.split_at(count.max(1));
        batches.push(batch);
        rest = left;
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_lines_or_the_elements_of_an_array() {
        let jobs = |text| split(text).expect("jobs");
        assert_eq!(jobs("{\"a\":1}\n\n {\"b\":2}\r\n"), [(1, "{\"a\":1}"), (3, "{\"b\":2}")]);
        assert_eq!(jobs("\u{feff}{}"), [(1, "{}")]);
        assert_eq!(jobs(" [{\"a\": 1},\n {}]"), [(1, "{\"a\": 1}"), (2, "{}")]);
        assert_eq!(jobs(""), []);
        for bad in ["[{}", "[{\n}]"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_has_no_more_than_a_host_takes() {
        let long = "x".repeat(BATCH_BYTES / 3);
        let lengths = |jobs: Vec<Numbered<'_>>| -> Vec<usize> {
            batches(&jobs).iter().map(|batch| batch.len()).collect()
        };
        assert_eq!(lengths(vec![(1, "{}"); 2500]), [1000, 1000, 500]);
        assert_eq!(lengths(vec![(1, long.as_str()); 5]), [2, 2, 1]);
        let longer = "x".repeat(2 * BATCH_BYTES);
        assert_eq!(lengths(vec![(1, longer.as_str()); 2]), [1, 1]);
    }
}
