//! Parsing of requests: numbers, byte-order marks, times, and query strings, on every route.

use anyhow::ensure;
use insta::assert_json_snapshot;
use jobwright_tests::{TestHost, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::json;

use super::{Answer, Fixture, get, patch, post, put, send};

pub fn trials() -> Vec<Trial> {
    tests![
        whole_numbers_are_accepted_in_every_notation,
        numbers_that_are_not_whole_are_refused_in_every_field,
        numbers_in_a_query_are_read_as_in_a_body,
        a_byte_order_mark_is_skipped_before_every_body,
        a_byte_order_mark_before_a_line_of_a_batch_is_skipped,
        a_plus_in_a_query_is_decoded_or_explained,
        a_time_too_far_ahead_is_refused_with_that_reason,
        every_unknown_parameter_is_reported_with_the_valid_ones,
        messages_quote_the_invalid_value_and_escape_it_once,
    ]
}

/// Every numeric field: the request that sets it, and where it is shown. `N` stands for a number.
const NUMBERS: [(&str, &str, &str, &str); 24] = [
    ("POST", "/v1/jobs", r#"{"plugin":"p","max_attempts":N}"#, "/max_attempts"),
    ("POST", "/v1/jobs", r#"{"plugin":"p","priority":N}"#, "/priority"),
    ("POST", "/v1/jobs", r#"{"plugin":"p","limits":{"timeout_ms":N}}"#, "/limits/timeout_ms"),
    ("POST", "/v1/jobs", r#"{"plugin":"p","limits":{"fuel":N}}"#, "/limits/fuel"),
    ("POST", "/v1/jobs", r#"{"plugin":"p","limits":{"tables":N}}"#, "/limits/tables"),
    ("POST", "/v1/jobs", r#"{"plugin":"p","limits":{"resources":N}}"#, "/limits/resources"),
    ("POST", "/v1/jobs", r#"{"plugin":"p","limits":{"log_bytes":N}}"#, "/limits/log_bytes"),
    ("POST", "/v1/jobs", r#"{"plugin":"p","limits":{"output_bytes":N}}"#, "/limits/output_bytes"),
    ("POST", "/v1/jobs", r#"{"plugin":"p","limits":{"grace_ms":N}}"#, "/limits/grace_ms"),
    ("POST", "/v1/jobs?plugin=p&max_attempts=N", "", "/max_attempts"),
    ("POST", "/v1/jobs?plugin=p&priority=N", "", "/priority"),
    ("POST", "/v1/jobs?plugin=p&limits.fuel=N", "", "/limits/fuel"),
    ("PATCH", "/v1/plugins/p", r#"{"limits":{"fuel":N}}"#, "/settings/limits/fuel"),
    ("PATCH", "/v1/plugins/p", r#"{"limits":{"timeout_ms":N}}"#, "/settings/limits/timeout_ms"),
    (
        "PATCH",
        "/v1/plugins/p",
        r#"{"grants":{"key_value":{"bytes":N}}}"#,
        "/settings/grants/key_value/bytes",
    ),
    (
        "PATCH",
        "/v1/plugins/p",
        r#"{"grants":{"http_limits":{"requests":N}}}"#,
        "/settings/grants/http_limits/requests",
    ),
    (
        "PATCH",
        "/v1/plugins/p",
        r#"{"grants":{"http_limits":{"concurrent":N}}}"#,
        "/settings/grants/http_limits/concurrent",
    ),
    (
        "PATCH",
        "/v1/plugins/p",
        r#"{"grants":{"http_limits":{"response_bytes":N}}}"#,
        "/settings/grants/http_limits/response_bytes",
    ),
    (
        "PATCH",
        "/v1/plugins/p",
        r#"{"grants":{"clock_precision_us":N}}"#,
        "/settings/grants/clock_precision_us",
    ),
    ("PATCH", "/v1/tenants/t", r#"{"limits":{"jobs":N}}"#, "/limits/jobs"),
    ("PATCH", "/v1/tenants/t", r#"{"limits":{"payload_bytes":N}}"#, "/limits/payload_bytes"),
    ("PATCH", "/v1/tenants/t", r#"{"limits":{"running":N}}"#, "/limits/running"),
    ("PATCH", "/v1/tenants/t", r#"{"limits":{"jobs_per_second":N}}"#, "/limits/jobs_per_second"),
    ("PATCH", "/v1/tenants/t", r#"{"limits":{"plugin_bytes":N}}"#, "/limits/plugin_bytes"),
];

async fn ask(
    host: &TestHost,
    method: &str,
    path: &str,
    body: impl Into<Vec<u8>>,
) -> anyhow::Result<Answer> {
    send(host.request(Method::from_bytes(method.as_bytes())?, path).body(body.into())).await
}

async fn whole_numbers_are_accepted_in_every_notation() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    for (method, path, body, shown) in NUMBERS {
        for number in ["3.0", "0.3e1", "30e-1", "3E0", "3.000"] {
            let (path, body) = (path.replace('N', number), body.replace('N', number));
            let answer = ask(&host, method, &path, body.clone()).await?;
            ensure!(answer.status.is_success(), "{path} {body}: {answer:?}");
            assert_eq!(answer.json()?.pointer(shown), Some(&json!(3)), "{path} {body}");
        }
    }
    let exact = r#"{"plugin":"p","limits":{"fuel":9007199254740993.0}}"#;
    let job = post(&host, "/v1/jobs", exact).await?.ok(202)?;
    assert_eq!(job["limits"]["fuel"], json!(9_007_199_254_740_993_u64));
    let delayed = post(&host, "/v1/jobs", r#"{"plugin":"p","delay_ms":5e3}"#).await?.ok(202)?;
    assert_eq!(delayed["scheduled_at"], "2026-01-01T00:00:05Z");
    let batch = post(&host, "/v1/jobs/batch", r#"[{"plugin":"p","delay_ms":5000.0}]"#).await?;
    assert_eq!(batch.ok(200)?[0]["status"], 202);
    let key = r#"{"scopes":["admin"],"expires_in_s":6e1}"#;
    // The first key must not expire; the number itself is valid.
    assert_eq!(post(&host, "/v1/keys", key).await?.code(409)?, "first_key");
    Ok(())
}

async fn numbers_that_are_not_whole_are_refused_in_every_field() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    for (method, path, body, _) in NUMBERS {
        for (number, says) in [
            ("0.5", "expected "),
            ("1e-1", "expected "),
            ("-1", "`-1` is negative: expected "),
            ("1e400", "`1e400` is too large: expected "),
        ] {
            let (path, body) = (path.replace('N', number), body.replace('N', number));
            let problem = ask(&host, method, &path, body.clone()).await?.problem(422)?;
            let message = problem["errors"][0]["message"].as_str().unwrap_or_default();
            ensure!(
                message.starts_with(says) && message.contains(number),
                "{path} {body}: {message}"
            );
        }
    }
    Ok(())
}

async fn numbers_in_a_query_are_read_as_in_a_body() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let id = fixture.submit(json!({})).await?;
    fixture.begins().await?.succeed();
    fixture.host.finalized(&id).await?;
    for path in [
        "/v1/jobs?limit=1e2".to_owned(),
        "/v1/jobs?limit=50.0".to_owned(),
        "/v1/jobs?limit=050".to_owned(),
        "/v1/audit?limit=1e3&cursor=5.0".to_owned(),
        format!("/v1/jobs/{id}?wait=1e1"),
        format!("/v1/jobs/{id}?wait=5.0"),
        format!("/v1/jobs/{id}/logs?attempt=1.0"),
    ] {
        assert_eq!(get(&fixture.host, &path).await?.status, 200, "{path}");
    }
    for path in ["/v1/jobs?limit=0.5", "/v1/audit?limit=1e400", "/v1/audit?cursor=-1"] {
        assert_eq!(get(&fixture.host, path).await?.code(400)?, "invalid_query", "{path}");
    }
    Ok(())
}

async fn a_byte_order_mark_is_skipped_before_every_body() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let job = r#"{"plugin":"p"}"#;
    for (method, path, body, status) in [
        ("POST", "/v1/jobs", job.to_owned(), 202),
        ("POST", "/v1/jobs/batch", format!("{job}\n{job}"), 200),
        ("POST", "/v1/jobs/batch", format!("[{job},{job}]"), 200),
        ("POST", "/v1/jobs/batch", format!("\n {job}"), 200),
        ("PATCH", "/v1/plugins/p", r#"{"limits":{}}"#.to_owned(), 200),
        ("PATCH", "/v1/tenants/t", r#"{"limits":{"jobs":1}}"#.to_owned(), 200),
        (
            "PUT",
            "/v1/secrets/S",
            r#"{"value":"0123456789","origins":["https://a.example"]}"#.into(),
            201,
        ),
        ("POST", "/v1/plugins/p/disable", r#"{"jobs":"hold"}"#.to_owned(), 200),
        ("POST", "/v1/plugins/p/enable", "{}".to_owned(), 200),
        ("POST", "/v1/queues/default/pause", String::new(), 200),
        ("POST", "/v1/keys", r#"{"scopes":["admin"]}"#.to_owned(), 201),
    ] {
        let answer = ask(&host, method, path, format!("\u{feff}{body}")).await?;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        if path.ends_with("batch") {
            let answers = answer.json()?;
            let accepted =
                answers.as_array().into_iter().flatten().filter(|it| it["status"] == 202);
            assert_eq!(accepted.count(), body.matches("plugin").count(), "{body}: {answers}");
        }
    }
    Ok(())
}

async fn a_byte_order_mark_before_a_line_of_a_batch_is_skipped() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let job = r#"{"plugin":"p"}"#;
    // As when files that begin with a mark are concatenated.
    let lines = format!("{job}\n\u{feff}{job}\r\n\u{feff}\n");
    let answers = post(&fixture.host, "/v1/jobs/batch", lines).await?.ok(200)?;
    assert_eq!(answers.as_array().map(Vec::len), Some(2), "{answers}");
    for answer in answers.as_array().into_iter().flatten() {
        assert_eq!(answer["status"], 202, "{answers}");
        fixture.succeeds().await?;
    }
    // A raw payload is not parsed.
    let payload = "\u{feff}a,b\n";
    post(&fixture.host, "/v1/jobs?plugin=p", payload).await?.ok(202)?;
    assert_eq!(fixture.succeeds().await?.payload.bytes, payload);
    Ok(())
}

async fn a_plus_in_a_query_is_decoded_or_explained() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let version = put(&host, "/v1/plugins/x?version=1.0.0+b7", "bytes").await?.ok(201)?;
    assert_eq!(version["version"], "1.0.0+b7");
    let at = "scheduled_at=2026-01-31T09:30:00+02:00";
    let query = format!("plugin=x@1.0.0+b7&{at}&tag=a+b&limits.fuel=1e+09&max_attempts=1e+1");
    let job = post(&host, &format!("/v1/jobs?{query}"), "").await?.ok(202)?;
    assert_eq!(
        (&job["plugin"], &job["scheduled_at"], &job["tags"]),
        (&json!("x@1.0.0+b7"), &json!("2026-01-31T07:30:00Z"), &json!(["a b"]))
    );
    assert_eq!((&job["limits"]["fuel"], &job["max_attempts"]), (&json!(1_000_000_000), &json!(10)));
    post(&host, "/v1/jobs?plugin=p&delay_ms=1e+3", "").await?.ok(202)?;
    get(&host, "/v1/jobs?limit=1e+2").await?.ok(200)?;
    let listed = get(&host, "/v1/jobs?plugin=x@1.0.0+b7").await?.ok(200)?;
    assert_eq!(listed["jobs"].as_array().map(Vec::len), Some(1));
    let explained = "(in a query, `+` is a space: write %2B for a plus sign)";
    for wrong in ["env.1N=a+b", "arg=a+b%00"] {
        let raw = post(&host, &format!("/v1/jobs?plugin=p&{wrong}"), "").await?.problem(422)?;
        ensure!(raw["detail"].as_str().is_some_and(|text| text.contains(explained)), "{raw}");
    }
    let raw = post(&host, "/v1/jobs?plugin=p&queue=a+b", "").await?.problem(422)?;
    ensure!(raw["detail"].as_str().is_some_and(|text| text.contains("`a+b`")), "{raw}");
    Ok(())
}

async fn a_time_too_far_ahead_is_refused_with_that_reason() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let too_far = "is too far ahead: a job can be scheduled at most 366 days ahead";
    for (field, value) in [
        ("scheduled_at", json!("2027-01-02T00:00:01Z")),
        ("scheduled_at", json!("9999-12-31T23:59:59Z")),
        ("scheduled_at", json!("9999-12-31T23:59:59+14:00")),
        ("scheduled_at", json!("10000-01-01T00:00:00Z")),
        ("scheduled_at", json!("+012026-02-29T00:00:00Z")),
        ("delay_ms", json!(31_622_400_001_u64)),
        ("delay_ms", json!(u64::MAX)),
    ] {
        let job = json!({ "plugin": "p", field: value });
        let problem = post(&host, "/v1/jobs", &job).await?.problem(422)?;
        assert_eq!(problem["errors"], json!([{ "field": field, "message": too_far }]), "{job}");
    }
    for wrong in ["9999-13-31T23:59:59Z", "10000-01-01", "tomorrow", "2026-01-31T09:30:00"] {
        let job = json!({ "plugin": "p", "scheduled_at": wrong });
        let problem = post(&host, "/v1/jobs", &job).await?.problem(422)?;
        let message = problem["errors"][0]["message"].as_str().unwrap_or_default();
        let expected = "expected a time with its zone, such as 2026-01-31T09:30:00Z, got `";
        assert_eq!(message, format!("{expected}{wrong}`"));
    }
    post(&host, "/v1/jobs", r#"{"plugin":"p","delay_ms":31622400000}"#).await?.ok(202)?;
    Ok(())
}

async fn every_unknown_parameter_is_reported_with_the_valid_ones() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let problem = get(&host, "/v1/jobs?limit=x&state=over&page=2&sort=id&queue=Q").await?;
    assert_json_snapshot!(problem.problem(400)?, @r#"
    {
      "code": "invalid_query",
      "detail": "state: expected one of scheduled, available, retryable, running, completed, discarded, cancelled, expired, got `over`; queue: `Q` is not a name: use 1 to 64 characters a-z, 0-9, `.`, `_` and `-`, the first of them a letter or digit; limit: expected a whole number from 1 to 200, got `x`; page: is not a parameter of this request; there are: state, plugin, queue, tag, cursor, limit; sort: is not a parameter of this request",
      "errors": [
        {
          "field": "state",
          "message": "expected one of scheduled, available, retryable, running, completed, discarded, cancelled, expired, got `over`"
        },
        {
          "field": "queue",
          "message": "`Q` is not a name: use 1 to 64 characters a-z, 0-9, `.`, `_` and `-`, the first of them a letter or digit"
        },
        {
          "field": "limit",
          "message": "expected a whole number from 1 to 200, got `x`"
        },
        {
          "field": "page",
          "message": "is not a parameter of this request; there are: state, plugin, queue, tag, cursor, limit"
        },
        {
          "field": "sort",
          "message": "is not a parameter of this request"
        }
      ]
    }
    "#);
    for (method, path, exist) in [
        ("GET", "/v1/plugins?page=2", "cursor"),
        ("PUT", "/v1/plugins/q?verzion=1.0.0", "version"),
        ("GET", "/v1/audit?page=2", "cursor, limit"),
        ("POST", "/v1/jobs?plugin=p&wait=5s", "plugin, delay_ms"),
    ] {
        let answer = ask(&host, method, path, "").await?;
        ensure!(answer.text()?.contains(&format!("; there are: {exist}")), "{path}: {answer:?}");
    }
    let both = put(&host, "/v1/plugins/q?version=one&tag=x", "bytes").await?.problem(400)?;
    let errors = both["errors"].as_array().into_iter().flatten();
    let fields: Vec<&str> = errors.filter_map(|error| error["field"].as_str()).collect();
    assert_eq!((fields, &both["code"]), (vec!["version", "tag"], &json!("invalid_query")));
    Ok(())
}

async fn messages_quote_the_invalid_value_and_escape_it_once() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let queue = "it's \"a\\b\" ä\u{1b}";
    let problem = post(&host, "/v1/jobs", json!({ "plugin": "p", "queue": queue })).await?;
    let message = problem.problem(422)?["errors"][0]["message"].clone();
    let quoted = "`it's \"a\\b\" ä\\u{1b}` is not a name";
    ensure!(message.as_str().is_some_and(|text| text.starts_with(quoted)), "{message}");
    let patched = patch(&host, "/v1/plugins/p", json!({ "output_type": ["a\nb"] })).await?;
    let expected = "output_type: expected a string, got `[\"a\\nb\"]`";
    assert_eq!(patched.problem(422)?["detail"], expected);
    Ok(())
}
