//! Deterministic simulation: the real dispatcher and the real stores go through histories of crashes,
//! stalls past the lease, clocks that jump, refusals, cancellations and shutdowns, in simulated time.
//!
//! A history is determined by its seed: it runs on one thread, with tokio's paused time, so it can be
//! repeated exactly. A seed that fails is printed with its history.
//!
//! | variable | effect |
//! |---|---|
//! | `JOBWRIGHT_SEED=N` | runs only this history, and prints it |
//! | `JOBWRIGHT_HISTORIES=N` | runs `N` histories of each kind instead of the default number |

mod clock;
mod drafts;
mod gate;
mod guests;
mod history;
mod hosts;
mod model;
mod place;
mod rng;
mod wire;
mod world;

use anyhow::{Context as _, ensure};
use jobwright_core::Clock as _;
use libtest_mimic::{Failed, Trial};

use self::clock::WallClock;
use self::history::{History, Tally};
use self::place::{Driver, Place};
use self::world::World;

/// The number of histories: about ten seconds in a debug build.
const MEMORY_HISTORIES: u64 = 1500;

/// As [`MEMORY_HISTORIES`], for the store with files.
const SQLITE_HISTORIES: u64 = 150;

/// How many lines at the end of a history are printed.
const LINES: usize = 120;

pub fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> anyhow::Result<()>| {
        let test = move || test().map_err(|error| Failed::from(format!("{error:#}")));
        Trial::test(format!("simulation::{name}"), test)
    };
    vec![
        trial("no_history_of_several_hosts_loses_a_job", || play(Driver::Memory, MEMORY_HISTORIES)),
        trial("no_history_of_the_embedded_store_loses_a_job", || {
            play(Driver::Sqlite, SQLITE_HISTORIES)
        }),
        trial("a_history_is_the_same_each_time_it_is_played", a_history_is_the_same_each_time),
    ]
}

fn play(driver: Driver, histories: u64) -> anyhow::Result<()> {
    if let Some(seed) = number("JOBWRIGHT_SEED")? {
        let (outcome, notes) = history(driver, seed, true)?;
        println!("{driver:?}, seed {seed}:\n{}", notes.join("\n"));
        return outcome.map(|tally| println!("{tally:?}"));
    }
    let histories = number("JOBWRIGHT_HISTORIES")?.unwrap_or(histories);
    let mut total = Tally::default();
    for seed in 0..histories {
        let (outcome, _) = history(driver, seed, false)?;
        match outcome {
            Ok(tally) => total = total.plus(tally),
            Err(error) => {
                let (_, notes) = history(driver, seed, true)?;
                let notes = notes[notes.len().saturating_sub(LINES)..].join("\n");
                return Err(error).context(format!(
                    "{driver:?}, play it again with JOBWRIGHT_SEED={seed}:\n{notes}\n"
                ));
            }
        }
    }
    println!("{driver:?}: {histories} histories, {total:?}");
    // Without concurrency the histories would prove little.
    ensure!(total.beside * 10 > total.attempts, "few attempts ran beside others: {total:?}");
    Ok(())
}

fn a_history_is_the_same_each_time() -> anyhow::Result<()> {
    for driver in [Driver::Memory, Driver::Sqlite] {
        let mut lines = 0;
        for seed in 0..20 {
            let (_, first) = history(driver, seed, true)?;
            let (_, second) = history(driver, seed, true)?;
            let differs = first.iter().zip(&second).find(|(first, second)| first != second);
            ensure!(differs.is_none(), "{driver:?}, seed {seed}: {differs:?}");
            ensure!(first.len() == second.len(), "{driver:?}, seed {seed}");
            lines += first.len();
        }
        ensure!(lines > 1000, "{driver:?}: only {lines} lines");
    }
    Ok(())
}

fn number(variable: &str) -> anyhow::Result<Option<u64>> {
    let Ok(text) = std::env::var(variable) else { return Ok(None) };
    text.parse().map(Some).with_context(|| format!("{variable}={text} is no number"))
}

/// Runs one history; returns its result, and its notes if it is `noted`.
fn history(
    driver: Driver,
    seed: u64,
    noted: bool,
) -> anyhow::Result<(anyhow::Result<Tally>, Vec<String>)> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build()?;
    runtime.block_on(async {
        let (place, store) = Place::new(driver, WallClock::new().now())?;
        let world = World::new(seed, store, noted);
        let outcome = History::new(world.clone(), place).play().await;
        Ok((outcome, world.notes()))
    })
}
