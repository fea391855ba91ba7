//! The runtime alone, with guests that really do what each limit is there for.

mod clocks;
mod commands_p2;
mod endings;
mod exceptions;
pub(crate) mod extism;
mod extism_blocks;
mod files;
pub(crate) mod fixture;
mod http;
mod http_fuel;
mod http_headers;
mod jobs;
mod large;
mod leaving;
mod memory;
mod plugins;
mod preview0;
mod refusals;
mod refusals_p2;
mod sandbox;
mod stopping;
mod surviving;
mod telling;

use libtest_mimic::Trial;

/// Every test of the runtime, in this process and with each attempt in one of its own.
pub fn trials() -> Vec<Trial> {
    listed().into_iter().chain(jobwright_tests::isolated(listed)).collect()
}

fn listed() -> Vec<Trial> {
    [
        clocks::trials(),
        commands_p2::trials(),
        endings::trials(),
        exceptions::trials(),
        extism::trials(),
        extism_blocks::trials(),
        files::trials(),
        http::trials(),
        http_fuel::trials(),
        http_headers::trials(),
        jobs::trials(),
        large::trials(),
        leaving::trials(),
        memory::trials(),
        plugins::trials(),
        preview0::trials(),
        refusals::trials(),
        refusals_p2::trials(),
        sandbox::trials(),
        stopping::trials(),
        surviving::trials(),
        telling::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
