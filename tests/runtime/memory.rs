//! Guests with several memories and tables, and maxima that they declare.

use jobwright::runtime::{Allocator, RuntimeConfig};
use jobwright_core::limits::{Fuel, Limit, Limits};
use libtest_mimic::Trial;

use super::fixture::{RuntimeFixture, exceeded, output, small, trapped};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        all_memories_count_together,
        a_maximum_that_the_guest_declares_is_its_own_limit,
        all_memories_of_all_instances_count_together,
        tables_of_all_instances_count_together,
        as_many_instances_as_are_allowed_run_without_fuel_and_without_a_pool,
    ]
}

const MIB: u64 = 1 << 20;

fn memory(bytes: u64) -> impl FnOnce(&mut Limits) {
    move |limits| limits.memory_bytes = bytes
}

async fn all_memories_count_together() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = r#"(module (memory 16) (memory $b 8) (memory 4)
        (func (export "_start")
            (if (i32.eq (memory.grow $b (i32.const 4)) (i32.const -1)) (then unreachable))))"#;
    let ended = fixture.try_with(guest, memory(2 * MIB)).await?;
    output(&ended)?;
    assert_eq!(ended.usage.peak_memory_bytes, 2 * MIB);
    let ended = fixture.try_with(guest, memory(2 * MIB - 1)).await?;
    exceeded(&ended, Limit::Memory)?;
    Ok(())
}

async fn a_maximum_that_the_guest_declares_is_its_own_limit() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = r#"(module (memory 1 2) (func (export "_start")
        (if (i32.eq (memory.grow (i32.const 2)) (i32.const -1)) (then unreachable))))"#;
    let ended = fixture.try_with(guest, |_| {}).await?;
    assert_eq!(trapped(&ended)?.code, "unreachable");
    Ok(())
}

/// A command with `count` instances of one module with the definitions `what`; the last one runs
/// `body`.
fn instances(count: usize, what: &str, body: &str) -> String {
    let instances: String =
        (0..count).map(|n| format!("(core instance $i{n} (instantiate $m))")).collect();
    let last = count - 1;
    format!(
        r#"(component
            (core module $m {what} (func (export "run") (result i32) {body} (i32.const 0)))
            {instances}
            (func $run (result (result)) (canon lift (core func $i{last} "run")))
            (instance $exported (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $exported)))"#
    )
}

async fn all_memories_of_all_instances_count_together() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let grow = "(if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))";
    let guest = instances(3, "(memory 16)", grow);
    let ended = fixture.try_with(&guest, |limits| limits.memory_bytes = 3 * MIB + 65_536).await?;
    output(&ended)?;
    assert_eq!(ended.usage.peak_memory_bytes, 3 * MIB + 65_536);
    let ended = fixture.try_with(&guest, |limits| limits.memory_bytes = 3 * MIB).await?;
    exceeded(&ended, Limit::Memory)?;
    let ended = fixture.try_with(&guest, |limits| limits.memory_bytes = 3 * MIB - 1).await?;
    let error = exceeded(&ended, Limit::Memory)?;
    assert!(error.message.contains("growth to 3 MiB was refused"), "{}", error.message);
    Ok(())
}

async fn tables_of_all_instances_count_together() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = instances(4, "(table 100 funcref)", "");
    output(&fixture.try_with(&guest, |limits| limits.tables = 400).await?)?;
    exceeded(&fixture.try_with(&guest, |limits| limits.tables = 399).await?, Limit::Tables)?;
    Ok(())
}

async fn as_many_instances_as_are_allowed_run_without_fuel_and_without_a_pool() -> anyhow::Result<()>
{
    for allocator in [Allocator::Pooling, Allocator::OnDemand] {
        let fixture = RuntimeFixture::with(RuntimeConfig { allocator, ..small() })?;
        for fuel in [Fuel::Units(1_000_000_000), Fuel::Unlimited] {
            let limit = |limits: &mut Limits| (limits.fuel, limits.memory_bytes) = (fuel, MIB);
            output(&fixture.try_with(&instances(200, "", ""), limit).await?)?;
        }
    }
    Ok(())
}
