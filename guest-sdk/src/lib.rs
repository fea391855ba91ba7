#![doc = include_str!("../README.md")]

mod backend;
mod checkpoint;
mod command;
mod convert;
mod error;
mod error_from;
mod host_calls;
mod job;
mod level;
mod link;
mod metadata;
mod request;
mod response;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

use std::process::ExitCode;

pub use checkpoint::{Checkpoint, CheckpointTooLarge};
pub use convert::{FromRequest, IntoResponse};
pub use error::JobError;
pub use job::Job;
pub use jobwright_guest_macros::job;
pub use level::Level;
pub use request::Request;
pub use response::Response;

/// Runs `job` and returns the exit code for `main`. The attribute [`macro@job`] writes a `main` that
/// calls it; use it in a `main` of your own.
///
/// ```no_run
/// use std::process::ExitCode;
/// use jobwright_guest::{Response, run};
///
/// fn main() -> ExitCode {
///     run(|request, job| {
///         eprintln!("attempt {}", job.attempt());
///         Ok(Response::bytes(request.into_bytes()))
///     })
/// }
/// ```
pub fn run(job: impl FnOnce(Request, &Job) -> Result<Response, JobError>) -> ExitCode {
    backend::run(job)
}
