//! What the runtime adds to wasmtime: a trivial warm preview-1 job, in a bare loop and through
//! `WasmRuntime::run`. Both have the same metering, pool, WASI context and pipes.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
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
    Config, Enabled, Engine, InstanceAllocationStrategy, InstancePre, Linker, Module,
    PoolingAllocationConfig, Store, StoreLimits, StoreLimitsBuilder, UpdateDeadline,
};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};

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

const PAYLOAD: &[u8] = br#"{"order":17,"items":["tea","milk"]}"#;

/// Enough for the guests' thread to be busy, few enough for the slots.
const AT_ONCE: u64 = 32;

type State = (WasiP1Ctx, StoreLimits);

/// wasmtime alone.
struct Bare(InstancePre<State>);

impl Bare {
    fn new(wasm: &[u8]) -> wasmtime::Result<Self> {
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
        let mut linker = Linker::new(&engine);
        p1::add_to_linker_async(&mut linker, |state: &mut State| &mut state.0)?;
        Ok(Self(linker.instantiate_pre(&Module::new(&engine, wasm)?)?))
    }

    async fn run(&self) -> wasmtime::Result<Bytes> {
        let output = MemoryOutputPipe::new(1 << 20);
        let wasi = WasiCtxBuilder::new()
            .stdin(MemoryInputPipe::new(PAYLOAD))
            .stdout(output.clone())
            .stderr(MemoryOutputPipe::new(1 << 20))
            .arg("echo")
            .env("JOBWRIGHT_ATTEMPT", "1")
            .build_p1();
        let limits = StoreLimitsBuilder::new().memory_size(64 << 20).build();
        let mut store = Store::new(self.0.module().engine(), (wasi, limits));
        store.limiter(|state| &mut state.1);
        store.set_fuel(100_000_000_000)?;
        store.fuel_async_yield_interval(Some(1_000_000))?;
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|_| {
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        let instance = self.0.instantiate_async(&mut store).await?;
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
        start.call_async(&mut store, ()).await?;
        drop(store);
        Ok(output.contents())
    }
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

fn jobs(criterion: &mut Criterion) {
    let wasm = wat::parse_str(ECHO).expect("valid text");
    let bare = Arc::new(Bare::new(&wasm).expect("an engine"));
    let ours = Arc::new(Ours::new(wasm).expect("a runtime"));
    let mut here = tokio::runtime::Builder::new_multi_thread();
    let here = here.worker_threads(1).enable_time().build().expect("a thread");
    assert_eq!(here.block_on(bare.run()).expect("it runs"), PAYLOAD);
    assert_eq!(here.block_on(ours.run()), PAYLOAD);

    let mut group = criterion.benchmark_group("echo");
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
    println!("runtime, 32 at once: {:.2} times bare", here.block_on(ratio(&bare, &ours)));
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
