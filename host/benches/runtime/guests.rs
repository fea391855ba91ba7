//! The same trivial job in each kind of plugin: it answers its payload.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A kind of plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    CommandP1,
    CommandP2,
    Http,
    Job,
    Extism,
}

/// The echo of this kind.
pub(crate) fn wasm(kind: Kind) -> anyhow::Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let mut wasi = || resolve.push_str("wasi.wit", include_str!("../../../tests/wit/wasi.wit"));
    let (package, world, text) = match kind {
        Kind::CommandP1 => return Ok(wat::parse_str(ECHO)?),
        Kind::Extism => return Ok(wat::parse_str(ECHO_EXTISM)?),
        Kind::CommandP2 => (wasi()?, "command", ECHO_P2),
        Kind::Http => (wasi()?, "handler", ECHO_HTTP),
        Kind::Job => (
            resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-sdk/wit"))?.0,
            "job",
            ECHO_JOB,
        ),
    };
    let mut module = wat::parse_str(text)?;
    let world = resolve.select_world(&[package], Some(world))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    ComponentEncoder::default().module(&module)?.encode()
}

pub(crate) const PAYLOAD: &[u8] = br#"{"order":17,"items":["tea","milk"]}"#;

/// Reads its payload and writes it back.
const ECHO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2)
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 1024))
        (i32.store (i32.const 4) (i32.const 4096))
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
        (i32.store (i32.const 4) (i32.load (i32.const 8)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// The same as a WASI 0.2 command.
const ECHO_P2: &str = r#"(module
    (import "wasi:cli/stdin@0.2.0" "get-stdin" (func $stdin (result i32)))
    (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
    (import "wasi:io/streams@0.2.0" "[method]input-stream.blocking-read"
        (func $read (param i32 i64 i32)))
    (import "wasi:io/streams@0.2.0" "[method]output-stream.write"
        (func $write (param i32 i32 i32 i32)))
    (memory (export "memory") 2)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "wasi:cli/run@0.2.0#run") (result i32)
        (call $read (call $stdin) (i64.const 4096) (i32.const 0))
        (call $write (call $stdout) (i32.load (i32.const 4)) (i32.load (i32.const 8))
            (i32.const 16))
        (i32.const 0)))"#;

/// The same as an HTTP component.
const ECHO_HTTP: &str = r#"(module
    (import "wasi:http/types@0.2.0" "[method]incoming-request.consume"
        (func $consume (param i32 i32)))
    (import "wasi:http/types@0.2.0" "[method]incoming-body.stream" (func $stream (param i32 i32)))
    (import "wasi:io/streams@0.2.0" "[method]input-stream.blocking-read"
        (func $read (param i32 i64 i32)))
    (import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
    (import "wasi:http/types@0.2.0" "[constructor]outgoing-response"
        (func $response (param i32) (result i32)))
    (import "wasi:http/types@0.2.0" "[method]outgoing-response.body" (func $body (param i32 i32)))
    (import "wasi:http/types@0.2.0" "[method]outgoing-body.write" (func $out (param i32 i32)))
    (import "wasi:http/types@0.2.0" "[static]response-outparam.set"
        (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
    (import "wasi:io/streams@0.2.0" "[method]output-stream.write"
        (func $write (param i32 i32 i32 i32)))
    (import "wasi:io/streams@0.2.0" "[resource-drop]output-stream" (func $drop (param i32)))
    (import "wasi:http/types@0.2.0" "[static]outgoing-body.finish"
        (func $finish (param i32 i32 i32 i32)))
    (memory (export "memory") 2)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "wasi:http/incoming-handler@0.2.0#handle") (param $request i32) (param $to i32)
        (local $response i32) (local $body i32) (local $out i32)
        (call $consume (local.get $request) (i32.const 0))
        (call $stream (i32.load (i32.const 4)) (i32.const 0))
        (call $read (i32.load (i32.const 4)) (i64.const 4096) (i32.const 16))
        (local.set $response (call $response (call $fields)))
        (call $body (local.get $response) (i32.const 0))
        (local.set $body (i32.load (i32.const 4)))
        (call $set (local.get $to) (i32.const 0) (local.get $response)
            (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
        (call $out (local.get $body) (i32.const 0))
        (local.set $out (i32.load (i32.const 4)))
        (call $write (local.get $out) (i32.load (i32.const 20)) (i32.load (i32.const 24))
            (i32.const 0))
        (call $drop (local.get $out))
        (call $finish (local.get $body) (i32.const 0) (i32.const 0) (i32.const 64))))"#;

/// The same as a typed job: the request's payload is its answer.
const ECHO_JOB: &str = r#"(module
    (memory (export "memory") 2)
    (global $free (mut i32) (i32.const 1024))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
        (global.set $free (i32.add (local.get $at) (local.get 3)))
        (local.get $at))
    (func (export "jobwright:job/run@0.2.0#run") (param $request i32) (result i32)
        (i32.store (i32.const 20) (i32.load offset=12 (local.get $request)))
        (i32.store (i32.const 24) (i32.load offset=16 (local.get $request)))
        (i32.const 0)))"#;

/// The same as an Extism plug-in, as PDKs do it: whole words, and byte by byte what is left.
pub(crate) const ECHO_EXTISM: &str = r#"(module
    (import "extism:host/env" "input_length" (func $length (result i64)))
    (import "extism:host/env" "input_load_u64" (func $load_word (param i64) (result i64)))
    (import "extism:host/env" "input_load_u8" (func $load (param i64) (result i32)))
    (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
    (import "extism:host/env" "store_u64" (func $store_word (param i64 i64)))
    (import "extism:host/env" "store_u8" (func $store (param i64 i32)))
    (import "extism:host/env" "output_set" (func $output (param i64 i64)))
    (memory (export "memory") 2)
    (func (export "run") (result i32)
        (local $block i64) (local $length i64) (local $n i64)
        (local.set $length (call $length))
        (local.set $block (call $alloc (local.get $length)))
        (loop $words
            (call $store_word (i64.add (local.get $block) (local.get $n))
                (call $load_word (local.get $n)))
            (local.set $n (i64.add (local.get $n) (i64.const 8)))
            (br_if $words (i64.le_u (i64.add (local.get $n) (i64.const 8)) (local.get $length))))
        (loop $bytes
            (call $store (i64.add (local.get $block) (local.get $n)) (call $load (local.get $n)))
            (local.set $n (i64.add (local.get $n) (i64.const 1)))
            (br_if $bytes (i64.lt_u (local.get $n) (local.get $length))))
        (call $output (local.get $block) (local.get $length))
        (i32.const 0)))"#;
