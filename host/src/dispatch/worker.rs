//! The claim loop, and one attempt from its claim to its verdict.

use std::sync::Arc;
use std::time::Duration;

use jobwright_core::attempt::{Attempt, AttemptRecord, Lease, Start};
use jobwright_core::clock::{Timestamp, after, until};
use jobwright_core::hold::Facts;
use jobwright_core::job::Job;
use jobwright_core::log::LogBuffer;
use jobwright_core::outcome::{Outcome, millis};
use jobwright_core::report::Report;
use jobwright_core::retry;
use jobwright_core::runtime::{Ended, Stop};
use jobwright_core::store::{Claim, Claimed, Finish, Finished, Leased};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{Dispatcher, PAGE_BYTES};
use crate::notify::Traces;

/// How long to wait before writing a verdict again that a failing store did not take.
const FINISH_RETRY: Duration = Duration::from_millis(500);

/// How long to let slots become free while more jobs wait than there were slots: a claim costs a turn
/// of the store, so it should take many. Less than a turn takes, and nothing under light load.
const GATHER: Duration = Duration::from_millis(1);

/// What a claim tells about the next.
struct Turn {
    /// When the next job becomes due, as far as is known.
    next_due: Option<Timestamp>,
    /// Whether every free slot was used, so that more jobs may wait.
    took_all: bool,
}

/// What an attempt holds of the host while the guest runs.
struct Place {
    _slot: OwnedSemaphorePermit,
    _memory: OwnedSemaphorePermit,
}

impl Dispatcher {
    /// Claims whenever there may be something to claim and room to run it, until told to stop.
    pub(super) async fn claims(self, mut stopping: watch::Receiver<bool>) {
        while !*stopping.borrow() {
            let turn = self.claim_and_start().await;
            let poll = after(self.clock.now(), self.settings.poll);
            let wake_at = turn.next_due.map_or(poll, |due| due.min(poll));
            tokio::select! {
                // In order: which of two that are ready ends the wait must not be left to chance,
                // or no history could be replayed.
                biased;
                () = self.signals.work.notified() => {}
                () = self.clock.sleep_until(wake_at) => {}
                _ = stopping.changed() => {}
            }
            let free = self.slots.available_permits();
            if turn.took_all && free * 2 < self.settings.slots as usize {
                tokio::time::sleep(GATHER).await;
            }
        }
    }

    /// Starts as many attempts as there is room for.
    async fn claim_and_start(&self) -> Turn {
        // Only this loop takes places, so what is free now stays free.
        let (slots, pages) = (self.slots.available_permits(), self.memory.available_permits());
        if slots == 0 {
            return Turn { next_due: None, took_all: true };
        }
        let now = self.clock.now();
        let want = Claim {
            max: slots,
            memory_bytes: pages as u64 * PAGE_BYTES,
            idle: slots == self.settings.slots as usize,
            expires_at: after(now, self.settings.lease),
        };
        let Claimed { leased, next_due } = match self.store.claim(want, now).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(%error, "cannot claim");
                return Turn { next_due: None, took_all: false };
            }
        };
        let took_all = leased.len() == slots;
        for leased in leased {
            self.start(leased);
        }
        Turn { next_due, took_all }
    }

    fn start(&self, leased: Leased) {
        let bytes = leased.job.spec.limits.host_bytes();
        let pages = u32::try_from(bytes.div_ceil(PAGE_BYTES)).unwrap_or(u32::MAX);
        let slot = self.slots.clone().try_acquire_owned();
        // A limit that is not whole pages may take one page more than the claim counted.
        let memory = self.memory.clone().try_acquire_many_owned(
            pages.min(u32::try_from(self.memory.available_permits()).unwrap_or(u32::MAX)),
        );
        if let (Ok(slot), Ok(memory)) = (slot, memory) {
            let place = Place { _slot: slot, _memory: memory };
            tokio::spawn(Box::pin(self.clone().attempt(leased, place)));
        }
    }

    async fn attempt(self, leased: Leased, place: Place) {
        let Leased { lease, job, payload, checkpoint } = leased;
        let limits = job.spec.limits.under(&self.settings.ceiling);
        let log = Arc::new(LogBuffer::new(limits.log_bytes));
        let (stop, signal) = Stop::new();
        let resumed = checkpoint.is_some();
        let report = Arc::new(Report::new(checkpoint, limits.checkpoint_bytes));
        let traces = Traces { log: log.clone(), report: report.clone() };
        let enlisted = self.signals.enlist((lease, Facts::from(&job.spec)), stop, traces);
        let (job, log) = (&job, &log);
        let granted = self.grantor.open(job, log);
        let grants = granted.grants.clone();
        let start = self.start_of(job).under(&grants);
        let attempt = Attempt {
            job: job.clone(),
            limits,
            payload,
            log: log.clone(),
            report: report.clone(),
            granted,
            start,
        };

        let mut ended = self.runtime.run(attempt, signal).await;

        let lifecycle = &job.lifecycle;
        let queued = until(lifecycle.scheduled_at, lifecycle.attempted_at.unwrap_or_default());
        ended.usage.queue_ms = millis(queued);
        let now = self.clock.now();
        let verdict = retry::decide(&job.spec, lifecycle, &ended.outcome, now, (self.jitter)());
        let record = AttemptRecord {
            start: Some(start),
            resumed,
            granted: grants.reach_outside(),
            limits: (limits != job.spec.limits).then_some(limits),
            ..AttemptRecord::new(lifecycle, &ended.outcome, ended.usage, now)
        };
        tracing::debug!(job = %job.id, attempt = lease.attempt, outcome = ?record.outcome, "ended");
        let output = match ended {
            Ended { outcome: Outcome::Succeeded { output }, .. } => Some(output),
            Ended { .. } => None,
        };
        // The guest has ended, so its slot goes on; the lease is renewed until it is written.
        let _finishing = self.finishing.acquire().await;
        drop(place);
        self.signals.work.notify_one();
        self.save_log(lease, log).await;
        self.finish(Finish { lease, verdict, record, output, told: report.told() }).await;
        drop(enlisted);
    }

    /// Where the clocks and random numbers of an attempt at `job` begin.
    fn start_of(&self, job: &Job) -> Start {
        if job.spec.deterministic {
            return Start::of_job(job.id, job.created_at);
        }
        Start::new((self.seeds)(), self.clock.now())
    }

    /// Writes a verdict, again and again while the store is away: the job's work is done, and only
    /// this knows it.
    async fn finish(&self, finish: Finish) {
        loop {
            match self.store.finish(finish.clone(), self.clock.now()).await {
                Ok(Finished::Recorded(_)) => return,
                Ok(Finished::LeaseLost) => {
                    let (job, attempt) = (finish.lease.job, finish.lease.attempt);
                    tracing::warn!(%job, attempt, "the lease was lost: the attempt does not count");
                    return;
                }
                Err(error) => {
                    tracing::warn!(job = %finish.lease.job, %error, "cannot finish yet");
                    self.clock.sleep_until(after(self.clock.now(), FINISH_RETRY)).await;
                }
            }
        }
    }

    /// Keeps what the log holds now, if it holds anything.
    pub(super) async fn save_log(&self, lease: Lease, log: &LogBuffer) {
        if log.written() == 0 {
            return;
        }
        if let Err(error) = self.store.save_log(lease.job, lease.attempt, log.snapshot()).await {
            tracing::warn!(job = %lease.job, %error, "cannot save the log");
        }
    }
}
