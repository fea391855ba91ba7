//! Uploads that are not plugins, or damaged ones: each gets a response, and the host survives.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use jobwright_tests::{components, guests};
use libtest_mimic::Trial;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::case::{End::Traps, only_attempt};
use super::fixture::Fixture;

pub(super) fn trials(fixture: &Arc<Fixture>) -> Vec<Trial> {
    vec![
        fixture.trial("damaged::bytes_that_are_not_wasm", |fixture| async move {
            not_wasm(&fixture).await
        }),
        fixture.trial("damaged::code_that_the_host_compiled", |fixture| async move {
            compiled(&fixture).await
        }),
        fixture.trial("damaged::truncated_at_any_length", |fixture| async move {
            truncated(&fixture).await
        }),
        fixture.trial("damaged::any_bit_flipped", |fixture| async move { flipped(&fixture).await }),
        fixture.trial("damaged::noise_after_a_good_beginning", |fixture| async move {
            noise(&fixture).await
        }),
        fixture.trial("damaged::names_of_plugins", |fixture| async move { names(&fixture).await }),
        fixture.trial("damaged::names_in_plugins", |fixture| async move { named(&fixture).await }),
    ]
}

/// The number of damaged versions of each plugin.
const WAYS: usize = 40;

async fn not_wasm(fixture: &Fixture) -> anyhow::Result<()> {
    let host = fixture.host().await?;
    for (what, bytes, status, code) in [
        ("nothing", vec![], 415, "not_wasm"),
        ("text", b"(module)".to_vec(), 415, "not_wasm"),
        ("text of a guest", guests::TRAP.into(), 415, "not_wasm"),
        ("the magic number backwards", b"msa\0\x01\0\0\0".to_vec(), 415, "not_wasm"),
        ("a program", b"\x7fELF\x02\x01\x01\0".to_vec(), 415, "not_wasm"),
        ("an archive", b"\x1f\x8b\x08\0\0\0\0\0".to_vec(), 415, "not_wasm"),
        ("zeros", vec![0; 1 << 20], 415, "not_wasm"),
        ("only the magic number", b"\0asm".to_vec(), 422, "invalid_wasm"),
        ("another version", b"\0asm\x02\0\0\0".to_vec(), 422, "invalid_wasm"),
        ("another layer", b"\0asm\x0d\0\x07\0".to_vec(), 422, "invalid_wasm"),
        ("an empty module", b"\0asm\x01\0\0\0".to_vec(), 422, "no_entry_point"),
        ("an empty component", b"\0asm\x0d\0\x01\0".to_vec(), 422, "no_entry_point"),
        // A section of 4 GiB, and one whose length never ends.
        (
            "a huge section",
            b"\0asm\x01\0\0\0\x01\xff\xff\xff\xff\x0f".to_vec(),
            422,
            "invalid_wasm",
        ),
        (
            "a length without end",
            [&b"\0asm\x01\0\0\0\x01"[..], &[0xff; 64]].concat(),
            422,
            "invalid_wasm",
        ),
        // A vector of four billion types in five bytes.
        (
            "a huge count",
            b"\0asm\x01\0\0\0\x01\x05\xff\xff\xff\xff\x0f".to_vec(),
            422,
            "invalid_wasm",
        ),
    ] {
        let (found, problem) = host.upload(&fixture.name(), bytes).await?;
        ensure!(found == status && problem["code"] == code, "{what}: {found}: {problem}");
    }
    Ok(())
}

async fn compiled(fixture: &Fixture) -> anyhow::Result<()> {
    let host = fixture.host().await?;
    let code = std::fs::read_dir(host.data().join("compiled"))?;
    let code = code.flatten().find(|file| file.path().is_file()).context("some code is kept")?;
    let code = std::fs::read(code.path())?;
    let elf = code.windows(4).position(|bytes| bytes == b"\x7fELF").context("it is ELF")?;
    for code in [&code[..], &code[elf..]] {
        let (status, problem) = host.upload(&fixture.name(), code.to_vec()).await?;
        ensure!(status == 415 && problem["code"] == "not_wasm", "{status}: {problem}");
    }
    Ok(())
}

/// Plugins of each kind, to be damaged.
fn whole() -> anyhow::Result<[Vec<u8>; 3]> {
    let command = components::command("", "")?;
    Ok([guests::echo()?, command, components::job("", "")?])
}

/// Whether an upload was either accepted, or refused with a reason.
fn is_answered(status: StatusCode, answer: &Value) -> bool {
    let refused = [415, 422].contains(&status.as_u16()) && answer["code"].is_string();
    refused || status == StatusCode::CREATED
}

async fn truncated(fixture: &Fixture) -> anyhow::Result<()> {
    let host = fixture.host().await?;
    for wasm in whole()? {
        for way in 0..WAYS {
            let length = wasm.len() * way / WAYS;
            // A module that lacks only the end of its name section is still valid.
            let (status, answer) = host.upload(&fixture.name(), wasm[..length].to_vec()).await?;
            ensure!(is_answered(status, &answer), "{length} bytes: {status}: {answer}");
        }
    }
    Ok(())
}

async fn flipped(fixture: &Fixture) -> anyhow::Result<()> {
    let (host, seed) = (fixture.host().await?, rand::random::<u64>());
    let mut random = StdRng::seed_from_u64(seed);
    for wasm in whole()? {
        for _ in 0..WAYS {
            let (mut damaged, at) = (wasm.clone(), random.random_range(0..wasm.len()));
            let bit = random.random_range(0..8);
            damaged[at] ^= 1 << bit;
            let plugin = fixture.name();
            let (status, answer) = host.upload(&plugin, damaged).await?;
            ensure!(is_answered(status, &answer), "seed {seed}, byte {at}: {status}: {answer}");
            if status == StatusCode::CREATED {
                // The result is another plugin, which runs within its limits.
                let limits = json!({ "timeout_ms": 100, "fuel": 10_000_000 });
                host.run(json!({ "plugin": plugin, "limits": limits })).await?;
            }
        }
    }
    Ok(())
}

async fn noise(fixture: &Fixture) -> anyhow::Result<()> {
    let (host, seed) = (fixture.host().await?, rand::random::<u64>());
    let mut random = StdRng::seed_from_u64(seed);
    for head in [&b"\0asm\x01\0\0\0"[..], b"\0asm\x0d\0\x01\0"] {
        for _ in 0..WAYS {
            let mut wasm = head.to_vec();
            // A known section with random content.
            let length = random.random_range(0..127_u8);
            wasm.extend([random.random_range(0..14_u8), length]);
            wasm.extend((0..length).map(|_| random.random::<u8>()));
            let (status, answer) = host.upload(&fixture.name(), wasm).await?;
            ensure!(is_answered(status, &answer), "seed {seed}: {status}: {answer}");
            ensure!(status != StatusCode::CREATED, "seed {seed}: random bytes were accepted");
        }
    }
    Ok(())
}

/// Names that would have another meaning in a path, a line or a string.
async fn names(fixture: &Fixture) -> anyhow::Result<()> {
    let host = fixture.host().await?;
    for name in [
        "a%00b",
        "%00",
        "..%2f..%2fetc%2fpasswd",
        "a%2fb",
        "a%5cb",
        "%e2%80%aetxt.exe",
        "%1b[31m",
        "a%0ab",
        "a%0d%0ax:%20y",
        "A",
        "%20",
        "-a",
        ".a",
        "a%3fversion=1",
        "con%20",
    ] {
        let (status, problem) = host.upload(name, guests::echo()?).await?;
        ensure!(status == 400 && problem["code"] == "invalid_name", "{name}: {status}: {problem}");
        is_harmless(&problem)?;
    }
    let (status, problem) = host.upload("%ff%fe", guests::echo()?).await?;
    ensure!(status == 400 && problem["code"] == "invalid_path", "{status}: {problem}");
    let long = "a".repeat(65);
    let (status, problem) = host.upload(&long, guests::echo()?).await?;
    ensure!(status == 400 && problem["code"] == "invalid_name", "{status}: {problem}");
    Ok(())
}

/// Names of imports, exports, functions and sections with control characters.
async fn named(fixture: &Fixture) -> anyhow::Result<()> {
    let host = fixture.host().await?;
    let evil = r"a\00b\1b[31m\0d\0a\e2\80\ae../../etc/passwd";
    let long = "x".repeat(99_000);
    for name in [evil, &long] {
        let import =
            format!(r#"(module (import "{name}" "{name}" (func)) (func (export "_start")))"#);
        let (status, problem) = host.upload(&fixture.name(), guests::assemble(&import)?).await?;
        ensure!(status == 422 && problem["code"] == "unknown_import", "{status}: {problem}");
        is_harmless(&problem)?;
        let export = format!(r#"(module (func (export "{name}")))"#);
        let (status, problem) = host.upload(&fixture.name(), guests::assemble(&export)?).await?;
        ensure!(status == 422 && problem["code"] == "no_entry_point", "{status}: {problem}");
        is_harmless(&problem)?;
        // Names in an accepted plugin are escaped where they are shown.
        let carried = format!(
            r#"(module (@custom "{name}" "{name}") (func $f (@name "{name}") unreachable)
                (func (export "_start") (call $f)) (func (export "{name}")))"#
        );
        let plugin = fixture.name();
        let version = host.accepts(&plugin, guests::assemble(&carried)?).await?;
        is_harmless(&version)?;
        let job = host.run(json!({ "plugin": plugin })).await?;
        Traps("unreachable").is(only_attempt(&job)?)?;
        is_harmless(&job)?;
    }
    Ok(())
}

/// Checks that a response is short, and has no control characters.
fn is_harmless(answer: &Value) -> anyhow::Result<()> {
    let length = answer.to_string().len();
    ensure!(length < 10_000, "{length} bytes");
    match answer {
        Value::String(text) => {
            // The frames of a backtrace are on lines of their own.
            let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            ensure!(!text.contains(acts), "{text:?}");
            Ok(())
        }
        Value::Array(all) => all.iter().try_for_each(is_harmless),
        Value::Object(all) => all.values().try_for_each(is_harmless),
        _ => Ok(()),
    }
}
