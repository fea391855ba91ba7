//! The blocks of Extism plug-ins: what becomes of those that are left, and that no pointer does harm.

use jobwright_core::limits::Limit;
use libtest_mimic::Trial;

use super::extism::{failed, plugin};
use super::fixture::{Lab, exceeded, output, trapped};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        output_and_error_are_read_when_the_call_has_returned,
        no_pointer_does_harm,
    ]
}

/// With `$b`, a block of three bytes, and `$abc`, which writes them.
async fn output_and_error_are_read_when_the_call_has_returned() -> anyhow::Result<()> {
    let lab = Lab::new()?;
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
    // Extism's own hosts answer the same to each.
    for body in [
        format!("{set} {abc}"),
        format!("{abc} {set}"),
        format!("{abc} {set} {free}"),
        format!("{abc} {set} {free} {again}"),
        format!("(call $output (call $input) (call $input_length)) {set} {abc}"),
    ] {
        let left = output(&lab.try_with(&plugin(&body), |_| {}).await?)?;
        assert_eq!(left, "abc", "{body}");
    }
    let error = "(call $error (local.get $b))";
    for body in [format!("{error} {abc}"), format!("{abc} {error} {free}")] {
        let (error, _) = failed(&lab.try_with(&plugin(&body), |_| {}).await?)?;
        assert_eq!(error.message, "abc", "{body}");
    }
    Ok(())
}

/// Everything that takes a pointer, with `$p`.
const CALLS: &str = "(call $store $p (i32.const 9))
    (call $store64 $p (i64.const -1))
    (if (i32.wrap_i64 (call $length $p)) (then unreachable))
    (if (call $load $p) (then unreachable))
    (if (i32.wrap_i64 (call $load64 $p)) (then unreachable))
    (drop (call $input_load $p))
    (drop (call $input_load64 $p))
    (drop (call $config $p))
    (drop (call $var $p))
    (call $set_var $p $p)
    (call $info $p)
    (call $free $p)";

async fn no_pointer_does_harm() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let calls = |pointer: &str| CALLS.replace("$p", pointer);
    let block = "(local $block i64)
        (local.set $block (call $block (i32.const 100) (i32.const 5)))";
    // Nowhere, at the end, beyond a block's last byte, and in the gap before it.
    for pointer in [
        "(i64.const 0)",
        "(i64.const -1)",
        "(i64.const -8)",
        "(i64.add (local.get $block) (i64.const 5))",
        "(i64.sub (local.get $block) (i64.const 1))",
    ] {
        let body = format!("{block} {}", calls(pointer));
        let ended = lab.try_with(&plugin("", &body), |_| {}).await?;
        assert_eq!(output(&ended).map_err(|error| error.context(body))?, "");
    }
    let leaves = |from: i32, length: &str| {
        let from = format!("(i64.add (local.get $block) (i64.const {from}))");
        plugin("", &format!("{block} (call $output {from} (i64.const {length}))"))
    };
    // Beyond its block an output is zeros, as in the memory of Extism's own kernel.
    for (from, length, left) in [(0, "6", 6), (1, "5", 5), (4, "9000", 9000)] {
        let zeros = output(&lab.try_with(&leaves(from, length), |_| {}).await?)?;
        assert_eq!(zeros.as_ref(), &vec![0; left][..]);
    }
    exceeded(&lab.try_with(&leaves(4, "-1"), |_| {}).await?, Limit::Output)?;
    // One that begins in no block is none, and not an empty one either.
    for from in [5, -9] {
        let error = trapped(&lab.try_with(&leaves(from, "1"), |_| {}).await?)?;
        assert!(error.message.contains("that begins in no block"), "{}", error.message);
    }
    // What was output stays so when its block is freed.
    let freed = format!(
        "{block} (call $output (local.get $block) (i64.const 5)) (call $free (local.get $block))"
    );
    let kept = lab.try_with(&plugin(r#"(data (i32.const 100) "words")"#, &freed), |_| {}).await?;
    assert_eq!(output(&kept)?, "words");
    // A word over the end of a block is neither read nor written in part.
    let word = format!(
        "{block} (call $store64 (local.get $block) (i64.const -1))
        (if (i64.ne (call $load64 (local.get $block)) (i64.const 0)) (then unreachable))
        (call $output (i64.add (local.get $block) (i64.const 1)) (i64.const 3))"
    );
    let words = r#"(data (i32.const 100) "words")"#;
    assert_eq!(output(&lab.try_with(&plugin(words, &word), |_| {}).await?)?, "ord");
    Ok(())
}
