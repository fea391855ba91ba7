//! Guests that keep values and read their configuration, through each of the interfaces for that.

use std::sync::Arc;

use anyhow::ensure;
use bytes::Bytes;
use jobwright_core::attempt::Attempt;
use jobwright_core::grant::{Capability, Grants};
use jobwright_core::limits::Limit;
use jobwright_core::plugin::Digest;
use jobwright_core::services::{Capabilities, KeyValueReply};
use jobwright_tests::{components, guests, tests};
use libtest_mimic::Trial;

use super::{TestValues, get, granted, set};
use crate::runtime::fixture::{RuntimeFixture, attempt, exceeded, number, output, text};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        components_keep_values_with_either_draft,
        components_list_more_keys_than_a_page_has,
        components_swap_values_that_were_not_changed_meanwhile,
        components_keep_many_values_at_once,
        components_without_a_grant_are_denied_and_continue,
        modules_keep_values_with_plain_functions,
        modules_without_a_grant_are_refused_and_continue,
        the_inspection_lists_the_capabilities_of_a_plugin_with_values,
        concurrent_jobs_lose_no_increment,
        components_read_what_the_operator_configured,
        modules_read_what_the_operator_configured,
        without_a_configuration_the_call_fails_with_a_log_line,
        open_buckets_of_a_guest_are_bounded,
        an_increment_whose_sum_cannot_be_returned_changes_nothing,
        refused_calls_of_components_are_logged,
    ]
}

/// Both drafts of `wasi:keyvalue`.
const DRAFTS: [&str; 2] = ["0.2.0-draft", "0.2.0-draft2"];

/// The common imports, and code that opens a bucket; the last page of memory is for results.
fn imports(draft: &str) -> String {
    let store = format!("wasi:keyvalue/store@{draft}");
    format!(
        r#"(import "{store}" "open" (func $open (param i32 i32 i32)))
        (import "{store}" "[method]bucket.get" (func $get (param i32 i32 i32 i32)))
        (import "{store}" "[method]bucket.set" (func $set (param i32 i32 i32 i32 i32 i32)))
        (import "{store}" "[method]bucket.delete" (func $delete (param i32 i32 i32 i32)))
        (import "{store}" "[method]bucket.exists" (func $exists (param i32 i32 i32 i32)))
        (import "wasi:keyvalue/atomics@{draft}" "increment"
            (func $increment (param i32 i32 i32 i64 i32)))"#
    )
}

/// Keys and values, and a check of results, whose first byte tells whether they are errors.
const REST: &str = r#"
    (data (i32.const 1024) "bknhelloother")
    (global $bucket (mut i32) (i32.const 0))
    (global $handle (mut i32) (i32.const 0))
    (func $well (if (i32.load8_u (i32.const 0)) (then unreachable)))
    (func $must (param i32) (if (i32.eqz (local.get 0)) (then unreachable)))
    (func $opened
        (call $open (i32.const 1024) (i32.const 1) (i32.const 0)) (call $well)
        (global.set $bucket (i32.load (i32.const 4))))
    (func $say (param $key i32)
        (call $get (global.get $bucket) (local.get $key) (i32.const 1) (i32.const 0)) (call $well)
        (call $must (i32.load8_u (i32.const 4)))
        (call $print (i32.load (i32.const 8)) (i32.load (i32.const 12))))
    (func $put (param $key i32) (param $at i32)
        (call $set (global.get $bucket) (local.get $key) (i32.const 1) (local.get $at)
            (i32.const 5) (i32.const 0)) (call $well))
"#;

const K: &str = "(i32.const 1025)";
const N: &str = "(i32.const 1026)";
const HELLO: &str = "(i32.const 1027)";
const OTHER: &str = "(i32.const 1032)";

/// A command with these `imports`, granted the values of the fixture.
fn keeper(
    fixture: &RuntimeFixture,
    test_values: &TestValues,
    imports: &str,
    body: &str,
) -> anyhow::Result<Attempt> {
    let rest = format!("{imports} {REST}");
    let guest = components::keeper(&rest, &format!("(call $opened) {body}"))?;
    let granted = granted(test_values.of("one", 1 << 20)?);
    Ok(Attempt { granted, ..attempt(fixture.plugins.add(guest))? })
}

async fn components_keep_values_with_either_draft() -> anyhow::Result<()> {
    let (fixture, test_values) = (RuntimeFixture::new()?, TestValues::new()?);
    for (draft, sum) in DRAFTS.into_iter().zip([12, 24]) {
        let body = format!(
            "(call $put {K} {HELLO}) (call $say {K})
            (call $increment (global.get $bucket) {N} (i32.const 1) (i64.const 5) (i32.const 0))
            (call $well)
            (call $increment (global.get $bucket) {N} (i32.const 1) (i64.const 7) (i32.const 0))
            (call $well)
            (i64.store (i32.const 600) (i64.load (i32.const 8)))
            (call $print (i32.const 600) (i32.const 8))
            (call $exists (global.get $bucket) {K} (i32.const 1) (i32.const 0)) (call $well)
            (call $must (i32.load8_u (i32.const 4)))
            (call $delete (global.get $bucket) {K} (i32.const 1) (i32.const 0)) (call $well)
            (call $exists (global.get $bucket) {K} (i32.const 1) (i32.const 0)) (call $well)
            (call $must (i32.eqz (i32.load8_u (i32.const 4))))
            (call $get (global.get $bucket) {K} (i32.const 1) (i32.const 0)) (call $well)
            (call $must (i32.eqz (i32.load8_u (i32.const 4))))"
        );
        let ended = fixture.run(keeper(&fixture, &test_values, &imports(draft), &body)?).await;
        let seen = output(&ended)?;
        assert_eq!((&seen[..5], number(&seen, 5)?), (&b"hello"[..], sum), "{draft}");
    }
    Ok(())
}

async fn components_list_more_keys_than_a_page_has() -> anyhow::Result<()> {
    let (fixture, test_values) = (RuntimeFixture::new()?, TestValues::new()?);
    let plugin = test_values.of("one", 1 << 20)?;
    let names: Vec<String> = (0..1500).map(|number| number.to_string()).collect();
    futures_util::future::try_join_all(names.iter().map(|key| plugin.call(set(key, "")))).await?;
    // The call for a page, and the addresses of its length and its cursor.
    for (draft, cursor, asked, length, more, next) in [
        (DRAFTS[0], "i64", "(i64.load (i32.const 608))", 12, 16, "(i64.load (i32.const 24))"),
        (
            DRAFTS[1],
            "i32 i32",
            "(i32.load (i32.const 608)) (i32.load (i32.const 612))",
            8,
            12,
            "(i64.load (i32.const 16))",
        ),
    ] {
        let list = format!(
            r#"(import "wasi:keyvalue/store@{draft}" "[method]bucket.list-keys"
                (func $list (param i32 i32 {cursor} i32)))"#
        );
        let body = format!(
            "(loop $more
                (call $list (global.get $bucket) (i32.load (i32.const 600)) {asked} (i32.const 0))
                (call $well)
                (i64.store (i32.const 616) (i64.add (i64.load (i32.const 616))
                    (i64.extend_i32_u (i32.load (i32.const {length})))))
                (i32.store (i32.const 600) (i32.load8_u (i32.const {more})))
                (i64.store (i32.const 608) {next})
                (br_if $more (i32.load (i32.const 600))))
            (call $print (i32.const 616) (i32.const 8))"
        );
        let imports = format!("{list} {}", imports(draft));
        let ended = fixture.run(keeper(&fixture, &test_values, &imports, &body)?).await;
        assert_eq!(number(&output(&ended)?, 0)?, 1500, "{draft}");
    }
    Ok(())
}

async fn components_swap_values_that_were_not_changed_meanwhile() -> anyhow::Result<()> {
    let (fixture, test_values) = (RuntimeFixture::new()?, TestValues::new()?);
    let atomics = "wasi:keyvalue/atomics@0.2.0-draft2";
    let imports = format!(
        r#"(import "{atomics}" "[static]cas.new" (func $cas (param i32 i32 i32 i32)))
        (import "{atomics}" "[method]cas.current" (func $current (param i32 i32)))
        (import "{atomics}" "swap" (func $swap (param i32 i32 i32 i32))) {}"#,
        imports(DRAFTS[1])
    );
    let body = format!(
        "(call $cas (global.get $bucket) {K} (i32.const 1) (i32.const 0)) (call $well)
        (global.set $handle (i32.load (i32.const 4)))
        (call $put {K} {OTHER})
        (call $swap (global.get $handle) {HELLO} (i32.const 5) (i32.const 0))
        (call $must (i32.load8_u (i32.const 0)))
        (call $must (i32.load8_u (i32.const 4)))
        (global.set $handle (i32.load (i32.const 8)))
        (call $current (global.get $handle) (i32.const 0)) (call $well)
        (call $must (i32.load8_u (i32.const 4)))
        (call $print (i32.load (i32.const 8)) (i32.load (i32.const 12)))
        (call $swap (global.get $handle) {HELLO} (i32.const 5) (i32.const 0)) (call $well)
        (call $say {K})"
    );
    let ended = fixture.run(keeper(&fixture, &test_values, &imports, &body)?).await;
    assert_eq!(output(&ended)?, "otherhello");
    Ok(())
}

async fn components_keep_many_values_at_once() -> anyhow::Result<()> {
    let (fixture, test_values) = (RuntimeFixture::new()?, TestValues::new()?);
    for draft in DRAFTS {
        let batch = format!("wasi:keyvalue/batch@{draft}");
        let imports = format!(
            r#"(import "{batch}" "get-many" (func $get_many (param i32 i32 i32 i32)))
            (import "{batch}" "set-many" (func $set_many (param i32 i32 i32 i32)))
            (import "{batch}" "delete-many" (func $delete_many (param i32 i32 i32 i32))) {}"#,
            imports(draft)
        );
        let pair = |at: u32, key: &str, value: &str| {
            format!(
                "(i32.store (i32.const {at}) {key}) (i32.store (i32.const {}) (i32.const 1))
                (i32.store (i32.const {}) {value}) (i32.store (i32.const {}) (i32.const 5))",
                at + 4,
                at + 8,
                at + 12
            )
        };
        // Three keys, of which the second has no value, at 640.
        let keys = [(640, K), (648, "(i32.const 1024)"), (656, N)].map(|(at, key)| {
            format!(
                "(i32.store (i32.const {at}) {key}) (i32.store (i32.const {}) (i32.const 1))",
                at + 4
            )
        });
        let answer = |at: u32| {
            format!(
                "(call $must (i32.load8_u (i32.add (i32.load (i32.const 4)) (i32.const {at}))))
                (call $print (i32.load offset=12 (i32.add (i32.load (i32.const 4)) (i32.const {at})))
                    (i32.load offset=16 (i32.add (i32.load (i32.const 4)) (i32.const {at}))))"
            )
        };
        let body = format!(
            "{} {} {}
            (call $set_many (global.get $bucket) (i32.const 608) (i32.const 2) (i32.const 0))
            (call $well)
            (call $get_many (global.get $bucket) (i32.const 640) (i32.const 3) (i32.const 16))
            (i64.store (i32.const 0) (i64.load (i32.const 16)))
            (i32.store (i32.const 8) (i32.load (i32.const 24)))
            (call $well)
            (call $must (i32.eq (i32.load (i32.const 8)) (i32.const 3)))
            (call $must (i32.eqz (i32.load8_u offset=20 (i32.load (i32.const 4)))))
            (i64.store (i32.const 700) (i64.load (i32.const 4)))
            {} (i64.store (i32.const 4) (i64.load (i32.const 700))) {}
            (call $delete_many (global.get $bucket) (i32.const 640) (i32.const 3) (i32.const 0))
            (call $well)",
            pair(608, K, HELLO),
            pair(624, N, OTHER),
            keys.concat(),
            answer(0),
            answer(40),
        );
        let ended = fixture.run(keeper(&fixture, &test_values, &imports, &body)?).await;
        assert_eq!(output(&ended)?, "helloother", "{draft}");
        let plugin = test_values.of("one", 1)?;
        for key in ["k", "n"] {
            assert_eq!(plugin.call(get(key)).await?, KeyValueReply::Value(None));
        }
    }
    Ok(())
}

async fn components_without_a_grant_are_denied_and_continue() -> anyhow::Result<()> {
    let (fixture, test_values) = (RuntimeFixture::new()?, TestValues::new()?);
    for draft in DRAFTS {
        let guest = components::keeper(
            &format!("{} {REST}", imports(draft)),
            "(call $open (i32.const 1024) (i32.const 1) (i32.const 0))
            (i64.store (i32.const 600) (i64.load (i32.const 0)))
            (call $print (i32.const 600) (i32.const 8))",
        )?;
        let mut attempt = attempt(fixture.plugins.add(guest))?;
        let access_denied = |seen: Bytes| (seen[0], seen[4]) == (1, 1);
        assert!(
            access_denied(output(&fixture.run(attempt.clone()).await)?),
            "without host services"
        );
        let mut namespace = test_values.of("one", 0)?;
        (namespace.grant, namespace.log) = (None, attempt.log.clone());
        attempt.granted = granted(namespace);
        assert!(access_denied(output(&fixture.run(attempt.clone()).await)?));
        assert!(text(&attempt.log).contains("key-value: denied: "), "{}", text(&attempt.log));
    }
    Ok(())
}

/// A core module that keeps values: it adds to a number, and outputs the sum; it sets a string, and outputs
/// that.
pub(super) const MODULE: &str = r#"(module
  (import "jobwright" "value_get" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "jobwright" "value_set" (func $set (param i32 i32 i32 i32) (result i32)))
  (import "jobwright" "value_delete" (func $delete (param i32 i32) (result i32)))
  (import "jobwright" "value_add" (func $add (param i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 1024) "knhello")
  ;; The answers, then the sum, then the text.
  (func $answered (param $at i32) (param $answer i32)
    (i32.store (local.get $at) (local.get $answer)))
  (func (export "_start")
    (call $answered (i32.const 64) (call $set (i32.const 1024) (i32.const 1) (i32.const 1026) (i32.const 5)))
    (call $answered (i32.const 68) (call $get (i32.const 1024) (i32.const 1) (i32.const 96) (i32.const 3)))
    (call $answered (i32.const 72) (call $delete (i32.const 1024) (i32.const 1)))
    (call $answered (i32.const 76) (call $get (i32.const 1024) (i32.const 1) (i32.const 96) (i32.const 0)))
    (call $answered (i32.const 80) (call $add (i32.const 1025) (i32.const 1) (i64.const 7) (i32.const 88)))
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 40))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// The results of the calls of [`MODULE`].
fn answers(seen: &[u8]) -> Vec<i32> {
    let words = seen[..20].chunks_exact(4);
    words.map(|word| i32::from_le_bytes(word.try_into().unwrap_or_default())).collect()
}

async fn modules_keep_values_with_plain_functions() -> anyhow::Result<()> {
    let (fixture, test_values) = (RuntimeFixture::new()?, TestValues::new()?);
    let mut attempt = fixture.attempt(MODULE)?;
    attempt.granted = granted(test_values.of("one", 10_000)?);
    for sum in [7, 14] {
        let seen = output(&fixture.run(attempt.clone()).await)?;
        assert_eq!(answers(&seen), [0, 5, 0, -1, 0]);
        assert_eq!((number(&seen, 24)?, &seen[32..36]), (sum, &b"hel\0"[..]));
    }
    Ok(())
}

async fn modules_without_a_grant_are_refused_and_continue() -> anyhow::Result<()> {
    let (fixture, test_values) = (RuntimeFixture::new()?, TestValues::new()?);
    let mut attempt = fixture.attempt(MODULE)?;
    assert_eq!(answers(&output(&fixture.run(attempt.clone()).await)?), [-2; 5]);
    let mut full = test_values.of("one", 10)?;
    full.log = attempt.log.clone();
    attempt.granted = granted(full);
    assert_eq!(answers(&output(&fixture.run(attempt.clone()).await)?), [-2, -1, 0, -1, -2]);
    let log = text(&attempt.log);
    assert!(log.contains("WARN: key-value: the values of the plugin would take"), "{log}");
    Ok(())
}

async fn the_inspection_lists_the_capabilities_of_a_plugin_with_values() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let asks = |wasm: &[u8]| anyhow::Ok(fixture.runtime.inspect(wasm)?.grants());
    assert_eq!(asks(&guests::assemble(MODULE)?)?, [Capability::KeyValue]);
    for draft in DRAFTS {
        let guest = components::keeper(
            &format!("{} {REST}", imports(draft)),
            "(call $opened) (call $must (i32.const 1))",
        )?;
        assert_eq!(asks(&guest)?, [Capability::KeyValue], "{draft}");
        fixture.runtime.prepare(&Default::default(), Digest::of(&guest), guest.into()).await?;
    }
    Ok(())
}

async fn concurrent_jobs_lose_no_increment() -> anyhow::Result<()> {
    let (fixture, test_values) = (RuntimeFixture::new()?, TestValues::new()?);
    let mut attempt = fixture.attempt(MODULE)?;
    attempt.granted = granted(test_values.of("one", 10_000)?);
    let runs = (0..40).map(|_| fixture.run(attempt.clone()));
    for ended in futures_util::future::join_all(runs).await {
        output(&ended)?;
    }
    let seen = output(&fixture.run(attempt).await)?;
    assert_eq!(number(&seen, 24)?, 41 * 7);
    Ok(())
}

/// Prints the configured `a` and whether there is a `z`; then the number of values.
fn reads_config(interface: &str) -> anyhow::Result<Vec<u8>> {
    let rest = format!(
        r#"(import "{interface}" "get" (func $config (param i32 i32 i32)))
        (import "{interface}" "get-all" (func $all (param i32)))
        (data (i32.const 1024) "az")
        (func $well (if (i32.load8_u (i32.const 0)) (then unreachable)))"#
    );
    components::keeper(
        &rest,
        "(call $config (i32.const 1024) (i32.const 1) (i32.const 0)) (call $well)
        (i64.store (i32.const 600) (i64.load (i32.const 8)))
        (call $print (i32.load (i32.const 600)) (i32.load (i32.const 604)))
        (call $config (i32.const 1025) (i32.const 1) (i32.const 0)) (call $well)
        (i32.store8 (i32.const 620) (i32.load8_u (i32.const 4)))
        (call $all (i32.const 0)) (call $well)
        (i32.store8 (i32.const 621) (i32.load (i32.const 8)))
        (call $print (i32.const 620) (i32.const 2))",
    )
}

/// The capabilities of an attempt that only reads these configured values and placeholders of secrets.
fn configured(json: &str) -> anyhow::Result<Capabilities> {
    let grants: Grants = serde_json::from_str(json)?;
    Ok(Capabilities { grants: Arc::new(grants), ..Capabilities::default() })
}

async fn components_read_what_the_operator_configured() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for interface in ["wasi:config/store@0.2.0-rc.1", "wasi:config/runtime@0.2.0-draft"] {
        let mut attempt = attempt(fixture.plugins.add(reads_config(interface)?))?;
        attempt.granted =
            configured(r#"{ "config": { "a": "blue", "b": "1" }, "secrets": ["S"] }"#)?;
        assert_eq!(output(&fixture.run(attempt).await)?, "blue\0\x03", "{interface}");
    }
    Ok(())
}

/// Outputs the configured `a`, and the results of the calls for `a` and `z`.
const CONFIGURED: &str = r#"(module
  (import "jobwright" "config_get" (func $config (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 1024) "az")
  (func (export "_start")
    (i32.store (i32.const 64) (call $config (i32.const 1024) (i32.const 1) (i32.const 72) (i32.const 9)))
    (i32.store (i32.const 68) (call $config (i32.const 1025) (i32.const 1) (i32.const 88) (i32.const 9)))
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 20))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

async fn modules_read_what_the_operator_configured() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let mut attempt = fixture.attempt(CONFIGURED)?;
    attempt.granted = configured(r#"{ "config": { "a": "blue" } }"#)?;
    let seen = output(&fixture.run(attempt).await)?;
    assert_eq!((&answers(&seen)[..2], &seen[8..12]), (&[4, -1][..], &b"blue"[..]));
    Ok(())
}

async fn without_a_configuration_the_call_fails_with_a_log_line() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = components::keeper(
        r#"(import "wasi:config/store@0.2.0-rc.1" "get" (func $config (param i32 i32 i32)))"#,
        "(call $config (i32.const 1024) (i32.const 1) (i32.const 0))
        (i64.store (i32.const 600) (i64.load (i32.const 0)))
        (call $print (i32.load (i32.const 8)) (i32.load (i32.const 12)))
        (call $print (i32.const 600) (i32.const 8))",
    )?;
    let attempt = attempt(fixture.plugins.add(guest))?;
    let seen = output(&fixture.run(attempt.clone()).await)?;
    let (said, tags) = seen.split_at(seen.len() - 8);
    let why = "denied: the plugin is granted no configuration";
    assert_eq!((said, tags[0], tags[4]), (why.as_bytes(), 1, 0), "the error `upstream`");
    assert_eq!(text(&attempt.log), format!("WARN: config: {why}\n"));
    let module = fixture.attempt(CONFIGURED)?;
    assert_eq!(answers(&output(&fixture.run(module).await)?)[..2], [-2, -2]);
    Ok(())
}

async fn open_buckets_of_a_guest_are_bounded() -> anyhow::Result<()> {
    let (fixture, test_values) = (RuntimeFixture::new()?, TestValues::new()?);
    let body = "(loop $more (call $opened) (br $more))";
    let mut attempt = keeper(&fixture, &test_values, &imports(DRAFTS[1]), body)?;
    attempt.limits.resources = 100;
    let ended = fixture.run(attempt).await;
    let error = exceeded(&ended, Limit::Resources)?;
    ensure!(error.message.contains("100"), "{error:?}");
    Ok(())
}

/// Outputs the first byte of the result, saved before printing overwrites it.
const SAYS_WHETHER: &str = "(i32.store8 (i32.const 720) (i32.load8_u (i32.const 0)))
    (call $print (i32.const 720) (i32.const 1))";

/// Adds to `n`, and outputs whether that was an error.
fn adds(by: &str) -> String {
    format!(
        "(call $increment (global.get $bucket) {N} (i32.const 1) (i64.const {by}) (i32.const 0))
        {SAYS_WHETHER}"
    )
}

async fn an_increment_whose_sum_cannot_be_returned_changes_nothing() -> anyhow::Result<()> {
    let (fixture, test_values) = (RuntimeFixture::new()?, TestValues::new()?);
    let plugin = test_values.of("one", 10_000)?;
    plugin.call(set("n", "-5")).await?;
    // The numbers of the first draft are unsigned.
    for (draft, by, error, value) in
        [(DRAFTS[0], "1", 1, "-5"), (DRAFTS[1], "1", 0, "-4"), (DRAFTS[0], "6", 0, "2")]
    {
        let ended = fixture.run(keeper(&fixture, &test_values, &imports(draft), &adds(by))?).await;
        assert_eq!(output(&ended)?, [error][..], "{draft} {by}");
        assert_eq!(plugin.call(get("n")).await?, KeyValueReply::Value(Some(value.into())));
    }
    Ok(())
}

async fn refused_calls_of_components_are_logged() -> anyhow::Result<()> {
    let (fixture, test_values) = (RuntimeFixture::new()?, TestValues::new()?);
    test_values.of("one", 10 << 20)?.call(set("k", vec![b'x'; 1 << 20])).await?;
    let batch = r#"(import "wasi:keyvalue/batch@0.2.0-draft" "get-many"
        (func $get_many (param i32 i32 i32 i32)))"#;
    // Seventeen times the same key.
    let get_many = format!(
        "(loop $more
            (i32.store (i32.add (i32.const 640) (i32.load (i32.const 600))) {K})
            (i32.store (i32.add (i32.const 644) (i32.load (i32.const 600))) (i32.const 1))
            (i32.store (i32.const 600) (i32.add (i32.load (i32.const 600)) (i32.const 8)))
            (br_if $more (i32.lt_u (i32.load (i32.const 600)) (i32.const 136))))
        (call $get_many (global.get $bucket) (i32.const 640) (i32.const 17) (i32.const 0))
        {SAYS_WHETHER}"
    );
    let both = format!("{batch} {}", imports(DRAFTS[0]));
    for (body, line) in [
        (get_many, "the values have more than 16777216 bytes: read fewer keys at a time"),
        (
            adds("-1"),
            "18446744073709551615 is out of range: at most 9223372036854775807 can be added at a \
             time",
        ),
    ] {
        let attempt = keeper(&fixture, &test_values, &both, &body)?;
        assert_eq!(output(&fixture.run(attempt.clone()).await)?, [1][..]);
        assert_eq!(text(&attempt.log), format!("WARN: key-value: {line}\n"));
    }
    Ok(())
}
