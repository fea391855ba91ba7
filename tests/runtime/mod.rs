//! The runtime alone, with real guests.

mod clocks;
mod commands_p2;
mod endings;
mod exceptions;
pub(crate) mod extism;
mod extism_blocks;
mod failed_outputs;
mod files;
pub(crate) mod fixture;
mod host_calls;
mod http;
mod http_fuel;
mod http_headers;
mod jobs;
mod large;
mod memory;
mod plugins;
mod preview0;
mod refusals;
mod refusals_p2;
mod refused_growth;
mod sandbox;
mod stopping;

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
        failed_outputs::trials(),
        memory::trials(),
        plugins::trials(),
        preview0::trials(),
        refusals::trials(),
        refusals_p2::trials(),
        sandbox::trials(),
        stopping::trials(),
        refused_growth::trials(),
        host_calls::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
