//! The example plugins, on the samples that come with them: over HTTP, and through `jobwright run`.
//!
//! A new plugin or sample needs no code here. Where a compiler is missing the trials of its language
//! say `ignored`, with the reason in brackets; CI sets `JOBWRIGHT_DEMAND_TOOLS` and has them fail.

mod elsewhere;
mod orders;
mod primes;
mod repeated;
mod samples;
mod stage;
mod webhook;

use std::sync::Arc;

use jobwright_plugins::Availability;
use libtest_mimic::Trial;

use self::stage::Stage;

pub fn trials() -> Vec<Trial> {
    // Once for all: the trials are named by what there is.
    match jobwright_plugins::build(|line| eprintln!("{line}")).and_then(Stage::new) {
        Ok(stage) => listed(&Arc::new(stage)),
        Err(error) => {
            let failed = move || Err(format!("{error:#}").into());
            vec![Trial::test("plugins::are_built", failed)]
        }
    }
}

fn listed(stage: &Arc<Stage>) -> Vec<Trial> {
    let demanded = std::env::var_os("JOBWRIGHT_DEMAND_TOOLS").is_some();
    let mut trials = samples::trials(stage);
    trials.extend(orders::trials(stage));
    trials.extend(primes::trials(stage));
    trials.extend(webhook::trials(stage));
    trials.extend(repeated::trials(stage));
    trials
        .into_iter()
        .map(|(plugin, trial)| match &stage.plugins.get(&plugin).availability {
            Availability::Missing { .. } if demanded => trial,
            Availability::Missing { reason } | Availability::Impossible { reason } => {
                trial.with_kind(reason.as_str()).with_ignored_flag(true)
            }
            Availability::Built(_) => trial,
        })
        .chain(elsewhere::trials(stage, demanded))
        .chain([samples::costs(stage)])
        .collect()
}
