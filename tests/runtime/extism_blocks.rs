//! Memory blocks of Extism plug-ins: output and error blocks, invalid handles, and invalid pointers.

use jobwright_core::limits::{Limit, Limits};
use jobwright_core::outcome::Outcome;
use libtest_mimic::Trial;

use super::extism::{failed, plugin};
use super::fixture::{RuntimeFixture, exceeded, output, trapped};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        output_and_error_are_read_when_the_call_has_returned,
        an_output_outside_of_memory_is_ignored,
        an_error_outside_of_any_block_has_no_message,
        an_invalid_block_handle_fails_the_call,
        a_request_with_an_invalid_body_handle_is_not_sent,
        invalid_pointers_do_no_harm,
        an_allocation_beyond_the_limit_returns_0,
        blocks_count_as_memory_until_they_are_freed,
    ]
}

/// Plug-ins with a block `$b` of three bytes, and a function `$abc` that fills it.
async fn output_and_error_are_read_when_the_call_has_returned() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let rest = r#"(func $abc (param $b i64)
        (call $store (local.get $b) (i32.const 97))
        (call $store (i64.add (local.get $b) (i64.const 1)) (i32.const 98))
        (call $store (i64.add (local.get $b) (i64.const 2)) (i32.const 99)))"#;
    let plugin = |body: &str| {
        let body = format!("(local $b i64) (local.set $b (call $alloc (i64.const 3))) {body}");
        plugin(rest, &body)
    };
    let set = "(call $output (local.get $b) (i64.const 3))";
    let abc = "(call $abc (local.get $b))";
    let free = "(call $free (local.get $b))";
    let again = "(call $store (call $alloc (i64.const 3)) (i32.const 120))";
    // Extism's own hosts behave the same in each case.
    for body in [
        format!("{set} {abc}"),
        format!("{abc} {set}"),
        format!("{abc} {set} {free}"),
        format!("{abc} {set} {free} {again}"),
        format!("{abc} {free} {set}"),
        format!("(call $output (call $input) (call $input_length)) {set} {abc}"),
    ] {
        let left = output(&fixture.try_with(&plugin(&body), |_| {}).await?)?;
        assert_eq!(left, "abc", "{body}");
    }
    let error = "(call $error (local.get $b))";
    for body in [format!("{error} {abc}"), format!("{abc} {error} {free}")] {
        let (error, _) = failed(&fixture.try_with(&plugin(&body), |_| {}).await?)?;
        assert_eq!(error.message, "abc", "{body}");
    }
    Ok(())
}

/// A plug-in with `$block`, which holds five bytes of text, and then `body`.
fn with_words(body: &str) -> String {
    let block = "(local $block i64) (local.set $block (call $block (i32.const 100) (i32.const 5)))";
    plugin(r#"(data (i32.const 100) "words")"#, &format!("{block} {body}"))
}

/// Addresses outside of memory.
const NOWHERE: [&str; 4] =
    ["(i64.const 0)", "(i64.const -1)", "(i64.const -8)", "(i64.const 100000000)"];

// As Extism's own hosts behave with the kernel that checks bounds (1.41).

async fn an_output_outside_of_memory_is_ignored() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let set = "(call $output (local.get $block) (i64.const 5))";
    let left = async |body: &str| output(&fixture.try_with(&with_words(body), |_| {}).await?);
    for at in NOWHERE {
        for length in [0, 1] {
            let ignored = format!("(call $output {at} (i64.const {length}))");
            assert_eq!(left(&ignored).await?, "", "{ignored}");
            assert_eq!(left(&format!("{set} {ignored}")).await?, "words", "{ignored}");
        }
    }
    for length in ["-1", "100000"] {
        let ignored = format!("(call $output (local.get $block) (i64.const {length}))");
        assert_eq!(left(&format!("{set} {ignored}")).await?, "words", "{ignored}");
    }
    // An empty output at a valid address is accepted.
    let empty = format!("{set} (call $output (local.get $block) (i64.const 0))");
    assert_eq!(left(&empty).await?, "");
    Ok(())
}

async fn an_error_outside_of_any_block_has_no_message() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for at in NOWHERE {
        let ended = fixture.try_with(&with_words(&format!("(call $error {at})")), |_| {}).await?;
        assert_eq!(output(&ended)?, "", "{at} is no error");
    }
    let cleared = "(call $error (local.get $block)) (call $error (i64.const 0))";
    assert_eq!(output(&fixture.try_with(&with_words(cleared), |_| {}).await?)?, "");
    let inside = "(call $error (i64.add (local.get $block) (i64.const 2)))";
    let (error, _) = failed(&fixture.try_with(&with_words(inside), |_| {}).await?)?;
    assert_eq!(error.message, "");
    Ok(())
}

async fn an_invalid_block_handle_fails_the_call() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let calls = [
        "(drop (call $config $p))",
        "(drop (call $var $p))",
        "(call $set_var $p (i64.const 0))",
        "(call $set_var (local.get $block) $p)",
    ];
    let freed = "(call $free (local.get $block))";
    for call in calls {
        let body = call.replace("$p", "(i64.const 0)");
        assert_eq!(output(&fixture.try_with(&with_words(&body), |_| {}).await?)?, "", "{body}");
        for at in ["(i64.const -1)", "(i64.add (local.get $block) (i64.const 2))"] {
            let body = call.replace("$p", at);
            let error = trapped(&fixture.try_with(&with_words(&body), |_| {}).await?)?;
            assert!(error.message.contains("that names no block"), "{}", error.message);
        }
    }
    let body = format!("{freed} {}", calls[0].replace("$p", "(local.get $block)"));
    trapped(&fixture.try_with(&with_words(&body), |_| {}).await?)?;
    let same = "(call $set_var (local.get $block) (local.get $block))
        (call $leave (call $var (call $block (i32.const 100) (i32.const 5))))";
    assert_eq!(output(&fixture.try_with(&with_words(same), |_| {}).await?)?, "words");
    Ok(())
}

async fn a_request_with_an_invalid_body_handle_is_not_sent() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let with_body = |body: &str| {
        let json = r#"(data (i32.const 100) "{\"url\":\"http://127.0.0.1/\"}")"#;
        let calls = format!(
            "(local $request i64) (local $block i64)
            (local.set $request (call $block (i32.const 100) (i32.const 27)))
            (local.set $block (call $block (i32.const 102) (i32.const 3)))
            (drop (call $http (local.get $request) {body}))"
        );
        plugin(json, &calls)
    };
    // With a valid handle the request is checked against the grants.
    for body in ["(i64.const 0)", "(local.get $block)", "(call $input)"] {
        let (error, _) = failed(&fixture.try_with(&with_body(body), |_| {}).await?)?;
        assert_eq!(error.code, "http_request", "{body}");
    }
    // The last handle is that of the request itself, which is freed when it is read.
    for body in
        ["(i64.const -1)", "(i64.add (local.get $block) (i64.const 2))", "(local.get $request)"]
    {
        let error = trapped(&fixture.try_with(&with_body(body), |_| {}).await?)?;
        assert!(error.message.contains("that names no block"), "{body}: {}", error.message);
    }
    Ok(())
}

/// Calls that take any pointer `$p`.
const CALLS: &str = "(call $store $p (i32.const 9))
    (call $store64 $p (i64.const -1))
    (if (i32.wrap_i64 (call $length $p)) (then unreachable))
    (if (call $load $p) (then unreachable))
    (if (i32.wrap_i64 (call $load64 $p)) (then unreachable))
    (drop (call $input_load $p))
    (drop (call $input_load64 $p))
    (call $info $p)
    (call $free $p)";

async fn invalid_pointers_do_no_harm() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let calls = |pointer: &str| CALLS.replace("$p", pointer);
    let block = "(local $block i64)
        (local.set $block (call $block (i32.const 100) (i32.const 5)))";
    // Outside of memory, at its end, behind the last byte of a block, and in the gap before a block.
    for pointer in [
        "(i64.const 0)",
        "(i64.const -1)",
        "(i64.const -8)",
        "(i64.add (local.get $block) (i64.const 5))",
        "(i64.sub (local.get $block) (i64.const 1))",
    ] {
        let body = format!("{block} {}", calls(pointer));
        let ended = fixture.try_with(&plugin("", &body), |_| {}).await?;
        assert_eq!(output(&ended).map_err(|error| error.context(body))?, "");
    }
    let leaves = |from: i32, length: &str| {
        let from = format!("(i64.add (local.get $block) (i64.const {from}))");
        plugin("", &format!("{block} (call $output {from} (i64.const {length}))"))
    };
    // Bytes of an output beyond its block are zeros, as with Extism's own kernel.
    for (from, length, left) in [(0, "6", 6), (1, "5", 5), (4, "9000", 9000)] {
        let zeros = output(&fixture.try_with(&leaves(from, length), |_| {}).await?)?;
        assert_eq!(zeros.as_ref(), &vec![0; left][..]);
    }
    // Bytes between blocks are zeros too.
    for from in [5, -1] {
        assert_eq!(output(&fixture.try_with(&leaves(from, "1"), |_| {}).await?)?, "\0");
    }
    // The output is unchanged if its block is freed.
    let freed = format!(
        "{block} (call $output (local.get $block) (i64.const 5)) (call $free (local.get $block))"
    );
    let kept =
        fixture.try_with(&plugin(r#"(data (i32.const 100) "words")"#, &freed), |_| {}).await?;
    assert_eq!(output(&kept)?, "words");
    // A word that crosses the end of a block is not read or written partly.
    let word = format!(
        "{block} (call $store64 (local.get $block) (i64.const -1))
        (if (i64.ne (call $load64 (local.get $block)) (i64.const 0)) (then unreachable))
        (call $output (i64.add (local.get $block) (i64.const 1)) (i64.const 3))"
    );
    let words = r#"(data (i32.const 100) "words")"#;
    assert_eq!(output(&fixture.try_with(&plugin(words, &word), |_| {}).await?)?, "ord");
    Ok(())
}

const MIB: u64 = 1 << 20;

async fn an_allocation_beyond_the_limit_returns_0() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let limit = |limits: &mut Limits| limits.memory_bytes = 2 * MIB;
    for bytes in ["2097152", "0x7fffffffffffffff", "-1"] {
        let asks = format!(
            "(if (i64.ne (call $alloc (i64.const {bytes})) (i64.const 0)) (then unreachable))"
        );
        // A guest that handles the refusal continues; one that traps has reached its limit.
        let ended = fixture.try_with(&plugin("", &asks), limit).await?;
        output(&ended)?;
        assert!(ended.usage.peak_memory_bytes <= 2 * MIB, "{:?}", ended.usage);
        let ended = fixture.try_with(&plugin("", &format!("{asks} unreachable")), limit).await?;
        let error = exceeded(&ended, Limit::Memory)?;
        assert!(error.message.starts_with("memory limit 2 MiB exceeded"), "{}", error.message);
        // Its return code is the outcome.
        for end in ["(return (i32.const 1))", "(call $exit (i32.const 1))"] {
            let ended = fixture.try_with(&plugin("", &format!("{asks} {end}")), limit).await?;
            assert!(matches!(ended.outcome, Outcome::Failed { .. }), "{:?}", ended.outcome);
        }
    }
    Ok(())
}

async fn blocks_count_as_memory_until_they_are_freed() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let limit = |limits: &mut Limits| limits.memory_bytes = 2 * MIB;
    let takes = |with: &str| {
        plugin(
            "(func $take (result i64)
                (local $block i64)
                (local.set $block (call $alloc (i64.const 1000000)))
                (if (i64.eqz (local.get $block)) (then unreachable))
                (local.get $block))",
            &format!(
                "(local $n i32)
                (loop $again
                    {with}
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (br_if $again (i32.lt_u (local.get $n) (i32.const 100))))"
            ),
        )
    };
    // Blocks freed by the guest, and blocks passed to the host.
    for with in ["(call $free (call $take))", "(call $info (call $take))"] {
        let ended = fixture.try_with(&takes(with), limit).await?;
        output(&ended)?;
        let peak = ended.usage.peak_memory_bytes;
        assert!((1_000_000..2 * MIB).contains(&peak), "{peak}");
    }
    exceeded(&fixture.try_with(&takes("(drop (call $take))"), limit).await?, Limit::Memory)?;
    // The bookkeeping of blocks counts too, so that many small ones are not free.
    let small = plugin(
        "",
        "(loop $again (br_if $again (i64.ne (i64.const 0)
        (call $alloc (i64.const 1))))) unreachable",
    );
    let ended = fixture.try_with(&small, limit).await?;
    exceeded(&ended, Limit::Memory)?;
    assert!(ended.usage.fuel < Some(2_000_000), "{:?}", ended.usage);
    Ok(())
}
