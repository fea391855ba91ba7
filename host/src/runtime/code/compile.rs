//! Compiles plugins: in this process, or as the compiler process of a host.

use std::process::ExitCode;

use anyhow::Context as _;
use wasmparser::Parser;
use wasmtime::Engine;

#[cfg(target_os = "linux")]
use super::super::process::sandbox;
use super::super::profile::Target;
use super::super::{debug_info, engine, signals};
use crate::registry::compile_request::CompileRequest;

/// If this process was started to compile a plugin: compiles it, and returns the exit code.
pub(in super::super) fn compile_if_requested() -> Option<ExitCode> {
    let request = match CompileRequest::of_this_process()? {
        Ok(request) => request,
        Err(error) => return Some(failed(&error)),
    };
    let confined = match confined() {
        Ok(confined) => confined,
        Err(error) => return Some(failed(&error)),
    };
    Some(request.run(confined, |wasm| {
        let target = Target::named(&request.profile).context("there is no such target")?;
        Ok(compile(&engine::compiling(target)?, wasm)?)
    }))
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("{error:#}");
    ExitCode::FAILURE
}

/// Closes inherited files, and confines this process as far as it can still set its limits. The
/// returned function applies the other layers, and returns the layers of the sandbox that the
/// system lacks.
fn confined() -> anyhow::Result<impl FnOnce() -> anyhow::Result<Vec<String>>> {
    #[cfg(target_os = "linux")]
    sandbox::close_inherited().context("cannot close inherited files")?;
    signals::leave_to_host().context("cannot ignore signals")?;
    #[cfg(target_os = "linux")]
    return Ok(sandbox::confine_compiler);
    #[cfg(not(target_os = "linux"))]
    Ok(|| Ok(vec![]))
}

/// Machine code for `wasm`, as bytes.
pub(super) fn compile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Vec<u8>> {
    let wasm = &debug_info::bounded(wasm);
    if Parser::is_component(wasm) {
        engine.precompile_component(wasm)
    } else {
        engine.precompile_module(wasm)
    }
}
