//! Inspection of uploaded modules: accepted ones, and every reason for a refusal.

use jobwright::runtime::RuntimeConfig;

use jobwright_core::limits::Limits;
use jobwright_core::plugin::{Abi, Inspection};
use jobwright_core::runtime::{Unprepared, UnusablePlugin};
use libtest_mimic::Trial;

use super::fixture::{RuntimeFixture, command, small};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        the_inspection_describes_a_command,
        bytes_that_are_not_webassembly_are_refused,
        a_damaged_module_is_refused_with_the_offset,
        an_unsupported_feature_is_reported,
        supported_features_are_accepted,
        a_missing_entry_point_is_reported_with_the_exports,
        an_entry_point_of_another_type_is_reported,
        unknown_imports_are_reported,
        imports_of_another_type_are_reported_with_both_types,
        imported_memories_are_refused,
        many_unknown_imports_are_counted,
        memory_over_the_ceiling_is_refused_with_both_values,
        tables_over_the_ceiling_are_refused_with_both_values,
        too_many_memories_are_refused,
        messages_are_bounded_and_escaped,
    ]
}

pub(super) fn inspect(text: &str) -> anyhow::Result<Result<Inspection, UnusablePlugin>> {
    Ok(RuntimeFixture::new()?.runtime.inspect(&wat::parse_str(text)?))
}

pub(super) fn says<T>(
    found: Result<T, impl Into<Unprepared>>,
    code: &str,
    words: &[&str],
) -> anyhow::Result<()> {
    let Err(Unprepared::Unusable(UnusablePlugin { code: found, message })) =
        found.map_err(Into::into)
    else {
        anyhow::bail!("it was accepted, or the error is not about the plugin")
    };
    println!("{found}: {message}");
    assert_eq!(found.as_str(), code, "{message}");
    for word in words {
        assert!(message.contains(word), "`{word}` in: {message}");
    }
    Ok(())
}

async fn the_inspection_describes_a_command() -> anyhow::Result<()> {
    let inspection = inspect(&command("(table 10 funcref)", ""))??;
    assert_eq!(inspection.abi, Abi::WasiCommandP1);
    assert_eq!(inspection.minimum_memory_bytes, 65_536 + 80);
    assert_eq!(inspection.imports.len(), 9);
    assert!(inspection.imports.is_sorted());
    assert_eq!(inspection.imports[0], "wasi_snapshot_preview1.args_get");
    assert_eq!(inspection.exports, ["_start", "memory"]);
    Ok(())
}

async fn bytes_that_are_not_webassembly_are_refused() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    says(fixture.runtime.inspect(b""), "not_wasm", &["empty"])?;
    says(fixture.runtime.inspect(b"\x7fELF\x02"), "not_wasm", &["7f 45 4c 46", "00 61 73 6d"])?;
    says(fixture.runtime.inspect(b"PK"), "not_wasm", &["50 4b"])?;
    says(fixture.runtime.inspect(b"\0as"), "not_wasm", &["00 61 73:"])?;
    for text in ["(module)", "\n  (module $a)", ";; comment\n(module)"] {
        says(
            fixture.runtime.inspect(text.as_bytes()),
            "not_wasm",
            &["WebAssembly text", "wat2wasm"],
        )?;
    }
    Ok(())
}

async fn a_damaged_module_is_refused_with_the_offset() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let whole = wat::parse_str(command("", ""))?;
    for cut in 4..whole.len() {
        let found = fixture.runtime.inspect(&whole[..cut]);
        let Err(error) = found else { continue };
        let known = ["invalid_wasm", "no_entry_point"].contains(&error.code.as_str());
        assert!(known, "{cut}: {error:?}");
    }
    says(fixture.runtime.inspect(&whole[..50]), "invalid_wasm", &["offset 0x"])?;
    says(inspect("(module (func (result i32)))")?, "invalid_wasm", &["offset 0x"])
}

async fn an_unsupported_feature_is_reported() -> anyhow::Result<()> {
    let start = r#"(func (export "_start"))"#;
    for (text, name) in [
        ("(memory 1 1 shared)", "threads"),
        ("(memory 1) (func (drop (i32.atomic.load (i32.const 0))))", "threads"),
        ("(memory i64 1)", "memory64"),
        ("(tag)", "exceptions"),
        ("(type (struct))", "GC"),
        ("(func (param externref))", "GC"),
        ("(func (param (ref func)))", "function references"),
        ("(memory 1 (pagesize 1))", "page sizes"),
        (
            "(func (drop (i64.add128 (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1))) drop)",
            "wide arithmetic",
        ),
    ] {
        let found = inspect(&format!("(module {text} {start})"))?;
        says(found, "needs_feature", &[name, "offset 0x"]).map_err(|e| e.context(text))?;
    }
    Ok(())
}

async fn supported_features_are_accepted() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for text in [
        "(memory 1) (memory 2)",
        "(func (result v128) (v128.const i64x2 1 2))",
        "(func (result v128)
            (f32x4.relaxed_min (v128.const i64x2 1 2) (v128.const i64x2 1 2)))",
        "(memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 9)))",
        "(table 1 funcref) (func (drop (table.grow 0 (ref.null func) (i32.const 1))))",
        "(func $f (return_call $f))",
        "(func (result i32 i32) (i32.const 1) (i32.const 2))",
        "(global i32 (i32.add (i32.const 1) (i32.const 2)))",
        "(func (result i32) (i32.extend8_s (i32.const 1)))",
        "(func (result i32) (i32.trunc_sat_f32_s (f32.const 1)))",
    ] {
        let text = format!(r#"(module {text} (func (export "_start")))"#);
        let wasm = wat::parse_str(&text)?;
        fixture.runtime.inspect(&wasm)?;
        // The engines accept the same modules.
        let ended = fixture.try_with(&text, |_| {}).await?;
        super::fixture::output(&ended).map_err(|error| error.context(text))?;
    }
    Ok(())
}

async fn a_missing_entry_point_is_reported_with_the_exports() -> anyhow::Result<()> {
    let words = ["exports no `_start`", "`run`", "`memory`", "WASI command"];
    says(
        inspect(r#"(module (memory (export "memory") 1) (func (export "run")))"#)?,
        "no_entry_point",
        &words,
    )?;
    says(inspect("(module)")?, "no_entry_point", &["nothing"])
}

async fn an_entry_point_of_another_type_is_reported() -> anyhow::Result<()> {
    let found = inspect(r#"(module (func (export "_start") (param i32)))"#)?;
    says(found, "no_entry_point", &["(i32) -> ()", "() -> ()"])?;
    let found = inspect(r#"(module (memory (export "_start") 1))"#)?;
    says(found, "no_entry_point", &["no function"])
}

async fn unknown_imports_are_reported() -> anyhow::Result<()> {
    let found = inspect(
        r#"(module (import "env" "nope" (func))
            (import "wasi_snapshot_preview1" "fd_nope" (func)) (func (export "_start")))"#,
    )?;
    says(
        found,
        "unknown_import",
        &[
            "`nope` from `env`",
            "`fd_nope`",
            "wasi_snapshot_preview1 (46 functions), wasi_unstable (45 functions)",
        ],
    )
}

async fn imports_of_another_type_are_reported_with_both_types() -> anyhow::Result<()> {
    let found = inspect(
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i64)))
            (func (export "_start")))"#,
    )?;
    says(found, "unknown_import", &["`proc_exit`", "(i64) -> ()", "(i32) -> ()"])
}

async fn imported_memories_are_refused() -> anyhow::Result<()> {
    for kind in ["memory 1", "table 1 funcref", "global i32"] {
        let text = format!(r#"(module (import "env" "x" ({kind})) (func (export "_start")))"#);
        let word = kind.split(' ').next().unwrap_or_default();
        says(inspect(&text)?, "unknown_import", &[word, "`x` from `env`"])?;
    }
    Ok(())
}

async fn many_unknown_imports_are_counted() -> anyhow::Result<()> {
    let imports: String = (0..100).map(|n| format!(r#"(import "env" "f{n}" (func))"#)).collect();
    let found = inspect(&format!(r#"(module {imports} (func (export "_start")))"#))?;
    says(found, "unknown_import", &["`f4`", "and 95 more"])
}

fn under(ceiling: Limits, text: &str) -> anyhow::Result<Result<Inspection, UnusablePlugin>> {
    let fixture = RuntimeFixture::with(RuntimeConfig { ceiling, ..small() })?;
    Ok(fixture.runtime.inspect(&wat::parse_str(text)?))
}

async fn memory_over_the_ceiling_is_refused_with_both_values() -> anyhow::Result<()> {
    let ceiling = Limits { memory_bytes: 1 << 20, ..Limits::CEILING };
    let start = r#"(func (export "_start"))"#;
    under(ceiling, &format!("(module (memory 16) {start})"))??;
    for text in ["(memory 32)", "(memory 16) (memory 16)"] {
        let found = under(ceiling, &format!("(module {text} {start})"))?;
        says(found, "memory_over_ceiling", &["2 MiB", "1 MiB"])?;
    }
    Ok(())
}

async fn tables_over_the_ceiling_are_refused_with_both_values() -> anyhow::Result<()> {
    let ceiling = Limits { tables: 100, ..Limits::CEILING };
    let start = r#"(func (export "_start"))"#;
    under(ceiling, &format!("(module (table 100 funcref) {start})"))??;
    let found = under(ceiling, &format!("(module (table 101 funcref) {start})"))?;
    says(found, "table_over_ceiling", &["101", "100"])
}

async fn too_many_memories_are_refused() -> anyhow::Result<()> {
    let start = r#"(func (export "_start"))"#;
    let found = inspect(&format!("(module {} {start})", "(memory 1)".repeat(9)))?;
    says(found, "too_many_memories", &["9", "8"])?;
    let found = inspect(&format!("(module {} {start})", "(table 1 funcref)".repeat(33)))?;
    says(found, "too_many_tables", &["33", "32"])
}

async fn messages_are_bounded_and_escaped() -> anyhow::Result<()> {
    let name = format!("\\1b[31m{}", "x".repeat(50_000));
    let import = format!(r#"(import "{name}" "{name}" (func))"#);
    let found = inspect(&format!(r#"(module {import} (func (export "_start")))"#))?;
    let Err(error) = found else { anyhow::bail!("it was accepted") };
    assert!(error.message.len() < 1_000 && !error.message.contains('\x1b'), "{error}");
    let found = inspect(&format!(r#"(module (func (export "{name}")))"#))?;
    let Err(error) = found else { anyhow::bail!("it was accepted") };
    assert!(error.message.len() < 1_000 && !error.message.contains('\x1b'), "{error}");
    Ok(())
}
