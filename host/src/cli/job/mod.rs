//! `jobwright job …`

mod bulk;
mod file;
mod filter;
mod list;
mod one;
mod resend;
mod show;
mod submit;
mod upload;
mod wait;

use std::io::Write as _;
use std::time::Duration;

use jobwright_core::job::JobIdPrefix;
use reqwest::{Method, RequestBuilder};

use self::bulk::{Action, Bulk};
use self::list::List;
use self::one::{ending, of_job};
use self::show::show;
use self::submit::Submit;
use super::client::{Client, FILE_BYTES, read_body};
use super::exit::{Ending, Fault};
use super::terminal::{self, Terminal, printable};
use crate::config::parse_duration;

#[derive(Debug, clap::Subcommand)]
pub(super) enum JobCommand {
    /// Submit a job, or many from a file.
    #[command(override_usage = "jobwright job submit [OPTIONS] <PLUGIN>\n       \
        jobwright job submit [OPTIONS] --file <FILE|->")]
    Submit(Box<Submit>),
    /// Show a job, with its output if that is text.
    Show {
        /// The id of the job, or the beginning of it.
        id: JobIdPrefix,
    },
    /// Wait until a job is finalized; the exit code reports how it ended.
    Wait {
        /// The id of the job, or the beginning of it.
        id: JobIdPrefix,
        /// Wait no longer than this, such as 5m [default: for ever].
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        max_wait: Option<Duration>,
    },
    /// Write a job's output to stdout.
    Output {
        /// The id of the job, or the beginning of it.
        id: JobIdPrefix,
    },
    /// Write the log of an attempt to stdout.
    Logs {
        /// The id of the job, or the beginning of it.
        id: JobIdPrefix,
        /// The number of the attempt [default: the latest that wrote a log].
        #[arg(long, value_name = "N")]
        attempt: Option<u32>,
    },
    /// Cancel an unfinished job, or all that match.
    #[command(override_usage = "jobwright job cancel [OPTIONS] <ID>\n       \
        jobwright job cancel [OPTIONS] <--all|--state|--plugin|--queue|--tag>")]
    Cancel(Bulk),
    /// Retry a finalized job, or start a waiting one now; or retry all discarded jobs that match.
    #[command(override_usage = "jobwright job retry [OPTIONS] <ID>\n       \
        jobwright job retry [OPTIONS] <--all|--state|--plugin|--queue|--tag>")]
    Retry(Bulk),
    /// List jobs, newest first.
    List(List),
}

impl JobCommand {
    pub(super) async fn execute(
        self,
        client: &Client,
        terminal: &Terminal,
    ) -> anyhow::Result<Ending> {
        match self {
            Self::Submit(submit) => submit.execute(client, terminal).await,
            Self::List(list) => list.execute(client, terminal).await,
            Self::Show { id } => {
                let job = client.json(of_job(client, Method::GET, &id, "")).await?;
                show(client, terminal, &job).await?;
                Ok(Ending::Done)
            }
            Self::Cancel(many) => many.execute(Action::Cancel, client, terminal).await,
            Self::Retry(many) => many.execute(Action::Retry, client, terminal).await,
            Self::Wait { id, max_wait } => {
                let job = wait::until_finalized(client, terminal, id.as_str(), max_wait).await?;
                show(client, terminal, &job).await?;
                Ok(ending(&job))
            }
            Self::Output { id } => output(client, of_job(client, Method::GET, &id, "output")).await,
            Self::Logs { id, attempt } => {
                let number = attempt.map(|number| [("attempt", number)]);
                let request = of_job(client, Method::GET, &id, "logs").query(&number);
                let log = client.file(request).await?;
                terminal::write_untrusted(&log, &mut std::io::stdout())?;
                Ok(Ending::Done)
            }
        }
    }
}

async fn output(client: &Client, request: RequestBuilder) -> anyhow::Result<Ending> {
    let answer = client.send(request).await?;
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    if let (Some(attempt), Some(outcome)) =
        (header("jobwright-attempt"), header("jobwright-outcome"))
        && outcome != "succeeded"
    {
        let (attempt, outcome) = (printable(attempt), printable(outcome));
        writeln!(
            std::io::stderr(),
            "the job has not completed: this is the output of attempt {attempt}, which ended as {outcome}"
        )?;
    }
    let bytes = read_body(answer, FILE_BYTES).await?;
    if terminal::is_binary_on_terminal(&bytes) {
        let message = format!(
            "the output is binary ({} bytes) and stdout is a terminal: redirect it to a file, as in \
             `jobwright job output ID > FILE`",
            bytes.len()
        );
        return Err(Fault::Usage.failure(message).into());
    }
    terminal::write_untrusted(&bytes, &mut std::io::stdout())?;
    Ok(Ending::Done)
}
