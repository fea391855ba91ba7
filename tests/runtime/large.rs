//! WASI calls with large lengths: each is correct, costs fuel, and can be cancelled.

use std::sync::Arc;

use jobwright_core::limits::{Fuel, Limit};
use jobwright_core::outcome::Outcome;
use jobwright_core::runtime::StopReason;
use jobwright_tests::components;
use jobwright_tests::guests::assemble;
use libtest_mimic::Trial;

use super::clocks::unstable;
use super::fixture::{RuntimeFixture, command, exceeded, output, trapped};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        random_bytes_of_any_length_fill_the_buffer,
        random_bytes_of_any_length_are_given_to_a_component,
        random_bytes_cost_fuel,
        making_random_bytes_ends_with_fuel_and_with_time,
        making_random_bytes_is_cancelled_at_once,
        random_bytes_beyond_memory_are_refused,
        one_poll_can_wait_for_a_hundred_thousand_clocks,
        a_write_of_a_million_vectors_writes_the_one_that_is_not_empty,
        a_read_of_a_million_vectors_costs_fuel_and_fills_the_one_that_is_not_empty,
        standard_streams_have_no_positions,
        a_path_that_is_too_long_is_not_resolved,
        a_long_write_is_complete,
        a_payload_is_read_in_pieces_to_its_end,
        a_buffer_as_large_as_the_memory_is_allowed,
    ]
}

/// Fills `length` bytes at 65536, and writes the last eight of them and the following byte, which must be
/// unchanged.
fn random(length: u32) -> String {
    let (end, pages) = (65_536 + length, length.div_ceil(65_536) + 1);
    command(
        "",
        &format!(
            "(drop (memory.grow (i32.const {pages})))
            (i32.store8 (i32.const {end}) (i32.const 7))
            (if (call $random (i32.const 65536) (i32.const {length})) (then unreachable))
            (call $write (i32.const 1) (i32.const {}) (i32.const 9))",
            end - 8
        ),
    )
}

async fn random_bytes_of_any_length_fill_the_buffer() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for length in [0, 8, 65_536, 65_537, (1 << 20) + 1, 5_000_000] {
        for text in [random(length), unstable(&random(length))] {
            let seen = output(&fixture.try_with(&text, |_| {}).await?)?;
            assert_eq!(seen[8], 7, "{length}");
            assert_eq!(seen[..8] == [0; 8], length == 0, "{length}");
        }
    }
    Ok(())
}

/// A component that gets random bytes from `interface`, and prints the last eight of them.
fn asks(interface: &str, length: u32) -> anyhow::Result<Vec<u8>> {
    let function = match interface {
        "random" => "get-random-bytes",
        _ => "get-insecure-random-bytes",
    };
    components::command(
        &format!(
            r#"(import "wasi:random/{interface}@0.2.0" "{function}"
                (func $random (param i64 i32)))"#
        ),
        &format!(
            "(drop (memory.grow (i32.const {})))
            (call $random (i64.const {length}) (i32.const 1024))
            (call $print
                (i32.add (i32.load (i32.const 1024)) (i32.const {}))
                (i32.const 8))",
            length.div_ceil(65_536),
            length - 8
        ),
    )
}

async fn random_bytes_of_any_length_are_given_to_a_component() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for interface in ["random", "insecure"] {
        for length in [8, 65_537, (1 << 20) + 1, 5_000_000] {
            let seen = output(&fixture.try_wasm(asks(interface, length)?, |_| {}).await?)?;
            assert_ne!(seen[..], [0; 8], "{interface} {length}");
        }
    }
    Ok(())
}

async fn random_bytes_cost_fuel() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for of_component in [false, true] {
        let used = async |length| {
            let wasm = match of_component {
                false => assemble(&random(length))?,
                true => asks("random", length)?,
            };
            let ended = fixture.try_wasm(wasm, |_| {}).await?;
            anyhow::Ok(ended.usage.fuel.unwrap_or_default())
        };
        // The same number of pages for both.
        let (few, many) = (used(1_000_000).await?, used(1_040_000).await?);
        assert_eq!(many - few, 40_000);
    }
    Ok(())
}

async fn making_random_bytes_ends_with_fuel_and_with_time() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for wasm in [assemble(&random(50_000_000))?, asks("random", 50_000_000)?] {
        let few = |limits: &mut jobwright_core::Limits| limits.fuel = Fuel::Units(1_000_000);
        exceeded(&fixture.try_wasm(wasm.clone(), few).await?, Limit::Fuel)?;
        let ended = fixture.try_wasm(wasm, |limits| limits.timeout_ms = 20).await?;
        exceeded(&ended, Limit::Time)?;
        assert!(ended.usage.run_ms < 2_000.0, "{:?}", ended.usage);
    }
    Ok(())
}

async fn making_random_bytes_is_cancelled_at_once() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let say = "(call $write (i32.const 2) (i32.const 0) (i32.const 4)) (drop (memory.grow";
    // This takes seconds in one call; each byte costs one unit of fuel.
    let all = 1_000_000_000;
    let text = random(all).replacen("(drop (memory.grow", say, 1);
    let mut attempt = fixture.attempt(&text)?;
    attempt.limits.memory_bytes = 1 << 30;
    attempt.limits.fuel = Fuel::Units(100_000_000_000);
    let stopped = fixture.stop(attempt, StopReason::Cancelled).await;
    assert_eq!(stopped.ended.outcome, Outcome::Cancelled);
    // A process that does not respond at once is killed, and returns no receipt.
    let used = stopped.ended.usage.fuel;
    assert!(used.is_none_or(|used| used < all.into()), "{:?}", stopped.ended.usage);
    Ok(())
}

async fn random_bytes_beyond_memory_are_refused() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let beyond = command("", "(drop (call $random (i32.const 65530) (i32.const 7)))");
    let error = trapped(&fixture.try_with(&beyond, |_| {}).await?)?;
    assert!(error.message.contains("out of bounds"), "{}", error.message);
    let wasm = components::command(
        r#"(import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))"#,
        "(call $random (i64.const 0x10000000000) (i32.const 1024))",
    )?;
    let ended = fixture.try_wasm(wasm, |_| {}).await?;
    let error = exceeded(&ended, Limit::Memory)?;
    assert!(error.message.contains("growth to 1024 GiB was refused"), "{}", error.message);
    Ok(())
}

async fn one_poll_can_wait_for_a_hundred_thousand_clocks() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    // The memory is zero: all are timers of the wall clock that have expired.
    let polls = command(
        "",
        "(drop (memory.grow (i32.const 200)))
        (if (call $poll (i32.const 65536) (i32.const 6000000) (i32.const 100000) (i32.const 128))
            (then unreachable))
        (call $write (i32.const 1) (i32.const 128) (i32.const 4))",
    );
    for text in [polls.clone(), unstable(&polls)] {
        let ended = fixture.try_with(&text, |limits| limits.resources = 10).await?;
        assert_eq!(output(&ended)?[..], 100_000_u32.to_le_bytes());
        assert!(ended.usage.fuel > Some(4_800_000), "{:?}", ended.usage);
    }
    Ok(())
}

async fn a_write_of_a_million_vectors_writes_the_one_that_is_not_empty() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let last = 65_536 + 8 * 999_999;
    let guest = command(
        r#"(data (i32.const 100) "here")"#,
        &format!(
            "(drop (memory.grow (i32.const 200)))
            (i32.store (i32.const {last}) (i32.const 100))
            (i32.store (i32.const {}) (i32.const 4))
            (if (call $fd_write (i32.const 1) (i32.const 65536) (i32.const 1000000)
                (i32.const 8)) (then unreachable))
            (if (i32.ne (i32.load (i32.const 8)) (i32.const 4)) (then unreachable))",
            last + 4
        ),
    );
    assert_eq!(output(&fixture.try_with(&guest, |_| {}).await?)?, "here");
    Ok(())
}

async fn a_read_of_a_million_vectors_costs_fuel_and_fills_the_one_that_is_not_empty()
-> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let last = 65_536 + 8 * 999_999;
    let guest = command(
        "",
        &format!(
            "(drop (memory.grow (i32.const 200)))
            (i32.store (i32.const {last}) (i32.const 100))
            (i32.store (i32.const {}) (i32.const 50))
            (if (call $fd_read (i32.const 0) (i32.const 65536) (i32.const 1000000)
                (i32.const 8)) (then unreachable))
            (call $write (i32.const 1) (i32.const 100) (i32.load (i32.const 8)))",
            last + 4
        ),
    );
    for text in [guest.clone(), unstable(&guest)] {
        let mut attempt = fixture.attempt(&text)?;
        attempt.payload.bytes = "ten words".into();
        let ended = fixture.run(attempt).await;
        assert_eq!(output(&ended)?, "ten words");
        assert!(ended.usage.fuel > Some(7_000_000), "{:?}", ended.usage);
    }
    // A list outside of memory is an error.
    let beyond = "(if (i32.ne (i32.const 21) (call $fd_read (i32.const 0) (i32.const 0)
        (i32.const 1000000) (i32.const 8))) (then unreachable))";
    output(&fixture.try_with(&command("", beyond), |_| {}).await?)?;
    Ok(())
}

async fn standard_streams_have_no_positions() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let import = |name: &str| {
        format!(
            r#"(import "wasi_snapshot_preview1" "{name}"
                (func $call (param i32 i32 i32 i64 i32) (result i32)))"#
        )
    };
    for name in ["fd_pread", "fd_pwrite"] {
        for (descriptor, number) in [(0, 70), (1, 70), (2, 70), (3, 8), (9, 8)] {
            let text = format!(
                r#"(module {} (memory (export "memory") 1) (func (export "_start")
                    (if (i32.ne (i32.const {number}) (call $call (i32.const {descriptor})
                        (i32.const 0) (i32.const 8000) (i64.const 0) (i32.const 8)))
                        (then unreachable))))"#,
                import(name)
            );
            for text in [text.clone(), unstable(&text)] {
                let ended = fixture.try_with(&text, |_| {}).await?;
                output(&ended).map_err(|error| error.context(format!("{name} {descriptor}")))?;
            }
        }
    }
    Ok(())
}

async fn a_path_that_is_too_long_is_not_resolved() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    // A path of slashes, which resolves to `/`.
    for (length, number) in [(4_096, 0), (4_097, 37), (10_000_000, 37)] {
        let text = format!(
            r#"(module
                (import "wasi_snapshot_preview1" "path_open"
                    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
                (memory (export "memory") 200)
                (func (export "_start")
                    (memory.fill (i32.const 1024) (i32.const 47) (i32.const {length}))
                    (if (i32.ne (i32.const {number}) (call $open (i32.const 3) (i32.const 0)
                        (i32.const 1024) (i32.const {length}) (i32.const 0) (i64.const 0)
                        (i64.const 0) (i32.const 0) (i32.const 8)))
                        (then unreachable))))"#
        );
        let ended = fixture.try_with(&text, |_| {}).await?;
        output(&ended).map_err(|error| error.context(length))?;
    }
    Ok(())
}

async fn a_long_write_is_complete() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    // Random bytes, so that the pieces differ.
    let guest = command(
        "",
        "(drop (memory.grow (i32.const 20)))
        (drop (call $random (i32.const 65536) (i32.const 1000000)))
        (call $write (i32.const 1) (i32.const 65536) (i32.const 1000000))
        (if (i32.ne (i32.load (i32.const 8)) (i32.const 1000000)) (then unreachable))",
    );
    let mut attempt = fixture.attempt(&guest)?;
    Arc::make_mut(&mut attempt.job.spec).deterministic = true;
    let whole = output(&fixture.run(attempt.clone()).await)?;
    assert_eq!(whole.len(), 1_000_000);
    let in_two = guest.replace(
        "(call $write (i32.const 1) (i32.const 65536) (i32.const 1000000))",
        "(call $write (i32.const 1) (i32.const 65536) (i32.const 30000))
        (call $write (i32.const 1) (i32.const 95536) (i32.const 970000))
        (i32.store (i32.const 8) (i32.const 1000000))",
    );
    let digest = fixture.plugins.add(assemble(&in_two)?);
    Arc::make_mut(&mut attempt.job.spec).digest = digest;
    assert!(whole == output(&fixture.run(attempt).await)?, "another output");
    Ok(())
}

async fn a_payload_is_read_in_pieces_to_its_end() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    // Copies its input to its output in pieces of half a page.
    let mut attempt = fixture.attempt(&command(
        "",
        "(loop $again
            (i32.store (i32.const 0) (i32.const 1024))
            (i32.store (i32.const 4) (i32.const 32768))
            (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))
            (if (i32.load (i32.const 16)) (then
                (call $write (i32.const 1) (i32.const 1024) (i32.load (i32.const 16)))
                (br $again))))",
    ))?;
    let payload: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    attempt.payload.bytes = payload.clone().into();
    let ended = fixture.run(attempt).await;
    assert_eq!(output(&ended)?, payload);
    assert_eq!((ended.usage.payload_bytes, ended.usage.output_bytes), (200_000, 200_000));
    Ok(())
}

/// Twenty megabytes in one call: more than the payload, the output limit, and the log limit.
async fn a_buffer_as_large_as_the_memory_is_allowed() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let grow = "(drop (memory.grow (i32.const 400)))";
    let vector = "(i32.store (i32.const 0) (i32.const 65536))
        (i32.store (i32.const 4) (i32.const 20000000))";
    let read = "(if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
        (then unreachable))";
    let guest = command("", &format!("{grow} {vector} {read}"));
    let mut attempt = fixture.attempt(&guest)?;
    attempt.payload.bytes = "hello".into();
    output(&fixture.run(attempt).await)?;
    let write = |to: u32| {
        let call = format!("(call $write (i32.const {to}) (i32.const 65536) (i32.const 20000000))");
        command("", &format!("{grow} {call}"))
    };
    exceeded(&fixture.try_with(&write(1), |_| {}).await?, Limit::Output)?;
    let ended = fixture.try_with(&write(2), |_| {}).await?;
    output(&ended)?;
    assert!(ended.usage.log_dropped_bytes > 19_000_000, "{:?}", ended.usage);
    Ok(())
}
