//! Parses a file of jobs, and splits it into batches.

use std::borrow::Cow;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::Context as _;
use jobwright_core::limits::show_bytes;
use serde_json::value::RawValue;

use crate::cli::client::FILE_BYTES;
use crate::cli::exit::Fault;

/// The maximum number of jobs in a request, as on the host.
const BATCH_JOBS: usize = 1000;

/// The maximum length of a request with several jobs, in bytes: half of what a host accepts.
const BATCH_BYTES: usize = 8 << 20;

/// A job of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JobLine<'a> {
    /// The number of the line, or of the element in an array, from 1.
    pub(super) line: usize,
    /// The job as JSON, without line breaks.
    pub(super) json: Cow<'a, str>,
}

/// Reads `file`, or stdin for `-`.
///
/// # Errors
/// If it cannot be read, is too long, or is not UTF-8.
pub(super) fn read(file: &Path) -> anyhow::Result<String> {
    let shown = file.display();
    let failed = || Fault::NoInput.failure(format!("cannot read the jobs in {shown}"));
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
        return Err(Fault::Data.failure(message).into());
    }
    let text = String::from_utf8(bytes);
    text.map_err(|error| Fault::Data.failure(format!("the jobs in {shown}: {error}")).into())
}

/// Splits a JSON array, or lines with one object each, into jobs.
///
/// # Errors
/// If an array is not valid JSON.
pub(super) fn split(text: &str) -> anyhow::Result<Vec<JobLine<'_>>> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with('[') {
        let wrong = |error| Fault::Data.failure(format!("the jobs are not JSON: {error}"));
        let jobs: Vec<&RawValue> = serde_json::from_str(text).map_err(wrong)?;
        let numbered = jobs.iter().enumerate();
        return Ok(numbered
            .map(|(at, job)| JobLine { line: at + 1, json: on_one_line(job.get()) })
            .collect());
    }
    let lines = text.lines().enumerate();
    let jobs = lines.map(|(at, line)| JobLine { line: at + 1, json: line.trim().into() });
    Ok(jobs.filter(|job| !job.json.is_empty()).collect())
}

/// Replaces the line breaks in JSON by spaces. They are only whitespace: in strings they are escaped.
fn on_one_line(json: &str) -> Cow<'_, str> {
    match json.contains(['\n', '\r']) {
        true => json.replace(['\n', '\r'], " ").into(),
        false => json.into(),
    }
}

/// Splits the jobs into batches that a host accepts.
pub(super) fn batches<'a, 'b>(jobs: &'a [JobLine<'b>]) -> Vec<&'a [JobLine<'b>]> {
    let (mut batches, mut rest) = (Vec::new(), jobs);
    while !rest.is_empty() {
        let mut bytes = 0;
        let fitting = rest.iter().take(BATCH_JOBS).take_while(|job| {
            bytes += job.json.len() + 1;
            bytes <= BATCH_BYTES
        });
        let count = fitting.count();
        // A single job that is too long is sent, for the host to refuse.
        let (batch, left) = rest.split_at(count.max(1));
        batches.push(batch);
        rest = left;
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(line: usize, json: &str) -> JobLine<'_> {
        JobLine { line, json: json.into() }
    }

    #[test]
    fn jobs_are_lines_or_the_elements_of_an_array() {
        let jobs = |text| split(text).expect("jobs");
        let lines = "{\"a\":1}\n\n {\"b\":2}\r\n";
        assert_eq!(jobs(lines), [job(1, "{\"a\":1}"), job(3, "{\"b\":2}")]);
        assert_eq!(jobs("\u{feff}{}"), [job(1, "{}")]);
        assert_eq!(jobs(" [{\"a\": 1},\n {}]"), [job(1, "{\"a\": 1}"), job(2, "{}")]);
        assert_eq!(jobs(""), []);
        assert!(split("[{}").is_err());
    }

    #[test]
    fn an_element_over_several_lines_is_one_job() {
        let jobs = split("[\n  {\r\n    \"a\": \"x\\ny\"\n  },\n  {}\n]").expect("jobs");
        assert_eq!(jobs.len(), 2);
        assert!(!jobs[0].json.contains(['\n', '\r']), "{}", jobs[0].json);
        let value: serde_json::Value = serde_json::from_str(&jobs[0].json).expect("JSON");
        assert_eq!(value, serde_json::json!({ "a": "x\ny" }));
    }

    #[test]
    fn a_batch_is_no_larger_than_a_host_accepts() {
        let lengths = |jobs: Vec<JobLine<'_>>| -> Vec<usize> {
            batches(&jobs).iter().map(|batch| batch.len()).collect()
        };
        assert_eq!(lengths(vec![job(1, "{}"); 2500]), [1000, 1000, 500]);
        let long = "x".repeat(BATCH_BYTES / 3);
        assert_eq!(lengths(vec![job(1, &long); 5]), [2, 2, 1]);
        let longer = "x".repeat(2 * BATCH_BYTES);
        assert_eq!(lengths(vec![job(1, &longer); 2]), [1, 1]);
    }
}
