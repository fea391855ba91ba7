//! Guests that call the host's functions with any addresses and lengths: of `jobwright`, and of
//! `extism:host/env`. The guest reads its payload as calls: the function's number, and three numbers.

#![no_main]

use std::sync::LazyLock;

use jobwright_core::Digest;
use jobwright_core::outcome::Outcome;
use jobwright_fuzz::Host;
use libfuzzer_sys::fuzz_target;

static LAB: LazyLock<(Host, [Digest; 2])> = LazyLock::new(|| {
    let host = Host::new().expect("a host");
    let command = host.install("command", &command()).expect("a command");
    let extism = host.install("extism", &extism()).expect("a plug-in");
    (host, [command, extism])
});

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, calls)) = bytes.split_first() else { return };
    let (host, plugins) = &*LAB;
    let ended = host.run(plugins[usize::from(kind % 2)], calls).expect("an attempt");
    if let Outcome::Trapped { error } = &ended.outcome {
        assert_ne!(error.code, "host_panic", "{}", error.message);
    }
});

/// A function's name, and the types of its parameters and result.
type Import = (&'static str, &'static str, &'static str);

const JOBWRIGHT: &[Import] = &[
    ("log", "iii", ""),
    ("progress", "dii", ""),
    ("is_cancelled", "", "i"),
    ("remaining_ms", "", "l"),
    ("remaining_fuel", "", "l"),
    ("checkpoint_save", "ii", "i"),
    ("checkpoint_load", "ii", "i"),
    ("output_type", "ii", "i"),
    ("fail", "ilii", ""),
    ("value_get", "iiii", "i"),
    ("value_set", "iiii", "i"),
    ("value_delete", "ii", "i"),
    ("value_add", "iili", "i"),
    ("config_get", "iiii", "i"),
];

const EXTISM: &[Import] = &[
    ("alloc", "l", "l"),
    ("free", "l", ""),
    ("length", "l", "l"),
    ("load_u8", "l", "i"),
    ("load_u64", "l", "l"),
    ("store_u8", "li", ""),
    ("store_u64", "ll", ""),
    ("input_load_u8", "l", "i"),
    ("input_load_u64", "l", "l"),
    ("output_set", "ll", ""),
    ("error_set", "l", ""),
    ("config_get", "l", "l"),
    ("var_get", "l", "l"),
    ("var_set", "ll", ""),
    ("http_request", "ll", "l"),
    ("log_info", "l", ""),
];

fn kind(letter: char) -> &'static str {
    match letter {
        'i' => "i32",
        'd' => "f64",
        _ => "i64",
    }
}

fn imports(module: &str, functions: &[Import]) -> String {
    let import = |(name, takes, gives): &Import| {
        let takes: Vec<_> = takes.chars().map(kind).collect();
        let gives: Vec<_> = gives.chars().map(kind).collect();
        format!(
            r#"(import "{module}" "{name}" (func ${name} (param {}) (result {})))"#,
            takes.join(" "),
            gives.join(" ")
        )
    };
    functions.iter().map(import).collect()
}

/// Calls the function whose number is at `$at`, with the numbers after it.
fn dispatch(functions: &[Import]) -> String {
    let mut text = String::new();
    for (number, (name, takes, gives)) in functions.iter().enumerate() {
        let argument = |(nth, letter): (usize, char)| {
            let load = format!("(i64.load offset={} (local.get $at))", 1 + 8 * (nth % 3));
            match letter {
                'i' => format!("(i32.wrap_i64 {load})"),
                'd' => format!("(f64.reinterpret_i64 {load})"),
                _ => load,
            }
        };
        let arguments: String = takes.chars().enumerate().map(argument).collect();
        let call = format!("(call ${name} {arguments})");
        let call = if gives.is_empty() { call } else { format!("(drop {call})") };
        text += &format!(
            "(if (i32.eq (i32.rem_u (i32.load8_u (local.get $at)) (i32.const {})) \
             (i32.const {number})) (then {call}))",
            functions.len()
        );
    }
    text
}

/// All calls of a payload of `$length` bytes at 4096.
fn calls(functions: &[Import]) -> String {
    format!(
        "(local.set $at (i32.const 4096))
        (block $end (loop $next
            (br_if $end (i32.gt_u (i32.add (local.get $at) (i32.const 25))
                (i32.add (i32.const 4096) (local.get $length))))
            {}
            (local.set $at (i32.add (local.get $at) (i32.const 25)))
            (br $next)))",
        dispatch(functions)
    )
}

fn command() -> String {
    format!(
        r#"(module {}
            (import "wasi_snapshot_preview1" "fd_read"
                (func $read (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 2)
            (func (export "_start") (local $at i32) (local $length i32)
                (i32.store (i32.const 0) (i32.const 4096))
                (i32.store (i32.const 4) (i32.const 65536))
                (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
                (local.set $length (i32.load (i32.const 8)))
                {}))"#,
        imports("jobwright", JOBWRIGHT),
        calls(JOBWRIGHT)
    )
}

fn extism() -> String {
    format!(
        r#"(module {}
            (import "extism:host/env" "input_length" (func $input_length (result i64)))
            (memory (export "memory") 2)
            (func (export "run") (result i32) (local $at i32) (local $length i32)
                (local.set $length (i32.wrap_i64 (call $input_length)))
                (if (i32.gt_u (local.get $length) (i32.const 65536))
                    (then (local.set $length (i32.const 65536))))
                (block $read (loop $more
                    (br_if $read (i32.ge_u (local.get $at) (local.get $length)))
                    (i32.store8 (i32.add (i32.const 4096) (local.get $at))
                        (call $input_load_u8 (i64.extend_i32_u (local.get $at))))
                    (local.set $at (i32.add (local.get $at) (i32.const 1)))
                    (br $more)))
                {} (i32.const 0)))"#,
        imports("extism:host/env", EXTISM),
        calls(EXTISM)
    )
}
