//! HTTP components: their request, the meaning of their response, and misbehaviour.

use std::sync::Arc;
use std::time::Duration;

use jobwright_core::limits::Limit;
use jobwright_core::outcome::{AttemptError, Outcome, RetryHint};
use jobwright_core::runtime::Ended;
use jobwright_tests::components::handler;
use libtest_mimic::Trial;

use super::fixture::{RuntimeFixture, attempt, exceeded, output, text, trapped};

pub(super) fn trials() -> Vec<Trial> {
    jobwright_tests::tests![
        the_job_is_a_post_request_with_its_payload_and_metadata,
        body_and_media_type_of_the_response_are_the_output,
        the_configured_output_type_wins_and_an_invalid_type_is_ignored,
        printed_text_is_the_log,
        the_status_decides_success_and_retry,
        retry_after_delays_the_next_attempt,
        an_error_is_a_failure,
        a_missing_response_is_a_failure,
        exit_code_0_is_success_and_others_are_failures,
        a_handler_that_responds_and_never_returns_ends_at_its_time_limit,
        an_endless_body_reaches_the_output_limit,
        an_aborted_body_is_a_failure,
        an_unfinished_body_ends_with_the_guest,
        a_body_shorter_than_its_content_length_is_a_failure,
        a_trap_after_the_response_is_a_trap,
        invalid_headers_are_refused_and_the_job_continues,
    ]
}

/// Begins a response with `status` and the headers that `headers` creates.
pub(super) fn begins(status: u32, headers: &str) -> String {
    format!("(call $answer (local.get $out) (i32.const {status}) {headers})")
}

fn failed(ended: &Ended) -> anyhow::Result<(AttemptError, RetryHint)> {
    match &ended.outcome {
        Outcome::Failed { error, retry } => Ok((error.clone(), *retry)),
        other => anyhow::bail!("it did not fail: {other:?}"),
    }
}

async fn the_job_is_a_post_request_with_its_payload_and_metadata() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let body = format!(
        r#"(local $at i32) (local $end i32) (local $in i32)
        {}
        ;; The method's number, then the path.
        (call $method (local.get $request) (i32.const 512))
        (i32.store8 (i32.const 1030) (i32.add (i32.const 48) (i32.load8_u (i32.const 512))))
        (drop (call $body (i32.const 1030) (i32.const 1)))
        (call $path (local.get $request) (i32.const 512))
        (drop (call $body (i32.load (i32.const 516)) (i32.load (i32.const 520))))
        (drop (call $body (i32.const 1024) (i32.const 1)))
        ;; Each header on a line.
        (call $entries (call $headers (local.get $request)) (i32.const 512))
        (local.set $at (i32.load (i32.const 512)))
        (local.set $end (i32.add (local.get $at)
            (i32.mul (i32.load (i32.const 516)) (i32.const 16))))
        (loop $more
            (if (i32.lt_u (local.get $at) (local.get $end)) (then
                (drop (call $body (i32.load (local.get $at)) (i32.load offset=4 (local.get $at))))
                (drop (call $body (i32.const 1025) (i32.const 1)))
                (drop (call $body (i32.load offset=8 (local.get $at))
                    (i32.load offset=12 (local.get $at))))
                (drop (call $body (i32.const 1024) (i32.const 1)))
                (local.set $at (i32.add (local.get $at) (i32.const 16)))
                (br $more))))
        ;; The payload.
        (call $consume (local.get $request) (i32.const 512))
        (call $request_stream (i32.load (i32.const 516)) (i32.const 512))
        (local.set $in (i32.load (i32.const 516)))
        (loop $more
            (call $blocking_read (local.get $in) (i64.const 4096) (i32.const 512))
            (if (i32.eqz (i32.load8_u (i32.const 512))) (then
                (drop (call $body (i32.load (i32.const 516)) (i32.load (i32.const 520))))
                (br $more))))
        (call $finish)"#,
        begins(200, "(call $fields)")
    );
    let asked = handler(
        r#"(import "wasi:http/types@0.2.0" "[method]incoming-request.method"
            (func $method (param i32 i32)))
        (import "wasi:http/types@0.2.0" "[method]incoming-request.path-with-query"
            (func $path (param i32 i32)))
        (import "wasi:http/types@0.2.0" "[method]incoming-request.headers"
            (func $headers (param i32) (result i32)))
        (import "wasi:http/types@0.2.0" "[method]fields.entries" (func $entries (param i32 i32)))
        (data (i32.const 1024) "\n=")"#,
        &body,
    )?;
    let mut attempt = attempt(fixture.plugins.add(asked))?;
    attempt.payload.content_type = Some("text/plain; charset=utf-8".to_owned());
    attempt.payload.bytes = "ten words".into();
    Arc::make_mut(&mut attempt.job.spec).tags = vec!["a".to_owned()];
    let (id, created_ms) = (attempt.job.id, attempt.job.created_at.as_millisecond());
    let ended = fixture.run(attempt).await;
    let answer = output(&ended)?;
    let answer = String::from_utf8_lossy(&answer);
    let mut lines: Vec<_> = answer.lines().collect();
    assert_eq!(lines.remove(0), "2/", "POST /");
    assert_eq!(lines.pop(), Some("ten words"));
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "content-length=9",
            "content-type=text/plain; charset=utf-8",
            "jobwright-attempt=1",
            "jobwright-attempts-left=4",
            &format!("jobwright-created-at-ms={created_ms}"),
            "jobwright-failures=0",
            &format!("jobwright-job-id={id}"),
            "jobwright-max-attempts=5",
            "jobwright-plugin=probe@1.0.0",
            "jobwright-queue=default",
            "jobwright-tags=[\"a\"]",
        ]
    );
    assert_eq!(ended.usage.payload_bytes, 9);
    Ok(())
}

/// Responds with `status`, the headers that `headers` creates, and the body `hello`.
fn hello(status: u32, headers: &str) -> anyhow::Result<Vec<u8>> {
    let begins = begins(status, headers);
    handler(
        r#"(data (i32.const 1024) "hello")"#,
        &format!("{begins} (drop (call $body (i32.const 1024) (i32.const 5))) (call $finish)"),
    )
}

async fn body_and_media_type_of_the_response_are_the_output() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for (headers, expected) in
        [("(call $typed)", "text/csv"), ("(call $fields)", "text/plain; charset=utf-8")]
    {
        let ended = fixture.try_wasm(hello(200, headers)?, |_| {}).await?;
        let Outcome::Succeeded { output } = ended.outcome else {
            anyhow::bail!("{:?}", ended.outcome);
        };
        assert_eq!((&output.bytes[..], output.content_type.as_str()), (&b"hello"[..], expected));
        assert_eq!(ended.usage.output_bytes, 5);
    }
    Ok(())
}

async fn the_configured_output_type_wins_and_an_invalid_type_is_ignored() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let typed = |attempt, fixture: &RuntimeFixture| {
        let runtime = fixture.runtime.clone();
        async move {
            let (_stop, signal) = jobwright_core::runtime::Stop::new();
            match runtime.run(attempt, signal).await.outcome {
                Outcome::Succeeded { output } => Ok(output.content_type),
                other => Err(anyhow::anyhow!("{other:?}")),
            }
        }
    };
    let mut set = attempt(fixture.plugins.add(hello(200, "(call $typed)")?))?;
    Arc::make_mut(&mut set.job.spec).output_type = Some("image/png".to_owned());
    assert_eq!(typed(set, &fixture).await?, "image/png");

    // A byte that is not UTF-8, and a word that is not a media type.
    for kind in [r"te\fft/csv", "whatever"] {
        let begins = begins(200, "(local.get $fields)");
        let guest = handler(
            &format!(r#"(data (i32.const 1024) "hello{kind}")"#),
            &format!(
                "(local $fields i32)
                (local.set $fields (call $fields))
                (call $append (local.get $fields) (i32.const 112) (i32.const 12)
                    (i32.const 1029) (i32.const 8) (i32.const 64))
                {begins} (drop (call $body (i32.const 1024) (i32.const 5))) (call $finish)"
            ),
        )?;
        let attempt = attempt(fixture.plugins.add(guest))?;
        assert_eq!(typed(attempt, &fixture).await?, "text/plain; charset=utf-8", "{kind}");
    }
    Ok(())
}

async fn printed_text_is_the_log() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = handler(
        r#"(data (i32.const 1024) "onetwo")"#,
        &format!(
            "(call $print (i32.const 1024) (i32.const 3)) (call $log (i32.const 1027) (i32.const 3))
            {} (call $finish)",
            begins(204, "(call $fields)")
        ),
    )?;
    let attempt = attempt(fixture.plugins.add(guest))?;
    let log = attempt.log.clone();
    assert!(output(&fixture.run(attempt).await)?.is_empty());
    assert_eq!(text(&log), "onetwo");
    Ok(())
}

async fn the_status_decides_success_and_retry() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for status in [200, 201, 204, 299] {
        output(&fixture.try_wasm(hello(status, "(call $fields)")?, |_| {}).await?)?;
    }
    for (status, hint, message) in [
        (301, RetryHint::Never, "answered 301 Moved Permanently: hello"),
        (400, RetryHint::Never, "answered 400 Bad Request: hello"),
        (404, RetryHint::Never, "answered 404 Not Found: hello"),
        (408, RetryHint::Backoff, "answered 408 Request Timeout: hello"),
        (429, RetryHint::Backoff, "answered 429 Too Many Requests: hello"),
        (500, RetryHint::Backoff, "answered 500 Internal Server Error: hello"),
        (503, RetryHint::Backoff, "answered 503 Service Unavailable: hello"),
    ] {
        let ended = fixture.try_wasm(hello(status, "(call $fields)")?, |_| {}).await?;
        let (error, retry) = failed(&ended)?;
        assert_eq!(
            (error.code.as_str(), error.message.as_str(), retry),
            ("http_status", message, hint)
        );
    }
    Ok(())
}

async fn retry_after_delays_the_next_attempt() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let (later, retry) = (Requested::Later, Requested::Retry);
    let seconds = Duration::from_secs;
    for (status, text, asked) in [
        (503, "120", later(seconds(120))),
        (429, "864000", later(seconds(864_000))),
        (429, "Sun, 06 Nov 1994 08:49:37 GMT", later(Duration::ZERO)),
        (503, "1000000000000", later(seconds(1_000_000_000_000))),
        (503, "soon", retry(RetryHint::Backoff)),
        (429, "-1", retry(RetryHint::Backoff)),
        (408, "120", retry(RetryHint::After(seconds(120)))),
        (500, "120", retry(RetryHint::After(seconds(120)))),
        (404, "120", retry(RetryHint::Never)),
        (301, "120", retry(RetryHint::Never)),
    ] {
        let guest = handler(
            &format!(r#"(data (i32.const 1024) "retry-after{text}")"#),
            &format!(
                "(local $fields i32)
                (local.set $fields (call $fields))
                (call $append (local.get $fields) (i32.const 1024) (i32.const 11)
                    (i32.const 1035) (i32.const {}) (i32.const 64))
                {} (call $finish)",
                text.len(),
                begins(status, "(local.get $fields)")
            ),
        )?;
        let found = match fixture.try_wasm(guest, |_| {}).await?.outcome {
            Outcome::Snoozed { error, wait: Some(wait) } if error.code == "http_status" => {
                later(wait)
            }
            Outcome::Failed { retry: hint, .. } => retry(hint),
            other => anyhow::bail!("{other:?}"),
        };
        assert_eq!(found, asked, "{status} {text}");
    }
    Ok(())
}

/// What a response requests.
#[derive(Debug, PartialEq)]
enum Requested {
    Later(Duration),
    Retry(RetryHint),
}

async fn an_error_is_a_failure() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    // `internal-error` with a message.
    let guest = handler(
        r#"(data (i32.const 1024) "no tea")"#,
        "(call $set (local.get $out) (i32.const 1) (i32.const 38)
            (i32.const 1) (i64.const 1024) (i32.const 6)
            (i32.const 0) (i32.const 0) (i32.const 0))",
    )?;
    let (error, retry) = failed(&fixture.try_wasm(guest, |_| {}).await?)?;
    assert_eq!((error.code.as_str(), retry), ("http_error", RetryHint::Backoff));
    assert!(
        error.message.contains("InternalError") && error.message.contains("no tea"),
        "{error:?}"
    );
    Ok(())
}

async fn a_missing_response_is_a_failure() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let (error, retry) = failed(&fixture.try_wasm(handler("", "")?, |_| {}).await?)?;
    assert_eq!(
        (error.code.as_str(), error.message.as_str(), retry),
        ("no_answer", "the handler returned without a response", RetryHint::Backoff)
    );
    Ok(())
}

async fn exit_code_0_is_success_and_others_are_failures() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let exits = |before: &str, code: u8| {
        handler(
            r#"(import "wasi:cli/exit@0.2.0" "exit-with-code" (func $exit (param i32)))"#,
            &format!("{before} (call $exit (i32.const {code}))"),
        )
    };
    let answers = format!("{} (call $finish)", begins(200, "(call $fields)"));
    output(&fixture.try_wasm(exits(&answers, 0)?, |_| {}).await?)?;
    let ended = fixture.try_wasm(exits("", 0)?, |_| {}).await?;
    assert_eq!(failed(&ended)?.0.code, "no_answer");
    for before in ["", &answers] {
        let ended = fixture.try_wasm(exits(before, 65)?, |_| {}).await?;
        let (error, retry) = failed(&ended)?;
        assert_eq!((error.code.as_str(), retry), ("exit_code", RetryHint::Never));
    }
    Ok(())
}

async fn a_handler_that_responds_and_never_returns_ends_at_its_time_limit() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for last in ["(call $sleep (i64.const 31536000000000000))", "(loop $again (br $again))"] {
        let begins = begins(200, "(call $fields)");
        for body in [format!("{begins} (call $finish) {last}"), format!("{begins} {last}")] {
            let guest = handler("", &body)?;
            let ended = fixture.try_wasm(guest, |limits| limits.timeout_ms = 100).await?;
            exceeded(&ended, Limit::Time).map_err(|error| error.context(body))?;
        }
    }
    Ok(())
}

async fn an_endless_body_reaches_the_output_limit() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    for status in [200, 503] {
        let begins = begins(status, "(call $fields)");
        let endless =
            "(loop $again (drop (call $body (i32.const 0) (i32.const 60000))) (br $again))";
        let ended = fixture.try_wasm(handler("", &format!("{begins} {endless}"))?, |_| {}).await?;
        match status {
            200 => drop(exceeded(&ended, Limit::Output)?),
            _ => assert_eq!(failed(&ended)?.0.code, "http_status"),
        }
        assert!(ended.usage.run_ms < 5_000.0, "{:?}", ended.usage);
        let tried = ended.usage.output_bytes;
        assert!(((1 << 20) + 1..(1 << 20) + 200_000).contains(&tried), "{tried}");
    }
    Ok(())
}

async fn an_aborted_body_is_a_failure() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let begins = begins(200, "(call $fields)");
    let body = format!(
        "{begins} (drop (call $body (i32.const 112) (i32.const 7)))
        (call $drop_output (global.get $stream)) (call $drop_body (global.get $body))"
    );
    let (error, retry) = failed(&fixture.try_wasm(handler("", &body)?, |_| {}).await?)?;
    assert_eq!(
        (error.code.as_str(), error.message.as_str(), retry),
        ("http_body", "the body of the response ended early, after 7 bytes", RetryHint::Backoff)
    );
    Ok(())
}

async fn an_unfinished_body_ends_with_the_guest() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let begins = begins(200, "(call $fields)");
    let body = format!("{begins} (drop (call $body (i32.const 112) (i32.const 7)))");
    assert_eq!(&output(&fixture.try_wasm(handler("", &body)?, |_| {}).await?)?[..], b"content");
    Ok(())
}

async fn a_body_shorter_than_its_content_length_is_a_failure() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let guest = |length: &str, end: &str| {
        handler(
            &format!(r#"(data (i32.const 1024) "content-length{length}")"#),
            &format!(
                "(local $fields i32)
                (local.set $fields (call $fields))
                (call $append (local.get $fields) (i32.const 1024) (i32.const 14)
                    (i32.const 1038) (i32.const {}) (i32.const 64))
                {} (drop (call $body (i32.const 112) (i32.const 7))) {end}",
                length.len(),
                begins(200, "(local.get $fields)")
            ),
        )
    };
    // Also for a guest that ends without finishing its body.
    for end in ["(call $finish)", ""] {
        assert_eq!(output(&fixture.try_wasm(guest("7", end)?, |_| {}).await?)?.len(), 7);
        for other in ["8", "6"] {
            let (error, _) = failed(&fixture.try_wasm(guest(other, end)?, |_| {}).await?)?;
            assert_eq!(error.code, "http_body", "{other} {end}");
        }
    }
    Ok(())
}

async fn a_trap_after_the_response_is_a_trap() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    let begins = begins(200, "(call $fields)");
    for body in [format!("{begins} (call $finish) unreachable"), format!("{begins} unreachable")] {
        let ended = fixture.try_wasm(handler("", &body)?, |_| {}).await?;
        assert_eq!(trapped(&ended)?.code, "unreachable");
    }
    Ok(())
}

async fn invalid_headers_are_refused_and_the_job_continues() -> anyhow::Result<()> {
    let fixture = RuntimeFixture::new()?;
    // A name with a space, a value with a line end, a name that only the host sets, an invalid status; each
    // result is stored and becomes the body.
    let append = |at: u32, length: u32, value: u32, kept: u32| {
        format!(
            "(call $append (local.get $fields) (i32.const {at}) (i32.const {length})
                (i32.const {value}) (i32.const 3) (i32.const {kept}))"
        )
    };
    let guest = handler(
        r#"(data (i32.const 1024) "bad name") (data (i32.const 1040) "x\0ay")
        (data (i32.const 1056) "connection")"#,
        &format!(
            "(local $fields i32)
            (local.set $fields (call $fields))
            {} {} {}
            (i32.store8 (i32.const 608)
                (call $set_status (call $response (call $fields)) (i32.const 99)))
            {} (drop (call $body (i32.const 600) (i32.const 9))) (call $finish)",
            append(1024, 8, 1024, 600),
            append(112, 12, 1040, 602),
            append(1056, 10, 1024, 604),
            begins(200, "(local.get $fields)")
        ),
    )?;
    let answers = output(&fixture.try_wasm(guest, |_| {}).await?)?;
    let (invalid_syntax, forbidden) = (0, 1);
    assert_eq!(answers[..2], [1, invalid_syntax]);
    assert_eq!(answers[2..4], [1, invalid_syntax]);
    assert_eq!(answers[4..6], [1, forbidden]);
    assert_eq!(answers[8], 1);
    Ok(())
}
