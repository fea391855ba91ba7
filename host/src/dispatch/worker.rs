//! The claim loop, and one attempt from its claim to its verdict.

use std::sync::Arc;
use std::time::Duration;

use jobwright_core::attempt::{Attempt, AttemptRecord, Lease, Start};
use jobwright_core::clock::{Timestamp, after, until};
use jobwright_core::grant::Grants;
use jobwright_core::hold::JobLabels;
use jobwright_core::job::{Job, Payload};
use jobwright_core::limits::Limits;
use jobwright_core::log::{LogBuffer, LogSnapshot};
use jobwright_core::outcome::{Outcome, OutcomeKind, millis};
use jobwright_core::queue::{Reserve, Room};
use jobwright_core::report::ProgressReporter;
use jobwright_core::retry;
use jobwright_core::runtime::{Stop, StopSignal};
use jobwright_core::store::{Claim, Claimed, Finish, Finished, Leased};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::in_flight::{Enlisted, Running, Traces};
use super::{DispatchSettings, Dispatcher, PAGE_BYTES};

/// How long to wait before writing a verdict again that a failing store did not take.
const FINISH_RETRY: Duration = Duration::from_millis(500);

/// How long to let slots become free while more jobs wait than there were slots: a claim costs a turn
/// of the store, so it should take many. Less than a turn takes, and nothing under light load.
const GATHER: Duration = Duration::from_millis(1);

/// What the log of an attempt says whose job was accepted as a deterministic one.
const DETERMINISM_WITHDRAWN: &[u8] =
    b"WARN: jobwright: deterministic mode is no longer allowed by the plugin's settings: this attempt has \
      the real clock and random bytes of its own\n";

/// What a claim tells about the next.
struct Turn {
    /// When the next job becomes due, as far as is known.
    next_due: Option<Timestamp>,
    /// Whether jobs may be due that were not claimed.
    more: bool,
}

/// What an attempt holds of the host while the guest runs.
struct Place {
    _slot: OwnedSemaphorePermit,
    _memory: OwnedSemaphorePermit,
}

/// An attempt that is among those in flight.
struct Begun {
    lease: Lease,
    job: Job,
    payload: Payload,
    /// What it may use today.
    limits: Limits,
    traces: Traces,
    /// Whether it goes on from a checkpoint.
    resumed: bool,
    signal: StopSignal,
    enlisted: Enlisted,
}

impl Dispatcher {
    /// Claims whenever there may be something to claim and room to run it, until told to stop.
    pub(super) async fn claims(self, mut stopping: watch::Receiver<bool>) {
        let mut polls = true;
        while !*stopping.borrow() {
            let turn = self.claim_and_start(polls).await;
            let poll = after(self.clock.now(), self.settings.poll);
            let wake_at = turn.next_due.map_or(poll, |due| due.min(poll));
            polls = tokio::select! {
                // In order: which of two that are ready ends the wait must not be left to chance,
                // or no history could be replayed.
                biased;
                () = self.wake_ups.work.notified() => false,
                () = self.clock.sleep_until(wake_at) => true,
                _ = stopping.changed() => false,
            };
            let free = self.slots.available_permits();
            if turn.more && free * 2 < self.settings.slots as usize {
                tokio::time::sleep(GATHER).await;
            }
        }
    }

    /// Starts as many attempts as there is room for. Without any, it claims only if it `polls`: the
    /// store then learns which jobs have become due, which count against another bound from then on.
    async fn claim_and_start(&self, polls: bool) -> Turn {
        // Only this loop takes places, so what is free now stays free.
        let slots = self.slots.available_permits();
        if slots == 0 && !polls {
            return Turn { next_due: None, more: true };
        }
        let _claiming = self.claiming.lock().await;
        let now = self.clock.now();
        let Claimed { leased, next_due, more } =
            match self.store.claim(self.want(slots, now), now).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::warn!(%error, "cannot claim");
                    return Turn { next_due: None, more: false };
                }
            };
        for leased in leased {
            self.start(leased);
        }
        Turn { next_due, more: more || slots == 0 }
    }

    /// What there is room for, with so many free slots.
    fn want(&self, slots: usize, now: Timestamp) -> Claim {
        let DispatchSettings { slots: all, memory_bytes, reserved_slots, .. } = *self.settings;
        let host = Room { attempts: all as usize, memory_bytes };
        Claim {
            max: slots,
            memory_bytes: self.memory.available_permits() as u64 * PAGE_BYTES,
            idle: slots == all as usize,
            reserve: Reserve::new(host, reserved_slots as usize)
                .fitting(Limits::DEFAULT.host_bytes()),
            expires_at: after(now, self.settings.lease),
            wall: self.clock.wall(),
        }
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
            let enlisted = self.enlist(leased);
            tokio::spawn(Box::pin(self.clone().attempt(enlisted, place)));
        }
    }

    /// Counts an attempt among those in flight.
    fn enlist(&self, leased: Leased) -> Begun {
        let Leased { lease, job, payload, checkpoint } = leased;
        let limits = job.spec.limits.under(&self.settings.ceiling);
        let log = Arc::new(LogBuffer::new(limits.log_bytes));
        let resumed = checkpoint.is_some();
        let report = Arc::new(ProgressReporter::new(checkpoint, limits.checkpoint_bytes));
        let traces = Traces { log, report };
        let (stop, signal) = Stop::new();
        let labels = JobLabels::from(&job.spec);
        let running = Running { lease, labels, stop, traces: traces.clone() };
        let enlisted = self.in_flight.enlist(running);
        Begun { lease, job, payload, limits, traces, resumed, signal, enlisted }
    }

    async fn attempt(self, begun: Begun, place: Place) {
        let Begun { lease, job, payload, limits, traces, resumed, signal, enlisted } = begun;
        let Traces { log, report } = traces;
        let (job, log) = (&job, &log);
        let granted = self.grantor.open(job, log);
        let grants = granted.grants.clone();
        let start = self.start_of(job, lease.attempt, &grants);
        if start.determinism_withdrawn {
            log.write(DETERMINISM_WITHDRAWN);
        }
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
        ended.outcome = retry::settle(lifecycle, ended.outcome, now);
        let verdict = retry::decide(&job.spec, lifecycle, &ended.outcome, now, (self.jitter)());
        let record = AttemptRecord {
            start: Some(start),
            resumed,
            granted: grants.reach_outside(),
            limits: (limits != job.spec.limits).then_some(limits),
            ..AttemptRecord::new(lifecycle, &ended.outcome, ended.usage, now)
        };
        tracing::debug!(job = %job.id, attempt = lease.attempt, outcome = ?record.outcome, "ended");
        let output = match ended.outcome {
            Outcome::Succeeded { output } => Some(output),
            _ => ended.failed_output,
        };
        // The guest has ended, so its slot goes on; the lease is renewed until it is written.
        let _finishing = self.finishing.acquire().await;
        drop(place);
        self.wake_ups.work.notify_one();
        self.save_log(lease, log.snapshot()).await;
        if let (OutcomeKind::Refused, Some(error)) = (record.outcome, &record.error) {
            self.refusals.note(&error.code, &error.message);
        }
        let finish = Finish { lease, verdict, record, output, told: report.told() };
        self.finish(finish).await;
        drop(enlisted);
    }

    /// Where the clocks and random numbers of an attempt at `job` begin, under the `grants` of today.
    fn start_of(&self, job: &Job, attempt: u32, grants: &Grants) -> Start {
        let determinism_withdrawn = job.spec.is_determinism_withdrawn(grants);
        let start = if job.spec.deterministic && !determinism_withdrawn {
            Start::new(self.seeds.seed(job.id, None), job.created_at)
        } else {
            Start::new(self.seeds.seed(job.id, Some(attempt)), self.clock.wall())
        };
        Start { determinism_withdrawn, ..start.under(grants) }
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

    /// Keeps what the log holds, if it holds anything.
    pub(super) async fn save_log(&self, lease: Lease, log: LogSnapshot) {
        if log.bytes.is_empty() {
            return;
        }
        if let Err(error) = self.store.save_log(lease.job, lease.attempt, log).await {
            tracing::warn!(job = %lease.job, %error, "cannot save the log");
        }
    }
}
