//! `jobwright job cancel` and `retry`: one job, or all jobs that match a filter.

use futures_util::{StreamExt as _, stream};
use jobwright_core::job::JobIdPrefix;
use reqwest::Method;
use serde_json::{Value, json};

use super::filter::Filter;
use super::list;
use super::one::of_job;
use super::resend;
use super::show::show;
use crate::cli::amounts;
use crate::cli::client::Client;
use crate::cli::exit::{Ending, Failure, Fault};
use crate::cli::json::text;
use crate::cli::terminal::Terminal;
use crate::clock;

/// Requests in flight: few enough to leave connections of the host to other clients.
const CONCURRENT_REQUESTS: usize = 8;

/// The action on the jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Cancel,
    Retry,
}

/// One job, or a filter.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Bulk {
    /// The job's id, or the beginning of it.
    #[arg(required_unless_present_any = ["state", "plugin", "queue", "tag", "all"],
          conflicts_with_all = ["state", "plugin", "queue", "tag", "all", "dry_run"])]
    id: Option<JobIdPrefix>,
    #[command(flatten)]
    filter: Filter,
    /// Select all jobs of the tenant that the command applies to.
    #[arg(long)]
    all: bool,
    /// The maximum number of jobs; if more match, the newest.
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    /// Only list the jobs that match.
    #[arg(long)]
    dry_run: bool,
    /// Skip the confirmation.
    #[arg(long, short)]
    yes: bool,
}

impl Action {
    /// The verb, as in paths and prompts.
    fn word(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Retry => "retry",
        }
    }

    /// The past participle, as in `cancelled 3 jobs`.
    fn past(self) -> &'static str {
        match self {
            Self::Cancel => "cancelled",
            Self::Retry => "retried",
        }
    }

    /// At most `most` jobs that match the filter and that the action applies to. Without a state in the
    /// filter, cancels unfinished jobs, and retries discarded ones.
    async fn jobs(
        self,
        mut filter: Filter,
        client: &Client,
        most: usize,
    ) -> anyhow::Result<Vec<Value>> {
        if self == Self::Cancel && filter.state.is_none() {
            return filter.unfinished(client, most).await;
        }
        filter.state.get_or_insert_with(|| "discarded".to_owned());
        filter.jobs(client, most, |job| self.applies_to(job)).await
    }

    /// Whether the action applies to `job` in its last known state.
    fn applies_to(self, job: &Value) -> bool {
        match self {
            Self::Cancel => job["finalized_at"].is_null(),
            Self::Retry => job["state"] != "running",
        }
    }
}

/// The results of the action.
#[derive(Debug, Default)]
struct Results {
    done: Vec<String>,
    /// Jobs whose state had changed, so that the action did not apply any more.
    skipped: usize,
    failed: Option<anyhow::Error>,
}

impl Bulk {
    pub(super) async fn execute(
        self,
        action: Action,
        client: &Client,
        terminal: &Terminal,
    ) -> anyhow::Result<Ending> {
        if let Some(id) = &self.id {
            let job = client.json(of_job(client, Method::POST, id, action.word())).await?;
            show(client, terminal, &job).await?;
            return Ok(Ending::Done);
        }
        let Self { filter, limit, dry_run, yes, .. } = self;
        // One more than the limit, to know whether there are more.
        let mut jobs = action.jobs(filter, client, limit.saturating_add(1)).await?;
        let more = jobs.len() > limit;
        jobs.truncate(limit);
        if dry_run {
            terminal.table(|| jobs.clone().into(), || list::table(&jobs, clock::wall()))?;
            return Ok(Ending::Done);
        }
        if !jobs.is_empty() && !yes && !confirmed(action, jobs.len(), more, terminal)? {
            let message = format!("not confirmed: no job was {}", action.past());
            return Err(Fault::Other.failure(message).into());
        }
        let results = each(action, client, terminal, &jobs).await;
        results.show(action, more, terminal)
    }
}

/// Asks for confirmation. Without a terminal, `--yes` is required.
fn confirmed(
    action: Action,
    count: usize,
    more: bool,
    terminal: &Terminal,
) -> anyhow::Result<bool> {
    let (word, more) = (action.word(), if more { ", and there are more" } else { "" });
    let matching = amounts::jobs(count);
    let agrees = terminal.confirm(&format!("{word} {matching}{more}?"))?;
    agrees.ok_or_else(|| {
        let message = format!(
            "the filter matches {matching}{more}: give --yes to {word}, or --dry-run to list"
        );
        Fault::Usage.failure(message).into()
    })
}

async fn each(action: Action, client: &Client, terminal: &Terminal, jobs: &[Value]) -> Results {
    let all = amounts::jobs(jobs.len());
    let progress = terminal.progress(format!("{} {all}", action.word()));
    let ids = jobs.iter().map(|job| text(&job["id"]));
    let requests = ids.map(|id| async move {
        let request = || client.request(Method::POST, &["jobs", &id, action.word()]);
        let result = resend::send(client, request).await.map(drop);
        (id, result)
    });
    let mut answers = stream::iter(requests).buffered(CONCURRENT_REQUESTS);
    let mut results = Results::default();
    while let Some((id, answer)) = answers.next().await {
        match answer {
            Ok(()) => results.done.push(id),
            Err(error) if is_over(&error) => results.skipped += 1,
            Err(error) => {
                results.failed = Some(error);
                break;
            }
        }
        let count = results.done.len() + results.skipped;
        progress.set_message(format!("{} {count} of {all}", action.past()));
    }
    progress.finish_and_clear();
    results
}

/// Whether the state of the job changed meanwhile, or the job was removed.
fn is_over(error: &anyhow::Error) -> bool {
    let codes = ["already_finalized", "already_running", "job_not_found"];
    error.downcast_ref().and_then(Failure::code).is_some_and(|code| codes.contains(&code))
}

impl Results {
    fn show(self, action: Action, more: bool, terminal: &Terminal) -> anyhow::Result<Ending> {
        let Self { done, skipped, failed } = self;
        let past = action.past();
        terminal.result(
            || json!({ past: done, "skipped": skipped, "more": more }),
            |out| {
                writeln!(out, "{past} {}", amounts::jobs(done.len()))?;
                if skipped > 0 {
                    let skipped = amounts::jobs(skipped);
                    writeln!(out, "skipped {skipped} whose state had changed")?;
                }
                if more {
                    writeln!(out, "more match: run the command again, or raise --limit")?;
                }
                Ok(())
            },
        )?;
        failed.map_or(Ok(Ending::Done), Err)
    }
}
