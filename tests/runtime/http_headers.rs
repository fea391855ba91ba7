//! The size limit of headers that HTTP components create.

use jobwright_core::limits::Limit;
use jobwright_tests::components::handler;
use libtest_mimic::Trial;

use super::fixture::{RuntimeFixture, attempt, exceeded, output, text};
use super::http::begins;

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        headers_of_64_kib_are_accepted_and_more_is_an_error_for_the_guest,
        endless_headers_are_refused_and_take_no_memory,
        long_header_lists_of_a_guest_are_bounded,
        changed_clones_of_a_long_header_list_count_too,
        replaced_headers_do_not_count,
    ]
}

/// Responds with `count` headers of 100 bytes each, and with the body `told` if one was refused.
fn answers_with_headers(count: u32) -> anyhow::Result<Vec<u8>> {
    let value = "x".repeat(93);
    handler(
        &format!(r#"(data (i32.const 1024) "x-a{value}") (data (i32.const 1200) "told")"#),
        &format!(
            "(local $fields i32) (local $n i32) (local $told i32)
            (local.set $fields (call $fields))
            (loop $more
                (call $append (local.get $fields) (i32.const 1024) (i32.const 3)
                    (i32.const 1027) (i32.const 93) (i32.const 64))
                (if (i32.load8_u (i32.const 64)) (then (local.set $told (i32.const 4))))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $more (i32.lt_u (local.get $n) (i32.const {count}))))
            {} (drop (call $body (i32.const 1200) (local.get $told))) (call $finish)",
            begins(200, "(local.get $fields)")
        ),
    )
}

async fn headers_of_64_kib_are_accepted_and_more_is_an_error_for_the_guest() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    // 65,500 bytes of 65,536, and one header more.
    for (count, told) in [(655, ""), (656, "told"), (5000, "told")] {
        let attempt = attempt(fixture.plugins.add(answers_with_headers(count)?))?;
        let log = attempt.log.clone();
        assert_eq!(output(&fixture.run(attempt).await)?, told, "{count}");
        let line = "WARN: jobwright: refused a header: its headers have 65600 bytes, more than \
                    the maximum of 65536 bytes";
        assert_eq!(text(&log).contains(line), !told.is_empty(), "{}", text(&log));
    }
    Ok(())
}

async fn endless_headers_are_refused_and_take_no_memory() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = handler(
        "",
        "(local $fields i32)
        (local.set $fields (call $fields))
        (loop $again
            (call $append (local.get $fields) (i32.const 112) (i32.const 12)
                (i32.const 112) (i32.const 20) (i32.const 64))
            (br $again))",
    )?;
    let ended = fixture.try_wasm(guest, |limits| limits.timeout_ms = 300).await?;
    exceeded(&ended, Limit::Time)?;
    Ok(())
}

async fn long_header_lists_of_a_guest_are_bounded() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    // Lists of 180 headers each, which are long, until one is refused; outputs how many were accepted.
    let guest = handler(
        "",
        &format!(
            "(local $fields i32) (local $n i32) (local $lists i32)
            (block $refused (loop $list
                (local.set $fields (call $fields))
                (local.set $n (i32.const 0))
                (loop $more
                    (call $append (local.get $fields) (i32.const 112) (i32.const 12)
                        (i32.const 112) (i32.const 20) (i32.const 64))
                    (br_if $refused (i32.load8_u (i32.const 64)))
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (br_if $more (i32.lt_u (local.get $n) (i32.const 180))))
                (local.set $lists (i32.add (local.get $lists) (i32.const 1)))
                (br_if $list (i32.lt_u (local.get $lists) (i32.const 500)))))
            (i32.store8 (i32.const 600) (local.get $lists))
            {} (drop (call $body (i32.const 600) (i32.const 1))) (call $finish)",
            begins(200, "(call $fields)")
        ),
    )?;
    let lists = output(&fixture.try_wasm(guest, |_| {}).await?)?;
    assert_eq!(lists[..], [64]);
    Ok(())
}

async fn changed_clones_of_a_long_header_list_count_too() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    // 500 clones of a list of 180 headers, in each of which a missing name is deleted; outputs how many
    // deletions were refused: all, with 500 clones.
    let guest = handler(
        "",
        &format!(
            "(local $fields i32) (local $n i32) (local $first i32) (local $refused i32)
            (local.set $fields (call $fields))
            (loop $more
                (call $append (local.get $fields) (i32.const 112) (i32.const 12)
                    (i32.const 112) (i32.const 20) (i32.const 64))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $more (i32.lt_u (local.get $n) (i32.const 180))))
            (local.set $n (i32.const 0))
            (loop $more
                (i32.store (i32.add (i32.const 1024) (i32.mul (local.get $n) (i32.const 4)))
                    (call $clone (local.get $fields)))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $more (i32.lt_u (local.get $n) (i32.const 500))))
            (loop $more
                (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                (call $delete (i32.load (i32.add (i32.const 1024)
                        (i32.mul (local.get $n) (i32.const 4))))
                    (i32.const 112) (i32.const 7) (i32.const 64))
                (local.set $refused (i32.add (local.get $refused) (i32.load8_u (i32.const 64))))
                (br_if $more (local.get $n)))
            (i32.store (i32.const 600) (local.get $refused))
            {} (drop (call $body (i32.const 600) (i32.const 4))) (call $finish)",
            begins(200, "(call $fields)")
        ),
    )?;
    let attempt = attempt(fixture.plugins.add(guest))?;
    let log = attempt.log.clone();
    let refused = output(&fixture.run(attempt).await)?;
    assert_eq!(refused[..], 500_u32.to_le_bytes());
    assert!(text(&log).contains("the guest holds 64 long lists of headers"), "{log:?}");
    Ok(())
}

async fn replaced_headers_do_not_count() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    // A header of 40 KiB, set twice; then deleted, and set once more.
    let set = "(call $set_values (local.get $fields) (i32.const 1024) (i32.const 3)
        (i32.const 1032) (i32.const 1) (i32.const 64))
        (local.set $told (i32.or (local.get $told) (i32.load8_u (i32.const 64))))";
    let guest = handler(
        r#"(data (i32.const 1024) "x-a")"#,
        &format!(
            "(local $fields i32) (local $told i32)
            (memory.fill (i32.const 2048) (i32.const 97) (i32.const 40960))
            (i32.store (i32.const 1032) (i32.const 2048))
            (i32.store (i32.const 1036) (i32.const 40960))
            (local.set $fields (call $fields))
            {set} {set}
            (call $delete (local.get $fields) (i32.const 1024) (i32.const 3) (i32.const 64))
            (local.set $told (i32.or (local.get $told) (i32.load8_u (i32.const 64))))
            {set}
            (i32.store8 (i32.const 600) (local.get $told))
            {} (drop (call $body (i32.const 600) (i32.const 1))) (call $finish)",
            begins(200, "(call $fields)")
        ),
    )?;
    let told = output(&fixture.try_wasm(guest, |_| {}).await?)?;
    assert_eq!(told[..], [0], "no change was refused");
    Ok(())
}
