//! How much memory a runner may take from the machine.
//!
//! The bound is on what a process can write to ([`Resource::Data`]), which leaves out the address space
//! that wasmtime only reserves. The host sets it before each attempt; the process has no system call to
//! change it. It does not replace the limits of guests, which end them long before: it is for a guest
//! that has broken out of its WebAssembly sandbox.

use std::fs;
use std::io;

use jobwright_core::attempt::Attempt;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::bounds::CALLS;
use super::message::value_bytes;

/// The memory of a runner in addition to that of its attempt: buffers of host calls, and the spare
/// room of memories that grow where wasmtime has no pool, 16 MiB for each of eight.
const SPARE_BYTES: u64 = 256 << 20;

/// The number of copies of data on its way to or from the host: in the guest's form, in a growing
/// buffer, in a message, encoded, in a frame, and a spare one.
const COPIES: u64 = 6;

/// The number of copies of a guest's memories: a second one while they are moved to grow.
const MEMORY_COPIES: u64 = 2;

/// The size of the memory that a process can write to, in bytes; `None` if the system does not show
/// it.
pub(super) fn footprint(process: Pid) -> Option<u64> {
    let shown = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).ok()?;
    let data = shown.lines().find_map(|line| line.strip_prefix("VmData:"))?;
    let kib: u64 = data.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// The memory of a runner with this size of code, in addition to its footprint.
pub(super) fn of_code(code_bytes: u64) -> u64 {
    SPARE_BYTES.saturating_add(code_bytes.saturating_mul(COPIES))
}

/// The memory for `attempt`, in addition to that.
pub(super) fn of_attempt(attempt: &Attempt) -> u64 {
    let (limits, grants) = (&attempt.limits, &attempt.granted.grants);
    let http = grants.http_limits;
    let answers = if grants.http.is_empty() { 0 } else { http.response_bytes };
    let at_once = u64::from(http.concurrent).min(CALLS as u64);
    let calls = attempt.granted.services.request_bytes().saturating_add(answers);
    let kept = value_bytes(grants);
    let copied = [
        attempt.payload.bytes.len() as u64,
        limits.output_bytes,
        limits.log_bytes,
        attempt.report.most_bytes(),
        calls.saturating_mul(at_once),
        kept,
    ];
    let copied = copied.into_iter().fold(0, u64::saturating_add).saturating_mul(COPIES);
    limits.memory_bytes.saturating_mul(MEMORY_COPIES).saturating_add(copied)
}

/// Limits a process to this many bytes.
///
/// # Errors
/// If the system refuses.
pub(super) fn bound(process: Pid, bytes: u64) -> io::Result<()> {
    // The hard limit of the process is that of the host and cannot be raised.
    let maximum = getrlimit(Resource::Data).maximum;
    let current = Some(maximum.unwrap_or(u64::MAX).min(bytes));
    prlimit(Some(process), Resource::Data, Rlimit { current, maximum })?;
    Ok(())
}
