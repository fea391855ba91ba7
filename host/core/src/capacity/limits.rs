//! The bounds on what a store holds.

/// The bounds on what a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapacityLimits {
    /// Jobs in one queue.
    pub per_queue: usize,
    /// Jobs in all queues.
    pub total: usize,
    /// What all jobs carry, as [`JobSpec::held_bytes`](crate::JobSpec::held_bytes) counts it.
    pub payload_bytes: u64,
    /// What they and those before them leave behind.
    pub kept: KeptLimits,
}

/// The bounds on what jobs leave behind, in bytes as a driver counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptLimits {
    /// Finalized jobs with their outputs. Beyond it, those that ended first go, whatever their
    /// retention.
    pub history_bytes: u64,
    /// Logs. Beyond it, the oldest go.
    pub log_bytes: u64,
    /// Checkpoints of unfinished jobs. Beyond it, none is kept any more: the next attempt then goes
    /// on from an earlier one, or starts over.
    pub checkpoint_bytes: u64,
    /// Answers to idempotency keys, which are promised to be kept for a day. Beyond it, no request
    /// with a new key is taken.
    pub key_bytes: u64,
    /// Free space of the disk, below which the oldest logs go for each that comes; below half of it
    /// so does history, and no checkpoint is kept. None for 0.
    pub free_bytes: u64,
}

impl KeptLimits {
    /// 4 GiB of history, 1 GiB of logs, 1 GiB of checkpoints: what a small disk has room for. And
    /// 1 GiB of answers, some hundred thousand jobs a day.
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
    /// 10,000 jobs a queue (what others found to be a backlog that helps nobody), 100,000 a host
    /// (their scheduling facts take some 40 MiB of memory), 512 MiB of payloads.
    fn default() -> Self {
        let kept = KeptLimits::default();
        Self { per_queue: 10_000, total: 100_000, payload_bytes: 512 << 20, kept }
    }
}
