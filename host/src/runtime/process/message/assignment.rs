//! An attempt on its way to a runner.

use std::sync::Arc;

use bytes::Bytes;
use jobwright_core::attempt::{Attempt, Start};
use jobwright_core::clock::Timestamp;
use jobwright_core::grant::Grants;
use jobwright_core::job::{Job, JobId, JobSpec, JobState, Lifecycle, Payload};
use jobwright_core::limits::Limits;
use jobwright_core::log::LogBuffer;
use jobwright_core::report::ProgressReporter;
use jobwright_core::services::{Capabilities, HostServices, MAX_VALUE_BYTES};
use serde::{Deserialize, Serialize};

use super::super::super::code::key::CodeKey;

/// The facts about an attempt that a runner needs.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct Assignment {
    pub(in super::super) code: CodeKey,
    id: JobId,
    spec: Arc<JobSpec>,
    created_at: Timestamp,
    attempt: u32,
    failures: u16,
    limits: Limits,
    content_type: Option<String>,
    payload: Bytes,
    checkpoint: Option<Bytes>,
    /// How much of the log is kept, in bytes.
    log_bytes: u64,
    /// How long a checkpoint may be, in bytes.
    checkpoint_bytes: u64,
    grants: Grants,
    /// The longest body of a request, in bytes.
    pub(in super::super) request_bytes: u64,
    start: Start,
}

impl Assignment {
    pub(in super::super) fn new(attempt: &Attempt) -> Self {
        let Attempt { job, limits, payload, granted, .. } = attempt;
        Self {
            code: CodeKey::of(attempt),
            id: job.id,
            spec: job.spec.clone(),
            created_at: job.created_at,
            attempt: job.lifecycle.attempt,
            failures: job.lifecycle.failures,
            limits: *limits,
            content_type: payload.content_type.clone(),
            payload: payload.bytes.clone(),
            checkpoint: attempt.report.checkpoint(),
            log_bytes: attempt.log.capacity(),
            checkpoint_bytes: attempt.report.most_bytes(),
            grants: Grants::clone(&granted.grants),
            request_bytes: granted.services.request_bytes(),
            start: attempt.start,
        }
    }

    /// The longest value that can be stored, in bytes.
    pub(in super::super) fn value_bytes(&self) -> u64 {
        value_bytes(&self.grants)
    }

    /// The attempt that this describes, with these host services.
    pub(in super::super) fn attempt(self, services: Arc<dyn HostServices>) -> Attempt {
        let Self { limits, created_at, .. } = self;
        let lifecycle = Lifecycle {
            state: JobState::Running,
            attempt: self.attempt,
            failures: self.failures,
            ..Lifecycle::new(created_at)
        };
        Attempt {
            job: Job {
                id: self.id,
                spec: self.spec,
                created_at,
                lifecycle,
                attempts: vec![],
                output: None,
                progress: None,
            },
            limits,
            payload: Payload { content_type: self.content_type, bytes: self.payload },
            log: Arc::new(LogBuffer::new(self.log_bytes)),
            report: Arc::new(ProgressReporter::new(self.checkpoint, self.checkpoint_bytes)),
            granted: Capabilities { grants: Arc::new(self.grants), services },
            start: self.start,
        }
    }
}

/// The longest value that a plugin with `grants` can store, in bytes.
pub(in super::super) fn value_bytes(grants: &Grants) -> u64 {
    grants.key_value.map_or(0, |grant| grant.bytes.min(MAX_VALUE_BYTES as u64))
}

#[cfg(test)]
mod tests {
    use jobwright_core::plugin::Digest;
    use jobwright_core::retry::{Backoff, Curve};

    use super::*;

    #[test]
    fn every_back_off_reaches_the_runner() {
        for curve in [
            Curve::Polynomial,
            Curve::Exponential { first_ms: 1_000, factor: 1.5 },
            Curve::Fixed { wait_ms: u64::MAX },
            Curve::List { waits_ms: vec![1, 2] },
        ] {
            let backoff = Backoff { max_ms: Some(5), ..Backoff::of(curve) };
            let (plugin, version) = ("p".parse().unwrap(), "1.0.0".parse().unwrap());
            let spec = JobSpec { backoff, ..JobSpec::new(plugin, version, Digest::of(b"")) };
            let sent = rmp_serde::to_vec_named(&spec).unwrap();
            assert_eq!(rmp_serde::from_slice::<JobSpec>(&sent).unwrap(), spec);
        }
    }
}
