//! Time: a guest ends at its limit wherever it spins, and while it sleeps in a host call.

use jobwright_core::limits::{Fuel, Limit};
use jobwright_core::outcome::Usage;

use super::Bench;
use crate::runtime::fixture::{SPIN, exceeded};

super::laws![
    a_guest_that_spins_ends_at_its_time_limit,
    a_guest_that_spins_in_its_start_function_ends_at_its_time_limit,
    a_guest_that_spins_in_another_function_ends_at_its_time_limit,
    a_guest_that_sleeps_ends_at_its_time_limit,
];

/// Long enough that a guest on a busy machine runs for a millisecond of it, after which its fuel is
/// saved for the first time.
const LIMIT_MS: u64 = 200;

/// Spins without end, with metered and with unlimited fuel.
async fn spins(bench: &Bench, guest: Vec<u8>) -> anyhow::Result<Vec<Usage>> {
    let mut usages = Vec::new();
    for fuel in [Fuel::Units(100_000_000_000), Fuel::Unlimited] {
        let limit = |limits: &mut jobwright_core::Limits| {
            (limits.fuel, limits.timeout_ms) = (fuel, LIMIT_MS);
        };
        let ended = bench.fixture.try_wasm(guest.clone(), limit).await?;
        assert_eq!(exceeded(&ended, Limit::Time)?.message, "time limit 200 ms exceeded");
        let usage = ended.usage;
        let whole = usage.instantiate_ms + usage.run_ms;
        assert!((199.0..2_000.0).contains(&whole), "{usage:?}");
        assert!(usage.cpu_ms > 20.0 && usage.cpu_ms <= whole, "{usage:?}");
        assert_eq!(usage.fuel > Some(1_000_000), fuel != Fuel::Unlimited, "{usage:?}");
        assert_eq!(usage.fuel.is_none(), fuel == Fuel::Unlimited, "{usage:?}");
        usages.push(usage);
    }
    Ok(usages)
}

async fn a_guest_that_spins_ends_at_its_time_limit(bench: Bench) -> anyhow::Result<()> {
    let usages = spins(&bench, bench.guest("", SPIN)?).await?;
    assert!(usages.iter().all(|usage| usage.run_ms > usage.instantiate_ms), "{usages:?}");
    Ok(())
}

async fn a_guest_that_spins_in_its_start_function_ends_at_its_time_limit(
    bench: Bench,
) -> anyhow::Result<()> {
    let start = format!("(func $spin {SPIN}) (start $spin)");
    for usage in spins(&bench, bench.guest(&start, "")?).await? {
        assert!(usage.instantiate_ms >= 199.0 && usage.run_ms == 0.0, "{usage:?}");
    }
    Ok(())
}

async fn a_guest_that_spins_in_another_function_ends_at_its_time_limit(
    bench: Bench,
) -> anyhow::Result<()> {
    for guest in (bench.abi.spinning_elsewhere)()? {
        spins(&bench, guest).await?;
    }
    Ok(())
}

async fn a_guest_that_sleeps_ends_at_its_time_limit(bench: Bench) -> anyhow::Result<()> {
    let ended = bench.run("(call $doze)", |limits| limits.timeout_ms = 400).await?;
    exceeded(&ended, Limit::Time)?;
    let usage = ended.usage;
    let whole = usage.instantiate_ms + usage.run_ms;
    assert!((399.0..3_000.0).contains(&whole), "{usage:?}");
    assert!(usage.cpu_ms < 200.0, "sleeping costs no processor: {usage:?}");
    Ok(())
}
