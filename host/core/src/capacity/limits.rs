//! The bounds on the contents of a store.

use std::time::Duration;

/// The bounds on the contents of a store, and the head start of its jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapacityLimits {
    /// Jobs in one queue that are due or running.
    pub per_queue: usize,
    /// Jobs in one queue that are neither: scheduled, or waiting for a retry.
    pub parked_per_queue: usize,
    /// Jobs in all queues.
    pub total: usize,
    /// Bytes of payloads and arguments of all jobs, as [`JobSpec::held_bytes`](crate::JobSpec::held_bytes)
    /// counts it.
    pub payload_bytes: u64,
    /// Bounds on outputs, logs, checkpoints and keys.
    pub kept: KeptLimits,
    /// How much earlier a job is claimed for each level of priority, see
    /// [`Queue::new`](crate::queue::Queue::new).
    pub head_start: Duration,
}

/// Five minutes a level: an urgent job overtakes an ordinary backlog, and a job of the lowest priority
/// is overtaken for a quarter of an hour at most.
pub const HEAD_START: Duration = Duration::from_secs(5 * 60);

/// The bounds on what jobs leave behind, in bytes as a driver counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptLimits {
    /// Finalized jobs with their outputs. Above it, the oldest jobs of the tenant with the most
    /// bytes are removed before their retention ends.
    pub history_bytes: u64,
    /// Logs. Beyond it, the oldest of the tenant that holds most go.
    pub log_bytes: u64,
    /// Checkpoints of unfinished jobs; and what failed attempts at them have left, so much again. Beyond
    /// it, the oldest of the tenant that holds most go; new checkpoints of that tenant are not kept, and
    /// its next attempts resume from earlier ones, or start over.
    pub checkpoint_bytes: u64,
    /// Idempotency keys with the stored parts of their jobs, which are kept for a day. Above it,
    /// requests with a new key are refused.
    pub key_bytes: u64,
    /// Free disk space, below which the oldest logs are removed for each new one; below half of it,
    /// history is removed too, and no checkpoint is stored. 0 disables the floor.
    pub free_bytes: u64,
}

impl KeptLimits {
    /// 4 GiB of history, 1 GiB of logs, 1 GiB of checkpoints: sizes for a small disk. And 1 GiB of
    /// keys, for some hundred thousand jobs a day.
    pub const DEFAULT: Self = Self {
        history_bytes: 4 << 30,
        log_bytes: 1 << 30,
        checkpoint_bytes: 1 << 30,
        key_bytes: 1 << 30,
        free_bytes: 0,
    };
}

impl Default for KeptLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Default for CapacityLimits {
    /// 10,000 jobs a queue that are due or running (a longer backlog serves no client), 100,000 that are
    /// parked (an outage elsewhere must not close the intake), 200,000 a host (their scheduling facts
    /// take some 80 MiB of memory), 512 MiB of payloads.
    fn default() -> Self {
        let (per_queue, parked_per_queue, total) = (10_000, 100_000, 200_000);
        let kept = KeptLimits::default();
        let (payload_bytes, head_start) = (512 << 20, HEAD_START);
        Self { per_queue, parked_per_queue, total, payload_bytes, kept, head_start }
    }
}
