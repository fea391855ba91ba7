//! The limits of one attempt, complete: no value is left to a default.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fuel::Fuel;

/// The limits of one attempt. They are complete: no value is left to a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Instructions.
    pub fuel: Fuel,
    /// Wall time from the start of instantiation, in milliseconds.
    pub timeout_ms: u64,
    /// All linear memories and tables together, in bytes.
    pub memory_bytes: u64,
    /// Length of the output, in bytes.
    pub output_bytes: u64,
    /// Length of the log that is kept, in bytes; more is dropped and counted, and ends nothing.
    pub log_bytes: u64,
    /// Table elements of all tables.
    pub tables: u64,
    /// Handles to host resources at one time.
    pub resources: u64,
    /// Length of the checkpoint, in bytes.
    #[serde(default = "Limits::default_checkpoint_bytes")]
    pub checkpoint_bytes: u64,
    /// How long a guest that polls for cancellation may run after the job was cancelled, in milliseconds.
    #[serde(default = "Limits::default_grace_ms")]
    pub grace_ms: u64,
}

impl Limits {
    /// The fuel that a computing guest uses in a second on a present server: measured guests that parse,
    /// count, scale and draw took 2 to 7 × 10⁹, a loop that does nothing 1 × 10⁹.
    pub const FUEL_PER_SECOND: u64 = 5_000_000_000;

    /// The defaults of a host whose operator sets none.
    pub const DEFAULT: Self = Self {
        fuel: Fuel::Units(Self::FUEL_PER_SECOND * 60), // as long as the time limit
        timeout_ms: 60_000,                            // River's default
        memory_bytes: 64 << 20,                        // every toolchain's small program fits
        output_bytes: 1 << 20,                         // as the payload
        log_bytes: 256 << 10,                          // some thousand lines
        tables: 100_000,                               // debug builds of C# need over 10,000
        resources: 1_000,          // wasmtime's default of a million is host memory
        checkpoint_bytes: 1 << 20, // as the output
        grace_ms: 1_000,           // enough to save state, not to continue the work
    };

    /// The ceilings of a host whose operator sets none.
    pub const CEILING: Self = Self {
        fuel: Fuel::Unlimited,
        timeout_ms: 3_600_000,
        memory_bytes: 1 << 30,
        output_bytes: 16 << 20,
        log_bytes: 1 << 20, // 64 such logs are written every second, and each at its end
        tables: 1_000_000,
        resources: 10_000,
        checkpoint_bytes: 16 << 20, // as the output
        grace_ms: 10_000,           // a third of the host's own grace at its shutdown
    };

    // For jobs that were accepted before these two limits existed.
    fn default_checkpoint_bytes() -> u64 {
        Self::DEFAULT.checkpoint_bytes
    }

    fn default_grace_ms() -> u64 {
        Self::DEFAULT.grace_ms
    }

    /// The memory that every attempt may use in addition, in bytes: its stack, and its instances
    /// without their memories and tables. Runtimes enforce this bound.
    pub const ATTEMPT_BYTES: u64 = 6 << 20;

    /// The memory of its host that an attempt may use, in bytes: that of the guest, the buffers of its output,
    /// log and checkpoint, and [a constant part](Self::ATTEMPT_BYTES).
    #[must_use]
    pub fn host_bytes(&self) -> u64 {
        let buffers =
            [self.output_bytes, self.log_bytes, self.checkpoint_bytes, Self::ATTEMPT_BYTES];
        buffers.into_iter().fold(self.memory_bytes, u64::saturating_add)
    }

    /// The wall time limit.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// These limits, none above `ceiling`.
    #[must_use]
    pub fn under(self, ceiling: &Self) -> Self {
        Self {
            fuel: self.fuel.min(ceiling.fuel),
            timeout_ms: self.timeout_ms.min(ceiling.timeout_ms),
            memory_bytes: self.memory_bytes.min(ceiling.memory_bytes),
            output_bytes: self.output_bytes.min(ceiling.output_bytes),
            log_bytes: self.log_bytes.min(ceiling.log_bytes),
            tables: self.tables.min(ceiling.tables),
            resources: self.resources.min(ceiling.resources),
            checkpoint_bytes: self.checkpoint_bytes.min(ceiling.checkpoint_bytes),
            grace_ms: self.grace_ms.min(ceiling.grace_ms),
        }
    }
}
