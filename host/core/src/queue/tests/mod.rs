//! Queues as a ledger uses them. What a pick decides is tested in [`order`](super::order).

mod clocks;
mod fixture;
mod histories;
mod holding;
mod places;
mod sharing;
mod suspects;
