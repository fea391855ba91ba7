//! An emulated host that records all calls, for `cargo run` and for tests.

use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::testing::Progress;
use crate::{CheckpointTooLarge, Job, JobError, Level, Request, Response, command};

/// What the host returns, and what was reported to it.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) log: Vec<(Level, String)>,
    pub(crate) progress: Vec<Progress>,
    pub(crate) checkpoint: Option<Vec<u8>>,
    pub(crate) checkpoint_limit: Option<usize>,
    /// The number of calls of `is_cancelled` that still return false.
    pub(crate) asks_left: Option<u32>,
    pub(crate) remaining: Duration,
    pub(crate) remaining_fuel: Option<u64>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            log: Vec::new(),
            progress: Vec::new(),
            checkpoint: None,
            checkpoint_limit: None,
            asks_left: None,
            remaining: Duration::MAX,
            remaining_fuel: None,
        }
    }
}

/// The emulated host.
#[derive(Debug, Default)]
pub(crate) struct Host {
    record: Mutex<Record>,
    /// Whether calls are shown on stderr, for a person, instead of recorded.
    watched: bool,
}

impl Host {
    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        // A test may panic on one thread and read the record on another.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn log(&self, level: Level, message: &str) {
        if self.watched {
            eprintln!("{level}: {message}");
        } else {
            self.record().log.push((level, message.to_owned()));
        }
    }

    pub(crate) fn progress(&self, fraction: Option<f64>, message: &str) {
        if self.watched {
            match fraction {
                Some(fraction) => eprintln!("{:3.0} % {message}", fraction * 100.0),
                None => eprintln!("  … {message}"),
            }
        } else {
            self.record().progress.push(Progress { fraction, message: message.to_owned() });
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        match &mut self.record().asks_left {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    pub(crate) fn remaining(&self) -> Duration {
        self.record().remaining
    }

    pub(crate) fn remaining_fuel(&self) -> Option<u64> {
        self.record().remaining_fuel
    }

    pub(crate) fn load_checkpoint(&self) -> Option<Vec<u8>> {
        self.record().checkpoint.clone()
    }

    pub(crate) fn save_checkpoint(&self, state: &[u8]) -> Result<(), CheckpointTooLarge> {
        let mut record = self.record();
        if let Some(limit) = record.checkpoint_limit.filter(|limit| state.len() > *limit) {
            let limit_bytes = Some(limit as u64);
            return Err(CheckpointTooLarge { bytes: state.len(), limit_bytes });
        }
        record.checkpoint = Some(state.to_owned());
        Ok(())
    }
}

pub(crate) fn run(job: impl FnOnce(Request, &Job) -> Result<Response, JobError>) -> ExitCode {
    command::run(Host { watched: true, ..Host::default() }, job)
}

/// Not shown.
pub(crate) fn announce_output_type(_: &str) {}

/// Shown like a failure.
pub(crate) fn announce_later(error: &JobError) {
    announce_failure(error);
}

/// Shows the requested delay.
pub(crate) fn announce_failure(error: &JobError) {
    if let Some(delay) = error.delay() {
        eprintln!("retry after {delay:?}");
    }
}
