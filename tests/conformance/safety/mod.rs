//! Safety laws: what is true of a store whichever host calls it, and in whichever order: no job is lost, none
//! has two live leases, what is answered is kept, and bounds hold.

mod cancelling;
mod claiming;
mod crashes;
mod damage;
mod endings;
mod keeping;
mod keys;
mod leases;
mod listing;
mod lost;
mod pruning;
mod redriving;
mod reopening;
mod room;
mod storing;
mod streaming;
mod telling;
mod tenants;

use super::Law;

pub(super) use self::damage::full_disk;

/// The laws of every driver.
pub(super) const EVERYWHERE: &[&[Law]] = &[
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

/// The laws of a driver whose jobs survive its process.
pub(super) const DURABLE: &[&[Law]] = &[reopening::LAWS, crashes::LAWS, damage::LAWS];
