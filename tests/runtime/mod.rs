//! The runtime alone, with guests that really do what each limit is there for.

mod commands_p2;
mod endings;
pub(crate) mod extism;
mod extism_limits;
pub(crate) mod fixture;
mod http;
mod http_fuel;
mod jobs;
mod jobs_limits;
mod limits;
mod limits_p2;
mod memory;
mod plugins;
mod refusals;
mod refusals_p2;
mod sandbox;
mod stopping;
mod telling;

use libtest_mimic::Trial;

/// Every test of the runtime, in this process and with each attempt in one of its own.
pub fn trials() -> Vec<Trial> {
    listed().into_iter().chain(jobwright_tests::isolated(listed)).collect()
}

fn listed() -> Vec<Trial> {
    [
        commands_p2::trials(),
        endings::trials(),
        extism::trials(),
        extism_limits::trials(),
        http::trials(),
        http_fuel::trials(),
        jobs::trials(),
        jobs_limits::trials(),
        limits::trials(),
        limits_p2::trials(),
        memory::trials(),
        plugins::trials(),
        refusals::trials(),
        refusals_p2::trials(),
        sandbox::trials(),
        stopping::trials(),
        telling::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
