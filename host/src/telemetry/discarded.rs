//! One line of the log for each job that failed for good or expired.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use jobwright_core::change::{Change, ChangeStream, Event, JobEvent, Listener, Transition};
use jobwright_core::job::JobState;

use super::line::one_line;

/// How many lines may wait for the log. Beyond it they are counted and lost.
const WAITING_LINES: usize = 4096;

/// Logs the jobs that fail for good, on a thread of its own: a slow log must not delay commits.
#[derive(Debug)]
pub(crate) struct DiscardedLog {
    lines: Option<SyncSender<JobEvent>>,
    lost: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl DiscardedLog {
    /// Starts to log what `changes` publishes. Dropping it logs what waits.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(crate) fn start(changes: &ChangeStream) -> std::io::Result<Arc<Self>> {
        let (lines, waiting) = sync_channel(WAITING_LINES);
        let lost = Arc::<AtomicU64>::default();
        let lost_lines = lost.clone();
        let thread = std::thread::Builder::new().name("discarded-log".to_owned());
        let thread = thread.spawn(move || log(&waiting, &lost_lines))?;
        let log = Arc::new(Self { lines: Some(lines), lost, thread: Some(thread) });
        let listener: Weak<dyn Listener> = Arc::<Self>::downgrade(&log);
        changes.listen(listener);
        Ok(log)
    }
}

impl Listener for DiscardedLog {
    fn committed(&self, changes: &[Change]) {
        for job in discarded(changes) {
            if self.lines.as_ref().is_none_or(|lines| lines.try_send(job.clone()).is_err()) {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for DiscardedLog {
    fn drop(&mut self) {
        self.lines = None;
        if let Some(thread) = self.thread.take() {
            // A panic has been reported by the thread itself.
            let _ = thread.join();
        }
    }
}

fn log(waiting: &Receiver<JobEvent>, lost: &AtomicU64) {
    while let Ok(job) = waiting.recv() {
        write(&job);
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(
                lost,
                "the log is too slow: some lines of discarded and expired jobs are missing"
            );
        }
    }
}

/// Logs the jobs that failed for good with these changes, before it returns.
pub(crate) fn log_discarded(changes: &[Change]) {
    discarded(changes).for_each(write);
}

fn discarded(changes: &[Change]) -> impl Iterator<Item = &JobEvent> {
    let jobs = changes.iter().filter_map(|change| match &change.event {
        Event::Job(job) => Some(job),
        Event::Hold(..) | Event::Tenant(_) => None,
    });
    jobs.filter(|job| match job.transition {
        Transition::Finalized { state, .. } => state.has_failed(),
        Transition::Enqueued
        | Transition::Started
        | Transition::Waiting
        | Transition::CancelRequested => false,
    })
}

fn write(job: &JobEvent) {
    let Transition::Finalized { state, error } = &job.transition else { return };
    let event = if *state == JobState::Expired { "job_expired" } else { "job_discarded" };
    let error = error.as_ref();
    let code = error.map_or("none", |error| error.code.as_str());
    let message = error.map_or("no attempt has an error", |error| error.message.as_str());
    tracing::info!(
        event,
        job = %job.job,
        plugin = %format_args!("{}@{}", job.labels.plugin, job.labels.version),
        tenant = %job.labels.tenant,
        queue = %job.labels.queue,
        attempt = job.attempt,
        code,
        message = one_line(message),
    );
}
