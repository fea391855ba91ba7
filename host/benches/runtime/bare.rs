//! wasmtime alone, with the same metering, pool, WASI context and pipes as the runtime.

use std::ops::Range;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use wasmtime::{
    Caller, Config, Enabled, Engine, InstanceAllocationStrategy, InstancePre, Linker, Module,
    PoolingAllocationConfig, Store, StoreLimits, StoreLimitsBuilder, UpdateDeadline, component,
};
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};
use wasmtime_wasi::{WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use crate::guests::{Kind, PAYLOAD};

/// A plugin, linked by hand.
pub(crate) enum Bare {
    CommandP1(InstancePre<State>),
    CommandP2(CommandPre<State>),
    Http(ProxyPre<State>),
    Job(typed::JobPre<State>),
    Extism(InstancePre<State>),
}

mod typed {
    wasmtime::component::bindgen!({
        path: "../guest-sdk/wit",
        world: "job",
        exports: { default: async },
    });
}

pub(crate) struct State {
    wasi: WasiP1Ctx,
    http: WasiHttpCtx,
    hooks: Denial,
    limits: StoreLimits,
    blocks: Blocks,
}

/// The least that an Extism plug-in can be called with: the payload, and after it what is allocated.
struct Blocks {
    bytes: Vec<u8>,
    output: Range<usize>,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.ctx()
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let Self { wasi, http, hooks, .. } = self;
        WasiHttpCtxView { ctx: http, table: wasi.ctx().table, hooks }
    }
}

struct Denial;

type Sent<T> = Box<dyn Future<Output = Result<T, Error>> + Send>;

impl WasiHttpHooks for Denial {
    fn send_request(
        &mut self,
        _: Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Sent<()>,
    ) -> Sent<(Response<WasiBody>, Sent<()>)> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}

impl Bare {
    pub(crate) fn new(kind: Kind, wasm: &[u8]) -> wasmtime::Result<Self> {
        let mut pool = PoolingAllocationConfig::new();
        pool.linear_memory_keep_resident(1 << 20)
            .decommit_batch_size(8)
            .pagemap_scan(Enabled::Auto);
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .consume_fuel(true)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config)?;
        if matches!(kind, Kind::CommandP1 | Kind::Extism) {
            let mut linker = Linker::new(&engine);
            p1::add_to_linker_async(&mut linker, |state: &mut State| &mut state.wasi)?;
            link_blocks(&mut linker)?;
            let linked = linker.instantiate_pre(&Module::new(&engine, wasm)?)?;
            let bare = if kind == Kind::Extism { Self::Extism } else { Self::CommandP1 };
            return Ok(bare(linked));
        }
        let mut linker = component::Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        let linked = linker.instantiate_pre(&component::Component::new(&engine, wasm)?)?;
        Ok(match kind {
            Kind::Http => Self::Http(ProxyPre::new(linked)?),
            Kind::Job => Self::Job(typed::JobPre::new(linked)?),
            _ => Self::CommandP2(CommandPre::new(linked)?),
        })
    }

    fn engine(&self) -> &Engine {
        match self {
            Self::CommandP1(linked) | Self::Extism(linked) => linked.module().engine(),
            Self::CommandP2(linked) => linked.engine(),
            Self::Http(linked) => linked.engine(),
            Self::Job(linked) => linked.engine(),
        }
    }

    pub(crate) async fn run(&self) -> wasmtime::Result<Bytes> {
        let output = MemoryOutputPipe::new(1 << 20);
        let mut store = self.store(&output)?;
        match self {
            Self::CommandP1(linked) => {
                let instance = linked.instantiate_async(&mut store).await?;
                let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
                start.call_async(&mut store, ()).await?;
            }
            Self::CommandP2(linked) => {
                let command = linked.instantiate_async(&mut store).await?;
                let ended = command.wasi_cli_run().call_run(&mut store).await?;
                assert_eq!(ended, Ok(()));
            }
            Self::Http(linked) => return answer(linked, store).await,
            Self::Job(linked) => {
                let job = linked.instantiate_async(&mut store).await?;
                let answer = job.jobwright_job_run().call_run(&mut store, &request()).await?;
                return Ok(answer.expect("it succeeds").bytes.into());
            }
            Self::Extism(linked) => {
                let instance = linked.instantiate_async(&mut store).await?;
                let run = instance.get_typed_func::<(), i32>(&mut store, "run")?;
                assert_eq!(run.call_async(&mut store, ()).await?, 0);
                let Blocks { bytes, output } = &store.data().blocks;
                return Ok(Bytes::copy_from_slice(&bytes[output.clone()]));
            }
        }
        drop(store);
        Ok(output.contents())
    }

    fn store(&self, output: &MemoryOutputPipe) -> wasmtime::Result<Store<State>> {
        let wasi = WasiCtxBuilder::new()
            .stdin(MemoryInputPipe::new(PAYLOAD))
            .stdout(output.clone())
            .stderr(MemoryOutputPipe::new(1 << 20))
            .arg("echo")
            .env("JOBWRIGHT_ATTEMPT", "1")
            .build_p1();
        let limits = StoreLimitsBuilder::new().memory_size(64 << 20).build();
        let blocks = Blocks { bytes: PAYLOAD.to_vec(), output: 0..0 };
        let state = State { wasi, http: WasiHttpCtx::new(), hooks: Denial, limits, blocks };
        let mut store = Store::new(self.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_fuel(100_000_000_000)?;
        store.fuel_async_yield_interval(Some(1_000_000))?;
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|_| {
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        Ok(store)
    }
}

fn link_blocks(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    const ENV: &str = "extism:host/env";
    type Called<'a> = Caller<'a, State>;
    linker.func_wrap(ENV, "input_length", |_: Called<'_>| PAYLOAD.len() as u64)?;
    linker.func_wrap(ENV, "alloc", |mut guest: Called<'_>, length: u64| {
        let bytes = &mut guest.data_mut().blocks.bytes;
        let block = bytes.len();
        bytes.resize(block + length as usize, 0);
        block as u64
    })?;
    linker.func_wrap(ENV, "input_load_u8", |guest: Called<'_>, at: u64| {
        i32::from(guest.data().blocks.bytes[at as usize])
    })?;
    linker.func_wrap(ENV, "input_load_u64", |guest: Called<'_>, at: u64| {
        let at = at as usize;
        u64::from_le_bytes(guest.data().blocks.bytes[at..at + 8].try_into().expect("8 bytes"))
    })?;
    linker.func_wrap(ENV, "store_u64", |mut guest: Called<'_>, at: u64, word: u64| {
        let at = at as usize;
        guest.data_mut().blocks.bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    })?;
    linker.func_wrap(ENV, "store_u8", |mut guest: Called<'_>, at: u64, byte: u32| {
        guest.data_mut().blocks.bytes[at as usize] = byte as u8;
    })?;
    linker.func_wrap(ENV, "output_set", |mut guest: Called<'_>, at: u64, length: u64| {
        guest.data_mut().blocks.output = at as usize..(at + length) as usize;
    })?;
    Ok(())
}

/// What a typed job is asked, with as much of it as ours are told.
fn request() -> typed::jobwright::job::types::Request {
    use typed::jobwright::job::types;
    let payload = types::Payload {
        content_type: Some("application/json".to_owned()),
        bytes: PAYLOAD.to_vec(),
    };
    let job = types::Metadata {
        id: "01940000-0000-7000-8000-000000000000".to_owned(),
        attempt: 1,
        max_attempts: 5,
        queue: "default".to_owned(),
        plugin: "echo@1.0.0".to_owned(),
        created_at_ms: 0,
        tags: vec![],
        args: vec![],
        env: vec![],
        failures: 0,
        attempts_left: 4,
    };
    types::Request { payload, job }
}

/// As `wasmtime serve` does it.
async fn answer(linked: &ProxyPre<State>, mut store: Store<State>) -> wasmtime::Result<Bytes> {
    let body = Full::new(Bytes::from_static(PAYLOAD)).map_err(|never| -> Error { match never {} });
    let request = Request::post("http://bench/").header("content-type", "application/json");
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let request =
        store.data_mut().http().new_incoming_request(Scheme::Http, request.body(body)?)?;
    let out = store.data_mut().http().new_response_outparam(sender)?;
    let proxy = linked.instantiate_async(&mut store).await?;
    let handling =
        async { proxy.wasi_http_incoming_handler().call_handle(&mut store, request, out).await };
    let answering = async { receiver.await??.into_body().collect().await.map_err(Into::into) };
    let (handled, answered) = tokio::join!(handling, answering);
    handled?;
    answered.map(|body: http_body_util::Collected<Bytes>| body.to_bytes())
}
