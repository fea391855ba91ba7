//! Every integration test, in one binary.

#![expect(
    unreachable_pub,
    reason = "nothing is outside of this binary; `pub` is for the list below"
)]

mod api;
mod cli;
mod conformance;
mod dispatch;
mod faults;
mod hostile;
mod isolation;
mod language;
mod limits;
mod load;
mod plugins;
mod privacy;
mod readme;
mod restart;
mod runtime;
mod services;
mod simulation;
mod structure;
mod upgrading;
mod values;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use mimalloc::MiMalloc;

/// That of the program, which this binary also is.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // Hosts in this process start their child processes from this binary.
    if let Some(code) = jobwright::runtime::run_child_process_if_requested() {
        return code;
    }
    if std::env::var_os(jobwright_tests::AS_PROGRAM).is_some() {
        return jobwright::cli::main();
    }
    // The TLS library of the tests' clients requires a default provider.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let mut trials: Vec<Trial> = [
        api::trials(),
        cli::trials(),
        conformance::trials(),
        dispatch::trials(),
        faults::trials(),
        hostile::trials(),
        isolation::trials(),
        language::trials(),
        limits::trials(),
        load::trials(),
        plugins::trials(),
        privacy::trials(),
        readme::trials(),
        restart::trials(),
        runtime::trials(),
        services::trials(),
        simulation::trials(),
        structure::trials(),
        upgrading::trials(),
        values::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();
    trials.push(readme::every_guarantee_names_its_test(&trials));
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    load::finish();
    conclusion.exit_code()
}
