//! Safety laws, which hold for any number of hosts and any order of calls: no job is lost, none has two
//! live leases, acknowledged changes are kept, and bounds hold.

mod cancelling;
mod claiming;
mod crashes;
mod damage;
mod disk_bounds;
mod endings;
mod holders;
mod hosts;
mod keys;
mod leases;
mod listing;
mod lost;
mod progress;
mod pruning;
mod redriving;
mod reopening;
mod room;
mod storing;
mod streaming;
mod tenants;
mod time_bounds;

use super::Law;

pub(super) use self::damage::full_disk;

/// The laws of every driver.
pub(super) const EVERYWHERE: &[&[Law]] = &[
    claiming::LAWS,
    leases::LAWS,
    holders::LAWS,
    lost::LAWS,
    progress::LAWS,
    endings::LAWS,
    cancelling::LAWS,
    redriving::LAWS,
    keys::LAWS,
    room::LAWS,
    storing::LAWS,
    streaming::LAWS,
    listing::LAWS,
    pruning::LAWS,
    disk_bounds::LAWS,
    tenants::LAWS,
    time_bounds::LAWS,
];

/// The laws of a driver whose store hosts can share.
pub(super) const SHARED: &[&[Law]] = &[hosts::LAWS];

/// The laws of a driver whose jobs survive its process.
pub(super) const DURABLE: &[&[Law]] = &[reopening::LAWS, crashes::LAWS, damage::LAWS];
