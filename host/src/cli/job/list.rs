//! `jobwright job list`

use std::collections::BTreeSet;

use comfy_table::{Color, Table};
use jobwright_core::clock::{Timestamp, until};
use jobwright_core::job::JobId;
use serde_json::Value;

use super::filter::Filter;
use super::one::last_error;
use crate::cli::amounts::span;
use crate::cli::client::Client;
use crate::cli::exit::Ending;
use crate::cli::json::text;
use crate::cli::table::{Column, fitting};
use crate::cli::terminal::Terminal;
use crate::clock;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    filter: Filter,
    /// The maximum number of jobs to list.
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

impl List {
    pub(super) async fn execute(
        self,
        client: &Client,
        terminal: &Terminal,
    ) -> anyhow::Result<Ending> {
        let jobs = self.filter.jobs(client, self.limit, |_| true).await?;
        terminal.table(|| jobs.clone().into(), || table(&jobs, clock::wall()))?;
        Ok(Ending::Done)
    }
}

/// Errors are cut first, then queues, then plugins.
const COLUMNS: [Column; 7] = [
    Column { title: "id", min_width: usize::MAX },
    Column { title: "plugin", min_width: 11 },
    Column { title: "queue", min_width: 6 },
    Column { title: "state", min_width: usize::MAX },
    Column { title: "attempt", min_width: usize::MAX },
    Column { title: "age", min_width: usize::MAX },
    Column { title: "error", min_width: 14 },
];

/// A table of jobs, with their ages at `now`.
pub(super) fn table(jobs: &[Value], now: Timestamp) -> Table {
    let ids: Vec<String> = jobs.iter().map(|job| text(&job["id"])).collect();
    let length = short(&ids);
    let row = |(job, id): (&Value, &String)| {
        let age = job["created_at"].as_str().and_then(|at| at.parse().ok());
        vec![
            id.chars().take(length).collect(),
            named(&text(&job["plugin"])).to_owned(),
            text(&job["queue"]),
            text(&job["state"]),
            text(&job["attempt"]),
            age.map_or_else(String::new, |at: Timestamp| span(until(at, now))),
            last_error(job).unwrap_or_default().to_owned(),
        ]
    };
    let rows = jobs.iter().zip(&ids).map(row).collect();
    fitting(&COLUMNS, rows, |title, cell| if title == "state" { colour(cell) } else { None })
}

/// A plugin reference, without the version if the host derived it from the digest: that takes space from
/// the error, and `job show` has it.
fn named(plugin: &str) -> &str {
    plugin.split_once("@sha-").map_or(plugin, |(name, _)| name)
}

/// The shortest prefix length that is unique in this list: [`JobId::SHORT`], or longer if ids of earlier
/// versions collide.
fn short(ids: &[String]) -> usize {
    let longest = ids.iter().map(String::len).max().unwrap_or(0);
    let is_unique = |length: usize| {
        let distinct: BTreeSet<&str> =
            ids.iter().map(|id| id.get(..length).unwrap_or(id)).collect();
        distinct.len() == ids.len()
    };
    (JobId::SHORT..longest).find(|length| is_unique(*length)).unwrap_or(longest)
}

fn colour(state: &str) -> Option<Color> {
    match state {
        "completed" => Some(Color::Green),
        "running" => Some(Color::Cyan),
        "discarded" | "expired" => Some(Color::Red),
        "retryable" => Some(Color::Yellow),
        "cancelled" => Some(Color::DarkGrey),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_are_shortened_to_unique_prefixes() {
        let id = |text: &str| text.to_owned();
        let one = id("019b7000-0000-7000-8000-000000000000");
        assert_eq!(short(&[one.clone(), id("019b7000-0000-7001-8000-000000000000")]), 18);
        assert_eq!(short(&[one.clone(), id("019b7000-0000-7000-8001-000000000000")]), 23);
        assert_eq!((short(std::slice::from_ref(&one)), short(&[])), (18, 0));
    }

    #[test]
    fn a_list_fits_80_columns_and_shows_the_last_error() {
        let job = json!({
            "id": "019b7000-0000-7000-8000-000000000000", "plugin": "word-count@sha-0123456789ab",
            "queue": "a-queue-of-a-long-name", "state": "discarded", "attempt": 25,
            "created_at": "2026-01-01T00:00:00Z",
            "attempts": [{ "error": { "message": "first" } },
                         { "error": { "message": "exit code 65:\nno such table" } }],
        });
        let now = "2026-01-02T00:00:00Z".parse().expect("a time");
        let shown = table(&[job], now).to_string();
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        for part in ["019b7000-0000-7000", "word-count ", "discarded", "25", "1d", "exit code 65"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}
