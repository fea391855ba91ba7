//! Attempts in processes of their own: the consequences when one dies, what such a process can do, and
//! that none is left behind. The tests of the runtime and of hostile guests also run in such processes:
//! filter by `isolated`.

mod abandoned_requests;
mod confinement;
mod process_deaths;
mod runners;
mod same_outcomes;
mod sharing;
mod signals;
mod trial_loads;
mod unconfined;

use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    [
        same_outcomes::trials(),
        process_deaths::trials(),
        abandoned_requests::trials(),
        sharing::trials(),
        confinement::trials(),
        signals::trials(),
        trial_loads::trials(),
        unconfined::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
