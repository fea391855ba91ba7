//! One attempt: a fresh `wasmtime::Store`, the guest in it, and the receipt.
//!
//! Invariants: every limit is in force before the first instruction of the guest, including its
//! start function; the receipt is complete however the attempt ends; the `wasmtime::Store` is
//! dropped with the attempt and never used for another.

use std::sync::Arc;
use std::time::Duration;

use jobwright_core::attempt::Attempt;
use jobwright_core::limits::{Fuel, Limits};
use jobwright_core::outcome::Usage;
use jobwright_core::runtime::{Ended, StopSignal};
use wasmtime::{Store, UpdateDeadline};

use super::abi::call::Call;
use super::abi::prepared::Prepared;
use super::capability::channel::GuestChannel;
use super::ending::{self, Abort, Evidence, GuestResult};
use super::guest::Guest;
use super::meter::Meter;
use super::stdio::OutputBuffer;

/// The fuel between two saves of the counter, at each of which the guest also yields. The receipt
/// of a stopped attempt lacks at most this much, about a millisecond of computing.
const FUEL_INTERVAL: u64 = 1_000_000;

/// The number of bytes that one host call may copy in addition to the guest's memory and payload:
/// for lists of strings that refer to the same bytes repeatedly.
const CALL_BYTES: u64 = 16 << 20;

/// Runs `attempt` on `code` to its end.
pub(super) async fn run(code: &Prepared, attempt: &Attempt, stop: StopSignal) -> Ended {
    let output = Arc::new(OutputBuffer::new(attempt.limits.output_bytes));
    let channel = GuestChannel::new(attempt, stop.clone());
    let grace = Duration::from_millis(attempt.limits.grace_ms);
    let report = attempt.report.clone();
    let mut meter = Meter::start(stop, attempt.limits.timeout()).with_grace(report, grace);
    let mut usage = Usage::default();
    let (ending, refused, starved, output_type) = match limited(code, attempt, &output, channel) {
        Ok(mut store) => {
            let (output, meter) = (&output, &mut meter);
            let ending = code.run(Call { attempt, output, store: &mut store, meter }).await;
            let ending = or_announced(ending, store.data_mut(), output);
            let output_type = store.data_mut().channel_mut().take_output_type();
            let budget = store.data().budget();
            usage.fuel = used_fuel(&store, &attempt.limits);
            usage.peak_memory_bytes = budget.peak();
            (ending, budget.refused(), budget.starved(), output_type)
        }
        Err(error) => (Err(Abort::Failed(error)), None, false, None),
    };
    meter.note(&mut usage);
    usage.output_bytes = output.tried();
    let (stack_bytes, stopped) = (code.engine().get_max_wasm_stack(), meter.stopped());
    let output = &*output;
    let evidence =
        Evidence { attempt, refused, starved, output, output_type, stack_bytes, stopped };
    let outcome = ending::outcome(ending, &evidence);
    let failed_output = ending::failed_output(&outcome, &evidence);
    Ended { outcome, usage, failed_output }
}

/// The result of a guest: its announced ending, if it then failed by itself and not at a limit,
/// because that has more information than an exit code or a trap.
fn or_announced(
    ending: Result<GuestResult, Abort>,
    guest: &mut Guest,
    output: &OutputBuffer,
) -> Result<GuestResult, Abort> {
    match ending {
        Err(Abort::Failed(error)) if ending::is_own(&error) && !output.exceeded() => {
            guest.channel_mut().failure().ok_or(Abort::Failed(error))
        }
        ending => ending,
    }
}

/// A `wasmtime::Store` that enforces all limits.
fn limited(
    code: &Prepared,
    attempt: &Attempt,
    output: &Arc<OutputBuffer>,
    channel: GuestChannel,
) -> wasmtime::Result<Store<Guest>> {
    let limits = &attempt.limits;
    let services = attempt.granted.services.clone();
    let wasi = code.sees(attempt, channel.clocks(), output);
    let guest = Guest::new(wasi, limits, channel, services);
    let mut store = Store::new(code.engine(), guest);
    store.limiter(|guest| guest.budget_mut());
    store.set_hostcall_fuel(call_bytes(attempt));
    store.set_max_component_handles(count(limits.resources));
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|store| {
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(store.data().yield_state().yield_now())))
    });
    if let Fuel::Units(units) = limits.fuel {
        store.set_fuel(units)?;
        store.fuel_async_yield_interval(Some(FUEL_INTERVAL))?;
    }
    Ok(store)
}

/// The number of bytes that one host call may copy. A call with a buffer as large as the guest's
/// memory is legitimate: programs read into buffers that are larger than their input, and write
/// output that is too long, to be refused.
fn call_bytes(attempt: &Attempt) -> usize {
    let Limits { memory_bytes, checkpoint_bytes, .. } = attempt.limits;
    let given = checkpoint_bytes.max(attempt.payload.bytes.len() as u64);
    count(CALL_BYTES.saturating_add(memory_bytes.max(given)))
}

fn used_fuel(store: &Store<Guest>, limits: &Limits) -> Option<u64> {
    match limits.fuel {
        Fuel::Units(units) => store.get_fuel().ok().map(|left| units.saturating_sub(left)),
        Fuel::Unlimited => None,
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
