//! How long a job waits before its next attempt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::policy::MAX_ATTEMPTS_CAP;
use crate::clock::MAX_DELAY;

/// The longest back-off of the kinds that grow, unless `max_ms` changes it. Before jitter. A wait that the
/// guest names may be longer.
pub const MAX_BACKOFF: Duration = Duration::from_secs(6 * 60 * 60);

/// The jitter of Sidekiq, in percent.
pub const DEFAULT_JITTER_PERCENT: u8 = 20;

/// The largest factor of an exponential back-off: with it the second wait is an hour after one of 36 s.
pub const MAX_FACTOR: f64 = 100.0;

/// How long a job waits after a failure, unless its guest names a wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    /// The wait after each failure.
    #[serde(flatten)]
    pub curve: Curve,
    /// How far a wait is spread to both sides, in percent, 0 to 100, so that jobs that failed together do not
    /// return together.
    pub jitter_percent: u8,
    /// The longest wait before jitter, in milliseconds; absent for [`MAX_BACKOFF`] where waits grow, and for
    /// [`MAX_DELAY`] where all are named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ms: Option<u64>,
}

/// The wait after the n-th failure.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Curve {
    /// `n⁴ + 5` seconds, as Sidekiq and River have it: 6 s, 21 s, 86 s, 4 min, 10 min.
    #[default]
    Polynomial,
    /// `first_ms × factorⁿ⁻¹`.
    Exponential {
        /// The first wait, in milliseconds.
        first_ms: u64,
        /// From 1 to [`MAX_FACTOR`].
        factor: f64,
    },
    /// Always the same.
    Fixed {
        /// In milliseconds.
        wait_ms: u64,
    },
    /// One after the other; the last one for all further failures.
    List {
        /// In milliseconds; 1 to [`MAX_ATTEMPTS_CAP`] of them.
        waits_ms: Vec<u64>,
    },
}

impl Default for Backoff {
    fn default() -> Self {
        Self::of(Curve::default())
    }
}

/// What is wrong with a field of a back-off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackoffFault {
    /// The name of the field.
    pub field: &'static str,
    /// What is expected, and what was given.
    pub message: String,
}

impl Backoff {
    /// A back-off with the default jitter and maximum.
    #[must_use]
    pub fn of(curve: Curve) -> Self {
        Self { curve, jitter_percent: DEFAULT_JITTER_PERCENT, max_ms: None }
    }

    /// Whether it is the one of jobs and plugins that name none.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// How long to wait after the `n`-th failure, `n` from 1. `jitter` is from 0 to 1.
    #[must_use]
    pub fn wait(&self, n: u16, jitter: f64) -> Duration {
        // At most `MAX_DELAY`, so the product fits.
        let base = self.curve.wait(n).min(self.max()).min(MAX_DELAY).as_millis() as u64;
        let side = 2.0 * jitter.clamp(0.0, 1.0) - 1.0;
        let millionths = side * f64::from(self.jitter_percent.min(100)) * 10_000.0;
        let factor = (1_000_000.0 + millionths) as u64;
        Duration::from_millis(base * factor / 1_000_000)
    }

    fn max(&self) -> Duration {
        match (self.max_ms, &self.curve) {
            (Some(most), _) => Duration::from_millis(most),
            (None, Curve::Polynomial | Curve::Exponential { .. }) => MAX_BACKOFF,
            (None, Curve::Fixed { .. } | Curve::List { .. }) => MAX_DELAY,
        }
    }

    /// Everything that is out of its range.
    #[must_use]
    pub fn faults(&self) -> Vec<BackoffFault> {
        let mut faults = self.curve.faults();
        if self.jitter_percent > 100 {
            let message = format!("expected 0 to 100, got `{}`", self.jitter_percent);
            faults.push(BackoffFault { field: "jitter_percent", message });
        }
        faults.extend(self.max_ms.and_then(|wait| too_long("max_ms", wait)));
        faults
    }
}

impl Curve {
    fn wait(&self, n: u16) -> Duration {
        let place = n.saturating_sub(1);
        match self {
            Self::Polynomial => {
                Duration::from_secs(u64::from(n).saturating_pow(4).saturating_add(5))
            }
            Self::Exponential { first_ms, factor } => {
                let factor = factor.powi(i32::from(place));
                let wait = Duration::from_millis(*first_ms).as_secs_f64() * factor;
                Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX)
            }
            Self::Fixed { wait_ms } => Duration::from_millis(*wait_ms),
            Self::List { waits_ms } => {
                let wait = waits_ms.get(usize::from(place)).or(waits_ms.last());
                wait.map_or(Duration::ZERO, |wait| Duration::from_millis(*wait))
            }
        }
    }

    fn faults(&self) -> Vec<BackoffFault> {
        match self {
            Self::Polynomial => vec![],
            Self::Fixed { wait_ms } => Vec::from_iter(too_long("wait_ms", *wait_ms)),
            Self::Exponential { first_ms, factor } => {
                let mut faults = Vec::from_iter(too_long("first_ms", *first_ms));
                if !(1.0..=MAX_FACTOR).contains(factor) {
                    let message = format!("expected 1 to {MAX_FACTOR}, got `{factor}`");
                    faults.push(BackoffFault { field: "factor", message });
                }
                faults
            }
            Self::List { waits_ms } => {
                let mut faults: Vec<_> = waits_ms
                    .iter()
                    .filter_map(|wait| too_long("waits_ms", *wait))
                    .take(1)
                    .collect();
                if waits_ms.is_empty() || waits_ms.len() > usize::from(MAX_ATTEMPTS_CAP) {
                    let message =
                        format!("expected 1 to {MAX_ATTEMPTS_CAP} waits, got {}", waits_ms.len());
                    faults.push(BackoffFault { field: "waits_ms", message });
                }
                faults
            }
        }
    }
}

fn too_long(field: &'static str, wait_ms: u64) -> Option<BackoffFault> {
    let is_too_long = Duration::from_millis(wait_ms) > MAX_DELAY;
    let message =
        format!("`{wait_ms}` is too large: a wait is at most {} ms", MAX_DELAY.as_millis());
    is_too_long.then_some(BackoffFault { field, message })
}
