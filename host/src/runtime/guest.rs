//! The state of a guest in its `wasmtime::Store`.

use std::sync::Arc;

use jobwright_core::limits::Limits;
use jobwright_core::services::{Capabilities, HostServices};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::random::WasiRandomCtx;
use wasmtime_wasi::{WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::abi::extism::state::Kernel;
use super::abi::http::header_size::context;
use super::abi::http::outgoing::Requests;
use super::capability::channel::GuestChannel;
use super::capability::imports::last_response::LastResponse;
use super::clocks::Clocks;
use super::limiter::Budget;
use super::yield_state::YieldState;

/// The state of a guest in its `wasmtime::Store`, for the host functions of every kind of plugin.
pub(super) struct Guest {
    /// The state of both previews: wasmtime implements preview 1 with that of 0.2.
    wasi: WasiP1Ctx,
    http: WasiHttpCtx,
    requests: Requests,
    budget: Budget,
    channel: GuestChannel,
    extism: Kernel,
    last_response: LastResponse,
    services: Arc<dyn HostServices>,
    yield_state: YieldState,
}

impl Guest {
    pub(super) fn new(
        mut wasi: WasiP1Ctx,
        limits: &Limits,
        channel: GuestChannel,
        services: Arc<dyn HostServices>,
    ) -> Self {
        wasi.ctx().table.set_max_capacity(usize::try_from(limits.resources).unwrap_or(usize::MAX));
        let (http, budget, extism) = (context(), Budget::new(limits), Kernel::default());
        let requests = Requests::new(services.clone(), channel.log_buffer());
        let (last_response, yield_state) = (LastResponse::default(), YieldState::default());
        Self { wasi, http, requests, budget, channel, extism, last_response, services, yield_state }
    }

    /// A guest that never runs.
    pub(super) fn idle() -> Self {
        let wasi = WasiCtxBuilder::new().build_p1();
        Self::new(wasi, &Limits::DEFAULT, GuestChannel::idle(), Capabilities::default().services)
    }

    pub(super) fn channel(&self) -> &GuestChannel {
        &self.channel
    }

    pub(super) fn channel_mut(&mut self) -> &mut GuestChannel {
        &mut self.channel
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    pub(super) fn budget_mut(&mut self) -> &mut Budget {
        &mut self.budget
    }

    /// The state of an Extism plug-in; empty for any other guest.
    pub(super) fn extism(&mut self) -> &mut Kernel {
        &mut self.extism
    }

    /// The last response, which a core module can copy.
    pub(super) fn last_response(&mut self) -> &mut LastResponse {
        &mut self.last_response
    }

    /// The host services that the attempt was granted.
    pub(super) fn services(&self) -> Arc<dyn HostServices> {
        self.services.clone()
    }

    /// Its clocks.
    pub(super) fn clocks(&self) -> &Clocks {
        self.channel.clocks()
    }

    /// The state that shows whether it waits or only yielded.
    pub(super) fn yield_state(&self) -> YieldState {
        self.yield_state.clone()
    }

    pub(super) fn wasi(&mut self) -> &mut WasiP1Ctx {
        &mut self.wasi
    }

    /// Its random numbers.
    pub(super) fn random(&mut self) -> &mut WasiRandomCtx {
        self.wasi.ctx().ctx.random()
    }

    /// The table of the guest's handles.
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
