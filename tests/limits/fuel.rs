//! Fuel: it is counted the same at each attempt, and a guest that has used it up ends.

use jobwright_core::limits::{Fuel, Limit};

use super::Bench;
use crate::runtime::fixture::{SPIN, exceeded, output};

super::laws![
    a_guest_within_its_fuel_uses_the_same_each_time,
    a_guest_that_uses_up_its_fuel_ends,
    unlimited_fuel_is_not_counted,
    growing_memory_costs_fuel,
];

/// Runs `what` `times` times.
fn repeat(times: u32, what: &str) -> String {
    format!(
        "(local $n i32)
        (loop $again
            {what}
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const {times}))))"
    )
}

async fn a_guest_within_its_fuel_uses_the_same_each_time(bench: Bench) -> anyhow::Result<()> {
    let counts = (repeat(1_000_000, ""), 5_000_000);
    let calls = (repeat(100_000, "(call $call)"), 500_000);
    for (body, least) in [counts, calls] {
        let run = || bench.run(&body, |limits| limits.fuel = Fuel::Units(20_000_000));
        let (one, two) = (run().await?, run().await?);
        output(&one)?;
        let fuel = one.usage.fuel.unwrap_or_default();
        assert!((least..20_000_000).contains(&fuel), "{fuel}");
        assert_eq!(one.usage.fuel, two.usage.fuel);
    }
    Ok(())
}

async fn a_guest_that_uses_up_its_fuel_ends(bench: Bench) -> anyhow::Result<()> {
    let ended = bench.run(SPIN, |limits| limits.fuel = Fuel::Units(5_000_000)).await?;
    let error = exceeded(&ended, Limit::Fuel)?;
    let (code, message) = (error.code.as_str(), error.message.as_str());
    assert_eq!((code, message), ("fuel", "fuel limit 5000000 exceeded"));
    assert_eq!(ended.usage.fuel, Some(5_000_000));
    assert!(error.backtrace.is_some());
    Ok(())
}

async fn unlimited_fuel_is_not_counted(bench: Bench) -> anyhow::Result<()> {
    for what in ["", "(call $call)"] {
        let body = repeat(100_000, what);
        let ended = bench.run(&body, |limits| limits.fuel = Fuel::Unlimited).await?;
        output(&ended)?;
        assert_eq!(ended.usage.fuel, None);
    }
    Ok(())
}

async fn growing_memory_costs_fuel(bench: Bench) -> anyhow::Result<()> {
    let grow = async |pages: u32| {
        let body = format!("(drop (memory.grow (i32.const {pages})))");
        anyhow::Ok(bench.run(&body, |_| {}).await?.usage.fuel.unwrap_or_default())
    };
    assert_eq!(grow(101).await? - grow(1).await?, 100 * 255);
    Ok(())
}
