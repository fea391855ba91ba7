//! The laws that every driver of `JobStore` keeps: one law, one named test per driver, each with a
//! store of its own. A new driver is one more line in [`DRIVERS`].

mod cancelling;
mod claiming;
mod crashes;
mod damage;
mod drafts;
mod endings;
mod fixture;
mod histories;
mod keeping;
mod keys;
mod leases;
mod listing;
mod lost;
mod pruning;
mod redriving;
mod reopening;
mod room;
mod steps;
mod storing;
mod streaming;
mod telling;
mod tenants;

use std::sync::Arc;

use jobwright::store::embedded::EmbeddedStore;
use jobwright::store::memory::MemoryStore;
use jobwright_tests::{Running, trial};
use libtest_mimic::Trial;

pub(crate) use self::drafts::jobs;

use self::fixture::{Driver, Fixture, Place};

const DRIVERS: &[Driver] = &[
    Driver { name: "memory", open: |_, limits, _| Ok(Arc::new(MemoryStore::new(limits))) },
    Driver {
        name: "sqlite",
        open: |dir, limits, now| Ok(Arc::new(EmbeddedStore::open(dir, limits, now)?)),
    },
];

/// The embedded store, which is also held to the laws of what survives.
const SQLITE: &Driver = &DRIVERS[1];

/// A law and its name.
type Law = (&'static str, fn(Fixture) -> Running);

/// Lists async functions of a module as its laws.
macro_rules! laws {
    ($($name:ident),* $(,)?) => {
        pub(super) const LAWS: &[super::Law] =
            &[$((stringify!($name), |store| Box::pin($name(store)))),*];
    };
}
use laws;

pub(crate) fn trials() -> Vec<Trial> {
    let everywhere = [
        claiming::LAWS,
        leases::LAWS,
        lost::LAWS,
        telling::LAWS,
        endings::LAWS,
        cancelling::LAWS,
        redriving::LAWS,
        keys::LAWS,
        room::LAWS,
        storing::LAWS,
        streaming::LAWS,
        listing::LAWS,
        pruning::LAWS,
        keeping::LAWS,
        tenants::LAWS,
    ];
    let mut trials = Vec::new();
    for driver in DRIVERS {
        let laws = everywhere.iter().copied().flatten();
        trials.extend(laws.map(|law| hold(driver, Place::Memory, *law)));
    }
    let durable = [reopening::LAWS, crashes::LAWS, damage::LAWS];
    trials.extend(durable.iter().copied().flatten().map(|law| hold(SQLITE, Place::Disk, *law)));
    trials.push(damage::full_disk());
    trials.push(histories::trial());
    trials
}

/// The test that `driver` keeps a law.
fn hold(driver: &'static Driver, place: Place, (name, law): Law) -> Trial {
    let name = format!("{}::{}::{name}", module_path!(), driver.name);
    trial(&name, move || Box::pin(async move { law(Fixture::new(driver, place)?).await }))
}
