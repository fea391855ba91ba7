//! Settings that follow from a configuration: the limits of jobs, of queues and of the machine's memory.

use jobwright_core::capacity::{CapacityLimits, KeptLimits};
use jobwright_core::limits::{
    CompileLimits, DEFAULT_STACK_BYTES, Fuel, LimitPolicy, Limits, LimitsRequest,
};

use super::{CompileConfig, Config, DiskConfig, QueueConfig, machine};

/// The maximum of the ceilings themselves. 4 GiB is the maximum size of a 32-bit memory; the other values
/// are above any known use.
pub(super) const UNBOUNDED: Limits = Limits {
    fuel: Fuel::Unlimited,
    timeout_ms: 7 * 24 * 60 * 60 * 1000,
    memory_bytes: 4 << 30,
    output_bytes: 1 << 30,
    log_bytes: 64 << 20,
    tables: 10_000_000,
    resources: 1_000_000,
    checkpoint_bytes: 1 << 30,
    grace_ms: 60_000,
};

impl Config {
    /// The limits for compiling a plugin.
    #[must_use]
    pub fn compile_limits(&self) -> CompileLimits {
        let CompileConfig { timeout, memory_bytes } = self.compile;
        CompileLimits { timeout, memory_bytes }
    }

    /// The default limits of jobs, and the maximum that they can request.
    ///
    /// # Errors
    /// If a default exceeds its ceiling.
    pub fn limit_policy(&self) -> anyhow::Result<LimitPolicy> {
        let none = LimitsRequest::default();
        let open = LimitPolicy { default: Limits::CEILING, ceiling: UNBOUNDED };
        let complete = |policy: LimitPolicy, request: LimitsRequest, what: &str| {
            policy.complete(request, none, 0).map_err(|faults| {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                anyhow::anyhow!("{what}: {}", faults.join("; "))
            })
        };
        let mut ceiling = complete(open, self.ceilings, "ceilings")?;
        if self.ceilings.memory_bytes.is_none() {
            // On a small machine, the default ceiling can be more than the budget.
            ceiling.memory_bytes = ceiling.memory_bytes.min(self.memory_budget());
        }
        let policy = LimitPolicy { default: Limits::DEFAULT, ceiling };
        let default = complete(policy, self.limits, "limits")?;
        Ok(LimitPolicy { default, ceiling })
    }

    /// The limits of unfinished jobs, and of the history.
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

    /// The number of workers that a queue with a large share leaves free: an eighth by default, and at least
    /// one if there are several. Without a free worker, a job of another queue waits until a long job ends.
    #[must_use]
    pub fn reserved_workers(&self) -> u32 {
        let workers = self.workers.get();
        self.reserved_workers.unwrap_or((workers / 8).max(u32::from(workers > 1)))
    }

    /// The memory for all running attempts together, in bytes. Stacks larger than the default are deducted,
    /// because they are not counted per job.
    #[must_use]
    pub fn memory_budget(&self) -> u64 {
        self.memory_with_stacks().saturating_sub(self.extra_stack_bytes())
    }

    /// The memory budget, before stacks are deducted from it.
    pub(super) fn memory_with_stacks(&self) -> u64 {
        self.memory_budget_bytes.unwrap_or_else(|| machine::memory() / 2)
    }

    /// The size of the stacks of all workers above that of default stacks, in bytes.
    pub(super) fn extra_stack_bytes(&self) -> u64 {
        let extra = self.stack_bytes.saturating_sub(DEFAULT_STACK_BYTES);
        extra.saturating_mul(self.workers.get().into())
    }
}
