//! The command line: one file per command.
//!
//! `serve`, `run`, `dev`, `new` and `plugin inspect` need no host; the other commands are HTTP clients of
//! one. `replay` runs a guest and is a client. `exit` owns the exit codes.

mod amounts;
mod attempt;
mod channel;
mod client;
mod dev;
mod disable;
mod exit;
mod exit_codes;
mod grants;
mod host_options;
mod inspect;
mod job;
mod json;
mod key;
mod new;
mod options;
mod payload;
mod plugin;
mod queue;
mod receipt;
mod replay;
mod retries;
mod run;
mod sandbox;
mod secret;
mod serve;
mod signals;
mod table;
mod tenant;
mod terminal;
mod value_file;
mod watch;

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::ExitCode;

use clap::builder::{self, Resettable};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use self::client::Client;
use self::exit::{Ending, Fault};
use self::host_options::HostOptions;
use self::options::GLOBAL;
use self::terminal::Terminal;
use crate::telemetry::{self, LogFormat};

/// A job host for WebAssembly: upload plugins, submit jobs over HTTP, run them in sandboxes.
#[derive(Debug, Parser)]
#[command(name = "jobwright", version, max_term_width = 100, after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print results, and errors, as JSON.
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a host.
    Serve(serve::Serve),
    /// Run a job on this machine, without a host, in the same sandbox. The receipt goes to stderr.
    Run(run::Run),
    /// Run a job on this machine again whenever its plugin or payload changes, until Ctrl-C.
    Dev(dev::Dev),
    /// Create a project in one of nine languages: source code, a sample payload and a README.
    New(new::New),
    /// Inspect, upload, list, show, configure, disable and remove plugins.
    Plugin {
        #[command(subcommand)]
        command: plugin::PluginCommand,
        #[command(flatten)]
        host: HostOptions,
    },
    /// Set, list and remove secrets, which the host adds to the HTTP requests of plugins.
    Secret {
        #[command(subcommand)]
        command: secret::SecretCommand,
        #[command(flatten)]
        host: HostOptions,
    },
    /// Submit, show, list, cancel and retry jobs.
    Job {
        #[command(subcommand)]
        command: job::JobCommand,
        #[command(flatten)]
        host: HostOptions,
    },
    /// List, show, pause and resume queues.
    Queue {
        #[command(subcommand)]
        command: queue::QueueCommand,
        #[command(flatten)]
        host: HostOptions,
    },
    /// Create, list and revoke API keys.
    Key {
        #[command(subcommand)]
        command: key::KeyCommand,
        #[command(flatten)]
        host: HostOptions,
    },
    /// List, show, limit, disable and remove tenants.
    Tenant {
        #[command(subcommand)]
        command: tenant::TenantCommand,
        #[command(flatten)]
        host: HostOptions,
    },
    /// List the disabled tenants, plugins, versions and digests, with the reasons.
    Disabled {
        #[command(flatten)]
        host: HostOptions,
    },
    /// List administrative actions, newest first.
    Audit {
        #[command(flatten)]
        command: key::AuditOptions,
        #[command(flatten)]
        host: HostOptions,
    },
    /// Repeat an attempt of a host's job on this machine, and compare the results.
    ///
    /// The repeated attempt has the plugin, payload, limits, arguments, random numbers and start of
    /// the clock of the recorded one, but neither its checkpoint nor its grants. Exits with 0 if
    /// outcome, error, fuel and output are equal, else with 6. On another processor architecture, the
    /// bits of NaNs and relaxed SIMD can differ. Limits above the default ceilings are lowered to them.
    Replay {
        #[command(flatten)]
        replay: replay::Replay,
        #[command(flatten)]
        host: HostOptions,
    },
    /// Print the completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// The definition of the command line, for documentation and its tests.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the arguments and executes the command. Returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = crate::runtime::run_child_process_if_requested() {
        return code;
    }
    let matches = without_empty_variables(command()).try_get_matches();
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return exit::usage_error(&error),
    };
    let is_json = cli.json;
    if let Err(error) = start_log(&cli.command) {
        return exit::report(&error, is_json);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ending = match &runtime {
        Ok(runtime) => runtime.block_on(execute(cli)),
        Err(error) => Err(anyhow::anyhow!("cannot start: {error}")),
    };
    ending.map_or_else(|error| exit::report(&error, is_json), ExitCode::from)
}

/// Makes `command` treat empty environment variables as unset: many scripts and service managers cannot
/// unset a variable, and set it to the empty string.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let command = command.mut_args(|arg| match arg.get_env().is_some_and(is_empty) {
        true => arg.env(Resettable::<builder::OsStr>::Reset),
        false => arg,
    });
    command.mut_subcommands(without_empty_variables)
}

async fn execute(cli: Cli) -> anyhow::Result<Ending> {
    let terminal = Terminal::new(cli.json);
    let client = Client::new;
    match cli.command {
        Command::Serve(serve) => serve.execute(&terminal).await,
        Command::Run(run) => run.execute(&terminal).await,
        Command::Dev(dev) => dev.execute(&terminal).await,
        Command::New(new) => new.execute(&terminal),
        Command::Plugin { command, host } => command.execute(|| client(host), &terminal).await,
        Command::Secret { command, host } => command.execute(&client(host)?, &terminal).await,
        Command::Job { command, host } => command.execute(&client(host)?, &terminal).await,
        Command::Queue { command, host } => command.execute(&client(host)?, &terminal).await,
        Command::Key { command, host } => command.execute(&client(host)?, &terminal).await,
        Command::Tenant { command, host } => command.execute(&client(host)?, &terminal).await,
        Command::Disabled { host } => disable::list(&client(host)?, &terminal).await,
        Command::Audit { command, host } => command.execute(&client(host)?, &terminal).await,
        Command::Replay { replay, host } => replay.execute(&client(host)?, &terminal).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "jobwright", &mut script);
            std::io::stdout().write_all(&script)?;
            Ok(Ending::Done)
        }
    }
}

/// Starts the log, with the filter of `JOBWRIGHT_LOG` or `--log`, if given.
fn start_log(command: &Command) -> anyhow::Result<()> {
    let (given, format) = match command {
        Command::Serve(serve) => (serve.log.clone(), serve.log_format),
        _ => (std::env::var("JOBWRIGHT_LOG").ok(), LogFormat::default()),
    };
    let default = default_filter(command);
    let filter = given.filter(|filter| !filter.is_empty()).unwrap_or_else(|| default.to_owned());
    let filter = telemetry::parse_filter(&filter)
        .map_err(|wrong| Fault::Usage.failure(format!("JOBWRIGHT_LOG or --log: {wrong}")))?;
    telemetry::start(filter, format);
    Ok(())
}

/// The default log filter: a host logs its work, other commands only warnings. Commands that run a guest
/// also log why its HTTP requests were refused, because their user is the operator.
fn default_filter(command: &Command) -> &'static str {
    match command {
        Command::Serve(_) => "info",
        Command::Run(_) | Command::Dev(_) => "warn,jobwright::services=info",
        _ => "warn",
    }
}

#[cfg(test)]
mod tests;
