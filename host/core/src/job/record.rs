//! What a job remembers of an attempt that ended.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::id::JobId;
use super::lifecycle::Lifecycle;
use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::grant::grants::{CLOCK_PRECISION_US, Grants};
use crate::limits::effective::Limits;
use crate::limits::limit::Limit;
use crate::outcome::{AttemptError, Outcome, OutcomeKind, Usage};

/// Where the clocks and random numbers of an attempt begin: with it, the attempt can be made again
/// and see the same, as far as that does not depend on time that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// What all random numbers follow from.
    pub seed: Seed,
    /// What the clock on the wall says first.
    pub clock: Timestamp,
    /// The step of the clocks, in microseconds.
    #[serde(default = "usual_step", skip_serializing_if = "is_usual")]
    pub step_us: NonZeroU32,
    /// Whether this is an attempt like any other at a job that was accepted as a deterministic one: the
    /// plugin was no longer granted such jobs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub determinism_withdrawn: bool,
}

fn usual_step() -> NonZeroU32 {
    CLOCK_PRECISION_US
}

fn is_usual(step_us: &NonZeroU32) -> bool {
    *step_us == CLOCK_PRECISION_US
}

/// 32 bytes, written as hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(#[serde(with = "hex::serde")] pub [u8; 32]);

impl Start {
    /// Random numbers that follow from `seed`, and clocks of the usual step that begin at `clock`.
    #[must_use]
    pub fn new(seed: [u8; 32], clock: Timestamp) -> Self {
        Self { seed: Seed(seed), clock, step_us: CLOCK_PRECISION_US, determinism_withdrawn: false }
    }

    /// Of an attempt outside of a host, which follows from the job alone: anybody can compute it. Hosts
    /// derive seeds from their [`SeedKey`](crate::seed::SeedKey).
    #[must_use]
    pub fn of_job(id: JobId, created_at: Timestamp) -> Self {
        Self::new(*Digest::of(id.as_bytes()).as_bytes(), created_at)
    }

    /// The same with clocks of the step that `grants` allow.
    #[must_use]
    pub fn under(self, grants: &Grants) -> Self {
        Self { step_us: grants.clock_precision_us.unwrap_or(CLOCK_PRECISION_US), ..self }
    }
}

/// What is kept of an attempt that ended.
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
    /// How.
    pub outcome: OutcomeKind,
    /// The limit it reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<AttemptError>,
    /// What it took.
    pub usage: Usage,
    /// Where its clocks and random numbers began; absent if nobody was there to see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// Whether it went on from a checkpoint, which is not kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
    /// Whether it was granted anything that reaches outside of its sandbox, or comes from there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub granted: bool,
    /// What it could use, if that was not what its job may: a ceiling was lowered in between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// What is said of a lost attempt, of which there is no other witness.
fn lost() -> AttemptError {
    AttemptError::new(
        "lost",
        "the host died while this attempt ran, or stalled for longer than the attempt's lease: how \
         the attempt would have ended is not known, and what it did may have happened",
    )
}

impl AttemptRecord {
    /// The record of the attempt that `lifecycle` says is running, which ended with `outcome`.
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
