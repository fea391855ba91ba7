//! `jobwright serve`: runs a host until SIGTERM or Ctrl-C.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::exit::Ending;
use super::terminal::Terminal;
use crate::config::{Config, Isolation, StoreChoice};

/// Flags overlay the environment, which overlays the file.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// Where to listen; any address but loopback needs API keys.
    #[arg(long, env = "JOBWRIGHT_LISTEN", value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// The data directory.
    #[arg(long, env = "JOBWRIGHT_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// What keeps the jobs: `sqlite`, or `memory` to try things out.
    #[arg(long, env = "JOBWRIGHT_STORE", value_name = "STORE")]
    store: Option<StoreChoice>,
    /// Attempts in flight at most.
    #[arg(long, env = "JOBWRIGHT_WORKERS", value_name = "N")]
    workers: Option<NonZeroU32>,
    /// What is between host and guests: `none`, or `process` for one of its own for each attempt.
    #[arg(long, env = "JOBWRIGHT_ISOLATION", value_name = "ISOLATION")]
    isolation: Option<Isolation>,
    /// Unfinished jobs that one queue may hold.
    #[arg(long, env = "JOBWRIGHT_QUEUE_CAPACITY", value_name = "N")]
    queue_capacity: Option<usize>,
    /// A file of API keys, one a line.
    #[arg(long, env = "JOBWRIGHT_API_KEYS", value_name = "FILE")]
    api_keys: Option<PathBuf>,
    /// Listen on any address without API keys.
    #[arg(long, env = "JOBWRIGHT_INSECURE_NO_AUTH")]
    insecure_no_auth: bool,
    /// A configuration file (TOML).
    #[arg(long, env = "JOBWRIGHT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Counts SIGTERM and Ctrl-C: the first asks to stop in good order, the second to stop at once.
fn count_signals() -> anyhow::Result<watch::Receiver<u32>> {
    let mut terminated = signal(SignalKind::terminate()).context("cannot await SIGTERM")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("cannot await Ctrl-C")?;
    let (count, counted) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
            count.send_modify(|count| *count += 1);
        }
    });
    Ok(counted)
}

/// Files that a busy host may have open: a connection each, and some hundreds of the store, of plugins
/// and of processes that compile.
const OPEN_FILES: u64 = 2048;

/// Lets this process open as many files as it may: what programs get by default is what old ones can
/// bear, and as many as there may be connections.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    limit.current = limit.maximum;
    // What is refused is left as it was, which is enough for most hosts.
    let _ = setrlimit(Resource::Nofile, limit);
    if most < OPEN_FILES {
        tracing::warn!(
            "this process may open {most} files, and a busy host needs {OPEN_FILES}: raise its hard \
             limit (`ulimit -Hn`, LimitNOFILE)"
        );
    }
}

impl Serve {
    pub(super) async fn execute(self, terminal: &Terminal) -> anyhow::Result<Ending> {
        // Before anything else: a signal during the start must not kill the host half way.
        let signals = count_signals()?;
        raise_open_files();
        let host = crate::build(self.config()?).await?;
        let address = host.address()?;
        terminal.result(
            || serde_json::json!({ "address": format!("http://{address}") }),
            |out| writeln!(out, "jobwright listens on http://{address}"),
        )?;
        let told = |times: u32| {
            let mut signals = signals.clone();
            // The counting task lives as long as the program.
            async move { drop(signals.wait_for(|count| *count >= times).await) }
        };
        tokio::select! {
            () = host.run(told(1)) => Ok(Ending::Done),
            () = told(2) => bail!("told to stop twice: the next start reclaims what was running"),
        }
    }

    fn config(self) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(path) => Config::read(path)?,
            None => Config::default(),
        };
        config.listen = self.listen.unwrap_or(config.listen);
        config.data = self.data.unwrap_or(config.data);
        config.store = self.store.unwrap_or(config.store);
        config.workers = self.workers.unwrap_or(config.workers);
        config.isolation = self.isolation.unwrap_or(config.isolation);
        config.queue.capacity = self.queue_capacity.unwrap_or(config.queue.capacity);
        config.api_keys = self.api_keys.or(config.api_keys);
        config.insecure_no_auth |= self.insecure_no_auth;
        Ok(config)
    }
}
