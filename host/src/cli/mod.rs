//! The command line. One file for each command; all but `serve`, `run`, `dev`, `new` and
//! `plugin inspect` speak HTTP to a host, and `replay` does both. How they end is told by `exit`.

mod attempt;
mod client;
mod cut_off;
mod dev;
mod differences;
mod exit;
mod inspect;
mod job;
mod key;
mod new;
mod options;
mod payload;
mod plugin;
mod receipt;
mod replay;
mod run;
mod sandbox;
mod secret;
mod serve;
mod switch;
mod tenant;
mod terminal;
mod watch;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use jobwright_core::tenant::TenantName;

use self::client::Client;
use self::exit::Ending;
use self::terminal::Terminal;
use crate::config::DEFAULT_ADDRESS;

/// A job host for WebAssembly: upload plugins, submit jobs over HTTP, run them in sandboxes.
#[derive(Debug, Parser)]
#[command(name = "jobwright", version, max_term_width = 100, after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Answer as JSON, for scripts; what is wrong too.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a host.
    Serve(serve::Serve),
    /// Run one job here, without a host, in the same sandbox; its receipt goes to stderr.
    Run(run::Run),
    /// Run a job here again whenever its plugin or payload changes, until Ctrl-C.
    Dev(dev::Dev),
    /// Write a new project: source, sample and README, in a language of your choice.
    New(new::New),
    /// Inspect, upload, list, show, set up and remove plugins.
    Plugin {
        #[command(subcommand)]
        command: plugin::PluginCommand,
        #[command(flatten)]
        host: HostOptions,
    },
    /// Set, list and remove what plugins use and never see.
    Secret {
        #[command(subcommand)]
        command: secret::SecretCommand,
        #[command(flatten)]
        host: HostOptions,
    },
    /// Submit jobs, and see what became of them.
    Job {
        #[command(subcommand)]
        command: job::JobCommand,
        #[command(flatten)]
        host: HostOptions,
    },
    /// Make, list and revoke API keys.
    Key {
        #[command(subcommand)]
        command: key::KeyCommand,
        #[command(flatten)]
        host: HostOptions,
    },
    /// Show tenants, bound what each may take, and switch them off and on.
    Tenant {
        #[command(subcommand)]
        command: tenant::TenantCommand,
        #[command(flatten)]
        host: HostOptions,
    },
    /// List what is switched off, of every tenant.
    Disabled {
        #[command(flatten)]
        host: HostOptions,
    },
    /// Show who did what.
    Audit {
        #[command(flatten)]
        command: key::Trail,
        #[command(flatten)]
        host: HostOptions,
    },
    /// Make an attempt at a job of a host again, here, and say whether it goes the same way.
    ///
    /// It has the plugin, payload, limits, arguments, random numbers and the beginning of the clock
    /// that the attempt had; not its checkpoint and not its grants. Exits with 0 if outcome, error,
    /// fuel and output are the same, else with 6. On another kind of processor, the bits of NaNs and
    /// relaxed SIMD may differ. Limits above what hosts usually allow are brought down to that.
    Replay {
        #[command(flatten)]
        replay: replay::Replay,
        #[command(flatten)]
        host: HostOptions,
    },
    /// Print the completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Where the host is.
#[derive(Debug, clap::Args)]
struct HostOptions {
    /// The host's address.
    #[arg(long, global = true, env = "JOBWRIGHT_HOST", value_name = "URL",
          default_value_t = format!("http://{DEFAULT_ADDRESS}"))]
    host: String,
    /// The API key, if the host demands one.
    #[arg(long, global = true, env = "JOBWRIGHT_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// For which tenant; only a key with the scope admin may name another one than its own.
    #[arg(long, global = true, env = "JOBWRIGHT_TENANT")]
    tenant: Option<TenantName>,
}

/// The whole command line, for whoever documents it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the arguments, does what they say, and answers how it went.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = crate::runtime::obey_if_asked() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::misused(&error),
    };
    start_tracing(&cli.command);
    let is_json = cli.json;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ending = match &runtime {
        Ok(runtime) => runtime.block_on(execute(cli)),
        Err(error) => Err(anyhow::anyhow!("cannot start: {error}")),
    };
    ending.map_or_else(|error| exit::failed(&error, is_json), ExitCode::from)
}

async fn execute(cli: Cli) -> anyhow::Result<Ending> {
    let terminal = Terminal::new(cli.json);
    let client = |host: HostOptions| Client::new(&host.host, host.api_key, host.tenant);
    match cli.command {
        Command::Serve(serve) => serve.execute(&terminal).await,
        Command::Run(run) => run.execute(&terminal).await,
        Command::Dev(dev) => dev.execute(&terminal).await,
        Command::New(new) => new.execute(&terminal),
        Command::Plugin { command, host } => command.execute(|| client(host), &terminal).await,
        Command::Secret { command, host } => command.execute(&client(host)?, &terminal).await,
        Command::Job { command, host } => command.execute(&client(host)?, &terminal).await,
        Command::Key { command, host } => command.execute(&client(host)?, &terminal).await,
        Command::Tenant { command, host } => command.execute(&client(host)?, &terminal).await,
        Command::Disabled { host } => switch::list(&client(host)?, &terminal).await,
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

/// A host tells what it does; other commands only what is wrong. `JOBWRIGHT_LOG` changes either.
fn start_tracing(command: &Command) {
    let usual = if matches!(command, Command::Serve(_)) { "info" } else { "warn" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("JOBWRIGHT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(usual));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Of two arguments with one id, either would be read for the other.
    #[test]
    fn no_argument_is_taken_for_one_that_every_command_has() {
        fn check(command: &clap::Command, above: &[String]) {
            let ids = |global: bool| {
                let own = command.get_arguments().filter(move |arg| arg.is_global_set() == global);
                own.map(|arg| arg.get_id().to_string())
            };
            let of_all: Vec<String> = above.iter().cloned().chain(ids(true)).collect();
            for id in ids(false) {
                assert!(!of_all.contains(&id), "`{id}` of {}", command.get_name());
            }
            command.get_subcommands().for_each(|command| check(command, &of_all));
        }
        check(&Cli::command(), &[]);
    }
}
