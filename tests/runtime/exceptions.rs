//! Exceptions of languages whose runtimes print them and trap.

use jobwright_core::limits::Limit;
use jobwright_core::outcome::{Outcome, RetryHint};
use jobwright_tests::components::command;
use libtest_mimic::Trial;

use super::fixture::{RuntimeFixture, exceeded, trapped};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        the_error_of_an_exception_is_its_own_line,
        a_trap_after_other_output_is_a_trap,
        an_exception_for_lack_of_memory_is_a_memory_limit,
        another_exception_after_a_refused_growth_is_a_trap_of_its_own,
    ]
}

const PYTHON: &str = "Traceback (most recent call last):\\n  File \\22/0/app.py\\22, line 23, in run\\n\
    LINE\\n\\nthread '<unnamed>' (1) panicked at runtime/src/lib.rs:1293:29:\\n\
    Python function threw an unexpected exception\\nnote: run with `RUST_BACKTRACE=1`\\n";

const JAVASCRIPT: &str = "LINE\\nStack:\\n  run@source.js:2:30\\n\\n\
    Redirecting call to abort() to mozalloc_abort\\n";

/// A component that runs `first`, prints `words` (escaped as in WebAssembly text), and traps.
fn dies(first: &str, words: &str) -> anyhow::Result<Vec<u8>> {
    let length = words.replace("\\n", "n").replace("\\22", "q").len();
    command(
        &format!("(data (i32.const 2048) \"{words}\")"),
        &format!("{first} (call $log (i32.const 2048) (i32.const {length})) unreachable"),
    )
}

async fn the_error_of_an_exception_is_its_own_line() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for words in [PYTHON, JAVASCRIPT] {
        let wasm = dies("", &words.replace("LINE", "ValueError: bad row"))?;
        match fixture.try_wasm(wasm, |_| {}).await?.outcome {
            Outcome::Failed { error, retry: RetryHint::Backoff } => assert_eq!(
                (error.code.as_str(), error.message.as_str()),
                ("exception", "ValueError: bad row")
            ),
            other => anyhow::bail!("{other:?}"),
        }
    }
    Ok(())
}

async fn a_trap_after_other_output_is_a_trap() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let wasm = dies("", "ValueError: bad row\\n")?;
    assert_eq!(trapped(&fixture.try_wasm(wasm, |_| {}).await?)?.code, "unreachable");
    Ok(())
}

/// Tries to grow memory beyond the limit.
const REFUSED: &str = "(drop (memory.grow (i32.const 2000)))";

async fn an_exception_for_lack_of_memory_is_a_memory_limit() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for words in
        [PYTHON.replace("LINE", "MemoryError"), JAVASCRIPT.replace("LINE", "out of memory")]
    {
        exceeded(&fixture.try_wasm(dies(REFUSED, &words)?, |_| {}).await?, Limit::Memory)?;
    }
    Ok(())
}

async fn another_exception_after_a_refused_growth_is_a_trap_of_its_own() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let wasm = dies(REFUSED, &PYTHON.replace("LINE", "ValueError: bad row"))?;
    let outcome = fixture.try_wasm(wasm, |_| {}).await?.outcome;
    assert_eq!(outcome.error().map(|error| error.message.as_str()), Some("ValueError: bad row"));
    Ok(())
}
