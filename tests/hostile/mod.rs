//! Malicious guests and uploads, against one real host in a process of its own.
//!
//! | file | attack |
//! |---|---|
//! | [`time`], [`waiting`] | use a processor or wait without end |
//! | [`memory`], [`output`], [`host_memory`] | use memory: linear memory, output, log, arguments of host calls |
//! | [`traps`] | trap in every way |
//! | [`limits`] | exceed each limit, with every kind of plugin |
//! | [`uploads`], [`damaged`], [`features`] | upload malformed or expensive plugins |
//! | [`leftovers`] | leave memory allocated |
//!
//! Each case states exactly how it ends. [`fixture`] checks for all of them that an ordinary job succeeds
//! at the same time, that the API responds meanwhile, that the receipt is complete, and that the host
//! survives.

mod case;
mod damaged;
mod features;
mod fixture;
mod guests;
mod host_memory;
mod leftovers;
mod limits;
mod memory;
mod output;
mod time;
mod traps;
mod uploads;
mod waiting;

use std::sync::Arc;

use jobwright::config::Isolation;
use libtest_mimic::Trial;

use self::case::Case;
use self::fixture::Fixture;

pub fn trials() -> Vec<Trial> {
    let fixture = |isolation| anyhow::Ok(Arc::new(Fixture::new(isolation)?));
    let listed = || {
        let apart = isolated(fixture(Isolation::Process)?);
        let mut trials = listed(fixture(Isolation::None)?, fixture(Isolation::None)?);
        trials.extend(apart);
        anyhow::Ok(trials)
    };
    listed().unwrap_or_else(|error| {
        let failed = move || Err(format!("{error:#}").into());
        vec![Trial::test("hostile::there_are_hosts", failed)]
    })
}

/// Tests of guests on a host with `--isolation process`. Uploads are the same there.
fn isolated(fixture: Arc<Fixture>) -> Vec<Trial> {
    let mut trials: Vec<Trial> = cases().into_iter().map(|case| case.trial(&fixture)).collect();
    trials.extend(limits::trials(&fixture));
    trials.extend(output::trials(&fixture));
    trials.push(leftovers::of_guests(fixture));
    trials
}

fn cases() -> Vec<Case> {
    [
        time::cases(),
        waiting::cases(),
        memory::cases(),
        host_memory::cases(),
        output::cases(),
        traps::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Tests on one host, and on a second one for large plugins, because a host keeps the code of each.
fn listed(fixture: Arc<Fixture>, large: Arc<Fixture>) -> Vec<Trial> {
    // The slowest first: others run in parallel.
    let mut trials = uploads::trials(&fixture, &large);
    trials.extend(cases().into_iter().map(|case| case.trial(&fixture)));
    trials.extend(limits::trials(&fixture));
    trials.extend(output::trials(&fixture));
    trials.extend(damaged::trials(&fixture));
    trials.extend(features::trials(&fixture));
    // These wait until all others have ended, so they come last.
    trials.extend([leftovers::of_guests(fixture), leftovers::of_large_plugins(large)]);
    trials
}
