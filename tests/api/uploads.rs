//! Uploading a plugin: what is accepted, what is refused, and why.

use anyhow::ensure;
use insta::assert_json_snapshot;
use jobwright_core::plugin::Digest;

use jobwright_tests::{NOT_NOW, TestHost, components, guests, tests};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::json;

use super::wire::Wire;
use super::{Fixture, get, post, put, send, soon};

pub fn trials() -> Vec<Trial> {
    tests![
        an_upload_is_answered_with_the_inspection_of_the_bytes,
        components_are_uploaded_and_run_like_any_other_plugin,
        the_same_bytes_again_change_nothing,
        the_same_bytes_again_repair_a_damaged_file,
        a_version_never_gets_other_bytes,
        an_upload_without_a_version_gets_one_from_its_digest,
        bytes_that_are_not_a_plugin_are_refused_with_the_reason,
        a_plugin_that_starts_with_more_memory_than_allowed_is_refused,
        a_plugin_that_is_too_large_is_refused_before_it_is_sent,
        a_plugin_of_unknown_length_is_refused_while_it_is_sent,
        a_refused_upload_leaves_no_file,
        an_upload_without_a_compile_slot_may_be_retried,
        an_upload_whose_client_disconnects_is_finished,
        a_job_names_the_entry_point_of_a_plugin_that_has_several,
        invalid_names_and_versions_are_refused,
    ]
}

async fn an_upload_is_answered_with_the_inspection_of_the_bytes() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    let wasm = guests::echo()?;
    let answer = put(&host, "/v1/plugins/echo?version=1.2.0", wasm.clone()).await?;
    let version = answer.ok(201)?;
    assert_eq!(version["digest"], Digest::of(&wasm).to_string());
    assert_eq!(version["size_bytes"], wasm.len());
    assert_json_snapshot!(version, {
        ".digest" => "[digest]", ".size_bytes" => "[length]", ".created_at" => "[time]",
    }, @r#"
    {
      "abi": "wasi-command-p1",
      "created_at": "[time]",
      "digest": "[digest]",
      "disabled": false,
      "entrypoints": [],
      "exports": [
        "_start",
        "memory"
      ],
      "grants": [],
      "imports": [
        "wasi_snapshot_preview1.fd_read",
        "wasi_snapshot_preview1.fd_write"
      ],
      "minimum_memory_bytes": 131072,
      "name": "echo",
      "size_bytes": "[length]",
      "version": "1.2.0"
    }
    "#);
    assert_eq!(answer.header("location"), "/v1/plugins/echo/versions/1.2.0");
    assert_eq!(get(&host, answer.header("location")).await?.ok(200)?, version);
    Ok(())
}

async fn components_are_uploaded_and_run_like_any_other_plugin() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    let greets = r#"(data (i32.const 1024) "hello")"#;
    let command = "(call $print (i32.const 1024) (i32.const 5))";
    let handler = "(call $answer (local.get $out) (i32.const 201) (call $typed))
        (drop (call $body (i32.const 1024) (i32.const 5))) (call $finish)";
    for (name, abi, wasm, output_type) in [
        (
            "command",
            "wasi-command-p2",
            components::command(greets, command)?,
            "text/plain; charset=utf-8",
        ),
        ("web", "wasi-http-p2", components::handler(greets, handler)?, "text/csv"),
    ] {
        let version = put(&host, &format!("/v1/plugins/{name}"), wasm).await?.ok(201)?;
        assert_eq!(version["abi"], abi);
        let exports = version["exports"].as_array().map(Vec::len);
        ensure!(exports == Some(1), "{version}");
        let request = host.request(Method::POST, &format!("/v1/jobs?plugin={name}"));
        let job = send(request.header("prefer", "wait=60").body("payload")).await?.ok(200)?;
        assert_eq!(
            (&job["state"], &job["output_type"]),
            (&json!("completed"), &json!(output_type))
        );
        let output = get(&host, job["output_url"].as_str().unwrap_or_default()).await?;
        assert_eq!(output.text()?, "hello");
    }
    Ok(())
}

async fn the_same_bytes_again_change_nothing() -> anyhow::Result<()> {
    let Fixture { host, clock, .. } = Fixture::new().await?;
    let first = put(&host, "/v1/plugins/q?version=1.0.0", "bytes").await?.ok(201)?;
    clock.advance(std::time::Duration::from_secs(60));
    let again = put(&host, "/v1/plugins/q?version=1.0.0", "bytes").await?;
    assert_eq!(again.ok(200)?, first);
    assert_eq!(again.header("location"), "/v1/plugins/q/versions/1.0.0");
    Ok(())
}

async fn the_same_bytes_again_repair_a_damaged_file() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    let wasm = guests::echo()?;
    host.push("echo", wasm.clone()).await?;
    let file = host.directory().join("plugins/wasm");
    let file = file.join(format!("{}.wasm", Digest::of(&wasm).hex()));
    std::fs::write(&file, "rot")?;
    let bytes = "/v1/plugins/echo/versions/1.0.0/wasm";
    ensure!(get(&host, bytes).await?.status == 500);
    put(&host, "/v1/plugins/echo?version=1.0.0", wasm.clone()).await?.ok(200)?;
    ensure!(host.get(bytes).await?.bytes().await? == wasm);
    Ok(())
}

async fn a_version_never_gets_other_bytes() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    put(&host, "/v1/plugins/q?version=1.0.0", "bytes").await?.ok(201)?;
    let other = put(&host, "/v1/plugins/q?version=1.0.0", "other bytes").await?;
    assert_json_snapshot!(other.problem(409)?, @r#"
    {
      "code": "version_taken",
      "detail": "q@1.0.0 exists with other bytes, sha256:277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206a9: versions never change, so upload another one"
    }
    "#);
    let kept = get(&host, "/v1/plugins/q/versions/1.0.0/wasm").await?;
    assert_eq!(kept.body, "bytes");
    Ok(())
}

async fn an_upload_without_a_version_gets_one_from_its_digest() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let version = put(&host, "/v1/plugins/q", "bytes").await?.ok(201)?;
    let digits = &Digest::of(b"bytes").hex()[..12];
    assert_eq!(version["version"], format!("sha-{digits}"));
    assert_eq!(put(&host, "/v1/plugins/q", "bytes").await?.ok(200)?, version);
    let job = host.submit(json!({ "plugin": format!("q@sha-{digits}") })).await?;
    assert_eq!(host.job(&job).await?["plugin"], format!("q@sha-{digits}"));
    Ok(())
}

async fn bytes_that_are_not_a_plugin_are_refused_with_the_reason() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    let echo = guests::echo()?;
    let truncated = echo[..echo.len() - 7].to_vec();
    let wasm = |text: &str| guests::assemble(text);
    let unknown_import = r#"(module (import "env" "nope" (func)) (func (export "_start")))"#;
    let unknown_wasi = r#"(module (import "wasi_snapshot_preview1" "fd_teleport" (func))
        (memory (export "memory") 1) (func (export "_start")))"#;
    let no_start = r#"(module (memory (export "memory") 1) (func (export "main")))"#;
    let shared = r#"(module (memory 1 1 shared) (func (export "_start")))"#;
    for (what, bytes, status, code, says) in [
        ("nothing", vec![], 415, "not_wasm", &[][..]),
        ("plain text", b"hello, world".to_vec(), 415, "not_wasm", &[]),
        ("wasm text", guests::TRAP.as_bytes().to_vec(), 415, "not_wasm", &["text"]),
        ("only the magic number", b"\0asm".to_vec(), 422, "invalid_wasm", &[]),
        ("truncated", truncated, 422, "invalid_wasm", &[]),
        (
            "an import",
            wasm(unknown_import)?,
            422,
            "unknown_import",
            &["nope", "env", "this host has"],
        ),
        ("wasi", wasm(unknown_wasi)?, 422, "unknown_import", &["fd_teleport", "preview1"]),
        ("no `_start`", wasm(no_start)?, 422, "no_entry_point", &["_start"]),
        ("threads", wasm(shared)?, 422, "needs_feature", &["thread"]),
    ] {
        let problem = put(&host, "/v1/plugins/bad", bytes).await?.problem(status)?;
        assert_eq!(problem["code"], code, "{what}: {problem}");
        for word in says {
            ensure!(problem["detail"].to_string().contains(word), "{what}: no `{word}`: {problem}");
        }
    }
    assert_eq!(get(&host, "/v1/plugins/bad").await?.code(404)?, "plugin_not_found");
    Ok(())
}

async fn a_plugin_that_starts_with_more_memory_than_allowed_is_refused() -> anyhow::Result<()> {
    let host = TestHost::configured(|config| {
        config.limits.memory_bytes = Some(1 << 20);
        config.ceilings.memory_bytes = Some(2 << 20);
    })
    .await?;
    let pages = |n: u32| {
        guests::assemble(&format!(
            r#"(module (memory (export "memory") {n}) (func (export "_start")))"#
        ))
    };
    let problem = put(&host, "/v1/plugins/big", pages(33)?).await?.problem(422)?;
    let detail = problem["detail"].to_string();
    ensure!(detail.contains("2.0 MiB") || detail.contains("2 MiB"), "{detail}");
    // Above the default and below the ceiling: its jobs get its initial memory as their limit.
    let version = put(&host, "/v1/plugins/fits", pages(32)?).await?.ok(201)?;
    assert_eq!(version["minimum_memory_bytes"], 2 << 20);
    let job = host.run(json!({ "plugin": "fits" })).await?;
    assert_eq!(
        (&job["limits"]["memory_bytes"], &job["state"]),
        (&json!(2 << 20), &json!("completed"))
    );
    Ok(())
}

async fn a_plugin_that_is_too_large_is_refused_before_it_is_sent() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::configured(|config| config.plugin_bytes = 1000).await?;
    let head = "PUT /v1/plugins/q HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1001\r\n\r\n";
    let mut wire = Wire::with(&host, head).await?;
    assert_eq!(wire.problem().await?, (413, "too_large".to_owned()));
    let problem = put(&host, "/v1/plugins/q", [0; 1001]).await?.problem(413)?;
    assert_json_snapshot!(problem, @r#"
    {
      "code": "too_large",
      "detail": "the plugin is larger than the limit of 1000 bytes; the operator raises the limit with `plugin_bytes`",
      "limit_bytes": 1000
    }
    "#);
    put(&host, "/v1/plugins/q", [0; 1000]).await?.ok(201)?;
    Ok(())
}

async fn a_plugin_of_unknown_length_is_refused_while_it_is_sent() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::configured(|config| config.plugin_bytes = 1000).await?;
    let head =
        "PUT /v1/plugins/q HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut wire = Wire::with(&host, head).await?;
    // A chunk that is one byte too long, and no end.
    wire.send(format!("3e9\r\n{}\r\n", "x".repeat(1001))).await?;
    assert_eq!(wire.problem().await?, (413, "too_large".to_owned()));
    Ok(())
}

async fn a_refused_upload_leaves_no_file() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let head = "PUT /v1/plugins/q HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n";
    let mut wire = Wire::with(&host, head).await?;
    wire.send("only some of them").await?;
    drop(wire);
    assert_eq!(get(&host, "/v1/plugins/q").await?.code(404)?, "plugin_not_found");
    let files = std::fs::read_dir(host.directory().join("plugins/wasm"))?;
    assert_eq!(files.count(), 1, "the plugin of the fixture, and nothing else");
    Ok(())
}

async fn invalid_names_and_versions_are_refused() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let long = "x".repeat(65);
    for name in ["UPPER", ".hidden", "a%2Fb", "%00", "%F0%9F%A6%80", "..%2f..%2fetc", &long] {
        let answer = put(&host, &format!("/v1/plugins/{name}"), "bytes").await?;
        assert_eq!(answer.code(400)?, "invalid_name", "{name}");
    }
    for version in ["", "1", "1.2", "v1.0.0", "latest", "..%2f1.0.0", "sha-XYZ", &long] {
        let answer = put(&host, &format!("/v1/plugins/q?version={version}"), "bytes").await?;
        assert_eq!(answer.code(400)?, "invalid_version", "{version}");
    }
    for query in ["verzion=1.0.0", "version=1.0.0&version=2.0.0", "version=1.0.0&x"] {
        let answer = put(&host, &format!("/v1/plugins/q?{query}"), "bytes").await?;
        assert_eq!(answer.code(400)?, "invalid_query", "{query}");
    }
    Ok(())
}

async fn an_upload_without_a_compile_slot_may_be_retried() -> anyhow::Result<()> {
    let Fixture { host, .. } = Fixture::new().await?;
    let answer = put(&host, "/v1/plugins/q", NOT_NOW).await?;
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(answer.code(503)?, "busy");
    assert_eq!(get(&host, "/v1/plugins/q").await?.code(404)?, "plugin_not_found");
    Ok(())
}

/// The timeout of a client may be shorter than a compilation.
async fn an_upload_whose_client_disconnects_is_finished() -> anyhow::Result<()> {
    let Fixture { host, runtime, .. } = Fixture::new().await?;
    let compiler = runtime.hold_compiler().await;
    let head = format!("PUT /v1/plugins/slow HTTP/1.1\r\nHost: {}\r\n", host.address());
    let client = Wire::with(&host, head + "Content-Length: 5\r\n\r\nbytes").await?;
    soon(runtime.compiler_asked()).await?;
    drop(client);
    // By then the host has noticed that the client disconnected.
    for _ in 0..10 {
        get(&host, "/v1/plugins/slow").await?.problem(404)?;
    }
    drop(compiler);
    let there = async {
        while get(&host, "/v1/plugins/slow").await?.ok(200).is_err() {
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    soon(there).await?
}

/// An Extism plug-in whose output is the name of the called function.
fn extism(names: &[&str]) -> anyhow::Result<Vec<u8>> {
    let function = |name: &&str| {
        let byte = name.as_bytes()[0];
        format!(
            r#"(func (export "{name}") (result i32) (local $at i64)
                (local.set $at (call $alloc (i64.const 1)))
                (call $store (local.get $at) (i32.const {byte}))
                (call $output (local.get $at) (i64.const 1))
                (i32.const 0))"#
        )
    };
    let functions: String = names.iter().map(function).collect();
    Ok(wat::parse_str(format!(
        r#"(module
            (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
            (import "extism:host/env" "store_u8" (func $store (param i64 i32)))
            (import "extism:host/env" "output_set" (func $output (param i64 i64)))
            (func (export "_initialize")) {functions})"#
    ))?)
}

async fn a_job_names_the_entry_point_of_a_plugin_that_has_several() -> anyhow::Result<()> {
    let host = TestHost::start().await?;
    let many = put(&host, "/v1/plugins/many", extism(&["shout", "whisper"])?).await?.ok(201)?;
    assert_eq!(
        (&many["abi"], &many["entrypoints"]),
        (&json!("extism"), &json!(["shout", "whisper"]))
    );
    put(&host, "/v1/plugins/one", extism(&["only"])?).await?.ok(201)?;
    put(&host, "/v1/plugins/echo", guests::echo()?).await?.ok(201)?;

    let submit = async |plugin: &str, entrypoint: Option<&str>| {
        let job = json!({ "plugin": plugin, "entrypoint": entrypoint });
        post(&host, "/v1/jobs", job.to_string()).await
    };
    for (plugin, entrypoint, output) in
        [("many", Some("whisper"), "w"), ("one", None, "o"), ("one", Some("only"), "o")]
    {
        let job = submit(plugin, entrypoint).await?.ok(202)?;
        let id = job["id"].as_str().unwrap_or_default().to_owned();
        assert_eq!(host.finalized(&id).await?["state"], "completed");
        assert_eq!(get(&host, &format!("/v1/jobs/{id}/output")).await?.body, output);
    }
    for (plugin, entrypoint, says) in [
        ("many", None, "is missing: name one of `shout`, `whisper`"),
        ("many", Some("hum"), "`hum` is not one of `shout`, `whisper`"),
        ("many", Some("_initialize"), "`_initialize` is not one of `shout`, `whisper`"),
        ("echo", Some("_start"), "a plugin of the kind wasi-command-p1 has one entry point"),
    ] {
        let problem = submit(plugin, entrypoint).await?.problem(422)?;
        let error = &problem["errors"][0];
        assert_eq!(error["field"], "entrypoint");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(says)), "{problem}");
    }
    Ok(())
}
