//! Attacks by output and log: too much of it, or control characters for a terminal.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use jobwright_tests::{guests, jobwright};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case::{Case, End::Fails, End::Limit, only_attempt, used};
use super::fixture::Fixture;
use super::guests::{forever, http, p1, p2, times};

/// The default limit of a log, in bytes.
const LOG_BYTES: f64 = (256 << 10) as f64;

const HUNDRED_MB: u64 = 100_000_000;

pub(super) fn cases() -> Vec<Case> {
    let write = |descriptor: u32, bytes: u32| {
        format!("(call $write (i32.const {descriptor}) (i32.const 1024) (i32.const {bytes}))")
    };
    let line = |piece: &str| times(1_600, piece);
    let memory = json!({ "memory_bytes": 128 << 20 });
    let whole = "(drop (memory.grow (i32.const 1600)))";
    let case = |name: &str, guest| Case::new(format!("output::{name}"), guest);
    vec![
        case("an_output_without_end", p1("", &forever(&write(1, 60_000)))).ends(Limit("output")),
        case("an_output_byte_by_byte", p1("", &forever(&write(1, 1))))
            .under(json!({ "output_bytes": 10_000 }))
            .ends(Limit("output")),
        case("a_components_output_without_end", {
            p2("", &forever("(call $print (i32.const 0) (i32.const 60000))"))
        })
        .ends(Limit("output")),
        case("an_answers_body_without_end", {
            let body = forever("(drop (call $body (i32.const 0) (i32.const 60000)))");
            let begin = "(call $answer (local.get $out) (i32.const 200) (call $fields))";
            http("", &format!("{begin} {body}"))
        })
        .ends(Limit("output")),
        case("an_output_of_10_mb_at_once", {
            p1("", &format!("{whole} {}", write(1, 10_000_000)))
        })
        .under(memory)
        .ends(Limit("output")),
        case("a_log_without_end", p1("", &forever(&write(2, 60_000))))
            .under(json!({ "timeout_ms": 300 }))
            .ends(Limit("time"))
            .and(|attempt| cut(attempt, None)),
        case("a_log_byte_by_byte", p1("", &forever(&write(2, 1))))
            .under(json!({ "timeout_ms": 300, "log_bytes": 1_000 }))
            .ends(Limit("time")),
        case("one_line_of_100_mb", p1("", &line(&write(2, 62_500))))
            .and(|attempt| cut(attempt, Some(HUNDRED_MB))),
        case("a_components_line_of_100_mb", {
            p2("", &line("(call $log (i32.const 1024) (i32.const 62500))"))
        })
        .and(|attempt| cut(attempt, Some(HUNDRED_MB))),
        case("a_handler_that_prints_100_mb", {
            let print = "(call $print (i32.const 1024) (i32.const 62500))";
            let answer = "(call $answer (local.get $out) (i32.const 200) (call $fields))";
            http("", &format!("{} {answer} (call $finish)", line(print)))
        })
        .and(|attempt| cut(attempt, Some(HUNDRED_MB))),
        case("a_last_line_that_acts_on_terminals", Box::new(escapes)).ends(Fails("exit_code")).and(
            |attempt| {
                let message = attempt["error"]["message"].as_str().context("a message")?;
                ensure!(!message.chars().any(char::is_control), "{message:?}");
                ensure!(message.contains("\\u{1b}"), "{message:?}");
                Ok(())
            },
        ),
    ]
}

/// Checks that the log is cut to its limit, and that dropped bytes are counted.
fn cut(attempt: &Value, written: Option<u64>) -> anyhow::Result<()> {
    let (kept, dropped) = (used(attempt, "log_bytes")?, used(attempt, "log_dropped_bytes")?);
    ensure!(kept == LOG_BYTES && dropped > 0.0, "{kept} kept, {dropped} dropped");
    if let Some(written) = written {
        ensure!(kept + dropped == written as f64, "{kept} kept, {dropped} dropped");
    }
    Ok(())
}

/// Clears the screen, sets the title of the window, rings the bell, moves the cursor, and reverses the
/// direction of text.
const ESCAPES: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\rgone\u{8}\u{202e}\u{9b}31m";

/// Logs [`ESCAPES`], then exits with 65.
fn escapes() -> anyhow::Result<Vec<u8>> {
    let bytes: String = ESCAPES.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let length = ESCAPES.len();
    guests::assemble(&crate::runtime::fixture::command(
        &format!(r#"(data (i32.const 1024) "{bytes}")"#),
        &format!(
            "(call $write (i32.const 2) (i32.const 1024) (i32.const {length}))
            (call $exit (i32.const 65))"
        ),
    ))
}

/// The program that runs a command on a terminal.
const TERMINAL: &str = "/usr/bin/script";

pub(super) fn trials(fixture: &Arc<Fixture>) -> Vec<Trial> {
    let terminal = "output::control_characters_do_not_reach_a_terminal";
    let missing = !Path::new(TERMINAL).exists();
    vec![
        fixture
            .trial(terminal, |fixture| async move { reaches_no_terminal(&fixture).await })
            .with_kind(if missing { "no program `script`" } else { "" })
            .with_ignored_flag(missing),
    ]
}

async fn reaches_no_terminal(fixture: &Fixture) -> anyhow::Result<()> {
    let (host, plugin) = (fixture.host().await?, fixture.name());
    host.accepts(&plugin, escapes()?).await?;
    let job = host.run(json!({ "plugin": plugin })).await?;
    Fails("exit_code").is(only_attempt(&job)?)?;
    let id = job["id"].as_str().context("a job has an id")?;
    ensure!(host.log(id).await? == ESCAPES.as_bytes(), "the log over HTTP is unchanged");
    for shows in [format!("job logs {id}"), format!("job show {id}"), "job list".to_owned()] {
        let shown = on_a_terminal(&shows, host.url()).await?;
        ensure!(shown.contains("gone") || shown.contains(&plugin), "{shows}: {shown:?}");
        let acts = |c: char| {
            c == '\u{202e}' || (c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{1b}'))
        };
        ensure!(!shown.contains(acts), "{shows}: {shown:?}");
        // Only the command itself uses colours, never the text of a guest.
        for foreign in ["\u{1b}[2J", "\u{1b}]0", "\rgone"] {
            ensure!(!shown.contains(foreign), "{shows}: {shown:?}");
        }
    }
    Ok(())
}

/// The bytes that `jobwright` with the arguments `line` writes to a terminal.
async fn on_a_terminal(line: &str, host: &str) -> anyhow::Result<String> {
    let program = jobwright([""; 0])?;
    let program = program.as_std();
    let command = format!("{} {line}", program.get_program().to_string_lossy());
    let mut script = tokio::process::Command::new(TERMINAL);
    script.args(["-q", "-e", "-c", &command, "/dev/null"]).stdin(std::process::Stdio::null());
    for (name, value) in program.get_envs() {
        script.env(name, value.unwrap_or_default());
    }
    let output = script.env("JOBWRIGHT_HOST", host).env("TERM", "xterm").output().await?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
