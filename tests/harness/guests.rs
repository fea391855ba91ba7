//! Small guests in WebAssembly text, each for one purpose of the tests.

use std::sync::OnceLock;

/// The binary of a module in WebAssembly text.
///
/// # Errors
/// If the text is not valid.
pub fn assemble(text: &str) -> anyhow::Result<Vec<u8>> {
    Ok(wat::parse_str(text)?)
}

/// Copies its payload to its output.
pub fn echo() -> anyhow::Result<Vec<u8>> {
    static WASM: OnceLock<Vec<u8>> = OnceLock::new();
    if let Some(wasm) = WASM.get() {
        return Ok(wasm.clone());
    }
    let wasm = assemble(ECHO)?;
    Ok(WASM.get_or_init(|| wasm).clone())
}

/// Copies its payload to its log.
pub fn log() -> anyhow::Result<Vec<u8>> {
    assemble(&ECHO.replace("$write (i32.const 1)", "$write (i32.const 2)"))
}

const ECHO: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read"
    (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "_start")
    (loop $more
      (i32.store (i32.const 0) (i32.const 1024))
      (i32.store (i32.const 4) (i32.const 65536))
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (if (i32.load (i32.const 8)) (then
        (i32.store (i32.const 4) (i32.load (i32.const 8)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
        (br $more))))))"#;

/// A small module that takes long to compile: one function with so many `branches`, of which 20,000
/// take seconds.
pub fn slow_to_compile(branches: usize) -> anyhow::Result<Vec<u8>> {
    let branch = "(if (local.get 0) (then (local.set 1 (i32.add (local.get 0) (i32.const 1)))))";
    let locals = "(local i32 i32)";
    let body = branch.repeat(branches);
    assemble(&format!(r#"(module (func (export "_start") {locals} {body}))"#))
}

/// Runs for ever.
pub const SPIN: &str = r#"(module (memory (export "memory") 1)
  (func (export "_start") (loop $l (br $l))))"#;

/// Writes `started` to its log, then sleeps for an hour.
pub const SLEEP: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "started\n")
  ;; iovec for the log line
  (data (i32.const 0) "\40\00\00\00\08\00\00\00")
  (func (export "_start")
    (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 16)))
    ;; one subscription at 128: userdata 0, tag clock (0), monotonic (1), an hour, no flags
    (i32.store (i32.const 144) (i32.const 1))
    (i64.store (i32.const 152) (i64.const 3600000000000))
    (drop (call $poll (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 32)))))"#;

/// Exits with `code`.
#[must_use]
pub fn exit(code: u8) -> String {
    format!(
        r#"(module
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1)
          (func (export "_start") (call $exit (i32.const {code}))))"#
    )
}

/// Traps.
pub const TRAP: &str = r#"(module (memory (export "memory") 1)
  (func (export "_start") unreachable))"#;
