//! HTTP components use the same fuel each time, however often they yield.

use anyhow::ensure;
use jobwright_tests::components::handler;
use libtest_mimic::Trial;

use super::fixture::{RuntimeFixture, attempt, output};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        a_handler_that_writes_a_large_body_uses_the_same_fuel_each_time,
        a_handler_that_copies_a_large_body_uses_the_same_fuel_each_time,
    ]
}

/// The number of attempts. Each yields a few times; if yields used fuel, hardly two attempts would use the
/// same.
const TIMES: usize = 8;

/// Runs the handler with this payload [`TIMES`] times; each output must have `length` bytes.
async fn the_same_fuel(guest: Vec<u8>, payload: Vec<u8>, length: usize) -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let handler = fixture.plugins.add(guest);
    let mut fuel = vec![];
    for _ in 0..TIMES {
        let mut attempt = attempt(handler)?;
        attempt.payload.bytes = payload.clone().into();
        attempt.limits.output_bytes = 16 << 20;
        let ended = fixture.run(attempt).await;
        ensure!(output(&ended)?.len() == length, "{:?}", ended.usage);
        fuel.push(ended.usage.fuel);
    }
    ensure!(fuel.iter().all(|used| used.is_some() && *used == fuel[0]), "{fuel:?}");
    Ok(())
}

async fn a_handler_that_writes_a_large_body_uses_the_same_fuel_each_time() -> anyhow::Result<()> {
    let guest = handler(
        "",
        "(local $left i32)
        (call $answer (local.get $out) (i32.const 200) (call $fields))
        (local.set $left (i32.const 900))
        (loop $more
            (drop (call $body (i32.const 2048) (i32.const 16384)))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br_if $more (local.get $left)))
        (call $finish)",
    )?;
    the_same_fuel(guest, vec![], 900 * 16384).await
}

async fn a_handler_that_copies_a_large_body_uses_the_same_fuel_each_time() -> anyhow::Result<()> {
    // Each piece overwrites the previous one.
    let guest = handler(
        "",
        "(local $in i32)
        (call $answer (local.get $out) (i32.const 200) (call $fields))
        (call $consume (local.get $request) (i32.const 512))
        (call $request_stream (i32.load (i32.const 516)) (i32.const 512))
        (local.set $in (i32.load (i32.const 516)))
        (loop $more
            (global.set $free (i32.const 131072))
            (call $blocking_read (local.get $in) (i64.const 1000) (i32.const 512))
            (if (i32.eqz (i32.load8_u (i32.const 512))) (then
                (drop (call $body (i32.load (i32.const 516)) (i32.load (i32.const 520))))
                (br $more))))
        (call $finish)",
    )?;
    the_same_fuel(guest, vec![7; 900_000], 900_000).await
}
