//! `jobwright job …`

use std::time::Duration;

use jobwright_core::job::JobId;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use super::client::Client;
use super::exit::{Ending, Fault};
use super::options::{CommandOptions, LimitOptions};
use super::payload::PayloadOptions;
use super::plugin::text;
use super::terminal::{self, Terminal, printable, table};

/// One step of a wait: short enough that the line on the terminal stays current.
const WAIT_STEP: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Subcommand)]
pub(super) enum JobCommand {
    /// Submit a job.
    Submit(Box<Submit>),
    /// Show a job.
    Show {
        /// Its id.
        id: JobId,
    },
    /// Wait until a job is over; the exit code tells how it ended.
    Wait {
        /// Its id.
        id: JobId,
        /// Wait no longer than this, such as 5m.
        #[arg(long, value_name = "TIME", value_parser = crate::config::parse_duration)]
        timeout: Option<Duration>,
    },
    /// Write a job's output to stdout.
    Output {
        /// Its id.
        id: JobId,
    },
    /// Write the log of a job's latest attempt to stdout.
    Logs {
        /// Its id.
        id: JobId,
        /// The number of another attempt.
        #[arg(long, value_name = "N")]
        attempt: Option<u32>,
    },
    /// Cancel a job, waiting or running.
    Cancel {
        /// Its id.
        id: JobId,
    },
    /// Run a finalized job again, or a waiting one at once.
    Retry {
        /// Its id.
        id: JobId,
    },
    /// List jobs, newest first.
    List(List),
}

#[derive(Debug, clap::Args)]
pub(super) struct Submit {
    /// `name`, `name@1`, `name@1.2.0` or `name@sha256:…`.
    plugin: String,
    #[command(flatten)]
    payload: PayloadOptions,
    #[command(flatten)]
    command: CommandOptions,
    #[command(flatten)]
    limits: LimitOptions,
    /// The queue to wait in.
    #[arg(long)]
    queue: Option<String>,
    /// 1 (first) to 4 (last).
    #[arg(long)]
    priority: Option<u8>,
    /// Start it no earlier than this from now, such as 10m.
    #[arg(long, value_name = "TIME", value_parser = crate::config::parse_duration)]
    delay: Option<Duration>,
    /// How often it may fail.
    #[arg(long, value_name = "N")]
    max_attempts: Option<u16>,
    /// A label; may be repeated.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Makes submitting again with the same key answer as the first time.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Wait until it is over; the exit code tells how it ended.
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// scheduled, available, retryable, running, completed, discarded or cancelled.
    #[arg(long)]
    state: Option<String>,
    /// Of this plugin, or `name@version`.
    #[arg(long)]
    plugin: Option<String>,
    /// In this queue.
    #[arg(long)]
    queue: Option<String>,
    /// With this label.
    #[arg(long)]
    tag: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

impl JobCommand {
    pub(super) async fn execute(
        self,
        client: &Client,
        terminal: &Terminal,
    ) -> anyhow::Result<Ending> {
        let job = |method, id: JobId, part: &str| {
            let id = id.to_string();
            let segments = ["jobs", &id, part];
            client.request(method, if part.is_empty() { &segments[..2] } else { &segments })
        };
        match self {
            Self::Submit(submit) => submit.execute(client, terminal).await,
            Self::List(list) => list.execute(client, terminal).await,
            Self::Show { id } => answer(client, terminal, job(Method::GET, id, "")).await,
            Self::Cancel { id } => answer(client, terminal, job(Method::POST, id, "cancel")).await,
            Self::Retry { id } => answer(client, terminal, job(Method::POST, id, "retry")).await,
            Self::Wait { id, timeout } => {
                let job = wait(client, terminal, &id.to_string(), timeout).await?;
                show(terminal, &job)?;
                Ok(ending(&job))
            }
            Self::Output { id } => output(client, job(Method::GET, id, "output")).await,
            Self::Logs { id, attempt } => {
                let number = attempt.map(|number| [("attempt", number)]);
                let request = job(Method::GET, id, "logs").query(&number);
                let log = client.file(request).await?;
                terminal::write_foreign(&log, &mut std::io::stdout())?;
                Ok(Ending::Done)
            }
        }
    }
}

impl Submit {
    async fn execute(self, client: &Client, terminal: &Terminal) -> anyhow::Result<Ending> {
        let (wait_for_it, key) = (self.wait, self.idempotency_key.clone());
        let query = self.query();
        let (payload, content_type) = self.payload.read().await?;
        let mut request = client.request(Method::POST, &["jobs"]).query(&query).body(payload);
        for (name, value) in [("content-type", content_type), ("idempotency-key", key)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let job = client.json(request).await?;
        if !wait_for_it {
            terminal.result(|| job.clone(), |out| writeln!(out, "{}", text(&job["id"])))?;
            return Ok(Ending::Done);
        }
        let job = wait(client, terminal, &text(&job["id"]), None).await?;
        show(terminal, &job)?;
        Ok(ending(&job))
    }

    /// The fields of the job, as the query of a request whose body is the payload.
    fn query(&self) -> Vec<(String, String)> {
        let mut query = vec![("plugin".to_owned(), self.plugin.clone())];
        let mut put = |name: &str, value: Option<String>| {
            query.extend(value.map(|value| (name.to_owned(), value)));
        };
        put("queue", self.queue.clone());
        put("priority", self.priority.map(|number| number.to_string()));
        put("delay_ms", self.delay.map(|delay| delay.as_millis().to_string()));
        put("max_attempts", self.max_attempts.map(|number| number.to_string()));
        put("entrypoint", self.command.entrypoint.clone());
        put("deterministic", self.command.deterministic.then(|| "true".to_owned()));
        let limits = serde_json::to_value(self.limits.request()).unwrap_or_default();
        for (name, value) in limits.as_object().into_iter().flatten() {
            put(&format!("limits.{name}"), Some(text(value)));
        }
        self.tags.iter().for_each(|tag| put("tag", Some(tag.clone())));
        self.command.args.iter().for_each(|arg| put("arg", Some(arg.clone())));
        for (name, value) in &self.command.env {
            put(&format!("env.{name}"), Some(value.clone()));
        }
        query
    }
}

impl List {
    async fn execute(self, client: &Client, terminal: &Terminal) -> anyhow::Result<Ending> {
        let filters = [
            ("state", self.state),
            ("plugin", self.plugin),
            ("queue", self.queue),
            ("tag", self.tag),
        ];
        let filters: Vec<_> = filters.into_iter().filter(|(_, value)| value.is_some()).collect();
        let mut jobs: Vec<Value> = Vec::new();
        let mut cursor: Option<String> = None;
        while jobs.len() < self.limit {
            let request = client.request(Method::GET, &["jobs"]).query(&filters);
            let size = (self.limit - jobs.len()).min(200).to_string();
            let place = [("limit", Some(size)), ("cursor", cursor)];
            let mut page = client.json(request.query(&place)).await?;
            if let Value::Array(found) = page["jobs"].take() {
                jobs.extend(found);
            }
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        terminal.result(
            || jobs.clone().into(),
            |out| {
                let row = |job: &Value| {
                    ["id", "plugin", "queue", "state", "attempt", "created_at"]
                        .map(|field| text(&job[field]))
                        .to_vec()
                };
                let header = ["id", "plugin", "queue", "state", "attempt", "created"];
                writeln!(out, "{}", table(&header, jobs.iter().map(row)))
            },
        )?;
        Ok(Ending::Done)
    }
}

async fn answer(
    client: &Client,
    terminal: &Terminal,
    request: RequestBuilder,
) -> anyhow::Result<Ending> {
    show(terminal, &client.json(request).await?)?;
    Ok(Ending::Done)
}

async fn output(client: &Client, request: RequestBuilder) -> anyhow::Result<Ending> {
    let bytes = client.file(request).await?;
    if terminal::is_binary_on_terminal(&bytes) {
        let message =
            format!("the output is {} bytes that are no text: send them to a file", bytes.len());
        return Err(Fault::Usage.says(message).into());
    }
    terminal::write_foreign(&bytes, &mut std::io::stdout())?;
    Ok(Ending::Done)
}

/// The job when it is over, or when the time is.
async fn wait(
    client: &Client,
    terminal: &Terminal,
    id: &str,
    timeout: Option<Duration>,
) -> anyhow::Result<Value> {
    let progress = terminal.progress(format!("waiting for job {id}"));
    let mut left = timeout.unwrap_or(Duration::MAX);
    loop {
        let step = WAIT_STEP.min(left);
        let request = client.request(Method::GET, &["jobs", id]);
        let asked = request.query(&[("wait", step.as_secs().max(1).to_string())]);
        let job = client.json(asked).await?;
        left = left.saturating_sub(step);
        if left.is_zero() || ending(&job) != Ending::StillUnfinished {
            progress.finish_and_clear();
            return Ok(job);
        }
        let (state, attempt) = (printable(&text(&job["state"])), printable(&text(&job["attempt"])));
        let told = told(&job).map(|told| format!(": {told}")).unwrap_or_default();
        progress.set_message(format!("job {id} is {state}, attempt {attempt}{told}"));
    }
}

/// What the guest told last of how far it is: `42 % half of it`.
fn told(job: &Value) -> Option<String> {
    let progress = job["progress"].as_object()?;
    let percent = progress["fraction"].as_f64().map(|part| format!("{:.0} %", part * 100.0));
    let message = progress["message"].as_str().map(printable).filter(|text| !text.is_empty());
    Some(percent.into_iter().chain(message).collect::<Vec<_>>().join(" "))
}

fn ending(job: &Value) -> Ending {
    match job["state"].as_str() {
        Some("completed") => Ending::Done,
        Some("discarded") => Ending::JobFailed,
        Some("cancelled") => Ending::JobCancelled,
        _ => Ending::StillUnfinished,
    }
}

fn show(terminal: &Terminal, job: &Value) -> std::io::Result<()> {
    terminal.result(|| job.clone(), |out| write_job(job, out))
}

fn write_job(job: &Value, out: &mut dyn std::io::Write) -> std::io::Result<()> {
    for field in
        ["id", "plugin", "queue", "state", "attempt", "created_at", "scheduled_at", "finalized_at"]
    {
        writeln!(out, "{field:<13} {}", printable(&text(&job[field])))?;
    }
    if let Some(told) = told(job) {
        writeln!(out, "{:<13} {told}", "progress")?;
    }
    if !job["output"].is_null() {
        writeln!(out, "{:<13} {}", "output", printable(&job["output"].to_string()))?;
    } else if let Some(bytes) = job["output_bytes"].as_u64() {
        let kind = printable(&text(&job["output_type"]));
        writeln!(out, "{:<13} {bytes} bytes, {kind}", "output")?;
    }
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
    out.flush()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::told;

    #[test]
    fn progress_is_shown_as_far_as_it_was_told() {
        let shown = |fraction, message| {
            told(&json!({ "progress": { "fraction": fraction, "message": message } }))
        };
        assert_eq!(shown(json!(0.424), "half\u{1b}[31m").as_deref(), Some("42 % half\u{fffd}[31m"));
        assert_eq!(shown(json!(null), "looking").as_deref(), Some("looking"));
        assert_eq!(shown(json!(1), "").as_deref(), Some("100 %"));
        assert_eq!(told(&json!({ "progress": null })), None);
    }
}
