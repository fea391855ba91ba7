//! WASI commands, preview 1: payload on standard input, output on standard output, log on standard
//! error, and an exit code.
//!
//! Invariant: a guest sees arguments, variables, clocks and random numbers, and nothing of the host:
//! no files, no sockets, none of the host's variables.

use std::sync::Arc;

use jobwright_core::attempt::Attempt;
use wasmtime::Linker;
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::{I32Exit, WasiCtxBuilder, WasiView as _};

use super::super::deterministic;
use super::super::instance::Guest;
use super::super::stdio::{OutputBuffer, Pipe};

/// The function that starts a command.
pub(in super::super) const ENTRY_POINT: &str = "_start";

/// Random bytes for one call. It cannot be interrupted: this many take some milliseconds.
const RANDOM_BYTES: u64 = 1 << 20;

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    p1::add_to_linker_async(linker, Guest::wasi)?;
    // Theirs takes codes from 126 on for a broken guest; `exit(-1)` is 255, and means a failure.
    linker.allow_shadowing(true);
    let exit = |code: i32| -> wasmtime::Result<()> { Err(I32Exit(code).into()) };
    linker.func_wrap("wasi_snapshot_preview1", "proc_exit", exit)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// What `attempt` sees.
pub(in super::super) fn context(attempt: &Attempt, output: &Arc<OutputBuffer>) -> WasiP1Ctx {
    let spec = &attempt.job.spec;
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdin(MemoryInputPipe::new(attempt.payload.bytes.clone()))
        .stdout(Pipe::new(output.clone()))
        .stderr(Pipe::new(attempt.log.clone()))
        .max_random_size(RANDOM_BYTES)
        .arg(spec.plugin.as_str())
        .args(&spec.args);
    set_variables(&mut wasi, attempt);
    if spec.deterministic {
        deterministic::apply(&mut wasi, &attempt.job);
    }
    let mut wasi = wasi.build_p1();
    wasi.ctx().table.set_max_capacity(count(attempt.limits.resources));
    wasi
}

/// The submitter's variables, then ours, which a submitter cannot set.
fn set_variables(wasi: &mut WasiCtxBuilder, attempt: &Attempt) {
    let job = &attempt.job;
    let spec = &job.spec;
    let ours = [
        ("JOBWRIGHT_JOB_ID", job.id.to_string()),
        ("JOBWRIGHT_ATTEMPT", job.lifecycle.attempt.to_string()),
        ("JOBWRIGHT_MAX_ATTEMPTS", spec.max_attempts.to_string()),
        ("JOBWRIGHT_QUEUE", spec.queue.to_string()),
        ("JOBWRIGHT_PLUGIN", format!("{}@{}", spec.plugin, spec.version)),
        ("JOBWRIGHT_CONTENT_TYPE", attempt.payload.content_type.clone().unwrap_or_default()),
    ];
    for (name, value) in &spec.env {
        if !ours.iter().any(|(taken, _)| taken == name) {
            wasi.env(name, value);
        }
    }
    for (name, value) in &ours {
        wasi.env(name, value);
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
