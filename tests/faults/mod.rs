//! A disk that fails under the host: syncs that fail, writes without room, calls that do half of what
//! was asked, files that cannot be read, pages that are damaged, and power that is lost. Nothing that
//! was acknowledged is lost, and what cannot be read is reported.
//!
//! `shim.c` stands between a host process and its files (`LD_PRELOAD`). Where no C compiler is, these
//! trials say `ignored`; with `JOBWRIGHT_DEMAND_TOOLS` they fail.

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
    // Once for all: the trials are named by what there is.
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
