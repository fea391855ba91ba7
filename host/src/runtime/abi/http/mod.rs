//! HTTP components: the job is a `POST` request whose body is the payload, the answer's body is the
//! output, and what the guest prints is log.
//!
//! Owns the exchange; [`request`] what is asked, [`response`] what an answer means, [`outgoing`] what
//! any guest asks of others. Invariants: the attempt ends when the handler has returned and the body has
//! ended, whichever is later; when the body is taken depends on what the guest does, not on how fast.

pub(in super::super) mod outgoing;
mod request;
mod response;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use ::http::header::CONTENT_LENGTH;
use futures_util::future::{Either, select};
use http_body_util::BodyExt as _;
use tokio::sync::oneshot::Receiver;
use tokio::task::coop::unconstrained;
use wasmtime::component::{Component, Linker, Resource, ResourceTable};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpView as _};

use self::response::Answer;
use super::super::ending::{Cut, Said};
use super::super::instance::Guest;
use super::super::stdio::{OutputBuffer, Sink as _};
use super::super::turns::Turns;
use super::{Call, Misfit, check_type};

/// What a handler exports, in any release of 0.2.
pub(in super::super) const ENTRY_POINT: &str = "wasi:http/incoming-handler";

/// The interfaces that [`link`] offers.
pub(super) const INTERFACES: (&str, &[&str]) = ("wasi:http", &["outgoing-handler", "types"]);

/// All headers of one request or answer: what web servers take. A guest may hold as many of them as
/// it may hold resources.
const FIELDS_BYTES: usize = 16 << 10;

/// Offers `wasi:http` to components.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)
}

/// What a guest's `wasmtime::Store` holds for HTTP.
pub(in super::super) fn context() -> WasiHttpCtx {
    let mut context = WasiHttpCtx::new();
    context.set_field_size_limit(FIELDS_BYTES);
    context
}

/// A handler, linked.
pub(in super::super) struct Handler {
    pub(super) linked: ProxyPre<Guest>,
}

/// What the guest is given: the request, and where to put the answer.
type Given = (Resource<HostIncomingRequest>, Resource<HostResponseOutparam>);

/// Where the answer comes out.
type Answered = Receiver<Result<::http::Response<HyperOutgoingBody>, ErrorCode>>;

impl Handler {
    pub(super) fn new(linker: &Linker<Guest>, component: &Component) -> Result<Self, Misfit> {
        let linked = linker.instantiate_pre(component)?;
        check_type::<Given, ()>(&linked, ENTRY_POINT, "handle")?;
        Ok(Self { linked: ProxyPre::new(linked)? })
    }

    pub(super) async fn run(&self, call: Call<'_>) -> Result<Said, Cut> {
        let Call { attempt, output, store, meter } = call;
        let proxy = meter.instantiate(self.linked.instantiate_async(&mut *store)).await??;
        let (answer, answered) = tokio::sync::oneshot::channel();
        let turns = store.data().turns();
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, request::of(attempt)?)?;
        let (request, out): Given = (request, http.new_response_outparam(answer)?);
        let handling = async {
            let handler = proxy.wasi_http_incoming_handler();
            returned(handler.call_handle(&mut *store, request, out).await)?;
            // The guest is gone: what it still held of its answer ends with its handles.
            *store.data_mut().handles() = ResourceTable::new();
            Ok(())
        };
        let exchange = exchange(handling, receive(answered, output), turns);
        // Tokio's budget, which is used up by chance, must not have it wait either.
        let answer = meter.drive(unconstrained(exchange)).await??;
        Ok(response::said(answer, output))
    }
}

/// Exiting well is returning: whether the guest succeeded is for its answer to say.
fn returned(handled: wasmtime::Result<()>) -> wasmtime::Result<()> {
    match handled {
        Err(error) if matches!(error.downcast_ref(), Some(I32Exit(0))) => Ok(()),
        handled => handled,
    }
}

/// Takes the answer whenever the guest waits. Whichever of the two fails ends both.
///
/// A guest sees how much room is left in its body, and uses fuel to wait for some. So nothing is taken
/// when it only gives way.
async fn exchange(
    handling: impl Future<Output = wasmtime::Result<()>>,
    receiving: impl Future<Output = wasmtime::Result<Answer>>,
    turns: Turns,
) -> wasmtime::Result<Answer> {
    let mut receiving = pin!(receiving);
    let receiving = poll_fn(move |wake| match turns.is_others() {
        true => Poll::Pending,
        false => receiving.as_mut().poll(wake),
    });
    match select(pin!(handling), receiving).await {
        Either::Left((handled, receiving)) => {
            handled?;
            receiving.await
        }
        Either::Right((received, handling)) => {
            let answer = received?;
            handling.await?;
            Ok(answer)
        }
    }
}

/// The answer, once its body has ended; the body goes to `output` as it comes.
async fn receive(answered: Answered, output: &Arc<OutputBuffer>) -> wasmtime::Result<Answer> {
    let response = match answered.await {
        Ok(Ok(response)) => response,
        Ok(Err(code)) => return Ok(Answer::Error(code)),
        Err(_) => return Ok(Answer::Missing),
    };
    let (head, mut body) = response.into_parts();
    while let Some(frame) = body.frame().await {
        match frame {
            // Other frames are trailers.
            Ok(frame) => frame.into_data().map_or(Ok(()), |bytes| output.take(&bytes))?,
            Err(_) => return Ok(Answer::Broken),
        }
    }
    // A guest that leaves without finishing its body has ended it, but not if it had promised more.
    let promised = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    match promised.map(str::parse::<u64>) {
        Some(Ok(promised)) if output.tried() != promised => Ok(Answer::Broken),
        _ => Ok(Answer::Whole(head)),
    }
}
