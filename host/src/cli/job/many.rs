//! `jobwright job cancel` and `retry`: one job, or all that match.

use futures_util::{StreamExt as _, stream};
use jobwright_core::job::JobIdPrefix;
use reqwest::Method;
use serde_json::{Value, json};

use super::filter::Filter;
use super::patience;
use super::show::show;
use super::{list, of_job};
use crate::cli::client::Client;
use crate::cli::exit::{Ending, Failure, Fault};
use crate::cli::plugin::text;
use crate::cli::terminal::Terminal;
use crate::clock;

/// Requests on their way at one time: a host has connections for more, and other clients too.
const AT_ONCE: usize = 8;

/// What is done to jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Cancel,
    Retry,
}

/// A job, or all that match.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Many {
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
    /// As in a path, and as in `N jobs to cancel`.
    fn word(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Retry => "retry",
        }
    }

    /// As in `N jobs cancelled`.
    fn past(self) -> &'static str {
        match self {
            Self::Cancel => "cancelled",
            Self::Retry => "retried",
        }
    }

    /// At most `most` jobs that match and to which it can be done. If no state is asked for: those that
    /// are unfinished, or those that failed for good.
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
        filter.jobs(client, most, |job| self.fits(job)).await
    }

    /// Whether it can be done to `job`, as far as is known.
    fn fits(self, job: &Value) -> bool {
        match self {
            Self::Cancel => job["finalized_at"].is_null(),
            Self::Retry => job["state"] != "running",
        }
    }
}

/// What became of the jobs.
#[derive(Debug, Default)]
struct Results {
    done: Vec<String>,
    /// Those whose state had changed, so that it could not be done.
    skipped: usize,
    failed: Option<anyhow::Error>,
}

impl Many {
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
        // One more shows whether there are more.
        let mut jobs = action.jobs(filter, client, limit.saturating_add(1)).await?;
        let more = jobs.len() > limit;
        jobs.truncate(limit);
        if dry_run {
            terminal.table(|| jobs.clone().into(), || list::table(&jobs, clock::wall()))?;
            return Ok(Ending::Done);
        }
        if !jobs.is_empty() && !yes && !confirmed(action, (jobs.len(), more), terminal)? {
            let message = format!("not confirmed: no job was {}", action.past());
            return Err(Fault::Other.says(message).into());
        }
        let results = each(action, client, terminal, &jobs).await;
        results.show(action, more, terminal)
    }
}

/// Whether a person agrees. Where there is none to ask, the flag is needed.
fn confirmed(
    action: Action,
    (count, more): (usize, bool),
    terminal: &Terminal,
) -> anyhow::Result<bool> {
    let (word, more) = (action.word(), if more { ", and there are more" } else { "" });
    let agrees = terminal.agrees(&format!("{word} {count} jobs{more}?"))?;
    agrees.ok_or_else(|| {
        let message = format!(
            "{count} jobs match{more}: give --yes to {word} them, or --dry-run to list them"
        );
        Fault::Usage.says(message).into()
    })
}

async fn each(action: Action, client: &Client, terminal: &Terminal, jobs: &[Value]) -> Results {
    let progress = terminal.progress(format!("{} {} jobs", action.word(), jobs.len()));
    let ids = jobs.iter().map(|job| text(&job["id"]));
    let requests = ids.map(|id| async move {
        let request = || client.request(Method::POST, &["jobs", &id, action.word()]);
        let result = patience::send(client, request).await.map(drop);
        (id, result)
    });
    let mut answers = stream::iter(requests).buffered(AT_ONCE);
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
        progress.set_message(format!("{} {count} of {} jobs", action.past(), jobs.len()));
    }
    progress.finish_and_clear();
    results
}

/// Whether the job changed meanwhile, or is gone.
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
                writeln!(out, "{past} {} jobs", done.len())?;
                if skipped > 0 {
                    writeln!(out, "skipped {skipped} jobs whose state had changed")?;
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
