//! The call of an attempt: what each kind of plugin gets to run it.

use std::sync::Arc;

use jobwright_core::attempt::Attempt;
use wasmtime::Store;

use super::super::guest::Guest;
use super::super::meter::Meter;
use super::super::stdio::OutputBuffer;

/// One attempt. The guest runs in `store` and is polled through `meter`; both enforce the limits of
/// the attempt.
pub(in super::super) struct Call<'a> {
    pub(in super::super) attempt: &'a Attempt,
    pub(in super::super) output: &'a Arc<OutputBuffer>,
    pub(in super::super) store: &'a mut Store<Guest>,
    pub(in super::super) meter: &'a mut Meter,
}
