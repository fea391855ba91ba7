//! Tables: the sum of their elements is limited, and counts as memory.

use jobwright::runtime::{Allocator, RuntimeConfig};
use jobwright_core::limits::{Fuel, Limit, Limits};

use super::Bench;
use crate::runtime::fixture::{exceeded, output, small};

super::laws![
    a_guest_that_handles_refused_elements_succeeds_and_they_count_as_memory,
    a_guest_that_traps_after_a_refused_element_reached_its_tables_limit,
    tables_at_the_start_count,
    tables_that_take_all_memory_are_refused,
    tables_are_limited_without_fuel_and_without_a_pool,
];

/// A table, for [`grows`].
const TABLE: &str = "(table $t 10 funcref)";

/// The bytes of an element.
const ELEMENT: u64 = 8;

/// Grows by one element until that fails, then does `last`.
fn grows(last: &str) -> String {
    let grow = "(table.grow $t (ref.null func) (i32.const 1))";
    format!("(loop $again (br_if $again (i32.ne {grow} (i32.const -1)))) {last}")
}

fn tables(elements: u64) -> impl FnOnce(&mut Limits) {
    move |limits| limits.tables = elements
}

async fn a_guest_that_handles_refused_elements_succeeds_and_they_count_as_memory(
    bench: Bench,
) -> anyhow::Result<()> {
    let peak = async |elements| {
        let ended = bench.run_with(TABLE, &grows(""), tables(elements)).await?;
        output(&ended)?;
        anyhow::Ok(ended.usage.peak_memory_bytes)
    };
    assert_eq!(peak(200).await? - peak(100).await?, 100 * ELEMENT);
    Ok(())
}

async fn a_guest_that_traps_after_a_refused_element_reached_its_tables_limit(
    bench: Bench,
) -> anyhow::Result<()> {
    let ended = bench.run_with(TABLE, &grows("unreachable"), tables(100)).await?;
    let message = exceeded(&ended, Limit::Tables)?.message;
    assert_eq!(message, "tables limit 100 elements exceeded: growth to 101 elements was refused");
    Ok(())
}

async fn tables_at_the_start_count(bench: Bench) -> anyhow::Result<()> {
    let two = "(table 60 funcref) (table 60 funcref)";
    output(&bench.run_with(two, "", tables(120 + bench.abi.other_elements)).await?)?;
    exceeded(&bench.run_with(two, "", tables(119)).await?, Limit::Tables)?;
    Ok(())
}

async fn tables_that_take_all_memory_are_refused(bench: Bench) -> anyhow::Result<()> {
    let ended = bench.run_with(TABLE, "", |_| {}).await?;
    let most = ended.usage.peak_memory_bytes + 1_000;
    let grow = |elements: u32| {
        let grow = format!("(table.grow $t (ref.null func) (i32.const {elements}))");
        format!("(if (i32.eq {grow} (i32.const -1)) (then unreachable))")
    };
    let memory = |limits: &mut Limits| limits.memory_bytes = most;
    output(&bench.run_with(TABLE, &grow(100), memory).await?)?;
    exceeded(&bench.run_with(TABLE, &grow(90_000), memory).await?, Limit::Memory)?;
    Ok(())
}

async fn tables_are_limited_without_fuel_and_without_a_pool(bench: Bench) -> anyhow::Result<()> {
    for allocator in [Allocator::Pooling, Allocator::OnDemand] {
        let bench = Bench::with(bench.abi, RuntimeConfig { allocator, ..small() })?;
        for fuel in [Fuel::Units(1_000_000_000), Fuel::Unlimited] {
            let limit = |limits: &mut Limits| (limits.fuel, limits.tables) = (fuel, 100);
            let ended = bench.run_with(TABLE, &grows("unreachable"), limit).await?;
            exceeded(&ended, Limit::Tables)?;
            output(&bench.run_with(TABLE, &grows(""), limit).await?)?;
        }
    }
    Ok(())
}
