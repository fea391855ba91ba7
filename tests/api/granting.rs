//! Grants over HTTP: changed member by member, checked, and enforced for jobs.

use insta::assert_json_snapshot;
use jobwright_tests::fetch::{self, Fetch};
use jobwright_tests::{Server, TestHost, guests, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{Fixture, get, patch, put};

pub fn trials() -> Vec<Trial> {
    tests![
        grants_are_set_shown_and_taken_back_member_by_member,
        all_invalid_grants_are_reported_and_nothing_changes,
        a_plugin_fetches_with_a_secret_under_a_grant_and_is_refused_without,
        a_removed_grant_is_gone_for_waiting_jobs_too,
        waiting_jobs_stop_being_deterministic_when_the_grant_is_removed,
        a_waiting_job_stays_deterministic_while_the_grant_remains,
        invalid_and_contradictory_grants_are_refused,
        duplicate_members_of_grants_are_refused,
        numbers_above_their_maximum_are_refused_with_it,
    ]
}

async fn grants_are_set_shown_and_taken_back_member_by_member() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let changed = async |change: Value| -> anyhow::Result<Value> {
        let change = json!({ "grants": change });
        let plugin = patch(&host, "/v1/plugins/p", change).await?.ok(200)?;
        assert_eq!(get(&host, "/v1/plugins/p").await?.ok(200)?, plugin);
        Ok(plugin["settings"]["grants"].clone())
    };
    let http = json!([
        { "origin": "https://api.example.com", "methods": ["GET"] },
        { "origin": "http://*.example.org:8080", "networks": ["10.1.0.0/16"] },
    ]);
    let granted = changed(json!({
        "http": http,
        "http_limits": { "requests": 5 },
        "secrets": ["KEY"],
        "env": { "A": "1" },
        "key_value": { "bytes": 10 },
        "config": { "b": "2" },
        "clock_precision_us": 5,
        "deterministic": true,
    }))
    .await?;
    assert_json_snapshot!(granted, @r#"
    {
      "clock_precision_us": 5,
      "config": {
        "b": "2"
      },
      "deterministic": true,
      "env": {
        "A": "1"
      },
      "http": [
        {
          "methods": [
            "GET"
          ],
          "origin": "https://api.example.com"
        },
        {
          "networks": [
            "10.1.0.0/16"
          ],
          "origin": "http://*.example.org:8080"
        }
      ],
      "http_limits": {
        "concurrent": 4,
        "request_bytes": 1048576,
        "requests": 5,
        "response_bytes": 16777216
      },
      "key_value": {
        "bytes": 10
      },
      "secrets": [
        "KEY"
      ]
    }
    "#);
    assert_eq!(changed(json!({})).await?, granted);
    let fewer = json!({
        "http": null, "env": null, "key_value": null, "http_limits": null,
        "clock_precision_us": null, "deterministic": null, "config": { "c": "3" },
    });
    assert_eq!(changed(fewer).await?, json!({ "secrets": ["KEY"], "config": { "c": "3" } }));
    assert_eq!(changed(json!(null)).await?, Value::Null);
    Ok(())
}

async fn all_invalid_grants_are_reported_and_nothing_changes() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let grants = json!({ "grants": {
        "http": [
            { "origin": "https://*.com", "methods": ["get"], "netwoks": [] },
            { "methods": ["GET"] },
            { "origin": "https://a.example.com", "networks": ["10.0.0.1/99"] },
            "https://a.example.com",
        ],
        "http_limits": { "concurrent": 0, "request_bytes": -1, "respone_bytes": 1 },
        "secrets": ["A-B"],
        "clock_precision_us": 0,
        "everything": true,
    } });
    let problem = patch(&host, "/v1/plugins/p", grants).await?.problem(422)?;
    assert_json_snapshot!(problem["errors"], @r#"
    [
      {
        "field": "grants.http.0.methods",
        "message": "expected a list of methods such as GET, in capitals, got `[\"get\"]`"
      },
      {
        "field": "grants.http.0.origin",
        "message": "`https://*.com` is not an origin: use `https://api.example.com`, `http://127.0.0.1:8080`, `https://*.example.com` or `https://*`, without a path, and `:*` for any port"
      },
      {
        "field": "grants.http.0.netwoks",
        "message": "is not a grant; there are: methods, networks, origin"
      },
      {
        "field": "grants.http.1.origin",
        "message": "is missing"
      },
      {
        "field": "grants.http.2.networks",
        "message": "expected a list of networks such as 10.1.0.0/16, got `[\"10.0.0.1/99\"]`"
      },
      {
        "field": "grants.http.3",
        "message": "is not an object"
      },
      {
        "field": "grants.http_limits.request_bytes",
        "message": "`-1` is negative: expected a whole number of bytes"
      },
      {
        "field": "grants.http_limits.respone_bytes",
        "message": "is not a grant; there are: requests, concurrent, request_bytes, response_bytes"
      },
      {
        "field": "grants.secrets",
        "message": "expected a list of names of secrets, got `[\"A-B\"]`"
      },
      {
        "field": "grants.clock_precision_us",
        "message": "expected a number of microseconds from 1 to 4294967295, got `0`"
      },
      {
        "field": "grants.http_limits.concurrent",
        "message": "is 0, use 1 to 64"
      },
      {
        "field": "grants.everything",
        "message": "is not a grant; there are: http, http_limits, key_value, config, secrets, env, clock_precision_us, deterministic"
      }
    ]
    "#);
    for wrong in [json!(true), json!("all"), json!([]), json!({ "http": {} })] {
        let answer = patch(&host, "/v1/plugins/p", json!({ "grants": wrong })).await?;
        assert_eq!(answer.code(422)?, "invalid_fields", "{wrong}");
    }
    let many: Vec<Value> = (0..101).map(|_| json!({ "origin": "https://*" })).collect();
    let answer = patch(&host, "/v1/plugins/p", json!({ "grants": { "http": many } })).await?;
    assert_eq!(answer.problem(422)?["errors"][0]["field"], "grants.http");
    let untouched = get(&host, "/v1/plugins/p").await?.ok(200)?;
    assert_eq!(untouched["settings"]["grants"], Value::Null);
    Ok(())
}

const VALUE: &str = "s3cr3t-v4lue";

/// A host, and a server that echoes requests.
async fn shown() -> anyhow::Result<(TestHost, Server, String)> {
    let server = Server::answering(Server::ok).await?;
    let origin = format!("http://{}", server.address());
    Ok((TestHost::start().await?, server, origin))
}

async fn a_plugin_fetches_with_a_secret_under_a_grant_and_is_refused_without() -> anyhow::Result<()>
{
    let (host, server, origin) = shown().await?;
    let secret = json!({ "value": VALUE, "origins": [origin] });
    put(&host, "/v1/secrets/KEY", secret.to_string()).await?.ok(201)?;
    let header = ("authorization".to_owned(), "Bearer jobwright-secret(KEY)".to_owned());
    let authority = server.address().to_string();
    let fetch = Fetch { authority, path: "/".into(), header: Some(header), ..Fetch::default() };
    host.push("component", fetch.command()?).await?;
    host.push("extism", fetch::extism()?).await?;
    let payload = json!({
        "url": format!("{origin}/"), "headers": { "Authorization": "Bearer jobwright-secret(KEY)" },
    });
    let denied = "denied: the plugin is not granted HTTP requests\n";
    // A component handles the error; a call of an Extism plug-in fails with it.
    for (name, refused) in [("component", ("completed", "E15")), ("extism", ("discarded", ""))] {
        let before = server.seen().len();
        let run = async || -> anyhow::Result<(String, String, String)> {
            let job = host.run(json!({ "plugin": name, "payload": payload })).await?;
            let id = job["id"].as_str().unwrap_or_default();
            let output = get(&host, &format!("/v1/jobs/{id}/output")).await?;
            let output = if output.status == 404 { "" } else { output.text()? }.to_owned();
            let state = job["state"].as_str().unwrap_or_default().to_owned();
            Ok((state, output, host.log(id).await?))
        };
        let (state, output, log) = run().await?;
        assert_eq!((state.as_str(), output.as_str()), refused, "{log}");
        assert!(log.starts_with(&format!("WARN: jobwright: GET {origin}/: {denied}")), "{log}");
        assert_eq!(server.seen().len(), before);

        let grants = json!({ "http": [{ "origin": origin }], "secrets": ["KEY"] });
        let path = format!("/v1/plugins/{name}");
        patch(&host, &path, json!({ "grants": grants })).await?.ok(200)?;
        let (_, output, log) = run().await?;
        let seen = server.seen().pop().unwrap_or_default();
        assert!(seen.contains(&format!("authorization: Bearer {VALUE}\r\n")), "{seen} {log}");
        assert!(output.contains("authorization: Bearer ************\r\n"), "{output}");
        assert_eq!(log, "");

        patch(&host, &path, json!({ "grants": { "secrets": null } })).await?.ok(200)?;
        let (state, output, log) = run().await?;
        assert_eq!((state.as_str(), output.as_str()), refused);
        assert!(log.contains("the secret `KEY` is not granted to the plugin"), "{log}");
        assert_eq!(server.seen().len(), before + 1);
    }
    Ok(())
}

async fn a_removed_grant_is_gone_for_waiting_jobs_too() -> anyhow::Result<()> {
    let (host, server, origin) = shown().await?;
    host.push("extism", fetch::extism()?).await?;
    let granted = json!({ "grants": { "http": [{ "origin": origin }] } });
    patch(&host, "/v1/plugins/extism", granted).await?.ok(200)?;
    host.post("/v1/queues/default/pause", Value::Null).await?.error_for_status()?;
    let payload = json!({ "url": format!("{origin}/") });
    let id = host.submit(json!({ "plugin": "extism", "payload": payload })).await?;
    patch(&host, "/v1/plugins/extism", json!({ "grants": null })).await?.ok(200)?;
    host.post("/v1/queues/default/resume", Value::Null).await?.error_for_status()?;
    let error = &host.finalized(&id).await?["attempts"][0]["error"];
    assert_eq!(error["code"], "http_request", "{error}");
    assert!(error["message"].to_string().contains("not granted HTTP requests"), "{error}");
    assert_eq!(server.seen(), Vec::<String>::new());
    Ok(())
}

/// Reads a clock 100,000 times. Exits with 1 if the clock advanced by more than 90 s, which happens only
/// in a deterministic attempt.
pub(crate) const READS: &str = r#"(module
  (import "wasi_snapshot_preview1" "clock_time_get"
    (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func $read (result i64)
    (drop (call $clock (i32.const 1) (i64.const 1) (i32.const 0)))
    (i64.load (i32.const 0)))
  (func (export "_start") (local $first i64) (local $left i32)
    (local.set $first (call $read))
    (local.set $left (i32.const 100000))
    (loop $more
      (drop (call $read))
      (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (call $exit
      (i64.gt_u (i64.sub (call $read) (local.get $first)) (i64.const 90_000_000_000)))))"#;

/// The log line of an attempt at a job that is no longer deterministic.
const WITHDRAWN: &str =
    "WARN: jobwright: deterministic mode is no longer allowed by the plugin's settings";

/// Two jobs that were submitted while the plugin had the grant `deterministic`: one that did not request
/// it, and one for which an administrator did. They run when the plugin has the grant `then`.
async fn granted_until(host: &TestHost, then: Value) -> anyhow::Result<[Value; 2]> {
    host.push("reads", guests::assemble(READS)?).await?;
    let granted = async |grant: Value| {
        let change = json!({ "grants": { "deterministic": grant } });
        patch(host, "/v1/plugins/reads", change).await?.ok(200)
    };
    granted(json!(true)).await?;
    host.post("/v1/queues/default/pause", Value::Null).await?.error_for_status()?;
    let job = json!({ "plugin": "reads", "max_attempts": 1 });
    let granted_one = host.submit(job.clone()).await?;
    let mut asks = job;
    asks["deterministic"] = true.into();
    let asked_one = host.submit(asks).await?;
    granted(then).await?;
    host.post("/v1/queues/default/resume", Value::Null).await?.error_for_status()?;
    Ok([host.finalized(&granted_one).await?, host.finalized(&asked_one).await?])
}

/// Whether the attempt at `job` was deterministic; its start, its outcome and its log must agree.
async fn was_deterministic(host: &TestHost, job: &Value) -> anyhow::Result<bool> {
    let start = &job["attempts"][0]["start"];
    let was = start["clock"] == job["created_at"];
    assert_eq!(job["deterministic"], true, "it was accepted as one: {job}");
    assert_eq!(start["determinism_withdrawn"] == true, !was, "{job}");
    assert_eq!(job["state"], if was { "discarded" } else { "completed" }, "{job}");
    let log = host.log(job["id"].as_str().unwrap_or_default()).await?;
    assert_eq!(log.contains(WITHDRAWN), !was, "{log}");
    Ok(was)
}

async fn waiting_jobs_stop_being_deterministic_when_the_grant_is_removed() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    let [granted, asked] = granted_until(&host, json!(false)).await?;
    assert!(!was_deterministic(&host, &granted).await?, "only the grant allowed it");
    assert!(was_deterministic(&host, &asked).await?, "an administrator needs no grant");
    Ok(())
}

async fn a_waiting_job_stays_deterministic_while_the_grant_remains() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    for job in granted_until(&host, json!("optional")).await? {
        assert!(was_deterministic(&host, &job).await?, "{job}");
    }
    Ok(())
}

/// The faults of these grants, each with its field.
async fn faults(host: &TestHost, grants: &str) -> anyhow::Result<Vec<String>> {
    let change = format!(r#"{{ "grants": {grants} }}"#);
    let request = host.request(reqwest::Method::PATCH, "/v1/plugins/p").body(change);
    let problem: Value = request.send().await?.json().await?;
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    let shown = |part: &Value| part.as_str().unwrap_or_default().to_owned();
    let fault = |error: &Value| format!("{}: {}", shown(&error["field"]), shown(&error["message"]));
    Ok(errors.iter().map(fault).collect())
}

async fn invalid_and_contradictory_grants_are_refused() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let variable = "is not a variable's name: use A-Z, a-z, 0-9 and `_`, no digit first, and not \
                    `JOBWRIGHT_…`";
    let both = "is also the name of a granted secret: remove one of them";
    for (grants, fault) in [
        (r#"{ "env": { "A=B": "" } }"#, format!("grants.env.A=B: {variable}")),
        (r#"{ "env": { "": "" } }"#, format!("grants.env.: {variable}")),
        (
            r#"{ "env": { "JOBWRIGHT_JOB_ID": "" } }"#,
            format!("grants.env.JOBWRIGHT_JOB_ID: {variable}"),
        ),
        (
            r#"{ "env": { "A": "\u0000" } }"#,
            "grants.env.A: the value contains a NUL character, which variables cannot have".into(),
        ),
        (
            r#"{ "secrets": ["JOBWRIGHT_QUEUE"] }"#,
            format!("grants.secrets: `JOBWRIGHT_QUEUE` {variable}"),
        ),
        (r#"{ "secrets": ["A"], "config": { "A": "" } }"#, format!("grants.config.A: {both}")),
        (r#"{ "secrets": ["A"], "env": { "A": "" } }"#, format!("grants.env.A: {both}")),
        (
            r#"{ "http": [{ "origin": "https://*", "methods": [] }] }"#,
            "grants.http.0.methods: is empty, so nothing is allowed: leave it out to allow every \
             method"
                .into(),
        ),
    ] {
        assert_eq!(faults(&host, grants).await?, [fault], "{grants}");
    }
    let fine = r#"{ "env": { "A": "" }, "config": { "A": "", "JOBWRIGHT_X y": "\u0000" } }"#;
    assert_eq!(faults(&host, fine).await?, Vec::<String>::new());
    // Also if one of the two was granted before.
    assert_eq!(
        faults(&host, r#"{ "secrets": ["A"] }"#).await?,
        [format!("grants.config.A: {both}"), format!("grants.env.A: {both}"),]
    );
    Ok(())
}

async fn duplicate_members_of_grants_are_refused() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    for member in ["env", "config"] {
        let twice = format!(r#"{{ "{member}": {{ "A": "1", "B": "1", "A": "2" }} }}"#);
        let fault = format!("grants.{member}.A: is there twice");
        assert_eq!(faults(&host, &twice).await?, [fault]);
        let number = format!(r#"{{ "{member}": {{ "A": 1, "B": null }} }}"#);
        let of = |name: &str, value: &str| {
            format!("grants.{member}.{name}: expected a string, got `{value}`")
        };
        assert_eq!(faults(&host, &number).await?, [of("A", "1"), of("B", "null")]);
        let list = format!(r#"{{ "{member}": [] }}"#);
        assert_eq!(faults(&host, &list).await?, [format!("grants.{member}: is not an object")]);
    }
    Ok(())
}

async fn numbers_above_their_maximum_are_refused_with_it() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    for (grants, fault) in [
        (
            r#"{ "http_limits": { "requests": 4294967296 } }"#,
            "http_limits.requests: `4294967296` is too large: expected a whole number of at most 4294967295",
        ),
        (
            r#"{ "clock_precision_us": 4294967296 }"#,
            "clock_precision_us: expected a number of microseconds from 1 to 4294967295, got `4294967296`",
        ),
        (
            r#"{ "key_value": { "bytes": -1 } }"#,
            "key_value.bytes: `-1` is negative: expected a whole number of bytes",
        ),
        (r#"{ "key_value": {} }"#, "key_value.bytes: is missing"),
        (
            r#"{ "key_value": { "bytes": 1, "byte": 1 } }"#,
            "key_value.byte: is not a grant; there are: bytes",
        ),
        (r#"{ "key_value": 5 }"#, "key_value: is not an object"),
    ] {
        assert_eq!(faults(&host, grants).await?, [format!("grants.{fault}")], "{grants}");
    }
    let most = r#"{ "http_limits": { "requests": 4294967295 }, "clock_precision_us": 4294967295 }"#;
    assert_eq!(faults(&host, most).await?, Vec::<String>::new());
    Ok(())
}
