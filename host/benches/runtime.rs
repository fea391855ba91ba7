//! What the runtime adds to wasmtime: a trivial warm job of each kind of plugin, in a bare loop and
//! through `WasmRuntime::run`. Both have the same metering, pool, WASI context and pipes.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use jobwright::runtime::{Allocator, RuntimeConfig, WasmRuntime};
use jobwright_core::clock::Timestamp;
use jobwright_core::job::{Job, JobId, JobSpec, Payload, Priority};
use jobwright_core::outcome::Outcome;
use jobwright_core::plugin::{Digest, Plugin, PluginName, PluginRef, PluginSettings, Version};
use jobwright_core::registry::{NotFound, Published, RegistryError, Resolved, Upload};
use jobwright_core::report::Report;
use jobwright_core::runtime::Stop;
use jobwright_core::{Attempt, Lifecycle, Limits, LogBuffer, PluginRegistry, RetryPolicy, Runtime};
use tokio::time::Instant;
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
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Reads its payload and writes it back.
const ECHO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2)
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 1024))
        (i32.store (i32.const 4) (i32.const 4096))
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
        (i32.store (i32.const 4) (i32.load (i32.const 8)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// The same as a WASI 0.2 command.
const ECHO_P2: &str = r#"(module
    (import "wasi:cli/stdin@0.2.0" "get-stdin" (func $stdin (result i32)))
    (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
    (import "wasi:io/streams@0.2.0" "[method]input-stream.blocking-read"
        (func $read (param i32 i64 i32)))
    (import "wasi:io/streams@0.2.0" "[method]output-stream.write"
        (func $write (param i32 i32 i32 i32)))
    (memory (export "memory") 2)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "wasi:cli/run@0.2.0#run") (result i32)
        (call $read (call $stdin) (i64.const 4096) (i32.const 0))
        (call $write (call $stdout) (i32.load (i32.const 4)) (i32.load (i32.const 8))
            (i32.const 16))
        (i32.const 0)))"#;

/// The same as an HTTP component.
const ECHO_HTTP: &str = r#"(module
    (import "wasi:http/types@0.2.0" "[method]incoming-request.consume"
        (func $consume (param i32 i32)))
    (import "wasi:http/types@0.2.0" "[method]incoming-body.stream" (func $stream (param i32 i32)))
    (import "wasi:io/streams@0.2.0" "[method]input-stream.blocking-read"
        (func $read (param i32 i64 i32)))
    (import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
    (import "wasi:http/types@0.2.0" "[constructor]outgoing-response"
        (func $response (param i32) (result i32)))
    (import "wasi:http/types@0.2.0" "[method]outgoing-response.body" (func $body (param i32 i32)))
    (import "wasi:http/types@0.2.0" "[method]outgoing-body.write" (func $out (param i32 i32)))
    (import "wasi:http/types@0.2.0" "[static]response-outparam.set"
        (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
    (import "wasi:io/streams@0.2.0" "[method]output-stream.write"
        (func $write (param i32 i32 i32 i32)))
    (import "wasi:io/streams@0.2.0" "[resource-drop]output-stream" (func $drop (param i32)))
    (import "wasi:http/types@0.2.0" "[static]outgoing-body.finish"
        (func $finish (param i32 i32 i32 i32)))
    (memory (export "memory") 2)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "wasi:http/incoming-handler@0.2.0#handle") (param $request i32) (param $to i32)
        (local $response i32) (local $body i32) (local $out i32)
        (call $consume (local.get $request) (i32.const 0))
        (call $stream (i32.load (i32.const 4)) (i32.const 0))
        (call $read (i32.load (i32.const 4)) (i64.const 4096) (i32.const 16))
        (local.set $response (call $response (call $fields)))
        (call $body (local.get $response) (i32.const 0))
        (local.set $body (i32.load (i32.const 4)))
        (call $set (local.get $to) (i32.const 0) (local.get $response)
            (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
        (call $out (local.get $body) (i32.const 0))
        (local.set $out (i32.load (i32.const 4)))
        (call $write (local.get $out) (i32.load (i32.const 20)) (i32.load (i32.const 24))
            (i32.const 0))
        (call $drop (local.get $out))
        (call $finish (local.get $body) (i32.const 0) (i32.const 0) (i32.const 64))))"#;

/// The same as a typed job: the request's payload is its answer.
const ECHO_JOB: &str = r#"(module
    (memory (export "memory") 2)
    (global $free (mut i32) (i32.const 1024))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
        (global.set $free (i32.add (local.get $at) (local.get 3)))
        (local.get $at))
    (func (export "jobwright:job/run@0.1.0#run") (param $request i32) (result i32)
        (i32.store (i32.const 20) (i32.load offset=12 (local.get $request)))
        (i32.store (i32.const 24) (i32.load offset=16 (local.get $request)))
        (i32.const 0)))"#;

/// The same as an Extism plug-in, byte by byte, as PDKs do it with what is left of whole words.
const ECHO_EXTISM: &str = r#"(module
    (import "extism:host/env" "input_offset" (func $input (result i64)))
    (import "extism:host/env" "input_length" (func $length (result i64)))
    (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
    (import "extism:host/env" "load_u8" (func $load (param i64) (result i32)))
    (import "extism:host/env" "store_u8" (func $store (param i64 i32)))
    (import "extism:host/env" "output_set" (func $output (param i64 i64)))
    (memory (export "memory") 2)
    (func (export "run") (result i32)
        (local $block i64) (local $n i64)
        (local.set $block (call $alloc (call $length)))
        (loop $more
            (call $store (i64.add (local.get $block) (local.get $n))
                (call $load (i64.add (call $input) (local.get $n))))
            (local.set $n (i64.add (local.get $n) (i64.const 1)))
            (br_if $more (i64.lt_u (local.get $n) (call $length))))
        (call $output (local.get $block) (call $length))
        (i32.const 0)))"#;

const PAYLOAD: &[u8] = br#"{"order":17,"items":["tea","milk"]}"#;

/// Enough for the guests' thread to be busy, few enough for the slots.
const AT_ONCE: u64 = 32;

/// wasmtime alone.
enum Bare {
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

struct State {
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
    fn new(kind: Kind, wasm: &[u8]) -> wasmtime::Result<Self> {
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

    async fn run(&self) -> wasmtime::Result<Bytes> {
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
    linker.func_wrap(ENV, "input_offset", |_: Called<'_>| 0_u64)?;
    linker.func_wrap(ENV, "input_length", |_: Called<'_>| PAYLOAD.len() as u64)?;
    linker.func_wrap(ENV, "alloc", |mut guest: Called<'_>, length: u64| {
        let bytes = &mut guest.data_mut().blocks.bytes;
        let block = bytes.len();
        bytes.resize(block + length as usize, 0);
        block as u64
    })?;
    linker.func_wrap(ENV, "load_u8", |guest: Called<'_>, at: u64| {
        i32::from(guest.data().blocks.bytes[at as usize])
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

/// The runtime, with one thread for guests, as the bare loop has.
struct Ours {
    runtime: WasmRuntime,
    attempt: Attempt,
}

impl Ours {
    fn new(wasm: Vec<u8>) -> anyhow::Result<Self> {
        let digest = Digest::of(&wasm);
        let config = RuntimeConfig {
            guest_threads: 1,
            allocator: Allocator::Pooling,
            ..RuntimeConfig::default()
        };
        let runtime = WasmRuntime::new(config, Arc::new(OnePlugin(wasm.into())))?;
        Ok(Self { runtime, attempt: attempt(digest)? })
    }

    async fn run(&self) -> Bytes {
        let (_stop, signal) = Stop::new();
        match self.runtime.run(self.attempt.clone(), signal).await.outcome {
            Outcome::Succeeded { output } => output.bytes,
            other => panic!("{other:?}"),
        }
    }

    /// Runs `jobs` of them, [`AT_ONCE`] at a time.
    async fn run_many(self: &Arc<Self>, jobs: u64) {
        let stream = |number: u64| {
            let ours = self.clone();
            tokio::spawn(async move {
                for _ in 0..(jobs + number) / AT_ONCE {
                    black_box(ours.run().await);
                }
            })
        };
        let streams: Vec<_> = (0..AT_ONCE).map(stream).collect();
        for stream in streams {
            stream.await.expect("it does not panic");
        }
    }
}

fn attempt(digest: Digest) -> anyhow::Result<Attempt> {
    let created_at = Timestamp::UNIX_EPOCH;
    let spec = JobSpec {
        plugin: "echo".parse()?,
        version: "1.0.0".parse()?,
        digest,
        queue: "default".parse()?,
        priority: Priority::default(),
        max_attempts: 5,
        limits: Limits::DEFAULT,
        retry: RetryPolicy::default(),
        entrypoint: None,
        args: vec![],
        env: BTreeMap::new(),
        tags: vec![],
        deterministic: false,
        output_type: None,
    };
    let lifecycle = Lifecycle { attempt: 1, ..Lifecycle::new(created_at) };
    let id = JobId::new(created_at);
    let job =
        Job { id, spec, created_at, lifecycle, attempts: vec![], output: None, progress: None };
    let payload = Payload {
        content_type: Some("application/json".to_owned()),
        bytes: Bytes::from_static(PAYLOAD),
    };
    let log = Arc::new(LogBuffer::new(Limits::DEFAULT.log_bytes));
    let report = Arc::new(Report::new(None, Limits::DEFAULT.checkpoint_bytes));
    Ok(Attempt { job, limits: Limits::DEFAULT, payload, log, report })
}

/// A kind of plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    CommandP1,
    CommandP2,
    Http,
    Job,
    Extism,
}

/// The echo of this kind.
fn wasm(kind: Kind) -> anyhow::Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let mut wasi = || resolve.push_str("wasi.wit", include_str!("../../tests/wit/wasi.wit"));
    let (package, world, text) = match kind {
        Kind::CommandP1 => return Ok(wat::parse_str(ECHO)?),
        Kind::Extism => return Ok(wat::parse_str(ECHO_EXTISM)?),
        Kind::CommandP2 => (wasi()?, "command", ECHO_P2),
        Kind::Http => (wasi()?, "handler", ECHO_HTTP),
        Kind::Job => (resolve.push_dir("../guest-sdk/wit")?.0, "job", ECHO_JOB),
    };
    let mut module = wat::parse_str(text)?;
    let world = resolve.select_world(&[package], Some(world))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    ComponentEncoder::default().module(&module)?.encode()
}

fn jobs(criterion: &mut Criterion) {
    for (name, kind) in [
        ("echo", Kind::CommandP1),
        ("echo, WASI 0.2", Kind::CommandP2),
        ("echo, HTTP", Kind::Http),
        ("echo, typed job", Kind::Job),
        ("echo, Extism", Kind::Extism),
    ] {
        compare(criterion, name, kind);
    }
}

fn compare(criterion: &mut Criterion, name: &str, kind: Kind) {
    let wasm = wasm(kind).expect("valid text");
    let bare = Arc::new(Bare::new(kind, &wasm).expect("an engine"));
    let ours = Arc::new(Ours::new(wasm).expect("a runtime"));
    let mut here = tokio::runtime::Builder::new_multi_thread();
    let here = here.worker_threads(1).enable_time().build().expect("a thread");
    assert_eq!(here.block_on(bare.run()).expect("it runs"), PAYLOAD);
    assert_eq!(here.block_on(ours.run()), PAYLOAD);

    let mut group = criterion.benchmark_group(name);
    group.bench_function("bare wasmtime", |bench| {
        bench.iter_custom(|times| here.block_on(time_bare(&bare, times)));
    });
    group.bench_function("runtime, 32 at once", |bench| {
        bench.iter_custom(|times| here.block_on(time_many(&ours, times)));
    });
    group.bench_function("runtime, one at a time", |bench| {
        bench.iter(|| here.block_on(ours.run()));
    });
    group.finish();
    println!("{name}, 32 at once: {:.2} times bare", here.block_on(ratio(&bare, &ours)));
}

/// In a task, as the runtime's guests are.
async fn time_bare(bare: &Arc<Bare>, times: u64) -> Duration {
    let bare = bare.clone();
    let timed = tokio::spawn(async move {
        let since = Instant::now();
        for _ in 0..times {
            black_box(bare.run().await.expect("it runs"));
        }
        since.elapsed()
    });
    timed.await.expect("it does not panic")
}

async fn time_many(ours: &Arc<Ours>, times: u64) -> Duration {
    let since = Instant::now();
    ours.run_many(times).await;
    since.elapsed()
}

/// The median of many short rounds, one after the other, so that what else the machine does hits
/// both alike.
async fn ratio(bare: &Arc<Bare>, ours: &Arc<Ours>) -> f64 {
    const ROUNDS: usize = 101;
    let mut ratios = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let (bare, ours) = (time_bare(bare, 1_000).await, time_many(ours, 1_000).await);
        ratios.push(ours.as_secs_f64() / bare.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    ratios[ROUNDS / 2]
}

/// A registry of one plugin.
struct OnePlugin(Bytes);

#[async_trait]
impl PluginRegistry for OnePlugin {
    async fn wasm(&self, _: &Digest) -> Result<Option<Bytes>, RegistryError> {
        Ok(Some(self.0.clone()))
    }

    async fn publish(&self, _: Upload, _: Timestamp) -> Result<Published, RegistryError> {
        Err(RegistryError::Full { held: 1 })
    }

    fn resolve(&self, reference: &PluginRef) -> Result<Resolved, NotFound> {
        Err(NotFound::Plugin(reference.name.clone()))
    }

    fn get(&self, _: &PluginName) -> Option<Plugin> {
        None
    }

    fn list(&self, _: Option<&PluginName>, _: usize) -> Vec<Plugin> {
        vec![]
    }

    async fn configure(
        &self,
        _: &PluginName,
        _: PluginSettings,
    ) -> Result<Option<Plugin>, RegistryError> {
        Ok(None)
    }

    async fn remove(&self, _: &PluginName, _: Option<&Version>) -> Result<bool, RegistryError> {
        Ok(false)
    }
}

criterion_group!(benches, jobs);
criterion_main!(benches);
