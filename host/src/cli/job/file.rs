//! A file of jobs, and the batches in which they are sent.

use std::borrow::Cow;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::Context as _;
use jobwright_core::limits::show_bytes;
use serde_json::value::RawValue;

use crate::cli::client::FILE_BYTES;
use crate::cli::exit::Fault;

/// Jobs in one request: the most that a host takes.
const BATCH_JOBS: usize = 1000;

/// The length of one request, in bytes: half of what a host takes, as the last job may be long.
const BATCH_BYTES: usize = 8 << 20;

/// A job of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Numbered<'a> {
    /// The number of its line, or of its place in an array, from 1.
    pub(super) line: usize,
    /// Its JSON, on one line.
    pub(super) json: Cow<'a, str>,
}

/// The text of `file`; of stdin for `-`.
///
/// # Errors
/// If it cannot be read, is too long, or is not UTF-8.
pub(super) fn read(file: &Path) -> anyhow::Result<String> {
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
///
/// # Errors
/// If an array is not JSON.
pub(super) fn split(text: &str) -> anyhow::Result<Vec<Numbered<'_>>> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with('[') {
        let wrong = |error| Fault::Data.says(format!("the jobs are not JSON: {error}"));
        let jobs: Vec<&RawValue> = serde_json::from_str(text).map_err(wrong)?;
        let numbered = jobs.iter().enumerate();
        return Ok(numbered
            .map(|(at, job)| Numbered { line: at + 1, json: on_one_line(job.get()) })
            .collect());
    }
    let lines = text.lines().enumerate();
    let jobs = lines.map(|(at, line)| Numbered { line: at + 1, json: line.trim().into() });
    Ok(jobs.filter(|job| !job.json.is_empty()).collect())
}

/// JSON without line breaks, which are only white space in it: within a string they are escaped.
fn on_one_line(json: &str) -> Cow<'_, str> {
    match json.contains(['\n', '\r']) {
        true => json.replace(['\n', '\r'], " ").into(),
        false => json.into(),
    }
}

/// The jobs in pieces that a host takes.
pub(super) fn batches<'a, 'b>(jobs: &'a [Numbered<'b>]) -> Vec<&'a [Numbered<'b>]> {
    let (mut batches, mut rest) = (Vec::new(), jobs);
    while !rest.is_empty() {
        let mut bytes = 0;
        let fitting = rest.iter().take(BATCH_JOBS).take_while(|job| {
            bytes += job.json.len() + 1;
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

    fn job(line: usize, json: &str) -> Numbered<'_> {
        Numbered { line, json: json.into() }
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
    fn a_request_has_no_more_than_a_host_takes() {
        let lengths = |jobs: Vec<Numbered<'_>>| -> Vec<usize> {
            batches(&jobs).iter().map(|batch| batch.len()).collect()
        };
        assert_eq!(lengths(vec![job(1, "{}"); 2500]), [1000, 1000, 500]);
        let long = "x".repeat(BATCH_BYTES / 3);
        assert_eq!(lengths(vec![job(1, &long); 5]), [2, 2, 1]);
        let longer = "x".repeat(2 * BATCH_BYTES);
        assert_eq!(lengths(vec![job(1, &longer); 2]), [1, 1]);
    }
}
