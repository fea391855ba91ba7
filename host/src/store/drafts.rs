//! Jobs for the unit tests of the drivers.

use bytes::Bytes;
use jobwright_core::attempt::AttemptRecord;
use jobwright_core::clock::Timestamp;
use jobwright_core::host::HostId;
use jobwright_core::job::{JobId, NewJob, Payload, Priority, Verdict};
use jobwright_core::limits::Limits;
use jobwright_core::outcome::{Outcome, Output, Usage};
use jobwright_core::plugin::Digest;
use jobwright_core::queue::Reserve;
use jobwright_core::report::ProgressUpdate;
use jobwright_core::store::{Claim, Finish, Leased};
use serde_json::json;

/// The time of all that happens.
pub(super) const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// A job that is due, with a payload of so many bytes.
pub(super) fn job(payload_bytes: usize) -> NewJob {
    let spec = json!({
        "plugin": "p",
        "version": "1.0.0",
        "digest": Digest::of(b"wasm"),
        "queue": "default",
        "priority": Priority::default(),
        "max_attempts": 5,
        "limits": Limits::DEFAULT,
    });
    let spec = serde_json::from_value(spec).unwrap();
    let payload = Payload { content_type: None, bytes: vec![7; payload_bytes].into() };
    let (id, scheduled_at) = (JobId::new(NOW), NOW);
    NewJob { id, spec, payload, scheduled_at, on_wall: false, dedup: None }
}

/// A claim of the next job.
pub(super) fn claim() -> Claim {
    Claim {
        host: HostId::from_random([1; 16]),
        max: 1,
        memory_bytes: u64::MAX,
        idle: true,
        reserve: Reserve::default(),
        expires_at: Timestamp::MAX,
        wall: NOW,
    }
}

/// The end of an attempt that leaves so many bytes.
pub(super) fn ending(leased: &Leased, verdict: Verdict, output_bytes: usize) -> Finish {
    let output = Output::new(Bytes::from(vec![7; output_bytes]), None);
    let outcome = Outcome::Succeeded { output: output.clone() };
    let record = AttemptRecord::new(&leased.job.lifecycle, &outcome, Usage::default(), NOW);
    Finish {
        lease: leased.lease,
        verdict,
        record,
        output: Some(output),
        told: ProgressUpdate::default(),
    }
}
