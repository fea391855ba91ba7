//! Guests that send HTTP requests: components that contain their request, and an Extism plug-in whose
//! payload is the request.

use crate::components::{command, handler, job};

/// The HTTP request of a guest.
#[derive(Debug, Clone, Default)]
pub struct Fetch {
    /// `None` for `http`.
    pub scheme: Option<String>,
    /// `host:port`.
    pub authority: String,
    /// The path with the query.
    pub path: String,
    /// Name and value of an additional header.
    pub header: Option<(String, String)>,
    /// The body of the request; empty for none.
    pub body: String,
    /// The `connect-timeout`, in milliseconds, if the guest sets it.
    pub connect_ms: Option<u64>,
    /// The `first-byte-timeout`, in milliseconds, if the guest sets it.
    pub first_byte_ms: Option<u64>,
    /// The `between-bytes-timeout`, in milliseconds, if the guest sets it.
    pub between_bytes_ms: Option<u64>,
    /// Whether the guest reads only the first piece of the response's body.
    pub first_piece: bool,
    /// Whether the guest ends while the request is in flight.
    pub leaves: bool,
}

const IMPORTS: &str = r#"
    (import "wasi:http/types@0.2.0" "[constructor]outgoing-request"
        (func $out_request (param i32) (result i32)))
    (import "wasi:http/types@0.2.0" "[method]outgoing-request.body" (func $out_body (param i32 i32)))
    (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-method"
        (func $out_method (param i32 i32 i32 i32) (result i32)))
    (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-scheme"
        (func $out_scheme (param i32 i32 i32 i32 i32) (result i32)))
    (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-authority"
        (func $out_authority (param i32 i32 i32 i32) (result i32)))
    (import "wasi:http/types@0.2.0" "[method]outgoing-request.set-path-with-query"
        (func $out_path (param i32 i32 i32 i32) (result i32)))
    (import "wasi:http/types@0.2.0" "[constructor]request-options" (func $options (result i32)))
    (import "wasi:http/types@0.2.0" "[method]request-options.set-first-byte-timeout"
        (func $set_first_byte (param i32 i32 i64) (result i32)))
    (import "wasi:http/types@0.2.0" "[method]request-options.set-connect-timeout"
        (func $set_connect (param i32 i32 i64) (result i32)))
    (import "wasi:http/types@0.2.0" "[method]request-options.set-between-bytes-timeout"
        (func $set_between_bytes (param i32 i32 i64) (result i32)))
    (import "wasi:http/outgoing-handler@0.2.0" "handle" (func $send (param i32 i32 i32 i32)))
    (import "wasi:http/types@0.2.0" "[method]future-incoming-response.subscribe"
        (func $in_ready (param i32) (result i32)))
    (import "wasi:http/types@0.2.0" "[method]future-incoming-response.get"
        (func $in_get (param i32 i32)))
    (import "wasi:http/types@0.2.0" "[method]incoming-response.consume"
        (func $in_consume (param i32 i32)))
"#;

/// Imports that handlers already have in [`components`](crate::components).
const IMPORTS_BESIDE_HANDLERS: &str = r#"
    (import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
    (import "wasi:http/types@0.2.0" "[method]fields.append"
        (func $append (param i32 i32 i32 i32 i32 i32)))
    (import "wasi:http/types@0.2.0" "[method]incoming-body.stream"
        (func $request_stream (param i32 i32)))
    (import "wasi:http/types@0.2.0" "[method]outgoing-body.write" (func $body_write (param i32 i32)))
    (import "wasi:http/types@0.2.0" "[static]outgoing-body.finish"
        (func $body_finish (param i32 i32 i32 i32)))
"#;

/// `$fetch` sends the request at the addresses above, and leaves the response at `$begin`, of
/// `$length` bytes: its body, followed by `!` if it ended early, or `E` and the number of the
/// error.
const FETCH: &str = r#"
    (global $begin (mut i32) (i32.const 65536))
    (global $length (mut i32) (i32.const 0))
    (global $first_piece (mut i32) (i32.const 0))
    (func $begin_body (param $request i32) (result i32)
        (call $out_body (local.get $request) (i32.const 1536))
        (i32.load (i32.const 1540)))
    (func $write_body (param $body i32) (param $at i32) (param $len i32)
        (local $stream i32)
        (call $body_write (local.get $body) (i32.const 1536))
        (local.set $stream (i32.load (i32.const 1540)))
        (drop (call $write (local.get $stream) (local.get $at) (local.get $len)))
        (call $drop_output (local.get $stream))
        (call $body_finish (local.get $body) (i32.const 0) (i32.const 0) (i32.const 1536)))
    (func $answer_error (param $code i32)
        (i32.store8 (i32.const 65536) (i32.const 69))
        (i32.store8 (i32.const 65537)
            (i32.add (i32.const 48) (i32.div_u (local.get $code) (i32.const 10))))
        (i32.store8 (i32.const 65538)
            (i32.add (i32.const 48) (i32.rem_u (local.get $code) (i32.const 10))))
        (global.set $length (i32.const 3)))
    (func $take_answer (param $response i32)
        (local $stream i32)
        (call $in_consume (local.get $response) (i32.const 1536))
        (call $request_stream (i32.load (i32.const 1540)) (i32.const 1544))
        (local.set $stream (i32.load (i32.const 1548)))
        (loop $more
            (global.set $free (i32.const 131072))
            (call $blocking_read (local.get $stream) (i64.const 16384) (i32.const 1536))
            (if (i32.eqz (i32.load8_u (i32.const 1536))) (then
                (if (i32.lt_u (global.get $length) (i32.const 49152)) (then
                    (memory.copy (i32.add (global.get $begin) (global.get $length))
                        (i32.load (i32.const 1540)) (i32.load (i32.const 1544)))
                    (global.set $length
                        (i32.add (global.get $length) (i32.load (i32.const 1544))))))
                (br_if $more (i32.eqz (global.get $first_piece))) (return)))
            (if (i32.eqz (i32.load8_u (i32.const 1540))) (then
                (i32.store8 (i32.add (global.get $begin) (global.get $length)) (i32.const 33))
                (global.set $length (i32.add (global.get $length) (i32.const 1)))))))
"#;

impl Fetch {
    /// The strings in memory, and the function that uses them.
    fn text(&self) -> String {
        let (name, value) = self.header.clone().unwrap_or_default();
        let mut data = String::new();
        let mut at = 2048;
        let mut place = |text: &str| {
            let bytes: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
            data.push_str(&format!("(data (i32.const {at}) \"{bytes}\")\n"));
            let place = format!("(i32.const {at}) (i32.const {})", text.len());
            at += text.len();
            place
        };
        let (authority, path) = (place(&self.authority), place(&self.path));
        let (name, value) = (place(&name), place(&value));
        let body = place(&self.body);
        let scheme = self.scheme.as_deref().map(&mut place).map_or_else(
            || "(i32.const 0) (i32.const 0) (i32.const 0)".to_owned(),
            |text| format!("(i32.const 2) {text}"),
        );
        let append = format!(
            "(call $append (local.get $fields) {name} {value} (i32.const 1536))
            (if (i32.load8_u (i32.const 1536)) (then (call $answer_error (i32.const 99)) (return)))"
        );
        // Written while it is sent: there is little room for it before.
        let write = format!("(call $write_body (local.get $body) {body})");
        let begin = "(drop (call $out_method (local.get $request) (i32.const 2) (i32.const 0)
                    (i32.const 0)))
                (local.set $body (call $begin_body (local.get $request)))";
        let times = [
            ("connect", self.connect_ms),
            ("first_byte", self.first_byte_ms),
            ("between_bytes", self.between_bytes_ms),
        ];
        let times = times.iter().filter_map(|(name, ms)| {
            let nanos = (*ms)? * 1_000_000;
            let options = "(local.get $options) (i32.const 1)";
            Some(format!("(drop (call $set_{name} {options} (i64.const {nanos})))"))
        });
        let times = times.collect::<String>();
        let options = format!("(local.set $options (call $options)) {times}");
        format!(
            r#"{data} {FETCH}
            (func $fetch (local $fields i32) (local $request i32) (local $future i32)
                (local $options i32) (local $body i32)
                (local.set $fields (call $fields))
                {append}
                (local.set $request (call $out_request (local.get $fields)))
                {begin}
                (drop (call $out_scheme (local.get $request) (i32.const 1) {scheme}))
                (drop (call $out_authority (local.get $request) (i32.const 1) {authority}))
                (drop (call $out_path (local.get $request) (i32.const 1) {path}))
                {options}
                (global.set $first_piece (i32.const {first_piece}))
                (call $send (local.get $request) (i32.const {has_options}) (local.get $options)
                    (i32.const 1024))
                (if (i32.load8_u (i32.const 1024)) (then
                    (call $answer_error (i32.load8_u (i32.const 1032))) (return)))
                (local.set $future (i32.load (i32.const 1032)))
                {write}
                {leave}
                (call $block (call $in_ready (local.get $future)))
                (call $in_get (local.get $future) (i32.const 1088))
                (if (i32.load8_u (i32.const 1104))
                    (then (call $answer_error (i32.load8_u (i32.const 1112))))
                    (else (call $take_answer (i32.load (i32.const 1112))))))"#,
            append = if self.header.is_some() { append } else { String::new() },
            begin = if self.body.is_empty() { "" } else { begin },
            write = if self.body.is_empty() { String::new() } else { write },
            leave = if self.leaves { "(call $sleep (i64.const 1000000)) (return)" } else { "" },
            has_options = u8::from(!times.is_empty()),
            options = if times.is_empty() { "" } else { &options },
            first_piece = u8::from(self.first_piece),
        )
    }

    /// A WASI 0.2 command that prints the response.
    ///
    /// # Errors
    /// If this text is not valid.
    pub fn command(&self) -> anyhow::Result<Vec<u8>> {
        command(
            &format!("{IMPORTS_BESIDE_HANDLERS} {IMPORTS} {}", self.text()),
            "(call $fetch) (call $print (global.get $begin) (global.get $length))",
        )
    }

    /// A handler that responds with the response.
    ///
    /// # Errors
    /// If this text is not valid.
    pub fn handler(&self) -> anyhow::Result<Vec<u8>> {
        handler(
            &format!("{IMPORTS} {}", self.text()),
            "(call $fetch) (call $answer (local.get $out) (i32.const 200) (call $fields))
            (drop (call $body (global.get $begin) (global.get $length))) (call $finish)",
        )
    }

    /// A typed job whose output is the response.
    ///
    /// # Errors
    /// If this text is not valid.
    pub fn job(&self) -> anyhow::Result<Vec<u8>> {
        job(
            &format!("{IMPORTS_BESIDE_HANDLERS} {IMPORTS} {}", self.text()),
            "(call $fetch) (return (call $ok (global.get $begin) (global.get $length)))",
        )
    }
}

/// An Extism plug-in that sends its payload as a request; its output is the status in three digits
/// and the body.
///
/// # Errors
/// If this text is not valid.
pub fn extism() -> anyhow::Result<Vec<u8>> {
    Ok(wat::parse_str(
        r#"(module
        (import "extism:host/env" "input_offset" (func $input (result i64)))
        (import "extism:host/env" "length" (func $length (param i64) (result i64)))
        (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
        (import "extism:host/env" "load_u8" (func $load (param i64) (result i32)))
        (import "extism:host/env" "store_u8" (func $store (param i64 i32)))
        (import "extism:host/env" "output_set" (func $output (param i64 i64)))
        (import "extism:host/env" "http_request" (func $send (param i64 i64) (result i64)))
        (import "extism:host/env" "http_status_code" (func $status (result i32)))
        (memory (export "memory") 1)
        (func $digit (param $by i32) (result i32)
            (i32.add (i32.const 48)
                (i32.rem_u (i32.div_u (call $status) (local.get $by)) (i32.const 10))))
        (func (export "fetch") (result i32)
            (local $body i64) (local $len i64) (local $out i64) (local $at i64)
            (local.set $body (call $send (call $input) (i64.const 0)))
            (local.set $len (call $length (local.get $body)))
            (local.set $out (call $alloc (i64.add (local.get $len) (i64.const 3))))
            (call $store (local.get $out) (call $digit (i32.const 100)))
            (call $store (i64.add (local.get $out) (i64.const 1)) (call $digit (i32.const 10)))
            (call $store (i64.add (local.get $out) (i64.const 2)) (call $digit (i32.const 1)))
            (block $end (loop $more
                (br_if $end (i64.ge_u (local.get $at) (local.get $len)))
                (call $store
                    (i64.add (i64.add (local.get $out) (i64.const 3)) (local.get $at))
                    (call $load (i64.add (local.get $body) (local.get $at))))
                (local.set $at (i64.add (local.get $at) (i64.const 1)))
                (br $more)))
            (call $output (local.get $out) (i64.add (local.get $len) (i64.const 3)))
            (i32.const 0)))"#,
    )?)
}
