//! `wasi:clocks/monotonic-clock`, on the attempt's own clocks: its timers too.

use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::{self, Duration, Host, Instant};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::super::super::clocks::{Due, Timer};
use super::super::super::guest::Guest;

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    monotonic_clock::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)
}

impl Host for Guest {
    fn now(&mut self) -> wasmtime::Result<Instant> {
        Ok(self.clocks().monotonic())
    }

    fn resolution(&mut self) -> wasmtime::Result<Duration> {
        Ok(self.clocks().step())
    }

    fn subscribe_instant(&mut self, when: Instant) -> wasmtime::Result<Resource<DynPollable>> {
        self.subscribe(Due::Monotonic(when))
    }

    fn subscribe_duration(&mut self, span: Duration) -> wasmtime::Result<Resource<DynPollable>> {
        self.subscribe(Due::After(span))
    }
}

impl Guest {
    fn subscribe(&mut self, due: Due) -> wasmtime::Result<Resource<DynPollable>> {
        let timer = self.clocks().timer(due);
        let timer = self.handles().push(timer)?;
        subscribe(self.handles(), timer)
    }
}

#[async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        self.expire().await;
    }
}
