//! What the checkpoints of unfinished jobs take.

use std::collections::HashMap;

use crate::job::JobId;

/// The checkpoints of unfinished jobs, by length.
#[derive(Debug, Default)]
pub struct Checkpoints {
    lengths: HashMap<JobId, u64>,
    bytes: u64,
}

impl Checkpoints {
    /// What all of them take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a checkpoint of `length` bytes may take the place of the job's earlier one, if all
    /// together may take `most`. If so, it is counted.
    pub fn admit(&mut self, job: JobId, length: u64, most: u64) -> bool {
        let others = self.bytes - self.lengths.get(&job).copied().unwrap_or(0);
        let fits = others.saturating_add(length) <= most;
        if fits {
            self.lengths.insert(job, length);
            self.bytes = others + length;
        }
        fits
    }

    /// The job's checkpoint is gone.
    pub fn forget(&mut self, job: JobId) {
        self.bytes -= self.lengths.remove(&job).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn checkpoints_are_counted_once_for_each_job() {
        let mut held = Checkpoints::default();
        let [a, b] = [JobId::new(Timestamp::UNIX_EPOCH), JobId::new(Timestamp::UNIX_EPOCH)];
        assert!(held.admit(a, 6, 10) && !held.admit(b, 5, 10) && held.admit(b, 4, 10));
        assert!(held.admit(a, 5, 10), "in place of the earlier one");
        assert!(!held.admit(b, 6, 10), "the earlier one stays");
        held.forget(a);
        held.forget(a);
        assert!(held.admit(b, 10, 10));
    }
}
