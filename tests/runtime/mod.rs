//! The runtime alone, with guests that really do what each limit is there for.

mod endings;
mod fixture;
mod limits;
mod memory;
mod plugins;
mod refusals;
mod sandbox;
mod stopping;

use libtest_mimic::Trial;

/// Every test of the runtime.
pub fn trials() -> Vec<Trial> {
    [
        endings::trials(),
        limits::trials(),
        memory::trials(),
        plugins::trials(),
        refusals::trials(),
        sandbox::trials(),
        stopping::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
