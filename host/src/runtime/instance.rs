//! One attempt: a fresh `wasmtime::Store`, the guest in it, and the receipt.
//!
//! Invariants: every limit is armed before the first instruction of the guest, its start function
//! included; the receipt is complete however the attempt ends; the `wasmtime::Store` is dropped with
//! the attempt and never used for another.

use std::sync::Arc;
use std::time::Duration;

use jobwright_core::attempt::Attempt;
use jobwright_core::limits::{Fuel, Limits};
use jobwright_core::outcome::Usage;
use jobwright_core::outside::{Granted, Outside};
use jobwright_core::runtime::{Ended, StopSignal};
use wasmtime::component::ResourceTable;
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::random::WasiRandomCtx;
use wasmtime_wasi::{WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::abi::extism::kernel::Kernel;
use super::abi::http::{self, outgoing::Requests};
use super::abi::{Call, Prepared};
use super::capability::Line;
use super::capability::imports::http::Answered;
use super::clocks::Clocks;
use super::ending::{self, Cut, Evidence, Said};
use super::limiter::Budget;
use super::meter::Meter;
use super::stdio::OutputBuffer;
use super::turns::Turns;

/// Fuel between two saves of the counter, at each of which the guest gives way too: the receipt of
/// an attempt that was stopped is short by at most that, about a millisecond's work.
const FUEL_INTERVAL: u64 = 1_000_000;

/// What one host call may copy, beside all that a guest can have in its memory, or is given: room for
/// lists of strings that name the same bytes again and again.
const CALL_BYTES: u64 = 16 << 20;

/// What a guest's `wasmtime::Store` holds for the host's functions, whichever kind it is of.
pub(super) struct Guest {
    /// Of both previews: the first is made of the second.
    wasi: WasiP1Ctx,
    http: WasiHttpCtx,
    requests: Requests,
    budget: Budget,
    line: Line,
    extism: Kernel,
    answered: Answered,
    outside: Arc<dyn Outside>,
    turns: Turns,
}

impl Guest {
    fn new(mut wasi: WasiP1Ctx, limits: &Limits, line: Line, outside: Arc<dyn Outside>) -> Self {
        wasi.ctx().table.set_max_capacity(count(limits.resources));
        let (http, budget, extism) = (http::context(), Budget::new(limits), Kernel::default());
        let requests = Requests::new(outside.clone(), line.log_buffer());
        let (answered, turns) = (Answered::default(), Turns::default());
        Self { wasi, http, requests, budget, line, extism, answered, outside, turns }
    }

    /// A guest that never runs.
    pub(super) fn idle() -> Self {
        let wasi = WasiCtxBuilder::new().build_p1();
        Self::new(wasi, &Limits::DEFAULT, Line::idle(), Granted::default().outside)
    }

    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    pub(super) fn line_mut(&mut self) -> &mut Line {
        &mut self.line
    }

    pub(super) fn budget_mut(&mut self) -> &mut Budget {
        &mut self.budget
    }

    /// What an Extism plug-in sees; of any other guest it is empty.
    pub(super) fn extism(&mut self) -> &mut Kernel {
        &mut self.extism
    }

    /// What a core module can copy of its last response.
    pub(super) fn answered(&mut self) -> &mut Answered {
        &mut self.answered
    }

    /// What the guest reaches outside of its sandbox.
    pub(super) fn outside(&self) -> Arc<dyn Outside> {
        self.outside.clone()
    }

    /// Its clocks.
    pub(super) fn clocks(&self) -> &Clocks {
        self.line.clocks()
    }

    /// Whose turn it is.
    pub(super) fn turns(&self) -> Turns {
        self.turns.clone()
    }

    pub(super) fn wasi(&mut self) -> &mut WasiP1Ctx {
        &mut self.wasi
    }

    /// Its random numbers.
    pub(super) fn random(&mut self) -> &mut WasiRandomCtx {
        self.wasi.ctx().ctx.random()
    }

    /// What the guest's handles stand for.
    pub(super) fn handles(&mut self) -> &mut ResourceTable {
        self.wasi.ctx().table
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.ctx()
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let Self { wasi, http, requests, .. } = self;
        WasiHttpCtxView { ctx: http, table: wasi.ctx().table, hooks: requests }
    }
}

/// Runs `attempt` on `code` to its end.
pub(super) async fn run(code: &Prepared, attempt: &Attempt, stop: StopSignal) -> Ended {
    let output = Arc::new(OutputBuffer::new(attempt.limits.output_bytes));
    let line = Line::new(attempt, stop.clone());
    let grace = Duration::from_millis(attempt.limits.grace_ms);
    let report = attempt.report.clone();
    let mut meter = Meter::start(stop, attempt.limits.timeout()).with_grace(report, grace);
    let mut usage = Usage::default();
    let (ending, refused, starved, output_type) = match armed(code, attempt, &output, line) {
        Ok(mut store) => {
            let (output, meter) = (&output, &mut meter);
            let ending = code.run(Call { attempt, output, store: &mut store, meter }).await;
            let ending = or_announced(ending, store.data_mut(), output);
            let output_type = store.data_mut().line.take_output_type();
            let budget = &store.data().budget;
            usage.fuel = used_fuel(&store, &attempt.limits);
            usage.peak_memory_bytes = budget.peak();
            (ending, budget.refused(), budget.starved(), output_type)
        }
        Err(error) => (Err(Cut::Failed(error)), None, false, None),
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

/// How a guest ended: as it announced, if it failed after that by itself and not at a limit. What it
/// announced says more than its exit code or its trap.
fn or_announced(
    ending: Result<Said, Cut>,
    guest: &mut Guest,
    output: &OutputBuffer,
) -> Result<Said, Cut> {
    match ending {
        Err(Cut::Failed(error)) if ending::is_own(&error) && !output.exceeded() => {
            guest.line.failure().ok_or(Cut::Failed(error))
        }
        ending => ending,
    }
}

/// A `wasmtime::Store` in which a guest can do nothing yet that is not limited.
fn armed(
    code: &Prepared,
    attempt: &Attempt,
    output: &Arc<OutputBuffer>,
    line: Line,
) -> wasmtime::Result<Store<Guest>> {
    let limits = &attempt.limits;
    let outside = attempt.granted.outside.clone();
    let wasi = code.sees(attempt, line.clocks(), output);
    let guest = Guest::new(wasi, limits, line, outside);
    let mut store = Store::new(code.engine(), guest);
    store.limiter(|guest| &mut guest.budget);
    store.set_hostcall_fuel(call_bytes(attempt));
    store.set_max_component_handles(count(limits.resources));
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|store| {
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(store.data().turns().give_way())))
    });
    if let Fuel::Units(units) = limits.fuel {
        store.set_fuel(units)?;
        store.fuel_async_yield_interval(Some(FUEL_INTERVAL))?;
    }
    Ok(store)
}

/// A call whose buffer is as large as the guest's memory is a fair one: programs read into buffers
/// that are larger than what there is to read, and write what is too long to be refused.
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
