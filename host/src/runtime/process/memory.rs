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

/// What a runner may take in addition to what follows from its attempt: buffers of host calls, and the spare
/// room of memories that grow where wasmtime has no pool, 16 MiB for each of eight.
const SPARE_BYTES: u64 = 256 << 20;

/// How many times over something may be in memory on its way to or from the host: as the guest has it,
/// in a buffer that grows, in a message, encoded, and in a frame, with a spare.
const COPIES: u64 = 6;

/// How many times over a guest's memories may be: once more while they are moved to grow.
const MEMORY_COPIES: u64 = 2;

/// What a process can write to, in bytes, by what the system shows of it; `None` if it does not.
pub(super) fn footprint(process: Pid) -> Option<u64> {
    let shown = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).ok()?;
    let data = shown.lines().find_map(|line| line.strip_prefix("VmData:"))?;
    let kib: u64 = data.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// What a runner may take that holds so many bytes of code, besides its footprint.
pub(super) fn of_code(code_bytes: u64) -> u64 {
    SPARE_BYTES.saturating_add(code_bytes.saturating_mul(COPIES))
}

/// What it may take for `attempt`, besides that.
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

/// Lets a process take so many bytes.
///
/// # Errors
/// If the system refuses.
pub(super) fn bound(process: Pid, bytes: u64) -> io::Result<()> {
    // Its own limit is that of the host, which started it, and cannot be raised.
    let maximum = getrlimit(Resource::Data).maximum;
    let current = Some(maximum.unwrap_or(u64::MAX).min(bytes));
    prlimit(Some(process), Resource::Data, Rlimit { current, maximum })?;
    Ok(())
}
