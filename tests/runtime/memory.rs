//! Memory and tables: each obeyed and violated, in every way that a guest may take them.

use jobwright_core::limits::{Fuel, Limit, Limits};
use jobwright_core::outcome::Outcome;
use libtest_mimic::Trial;

use super::fixture::{Lab, command, exceeded, output, trapped};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        growth_in_steps_to_the_limit_is_fine_and_its_peak_is_known,
        growth_beyond_the_limit_answers_minus_one,
        a_guest_that_does_not_survive_a_refused_growth_reached_its_memory_limit,
        one_huge_step_is_refused,
        a_step_beyond_what_a_memory_can_be_is_refused,
        memory_at_the_start_counts,
        all_memories_count_together,
        a_maximum_that_the_guest_declares_is_its_own_limit,
        tables_within_the_limit_are_fine,
        tables_beyond_the_limit_are_refused,
        tables_at_the_start_count,
        tables_count_as_memory,
        it_is_the_same_without_fuel_and_without_a_pool,
    ]
}

const MIB: u64 = 1 << 20;

fn memory(bytes: u64) -> impl FnOnce(&mut Limits) {
    move |limits| limits.memory_bytes = bytes
}

/// Grows by `step` pages until that fails, then does `last`.
fn grows(step: u32, last: &str) -> String {
    command(
        "",
        &format!(
            "(loop $again (br_if $again (i32.ne
                (memory.grow (i32.const {step})) (i32.const -1)))) {last}"
        ),
    )
}

async fn growth_in_steps_to_the_limit_is_fine_and_its_peak_is_known() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    // From one page to 16, each written to.
    let guest = command(
        "",
        "(loop $again
            (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
            (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4))
                (i32.const 7))
            (br_if $again (i32.lt_u (memory.size) (i32.const 16))))",
    );
    let ended = lab.try_with(&guest, memory(MIB)).await?;
    output(&ended)?;
    assert_eq!(ended.usage.peak_memory_bytes, MIB);
    Ok(())
}

async fn growth_beyond_the_limit_answers_minus_one() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let ended = lab.try_with(&grows(1, ""), memory(2 * MIB)).await?;
    output(&ended)?;
    assert_eq!(ended.usage.peak_memory_bytes, 2 * MIB);
    Ok(())
}

async fn a_guest_that_does_not_survive_a_refused_growth_reached_its_memory_limit()
-> anyhow::Result<()> {
    let lab = Lab::new()?;
    let ended = lab.try_with(&grows(1, "unreachable"), memory(2 * MIB)).await?;
    let error = exceeded(&ended, Limit::Memory)?;
    assert_eq!(error.code, "memory");
    assert!(error.message.starts_with("memory limit 2 MiB exceeded"), "{}", error.message);
    assert!(error.backtrace.is_some());
    // The same without a refusal is just a trap.
    let ended = lab.try_with(&command("", "unreachable"), memory(2 * MIB)).await?;
    assert_eq!(trapped(&ended)?.code, "unreachable");
    Ok(())
}

async fn one_huge_step_is_refused() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let ended = lab.try_with(&grows(32_768, "unreachable"), |_| {}).await?;
    let error = exceeded(&ended, Limit::Memory)?;
    assert!(error.message.starts_with("memory limit 64 MiB exceeded"), "{}", error.message);
    assert_eq!(ended.usage.peak_memory_bytes, 65_536);
    Ok(())
}

async fn a_step_beyond_what_a_memory_can_be_is_refused() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let ended = lab.try_with(&grows(65_536, "unreachable"), |_| {}).await?;
    exceeded(&ended, Limit::Memory)?;
    Ok(())
}

async fn memory_at_the_start_counts() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let guest = r#"(module (memory 32) (func (export "_start")))"#;
    let ended = lab.try_with(guest, memory(MIB)).await?;
    let error = exceeded(&ended, Limit::Memory)?;
    assert_eq!(error.message, "memory limit 1 MiB exceeded: growth to 2 MiB was refused");
    output(&lab.try_with(guest, memory(2 * MIB)).await?)?;
    Ok(())
}

async fn all_memories_count_together() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let guest = r#"(module (memory 16) (memory $b 8) (memory 4)
        (func (export "_start")
            (if (i32.eq (memory.grow $b (i32.const 4)) (i32.const -1)) (then unreachable))))"#;
    let ended = lab.try_with(guest, memory(2 * MIB)).await?;
    output(&ended)?;
    assert_eq!(ended.usage.peak_memory_bytes, 2 * MIB);
    let ended = lab.try_with(guest, memory(2 * MIB - 1)).await?;
    exceeded(&ended, Limit::Memory)?;
    Ok(())
}

async fn a_maximum_that_the_guest_declares_is_its_own_limit() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let guest = r#"(module (memory 1 2) (func (export "_start")
        (if (i32.eq (memory.grow (i32.const 2)) (i32.const -1)) (then unreachable))))"#;
    let ended = lab.try_with(guest, |_| {}).await?;
    assert_eq!(trapped(&ended)?.code, "unreachable");
    Ok(())
}

/// Grows a table by `elements`; traps if that fails.
fn table(elements: u32) -> String {
    format!(
        r#"(module (table 10 funcref) (func (export "_start")
            (if (i32.eq (table.grow (ref.null func) (i32.const {elements})) (i32.const -1))
                (then unreachable))))"#
    )
}

async fn tables_within_the_limit_are_fine() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let ended = lab.try_with(&table(90), |limits| limits.tables = 100).await?;
    output(&ended)?;
    assert_eq!(ended.usage.peak_memory_bytes, 800);
    Ok(())
}

async fn tables_beyond_the_limit_are_refused() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let ended = lab.try_with(&table(91), |limits| limits.tables = 100).await?;
    let error = exceeded(&ended, Limit::Tables)?;
    assert_eq!(
        error.message,
        "tables limit 100 elements exceeded: growth to 101 elements was refused"
    );
    Ok(())
}

async fn tables_at_the_start_count() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let guest = r#"(module (table 60 funcref) (table 60 funcref) (func (export "_start")))"#;
    exceeded(&lab.try_with(guest, |limits| limits.tables = 100).await?, Limit::Tables)?;
    output(&lab.try_with(guest, |limits| limits.tables = 120).await?)?;
    Ok(())
}

async fn tables_count_as_memory() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let ended = lab.try_with(&table(90_000), memory(1_000)).await?;
    exceeded(&ended, Limit::Memory)?;
    Ok(())
}

async fn it_is_the_same_without_fuel_and_without_a_pool() -> anyhow::Result<()> {
    use jobwright::runtime::Allocator;
    for allocator in [Allocator::Pooling, Allocator::OnDemand] {
        let config = jobwright::runtime::RuntimeConfig { allocator, ..super::fixture::small() };
        let lab = Lab::with(config)?;
        for fuel in [Fuel::Units(1_000_000_000), Fuel::Unlimited] {
            let limit = |limits: &mut Limits| (limits.fuel, limits.memory_bytes) = (fuel, MIB);
            let ended = lab.try_with(&grows(1, "unreachable"), limit).await?;
            exceeded(&ended, Limit::Memory)?;
            let limit = |limits: &mut Limits| (limits.fuel, limits.tables) = (fuel, 100);
            exceeded(&lab.try_with(&table(91), limit).await?, Limit::Tables)?;
            let ended = lab.try_with(&command("", ""), |limits| limits.fuel = fuel).await?;
            assert!(matches!(ended.outcome, Outcome::Succeeded { .. }), "{:?}", ended.outcome);
        }
    }
    Ok(())
}
