//! Inspection of uploaded components: accepted ones, and every reason for a refusal.

use jobwright_core::plugin::{Abi, Digest};
use jobwright_core::tenant::TenantName;
use jobwright_tests::components::{command, handler};
use libtest_mimic::Trial;
use wit_parser::Resolve;

use super::commands_p2::bare;
use super::fixture::RuntimeFixture;
use super::refusals::{inspect, says};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        the_inspection_describes_a_component,
        unknown_imports_are_reported_with_the_supported_ones,
        every_supported_interface_is_accepted_and_links,
        other_versions_of_wasi_are_reported,
        a_missing_entry_point_is_reported_with_the_exports,
        a_wit_package_is_refused_as_such,
        unknown_functions_are_refused_when_the_code_is_prepared,
        unfinished_features_are_reported,
        sizes_above_the_ceilings_are_refused,
        endlessly_nested_components_are_refused,
        components_that_expand_exponentially_are_refused,
        damaged_components_are_refused,
    ]
}

async fn the_inspection_describes_a_component() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let found = fixture.runtime.inspect(&command("", "")?)?;
    assert_eq!(
        (found.abi, found.abi.to_string().as_str()),
        (Abi::WasiCommandP2, "wasi-command-p2")
    );
    assert_eq!(found.exports, ["wasi:cli/run@0.2.0"]);
    assert!(found.imports.is_sorted());
    assert!(found.imports.contains(&"wasi:cli/stdin@0.2.0".to_owned()), "{:?}", found.imports);
    assert!(found.minimum_memory_bytes >= 3 * 65_536, "{}", found.minimum_memory_bytes);
    let found = fixture.runtime.inspect(&handler("", "")?)?;
    assert_eq!((found.abi, found.abi.to_string().as_str()), (Abi::WasiHttpP2, "wasi-http-p2"));
    assert_eq!(found.exports, ["wasi:http/incoming-handler@0.2.0"]);
    assert!(found.imports.contains(&"wasi:http/types@0.2.0".to_owned()), "{:?}", found.imports);
    Ok(())
}

/// A component that imports `name` as an empty interface.
fn importing(name: &str) -> String {
    bare("0.2.0").replacen("(component", &format!(r#"(component (import "{name}" (instance))"#), 1)
}

async fn unknown_imports_are_reported_with_the_supported_ones() -> anyhow::Result<()> {
    for name in ["wasi:keyvalue/watcher@0.2.0-draft2", "my:own/thing", "wasi:cli/nope@0.2.0"] {
        let offered = "wasi:cli, wasi:clocks, wasi:filesystem, wasi:io, wasi:random, wasi:sockets, \
                       wasi:http, wasi:keyvalue, wasi:config, jobwright:job, wasi:logging";
        says(inspect(&importing(name))?, "unknown_import", &[&format!("`{name}`"), offered])?;
    }
    let name = "wasi:keyvalue/store@0.2.0-draft3";
    let words = [name, "here it is of 0.2.0-draft or 0.2.0-draft2"];
    says(inspect(&importing(name))?, "unknown_import", &words)?;
    let function = bare("0.2.0").replacen("(component", r#"(component (import "f" (func))"#, 1);
    says(inspect(&function)?, "unknown_import", &["the func `f`", "only interfaces"])
}

async fn every_supported_interface_is_accepted_and_links() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    // With one function or resource of each interface, so that linking would fail if it were missing.
    let function = |name: &str, ty: &str| format!(r#"(export "{name}" (func {ty}))"#);
    let resource = |name: &str| format!(r#"(export "{name}" (type (sub resource)))"#);
    let strings = "(result (option string))";
    for (interface, item) in [
        ("cli/environment", function("initial-cwd", strings)),
        ("cli/exit", function("exit-with-code", r#"(param "status-code" u8)"#)),
        ("cli/terminal-input", resource("terminal-input")),
        ("cli/terminal-output", resource("terminal-output")),
        ("clocks/monotonic-clock", function("now", "(result u64)")),
        ("filesystem/types", resource("descriptor")),
        ("io/error", resource("error")),
        ("io/poll", resource("pollable")),
        ("io/streams", resource("input-stream")),
        ("random/insecure", function("get-insecure-random-u64", "(result u64)")),
        ("random/insecure-seed", function("insecure-seed", "(result (tuple u64 u64))")),
        ("random/random", function("get-random-u64", "(result u64)")),
        ("sockets/network", resource("network")),
        ("sockets/ip-name-lookup", resource("resolve-address-stream")),
        ("sockets/tcp", resource("tcp-socket")),
        ("sockets/udp", resource("udp-socket")),
        ("http/types", resource("fields")),
    ] {
        let import = format!(r#"(component (import "wasi:{interface}@0.2.9" (instance {item}))"#);
        let wasm = wat::parse_str(bare("0.2.0").replacen("(component", &import, 1))?;
        fixture.runtime.inspect(&wasm)?;
        fixture.runtime.prepare(&TenantName::default(), Digest::of(&wasm), wasm.into()).await?;
    }
    // The other functions need types of each other; tests with guests import those.
    for interface in ["stdin", "stdout", "stderr"] {
        inspect(&importing(&format!("wasi:cli/{interface}@0.2.0")))??;
        inspect(&importing(&format!("wasi:cli/terminal-{interface}@0.2.0")))??;
    }
    Ok(())
}

async fn other_versions_of_wasi_are_reported() -> anyhow::Result<()> {
    for version in ["0.3.0", "0.2.0-rc-2023-11-10", "0.1.0", "1.0.0"] {
        let name = format!("wasi:cli/environment@{version}");
        says(inspect(&importing(&name))?, "unknown_import", &[&name, "here it is of 0.2"])?;
        let words = [format!("wasi:cli/run@{version}"), "the releases of WASI 0.2".to_owned()];
        says(inspect(&bare(version))?, "wasi_version", &words.each_ref().map(String::as_str))?;
    }
    let later = bare("0.3.0").replace("wasi:cli/run", "wasi:http/handler");
    says(inspect(&later)?, "wasi_version", &["wasi:http/handler@0.3.0"])
}

async fn a_missing_entry_point_is_reported_with_the_exports() -> anyhow::Result<()> {
    let other = bare("1.0.0").replace("wasi:cli/run", "my:own/thing");
    let words = ["`wasi:cli/run`", "`wasi:http/incoming-handler`", "`jobwright:job/run@0.2`"];
    says(inspect(&other)?, "no_entry_point", &words)?;
    let words = ["but `my:own/thing@1.0.0`"];
    says(inspect(&other)?, "no_entry_point", &words)?;
    says(inspect("(component)")?, "no_entry_point", &["but nothing"])
}

async fn a_wit_package_is_refused_as_such() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let (mut resolve, wasi) = (Resolve::default(), include_str!("../wit/wasi.wit"));
    let package = resolve.push_str("wasi.wit", wasi)?;
    let wasm = wit_component::encode(&resolve, package)?;
    says(
        fixture.runtime.inspect(&wasm),
        "wit_package",
        &["WIT package", "`command`", "has no code"],
    )?;
    // A package of WASI 0.3 has features that this host does not support.
    let later = "package my:later@0.3.0; interface pieces { read: func() -> stream<u8>; }";
    let package = resolve.push_str("later.wit", later)?;
    let wasm = wit_component::encode(&resolve, package)?;
    says(fixture.runtime.inspect(&wasm), "wit_package", &["WIT package", "pieces", "has no code"])?;
    // A component that also exports the type of an interface is not a WIT package.
    let exports_a_type = bare("0.2.0").replacen(
        "(component",
        r#"(component (type $t (component (export "x" (func)))) (export "t" (type $t))"#,
        1,
    );
    inspect(&exports_a_type)?.map(drop).map_err(Into::into)
}

async fn unknown_functions_are_refused_when_the_code_is_prepared() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let import = r#"(component (import "wasi:cli/exit@0.2.50"
        (instance (export "exit-with-grace" (func))))"#;
    let unknown = bare("0.2.0").replacen("(component", import, 1);
    // Of another type than `run`.
    let typed = r#"(component
        (core module $m (func (export "run") (result i32) (i32.const 0)))
        (core instance $i (instantiate $m))
        (func $run (result u32) (canon lift (core func $i "run")))
        (instance $exported (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $exported)))"#;
    for (text, word) in [(unknown.as_str(), "exit-with-grace"), (typed, "run")] {
        let wasm = wat::parse_str(text)?;
        fixture.runtime.inspect(&wasm)?;
        let refused =
            fixture.runtime.prepare(&TenantName::default(), Digest::of(&wasm), wasm.into()).await;
        says(refused, "plugin_unusable", &["it does not fit this host", word])?;
    }
    Ok(())
}

async fn unfinished_features_are_reported() -> anyhow::Result<()> {
    for (text, word) in [
        ("(type (stream u8))", "WASI 0.3"),
        ("(type (future))", "WASI 0.3"),
        ("(core module (memory i64 1))", "memory64"),
    ] {
        says(inspect(&format!("(component {text})"))?, "needs_feature", &[word])?;
    }
    Ok(())
}

async fn sizes_above_the_ceilings_are_refused() -> anyhow::Result<()> {
    let with = |what: &str| bare("0.2.0").replacen("(component", &format!("(component {what}"), 1);
    let module = |what: &str| format!("(core module {what})");
    says(inspect(&with(&module("(memory 1)").repeat(9)))?, "too_many_memories", &["9", "8"])?;
    says(
        inspect(&with(&module("(table 1 funcref)").repeat(33)))?,
        "too_many_tables",
        &["33", "32"],
    )?;
    let many = "(core instance (instantiate $a))".repeat(200);
    let many = with(&format!("(core module $a) {many}"));
    says(inspect(&many)?, "too_many_instances", &["201", "200"])?;
    let nested = format!("(component {})", module("(memory 20000)"));
    says(inspect(&with(&nested))?, "memory_over_ceiling", &["1.2 GiB", "1 GiB"])
}

async fn endlessly_nested_components_are_refused() -> anyhow::Result<()> {
    let nested = |depth: usize| {
        // Encoded by hand: the text format would recurse.
        let header = b"\0asm\x0d\0\x01\0";
        let mut wasm = header.to_vec();
        for _ in 0..depth {
            let mut outer = header.to_vec();
            outer.push(4);
            let mut length = wasm.len();
            while length > 0x7f {
                outer.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            outer.push(length as u8);
            outer.extend(wasm);
            wasm = outer;
        }
        wasm
    };
    let fixture = RuntimeFixture::new()?;
    says(fixture.runtime.inspect(&nested(16)), "no_entry_point", &[])?;
    says(fixture.runtime.inspect(&nested(17)), "too_deep", &["16"])?;
    says(fixture.runtime.inspect(&nested(5_000)), "too_deep", &["16"])
}

async fn components_that_expand_exponentially_are_refused() -> anyhow::Result<()> {
    // Levels that each instantiate the next one five times, in every encoding of a name.
    let names: [fn(usize) -> String; 3] = [
        |_| "(instance (instantiate $next))".to_owned(),
        |n| format!("(alias outer 0 $next (component $o{n})) (instance (instantiate $o{n}))"),
        |n| format!(r#"(export $o{n} "next{n}" (component $next)) (instance (instantiate $o{n}))"#),
    ];
    for name in names {
        let bomb = |levels: usize| {
            let mut bomb = "(core module $m) (core instance (instantiate $m))".to_owned();
            for _ in 0..levels {
                let uses: String = (0..5).map(name).collect();
                bomb = format!("(component $next {bomb}) {uses}");
            }
            bare("0.2.0").replacen("(component", &format!("(component {bomb}"), 1)
        };
        inspect(&bomb(2))??;
        says(inspect(&bomb(4))?, "too_many_instances", &["maximum of 200"])?;
        // If they export each other, their types become too large too.
        let Err(error) = inspect(&bomb(9))? else { anyhow::bail!("it was accepted") };
        assert!(["too_many_instances", "invalid_wasm"].contains(&error.code.as_str()), "{error}");
    }
    let handed = "(component $a (import \"b\" (component $b)) (instance (instantiate $b)))";
    let handed = bare("0.2.0").replacen("(component", &format!("(component {handed}"), 1);
    says(inspect(&handed)?, "component_argument", &["arguments"])
}

async fn damaged_components_are_refused() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let whole = command("", "")?;
    for cut in (9..whole.len()).step_by(37) {
        let Err(error) = fixture.runtime.inspect(&whole[..cut]) else {
            anyhow::bail!("cut at {cut} it was accepted");
        };
        assert!(["invalid_wasm", "no_entry_point"].contains(&error.code.as_str()), "{error:?}");
    }
    Ok(())
}
