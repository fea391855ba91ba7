//! The WASI context of guests of all kinds: arguments, variables, clocks and random numbers,
//! standard streams. Functions for them are linked, because language runtimes import them and never
//! call them, and are denied when called.

mod files;
mod random;
mod timers;

use std::sync::Arc;

use jobwright_core::attempt::Attempt;
use wasmtime::component::Linker;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::bindings::LinkOptions;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;

use super::super::clocks::Clocks;
use super::super::guest::Guest;
use super::super::pieces::PIECE_BYTES;
use super::super::start;
use super::super::stdio::{OutputBuffer, Pipe};
use super::environment::{facts, variables};

/// The interfaces of WASI 0.2, without `wasi:http`, by package.
pub(super) const INTERFACES: &[(&str, &[&str])] = &[
    (
        "wasi:cli",
        &[
            "environment",
            "exit",
            "stderr",
            "stdin",
            "stdout",
            "terminal-input",
            "terminal-output",
            "terminal-stderr",
            "terminal-stdin",
            "terminal-stdout",
        ],
    ),
    ("wasi:clocks", &["monotonic-clock", "wall-clock"]),
    ("wasi:filesystem", &["preopens", "types"]),
    ("wasi:io", &["error", "poll", "streams"]),
    ("wasi:random", &["insecure", "insecure-seed", "random"]),
    (
        "wasi:sockets",
        &[
            "instance-network",
            "ip-name-lookup",
            "network",
            "tcp",
            "tcp-create-socket",
            "udp",
            "udp-create-socket",
        ],
    ),
];

/// Links [`INTERFACES`] for components.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut options = LinkOptions::default();
    // Some language runtimes import it, and it only inspects an error.
    options.network_error_code(true);
    wasmtime_wasi::p2::add_to_linker_with_options_async(linker, &options)?;
    linker.allow_shadowing(true);
    files::link(linker)?;
    timers::link(linker)?;
    random::link(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The context of a command, which reads the payload and writes the output.
pub(super) fn of_command(
    attempt: &Attempt,
    clocks: &Clocks,
    output: &Arc<OutputBuffer>,
) -> WasiP1Ctx {
    let mut wasi = common(attempt, clocks);
    wasi.stdin(MemoryInputPipe::new(attempt.payload.bytes.clone()))
        .stdout(Pipe::new(output.clone()));
    wasi.build_p1()
}

/// The context of a guest that gets its payload as an argument and returns its output: its standard
/// streams are the log.
pub(super) fn of_service(attempt: &Attempt, clocks: &Clocks) -> WasiP1Ctx {
    let mut wasi = common(attempt, clocks);
    wasi.stdout(Pipe::new(attempt.log.clone()));
    wasi.build_p1()
}

fn common(attempt: &Attempt, clocks: &Clocks) -> WasiCtxBuilder {
    let spec = &attempt.job.spec;
    let mut wasi = WasiCtxBuilder::new();
    wasi.stderr(Pipe::new(attempt.log.clone()))
        .max_random_size(PIECE_BYTES as u64)
        // Not even an unconnected socket: each would be an open file of the host.
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .arg(spec.plugin.as_str())
        .args(&spec.args);
    set_variables(&mut wasi, attempt);
    start::apply(&mut wasi, attempt.start.seed, clocks);
    wasi
}

/// Sets the variables of the plugin's grants and of the submitter, then the host's, which neither
/// can override, unless `inject_env` is false.
fn set_variables(wasi: &mut WasiCtxBuilder, attempt: &Attempt) {
    if !attempt.job.spec.inject_env {
        for (name, value) in &variables(attempt) {
            wasi.env(name, value);
        }
        return;
    }
    let facts = facts(attempt);
    let content_type = attempt.payload.content_type.clone().unwrap_or_default();
    let more = [("JOBWRIGHT_CONTENT_TYPE", content_type)];
    let ours = || facts.iter().chain(&more);
    for (name, value) in &variables(attempt) {
        if !ours().any(|(taken, _)| taken == name) {
            wasi.env(name, value);
        }
    }
    for (name, value) in ours() {
        wasi.env(name, value);
    }
}
