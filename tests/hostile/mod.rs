//! Guests and uploads that mean harm, against one real host in a process of its own.
//!
//! | file | what is tried |
//! |---|---|
//! | [`time`], [`waiting`] | to take a processor for ever, or to wait for ever |
//! | [`memory`], [`output`], [`handing`] | to take memory: as memory, as output and log, in calls of the host |
//! | [`traps`] | to end badly, in every way there is |
//! | [`alike`] | the limits, which are the same for every kind of plugin |
//! | [`uploads`], [`damaged`], [`features`] | to hurt the host by what is uploaded alone |
//! | [`floor`] | to leave something behind |
//!
//! Each case says how it ends, exactly. [`stage`] holds what is true of all of them: a victim beside it
//! ends well, the interface answers meanwhile, the receipt is whole, and the host lives.

mod alike;
mod case;
mod damaged;
mod features;
mod floor;
mod guests;
mod handing;
mod memory;
mod output;
mod stage;
mod time;
mod traps;
mod uploads;
mod waiting;

use std::sync::Arc;

use jobwright::config::Isolation;
use libtest_mimic::Trial;

use self::case::Case;
use self::stage::Stage;

pub fn trials() -> Vec<Trial> {
    let stage = |isolation| anyhow::Ok(Arc::new(Stage::new(isolation)?));
    let listed = || {
        let apart = isolated(stage(Isolation::Process)?);
        let mut trials = listed(stage(Isolation::None)?, stage(Isolation::None)?);
        trials.extend(apart);
        anyhow::Ok(trials)
    };
    listed().unwrap_or_else(|error| {
        let failed = move || Err(format!("{error:#}").into());
        vec![Trial::test("hostile::there_are_hosts", failed)]
    })
}

/// Trials of guests, on a host that runs each in another process. Uploads are the same there.
fn isolated(stage: Arc<Stage>) -> Vec<Trial> {
    let mut trials: Vec<Trial> = cases().into_iter().map(|case| case.trial(&stage)).collect();
    trials.extend(alike::trials(&stage));
    trials.extend(output::trials(&stage));
    trials.push(floor::of_guests(stage));
    trials
}

fn cases() -> Vec<Case> {
    [
        time::cases(),
        waiting::cases(),
        memory::cases(),
        handing::cases(),
        output::cases(),
        traps::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Trials on a host, and on one of its own for large plugins, because a host keeps the code of each.
fn listed(stage: Arc<Stage>, large: Arc<Stage>) -> Vec<Trial> {
    // The slowest first: others are tried beside them.
    let mut trials = uploads::trials(&stage, &large);
    trials.extend(cases().into_iter().map(|case| case.trial(&stage)));
    trials.extend(alike::trials(&stage));
    trials.extend(output::trials(&stage));
    trials.extend(damaged::trials(&stage));
    trials.extend(features::trials(&stage));
    // Wait for all others to have ended, so they come last.
    trials.extend([floor::of_guests(stage), floor::of_large_plugins(large)]);
    trials
}
