//! What the runtime adds to wasmtime: a trivial warm job of each kind of plugin, in a bare loop and
//! through the runtime, in its own process and in others. Both have the same metering, pool, WASI context and pipes.

mod bare;
mod guests;
mod ours;

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group};
use tokio::time::Instant;

use self::bare::Bare;
use self::guests::{Kind, PAYLOAD, wasm};
use self::ours::Ours;

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
    let mut here = tokio::runtime::Builder::new_multi_thread();
    let here = here.worker_threads(1).enable_time().build().expect("a thread");
    let ours = |isolated| here.block_on(Ours::new(wasm.clone(), isolated)).expect("a runtime");
    let (ours, apart) = (Arc::new(ours(false)), Arc::new(ours(true)));
    assert_eq!(here.block_on(bare.run()).expect("it runs"), PAYLOAD);
    assert_eq!(here.block_on(ours.run()), PAYLOAD);
    assert_eq!(here.block_on(apart.run()), PAYLOAD);

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
    group.bench_function("another process, one at a time", |bench| {
        bench.iter(|| here.block_on(apart.run()));
    });
    group.finish();
    println!("{name}, 32 at once: {:.2} times bare", here.block_on(ratio(&bare, &ours)));
    println!("{name}, in another process: {:.0?} more", here.block_on(more(&ours, &apart)));
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

/// The median of many short rounds, one after the other, so that other work on the machine affects
/// both equally.
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

/// How much longer the median job takes in another process, of many run by turns.
async fn more(ours: &Ours, apart: &Ours) -> Duration {
    const ROUNDS: usize = 5_001;
    let (mut here, mut there) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        for (runtime, times) in [(ours, &mut here), (apart, &mut there)] {
            let since = Instant::now();
            black_box(runtime.run().await);
            times.push(since.elapsed());
        }
    }
    here.sort_unstable();
    there.sort_unstable();
    let [here, there] = [here, there].map(|times| times[ROUNDS / 2]);
    println!("the median here {here:.0?}, there {there:.0?}");
    there.saturating_sub(here)
}

criterion_group!(benches, jobs);

fn main() -> ExitCode {
    // Of the processes that attempts run in.
    if let Some(code) = jobwright::runtime::run_child_process_if_requested() {
        return code;
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
    ExitCode::SUCCESS
}
