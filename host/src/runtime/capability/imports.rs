//! The module `jobwright` of core modules: what `guest-sdk/include/jobwright.h` declares. The
//! functions that need a grant are in [`values`] and [`http`].
//!
//! Invariant: every pointer is checked against the guest's memory before anything is read or
//! written, and no call copies more than the limits on logs, progress, checkpoints and values allow.

mod http;
pub(in super::super) mod last_response;
mod memory;
mod values;

use std::time::Duration;

use jobwright_core::outcome::RetryHint;
use wasmtime::{Caller, Linker};

use self::memory::{Called, MODULE, NONE, Region};
use super::super::guest::Guest;
use super::channel::Level;

/// The value that a guest reads for time or fuel without a limit.
const UNLIMITED: i64 = -1;

pub(in super::super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "log", |mut guest: Caller<'_, Guest>, level, at, length| {
        log(&mut guest, level, Region { at, length })
    })?;
    linker.func_wrap(MODULE, "progress", |mut guest: Caller<'_, Guest>, part, at, length| {
        progress(&mut guest, part, Region { at, length })
    })?;
    linker.func_wrap(MODULE, "is_cancelled", |guest: Caller<'_, Guest>| {
        i32::from(guest.data().channel().is_cancelled())
    })?;
    linker.func_wrap(MODULE, "remaining_ms", |guest: Caller<'_, Guest>| {
        i64::try_from(guest.data().channel().remaining_ms()).unwrap_or(i64::MAX)
    })?;
    linker.func_wrap(MODULE, "remaining_fuel", |guest: Caller<'_, Guest>| {
        guest.get_fuel().map_or(UNLIMITED, |left| i64::try_from(left).unwrap_or(i64::MAX))
    })?;
    link_checkpoint(linker)?;
    link_ending(linker)?;
    http::link(linker)?;
    values::link(linker)
}

fn link_checkpoint(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "checkpoint_save", |mut guest: Caller<'_, Guest>, at, length| {
        checkpoint_save(&mut guest, Region { at, length })
    })?;
    linker.func_wrap(MODULE, "checkpoint_load", |mut guest: Caller<'_, Guest>, at, length| {
        checkpoint_load(&mut guest, Region { at, length })
    })?;
    Ok(())
}

fn link_ending(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "output_type", |mut guest: Caller<'_, Guest>, at, length| {
        output_type(&mut guest, Region { at, length })
    })?;
    linker.func_wrap(
        MODULE,
        "fail",
        |mut guest: Caller<'_, Guest>, retry, delay_ms, at, length| {
            fail(&mut guest, hint(retry, delay_ms), Region { at, length })
        },
    )?;
    linker.func_wrap(MODULE, "later", |mut guest: Caller<'_, Guest>, delay_ms, at, length| {
        later(&mut guest, delay_ms, Region { at, length })
    })?;
    Ok(())
}

fn log(guest: &mut Caller<'_, Guest>, level: i32, message: Region) -> Called<()> {
    let level = match level {
        0 => Level::Trace,
        1 => Level::Debug,
        3 => Level::Warn,
        4 => Level::Error,
        5 => Level::Critical,
        _ => Level::Info,
    };
    let (message, channel) = message.with_channel(guest)?;
    channel.log(level, "", message);
    Ok(())
}

fn progress(guest: &mut Caller<'_, Guest>, part: f64, message: Region) -> Called<()> {
    let (message, channel) = message.with_channel(guest)?;
    channel.progress(Some(part), message);
    Ok(())
}

fn checkpoint_save(guest: &mut Caller<'_, Guest>, state: Region) -> Called<i32> {
    let (state, channel) = state.with_channel(guest)?;
    Ok(channel.save(state).map_or(NONE, |()| 0))
}

fn checkpoint_load(guest: &mut Caller<'_, Guest>, to: Region) -> Called<i32> {
    match guest.data().channel().load() {
        Some(found) => to.fill(guest, &found),
        None => Ok(NONE),
    }
}

fn output_type(guest: &mut Caller<'_, Guest>, media_type: Region) -> Called<i32> {
    let (media_type, channel) = media_type.with_channel(guest)?;
    Ok(if channel.set_output_type(media_type) { 0 } else { NONE })
}

fn fail(guest: &mut Caller<'_, Guest>, hint: RetryHint, message: Region) -> Called<()> {
    let (message, channel) = message.with_channel(guest)?;
    channel.set_failure(message, hint);
    Ok(())
}

/// When a failed job is to be tried again, as the guest asked for.
fn hint(retry: i32, delay_ms: i64) -> RetryHint {
    match (retry, u64::try_from(delay_ms)) {
        (0, _) => RetryHint::Never,
        (_, Ok(delay)) => RetryHint::After(Duration::from_millis(delay)),
        (_, Err(_)) => RetryHint::Backoff,
    }
}

fn later(guest: &mut Caller<'_, Guest>, delay_ms: i64, message: Region) -> Called<()> {
    let wait = u64::try_from(delay_ms).ok().map(Duration::from_millis);
    let (message, channel) = message.with_channel(guest)?;
    channel.set_later(message, wait);
    Ok(())
}
