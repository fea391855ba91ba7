//! Log: excess bytes are dropped, and the guest continues.

use super::Bench;
use crate::runtime::fixture::{attempt, output, text};

super::laws![a_short_log_is_kept_whole, a_flood_of_log_does_not_end_the_guest];

async fn a_short_log_is_kept_whole(bench: Bench) -> anyhow::Result<()> {
    let attempt = bench.telling("")?;
    let log = attempt.log.clone();
    let ended = bench.fixture.run(attempt).await;
    output(&ended)?;
    assert_eq!((text(&log), ended.usage.log_dropped_bytes), (bench.line("here"), 0));
    Ok(())
}

async fn a_flood_of_log_does_not_end_the_guest(bench: Bench) -> anyhow::Result<()> {
    let flood = "(local $n i32)
        (call $tell (i32.const 1024) (i32.const 5))
        (loop $again
            (call $tell (i32.const 2048) (i32.const 60000))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 100))))
        (call $tell (i32.const 1029) (i32.const 5))
        (call $put (i32.const 1024) (i32.const 5))";
    let words = r#"(data (i32.const 1024) "firstlast!")"#;
    let attempt = attempt(bench.fixture.plugins.add(bench.guest(words, flood)?))?;
    let log = attempt.log.clone();
    let ended = bench.fixture.run(attempt).await;
    assert_eq!(output(&ended)?.len(), 5);
    let usage = ended.usage;
    assert_eq!(usage.log_bytes, 256 << 10);
    let told = 6_000_010 + 102 * bench.line("").len() as u64;
    assert_eq!(usage.log_bytes + usage.log_dropped_bytes, told);
    let log = text(&log);
    assert!(log.starts_with(&bench.line("first")) && log.ends_with(&bench.line("last!")));
    assert!(log.contains("bytes of log dropped"));
    Ok(())
}
