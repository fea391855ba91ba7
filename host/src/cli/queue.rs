//! `jobwright queue …`

use std::time::Duration;

use jobwright_core::job::QueueName;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::amounts::span;
use super::client::Client;
use super::exit::Ending;
use super::json::{actor, text};
use super::table::table;
use super::terminal::Terminal;

/// The columns for a queue.
const HEADER: [&str; 8] =
    ["name", "state", "due", "running", "capacity", "parked", "parked capacity", "oldest"];

#[derive(Debug, clap::Subcommand)]
pub(super) enum QueueCommand {
    /// List the queues that have unfinished jobs or are paused.
    List,
    /// Show the number of jobs in a queue, its limits, and who paused it.
    Show {
        /// The name of the queue.
        name: QueueName,
    },
    /// Pause a queue: none of its jobs start; running ones continue, and new ones are accepted.
    Pause {
        /// The name of the queue.
        name: QueueName,
        /// The reason, which `jobwright queue show` shows [default: none].
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Resume a paused queue.
    Resume {
        /// The name of the queue.
        name: QueueName,
    },
}

impl QueueCommand {
    pub(super) async fn execute(
        self,
        client: &Client,
        terminal: &Terminal,
    ) -> anyhow::Result<Ending> {
        let of = |name: &QueueName, action: &str| {
            let path = ["queues", name.as_str(), action];
            let (method, length) =
                if action.is_empty() { (Method::GET, 2) } else { (Method::POST, 3) };
            client.request(method, &path[..length])
        };
        match self {
            Self::List => list(client, terminal).await,
            Self::Show { name } => answer(client, terminal, of(&name, "")).await,
            Self::Pause { name, reason } => {
                let request = of(&name, "pause").json(&json!({ "reason": reason }));
                answer(client, terminal, request).await
            }
            Self::Resume { name } => answer(client, terminal, of(&name, "resume")).await,
        }
    }
}

async fn list(client: &Client, terminal: &Terminal) -> anyhow::Result<Ending> {
    let answer = client.json(client.request(Method::GET, &["queues"])).await?;
    let queues = answer["queues"].as_array().cloned().unwrap_or_default();
    terminal.table(|| queues.clone().into(), || table(&HEADER, queues.iter().map(row)))?;
    Ok(Ending::Done)
}

/// Sends a request and shows the queue of the response.
async fn answer(
    client: &Client,
    terminal: &Terminal,
    request: RequestBuilder,
) -> anyhow::Result<Ending> {
    let queue = client.json(request).await?;
    terminal.result(
        || queue.clone(),
        |out| {
            writeln!(out, "{}", table(&HEADER, [row(&queue)]).trim_fmt())?;
            let pause = &queue["pause"];
            if pause.is_null() {
                return Ok(());
            }
            writeln!(out, "\npaused at {}, by: {}", text(&pause["at"]), actor(&pause["by"]))?;
            match pause["reason"].as_str() {
                Some(reason) => writeln!(out, "reason: {reason}"),
                None => Ok(()),
            }
        },
    )?;
    Ok(Ending::Done)
}

/// The cells for a queue. Each of its two limits follows the numbers that count against it.
fn row(queue: &Value) -> Vec<String> {
    let [depth, running] = ["depth", "running"].map(|field| queue[field].as_u64().unwrap_or(0));
    let oldest = queue["oldest_age_ms"].as_u64().filter(|age| *age > 0);
    vec![
        text(&queue["name"]),
        if queue["paused"] == true { "paused" } else { "active" }.to_owned(),
        depth.saturating_sub(running).to_string(),
        text(&queue["running"]),
        text(&queue["capacity"]),
        text(&queue["parked"]),
        text(&queue["parked_capacity"]),
        oldest.map_or_else(String::new, |age| span(Duration::from_millis(age))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_follows_the_numbers_that_count_against_it() {
        let queue = json!({
            "name": "q", "depth": 6, "scheduled": 3, "running": 4, "capacity": 10, "parked": 3,
            "parked_capacity": 20, "oldest_age_ms": 0, "paused": false,
        });
        assert_eq!(row(&queue), ["q", "active", "2", "4", "10", "3", "20", ""]);
    }
}
