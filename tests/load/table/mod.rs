//! The figures that the project promises, measured on the real program: each test measures some rows, and
//! the end of the run prints the rows that were measured as one table.
//!
//! The tests use HTTP, the command line and `/proc` only, so that they compare versions that share no code.
//! How to run them is in `host/docs/src/working.md`.

mod figures;
mod generator;
mod idle;
mod measured;
mod proc;
mod throughput;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jobwright_tests::tests;
use libtest_mimic::Trial;
use tokio::sync::Mutex as AsyncMutex;

use self::figures::Figure;
use self::idle::{memory_and_restart, round_trip_of_a_waiting_request};
use self::throughput::{batches, drained, drained_at_the_bound, single_posts};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        drained,
        drained_at_the_bound,
        single_posts,
        batches,
        round_trip_of_a_waiting_request,
        memory_and_restart,
    ]
}

/// The measurements of each figure, one for each round.
static MEASURED: Mutex<BTreeMap<Figure, Vec<f64>>> = Mutex::new(BTreeMap::new());

/// Held by the test that measures: two at a time would measure each other.
static ALONE: AsyncMutex<()> = AsyncMutex::const_new(());

fn record(figure: Figure, value: f64) {
    let mut measured = MEASURED.lock().unwrap_or_else(PoisonError::into_inner);
    measured.entry(figure).or_default().push(value);
}

/// Prints the table of what was measured, if anything was, and removes the prepared data directory.
pub(super) fn finish() {
    measured::remove_prepared();
    let measured = MEASURED.lock().unwrap_or_else(PoisonError::into_inner);
    if measured.is_empty() {
        return;
    }
    println!("{}", figures::table(&measured));
    println!("{}", proc::machine());
    println!("load of single POSTs: {}", generator::name());
    if percent() != 100 {
        println!("NOT COMPARABLE: {PERCENT}={}", percent());
    }
    if cfg!(debug_assertions) {
        println!("NOT COMPARABLE: a debug build");
    }
}

/// The variable that makes the measurements smaller, to try the tests themselves.
const PERCENT: &str = "JOBWRIGHT_LOAD_PERCENT";

/// How much of each measurement is done.
fn percent() -> u32 {
    std::env::var(PERCENT).ok().and_then(|text| text.parse().ok()).unwrap_or(100).clamp(1, 100)
}

/// Of the whole number of jobs, the part that is used.
fn scaled(count: usize) -> usize {
    count * percent() as usize / 100
}

/// The median of three is not moved by one round that the machine disturbed.
fn rounds() -> usize {
    if percent() == 100 { 3 } else { 1 }
}

/// How long single jobs are submitted in a round.
fn span() -> Duration {
    Duration::from_secs(10) * percent() / 100
}
