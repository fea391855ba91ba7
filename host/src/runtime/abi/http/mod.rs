//! HTTP components: the job is a `POST` request whose body is the payload, the body of the response
//! is the output, and the standard streams of the guest are the log.
//!
//! [`request`] owns the request, [`mod@exchange`] how the response is received, [`response`] what it means,
//! [`outgoing`] the requests of guests, [`fields`] and [`header_size`] how long headers may be.
//! Invariant: the attempt ends when the handler has returned and the body has ended, whichever is later.

mod exchange;
mod fields;
pub(in super::super) mod header_size;
pub(in super::super) mod outgoing;
mod request;
mod response;

use tokio::task::coop::unconstrained;
use wasmtime::component::{Component, Linker, Resource, ResourceTable};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};

use self::exchange::{exchange, receive};
use super::super::ending::{Abort, GuestResult};
use super::super::guest::Guest;
use super::call::Call;
use super::fit::{EntryPoint, Misfit};

/// The interface that a handler exports, in any release of 0.2.
pub(in super::super) const ENTRY_POINT: &str = "wasi:http/incoming-handler";

/// The interfaces that [`link`] adds.
pub(super) const INTERFACES: (&str, &[&str]) = ("wasi:http", &["outgoing-handler", "types"]);

/// Links `wasi:http` for components.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    fields::link(linker)
}

/// A handler, linked.
pub(in super::super) struct Handler {
    pub(super) linked: ProxyPre<Guest>,
}

/// The arguments of the guest's function: the request, and the outparam for the response.
type Given = (Resource<HostIncomingRequest>, Resource<HostResponseOutparam>);

impl Handler {
    pub(super) fn new(linker: &Linker<Guest>, component: &Component) -> Result<Self, Misfit> {
        let linked = linker.instantiate_pre(component)?;
        EntryPoint::latest(ENTRY_POINT, "handle").check::<Given, ()>(&linked)?;
        Ok(Self { linked: ProxyPre::new(linked)? })
    }

    pub(super) async fn run(&self, call: Call<'_>) -> Result<GuestResult, Abort> {
        let Call { attempt, output, store, meter } = call;
        let proxy = meter.instantiate(self.linked.instantiate_async(&mut *store)).await??;
        let (answer, answered) = tokio::sync::oneshot::channel();
        let state = store.data().yield_state();
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, request::of(attempt)?)?;
        let (request, out): Given = (request, http.new_response_outparam(answer)?);
        let handling = async {
            let handler = proxy.wasi_http_incoming_handler();
            returned(handler.call_handle(&mut *store, request, out).await)?;
            // The guest has ended: a part of its response that it still holds is dropped with its
            // handles.
            *store.data_mut().handles() = ResourceTable::new();
            Ok(())
        };
        let exchange = exchange(handling, receive(answered, output), state);
        // Tokio's cooperative budget, which depends on timing, must not make it wait either.
        let answer = meter.drive(unconstrained(exchange)).await??;
        if let Some(content_type) = response::content_type(&answer) {
            store.data_mut().channel_mut().set_output_type(content_type.as_bytes());
        }
        Ok(response::result_of(answer, output))
    }
}

/// Exit code 0 is the same as returning: the response decides whether the guest succeeded.
fn returned(handled: wasmtime::Result<()>) -> wasmtime::Result<()> {
    match handled {
        Err(error) if matches!(error.downcast_ref(), Some(I32Exit(0))) => Ok(()),
        handled => handled,
    }
}
