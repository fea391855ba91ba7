//! Output: a guest may output as much as its limit, and ends at the first byte more.

use jobwright_core::limits::{Limit, Limits};

use super::Bench;
use crate::runtime::fixture::{exceeded, output};

super::laws![
    an_output_of_exactly_the_limit_succeeds,
    an_output_beyond_the_limit_ends_the_guest,
    a_flood_of_output_ends_at_once,
];

const MIB: u64 = 1 << 20;

/// Outputs `bytes` bytes in one call.
fn puts(bytes: u64) -> String {
    let pages = bytes.div_ceil(65_536);
    format!("(call $room (i32.const {pages})) (call $put (i32.const 1024) (i32.const {bytes}))")
}

fn limit(limits: &mut Limits) {
    limits.output_bytes = 100_000;
}

async fn an_output_of_exactly_the_limit_succeeds(bench: Bench) -> anyhow::Result<()> {
    let ended = bench.run(&puts(100_000), limit).await?;
    assert_eq!(output(&ended)?.len(), 100_000);
    assert_eq!(ended.usage.output_bytes, 100_000);
    Ok(())
}

async fn an_output_beyond_the_limit_ends_the_guest(bench: Bench) -> anyhow::Result<()> {
    // The last size is more than the host copies in one call.
    for bytes in [100_001, 10 * MIB, 50 * MIB] {
        let ended = bench.run(&puts(bytes), limit).await?;
        let error = exceeded(&ended, Limit::Output)?;
        assert!(error.message.starts_with("output limit 97.6 KiB exceeded"), "{}", error.message);
        let tried = ended.usage.output_bytes;
        assert!((100_001..=bytes).contains(&tried), "{tried}");
    }
    Ok(())
}

async fn a_flood_of_output_ends_at_once(bench: Bench) -> anyhow::Result<()> {
    let flood = "(loop $again (call $put (i32.const 1024) (i32.const 60000)) (br $again))";
    let ended = bench.run(flood, |_| {}).await?;
    exceeded(&ended, Limit::Output)?;
    let tried = ended.usage.output_bytes;
    assert!((MIB + 1..MIB + 60_000).contains(&tried), "{tried}");
    assert!(ended.usage.run_ms < 5_000.0, "{:?}", ended.usage);
    Ok(())
}
