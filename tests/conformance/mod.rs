//! The laws that every driver of `JobStore` keeps: one law, one named test per driver, each with a
//! store of its own. A new driver is one more line in [`DRIVERS`].
//!
//! [`safety`] has laws that hold for any number of hosts, [`order`] the order of jobs within one claim.

mod drafts;
mod fixture;
mod histories;
mod order;
mod safety;
mod steps;

use std::sync::Arc;

use jobwright::store::embedded::EmbeddedStore;
use jobwright::store::memory::MemoryStore;
use jobwright_tests::{Running, trial};
use libtest_mimic::Trial;

pub(crate) use self::drafts::jobs;

use self::fixture::{Driver, Fixture, Place};

const DRIVERS: &[Driver] = &[
    Driver {
        name: "memory",
        open: |_, limits, _| Ok(Arc::new(MemoryStore::new(limits))),
        second: Some(|store| Ok(store.clone())),
    },
    Driver {
        name: "sqlite",
        open: |dir, limits, now| Ok(Arc::new(EmbeddedStore::open(dir, limits, now)?)),
        second: None,
    },
];

/// The embedded store, which must also keep the laws of durability.
const SQLITE: &Driver = &DRIVERS[1];

/// A law and its name.
type Law = (&'static str, fn(Fixture) -> Running);

/// Lists async functions of a module as its laws.
macro_rules! laws {
    ($($name:ident),* $(,)?) => {
        pub(super) const LAWS: &[crate::conformance::Law] =
            &[$((stringify!($name), |store| Box::pin($name(store)))),*];
    };
}
use laws;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for driver in DRIVERS {
        let safety = Suite { name: "safety", driver, place: Place::Memory };
        trials.extend(safety.of(safety::EVERYWHERE));
        if driver.second.is_some() {
            trials.extend(safety.of(safety::SHARED));
        }
        trials.extend(Suite { name: "order", ..safety }.of(order::EVERYWHERE));
    }
    trials.extend(Suite { name: "safety", driver: SQLITE, place: Place::Disk }.of(safety::DURABLE));
    trials.push(safety::full_disk());
    trials.push(histories::trial());
    trials
}

/// How a group of laws is tested.
#[derive(Clone, Copy)]
struct Suite {
    name: &'static str,
    driver: &'static Driver,
    place: Place,
}

impl Suite {
    /// A test for each law.
    fn of(self, laws: &'static [&[Law]]) -> impl Iterator<Item = Trial> {
        laws.iter().copied().flatten().map(move |law| self.hold(*law))
    }

    /// A test that the driver keeps a law.
    fn hold(self, (name, law): Law) -> Trial {
        let Self { name: suite, driver, place } = self;
        let name = format!("{}::{suite}::{}::{name}", module_path!(), driver.name);
        trial(&name, move || Box::pin(async move { law(Fixture::new(driver, place)?).await }))
    }
}
