//! Memory: a guest may grow to its limit. More is refused, and the guest may handle that or end.

use jobwright::runtime::{Allocator, RuntimeConfig};
use jobwright_core::limits::{Fuel, Limit, Limits, show_bytes};

use super::Bench;
use crate::runtime::fixture::{exceeded, output, small, trapped};

super::laws![
    growth_within_the_limit_succeeds_and_the_peak_is_exact,
    a_guest_that_handles_a_refused_growth_succeeds,
    a_guest_that_traps_after_a_refused_growth_reached_its_memory_limit,
    a_huge_step_is_refused,
    memory_at_the_start_counts,
    memory_is_limited_without_fuel_and_without_a_pool,
];

const MIB: u64 = 1 << 20;
const PAGE: u64 = 65_536;

fn memory(bytes: u64) -> impl FnOnce(&mut Limits) {
    move |limits| limits.memory_bytes = bytes
}

/// Grows by `step` pages until that fails, then does `last`.
fn grows(step: u32, last: &str) -> String {
    let grow = format!("(memory.grow (i32.const {step}))");
    format!("(loop $again (br_if $again (i32.ne {grow} (i32.const -1)))) {last}")
}

/// The peak of a guest that does `body`.
async fn peak(bench: &Bench, body: &str) -> anyhow::Result<u64> {
    let ended = bench.run(body, |_| {}).await?;
    output(&ended)?;
    Ok(ended.usage.peak_memory_bytes)
}

async fn growth_within_the_limit_succeeds_and_the_peak_is_exact(
    bench: Bench,
) -> anyhow::Result<()> {
    // Ten pages, each written to.
    let grows = "(local $n i32)
        (loop $again
            (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
            (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4))
                (i32.const 7))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 10))))";
    let grown = peak(&bench, "").await? + 10 * PAGE;
    let ended = bench.run(grows, memory(grown)).await?;
    output(&ended)?;
    assert_eq!(ended.usage.peak_memory_bytes, grown);
    exceeded(&bench.run(grows, memory(grown - 1)).await?, Limit::Memory)?;
    Ok(())
}

async fn a_guest_that_handles_a_refused_growth_succeeds(bench: Bench) -> anyhow::Result<()> {
    let ended = bench.run(&grows(1, ""), memory(2 * MIB)).await?;
    output(&ended)?;
    let peak = ended.usage.peak_memory_bytes;
    assert!((2 * MIB - PAGE + 1..=2 * MIB).contains(&peak), "{peak}");
    Ok(())
}

async fn a_guest_that_traps_after_a_refused_growth_reached_its_memory_limit(
    bench: Bench,
) -> anyhow::Result<()> {
    let ended = bench.run(&grows(1, "unreachable"), memory(2 * MIB)).await?;
    let error = exceeded(&ended, Limit::Memory)?;
    assert_eq!(error.code, "memory");
    assert!(error.message.starts_with("memory limit 2 MiB exceeded"), "{}", error.message);
    assert!(error.backtrace.is_some());
    // Without a refusal it is an ordinary trap.
    let ended = bench.run("unreachable", memory(2 * MIB)).await?;
    assert_eq!(trapped(&ended)?.code, "unreachable");
    Ok(())
}

async fn a_huge_step_is_refused(bench: Bench) -> anyhow::Result<()> {
    let start = peak(&bench, "").await?;
    // The second is more than a memory can be.
    for pages in [32_768, 65_536] {
        let ended = bench.run(&grows(pages, "unreachable"), |_| {}).await?;
        let error = exceeded(&ended, Limit::Memory)?;
        assert!(error.message.starts_with("memory limit 64 MiB exceeded"), "{}", error.message);
        assert_eq!(ended.usage.peak_memory_bytes, start);
    }
    Ok(())
}

async fn memory_at_the_start_counts(bench: Bench) -> anyhow::Result<()> {
    let start = peak(&bench, "").await?;
    output(&bench.run("", memory(start)).await?)?;
    let error = exceeded(&bench.run("", memory(start - 1)).await?, Limit::Memory)?;
    let refused = format!("growth to {} was refused", show_bytes(start));
    assert!(error.message.ends_with(&refused), "{}", error.message);
    Ok(())
}

async fn memory_is_limited_without_fuel_and_without_a_pool(bench: Bench) -> anyhow::Result<()> {
    for allocator in [Allocator::Pooling, Allocator::OnDemand] {
        let bench = Bench::with(bench.abi, RuntimeConfig { allocator, ..small() })?;
        for fuel in [Fuel::Units(1_000_000_000), Fuel::Unlimited] {
            let limit = |limits: &mut Limits| (limits.fuel, limits.memory_bytes) = (fuel, MIB);
            exceeded(&bench.run(&grows(1, "unreachable"), limit).await?, Limit::Memory)?;
            output(&bench.run("", limit).await?)?;
        }
    }
    Ok(())
}
