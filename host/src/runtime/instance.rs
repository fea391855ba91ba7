//! One attempt: a fresh `wasmtime::Store`, the guest in it, and the receipt.
//!
//! Invariants: every limit is armed before the first instruction of the guest, its start function
//! included; the receipt is complete however the attempt ends; the `wasmtime::Store` is dropped with
//! the attempt and never used for another.

use std::sync::Arc;

use jobwright_core::attempt::Attempt;
use jobwright_core::limits::{Fuel, Limits};
use jobwright_core::outcome::{Outcome, Usage, millis};
use jobwright_core::runtime::{Ended, StopSignal};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p1::WasiP1Ctx;

use super::abi::command_p1;
use super::code::Code;
use super::ending::{self, Evidence};
use super::limiter::Budget;
use super::meter::{Halt, Meter};
use super::stdio::OutputBuffer;

/// Fuel between two saves of the counter, at each of which the guest gives way too: the receipt of
/// an attempt that was stopped is short by at most that, about a millisecond's work.
const FUEL_INTERVAL: u64 = 1_000_000;

/// What one host call may copy, beside what the payload and output limits need: room for read
/// buffers that are larger than what there is to read, for paths and for lists of events.
const CALL_BYTES: u64 = 16 << 20;

/// What a guest's `wasmtime::Store` holds for the host's functions.
pub(super) struct Guest {
    wasi: WasiP1Ctx,
    budget: Budget,
}

impl Guest {
    pub(super) fn new(wasi: WasiP1Ctx, limits: &Limits) -> Self {
        Self { wasi, budget: Budget::new(limits) }
    }

    /// A guest that never runs.
    pub(super) fn idle() -> Self {
        Self::new(WasiCtxBuilder::new().build_p1(), &Limits::DEFAULT)
    }

    pub(super) fn wasi(&mut self) -> &mut WasiP1Ctx {
        &mut self.wasi
    }
}

/// Runs `attempt` on `code` to its end.
pub(super) async fn run(code: &Code, attempt: &Attempt, stop: StopSignal) -> Ended {
    let output = Arc::new(OutputBuffer::new(attempt.limits.output_bytes));
    let mut meter = Meter::start(stop, attempt.limits.timeout());
    let mut usage = Usage::default();
    let (store, ending) = match armed(code, attempt, &output) {
        Ok(mut store) => {
            let ending = drive(code, &mut store, &mut meter, &mut usage).await;
            (Some(store), ending)
        }
        Err(error) => (None, Ok(Err(error))),
    };
    let refused = store.as_ref().and_then(|store| store.data().budget.refused());
    if let Some(store) = &store {
        usage.fuel = used_fuel(store, &attempt.limits);
        usage.peak_memory_bytes = store.data().budget.peak();
    }
    usage.cpu_ms = millis(meter.cpu());
    usage.output_bytes = output.tried();
    let evidence = Evidence { attempt, refused, output: &output };
    Ended { outcome: outcome(ending, &evidence), usage }
}

type Ending = Result<wasmtime::Result<()>, Halt>;

fn outcome(ending: Ending, evidence: &Evidence<'_>) -> Outcome {
    match ending {
        Err(halt) => ending::halted(halt, &evidence.attempt.limits),
        Ok(Ok(())) => ending::returned(evidence),
        Ok(Err(error)) => ending::failed(&error, evidence),
    }
}

/// A `wasmtime::Store` in which a guest can do nothing yet that is not limited.
fn armed(
    code: &Code,
    attempt: &Attempt,
    output: &Arc<OutputBuffer>,
) -> wasmtime::Result<Store<Guest>> {
    let limits = &attempt.limits;
    let guest = Guest::new(command_p1::context(attempt, output), limits);
    let mut store = Store::new(code.linked.module().engine(), guest);
    store.limiter(|guest| &mut guest.budget);
    store.set_hostcall_fuel(call_bytes(attempt));
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|_| {
        // Behind all others that wait, unlike wasmtime's own yield.
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
    if let Fuel::Units(units) = limits.fuel {
        store.set_fuel(units)?;
        store.fuel_async_yield_interval(Some(FUEL_INTERVAL))?;
    }
    Ok(store)
}

fn call_bytes(attempt: &Attempt) -> usize {
    let copies = attempt.limits.output_bytes.saturating_add(attempt.payload.bytes.len() as u64);
    usize::try_from(CALL_BYTES.saturating_add(copies)).unwrap_or(usize::MAX)
}

async fn drive(
    code: &Code,
    store: &mut Store<Guest>,
    meter: &mut Meter,
    usage: &mut Usage,
) -> Ending {
    let made = meter.drive(code.linked.instantiate_async(&mut *store)).await;
    let instantiated = meter.elapsed();
    usage.instantiate_ms = millis(instantiated);
    let instance = match made? {
        Ok(instance) => instance,
        Err(error) => return Ok(Err(error)),
    };
    let entry_point = instance
        .get_module_export(&mut *store, &code.entry_point)
        .and_then(wasmtime::Extern::into_func)
        .map(|func| func.typed::<(), ()>(&*store));
    let ended = match entry_point {
        Some(Ok(start)) => meter.drive(start.call_async(&mut *store, ())).await,
        Some(Err(error)) => Ok(Err(error)),
        None => Ok(Err(wasmtime::format_err!("the entry point is no function"))),
    };
    usage.run_ms = millis(meter.elapsed().saturating_sub(instantiated));
    ended
}

fn used_fuel(store: &Store<Guest>, limits: &Limits) -> Option<u64> {
    match limits.fuel {
        Fuel::Units(units) => store.get_fuel().ok().map(|left| units.saturating_sub(left)),
        Fuel::Unlimited => None,
    }
}
