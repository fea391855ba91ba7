//! What an operator decides: a TOML file, overlaid by the environment and flags. An unknown key is
//! an error, because a misspelt limit is no limit.

mod check;
mod machine;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use jobwright_core::capacity::{CapacityLimits, KeptLimits};
use jobwright_core::limits::{
    CompileLimits, DEFAULT_STACK_BYTES, LimitPolicy, Limits, LimitsRequest,
};
use serde::{Deserialize, Deserializer};

/// Where a client looks for a host, and a host listens, unless told otherwise.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:7878";

/// The configuration of a host. Every value has a default.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen. Any address but loopback needs `api_keys`, or `insecure_no_auth`.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// The data directory.
    pub data: PathBuf,
    /// What keeps the jobs.
    pub store: StoreChoice,
    /// A file of API keys, one a line.
    pub api_keys: Option<PathBuf>,
    /// Names under which clients address the host, without ports, beside `localhost` and plain addresses.
    pub allowed_hosts: Vec<String>,
    /// Listen on any address without keys, also where there were keys before.
    pub insecure_no_auth: bool,
    /// Attempts in flight at most. More than cores, so that sleeping guests do not block others.
    pub workers: NonZeroU32,
    /// Workers that a queue which holds half of them, and has a backlog, leaves free for others; an
    /// eighth of them unless set.
    pub reserved_workers: Option<u32>,
    /// Isolation of guests besides the WebAssembly sandbox.
    pub isolation: Isolation,
    /// Threads that run guests; one for each core unless set.
    pub guest_threads: Option<NonZeroUsize>,
    /// What running attempts may take of memory together; half of the machine's unless set.
    pub memory_budget_bytes: Option<u64>,
    /// The stack of a guest's own calls, in bytes, the same for all guests: programs that recurse deeply, such
    /// as parsers and interpreters, need more than usual.
    pub stack_bytes: u64,
    /// The longest payload: what message services commonly take.
    pub payload_bytes: u64,
    /// The longest plugin: the largest language runtimes as plugins are about 20 MB.
    pub plugin_bytes: u64,
    /// What compiling a plugin may take.
    pub compile: CompileConfig,
    /// How many unfinished jobs are held.
    pub queue: QueueConfig,
    /// What the data directory may take.
    pub disk: DiskConfig,
    /// What jobs get that ask for nothing.
    pub limits: LimitsRequest,
    /// What jobs may ask for at most.
    pub ceilings: LimitsRequest,
    /// How long a lease holds without being renewed.
    #[serde(deserialize_with = "duration")]
    pub lease: Duration,
    /// How often leases are renewed and expired ones looked for.
    #[serde(deserialize_with = "duration")]
    pub heartbeat: Duration,
    /// How often the queue is looked at when no hint comes.
    #[serde(deserialize_with = "duration")]
    pub poll: Duration,
    /// How long running attempts may go on when the host is told to stop.
    #[serde(deserialize_with = "duration")]
    pub shutdown_grace: Duration,
    /// How long finalized jobs are kept.
    pub retention: RetentionConfig,
}

/// What compiling a plugin may take.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompileConfig {
    /// Time, on the clock and of a processor.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    /// Address space, in bytes.
    pub memory_bytes: u64,
}

/// How many unfinished jobs are held.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// Jobs in one queue that are due or running.
    pub capacity: usize,
    /// Jobs in one queue that are neither: scheduled, or waiting for a retry.
    pub parked_capacity: usize,
    /// Jobs in all queues.
    pub total: usize,
    /// Payload bytes of all jobs.
    pub payload_bytes: u64,
    /// How much earlier a job is claimed for each level of priority.
    #[serde(deserialize_with = "duration")]
    pub head_start: Duration,
}

/// What the data directory may take, in bytes. Payloads of unfinished jobs are bounded by the queue.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiskConfig {
    /// Below so much free space on its file system, neither jobs nor plugins are accepted, and nothing
    /// is kept that can be done without.
    pub free_bytes: u64,
    /// All plugins.
    pub plugin_bytes: u64,
    /// Compiled code, of which the least used goes.
    pub compiled_bytes: u64,
    /// Finalized jobs with their outputs, of which the oldest go.
    pub history_bytes: u64,
    /// Logs, of which the oldest go.
    pub log_bytes: u64,
    /// Checkpoints of unfinished jobs.
    pub checkpoint_bytes: u64,
    /// Answers to idempotency keys.
    pub key_bytes: u64,
    /// What all plugins keep from one job to the next.
    pub value_bytes: u64,
}

/// How long finalized jobs are kept.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionConfig {
    /// Completed and cancelled ones: long enough for whoever asked to come back.
    #[serde(deserialize_with = "duration")]
    pub completed: Duration,
    /// Discarded ones: long enough for someone to look after a holiday.
    #[serde(deserialize_with = "duration")]
    pub discarded: Duration,
}

/// What keeps the jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreChoice {
    /// SQLite in the data directory.
    #[default]
    Sqlite,
    /// Memory: jobs are lost with the process. For trying things out.
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
    /// Nothing: they run in the host's process, which costs least.
    #[default]
    None,
    /// A process for each attempt in flight, without network and files. On Linux.
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
            // Room for what running jobs may still write, and for whoever cleans up.
            free_bytes: 256 << 20,
            // Some hundreds of large plugins, and as much code as that becomes.
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
    /// The configuration in a TOML file.
    ///
    /// # Errors
    /// If it cannot be read, is no TOML, or has a key that there is not.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = || format!("the configuration {}", path.display());
        let text = std::fs::read_to_string(path).with_context(shown)?;
        toml::from_str(&text).with_context(shown)
    }

    /// What compiling a plugin may take.
    #[must_use]
    pub fn compile_limits(&self) -> CompileLimits {
        let CompileConfig { timeout, memory_bytes } = self.compile;
        CompileLimits { timeout, memory_bytes }
    }

    /// The limits that jobs get and may ask for.
    ///
    /// # Errors
    /// If a default exceeds its ceiling.
    pub fn limit_policy(&self) -> anyhow::Result<LimitPolicy> {
        let none = LimitsRequest::default();
        let open = LimitPolicy { default: Limits::CEILING, ceiling: UNBOUNDED };
        let complete = |policy: LimitPolicy, asked: LimitsRequest, what: &str| {
            policy.complete(asked, none, 0).map_err(|faults| {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                anyhow::anyhow!("{what}: {}", faults.join("; "))
            })
        };
        let mut ceiling = complete(open, self.ceilings, "ceilings")?;
        if self.ceilings.memory_bytes.is_none() {
            // On a small machine the usual ceiling is more than there is.
            ceiling.memory_bytes = ceiling.memory_bytes.min(self.memory_budget());
        }
        let policy = LimitPolicy { default: Limits::DEFAULT, ceiling };
        let default = complete(policy, self.limits, "limits")?;
        Ok(LimitPolicy { default, ceiling })
    }

    /// How many unfinished jobs are held, and what they leave behind.
    #[must_use]
    pub fn capacity(&self) -> CapacityLimits {
        let QueueConfig { capacity, parked_capacity, total, payload_bytes, head_start } =
            self.queue;
        let DiskConfig { history_bytes, log_bytes, checkpoint_bytes, .. } = self.disk;
        let DiskConfig { key_bytes, free_bytes, .. } = self.disk;
        let kept = KeptLimits { history_bytes, log_bytes, checkpoint_bytes, key_bytes, free_bytes };
        CapacityLimits {
            per_queue: capacity,
            parked_per_queue: parked_capacity,
            total,
            payload_bytes,
            kept,
            head_start,
        }
    }

    /// How many workers a queue with a large share leaves free: an eighth by default, and one of fewer than
    /// 8, as else a job of another queue waits until one of the long jobs has ended.
    #[must_use]
    pub fn reserved_workers(&self) -> u32 {
        let workers = self.workers.get();
        self.reserved_workers.unwrap_or((workers / 8).max(u32::from(workers > 1)))
    }

    /// What running attempts may take of memory together, in bytes. What the stacks of all workers take
    /// beyond the usual is set aside: it is counted for no job.
    #[must_use]
    pub fn memory_budget(&self) -> u64 {
        self.memory_with_stacks().saturating_sub(self.stacks_beyond())
    }

    /// The memory budget, before stacks are deducted from it.
    fn memory_with_stacks(&self) -> u64 {
        self.memory_budget_bytes.unwrap_or_else(|| machine::memory() / 2)
    }

    /// What the stacks of all workers take beyond the default stack, in bytes.
    fn stacks_beyond(&self) -> u64 {
        let beyond = self.stack_bytes.saturating_sub(DEFAULT_STACK_BYTES);
        beyond.saturating_mul(self.workers.get().into())
    }
}

/// What all plugins may keep from one job to the next, in bytes: as all logs.
const DEFAULT_VALUE_BYTES: u64 = 1 << 30;

/// The ceilings of ceilings: 4 GiB is all that a memory can have, and the rest is beyond every use.
const UNBOUNDED: Limits = Limits {
    fuel: jobwright_core::limits::Fuel::Unlimited,
    timeout_ms: 7 * 24 * 60 * 60 * 1000,
    memory_bytes: 4 << 30,
    output_bytes: 1 << 30,
    log_bytes: 64 << 20,
    tables: 10_000_000,
    resources: 1_000_000,
    checkpoint_bytes: 1 << 30,
    grace_ms: 60_000,
};

/// An address to listen on, as [`resolve`] reads it.
fn address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(from)?;
    resolve(&text).map_err(serde::de::Error::custom)
}

/// The address that `text` names: `127.0.0.1:7878`, `[::1]:7878`, or a name with a port, such as
/// `localhost:7878`. Of a name with several addresses, an IPv4 address, which is what clients look for by
/// default.
pub(crate) fn resolve(text: &str) -> Result<SocketAddr, String> {
    use std::net::ToSocketAddrs as _;
    let wrong = |error: std::io::Error| {
        format!(
            "`{text}` is neither an IP address with a port, such as 127.0.0.1:7878, nor a name that \
             resolves, with a port, such as localhost:7878: {error}"
        )
    };
    let mut addresses: Vec<SocketAddr> = text.to_socket_addrs().map_err(wrong)?.collect();
    addresses.sort_by_key(|address| !address.is_ipv4());
    addresses.first().copied().ok_or_else(|| format!("`{text}` resolves to no address"))
}

/// A duration as people write it: `30s`, `1h30m`, `14d`.
fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse_duration(&text).map_err(serde::de::Error::custom)
}

/// See [`duration`].
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let span: Result<jiff::Span, _> = text.parse();
    span.and_then(|span| {
        span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).and_then(Duration::try_from)
    })
    .map_err(|_| format!("`{text}` is not a duration: use 30s, 1h30m or 14d"))
}

#[cfg(test)]
mod tests;
