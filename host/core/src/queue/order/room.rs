//! Room for attempts.

/// Attempts in flight and their memory: what a host has, has free, or has given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// Attempts in flight.
    pub attempts: usize,
    /// The memory of the host that they may use, in bytes.
    pub memory_bytes: u64,
}

impl Room {
    /// Adds one attempt.
    pub(in crate::queue) fn add(&mut self, memory_bytes: u64) {
        self.attempts += 1;
        self.memory_bytes += memory_bytes;
    }

    /// Removes one attempt.
    pub(in crate::queue) fn take(&mut self, memory_bytes: u64) {
        self.attempts = self.attempts.saturating_sub(1);
        self.memory_bytes = self.memory_bytes.saturating_sub(memory_bytes);
    }
}
