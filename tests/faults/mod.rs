//! A disk that fails under the host: failing syncs, a full disk, short reads and writes, unreadable
//! files, damaged pages, and power loss. No acknowledged job is lost, and data that cannot be read is
//! reported.
//!
//! `shim.c` intercepts the system calls of a host process on its files (`LD_PRELOAD`). Without a C
//! compiler these tests are reported as ignored; with `JOBWRIGHT_DEMAND_TOOLS` they fail.

mod disk;
mod pages;
mod power;
mod shim;

use std::sync::Arc;

use jobwright_tests::Running;
use libtest_mimic::Trial;

use self::shim::Shim;

/// A test that needs the shim.
type Test = (&'static str, fn(Arc<Shim>) -> Running);

pub fn trials() -> Vec<Trial> {
    let demanded = std::env::var_os("JOBWRIGHT_DEMAND_TOOLS").is_some();
    // Compiled once: the names of the tests depend on whether there is a compiler.
    let shim = Shim::compile().map(Arc::new).map_err(|error| format!("{error:#}"));
    let listed = |(name, test): &Test| {
        let (test, made) = (*test, shim.clone());
        let trial = jobwright_tests::trial(name, move || {
            Box::pin(async move { test(made.map_err(anyhow::Error::msg)?).await })
        });
        match &shim {
            Err(_) if !demanded => trial.with_kind("no C compiler").with_ignored_flag(true),
            _ => trial,
        }
    };
    let with_shim = [disk::TESTS, power::TESTS];
    with_shim.into_iter().flatten().map(listed).chain(pages::trials()).collect()
}
