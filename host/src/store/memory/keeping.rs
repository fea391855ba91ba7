//! What jobs leave behind: counted, bounded, and trimmed when there is too much of it.

use jobwright_core::attempt::Lease;
use jobwright_core::capacity::HeldBytes;
use jobwright_core::job::{JobId, Stored};
use jobwright_core::lifecycle::JobState;
use jobwright_core::outcome::Output;
use jobwright_core::report::Told;

use super::{Jobs, Record};

impl Jobs {
    /// Keeps what an attempt told, if there is room.
    fn keep(&mut self, id: JobId, told: Told) {
        let Some(record) = self.records.get_mut(&id) else { return };
        record.job.progress = told.progress.or(record.job.progress.take());
        let (most, tenant) = (self.limits.checkpoint_bytes, &record.job.spec.tenant);
        let Some(state) = told.checkpoint else { return };
        let length = state.len() as u64;
        let Some(displaced) = self.checkpoints.admit(tenant, id, length, most) else { return };
        record.checkpoint = Some(state);
        for id in displaced {
            if let Some(record) = self.records.get_mut(&id) {
                record.checkpoint = None;
            }
        }
    }

    /// As [`Self::keep`], for the attempt that holds the lease.
    pub(super) fn keep_of(&mut self, lease: &Lease, told: Told) {
        if !self.queue.holds(lease) {
            return;
        }
        // The attempt got further, whether or not there is room for what it saved.
        let got_further = !told.is_empty();
        self.keep(lease.job, told);
        if got_further && let Some(lifecycle) = self.queue.forgive(lease) {
            self.record(lease.job, lifecycle, None);
        }
    }

    /// Keeps what an attempt left that leads to `state`.
    pub(super) fn keep_output(&mut self, lease: &Lease, state: JobState, output: Option<Output>) {
        let Some(record) = self.records.get_mut(&lease.job) else { return };
        if state == JobState::Completed {
            // What failed is not what a success left.
            (record.job.output, record.output) = (None, None);
        }
        let Some(output) = output else { return };
        let (bytes, most) = (output.bytes.len() as u64, self.limits.checkpoint_bytes);
        let tenant = &record.job.spec.tenant;
        let displaced = match state.is_finalized() {
            true => Some(vec![]),
            false => self.failed_outputs.admit(tenant, lease.job, bytes, most),
        };
        let Some(displaced) = displaced else { return };
        let (content_type, attempt) = (output.content_type.clone(), lease.attempt);
        record.job.output = Some(Stored { content_type, bytes, attempt });
        record.output = Some(output);
        self.forget_outputs(&displaced);
    }

    /// Keeps what an earlier attempt at a job left that was over and is not any more, unless that
    /// completed it.
    pub(super) fn keep_earlier_output(&mut self, id: JobId, has_completed: bool) {
        let Some(record) = self.records.get(&id) else { return };
        let (tenant, most) = (&record.job.spec.tenant, self.limits.checkpoint_bytes);
        let Some(output) = &record.output else { return };
        let bytes = output.bytes.len() as u64;
        let displaced = match has_completed {
            true => None,
            false => self.failed_outputs.admit(tenant, id, bytes, most),
        };
        self.forget_outputs(&displaced.unwrap_or_else(|| vec![id]));
    }

    fn forget_outputs(&mut self, jobs: &[JobId]) {
        for id in jobs {
            if let Some(record) = self.records.get_mut(id) {
                (record.job.output, record.output) = (None, None);
            }
        }
    }

    /// Removes a job that is over.
    pub(super) fn remove(&mut self, id: JobId) {
        if let Some(record) = self.records.remove(&id) {
            self.over.remove(&(record.job.lifecycle.finalized_at, id));
            self.history.remove(&record.job.spec.tenant, record.bytes());
            self.log_bytes -= record.log_bytes();
        }
    }

    /// Removes what was over first of the tenant that holds most, while there is too much of it.
    pub(super) fn trim(&mut self) {
        while self.history.bytes() > self.limits.history_bytes
            && let Some(id) = self.first_over_of_largest()
        {
            self.remove(id);
        }
    }

    fn first_over_of_largest(&self) -> Option<JobId> {
        let largest = self.history.largest()?;
        let tenant = |id: &JobId| self.records.get(id).map(|record| &record.job.spec.tenant);
        let mut over = self.over.iter().map(|(_, id)| *id);
        over.find(|id| tenant(id) == Some(largest))
    }

    /// Removes the oldest logs of the tenant that holds most, while there is too much of them.
    pub(super) fn trim_logs(&mut self) {
        while self.log_bytes > self.limits.log_bytes {
            let held = self.records.values().map(|it| (it.job.spec.tenant.clone(), it.log_bytes()));
            let Some(largest) = HeldBytes::from_iter(held).largest().cloned() else { return };
            let of_largest =
                |it: &&mut Record| !it.logs.is_empty() && it.job.spec.tenant == largest;
            let Some(record) = self.records.values_mut().find(of_largest) else { return };
            self.log_bytes -= record.log_bytes();
            record.logs.clear();
        }
    }
}
