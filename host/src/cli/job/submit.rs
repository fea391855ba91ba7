//! `jobwright job submit`

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;

use super::one::ending;
use super::show::show;
use super::{upload, wait};
use crate::cli::client::Client;
use crate::cli::exit::Ending;
use crate::cli::json::text;
use crate::cli::options::{CommandOptions, LimitOptions, header};
use crate::cli::payload::PayloadOptions;
use crate::cli::retries::RetryOptions;
use crate::cli::terminal::Terminal;
use crate::config::parse_duration;

/// The options that describe a single job, by field name.
const OF_ONE: [&str; 31] = [
    "plugin",
    "payload",
    "data",
    "content_type",
    "args",
    "env",
    "deterministic",
    "no_inject_env",
    "entrypoint",
    "fuel",
    "timeout",
    "memory",
    "output_limit",
    "log_limit",
    "checkpoint_limit",
    "tables",
    "resources",
    "grace",
    "queue",
    "priority",
    "delay",
    "ttl",
    "deadline",
    "max_attempts",
    "retry_on",
    "backoff",
    "backoff_jitter",
    "backoff_max",
    "tags",
    "idempotency_key",
    "wait",
];

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Submit {
    /// The plugin: `name`, `name@1`, `name@1.2.0` or `name@sha256:…`.
    #[arg(required_unless_present = "file")]
    plugin: Option<String>,
    /// Submit the jobs of this file instead: one JSON object per line, or an array of them, each as
    /// the body of `POST /v1/jobs`; `-` for stdin. Prints one id per line. Waits while the host has no
    /// room, until it has accepted no job for about 30 s [default: none].
    #[arg(long, value_name = "FILE|-", conflicts_with_all = OF_ONE)]
    file: Option<PathBuf>,
    #[command(flatten)]
    payload: PayloadOptions,
    #[command(flatten)]
    command: CommandOptions,
    #[command(flatten)]
    limits: LimitOptions,
    /// The queue to wait in [default: default].
    #[arg(long)]
    queue: Option<String>,
    /// The priority, from 1 (first) to 4 (last) [default: 2].
    #[arg(long)]
    priority: Option<u8>,
    /// The delay before the job can start, such as 10m [default: 0s].
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    delay: Option<Duration>,
    /// The job expires if its first attempt has not begun so long after it is due, such as 5m [default: none].
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    ttl: Option<Duration>,
    /// The job fails if it is not finalized so long after its submission, such as 1h [default: none].
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    deadline: Option<Duration>,
    /// The number of failed attempts after which the job is discarded [default: 5].
    #[arg(long, value_name = "N")]
    max_attempts: Option<u16>,
    #[command(flatten)]
    retries: RetryOptions,
    /// A tag; repeatable [default: none].
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Submitting again with the same key returns the first job [default: none].
    #[arg(long, value_name = "KEY", value_parser = header)]
    idempotency_key: Option<String>,
    /// Wait until the job is finalized; the exit code reports how it ended.
    #[arg(long)]
    wait: bool,
    /// With --wait: wait no longer than this, such as 5m [default: for ever].
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = parse_duration)]
    max_wait: Option<Duration>,
}

impl Submit {
    pub(super) async fn execute(
        self,
        client: &Client,
        terminal: &Terminal,
    ) -> anyhow::Result<Ending> {
        if let Some(file) = &self.file {
            return upload::execute(file, client, terminal).await;
        }
        let (wait_for_it, max_wait, key) = (self.wait, self.max_wait, self.idempotency_key.clone());
        let query = self.query()?;
        let (payload, content_type) = self.payload.read().await?;
        let mut request = client.request(Method::POST, &["jobs"]).query(&query).body(payload);
        for (name, value) in [("content-type", content_type), ("idempotency-key", key)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let job = client.json(request).await?;
        let id = text(&job["id"]);
        if !wait_for_it {
            terminal.result(|| job.clone(), |out| writeln!(out, "{id}"))?;
            return Ok(Ending::Done);
        }
        wait::announce(terminal, &id);
        let job = wait::until_finalized(client, terminal, &id, max_wait).await?;
        show(client, terminal, &job).await?;
        Ok(ending(&job))
    }

    /// The fields of the job, as the query of a request with the payload as its body.
    fn query(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut query = vec![];
        let mut put = |name: &str, value: Option<String>| {
            query.extend(value.map(|value| (name.to_owned(), value)));
        };
        put("plugin", self.plugin.clone());
        put("queue", self.queue.clone());
        put("priority", self.priority.map(|number| number.to_string()));
        put("delay_ms", self.delay.map(millis));
        put("ttl_ms", self.ttl.map(millis));
        put("deadline_ms", self.deadline.map(millis));
        put("max_attempts", self.max_attempts.map(|number| number.to_string()));
        put("entrypoint", self.command.entrypoint.clone());
        put("inject_env", self.command.no_inject_env.then(|| "false".to_owned()));
        put("deterministic", self.command.deterministic.then(|| "true".to_owned()));
        for (name, value) in self.retries.parameters()? {
            put(&name, Some(value));
        }
        for (name, value) in &self.limits.of_job()? {
            put(&format!("limits.{name}"), Some(text(value)));
        }
        self.tags.iter().for_each(|tag| put("tag", Some(tag.clone())));
        self.command.args.iter().for_each(|arg| put("arg", Some(arg.clone())));
        for (name, value) in &self.command.env {
            put(&format!("env.{name}"), Some(value.clone()));
        }
        Ok(query)
    }
}

fn millis(span: Duration) -> String {
    span.as_millis().to_string()
}
