//! The example plugins, with their samples: over HTTP, and through `jobwright run`.
//!
//! A new plugin or sample needs no code here. If a compiler is missing, the tests of its language are
//! reported as ignored, with the reason in brackets; with `JOBWRIGHT_DEMAND_TOOLS`, as in CI, they fail.

mod elsewhere;
mod fixture;
mod orders;
mod primes;
mod repeated;
mod samples;
mod webhook;

use std::sync::Arc;

use jobwright_plugins::Availability;
use libtest_mimic::Trial;

use self::fixture::Fixture;

pub fn trials() -> Vec<Trial> {
    // Built once: the names of the tests depend on the compilers that are found.
    match jobwright_plugins::build(|line| eprintln!("{line}")).and_then(Fixture::new) {
        Ok(fixture) => listed(&Arc::new(fixture)),
        Err(error) => {
            let failed = move || Err(format!("{error:#}").into());
            vec![Trial::test("plugins::are_built", failed)]
        }
    }
}

fn listed(fixture: &Arc<Fixture>) -> Vec<Trial> {
    let demanded = std::env::var_os("JOBWRIGHT_DEMAND_TOOLS").is_some();
    let mut trials = samples::trials(fixture);
    trials.extend(orders::trials(fixture));
    trials.extend(primes::trials(fixture));
    trials.extend(webhook::trials(fixture));
    trials.extend(repeated::trials(fixture));
    trials
        .into_iter()
        .map(|(plugin, trial)| match &fixture.plugins.get(&plugin).availability {
            Availability::Missing { .. } if demanded => trial,
            Availability::Missing { reason } | Availability::Impossible { reason } => {
                trial.with_kind(reason.as_str()).with_ignored_flag(true)
            }
            Availability::Built(_) => trial,
        })
        .chain(elsewhere::trials(fixture, demanded))
        .chain([samples::costs(fixture)])
        .collect()
}
