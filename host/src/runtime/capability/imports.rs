//! The module `jobwright` of core modules: what `guest-sdk/include/jobwright.h` declares. What reaches
//! outside of the sandbox is in [`outside`] and [`http`].
//!
//! Invariant: every pointer is checked against the guest's memory before anything is read or
//! written, and no call copies more than the limits on logs, progress, checkpoints and values allow.

pub(in super::super) mod http;
mod outside;

use std::time::Duration;

use jobwright_core::outcome::RetryHint;
use wasmtime::{Caller, Extern, Linker, Memory, bail};

use super::super::instance::Guest;
use super::{Level, Line};

const MODULE: &str = "jobwright";

/// What functions answer that could not do what was asked, or have nothing.
const NONE: i32 = -1;

/// What a guest sees of time or fuel that is without limit.
const UNLIMITED: i64 = -1;

pub(in super::super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "log", log)?;
    linker.func_wrap(MODULE, "progress", progress)?;
    linker.func_wrap(MODULE, "is_cancelled", |guest: Caller<'_, Guest>| {
        i32::from(guest.data().line().is_cancelled())
    })?;
    linker.func_wrap(MODULE, "remaining_ms", |guest: Caller<'_, Guest>| {
        i64::try_from(guest.data().line().remaining_ms()).unwrap_or(i64::MAX)
    })?;
    linker.func_wrap(MODULE, "remaining_fuel", |guest: Caller<'_, Guest>| {
        guest.get_fuel().map_or(UNLIMITED, |left| i64::try_from(left).unwrap_or(i64::MAX))
    })?;
    linker.func_wrap(MODULE, "checkpoint_save", checkpoint_save)?;
    linker.func_wrap(MODULE, "checkpoint_load", checkpoint_load)?;
    linker.func_wrap(MODULE, "output_type", output_type)?;
    linker.func_wrap(MODULE, "fail", fail)?;
    linker.func_wrap(MODULE, "later", later)?;
    http::link(linker)?;
    outside::link(linker)
}

type Called<T> = wasmtime::Result<T>;

fn log(mut guest: Caller<'_, Guest>, level: i32, message: u32, length: u32) -> Called<()> {
    let level = match level {
        0 => Level::Trace,
        1 => Level::Debug,
        3 => Level::Warn,
        4 => Level::Error,
        5 => Level::Critical,
        _ => Level::Info,
    };
    let (message, line) = passed(&mut guest, message, length)?;
    line.log(level, "", message);
    Ok(())
}

fn progress(mut guest: Caller<'_, Guest>, part: f64, message: u32, length: u32) -> Called<()> {
    let (message, line) = passed(&mut guest, message, length)?;
    line.progress(Some(part), message);
    Ok(())
}

fn checkpoint_save(mut guest: Caller<'_, Guest>, state: u32, length: u32) -> Called<i32> {
    let (state, line) = passed(&mut guest, state, length)?;
    Ok(line.save(state).map_or(NONE, |()| 0))
}

fn checkpoint_load(mut guest: Caller<'_, Guest>, state: u32, length: u32) -> Called<i32> {
    let memory = memory(&mut guest)?;
    let Some(found) = guest.data().line().load() else { return Ok(NONE) };
    let place = slice(memory.data_mut(&mut guest), state, length)?;
    let copied = found.len().min(place.len());
    place[..copied].copy_from_slice(&found[..copied]);
    Ok(i32::try_from(found.len()).unwrap_or(i32::MAX))
}

fn output_type(mut guest: Caller<'_, Guest>, media_type: u32, length: u32) -> Called<i32> {
    let (media_type, line) = passed(&mut guest, media_type, length)?;
    Ok(if line.set_output_type(media_type) { 0 } else { NONE })
}

fn fail(
    mut guest: Caller<'_, Guest>,
    retry: i32,
    delay_ms: i64,
    message: u32,
    length: u32,
) -> Called<()> {
    let hint = match (retry, u64::try_from(delay_ms)) {
        (0, _) => RetryHint::Never,
        (_, Ok(delay)) => RetryHint::After(Duration::from_millis(delay)),
        (_, Err(_)) => RetryHint::Backoff,
    };
    let (message, line) = passed(&mut guest, message, length)?;
    line.set_failure(message, hint);
    Ok(())
}

fn later(mut guest: Caller<'_, Guest>, delay_ms: i64, message: u32, length: u32) -> Called<()> {
    let wait = u64::try_from(delay_ms).ok().map(Duration::from_millis);
    let (message, line) = passed(&mut guest, message, length)?;
    line.set_later(message, wait);
    Ok(())
}

/// What the guest passed in its memory, and its line.
fn passed<'a>(
    guest: &'a mut Caller<'_, Guest>,
    start: u32,
    length: u32,
) -> Called<(&'a [u8], &'a mut Line)> {
    let memory = memory(guest)?;
    let (bytes, data) = memory.data_and_store_mut(guest);
    Ok((slice(bytes, start, length)?, data.line_mut()))
}

fn memory(guest: &mut Caller<'_, Guest>) -> Called<Memory> {
    match guest.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => bail!("the guest calls `{MODULE}` and exports no memory named `memory`"),
    }
}

fn slice(memory: &mut [u8], start: u32, length: u32) -> Called<&mut [u8]> {
    let size = memory.len();
    let (from, length) = (start as usize, length as usize);
    match memory.get_mut(from..from.saturating_add(length)) {
        Some(bytes) => Ok(bytes),
        None => bail!(
            "the guest passed {length} bytes at {from} to `{MODULE}`: its memory has {size} bytes"
        ),
    }
}
