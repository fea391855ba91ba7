//! Small components: a core module in WebAssembly text, lifted into a world of `wit/`.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

/// The imports of all guests below.
const COMMON: &str = r#"
    (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
    (import "wasi:io/poll@0.2.0" "[resource-drop]pollable" (func $drop_pollable (param i32)))
    (import "wasi:io/streams@0.2.0" "[method]output-stream.check-write"
        (func $check_write (param i32 i32)))
    (import "wasi:io/streams@0.2.0" "[method]output-stream.write"
        (func $stream_write (param i32 i32 i32 i32)))
    (import "wasi:io/streams@0.2.0" "[method]output-stream.subscribe"
        (func $output_ready (param i32) (result i32)))
    (import "wasi:io/streams@0.2.0" "[resource-drop]output-stream"
        (func $drop_output (param i32)))
    (import "wasi:io/streams@0.2.0" "[method]input-stream.blocking-read"
        (func $blocking_read (param i32 i64 i32)))
    (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
    (import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
    (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration"
        (func $after (param i64) (result i32)))
"#;

/// Their definitions. Three pages of memory: the first 1 KiB is for results of calls, the last page for
/// allocations of calls. Also a write that waits for room.
const HELPERS: &str = r#"
    (memory (export "memory") 3)
    (global $free (mut i32) (i32.const 131072))
    ;; Only ever forward: guests here allocate little.
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
        (global.set $free (i32.add (local.get $at) (local.get 3)))
        (local.get $at))
    ;; Writes `len` bytes at `at` to `stream`, in pieces as it takes them. Answers whether it took all.
    (func $write (param $stream i32) (param $at i32) (param $len i32) (result i32)
        (local $room i32) (local $wait i32)
        (loop $more
            (if (i32.eqz (local.get $len)) (then (return (i32.const 1))))
            (call $check_write (local.get $stream) (i32.const 0))
            (if (i32.load8_u (i32.const 0)) (then (return (i32.const 0))))
            (local.set $room (i32.wrap_i64 (i64.load (i32.const 8))))
            (if (i32.gt_u (local.get $room) (local.get $len))
                (then (local.set $room (local.get $len))))
            (if (local.get $room)
                (then
                    (call $stream_write (local.get $stream) (local.get $at) (local.get $room)
                        (i32.const 0))
                    (if (i32.load8_u (i32.const 0)) (then (return (i32.const 0)))))
                (else
                    (local.set $wait (call $output_ready (local.get $stream)))
                    (call $block (local.get $wait))
                    (call $drop_pollable (local.get $wait))))
            (local.set $at (i32.add (local.get $at) (local.get $room)))
            (local.set $len (i32.sub (local.get $len) (local.get $room)))
            (br $more))
        unreachable)
    (func $log (param $at i32) (param $len i32)
        (local $stream i32)
        (local.set $stream (call $stderr))
        (drop (call $write (local.get $stream) (local.get $at) (local.get $len)))
        (call $drop_output (local.get $stream)))
    (func $print (param $at i32) (param $len i32)
        (local $stream i32)
        (local.set $stream (call $stdout))
        (drop (call $write (local.get $stream) (local.get $at) (local.get $len)))
        (call $drop_output (local.get $stream)))
    (func $sleep (param $nanos i64) (call $block (call $after (local.get $nanos))))
"#;

/// Additional imports and definitions of commands.
const COMMAND: &str = r#"
    (import "wasi:cli/stdin@0.2.0" "get-stdin" (func $stdin (result i32)))
    (import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
    (import "wasi:cli/exit@0.2.0" "exit-with-code" (func $exit_with (param i32)))
"#;

/// Additional imports and definitions of HTTP handlers.
const HANDLER: &str = r#"
    (import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
    (import "wasi:http/types@0.2.0" "[method]fields.append"
        (func $append (param i32 i32 i32 i32 i32 i32)))
    (import "wasi:http/types@0.2.0" "[method]fields.set"
        (func $set_values (param i32 i32 i32 i32 i32 i32)))
    (import "wasi:http/types@0.2.0" "[method]fields.delete"
        (func $delete (param i32 i32 i32 i32)))
    (import "wasi:http/types@0.2.0" "[method]fields.clone" (func $clone (param i32) (result i32)))
    (import "wasi:http/types@0.2.0" "[method]incoming-request.consume"
        (func $consume (param i32 i32)))
    (import "wasi:http/types@0.2.0" "[method]incoming-body.stream"
        (func $request_stream (param i32 i32)))
    (import "wasi:http/types@0.2.0" "[constructor]outgoing-response"
        (func $response (param i32) (result i32)))
    (import "wasi:http/types@0.2.0" "[method]outgoing-response.set-status-code"
        (func $set_status (param i32 i32) (result i32)))
    (import "wasi:http/types@0.2.0" "[method]outgoing-response.body"
        (func $response_body (param i32 i32)))
    (import "wasi:http/types@0.2.0" "[method]outgoing-body.write" (func $body_write (param i32 i32)))
    (import "wasi:http/types@0.2.0" "[static]outgoing-body.finish"
        (func $body_finish (param i32 i32 i32 i32)))
    (import "wasi:http/types@0.2.0" "[resource-drop]outgoing-body" (func $drop_body (param i32)))
    (import "wasi:http/types@0.2.0" "[static]response-outparam.set"
        (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
"#;

/// `$answer` begins a response, `$body` writes its body, and `$finish` ends it.
const ANSWER: &str = r#"
    (global $body (mut i32) (i32.const 0))
    (global $stream (mut i32) (i32.const 0))
    (data (i32.const 112) "content-typetext/csv")
    ;; Begins the answer.
    (func $answer (param $out i32) (param $status i32) (param $fields i32)
        (local $response i32)
        (local.set $response (call $response (local.get $fields)))
        (if (call $set_status (local.get $response) (local.get $status)) (then unreachable))
        (call $response_body (local.get $response) (i32.const 0))
        (global.set $body (i32.load (i32.const 4)))
        (call $body_write (global.get $body) (i32.const 0))
        (global.set $stream (i32.load (i32.const 4)))
        (call $set (local.get $out) (i32.const 0) (local.get $response)
            (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
    ;; Headers with a content type.
    (func $typed (result i32)
        (local $fields i32)
        (local.set $fields (call $fields))
        (call $append (local.get $fields) (i32.const 112) (i32.const 12)
            (i32.const 124) (i32.const 8) (i32.const 0))
        (local.get $fields))
    (func $finish
        (call $drop_output (global.get $stream))
        (call $body_finish (global.get $body) (i32.const 0) (i32.const 0) (i32.const 64)))
    (func $body (param $at i32) (param $len i32) (result i32)
        (call $write (global.get $stream) (local.get $at) (local.get $len)))
"#;

/// Additional imports and definitions of typed jobs. The request is at `$request`: the fields of
/// `guest-sdk/wit/job.wit`
/// in order, each string and list as an address and a length.
const JOB: &str = r#"
    (import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))
    (import "wasi:logging/logging@0.1.0-draft" "log" (func $say (param i32 i32 i32 i32 i32)))
    (import "jobwright:job/progress@0.2.0" "report" (func $report (param i32 f64 i32 i32)))
    (import "jobwright:job/cancellation@0.2.0" "is-cancelled" (func $is_cancelled (result i32)))
    (import "jobwright:job/cancellation@0.2.0" "remaining" (func $remaining (param i32)))
    (import "jobwright:job/checkpoint@0.2.0" "save" (func $save (param i32 i32 i32)))
    (import "jobwright:job/checkpoint@0.2.0" "load" (func $load (param i32)))
"#;

/// The results of their `run`, at 512.
const ANSWERS: &str = r#"
    ;; A success with `len` bytes at `at`.
    (func $ok (param $at i32) (param $len i32) (result i32)
        (i32.store8 (i32.const 512) (i32.const 0))
        (i32.store (i32.const 532) (local.get $at))
        (i32.store (i32.const 536) (local.get $len))
        (i32.const 512))
    ;; The same, of the media type of `type_len` bytes at `type`.
    (func $typed (param $type i32) (param $type_len i32) (param $at i32) (param $len i32) (result i32)
        (i32.store8 (i32.const 520) (i32.const 1))
        (i32.store (i32.const 524) (local.get $type))
        (i32.store (i32.const 528) (local.get $type_len))
        (call $ok (local.get $at) (local.get $len)))
    ;; A failure with a message: 0 for good, 1 to be tried again, 2 to be tried later.
    (func $fail (param $retry i32) (param $at i32) (param $len i32) (result i32)
        (i32.store8 (i32.const 512) (i32.const 1))
        (i32.store8 (i32.const 520) (local.get $retry))
        (i32.store (i32.const 528) (local.get $at))
        (i32.store (i32.const 532) (local.get $len))
        (i32.const 512))
    ;; A failure that is none: to be tried again after so long, not counted.
    (func $later (param $ms i64) (param $at i32) (param $len i32) (result i32)
        (i32.store8 (i32.const 536) (i32.const 1))
        (i64.store (i32.const 544) (local.get $ms))
        (call $fail (i32.const 2) (local.get $at) (local.get $len)))
    ;; A failure, to be tried again after so long.
    (func $fail_after (param $ms i64) (param $at i32) (param $len i32) (result i32)
        (i32.store8 (i32.const 536) (i32.const 1))
        (i64.store (i32.const 544) (local.get $ms))
        (call $fail (i32.const 1) (local.get $at) (local.get $len)))
"#;

/// A typed job: a module with `rest`, whose `run` is `body` and then returns an empty output.
///
/// # Errors
/// If the text is not valid.
pub fn job(rest: &str, body: &str) -> anyhow::Result<Vec<u8>> {
    typed_job(&format!(
        r#"(module {JOB} {COMMON} {rest} {HELPERS} {ANSWERS}
            (func (export "jobwright:job/run@0.2.0#run") (param $request i32) (result i32)
                {body} (call $ok (i32.const 0) (i32.const 0))))"#
    ))
}

/// The core module `text` as a typed job.
///
/// # Errors
/// If the text is not valid, or no typed job.
pub fn typed_job(text: &str) -> anyhow::Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    resolve
        .push_str("logging.wit", include_str!("../../guest-sdk/wit/deps/logging/logging.wit"))?;
    resolve.push_str("world.wit", include_str!("../../guest-sdk/wit/job.wit"))?;
    resolve.push_str("wasi.wit", include_str!("../wit/wasi.wit"))?;
    let package = resolve.push_str("job.wit", include_str!("../wit/job.wit"))?;
    encode(text, &resolve, resolve.select_world(&[package], Some("job"))?)
}

/// A WASI 0.2 command: a module with `rest`, which may begin with imports, and whose `run` is `body`
/// and then succeeds.
///
/// # Errors
/// If the text is not valid.
pub fn command(rest: &str, body: &str) -> anyhow::Result<Vec<u8>> {
    let text = format!(
        r#"(module {COMMAND} {COMMON} {rest} {HELPERS}
            (func (export "wasi:cli/run@0.2.0#run") (result i32) {body} (i32.const 0)))"#
    );
    component("command", &text)
}

/// A WASI 0.2 command that can also import `wasi:keyvalue` and `wasi:config`.
///
/// # Errors
/// If the text is not valid.
pub fn keeper(rest: &str, body: &str) -> anyhow::Result<Vec<u8>> {
    let text = format!(
        r#"(module {COMMAND} {COMMON} {rest} {HELPERS}
            (func (export "wasi:cli/run@0.2.0#run") (result i32) {body} (i32.const 0)))"#
    );
    let mut resolve = Resolve::default();
    resolve.push_str("wasi.wit", include_str!("../wit/wasi.wit"))?;
    let package = resolve.push_str("outside.wit", include_str!("../wit/outside.wit"))?;
    encode(&text, &resolve, resolve.select_world(&[package], Some("keeper"))?)
}

/// An HTTP component: a module with `rest`, whose handler is `body`.
///
/// # Errors
/// If the text is not valid.
pub fn handler(rest: &str, body: &str) -> anyhow::Result<Vec<u8>> {
    let text = format!(
        r#"(module {HANDLER} {COMMON} {rest} {HELPERS} {ANSWER}
            (func (export "wasi:http/incoming-handler@0.2.0#handle")
                (param $request i32) (param $out i32) {body}))"#
    );
    component("handler", &text)
}

/// The core module `text` as a component of `world`.
///
/// # Errors
/// If the text is not valid, or not of that world.
pub fn component(world: &str, text: &str) -> anyhow::Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("wasi.wit", include_str!("../wit/wasi.wit"))?;
    let world = resolve.select_world(&[package], Some(world))?;
    encode(text, &resolve, world)
}

fn encode(text: &str, resolve: &Resolve, world: WorldId) -> anyhow::Result<Vec<u8>> {
    let mut module = wat::parse_str(text)?;
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8)?;
    ComponentEncoder::default().validate(true).module(&module)?.encode()
}
