//! `jobwright serve`: runs a host until SIGTERM or Ctrl-C.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::builder::BoolishValueParser;
use tokio::sync::watch;

use super::exit::{Ending, Fault};
use super::options::stack_bytes;
use super::signals::Signals;
use super::terminal::Terminal;
use crate::config::{Config, Isolation, StoreChoice, resolve};
use crate::privacy;
use crate::telemetry::LogFormat;

/// Flags take precedence over environment variables, and these over the file.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// The address to listen on: an IP address or a name, and a port. Any address but loopback needs
    /// API keys [default: 127.0.0.1:7878].
    #[arg(long, env = "JOBWRIGHT_LISTEN", value_name = "ADDR", value_parser = resolve)]
    listen: Option<SocketAddr>,
    /// The data directory [default: jobwright-data].
    #[arg(long = "data-dir", alias = "data", env = "JOBWRIGHT_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// The job store: `sqlite`, or `memory`, which loses the jobs at the end [default: sqlite].
    #[arg(long, env = "JOBWRIGHT_STORE", value_name = "STORE")]
    store: Option<StoreChoice>,
    /// The maximum number of attempts in flight [default: 64].
    #[arg(long, env = "JOBWRIGHT_WORKERS", value_name = "N", value_parser = workers)]
    workers: Option<NonZeroU32>,
    /// Workers that a queue with a backlog leaves free for other queues [default: an eighth].
    #[arg(long, env = "JOBWRIGHT_RESERVED_WORKERS", value_name = "N")]
    reserved_workers: Option<u32>,
    /// Isolation of guests besides the WebAssembly sandbox: `none`, or `process` (a separate process
    /// per attempt) [default: none].
    #[arg(long, env = "JOBWRIGHT_ISOLATION", value_name = "ISOLATION")]
    isolation: Option<Isolation>,
    /// The stack size of guests, such as 4MiB; at most 64MiB [default: 512KiB].
    #[arg(long, env = "JOBWRIGHT_STACK_BYTES", value_name = "SIZE", value_parser = stack_bytes)]
    stack_bytes: Option<u64>,
    /// The maximum number of due and running jobs in a queue [default: 10000].
    #[arg(long, env = "JOBWRIGHT_QUEUE_CAPACITY", value_name = "N")]
    queue_capacity: Option<usize>,
    /// The maximum number of jobs in a queue that are scheduled or wait for a retry [default: 100000].
    #[arg(long, env = "JOBWRIGHT_QUEUE_PARKED_CAPACITY", value_name = "N")]
    queue_parked_capacity: Option<usize>,
    /// A file of API keys, one per line, that only its owner can read [default: none].
    #[arg(long, env = "JOBWRIGHT_API_KEYS", value_name = "FILE")]
    api_keys: Option<PathBuf>,
    /// Names by which clients can address the host, in addition to `localhost` and IP addresses;
    /// without ports, separated by commas [default: none].
    #[arg(long, env = "JOBWRIGHT_ALLOWED_HOSTS", value_name = "NAMES", value_delimiter = ',')]
    allowed_hosts: Option<Vec<String>>,
    /// Listen on any address without API keys, even if the data directory had keys before.
    #[arg(long, env = "JOBWRIGHT_INSECURE_NO_AUTH", value_parser = BoolishValueParser::new())]
    insecure_no_auth: bool,
    /// A configuration file (TOML) [default: none].
    #[arg(long, env = "JOBWRIGHT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Filter of the host's log: a level, or `PART=LEVEL`, as in `warn,jobwright::api=debug`
    /// [default: info].
    #[arg(long, env = "JOBWRIGHT_LOG", value_name = "FILTER")]
    pub(super) log: Option<String>,
    /// Format of the host's log: `text`, or `json` for one object per line.
    #[arg(long, env = "JOBWRIGHT_LOG_FORMAT", value_name = "FORMAT", default_value_t)]
    pub(super) log_format: LogFormat,
}

fn workers(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| "use a whole number of at least 1".to_owned())
}

/// Counts SIGTERM and Ctrl-C: the first requests a graceful shutdown, the second an immediate one.
fn count_signals() -> anyhow::Result<watch::Receiver<u32>> {
    let mut signals = Signals::listen()?;
    let (count, counted) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            signals.stopped().await;
            count.send_modify(|count| *count += 1);
        }
    });
    Ok(counted)
}

/// The number of open files of a busy host: one per connection, and some hundreds for the store, plugins
/// and compiler processes.
const OPEN_FILES: u64 = 2048;

/// Raises the soft limit of open files to the hard limit. The default soft limit, 1024 on most systems, is
/// for programs that use `select`, and is no more than the number of connections.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    limit.current = limit.maximum;
    // If this fails, the soft limit stays, which is enough for most hosts.
    let _ = setrlimit(Resource::Nofile, limit);
    if most < OPEN_FILES {
        tracing::warn!(
            "this process can open at most {most} files, and a busy host needs {OPEN_FILES}: raise the \
             hard limit (`ulimit -Hn`, LimitNOFILE)"
        );
    }
}

impl Serve {
    pub(super) async fn execute(self, terminal: &Terminal) -> anyhow::Result<Ending> {
        // Before any file is created.
        privacy::restrict_process().context("cannot restrict this process")?;
        // From here on, a signal during the start does not kill the host.
        let signals = count_signals()?;
        raise_open_files();
        let host = crate::build(self.config()?).await?;
        let address = host.address()?;
        terminal.result(
            || serde_json::json!({ "address": format!("http://{address}") }),
            |out| writeln!(out, "jobwright listens on http://{address}"),
        )?;
        let stop_requested = |times: u32| {
            let mut signals = signals.clone();
            // The counting task lives as long as the program.
            async move { drop(signals.wait_for(|count| *count >= times).await) }
        };
        tokio::select! {
            () = host.run(stop_requested(1)) => Ok(Ending::Done),
            () = stop_requested(2) => {
                bail!("stopped by a second signal: the next start reclaims the running jobs")
            }
        }
    }

    fn config(self) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(path) => Config::read(path)?,
            None => Config::default(),
        };
        config.listen = self.listen.unwrap_or(config.listen);
        config.data = self.data.unwrap_or(config.data);
        if config.data.metadata().is_ok_and(|data| !data.is_dir()) {
            let shown = config.data.display();
            let message = format!("the data directory {shown} is not a directory");
            return Err(Fault::Usage.failure(message).into());
        }
        config.store = self.store.unwrap_or(config.store);
        config.workers = self.workers.unwrap_or(config.workers);
        config.isolation = self.isolation.unwrap_or(config.isolation);
        config.stack_bytes = self.stack_bytes.unwrap_or(config.stack_bytes);
        config.reserved_workers = self.reserved_workers.or(config.reserved_workers);
        config.queue.parked_capacity =
            self.queue_parked_capacity.unwrap_or(config.queue.parked_capacity);
        config.queue.capacity = self.queue_capacity.unwrap_or(config.queue.capacity);
        config.api_keys = self.api_keys.or(config.api_keys);
        config.allowed_hosts = self.allowed_hosts.unwrap_or(config.allowed_hosts);
        config.insecure_no_auth |= self.insecure_no_auth;
        Ok(config)
    }
}
