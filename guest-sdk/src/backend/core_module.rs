//! The host as the imports of `include/jobwright.h`, for a core module that is a WASI command.

#![allow(unsafe_code, reason = "the imports of a core module take addresses in its memory")]

use std::process::ExitCode;
use std::time::Duration;
use std::{panic, ptr};

use crate::{CheckpointTooLarge, Job, JobError, Level, Request, Response, command};

#[link(wasm_import_module = "jobwright")]
unsafe extern "C" {
    #[link_name = "log"]
    fn import_log(level: i32, message: *const u8, length: usize);
    #[link_name = "progress"]
    fn import_progress(fraction: f64, message: *const u8, length: usize);
    #[link_name = "is_cancelled"]
    safe fn import_is_cancelled() -> i32;
    #[link_name = "remaining_ms"]
    safe fn import_remaining_ms() -> i64;
    #[link_name = "remaining_fuel"]
    safe fn import_remaining_fuel() -> i64;
    #[link_name = "checkpoint_save"]
    fn import_checkpoint_save(state: *const u8, length: usize) -> i32;
    #[link_name = "checkpoint_load"]
    fn import_checkpoint_load(state: *mut u8, length: usize) -> i32;
    #[link_name = "output_type"]
    fn import_output_type(media_type: *const u8, length: usize) -> i32;
    #[link_name = "fail"]
    fn import_fail(retry: i32, delay_ms: i64, message: *const u8, length: usize);
    #[link_name = "later"]
    fn import_later(delay_ms: i64, message: *const u8, length: usize);
}

/// The host. Its functions are not called through a trait object, which would link them all.
#[derive(Debug)]
pub(crate) struct Host;

impl Host {
    pub(crate) fn log(&self, level: Level, message: &str) {
        // SAFETY: address and length are those of a string.
        unsafe { import_log(level as i32, message.as_ptr(), message.len()) }
    }

    pub(crate) fn progress(&self, fraction: Option<f64>, message: &str) {
        let fraction = fraction.unwrap_or(f64::NAN);
        // SAFETY: address and length are those of a string.
        unsafe { import_progress(fraction, message.as_ptr(), message.len()) }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        import_is_cancelled() != 0
    }

    pub(crate) fn remaining(&self) -> Duration {
        Duration::from_millis(u64::try_from(import_remaining_ms()).unwrap_or(0))
    }

    pub(crate) fn remaining_fuel(&self) -> Option<u64> {
        u64::try_from(import_remaining_fuel()).ok()
    }

    pub(crate) fn load_checkpoint(&self) -> Option<Vec<u8>> {
        // SAFETY: with length 0 nothing is written.
        let length = unsafe { import_checkpoint_load(ptr::null_mut(), 0) };
        let mut state = vec![0; usize::try_from(length).ok()?];
        // SAFETY: address and length are those of a vector that nothing else uses.
        unsafe { import_checkpoint_load(state.as_mut_ptr(), state.len()) };
        Some(state)
    }

    pub(crate) fn save_checkpoint(&self, state: &[u8]) -> Result<(), CheckpointTooLarge> {
        // SAFETY: address and length are those of a slice.
        match unsafe { import_checkpoint_save(state.as_ptr(), state.len()) } {
            0 => Ok(()),
            _ => Err(CheckpointTooLarge { bytes: state.len(), limit_bytes: None }),
        }
    }
}

pub(crate) fn run(job: impl FnOnce(Request, &Job) -> Result<Response, JobError>) -> ExitCode {
    // One line, without the thread name and the note on backtraces of the default hook.
    panic::set_hook(Box::new(|info| eprintln!("{info}")));
    command::run(Host, job)
}

pub(crate) fn announce_output_type(media_type: &str) {
    // SAFETY: address and length are those of a string.
    if unsafe { import_output_type(media_type.as_ptr(), media_type.len()) } != 0 {
        eprintln!("`{media_type}` is not a media type: the host detects the type of the output");
    }
}

pub(crate) fn announce_failure(error: &JobError) {
    let (message, delay_ms) = (error.to_string(), delay_ms(error));
    // SAFETY: address and length are those of a string.
    unsafe { import_fail(error.is_retry().into(), delay_ms, message.as_ptr(), message.len()) }
}

pub(crate) fn announce_later(error: &JobError) {
    let (message, delay_ms) = (error.to_string(), delay_ms(error));
    // SAFETY: address and length are those of a string.
    unsafe { import_later(delay_ms, message.as_ptr(), message.len()) }
}

/// The delay as the imports take it: -1 for none.
fn delay_ms(error: &JobError) -> i64 {
    error.delay().map_or(-1, |delay| i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
}
