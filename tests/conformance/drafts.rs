//! Jobs, ends of attempts, and times for the laws.

use std::sync::Arc;

use bytes::Bytes;
use jobwright_core::attempt::AttemptRecord;
use jobwright_core::clock::Timestamp;
use jobwright_core::hold::Hold;
use jobwright_core::job::{Dedup, DedupScope, JobId, JobSpec, NewJob, Payload, QueueName, Verdict};
use jobwright_core::outcome::{AttemptError, Outcome, Output, RetryHint, Usage};
use jobwright_core::plugin::Digest;
use jobwright_core::report::{Progress, ProgressUpdate};
use jobwright_core::store::{Finish, Leased};
use jobwright_core::tenant::TenantName;

/// The time `seconds` after the beginning of the test.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).expect("a time in the calendar")
}

/// The id of an unknown job.
pub(crate) fn unknown() -> JobId {
    JobId::new(at(0))
}

/// Parses a valid name: of a queue, a plugin or a version.
pub(crate) fn named<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str) -> T {
    name.parse().expect("a valid name")
}

/// The hold on the paused queue `name` of the default tenant.
pub(crate) fn paused(name: &str) -> Hold {
    paused_queue(&named(name))
}

/// The hold on a paused queue of the default tenant.
pub(crate) fn paused_queue(queue: &QueueName) -> Hold {
    Hold::Queue { tenant: TenantName::default(), queue: queue.clone() }
}

/// A job of a tenant.
pub(crate) fn of(tenant: &str) -> NewJob {
    let mut job = job();
    Arc::make_mut(&mut job.spec).tenant = named(tenant);
    job
}

/// A job that is due at once, with the defaults and a payload of five bytes.
pub(crate) fn job() -> NewJob {
    let spec = JobSpec::new(named("word-count"), named("1.0.0"), Digest::of(b"wasm"));
    let payload = Payload { content_type: None, bytes: Bytes::from_static(b"hello") };
    NewJob {
        id: JobId::new(at(0)),
        spec: Arc::new(spec),
        payload,
        scheduled_at: at(0),
        on_wall: false,
        dedup: None,
    }
}

/// `count` jobs, the oldest first.
pub(crate) fn jobs(count: usize) -> Vec<NewJob> {
    (0..count).map(|_| job()).collect()
}

/// Variations on a job.
pub(crate) trait Draft: Sized {
    /// In another queue.
    fn queue(self, name: &str) -> Self;
    /// With another priority.
    fn priority(self, priority: u8) -> Self;
    /// Due later.
    fn due(self, at: Timestamp) -> Self;
    /// With another payload.
    fn payload(self, bytes: impl Into<Bytes>) -> Self;
    /// With another memory limit.
    fn memory(self, bytes: u64) -> Self;
    /// With an idempotency key that holds for a day, for a request with this body.
    fn key(self, key: &str, body: &str) -> Self;
}

impl Draft for NewJob {
    fn queue(mut self, name: &str) -> Self {
        Arc::make_mut(&mut self.spec).queue = named(name);
        self
    }

    fn priority(mut self, priority: u8) -> Self {
        Arc::make_mut(&mut self.spec).priority = priority.try_into().expect("1 to 4");
        self
    }

    fn due(mut self, at: Timestamp) -> Self {
        self.scheduled_at = at;
        self
    }

    fn payload(mut self, bytes: impl Into<Bytes>) -> Self {
        self.payload.bytes = bytes.into();
        self
    }

    fn memory(mut self, bytes: u64) -> Self {
        let limits = &mut Arc::make_mut(&mut self.spec).limits;
        (limits.output_bytes, limits.log_bytes, limits.checkpoint_bytes) = (0, 0, 0);
        limits.memory_bytes = bytes;
        self
    }

    fn key(mut self, key: &str, body: &str) -> Self {
        self.dedup = Some(Dedup {
            key: key.to_owned(),
            scope: DedupScope::Request,
            fingerprint: Digest::of(body.as_bytes()),
            until: at(24 * 3600),
        });
        self
    }
}

/// The end of an attempt as a worker writes it. It always carries an output, which only a success
/// may leave.
pub(crate) fn ending(leased: &Leased, verdict: Verdict, now: Timestamp) -> Finish {
    let attempt = leased.lease.attempt;
    let output = Output::new(format!("output of attempt {attempt}").into(), None);
    let error = AttemptError::new("exit_code", format!("attempt {attempt}: \0 \"quoted\" ä\n"));
    let outcome = match verdict {
        Verdict::Complete => Outcome::Succeeded { output: output.clone() },
        Verdict::Retry { .. } => Outcome::Failed { error, retry: RetryHint::Backoff },
        Verdict::Snooze { .. } => Outcome::Snoozed { error, wait: None },
        Verdict::Discard => Outcome::Trapped { error: error.with_backtrace("0: main".to_owned()) },
        Verdict::Cancel => Outcome::Cancelled,
        Verdict::Release { refused: true, .. } => Outcome::Refused { error, transient: true },
        Verdict::Release { refused: false, .. } => Outcome::Interrupted,
    };
    let record = AttemptRecord::new(&leased.job.lifecycle, &outcome, usage(attempt), now);
    let told = progress_update(attempt);
    Finish { lease: leased.lease, verdict, record, output: Some(output), told }
}

/// Progress and a checkpoint that contain the number of the attempt.
pub(crate) fn progress_update(attempt: u32) -> ProgressUpdate {
    let progress = Progress::new(Some(1.0 / f64::from(attempt)), &format!("\"{attempt}\" ä"));
    let checkpoint = format!("\0 state of attempt {attempt}").into();
    ProgressUpdate { progress: Some(progress), checkpoint: Some(checkpoint) }
}

/// A receipt whose numbers are all derived from the attempt.
pub(crate) fn usage(attempt: u32) -> Usage {
    let ms = f64::from(attempt);
    Usage {
        queue_ms: ms + 0.001,
        compile_ms: ms + 0.1,
        instantiate_ms: ms + 0.2,
        run_ms: ms * 1e9 + 0.3,
        cpu_ms: ms + 0.4,
        fuel: Some(u64::MAX - u64::from(attempt)),
        peak_memory_bytes: 1 << 40,
        payload_bytes: 5,
        output_bytes: u64::from(attempt),
        log_bytes: 0,
        log_dropped_bytes: u64::MAX,
    }
}
