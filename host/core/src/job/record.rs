//! The record of an attempt that ended.

use std::num::NonZeroU32;

use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};

use super::id::JobId;
use super::lifecycle::Lifecycle;
use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::grant::grants::{CLOCK_PRECISION_US, Grants};
use crate::limits::effective::Limits;
use crate::limits::limit::Limit;
use crate::outcome::{AttemptError, Outcome, OutcomeKind, Usage};

/// The start of the clocks and random numbers of an attempt: a replay with it sees the same, as far as that
/// does not depend on elapsed time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The seed of all random numbers.
    pub seed: Seed,
    /// The first reading of the wall clock.
    pub clock: Timestamp,
    /// The step of the clocks, in microseconds.
    #[serde(default = "default_step", skip_serializing_if = "is_default_step")]
    pub step_us: NonZeroU32,
    /// Whether the attempt was not deterministic although its job was accepted as such, because the grant of
    /// the plugin was withdrawn.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub determinism_withdrawn: bool,
}

fn default_step() -> NonZeroU32 {
    CLOCK_PRECISION_US
}

fn is_default_step(step_us: &NonZeroU32) -> bool {
    *step_us == CLOCK_PRECISION_US
}

/// 32 bytes, written as hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(
    #[serde(serialize_with = "as_hex", deserialize_with = "hex::serde::deserialize")] pub [u8; 32],
);

/// As `hex::serde`, which makes a `String` from one `char` after another: each record of an attempt has a seed.
fn as_hex<S: Serializer>(seed: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = [0; 64];
    hex::encode_to_slice(seed, &mut text).map_err(S::Error::custom)?;
    serializer.serialize_str(str::from_utf8(&text).map_err(S::Error::custom)?)
}

impl Start {
    /// Random numbers that follow from `seed`, and clocks of the default step that begin at `clock`.
    #[must_use]
    pub fn new(seed: [u8; 32], clock: Timestamp) -> Self {
        Self { seed: Seed(seed), clock, step_us: CLOCK_PRECISION_US, determinism_withdrawn: false }
    }

    /// The start of an attempt without a host: it follows from the job alone, so its seed is not secret. Hosts
    /// derive seeds from their [`SeedKey`](crate::seed::SeedKey).
    #[must_use]
    pub fn of_job(id: JobId, created_at: Timestamp) -> Self {
        Self::new(*Digest::of(id.as_bytes()).as_bytes(), created_at)
    }

    /// Returns this start with the clock step of `grants`.
    #[must_use]
    pub fn under(self, grants: &Grants) -> Self {
        Self { step_us: grants.clock_precision_us.unwrap_or(CLOCK_PRECISION_US), ..self }
    }
}

/// The record of an attempt that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// Its number.
    pub attempt: u32,
    /// How many attempts had failed before it, of those that count.
    #[serde(default)]
    pub failures: u16,
    /// When it was claimed.
    pub attempted_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How it ended.
    pub outcome: OutcomeKind,
    /// The limit that it reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// The error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<AttemptError>,
    /// Its usage.
    pub usage: Usage,
    /// The start of its clocks and random numbers; absent if the attempt was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// Whether it resumed from a checkpoint, which is not kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
    /// Whether it had grants, which a replay lacks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub granted: bool,
    /// Its limits, if they differ from those of its job because a ceiling was lowered in between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// The error of a lost attempt.
fn lost() -> AttemptError {
    AttemptError::new(
        "lost",
        "the host died while this attempt ran, or stalled for longer than the attempt's lease: its \
         outcome is not known, and its effects may have happened",
    )
}

impl AttemptRecord {
    /// The record of the running attempt of `lifecycle`, which ended with `outcome`.
    #[must_use]
    pub fn new(lifecycle: &Lifecycle, outcome: &Outcome, usage: Usage, now: Timestamp) -> Self {
        Self {
            attempt: lifecycle.attempt,
            failures: lifecycle.failures,
            attempted_at: lifecycle.attempted_at.unwrap_or(now),
            ended_at: now,
            outcome: outcome.kind(),
            limit: outcome.limit(),
            error: outcome.error().cloned().or_else(|| (*outcome == Outcome::Lost).then(lost)),
            usage,
            start: None,
            resumed: false,
            granted: false,
            limits: None,
        }
    }
}
