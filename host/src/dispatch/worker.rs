//! One attempt, from its claim to its verdict.

use std::sync::Arc;
use std::time::Duration;

use jobwright_core::attempt::{Attempt, AttemptRecord, Lease, Start};
use jobwright_core::clock::{after, until};
use jobwright_core::grant::Grants;
use jobwright_core::hold::JobLabels;
use jobwright_core::job::{Job, Payload};
use jobwright_core::limits::Limits;
use jobwright_core::log::{LogBuffer, LogSnapshot};
use jobwright_core::outcome::{AttemptError, Outcome, OutcomeKind, Usage, millis};
use jobwright_core::report::ProgressReporter;
use jobwright_core::retry;
use jobwright_core::runtime::{Ended, Stop, StopReason, StopSignal};
use jobwright_core::services::Capabilities;
use jobwright_core::store::{Finish, Finished, Leased};
use tokio::sync::OwnedSemaphorePermit;

use super::in_flight::{Enlisted, Running, Traces};
use super::{Dispatcher, deadline};
use crate::parts::in_time;

/// The pause before a verdict is written again after an error of the store.
const FINISH_RETRY: Duration = Duration::from_millis(500);

/// Logged to an attempt whose job was accepted as deterministic, if the plugin no longer allows that.
const DETERMINISM_WITHDRAWN: &[u8] =
    b"WARN: jobwright: deterministic mode is no longer allowed by the plugin's settings: this attempt has \
      the real clock and random bytes of its own\n";

/// The permits of an attempt while its guest runs.
pub(super) struct Permits {
    pub(super) _slot: OwnedSemaphorePermit,
    pub(super) _memory: OwnedSemaphorePermit,
}

/// An attempt in flight, before it runs.
struct Begun {
    lease: Lease,
    job: Job,
    payload: Payload,
    /// Its limits, under the present ceilings.
    limits: Limits,
    traces: Traces,
    /// Whether it resumes from a checkpoint.
    resumed: bool,
    signal: StopSignal,
    enlisted: Enlisted,
}

/// An attempt that has run, as its record describes it.
struct Started {
    lease: Lease,
    job: Job,
    limits: Limits,
    resumed: bool,
    /// `None` if it ended before its guest was started.
    start: Option<Start>,
    grants: Arc<Grants>,
    traces: Traces,
}

impl Dispatcher {
    /// Starts an attempt in a task of its own.
    pub(super) fn start(self: &Arc<Self>, leased: Leased, permits: Permits) {
        let begun = self.enlist(leased);
        tokio::spawn(Box::pin(self.clone().attempt(begun, permits)));
    }

    /// Adds an attempt to those in flight.
    fn enlist(&self, leased: Leased) -> Begun {
        let Leased { lease, job, payload, checkpoint } = leased;
        let limits = job.spec.limits.under(&self.settings.ceiling);
        let log = Arc::new(LogBuffer::new(limits.log_bytes));
        let resumed = checkpoint.is_some();
        let report = Arc::new(ProgressReporter::new(checkpoint, limits.checkpoint_bytes));
        let traces = Traces { log, report };
        let (stop, signal) = Stop::new();
        let labels = JobLabels::from(&*job.spec);
        let running = Running { lease, labels, stop, traces: traces.clone() };
        let enlisted = self.in_flight.enlist(running);
        Begun { lease, job, payload, limits, traces, resumed, signal, enlisted }
    }

    /// Runs an attempt, and records how it ended.
    async fn attempt(self: Arc<Self>, begun: Begun, permits: Permits) {
        let Begun { lease, job, payload, limits, traces, resumed, signal, enlisted } = begun;
        let opened = self.open(&job, &traces.log, &signal).await;
        let grants = opened.as_ref().map(|granted| granted.grants.clone()).unwrap_or_default();
        let start = self.start_of(&job, lease.attempt, &grants);
        let limits = deadline::cut(&job, limits, self.parts.clock.now());
        let (ended, start) = match opened {
            Err(outcome) => (Ended::new(outcome, Usage::default()), None),
            Ok(_) if limits.timeout_ms == 0 => {
                (Ended::new(deadline::out_of_time(), Usage::default()), None)
            }
            Ok(granted) => {
                let (job, log, report) = (job.clone(), traces.log.clone(), traces.report.clone());
                let attempt = Attempt { job, limits, payload, log, report, granted, start };
                (self.run_guest(attempt, signal).await, Some(start))
            }
        };
        let started = Started { lease, job, limits, resumed, start, grants, traces };
        let finish = self.conclude(&started, ended);
        // The guest has ended, so other attempts can have its slot. The lease is renewed until the verdict is
        // committed.
        let _finishing = self.finishing.acquire().await;
        drop(permits);
        self.freed();
        self.save_log(lease, started.traces.log.snapshot()).await;
        if let (OutcomeKind::Refused, Some(error)) = (finish.record.outcome, &finish.record.error) {
            self.refusals.note(&error.code, &error.message);
        }
        self.finish(Arc::new(finish)).await;
        drop(enlisted);
    }

    /// The capabilities of an attempt at `job`, or the outcome of one that ends before it has them.
    async fn open(
        &self,
        job: &Job,
        log: &Arc<LogBuffer>,
        signal: &StopSignal,
    ) -> Result<Capabilities, Outcome> {
        let opened = tokio::select! {
            biased;
            opened = in_time(&*self.parts.clock, self.parts.grantor.open(job, log)) => opened,
            reason = signal.wait() => return Err(match reason {
                StopReason::Cancelled => Outcome::Cancelled,
                StopReason::Interrupted | StopReason::Disabled => Outcome::Interrupted,
            }),
        };
        opened.map_err(|error| {
            // The cause is for the log only, which has one line for many attempts.
            self.refusals.note("store_unavailable", &error.to_string());
            let message = "the host cannot read the grants of the plugin at present";
            let error = AttemptError::new("grants_unavailable", message);
            Outcome::Refused { error, transient: true }
        })
    }

    /// Runs the guest of an attempt.
    async fn run_guest(&self, attempt: Attempt, signal: StopSignal) -> Ended {
        if attempt.start.determinism_withdrawn {
            attempt.log.write(DETERMINISM_WITHDRAWN);
        }
        self.parts.runtime.run(attempt, signal).await
    }

    /// The verdict on an attempt, with its record and output.
    fn conclude(&self, started: &Started, mut ended: Ended) -> Finish {
        let Started { lease, job, limits, resumed, start, grants, traces } = started;
        let lifecycle = &job.lifecycle;
        let queued = until(lifecycle.scheduled_at, lifecycle.attempted_at.unwrap_or_default());
        ended.usage.queue_ms = millis(queued);
        let now = self.parts.clock.now();
        let allowed = job.spec.limits.under(&self.settings.ceiling);
        let at_deadline = deadline::verdict(job, &mut ended.outcome, limits, &allowed);
        ended.outcome = retry::settle(lifecycle, &job.spec.backoff, ended.outcome, now);
        let decide = || retry::decide(job, &ended.outcome, now, (self.random.jitter)());
        let verdict = at_deadline.unwrap_or_else(decide);
        let record = AttemptRecord {
            start: *start,
            resumed: *resumed,
            granted: grants.reach_outside(),
            limits: (*limits != job.spec.limits).then_some(*limits),
            ..AttemptRecord::new(lifecycle, &ended.outcome, ended.usage, now)
        };
        tracing::debug!(job = %job.id, attempt = lease.attempt, outcome = ?record.outcome, "ended");
        let output = match ended.outcome {
            Outcome::Succeeded { output } => Some(output),
            _ => ended.failed_output,
        };
        Finish { lease: *lease, verdict, record, output, told: traces.report.told() }
    }

    /// The start of the clocks and random numbers of an attempt at `job`, under the present `grants`.
    fn start_of(&self, job: &Job, attempt: u32, grants: &Grants) -> Start {
        let determinism_withdrawn = job.spec.is_determinism_withdrawn(grants);
        let start = if job.spec.deterministic && !determinism_withdrawn {
            Start::new(self.random.seeds.seed(job.id, None), job.created_at)
        } else {
            Start::new(self.random.seeds.seed(job.id, Some(attempt)), self.parts.clock.wall())
        };
        Start { determinism_withdrawn, ..start.under(grants) }
    }

    /// Writes a verdict, and repeats that while the store is unavailable: otherwise the attempt would be lost.
    async fn finish(&self, finish: Arc<Finish>) {
        loop {
            match self.parts.store.finish(finish.clone(), self.parts.clock.now()).await {
                Ok(Finished::Recorded(_)) => return,
                Ok(Finished::LeaseLost) => {
                    let (job, attempt) = (finish.lease.job, finish.lease.attempt);
                    tracing::warn!(%job, attempt, "the lease was lost: the attempt does not count");
                    return;
                }
                Err(error) => {
                    tracing::warn!(job = %finish.lease.job, %error, "cannot write the verdict of an attempt; trying again");
                    self.parts.clock.sleep_until(after(self.parts.clock.now(), FINISH_RETRY)).await;
                }
            }
        }
    }

    /// Saves a log, unless it is empty.
    pub(super) async fn save_log(&self, lease: Lease, log: LogSnapshot) {
        if log.bytes.is_empty() {
            return;
        }
        if let Err(error) = self.parts.store.save_log(lease.job, lease.attempt, log).await {
            tracing::warn!(job = %lease.job, %error, "cannot store the log of an attempt");
        }
    }
}
