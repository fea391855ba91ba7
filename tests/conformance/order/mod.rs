//! Order laws: the order of jobs within one claim. They hold for every driver, because
//! each asks [`order::pick`](jobwright_core::queue::order::pick); between claims of several hosts no order is
//! promised.

mod hosts;
mod memory;
mod places;
mod shares;
mod suspects;

use super::Law;

/// The laws of every driver.
pub(super) const EVERYWHERE: &[&[Law]] =
    &[places::LAWS, shares::LAWS, memory::LAWS, suspects::LAWS, hosts::LAWS];
