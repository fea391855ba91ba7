//! How a command ends: its exit code, and its error message.

use std::fmt::{self, Display};
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use jobwright_core::runtime::UnusablePlugin;
use serde_json::{Value, json};

use super::terminal::printable;

/// The end of `jobwright --help`.
pub(super) const HELP: &str = "\
Exit codes (those from 64 on as in sysexits.h):
    0  done
    1  failed, for a reason without a code of its own
    3  the job failed for good; of `run`: the attempt failed, even if it could be retried
    4  the job was cancelled
    5  the wait ended before the job did
    6  a replay ended differently from the attempt that it repeats
   64  the command line is invalid
   65  the host, or the sandbox, refused the input
   66  a file cannot be read, or the host no longer has what a replay needs
   69  the host cannot be reached
   75  the host is too busy: try again later
   77  the host requires another API key, or refuses this client
  130  stopped by Ctrl-C or SIGTERM: a wait (the job continues), an upload or a replay
  141  stdout was closed by its reader, as by `head`

Results go to stdout, everything else to stderr. With --json, an error is one line of JSON on
stderr: the problem as the host reported it (RFC 9457), or {\"error\": \"...\"}.";

/// The reader of stdout has closed it: the exit code that shells report for SIGPIPE.
const BROKEN_PIPE: u8 = 128 + 13;

/// How a command ended that did not fail itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Done,
    JobFailed,
    JobCancelled,
    StillUnfinished,
    Different,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(match ending {
            Ending::Done => 0,
            Ending::JobFailed => 3,
            Ending::JobCancelled => 4,
            Ending::StillUnfinished => 5,
            Ending::Different => 6,
        })
    }
}

/// Why a command failed. The values are the exit codes; those from 64 to 77 are as in `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Other = 1,
    Usage = 64,
    Data = 65,
    NoInput = 66,
    Unreachable = 69,
    Temporary = 75,
    Unauthorized = 77,
    /// The exit code that shells report for SIGINT (Ctrl-C).
    Stopped = 128 + 2,
}

impl Fault {
    /// A failure of this kind.
    pub(super) fn failure(self, message: impl Display) -> Failure {
        Failure { fault: self, message: message.to_string(), problem: None, retry_after: None }
    }

    fn of(error: &anyhow::Error) -> Self {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            failure.fault
        } else if error.downcast_ref().is_some_and(|error: &reqwest::Error| !error.is_decode()) {
            Self::Unreachable
        } else if error.is::<UnusablePlugin>() {
            Self::Data
        } else {
            Self::Other
        }
    }
}

/// A failure whose kind is known; also as the context of another error.
#[derive(Debug)]
pub(super) struct Failure {
    fault: Fault,
    message: String,
    /// The problem that the host reported.
    problem: Option<Value>,
    /// The header `Retry-After` of the response.
    retry_after: Option<Duration>,
}

impl Failure {
    /// The failure for a response of the host with this status and problem.
    pub(super) fn of_host(status: u16, problem: Value) -> Self {
        let fault = match status {
            400 | 413 | 415 | 422 => Fault::Data,
            401 | 403 => Fault::Unauthorized,
            408 | 429 | 503 => Fault::Temporary,
            _ => Fault::Other,
        };
        match (problem["detail"].as_str(), problem["code"].as_str()) {
            (Some(detail), Some(code)) => {
                let message = format!("{detail} ({code})");
                Self { problem: Some(problem), ..fault.failure(message) }
            }
            _ => fault.failure(format!(
                "HTTP status {status} without a problem in JSON: the server is not a Jobwright host, \
                 or a proxy answered"
            )),
        }
    }
}

impl Failure {
    /// The kind of failure.
    pub(super) fn fault(&self) -> Fault {
        self.fault
    }

    /// Sets the delay that the host requested.
    pub(super) fn with_retry_after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    /// The delay before a retry that the host requested.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The `code` of the problem, if the host reported one.
    pub(super) fn code(&self) -> Option<&str> {
        self.problem.as_ref()?["code"].as_str()
    }

    /// Whether the host responded with 404.
    pub(super) fn is_not_found(&self) -> bool {
        self.problem.as_ref().is_some_and(|problem| problem["status"] == 404)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Whether the error is a write to a pipe that its reader has closed.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_broken_pipe = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.downcast_ref().is_some_and(is_broken_pipe)
}

/// Prints an error, and returns its exit code.
pub(super) fn report(error: &anyhow::Error, is_json: bool) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::from(BROKEN_PIPE);
    }
    let message = format!("{error:#}");
    if is_json {
        let problem = error.downcast_ref().and_then(|failure: &Failure| failure.problem.clone());
        print_line(&problem.unwrap_or_else(|| json!({ "error": message })));
    } else {
        // Messages of hosts and plugins are not trusted: they must not control the terminal.
        print_line(&format!("error: {}", printable(&message)));
    }
    ExitCode::from(Fault::of(error) as u8)
}

/// Prints an error of the command line, or the requested help, and returns the exit code.
pub(super) fn usage_error(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A closed stdout is not an error for help.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    // The arguments could not be parsed, so `--json` is not in the result of clap.
    if std::env::args_os().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        print_line(&json!({ "error": text.trim().trim_start_matches("error: ") }));
    } else {
        let _ = error.print();
    }
    ExitCode::from(Fault::Usage as u8)
}

fn print_line(line: &dyn Display) {
    // If stderr is closed, there is nowhere to report that.
    let _ = writeln!(io::stderr(), "{line}");
}
