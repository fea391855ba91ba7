//! The configuration of a host: a TOML file, overridden by environment variables and flags. An unknown
//! key is an error, because a misspelt limit would not apply.

mod check;
mod derived;
mod machine;
mod text;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use jobwright_core::capacity::{CapacityLimits, KeptLimits};
use jobwright_core::limits::{CompileLimits, DEFAULT_STACK_BYTES, LimitsRequest};
use serde::Deserialize;

use self::text::{address, duration};
pub(crate) use self::text::{parse_duration, resolve};

/// The default address of hosts and clients.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:7878";

/// The configuration of a host. Every value has a default.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address to listen on. Any address but loopback needs API keys, or `insecure_no_auth`.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// The data directory.
    pub data: PathBuf,
    /// The job store.
    pub store: StoreChoice,
    /// A file of API keys, one per line.
    pub api_keys: Option<PathBuf>,
    /// Names by which clients can address the host, without ports, in addition to `localhost` and IP
    /// addresses.
    pub allowed_hosts: Vec<String>,
    /// Listen on any address without keys, even if the data directory had keys before.
    pub insecure_no_auth: bool,
    /// The maximum number of attempts in flight. By default more than there are cores, so that guests that
    /// sleep do not block others.
    pub workers: NonZeroU32,
    /// Workers that a queue with a backlog leaves free once it uses half of all; by default an eighth of
    /// the workers.
    pub reserved_workers: Option<u32>,
    /// Isolation of guests besides the WebAssembly sandbox.
    pub isolation: Isolation,
    /// Threads that run guests; by default one per core.
    pub guest_threads: Option<NonZeroUsize>,
    /// The memory for all running attempts together; by default half of the machine's memory.
    pub memory_budget_bytes: Option<u64>,
    /// The stack size of guests, in bytes, the same for all guests. Programs that recurse deeply, such as
    /// parsers and interpreters, need more than the default.
    pub stack_bytes: u64,
    /// The maximum length of a payload. The default is common among message services.
    pub payload_bytes: u64,
    /// The maximum length of a plugin. The largest language runtimes as plugins have about 20 MB.
    pub plugin_bytes: u64,
    /// Limits for compiling a plugin.
    pub compile: CompileConfig,
    /// Limits of unfinished jobs.
    pub queue: QueueConfig,
    /// Limits of the data directory.
    pub disk: DiskConfig,
    /// The default limits of jobs.
    pub limits: LimitsRequest,
    /// The maximum limits that jobs can request.
    pub ceilings: LimitsRequest,
    /// How long a lease is valid without being renewed.
    #[serde(deserialize_with = "duration")]
    pub lease: Duration,
    /// How often leases are renewed, and expired ones reclaimed.
    #[serde(deserialize_with = "duration")]
    pub heartbeat: Duration,
    /// How often the queue is polled without a wake-up.
    #[serde(deserialize_with = "duration")]
    pub poll: Duration,
    /// How long running attempts can continue during a shutdown.
    #[serde(deserialize_with = "duration")]
    pub shutdown_grace: Duration,
    /// How long finalized jobs are kept.
    pub retention: RetentionConfig,
}

/// Limits for compiling a plugin.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompileConfig {
    /// Wall time and processor time.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    /// Address space, in bytes.
    pub memory_bytes: u64,
}

/// Limits of unfinished jobs.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// Jobs in one queue that are due or running.
    pub capacity: usize,
    /// Jobs in one queue that are scheduled or wait for a retry.
    pub parked_capacity: usize,
    /// Jobs in all queues.
    pub total: usize,
    /// Payload bytes of all jobs.
    pub payload_bytes: u64,
    /// How much earlier a job is claimed per level of priority.
    #[serde(deserialize_with = "duration")]
    pub head_start: Duration,
}

/// Limits of the data directory, in bytes. Payloads of unfinished jobs have a limit in [`QueueConfig`].
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiskConfig {
    /// The free space of the file system below which jobs and plugins are refused, and only necessary data
    /// is written.
    pub free_bytes: u64,
    /// All plugins.
    pub plugin_bytes: u64,
    /// Compiled code; the least recently used is removed.
    pub compiled_bytes: u64,
    /// Finalized jobs with their outputs; the oldest are removed.
    pub history_bytes: u64,
    /// Logs; the oldest are removed.
    pub log_bytes: u64,
    /// Checkpoints of unfinished jobs.
    pub checkpoint_bytes: u64,
    /// Idempotency keys.
    pub key_bytes: u64,
    /// Stored values of all plugins.
    pub value_bytes: u64,
}

/// How long finalized jobs are kept.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionConfig {
    /// Completed and cancelled jobs: by default long enough for a submitter to fetch the output the next
    /// day.
    #[serde(deserialize_with = "duration")]
    pub completed: Duration,
    /// Discarded jobs: by default long enough for an operator to investigate after a holiday.
    #[serde(deserialize_with = "duration")]
    pub discarded: Duration,
}

/// The job store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreChoice {
    /// SQLite in the data directory.
    #[default]
    Sqlite,
    /// Memory: the jobs are lost when the process ends. For tests and first steps.
    Memory,
}

impl std::str::FromStr for StoreChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sqlite" => Ok(Self::Sqlite),
            "memory" => Ok(Self::Memory),
            other => Err(format!("`{other}` is not a store: use `sqlite` or `memory`")),
        }
    }
}

/// Isolation of guests besides the WebAssembly sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// None: guests run in the process of the host, which is fastest.
    #[default]
    None,
    /// A process for each attempt in flight, without network and files. Linux only.
    Process,
}

impl std::str::FromStr for Isolation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "process" => Ok(Self::Process),
            other => Err(format!("`{other}` is not an isolation: use `none` or `process`")),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7878)),
            data: PathBuf::from("jobwright-data"),
            store: StoreChoice::default(),
            api_keys: None,
            allowed_hosts: vec![],
            insecure_no_auth: false,
            workers: NonZeroU32::new(64).unwrap_or(NonZeroU32::MIN),
            reserved_workers: None,
            isolation: Isolation::default(),
            guest_threads: None,
            memory_budget_bytes: None,
            stack_bytes: DEFAULT_STACK_BYTES,
            payload_bytes: 1 << 20,
            plugin_bytes: 32 << 20,
            compile: CompileConfig::default(),
            queue: QueueConfig::default(),
            disk: DiskConfig::default(),
            limits: LimitsRequest::default(),
            ceilings: LimitsRequest::default(),
            lease: Duration::from_secs(30),
            heartbeat: Duration::from_secs(10),
            poll: Duration::from_secs(1),
            shutdown_grace: Duration::from_secs(30),
            retention: RetentionConfig::default(),
        }
    }
}

impl Default for CompileConfig {
    fn default() -> Self {
        let CompileLimits { timeout, memory_bytes } = CompileLimits::default();
        Self { timeout, memory_bytes }
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        let limits = CapacityLimits::default();
        Self {
            capacity: limits.per_queue,
            parked_capacity: limits.parked_per_queue,
            total: limits.total,
            payload_bytes: limits.payload_bytes,
            head_start: limits.head_start,
        }
    }
}

impl Default for DiskConfig {
    fn default() -> Self {
        let KeptLimits { history_bytes, log_bytes, checkpoint_bytes, key_bytes, .. } =
            KeptLimits::default();
        Self {
            // Room for the writes of running jobs, and for an operator to free space.
            free_bytes: 256 << 20,
            // Some hundreds of large plugins, and part of their compiled code.
            plugin_bytes: 4 << 30,
            compiled_bytes: 2 << 30,
            history_bytes,
            log_bytes,
            checkpoint_bytes,
            key_bytes,
            value_bytes: DEFAULT_VALUE_BYTES,
        }
    }
}

impl Default for RetentionConfig {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self { completed: DAY, discarded: 14 * DAY }
    }
}

impl Config {
    /// Reads the configuration from a TOML file.
    ///
    /// # Errors
    /// If the file cannot be read or parsed, or has an unknown key.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = || format!("the configuration {}", path.display());
        let text = std::fs::read_to_string(path).with_context(shown)?;
        toml::from_str(&text).with_context(shown)
    }
}

/// The default limit of the stored values of all plugins, in bytes: that of all logs.
const DEFAULT_VALUE_BYTES: u64 = 1 << 30;

#[cfg(test)]
mod tests;
